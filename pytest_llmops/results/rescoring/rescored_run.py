"""Replace the verdicts of a run with new ones, and adapt outcomes and failure texts to them.

A new verdict has the old threshold where that makes sense on the new judge's scale, see `carry_over_threshold`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import (
    Json,
    Measurement,
    format_failure_text,
    label_suffix,
    shorten_text,
)
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import as_mapping, read_detail
from pytest_llmops.results.rescoring.judged_outputs import JUDGE_PREFIX, Output
from pytest_llmops.results.rescoring.score_changes import Score, score_from_measurement
from pytest_llmops.results.run import Outcome, Run, TestRecord

AtLeast: TypeAlias = float | Literal["default"] | None
_OUTCOMES_BY_SEVERITY: tuple[Outcome, ...] = ("passed", "failed", "errored")
# The exceptions by which measurements end a test, by the outcome
_OUTCOME_EXCEPTIONS: Mapping[str, str] = {"errored": "MeasurementErrored", "failed": "MeasurementFailed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RescoredOutput:
    """An output with its new measurements.

    Attributes:
        measurements: The dimensions of the verdict, and the verdict itself as the last one.
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
        by = "the stored scores"
        if self.asked:
            by = f"judge {self.judge}, version {self.version}"
            if self.model:
                by += f", model {self.model}"
        if self.at_least is not None:
            by += f", at least {self.at_least:g}"
        return f"scored again on {self.day} by {by} (llmops judge rescore {self.source})"


def carry_over_threshold(
    output: Output,
    *,
    at_least: float | None,
    pass_at: float | None,
    scale: tuple[float, float] | None,
    judge: str = "",
    version: str = "",
) -> AtLeast:
    """Return the threshold for a new score, as in `assert_judge_score` ("default": the judge's own, None: none).

    The first of these that applies decides:

    - ``at_least``, if it is given.
    - An answer that was never judged gets the new judge's own threshold.
    - A verdict that was only recorded, without a threshold, stays so.
    - If the old threshold was the old judge's own, it becomes the new judge's own.
    - A threshold of the test stays, if judge or scale are the same as before.
    - Otherwise it becomes the new judge's own.

    Args:
        output: The output with its old threshold.
        at_least: The requested threshold; None: none.
        pass_at: The new judge's own threshold; None: it has none.
        scale: The new judge's scale; None: not known.
        judge: Name of the new judge.
        version: Version of the new judge; "": not known. The same judge in the same version has the same scale.

    Raises:
        UsageError: The threshold is on another scale, and the new judge has none of its own.
    """
    if at_least is not None:
        return at_least
    old = output.threshold
    default: AtLeast = None
    if pass_at is not None:
        default = "default"
    if output.old is None:
        return default
    if old is None:
        return None
    if output.verdict.default and default:
        return default
    old_judge = (output.judge, output.old.version)
    is_same_judge = bool(version) and (judge, version) == old_judge
    is_same_scale = output.scale is not None and scale in (None, output.scale)
    if is_same_judge or is_same_scale:
        return old
    if default:
        return default
    there = "a scale that is not known"
    if output.scale is not None:
        there = f"a scale of {_format_scale(output.scale)}"
    here = "not known before it is called"
    if scale is not None:
        here = _format_scale(scale)
    test = shorten_text(output.nodeid, 200)
    raise UsageError(
        f"judge {judge}: {test} has a threshold of {old:g} on {there}, and this judge's scale is {here}: "
        "add --at-least, or pass_at to the rubric"
    )


def _format_scale(scale: tuple[float, float]) -> str:
    low, high = scale
    return f"{low:g} to {high:g}"


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
    old = output.old
    if old is None:
        raise UsageError("verdict whose scale is not stored")
    if output.scale is None:
        if old.value is None:
            return old
        raise UsageError("verdict whose scale is not stored")
    low, high = output.scale
    if not low <= at_least <= high:
        raise UsageError(f"verdict on a scale of {_format_scale(output.scale)}, without {at_least:g}")
    verdict = dict(as_mapping(old.detail.get("judge")))
    verdict.pop("default", None)
    review = as_mapping(old.detail.get("review"))
    if review:
        detail = {**old.detail, "review": {**review, "undecided": at_least}, "judge": verdict}
        return replace(old, detail=detail)
    threshold = None
    if old.value is not None:
        threshold = (at_least - low) / (high - low)
    detail = {**old.detail, "judge": {**verdict, "threshold": at_least}}
    return replace(old, threshold=threshold, detail=detail)


