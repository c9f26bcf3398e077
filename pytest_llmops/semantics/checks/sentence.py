"""A sentence as the checks see it: words without inflection, phrases, and facts with a value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pytest_llmops.semantics.checks.lexicon import opposites, synonyms
from pytest_llmops.semantics.checks.lexicon.stems import stem_word
from pytest_llmops.semantics.checks.quantities import dates, numerals
from pytest_llmops.semantics.checks.quantities.facts import Fact
from pytest_llmops.semantics.checks.quantities.measures import read_measures


class Token(NamedTuple):
    """A word, phrase or fact of a sentence.

    Attributes:
        key: What it is compared by.
        text: As written.
        start: Place in the sentence.
        end: Place behind it.
        fact: What it states, if it is a fact.
        name: Is it a name or a code, to judge by its letters?
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
    r"(?i)\d|[一二三四五六日天]|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|[mb]illion|dozen|half|halves|quarters?|thirds?|fifths?|tenths?|once|twice|thrice"
    r"|noon|midday|midnight|an?\s|first|second|\w+th)\b"
)
_CONTRACTIONS = {
    "can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("will", "not"), "cannot": ("can", "not"), "ain't": ("be", "not"),
    "let's": ("let", "we"), "gonna": ("going", "to"), "wanna": ("want", "to"),
}  # fmt: skip
_ENDINGS = {"'re": "be", "'ve": "have", "'ll": "will", "'m": "be", "'d": "would"}
CLAUSE_WORDS = frozenset(["and", "but", "or", "while", "whereas", "though", "although", "because", "yet"])
"""Words that begin a clause."""
CLAUSE_VERBS = frozenset(
    ["be", "have", "do", "will", "would", "can", "may", "must", "should", "need", "not"]
) | {
    "have to",
    "need to",
}
"""Words of which a clause has one; else it is a part of another."""
CONDITION_WORDS = frozenset(
    ["if", "when", "once", "unless", "until", "till", "while", "after", "befor", "within"]
)
CAPITALS_WITHOUT_NAME = frozenset(
    [
        "i",
        "i'm",
        "i'll",
        "i've",
        "i'd",
        "ok",
        "tv",
        "pc",
        "id",
        "faq",
        "pdf",
        "mr",
        "mrs",
        "ms",
        "dr",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "yes",
        "no",
    ]
)
ANSWER_WORDS = {"yes": True, "true": True, "no": False, "false": False}
"""Words that answer by themselves at the head of a sentence, and whether they affirm."""
_AFTER_ANSWER = re.compile(
    r"[*_\"')]*(?:\s*(?:[,.!;:-]|\Z)|\s(?:it|we|you|i|they|he|she|there|that|this)\b)", re.IGNORECASE
)
_NUMBERED = re.compile(r"\.\s?\d")
SHORT_FORMS = {
    "US": "united states", "U.S": "united states", "USA": "united states", "U.S.A": "united states", "UK": "united kingdom",
    "U.K": "united kingdom", "EU": "european union", "E.U": "european union", "UN": "united nations", "U.N": "united nations",
    "Dr": "doctor", "Prof": "professor", "vs": "versus", "etc": "so on", "e.g": "for example", "approx": "approximately",
    "dept": "department", "Dept": "department", "govt": "government", "info": "information", "incl": "including", "Inc": "incorporated",
    "Corp": "corporation", "Ltd": "limited", "NYC": "new york city", "PM": "prime minister", "CEO": "chief executive officer",
    "AI": "artificial intelligence", "VAT": "value added tax", "ID": "identification", "Mt": "mount", "Ave": "avenue",
}  # fmt: skip
"""Common short forms, as written, and what they are short for."""
_PHRASES: dict[str, list[tuple[str, ...]]] = {first: list(all_) for first, all_ in synonyms.PHRASES.items()}


def register_phrases(phrases: Iterable[tuple[str, ...]]) -> None:
    """Make phrases, as tuples of stems, one token each from now on."""
    for words in phrases:
        known = _PHRASES.setdefault(words[0], [])
        if words not in known:
            known.append(words)
            known.sort(key=len, reverse=True)


register_phrases(opposites.PHRASES)
register_phrases(tuple(map(stem_word, words.split())) for words in SHORT_FORMS.values() if " " in words)


