"""Nunjucks templates of a suite: translate them into Jinja2, and fill them in.

Expressions with the same result in both languages are carried. For the others, `Untranslatable` names the missing part and its line. Templates are
read, never run by Nunjucks, and ``env`` is never resolved.

Two differences remain. In a condition, an empty list or object is true in JavaScript and false here. In a prompt file, a variable
that a case does not have is an empty text, so that ``default`` and ``is defined`` count an empty text as missing there
(`Template.notes`).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.imports.nunjucks_expressions import ExpressionParser
from pytest_llmops.imports.nunjucks_tokens import Part, Untranslatable, split_parts
from pytest_llmops.imports.nunjucks_values import Expression, Names, check_name, quote_text, write_output
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.prompt_file import JINJA_NAMES

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = [
    "Template",
    "Untranslatable",
    "find_uses",
    "has_template",
    "keep_partial",
    "render",
    "translate",
    "write_json",
    "write_text",
]

TEXT_FILTERS = ("capitalize", "lower", "replace", "trim", "upper")  # for texts only
MARKS = ("{{", "{%", "{#", "#}")
# The begin of a tag, and the character of its end
_TAGS = {"{%": "%", "{{": "}", "{#": "#"}
_RAW = re.compile(r"\{%\s*raw\s*%\}")
_END_RAW = re.compile(r"\{%\s*endraw\s*%\}")
MAX_FILLED_CHARS = 20_000_000  # of a template that only inserts values
MAX_BLOCKS = 30  # within each other
_MIDDLES = {"elif": "if", "elseif": "if", "else": "if or for"}
_ENDS = {"endif": "if", "endfor": "for", "endset": "set"}


@dataclass(frozen=True, slots=True)
class Insertion:
    """An expression between the texts of a template, as a template of its own."""

    text: str


Piece: TypeAlias = str | tuple[str | int, ...] | Insertion


@dataclass(frozen=True, slots=True)
class Template:
    """A template in Jinja2.

    Attributes:
        text: The template.
        variables: Its variables, in the order of their first use.
        notes: The differences of a prompt file with it from the suite.
        pieces: Its texts, and the paths of variables and the expressions that are inserted between them; None if it has blocks.
    """

    text: str
    variables: tuple[str, ...]
    notes: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] | None = None


def has_template(text: str) -> bool:
    """Return whether a text may contain something of a template.

    >>> has_template("Hi {{ name }}"), has_template("{name}")
    (True, False)
    """
    return any(mark in text for mark in MARKS)


def keep_partial(text: str) -> str:
    """Return a prompt or a value of a variable as promptfoo reads it: all of it is text if a tag does not end in its line.

    >>> keep_partial("a {{ b"), keep_partial("a {{ b }}")
    ('{% raw %}a {{ b{% endraw %}', 'a {{ b }}')
    """
    if not any(_is_partial(line) for line in text.split("\n") if "{" in line):
        return text
    if _RAW.search(text) and _END_RAW.search(text):
        return text
    return f"{{% raw %}}{text}{{% endraw %}}"


def _is_partial(line: str) -> bool:
    """Return whether a tag begins in a line and does not end in it."""
    for mark, end in _TAGS.items():
        _, found, rest = line.rpartition(mark)
        if found and end not in rest:
            return True
    return False


def translate(text: str) -> Template:
    """Return a template of Nunjucks as one of Jinja2.

    Raises:
        Untranslatable: It is not valid, or has something that Jinja2 has not; with its line.

    >>> print(translate("{% if plan === 'pro' %}{{name|upper}}{% endif %}").text)
    {% if plan == "pro" %}{{ name | upper }}{% endif %}
    """
    return _translate(text, is_exact=False)


@lru_cache(maxsize=1024)
def _translate(text: str, *, is_exact: bool) -> Template:
    if not has_template(text):
        return Template(text, (), pieces=(text,))
    translator = _Translator(Names(is_exact=is_exact))
    return translator.translate(text)


class _Translator:
    """Writes the parts of a template in Jinja2, one after the other."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.written: list[str] = []
        self.pieces: list[Piece] = []
        self.is_plain = True
        self.bare: list[tuple[int, str, Part]] = []
        self.open_blocks: list[tuple[str, int]] = []

    def translate(self, text: str) -> Template:
        """Return the whole template."""
        for part in split_parts(text):
            if part.kind == "data":
                self.written.append(part.text)
                self.pieces.append(part.text)
            elif part.kind == "comment":
                self.written.append(part.text)
                if "-" in (part.text[2:3], part.text[-3:-2]):
                    self.is_plain = False
            elif part.kind == "raw":
                self._write_raw(part)
            elif part.kind == "output":
                self._write_output(part)
            else:
                self.is_plain = False
                self._write_block(part)
        if self.open_blocks:
            name, line = self.open_blocks[-1]
            raise Untranslatable(f"{{% {name} %}} without its {{% end{name} %}}", line)
        for index, name, part in self.bare:
            if name in self.names.keyed:
                value = f'{name} if {name} is string else "[object Object]"'
                self.written[index] = f"{{{{{part.before} {value} {part.after}}}}}"
        pieces = None
        if self.is_plain:
            pieces = tuple(self.pieces)
        return Template(
            "".join(self.written),
            tuple(self.names.variables),
            tuple(self.names.notes),
            pieces,
        )

    def _write_raw(self, part: Part) -> None:
        self.pieces.append(part.text)
        if _END_RAW.search(part.text):
            self.written.append(f"{{{{ {quote_text(part.text)} }}}}")
            return
        if any(sign in part.text for sign in "{}#%"):
            self.written.append(f"{{% raw %}}{part.text}{{% endraw %}}")
            return
        self.written.append(part.text)

    def _write_output(self, part: Part) -> None:
        parser = ExpressionParser(part.tokens, part.line, self.names)
        value = parser.parse()
        parser.check_end()
        if part.before or part.after:
            self.is_plain = False
        if value.path:
            self.pieces.append(value.path)
            if len(value.path) == 1:
                self.bare.append((len(self.written), value.text, part))
        elif value.kind == "constant" or isinstance(value.constant, bool):
            self.pieces.append(write_text(value.constant))
        else:
            self.pieces.append(Insertion(f"{{{{ {write_output(value, part.line)} }}}}"))
        self.written.append(f"{{{{{part.before} {write_output(value, part.line)} {part.after}}}}}")

    def _write_block(self, part: Part) -> None:
        parser = ExpressionParser(part.tokens, part.line, self.names)
        name = parser.take_name()
        if len(self.open_blocks) > MAX_BLOCKS:
            raise Untranslatable(f"blocks nested deeper than {MAX_BLOCKS} levels", part.line)
        if name in _ENDS:
            self._close(name, part.line)
            text = name
        elif name in _MIDDLES:
            text = self._write_middle(name, parser)
        elif name == "if":
            text = f"if {parser.parse().text}"
            self.open_blocks.append(("if", part.line))
            self.names.local.append(set())
        elif name == "for":
            text = self._write_for(parser, part.line)
        elif name == "set":
            text = self._write_set(parser, part.line)
        else:
            raise Untranslatable(f"{{% {shorten_text(name, 40)} %}}", part.line)
        parser.check_end()
        self.written.append(f"{{%{part.before} {text} {part.after}%}}")

    def _close(self, name: str, line: int) -> None:
        """Leave the block that ends."""
        if not self.open_blocks or self.open_blocks[-1][0] != _ENDS[name]:
            raise Untranslatable(f"{{% {name} %}} without its {{% {_ENDS[name]} %}}", line)
        kind = self.open_blocks.pop()[0]
        names = self.names.local.pop()
        if kind == "if":  # a variable that is set in it is known behind it
            self.names.local[-1] |= names

    def _write_middle(self, name: str, parser: ExpressionParser) -> str:
        """Return ``elif`` or ``else``."""
        opened = ""
        if self.open_blocks:
            opened = self.open_blocks[-1][0]
        if opened not in _MIDDLES[name].split(" or "):
            raise Untranslatable(f"{{% {name} %}} without its {{% {_MIDDLES[name]} %}}", parser.line)
        if name == "else":
            return "else"
        return f"elif {parser.parse().text}"

    def _write_for(self, parser: ExpressionParser, line: int) -> str:
        """Return the begin of a loop; two names are key and value of an object."""
        targets = [parser.take_name()]
        while parser.skip(","):
            targets.append(parser.take_name())
        for target in targets:
            check_name(target, line)
        if not parser.skip("in"):
            parser.fail_at_token("expected in")
        values = parser.parse()
        self.open_blocks.append(("for", line))
        self.names.local.append({*targets, "loop"})
        pair = 2
        if len(targets) > pair:
            raise Untranslatable("a loop over lists of three and more", line)
        if len(targets) == pair and not values.text.endswith("dictsort"):
            return f"for {', '.join(targets)} in {values.operand}.items()"
        return f"for {', '.join(targets)} in {values.text}"

    def _write_set(self, parser: ExpressionParser, line: int) -> str:
        """Return an assignment to one name, or the begin of one whose value is a block."""
        name = parser.take_name()
        check_name(name, line)
        if any(kind == "for" for kind, _ in self.open_blocks):
            raise Untranslatable("set within a loop, which Jinja2 forgets behind it", line)
        if not parser.skip("="):
            parser.check_end()
            self.open_blocks.append(("set", line))
            self.names.local[-1].add(name)
            self.names.local.append(set())
            return f"set {name}"
        value = parser.parse()
        self.names.local[-1].add(name)
        return f"set {name} = {_keep_truth(value)}"


