"""Describe how a JSON value differs from its schema, and resolve the references of a schema, never by network."""

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text, read_yaml
from pytest_llmops.errors import SchemaError, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.json_extraction import JsonPath, iterate_nodes

MAX_DIFFERENCES = 50  # differences reported for a value
MAX_VALUE_CHARS = 60
MAX_KEY_CHARS = 60  # characters of a key in a message
MAX_KEYS = 100  # keys of an object that are compared with a missing key
MIN_ABBREVIATION = 3  # letters of an abbreviation
_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string"}

_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a value differs, what the schema expects there, and what the value has.

    A remark explains the differences that follow it and is not counted.

    >>> Difference(("items", 0), "expected integer", "null").text
    'expected integer | got null'
    """

    place: JsonPath
    expected: str
    got: str = ""
    remark: bool = False

    @property
    def path(self) -> str:
        """The place as a JSON path: ``$.items[0].qty``."""
        return format_json_path(self.place)

    @property
    def text(self) -> str:
        """Expected and got in one sentence."""
        if self.got:
            return f"{self.expected} | got {self.got}"
        return self.expected


@dataclass(frozen=True, slots=True)
class FormMismatch:
    """How a value differs from a branch of ``anyOf`` or ``oneOf``.

    Attributes:
        wrong_constants: Constants of the branch that the value does not have (``"kind": "dog"``).
    """

    name: str
    differences: tuple[Difference, ...]
    wrong_constants: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Where a partial value ends.

    Attributes:
        within: The innermost object or array that is not closed; None: no open object or array.
        text: A string that is not closed; None: no open string.
    """

    within: JsonPath | None
    text: JsonPath | None = None

    def is_open_at(self, place: JsonPath) -> bool:
        """Return whether the object or array at a place is not closed."""
        return self.within is not None and self.within[: len(place)] == place

    @property
    def path(self) -> str:
        """The JSON path of the innermost open value."""
        return format_json_path(self.text if self.text is not None else self.within or ())


class Schema(Protocol):
    """The form an answer must have.

    Attributes:
        name: Its title or the name of the type, for messages; may be empty.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 -- described by the class

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """Return how a JSON value differs, at most `MAX_DIFFERENCES`; an empty list if it fits.

        Args:
            value: The value; a partial value is completed with closing quotes and brackets.
            unfinished: Where a partial value ends: what the missing rest could still satisfy is not a difference.

        Raises:
            SchemaError: The schema itself is broken.
        """


def format_json_path(parts: Iterable[str | int]) -> str:
    r"""Return a JSON path in ASCII without control characters.

    >>> format_json_path(("items", 0, "qty")), format_json_path(()), format_json_path(("odd key\n",))
    ('$.items[0].qty', '$', '$["odd key\\n"]')
    """
    text = "$"
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.match(part) and len(part) <= MAX_KEY_CHARS:
            text += f".{part}"
        else:
            text += f"[{json.dumps(part[:MAX_KEY_CHARS])}{'...' if len(part) > MAX_KEY_CHARS else ''}]"
    return text


def describe_json_value(value: object) -> str:
    """Return a JSON value with its type, in a short line.

    >>> [describe_json_value(value) for value in ("two", 2, None, [1], {"a": 1})]
    ['"two" (string)', '2 (integer)', 'null', 'array of 1', 'object with the keys a']
    """
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"array of {len(value):,}"
    if isinstance(value, dict):
        keys = [shorten_text(str(key), MAX_VALUE_CHARS) for key in value]
        if keys:
            return f"object with the keys {format_name_list(keys)}"
        return "object without keys"
    return f"{short_json(value)} ({_SCALARS.get(type(value), type(value).__name__)})"


def short_json(value: object) -> str:
    """Return the JSON of a value in a short line.

    >>> short_json({"a": "b"})
    '{"a": "b"}'
    """
    if isinstance(value, str):
        return f'"{shorten_text(value, MAX_VALUE_CHARS)}"'
    return shorten_text(json.dumps(value, ensure_ascii=False, default=str), MAX_VALUE_CHARS)


def missing_key_difference(
    place: JsonPath, expected: str, present: Iterable[str], known: Iterable[str]
) -> Difference:
    """Return the difference for a missing key, with a similar key of the value as a hint.

    >>> missing_key_difference(("total",), "number", ["totl"], ["total"]).text
    'missing, expected number; is it "totl"?'
    """
    names = set(known)
    near = _find_similar_key(
        str(place[-1]), [key[:MAX_KEY_CHARS] for key in present if key not in names][:MAX_KEYS]
    )
    if expected:
        text = f"missing, expected {expected}"
    else:
        text = "missing"
    return Difference(place, f"{text}; is it {short_json(near)}?" if near else text)


def unknown_key_difference(place: JsonPath, known: Iterable[str]) -> Difference:
    """Return the difference for a key that is not allowed, with the most similar known key as a hint.

    >>> unknown_key_difference(("totl",), ["total", "items"]).text
    'unknown key; did you mean "total"?'
    """
    near = _find_similar_key(str(place[-1]), known)
    return Difference(place, f"unknown key; did you mean {short_json(near)}?" if near else "unknown key")


def _find_similar_key(key: str, keys: Iterable[str]) -> str:
    """A higher cutoff than for mistyped names of prompts: here it is not certain that any key is a misspelling."""
    by_normalized = {_normalize_key(name[:MAX_KEY_CHARS]): name for name in reversed(list(keys))}
    wanted = _normalize_key(key[:MAX_KEY_CHARS])
    matches = difflib.get_close_matches(wanted, by_normalized, n=1, cutoff=0.65)
    matches = matches or [name for name in reversed(by_normalized) if _is_abbreviation(wanted, name)]
    if matches:
        return by_normalized[matches[0]]
    return ""


def _normalize_key(key: str) -> str:
    """Return a key as words in lower case: ``orderId`` and ``order-id`` are ``order_id``."""
    return _WORD_EDGE.sub("_", key).lower()


def _is_abbreviation(left: str, right: str) -> bool:
    """Return whether the shorter key is a word of the longer key or abbreviates it (``qty`` of ``quantity``)."""
    short, long = sorted((left, right), key=len)
    if short in long.split("_"):
        return True
    letters = iter(long)
    same_ends = len(short) >= MIN_ABBREVIATION and short[0] == long[0] and short[-1] == long[-1]
    return same_ends and all(letter in letters for letter in short)


def nearest_form_differences(place: JsonPath, forms: Sequence[FormMismatch]) -> list[Difference]:
    """Return how a value that fits no form differs from the nearest form.

    The nearest form has the fewest wrong constants, then the fewest differences of the whole value, then the fewest
    differences. If every form only expects another type or constant, the result is a single difference.

    >>> here = ("a",)
    >>> nearest_form_differences(here, [FormMismatch("x", (Difference(here, "expected string", "5"),)),
    ...                     FormMismatch("y", (Difference(here, "expected null", "5"),))])[0].text
    'expected string or null | got 5'
    """

    def differences_of_whole(form: FormMismatch) -> list[Difference]:
        return [
            difference
            for difference in form.differences
            if difference.place == place and not difference.remark
        ]

    if all(len(form.differences) == len(differences_of_whole(form)) == 1 for form in forms):
        wanted = dict.fromkeys(form.differences[0].expected.removeprefix("expected ") for form in forms)
        return [Difference(place, f"expected {' or '.join(wanted)}", forms[0].differences[0].got)]
    best = min(
        forms, key=lambda form: (form.wrong_constants, len(differences_of_whole(form)), len(form.differences))
    )
    return [
        Difference(place, f"fits none of {len(forms)} forms; nearest is {best.name}", remark=True),
        *best.differences,
    ]


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
    ``$id``, the folder stands for the folder of that URI.

    Attributes:
        read: The schemas that were read, by URI.
    """

    def __init__(self, folder: Path | None, base: str = "") -> None:
        if folder is not None:
            self.folder = folder.resolve()
        else:
            self.folder = None
        self.base = urljoin(base, "-")[:-1]
        self.read: dict[str, Mapping[str, Json]] = {}

    def load_uri(self, uri: str) -> Mapping[str, Json]:
        """Return the schema at a URI.

        Raises:
            SchemaError: The URI is not a file of the folder, or the file cannot be read.
        """
        if self.folder is None or not uri.startswith(self.base):
            raise SchemaError("")
        relative = unquote(uri.removeprefix(self.base))
        parts = urlsplit(relative)
        is_plain_path = (
            relative and not relative.startswith("/") and "\\" not in relative and "\0" not in relative
        )
        if parts.scheme or parts.netloc or not is_plain_path:
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
        try:
            self.read[uri] = read_schema(file)
        except BadFile as error:
            if error.line:
                line = f":{error.line}"
            else:
                line = ""
            raise SchemaError(f"{error.what} @ {self._relative_path(file)}{line}") from None
        return self.read[uri]

    def _relative_path(self, file: Path) -> str:
        """Return the path of a file relative to the schema's folder, the same on every machine."""
        try:
            return shorten_text(Path(os.path.relpath(file, self.folder)).as_posix())
        except ValueError:  # on another drive
            return shorten_text(file.name)


