"""Negation in languages other than English: a "nicht" or "pas" in only one of two nearly equal sentences."""

import re
from collections.abc import Iterator, Sequence
from functools import cache

from pytest_llmops.semantics.checks.alignment import Text
from pytest_llmops.semantics.checks.kinds import Alarm, build_finding
from pytest_llmops.semantics.checks.sentence import Sentence
from pytest_llmops.semantics.word_lists import read_sections

# Languages whose sentences are compared; the shares found are in ``docs/meaning.md``
LANGUAGES = frozenset(
    [
        "German",
        "Spanish",
        "French",
        "Italian",
        "Portuguese",
        "Dutch",
        "Polish",
        "Russian",
        "Chinese",
        "Japanese",
    ]
)
WITHOUT_BLANKS = frozenset(["Chinese", "Japanese", "Korean", "Thai"])
# Languages in which words are equal if their first letters are
INFLECTED, STEM_LETTERS = frozenset(["Polish", "Russian"]), 5
# Share of equal words, apart from negations, from which two sentences are one sentence and its negation
MIN_SIMILARITY = 0.6
MIN_PREFIXED_LETTERS = 5  # letters of a word that a prefix may negate
MAX_ANSWER_SENTENCES = 500  # sentences of the answer among which the most similar is searched
_WORD = re.compile(r"[^\s.,;:!?…()\[\]\"«»„“”'’‘\-–—/।،؛]+")
_CHARACTER = re.compile(r"[\w\ue000]")
MARK = "\ue000"  # private-use character in the place of a negation
_HIRAGANA = re.compile(r"[\u3040-\u309f\u30fc]")


def find_negation(text: str, language: str) -> str:
    """Return the first negation of a text in a language, or ``""``.

    >>> find_negation("Der Urlaub ist nicht teilbar.", "German"), find_negation("Nicht nur heute.", "German")
    ('nicht', '')
    """
    pattern = _pattern(language)
    return next((match[0] for match in pattern.finditer(text) if match["negation"]), "") if pattern else ""


def find_alarms(sentences: Sequence[Sentence], answer: Text, language: str) -> Iterator[Alarm]:
    """Yield an alarm for each sentence of a reference that the most similar sentence of an answer negates."""
    if language not in LANGUAGES:
        return
    candidates = [
        (sentence.raw, _split_units(sentence.raw, language))
        for sentence in answer.sentences[:MAX_ANSWER_SENTENCES]
    ]
    for sentence in sentences if candidates else ():
        units = _split_units(sentence.raw, language)
        nearest, nearest_units = max(candidates, key=lambda candidate: _similarity(units, candidate[1]))
        if _is_flip(units, nearest_units, language):
            quotes = find_negation(sentence.raw, language), find_negation(nearest, language)
        else:
            quotes = _find_prefixed_word(units, nearest_units, language) or ("", "")
        if any(quotes):
            yield build_finding("negation", "a negation", *quotes).alarm


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(read_sections("negations.txt").get(name, ()))


@cache
def _pattern(language: str) -> re.Pattern[str] | None:
    # Return a pattern whose group ``negation`` is a negation; harmless phrases match without it.
    if not _words(language):
        return None
    negations, harmless = (
        "|".join(
            re.escape(word).replace(r"\ ", r"[\s'’]+") for word in sorted(_words(name), key=len, reverse=True)
        )
        for name in (language, f"{language} harmless")
    )
    # Python counts the vowel signs of Hindi as no letters, so blanks and marks end a word.
    bounds = ("", "") if language in WITHOUT_BLANKS else (r"(?<![^\W_])", r"(?![^\W_]|[\u0900-\u097f])")
    choices = f"(?:{harmless})|(?P<negation>{negations})" if harmless else f"(?P<negation>{negations})"
    return re.compile(f"{bounds[0]}(?:{choices}){bounds[1]}", re.IGNORECASE)


def _split_units(text: str, language: str) -> list[str]:
    # Return the words of a text, or its characters where no blanks stand between words, and `MARK` for a negation.
    pattern = _pattern(language)
    if pattern is not None:
        text = pattern.sub(lambda match: f" {MARK} " if match["negation"] else match[0], text)
    if language == "Japanese":
        text = _HIRAGANA.sub("", text)
    return (_CHARACTER if language in WITHOUT_BLANKS else _WORD).findall(text.lower())


def _similarity(units: Sequence[str], others: Sequence[str]) -> float:
    from rapidfuzz.distance import LCSseq

    return LCSseq.normalized_similarity(units, others)


def _is_flip(expected: Sequence[str], actual: Sequence[str], language: str) -> bool:
    # Return whether one of two sentences is the other one and a negation.
    from rapidfuzz.distance import LCSseq

    if (MARK in expected) == (MARK in actual):
        return False
    if language in INFLECTED:
        # A negated object changes its case: "zwroty", "zwrotów".
        expected, actual = ([unit[:STEM_LETTERS] for unit in side] for side in (expected, actual))
    optional = _words(f"{language} optional") | {MARK}
    changed = 0
    for block in LCSseq.opcodes(expected, actual):
        if block.tag != "equal":
            pieces = expected[block.src_start : block.src_end], actual[block.dest_start : block.dest_end]
            rest = [[unit for unit in piece if unit not in optional] for piece in pieces]
            if any(MARK in piece for piece in pieces) and any(rest):
                return False  # "not open" for "closed" is another wording, and ", but not on Sundays" an addition.
            changed += len(rest[0]) + len(rest[1])
    total = sum(unit not in optional for unit in (*expected, *actual))
    return bool(total) and 1 - changed / total >= MIN_SIMILARITY


def _find_prefixed_word(
    expected: Sequence[str], actual: Sequence[str], language: str
) -> tuple[str, str] | None:
    # Return a word with a negative prefix, and the word without it on the other side of equal sentences.
    if len(expected) != len(actual):
        return None
    changed = [pair for pair in zip(expected, actual, strict=True) if pair[0] != pair[1]]
    if len(changed) != 1:
        return None
    short, long = sorted(changed[0], key=len)
    is_prefixed = any(long == prefix + short for prefix in _words(f"{language} prefixes"))
    return changed[0] if is_prefixed and len(short) >= MIN_PREFIXED_LETTERS else None
