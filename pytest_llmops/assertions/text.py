"""Does the answer say it: these words, this pattern, nearly this text, exactly this text?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial as bind
from typing import get_args

from pytest_llmops import contrast, recorder
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement, shorten
from pytest_llmops.metrics import lexical
from pytest_llmops.metrics.lexical import Form, Whitespace


def assert_contains(
    actual: str | None,
    expected: str | Sequence[str],
    *,
    any_of: bool = False,
    ignore_case: bool = False,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that an answer contains a text, or all of several.

    A plain search for characters: "30 days" is also found in "130 days" (`assert_matches` with
    ``\b30 days\b`` is not that lenient), and not in "30  days".

    Args:
        actual: The answer. An empty one contains nothing; None (the model said nothing) cannot be scored.
        expected: The text, or several. An empty one would be in every answer and is refused.
        any_of: One of the texts is enough.
        ignore_case: Case does not count, in the Unicode sense.
        at_least: The share of the texts that must be there, 0 to 1; None on purpose: record only.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``text.contains``: the share of the texts found, 0 to 1; with ``any_of`` 1 if
        one is there, else 0. ``detail["missing"]`` lists the others.

    Raises:
        MeasurementFailed: The share is below the bound; shows the nearest span for each missing text.
        MeasurementErrored: There is no answer, or it is no text.
        UsageError: Nothing to look for, or a bound outside 0 to 1.

    >>> assert_contains("Within 30 days, unopened.", ["30 days", "unopened"]).value
    1.0
    """
    __tracebackhide__ = True
    wanted = _wanted(expected)
    bound = _bound("assert_contains", at_least)
    if error := _unfit(actual):
        return _errored("text.contains", error, bound, label, list(wanted))
    text = str(actual)
    folded = text.casefold() if ignore_case else text
    missing = [one for one in wanted if (one.casefold() if ignore_case else one) not in folded]
    share = (len(wanted) - len(missing)) / len(wanted)
    measurement = Measurement(
        name="text.contains",
        value=float(share > 0) if any_of else share,
        bound=bound,
        label=label,
        reason=_tally(len(wanted), len(missing), any_of=any_of),
        detail={"actual": text, "expected": list(wanted), "missing": list(missing)},
    )
    return _emit(measurement, lambda: contrast.absent(text, missing, ignore_case=ignore_case))


