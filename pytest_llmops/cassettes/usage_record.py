"""What a run used of its cassettes: the record it leaves, by which stale answers and orphans are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json, shorten_text

FORMAT_VERSION = 1
RUN_ALL_TESTS = "run all tests until they pass: pytest"

AnswerCounts = Mapping[str, Mapping[str, int]]
"""How many answers were asked for, by key and take: by the one test that asked for the most."""
FileStamp = tuple[int, int]
"""When a file was changed (in ns), and its size."""


@dataclass(frozen=True, slots=True)
class CassetteUse:
    """What a run asked of one cassette.

    Attributes:
        ran: Every test that uses it ran to its end and passed.
        shared: Several tests may use it.
        asked: What was asked.
        stamp: The file at the end of the run; None: there was none.
    """

    ran: bool
    shared: bool = False
    asked: AnswerCounts = field(default_factory=dict)
    stamp: FileStamp | None = None

    def joined(self, other: CassetteUse) -> CassetteUse:
        """Return what two tests, or two workers, asked of the same cassette."""
        requested = {
            key: {
                take: max(self.asked.get(key, {}).get(take, 0), other.asked.get(key, {}).get(take, 0))
                for take in sorted({*self.asked.get(key, {}), *other.asked.get(key, {})})
            }
            for key in sorted({*self.asked, *other.asked})
        }
        return CassetteUse(
            self.ran and other.ran, self.shared or other.shared, requested, other.stamp or self.stamp
        )

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins."""
        requested: dict[str, Json] = {key: dict(takes) for key, takes in self.asked.items()}
        stamp: Json = list(self.stamp) if self.stamp is not None else None
        return {"ran": self.ran, "shared": self.shared, "asked": requested, "stamp": stamp}


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What a run used.

    Attributes:
        created: The end of the run, ISO 8601 with offset.
        root: The root folder of the run.
        complete: No test of the scopes was left out.
        partial_because: Else why: ``-k``, ``--lf``, an interrupt ...
        green: Nothing failed.
        red_because: Else what.
        scopes: Folders, relative to the root (``""`` is the root itself), whose tests were all collected.
        files: The cassettes of all their tests, by path relative to the root.
        cases: The ids of the parameters of tests that use `llm`, by cassette: each may be recorded for more models.
        models: Those of the hook `pytest_llmops_models`.
        skipped: Tests that were skipped: which cassettes their blocks use is not known.
    """

    created: str
    root: str = ""
    complete: bool = False
    partial_because: tuple[str, ...] = ()
    green: bool = False
    red_because: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    files: Mapping[str, CassetteUse] = field(default_factory=dict)
    cases: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    skipped: frozenset[str] = frozenset()

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins, for JSON."""
        return {
            "format": FORMAT_VERSION,
            "created": self.created,
            "root": self.root,
            "complete": self.complete,
            "partial_because": list(self.partial_because),
            "green": self.green,
            "red_because": list(self.red_because),
            "scopes": list(self.scopes),
            "files": {file: used.to_wire() for file, used in sorted(self.files.items())},
            "cases": dict(sorted(self.cases.items())),
            "models": list(self.models),
            "skipped": sorted(self.skipped),
        }

    @classmethod
    def from_wire(cls, wire: object) -> RunUsage:
        """Read what `to_wire` gave.

        Raises:
            CassetteError: It is no such record; says what to run.
        """
        version = wire.get("format") if isinstance(wire, dict) else None
        if not isinstance(wire, dict) or version != FORMAT_VERSION:
            raise CassetteError(
                f"the usage record: expected format {FORMAT_VERSION}, got {shorten_text(repr(version), 60)}; {RUN_ALL_TESTS}"
            )
        try:
            parse_timestamp_ns(wire["created"])
            return cls(
                created=wire["created"],
                root=str(wire["root"]),
                complete=wire["complete"] is True,
                partial_because=_parse_texts(wire["partial_because"]),
                green=wire["green"] is True,
                red_because=_parse_texts(wire["red_because"]),
                scopes=_parse_texts(wire["scopes"]),
                files={str(file): _parse_use(use) for file, use in wire["files"].items()},
                cases={str(file): str(case) for file, case in wire.get("cases", {}).items()},
                models=_parse_texts(wire.get("models", [])),
                skipped=frozenset(_parse_texts(wire.get("skipped", []))),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CassetteError(
                f"the usage record is damaged ({type(error).__name__}: {shorten_text(str(error), 80)}); {RUN_ALL_TESTS}"
            ) from None

    def was_skipped(self, by: str) -> bool:
        """Say whether the test that recorded a question (``test_a.py::test_x#001``) was skipped."""
        return by.rpartition("#")[0] in self.skipped

    @property
    def why_not_prunable(self) -> str:
        """Why nothing can be pruned after this run; empty if it can."""
        if not self.complete:
            return f"the last run was partial ({', '.join(self.partial_because) or 'tests were left out'})"
        if not self.green:
            return f"the last run failed ({', '.join(self.red_because) or 'not all tests passed'})"
        return ""


def collect_cassette_uses(uses: Iterable[Mapping[str, Any]], root: Path) -> dict[str, CassetteUse]:
    """Return the files of a run out of what each tape told (``path``, ``ran``, ``shared``, ``asked``), stamped.

    Args:
        uses: Of all tests and all workers, in any order.
        root: The root folder of the run, which the paths are relative to.
    """
    files: dict[str, CassetteUse] = {}
    for use in uses:
        cassette_use = CassetteUse(use["ran"], use["shared"], use["asked"])
        path = str(use["path"])
        files[path] = files[path].joined(cassette_use) if path in files else cassette_use
    return {
        path: CassetteUse(cassette_use.ran, cassette_use.shared, cassette_use.asked, file_stamp(root / path))
        for path, cassette_use in sorted(files.items())
    }


def file_stamp(path: Path) -> FileStamp | None:
    """Return what tells that a file has changed; None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def parse_timestamp_ns(created: str) -> int:
    """Return a time in ns since 1970; without an offset it is UTC.

    Raises:
        ValueError: It is no time.
    """
    time = datetime.fromisoformat(created)
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _parse_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return tuple(value)


def _parse_use(wire: Mapping[str, Any]) -> CassetteUse:
    requested = {
        str(key): {str(take): _parse_count(n) for take, n in takes.items()}
        for key, takes in wire["asked"].items()
    }
    stamp = wire.get("stamp")
    return CassetteUse(
        wire["ran"] is True,
        wire["shared"] is True,
        requested,
        (_parse_count(stamp[0]), _parse_count(stamp[1])) if stamp is not None else None,
    )


def _parse_count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("expected a whole number")
    return value
