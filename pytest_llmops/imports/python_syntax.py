"""Read trivial Python into the tree that trivial JavaScript is read into. It is parsed, and never run."""

import ast
import textwrap
import warnings
from collections.abc import Mapping

from pytest_llmops.imports.code_tree import (
    MAX_CODE_CHARS,
    Binary,
    Call,
    Choice,
    Expression,
    Items,
    Literal,
    Member,
    Name,
    Not,
    UnknownCode,
    join_conditions,
)

MAX_LINKS = 250  # parts of the tree
MAX_DECLARATIONS = 3  # as each may name the one before several times
_METHODS = {"lower": "toLowerCase", "strip": "trim", "startswith": "startsWith", "endswith": "endsWith"}
_OPERATORS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "===",
    ast.NotEq: "!==",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def read_python(code: str) -> Expression:
    """Return the expression that a Python assertion of promptfoo returns, in the words of JavaScript.

    promptfoo runs code of several lines as the body of a function, which has to say ``return``.

    >>> read_python("len(output) < 9")
    Binary(operator='<', left=Member(target=Name(name='output'), key='length'), right=Literal(value=9.0))

    Raises:
        UnknownCode: It is not one of the trivial forms.
    """
    if len(code) > MAX_CODE_CHARS:
        raise UnknownCode(f"code of more than {MAX_CODE_CHARS:,} characters")
    body = f"return {code.strip()}"
    if "\n" in code:
        body = code.strip("\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(f"def main():\n{textwrap.indent(textwrap.dedent(body), '    ')}")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UnknownCode("code that Python does not accept") from None
    function = module.body[0]
    if (
        len(module.body) != 1
        or not isinstance(function, ast.FunctionDef)
        or len(list(ast.walk(module))) > MAX_LINKS
    ):
        raise UnknownCode("code of another form")
    constants: dict[str, Expression] = {}
    *declarations, last = function.body
    if len(declarations) > MAX_DECLARATIONS:
        raise UnknownCode("many names")
    for declaration in declarations:
        name, value = _read_declaration(declaration, constants)
        constants[name] = value
    if not isinstance(last, ast.Return) or last.value is None:
        raise UnknownCode("code of several lines without return, which gives no verdict")
    return _read(last.value, constants)


def _read_declaration(statement: ast.stmt, constants: Mapping[str, Expression]) -> tuple[str, Expression]:
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        raise UnknownCode("a statement of another form")
    target = statement.targets[0]
    if not isinstance(target, ast.Name):
        raise UnknownCode("a statement of another form")
    return target.id, _read(statement.value, constants)


def _read(node: ast.expr, constants: Mapping[str, Expression]) -> Expression:
    if isinstance(node, ast.Constant):
        return _read_constant(node.value)
    if isinstance(node, ast.Name):
        return constants.get(node.id, Name(node.id))
    if isinstance(node, ast.BoolOp):
        operator = "&&" if isinstance(node.op, ast.And) else "||"
        return join_conditions([_read(value, constants) for value in node.values], operator)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return Not(_read(node.operand, constants))
    if isinstance(node, ast.IfExp):
        parts = [_read(part, constants) for part in (node.test, node.body, node.orelse)]
        return Choice(*parts)
    if isinstance(node, ast.List | ast.Tuple):
        return Items(tuple(_read(item, constants) for item in node.elts))
    if isinstance(node, ast.Compare):
        return _read_comparison(node, constants)
    if isinstance(node, ast.Call):
        return _read_call(node, constants)
    raise UnknownCode("an expression of another form")


def _read_constant(value: object) -> Expression:
    if isinstance(value, bool | str) or value is None:
        return Literal(value)
    if isinstance(value, int | float):
        return Literal(float(value))
    raise UnknownCode("a constant of another form")


def _read_comparison(node: ast.Compare, constants: Mapping[str, Expression]) -> Expression:
    """Read a comparison; ``1 < len(output) < 9`` is two."""
    values = [_read(value, constants) for value in (node.left, *node.comparators)]
    parts: list[Expression] = []
    for operator, left, right in zip(node.ops, values, values[1:], strict=False):
        if isinstance(operator, ast.In):
            parts.append(Call(Member(right, "includes"), (left,)))
        elif isinstance(operator, ast.NotIn):
            parts.append(Not(Call(Member(right, "includes"), (left,))))
        elif type(operator) in _OPERATORS:
            parts.append(Binary(_OPERATORS[type(operator)], left, right))
        else:
            raise UnknownCode("a comparison of another form")
    return join_conditions(parts, "&&")


def _read_call(node: ast.Call, constants: Mapping[str, Expression]) -> Expression:
    arguments = tuple(_read(argument, constants) for argument in node.args)
    if node.keywords:
        raise UnknownCode("a call of another form")
    if isinstance(node.func, ast.Name) and len(arguments) == 1:
        if node.func.id == "len":
            return Member(arguments[0], "length")
        names = {"str": "String", "bool": "Boolean"}
        if node.func.id in names:
            return Call(Name(names[node.func.id]), arguments)
    if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
        return Call(Member(_read(node.func.value, constants), _METHODS[node.func.attr]), arguments)
    raise UnknownCode("a call of another form")
