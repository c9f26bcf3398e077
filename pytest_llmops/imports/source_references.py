"""References ``$ref`` within a configuration, and to other files of the suite, replaced by the parts that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from pytest_llmops.imports.foreign_secrets import hide_secrets
from pytest_llmops.imports.source_files import LocatedList, LocatedMap, SourceFolder, is_remote
from pytest_llmops.imports.suite import Place, Remark, SuiteError
from pytest_llmops.measurement import Json, shorten_text

REFERENCE = "$ref"
MAX_PARTS = 1_000_000  # values after all references are replaced
_MAX_SHOWN = 100
# In a JSON schema, `$ref` is the schema's own: below these keys it stays, if the configuration has nothing of this name.
_SCHEMA_KEYS = frozenset({"value", "schema", "parameters", "input_schema"})


def has_reference(value: Json) -> bool:
    """Return whether an object with a key ``$ref`` is somewhere in a value."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, LocatedMap):
            if isinstance(part.get(REFERENCE), str):
                return True
            pending += part.values()
        elif isinstance(part, LocatedList):
            pending += part
    return False


def resolve_references(value: Json, folder: SourceFolder, path: Path) -> tuple[Json, list[Remark]]:
    """Return a value in which each ``{$ref: "#/part"}`` is that part, and the references that name nothing; they stay.

    Other keys next to ``$ref`` win over the keys of the part.

    Args:
        value: The value of a file.
        folder: The folder of the suite.
        path: The file; other files are relative to it.

    Raises:
        SuiteError: The value becomes too large.
    """
    if not has_reference(value):
        return value, []
    resolver = _Resolver(folder)
    result = resolver.resolve(value, value, path, (), is_schema=False)
    return result, resolver.remarks


def find_part(document: Json, pointer: str) -> Json:
    """Return the part of a document that a JSON pointer names.

    Raises:
        LookupError: The part does not exist.

    >>> find_part({"a": {"b/c": 1}}, "/a/b~1c")
    1
    """
    part = document
    for step in pointer.split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(part, dict):
            part = part[key]
        elif isinstance(part, list) and key.isdigit():
            part = part[int(key)]
        else:
            raise LookupError(key)
    return part


@dataclass(slots=True)
class _Resolver:
    """Replaces the references of a document."""

    folder: SourceFolder
    remarks: list[Remark] = field(default_factory=list)
    parts: int = 0

    def resolve(
        self, value: Json, document: Json, path: Path, chain: tuple[str, ...], *, is_schema: bool
    ) -> Json:
        """Return a part of a document without references.

        Args:
            value: The part.
            document: The whole document.
            path: Its file.
            chain: The references that are being replaced.
            is_schema: The part is in a JSON schema, or may be one.
        """
        self.parts += 1
        if self.parts > MAX_PARTS:
            place = self.folder.place(path)
            raise SuiteError(f"its references ($ref) expand to more than {MAX_PARTS:,} values", place)
        if isinstance(value, LocatedList):
            items = [self.resolve(item, document, path, chain, is_schema=is_schema) for item in value]
            return LocatedList(items, place=value.place, places=value.places)
        if not isinstance(value, LocatedMap):
            return value
        reference = value.get(REFERENCE)
        if isinstance(reference, str):
            return self._replace(value, reference, document, path, chain, is_schema=is_schema)
        return self._resolve_map(value, document, path, chain, is_schema=is_schema)

    def _resolve_map(
        self, value: LocatedMap, document: Json, path: Path, chain: tuple[str, ...], *, is_schema: bool
    ) -> LocatedMap:
        result = LocatedMap(place=value.place, places=value.places)
        for key, child in value.items():
            in_schema = is_schema or key in _SCHEMA_KEYS
            result[key] = self.resolve(child, document, path, chain, is_schema=in_schema)
        return result

    def _replace(
        self,
        value: LocatedMap,
        reference: str,
        document: Json,
        path: Path,
        chain: tuple[str, ...],
        *,
        is_schema: bool,
    ) -> Json:
        """Return the part that a reference names, with the other keys next to it; the reference itself, if it names nothing."""
        shown = f"$ref {shorten_text(hide_secrets(reference), _MAX_SHOWN)}"
        place = value.place_of(REFERENCE)
        try:
            target, target_document, target_path = self._find(reference, document, path, place)
        except SuiteError as error:
            if not is_schema:
                self.remarks.append(Remark("not carried", error.place, shown, error.what))
            return value
        name = f"{self.folder.place(target_path).file}#{reference.partition('#')[2]}"
        if name in chain:
            circle = " -> ".join([*chain[chain.index(name) :], name])
            why = f"references that name each other in a circle: {shorten_text(circle, _MAX_SHOWN * 2)}"
            self.remarks.append(Remark("not carried", place, shown, why))
            return value
        part = self.resolve(target, target_document, target_path, (*chain, name), is_schema=is_schema)
        return self._merge(value, part, document, path, chain, is_schema=is_schema)

    def _merge(
        self,
        value: LocatedMap,
        part: Json,
        document: Json,
        path: Path,
        chain: tuple[str, ...],
        *,
        is_schema: bool,
    ) -> Json:
        """Return the part with the keys next to the reference."""
        if not isinstance(part, LocatedMap):
            return part
        result = LocatedMap(part, place=value.place, places=part.places)
        for key, child in value.items():
            if key != REFERENCE:
                result[key] = self.resolve(child, document, path, chain, is_schema=is_schema)
                result.places[key] = value.place_of(key)
        return result

    def _find(self, reference: str, document: Json, path: Path, place: Place) -> tuple[Json, Json, Path]:
        """Return the part that a reference names, its document and its file."""
        name, _, pointer = reference.partition("#")
        if name and is_remote(name):
            raise SuiteError(
                f"{shorten_text(hide_secrets(name), _MAX_SHOWN)} is not fetched: download it, and name the file",
                place,
            )
        if name:
            path = self.folder.find_one(name, path, place)
            document = self.folder.read_value(path, place)
        if pointer and not pointer.startswith("/"):
            raise SuiteError("expected a path that begins with #/", place)
        try:
            return find_part(document, pointer), document, path
        except LookupError:
            raise SuiteError("the file has no such part", place) from None
