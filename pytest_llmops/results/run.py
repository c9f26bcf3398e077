"""A run: every test of a session with its measurements and judges, stored as a versioned JSON document.

A run file is validated with ``run.schema.json``; errors give the JSON path.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, cast

from pytest_llmops._util.text_files import gzip_by_suffix, json_kind, write_atomically
from pytest_llmops.errors import UsageError, WireError, format_name_list
from pytest_llmops.measurement import Json, Measurement, escape_json_output, quoted, shorten_text, to_builtins
from pytest_llmops.protocols import Call
from pytest_llmops.results.details import (
    JudgeFacts,
    JudgeVerdict,
    MeasurementDetail,
    SettingsMeta,
    as_list,
    as_mapping,
    fact_text,
    read_detail,
)
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.self_judging import iter_self_judging_notes
from pytest_llmops.results.trajectories import copy_same_trajectories, refer_to_same_trajectories
from pytest_llmops.results.verdict import CaseChange, Verdict

FORMAT_NAME = "the JSON of --llm-report=run.json"
# Words for the types of JSON Schema in errors
_EXPECTED: Mapping[object, str] = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object with keys",
    "string": "a text",
}
SCHEMA = "pytest-llmops/run/2"
Outcome: TypeAlias = Literal["passed", "failed", "errored", "skipped", "xfailed", "xpassed"]
OUTCOMES: tuple[Outcome, ...] = ("failed", "errored", "xpassed", "passed", "xfailed", "skipped")
_OUTCOMES_BY_SEVERITY: tuple[Outcome, ...] = ("errored", "failed", "xpassed", "xfailed", "skipped", "passed")
_BAD_OUTCOMES: tuple[Outcome, ...] = ("failed", "errored")
Half: TypeAlias = Literal["good", "bad", "not judged"]

RETRIEVAL_PREFIX = "retrieval."
NOT_QUALITY_METRICS = frozenset({"retrieval.latency"})
# Fact of a case of a dataset: the node id of the test that evaluated it
EVALUATED_BY = "evaluated_by"
GENERATION_PREFIXES = ("grounding.", "semantic", "judge.", "text.", "schema", "score.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The status of the two halves of a RAG application: ``bad`` if a threshold is missed, ``not judged`` without a threshold."""

    retrieval: Half
    generation: Half

    @property
    def status_words(self) -> str:
        """Both statuses in words.

        >>> Attribution(retrieval="good", generation="bad").status_words
        'retrieval good, generation bad'
        """
        return f"retrieval {self.retrieval}, generation {self.generation}"

    @property
    def bad(self) -> bool:
        """Whether retrieval or generation is bad."""
        return "bad" in (self.retrieval, self.generation)


def attribute_failure(measurements: Iterable[Measurement]) -> Attribution | None:
    """Return whether retrieval or generation did badly; None if that is not known.

    Retrieval is every ``retrieval.*`` except its latency. Generation is every measurement of the answer: grounding,
    similarity, judges, texts, schemas and the user's own metrics. Without a threshold, or without any score, the status is
    "not judged".

    It is not known if nothing was retrieved, if both are "not judged", or if only retrieval was measured and did well. If
    only retrieval was measured and did badly, the test ended before the answer, and generation is "not judged".

    >>> retrieved = [Measurement(name="retrieval.recall@5", value=1.0, threshold=0.8)]
    >>> attribute_failure([*retrieved, Measurement(name="grounding.supported", value=0.5, threshold=1.0)]).status_words
    'retrieval good, generation bad'
    """
    retrieval = []
    generation = []
    for measurement in measurements:
        name = measurement.name
        if name.startswith(RETRIEVAL_PREFIX) and name not in NOT_QUALITY_METRICS:
            retrieval.append(measurement)
        if name.startswith(GENERATION_PREFIXES):
            generation.append(measurement)
    attribution = Attribution(retrieval=_half_status(retrieval), generation=_half_status(generation))
    if not retrieval or (attribution.retrieval, attribution.generation) == ("not judged", "not judged"):
        return None
    if generation or attribution.retrieval == "bad":
        return attribution
    return None


