"""Read the files of a schema, and resolve its references, never by network."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text, read_yaml
from pytest_llmops.errors import SchemaError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.differences import format_json_path, short_json
from pytest_llmops.schemas.json_decoding import JsonPath, iterate_nodes

__tracebackhide__ = True

SUFFIXES = (".json", ".yaml", ".yml")
BOOLEAN_SCHEMAS: Mapping[bool, Mapping[str, Json]] = {True: {}, False: {"not": {}}}
MAX_FILES = 1_000  # files that a schema may refer to


def read_schema(file: Path) -> Mapping[str, Json]:
    """Read a schema from a JSON or YAML file.

    Raises:
        BadFile: The file cannot be read or does not hold an object, true or false.
    """
    content = read_text(file)
    if file.suffix == ".json":
        value = read_json(content)
    else:
        value = read_yaml(content)[0]
    if isinstance(value, bool):
        return BOOLEAN_SCHEMAS[value]
    return as_mapping(value)


class SchemaFiles:
    """The files in and below the folder of a schema that it may refer to.

    References are relative to the schema: ``"item.json"``, ``"parts/item.json#/$defs/a"``. If the schema has an
    ``$id``, the folder is used as the folder of that URI.

    Attributes:
        read: The schemas that were read, by URI.
    """

    def __init__(self, folder: Path | None, base: str = "") -> None:
        self.folder = None if folder is None else folder.resolve()
        self.base = urljoin(base, "-")[:-1]
        self.read: dict[str, Mapping[str, Json]] = {}

    def load_uri(self, uri: str) -> Mapping[str, Json]:
        """Read the schema at a URI, add it to ``read``, and return it.

        Raises:
            SchemaError: The URI is not a file of the folder, or the file cannot be read. Its text is empty for a URI
                that cannot be such a file at all: then `describe_unresolved` has the better explanation.
        """
        if self.folder is None or not uri.startswith(self.base):
            raise SchemaError("")
        relative = unquote(uri.removeprefix(self.base))
        if not _is_plain_path(relative):
            raise SchemaError("")
        file = (self.folder / relative).resolve()
        if not file.is_relative_to(self.folder):
            raise SchemaError(f"leads out of the folder of the schema, to {self._relative_path(file)}")
        if file.suffix not in SUFFIXES or not file.is_file():
            place = self._relative_path(file)
            raise SchemaError(
                f"expected a file of a schema ({', '.join(SUFFIXES)}) at {place}, there is none"
            )
        if len(self.read) >= MAX_FILES:
            raise SchemaError(f"more than {MAX_FILES:,} files are referred to")
        try:
            self.read[uri] = read_schema(file)
        except BadFile as error:
            place = self._relative_path(file)
            if error.line:
                place += f":{error.line}"
            raise SchemaError(f"{error.what} @ {place}") from None
        return self.read[uri]

    def _relative_path(self, file: Path) -> str:
        """Return the path of a file relative to the schema's folder, the same on every machine."""
        try:
            return shorten_text(Path(os.path.relpath(file, self.folder)).as_posix())
        except ValueError:  # on another drive
            return shorten_text(file.name)


def _is_plain_path(relative: str) -> bool:
    """Return whether a reference is a relative path: no scheme, no host, not absolute, no backslash."""
    parts = urlsplit(relative)
    if parts.scheme or parts.netloc or not relative:
        return False
    return not relative.startswith("/") and "\\" not in relative and "\0" not in relative


def build_registry(specification: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles) -> Any:
    """Return a registry of everything a schema refers to; the files are read through ``files.load_uri``.

    Raises:
        SchemaError: A ``$ref`` cannot be resolved; gives its path and the reason.
    """
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing import Registry, Resource

    def retrieve(uri: str) -> Any:
        return Resource.from_contents(files.load_uri(uri), default_specification=specification)

    registry = Registry(retrieve=retrieve).combine(REGISTRY)  # type: ignore[call-arg]  # an alias that mypy misses
    resource = specification.create_resource(schema)
    _check_references(resource, registry.resolver_with_root(resource), schema, where)
    resources: dict[str, Any] = {}
    # Checking a file may read further files.
    while waiting := [uri for uri in files.read if uri not in resources]:
        for uri in waiting:
            content = files.read[uri]
            loaded = Resource.from_contents(content, default_specification=specification)
            resources[uri] = loaded
            resolver = registry.with_resource(uri, loaded).resolver(uri).in_subresource(loaded)
            _check_references(loaded, resolver, content, f"{where}: {shorten_text(uri)}")
    return REGISTRY.with_resources(resources.items())


def _check_references(resource: Any, resolver: Any, schema: Mapping[str, Any], where: str) -> None:
    """Raise a `SchemaError` if a ``$ref`` of a schema or of its subschemas cannot be resolved; this reads the files."""
    from referencing.exceptions import Unresolvable

    rest = [(resource, resolver)]
    while rest:
        part, part_resolver = rest.pop()
        reference = None
        if isinstance(part.contents, Mapping):
            reference = part.contents.get("$ref")
        try:
            if isinstance(reference, str):
                part_resolver.lookup(reference)
        except Unresolvable as error:
            paths = ", ".join(map(format_json_path, _reference_places(schema, reference)))
            reason = describe_unresolved(reference, error)
            raise SchemaError(f"{where}: {reason} (at {shorten_text(paths)})") from None
        rest += [(child, part_resolver.in_subresource(child)) for child in part.subresources()]


def describe_unresolved(reference: str | None, error: BaseException | None = None) -> str:
    """Return why a reference cannot be resolved, and what to do.

    Args:
        reference: The ``$ref``.
        error: What `referencing` raised; the `SchemaError` of `SchemaFiles.load_uri` may be among its causes.
    """
    from referencing.exceptions import NoSuchAnchor, PointerToNowhere

    file, _, place = (reference or "").partition("#")
    cause = error
    while cause is not None and not isinstance(cause, SchemaError):
        cause = cause.__cause__
    if cause is not None and str(cause):
        return f"$ref {short_json(reference)}: {cause}"
    if file and isinstance(error, (NoSuchAnchor, PointerToNowhere)):
        missing = short_json(place)
        return f"$ref {short_json(reference)}: {missing} does not exist in {short_json(file)}"
    return (
        f"$ref {short_json(reference)} leads nowhere within the schema; nothing is fetched: put it under $defs and "
        'refer to "#/$defs/<name>", or into a file next to the file of the schema'
    )


def _reference_places(schema: Any, reference: str | None) -> Iterator[JsonPath]:
    """Yield the paths at which a schema has this ``$ref``."""
    for parts, node in iterate_nodes(schema):
        if isinstance(node, dict) and node.get("$ref") == reference:
            yield (*parts, "$ref")
