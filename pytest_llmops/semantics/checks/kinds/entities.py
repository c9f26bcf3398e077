"""Names and codes: Anna is not Ben, and A320 is not A330."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm, span_text
from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.lexicon.synonyms import are_synonyms
from pytest_llmops.semantics.checks.sentence import Sentence, Token

_DOUBLED = re.compile(r"([a-z])\1")
MIN_SIMILARITY = 0.6
MIN_COVERAGE = 0.3
PREFIX_LETTERS, MIN_INITIALS = 4, 2


def find_entities(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield names in the place of other names; in another wording, where each side has one that the other lacks."""
    findings = []
    for place, change in enumerate(pair.changes) if pair.token_similarity >= MIN_SIMILARITY else ():
        if place in claimed:
            continue
        expected, actual = ([token for token in side if token.name] for side in change.left)
        if expected and actual and not _is_same_name(expected, actual, pair):
            findings.append(
                Finding(
                    build_alarm(
                        "entities",
                        "another name",
                        span_text(pair.expected, expected),
                        span_text(pair.actual, actual),
                    ),
                    place,
                )
            )
    yield from findings or _find_reworded_entities(pair)


def _find_reworded_entities(pair: Pair) -> Iterator[Finding]:
    if pair.covered < MIN_COVERAGE:
        return
    missing = _unmatched_names(pair.expected, pair.answer.words)
    extra = _unmatched_names(pair.actual, pair.reference.words)
    if len(missing) == len(extra) == 1 and not _is_same_name(missing, extra, pair):
        yield Finding(build_alarm("entities", "another name", missing[0].text, extra[0].text))


def _unmatched_names(sentence: Sentence, other_words: frozenset[str]) -> list[Token]:
    return [
        token
        for token in sentence.tokens
        if token.name and token.key not in other_words and not _matches_other_form(token.key, other_words)
    ]


def _matches_other_form(key: str, other_words: frozenset[str]) -> bool:
    """Is a name there in another form: "French" for "France", or an answer in small letters?"""
    return any(
        word[:PREFIX_LETTERS] == key[:PREFIX_LETTERS] or are_synonyms(key, word)
        for word in other_words
        if len(key) >= PREFIX_LETTERS
    )


def _is_same_name(expected: Sequence[Token], actual: Sequence[Token], pair: Pair) -> bool:
    # "Phillips" is "Philips": doubled letters are where names are misspelt.
    expected_letters, actual_letters = (
        _DOUBLED.sub(r"\1", "".join(token.key for token in side)) for side in (expected, actual)
    )
    return (
        expected_letters == actual_letters
        or _has_initials_of(expected, pair.actual)
        or _has_initials_of(actual, pair.expected)
    )


def _has_initials_of(tokens: Sequence[Token], sentence: Sentence) -> bool:
    """Is one of them the initials of words of the other sentence, "EU" of "European Union"?"""
    letters = "".join(token.key[0] for token in sentence.tokens)
    return any(
        token.text.isupper() and len(token.key) >= MIN_INITIALS and token.key in letters for token in tokens
    )
