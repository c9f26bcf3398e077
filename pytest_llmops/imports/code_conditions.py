"""Translate conditions of trivial code about an answer into checks; conditions about its JSON become a schema."""

from collections.abc import Iterator, Mapping

from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.code_tree import (
    OUTPUT,
    Binary,
    Call,
    Choice,
    Expression,
    Function,
    Items,
    Literal,
    Member,
    Name,
    Not,
    Pattern,
    TypeOf,
    UnknownCode,
    join_conditions,
    list_names,
    map_parts,
    match_method,
    replace_name,
)
from pytest_llmops.imports.json_conditions import FENCED, OBJECT, PARSED, ROOTS, write_schema
from pytest_llmops.imports.schema_merge import merge_schemas
from pytest_llmops.imports.text_conditions import find_text, write_text_checks
from pytest_llmops.measurement import Json

_TEXT_MEMBERS = frozenset(
    {
        "length",
        "trim",
        "toLowerCase",
        "toUpperCase",
        "toString",
        "includes",
        "startsWith",
        "endsWith",
        "split",
        "replace",
        "match",
        "indexOf",
        "slice",
    }
)
MAX_UNROLLED = 60  # items of a list, each of which becomes a condition
# Regular expressions with which suites cut off a fence
_FENCES = frozenset(
    {r"^```json\s*|^```\s*|\s*```$", r"^```(?:json)?\s*|\s*```$", r"```json|```", r"```json\n?|```"}
)
_BOOLEAN_METHODS = frozenset(
    {"includes", "startsWith", "endsWith", "test", "some", "every", "isArray", "isInteger"}
)
_TYPE_DIFFERS = "a value of another type than the code expects fails here"
_FENCE_DIFFERS = "the JSON may be inside prose here"
_OBJECT_DIFFERS = "promptfoo got an object here: the answer has to be that object, or its JSON"
_IS_TEXT = Binary("===", TypeOf(Name(OUTPUT)), Literal("string"))  # which the answer always is here


def write_checks(
    expression: Expression, variables: Mapping[str, Json], *, positive: bool = True
) -> list[Check]:
    """Return the checks that decide as an expression does.

    Args:
        expression: The expression that the code returns.
        variables: The variables of the test, for ``context.vars``.
        positive: Whether the expression has to be true.

    Raises:
        UnknownCode: The expression is not one of the trivial forms, or results in neither true nor false.
    """
    prepared = _prepare(expression, variables)
    if not _is_boolean(prepared):
        raise UnknownCode("a result that is neither true nor false")
    schemas: dict[str, Mapping[str, Json]] = {}
    checks: list[Check] = []
    for condition, is_positive in _list_conditions(prepared, positive=positive):
        root = _find_root(condition)
        schema = _try_schema(condition, root, positive=is_positive)
        if schema is None:
            checks += write_text_checks(condition, positive=is_positive)
        else:
            schemas[root] = merge_schemas(schemas.get(root, {}), schema)
    checks += [_make_schema_check(root, schema) for root, schema in schemas.items()]
    if not checks:
        raise UnknownCode("a condition that always holds")
    return checks


def _try_schema(condition: Expression, root: str, *, positive: bool) -> Mapping[str, Json] | None:
    """Return the schema for a condition about JSON; None: it is about a text, or one in the JSON that needs more.

    Raises:
        UnknownCode: It is not one of the trivial forms.
    """
    if not root:
        return None
    try:
        return write_schema(condition, root, positive=positive)
    except UnknownCode:
        if root != PARSED:
            raise
        return None


def _prepare(expression: Expression, variables: Mapping[str, Json]) -> Expression:
    """Return an expression with names for the parsed answer, and values for the variables of the test."""
    root = _match_parsed(expression)
    if root:
        return Name(root)
    if isinstance(expression, Choice) and expression.test == _IS_TEXT:
        return _prepare(expression.yes, variables)
    if isinstance(expression, Member) and expression.target == Member(Name("context"), "vars"):
        value = variables.get(str(expression.key))
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UnknownCode(f"context.vars.{expression.key}")
        return Literal(value if isinstance(value, str) else float(value))
    if (
        isinstance(expression, Member)
        and expression.target == Name(OUTPUT)
        and expression.key not in _TEXT_MEMBERS
    ):
        if isinstance(expression.key, int):
            raise UnknownCode("a character of the answer, or an item of a list")
        return Member(Name(OBJECT), expression.key)
    unrolled = _unroll(expression)
    if unrolled is not None:
        return _prepare(unrolled, variables)
    prepared = map_parts(expression, lambda part: _prepare(part, variables))
    match = match_method(prepared, "toLowerCase")
    if match is not None and isinstance(match[0], Literal) and isinstance(match[0].value, str):
        return Literal(match[0].value.lower())
    return prepared


