"""A run with new verdicts in place of the old ones: outcomes and failure texts follow, all else stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement, describe, shorten
from pytest_llmops.results.rejudging.judged_outputs import TOP, Output, verdict_in
from pytest_llmops.results.rejudging.score_changes import score_of
from pytest_llmops.results.run import Outcome, Run, TestRecord

AtLeast: TypeAlias = float | Literal["default"] | None
_IMPLIED: Mapping[str, Outcome] = {"errored": "errored", "failed": "failed"}
_BADNESS: tuple[Outcome, ...] = ("passed", "failed", "errored")
_RAISED: Mapping[str, str] = {"errored": "MeasurementErrored", "failed": "MeasurementFailed"}
"""What the verdict on a measurement raises, by the outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An output and what is measured of it now.

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
class Stamp:
    """When and by what a run was judged again.

    Attributes:
        day: ISO 8601.
        asked: A judge was asked; otherwise only the threshold is another.
        at_least: The threshold that was asked for, on the judge's own scale; None: none.
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
    def sentence(self) -> str:
        """What the run's notes say."""
        by = f"by judge {self.judge}, version {self.version}" if self.asked else "by the stored scores"
        model = f", model {self.model}" if self.asked and self.model else ""
        threshold = f", at least {self.at_least:g}" if self.at_least is not None else ""
        return f"judged again on {self.day} {by}{model}{threshold} (llmops judge rescore {self.source})"


def threshold_of(
    output: Output,
    *,
    at_least: float | None,
    pass_at: float | None,
    scale: tuple[float, float] | None,
    judge: str = "",
    version: str = "",
) -> AtLeast:
    """Return the threshold that a new score has to reach, as `assert_judge_score` takes it.

    The one that was asked for comes first. What only recorded goes on to do so. A threshold that was the old
    judge's own becomes the new judge's own; one that a test named stays, where the scale is the same, and else
    becomes the new judge's own. The scale of a verdict without a score is that of the judge's other scores.

    Args:
        output: With the old threshold.
        at_least: The threshold that was asked for; None: none was.
        pass_at: The new judge's own; None: it has none.
        scale: The new judge's; None: not known.
        judge: Its name.
        version: Its version: the same judge as before has the same scale.

    Raises:
        UsageError: A threshold on another scale says nothing here, and the new judge has none.
    """
    if at_least is not None:
        return at_least
    old = output.threshold
    if output.old is None:
        return None if pass_at is None else "default"
    if old is None:
        return None
    if output.told.get("default") is True and pass_at is not None:
        return "default"
    same = bool(version) and (judge, version) == (output.judge, output.old.version)
    if same or (output.scale is not None and scale in (None, output.scale)):
        return old
    if pass_at is not None:
        return "default"
    there = "a scale that is not known" if output.scale is None else f"a scale of {_words(output.scale)}"
    here = "not known before it is asked" if scale is None else _words(scale)
    raise UsageError(
        f"judge {judge}: {shorten(output.nodeid, 200)} has a threshold of {old:g} on {there}, and this judge's scale is {here}: "
        "add --at-least, or pass_at to the rubric"
    )


def _words(scale: tuple[float, float]) -> str:
    return f"{scale[0]:g} to {scale[1]:g}"


