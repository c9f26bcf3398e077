"""Find a text in Python code: a constant of a module or class, or the docstring of a function, method or class."""

import ast
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import find_closest_name, format_name_list
from pytest_llmops.ledger.model import Span
from pytest_llmops.ledger.regions import LINE, Region, escaped_region
from pytest_llmops.measurement import shorten_text

Part: TypeAlias = tuple[int, int, re.Pattern[str], Callable[[str], str]]
_Scope: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# Functions and methods around a text that do not change its words
_WRAPPERS = (
    "dedent",
    "cleandoc",
    "strip",
    "lstrip",
    "rstrip",
    "format",
    "replace",
    "removeprefix",
    "removesuffix",
)
_OPENING = re.compile(r"([A-Za-z]{0,2})(\"\"\"|'''|\"|')")
_BETWEEN = re.compile(r"(?:[\s()+]|\\[\r\n]|#[^\r\n]*)+")
_ESCAPE = re.compile(
    r"\\(?:N\{[A-Za-z0-9 -]{1,100}\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|\r\n|[\s\S])"
)
_HEX_ESCAPE = re.compile(r"\\[xuU][0-9a-fA-F]+")
_NAMED_ESCAPE = re.compile(r"\\N\{[A-Za-z0-9 -]{1,100}\}")
_BRACES = re.compile(r"\{\{|\}\}")
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_NOTHING = re.compile(r"(?!)")
_QUOTED = re.compile(r"\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(?:\\.|[^\"\\\r\n])*\"|'(?:\\.|[^'\\\r\n])*'")


def find_text(source: str, name: str) -> Region:
    """Return the text that a name of a module has as its value.

    Args:
        source: The code, without a byte order mark.
        name: A constant (``POLICY``, ``Shop.POLICY``), or a function, method or class with a docstring.

    Raises:
        BadFile: The code cannot be parsed, the name does not exist, or it is not a text; gives the line.

    >>> find_text('POLICY = "Be brief. " "Be kind."', "POLICY").text
    'Be brief. Be kind.'
    """
    tree = parse_code(source)
    names = dict(_iter_texts(tree))
    node = names.get(name)
    if node is None:
        hint = ""
        near = find_closest_name(name, names)
        if near:
            hint = f"; did you mean {near!r}?"
        known = format_name_list(sorted(names)) if names else "none"
        raise BadFile(
            f"no name {shorten_text(name, 80)!r} with a text or a docstring: known are {known}{hint}"
        )
    if isinstance(node, _Scope):
        first = node.body[0]
        if ast.get_docstring(node, clean=False) is None or not isinstance(first, ast.Expr):
            raise BadFile(f"{name} has no docstring", node.lineno)
        return replace(_read_literals(source, [first.value]), is_docstring=True)
    literals = _find_literals(node)
    if not literals:
        raise BadFile(
            f"{name}: expected a text in quotes, got {shorten_text(ast.unparse(node), 60)}", node.lineno
        )
    return _read_literals(source, literals)


def parse_code(source: str) -> ast.Module:
    """Return the tree of Python code.

    Raises:
        BadFile: It is not valid; gives the line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise BadFile(f"not valid Python: {shorten_text(what)}", getattr(error, "lineno", None)) from None


def _iter_texts(scope: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.expr | _Scope]]:
    """Yield the constants, functions and classes of a module or class with their names, also those within ``if`` and ``try``."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from _iter_texts(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, node.value
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name) and node.value:
                yield prefix + node.target.id, node.value
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            yield from _iter_texts(node, prefix)


