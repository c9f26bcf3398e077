"""Split texts into sentences, and sentences into tokens: words without inflection, phrases, and facts with a value."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import NamedTuple

from pytest_llmops.semantics.checks.quantities import measures
from pytest_llmops.semantics.checks.quantities.facts import Fact
from pytest_llmops.semantics.checks.quantities.measures import read_measures
from pytest_llmops.semantics.checks.quantities.numerals import replace_number_words
from pytest_llmops.semantics.word_lists import english_words, read_lines, read_sections

IRREGULAR_FORMS: dict[str, str] = {}  # form -> base form, for irregular words and their regular forms
for _line in read_lines("irregular_forms.txt"):
    _base = _line.split()[0]
    _regular = (_base + "s", _base.removesuffix("e") + "es", _base.removesuffix("e") + "ing")
    for _word in (*_regular, *_line.split()):
        IRREGULAR_FORMS.setdefault(_word, _base)
UNINFLECTED_WORDS = frozenset({"evening", "its"})
_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non|mis(?!s))(?=[a-z]{3})")
_SPELLINGS = (("colour", "color"), ("favour", "favor"), ("behaviour", "behavior"), ("labour", "labor"), ("honour", "honor"),
              ("centre", "center"), ("metre", "meter"), ("litre", "liter"), ("cheque", "check"), ("programme", "program"),
              ("licence", "license"), ("defence", "defense"), ("catalogue", "catalog"), ("grey", "gray"), ("e-mail", "email"),
              ("tyre", "tire"), ("judgement", "judgment"), ("ageing", "aging"), ("enrol", "enroll"), ("fulfil", "fulfill"))  # fmt: skip


@lru_cache(maxsize=65536)
def stem_word(word: str) -> str:
    """Return an English word in lower case without plural, tense and spelling variant.

    >>> [stem_word(word) for word in ("Refunds", "cancelled", "cancelling", "went", "organise", "parties")]
    ['refund', 'cancel', 'cancel', 'go', 'organiz', 'parti']
    """
    word = word.lower().removesuffix("'s").rstrip("'")
    word = IRREGULAR_FORMS.get(word, word)
    for british, american in _SPELLINGS:
        if word.startswith(british):
            word = american + word[len(british) :]
    if "-" in word and word.replace("-", "").isalpha():
        head, _, last = word.rpartition("-")
        return f"{head}-{stem_word(last)}"
    if not word.isascii() or not word.isalpha() or word in UNINFLECTED_WORDS:
        return word
    prefix = _PREFIX.match(word)
    if prefix:
        # The stemmer takes more from a long word: "inedible" must remain "in" and "edible".
        rest = word[prefix.end() :]
        return prefix[0] + _stemmer()(IRREGULAR_FORMS.get(rest, rest))
    stem = _stemmer()(word)
    if stem.endswith(("is", "ys")) and len(stem) > len("basis"):
        return stem[:-1] + "z"
    return stem


@cache
def _stemmer() -> Callable[[str], str]:
    from snowballstemmer import stemmer

    return stemmer("english").stemWord  # type: ignore[no-any-return]


def stem_phrase(phrase: str) -> str:
    """Return the stems of a phrase, whose words are joined by blanks or ``_``.

    >>> stem_phrase("rules out")
    'rule out'
    """
    return " ".join(map(stem_word, phrase.replace("_", " ").split()))


def english_stems(name: str) -> frozenset[str]:
    """Return the stems of an English word list.

    >>> "as well" in english_stems("fillers")
    True
    """
    return frozenset(map(stem_phrase, english_words(name)))


PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non-", "non", "mis", "de")
UNPREFIXED_WORDS = english_stems("unprefixed_words")
MIN_ROOT_LETTERS = 3
_NO_OPPOSITES: frozenset[str] = frozenset()


@cache
def _opposite_table() -> dict[str, set[str]]:
    """Return the opposites of each word or phrase, by stems."""
    table: dict[str, set[str]] = {}
    for line in read_lines("opposites.txt"):
        left, right = (map(stem_phrase, side.split()) for side in line.split(" | "))
        for word, opposite in product(left, right):
            table.setdefault(word, set()).add(opposite)
            table.setdefault(opposite, set()).add(word)
    return table


def are_opposites(word: str, other_word: str) -> bool:
    """Return whether a word is the opposite of another in whose place it stands; both are stems.

    >>> are_opposites("befor", "after"), are_opposites("availabl", "unavailabl"), are_opposites("open", "close")
    (True, True, True)
    """
    word = _strip_auxiliaries(word)
    other_word = _strip_auxiliaries(other_word)
    return (
        other_word in _opposite_table().get(word, _NO_OPPOSITES)
        or is_negated_form(word, other_word)
        or is_negated_form(other_word, word)
    )


def find_opposites(keys: Iterable[str], other_keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of a key and another key that are opposites.

    >>> find_opposites(["price", "rise"], ["cost", "fall"])
    [('rise', 'fall')]
    """
    others = {_strip_auxiliaries(other): other for other in other_keys}
    opposites = []
    for key in dict.fromkeys(keys):
        bare = _strip_auxiliaries(key)
        # A lookup for each prefix: two long sentences have too many pairs of words.
        forms = {prefix + bare for prefix in PREFIXES} | {bare.removeprefix(prefix) for prefix in PREFIXES}
        partners = (_opposite_table().get(bare, _NO_OPPOSITES) | forms) & others.keys()
        opposites += [(key, others[partner]) for partner in sorted(partners) if are_opposites(bare, partner)]
    return opposites