def assert_matches(
    actual: str | None,
    pattern: str | re.Pattern[str],
    *,
    full: bool = False,
    ignore_case: bool = False,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that an answer matches a regular expression of Python's `re`.

    The pattern is yours, and so is its running time: nested repetitions (``(a+)+b``) can take forever over
    an answer that somebody else writes.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        pattern: The expression, also compiled with flags of its own.
        full: The whole answer has to match, not only a part of it.
        ignore_case: As `re.IGNORECASE`.
        at_least: 1.0, or None on purpose: record only.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``text.matches``: 1 or 0.

    Raises:
        MeasurementFailed: It does not match; says with which flag it would, and with ``full`` how far it got.
        MeasurementErrored: There is no answer, or it is no text.
        UsageError: The pattern is no regular expression (says where), or the bound is outside 0 to 1.

    >>> assert_matches("Order #4711 is on its way.", r"#\d{4}\b").status
    'passed'
    """
    __tracebackhide__ = True
    compiled = _compiled(pattern, re.IGNORECASE if ignore_case else 0)
    bound = _bound("assert_matches", at_least)
    if error := _unfit(actual):
        return _errored("text.matches", error, bound, label, compiled.pattern)
    text = str(actual)
    found = compiled.fullmatch(text) if full else compiled.search(text)
    measurement = Measurement(
        name="text.matches",
        value=float(found is not None),
        bound=bound,
        label=label,
        detail={"actual": text, "expected": compiled.pattern},
    )
    return _emit(measurement, lambda: contrast.unmatched(text, compiled, full=full))


def assert_fuzzy(
    actual: str | None,
    expected: str,
    *,
    at_least: float | None,
    partial: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    label: str = "",
) -> Measurement:
    """Assert that an answer is nearly a text, letter by letter.

    There is no default bound, as none fits: one digit changed in "30 days" still scores 0.86, a
    "not" in a paragraph 0.98, and two unrelated sentences about 0.4. Good for spelling, names, quotes and
    layout (try 0.9); for what is meant see `assert_semantic` and `assert_judge_score`.

    Args:
        actual: The answer. An empty one scores 0; None (the model said nothing) cannot be scored.
        expected: The text it should nearly be.
        at_least: 0 to 1; None on purpose: record only.
        partial: Compare with the best matching part of the answer, for a quote within a longer text.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as one space.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``text.fuzzy``, 0 (nothing in common) to 1 (equal): `fuzz.ratio` of rapidfuzz
        over 100, with ``partial`` `fuzz.partial_ratio`. Its version says which of the two.

    Raises:
        MeasurementFailed: The score is below the bound; shows the nearest span and a word diff.
        MeasurementErrored: There is no answer, it is no text, or the texts are too long to be compared
            (see `pytest_llmops.metrics.lexical.fuzzy`).
        UsageError: ``expected`` is no text, an option has the wrong form, or the bound is outside 0 to 1.

    >>> round(assert_fuzzy("Angela Merkl", "Angela Merkel", at_least=0.9).value, 2)
    0.96
    """
    __tracebackhide__ = True
    bound = _bound("assert_fuzzy", at_least)
    normalise = _normaliser("assert_fuzzy", ignore_case=ignore_case, whitespace=whitespace)
    _check_reference("assert_fuzzy", expected)
    if error := _unfit(actual):
        return _errored("text.fuzzy", error, bound, label, expected)
    text = str(actual)
    try:
        left, right = normalise(text), normalise(expected)
        value = lexical.fuzzy(left, right, partial=partial)
    except ValueError as problem:
        return _errored("text.fuzzy", str(problem), bound, label, expected)
    measurement = Measurement(
        name="text.fuzzy",
        value=value,
        bound=bound,
        label=label,
        version="partial" if partial else "ratio",
        detail={"actual": text, "expected": expected},
    )
    return _emit(measurement, lambda: contrast.unlike(left, right))


def assert_exact(
    actual: str | None,
    expected: str,
    *,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer is a text, character by character.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        expected: The text; the empty one asserts that nothing was said.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as one space.
        unicode: "NFC": it does not count how accents are written; "NFKC": nor full-width letters,
            ligatures and no-break spaces.
        at_least: 1.0, or None on purpose: record only.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``text.exact``: 1 or 0.

    Raises:
        MeasurementFailed: They differ; names the first character that does, shows a word diff, and says
            which option would make them equal.
        MeasurementErrored: There is no answer, or it is no text.
        UsageError: ``expected`` is no text, or an option has the wrong form.

    >>> assert_exact("Yes ", "yes", ignore_case=True, whitespace="strip").status
    'passed'
    """
    __tracebackhide__ = True
    bound = _bound("assert_exact", at_least)
    normalise = _normaliser("assert_exact", ignore_case=ignore_case, whitespace=whitespace, unicode=unicode)
    _check_reference("assert_exact", expected)
    if error := _unfit(actual):
        return _errored("text.exact", error, bound, label, expected)
    text = str(actual)
    try:
        left, right = normalise(text), normalise(expected)
    except ValueError as problem:
        return _errored("text.exact", str(problem), bound, label, expected)
    measurement = Measurement(
        name="text.exact",
        value=float(left == right),
        bound=bound,
        label=label,
        detail={"actual": text, "expected": expected},
    )
    return _emit(measurement, lambda: contrast.different(left, right))


def _emit(measurement: Measurement, evidence: Callable[[], contrast.Evidence]) -> Measurement:
    __tracebackhide__ = True
    failed = measurement.status == "failed"
    return recorder.emit(measurement, evidence=evidence() if failed else ())


def _errored(name: str, error: str, bound: float | None, label: str, expected: Json) -> Measurement:
    __tracebackhide__ = True
    detail = {"expected": expected}
    return recorder.emit(Measurement(name=name, error=error, bound=bound, label=label, detail=detail))


def _unfit(actual: object) -> str:
    """Say why an answer cannot be scored, or nothing."""
    if isinstance(actual, str):
        return ""
    if actual is None:
        return "the answer is None, expected text"
    hint = "; pass its .text" if isinstance(getattr(actual, "text", None), str) else ""
    return f"the answer is {_kind(actual)}, expected text{hint}"


def _kind(value: object) -> str:
    if value is None:
        return "None"
    return "an empty text" if value == "" else f"an object of type {type(value).__name__}"


def _bound(where: str, at_least: object) -> float | None:
    __tracebackhide__ = True
    if at_least is None:
        return None
    if isinstance(at_least, bool) or not isinstance(at_least, (int, float)) or not 0 <= at_least <= 1:
        raise UsageError(f"{where}: expected at_least from 0 to 1, or None to record only, got {at_least!r}")
    return float(at_least)


def _wanted(expected: object) -> tuple[str, ...]:
    __tracebackhide__ = True
    found = (expected,) if isinstance(expected, str) else expected
    if not isinstance(found, Sequence) or isinstance(found, (bytes, bytearray)):
        raise UsageError(f"assert_contains: expected a text or several to look for, got {_kind(expected)}")
    if not found:
        raise UsageError("assert_contains: expected at least one text to look for, got none")
    for number, one in enumerate(found, start=1):
        if not isinstance(one, str) or not one:
            raise UsageError(
                f"assert_contains: expected texts to look for, got {_kind(one)} as number {number}"
            )
    return tuple(found)


def _check_reference(where: str, expected: object) -> None:
    __tracebackhide__ = True
    if not isinstance(expected, str):
        raise UsageError(f"{where}: expected a text to compare with, got {_kind(expected)}")


def _compiled(pattern: object, flags: int) -> re.Pattern[str]:
    __tracebackhide__ = True
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(text, str):
        raise UsageError(f"assert_matches: expected a pattern of text, got {_kind(text)}")
    flags |= pattern.flags & ~re.DEBUG if isinstance(pattern, re.Pattern) else 0
    try:
        return re.compile(text, flags)
    except re.error as error:
        problem = f"{error.msg} at position {error.pos}"
    except (OverflowError, RecursionError) as error:
        problem = str(error)
    raise UsageError(f"assert_matches: '{shorten(text)}' is no regular expression: {problem}")


def _normaliser(
    where: str, *, ignore_case: bool, whitespace: Whitespace, unicode: Form = "keep"
) -> Callable[[str], str]:
    __tracebackhide__ = True
    for name, value, kind in (("whitespace", whitespace, Whitespace), ("unicode", unicode, Form)):
        if value not in get_args(kind):
            allowed = ", ".join(map(repr, get_args(kind)))
            raise UsageError(f"{where}: expected {name} to be one of {allowed}, got {value!r}")
    case: lexical.Case = "fold" if ignore_case else "keep"
    return bind(lexical.normalise, case=case, whitespace=whitespace, unicode=unicode)


def _tally(wanted: int, missing: int, *, any_of: bool) -> str:
    if wanted == 1 or not missing:
        return ""
    if not any_of:
        return f"{missing} of {wanted} texts missing"
    return f"none of {wanted} texts is in the answer" if missing == wanted else ""
