"""Collect the judges of a run with their calibration, and warn about models that judge their own answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops._util.self_judging import iter_self_judging_notes
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.details import (
    JudgeFacts,
    JudgeVerdict,
    MeasurementDetail,
    SettingsMeta,
    read_detail,
)
from pytest_llmops.results.run import TestRecord

NOT_CALIBRATED = "not calibrated, do not rely on its scores"
UNFIT = "unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUse:
    """A judge that was asked in this run.

    Attributes:
        calibration: Its agreement with human annotators, as a sentence.
        canaries: Its result on answers that no judge may pass; empty: it was not tried.
        doubtful: No calibration supports its scores.
        unfit: It passes answers that no judge may pass.
        tried: Canaries ran in this run: other records of them are older.
    """

    name: str
    model: str = ""
    version: str = ""
    calibration: str = NOT_CALIBRATED
    canaries: str = ""
    doubtful: bool = True
    unfit: bool = False
    tried: bool = False

    @property
    def standing(self) -> str:
        """All that is known of the judge, the worst first.

        >>> JudgeUse(name="quality", canaries="unfit: it passes 3 of 41 canaries", unfit=True).standing
        'unfit: it passes 3 of 41 canaries; not calibrated, do not rely on its scores'
        """
        parts = [self.canaries, self.calibration] if self.unfit else [self.calibration, self.canaries]
        return "; ".join(filter(None, parts))


def collect_judges(records: Iterable[TestRecord]) -> tuple[JudgeUse, ...]:
    """Return the judges in the order of first occurrence; a name with two models or versions is two judges."""
    judge_uses: dict[tuple[str, str, str], JudgeUse] = {}
    for judge_use in (use for record in records for use in _iter_judge_uses(record)):
        key = (judge_use.name, judge_use.model, judge_use.version)
        judge_uses[key] = _merge_judge_uses(judge_uses[key], judge_use) if key in judge_uses else judge_use
    return tuple(judge_uses.values())


def _merge_judge_uses(first: JudgeUse, other: JudgeUse) -> JudgeUse:
    # Return what two measurements report of the same judge: the first wins, unless the other reports worse canaries.
    known = first if first.calibration != NOT_CALIBRATED else other
    known_canaries = (first.tried, first.unfit, bool(first.canaries)) >= (
        other.tried,
        other.unfit,
        bool(other.canaries),
    )
    canaries = first if known_canaries else other
    return replace(
        first,
        calibration=known.calibration,
        doubtful=known.doubtful,
        canaries=canaries.canaries,
        unfit=canaries.unfit,
        tried=canaries.tried,
    )


def _iter_judge_uses(record: TestRecord) -> Iterator[JudgeUse]:
    # Yield the judges: a verdict names its judge, else the test's facts do, else the measurement's name.
    judged = [
        (measurement, read_detail(measurement))
        for measurement in record.measurements
        if is_judged(measurement)
    ]
    named = [(measurement, detail) for measurement, detail in judged if detail.judge or detail.canaries.judge]
    facts = JudgeFacts.from_wire(record.fact("judge"))
    for measurement, detail in named or judged:
        canaries = detail.canaries
        verdict = detail.judge or JudgeVerdict(name=canaries.judge, model=canaries.model)
        yield JudgeUse(
            name=verdict.name or facts.name or measurement.name.removeprefix("judge."),
            model=verdict.model or facts.model,
            version=measurement.version or verdict.version or facts.version,
            calibration=detail.calibration.text or NOT_CALIBRATED,
            doubtful=detail.calibration.status != "calibrated",
            canaries=canaries.text,
            unfit=canaries.status == UNFIT,
            tried=bool(canaries.judge),
        )


def is_judged(measurement: Measurement) -> bool:
    """Return whether the value of a measurement comes from a judge, or should have."""
    return "judge" in measurement.detail or measurement.name.startswith("judge.")


def judge_doubt(measurement: Measurement, detail: MeasurementDetail | None = None) -> str:
    """Return a warning about the measurement's judge, or ""; ``detail`` is that of the measurement, if it was read."""
    if not is_judged(measurement):
        return ""
    detail = detail or read_detail(measurement)
    if detail.canaries.status == UNFIT:
        return UNFIT
    status = detail.calibration.status or "not calibrated"
    return "" if status == "calibrated" else status


def iter_run_self_judging_notes(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield a warning for each judge model that was the model under test, unless ``llm_self_judging`` is ``allow``.

    >>> list(iter_run_self_judging_notes((), {}))
    []
    """
    if SettingsMeta.from_wire(meta.get("settings")).self_judging != "allow":
        yield from iter_self_judging_notes(record.calls for record in records)
