"""Assert that a confidence tells which answers to give, and that a correcting step makes answers better."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from random import Random
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import (
    Measurement,
    as_finite_float,
    format_amount,
    format_count,
    require_list,
    shorten_text,
    to_builtins,
)
from pytest_llmops.metrics.classification import roc_auc, wilson_interval
from pytest_llmops.metrics.confidence import coverage_curve, reliability_bins
from pytest_llmops.metrics.trial_change import mcnemar_p_value
from pytest_llmops.protocols import Call

__tracebackhide__ = True

OUTCOMES, SHARES = (
    ("answered", "fallback", "flagged"),
    ("at_least_accuracy", "at_least_coverage", "threshold"),
)
AXES = {"x": "confidence", "y": "share that is right", "diagonal": True}
# The normal quantile of 95 %, for a one-sided interval
Z_ONE_SIDED, LEAST_FOR_ECE, MAX_LISTED, MAX_CHANGED, ALPHA = 1.644854, 500, 3, 2_000, 0.05


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
    """Assert that what was answered is right, that enough was answered, and that the rest got a default answer or a person.

    Accuracy and coverage count as the lower ends of their 95 % intervals (Wilson, one-sided): what is proved, not what was seen.

    Args:
        records: Mappings with ``confidence`` (0 to 1), ``correct`` (True or False; not needed where nothing was answered) and
            ``outcome``: ``answered``, ``fallback`` (the default answer) or ``flagged`` (for a person). They may have ``id``,
            ``input``, ``output`` and ``family``. Without any ``outcome`` it follows from the ``threshold``; without that too, a
            threshold is chosen on one half of them (the most answers that prove the accuracy) and checked on the other half.
        at_least_accuracy: Threshold of the share of answered records that are right; None: record only.
        at_least_coverage: Threshold of the share of records that are answered; None: record only.
        threshold: Confidence from which on the application answers (0 to 1). An ``answered`` record below it is unhandled, and
            records without an ``outcome`` count as answered from it on, else as the default answer.
        seed: Draws the halves; records of a ``family`` are in the same one.
        queue: File of a review queue to which what was flagged is added; None: no file is written.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``confidence.accuracy_lower``; beside it ``.coverage_lower``, ``.unhandled`` (records that are neither
        answered nor taken care of), ``.auroc`` (ties count half) and from 500 labels on ``.ece``.

    Raises:
        MeasurementFailed: A threshold is missed, or a record is unhandled.
        MeasurementErrored: Too few are answered to prove the accuracy, even if all were right.
        UsageError: A record has no confidence from 0 to 1, or no label; an outcome is in some records only; all
            confidences are equal; another argument is of no use.

    >>> rows = [{"confidence": n / 200, "correct": n > 60, "outcome": "answered" if n > 80 else "flagged"} for n in range(200)]
    >>> round(assert_confidence(rows, at_least_accuracy=0.95, at_least_coverage=0.5).value, 3)
    0.978
    """
    if type(seed) is not int or "\0" in str(queue) or not isinstance(queue, (str, PathLike, type(None))):
        raise UsageError(
            f"assert_confidence: expected seed to be a whole number, and queue a file or None, got {seed!r} and {queue!r}"
        )
    wanted = [
        parse_share_threshold("assert_confidence", share, name)
        for name, share in zip(SHARES, (at_least_accuracy, at_least_coverage, threshold), strict=True)
    ]
    given = require_list(records, Mapping, "assert_confidence: expected mappings with confidence and correct")
    has_outcomes = {"outcome" in record for record in given}
    rows = [_read_record(number, record, wanted[2]) for number, record in enumerate(given, start=1)]
    if len(has_outcomes) != 1 or len({row["confidence"] for row in rows}) == 1:
        raise UsageError(
            "assert_confidence: expected records whose confidences are not all equal, and an outcome in all or none of them, got "
            f"{len(rows):,} with {format_count(len({row['confidence'] for row in rows}), 'confidence')} and {format_count(sum('outcome' in record for record in given), 'outcome')}"
        )
    rows, chosen = (
        (rows, "")
        if has_outcomes == {True}
        else (rows, f" of a confidence from {wanted[2]:.4g} on")
        if wanted[2] is not None
        else _choose_threshold(rows, wanted[0] or 0.0, seed)
    )
    if queue is not None:
        from pytest_llmops.production.review_queue import QueueEntry, add_to_queue

        add_to_queue(
            queue,
            [
                QueueEntry(
                    input=to_builtins(row.get("input", row["id"]), where=f"{row['id']}: input"),
                    output=str(row.get("output") or ""),
                    reason=f"low confidence {row['confidence']:.2f}",
                    origin=({"source": "assert_confidence", "id": row["id"]},),
                )
                for row in rows
                if row["outcome"] == "flagged"
            ],
        )
    return recorder.emit_together(list(_measure(rows, wanted, chosen, label)))[0]


def _read_record(number: int, record: Mapping[str, Any], threshold: float | None) -> dict[str, Any]:
    value = as_finite_float(record.get("confidence"))
    right = record.get("correct")
    outcome = record.get("outcome", "answered" if (value or 0.0) >= (threshold or 0.0) else "fallback")
    for key, expected, fits in (
        (
            "confidence",
            "a number from 0 to 1 (a missing one is not 0)",
            value is not None and 0 <= value <= 1,
        ),
        ("outcome", f"a text ({', '.join(OUTCOMES)})", isinstance(outcome, str)),
        (
            "correct",
            "True or False",
            type(right).__name__ in ("bool", "bool_") or (right is None and outcome != "answered"),
        ),
    ):
        if not fits:
            raise UsageError(
                f"assert_confidence: record {number}: {key}: expected {expected}, got {shorten_text(repr(record.get(key)), 80)}"
            )
    return {
        **record,
        "id": str(record.get("id", f"record {number}")),
        "outcome": outcome,
        "unhandled": outcome
        if outcome not in OUTCOMES
        else f"answered, below {threshold:.4g}"
        if outcome == "answered" and (value or 0.0) < (threshold or 0.0)
        else "",
        "family": str(record.get("family") or f"record {number}"),
    }


def _choose_threshold(
    rows: Sequence[dict[str, Any]], accuracy: float, seed: int
) -> tuple[list[dict[str, Any]], str]:
    """Choose a threshold on one half of the records; return the other half, with the outcomes that it gives, and a sentence."""
    names = sorted({row["family"] for row in rows})
    if not names[1:]:
        raise UsageError(
            "assert_confidence: expected two families or more, to choose a threshold on half of them"
        )
    Random(seed).shuffle(names)  # noqa: S311 -- no secret
    first = {*names[::2]}
    proofs = [
        (wilson_interval(right, count, Z_ONE_SIDED)[0], level)
        for level, count, right in coverage_curve(
            *([row[key] for row in rows if row["family"] in first] for key in ("confidence", "correct"))
        )
    ]
    cut = ([level for lower, level in proofs if lower >= accuracy] or [max(proofs)[1]])[-1]
    return [
        {**row, "outcome": "answered" if row["confidence"] >= cut else "fallback"}
        for row in rows
        if row["family"] not in first
    ], f" of a confidence from {cut:.4g} on, which the other half chose,"


def _measure(
    rows: Sequence[Mapping[str, Any]], wanted: Sequence[float | None], chosen: str, label: str
) -> Iterator[recorder.Emission]:
    answered = [row for row in rows if row["outcome"] == "answered"]
    wrong = sorted((row for row in answered if not row["correct"]), key=lambda row: -row["confidence"])
    unhandled = [row for row in rows if row["unhandled"]]
    confidences, labels = (
        [row[key] for row in rows if row.get("correct") is not None] for key in ("confidence", "correct")
    )
    bins = reliability_bins(confidences, labels)
    yield recorder.Emission(
        measurement=_measure_share(
            *(len(answered) - len(wrong), len(answered), wanted[0], f"answers{chosen} are right"),
            name="confidence.accuracy_lower",
            label=label,
            detail={"picture": {**AXES, "points": bins}},
        ),
        evidence=_list_rows("sure and wrong", wrong),
    )
    yield recorder.Emission(
        measurement=_measure_share(
            *(len(answered), len(rows), wanted[1], "are answered"),
            name="confidence.coverage_lower",
            label=label,
        )
    )
    for name, value, unit, limit in (
        ("auroc", roc_auc(confidences, labels) if len(set(labels)) > 1 else None, "1", None),
        (
            "ece",
            math.fsum(n * abs(right - mean) for mean, right, n in bins) / len(labels)
            if len(labels) >= LEAST_FOR_ECE
            else None,
            "1",
            None,
        ),
        ("unhandled", len(unhandled), "count", 0.0),
    ):
        if value is not None:
            yield recorder.Emission(
                measurement=Measurement(
                    name=f"confidence.{name}",
                    value=value,
                    unit=unit,
                    better="higher" if name == "auroc" else "lower",
                    threshold=limit,
                    label=label,
                ),
                evidence=_list_rows("not taken care of", unhandled),
            )


def _measure_share(hits: int, count: int, limit: float | None, what: str, **about: Any) -> Measurement:
    low, high = wilson_interval(hits, count, Z_ONE_SIDED)
    needed = math.ceil((limit or 0.0) * Z_ONE_SIDED**2 / max(1 - (limit or 0.0), 1e-9))
    reason = f"{hits:,} of {count:,} {what}, with 95 % confidence at least {low:.4f}"
    # It could be reached, but not with so few
    is_open = not count or (count < needed and high >= (limit or 0.0))
    return Measurement(
        value=None if is_open else low,
        error=f"too few: {reason}; it takes at least {max(needed, 1):,}{'' if (limit or 0) < 1 else ', and none proves 1'}"
        if is_open
        else "",
        threshold=None if is_open else limit,
        reason="" if is_open else reason,
        **about,
    )


def _list_rows(what: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [
        (what, f"{row['id']}: confidence {row['confidence']:.4g}, {row['unhandled'] or row['outcome']}")
        for row in rows[:MAX_LISTED]
    ]


def assert_correction(
    before: Iterable[bool], after: Iterable[bool], *, calls: Iterable[Call] = (), label: str = ""
) -> Measurement:
    """Assert that a correcting step makes more wrong answers right than right answers wrong, beyond chance.

    Args:
        before: Whether each answer was right before the step.
        after: Whether it is right after it, in the same order.
        calls: The calls of the step, as ``llm_calls`` has them, for what it costs.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``correction.gain``: wrong answers made right minus right answers made wrong, as a share of all (-1 to
        1). Its reason has both numbers, and what the step costs.

    Raises:
        MeasurementFailed: It makes answers worse: right ones became wrong beyond chance (exact McNemar test, 5 %).
        MeasurementErrored: Undecided: too few answers changed; says how many it takes.
        UsageError: There are no answers, different numbers of them, or one is neither True nor False.

    >>> assert_correction([False] * 8 + [True] * 12, [True] * 20).value
    0.4
    """
    sides = require_list(before, object, ""), require_list(after, object, "")
    if (
        not (hasattr(before, "__iter__") and hasattr(after, "__iter__"))
        or not 0 < (count := len(sides[0])) == len(sides[1])
        or not {type(label).__name__ for side in sides for label in side} <= {"bool", "bool_"}
    ):
        raise UsageError(
            f"assert_correction: expected lists of as many True or False before as after, got {len(sides[0])} and {len(sides[1])}: {shorten_text(repr(sides))}"
        )
    fixed, broken = (
        sum(new and not old for old, new in zip(*pair, strict=True)) for pair in (sides, sides[::-1])
    )
    p_value = mcnemar_p_value(fixed, broken)
    costs = [
        as_finite_float(call.cost_usd)
        for call in require_list(calls, Call, "assert_correction: expected calls as llm_calls has them")
    ]
    reason = (
        f"{fixed:,} wrong answers became right and {broken:,} right ones wrong, of {count:,} (exact McNemar p = {p_value:.2g})"
        + (
            f"; the step cost {'a sum that is not known' if None in costs else format_amount(math.fsum(filter(None, costs)), 'USD')}"
            if costs
            else ""
        )
    )
    needed = next(
        (
            f"{changed:,} changed answers would decide at this rate"
            for changed in range(1, MAX_CHANGED)
            for right in [round(changed * fixed / max(fixed + broken, 1))]
            if mcnemar_p_value(right, changed - right) <= ALPHA
        ),
        "about as many get worse as better",
    )
    is_open = p_value > ALPHA
    gain = (fixed - broken) / count
    return recorder.emit(
        Measurement(
            name="correction.gain",
            value=None if is_open else gain,
            error=f"undecided: {reason}; {needed}" if is_open else "",
            threshold=None if is_open else 0.0,
            reason="" if is_open else reason,
            label=label,
        ),
        verdict="" if is_open else f"the correction makes answers worse: {reason}",
    )