def replace_verdicts(run: Run, rescored_outputs: Sequence[RescoredOutput], stamp: RescoreStamp) -> Run:
    """Return a run with new verdicts, and a note on when and how they were made.

    The dimensions of an old verdict are removed with it. The outcome of a test follows if only its measurements decided
    it; a test that (also) ended for another reason, such as a fixture, a plain assert or a skip, keeps its outcome. The
    calls of the old judges are dropped where all of their verdicts were replaced; calls of the new judge are not added, as they
    are in its recording.
    """
    by_record = group_by(rescored_outputs, lambda rescored: rescored.output.record)
    records = list(run.records)
    for number, rescored in by_record.items():
        records[number] = _replace_in_record(records[number], rescored, stamp)
    stamp_meta: dict[str, Json] = asdict(stamp)
    del stamp_meta["asked"]
    meta = {**run.meta, "rescored": stamp_meta}
    return replace(run, records=tuple(records), notes=(*run.notes, stamp.note), meta=meta)


def _replace_in_record(
    record: TestRecord, rescored_outputs: Sequence[RescoredOutput], stamp: RescoreStamp
) -> TestRecord:
    """Return a test with new verdicts, and outcome, message and exceptions adapted to them.

    If a judge was called, the test's facts name the new judge, and calls of judges are dropped unless an old verdict remains.
    """
    measurements = _replace_measurements(record, rescored_outputs, stamp)
    outcome = _rescored_outcome(record, measurements)
    message = _rescored_message(record, measurements, outcome)
    raised = _rescored_exceptions(record, measurements, outcome)
    record_now = replace(
        record,
        measurements=tuple(measurements),
        outcome=outcome,
        message=message,
        raised=raised,
    )
    if not stamp.asked:
        return record_now
    score = score_from_measurement(rescored_outputs[-1].top)
    judge: dict[str, Json] = {"name": score.name, "version": score.version, "model": score.model}
    calls = record.calls
    rescored_places = {rescored.output.place for rescored in rescored_outputs}
    if _list_verdict_places(record) <= rescored_places:
        calls = tuple(call for call in calls if call.purpose != "judge")
    return replace(record_now, calls=calls, facts={**record.facts, "judge": judge})


def _list_verdict_places(record: TestRecord) -> set[int | None]:
    """Return the indexes of the measurements for which a judge was called."""
    places: set[int | None] = set()
    for place, measurement in enumerate(record.measurements):
        if not measurement.name.startswith(JUDGE_PREFIX):
            continue
        if read_detail(measurement).judge or measurement.name.endswith(".kappa"):
            places.add(place)
    return places


def _replace_measurements(
    record: TestRecord, rescored_outputs: Sequence[RescoredOutput], stamp: RescoreStamp
) -> list[Measurement]:
    """Return the measurements of a test. New verdicts replace the old ones; verdicts on answers never judged before are at the end."""
    by_place = {rescored.output.place: rescored for rescored in rescored_outputs}
    dropped = set()
    if stamp.asked:
        dropped = _list_old_dimensions(rescored_outputs)
    measurements: list[Measurement] = []
    judges: dict[tuple[object, ...], str] = {}
    for place, old in enumerate(record.measurements):
        new = by_place.get(place)
        if new is None:
            is_dimension = (old.name, old.label) in dropped and read_detail(old).judge is None
            if not is_dimension:
                measurements.append(old)
            continue
        # If two old judges of an answer are replaced by the same new judge, its verdict counts once.
        top = new.top
        old_judge = new.output.judge
        key = (top.name, top.label, top.threshold, *new.output.inputs)
        if not stamp.asked or judges.setdefault(key, old_judge) == old_judge:
            measurements += new.measurements
    for rescored in rescored_outputs:
        if rescored.output.place is None:
            measurements += rescored.measurements
    return measurements


def _list_old_dimensions(rescored_outputs: Iterable[RescoredOutput]) -> set[tuple[str, str]]:
    """Return name and label of the measurements that belong to dimensions of the old verdicts."""
    names = set()
    for rescored in rescored_outputs:
        old = rescored.output.old
        if old is None:
            continue
        for dimension in rescored.output.verdict.dimensions:
            names.add((f"{old.name}.{dimension}", old.label))
    return names


def _implied_outcome(measurements: Sequence[Measurement]) -> Outcome:
    """Return the outcome that a test would have if only its measurements decided."""
    statuses = {measurement.status for measurement in measurements}
    if "errored" in statuses:
        return "errored"
    if "failed" in statuses:
        return "failed"
    return "passed"


