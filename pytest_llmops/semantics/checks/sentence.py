"""Sentences as tokens: words without inflection, phrases, and facts with a value."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from pytest_llmops.semantics.checks.lexicon import english_stems, opposite_table, stem_phrase, stem_word
from pytest_llmops.semantics.checks.quantities import dates, numerals
from pytest_llmops.semantics.checks.quantities.facts import Fact
from pytest_llmops.semantics.checks.quantities.measures import read_measures
from pytest_llmops.semantics.checks.quantities.number_words import replace_number_words
from pytest_llmops.semantics.word_lists import english_words, read_sections


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
def known_phrases() -> dict[str, list[tuple[str, ...]]]:
    """Return the phrases that make one token each, as stems: first stem -> its phrases, longest first."""
    lists = [english_words(name) for name in ("negative_words", "implied_negatives", "harmless_negations")]
    lists += map(frozenset, read_sections("quantifiers.txt").values())
    keys = {stem_phrase(words) for words in frozenset().union(*lists)}
    keys.update(opposite_table())
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
        return replace_number_words(
            numerals.replace_cjk_numerals(self.raw.translate(_PLAIN_CHARACTERS)), self.language
        )

    @cached_property
    def plain(self) -> str:
        """The sentence without the marks at its ends, and without case where it has no unit, which Mb and MB differ by."""
        text = self.text if any(map(str.isdigit, self.text)) else self.text.casefold()
        return text.strip(" .!?;:,\"'()*-")

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """The facts with a value, in order."""
        taken: list[tuple[int, int]] = []
        facts = dates.read_dates(self.text, taken) if dates.MAYBE_DATE.search(self.text) else []
        if _MAYBE_FACT.search(self.text):
            facts += read_measures(self.text, taken)
        return tuple(sorted(facts, key=lambda fact: fact.start))

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The words, phrases and facts, in order."""
        tokens: list[Token] = []
        place, first = 0, True
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
                value = f"{reading.value:.15g}" if isinstance(reading.value, float) else reading.value
                tokens.append(Token(f"{reading.dim}={value}", fact.text, fact.start, fact.end, fact))
                place, first = fact.end, False
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
        return self.text[tokens[0].start : tokens[-1].end] if tokens else ""

    @property
    def leading_answer(self) -> bool | None:
        """True for a sentence that begins with "yes" or "true", False for "no" or "false", else None."""
        return ANSWER_WORDS.get(self.keys[0][:-1]) if self.keys and self.keys[0][-1:] == "," else None

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
        parts = (lower.removesuffix(ending), _CONTRACTED_ENDINGS[ending]) if ending else ()
        parts = (lower.removesuffix("nt"), "not") if lower in _MISSPELT_CONTRACTIONS else parts
    if parts:
        return [Token(stem_word(part), word, start, end) for part in parts]
    if "/" in word and word.replace("/", "").isalpha():
        head, *others = (Token(stem_word(part), part, start, end) for part in word.split("/"))
        return [head, Token("or", "/", start, end), *others]
    # "Team A" has no article, and "the US" no pronoun.
    key = f"{lower}." if word in {"A", "US", "IT"} and not first else stem_word(word)
    # A digit is of a code or a version: numbers are facts. At the head of a sentence every word has a capital.
    bare = word.removesuffix("'s")
    has_capital = bare[:1].isalpha() and any(map(str.isupper, bare[1:] if first else bare))
    is_code = any(map(str.isdigit, word))
    is_name = (is_code or has_capital) and lower.removesuffix("'s") not in CAPITALS_WITHOUT_NAME
    return [Token(key, word, start, end, None, is_name)]


def _join_phrases(words: list[Token]) -> list[Token]:
    # Make one token of each known phrase, as of "in order to".
    tokens: list[Token] = []
    place = 0
    while place < len(words):
        for phrase in known_phrases().get(words[place].key, ()):
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
