"""Assert that an application knows by its confidence what to answer, and that a correcting step improves answers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from random import Random
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import (
    Json,
    Measurement,
    as_finite_float,
    format_amount,
    format_count,
    require_list,
    shorten_text,
    to_builtins,
)
from pytest_llmops.metrics.change.trials import mcnemar_p_value
from pytest_llmops.metrics.classification import roc_auc, wilson_interval
from pytest_llmops.metrics.confidence import coverage_curve, reliability_bins
from pytest_llmops.protocols import Call

__tracebackhide__ = True

OUTCOMES = ("answered", "fallback", "flagged")
AXES: dict[str, Json] = {"x": "confidence", "y": "share that is right", "diagonal": True}
Z_ONE_SIDED = 1.644854  # the normal quantile of 95 %, for a one-sided interval
LEAST_FOR_ECE = 500  # labels from which the expected calibration error is measured
MAX_LISTED = 3
MAX_CHANGED = 2_000
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class _Record:
    """An answer of the application, or its action instead of an answer.

    Attributes:
        correct: Whether it is right; None: not known, as nothing was answered.
        unhandled: Why it counts as neither answered nor taken care of; "" if it is handled.
        data: The mapping as it was given.
    """

    id: str
    family: str
    confidence: float
    correct: bool | None
    outcome: str
    unhandled: str
    data: Mapping[str, Any]


def assert_confidence(
    records: Iterable[Mapping[str, Any]],
    *,
    at_least_accuracy: float | None,
    at_least_coverage: float | None,
    threshold: float | None = None,
    seed: int = 0,
    queue: str | None = None,
    label: str = "",
) -> Measurement:
    """Assert that answers are correct and that enough was answered.

    All other records must have got a default answer or have gone to a person.     Accuracy and coverage are compared by the lower ends of their 95 % intervals (Wilson, one-sided).

    Args:
        records: Mappings with ``confidence`` (0 to 1), ``correct`` (True or False, not needed where nothing was
            answered) and ``outcome``: ``answered``, ``fallback`` (the default answer) or ``flagged`` (for a person).
            They may have ``id``, ``input``, ``output`` and ``family``. If no record has an ``outcome``, the outcomes
            follow from ``threshold``. Without ``threshold``, one is chosen on half of the records (the one with the
            most answers that still proves the accuracy) and checked on the other half.
        at_least_accuracy: Threshold of the share of answered records that are correct. None: record only.
        at_least_coverage: Threshold of the share of records that are answered. None: record only.
        threshold: The confidence from which the application answers, 0 to 1. An ``answered`` record below it is
            unhandled. Records without an ``outcome`` count as answered from it on, below it as the default answer.
        seed: Chooses the halves. All records of a ``family`` are in the same half.
        queue: File of a review queue to which the flagged records are added. None: no file is written.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``confidence.accuracy_lower``. Also recorded are ``.coverage_lower``, ``.unhandled`` (records
        that were neither answered nor handled in another way), ``.auroc`` (ties count half) and, from 500 labels on,
        ``.ece``.

    Raises:
        MeasurementFailed: A threshold is missed, or a record is unhandled.
        MeasurementErrored: Too few records are answered to prove the accuracy, even if all were correct.
        UsageError: A record has no label or no confidence from 0 to 1, only some records have an outcome, all
            confidences are equal, or another argument has the wrong form.

    >>> rows = [{"confidence": n / 200, "correct": n > 60, "outcome": "answered" if n > 80 else "flagged"} for n in range(200)]
    >>> round(assert_confidence(rows, at_least_accuracy=0.95, at_least_coverage=0.5).value, 3)
    0.978
    """
    given_queue: object = queue
    is_file_or_none = isinstance(given_queue, (str, PathLike, type(None))) and "\0" not in str(queue)
    if type(seed) is not int or not is_file_or_none:
        raise UsageError(
            f"assert_confidence: expected seed to be a whole number, and queue a file or None, got {seed!r} and {queue!r}"
        )
    least_accuracy = parse_share_threshold("assert_confidence", at_least_accuracy, "at_least_accuracy")
    least_coverage = parse_share_threshold("assert_confidence", at_least_coverage, "at_least_coverage")
    answers_from = parse_share_threshold("assert_confidence", threshold, "threshold")
    given = require_list(records, Mapping, "assert_confidence: expected mappings with confidence and correct")
    rows = [_read_record(number, record, answers_from) for number, record in enumerate(given, start=1)]
    confidences = {row.confidence for row in rows}
    outcomes = sum("outcome" in record for record in given)
    if outcomes not in (0, len(given)) or len(confidences) < 2:  # noqa: PLR2004 -- not all equal
        confidence_count = format_count(len(confidences), "confidence")
        outcome_count = format_count(outcomes, "outcome")
        raise UsageError(
            "assert_confidence: expected records whose confidences are not all equal, and an outcome in all or none of them, got "
            f"{len(rows):,} with {confidence_count} and {outcome_count}"
        )
    basis = ""
    if not outcomes and answers_from is not None:
        basis = f" of a confidence from {answers_from:.4g} on"
    elif not outcomes:
        chosen, rows = _choose_threshold(rows, least_accuracy or 0.0, seed)
        basis = f" of a confidence from {chosen:.4g} on, which the other half chose,"
    if queue is not None:
        _queue_flagged(rows, queue)
    emissions = _measure_shares(rows, least_accuracy, least_coverage, basis, label)
    emissions += _measure_confidences(rows, label)
    return recorder.emit_together(emissions)[0]


def _read_record(number: int, record: Mapping[str, Any], threshold: float | None) -> _Record:
    """Return a record; raise a `UsageError` if its confidence, outcome or label is missing or wrong.

    A record without an outcome counts as answered from the threshold on, else as the default answer.
    """
    confidence = as_finite_float(record.get("confidence"))
    if confidence is None or not 0 <= confidence <= 1:
        raise _unreadable_record(
            number, record, "confidence", "a number from 0 to 1 (a missing one is not 0)"
        )
    is_below = confidence < (threshold or 0.0)
    if "outcome" in record:
        outcome = record["outcome"]
    elif is_below:
        outcome = "fallback"
    else:
        outcome = "answered"
    if not isinstance(outcome, str):
        outcomes = ", ".join(OUTCOMES)
        raise _unreadable_record(number, record, "outcome", f"a text ({outcomes})")
    correct = record.get("correct")
    is_unlabelled = correct is None and outcome != "answered"
    if not is_unlabelled and not _is_bool(correct):
        raise _unreadable_record(number, record, "correct", "True or False")
    if not is_unlabelled:
        correct = bool(correct)
    unhandled = ""
    if outcome not in OUTCOMES:
        unhandled = outcome
    elif outcome == "answered" and is_below:
        unhandled = f"answered, below {threshold:.4g}"
    place = f"record {number}"
    id_ = str(record.get("id", place))
    family = str(record.get("family") or place)
    return _Record(
        id=id_,
        family=family,
        confidence=confidence,
        correct=correct,
        outcome=outcome,
        unhandled=unhandled,
        data=record,
    )


def _is_bool(value: object) -> bool:
    """Return whether a value is a bool of Python or of numpy."""
    return type(value).__name__ in ("bool", "bool_")


def _unreadable_record(number: int, record: Mapping[str, Any], key: str, expected: str) -> UsageError:
    given = shorten_text(repr(record.get(key)), 80)
    return UsageError(f"assert_confidence: record {number}: {key}: expected {expected}, got {given}")


def _choose_threshold(rows: Sequence[_Record], accuracy: float, seed: int) -> tuple[float, list[_Record]]:
    """Choose a threshold on one half of the records; return it, and the other half with the outcomes it leads to.

    It is the lowest threshold that proves the accuracy; if none does, the one that proves most.
    """
    families = sorted({row.family for row in rows})
    if len(families) == 1:
        raise UsageError(
            "assert_confidence: expected two families or more, to choose a threshold on half of them"
        )
    Random(seed).shuffle(families)  # noqa: S311 -- no secret
    choosing = set(families[::2])
    first_half = [row for row in rows if row.family in choosing]
    confidences, labels = _list_labelled(first_half)
    # Never empty: records without an outcome were read as answered, and need a label.
    proofs = []
    for level, count, right in coverage_curve(confidences, labels):
        lower, _ = wilson_interval(right, count, Z_ONE_SIDED)
        proofs.append((lower, level))
    proved = [level for lower, level in proofs if lower >= accuracy]
    if proved:
        # The levels fall, so that with the last one most is answered.
        chosen = proved[-1]
    else:
        chosen = max(proofs)[1]
    others = []
    for row in rows:
        if row.family in choosing:
            continue
        outcome = "fallback"
        if row.confidence >= chosen:
            outcome = "answered"
        others.append(replace(row, outcome=outcome))
    return chosen, others


def _queue_flagged(rows: Sequence[_Record], queue: str) -> None:
    """Add the flagged records to the file of a review queue."""
    from pytest_llmops.production.review_queue import QueueEntry, add_to_queue

    entries = []
    for row in rows:
        if row.outcome != "flagged":
            continue
        given_question = row.data.get("input", row.id)
        question = to_builtins(given_question, where=f"{row.id}: input")
        output = row.data.get("output") or ""
        reason = f"low confidence {row.confidence:.2f}"
        origin = {"source": "assert_confidence", "id": row.id}
        entry = QueueEntry(input=question, output=str(output), reason=reason, origin=(origin,))
        entries.append(entry)
    add_to_queue(queue, entries)


def _measure_shares(
    rows: Sequence[_Record],
    least_accuracy: float | None,
    least_coverage: float | None,
    basis: str,
    label: str,
) -> list[recorder.Emission]:
    """Return the shares of records that are right, and that are answered; ``basis`` is the text of a reason about a threshold."""
    answered = [row for row in rows if row.outcome == "answered"]
    wrong = [row for row in answered if not row.correct]
    wrong.sort(key=lambda row: -row.confidence)
    confidences, labels = _list_labelled(rows)
    points = reliability_bins(confidences, labels)
    picture: dict[str, Json] = {**AXES, "points": points}
    detail: dict[str, Json] = {"picture": picture}
    measured_accuracy = partial(Measurement, name="confidence.accuracy_lower", detail=detail, label=label)
    right = len(answered) - len(wrong)
    what = f"answers{basis} are right"
    accuracy = _measure_share(measured_accuracy, right, len(answered), least_accuracy, what)
    measured_coverage = partial(Measurement, name="confidence.coverage_lower", label=label)
    coverage = _measure_share(measured_coverage, len(answered), len(rows), least_coverage, "are answered")
    evidence = _list_records("sure and wrong", wrong)
    accuracy_emission = recorder.Emission(measurement=accuracy, evidence=evidence)
    coverage_emission = recorder.Emission(measurement=coverage)
    return [accuracy_emission, coverage_emission]


def _measure_confidences(rows: Sequence[_Record], label: str) -> list[recorder.Emission]:
    """Return how well confidences tell right from wrong answers, and how many records are unhandled."""
    confidences, labels = _list_labelled(rows)
    measurements = []
    if True in labels and False in labels:
        auroc = roc_auc(confidences, labels)
        measurements.append(Measurement(name="confidence.auroc", value=auroc, label=label))
    if len(labels) >= LEAST_FOR_ECE:
        bins = reliability_bins(confidences, labels)
        gaps = [count * abs(right - mean) for mean, right, count in bins]
        error = math.fsum(gaps) / len(labels)
        measurements.append(Measurement(name="confidence.ece", value=error, better="lower", label=label))
    unhandled = [row for row in rows if row.unhandled]
    count = Measurement(
        name="confidence.unhandled",
        value=len(unhandled),
        unit="count",
        better="lower",
        threshold=0.0,
        label=label,
    )
    measurements.append(count)
    evidence = _list_records("not taken care of", unhandled)
    return [recorder.Emission(measurement=measurement, evidence=evidence) for measurement in measurements]


def _list_labelled(rows: Sequence[_Record]) -> tuple[list[float], list[bool]]:
    """Return the confidences and the labels of the records that have a label."""
    confidences = []
    labels = []
    for row in rows:
        if row.correct is not None:
            confidences.append(row.confidence)
            labels.append(row.correct)
    return confidences, labels


def _measure_share(
    measured: partial[Measurement], hits: int, count: int, limit: float | None, what: str
) -> Measurement:
    """Return the lower end of a share's interval; an error if the limit could be reached, but not with so few.

    Args:
        measured: The measurement before its value.
        hits: How many there are of the share.
        count: How many there are in all.
        limit: The threshold; None: record only.
        what: The end of the sentence "3 of 4 ..." in the reason.
    """
    low, high = wilson_interval(hits, count, Z_ONE_SIDED)
    least = limit or 0.0
    left_to_prove = max(1 - least, 1e-9)
    # With fewer the lower end stays below the limit even if all are hits.
    needed = math.ceil(least * Z_ONE_SIDED**2 / left_to_prove)
    reason = f"{hits:,} of {count:,} {what}, with 95 % confidence at least {low:.4f}"
    is_open = not count or (count < needed and high >= least)
    if not is_open:
        return measured(value=low, threshold=limit, reason=reason)
    least_count = max(needed, 1)
    error = f"too few: {reason}; at least {least_count:,} are needed"
    if least >= 1:
        error += ", and none proves 1"
    return measured(error=error)


def _list_records(what: str, rows: Sequence[_Record]) -> list[tuple[str, str]]:
    """Return a line for each of the first records, with the label ``what``."""
    lines = []
    for row in rows[:MAX_LISTED]:
        outcome = row.unhandled or row.outcome
        line = f"{row.id}: confidence {row.confidence:.4g}, {outcome}"
        lines.append((what, line))
    return lines


def assert_correction(
    before: Iterable[bool], after: Iterable[bool], *, calls: Iterable[Call] = (), label: str = ""
) -> Measurement:
    """Assert that a correcting step corrects more answers than it spoils, beyond chance.

    Args:
        before: For each answer, whether it was correct before the step.
        after: For each answer, whether it is correct after the step, in the same order.
        calls: The calls of the step, as ``llm_calls`` has them, for its cost.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``correction.gain``: corrected answers minus spoiled answers, as a share of all, -1 to 1. Its
        reason has both numbers, and the cost of the step.

    Raises:
        MeasurementFailed: The step makes answers worse beyond chance (exact McNemar test, 5 %).
        MeasurementErrored: Undecided, because too few answers changed. The message names the number that would decide.
        UsageError: The lists are empty or have different lengths, or a value is neither True nor False.

    >>> assert_correction([False] * 8 + [True] * 12, [True] * 20).value
    0.4
    """
    # Any object passes here, so the empty message is never shown; the elements are checked below.
    old = require_list(before, object, "")
    new = require_list(after, object, "")
    are_lists = hasattr(before, "__iter__") and hasattr(after, "__iter__")
    are_bools = all(map(_is_bool, (*old, *new)))
    if not are_lists or not old or len(old) != len(new) or not are_bools:
        answers = shorten_text(repr((old, new)))
        raise UsageError(
            "assert_correction: expected lists of as many True or False before as after, got "
            f"{len(old)} and {len(new)}: {answers}"
        )
    pairs = list(zip(old, new, strict=True))
    fixed = pairs.count((False, True))
    broken = pairs.count((True, False))
    p_value = mcnemar_p_value(fixed, broken)
    changes = f"{fixed:,} wrong answers became right and {broken:,} right ones wrong, of {len(pairs):,}"
    reason = f"{changes} (exact McNemar p = {p_value:.2g})"
    reason += _format_cost(calls)
    if p_value > ALPHA:
        error = f"undecided: {reason}; {_format_changes_needed(fixed, broken)}"
        return recorder.emit(Measurement(name="correction.gain", error=error, label=label))
    gain = (fixed - broken) / len(pairs)
    measurement = Measurement(
        name="correction.gain",
        value=gain,
        threshold=0.0,
        reason=reason,
        label=label,
    )
    return recorder.emit(measurement, verdict=f"the correction makes answers worse: {reason}")


def _format_cost(calls: Iterable[Call]) -> str:
    """Return the cost of the calls of a step, as the end of a sentence."""
    listed = require_list(calls, Call, "assert_correction: expected calls as llm_calls has them")
    if not listed:
        return ""
    costs = [as_finite_float(call.cost_usd) for call in listed]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return "; the step cost a sum that is not known"
    return f"; the step cost {format_amount(math.fsum(known), 'USD')}"


def _format_changes_needed(fixed: int, broken: int) -> str:
    """Return how many changed answers are needed to decide, if they keep changing for better and worse at this rate."""
    for changed in range(1, MAX_CHANGED):
        changed_so_far = max(fixed + broken, 1)
        right = round(changed * fixed / changed_so_far)
        if mcnemar_p_value(right, changed - right) <= ALPHA:
            return f"{changed:,} changed answers would decide at this rate"
    return "about as many get worse as better"