def replace_threshold(output: Output, at_least: float) -> Measurement:
    """Return an old verdict with another threshold; what waits for a person waits on.

    What could not be scored stays so, and keeps its threshold where nothing tells its scale.

    Raises:
        UsageError: The threshold is not on the stored scale, or the scale is not stored.

    >>> told = {"name": "j", "score": 6, "low": 1, "high": 10, "threshold": 7}
    >>> old = Measurement(name="judge.j", value=5 / 9, threshold=6 / 9, detail={"actual": "x", "judge": told})
    >>> replace_threshold(Output(record=0, nodeid="t", answer="x", old=old), 6.0).status
    'passed'
    """
    if output.old is not None and output.old.value is None and output.scale is None:
        return output.old
    if output.old is None or output.scale is None:
        raise UsageError("verdict whose scale is not stored")
    low, high = output.scale
    if not low <= at_least <= high:
        raise UsageError(f"verdict on a scale of {_words(output.scale)}, without {at_least:g}")
    old = output.old
    told = {key: one for key, one in output.told.items() if key != "default"}
    review = old.detail.get("review")
    if isinstance(review, Mapping):
        detail = {**old.detail, "review": {**review, "undecided": at_least}, "judge": told}
        return replace(old, detail=detail)
    detail = {**old.detail, "judge": {**told, "threshold": at_least}}
    threshold = None if old.value is None else (at_least - low) / (high - low)
    return replace(old, threshold=threshold, detail=detail)


def rejudged(run: Run, found: Sequence[Judged], stamp: Stamp) -> Run:
    """Return a run with new verdicts, and a note that says when and by what.

    Dimensions of an old verdict go with it. The outcome of a test follows where its measurements alone decided it; what
    ended otherwise, or also otherwise (a fixture, a plain assert, a skip), stays as it was. The calls of a judge that is not heard any
    more are dropped; those of the new one stand in its recording.
    """
    by: dict[int, list[Judged]] = {}
    for one in found:
        by.setdefault(one.output.record, []).append(one)
    records = tuple(
        _record(record, by[number], stamp) if number in by else record
        for number, record in enumerate(run.records)
    )
    told: dict[str, Json] = {
        "day": stamp.day,
        "judge": stamp.judge,
        "version": stamp.version,
        "model": stamp.model,
        "at_least": stamp.at_least,
        "source": stamp.source,
    }
    return replace(
        run, records=records, notes=(*run.notes, stamp.sentence), meta={**run.meta, "rejudged": told}
    )


def _record(record: TestRecord, found: Sequence[Judged], stamp: Stamp) -> TestRecord:
    replaced = {one.output.place: one for one in found if one.output.place is not None}
    gone = {key for one in found for key in _dimensions(one.output)} if stamp.asked else set()
    made: list[Measurement] = []
    seen: dict[tuple[object, ...], str] = {}
    for place, old in enumerate(record.measurements):
        new = replaced.get(place)
        if new is None:
            made += [] if (old.name, old.label) in gone and not verdict_in(old) else [old]
        elif not _twice(new, seen):
            made += new.measurements
    for new in found:
        made += new.measurements if new.output.place is None else ()
    measurements = tuple(made)
    outcome = _outcome(record, measurements)
    judges = [place for place, one in enumerate(record.measurements) if _judges(one)]
    calls = record.calls
    if stamp.asked and set(judges) <= set(replaced):
        calls = tuple(one for one in calls if one.purpose != "judge")
    return replace(
        record,
        measurements=measurements,
        outcome=outcome,
        message=_message(record, measurements, outcome),
        raised=_raised(record, measurements, outcome),
        calls=calls,
        facts={**record.facts, **({"judge": _who(found[-1].top)} if stamp.asked else {})},
    )


def _judges(one: Measurement) -> bool:
    return one.name.startswith(TOP) and bool(verdict_in(one) or one.name.endswith(".kappa"))


def _twice(new: Judged, seen: dict[tuple[object, ...], str]) -> bool:
    """Whether two old judges of one answer have become the same new one: it says the same twice."""
    key = (new.top.name, new.top.label, new.top.threshold, *new.output.inputs)
    return seen.setdefault(key, new.output.judge) != new.output.judge


def _dimensions(output: Output) -> set[tuple[str, str]]:
    given = output.told.get("dimensions")
    names = list(given) if isinstance(given, Mapping) else []
    return {(f"{output.old.name}.{name}", output.old.label) for name in names} if output.old else set()


def _who(top: Measurement) -> dict[str, Json]:
    told = score_of(top)
    return {"name": told.judge, "version": told.version, "model": told.model}


