"""Records of judges as files: the base of all records with reader and writer, and the search for a judge's record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord:
    """What is recorded of a judge; a subclass has the constants of its file format, and its own fields.

    Attributes:
        judge: The judge's name.
        version: The judge's version; the record says nothing about any other.
        model: The judge model.
        date: ISO 8601.
        path: The file it was read from.
        FORMAT: Name of the format in errors, the schema and the file's suffix: ``.calibration.json``.
        COMMAND: The command that writes such files, for errors.
        TEXT_KEYS: Keys whose value is a text that is not empty.
        OBJECT_KEYS: Keys whose value is an object.
    """

    FORMAT: ClassVar[str]
    COMMAND: ClassVar[str]
    TEXT_KEYS: ClassVar[tuple[str, ...]]
    OBJECT_KEYS: ClassVar[tuple[str, ...]]

    judge: str
    version: str
    model: str = ""
    date: str = ""
    path: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a record from its file.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        try:
            wire = as_mapping(read_json(read_text(Path(path))))
            cls._check_wire(wire)
            texts = {key: wire[key] for key in (*cls.TEXT_KEYS, *cls.OBJECT_KEYS)}
            fields: dict[str, Any] = {**texts, "model": str(wire.get("model", "")), "path": str(path)}
            return cls(**fields, **cls._parse_own_fields(wire))
        except BadFile as error:
            line = f" (line {error.line})" if error.line is not None else ""
            raise UsageError(
                f"{cls.FORMAT} {shorten_text(str(path), 300)}: {error.what}{line}; expected a file of "
                f"{cls.COMMAND} --out FILE"
            ) from None

    @classmethod
    def _check_wire(cls, wire: Mapping[str, Json]) -> None:
        """Raise `BadFile` for another schema, or for a value of the wrong type."""
        schema, expected = wire.get("schema"), f"pytest-llmops/{cls.FORMAT}/"
        if schema != f"{expected}{SCHEMA_VERSION}":
            newer = isinstance(schema, str) and schema.startswith(expected)
            hint = ": update pytest-llmops" if newer else ""
            raise BadFile(
                f"expected the schema {expected}{SCHEMA_VERSION}, got {shorten_text(repr(schema), 80)}{hint}"
            )
        for keys, kind, what in ((cls.TEXT_KEYS, str, "a text"), (cls.OBJECT_KEYS, Mapping, "an object")):
            for key in keys:
                value = wire.get(key)
                if not isinstance(value, kind) or value == "":
                    raise BadFile(f"expected {key} as {what}, got {shorten_text(repr(value), 80)}")

    @classmethod
    def _parse_own_fields(cls, wire: Mapping[str, Json]) -> dict[str, Any]:
        """Return the fields that are neither texts nor objects; raise `BadFile` for an invalid value."""
        raise NotImplementedError

    def to_json_text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same record."""
        fields = {key: value for key, value in asdict(self).items() if key != "path" and value is not None}
        wire = {"schema": f"pytest-llmops/{self.FORMAT}/{SCHEMA_VERSION}", **fields}
        return json.dumps(wire, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def path_beside(cls, judge: object) -> Path | None:
        """Return where the record of a judge file lies: beside the file; None for any other judge.

        Args:
            judge: The file's path, or a judge with its file as ``source``.
        """
        source = judge if isinstance(judge, (str, Path)) else getattr(judge, "source", None)
        return Path(source).with_suffix(f".{cls.FORMAT}.json") if isinstance(source, (str, Path)) else None

    @classmethod
    def find(cls, judge: object, name: str, *, version: str, folder: str) -> Self | None:
        """Return the record of a judge: the latest of its version, else the latest of its name, or None.

        Args:
            judge: The judge; the record beside its file comes first.
            name: Its name, for the records in the folder.
            version: Its version.
            folder: The folder of the records; it need not exist.

        Raises:
            UsageError: A record is damaged.
        """
        path = None if isinstance(judge, (str, Path)) else cls.path_beside(judge)
        if path is not None and path.exists():
            return cls._load_cached(path)
        named = [record for record in cls.load_all(folder) if record.judge == name]
        return max(named, key=lambda record: (record.version == version, record.date), default=None)

    @classmethod
    def load_all(cls, folder: str | Path) -> list[Self]:
        """Return the records in a folder and its subfolders, in the order of their paths.

        Raises:
            UsageError: A record is damaged.
        """
        return [cls._load_cached(path) for path in sorted(Path(folder).rglob(f"*.{cls.FORMAT}.json"))]

    @classmethod
    def _load_cached(cls, path: Path) -> Self:
        try:
            file_stat = path.stat()
        except OSError:
            return cls.load(path)  # raises the error that reports it
        key = cls, str(path), file_stat.st_mtime_ns, file_stat.st_size
        if key not in _loaded_records:
            _loaded_records[key] = cls.load(path)
        record: Self = _loaded_records[key]
        return record


_loaded_records: dict[tuple[type, str, int, int], Any] = {}
"""Records by class, path, time and size: a file is read again only after a change."""
