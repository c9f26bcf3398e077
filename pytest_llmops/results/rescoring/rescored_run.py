"""Replace the verdicts of a run by new verdicts, at the threshold that decides as before; outcomes and failure texts follow."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import (
    Json,
    Measurement,
    as_finite_float,
    format_failure_text,
    label_suffix,
    shorten_text,
)
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import as_mapping, read_detail
from pytest_llmops.results.rescoring.judged_outputs import (
    JUDGE_PREFIX,
    Change,
    Output,
    score_from_measurement,
)
from pytest_llmops.results.run import Outcome, Run, TestRecord

AtLeast: TypeAlias = float | Literal["default"] | None
_OUTCOMES_BY_SEVERITY: tuple[Outcome, ...] = ("passed", "failed", "errored")
# The exceptions that outcomes come from
_OUTCOME_EXCEPTIONS: Mapping[str, str] = {"errored": "MeasurementErrored", "failed": "MeasurementFailed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RescoredOutput:
    """An output with its new measurements.

    Attributes:
        measurements: The verdict's dimensions, and last the verdict itself.
    """

    output: Output
    measurements: tuple[Measurement, ...]

    @property
    def top(self) -> Measurement:
        """The verdict itself."""
        return self.measurements[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RescoreStamp:
    """When, and with which judge or threshold, a run was scored again.

    Attributes:
        day: ISO 8601.
        asked: A judge was called; otherwise only the threshold changed.
        at_least: The new threshold on the judge's own scale; None: no new threshold.
        source: The run file's name.
    """

    day: str
    asked: bool
    judge: str = ""
    version: str = ""
    model: str = ""
    at_least: float | None = None
    source: str = ""

    @property
    def note(self) -> str:
        """The note that is added to the run."""
        if self.model:
            model = f", model {self.model}"
        else:
            model = ""
        if self.asked:
            by = f"judge {self.judge}, version {self.version}{model}"
        else:
            by = "the stored scores"
        if self.at_least is not None:
            threshold = f", at least {self.at_least:g}"
        else:
            threshold = ""
        return f"scored again on {self.day} by {by}{threshold} (llmops judge rescore {self.source})"


def carry_over_threshold(
    output: Output,
    *,
    at_least: float | None,
    pass_at: float | None,
    scale: tuple[float, float] | None,
    judge: str = "",
    version: str = "",
) -> AtLeast:
    """Return the threshold for a new score, as `assert_judge_score` takes it.

    ``at_least`` wins. A verdict that was only recorded stays so. The old judge's own threshold is replaced by the
    new judge's own; a threshold of the test stays if the scale is the same, and otherwise is replaced too. The scale
    of a verdict without a score is the scale of the judge's other scores.

    Args:
        output: The output with its old threshold.
        at_least: The requested threshold; None: none.
        pass_at: The new judge's own threshold; None: it has none.
        scale: The new judge's scale; None: not known.
        judge: Name of the new judge.
        version: Version of the new judge: the same judge as before has the same scale.

    Raises:
        UsageError: The threshold is on another scale, and the new judge has none of its own.
    """
    if at_least is not None:
        return at_least
    old = output.threshold
    if output.old is None:
        if pass_at is None:
            return None
        return "default"
    if old is None:
        return None
    if output.verdict.default and pass_at is not None:
        return "default"
    same = bool(version) and (judge, version) == (output.judge, output.old.version)
    if same or (output.scale is not None and scale in (None, output.scale)):
        return old
    if pass_at is not None:
        return "default"
    if output.scale is None:
        there = "a scale that is not known"
    else:
        there = f"a scale of {_format_scale(output.scale)}"
    if scale is None:
        here = "not known before it is asked"
    else:
        here = _format_scale(scale)
    raise UsageError(
        f"judge {judge}: {shorten_text(output.nodeid, 200)} has a threshold of {old:g} on {there}, and this judge's scale is {here}: "
        "add --at-least, or pass_at to the rubric"
    )


def _format_scale(scale: tuple[float, float]) -> str:
    return f"{scale[0]:g} to {scale[1]:g}"


def replace_threshold(output: Output, at_least: float) -> Measurement:
    """Return an old verdict with another threshold; a verdict that is flagged for review stays undecided.

    A verdict without a score stays so, and keeps its threshold if its scale is not known.

    Raises:
        UsageError: The threshold is not on the stored scale, or the scale is not stored.

    >>> verdict = {"name": "j", "score": 6, "low": 1, "high": 10, "threshold": 7}
    >>> old = Measurement(name="judge.j", value=5 / 9, threshold=6 / 9, detail={"actual": "x", "judge": verdict})
    >>> replace_threshold(Output(record=0, nodeid="t", answer="x", old=old), 6.0).status
    'passed'
    """
    if output.old is not None and output.old.value is None and output.scale is None:
        return output.old
    if output.old is None or output.scale is None:
        raise UsageError("verdict whose scale is not stored")
    low, high = output.scale
    if not low <= at_least <= high:
        raise UsageError(f"verdict on a scale of {_format_scale(output.scale)}, without {at_least:g}")
    old = output.old
    verdict = {key: value for key, value in as_mapping(old.detail.get("judge")).items() if key != "default"}
    review = as_mapping(old.detail.get("review"))
    if review:
        detail = {**old.detail, "review": {**review, "undecided": at_least}, "judge": verdict}
        return replace(old, detail=detail)
    detail = {**old.detail, "judge": {**verdict, "threshold": at_least}}
    if old.value is None:
        threshold = None
    else:
        threshold = (at_least - low) / (high - low)
    return replace(old, threshold=threshold, detail=detail)


def replace_verdicts(run: Run, rescored_outputs: Sequence[RescoredOutput], stamp: RescoreStamp) -> Run:
    """Return a run with new verdicts, and a note that says when and how they were made.

    The dimensions of an old verdict are removed with it. The outcome of a test follows if its measurements alone decided
    it; a test that (also) ended for another reason, such as a fixture, a plain assert or a skip, keeps its outcome. The
    calls of judges without a verdict are dropped; those of the new judge are in its recording.
    """
    by = group_by(rescored_outputs, lambda rescored: rescored.output.record)
    records = tuple(
        _replace_in_record(record, by[number], stamp) if number in by else record
        for number, record in enumerate(run.records)
    )
    stamp_meta: dict[str, Json] = {key: value for key, value in asdict(stamp).items() if key != "asked"}
    return replace(
        run, records=records, notes=(*run.notes, stamp.note), meta={**run.meta, "rescored": stamp_meta}
    )


def _replace_in_record(
    record: TestRecord, rescored_outputs: Sequence[RescoredOutput], stamp: RescoreStamp
) -> TestRecord:
    replaced = {
        rescored.output.place: rescored for rescored in rescored_outputs if rescored.output.place is not None
    }
    dropped = {
        (f"{old.name}.{dimension}", old.label)
        for rescored in rescored_outputs
        if stamp.asked and (old := rescored.output.old) is not None
        for dimension in rescored.output.verdict.dimensions
    }
    measurements: list[Measurement] = []
    seen: dict[tuple[object, ...], str] = {}
    for place, old in enumerate(record.measurements):
        new = replaced.get(place)
        if new:
            # Two old judges of an answer may have the same successor: its verdict counts once.
            key = (new.top.name, new.top.label, new.top.threshold, *new.output.inputs)
            if not stamp.asked or seen.setdefault(key, new.output.judge) == new.output.judge:
                measurements += new.measurements
        elif (old.name, old.label) not in dropped or read_detail(old).judge is not None:
            measurements.append(old)
    measurements += [
        measurement
        for new in rescored_outputs
        if new.output.place is None
        for measurement in new.measurements
    ]
    outcome = _rescored_outcome(record, measurements)
    judged = {
        place
        for place, old in enumerate(record.measurements)
        if old.name.startswith(JUDGE_PREFIX) and (read_detail(old).judge or old.name.endswith(".kappa"))
    }
    calls = record.calls
    facts = dict(record.facts)
    if stamp.asked and judged <= set(replaced):
        calls = tuple(call for call in calls if call.purpose != "judge")
    if stamp.asked:
        score = score_from_measurement(rescored_outputs[-1].top)
        facts["judge"] = {"name": score.name, "version": score.version, "model": score.model}
    return replace(
        record,
        measurements=tuple(measurements),
        outcome=outcome,
        message=_rescored_message(record, measurements, outcome),
        raised=_rescored_exceptions(record, measurements, outcome),
        calls=calls,
        facts=facts,
    )


def _implied_outcome(measurements: Sequence[Measurement]) -> Outcome:
    statuses = {measurement.status for measurement in measurements}
    if "errored" in statuses:
        return "errored"
    if "failed" in statuses:
        return "failed"
    return "passed"


def _rescored_outcome(record: TestRecord, measurements: Sequence[Measurement]) -> Outcome:
    was = _implied_outcome(record.measurements)
    now = _implied_outcome(measurements)
    alone = not _ended_otherwise(record)
    if record.outcome in ("xfailed", "xpassed"):
        decided = alone and (record.outcome == "xpassed") == (was == "passed")
        if decided:
            return "xpassed" if now == "passed" else "xfailed"
        return record.outcome
    if record.outcome == was and alone:
        return now
    # Something else decided: its outcome stays, unless the new verdicts are worse.
    severity = _OUTCOMES_BY_SEVERITY.index
    if record.outcome in _OUTCOMES_BY_SEVERITY and severity(now) > severity(was):
        return max(record.outcome, now, key=severity)
    return record.outcome


def _ended_otherwise(record: TestRecord) -> bool:
    """Return whether anything but a verdict on a measurement contributed to the end of the test."""
    if record.raised:
        return not set(record.raised) <= set(_OUTCOME_EXCEPTIONS.values())
    # Older run files do not store the exceptions: there all of the text must belong to measurements.
    return record.outcome in ("failed", "errored") and bool(record.message and _unrelated_messages(record))


def _bad_measurements(measurements: Iterable[Measurement]) -> list[Measurement]:
    return [measurement for measurement in measurements if measurement.status in ("failed", "errored")]


def _unrelated_messages(record: TestRecord) -> list[str]:
    """Return the paragraphs of a failure text that belong to no measurement."""
    bad = [measurement.name for measurement in _bad_measurements(record.measurements)]
    if bad:
        heads = [f"{kind}: " for kind in _OUTCOME_EXCEPTIONS.values()]
    else:
        heads = []
    heads += [f"{name.replace(JUDGE_PREFIX, what, 1)} " for name in bad for what in (JUDGE_PREFIX, "judge ")]
    return [part for part in record.message.split("\n\n") if not part.startswith(tuple(heads))]


def _rescored_message(record: TestRecord, measurements: Sequence[Measurement], outcome: Outcome) -> str:
    if outcome not in ("passed", "failed", "errored"):
        return record.message
    bad = _bad_measurements(measurements)
    if bad == _bad_measurements(record.measurements):
        return record.message
    ended_otherwise = _ended_otherwise(record)
    if ended_otherwise:
        rest = _unrelated_messages(record)
    else:
        rest = []
    keeps = len(rest) == len(record.message.split("\n\n"))
    if keeps if ended_otherwise else outcome == record.outcome != _implied_outcome(measurements):
        return record.message
    if ended_otherwise or outcome != "passed":
        return "\n\n".join([*map(_format_failure, bad), *rest])
    return ""


def _rescored_exceptions(
    record: TestRecord, measurements: Sequence[Measurement], outcome: Outcome
) -> tuple[str, ...]:
    """Return the exceptions, with the old verdict's replaced by the new verdict's."""
    now = _implied_outcome(measurements)
    if now == _implied_outcome(record.measurements):
        return record.raised
    rest = tuple(class_name for class_name in record.raised if class_name not in _OUTCOME_EXCEPTIONS.values())
    if now in _OUTCOME_EXCEPTIONS and outcome in (now, "xfailed"):
        own = (_OUTCOME_EXCEPTIONS[now],)
    else:
        own = ()
    return (*own, *rest)


def _format_failure(measurement: Measurement) -> str:
    detail = read_detail(measurement)
    score = score_from_measurement(measurement)
    line = ""
    if detail.judge and score.status == "fail" and score.score is not None and score.threshold is not None:
        if score.scale:
            scale = f" (scale {_format_scale(score.scale)})"
        else:
            scale = ""
        line = f"judge {shorten_text(score.name, 60)}{label_suffix(measurement.label)} {score.score:g} < {score.threshold:g}{scale}"
    return format_failure_text(
        measurement, verdict=line, evidence=[(label, str(text)) for label, text in detail.evidence]
    )


# Least outputs that both judges scored, of these passed, and failed, by the old judge; least kappa of the decisions of both, below
# which they rank the outputs so differently that no threshold makes up for it; and the rounding of scores
MIN_OUTPUTS, MIN_EACH, MIN_KAPPA, TOLERANCE = 20, 5, 0.4, 1e-9


def _read_both_scores(change: Change, dimension: str) -> tuple[float, float] | None:
    """Return the old and the new score of an output on the judges' own scales, of a dimension or ("") as a whole; None: one is missing."""
    old, new = (
        as_finite_float(side.dimensions.get(dimension) if dimension else side.score)
        for side in (change.old, change.new)
    )
    if old is None or new is None:
        return None
    return (old, new)