def _implied(measurements: Sequence[Measurement]) -> Outcome:
    found = [_IMPLIED.get(one.status, "passed") for one in measurements]
    return cast("Outcome", max(found, key=_BADNESS.index, default="passed"))


def _outcome(record: TestRecord, measurements: Sequence[Measurement]) -> Outcome:
    was, now = _implied(record.measurements), _implied(measurements)
    alone = not _ended_otherwise(record)
    if record.outcome in ("xfailed", "xpassed"):
        decided = alone and (record.outcome == "xpassed") == (was == "passed")
        return ("xpassed" if now == "passed" else "xfailed") if decided else record.outcome
    if record.outcome == was and alone:
        return now
    # Something else decided: that stays, unless the new verdicts are worse than the old ones and than that.
    if record.outcome in _BADNESS and _BADNESS.index(now) > _BADNESS.index(was):
        return max(record.outcome, now, key=_BADNESS.index)
    return record.outcome


def _ended_otherwise(record: TestRecord) -> bool:
    """Whether anything but a verdict on a measurement ended the test, alone or too."""
    if record.raised:
        return not set(record.raised) <= set(_RAISED.values())
    # Files of older versions do not say what was raised: there the text has to be all of a measurement's.
    bad = record.outcome in ("failed", "errored") and bool(record.message)
    return bad and len(_foreign(record)) > 0


def _foreign(record: TestRecord) -> list[str]:
    """The parts of a failure text that are no measurement's; a part of two paragraphs counts as two."""
    bad = [one.name for one in record.measurements if one.status in ("failed", "errored")]
    heads = [f"{kind}: " for kind in _RAISED.values()] if bad else []
    heads += [f"{name.replace(TOP, what, 1)} " for name in bad for what in (TOP, "judge ")]
    return [part for part in record.message.split("\n\n") if not part.startswith(tuple(heads))]


def _message(record: TestRecord, measurements: Sequence[Measurement], outcome: Outcome) -> str:
    if outcome not in ("passed", "failed", "errored"):
        return record.message
    bad = [one for one in measurements if one.status in ("failed", "errored")]
    if bad == [one for one in record.measurements if one.status in ("failed", "errored")]:
        return record.message
    told = list(map(_told, bad))
    if _ended_otherwise(record):
        rest = _foreign(record)
        mine = len(rest) < len(record.message.split("\n\n"))
        return "\n\n".join([*told, *rest]) if mine else record.message
    if outcome == record.outcome != _implied(measurements):
        return record.message
    return "\n\n".join(told) if outcome != "passed" else ""


def _raised(record: TestRecord, measurements: Sequence[Measurement], outcome: Outcome) -> tuple[str, ...]:
    """What would have been raised: of the verdicts on measurements the new one, all else as it was."""
    now = _implied(measurements)
    if now == _implied(record.measurements):
        return record.raised
    rest = tuple(one for one in record.raised if one not in _RAISED.values())
    own = (_RAISED[now],) if now in _RAISED and outcome in (now, "xfailed") else ()
    return (*own, *rest)


def _told(one: Measurement) -> str:
    pairs = one.detail.get("evidence")
    listed = pairs if isinstance(pairs, list) else []
    evidence = [(str(pair[0]), str(pair[1])) for pair in listed if isinstance(pair, list) and len(pair) == 2]  # noqa: PLR2004 -- label and text
    said = score_of(one)
    line = ""
    if verdict_in(one) and said.status == "fail" and said.score is not None and said.threshold is not None:
        title = f"judge {shorten(said.judge, 60)}" + (f" [{shorten(one.label, 60)}]" if one.label else "")
        scale = f" (scale {_words(said.scale)})" if said.scale else ""
        line = f"{title} {said.score:g} < {said.threshold:g}{scale}"
    return describe(one, verdict=line, evidence=evidence)