def _strip_auxiliaries(key: str) -> str:
    return key.removeprefix("be ").removesuffix(" to")


def is_negated_form(word: str, root: str) -> bool:
    """Return whether a word is a root with a prefix that negates it, or with "-less" for "-ful".

    >>> is_negated_form("unsaf", "saf"), is_negated_form("indoor", "door"), is_negated_form("harmless", "harmful")
    (True, False, True)
    """
    if len(root) < MIN_ROOT_LETTERS or word in UNPREFIXED_WORDS:
        return False
    if word.endswith("less") and word.removesuffix("less") in {root, root.removesuffix("ful")}:
        return True
    return any(word == prefix + root for prefix in PREFIXES)


class Token(NamedTuple):
    """A word, phrase or fact of a sentence.

    Attributes:
        key: The stems or the value to compare the token by.
        text: As written.
        start: Place in the sentence.
        end: Place behind the token.
        fact: The fact that the token states, if any.
        name: Whether its letters look like a name or a code.
    """

    key: str
    text: str
    start: int
    end: int
    fact: Fact | None = None
    name: bool = False


class _PlainCharacters(dict[int, int | str]):
    """Digits of any script, full-width letters, quotes, dashes and blanks in their plainest form."""

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        digit = char.isdecimal()
        plain: int | str = code
        if digit and not char.isascii():
            plain = str(int(char))
        elif 0xFF01 <= code <= 0xFF5E:  # noqa: PLR2004 -- the full-width forms of ASCII
            plain = chr(code - 0xFEE0)
        elif 0x3300 <= code <= 0x33FF or char in "µ℃℉\u212a\u2126":  # noqa: PLR2004 -- units as one letter
            plain = unicodedata.normalize("NFKC", char)
        elif char.isspace():
            plain = " "
        self[code] = plain
        return plain


