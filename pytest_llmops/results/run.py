"""A run: every test of a session with its measurements, stored as a versioned JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pytest_llmops._util.text_files import gzip_by_suffix, write_atomically
from pytest_llmops.errors import UsageError, WireError
from pytest_llmops.measurement import Json, Measurement, to_builtins
from pytest_llmops.protocols import Call
from pytest_llmops.results.attribution import attribute_failure
from pytest_llmops.results.details import as_mapping
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.run_file import locate_record, parse_run_file

SCHEMA = "pytest-llmops/run/1"
Outcome: TypeAlias = Literal["passed", "failed", "errored", "skipped", "xfailed", "xpassed"]
OUTCOMES: tuple[Outcome, ...] = ("failed", "errored", "xpassed", "passed", "xfailed", "skipped")
_OUTCOMES_BY_SEVERITY: tuple[Outcome, ...] = ("errored", "failed", "xpassed", "xfailed", "skipped", "passed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRecord:
    """A test of a run.

    Attributes:
        nodeid: pytest's name of the test: with a measurement's name and label the key of a baseline.
        outcome: ``errored`` is a test that could not be judged (broken fixture, no verdict, no recording).
        message: Failure text, or the reason of a skip.
        raised: Class names of the exceptions that ended phases of the test, in order; ``MeasurementFailed`` and
            ``MeasurementErrored`` are verdicts on measurements. Empty: no exception, or not known.
        facts: What else is known: ``model``, ``params``, ``prompt``, ``case``, ``retriever``, ``judge``, ``cassette``;
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

    def add(self, other: TestRecord) -> TestRecord:
        """Return this record with another phase of the same test added; the worse outcome wins."""
        return replace(
            self,
            outcome=min(self.outcome, other.outcome, key=_OUTCOMES_BY_SEVERITY.index),
            duration_s=self.duration_s + other.duration_s,
            message="\n\n".join(text for text in (self.message, other.message) if text),
            measurements=self.measurements + other.measurements,
            calls=self.calls + other.calls,
            facts={**self.facts, **other.facts},
            raised=self.raised + other.raised,
        )

    def fact(self, kind: str) -> Mapping[str, Json]:
        """Return the facts of one kind (``prompt``, ``case`` ...), or an empty mapping."""
        return as_mapping(self.facts.get(kind))

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins, with the attribution of a failure to retrieval or generation."""
        blame = attribute_failure(self.measurements)
        return {
            "nodeid": str(to_builtins(self.nodeid)),
            "outcome": self.outcome,
            "duration_s": round(self.duration_s, 6),
            "message": str(to_builtins(self.message)),
            "measurements": [m.to_wire() for m in self.measurements],
            "calls": [call.to_wire() for call in self.calls],
            "facts": to_builtins(self.facts, where="facts"),
            **({"raised": to_builtins(self.raised)} if self.raised else {}),
            **({"attribution": blame.status_words} if blame is not None else {}),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json]) -> TestRecord:
        """Return what `to_wire` wrote; keys of a newer version are ignored."""
        data = cast("Mapping[str, object]", wire)
        return cls(
            nodeid=str(data["nodeid"]),
            outcome=cast("Outcome", data.get("outcome", "passed")),
            duration_s=float(cast("float", data.get("duration_s", 0.0))),
            message=str(data.get("message", "")),
            measurements=tuple(
                map(Measurement.from_wire, cast("list[dict[str, Json]]", data.get("measurements", [])))
            ),
            calls=tuple(map(Call.from_wire, cast("list[dict[str, Json]]", data.get("calls", [])))),
            facts=cast("dict[str, Json]", data.get("facts", {})),
            raised=tuple(map(str, cast("list[str]", data.get("raised", [])))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All tests of a session, in the natural order of their names.

    Attributes:
        records: The tests.
        meta: When and with what: ``created`` (ISO 8601, UTC), ``versions``, ``settings``, ``command``.
        notes: Sentences for a person ("2 stale interactions in ...").
    """

    records: tuple[TestRecord, ...] = ()
    meta: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """Return how many tests ended that way."""
        return sum(record.outcome == outcome for record in self.records)

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return the run as JSON text: the same records give the same bytes.

        Args:
            indent: Of each level; None: a single line, about four times faster.
        """
        whole: dict[str, Json] = {
            "schema": SCHEMA,
            "meta": to_builtins(self.meta, where="meta"),
            "notes": to_builtins(list(self.notes), where="notes"),
            # For people who read the file: it follows from the records, and `from_json` ignores it.
            "review": [item.to_wire() for item in select_for_review(self.records)],
            "records": [record.to_wire() for record in self.records],
        }
        return json.dumps(whole, ensure_ascii=False, indent=indent) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "run file") -> Run:
        """Read what `to_json` wrote.

        Raises:
            UsageError: It is no run file, of a newer major version, or damaged; with the JSON path.
        """
        data = parse_run_file(text, SCHEMA, where=where)
        records = []
        for number, wire in enumerate(data["records"]):
            try:
                records.append(TestRecord.from_wire(wire))
            except WireError as error:
                place = locate_record(wire, f"$.records[{number}]")
                raise UsageError(f"{where}: damaged: {place}: {error}") from None
        return cls(
            records=tuple(records),
            meta=data["meta"],
            notes=tuple(data["notes"]),
        )


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, compressed if its name ends in .gz; create its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, gzip_by_suffix(path, text.encode("utf-8", "replace")))