def _keep_truth(value: Expression) -> str:
    """Return a value that is given a name, which may be inserted later."""
    if value.kind in ("truth", "mixed"):
        return f'"true" if {value.text} else ""'
    return value.text


def find_uses(text: str) -> dict[tuple[str, ...], bool]:
    """Return the inputs of a template of Jinja2: variables, or keys of them; and whether it is only inserted as a text.

    >>> uses = find_uses("{{ a }}{% if c %}{{ c }}{% endif %}{{ d.e }}{% for k, v in f.items() %}{% endfor %}")
    >>> uses == {("a",): True, ("c",): False, ("d", "e"): True, ("f",): False}
    True
    """
    from jinja2 import meta, nodes

    from pytest_llmops.prompts.template_sandbox import make_sandbox

    tree = make_sandbox().parse(text)
    variables = meta.find_undeclared_variables(tree) - JINJA_NAMES
    uses = Counter[tuple[str, ...]]()
    inserted = Counter[tuple[str, ...]]()
    pending: list[nodes.Node] = [tree]
    while pending:
        node = pending.pop()
        path = _find_path(node)
        if path:
            uses[path] += 1
            continue
        children = list(node.iter_child_nodes())
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            children = [node.node.node, *node.args]  # the name of a method is not a key
        pending += children
        if isinstance(node, nodes.Output):
            inserted.update(_find_path(_unwrap_text(child)) for child in children)
    return {path: inserted[path] == count for path, count in uses.items() if path[0] in variables}