def _unroll(expression: Expression) -> Expression | None:
    """Return ``[a, b].some(x => ...)`` as ``... || ...``, and ``every`` as ``... && ...``; None: it is something else."""
    for method, operator in (("some", "||"), ("every", "&&")):
        match = match_method(expression, method)
        if match is None or not isinstance(match[0], Items) or len(match[1]) != 1:
            continue
        items, function = match[0].items, match[1][0]
        if not isinstance(function, Function) or not 0 < len(items) <= MAX_UNROLLED:
            return None
        if not all(isinstance(item, Literal | Pattern) for item in items):
            return None
        parts = [replace_name(function.body, function.parameter, item) for item in items]
        return join_conditions(parts, operator)
    return None


def _match_parsed(expression: Expression) -> str:
    """Return the name for the parsed answer, if an expression is that."""
    match = match_method(expression, "parse")
    if match is None or match[0] != Name("JSON") or len(match[1]) != 1:
        return ""
    text = match[1][0]
    answer = find_text(text)
    if answer is not None and answer.code.startswith("answer"):
        return PARSED
    trimmed = match_method(text, "trim")
    if trimmed is not None:
        text = trimmed[0]
    cut = match_method(text, "replace")
    if cut is None or cut[0] not in (Name(OUTPUT), Call(Member(Name(OUTPUT), "trim"), ())):
        return ""
    pattern = cut[1][0] if cut[1] else None
    if not isinstance(pattern, Pattern) or cut[1][1:] != (Literal(""),):
        return ""
    if pattern.pattern in _FENCES and "g" in pattern.flags:
        return FENCED
    return ""


def _find_root(expression: Expression) -> str:
    """Return the name for the parsed answer if an expression is about it; "": it is about the text.

    Raises:
        UnknownCode: It is about both.
    """
    names = list_names(expression)
    roots = names & ROOTS
    if not roots:
        return ""
    if len(roots) > 1 or OUTPUT in names:
        raise UnknownCode("a condition about the text and its JSON")
    return roots.pop()


def _is_boolean(expression: Expression) -> bool:
    """Return whether an expression is true or false, or (1 or 0) counts as one of them."""
    if isinstance(expression, Not):
        return True
    if isinstance(expression, Choice):
        return _read_choice(expression) is not None
    if isinstance(expression, Binary) and expression.operator == "&&":
        return _is_boolean(expression.right)  # if the left one is false, the verdict is false whatever it is
    if isinstance(expression, Binary) and expression.operator == "||":
        return _is_boolean(expression.left) and _is_boolean(expression.right)
    if isinstance(expression, Binary):
        return expression.operator != "??"
    function = expression.function if isinstance(expression, Call) else None
    if function == Name("Boolean"):
        return True
    return isinstance(function, Member) and function.key in _BOOLEAN_METHODS


def _read_choice(choice: Choice) -> bool | None:
    """Return whether a choice is what its test is (True) or its opposite (False); None: neither."""
    values = [_read_truth(part) for part in (choice.yes, choice.no)]
    if values == [True, False]:
        return True
    if values == [False, True]:
        return False
    return None


def _read_truth(expression: Expression) -> bool | None:
    if expression in (Literal(value=True), Literal(1.0)):
        return True
    if expression in (Literal(value=False), Literal(0.0)):
        return False
    return None


def _list_conditions(expression: Expression, *, positive: bool) -> Iterator[tuple[Expression, bool]]:
    """Yield the conditions that all have to hold, each with whether it or its opposite has to."""
    if isinstance(expression, Not):
        yield from _list_conditions(expression.operand, positive=not positive)
        return
    if isinstance(expression, Choice):
        is_same = _read_choice(expression)
        if is_same is None:
            raise UnknownCode("a choice of other values than 1 and 0")
        yield from _list_conditions(expression.test, positive=positive == is_same)
        return
    if (
        isinstance(expression, Call)
        and expression.function == Name("Boolean")
        and len(expression.arguments) == 1
    ):
        yield from _list_conditions(expression.arguments[0], positive=positive)
        return
    joint = "&&" if positive else "||"
    if isinstance(expression, Binary) and expression.operator == joint:
        yield from _list_conditions(expression.left, positive=positive)
        yield from _list_conditions(expression.right, positive=positive)
        return
    yield expression, positive


def _make_schema_check(root: str, schema: Mapping[str, Json]) -> Check:
    call = "assert_schema(answer, {value}, whole=True{options})"
    differs = _TYPE_DIFFERS
    if root == FENCED:
        call = "assert_schema(answer, {value}{options})"
        differs = f"{_TYPE_DIFFERS}, and {_FENCE_DIFFERS}"
    if root == OBJECT:
        differs = f"{_TYPE_DIFFERS}, and {_OBJECT_DIFFERS}"
    return Check(
        call=call,
        value=schema,
        form="schema",
        key="schema",
        noun="json",
        imports=("assert_schema",),
        rank=20,
        differs=differs,
    )
