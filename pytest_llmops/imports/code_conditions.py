"""Put conditions of trivial code about an answer into checks; what is about its JSON becomes a schema."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.imports import javascript_regex
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
    Undefined,
    UnknownCode,
    join_conditions,
    list_names,
    map_parts,
    match_method,
    replace_name,
)
from pytest_llmops.imports.json_conditions import FLIPPED, OPPOSITE, write_schema
from pytest_llmops.imports.schema_merge import merge_schemas
from pytest_llmops.measurement import Json

_PARSED = "(JSON)"  # the name of the parsed answer; no code can use it
_FENCED = "(fenced JSON)"  # the same, a fence around it cut off
_OBJECT = "(object)"  # an answer that is no text
_ROOTS = frozenset({_PARSED, _FENCED, _OBJECT})
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
_WORD_SEPARATORS = frozenset({r"\s+"})
_COUNT_DIFFERS = "JavaScript counts an emoji as two characters"
_TYPE_DIFFERS = "a value of another type than the code expects fails here"
_FENCE_DIFFERS = "the JSON may stand in prose here"
_OBJECT_DIFFERS = "promptfoo got an object here: the answer has to be that object, or its JSON"
_IS_TEXT = Binary("===", TypeOf(Name(OUTPUT)), Literal("string"))  # which the answer always is here


@dataclass(frozen=True, slots=True)
class _Text:
    """The answer, or what is made of it: as code, and whether it is in lower case."""

    code: str = "answer"
    lower: bool = False


def write_checks(
    expression: Expression, variables: Mapping[str, Json], *, positive: bool = True
) -> list[Check]:
    """Return the checks that decide as an expression does.

    Args:
        expression: What the code returns.
        variables: The variables of the test, for ``context.vars``.
        positive: Whether the expression has to be true.

    Raises:
        UnknownCode: The expression is not one of the trivial forms, or gives no verdict.
    """
    prepared = _prepare(expression, variables)
    if not _is_boolean(prepared):
        raise UnknownCode("a result that is neither true nor false")
    schemas: dict[str, Mapping[str, Json]] = {}
    checks: list[Check] = []
    for condition, is_positive in _list_conditions(prepared, positive=positive):
        root = _find_root(condition)
        if root:
            schema = write_schema(condition, root, positive=is_positive)
            schemas[root] = merge_schemas(schemas.get(root, {}), schema)
        else:
            checks += _write_text_checks(condition, positive=is_positive)
    checks += [_make_schema_check(root, schema) for root, schema in schemas.items()]
    if not checks:
        raise UnknownCode("a condition that always holds")
    return checks


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
        return Member(Name(_OBJECT), expression.key)
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
    if _find_text(text) is not None:
        return _PARSED
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
        return _FENCED
    return ""


def _find_root(expression: Expression) -> str:
    """Return the name for the parsed answer if an expression is about it; "": it is about the text.

    Raises:
        UnknownCode: It is about both.
    """
    names = list_names(expression)
    roots = names & _ROOTS
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
    if root == _FENCED:
        call = "assert_schema(answer, {value}{options})"
        differs = f"{_TYPE_DIFFERS}, and {_FENCE_DIFFERS}"
    if root == _OBJECT:
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


def _find_text(expression: Expression) -> _Text | None:
    """Return the text that an expression makes of the answer; None: it is something else."""
    if expression == Name(OUTPUT):
        return _Text()
    if (
        isinstance(expression, Call)
        and expression.function == Name("String")
        and len(expression.arguments) == 1
    ):
        return _find_text(expression.arguments[0])
    methods = {"trim": ".strip()", "toLowerCase": ".lower()", "toString": ""}
    for method, code in methods.items():
        match = match_method(expression, method)
        if match is None or match[1]:
            continue
        text = _find_text(match[0])
        if text is None:
            return None
        if method == "toLowerCase":
            return replace(text, lower=True)
        return replace(text, code=text.code + code)
    return None


def _write_text_checks(condition: Expression, *, positive: bool) -> list[Check]:
    """Return the checks of a condition about the text of the answer."""
    if isinstance(condition, Binary) and condition.operator in {"&&", "||"}:
        return [_write_alternatives(condition, positive=positive)]
    if isinstance(condition, Binary):
        return _write_comparison(condition, positive=positive)
    if isinstance(condition, Call):
        return [_write_call(condition, positive=positive)]
    return _write_count(Binary(">", Member(condition, "length"), Literal(0.0)), positive=positive)


def _write_comparison(condition: Binary, *, positive: bool) -> list[Check]:
    operator, left, right = condition.operator, condition.left, condition.right
    if isinstance(left, Literal | Undefined):
        operator, left, right = FLIPPED.get(operator, operator), right, left
    if operator not in OPPOSITE:
        raise UnknownCode(f"{operator!r}")
    if not positive:
        operator = OPPOSITE[operator]
    text = _find_text(left)
    if text is not None and operator in {"!==", "!="} and right in (Undefined(), Literal(None)):
        return []  # there is always a text
    if left == TypeOf(Name(OUTPUT)) and right == Literal("string") and operator in {"===", "=="}:
        return []
    if text is None:
        return _write_count(Binary(operator, left, right), positive=True)
    if not isinstance(right, Literal) or not isinstance(right.value, str):
        raise UnknownCode("a comparison of another form")
    if operator in {"===", "=="}:
        return [_write_equality(text, right.value)]
    if operator in {"!==", "!="}:
        pattern = rf"\A{javascript_regex.escape_text(right.value)}\Z"
        return [_write_pattern(text, pattern, positive=False)]
    raise UnknownCode(f"{operator!r}")


def _write_equality(text: _Text, expected: str) -> Check:
    option = ""
    if text.lower:
        _require_lower(expected)
        option = ", ignore_case=True"
    return Check(
        call=f"assert_exact({text.code}, {{value}}{option}{{options}})",
        value=expected,
        form="literal",
        key="equals",
        noun="equals",
        imports=("assert_exact",),
        rank=13,
    )


def _require_lower(text: str) -> None:
    if text != text.lower():
        raise UnknownCode("a text in upper case that an answer in lower case never has")


def _write_count(condition: Binary, *, positive: bool) -> list[Check]:
    """Return the checks of a number of characters or words."""
    operator, left, right = condition.operator, condition.left, condition.right
    if not positive:
        operator = OPPOSITE[operator]
    if not isinstance(left, Member) or left.key != "length":
        raise UnknownCode("a comparison of another form")
    if not isinstance(right, Literal) or not isinstance(right.value, float) or not right.value.is_integer():
        raise UnknownCode("a comparison of another form")
    count = int(right.value)
    limits = {
        ">": (f"at_least={count + 1}",),
        ">=": (f"at_least={count}",),
        "<": (f"at_most={count - 1}",),
        "<=": (f"at_most={count}",),
        "===": (f"at_least={count}", f"at_most={count}"),
        "==": (f"at_least={count}", f"at_most={count}"),
    }.get(operator)
    if limits is None and count == 0:
        limits = ("at_least=1",)
    if limits is None:
        raise UnknownCode(f"{operator!r}")
    text = _find_text(left.target)
    if text is not None:
        return [_make_count(text.code, "length", limit, _COUNT_DIFFERS) for limit in limits]
    words = _find_words(left.target)
    if words is None:
        raise UnknownCode("a comparison of another form")
    return [_make_count(f"{words.code}.split()", "words", limit) for limit in limits]


def _make_count(counted: str, name: str, limit: str, differs: str = "") -> Check:
    return Check(
        call=f'assert_score(len, {counted}, {limit}, name="{name}", unit="count"{{options}})',
        noun=name,
        imports=("assert_score",),
        rank=30,
        differs=differs,
    )


def _find_words(expression: Expression) -> _Text | None:
    """Return the text whose words an expression lists; None: it is something else."""
    filtered = match_method(expression, "filter")
    if filtered is not None and filtered[1] == (Name("Boolean"),):
        expression = filtered[0]
    split = match_method(expression, "split")
    if split is None or len(split[1]) != 1 or not isinstance(split[1][0], Pattern):
        return None
    if split[1][0].pattern not in _WORD_SEPARATORS:
        return None
    text = _find_text(split[0])
    if text is None or (filtered is None and not text.code.endswith(".strip()")):
        return None
    return _Text("answer")


@dataclass(frozen=True, slots=True)
class _Search:
    """What is searched in a text: a regular expression of JavaScript, and the text if it is no more than that."""

    text: _Text
    pattern: str
    flags: str
    plain: str = ""


def _read_search(condition: Expression) -> _Search:
    """Return what a call searches: ``includes``, ``startsWith``, ``endsWith`` or ``test``, or what is compared."""
    if isinstance(condition, Binary) and condition.operator in {"===", "=="}:
        text = _find_text(condition.left)
        if (
            text is not None
            and isinstance(condition.right, Literal)
            and isinstance(condition.right.value, str)
        ):
            return _make_search(text, "^{}$", condition.right.value)
    function = condition.function if isinstance(condition, Call) else None
    if not isinstance(condition, Call) or not isinstance(function, Member) or len(condition.arguments) != 1:
        raise UnknownCode("a condition of another form")
    argument = condition.arguments[0]
    if isinstance(function.target, Pattern) and function.key == "test":
        text = _find_text(argument)
        if text is None:
            raise UnknownCode("a call of another form")
        return _Search(text, function.target.pattern, function.target.flags.replace("g", ""))
    text = _find_text(function.target)
    forms = {"includes": "{}", "startsWith": "^{}", "endsWith": "{}$"}
    form = forms.get(str(function.key))
    if (
        text is None
        or form is None
        or not isinstance(argument, Literal)
        or not isinstance(argument.value, str)
    ):
        raise UnknownCode("a call of another form")
    return _make_search(text, form, argument.value)


def _make_search(text: _Text, form: str, wanted: str) -> _Search:
    flags = ""
    if text.lower:
        _require_lower(wanted)
        flags = "i"
    if not wanted:
        raise UnknownCode("an empty text, which is in every answer")
    pattern = form.replace("{}", javascript_regex.escape_text(wanted))
    plain = wanted if form == "{}" else ""
    return _Search(replace(text, lower=False), pattern, flags, plain)


def _write_call(condition: Call, *, positive: bool) -> Check:
    """Return the check of a call that searches something in the answer."""
    search = _read_search(condition)
    if search.plain:
        return _write_inclusion(
            search.text, [search.plain], ignore_case="i" in search.flags, positive=positive
        )
    pattern = javascript_regex.translate(search.pattern, search.flags)
    return _write_pattern(search.text, pattern, positive=positive)


def _write_inclusion(text: _Text, wanted: Sequence[str], *, ignore_case: bool, positive: bool) -> Check:
    name = "assert_contains" if positive else "assert_not_contains"
    options = ""
    key = "contains"
    if len(wanted) > 1:
        options = ", any_of=True" if positive else ""
        key = "contains_any"
    if ignore_case:
        options += ", ignore_case=True"
        key = f"i{key}"
    value: Json = list(wanted)
    if len(wanted) == 1:
        value = wanted[0]
    if not positive:
        key = f"not_{key}"
    return Check(
        call=f"{name}({text.code}, {{value}}{options}{{options}})",
        value=value,
        form="literal",
        key=key,
        noun=key,
        imports=(name,),
        joins=len(wanted) == 1,
        rank=10,
    )


def _write_pattern(text: _Text, pattern: str, *, positive: bool) -> Check:
    code = text.code
    if text.lower:
        code += ".lower()"
    name = "assert_matches" if positive else "assert_not_matches"
    noun = "pattern" if positive else "not_pattern"
    return Check(
        call=f"{name}({code}, {{value}}{{options}})",
        value=pattern,
        form="pattern",
        key=noun,
        noun=noun,
        imports=(name,),
        rank=14,
    )


def _write_alternatives(condition: Binary, *, positive: bool) -> Check:
    """Return the check of conditions of which one is enough: one of several texts, or one regular expression."""
    if not positive:
        raise UnknownCode("alternatives of what is missing")
    searches = [_read_search(part) for part in _list_alternatives(condition)]
    first = searches[0]
    if any(search.text != first.text or search.flags != first.flags for search in searches):
        raise UnknownCode("alternatives of different forms")
    if all(search.plain for search in searches):
        wanted = [search.plain for search in searches]
        return _write_inclusion(first.text, wanted, ignore_case="i" in first.flags, positive=True)
    joined = "|".join(search.pattern for search in searches)
    if re.search(r"\\[1-9k]", joined):
        raise UnknownCode("alternatives that refer to their groups")
    return _write_pattern(first.text, javascript_regex.translate(joined, first.flags), positive=True)


def _list_alternatives(condition: Expression) -> Iterator[Expression]:
    if isinstance(condition, Binary) and condition.operator == "||":
        yield from _list_alternatives(condition.left)
        yield from _list_alternatives(condition.right)
        return
    yield condition
