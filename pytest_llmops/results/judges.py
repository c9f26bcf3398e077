"""The judges of a run as what they are: instruments, and what is known of each.

Did a model judge its own answers? Judges give higher scores to text that they find likely, as their own is.

Wataoka, Takahashi and Ri 2024, "Self-Preference Bias in LLM-as-a-Judge", arXiv 2410.21819.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops._util.model_names import same_model
from pytest_llmops.measurement import Json, Measurement, counted, shorten
from pytest_llmops.protocols import Call
from pytest_llmops.results.comparison import text_of
from pytest_llmops.results.run import TestRecord

UNKNOWN = "not calibrated, its scores are no verdict"
UNFIT = "unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUse:
    """A judge that was asked in this run.

    Attributes:
        calibration: How it agrees with people, as a sentence.
        canaries: How it did with answers that no judge may pass; empty: it was not tried.
        doubtful: There is no good word for it.
        unfit: It passes what no judge may pass.
        tried: It was tried in this run: what is known from elsewhere is older.
    """

    name: str
    model: str = ""
    version: str = ""
    calibration: str = UNKNOWN
    canaries: str = ""
    doubtful: bool = True
    unfit: bool = False
    tried: bool = False

    @property
    def standing(self) -> str:
        """All that is known of it, the worst first.

        >>> JudgeUse(name="quality", canaries="unfit: it passes 3 of 41 canaries", unfit=True).standing
        'unfit: it passes 3 of 41 canaries; not calibrated, its scores are no verdict'
        """
        parts = [self.canaries, self.calibration] if self.unfit else [self.calibration, self.canaries]
        return "; ".join(filter(None, parts))


def judges(records: Iterable[TestRecord]) -> tuple[JudgeUse, ...]:
    """Return who judged, in the order of first sight; one name with two models or versions is two judges."""
    found: dict[tuple[str, str, str], JudgeUse] = {}
    for one in (use for record in records for use in _judges_of(record)):
        key = (one.name, one.model, one.version)
        found[key] = _together(found[key], one) if key in found else one
    return tuple(found.values())


def _together(one: JudgeUse, other: JudgeUse) -> JudgeUse:
    """What two measurements tell of one judge; of what both tell, the first has its say, unless the other knows worse."""
    known = one if one.calibration != UNKNOWN else other
    known_canaries = (one.tried, one.unfit, bool(one.canaries)) >= (
        other.tried,
        other.unfit,
        bool(other.canaries),
    )
    canaries = one if known_canaries else other
    return replace(
        one,
        calibration=known.calibration,
        doubtful=known.doubtful,
        canaries=canaries.canaries,
        unfit=canaries.unfit,
        tried=canaries.tried,
    )


def _judges_of(record: TestRecord) -> Iterator[JudgeUse]:
    """Yield who judged: each verdict names its judge, else the test's facts do, else the measurement's name."""
    found = [one for one in record.measurements if judged(one)]
    told = [(one, said) for one in found if (said := _told(one, "judge") or _probed(one))]
    for one, said in told or [(one, record.fact("judge")) for one in found]:
        facts = {**record.fact("judge"), **{key: value for key, value in said.items() if value}}
        known, tried = _told(one, "calibration"), _told(one, "canaries")
        yield JudgeUse(
            name=text_of(facts.get("name")) or one.name.removeprefix("judge."),
            model=text_of(facts.get("model")),
            version=one.version or text_of(facts.get("version")),
            calibration=text_of(known.get("text")) if known else UNKNOWN,
            doubtful=text_of(known.get("status")) != "calibrated",
            canaries=text_of(tried.get("text")),
            unfit=text_of(tried.get("status")) == UNFIT,
            tried="judge" in tried,
        )


def _probed(one: Measurement) -> Mapping[str, Json]:
    """Who was tried by canaries, where this is what came of it and not what is known from elsewhere."""
    tried = _told(one, "canaries")
    return {"name": tried["judge"], "model": tried.get("model")} if "judge" in tried else {}


def _told(one: Measurement, what: str) -> Mapping[str, Json]:
    known = one.detail.get(what)
    return known if isinstance(known, Mapping) else {}


def judged(measurement: Measurement) -> bool:
    """Say whether a judge gave this measurement its value, or should have."""
    return "judge" in measurement.detail or measurement.name.startswith("judge.")


def doubt(measurement: Measurement) -> str:
    """Say what speaks against the judge of a measurement; nothing if it was calibrated, or none was asked."""
    if not judged(measurement):
        return ""
    if text_of(_told(measurement, "canaries").get("status")) == UNFIT:
        return UNFIT
    known = _told(measurement, "calibration")
    status = text_of(known.get("status")) if known else "not calibrated"
    return "" if status == "calibrated" else status


FAILED = 400
"""The first HTTP status of an answer that is none."""


def self_judged(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield one sentence for each judge's model that was the model under test, by what answered in the same test.

    Nothing where the run's ``llm_self_judging`` allows it.

    >>> list(self_judged((), {}))
    []
    """
    settings = meta.get("settings")
    if isinstance(settings, Mapping) and settings.get("self_judging") == "allow":
        return
    tests: dict[str, int] = {}
    for record in records:
        for judge in dict.fromkeys(_answering(record.calls, "judge")):
            if any(same_model(judge, model) for model in _answering(record.calls, "app")):
                tests[judge] = tests.get(judge, 0) + 1
    for judge, number in tests.items():
        yield (
            f"the judge {shorten(judge, 60)} is the model under test in {counted(number, 'test')}: "
            "a model prefers its own text (arXiv 2410.21819), name another with --llm-judge-model"
        )


def _answering(calls: Sequence[Call], purpose: str) -> Iterator[str]:
    for call in calls:
        if call.purpose == purpose and (call.status is None or call.status < FAILED):
            yield call.model
