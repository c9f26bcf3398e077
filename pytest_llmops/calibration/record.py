"""Records of how a judge did against human labels or canaries: files to commit, bound to a version of the judge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.errors import UsageError, refuse
from pytest_llmops.measurement import Json, shorten_text

RecordKind: TypeAlias = Literal["calibration", "canaries"]
SCHEMA = "pytest-llmops/judge-record/1"
BELOW_THRESHOLDS = "below its thresholds"
STATUSES: Mapping[RecordKind, tuple[str, ...]] = {
    "calibration": ("calibrated", BELOW_THRESHOLDS),
    "canaries": ("fit", "unfit", "undecided"),
}
COMMANDS: Mapping[RecordKind, str] = {
    "calibration": "llmops judge calibrate JUDGE labels.jsonl --out FILE",
    "canaries": "llmops judge canaries JUDGE --out FILE",
}
TEXT_KEYS = ("judge", "version", "date", "answers", "status", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord:
    """How a version of a judge did on a set of answers.

    Attributes:
        kind: ``calibration`` against human labels, or ``canaries``; also the end of the file's name,
            ``polite.calibration.json``.
        judge: The judge's name.
        version: The judge's version; the record says nothing about any other.
        model: The judge model.
        date: ISO 8601.
        answers: Fingerprint of the labels or the canaries.
        status: ``calibrated`` or ``below its thresholds``; ``fit``, ``unfit`` or ``undecided``.
        text: The result as a sentence.
        figures: The measured figures; unknown figures are left out.
    """

    kind: RecordKind
    judge: str
    version: str
    model: str = ""
    date: str
    answers: str
    status: str
    text: str
    figures: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> JudgeRecord:
        """Read a record from its file.

        Raises:
            UsageError: There is no such file, it is damaged, or another version of this package wrote it.
        """
        name = str(path)
        kind: RecordKind = "canaries" if name.endswith(".canaries.json") else "calibration"
        try:
            return _parse_record(as_mapping(read_json(read_text(Path(path)))))
        except BadFile as error:
            line = f" (line {error.line})" if error.line is not None else ""
            raise UsageError(
                f"record of a judge {shorten_text(name, 300)}: {error.what}{line}; to make a new one: {COMMANDS[kind]}"
            ) from None

    def to_json_text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same record."""
        wire = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(wire, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def describe(self, version: str, *, answers: str = "") -> dict[str, Json]:
        """Return what a report says: ``status``, also ``out of date``, and ``text``.

        Args:
            version: The judge's version of today.
            answers: Fingerprint of the labels or canaries of today; empty: do not compare them.

        >>> record = JudgeRecord(kind="canaries", judge="tone", version="1", date="2026-05-02", answers="a1b2",
        ...                      status="fit", text="withstands all 41 canaries")
        >>> record.describe("1")
        {'status': 'fit', 'text': 'withstands all 41 canaries (2026-05-02)'}
        >>> record.describe("2")["status"]
        'out of date'
        """
        changed = "judge has" if self.version != version else ""
        others = bool(answers) and answers != self.answers
        if others and self.kind == "calibration":
            changed = changed or "labels have"
        if changed:
            what = f"{self.kind} out of date, the {changed} changed since: {self.text.removeprefix('calibrated: ')} ({self.date})"
            return {"status": "out of date", "text": f"{what}; {COMMANDS[self.kind]}"}
        note = ", not the built-in canaries of today" if others else ""
        return {"status": self.status, "text": f"{self.text} ({self.date}{note})"}


def _parse_record(wire: Mapping[str, Json]) -> JudgeRecord:
    kind, figures = str(wire.get("kind")), wire.get("figures")
    texts: dict[str, Any] = {key: wire.get(key) for key in TEXT_KEYS}
    statuses = dict(STATUSES).get(cast("RecordKind", kind), ())
    for expected, fits, got in (
        (f"the schema {SCHEMA}", wire.get("schema") == SCHEMA, wire.get("schema")),
        (f"kind as {' or '.join(STATUSES)}", kind in STATUSES, wire.get("kind")),
        *((f"{key} as a text", isinstance(text, str) and text, text) for key, text in texts.items()),
        (f"status as one of {', '.join(statuses)}", texts["status"] in statuses, texts["status"]),
        ("figures as an object", isinstance(figures, Mapping), figures),
    ):
        refuse(not fits, BadFile(f"expected {expected}, got {shorten_text(repr(got), 80)}"))
    return JudgeRecord(
        kind=cast("RecordKind", kind), model=str(wire.get("model", "")), figures=as_mapping(figures), **texts
    )


def load_records(folder: str | Path) -> list[JudgeRecord]:
    """Return the records in a folder and its subfolders, in the order of their paths; the folder need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> load_records("no/such/folder")
    []
    """
    ends = tuple(f".{kind}.json" for kind in STATUSES)
    return [_load_cached(path) for path in sorted(Path(folder).rglob("*.json")) if path.name.endswith(ends)]


def find_records(judge: object, name: str, version: str, folder: str | Path) -> dict[str, JudgeRecord]:
    """Return what is recorded of a judge by kind: the record beside its file, else the latest of its version or name.

    Args:
        judge: The judge; the record beside its file (``source``) comes first.
        name: Its name, for the records in the folder.
        version: Its version.
        folder: The folder of the records; it need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> find_records(object(), "quality", "1", "no/such/folder")
    {}
    """
    named = [record for record in load_records(folder) if record.judge == name]
    named.sort(key=lambda record: (record.version == version, record.date))
    source = getattr(judge, "source", None)
    if isinstance(source, (str, Path)):
        beside = (Path(source).with_suffix(f".{kind}.json") for kind in STATUSES)
        named += [_load_cached(path) for path in beside if path.exists()]
    return {record.kind: record for record in named}


def _load_cached(path: Path) -> JudgeRecord:
    # Return the record of a file, which is read again only after a change of its time or size.
    try:
        file_stat = path.stat()
    except OSError:
        return JudgeRecord.load(path)  # raises the error that reports it
    key = str(path), file_stat.st_mtime_ns, file_stat.st_size
    return _loaded_records.get(key) or _loaded_records.setdefault(key, JudgeRecord.load(path))


_loaded_records: dict[tuple[str, int, int], JudgeRecord] = {}
