"""Names and codes: Anna is not Ben, and A320 is not A330."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.lexicon.synonyms import are_synonyms
from pytest_llmops.semantics.checks.sentence import Sentence, Token

_DOUBLED = re.compile(r"([a-z])\1")
MIN_SIMILARITY = 0.6
MIN_COVERAGE = 0.3
PREFIX_LETTERS, MIN_INITIALS = 4, 2


def find_name_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield names in the place of other names; in another wording, names that only a single side has."""
    findings = []
    for place, change in pair.unclaimed_changes(claimed) if pair.token_similarity >= MIN_SIMILARITY else ():
        expected, actual = ([token for token in side if token.name] for side in change.unmatched)
        if expected and actual and not _are_same_name(expected, actual, pair):
            texts = pair.span_texts(expected, actual)
            findings.append(build_finding("entities", "another name", *texts, place))
    if not findings and pair.coverage >= MIN_COVERAGE:
        missing = _unmatched_names(pair.expected, pair.answer.words)
        extra = _unmatched_names(pair.actual, pair.reference.words)
        if len(missing) == len(extra) == 1 and not _are_same_name(missing, extra, pair):
            findings = [build_finding("entities", "another name", missing[0].text, extra[0].text)]
    yield from findings


def _unmatched_names(sentence: Sentence, other_words: frozenset[str]) -> list[Token]:
    """Return the names that other words do not have in any form: "French" for "France", or in small letters."""
    return [
        token
        for token in sentence.tokens
        if token.name
        and token.key not in other_words
        and not (
            len(token.key) >= PREFIX_LETTERS
            and any(
                word[:PREFIX_LETTERS] == token.key[:PREFIX_LETTERS] or are_synonyms(token.key, word)
                for word in other_words
            )
        )
    ]


def _are_same_name(expected: Sequence[Token], actual: Sequence[Token], pair: Pair) -> bool:
    # "Phillips" is "Philips": doubled letters are where names are misspelt.
    names, other_names = (
        _DOUBLED.sub(r"\1", "".join(token.key for token in side)) for side in (expected, actual)
    )
    # "EU" is "European Union".
    initials, other_initials = ("".join(token.key[0] for token in side.tokens) for side in pair.sides)
    return names == other_names or any(
        token.text.isupper() and len(token.key) >= MIN_INITIALS and token.key in letters
        for tokens, letters in ((expected, other_initials), (actual, initials))
        for token in tokens
    )
