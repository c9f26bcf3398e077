"""Parse a run file, and validate it with ``run.schema.json``; errors give the JSON path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, NoReturn

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.errors import UsageError, WireError, format_name_list
from pytest_llmops.measurement import shorten_text, to_builtins

FORMAT_NAME = "the JSON of --llm-report=run.json"
_EXPECTED: Mapping[object, str] = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object with keys",
    "string": "a text",
}
"""The types of JSON Schema in words."""


def parse_run_file(text: str, schema: str, *, where: str) -> dict[str, Any]:
    """Return the document of a run file.

    Args:
        text: The text of the file.
        schema: Name and version of the format, which the file must have.
        where: The name of the file, for errors.

    Raises:
        UsageError: It is no JSON, no run file, of a newer major version, or damaged: with file, JSON path,
            and what was expected and got.
    """
    try:
        data = json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        raise UsageError(f"{where}: expected {FORMAT_NAME}, got JSON that is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{where}: expected {FORMAT_NAME}, got no JSON: {error}") from None
    schema_name = data.get("schema") if isinstance(data, dict) else None
    if schema_name != schema:
        raise UsageError(
            f"{where}: expected schema {schema!r}, got {shorten_text(repr(schema_name), 80)}; write the run again with this version"
        )
    problem = _find_problem(data)
    if problem:
        raise UsageError(f"{where}: damaged: {problem}; write the run again, or take it from version control")
    return {"records": [], "meta": {}, "notes": [], **data}


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _find_problem(data: dict[str, Any]) -> str:
    error = next(_run_validator().iter_errors(data), None)
    if error is not None:
        path = list(error.absolute_path)
        record = data["records"][path[1]] if path[:1] == ["records"] and len(path) > 1 else None
        return f"{locate_record(record, error.json_path)}: {_describe_error(error)}"
    try:
        # The schema leaves open what these hold. Python reads 1e999 as infinity, which no JSON can hold.
        to_builtins(data.get("meta"), where="$.meta")
        for number, record in enumerate(data.get("records", [])):
            place = f"$.records[{number}]"
            to_builtins(record.get("facts"), where=f"{place}.facts")
            for index, call in enumerate(record.get("calls", [])):
                to_builtins(call.get("tools"), where=f"{place}.calls[{index}].tools")
    except WireError as wire_error:
        return str(wire_error)
    return ""


@lru_cache(maxsize=1)
def _run_validator() -> Any:
    from jsonschema import Draft202012Validator

    text = (files("pytest_llmops.results") / "run.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def _describe_error(error: Any) -> str:
    got = error.instance
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in got)
        return f"expected the key {missing}, got {format_name_list(map(str, got))}"
    if error.validator == "type":
        types = error.validator_value
        expected = " or ".join(_EXPECTED[name] for name in ([types] if isinstance(types, str) else types))
    elif error.validator == "enum":
        expected = f"one of {', '.join(error.validator_value)}"
    else:
        expected = "a finite number"
    text = "" if got is None or isinstance(got, (list, dict)) else f": {shorten_text(json.dumps(got), 60)}"
    return f"expected {expected}, got {json_kind(got)}{text}"


def locate_record(record: object, place: str) -> str:
    """Return the place of a record with the test's name, where it has one.

    >>> locate_record({"nodeid": "a.py::test"}, "$.records[3]")
    '$.records[3] (a.py::test)'
    """
    name = record.get("nodeid") if isinstance(record, dict) else None
    return f"{place} ({shorten_text(name, 200)})" if isinstance(name, str) else place