def _find_literals(node: ast.expr) -> list[ast.expr]:
    """Return the literals of which a text is made, in order; empty if it is not a text."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return [node]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left = _find_literals(node.left)
        right = _find_literals(node.right)
        if left and right:
            return left + right
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _WRAPPERS:
            inner = _find_literals(node.func.value)
            if inner:
                return inner
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("dedent", "cleandoc") and len(node.args) == 1:
            return _find_literals(node.args[0])
    return []


def _read_literals(source: str, nodes: Sequence[ast.expr]) -> Region:
    """Return the text of literals.

    Raises:
        BadFile: Their form is not known; gives the line.
    """
    line_starts = [match.start() for match in LINE.finditer(source)]
    parts: list[Part] = []
    expressions: list[Span] = []
    for node in nodes:
        start = _find_place(source, line_starts, node.lineno, node.col_offset)
        end = _find_place(source, line_starts, node.end_lineno or node.lineno, node.end_col_offset or 0)
        try:
            for prefix, first, last in _iter_literals(source, start, end):
                parts += _split_literal(source, prefix, first, last, expressions)
        except ValueError:
            raise BadFile("a text in a form that cannot be split", node.lineno) from None
    region = escaped_region(source, parts)
    return replace(region, expressions=_find_in_text(region, expressions))


def _find_place(source: str, line_starts: Sequence[int], line: int, column: int) -> int:
    """Return the place in the code of a line and a column, which `ast` counts in bytes."""
    start = line_starts[line - 1]
    match = LINE.match(source, start)
    if match is None:
        return start
    return start + len(match[0].encode()[:column].decode())


def _iter_literals(source: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Yield prefix, start and end of the text between the quotes of each literal in a range of the code.

    Raises:
        ValueError: Something else is in the range.
    """
    place = start
    while place < end:
        between = _BETWEEN.match(source, place, end)
        if between:
            place = between.end()
            continue
        opening = _OPENING.match(source, place, end)
        if opening is None:
            raise ValueError
        prefix = opening[1].lower()
        close = _find_close(source, opening.end(), end, opening[2], is_format="f" in prefix)
        yield prefix, opening.end(), close
        place = close + len(opening[2])


def _find_close(source: str, start: int, end: int, quote: str, *, is_format: bool) -> int:
    """Return where the quotes of a literal close.

    Raises:
        ValueError: They do not.
    """
    place = start
    while place < end:
        if source.startswith(quote, place):
            return place
        is_escape = source[place] == "\\" or (is_format and source.startswith("{{", place))
        if is_escape:
            place += 2
        elif is_format and source[place] == "{":
            place = _find_expression_end(source, place, end)
        else:
            place += 1
    raise ValueError


def _find_expression_end(source: str, start: int, end: int) -> int:
    """Return the end of an expression of an f-string that starts at a brace.

    Raises:
        ValueError: It has no end.
    """
    depth = 0
    place = start
    while place < end:
        quoted = _QUOTED.match(source, place, end)
        if quoted:
            place = quoted.end()
            continue
        if source[place] in "{[(":
            depth += 1
        elif source[place] in "}])":
            depth -= 1
        place += 1
        if depth == 0:
            return place
    raise ValueError


def _split_literal(source: str, prefix: str, start: int, end: int, expressions: list[Span]) -> Iterator[Part]:
    """Yield the parts of a literal with their escapes; the expressions of an f-string are added to a list.

    Raises:
        ValueError: It holds bytes, or an expression has no end.
    """
    if "b" in prefix:
        raise ValueError
    escape = _ESCAPE
    if "r" in prefix:
        escape = _NOTHING
    if "f" not in prefix:
        yield start, end, escape, _decode_escape
        return
    escape = re.compile(f"{escape.pattern}|{_BRACES.pattern}")
    place = start
    while place < end:
        opening = _find_expression(source, place, end, is_raw="r" in prefix)
        if opening < 0:
            break
        close = _find_expression_end(source, opening, end)
        yield place, opening, escape, _decode_escape
        yield opening, close, _NOTHING, _decode_escape
        expressions.append((opening, close))
        place = close
    yield place, end, escape, _decode_escape


def _find_expression(source: str, start: int, end: int, *, is_raw: bool) -> int:
    """Return where the next expression of an f-string starts; -1: there is none."""
    place = start
    while place < end:
        if source.startswith(("{{", "}}"), place):
            place += 2
        elif source[place] == "{":
            return place
        elif source[place] == "\\" and not is_raw:
            named = _NAMED_ESCAPE.match(source, place, end)
            place = named.end() if named else place + 2
        else:
            place += 1
    return -1


def _decode_escape(escape: str) -> str:
    """Return the meaning of an escape; an unknown one stays as it is."""
    if escape in ("{{", "}}"):
        return escape[0]
    if escape[1:] in ("\n", "\r", "\r\n"):
        return ""
    if escape[1:] in _ESCAPES:
        return _ESCAPES[escape[1:]]
    if escape[1] in "01234567":
        return chr(int(escape[1:], 8))
    if _HEX_ESCAPE.fullmatch(escape):
        return chr(int(escape[2:], 16))  # noqa: FURB166 -- not the form of a number in code
    if escape.startswith("\\N{"):
        return unicodedata.lookup(escape[3:-1])
    return escape


def _find_in_text(region: Region, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return where ranges of the code are in the text."""
    places = {start: index for index, start in enumerate(region.starts)}
    return tuple((places[start], places[start] + end - start) for start, end in spans)
