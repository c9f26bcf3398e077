"""Signatures as Markdown shows them: one argument a line, as they are in the source."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any, Literal, get_args, get_origin

MAX_WIDTH = 100
_STARS = {"variadic positional": "*", "variadic keyword": "**"}
_QUOTED = re.compile(r"'([^'\"]*)'")


def format_signature(documented: Any) -> str:
    """Return name, arguments and result of a function, or what makes an object of a class."""
    if inspect.isclass(documented):
        return _format_class(documented)
    function = inspect.unwrap(documented)
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    resolve = _LiteralNames(function.__globals__)
    parts = _format_arguments(node.args, resolve)
    result = f" -> {_unparse(node.returns, resolve)}" if node.returns is not None else ""
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return _join(f"{prefix}{node.name}", parts, result)


def _format_class(documented: type) -> str:
    try:
        signature = inspect.signature(documented)
    except (TypeError, ValueError):
        return documented.__name__
    parts: list[str] = []
    has_star = False
    for parameter in signature.parameters.values():
        if parameter.name.startswith("_"):
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not has_star:
            parts.append("*")
            has_star = True
        text = _STARS.get(str(parameter.kind.description), "")
        has_star = has_star or text == "*"
        text += parameter.name
        if parameter.default is not inspect.Parameter.empty:
            text += f"={_format_default(parameter.default)}"
        parts.append(text)
    return _join(documented.__name__, parts, "")


def _format_default(value: object) -> str:
    text = repr(value)
    return "..." if "<" in text or len(text) > 40 else text


class _LiteralNames(ast.NodeTransformer):
    """Replaces a name of a `Literal` by its values."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self._names.get(node.id)
        if get_origin(value) is not Literal:
            return node
        values = ", ".join(map(repr, get_args(value)))
        return ast.parse(f"Literal[{values}]", mode="eval").body


def _format_arguments(arguments: ast.arguments, resolve: _LiteralNames) -> list[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    parts = [
        _format_argument(one, default, resolve) for one, default in zip(positional, defaults, strict=True)
    ]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg is not None:
        parts.append("*" + _format_argument(arguments.vararg, None, resolve))
    elif arguments.kwonlyargs:
        parts.append("*")
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(_format_argument(one, default, resolve))
    if arguments.kwarg is not None:
        parts.append("**" + _format_argument(arguments.kwarg, None, resolve))
    return [part for part in parts if part not in ("self", "cls")]


def _format_argument(argument: ast.arg, default: ast.expr | None, resolve: _LiteralNames) -> str:
    text = argument.arg
    if argument.annotation is not None:
        text += f": {_unparse(argument.annotation, resolve)}"
    if default is not None:
        equals = " = " if argument.annotation is not None else "="
        text += f"{equals}{ast.unparse(default)}"
    return text


def _unparse(node: ast.expr | None, resolve: _LiteralNames) -> str:
    assert node is not None
    return ast.unparse(resolve.visit(node)).strip("'\"").replace("Json", "object")


def _join(name: str, parts: list[str], result: str) -> str:
    parts = [_QUOTED.sub(r'"\1"', part) for part in parts]
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) <= MAX_WIDTH:
        return line
    arguments = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{arguments}){result}"