def find_threshold_shifts(changes: Sequence[Change], pass_at: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return for each threshold of an old judge, and of its dimensions, the threshold of the new judge that decides most alike.

    Args:
        changes: The outputs with both scores.
        pass_at: The new judge's own thresholds by dimension; that of the score itself under ``""``. They count for an old judge of
            the same name and scale too, where its verdicts have none.

    Returns:
        Objects with ``judge``, ``dimension``, the old ``threshold``, the ``present`` one of the new judge and the ``outputs`` that both
        scored; and either a ``problem``, or the threshold ``equivalent`` to the old one, how many outputs it ``passes`` (the old one:
        ``old_passes``) and in how many both agree (at the present one: ``present_agrees``), and the ``kappa`` of the decisions.
    """
    thresholds: dict[tuple[str, str], dict[float, float]] = {}
    for change in changes:
        old = change.old
        new = change.new
        threshold = change.output.threshold
        if (old.name, old.scale) == (new.name, new.scale):
            for dimension in {*old.dimensions, *([""] if threshold is None else [])} & pass_at.keys():
                thresholds.setdefault((old.name, dimension), {}).setdefault(
                    pass_at[dimension], pass_at[dimension]
                )
        if threshold is not None:
            thresholds.setdefault((old.name, ""), {})[threshold] = (
                pass_at.get("", threshold) if new.threshold is None else new.threshold
            )
    return [
        {
            "judge": judge,
            "dimension": dimension,
            "threshold": threshold,
            "present": present,
            **_match_threshold(
                [
                    pair
                    for change in changes
                    if change.old.name == judge and (pair := _read_both_scores(change, dimension))
                ],
                threshold,
                present,
            ),
        }
        for (judge, dimension), known in sorted(thresholds.items())
        for threshold, present in sorted(known.items())
    ]


def _match_threshold(
    pairs: Sequence[tuple[float, float]], threshold: float, present: float
) -> dict[str, Any]:
    # Of all places where the new scores can be split, take the one whose decisions have the highest kappa with the old ones.
    scores = sorted(((new, old >= threshold - TOLERANCE) for old, new in pairs), reverse=True)
    count = len(scores)
    passed = sum(decision for _, decision in scores)
    if count < MIN_OUTPUTS or min(passed, count - passed) < MIN_EACH or scores[0][0] == scores[-1][0]:
        return {
            "outputs": count,
            "problem": f"expected at least {MIN_OUTPUTS} outputs that both judges scored, {MIN_EACH} of them passed and {MIN_EACH} failed by the old one, "
            f"and different scores of the new one; got {count}, {passed} passed and {count - passed} failed",
        }
    splits = []
    passes = 0
    hits = 0
    for (score, decisions), (below, _) in pairwise(
        (score, [decision for _, decision in group]) for score, group in groupby(scores, itemgetter(0))
    ):
        passes = passes + len(decisions)
        hits = hits + sum(decisions)
        apart = passes + passed - 2 * hits
        kappa = 1 - apart * count / (passed * (count - passes) + passes * (count - passed))
        splits.append((kappa, -abs(passes - passed), passes, count - apart, score, below))
    kappa, _, passes, agrees, score, below = max(splits)
    # Every number between two scores decides alike: stay at the present one if it lies there.
    stays = below < present - TOLERANCE and present <= score + TOLERANCE
    weak = f"no threshold of the new judge decides as it does; the best, {(score + below) / 2:.3g}, agrees in {agrees} of {count} outputs (kappa {kappa:.2f})"
    return {
        "outputs": count,
        **(
            {"problem": weak}
            if kappa < MIN_KAPPA
            else {"equivalent": present if stays else (score + below) / 2}
        ),
        "old_passes": passed,
        "passes": passes,
        "agrees": agrees,
        "present_agrees": sum((new >= present - TOLERANCE) == decision for new, decision in scores),
        "kappa": round(kappa, 4),
    }


def format_threshold_shifts(shifts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each shift; names are shortened.

    >>> next(format_threshold_shifts([{"judge": "tone", "dimension": "", "threshold": 7.0, "problem": "got 3"}]))
    'tone: pass_at 7 of the old judge corresponds to none of the new one: got 3'
    """
    for shift in shifts:
        what = f"{shorten_text(' '.join(filter(None, (shift['judge'], shift['dimension']))), 100)}: pass_at {shift['threshold']:g} of the old judge corresponds to"
        if "problem" in shift:
            yield f"{what} none of the new one: {shift['problem']}"
        else:
            here = f", {shift['present_agrees']} at the present {shift['present']:g}"
            stays = shift["equivalent"] == shift["present"]
            yield (
                f"{what} {'' if stays else 'about '}{shift['equivalent']:.3g} of the new one: they agree in {shift['agrees']} of "
                f"{shift['outputs']} outputs{', as at present' if stays else here}, and pass {shift['old_passes']} and {shift['passes']}"
            )
