"""Compare two texts with all checks, or with those that are selected by name."""

from collections.abc import Collection
from functools import partial
from typing import cast

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.semantics.checks import names, negation, quantifiers, roles, things, values
from pytest_llmops.semantics.checks.alignment import (
    Check,
    Comparison,
    Finding,
    Pair,
    Text,
    pair_sentences,
)
from pytest_llmops.semantics.checks.identifiers import find_other_identifiers
from pytest_llmops.semantics.checks.language import detect_pair_language
from pytest_llmops.semantics.checks.polarity import find_contrary_answer
from pytest_llmops.semantics.checks.sentence import Sentence, split_bounded_sentences

# Checks of the whole texts, and not of pairs of sentences
IDENTIFIERS = "identifiers"  # in any language
POLARITY = "polarity"  # English, and only with a question
_LANGUAGE_NEUTRAL_CHECKS: dict[str, Check] = {
    "numbers": partial(values.find_unlike_values, check="numbers"),
    "units": values.find_unit_differences,
    "dates": partial(values.find_unlike_values, check="dates"),
}
_ENGLISH_CHECKS: dict[str, Check] = {
    "things": things.find_other_things,
    "roles": roles.find_role_swaps,
    "negation": negation.find_negation_differences,
    "quantifiers": quantifiers.find_quantifier_differences,
    "antonyms": negation.find_antonyms,
    "entities": names.find_name_differences,
}
# All checks, in the order in which they run:
# a check ignores the changes that an earlier check has claimed
CHECKS: tuple[str, ...] = (*_LANGUAGE_NEUTRAL_CHECKS, IDENTIFIERS, *_ENGLISH_CHECKS, POLARITY)
VERSION = "9"  # version of all checks together; with another version the same texts may raise other alarms
# Sentences of the reference that are compared, besides those that the answer repeats word by word
MAX_SENTENCES = 200
MAX_CHARS = 100_000  # characters of either text that are read


def resolve_check_names(given: object) -> tuple[str, ...]:
    """Return the names of the checks that are on, in the order of `CHECKS`.

    Args:
        given: ``"default"``: all checks; names: only these; names with a minus: all but these; an empty list: none.

    Raises:
        UnknownName: The check does not exist.
        UsageError: It is not a collection of names, or only some of them have a minus.

    >>> resolve_check_names(["units", "numbers"]), "units" in resolve_check_names(["-units"])
    (('numbers', 'units'), False)
    """
    if isinstance(given, str) and given == "default":
        return CHECKS
    switches = _read_switches(given)
    named = {name.removeprefix("-") for name in switches}
    unknown = named.difference(CHECKS)
    if unknown:
        raise UnknownName("check", min(unknown), CHECKS)
    removed = [name for name in switches if name.startswith("-")]
    if not removed:
        return tuple(name for name in CHECKS if name in named)
    if len(removed) < len(switches):
        listed = shorten_text(repr(sorted(switches)), 80)
        raise UsageError(
            'assert_semantic: expected checks all with a minus ("all but these") or all without ("only these"), '
            f"got {listed}"
        )
    return tuple(name for name in CHECKS if name not in named)


def _read_switches(given: object) -> Collection[str]:
    """Return the given names, with or without a minus; raise a `UsageError` if it is not a collection of texts."""
    is_list = isinstance(given, Collection) and not isinstance(given, str)
    if is_list and all(isinstance(name, str) for name in cast("Collection[object]", given)):
        return cast("Collection[str]", given)
    raise UsageError(
        'assert_semantic: expected checks="default", a list of names, like ["numbers"] for only these or ["-numbers"] for all '
        f"but these, or checks=() for no checks, got {shorten_text(repr(given), 80)}"
    )