@dataclass(frozen=True)
class Sentence:
    """A sentence with its tokens and facts, read when they are asked for."""

    raw: str

    @cached_property
    def text(self) -> str:
        """The sentence with plain digits, quotes and dashes."""
        return numerals.replace_cjk_numerals(self.raw.translate(_PLAIN_CHARACTERS))

    @cached_property
    def plain(self) -> str:
        """The sentence without the marks at its ends, and without case where it has no unit, which Mb and MB differ by."""
        text = self.text if any(map(str.isdigit, self.text)) else self.text.casefold()
        return text.strip(" .!?;:,\"'()*-")

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """What it states with a value, in order."""
        taken: list[tuple[int, int]] = []
        facts = dates.read_dates(self.text, taken) if dates.MAYBE_DATE.search(self.text) else []
        if _MAYBE_FACT.search(self.text):
            facts += read_measures(self.text, taken)
        return tuple(sorted(facts, key=lambda one: one.start))

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """Its words, phrases and facts, in order."""
        return tuple(_join_phrases(_tokenize(self.text, self.facts)))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What its tokens are compared by."""
        return tuple(token.key for token in self.tokens)

    @cached_property
    def clauses(self) -> tuple[int, ...]:
        """For each token, in which clause of the sentence it stands; a condition is no clause of its own."""
        parts: list[list[Token]] = [[]]
        end = 0
        for token in self.tokens:
            if token.key in CLAUSE_WORDS or any(mark in self.text[end : token.start] for mark in ",;:()"):
                parts.append([])
            parts[-1].append(token)
            end = token.end
        numbers: list[int] = []
        number, whole = 0, False
        for part in parts:
            says = any(token.key in CLAUSE_VERBS for token in part) and part[0].key not in CONDITION_WORDS
            number += says and whole
            whole = whole or says
            numbers += [number] * len(part)
        return tuple(numbers)

    @property
    def leading_answer(self) -> bool | None:
        """Does it begin with a "yes" or "true" (True), or with a "no" or "false" (False)?"""
        return ANSWER_WORDS.get(self.keys[0][:-1]) if self.keys and self.keys[0][-1:] == "," else None

    @cached_property
    def words(self) -> frozenset[str]:
        """The single words of it that say something, without inflection; cheap, for finding pairs."""
        return frozenset(stem_word(word) for word in _WORD.findall(self.text)) - FUNCTION_WORDS


FUNCTION_WORDS = frozenset(
    [
        "the",
        "a",
        "an",
        "of",
        "and",
        "to",
        "be",
        "is",
        "are",
        "was",
        "were",
        "in",
        "that",
        "it",
        "for",
        "you",
        "your",
        "we",
        "our",
        "with",
        "on",
        "as",
        "this",
        "at",
        "have",
        "has",
        "from",
        "or",
        "not",
        "by",
        "can",
        "will",
        "which",
        "do",
        "does",
        "did",
        "they",
        "their",
        "there",
        "if",
        "but",
        "so",
        "i",
        "he",
        "she",
    ]
)


def _tokenize(text: str, facts: tuple[Fact, ...]) -> list[Token]:
    tokens: list[Token] = []
    place, first = 0, True
    for fact in (*facts, None):
        end = fact.start if fact else len(text)
        for match in _WORD.finditer(text, place, end):
            if match[0].lower() == "no" and _NUMBERED.match(text, match.end()):
                tokens.append(Token("number", match[0], *match.span()))
                first = False
                continue
            if first and match[0].lower() in ANSWER_WORDS and _AFTER_ANSWER.match(text, match.end()):
                tokens.append(Token(f"{match[0].lower()},", match[0], *match.span()))
                first = False
                continue
            tokens += _split_word(match, first=first or text[: match.start()].rstrip()[-1:] in ':"(-')
            first = False
        if fact:
            tokens.append(Token(_fact_key(fact), fact.text, fact.start, fact.end, fact))
            place, first = fact.end, False
    return tokens


def _fact_key(fact: Fact) -> str:
    # Facts of one value get one key, so that they align; where the readings differ, the checks compare them.
    reading = fact.readings[0]
    return (
        f"{reading.dim}={reading.value:.15g}"
        if isinstance(reading.value, float)
        else f"{reading.dim}={reading.value}"
    )


def _split_word(match: re.Match[str], *, first: bool) -> list[Token]:
    word, (start, end) = match[0], match.span()
    lower = word.lower()
    if lower in _CONTRACTIONS:
        return [Token(stem_word(part), word, start, end) for part in _CONTRACTIONS[lower]]
    if "'" in lower:
        if lower.endswith("n't"):
            return [Token(stem_word(lower[:-3]), word, start, end), Token("not", word, start, end)]
        for ending, part in _ENDINGS.items():
            if lower.endswith(ending):
                return [
                    Token(stem_word(lower.removesuffix(ending)), word, start, end),
                    Token(stem_word(part), word, start, end),
                ]
    if "/" in word and word.replace("/", "").isalpha():
        parts = [Token(stem_word(part), part, start, end) for part in word.split("/")]
        return [parts[0], Token("or", "/", start, end), *parts[1:]]
    if word in SHORT_FORMS:
        key = " ".join(map(stem_word, SHORT_FORMS[word].split()))
        return [Token(key, word, start, end, None, _is_name(word, first=first))]
    # "Team A" has no article.
    key = "a." if word == "A" and not first else stem_word(word)
    return [Token(key, word, start, end, None, _is_name(word, first=first))]


def _is_name(word: str, *, first: bool) -> bool:
    if word.lower().removesuffix("'s") in CAPITALS_WITHOUT_NAME:
        return False
    if any(char.isdigit() for char in word):
        return True  # a code or a version: what is a number has become a fact
    bare = word.removesuffix("'s")
    if not bare[:1].isalpha() or not any(char.isupper() for char in bare):
        return False
    inner = any(char.isupper() for char in bare[1:])
    return inner or (not first and bare[0].isupper())


def _join_phrases(words: list[Token]) -> list[Token]:
    """Make one token of each known phrase, "in order to" say."""
    tokens: list[Token] = []
    place = 0
    while place < len(words):
        for phrase in _PHRASES.get(words[place].key, ()):
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
