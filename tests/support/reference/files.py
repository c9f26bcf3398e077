"""Tables of the page of file formats: the formats by name, and the keys of the JSON Schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.reference.markdown import end_sentence, format_table

PACKAGE = Path(__file__).parents[3] / "pytest_llmops"
# What each format is for, and who writes it
FORMATS = {
    "cases .jsonl": ("a case a line", "you, `llmops cases`"),
    "cases .yaml": ("a list of cases", "you"),
    "cases .yml": ("the same", "you"),
    "cases .csv": ("a header, and a case a line", "you"),
    "cases .tsv": ("the same, with tabs", "you"),
    "cases .json": ("a list of cases, or a file of another tool", "you, other tools"),
    "cases .parquet": ("a table", "`datasets`, pandas"),
    "cases .arrow": ("a saved dataset, by its folder", "`datasets`"),
    "judge rubric": ("criteria with levels, or pass and fail", "you"),
    "judge checklist": ("items that the answer must contain", "you"),
    "judge policy": ("rules that the answer must keep", "you"),
    "judge grounding": ("claims supported by passages", "you"),
    "judge pairwise": ("criteria for the better of two answers", "you"),
    "report html": ("a page, `.html`", "`--llm-report`, `llmops report`"),
    "report json": ("the run file, `.json` or `.json.gz`", "`--llm-report`"),
    "report markdown": ("for a pull request, `.md`", "`--llm-report`, `llmops report`"),
    "report junit": ("JUnit XML, `.xml`", "`llmops merge`, `llmops report`"),
    "report codequality": ("GitLab's Code Quality", "`--llm-report`, `llmops report`"),
    "report metrics": ("GitLab's metrics", "`--llm-report`, `llmops report`"),
    "report otlp": ("spans and events for a collector of OpenTelemetry", "`--llm-report`, `llmops report`"),
    "pytest-llmops/run/2": ("a run: its tests, measurements, calls and verdicts", "`--llm-report=run.json`"),
    "pytest-llmops/baseline/1": ("the scores that later runs are compared with", "`--llm-accept`"),
    "pytest-llmops/baseline-outputs/1": ("answers and requests of the baseline", "`--llm-accept`"),
    "pytest-llmops/judge-record/1": (
        "how well a judge agrees with labels",
        "`llmops judge calibrate`, `canaries`",
    ),
    "pytest-llmops/ledger/1": ("which rules of a prompt are needed", "`llmops prompts ledger -o`"),
    "pytest-llmops/trace/1": ("one traced run, for replay", "`llmops cases from-traces --cassette`"),
}


def format_formats() -> str:
    """Return the table of all formats."""
    from support.reference.names import list_formats

    rows = [(f"`{name}`", *FORMATS.get(name, ("", ""))) for name in list_formats()]
    return format_table(("format", "what it holds", "who writes it"), rows)


def format_case_keys() -> str:
    """Return the keys of a case."""
    schema = _read_schema("cases/case.schema.json")["$defs"]["case"]
    return _format_keys(schema)


def format_turn_keys() -> str:
    """Return the keys of a turn, and of what a turn expects or waits for."""
    definitions = _read_schema("cases/case.schema.json")["$defs"]
    (turn,) = (form for form in definitions["turn"]["anyOf"] if "properties" in form)
    return _format_keys(turn)


def format_run_keys() -> str:
    """Return the keys of a run file, and of a test and a measurement in it."""
    schema = _read_schema("results/run.schema.json")
    parts = [_format_keys(schema)]
    for name in ("record", "measurement"):
        parts.append(f"Keys of a {name}:")
        parts.append(_format_keys(schema["$defs"][name]))
    return "\n\n".join(parts)


def _read_schema(path: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((PACKAGE / path).read_text(encoding="utf-8"))
    return schema


def _format_keys(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = []
    for key, value in schema["properties"].items():
        text = end_sentence(str(value.get("description", "")))
        rows.append((f"`{key}`{' (required)' if key in required else ''}", _format_type(value), text))
    return format_table(("key", "type", "meaning"), rows)


def _format_type(schema: dict[str, Any]) -> str:
    """Return the type of a value in words."""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2]).replace("_", " ")
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not kinds and "anyOf" in schema:
        return " or ".join(dict.fromkeys(_format_type(form) for form in schema["anyOf"]))
    words = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list"}
    names = [words.get(kind, kind) for kind in kinds]
    if names == ["list"] and "items" in schema:
        item = _format_type(schema["items"])
        return f"list of {item}s" if item else "list"
    return " or ".join(names)
