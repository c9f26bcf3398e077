"""A prompt file: its front matter, and its body by role, rendered by Jinja2 in a sandbox.

A body is split into sections **before** anything is rendered, and each section becomes a message. Values are
inserted afterwards and are data: neither ``{{ }}`` nor a line ``user:`` in a value has a meaning, so a variable
cannot start a new chat role.

Rules that decide the bytes:

* A section starts with a line that is exactly ``system:``, ``user:``, ``assistant:`` or ``developer:``.
  Text before the first such line is a user message. Indent such a line by a space to use it as text.
* Blank lines at both ends of a section are dropped; everything else is kept (``keep_trailing_newline``,
  Jinja's default white space rules: no ``trim_blocks``). A rendered message is not stripped.
* Only texts, numbers and booleans can be inserted. A list needs ``| join`` or a loop, an object
  ``| tojson``; ``tojson`` writes plain JSON without HTML escapes.
* Loops and calls are counted, and so are the characters that a section makes and reads: a template that goes over
  `template_limits` is an error.
* Nothing is loaded: no include, import or extends. ``lipsum`` and ``random`` are removed, as the
  same variables must give the same bytes.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, as_mapping, json_kind, read_json, read_text, read_yaml
from pytest_llmops.errors import find_closest_name
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.template_limits import limit_template
from pytest_llmops.prompts.template_sandbox import compile_template, make_sandbox
from pytest_llmops.protocols import ROLES, Role

HEADINGS = {f"{role}:": role for role in ROLES if role != "tool"}
_SYNTAX = ("self", "loop", "super", "caller", "varargs", "kwargs")
_CONSTANTS = ("true", "false", "none", "True", "False", "None")
_GLOBALS = ("range", "dict", "lipsum", "cycler", "joiner", "namespace")
# Names with a meaning in Jinja, so that no variable can have them
JINJA_NAMES = frozenset(_SYNTAX + _CONSTANTS + _GLOBALS)


@dataclass(frozen=True, slots=True)
class Section:
    """Role and template of a message, and the first line of the template in its file."""

    role: Role
    text: str
    line: int


def split_sections(body: str, first_line: int = 1) -> tuple[Section, ...]:
    r"""Split a body into its sections.

    Raises:
        BadFile: A section, or the whole body, has no content.

    >>> [(s.role, s.text) for s in split_sections("system:\nBe brief.\n\nuser:\nHi {{ name }}\n")]
    [('system', 'Be brief.'), ('user', 'Hi {{ name }}')]
    """
    sections: list[Section] = []
    role: Role | None = None
    lines: list[str] = []
    start = first_line
    # A heading is added at the end, to close the last section.
    for number, line in enumerate([*body.split("\n"), "user:"], start=first_line):
        heading = HEADINGS.get(line.rstrip())
        if heading is None:
            lines.append(line)
            continue
        filled = [index for index, text in enumerate(lines) if text.strip()]
        if filled:
            first, last = filled[0], filled[-1]
            text = "\n".join(lines[first : last + 1])
            sections.append(Section(role or "user", text, start + first))
        elif role is not None:
            raise BadFile(f"the section {role!r} has no content", start - 1)
        role = heading
        lines = []
        start = number + 1
    if not sections:
        raise BadFile("the body has no content: write the prompt below the front matter")
    return tuple(sections)


@lru_cache(maxsize=256)
def used_variables(section: Section) -> frozenset[str]:
    """Return the variables that a section uses, and check its template.

    Raises:
        BadFile: The template is invalid, or uses another file; gives the line of the prompt file.

    >>> sorted(used_variables(Section("user", "{% for c in chunks %}{{ c }}{% endfor %}{{ q }}", 1)))
    ['chunks', 'q']
    """
    import jinja2
    from jinja2 import meta, nodes

    try:
        tree = make_sandbox().parse(section.text)
        names = meta.find_undeclared_variables(tree)
        compile_template(section.text)
    except jinja2.TemplateSyntaxError as error:
        why = shorten_text(error.message or "")
        raise BadFile(f"template syntax: {why}", section.line + error.lineno - 1) from None
    except Exception as error:  # noqa: BLE001 -- such as a template too deep for Python's own parser
        why = f"{type(error).__name__}: {shorten_text(str(error))}"
        raise BadFile(f"template: {why}", section.line) from None
    loaders = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
    for node in tree.find_all(loaders):
        kind = type(node).__name__.lower()
        line = section.line + node.lineno - 1
        raise BadFile(f"a prompt is one file: {kind} is not available", line)
    return frozenset(names)


def render_section(section: Section, variables: Mapping[str, object]) -> str:
    """Return a section with its variables filled in, not stripped.

    Raises:
        BadFile: The template does something forbidden by the sandbox, fails, or inserts a list, an object or None.

    >>> render_section(Section("user", "Hi {{ name }}", 1), {"name": "{{ 7 * 7 }}"})
    'Hi {{ 7 * 7 }}'
    """
    from jinja2.exceptions import SecurityError

    try:
        template = compile_template(section.text)
        with limit_template():
            return template.render(variables)
    except BadFile as error:
        raise BadFile(error.what, _prompt_file_line(error, section)) from None
    except SecurityError as error:
        what = f"refused by the sandbox: {shorten_text(str(error))}"
        raise BadFile(what, _prompt_file_line(error, section)) from None
    except Exception as error:  # an expression of the template can raise anything
        why = f"{type(error).__name__}: {shorten_text(str(error))}"
        line = _prompt_file_line(error, section)
        raise BadFile(f"cannot be rendered: {why}", line) from error


def _prompt_file_line(error: Exception, section: Section) -> int:
    """Return the line of the prompt file in which an error was raised; the section's first line if that is not known."""
    # Jinja rewrites the traceback: its frames have the line numbers of the template.
    line = 1
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == "<template>":
            line = frame.lineno or 1
    return section.line + line - 1