def _half_status(measurements: Iterable[Measurement]) -> Half:
    """Return the status of the measurements of one half: one failure makes it bad."""
    statuses = {measurement.status for measurement in measurements}
    if "failed" in statuses:
        return "bad"
    if "passed" in statuses:
        return "good"
    return "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRecord:
    """A test of a run.

    Attributes:
        nodeid: pytest's name of the test, under which a baseline stores it.
        outcome: ``errored`` is a test without a verdict (wrong use, a broken fixture, no score, no recording).
        message: Failure text, or the reason of a skip.
        raised: Class names of the exceptions that ended phases of the test, in order; ``MeasurementFailed`` and
            ``MeasurementErrored`` are verdicts on measurements. Empty: no exception, or not known.
        place: File and line of the failure, else of the test, relative to the root: ``tests/test_a.py:12``; "": not known.
        facts: Everything else about the test, by kind: ``model``, ``params``, ``prompt``, ``case``, ``retriever``, ``judge``, ``cassette``;
            plain builtins, see `pytest_llmops.results.details`.
    """

    __test__ = False  # pytest would collect a class of this name where a test imports it

    nodeid: str
    outcome: Outcome = "passed"
    duration_s: float = 0.0
    message: str = ""
    measurements: tuple[Measurement, ...] = ()
    calls: tuple[Call, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    raised: tuple[str, ...] = ()
    place: str = ""

    def add(self, other: "TestRecord") -> "TestRecord":
        """Return this record with another phase of the same test added; the worse outcome wins."""
        worse = min(self, other, key=lambda record: _OUTCOMES_BY_SEVERITY.index(record.outcome))
        messages = [text for text in (self.message, other.message) if text]
        return replace(
            self,
            outcome=worse.outcome,
            place=worse.place,
            duration_s=self.duration_s + other.duration_s,
            message="\n\n".join(messages),
            measurements=self.measurements + other.measurements,
            calls=self.calls + other.calls,
            facts={**self.facts, **other.facts},
            raised=self.raised + other.raised,
        )

    def fact(self, kind: str) -> Mapping[str, Json]:
        """Return the facts of one kind (``prompt``, ``case`` ...), or an empty mapping."""
        return as_mapping(self.facts.get(kind))

    @property
    def is_dataset_case(self) -> bool:
        """Whether this is a case of a dataset, not a test that pytest knows; see `pytest_llmops.results.dataset_cases`."""
        return EVALUATED_BY in self.facts

    @property
    def runnable_nodeid(self) -> str:
        """The node id by which pytest runs the test again; of a case of a dataset, the id of the test that evaluated it."""
        return fact_text(self.facts.get(EVALUATED_BY)) or self.nodeid

    @property
    def missed_request(self) -> bool:
        """Whether a request had no recording, so that its scores, if any, do not belong to an answer."""
        return "CassetteMiss" in self.raised or bool(self.fact("cassette").get("missed"))

    @property
    def record_commands(self) -> tuple[str, ...]:
        """The commands that record the missing answers of the test; empty without a miss."""
        return tuple(fact_text(command) for command in as_list(self.facts.get("record")))

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins, with the attribution of a failure to retrieval or generation."""
        nodeid = to_builtins(self.nodeid)
        message = to_builtins(self.message)
        measurements = refer_to_same_trajectories(
            [measurement.to_wire() for measurement in self.measurements]
        )
        calls: list[Json] = [call.to_wire() for call in self.calls]
        wire: dict[str, Json] = {
            "nodeid": str(nodeid),
            "outcome": self.outcome,
            "duration_s": round(self.duration_s, 6),
            "message": str(message),
            "measurements": [*measurements],
            "calls": calls,
            "facts": to_builtins(self.facts, where="facts"),
        }
        if self.raised:
            wire["raised"] = to_builtins(self.raised)
        if self.place:
            wire["place"] = to_builtins(self.place)
        blame = attribute_failure(self.measurements)
        if blame is not None:
            wire["attribution"] = blame.status_words
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json]) -> "TestRecord":
        """Return what `to_wire` wrote; keys of a newer version are ignored."""
        data = cast("Mapping[str, Any]", wire)
        nodeid = data["nodeid"]
        duration_s = data.get("duration_s", 0.0)
        message = data.get("message", "")
        measurements = map(Measurement.from_wire, copy_same_trajectories(data.get("measurements", [])))
        calls = map(Call.from_wire, data.get("calls", []))
        raised = map(str, data.get("raised", []))
        place = data.get("place", "")
        return cls(
            nodeid=str(nodeid),
            outcome=data.get("outcome", "passed"),
            duration_s=float(duration_s),
            message=str(message),
            measurements=tuple(measurements),
            calls=tuple(calls),
            facts=data.get("facts", {}),
            raised=tuple(raised),
            place=str(place),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All tests of a session, in the natural order of their names.

    Attributes:
        records: The tests.
        meta: When and with what: ``created`` (ISO 8601, UTC), ``versions``, ``settings``, ``command``.
        notes: Sentences for a person ("2 stale interactions in ...").
        verdicts: Conclusions from the records, see `pytest_llmops.baselines.conclusion`. They may fail the run.
    """

    records: tuple[TestRecord, ...] = ()
    meta: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    # The result of `judges`: several reports of a run need it, and reading it is slow.
    _judges: "list[tuple[JudgeUse, ...]]" = field(default_factory=list, init=False, repr=False, compare=False)

    def count(self, outcome: Outcome) -> int:
        """Return how many tests have an outcome."""
        return sum(record.outcome == outcome for record in self.records)

    def find_verdict(self, kind: str) -> Verdict | None:
        """Return the first verdict of a kind; None: there is none."""
        return next((verdict for verdict in self.verdicts if verdict.kind == kind), None)

    @property
    def is_strict(self) -> bool:
        """Whether an undecided verdict fails the run (``--llm-strict``)."""
        return SettingsMeta.from_wire(self.meta.get("settings")).strict

    @property
    def failing_verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts that fail the run."""
        is_strict = self.is_strict
        return tuple(verdict for verdict in self.verdicts if verdict.fails(strict=is_strict))

    @property
    def changes(self) -> dict[str, CaseChange]:
        """What changed in a test since the baseline, by node id."""
        return {change.nodeid: change for verdict in self.verdicts for change in verdict.changes}

    @property
    def judges(self) -> "tuple[JudgeUse, ...]":
        """The judges of all tests, in the order of first use; see `collect_judges`."""
        if not self._judges:
            self._judges.append(collect_judges(self.records))
        return self._judges[0]

    def to_json(self, *, indent: int | None = 1, summary: bool = True) -> str:
        """Return the run as JSON text: the same records give the same bytes.

        Args:
            indent: Spaces of each level; None: a single line, about four times faster.
            summary: Add totals and the verdicts to review, for people who read the file. `from_json` ignores them.
        """
        from pytest_llmops.results.summary import summarize_run

        document: dict[str, Json] = {
            "schema": SCHEMA,
            "meta": to_builtins(self.meta, where="meta"),
            "notes": to_builtins(list(self.notes), where="notes"),
        }
        if summary:
            document["totals"] = summarize_run(self).to_wire()
            judgements = select_for_review(self.records)
            document["review"] = [judgement.to_wire() for judgement in judgements]
        document["verdicts"] = [to_builtins(verdict.to_wire()) for verdict in self.verdicts]
        document["records"] = [record.to_wire() for record in self.records]
        text = json.dumps(document, ensure_ascii=False, indent=indent)
        return escape_json_output(text) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "run file") -> "Run":
        """Read what `to_json` wrote.

        Raises:
            UsageError: It is not a run file, of another major version, or damaged; with the JSON path.
        """
        data = _parse_run_file(text, SCHEMA, where=where)
        records = []
        for number, wire in enumerate(data["records"]):
            try:
                records.append(TestRecord.from_wire(wire))
            except WireError as error:
                place = locate_record(wire, f"$.records[{number}]")
                raise UsageError(f"{where}: damaged: {place}: {error}") from None
        verdicts = map(Verdict.from_wire, data["verdicts"])
        return cls(
            records=tuple(records),
            meta=data["meta"],
            notes=tuple(data["notes"]),
            verdicts=tuple(verdicts),
        )


def decide_exit_status(run: Run, pytest_status: int | None = None) -> int:
    """Return the exit status of a run: the one of pytest, or 1 if that is 0 and a verdict fails the run.

    Args:
        run: The run with its verdicts.
        pytest_status: The exit status of pytest. None: not known, it is then 1 if a test failed or errored, also one that pytest counts
            alone, or if a module could not be loaded.

    >>> decide_exit_status(Run(records=(TestRecord(nodeid="t", outcome="errored"),))), decide_exit_status(Run(), 5)
    (1, 5)
    """
    if pytest_status is None:
        others = as_mapping(run.meta.get("other_tests"))
        is_bad = any(run.count(outcome) or others.get(outcome) for outcome in _BAD_OUTCOMES)
        pytest_status = int(is_bad or bool(run.meta.get("collection_errors")))
    if pytest_status:
        return pytest_status
    return int(bool(run.failing_verdicts))


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, compressed if its name ends in .gz; create its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8", "replace")
    write_atomically(path, gzip_by_suffix(path, data))


def _parse_run_file(text: str, schema: str, *, where: str) -> dict[str, Any]:
    """Return the document of a run file; keys of the top level that it may lack are there, empty.

    Args:
        text: The text of the file.
        schema: Name and version of the format, which the file must have.
        where: The name of the file, for errors.

    Raises:
        UsageError: It is not JSON, not a run file, of a newer major version, or damaged. The error has the file and JSON path.
    """
    try:
        data = json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        raise UsageError(f"{where}: expected {FORMAT_NAME}, got JSON that is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{where}: expected {FORMAT_NAME}, got no JSON: {error}") from None
    schema_name = None
    if isinstance(data, dict):
        schema_name = data.get("schema")
    if schema_name != schema:
        got = quoted(schema_name)
        raise UsageError(
            f"{where}: expected schema {schema!r}, got {got}; write the run again with this version"
        )
    problem = _find_problem(data)
    if problem:
        raise UsageError(f"{where}: damaged: {problem}; write the run again, or take it from version control")
    return {"records": [], "meta": {}, "notes": [], "verdicts": [], **data}


def _reject_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads although JSON has no such numbers."""
    raise ValueError(f"{text} is not JSON")


def _find_problem(data: dict[str, Any]) -> str:
    """Return the first problem of a document, with its JSON path; "" if it is a valid run file."""
    error = next(_run_validator().iter_errors(data), None)
    if error is not None:
        path = list(error.absolute_path)
        record = None
        if path[:1] == ["records"] and len(path) > 1:
            record = data["records"][path[1]]
        place = locate_record(record, error.json_path)
        return f"{place}: {_describe_error(error)}"
    try:
        # The schema allows any JSON in these, but 1e999 is read as infinity, which could not be written again.
        to_builtins(data.get("meta"), where="$.meta")
        for number, record in enumerate(data.get("records", [])):
            place = f"$.records[{number}]"
            to_builtins(record.get("facts"), where=f"{place}.facts")
            for index, call in enumerate(record.get("calls", [])):
                to_builtins(call.get("tools"), where=f"{place}.calls[{index}].tools")
    except WireError as wire_error:
        return str(wire_error)
    return ""


@lru_cache(maxsize=1)
def _run_validator() -> Any:
    from jsonschema import Draft202012Validator

    text = (files("pytest_llmops.results") / "run.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def _describe_error(error: Any) -> str:
    """Return a jsonschema ``ValidationError`` as expected and got.

    The schema uses ``required``, ``type``, ``enum``, and otherwise only conditions on numbers.
    """
    got = error.instance
    if error.validator == "required":
        # The error is on one missing key; that is why there is a first one.
        missing = next(name for name in error.validator_value if name not in got)
        return f"expected the key {missing}, got {format_name_list(map(str, got))}"
    if error.validator == "type":
        types = error.validator_value
        if isinstance(types, str):
            types = [types]
        expected = " or ".join(_EXPECTED[name] for name in types)
    elif error.validator == "enum":
        expected = f"one of {', '.join(error.validator_value)}"
    else:
        expected = "a finite number"
    text = ""
    if got is not None and not isinstance(got, (list, dict)):
        text = f": {shorten_text(json.dumps(got), 60)}"
    return f"expected {expected}, got {json_kind(got)}{text}"


def locate_record(record: object, place: str) -> str:
    """Return the JSON path of a record, followed by the name of its test if it has one.

    >>> locate_record({"nodeid": "a.py::test"}, "$.records[3]")
    '$.records[3] (a.py::test)'
    """
    name = None
    if isinstance(record, dict):
        name = record.get("nodeid")
    if isinstance(name, str):
        return f"{place} ({shorten_text(name, 200)})"
    return place


NOT_CALIBRATED = "not calibrated, do not rely on its scores"
UNFIT = "unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUse:
    """A judge that was called in this run.

    Attributes:
        calibration: Its agreement with human annotators, as a sentence.
        canaries: Its result on canaries (answers that no judge may pass), as a sentence; "": none is known.
        doubtful: No calibration supports its scores.
        unfit: It passes canaries.
        tried: The canaries ran in this run. Otherwise their result is a stored one, which is older.
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
        """Calibration and canaries as one text, the canaries first if the judge is unfit.

        >>> JudgeUse(name="quality", canaries="unfit: it passes 3 of 41 canaries", unfit=True).standing
        'unfit: it passes 3 of 41 canaries; not calibrated, do not rely on its scores'
        """
        parts = [self.calibration, self.canaries]
        if self.unfit:
            parts.reverse()
        return "; ".join(filter(None, parts))


def collect_judges(records: Iterable[TestRecord]) -> tuple[JudgeUse, ...]:
    """Return the judges in the order of first occurrence. A judge with two models or versions counts as two."""
    judge_uses: dict[tuple[str, str, str], JudgeUse] = {}
    for record in records:
        for judge_use in _iter_judge_uses(record):
            key = (judge_use.name, judge_use.model, judge_use.version)
            known = judge_uses.setdefault(key, judge_use)
            if known != judge_use:
                judge_uses[key] = _merge_judge_uses(known, judge_use)
    return tuple(judge_uses.values())


def _merge_judge_uses(first: JudgeUse, other: JudgeUse) -> JudgeUse:
    """Merge what two measurements report about the same judge.

    The calibration of the first is used, unless it has none. Of the canaries, the higher rank is used, see `_canary_rank`.
    """
    calibrated = first
    if first.calibration == NOT_CALIBRATED:
        calibrated = other
    higher_ranked = max(first, other, key=_canary_rank)
    return replace(
        first,
        calibration=calibrated.calibration,
        doubtful=calibrated.doubtful,
        canaries=higher_ranked.canaries,
        unfit=higher_ranked.unfit,
        tried=higher_ranked.tried,
    )


def _canary_rank(judge_use: JudgeUse) -> tuple[bool, bool, bool]:
    """Return the rank of a report on canaries: one of this run over a stored one, then unfit over fit, then any over none."""
    return judge_use.tried, judge_use.unfit, bool(judge_use.canaries)


def _iter_judge_uses(record: TestRecord) -> Iterator[JudgeUse]:
    """Yield the judges of a test, one for each measurement.

    The name comes from the verdict or the canaries, else from the test's facts, else it is part of the measurement's
    name. Measurements that name no judge are skipped if others of the test do.
    """
    judged = []
    named = []
    for measurement in filter(is_judged, record.measurements):
        detail = read_detail(measurement)
        judged.append((measurement, detail))
        if detail.judge or detail.canaries.judge:
            named.append((measurement, detail))
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
    """Return a warning about the judge of a measurement ("unfit", "not calibrated" ...); "" if there is none.

    Args:
        measurement: The measurement; no warning is given if it is not of a judge.
        detail: The detail of the measurement, if the caller has read it already.
    """
    if not is_judged(measurement):
        return ""
    detail = detail or read_detail(measurement)
    if detail.canaries.status == UNFIT:
        return UNFIT
    status = detail.calibration.status or "not calibrated"
    if status == "calibrated":
        return ""
    return status


def iter_run_self_judging_notes(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield a warning for each judge model that was the model under test, unless ``llm_self_judging`` is ``allow``.

    >>> list(iter_run_self_judging_notes((), {}))
    []
    """
    if SettingsMeta.from_wire(meta.get("settings")).self_judging != "allow":
        yield from iter_self_judging_notes((record.calls, record.measurements) for record in records)
