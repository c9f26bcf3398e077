"""Does the answer leave it out: these words, this pattern?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

from pytest_llmops import recorder
from pytest_llmops.assertions import _arguments as answers
from pytest_llmops.assertions import _evidence as contrast
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.metrics.lexical import Form, Whitespace

MAX_SPANS = 100
"""Places of one text that are kept in ``detail``."""
MAX_MATCHES = 1_000_000
"""Matches of a pattern that are counted."""


def assert_not_contains(
    actual: str | None,
    unwanted: str | Sequence[str],
    *,
    whole_words: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer contains none of some texts.

    A plain search for characters: "art" is also found in "start" unless you ask for ``whole_words``, and "Art" only
    with ``ignore_case``; whoever must not say a thing at all is better asked with ``ignore_case=True``,
    ``whitespace="collapse"`` and ``unicode="NFKC"``. An empty answer contains nothing, and passes.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        unwanted: The text, or several. An empty one would be in every answer and is refused.
        whole_words: Not as a part of a longer word or number. For scripts without spaces of no use.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as one space.
        unicode: "NFC": it does not count how accents are written; "NFKC": nor full-width letters,
            ligatures and no-break spaces.
        at_least: The share of the texts that must not be there, 0 to 1; None on purpose: record only.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``text.not_contains``: the share of the texts that are not there, 0 to 1.
        ``detail["found"]`` lists the others, ``detail["spans"]`` where they stand in the answer.

    Raises:
        MeasurementFailed: The share is below the threshold; shows where each unwanted text stands.
        MeasurementErrored: There is no answer, it is no text, or it cannot be normalised.
        UsageError: Nothing to look for, or a threshold outside 0 to 1.

    >>> assert_not_contains("Within 30 days, unopened.", ["60 days", "guarantee"]).value
    1.0
    """
    __tracebackhide__ = True
    name, where = "text.not_contains", "assert_not_contains"
    texts = answers.wanted_of(where, unwanted)
    threshold = answers.threshold_of(where, at_least)
    change = answers.change_of(where, ignore_case=ignore_case, whitespace=whitespace, unicode=unicode)
    if error := answers.unfit(actual):
        return _errored(name, error, threshold, label, list(texts))
    text = str(actual)
    try:
        looked = answers.looked_for(text, texts, change, whole_words=whole_words, most=MAX_SPANS, count=True)
    except ValueError as problem:
        return _errored(name, str(problem), threshold, label, list(texts))
    origins = change.origins(text)
    found = [(one.wanted, one.places(origins), one.count) for one in looked if one.starts]
    measurement = Measurement(
        name=name,
        value=(len(texts) - len(found)) / len(texts),
        threshold=threshold,
        label=label,
        reason=f"{len(found)} of {len(texts)} unwanted texts found" if found and len(texts) > 1 else "",
        detail={
            "actual": text,
            "unwanted": list(texts),
            "found": [one for one, _, _ in found],
            "spans": [[list(place) for place in places] for _, places, _ in found],
        },
    )
    return _emit(measurement, lambda: contrast.present(text, "unwanted", found))


def assert_not_matches(
    actual: str | None,
    pattern: str | re.Pattern[str],
    *,
    ignore_case: bool = False,
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that a regular expression of Python's `re` matches nowhere in an answer.

    The pattern is yours, and so is its running time, as `assert_matches` says.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        pattern: The expression, also compiled with flags of its own.
        ignore_case: As `re.IGNORECASE`.
        unicode: The form that the answer is brought to first, as in `assert_not_contains`; the pattern is not.
        at_least: 1.0, or None on purpose: record only.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``text.not_matches``: 1 if it matches nowhere, else 0. ``detail["spans"]`` has the matches,
        places in the answer as it was brought to that form.

    Raises:
        MeasurementFailed: It matches; shows where.
        MeasurementErrored: There is no answer, it is no text, or it cannot be normalised.
        UsageError: The pattern is no regular expression (says where), or the threshold is outside 0 to 1.

    >>> assert_not_matches("Order #4711 is on its way.", r"\b\d{16}\b").status
    'passed'
    """
    __tracebackhide__ = True
    name, where = "text.not_matches", "assert_not_matches"
    compiled = answers.pattern_of(where, pattern, ignore_case=ignore_case)
    threshold = answers.threshold_of(where, at_least)
    change = answers.change_of(where, ignore_case=False, unicode=unicode)
    if error := answers.unfit(actual):
        return _errored(name, error, threshold, label, compiled.pattern)
    try:
        text = change(str(actual))
    except ValueError as problem:
        return _errored(name, str(problem), threshold, label, compiled.pattern)
    matches = compiled.finditer(text)
    places = [one.span() for one in islice(matches, MAX_SPANS)]
    count = len(places) + sum(1 for _ in islice(matches, MAX_MATCHES))
    measurement = Measurement(
        name=name,
        value=float(not places),
        threshold=threshold,
        label=label,
        detail={
            "actual": str(actual),
            "unwanted": compiled.pattern,
            "spans": [list(place) for place in places],
        },
    )
    shown = [(text[slice(*places[0])], places, count)] if places else []
    return _emit(
        measurement,
        lambda: [("pattern", compiled.pattern), *contrast.present(text, "matches", shown)],
    )


def _emit(measurement: Measurement, evidence: Callable[[], contrast.Evidence]) -> Measurement:
    __tracebackhide__ = True
    failed = measurement.status == "failed"
    return recorder.emit(measurement, evidence=evidence() if failed else ())


def _errored(name: str, error: str, threshold: float | None, label: str, unwanted: Json) -> Measurement:
    __tracebackhide__ = True
    detail = {"unwanted": unwanted}
    return recorder.emit(Measurement(name=name, error=error, threshold=threshold, label=label, detail=detail))