def build_registry(specification: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles) -> Any:
    """Return a registry of everything a schema refers to, files included.

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
            loaded = Resource.from_contents(files.read[uri], default_specification=specification)
            resources[uri] = loaded
            _check_references(
                loaded,
                registry.with_resource(uri, loaded).resolver(uri).in_subresource(loaded),
                files.read[uri],
                f"{where}: {shorten_text(uri)}",
            )
    return REGISTRY.with_resources(resources.items())


def _check_references(resource: Any, resolver: Any, schema: Mapping[str, Any], where: str) -> None:
    from referencing.exceptions import Unresolvable

    rest = [(resource, resolver)]
    while rest:
        part, part_resolver = rest.pop()
        if isinstance(part.contents, Mapping):
            reference = part.contents.get("$ref")
        else:
            reference = None
        try:
            if isinstance(reference, str):
                part_resolver.lookup(reference)
        except Unresolvable as error:
            paths = ", ".join(format_json_path(place) for place in _reference_places(schema, reference))
            raise SchemaError(
                f"{where}: {describe_unresolved(reference, error)} (at {shorten_text(paths)})"
            ) from None
        rest += [(child, part_resolver.in_subresource(child)) for child in part.subresources()]


def describe_unresolved(reference: str | None, error: BaseException | None = None) -> str:
    """Return why a reference cannot be resolved, and what to do."""
    from referencing.exceptions import NoSuchAnchor, PointerToNowhere

    file, _, place = (reference or "").partition("#")
    cause = error
    while cause is not None and not isinstance(cause, SchemaError):
        cause = cause.__cause__
    if cause is not None and str(cause):
        return f"$ref {short_json(reference)}: {cause}"
    if file and isinstance(error, (NoSuchAnchor, PointerToNowhere)):
        return f"$ref {short_json(reference)}: there is no place {short_json(place)} in {short_json(file)}"
    return (
        f"$ref {short_json(reference)} leads nowhere within the schema; nothing is fetched: put it under $defs and "
        'refer to "#/$defs/<name>", or into a file beside that of the schema'
    )


def _reference_places(schema: Any, reference: str | None) -> Iterator[JsonPath]:
    for parts, node in iterate_nodes(schema):
        if isinstance(node, dict) and node.get("$ref") == reference:
            yield (*parts, "$ref")