_PLAIN_CHARACTERS = _PlainCharacters()
for _chars, _plain in (
    ("‘’ʼ`´", "'"), ("“”„«»", '"'), ("‐‑‒–—−", "-"), ("\u066b", "."), ("\u066c", ","), ("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
):  # fmt: skip
    _PLAIN_CHARACTERS.update(dict.fromkeys(map(ord, _chars), _plain))
_PLAIN_CHARACTERS.update({ord("½"): " 1/2", ord("¼"): " 1/4", ord("¾"): " 3/4", ord("…"): "..."})

_WORD = re.compile(r"[^\W_]+(?:['.&/+_-][^\W_]+)*(?:\+\+|#)?|%|[<>≤≥=]=?")
_MAYBE_FACT = re.compile(
    r"(?i)\d|[一二三四五六日天]|\b(?:zero|one|hundred|thousand|[mb]illion|dozen|half|halves|quarters?|thirds?|fifths?|tenths?|once|twice|thrice"
    r"|noon|midday|midnight|an?\s|first|second|\w+th)\b"
)
_CONTRACTIONS = {
    "can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("will", "not"), "cannot": ("can", "not"), "ain't": ("be", "not"),
    "let's": ("let", "we"), "gonna": ("going", "to"), "wanna": ("want", "to"),
}  # fmt: skip
_CONTRACTED_ENDINGS = {"n't": "not", "'re": "be", "'ve": "have", "'ll": "will", "'m": "be", "'d": "would"}
_MISSPELT_CONTRACTIONS = frozenset(
    [
        "dont",
        "doesnt",
        "didnt",
        "isnt",
        "arent",
        "wasnt",
        "werent",
        "havent",
        "hasnt",
        "hadnt",
        "wouldnt",
        "couldnt",
        "shouldnt",
    ]
)
CAPITALS_WITHOUT_NAME = english_words("capitals_without_name")
FUNCTION_WORDS = english_stems("function_words")
# Words that answer by themselves at the head of a sentence, and whether they affirm
ANSWER_WORDS = {"yes": True, "true": True, "no": False, "false": False}
_AFTER_ANSWER = re.compile(
    r"[*_\"')]*(?:\s*(?:[,.!;:-]|\Z)|\s(?:it|we|you|i|they|he|she|there|that|this)\b)", re.IGNORECASE
)
_NUMBERED = re.compile(r"\.?\s?\d")


@cache
def _known_phrases() -> dict[str, list[tuple[str, ...]]]:
    """Return the phrases that make one token each, as stems: first stem -> its phrases, longest first."""
    lists = [english_words(name) for name in ("negative_words", "implied_negatives", "harmless_negations")]
    lists += map(frozenset, read_sections("quantifiers.txt").values())
    keys = {stem_phrase(words) for words in frozenset().union(*lists)}
    keys.update(_opposite_table())
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for stems in sorted((tuple(key.split()) for key in keys if " " in key), key=len, reverse=True):
        phrases.setdefault(stems[0], []).append(stems)
    return phrases


@dataclass(frozen=True)
class Sentence:
    """A sentence; its tokens and facts are read on first use."""

    raw: str
    language: str = "English"

    @cached_property
    def text(self) -> str:
        """The sentence with plain digits, quotes and dashes, and digits for number words."""
        return replace_number_words(self.raw.translate(_PLAIN_CHARACTERS), self.language)

    @cached_property
    def plain(self) -> str:
        """The sentence without the marks at its ends, and without case where it has no unit, which Mb and MB differ by."""
        if any(map(str.isdigit, self.text)):
            text = self.text
        else:
            text = self.text.casefold()
        return text.strip(" .!?;:,\"'()*-")

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """The facts with a value, in order."""
        taken: list[tuple[int, int]] = []
        if measures.MAYBE_DATE.search(self.text):
            facts = measures.read_dates(self.text, taken)
        else:
            facts = []
        if _MAYBE_FACT.search(self.text):
            facts += read_measures(self.text, taken)
        return tuple(sorted(facts, key=lambda fact: fact.start))

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The words, phrases and facts, in order."""
        tokens: list[Token] = []
        place = 0
        first = True
        for fact in (*self.facts, None):
            for match in _WORD.finditer(self.text, place, fact.start if fact else len(self.text)):
                word = match[0].lower()
                if word == "no" and _NUMBERED.match(self.text, match.end()):
                    tokens.append(Token("number", match[0], *match.span()))
                elif first and word in ANSWER_WORDS and _AFTER_ANSWER.match(self.text, match.end()):
                    tokens.append(Token(f"{word},", match[0], *match.span()))
                else:
                    before = self.text[: match.start()].rstrip()[-1:]
                    tokens += _split_word(match, first=first or before in ':"(-')
                first = False
            if fact:
                # Facts of the same value get the same key, so that they align; where the readings differ, the checks compare them.
                reading = fact.readings[0]
                if isinstance(reading.value, float):
                    value = f"{reading.value:.15g}"
                else:
                    value = reading.value
                tokens.append(Token(f"{reading.dim}={value}", fact.text, fact.start, fact.end, fact))
                place = fact.end
                first = False
        return tuple(_join_phrases(tokens))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the tokens."""
        return tuple(token.key for token in self.tokens)

    def tokens_after(self, place: int, count: int = 1) -> tuple[Token, ...]:
        """Return the tokens behind a place, as many as there are up to a count."""
        return self.tokens[place + 1 : place + 1 + count]

    def span_text(self, tokens: Sequence[Token]) -> str:
        """Return the piece of the sentence that tokens cover, as written."""
        if tokens:
            return self.text[tokens[0].start : tokens[-1].end]
        return ""

    @property
    def leading_answer(self) -> bool | None:
        """True for a sentence that begins with "yes" or "true", False for "no" or "false", else None."""
        if self.keys and self.keys[0][-1:] == ",":
            return ANSWER_WORDS.get(self.keys[0][:-1])
        return None

    @cached_property
    def words(self) -> frozenset[str]:
        """The single content words, without inflection; cheap, for finding pairs of sentences."""
        return frozenset(stem_word(word) for word in _WORD.findall(self.text)) - FUNCTION_WORDS


def _split_word(match: re.Match[str], *, first: bool) -> list[Token]:
    word, (start, end) = match[0], match.span()
    lower = word.lower()
    parts = _CONTRACTIONS.get(lower, ())
    if not parts:
        ending = next((ending for ending in _CONTRACTED_ENDINGS if lower.endswith(ending)), "")
        if ending:
            parts = (lower.removesuffix(ending), _CONTRACTED_ENDINGS[ending])
        else:
            parts = ()
        if lower in _MISSPELT_CONTRACTIONS:
            parts = (lower.removesuffix("nt"), "not")
    if parts:
        return [Token(stem_word(part), word, start, end) for part in parts]
    if "/" in word and word.replace("/", "").isalpha():
        head, *others = (Token(stem_word(part), part, start, end) for part in word.split("/"))
        return [head, Token("or", "/", start, end), *others]
    # "Team A" has no article, and "the US" no pronoun.
    if word in {"A", "US", "IT"} and not first:
        key = f"{lower}."
    else:
        key = stem_word(word)
    # A digit is of a code or a version: numbers are facts. At the head of a sentence every word has a capital.
    bare = word.removesuffix("'s")
    has_capital = bare[:1].isalpha() and any(map(str.isupper, bare[1:] if first else bare))
    is_code = any(map(str.isdigit, word))
    is_name = (is_code or has_capital) and lower.removesuffix("'s") not in CAPITALS_WITHOUT_NAME
    return [Token(key, word, start, end, None, is_name)]


def _join_phrases(words: list[Token]) -> list[Token]:
    """Make one token of each known phrase, as of "in order to"."""
    tokens: list[Token] = []
    place = 0
    while place < len(words):
        for phrase in _known_phrases().get(words[place].key, ()):
            part = words[place : place + len(phrase)]
            if tuple(token.key for token in part) == phrase:
                text = " ".join(dict.fromkeys(token.text for token in part))
                name = all(token.name for token in part)
                tokens.append(Token(" ".join(phrase), text, part[0].start, part[-1].end, None, name))
                place += len(phrase)
                break
        else:
            tokens.append(words[place])
            place += 1
    return tokens


# Words that a full stop may follow within a sentence, without their own dots
ABBREVIATIONS = english_words("abbreviations")
# A mark with its closing quotes, or a mark that needs no blank behind it, or the end of a line. A run of marks is only
# matched from its start: in a megabyte of dots every other place would scan all the rest again.
_END = re.compile(r"(?<![.!?…؟।])[.!?…؟।]++[\"'”’»)\]]*+(?=\s)|[。！？｡]+[」』”’）]*|\n\s*")
_BULLET = re.compile(r"[-*•·–>#|]|\d{1,3}[.)]\s|[A-Za-z][.)]\s")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]*\Z")
_OPENING_WORDS = english_words("function_words")  # words that may begin a sentence, and no name
_TITLES = frozenset(["dr", "mr", "mrs", "ms", "prof", "st", "vs", "eg", "ie", "mme", "sra"])
_GERMAN_MONTHS = ("jan", "feb", "mär", "apr", "mai", "jun", "jul", "aug", "sep", "okt", "nov", "dez")
MAX_WORD_CHARS = 40
MAX_SENTENCE_CHARS = 1_000  # a longer sentence is read in parts: checks take more than linear time


