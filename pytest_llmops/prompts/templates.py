"""The body of a prompt: sections by role, and Jinja2 in a sandbox.

A body is cut into sections **before** anything is rendered, and each section becomes one message. A value
is put in afterwards and is data: neither ``{{ }}`` nor a line ``user:`` within it means anything.

Rules that decide the bytes:

* A section opens with a line that is exactly ``system:``, ``user:``, ``assistant:`` or ``developer:``.
  Text before the first one is a user message. Indent such a line by one space to have it as text.
* Blank lines at both ends of a section are no part of it; everything else is (``keep_trailing_newline``,
  Jinja's default white space rules: no ``trim_blocks``). A rendered message is not stripped.
* Only texts, numbers and booleans can be put into the text. A list needs ``| join`` or a loop, an object
  ``| tojson``; ``tojson`` writes plain JSON here, as a prompt is no HTML.
* There is no loader: no include, import or extends. ``lipsum`` and ``random`` are not there either, as the
  same variables have to give the same bytes.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_llmops._util.text_files import BadFile, kind
from pytest_llmops.measurement import shorten
from pytest_llmops.protocols import Role

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

HEADINGS: dict[str, Role] = {
    "system:": "system",
    "user:": "user",
    "assistant:": "assistant",
    "developer:": "developer",
}
_SYNTAX = (
    "self",
    "loop",
    "super",
    "caller",
    "varargs",
    "kwargs",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
)
_GLOBALS = ("range", "dict", "lipsum", "cycler", "joiner", "namespace")
JINJA_NAMES = frozenset(_SYNTAX + _GLOBALS)
"""Names that mean something else within a template, so that no variable can have them."""


@dataclass(frozen=True, slots=True)
class Section:
    """One message to be: its role, its template, and the line of the file that the template starts in."""

    role: Role
    text: str
    line: int


def split_sections(body: str, first_line: int = 1) -> tuple[Section, ...]:
    r"""Cut a body into its sections.

    Raises:
        BadFile: A section, or the whole body, has no content.

    >>> [(s.role, s.text) for s in split_sections("system:\nBe brief.\n\nuser:\nHi {{ name }}\n")]
    [('system', 'Be brief.'), ('user', 'Hi {{ name }}')]
    """
    sections: list[Section] = []
    role: Role | None = None
    lines: list[str] = []
    start = first_line
    for number, line in enumerate([*body.split("\n"), "user:"], start=first_line):
        heading = HEADINGS.get(line.rstrip())
        if heading is None:
            lines.append(line)
            continue
        if role is not None or any(one.strip() for one in lines):
            sections.append(_section(role or "user", lines, start))
        role, lines, start = heading, [], number + 1
    if not sections:
        raise BadFile("the body has no content: write the prompt below the front matter")
    return tuple(sections)


def _section(role: Role, lines: Sequence[str], start: int) -> Section:
    filled = [index for index, line in enumerate(lines) if line.strip()]
    if not filled:
        raise BadFile(f"the section {role!r} has no content", start - 1)
    first, last = filled[0], filled[-1]
    return Section(role, "\n".join(lines[first : last + 1]), start + first)


def used_variables(section: Section) -> frozenset[str]:
    """Return the variables a section asks for; checks the whole template on the way.

    Raises:
        BadFile: It is no template, or it asks for another file; with the line of the prompt file.

    >>> sorted(used_variables(Section("user", "{% for c in chunks %}{{ c }}{% endfor %}{{ q }}", 1)))
    ['chunks', 'q']
    """
    import jinja2
    from jinja2 import meta, nodes

    environment = _environment()
    try:
        tree = environment.parse(section.text)
        names = meta.find_undeclared_variables(tree)
        _template(section.text)
    except jinja2.TemplateSyntaxError as error:
        what = f"template syntax: {shorten(error.message or '')}"
        raise BadFile(what, section.line + error.lineno - 1) from None
    except Exception as error:  # noqa: BLE001 -- too deep for Python's own parser, for one
        raise BadFile(f"template: {type(error).__name__}: {shorten(str(error))}", section.line) from None
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        what = f"a prompt is one file: {type(node).__name__.lower()} is not available"
        raise BadFile(what, section.line + node.lineno - 1)
    return frozenset(names)


def render_section(section: Section, variables: Mapping[str, object]) -> str:
    """Return a section with its variables filled in, not stripped.

    Raises:
        BadFile: The template does what the sandbox forbids, fails, or puts a list, an object or None into
            the text.

    >>> render_section(Section("user", "Hi {{ name }}", 1), {"name": "{{ 7 * 7 }}"})
    'Hi {{ 7 * 7 }}'
    """
    from jinja2.exceptions import SecurityError

    try:
        return _template(section.text).render(dict(variables))
    except BadFile as error:
        raise BadFile(error.what, _line(error, section)) from None
    except SecurityError as error:
        what = f"refused by the sandbox: {shorten(str(error))}"
        raise BadFile(what, _line(error, section)) from None
    except Exception as error:  # whatever an expression of the template can raise
        what = f"cannot be rendered: {type(error).__name__}: {shorten(str(error))}"
        raise BadFile(what, _line(error, section)) from error


def _line(error: Exception, section: Section) -> int:
    # Jinja rewrites the traceback: its frames carry the template's own lines.
    frames = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == "<template>"]
    return section.line + (frames[-1] or 1) - 1 if frames else section.line


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # a prompt is no HTML: escaping would change what the model reads
        keep_trailing_newline=True,
        finalize=_as_text,
        loader=None,
    )
    environment.globals.pop("lipsum")
    environment.filters.pop("random")
    environment.filters["tojson"] = _to_json
    return environment


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return _environment().from_string(text)


def _as_text(value: object) -> object:
    from jinja2 import Undefined

    if isinstance(value, (str, int, float, Undefined)):
        return value
    hint = {
        "a list": "join it (`| join('\\n')`) or loop over it",
        "an object": "write `| tojson`, or one of its keys",
        "null": "pass a text",
    }
    what = kind(list(value) if isinstance(value, tuple) else value)
    raise BadFile(f"{what} would be put into the text: {hint.get(what, 'pass a text')}")


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def bad_name(name: str) -> str:
    """Return why a template cannot have a variable of that name, or ``""``.

    >>> bad_name("question"), bad_name("two words"), bad_name("loop")
    ('', 'expected a name of letters, digits and _', 'the name means something else in a template')
    """
    if not (name.isascii() and name.isidentifier()):
        return "expected a name of letters, digits and _"
    return "the name means something else in a template" if name in JINJA_NAMES else ""
