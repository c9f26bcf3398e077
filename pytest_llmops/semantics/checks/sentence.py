"""Split texts into sentences, and sentences into tokens: words without inflection, phrases, and facts with a value."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import NamedTuple

from pytest_llmops.semantics.checks.quantities import dates
from pytest_llmops.semantics.checks.quantities.facts import Fact
from pytest_llmops.semantics.checks.quantities.measures import read_measures
from pytest_llmops.semantics.checks.quantities.numerals import replace_number_words
from pytest_llmops.semantics.word_lists.reader import english_words, read_lines, read_pairs, read_sections


def _read_irregular_forms() -> dict[str, str]:
    """Return the base form of each form of the irregular words: "went" and "going" are "go"."""
    forms: dict[str, str] = {}
    for line in read_lines("irregular_forms.txt"):
        base, *irregular = line.split()
        root = base.removesuffix("e")
        regular = (f"{base}s", f"{root}es", f"{root}ing", base)
        for form in (*regular, *irregular):
            forms.setdefault(form, base)
    return forms


IRREGULAR_FORMS = _read_irregular_forms()
UNINFLECTED_WORDS = frozenset({"evening", "its"})
_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non|mis(?!s))(?=[a-z]{3})")
_SPELLINGS = read_pairs("spellings.txt")  # the British and the American beginning of a word


@lru_cache(maxsize=65536)
def stem_word(word: str) -> str:
    """Return an English word in lower case without plural, tense and spelling variant.

    >>> [stem_word(word) for word in ("Refunds", "cancelled", "cancelling", "went", "organise", "parties")]
    ['refund', 'cancel', 'cancel', 'go', 'organiz', 'parti']
    """
    word = word.lower().removesuffix("'s").rstrip("'")
    word = IRREGULAR_FORMS.get(word, word)
    for british, american in _SPELLINGS.items():
        if word.startswith(british):
            word = american + word[len(british) :]
    if "-" in word and word.replace("-", "").isalpha():
        head, last = word.rsplit("-", 1)
        return f"{head}-{stem_word(last)}"
    if not word.isascii() or not word.isalpha() or word in UNINFLECTED_WORDS:
        return word
    prefix = _PREFIX.match(word)
    if prefix:
        # The stemmer removes more of a long word: "inedible" must remain "in" and "edible".
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
    """Return the stems of the words in a phrase; the words are separated by blanks or ``_``.

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
        left, right = line.split(" | ")
        words = map(stem_phrase, left.split())
        opposites = map(stem_phrase, right.split())
        for word, opposite in product(words, opposites):
            table.setdefault(word, set()).add(opposite)
            table.setdefault(opposite, set()).add(word)
    return table


def are_opposites(word: str, other_word: str) -> bool:
    """Return whether two words or phrases are opposites; both are given as stems.

    >>> are_opposites("befor", "after"), are_opposites("availabl", "unavailabl"), are_opposites("open", "close")
    (True, True, True)
    """
    word = _strip_auxiliaries(word)
    other_word = _strip_auxiliaries(other_word)
    if other_word in _opposite_table().get(word, _NO_OPPOSITES):
        return True
    return is_negated_form(word, other_word) or is_negated_form(other_word, word)


