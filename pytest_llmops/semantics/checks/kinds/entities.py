"""Names and codes: Anna is not Ben, and A320 is not A330."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Found, alarm, span
from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.lexicon.synonyms import synonyms
from pytest_llmops.semantics.checks.sentence import Sentence, Token

_DOUBLED = re.compile(r"([a-z])\1")
LOOSE = 0.6
MIN_COVERED = 0.3
PREFIX, MIN_INITIALS = 4, 2


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    """Yield names in the place of other names; in another wording, where each side has one that the other lacks."""
    found = []
    for place, change in enumerate(pair.changes) if pair.alike >= LOOSE else ():
        if place in claimed:
            continue
        expected, actual = ([token for token in side if token.name] for side in change.left)
        if expected and actual and not _same(expected, actual, pair):
            found.append(
                Found(
                    alarm(
                        "entities", "another name", span(pair.expected, expected), span(pair.actual, actual)
                    ),
                    place,
                )
            )
    yield from found or _elsewhere(pair)


def _elsewhere(pair: Pair) -> Iterator[Found]:
    if pair.covered < MIN_COVERED:
        return
    missing = _names(pair.expected, pair.answer.words)
    extra = _names(pair.actual, pair.reference.words)
    if len(missing) == len(extra) == 1 and not _same(missing, extra, pair):
        yield Found(alarm("entities", "another name", missing[0].text, extra[0].text))


def _names(sentence: Sentence, others: frozenset[str]) -> list[Token]:
    return [
        token
        for token in sentence.tokens
        if token.name and token.key not in others and not _known(token.key, others)
    ]


def _known(key: str, others: frozenset[str]) -> bool:
    """Is a name there in another form: "French" for "France", or an answer in small letters?"""
    return any(
        other[:PREFIX] == key[:PREFIX] or synonyms(key, other) for other in others if len(key) >= PREFIX
    )


def _same(expected: Sequence[Token], actual: Sequence[Token], pair: Pair) -> bool:
    # "Phillips" is "Philips": doubled letters are where names are misspelt.
    one, other = (_DOUBLED.sub(r"\1", "".join(token.key for token in side)) for side in (expected, actual))
    return one == other or _initials(expected, pair.actual) or _initials(actual, pair.expected)


def _initials(tokens: Sequence[Token], other: Sentence) -> bool:
    """Is one of them the initials of words of the other sentence, "EU" of "European Union"?"""
    letters = "".join(token.key[0] for token in other.tokens)
    return any(
        token.text.isupper() and len(token.key) >= MIN_INITIALS and token.key in letters for token in tokens
    )