def compare(
    actual: str,
    expected: str,
    *,
    checks: Collection[str] = CHECKS,
    language: str = "English",
    question: str = "",
) -> Comparison:
    """Return the differences of meaning between an answer and a reference.

    Each sentence of the reference is compared with the most similar sentence of the answer. A sentence that only one
    of them has raises no alarm. Identifiers, and the answer to a yes-or-no question, are compared in the whole texts. Values
    in digits count in any language and spelling ("48 hours", "2 days"), and so do identifiers; number words and the other
    checks are English only.

    Args:
        actual: The answer.
        expected: The reference.
        checks: Names of `CHECKS`: only these, or with a minus all but these (``["-roles"]``); ``()`` for no checks.
        language: The language of texts that are too short to tell.
        question: The question. Only the check ``polarity`` reads it, and finds nothing without it.

    Returns:
        The alarms, and what the checks did not compare. The same text, or an empty text, raises no alarm.

    Raises:
        TypeError: An argument is not a text.
        UsageError: A check does not exist, or it is not a collection of names.

    >>> compare("Refunds take 60 days.", "Refunds take 30 days.").alarms[0].message
    'another number: the reference says "30 days", the answer "60 days"'
    >>> compare("It takes two days.", "It takes 48 hours.").alarms
    ()
    >>> compare("You can bring a dog.", "No, only guide dogs.", question="Can I bring a dog?").alarms[0].check
    'polarity'
    """
    for argument, text in (("actual", actual), ("expected", expected), ("question", question)):
        if not isinstance(text, str):
            raise TypeError(f"compare: expected {argument} as a text, got {type(text).__name__}")
    checks = resolve_check_names(checks)
    if not question:
        checks = tuple(name for name in checks if name != POLARITY)
    if not checks or actual == expected:
        return Comparison()
    languages = detect_pair_language(expected, actual, language)
    reference = _read_text(expected, languages[0])
    answer = _read_text(actual, languages[1])
    known, without = _select_language_checks(languages, checks)
    if max(len(actual), len(expected)) > MAX_CHARS:
        without.append(f"the checks read the first {MAX_CHARS:,} characters only")
    repeated = {sentence.plain for sentence in answer.sentences}
    remaining = [sentence for sentence in reference.sentences if sentence.plain not in repeated]
    if len(remaining) > MAX_SENTENCES:
        count = f"{MAX_SENTENCES} of {len(remaining):,}"
        without.append(f"the checks compared {count} sentences of the reference")
    findings: list[Finding] = []
    if IDENTIFIERS in checks:
        findings += find_other_identifiers(expected[:MAX_CHARS], actual[:MAX_CHARS])
    # An opening "Yes" or "No" is compared separately, unless the answer repeats the whole first sentence.
    opening = list(reference.sentences[:1])
    is_opening_repeated = remaining[:1] != opening
    if "antonyms" in known and not is_opening_repeated:
        findings += negation.find_opposite_answers(reference, answer)
    if POLARITY in checks and "negation" in known:
        findings += find_contrary_answer(question, reference, answer)
    for pair in pair_sentences(remaining[:MAX_SENTENCES], reference, answer):
        findings += _run_checks(pair, known)
    all_alarms = dict.fromkeys(finding.alarm for finding in findings)
    alarms = [alarm for alarm in all_alarms if alarm.check in checks]
    return Comparison(tuple(alarms), tuple(without))


def _read_text(text: str, language: str) -> Text:
    sentences = split_bounded_sentences(text[:MAX_CHARS])
    return Text(tuple(Sentence(sentence, language) for sentence in sentences))


def _select_language_checks(
    languages: tuple[str, str], checks: Collection[str]
) -> tuple[dict[str, Check], list[str]]:
    """Return the checks that know the languages of two texts, and a sentence about requested checks that do not.

    The checks include some that are switched off: they claim their changes all the same.
    """
    language, other = languages
    if language == other == "English":
        return _LANGUAGE_NEUTRAL_CHECKS | _ENGLISH_CHECKS, []
    missing = [name for name in (*_ENGLISH_CHECKS, POLARITY) if name in checks]
    if "numbers" in checks:
        missing.insert(0, "number words")
    if not missing:
        return _LANGUAGE_NEUTRAL_CHECKS, []
    if language == other:
        reason = f"looks like {language}"
    else:
        reason = f"the reference looks like {language}, the answer like {other}"
    without = f"no check for {', '.join(missing)} in this language ({reason})"
    return _LANGUAGE_NEUTRAL_CHECKS, [without]


def _run_checks(pair: Pair, checks: dict[str, Check]) -> list[Finding]:
    """Return the findings of all checks, run in order; each check is given the changes that earlier ones claimed."""
    findings: list[Finding] = []
    for check in checks.values():
        claimed = frozenset(finding.change for finding in findings if finding.change is not None)
        findings += check(pair, claimed)
    return findings
