"""All checks over two texts.

Which checks are on: one rule for `compare` and for assertions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Alarm, Check, Comparison
from pytest_llmops.semantics.checks.alignment import Pair, Text, find_unrepeated_sentences, pair_sentences
from pytest_llmops.semantics.checks.kinds import (
    antonyms,
    entities,
    enumerations,
    negation,
    other_words,
    quantifiers,
    roles,
    values,
)
from pytest_llmops.semantics.checks.language import detect_language
from pytest_llmops.semantics.checks.sentence import Sentence
from pytest_llmops.semantics.checks.sentence_splitter import split_sentences


def resolve_check_names(given: object, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the checks that are on, in their order.

    Args:
        given: ``"default"``; names, for these alone; names with a minus, for all but these; none at all, for none.
        known: All names.
        default: What is on unless told otherwise.

    Raises:
        ValueError: It is no collection of names, one is unknown, or some have a minus and some have none.

    >>> resolve_check_names(["-b"], ("a", "b", "c"), ("a", "b", "c")), resolve_check_names(["b"], ("a", "b", "c"), ("a",))
    (('a', 'c'), ('b',))
    """
    if isinstance(given, str) and given == "default":
        return tuple(default)
    if (
        isinstance(given, str)
        or not isinstance(given, Collection)
        or any(not isinstance(name, str) for name in given)
    ):
        raise ValueError(
            'expected checks="default", a list of names, like ["numbers"] for these alone or ["-numbers"] for all '
            f"but these, or checks=() for no checks, got {_truncate_repr(given)}"
        )
    names = {name.removeprefix("-") for name in given}
    unknown = sorted(names - set(known))
    if unknown:
        raise ValueError(
            f"checks: expected names out of {', '.join(known)}, got {_truncate_repr(unknown[0])}"
        )
    minus_signs = {name.startswith("-") for name in given}
    if len(minus_signs) > 1:
        raise ValueError(
            'expected checks all with a minus ("all but these") or all without ("these alone"), '
            f"got {_truncate_repr(sorted(given))}"
        )
    if True in minus_signs:
        return tuple(name for name in default if name not in names)
    return tuple(name for name in known if name in names)


MAX_REPR_CHARS = 80


