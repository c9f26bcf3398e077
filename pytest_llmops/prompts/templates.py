"""Body of a prompt: sections by role, rendered by Jinja2 in a sandbox.

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
* Loops and calls are counted: a template that takes more than `MAX_STEPS` of them is an error.
* There is no loader: no include, import or extends. ``lipsum`` and ``random`` are removed, as the
  same variables must give the same bytes.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import ROLES, Role

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_STEPS = 200_000  # rounds of loops and calls while a section is rendered
LOOP_FILTER = "limited loop"  # no template can name it
_steps: ContextVar[list[int]] = ContextVar("pytest_llmops_template_steps")
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
    for number, line in enumerate([*body.split("\n"), "user:"], start=first_line):
        heading = HEADINGS.get(line.rstrip())
        if heading is None:
            lines.append(line)
            continue
        filled = [index for index, text in enumerate(lines) if text.strip()]
        if filled:
            text = "\n".join(lines[filled[0] : filled[-1] + 1])
            sections.append(Section(role or "user", text, start + filled[0]))
        elif role is not None:
            raise BadFile(f"the section {role!r} has no content", start - 1)
        role, lines, start = heading, [], number + 1
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

    environment = _sandbox()
    try:
        tree = environment.parse(section.text)
        names = meta.find_undeclared_variables(tree)
        _compile_template(section.text)
    except jinja2.TemplateSyntaxError as error:
        raise BadFile(
            f"template syntax: {shorten_text(error.message or '')}", section.line + error.lineno - 1
        ) from None
    except Exception as error:  # noqa: BLE001 -- such as a template too deep for Python's own parser
        raise BadFile(f"template: {type(error).__name__}: {shorten_text(str(error))}", section.line) from None
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise BadFile(
            f"a prompt is one file: {type(node).__name__.lower()} is not available",
            section.line + node.lineno - 1,
        )
    return frozenset(names)


def render_section(section: Section, variables: Mapping[str, object]) -> str:
    """Return a section with its variables filled in, not stripped.

    Raises:
        BadFile: The template does what the sandbox forbids, fails, or inserts a list, an object or None.

    >>> render_section(Section("user", "Hi {{ name }}", 1), {"name": "{{ 7 * 7 }}"})
    'Hi {{ 7 * 7 }}'
    """
    from jinja2.exceptions import SecurityError

    _steps.set([MAX_STEPS])
    try:
        return _compile_template(section.text).render(variables)
    except (BadFile, SecurityError) as error:
        what = (
            error.what
            if isinstance(error, BadFile)
            else f"refused by the sandbox: {shorten_text(str(error))}"
        )
        raise BadFile(what, _prompt_file_line(error, section)) from None
    except Exception as error:  # an expression of the template can raise anything
        raise BadFile(
            f"cannot be rendered: {type(error).__name__}: {shorten_text(str(error))}",
            _prompt_file_line(error, section),
        ) from error


def _prompt_file_line(error: Exception, section: Section) -> int:
    # Jinja rewrites the traceback: its frames have the line numbers of the template.
    frames = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"
    ]
    return section.line + (frames[-1] or 1) - 1 if frames else section.line


@lru_cache(maxsize=1)
def _sandbox() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.runtime import LoopContext, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            _count_steps(1)
            if isinstance(obj, LoopContext):  # a loop that is marked as recursive
                args = (_limit_loop(args[0]), *args[1:])
            return super().call(context, obj, *args, **kwargs)

    environment = Sandbox(
        undefined=StrictUndefined,
        autoescape=False,  # a prompt is not HTML: escaping would change what the model reads
        keep_trailing_newline=True,
        finalize=lambda value: (
            value if isinstance(value, (str, int, float, Undefined)) else _refuse_value(value)
        ),
        loader=None,
    )
    environment.globals.pop("lipsum")
    environment.filters.pop("random")
    environment.filters["tojson"] = _to_json
    environment.filters[LOOP_FILTER] = _limit_loop
    return environment


@lru_cache(maxsize=256)
def _compile_template(text: str) -> Template:
    from jinja2 import nodes

    environment = _sandbox()
    tree = environment.parse(text)
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, LOOP_FILTER, [], [], None, None, lineno=loop.lineno)
    return environment.template_class.from_code(environment, environment.compile(tree), environment.globals)


def _limit_loop(values: Iterable[object]) -> Iterable[object]:
    # Count the rounds of a loop: at once if they are known, so that they cost nothing.
    if not isinstance(values, Sized):
        return (value for value in values if _count_steps(1))
    _count_steps(len(values))
    return values


def _count_steps(count: int) -> bool:
    left = _steps.get()
    left[0] -= count
    if left[0] < 0:
        raise BadFile(
            f"the template takes more than {MAX_STEPS:,} rounds of loops and calls: does a loop end?"
        )
    return True


def _refuse_value(value: object) -> NoReturn:
    hint = {
        "a list": "join it (`| join('\\n')`) or loop over it",
        "an object": "write `| tojson`, or one of its keys",
        "null": "pass a text",
    }
    what = json_kind(list(value) if isinstance(value, tuple) else value)
    raise BadFile(f"{what} would be put into the text: {hint.get(what, 'pass a text')}")


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def why_invalid_variable(name: str) -> str:
    """Return why a variable cannot have this name, or ``""``.

    >>> why_invalid_variable("question"), why_invalid_variable("two words"), why_invalid_variable("loop")
    ('', 'expected a name of letters, digits and _', 'the name means something else in a template')
    """
    if not (name.isascii() and name.isidentifier()):
        return "expected a name of letters, digits and _"
    return "the name means something else in a template" if name in JINJA_NAMES else ""