def split_sentences(text: str) -> list[str]:
    r"""Return the sentences of a text, trimmed, in order, without blank sentences.

    A full stop ends a sentence unless it belongs to a number, an abbreviation or an initial; in scripts
    without blanks its mark is enough. A blank line ends a sentence, and so does a line end behind a mark, in front
    of a bullet or between lines that are no running text; a line end within running text is a blank. The time is
    linear in the length.

    >>> split_sentences("Dr. Lee pays 3.50 euros. Why?\n- First\n- Second")
    ['Dr. Lee pays 3.50 euros.', 'Why?', '- First', '- Second']
    >>> split_sentences("退款需要30天。谢谢！")
    ['退款需要30天。', '谢谢！']
    """
    pieces = []
    start = 0
    for end in _END.finditer(text):
        if _is_sentence_end(text, start, end):
            pieces.append(text[start : end.end()])
            start = end.end()
    pieces.append(text[start:])
    return [sentence for piece in pieces if (sentence := " ".join(piece.split()))]


def _is_sentence_end(text: str, start: int, end: re.Match[str]) -> bool:
    mark = end[0]
    following = text[end.end() : end.end() + MAX_WORD_CHARS].lstrip()
    if mark[0] == "\n":
        return mark.count("\n") > 1 or _is_line_end(
            text[max(start, end.start() - 2) : end.start()], following
        )
    if mark[0] == "." and len(mark.rstrip("\"'”’»)]")) == 1:
        word = _LAST_WORD.search(text, max(start, end.start() - MAX_WORD_CHARS), end.start())
        if word:
            at = word.start()
        else:
            at = start
        return _is_final_stop(
            text[at : end.start()], following, first=not text[max(start, at - 2) : at].strip()
        )
    # An ellipsis may stand in the middle of a sentence.
    return mark[0] not in ".…" or not following[:1].islower()


