"""Compare two texts with all checks, or with those that are selected by name."""

from collections.abc import Collection
from functools import partial

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.semantics.checks import kinds, negation
from pytest_llmops.semantics.checks.alignment import (
    Alarm,
    Check,
    Comparison,
    Finding,
    Pair,
    Text,
    pair_sentences,
)
from pytest_llmops.semantics.checks.language import detect_pair_language
from pytest_llmops.semantics.checks.sentence import Sentence, split_bounded_sentences

_LANGUAGE_NEUTRAL_CHECKS: dict[str, Check] = {
    "numbers": partial(kinds.find_unlike_values, check="numbers"),
    "units": kinds.find_unit_differences,
    "dates": partial(kinds.find_unlike_values, check="dates"),
}
_ENGLISH_CHECKS: dict[str, Check] = {
    "roles": kinds.find_role_swaps,
    "negation": negation.find_negation_differences,
    "quantifiers": kinds.find_quantifier_differences,
    "antonyms": negation.find_antonyms,
    "entities": kinds.find_name_differences,
}
# All checks, in the order in which they explain a difference:
# a check leaves alone what an earlier check explains
CHECKS: tuple[str, ...] = (*_LANGUAGE_NEUTRAL_CHECKS, *_ENGLISH_CHECKS)
VERSION = "7"  # version of all checks together; with another version the same texts may raise other alarms
# Sentences of the reference that are compared, besides those that the answer repeats word by word
MAX_SENTENCES = 200
MAX_CHARS = 100_000  # characters of either text that are read


def resolve_check_names(given: object) -> tuple[str, ...]:
    """Return the names of the checks that are on, in the order of `CHECKS`.

    Args:
        given: ``"default"`` for all; names, for these alone; names with a minus, for all but these; no names, for none.

    Raises:
        UnknownName: There is no such check.
        UsageError: It is no collection of names, or some have a minus and some have none.

    >>> resolve_check_names(["units", "numbers"]), "units" in resolve_check_names(["-units"])
    (('numbers', 'units'), False)
    """
    if isinstance(given, str) and given == "default":
        return CHECKS
    if (
        isinstance(given, str)
        or not isinstance(given, Collection)
        or any(not isinstance(name, str) for name in given)
    ):
        raise UsageError(
            'assert_semantic: expected checks="default", a list of names, like ["numbers"] for these alone or ["-numbers"] for all '
            f"but these, or checks=() for no checks, got {shorten_text(repr(given), 80)}"
        )
    names = {name.removeprefix("-") for name in given}
    for name in sorted(names - set(CHECKS)):
        raise UnknownName("check", name, CHECKS)
    removed = [name.startswith("-") for name in given]
    if any(removed) and not all(removed):
        raise UsageError(
            'assert_semantic: expected checks all with a minus ("all but these") or all without ("these alone"), '
            f"got {shorten_text(repr(sorted(given)), 80)}"
        )
    return tuple(name for name in CHECKS if (name in names) != any(removed))


def compare(
    actual: str, expected: str, *, checks: Collection[str] = CHECKS, language: str = "English"
) -> Comparison:
    """Return the differences of meaning between an answer and a reference.

    Each sentence of the reference is compared with the most similar sentence of the answer. What the answer adds or
    leaves out raises no alarm. Values in digits count in any language and spelling ("48 hours", "2 days"); number words and
    the other checks are English only.

    Args:
        actual: The answer.
        expected: The reference.
        checks: Names of `CHECKS`, these alone or with a minus all but these (``["-roles"]``); ``()`` for no checks.
        language: The language of texts that are too short to tell.

    Returns:
        The alarms, and what was not compared. The same text, or an empty text, raises no alarm.

    Raises:
        TypeError: An argument is not a text.
        UsageError: There is no such check, or it is no collection of names.

    >>> compare("Refunds take 60 days.", "Refunds take 30 days.").alarms[0].message
    'another number: the reference says "30 days", the answer "60 days"'
    >>> compare("It takes two days.", "It takes 48 hours.").alarms
    ()
    """
    for argument, text in (("actual", actual), ("expected", expected)):
        if not isinstance(text, str):
            raise TypeError(f"compare: expected {argument} as a text, got {type(text).__name__}")
    checks = resolve_check_names(checks)
    if not checks or actual == expected:
        return Comparison()
    languages = detect_pair_language(expected, actual, language)
    reference, answer = (
        Text(tuple(Sentence(sentence, name) for sentence in split_bounded_sentences(text[:MAX_CHARS])))
        for text, name in zip((expected, actual), languages, strict=True)
    )
    known, without = _select_language_checks(languages, checks)
    if max(len(actual), len(expected)) > MAX_CHARS:
        without.append(f"the checks read the first {MAX_CHARS:,} characters only")
    repeated = {sentence.plain for sentence in answer.sentences}
    remaining = [sentence for sentence in reference.sentences if sentence.plain not in repeated]
    if len(remaining) > MAX_SENTENCES:
        without.append(
            f"the checks compared {MAX_SENTENCES} of {len(remaining):,} sentences of the reference"
        )
    alarms: list[Alarm] = []
    if "antonyms" in checks and "antonyms" in known and remaining[:1] == list(reference.sentences[:1]):
        alarms += [finding.alarm for finding in negation.find_opposite_answers(reference, answer)]
    for pair in pair_sentences(remaining[:MAX_SENTENCES], reference, answer):
        alarms += [
            alarm for alarm in _run_checks(pair, known) if alarm.check in checks and alarm not in alarms
        ]
    return Comparison(tuple(alarms), tuple(without))


def _select_language_checks(
    languages: tuple[str, str], checks: Collection[str]
) -> tuple[dict[str, Check], list[str]]:
    """Return the checks for the languages of two texts, and a sentence about those that do not know them."""
    language, other = languages
    if language == other == "English":
        return _LANGUAGE_NEUTRAL_CHECKS | _ENGLISH_CHECKS, []
    missing = ["number words"] * ("numbers" in checks) + [name for name in _ENGLISH_CHECKS if name in checks]
    both = f"the reference looks like {language}, the answer like {other}"
    if language == other:
        reason = f"looks like {language}"
    else:
        reason = both
    without = f"no check for {', '.join(missing)} in this language ({reason})"
    return _LANGUAGE_NEUTRAL_CHECKS, [without] if missing else []


def _run_checks(pair: Pair, checks: dict[str, Check]) -> list[Alarm]:
    findings: list[Finding] = []
    for check in checks.values():
        claimed = frozenset(finding.change for finding in findings if finding.change is not None)
        findings += list(check(pair, claimed))
    return [finding.alarm for finding in findings]
