"""All checks over two texts.

Which checks are on: one rule for `compare` and for assertions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Alarm, Check, Comparison
from pytest_llmops.semantics.checks.alignment import Pair, Text, pairs, unrepeated
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
from pytest_llmops.semantics.checks.language import language
from pytest_llmops.semantics.checks.sentence import Sentence
from pytest_llmops.semantics.checks.sentence_splitter import sentences


def chosen(given: object, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the checks that are on, in their order.

    Args:
        given: ``"default"``; names, for these alone; names with a minus, for all but these; none at all, for none.
        known: All names.
        default: What is on unless told otherwise.

    Raises:
        ValueError: It is no collection of names, one is unknown, or some have a minus and some have none.

    >>> chosen(["-b"], ("a", "b", "c"), ("a", "b", "c")), chosen(["b"], ("a", "b", "c"), ("a",))
    (('a', 'c'), ('b',))
    """
    if isinstance(given, str) and given == "default":
        return tuple(default)
    if (
        isinstance(given, str)
        or not isinstance(given, Collection)
        or any(not isinstance(one, str) for one in given)
    ):
        raise ValueError(
            'expected checks="default" or a list of names, like ["numbers"] for these alone '
            f'or ["-numbers"] for all but these, got {_shown(given)}'
        )
    names = {one.removeprefix("-") for one in given}
    unknown = sorted(names - set(known))
    if unknown:
        raise ValueError(f"checks: expected names out of {', '.join(known)}, got {_shown(unknown[0])}")
    off = {one.startswith("-") for one in given}
    if len(off) > 1:
        raise ValueError(
            'expected checks all with a minus ("all but these") or all without ("these alone"), '
            f"got {_shown(sorted(given))}"
        )
    if True in off:
        return tuple(one for one in default if one not in names)
    return tuple(one for one in known if one in names)


MAX_SHOWN = 80


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."


_ANY_LANGUAGE: dict[str, Check] = {
    "numbers": values.find_numbers,
    "units": values.find_units,
    "dates": values.find_dates,
}
_ENGLISH: dict[str, Check] = {
    "roles": roles.find,
    "negation": negation.find,
    "quantifiers": quantifiers.find,
    "antonyms": antonyms.find,
    "entities": entities.find,
    "words": other_words.find,
}
CHECKS: tuple[str, ...] = (*_ANY_LANGUAGE, *_ENGLISH)
"""All checks, in the order in which they explain a difference: what one of them explains, the next ones leave alone."""
DEFAULT: tuple[str, ...] = CHECKS
"""Those that are on unless told otherwise."""
VERSION = "3"
"""Of all checks together: with another one the same texts may raise other alarms."""
MAX_SENTENCE = 1_000
"""Characters of a sentence, beyond which it is read in pieces."""
MAX_SENTENCES = 200
"""Sentences of the reference that are compared; those that the answer repeats word by word do not count."""
MAX_CHARS = 100_000
"""Of either text, that are read."""


def compare(actual: str, expected: str, *, checks: Collection[str] = DEFAULT) -> Comparison:
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
    for what, text in (("actual", actual), ("expected", expected)):
        if not isinstance(text, str):
            raise TypeError(f"compare: expected {what} as a text, got {type(text).__name__}")
    checks = chosen(checks, CHECKS, DEFAULT)
    if not checks or actual == expected:
        return Comparison()
    reference, answer = (Text(tuple(_read(text[:MAX_CHARS]))) for text in (expected, actual))
    known, without = _for_language(actual, expected, checks)
    if max(len(actual), len(expected)) > MAX_CHARS:
        without.append(f"the checks read the first {MAX_CHARS:,} characters only")
    left = unrepeated(reference, answer)
    if len(left) > MAX_SENTENCES:
        without.append(f"the checks compared {MAX_SENTENCES} of {len(left):,} sentences of the reference")
    found: list[Alarm] = []
    if "antonyms" in checks and "antonyms" in known and left[:1] == list(reference.sentences[:1]):
        found += [one.alarm for one in antonyms.leading(reference, answer)]
    for pair in pairs(left[:MAX_SENTENCES], reference, answer):
        found += [one for one in _alarms(pair, known) if one.check in checks and one not in found]
    return Comparison(tuple(found), tuple(without))


def _read(text: str) -> Iterator[Sentence]:
    for one in sentences(text):
        # What has no end is cut at a blank, or anywhere: a sentence is aligned in more than linear time.
        start = 0
        while len(one) - start > MAX_SENTENCE:
            blank = one.rfind(" ", start + MAX_SENTENCE // 2, start + MAX_SENTENCE)
            end = blank if blank > 0 else start + MAX_SENTENCE
            yield Sentence(one[start:end])
            start = end
        yield Sentence(one[start:])


def _for_language(actual: str, expected: str, checks: Collection[str]) -> tuple[dict[str, Check], list[str]]:
    foreign = next((name for name in map(language, (expected, actual)) if name != "English"), "")
    if not foreign:
        return _ANY_LANGUAGE | _ENGLISH, []
    looks = f"looks like {foreign}" if foreign != "another language" else "it does not look like English"
    without = [f"no check for {name} in this language ({looks})" for name in _ENGLISH if name in checks]
    return _ANY_LANGUAGE, without


def _alarms(pair: Pair, known: dict[str, Check]) -> Sequence[Alarm]:
    found = _of_all(pair, known)
    if found and "words" in known:
        # Only to explain an alarm away: two texts in one order look more like an edit than they are.
        ordered = enumerations.in_order(pair)
        found = found if ordered is pair else _of_all(ordered, known)
    return found


def _of_all(pair: Pair, known: dict[str, Check]) -> list[Alarm]:
    claimed: frozenset[int] = frozenset()
    found: list[Alarm] = []
    for check in known.values():
        new = list(check(pair, claimed))
        claimed |= {one.change for one in new if one.change is not None}
        found += [one.alarm for one in new]
    return found
