"""The record of a judge's canary run: a file to commit, bound to a version of the judge and a set of canaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.calibration.canaries.canary_run import (
    CanaryRun,
    FitnessStatus,
    canary_run_to_json,
    format_canary_summary,
)
from pytest_llmops.calibration.canaries.cases import built_in_canaries, fingerprint_canaries
from pytest_llmops.calibration.record_files import JudgeRecord, RecordFormat
from pytest_llmops.measurement import Json, shorten_text

COMMAND = "llmops judge canaries"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRecord(JudgeRecord):
    """How a version of a judge did with canaries.

    Attributes:
        canaries: Fingerprint of the set.
        status: ``fit``, ``unfit`` or ``undecided``.
        text: The status as a sentence.
        results: Counts, and the canaries that the judge passed.
    """

    FORMAT: ClassVar = RecordFormat(
        "canaries", f"{COMMAND} JUDGE", ("judge", "version", "date", "canaries", "text"), ("results",)
    )

    canaries: str = ""
    status: FitnessStatus = "undecided"
    text: str = ""
    results: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def from_run(cls, run: CanaryRun, *, date: str) -> CanaryRecord:
        """Return the record of a canary run of today's ``date``."""
        results = canary_run_to_json(run)
        return cls(
            judge=run.judge,
            version=run.version,
            model=run.model,
            date=date,
            canaries=run.canaries,
            status=run.status,
            text=format_canary_summary(run),
            results={key: value for key, value in results.items() if key not in ("status", "text", "set")},
        )

    @classmethod
    def _parse_own_fields(cls, wire: Mapping[str, Json]) -> dict[str, Any]:
        status = wire.get("status")
        if status not in get_args(FitnessStatus):
            raise BadFile(f"expected status as fit, unfit or undecided, got {shorten_text(repr(status), 80)}")
        return {"status": status}


def describe_canary_record(judge: object, name: str, version: str, folder: str) -> dict[str, Json]:
    """Return what a report says about a judge and canaries: ``status`` and ``text``; nothing without a record.

    Args:
        judge: The judge; its record may lie beside its file.
        name: Its name, for the records in the folder.
        version: Its version; a record of another version is out of date.
        folder: The folder of the records; it need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> describe_canary_record(object(), "quality", "1", "no/such/folder")
    {}
    """
    record = CanaryRecord.find(judge, name, version=version, folder=folder)
    if record is None:
        return {}
    if record.version != version:
        text = f"canaries out of date, the judge has changed since: {record.text} ({record.date}); {COMMAND} again"
        return {"status": "out of date", "text": text}
    current = record.canaries == fingerprint_canaries(built_in_canaries())
    others = "" if current else ", not the built-in canaries of today"
    return {"status": record.status, "text": f"{record.text} ({record.date}{others})"}