def why_invalid_variable(name: str) -> str:
    """Return why a variable cannot have this name, or ``""``.

    >>> why_invalid_variable("question"), why_invalid_variable("two words"), why_invalid_variable("loop")
    ('', 'expected a name of letters, digits and _', 'the name means something else in a template')
    """
    if not (name.isascii() and name.isidentifier()):
        return "expected a name of letters, digits and _"
    if name in JINJA_NAMES:
        return "the name means something else in a template"
    return ""


PROMPT_KEYS = ("description", "variables", "model", "params", "output_schema")
PARAMS_ELSEWHERE = {"model": "a key `model` next to params", "messages": "the body"}
FENCE = "---"


def read_model_name(path: Path) -> str:
    """Return the model in the front matter of a prompt or a judge file; "" if there is none.

    Raises:
        BadFile: The file or its front matter cannot be read.
    """
    text = read_text(path)
    if "\nmodel:" not in text:
        return ""
    values = read_yaml(split_front_matter(text)[0])[0]
    if not isinstance(values, dict):
        return ""
    return str(values.get("model") or "")


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
            front = "\n".join(lines[1:number])
            body = "\n".join(lines[number + 1 :])
            return front, body, number + 2
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
        known: The allowed keys; by default the keys of a prompt.

    Raises:
        BadFile: It is not a mapping in YAML, or has an unknown key.
    """
    try:
        value, marks = read_yaml(front)
        if value is None:
            value = {}
        values = as_mapping(value)
    except BadFile as error:
        line = error.line
        if line is not None:
            line += 1
        raise BadFile(f"front matter: {error.what}", line) from None
    lines = {key: mark + 1 for key, mark in zip(values, marks, strict=False)}
    for key in values:
        if key not in known:
            hint = ""
            near = find_closest_name(key, known)
            if near:
                hint = f"; did you mean {near!r}?"
            raise BadFile(
                f"unknown key {shorten_text(key, 60)!r} in the front matter: known are {', '.join(known)}{hint}",
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
        got = f"{json_kind(value)} {shorten_text(str(value), 60)}"
        raise head.bad("variables", expected, got)
    if isinstance(value, Mapping):
        descriptions = value.values()
        if not all(isinstance(description, str) for description in descriptions):
            raise head.bad("variables", expected, "a description that is not a text")
    names: list[str] = []
    for name in value:
        if not isinstance(name, str):
            raise head.bad("variables", expected, f"{json_kind(name)} in the list")
        why = why_invalid_variable(name)
        if why:
            name_text = shorten_text(name, 60)
            raise BadFile(f"variable {name_text!r}: {why}", head.lines.get("variables"))
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
    """Return the output schema, and the text of its file; None and "" without a schema, a schema and "" if it has no file.

    Args:
        head: The front matter of the prompt.
        path: The prompt's file: a `Path`, or one in a zip.

    Raises:
        BadFile: It is neither a schema nor the name of a .json file in the prompt's folder.
    """
    if "output_schema" not in head.values:
        return None, ""
    value = head.values["output_schema"]
    if isinstance(value, Mapping):
        return value, ""
    if not isinstance(value, str):
        raise head.bad("output_schema", "a schema or the name of a .json file", json_kind(value))
    file = path.parent / value
    if isinstance(file, Path):
        is_inside = file.resolve().is_relative_to(path.parent.resolve())
    else:
        is_inside = ".." not in value and not value.startswith(
            "/"
        )  # nothing else leads out of a folder in a zip
    if not is_inside or not value.endswith(".json"):
        raise head.bad(
            "output_schema", "the name of a .json file next to the prompt", shorten_text(value, 80)
        )
    try:
        text = read_text(file)
        return as_mapping(read_json(text)), text
    except BadFile as error:
        place = ""
        if error.line:
            place = f" in line {error.line} of it"
        what = f"output_schema {shorten_text(value, 80)}"
        line = head.lines.get("output_schema")
        raise BadFile(f"{what}: {error.what}{place}", line) from None


def is_closed(schema: Mapping[str, Json]) -> bool:
    """Return whether OpenAI's strict mode accepts a schema: it is an object, and each object requires all its keys and forbids others.

    >>> is_closed({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False})
    True
    """
    if schema.get("type") != "object":
        return False
    nodes: list[Any] = [schema]
    for node in nodes:  # the list grows meanwhile by the parts of each node, so that all are visited
        if isinstance(node, Mapping):
            if not _is_closed_node(node):
                return False
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
    return True


def _is_closed_node(node: Mapping[str, Any]) -> bool:
    """Return whether a part of a schema requires all its keys and forbids others; True if it does not describe an object."""
    if node.get("type") != "object" and "properties" not in node:
        return True
    if node.get("additionalProperties") is not False:
        return False
    required = set(map(str, node.get("required", ())))
    return required.issuperset(node.get("properties", ()))
