"""What a schema refers to: within itself, to the drafts' own schemas, to files beside it. Nothing is fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text, read_yaml
from pytest_llmops.errors import SchemaError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.differences import format_json_path, short_json
from pytest_llmops.schemas.json_extraction import JsonPath

SUFFIXES = (".json", ".yaml", ".yml")
MAX_FILES = 1_000
"""Files that one schema may refer to."""


def read_schema(file: Path) -> Mapping[str, Json]:
    """Return the content of a schema's file.

    Raises:
        BadFile: It cannot be read, or is no object.
    """
    content = read_text(file)
    return as_mapping(read_json(content) if file.suffix == ".json" else read_yaml(content)[0])


class SchemaFiles:
    """The files in the folder of a schema, and below it, that it may refer to.

    A reference is relative to the place of the schema: ``"item.json"``, ``"parts/item.json#/$defs/a"``. Where the schema
    has an ``$id`` of its own, the folder stands for the place where that lies.

    Attributes:
        read: What was read, by URI.
        stamps: The files with what tells whether they changed since.
    """

    def __init__(self, folder: Path | None, base: str = "") -> None:
        self.folder = folder.resolve() if folder is not None else None
        self.base = urljoin(base, "-")[:-1]
        self.read: dict[str, Mapping[str, Json]] = {}
        self.stamps: dict[Path, tuple[int, int]] = {}

    def changed(self) -> bool:
        """Say whether a file that was read is another one by now."""
        return any(file_stamp(file) != seen for file, seen in self.stamps.items())

    def load(self, uri: str) -> Mapping[str, Json]:
        """Return the schema that a URI stands for.

        Raises:
            SchemaError: It is none of the files of the folder, or one that cannot be read.
        """
        if self.folder is None or not uri.startswith(self.base):
            raise SchemaError("")
        relative = unquote(uri.removeprefix(self.base))
        parts = urlsplit(relative)
        if (
            parts.scheme
            or parts.netloc
            or not relative
            or relative.startswith("/")
            or "\\" in relative
            or "\0" in relative
        ):
            raise SchemaError("")
        file = (self.folder / relative).resolve()
        if not file.is_relative_to(self.folder):
            raise SchemaError(f"leads out of the folder of the schema, to {self._relative_path(file)}")
        if file.suffix not in SUFFIXES or not file.is_file():
            raise SchemaError(
                f"expected a file of a schema ({', '.join(SUFFIXES)}) at {self._relative_path(file)}, there is none"
            )
        if len(self.read) >= MAX_FILES:
            raise SchemaError(f"more than {MAX_FILES:,} files are referred to")
        self.stamps[file] = file_stamp(file)
        try:
            self.read[uri] = read_schema(file)
        except BadFile as error:
            line = f":{error.line}" if error.line else ""
            raise SchemaError(f"{error.what} @ {self._relative_path(file)}{line}") from None
        return self.read[uri]

    def _relative_path(self, file: Path) -> str:
        """Return a file as it stands to the folder of the schema: the same text on every machine."""
        try:
            return shorten_text(Path(os.path.relpath(file, self.folder)).as_posix())
        except ValueError:  # on another drive
            return shorten_text(file.name)


def file_stamp(file: Path) -> tuple[int, int]:
    """Return what tells whether a file changed; zeros if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@cache
def draft_registry() -> Any:
    """Return the drafts' own schemas as a registry that cannot fetch anything else."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


def build_registry(specification: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles) -> Any:
    """Return a registry of all that a schema refers to, files included.

    Raises:
        SchemaError: A ``$ref`` leads nowhere; says which, where it stands, and why.
    """
    __tracebackhide__ = True
    from referencing import Registry, Resource

    def retrieve(uri: str) -> Any:
        return Resource.from_contents(files.load(uri), default_specification=specification)

    registry = Registry(retrieve=retrieve).combine(draft_registry())  # type: ignore[call-arg]  # an alias that mypy misses
    resource = specification.create_resource(schema)
    _check_references(resource, registry.resolver_with_root(resource), schema, where)
    done: set[str] = set()
    resources: list[tuple[str, Any]] = []
    while waiting := [uri for uri in files.read if uri not in done]:
        for uri in waiting:
            done.add(uri)
            loaded = Resource.from_contents(files.read[uri], default_specification=specification)
            resources.append((uri, loaded))
            at = registry.with_resource(uri, loaded).resolver(uri).in_subresource(loaded)
            _check_references(loaded, at, files.read[uri], f"{where}: {shorten_text(uri)}")
    return draft_registry().with_resources(resources)


def _check_references(resource: Any, resolver: Any, schema: Mapping[str, Any], where: str) -> None:
    __tracebackhide__ = True
    from referencing.exceptions import Unresolvable

    rest = [(resource, resolver)]
    while rest:
        part, at = rest.pop()
        reference = part.contents.get("$ref") if isinstance(part.contents, Mapping) else None
        try:
            if isinstance(reference, str):
                at.lookup(reference)
        except Unresolvable as error:
            places = ", ".join(format_json_path(place) for place in _reference_places(schema, reference))
            raise SchemaError(
                f"{where}: {describe_unresolved(reference, error)} (at {shorten_text(places)})"
            ) from None
        rest += [(child, at.in_subresource(child)) for child in part.subresources()]


def describe_unresolved(reference: str | None, error: BaseException | None = None) -> str:
    """Return why a reference leads nowhere, and what to do."""
    from referencing.exceptions import NoSuchAnchor, PointerToNowhere

    file, _, place = (reference or "").partition("#")
    why = error
    while why is not None and not isinstance(why, SchemaError):
        why = why.__cause__
    if why is not None and str(why):
        return f"$ref {short_json(reference)}: {why}"
    if file and isinstance(error, (NoSuchAnchor, PointerToNowhere)):
        return f"$ref {short_json(reference)}: there is no place {short_json(place)} in {short_json(file)}"
    return (
        f"$ref {short_json(reference)} leads nowhere within the schema; nothing is fetched: put it under $defs and "
        'refer to "#/$defs/<name>", or into a file beside that of the schema'
    )


def _reference_places(schema: Any, reference: str | None) -> Iterator[JsonPath]:
    rest: list[tuple[Any, JsonPath]] = [(schema, ())]
    while rest:
        node, parts = rest.pop()
        if isinstance(node, dict):
            if node.get("$ref") == reference:
                yield (*parts, "$ref")
            rest += [(child, (*parts, key)) for key, child in node.items()]
        elif isinstance(node, list):
            rest += [(child, (*parts, index)) for index, child in enumerate(node)]
