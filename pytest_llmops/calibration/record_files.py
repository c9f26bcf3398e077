"""Records of judges, as commands write them: how one is read, where they lie, and which of them is of a given judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text


class JudgeRecord(Protocol):
    """What is kept of a judge."""

    @property
    def judge(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> str:
        """Its fingerprint."""
        ...

    @property
    def date(self) -> str:
        """When that was, as ISO 8601 has it."""
        ...


R = TypeVar("R", bound=JudgeRecord)
_loaded_records: dict[tuple[str, int, int], object] = {}
"""Records by file, time and size: each is read once, as long as it stays as it is."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """One kind of records.

    Attributes:
        name: As errors call it.
        schema: Of its files, without the version.
        major: The version of the schema.
        command: What writes it.
        texts: Keys that hold a text, and not an empty one.
        objects: Keys that hold an object.
    """

    name: str
    schema: str
    major: int
    command: str
    texts: Sequence[str]
    objects: Sequence[str]

    def read(self, path: str | Path, made: Callable[[Mapping[str, Json], str], T]) -> T:
        """Return what ``made`` makes of a file's content and its path.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        place = Path(path)
        try:
            wire = as_mapping(read_json(read_text(place)))
            self._check(wire)
            return made(wire, str(place))
        except BadFile as error:
            line = f" (line {error.line})" if error.line is not None else ""
            raise UsageError(
                f"{self.name} {shorten_text(str(place), 300)}: {error.what}{line}; expected a file of {self.command} --out FILE"
            ) from None

    def _check(self, wire: Mapping[str, Json]) -> None:
        schema = wire.get("schema")
        if schema != f"{self.schema}{self.major}":
            newer = isinstance(schema, str) and schema.startswith(self.schema)
            hint = ": update pytest-llmops" if newer else ""
            raise BadFile(
                f"expected the schema {self.schema}{self.major}, got {shorten_text(repr(schema), 80)}{hint}"
            )
        for key in self.texts:
            if not isinstance(wire.get(key), str) or not wire[key]:
                raise BadFile(f"expected {key} as a text, got {shorten_text(repr(wire.get(key)), 80)}")
        for key in self.objects:
            if not isinstance(wire.get(key), Mapping):
                raise BadFile(f"expected {key} as an object, got {shorten_text(repr(wire.get(key)), 80)}")


def record_path(judge: object, suffix: str) -> Path | None:
    """Return where a record of a judge by rubric lies: beside the rubric's file.

    Args:
        judge: The file's path, or a judge whose rubric tells its ``source``; anything else: None.
        suffix: Of such records.

    >>> record_path("rubrics/polite.md", ".calibration.json").as_posix()
    'rubrics/polite.calibration.json'
    """
    source = judge if isinstance(judge, (str, Path)) else getattr(judge, "source", None)
    return Path(source).with_suffix(suffix) if isinstance(source, (str, Path)) else None


def load_latest_records(folder: str | Path, suffix: str, load: Callable[[Path], R]) -> dict[str, R]:
    """Return the records in a folder and below by the judge's name; of several of one judge the latest.

    Raises:
        UsageError: ``load`` finds one damaged.
    """
    latest: dict[str, R] = {}
    for record in _load_all_records(folder, suffix, load):
        if record.judge not in latest or latest[record.judge].date <= record.date:
            latest[record.judge] = record
    return latest


def _load_all_records(folder: str | Path, suffix: str, load: Callable[[Path], R]) -> list[R]:
    return [_load_cached(path, load) for path in sorted(Path(folder).rglob(f"*{suffix}"))]


def find_judge_record(
    judge: object, name: str, *, version: str, folder: str, suffix: str, load: Callable[[Path], R]
) -> R | None:
    """Return the record of a judge: the latest of its version, else the latest of its name, or None.

    Args:
        judge: The judge: the record of one by rubric may lie beside the rubric's file.
        name: Its name, by which records are looked for in the folder.
        version: Its fingerprint.
        folder: Where they lie; it need not exist.
        suffix: Of such records.
        load: Reads one.

    Raises:
        UsageError: A record is damaged.
    """
    place = record_path(judge, suffix) if not isinstance(judge, (str, Path)) else None
    if place is not None and place.exists():
        return _load_cached(place, load)
    named = [record for record in _load_all_records(folder, suffix, load) if record.judge == name]
    return max(named, key=lambda record: (record.version == version, record.date), default=None)


def _load_cached(path: Path, load: Callable[[Path], R]) -> R:
    try:
        file_stat = path.stat()
    except OSError:
        return load(path)  # which says what is wrong with it
    key = str(path), file_stat.st_mtime_ns, file_stat.st_size
    if key not in _loaded_records:
        _loaded_records[key] = load(path)
    record: R = _loaded_records[key]  # type: ignore[assignment]  # a suffix has one way of reading
    return record
