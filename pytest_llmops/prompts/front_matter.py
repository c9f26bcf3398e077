"""Front matter of a prompt: the YAML between the two ``---`` lines, checked key by key."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, as_mapping, json_kind, read_json, read_text, read_yaml
from pytest_llmops.errors import find_closest_name
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.templates import why_invalid_variable

PROMPT_KEYS = ("description", "variables", "model", "params", "output_schema")
PARAMS_ELSEWHERE = {"model": "a key `model` beside params", "messages": "the body"}
FENCE = "---"


def split_front_matter(text: str) -> tuple[str, str, int]:
    r"""Return front matter, body, and the first line of the body; a file without a fence is all body.

    Raises:
        BadFile: The front matter has no end.

    >>> split_front_matter("---\nmodel: m\n---\nHi\n")
    ('model: m', 'Hi\n', 4)
    """
    lines = text.split("\n")
    if lines[0].rstrip() != FENCE:
        return "", text, 1
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == FENCE:
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]), number + 2
    raise BadFile(f"the front matter has no end: expected a second line {FENCE}", 1)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The values of a front matter, and the line of each key."""

    values: Mapping[str, Json]
    lines: Mapping[str, int]

    def bad(self, key: str, expected: str, got: object) -> BadFile:
        """Return the error for a value of the wrong type."""
        return BadFile(f"{key}: expected {expected}, got {got}", self.lines.get(key))

    def text(self, key: str) -> str:
        """Return a value that must be a text; ``""`` if the key is missing."""
        value = self.values.get(key, "")
        if not isinstance(value, str):
            raise self.bad(key, "a text", json_kind(value))
        return value.strip()


def read_front_matter(front: str, known: Collection[str] = PROMPT_KEYS) -> FrontMatter:
    """Read the front matter, which starts in line 2 of its file.

    Args:
        front: Its text, without the lines of dashes.
        known: The allowed keys; by default those of a prompt.

    Raises:
        BadFile: It is not a mapping in YAML, or has an unknown key.
    """
    try:
        value, marks = read_yaml(front)
        values = as_mapping({} if value is None else value)
    except BadFile as error:
        raise BadFile(f"front matter: {error.what}", error.line and error.line + 1) from None
    lines = dict(zip(values, (mark + 1 for mark in marks), strict=False))
    for key in values:
        if key not in known:
            near = find_closest_name(key, known)
            raise BadFile(
                f"unknown key {shorten_text(key, 60)!r} in the front matter: known are {', '.join(known)}"
                + (f"; did you mean {near!r}?" if near else ""),
                lines.get(key),
            )
    return FrontMatter(values, lines)


def read_variables(head: FrontMatter) -> tuple[str, ...]:
    """Return the declared variables, in their order.

    Raises:
        BadFile: They are not a list of names (or a mapping of names to descriptions), or a name is invalid.
    """
    value = head.values.get("variables", [])
    expected = "a list of names, or names with a description each"
    if isinstance(value, str) or not isinstance(value, (list, Mapping)):
        raise head.bad("variables", expected, f"{json_kind(value)} {shorten_text(str(value), 60)}")
    if isinstance(value, Mapping) and not all(isinstance(description, str) for description in value.values()):
        raise head.bad("variables", expected, "a description that is no text")
    names: list[str] = []
    for name in value:
        if not isinstance(name, str):
            raise head.bad("variables", expected, f"{json_kind(name)} in the list")
        if why := why_invalid_variable(name):
            raise BadFile(f"variable {shorten_text(name, 60)!r}: {why}", head.lines.get("variables"))
        if name in names:
            raise BadFile(f"variable {name!r} is declared twice", head.lines.get("variables"))
        names.append(name)
    return tuple(names)


def read_params(head: FrontMatter) -> Mapping[str, Json]:
    """Return the parameters for the model.

    Raises:
        BadFile: They are not a mapping, or have a key that belongs elsewhere.
    """
    value = head.values.get("params", {})
    if not isinstance(value, Mapping):
        raise head.bad("params", "a mapping", json_kind(value))
    for key, place in PARAMS_ELSEWHERE.items():
        if key in value:
            raise BadFile(f"params: {key!r} does not belong here, but in {place}", head.lines.get("params"))
    return value


def read_output_schema(head: FrontMatter, path: Any) -> tuple[Mapping[str, Json] | None, str]:
    """Return the output schema, and its text if it has its own file.

    Raises:
        BadFile: It is neither a schema nor the name of a .json file beside the prompt.
    """
    if "output_schema" not in head.values:
        return None, ""
    value = head.values["output_schema"]
    if isinstance(value, Mapping):
        return value, ""
    if not isinstance(value, str):
        raise head.bad("output_schema", "a schema or the name of a .json file", json_kind(value))
    file = path.parent / value
    inside = ".." not in value and not value.startswith("/")  # all that can lead out of a zip
    if isinstance(file, Path):
        inside = file.resolve().is_relative_to(path.parent.resolve())
    if not inside or not value.endswith(".json"):
        raise head.bad("output_schema", "the name of a .json file beside the prompt", shorten_text(value, 80))
    try:
        text = read_text(file)
        return as_mapping(read_json(text)), text
    except BadFile as error:
        raise BadFile(
            f"output_schema {shorten_text(value, 80)}: {error.what}"
            + (f" in line {error.line} of it" if error.line else ""),
            head.lines.get("output_schema"),
        ) from None


def is_closed(schema: Mapping[str, Json]) -> bool:
    """Return whether a schema is one that OpenAI's strict mode takes: objects that require all of their keys, and no others.

    >>> is_closed({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False})
    True
    """
    nodes: list[Any] = [schema]
    for node in nodes:  # what a node holds is added meanwhile
        nodes += node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    objects = [
        node
        for node in nodes
        if isinstance(node, Mapping) and (node.get("type") == "object" or "properties" in node)
    ]
    return schema.get("type") == "object" and all(
        node.get("additionalProperties") is False
        and {*node.get("properties", ())} <= {*map(str, node.get("required", ()))}
        for node in objects
    )
