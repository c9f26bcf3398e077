"""What a probe leaves behind: a file to commit, bound to one version of one judge and one set of canaries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.calibration import record_files
from pytest_llmops.calibration.canaries.cases import canaries, set_of
from pytest_llmops.calibration.canaries.probe_run import Probe, Status, facts, summary
from pytest_llmops.measurement import Json, shorten

SCHEMA = "pytest-llmops/canaries/"
MAJOR = 1
SUFFIX = ".canaries.json"
COMMAND = "llmops judge canaries"
TEXTS = ("judge", "version", "date", "canaries", "text")
KIND = record_files.Kind("canaries", SCHEMA, MAJOR, f"{COMMAND} JUDGE", TEXTS, ("found",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
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
    status: Status = "undecided"
    text: str = ""
    found: Mapping[str, Json] = field(default_factory=dict)
    path: str = field(default="", compare=False)

    @classmethod
    def of(cls, found: Probe, *, date: str) -> Fitness:
        """Return the record of a probe; ``date``: of today."""
        known = facts(found)
        return cls(
            judge=found.judge,
            version=found.version,
            model=found.model,
            date=date,
            canaries=found.canaries,
            status=found.status,
            text=summary(found),
            found={key: one for key, one in known.items() if key not in ("status", "text", "set")},
        )

    @classmethod
    def load(cls, path: str | Path) -> Fitness:
        """Read the file that ``llmops judge canaries --out`` wrote.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        return KIND.read(path, _read)

    def text_of_file(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same record."""
        wire: dict[str, Json] = {
            "schema": f"{SCHEMA}{MAJOR}",
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


def standing(judge: object, name: str, version: str, folder: str) -> dict[str, Json]:
    """Return what a report says of a judge and canaries: ``status`` and ``text``; nothing if it was never probed.

    Args:
        judge: The judge: the record of one by rubric may lie beside the rubric's file.
        name: Its name, by which records are looked for in the folder.
        version: Its version, which decides whether a record is of this judge.
        folder: Where they lie; it need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> standing(object(), "quality", "1", "no/such/folder")
    {}
    """
    found = record_files.of_judge(
        judge, name, version=version, folder=folder, suffix=SUFFIX, load=Fitness.load
    )
    if found is None:
        return {}
    if found.version != version:
        text = (
            f"canaries out of date, the judge has changed since: {found.text} ({found.date}); {COMMAND} again"
        )
        return {"status": "out of date", "text": text}
    others = "" if found.canaries == set_of(canaries()) else ", not the built-in ones of today"
    return {"status": found.status, "text": f"{found.text} ({found.date}{others})"}


def _read(wire: Mapping[str, Json], path: str) -> Fitness:
    if wire.get("status") not in get_args(Status):
        raise BadFile(
            f"expected status as fit, unfit or undecided, got {shorten(repr(wire.get('status')), 80)}"
        )
    return Fitness(
        **{key: str(wire[key]) for key in TEXTS},
        model=str(wire.get("model", "")),
        status=cast("Status", wire["status"]),
        found=cast("Mapping[str, Json]", wire["found"]),
        path=path,
    )