def find_opposites(keys: Iterable[str], other_keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs (key, other key) that are opposites.

    >>> find_opposites(["price", "rise"], ["cost", "fall"])
    [('rise', 'fall')]
    """
    others = {_strip_auxiliaries(other): other for other in other_keys}
    opposites = []
    for key in dict.fromkeys(keys):
        bare = _strip_auxiliaries(key)
        # A lookup for each prefix: two long sentences have too many pairs of words.
        candidates = set(_opposite_table().get(bare, _NO_OPPOSITES))
        for prefix in PREFIXES:
            candidates.add(prefix + bare)
            candidates.add(bare.removeprefix(prefix))
        partners = sorted(candidates & others.keys())
        opposites += [(key, others[partner]) for partner in partners if are_opposites(bare, partner)]
    return opposites


def _strip_auxiliaries(key: str) -> str:
    """Return "able" for "be able to"."""
    return key.removeprefix("be ").removesuffix(" to")


def is_negated_form(word: str, root: str) -> bool:
    """Return whether a word negates a root: by a prefix ("unsafe"), or by "-less" ("harmless" and "harm", "harmful").

    Both are given as stems.

    >>> is_negated_form("unsaf", "saf"), is_negated_form("indoor", "door"), is_negated_form("harmless", "harmful")
    (True, False, True)
    """
    if len(root) < MIN_ROOT_LETTERS or word in UNPREFIXED_WORDS:
        return False
    if word.endswith("less"):
        roots = {root, root.removesuffix("ful")}
        if word.removesuffix("less") in roots:
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
        plain: int | str = code
        if char.isdecimal() and not char.isascii():
            plain = str(int(char))
        elif 0xFF01 <= code <= 0xFF5E:  # noqa: PLR2004 -- the full-width forms of ASCII
            plain = chr(code - 0xFEE0)
        elif 0x3300 <= code <= 0x33FF or char in "µ℃℉\u212a\u2126":  # noqa: PLR2004 -- units as one letter
            plain = unicodedata.normalize("NFKC", char)
        elif char.isspace():
            plain = " "
        self[code] = plain
        return plain


# The plain form of some characters; the last are an Arabic decimal and group mark, and characters without a width
_PLAIN_FORMS = {
    "'": "‘’ʼ`´", '"': "“”„«»", "-": "‐‑‒–—−", " 1/2": "½", " 1/4": "¼", " 3/4": "¾", " 1/3": "⅓", " 2/3": "⅔", " 1/8": "⅛", "...": "…", ".": "\u066b", ",": "\u066c",
    "": "\u200b\u200c\u200d\u2060\ufeff\u00ad",
}  # fmt: skip
_PLAIN_CHARACTERS = _PlainCharacters()
for _plain, _chars in _PLAIN_FORMS.items():
    _PLAIN_CHARACTERS.update(dict.fromkeys(map(ord, _chars), _plain))

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
_MISSPELT_CONTRACTIONS = english_words("misspelt_contractions")
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
    """Return the phrases that become a single token, by their first stem; each is a tuple of stems, longest first."""
    keys = set(_opposite_table())
    for name in ("negative_words", "implied_negatives", "harmless_negations"):
        keys |= english_stems(name)
    for words in read_sections("quantifiers.txt").values():
        keys.update(map(stem_phrase, words))
    by_first_stem: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for key in keys:
        stems = tuple(key.split())
        if len(stems) > 1:
            by_first_stem[stems[0]].append(stems)
    for phrases in by_first_stem.values():
        phrases.sort(key=len, reverse=True)
    return dict(by_first_stem)


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
        """The sentence without the marks at its ends, to find equal sentences.

        Without digits case does not count either; with digits it may distinguish units (Mb, MB).
        """
        text = self.text
        if not any(map(str.isdigit, text)):
            text = text.casefold()
        return text.strip(" .!?;:,\"'()*-")

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """The facts with a value, in order; the dates are read first, so that their numbers are not read again."""
        taken: list[tuple[int, int]] = []
        facts: list[Fact] = []
        if dates.MAYBE_DATE.search(self.text):
            facts += dates.read_dates(self.text, taken)
        if _MAYBE_FACT.search(self.text):
            facts += read_measures(self.text, taken)
        return tuple(sorted(facts, key=lambda fact: fact.start))

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The words, phrases and facts, in order."""
        tokens: list[Token] = []
        place = 0
        for fact in self.facts:
            tokens += self._read_words(place, fact.start, is_first=place == 0)
            tokens.append(_make_fact_token(fact))
            place = fact.end
        tokens += self._read_words(place, len(self.text), is_first=place == 0)
        return tuple(_join_phrases(tokens))

    def _read_words(self, start: int, end: int, *, is_first: bool) -> list[Token]:
        """Return the tokens of the words between two positions.

        Args:
            start: Where to begin.
            end: Where to end.
            is_first: Whether the first of these words begins the sentence.
        """
        tokens: list[Token] = []
        for match in _WORD.finditer(self.text, start, end):
            word = match[0].lower()
            if word == "no" and _NUMBERED.match(self.text, match.end()):
                tokens.append(Token("number", match[0], *match.span()))
            elif is_first and _is_answer_word(word, self.text, match.end()):
                tokens.append(Token(f"{word},", match[0], *match.span()))
            else:
                text_before = self.text[: match.start()].rstrip()
                follows_mark = text_before[-1:] in ':"(-'
                tokens += _split_word(match, first=is_first or follows_mark)
            is_first = False
        return tokens

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the tokens."""
        return tuple(token.key for token in self.tokens)

    def tokens_after(self, place: int, count: int = 1) -> tuple[Token, ...]:
        """Return the ``count`` tokens after the token with the index ``place``; fewer at the end of the sentence."""
        return self.tokens[place + 1 : place + 1 + count]

    def span_text(self, tokens: Sequence[Token]) -> str:
        """Return the text from the first to the last of some tokens, as written; "" without tokens."""
        if tokens:
            return self.text[tokens[0].start : tokens[-1].end]
        return ""

    @property
    def leading_answer(self) -> bool | None:
        """True for a sentence that begins with "yes" or "true", False for "no" or "false", else None."""
        first_key = next(iter(self.keys), "")
        if first_key.endswith(","):
            return ANSWER_WORDS.get(first_key[:-1])
        return None

    @cached_property
    def words(self) -> frozenset[str]:
        """The stems of the content words, to find similar sentences; cheaper than the tokens."""
        stems = frozenset(map(stem_word, _WORD.findall(self.text)))
        return stems - FUNCTION_WORDS


def _is_answer_word(word: str, text: str, end: int) -> bool:
    """Return whether a word answers by itself: "no" in "No, it is", but not in "No refunds"."""
    return word in ANSWER_WORDS and _AFTER_ANSWER.match(text, end) is not None


def _make_fact_token(fact: Fact) -> Token:
    """Return the token of a fact.

    Facts of the same value get the same key, so that they align; where the readings differ, the checks compare them.
    """
    reading = fact.readings[0]
    value: object = reading.value
    if isinstance(reading.value, float):
        value = f"{reading.value:.15g}"
    return Token(f"{reading.dim}={value}", fact.text, fact.start, fact.end, fact)


def _split_word(match: re.Match[str], *, first: bool) -> list[Token]:
    """Return the tokens of a word: "don't" has two, "tea/coffee" has three with an "or", other words have one."""
    word = match[0]
    start, end = match.span()
    parts = _expand_contraction(word.lower())
    if parts:
        return [Token(stem_word(part), word, start, end) for part in parts]
    if "/" in word and word.replace("/", "").isalpha():
        alternatives = word.split("/")
        head, *others = [Token(stem_word(part), part, start, end) for part in alternatives]
        return [head, Token("or", "/", start, end), *others]
    # "Team A" has no article, and "the US" no pronoun.
    if word in {"A", "US", "IT"} and not first:
        key = f"{word.lower()}."
    else:
        key = stem_word(word)
    return [Token(key, word, start, end, None, _is_name(word, first=first))]


def _expand_contraction(word: str) -> tuple[str, ...]:
    """Return the two words of a contraction in lower case: ("do", "not") for "don't"; none for any other word."""
    if word in _CONTRACTIONS:
        return _CONTRACTIONS[word]
    if word in _MISSPELT_CONTRACTIONS:
        return (word.removesuffix("nt"), "not")
    for ending, full in _CONTRACTED_ENDINGS.items():
        if word.endswith(ending):
            return (word.removesuffix(ending), full)
    return ()


def _is_name(word: str, *, first: bool) -> bool:
    """Return whether the letters of a word look like a name or a code."""
    bare = word.removesuffix("'s")
    if word.lower().removesuffix("'s") in CAPITALS_WITHOUT_NAME:
        return False
    # The digit belongs to a code or a version: numbers are facts and not words.
    if any(map(str.isdigit, word)):
        return True
    if not bare[:1].isalpha():
        return False
    # At the head of a sentence every word has a capital.
    if first:
        bare = bare[1:]
    return any(map(str.isupper, bare))


def _join_phrases(words: list[Token]) -> list[Token]:
    """Return the tokens with each known phrase ("rather than") joined to a single token."""
    tokens: list[Token] = []
    place = 0
    while place < len(words):
        for phrase in _known_phrases().get(words[place].key, ()):
            part = words[place : place + len(phrase)]
            if tuple(token.key for token in part) == phrase:
                tokens.append(_merge_tokens(part))
                place += len(phrase)
                break
        else:
            tokens.append(words[place])
            place += 1
    return tokens


def _merge_tokens(tokens: Sequence[Token]) -> Token:
    """Return a single token for the tokens of a phrase."""
    key = " ".join(token.key for token in tokens)
    text = " ".join(dict.fromkeys(token.text for token in tokens))
    is_name = all(token.name for token in tokens)
    return Token(key, text, tokens[0].start, tokens[-1].end, None, is_name)


# Words that a full stop may follow within a sentence, without their own dots
ABBREVIATIONS = english_words("abbreviations")
# A mark with its closing quotes, or a mark that needs no blank behind it, or the end of a line. A run of marks is only
# matched from its start: in a megabyte of dots every other place would scan all the rest again.
_END = re.compile(r"(?<![.!?…؟।])[.!?…؟।]++[\"'”’»)\]]*+(?=\s)|[。！？｡]+[」』”’）]*|\n\s*")
_BULLET = re.compile(r"[-*•·–>#|]|\d{1,3}[.)]\s|[A-Za-z][.)]\s")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]*\Z")
_OPENING_WORDS = english_words("function_words")  # words that may begin a sentence, and no name
_TITLES = english_words("titles")
_GERMAN_MONTHS = ("jan", "feb", "mär", "apr", "mai", "jun", "jul", "aug", "sep", "okt", "nov", "dez")
MAX_WORD_CHARS = 40
MAX_SENTENCE_CHARS = 1_000  # a longer sentence is read in parts: checks take more than linear time


def split_sentences(text: str) -> list[str]:
    r"""Return the sentences of a text, trimmed, in order, without blank sentences.

    A full stop ends a sentence unless it belongs to a number, an abbreviation or an initial; in scripts
    without blanks the mark is enough. A blank line ends a sentence. A single line end does so after a mark, before a
    bullet and after a heading or row; within wrapped text it counts as a blank. The time is linear in the length.

    >>> split_sentences("Dr. Lee pays 3.50 euros. Why?\n- First\n- Second")
    ['Dr. Lee pays 3.50 euros.', 'Why?', '- First', '- Second']
    >>> split_sentences("退款需要30天。谢谢！")
    ['退款需要30天。', '谢谢！']
    """
    sentences = [" ".join(text[start:end].split()) for start, end in find_sentences(text)]
    return [sentence for sentence in sentences if sentence]


def find_sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each sentence of `split_sentences` starts and ends, with the white space around it; together they are the text.

    >>> list(find_sentences("Be brief. Be kind."))
    [(0, 9), (9, 18)]
    """
    start = 0
    for end in _END.finditer(text):
        if _is_sentence_end(text, start, end):
            yield start, end.end()
            start = end.end()
    yield start, len(text)


def _is_sentence_end(text: str, start: int, end: re.Match[str]) -> bool:
    """Return whether a match of `_END` (a mark or a line end) ends the sentence that begins at ``start``."""
    mark = end[0]
    mark_start, mark_end = end.span()
    following = text[mark_end : mark_end + MAX_WORD_CHARS].lstrip()
    if mark[0] == "\n":
        before = text[max(start, mark_start - 2) : mark_start]
        return mark.count("\n") > 1 or _is_line_end(before, following)
    if mark[0] == "." and len(mark.rstrip("\"'”’»)]")) == 1:
        word_start = start
        search_start = max(start, mark_start - MAX_WORD_CHARS)
        word = _LAST_WORD.search(text, search_start, mark_start)
        if word:
            word_start = word.start()
        before = text[max(start, word_start - 2) : word_start]
        is_first = not before.strip()
        return _is_final_stop(text[word_start:mark_start], following, first=is_first)
    # An ellipsis may be within a sentence: then a small letter follows.
    return mark[0] not in ".…" or not following[:1].islower()


def _is_final_stop(word: str, following: str, *, first: bool) -> bool:
    """Return whether the full stop behind a word ends the sentence.

    Args:
        word: The word in front of the full stop, with its other dots.
        following: The text behind it.
        first: Whether the word is the first of the sentence or line, as the number of a list item is.
    """
    if len(word) == 1 and word.isalpha():
        # A single capital is taken for an initial ("J. Smith"), although it may end a sentence ("Plan B. Then").
        return word == "I" or not following[:1].isalpha() or word.islower()
    bare = word.replace(".", "").casefold()
    has_inner_stop = "." in word and bare.isalpha()
    if has_inner_stop and max(map(len, word.split("."))) == 1:  # U.S., p.m.
        return _is_stop_behind_initials(word, following)
    if word.isdigit() and len(word) <= len("31"):
        # "3. März" and "1. First", but "a score of 12. Then"
        month = following[:3].casefold()
        is_month = month in _GERMAN_MONTHS and following[:1].isupper()
        return not is_month and not first and not following[:1].islower()
    if bare not in ABBREVIATIONS:
        return True
    if following[:1].islower() or following[:1].isdigit():
        return False
    return bare not in _TITLES


def _is_stop_behind_initials(word: str, following: str) -> bool:
    """Return whether a sentence ends after an abbreviation of initials: "in the U.S. It is", not "the U.S. Senate"."""
    if not following[:1].isupper():
        return False
    if word.replace(".", "").casefold() in {"am", "pm"}:
        return True
    next_word, _, _ = following.partition(" ")
    return word.isupper() and next_word.casefold() in _OPENING_WORDS


def _is_line_end(before: str, following: str) -> bool:
    """Return whether a line end is the end of a sentence, and not only a wrapped line, by the text on both sides."""
    last = before.rstrip()[-1:]
    if not last or last in ".!?:;。！？…|" or _BULLET.match(following):
        return True
    # A line that goes on with a small letter, or behind a comma, is running text that was wrapped.
    return not (following[:1].islower() or last in ",-–")


def split_bounded_sentences(text: str) -> list[str]:
    """Return the sentences of a text; a sentence longer than `MAX_SENTENCE_CHARS` (a table, for example) in parts.

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
