"""The record of the answers that a run used of its cassettes, from which an audit finds stale answers and orphans."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json, quoted, shorten_text

FORMAT_VERSION = 1
# The owner of recordings that a `use_cassette` block makes outside of a test: in a script, or in a process of a test
OUTSIDE_OWNER = "block"
RUN_ALL_TESTS = "run all tests until they pass: pytest"

# The number of requested answers, by key and then by take. If several tests requested them, the highest number.
AnswerCounts = Mapping[str, Mapping[str, int]]
FileStamp = tuple[int, int]  # modification time in ns, and size of a file


@dataclass(frozen=True, slots=True)
class CassetteUse:
    """The answers that a run requested of a cassette.

    Attributes:
        ran: Whether every test that uses it passed.
        shared: Whether several tests may use it.
        asked: The requested answers.
        stamp: The file at the end of the run; None: no file.
    """

    ran: bool
    shared: bool = False
    asked: AnswerCounts = field(default_factory=dict)
    stamp: FileStamp | None = None

    def joined(self, other: "CassetteUse") -> "CassetteUse":
        """Return the use of a cassette by two tests, or two workers, together."""
        asked = {}
        for key in self.asked.keys() | other.asked.keys():
            own = Counter(self.asked.get(key, {}))
            asked[key] = dict(own | Counter(other.asked.get(key, {})))
        return CassetteUse(
            ran=self.ran and other.ran,
            shared=self.shared or other.shared,
            asked=asked,
            stamp=other.stamp or self.stamp,
        )


@dataclass(frozen=True, slots=True)
class RunUsage:
    """The use that a run made of its cassettes.

    Attributes:
        created: The end of the run, ISO 8601 with offset.
        root: The root folder of the run.
        complete: Whether all tests of the scopes ran.
        partial_because: Why not all tests ran: ``-k``, ``--lf``, an interrupt ...
        green: Whether no test failed.
        red_because: The failures.
        scopes: Folders, relative to the root (``""`` is the root itself), whose tests were all collected.
        files: The use of the cassettes of these tests, by path relative to the root.
        cases: The parameter ids of tests that use `llm`, by cassette. Such tests may also be recorded for other models.
        models: Models from the hook `pytest_llmops_models`.
        skipped: Skipped tests. It is not known which cassettes their blocks use.
        moved: Cassettes of tests that do not exist any more, and for each the cassettes of the tests that use it now.
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
    moved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Json]:
        """Return the record as plain builtins, for JSON."""
        values = {"format": FORMAT_VERSION, **asdict(self)}
        wire: dict[str, Json] = json.loads(json.dumps(values, default=sorted, sort_keys=True))
        return wire

    @classmethod
    def from_wire(cls, wire: object) -> "RunUsage":
        """Read the result of `to_wire`.

        Raises:
            CassetteError: The record is invalid; the error shows what to run.
        """
        version = None
        if isinstance(wire, dict):
            version = wire.get("format")
        if not isinstance(wire, dict) or version != FORMAT_VERSION:
            raise CassetteError(
                f"the usage record: expected format {FORMAT_VERSION}, got {quoted(version, 60)}; {RUN_ALL_TESTS}"
            )
        from pydantic import TypeAdapter, ValidationError

        try:
            usage = TypeAdapter(cls).validate_json(json.dumps(wire), strict=True)
            parse_timestamp_ns(usage.created)
        except ValueError as error:
            problem = f"created: {error}"
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                place = ".".join(str(step) for step in first["loc"])
                problem = f"{place}: {first['msg']}"
            problem = shorten_text(problem, 120)
            raise CassetteError(f"the usage record is damaged ({problem}); {RUN_ALL_TESTS}") from None
        # A missing part gets its default. If cassettes were missing from the record, they would all be pruned.
        if usage.to_wire()["files"] != wire.get("files"):
            raise CassetteError(f"the usage record is damaged (files: a part is missing); {RUN_ALL_TESTS}")
        return usage

    @property
    def why_not_prunable(self) -> str:
        """Return why nothing can be pruned after this run, or ""."""
        if not self.complete:
            why = ", ".join(self.partial_because) or "tests were left out"
            return f"the last run was partial ({why})"
        if not self.green:
            why = ", ".join(self.red_because) or "not all tests passed"
            return f"the last run failed ({why})"
        return ""


def collect_cassette_uses(uses: Iterable[Mapping[str, Any]], root: Path) -> dict[str, CassetteUse]:
    """Merge the uses of all tapes by file, and add the stamps of the files as they are now.

    Args:
        uses: The uses (``path``, ``ran``, ``shared``, ``asked``) of all tests and workers, in any order.
        root: The root folder of the run; the paths are relative to it.
    """
    files: dict[str, CassetteUse] = {}
    for tape_use in uses:
        use = CassetteUse(tape_use["ran"], tape_use["shared"], tape_use["asked"])
        path = str(tape_use["path"])
        if path in files:
            use = files[path].joined(use)
        files[path] = use
    return {path: replace(use, stamp=file_stamp(root / path)) for path, use in sorted(files.items())}


def file_stamp(path: Path) -> FileStamp | None:
    """Return the modification time and size of a file, which change when it is written; None if it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def parse_timestamp_ns(created: str) -> int:
    """Return a time in ns since 1970; a time without an offset is UTC.

    Raises:
        ValueError: The text is not an ISO 8601 time.
    """
    time = datetime.fromisoformat(created)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
