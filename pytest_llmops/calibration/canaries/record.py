"""What a probe leaves behind: a file to commit, bound to one version of one judge and one set of canaries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.calibration import record_files
from pytest_llmops.calibration.canaries.cases import built_in_canaries, fingerprint_canaries
from pytest_llmops.calibration.canaries.probe_run import (
    CanaryRun,
    FitnessStatus,
    canary_run_to_json,
    format_canary_summary,
)
from pytest_llmops.measurement import Json, shorten_text

SCHEMA = "pytest-llmops/canaries/"
SCHEMA_VERSION = 1
SUFFIX = ".canaries.json"
COMMAND = "llmops judge canaries"
TEXT_KEYS = ("judge", "version", "date", "canaries", "text")
RECORD_FORMAT = record_files.RecordFormat(
    "canaries", SCHEMA, SCHEMA_VERSION, f"{COMMAND} JUDGE", TEXT_KEYS, ("found",)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRecord:
    """How one version of a judge did with canaries.

    Attributes:
        judge: Its name.
        version: Its fingerprint; of a judge with any other this record says nothing.
        model: The model it asked.
        date: Of the probe, as ISO 8601 has it.
        canaries: Fingerprint of the set.
        status: ``fit``, ``unfit`` or ``undecided``.
        text: The same as a sentence.
        found: Counts, and the canaries that fell.
        path: The file it was read from; it does not count in comparisons.
    """

    judge: str
    version: str
    model: str = ""
    date: str = ""
    canaries: str = ""
    status: FitnessStatus = "undecided"
    text: str = ""
    found: Mapping[str, Json] = field(default_factory=dict)
    path: str = field(default="", compare=False)

    @classmethod
    def of(cls, found: CanaryRun, *, date: str) -> CanaryRecord:
        """Return the record of a probe; ``date``: of today."""
        known = canary_run_to_json(found)
        return cls(
            judge=found.judge,
            version=found.version,
            model=found.model,
            date=date,
            canaries=found.canaries,
            status=found.status,
            text=format_canary_summary(found),
            found={key: one for key, one in known.items() if key not in ("status", "text", "set")},
        )

    @classmethod
    def load(cls, path: str | Path) -> CanaryRecord:
        """Read the file that ``llmops judge canaries --out`` wrote.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        return RECORD_FORMAT.read(path, _parse_canary_record)

    def to_json_text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same record."""
        wire: dict[str, Json] = {
            "schema": f"{SCHEMA}{SCHEMA_VERSION}",
            "judge": self.judge,
            "version": self.version,
            "model": self.model,
            "date": self.date,
            "canaries": self.canaries,
            "status": self.status,
            "text": self.text,
            "found": dict(self.found),
        }
        return json.dumps(wire, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def describe_canary_record(judge: object, name: str, version: str, folder: str) -> dict[str, Json]:
    """Return what a report says of a judge and canaries: ``status`` and ``text``; nothing if it was never probed.

    Args:
        judge: The judge: the record of one by rubric may lie beside the rubric's file.
        name: Its name, by which records are looked for in the folder.
        version: Its version, which decides whether a record is of this judge.
        folder: Where they lie; it need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> describe_canary_record(object(), "quality", "1", "no/such/folder")
    {}
    """
    record = record_files.find_judge_record(
        judge, name, version=version, folder=folder, suffix=SUFFIX, load=CanaryRecord.load
    )
    if record is None:
        return {}
    if record.version != version:
        text = f"canaries out of date, the judge has changed since: {record.text} ({record.date}); {COMMAND} again"
        return {"status": "out of date", "text": text}
    others = (
        ""
        if record.canaries == fingerprint_canaries(built_in_canaries())
        else ", not the built-in ones of today"
    )
    return {"status": record.status, "text": f"{record.text} ({record.date}{others})"}


def _parse_canary_record(wire: Mapping[str, Json], path: str) -> CanaryRecord:
    if wire.get("status") not in get_args(FitnessStatus):
        raise BadFile(
            f"expected status as fit, unfit or undecided, got {shorten_text(repr(wire.get('status')), 80)}"
        )
    return CanaryRecord(
        **{key: str(wire[key]) for key in TEXT_KEYS},
        model=str(wire.get("model", "")),
        status=cast("FitnessStatus", wire["status"]),
        found=cast("Mapping[str, Json]", wire["found"]),
        path=path,
    )