def _is_final_stop(word: str, following: str, *, first: bool) -> bool:
    """Return whether the full stop behind a word ends the sentence."""
    if len(word) == 1 and word.isalpha():
        # "J. Smith", but "plan B then": an initial is followed by a name, and so may a sentence be.
        return word == "I" or not following[:1].isalpha() or word.islower()
    bare = word.replace(".", "").casefold()
    if "." in word and bare.isalpha() and max(map(len, word.split("."))) == 1:  # U.S., p.m.
        # "In the U.S. It is", but "the U.S. Senate".
        is_opener = following.partition(" ")[0].casefold() in _OPENING_WORDS and word.isupper()
        return following[:1].isupper() and (bare in {"am", "pm"} or is_opener)
    if word.isdigit() and len(word) <= len("31"):
        # "3. März" and "1. First", but "a score of 12. Then"
        month = following[:3].casefold() in _GERMAN_MONTHS and following[:1].isupper()
        return not (month or first or following[:1].islower())
    if bare not in ABBREVIATIONS:
        return True
    return not (following[:1].islower() or following[:1].isdigit() or bare in _TITLES)


def _is_line_end(before: str, following: str) -> bool:
    last = before.rstrip()[-1:]
    if not last or last in ".!?:;。！？…|" or _BULLET.match(following):
        return True
    # A line that goes on with a small letter, or behind a comma, is running text that was wrapped.
    return not (following[:1].islower() or last in ",-–")


def split_bounded_sentences(text: str) -> list[str]:
    """Return the sentences of a text; what is too long for a sentence (a table, a page without marks) in parts.

    >>> [len(passage) for passage in split_bounded_sentences("Fine. " + "x " * 1_200)]
    [5, 999, 999, 399]
    """
    passages: list[str] = []
    for sentence in split_sentences(text):
        start = 0
        while len(sentence) - start > MAX_SENTENCE_CHARS:
            blank = sentence.rfind(" ", start, start + MAX_SENTENCE_CHARS + 1)
            if blank > start:
                end = blank
            else:
                end = start + MAX_SENTENCE_CHARS
            passages.append(sentence[start:end].strip())
            start = end
        passages.append(sentence[start:].strip())
    return [passage for passage in passages if passage]