def _truncate_repr(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= MAX_REPR_CHARS else f"{text[:MAX_REPR_CHARS]}..."


_LANGUAGE_NEUTRAL_CHECKS: dict[str, Check] = {
    "numbers": values.find_numbers,
    "units": values.find_units,
    "dates": values.find_dates,
}
_ENGLISH_CHECKS: dict[str, Check] = {
    "roles": roles.find_role_swaps,
    "negation": negation.find_negations,
    "quantifiers": quantifiers.find_quantifiers,
    "antonyms": antonyms.find_antonyms,
    "entities": entities.find_entities,
    "words": other_words.find_other_words,
}
CHECKS: tuple[str, ...] = (*_LANGUAGE_NEUTRAL_CHECKS, *_ENGLISH_CHECKS)
"""All checks, in the order in which they explain a difference: what one of them explains, the next ones leave alone."""
DEFAULT_CHECKS: tuple[str, ...] = CHECKS
"""Those that are on unless told otherwise."""
VERSION = "3"
"""Of all checks together: with another one the same texts may raise other alarms."""
MAX_SENTENCE_CHARS = 1_000
"""Characters of a sentence, beyond which it is read in pieces."""
MAX_SENTENCES = 200
"""Sentences of the reference that are compared; those that the answer repeats word by word do not count."""
MAX_CHARS = 100_000
"""Of either text, that are read."""


def compare(actual: str, expected: str, *, checks: Collection[str] = DEFAULT_CHECKS) -> Comparison:
    """Return what speaks against an answer saying the same as a reference.

    Each sentence of the reference is compared with the likest one of the answer. What the answer says
    besides raises no alarm, and neither does what it leaves out. Values count in any language and spelling
    ("48 hours", "two days"); the other checks know English only.

    Args:
        actual: The answer.
        expected: The reference.
        checks: Names out of `CHECKS`: these alone, or with a minus all but these (``["-words"]``); none
            switches all of them off.

    Returns:
        The alarms, and what was not looked at. A text compared with itself, or with an empty one, raises none.

    Raises:
        TypeError: One of both is no text.
        ValueError: There is no such check, or it is no collection of names.

    >>> compare("Refunds take 60 days.", "Refunds take 30 days.").alarms[0].message
    'another number: the reference says "30 days", the answer "60 days"'
    >>> compare("It takes two days.", "It takes 48 hours.").alarms
    ()
    """
    for argument, text in (("actual", actual), ("expected", expected)):
        if not isinstance(text, str):
            raise TypeError(f"compare: expected {argument} as a text, got {type(text).__name__}")
    checks = resolve_check_names(checks, CHECKS, DEFAULT_CHECKS)
    if not checks or actual == expected:
        return Comparison()
    reference, answer = (Text(tuple(_read_sentences(text[:MAX_CHARS]))) for text in (expected, actual))
    known, without = _select_language_checks(actual, expected, checks)
    if max(len(actual), len(expected)) > MAX_CHARS:
        without.append(f"the checks read the first {MAX_CHARS:,} characters only")
    remaining = find_unrepeated_sentences(reference, answer)
    if len(remaining) > MAX_SENTENCES:
        without.append(
            f"the checks compared {MAX_SENTENCES} of {len(remaining):,} sentences of the reference"
        )
    alarms: list[Alarm] = []
    if "antonyms" in checks and "antonyms" in known and remaining[:1] == list(reference.sentences[:1]):
        alarms += [one.alarm for one in antonyms.find_opposite_answers(reference, answer)]
    for pair in pair_sentences(remaining[:MAX_SENTENCES], reference, answer):
        alarms += [one for one in _find_alarms(pair, known) if one.check in checks and one not in alarms]
    return Comparison(tuple(alarms), tuple(without))


def _read_sentences(text: str) -> Iterator[Sentence]:
    for sentence in split_sentences(text):
        # What has no end is cut at a blank, or anywhere: a sentence is aligned in more than linear time.
        start = 0
        while len(sentence) - start > MAX_SENTENCE_CHARS:
            blank = sentence.rfind(" ", start + MAX_SENTENCE_CHARS // 2, start + MAX_SENTENCE_CHARS)
            end = blank if blank > 0 else start + MAX_SENTENCE_CHARS
            yield Sentence(sentence[start:end])
            start = end
        yield Sentence(sentence[start:])


def _select_language_checks(
    actual: str, expected: str, checks: Collection[str]
) -> tuple[dict[str, Check], list[str]]:
    foreign_language = next(
        (name for name in map(detect_language, (expected, actual)) if name != "English"), ""
    )
    if not foreign_language:
        return _LANGUAGE_NEUTRAL_CHECKS | _ENGLISH_CHECKS, []
    looks = (
        f"looks like {foreign_language}"
        if foreign_language != "another language"
        else "it does not look like English"
    )
    without = [
        f"no check for {name} in this language ({looks})" for name in _ENGLISH_CHECKS if name in checks
    ]
    return _LANGUAGE_NEUTRAL_CHECKS, without


def _find_alarms(pair: Pair, checks: dict[str, Check]) -> Sequence[Alarm]:
    alarms = _run_checks(pair, checks)
    if alarms and "words" in checks:
        # Only to explain an alarm away: two texts in one order look more like an edit than they are.
        reordered = enumerations.align_enumerations(pair)
        alarms = alarms if reordered is pair else _run_checks(reordered, checks)
    return alarms


def _run_checks(pair: Pair, checks: dict[str, Check]) -> list[Alarm]:
    claimed: frozenset[int] = frozenset()
    alarms: list[Alarm] = []
    for check in checks.values():
        findings = list(check(pair, claimed))
        claimed |= {finding.change for finding in findings if finding.change is not None}
        alarms += [finding.alarm for finding in findings]
    return alarms
