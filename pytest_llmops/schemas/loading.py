"""Load the schema of an answer: a JSON Schema, a pydantic model, or a Python type that pydantic understands."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_origin

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import SchemaError, WireError
from pytest_llmops.measurement import shorten_text, to_builtins
from pytest_llmops.schemas.differences import Schema
from pytest_llmops.schemas.json_schema import compile_schema
from pytest_llmops.schemas.python_types import type_schema
from pytest_llmops.schemas.schema_files import BOOLEAN_SCHEMAS, SUFFIXES, read_schema

__tracebackhide__ = True


def load(schema: object) -> Schema:
    """Return a schema of any kind, ready for use.

    Args:
        schema: A JSON Schema as a dictionary, True (any JSON) or False, or the path of its file (.json, .yaml;
            relative to the working directory); the class of a pydantic model; a dataclass, a TypedDict,
            ``list[Order]`` or another type that pydantic understands.

    Raises:
        SchemaError: Another kind of object, an unreadable file, or an invalid schema.

    >>> load({"title": "Order", "type": "object", "required": ["id"]}).differences({})[0].text
    'missing'
    """
    if isinstance(schema, bool):
        schema = BOOLEAN_SCHEMAS[schema]
    if isinstance(schema, Mapping):
        return _load_mapping(schema)
    if isinstance(schema, (str, os.PathLike)):
        return _load_file(os.fspath(schema))
    if isinstance(schema, type) or get_origin(schema) is not None:
        return type_schema(schema)
    raise SchemaError(
        "expected a JSON Schema (a dictionary), the path of one, a pydantic model's class, a TypedDict or a dataclass, "
        f"got an object of type {type(schema).__name__}"
    )


def _load_mapping(
    schema: Mapping[str, object], *, where: str = "", name: str = "", folder: Path | None = None
) -> Schema:
    """Compile a schema that is a dictionary, for the arguments see `compile_schema`."""
    label = where or _name_mapping(schema)
    try:
        # Not sorted: the differences are reported in the order of the schema.
        text = json.dumps(to_builtins(schema, where="$"))
    except (WireError, ValueError) as error:
        raise SchemaError(f"{label}: no JSON at {error}") from None
    return compile_schema(text, label, name, folder=folder)


def _name_mapping(schema: Mapping[str, object]) -> str:
    """Return how messages name a schema: "schema Order" by its title, else "schema"."""
    title = schema.get("title")
    if isinstance(title, str) and title:
        return f"schema {shorten_text(title, 60)}"
    return "schema"


def _load_file(file: str | bytes) -> Schema:
    """Read and compile the schema in a file; its references lead to files in its folder and below."""
    text = os.fsdecode(file)
    if text.lstrip().startswith(("{", "[")):
        raise SchemaError(
            f"expected the path of a JSON Schema, got JSON text ({shorten_text(text, 40)}); pass the dictionary: json.loads(...)"
        )
    path = Path(text)
    if path.suffix not in SUFFIXES:
        endings = ", ".join(SUFFIXES)
        raise SchemaError(
            f"expected the path of a JSON Schema that ends in {endings}, got '{shorten_text(text)}'"
        )
    try:
        return _load_mapping(read_schema(path), where=shorten_text(text), name=path.stem, folder=path.parent)
    except BadFile as error:
        place = shorten_text(text)
        if error.line:
            place += f":{error.line}"
        if not path.is_absolute() and not path.exists():
            place += f" (looked for in {Path.cwd()})"
        raise SchemaError(f"schema: {error.what} @ {place}") from None
