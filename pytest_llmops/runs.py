"""A run: every test of a session with what it measured, as one versioned JSON document."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pytest_llmops.attribution import attribution
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement, plain
from pytest_llmops.protocols import Call
from pytest_llmops.reviewing import review

SCHEMA = "pytest-llmops/run/1"
Outcome: TypeAlias = Literal["passed", "failed", "errored", "skipped", "xfailed", "xpassed"]
OUTCOMES: tuple[Outcome, ...] = ("failed", "errored", "xpassed", "passed", "xfailed", "skipped")
_WORSE: tuple[Outcome, ...] = ("errored", "failed", "xpassed", "xfailed", "skipped", "passed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRecord:
    """One test of a run.

    Attributes:
        nodeid: pytest's name of the test: with a measurement's name and label the key of a baseline.
        outcome: ``errored`` is a test that could not be judged (broken fixture, no verdict, no recording).
        message: Failure text, or the reason of a skip.
        facts: What else is known: ``prompt``, ``case``, ``retriever``, ``judge``, ``cassette``; plain builtins.
    """

    __test__ = False  # pytest would collect a class of this name where a test imports it

    nodeid: str
    outcome: Outcome = "passed"
    duration_s: float = 0.0
    message: str = ""
    measurements: tuple[Measurement, ...] = ()
    calls: tuple[Call, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)

    def add(self, other: TestRecord) -> TestRecord:
        """Return this record with another phase of the same test added: the worse outcome stays."""
        outcome = min(self.outcome, other.outcome, key=_WORSE.index)
        return replace(
            self,
            outcome=outcome,
            duration_s=self.duration_s + other.duration_s,
            message="\n\n".join(text for text in (self.message, other.message) if text),
            measurements=self.measurements + other.measurements,
            calls=self.calls + other.calls,
            facts={**self.facts, **other.facts},
        )

    def fact(self, kind: str) -> Mapping[str, Json]:
        """Return the facts of one kind (``prompt``, ``case`` ...), or an empty mapping."""
        value = self.facts.get(kind)
        return value if isinstance(value, Mapping) else {}

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins; where retrieval and generation were measured, also which of them was bad."""
        blame = attribution(self.measurements)
        return {
            "nodeid": str(plain(self.nodeid)),
            "outcome": self.outcome,
            "duration_s": round(self.duration_s, 6),
            "message": str(plain(self.message)),
            "measurements": [m.to_wire() for m in self.measurements],
            "calls": [call.to_wire() for call in self.calls],
            "facts": plain(self.facts, where="facts"),
            **({"attribution": blame.sentence} if blame is not None else {}),
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
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All tests of a session, in the order they were collected.

    Attributes:
        records: One a test.
        meta: When and with what: ``created`` (ISO 8601, UTC), ``versions``, ``settings``, ``command``.
        notes: Sentences for a person ("2 stale interactions in ...").
    """

    records: tuple[TestRecord, ...] = ()
    meta: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """Return how many tests ended that way."""
        return sum(record.outcome == outcome for record in self.records)

    def to_json(self) -> str:
        """Return the run as JSON text: the same records give the same bytes."""
        document = {
            "schema": SCHEMA,
            "meta": plain(self.meta, where="meta"),
            "notes": list(self.notes),
            # Told for those who read the file; it follows from the records, and no reader of ours looks at it.
            "review": [one.to_wire() for one in review(self.records)],
            "records": [record.to_wire() for record in self.records],
        }
        return json.dumps(document, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "run file") -> Run:
        """Read what `to_json` wrote.

        Raises:
            UsageError: It is no run file, or one of a newer major version.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UsageError(
                f"{where}: expected the JSON of --llm-report=run.json, got no JSON: {error}"
            ) from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise UsageError(
                f"{where}: expected schema {SCHEMA!r}, got {schema!r}; write the run again with this version"
            )
        return cls(
            records=tuple(map(TestRecord.from_wire, data.get("records", []))),
            meta=data.get("meta", {}),
            notes=tuple(data.get("notes", [])),
        )


def by_nodeid(records: Iterable[TestRecord]) -> dict[str, TestRecord]:
    """Join the phases of each test into one record, keeping the order of first sight."""
    joined: dict[str, TestRecord] = {}
    for record in records:
        seen = joined.get(record.nodeid)
        joined[record.nodeid] = record if seen is None else seen.add(record)
    return joined


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a killed job leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