def _unwrap_text(node: nodes.Node) -> nodes.Node:
    """Return the operand of a filter for texts; any other node as it is."""
    from jinja2 import nodes

    if isinstance(node, nodes.Filter) and node.name in TEXT_FILTERS and node.node is not None:
        return node.node
    return node


def _find_path(node: nodes.Node) -> tuple[str, ...]:
    """Return the variable and the keys that a node reads; () if it is anything else."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name) and node.ctx == "load":
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        key: object = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        key = node.arg.value
    else:
        return ()
    path = _find_path(node.node)
    if not path or not isinstance(key, str):
        return ()
    return (*path, key)


def render(text: str, variables: Mapping[str, Json]) -> str:
    """Return a template of Nunjucks filled in as promptfoo does; a missing variable is an empty text.

    Raises:
        Untranslatable: It is not valid, has something that Jinja2 has not, or goes over the limits of templates.

    >>> render("{{ who }} has {{ items | join(', ') }}{{ more }}", {"who": "Ann", "items": [1, 2]})
    'Ann has 1, 2'
    """
    template = _translate(text, is_exact=True)
    if template.pieces is None:
        return _render_jinja(template.text, variables)
    filled = []
    chars = 0
    for piece in template.pieces:
        if isinstance(piece, str):
            written = piece
        elif isinstance(piece, Insertion):
            written = _render_jinja(piece.text, variables)
        else:
            written = write_text(_find_value(variables, piece))
        chars += len(written)
        if chars > MAX_FILLED_CHARS:
            raise Untranslatable(f"filled in it has more than {MAX_FILLED_CHARS:,} characters")
        filled.append(written)
    return "".join(filled)


def _find_value(variables: Mapping[str, Json], path: Sequence[str | int]) -> Json:
    """Return the value at a path; None where there is nothing."""
    value: Any = variables
    for key in path:
        if isinstance(value, Mapping):
            value = value.get(str(key))
        elif isinstance(value, (list, str)) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    checked: Json = value
    return checked


def _render_jinja(text: str, variables: Mapping[str, Json]) -> str:
    """Return a translated template filled in by the sandbox of prompts."""
    from pytest_llmops.prompts.template_limits import limit_template
    from pytest_llmops.prompts.template_sandbox import compile_template

    try:
        template = compile_template(text, _make_environment())
        with limit_template():
            return template.render(variables)
    except BadFile as error:
        raise Untranslatable(error.what) from None
    except Exception as error:  # noqa: BLE001 -- an expression of the template can raise anything
        why = f"{type(error).__name__}: {shorten_text(str(error))}"
        raise Untranslatable(f"cannot be filled in: {why}") from None


@lru_cache(maxsize=1)
def _make_environment() -> ImmutableSandboxedEnvironment:
    """Return the sandbox of prompts, in which values are written as JavaScript does and missing ones are empty."""
    from jinja2 import ChainableUndefined
    from jinja2.runtime import Undefined

    from pytest_llmops.prompts.template_sandbox import make_sandbox

    def write_value(value: Any) -> str:
        if isinstance(value, Undefined):
            return ""
        return write_text(value)

    environment = make_sandbox().overlay(undefined=ChainableUndefined, finalize=write_value)
    environment.filters = {**environment.filters, "tojson": _write_compact_json, "string": write_text}
    sandbox: ImmutableSandboxedEnvironment = environment
    return sandbox


def _write_compact_json(value: Any, indent: int | None = None) -> str:
    """The filter ``tojson`` as ``dump`` writes it: JSON without spaces, unless an indent is given."""
    separators = (",", ":")
    if indent:
        separators = (",", ": ")
    return json.dumps(
        _shorten_numbers(value), ensure_ascii=False, indent=indent or None, separators=separators
    )


def _shorten_numbers(value: Any) -> Any:
    """Return a value with 1.0 as 1, the only form of it that JavaScript knows."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, Mapping):
        return {key: _shorten_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shorten_numbers(item) for item in value]
    return value


def write_json(value: Json) -> str:
    """Return a value as JavaScript's ``JSON.stringify`` writes it.

    >>> write_json({"a": [1.0, None]})
    '{"a":[1,null]}'
    """
    return _write_compact_json(value)


def write_text(value: Any) -> str:
    """Return the text that a value has in a template of Nunjucks.

    >>> [write_text(value) for value in (None, True, 1.0, ["a", ["b", 2]], {"a": 1})]
    ['', 'true', '1', 'a,b,2', '[object Object]']
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(_shorten_numbers(value))
    if isinstance(value, Mapping):
        return "[object Object]"
    return ",".join(write_text(item) for item in value)