def _rescored_outcome(record: TestRecord, measurements: Sequence[Measurement]) -> Outcome:
    """Return the outcome of a test with new measurements: it follows them if only the old measurements decided the old one."""
    was = _implied_outcome(record.measurements)
    now = _implied_outcome(measurements)
    only_measurements_decided = not _ended_otherwise(record)
    if record.outcome in ("xfailed", "xpassed"):
        is_decided_by_scores = (record.outcome == "xpassed") == (was == "passed")
        if not only_measurements_decided or not is_decided_by_scores:
            return record.outcome
        if now == "passed":
            return "xpassed"
        return "xfailed"
    if record.outcome == was and only_measurements_decided:
        return now
    # Something else decided: the outcome stays, unless the new verdicts are worse than the old ones.
    severity = _OUTCOMES_BY_SEVERITY.index
    if record.outcome in _OUTCOMES_BY_SEVERITY and severity(now) > severity(was):
        return max(record.outcome, now, key=severity)
    return record.outcome


def _ended_otherwise(record: TestRecord) -> bool:
    """Return whether anything but a verdict on a measurement contributed to the end of the test."""
    if record.raised:
        return not set(record.raised) <= set(_OUTCOME_EXCEPTIONS.values())
    # Older run files do not store the exceptions: there a paragraph of the text that belongs to no measurement shows it.
    if record.outcome not in ("failed", "errored") or not record.message:
        return False
    return bool(_unrelated_messages(record))


def _bad_measurements(measurements: Iterable[Measurement]) -> list[Measurement]:
    return [measurement for measurement in measurements if measurement.status in ("failed", "errored")]


def _unrelated_messages(record: TestRecord) -> list[str]:
    """Return the paragraphs of a failure text that belong to no measurement."""
    bad = [measurement.name for measurement in _bad_measurements(record.measurements)]
    heads = []
    if bad:
        heads = [f"{kind}: " for kind in _OUTCOME_EXCEPTIONS.values()]
    for name in bad:
        as_judge = name.replace(JUDGE_PREFIX, "judge ", 1)
        heads += [f"{name} ", f"{as_judge} "]
    beginnings = tuple(heads)
    return [part for part in record.message.split("\n\n") if not part.startswith(beginnings)]


def _rescored_message(record: TestRecord, measurements: Sequence[Measurement], outcome: Outcome) -> str:
    """Return the failure text of a test with new measurements.

    It is written anew from the measurements that failed. Paragraphs with other reasons are kept, and the whole text is kept if
    no failed measurement changed, or none of its paragraphs belongs to one.

    Args:
        record: The test with its old measurements.
        measurements: The new ones.
        outcome: The new outcome.
    """
    if outcome not in ("passed", "failed", "errored"):
        return record.message
    bad = _bad_measurements(measurements)
    if bad == _bad_measurements(record.measurements):
        return record.message
    if not _ended_otherwise(record):
        if outcome == record.outcome != _implied_outcome(measurements):
            return record.message
        if outcome == "passed":
            return ""
        return "\n\n".join(map(_format_failure, bad))
    rest = _unrelated_messages(record)
    if len(rest) == len(record.message.split("\n\n")):
        return record.message
    return "\n\n".join([*map(_format_failure, bad), *rest])


def _rescored_exceptions(
    record: TestRecord, measurements: Sequence[Measurement], outcome: Outcome
) -> tuple[str, ...]:
    """Return the exceptions of the test after it was scored again.

    If the measurements now mean another outcome, the exception of the old one is removed. The exception of the new one is put
    first, if the test has this outcome or was expected to fail.
    """
    now = _implied_outcome(measurements)
    if now == _implied_outcome(record.measurements):
        return record.raised
    raised = [name for name in record.raised if name not in _OUTCOME_EXCEPTIONS.values()]
    if now in _OUTCOME_EXCEPTIONS and outcome in (now, "xfailed"):
        raised.insert(0, _OUTCOME_EXCEPTIONS[now])
    return tuple(raised)


def _format_failure(measurement: Measurement) -> str:
    """Return the failure text of a measurement, as the assertion would write it."""
    detail = read_detail(measurement)
    score = score_from_measurement(measurement)
    line = ""
    if detail.judge and score.status == "fail":
        line = _format_low_score(score, measurement.label)
    evidence = [(label, str(text)) for label, text in detail.evidence]
    return format_failure_text(measurement, verdict=line, evidence=evidence)


def _format_low_score(score: Score, label: str) -> str:
    """Return a score and the threshold that it misses, on the judge's own scale; "" if one of them is not known."""
    if score.score is None or score.threshold is None:
        return ""
    judge = f"judge {shorten_text(score.name, 60)}{label_suffix(label)}"
    line = f"{judge} {score.score:g} < {score.threshold:g}"
    if score.scale:
        line += f" (scale {_format_scale(score.scale)})"
    return line
