"""Write conditions of trivial code about parsed JSON as a JSON Schema."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from pytest_llmops.imports import javascript_regex
from pytest_llmops.imports.code_tree import (
    Binary,
    Call,
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
    match_method,
)
from pytest_llmops.imports.json_needs import has_function, list_needs, write_need
from pytest_llmops.imports.schema_merge import merge_schemas
from pytest_llmops.measurement import Json

PARSED = "(JSON)"  # the name of the parsed answer; no code can use it
FENCED = "(fenced JSON)"  # the same, a fence around it cut off
OBJECT = "(object)"  # an answer that is not a text
ROOTS = frozenset({PARSED, FENCED, OBJECT})
Schema: TypeAlias = Mapping[str, Json]
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
OPPOSITE = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "===": "!==", "!==": "===", "==": "!=", "!=": "=="}
_EMPTY: Mapping[Expression, str] = {Items(()): "array", Literal(""): "string"}
_FALSY: Sequence[Json] = (None, False, 0, "")
_TYPES: Mapping[str, Json] = {
    "string": "string",
    "number": "number",
    "boolean": "boolean",
    "object": ["object", "array", "null"],
}
_NUMBER_LIMITS = {"<": "exclusiveMaximum", "<=": "maximum", ">": "exclusiveMinimum", ">=": "minimum"}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in parsed JSON.

    Attributes:
        keys: The names and indexes that lead there.
        lower: Whether its text is compared in lower case.
        trim: Whether white space around its text does not count.
        or_empty: Whether a missing value counts as an empty list ("array") or an empty text ("string"); "": neither.
    """

    keys: tuple[str | int, ...] = ()
    lower: bool = False
    trim: bool = False
    or_empty: str = ""


def find_place(expression: Expression, root: str) -> Place | None:
    """Return the place that an expression names below a root; None: it is something else.

    >>> find_place(Member(Member(Name("data"), "items"), 0), "data").keys
    ('items', 0)
    """
    if expression == Name(root):
        return Place()
    if isinstance(expression, Member):
        place = find_place(expression.target, root)
        if place is None or place != Place(place.keys):
            return None
        return Place((*place.keys, expression.key))
    if isinstance(expression, Binary) and expression.operator in {"??", "||"} and expression.right in _EMPTY:
        place = find_place(expression.left, root)
        if place is None:
            return None
        return Place(place.keys, or_empty=_EMPTY[expression.right])
    return _find_changed_text(expression, root)


def _find_changed_text(expression: Expression, root: str) -> Place | None:
    """Return the place of a text that is compared in lower case or without white space around it."""
    if (
        isinstance(expression, Call)
        and expression.function == Name("String")
        and len(expression.arguments) == 1
    ):
        return find_place(expression.arguments[0], root)
    for method in ("toLowerCase", "trim"):
        match = match_method(expression, method)
        if match is None or match[1]:
            continue
        place = find_place(match[0], root)
        if place is None:
            return None
        is_lower = place.lower or method == "toLowerCase"
        return replace(place, lower=is_lower, trim=place.trim or method == "trim")
    return None


def write_schema(condition: Expression, root: str, *, positive: bool = True) -> Schema:
    """Return the schema of JSON for which a condition holds, or with ``positive=False`` does not hold.

    What raises in JavaScript, such as an entry of null, does not fit in either case.

    >>> write_schema(Binary("===", Member(Name("data"), "a"), Literal(1.0)), "data")
    {'type': 'object', 'properties': {'a': {'const': 1}}, 'required': ['a']}

    Raises:
        UnknownCode: The condition is not one of the trivial forms.
    """
    if isinstance(condition, Not):
        return write_schema(condition.operand, root, positive=not positive)
    if (
        isinstance(condition, Binary)
        and condition.operator in {"&&", "||"}
        and find_place(condition, root) is None
    ):
        left = write_schema(condition.left, root, positive=positive)
        right = write_schema(condition.right, root, positive=positive)
        if (condition.operator == "&&") == positive:
            return merge_schemas(left, right)
        if has_function(condition.left):
            raise UnknownCode("alternatives to a list whose items may raise")
        needs = list_needs(condition.left, root) - list_needs(condition.right, root)
        for keys, kind in sorted(needs, key=repr):
            right = merge_schemas(_wrap(Place(keys), write_need(kind)), right)
        return {"anyOf": [*_list_choices(left), *_list_choices(right)]}
    if isinstance(condition, Binary) and condition.operator == "in":
        return _write_key(condition, root, positive=positive)
    if isinstance(condition, Binary):
        return _write_comparison(condition, root, positive=positive)
    if isinstance(condition, Call):
        return _write_call(condition, root, positive=positive)
    place = find_place(condition, root)
    if place is not None and place == Place(place.keys):
        return _write_truth(place, positive=positive)
    raise UnknownCode("a condition of another form")


def _list_choices(schema: Schema) -> Sequence[Json]:
    choices = schema.get("anyOf")
    if set(schema) == {"anyOf"} and isinstance(choices, Sequence):
        return choices
    return [schema]


def _write_truth(place: Place, *, positive: bool) -> Schema:
    """Return the schema of a value that counts as true, or does not."""
    if place.keys and place.keys[-1] == "length":
        operator = ">" if positive else "<="
        return _write_length(Place(place.keys[:-1]), operator, 0.0)
    if positive:
        return _wrap(place, {"not": {"enum": list(_FALSY)}})
    return _wrap(place, {"enum": list(_FALSY)}, required=False)


def _write_key(condition: Binary, root: str, *, positive: bool) -> Schema:
    """Return the schema of ``"key" in value``."""
    place = find_place(condition.right, root)
    if place is None or not isinstance(condition.left, Literal) or not isinstance(condition.left.value, str):
        raise UnknownCode("'in' of another form")
    if positive:
        return _wrap(place, {"type": "object", "required": [condition.left.value]})
    return _wrap(place, {"type": "object", "properties": {condition.left.value: False}})


def _write_comparison(condition: Binary, root: str, *, positive: bool) -> Schema:
    operator, left, right = condition.operator, condition.left, condition.right
    if isinstance(left, Literal | Undefined):
        operator, left, right = FLIPPED.get(operator, operator), right, left
    if not positive:
        operator = OPPOSITE.get(operator, operator)
    if operator not in OPPOSITE:
        raise UnknownCode(f"{operator!r}")
    if isinstance(left, TypeOf):
        return _write_type(left, operator, right, root)
    count = _find_counted(left, root)
    if count is not None and isinstance(right, Literal) and isinstance(right.value, float):
        return count(operator, right.value)
    place = find_place(left, root)
    if place is None:
        raise UnknownCode("a comparison of another form")
    if operator in _NUMBER_LIMITS:
        return _write_number(place, operator, right)
    return _write_equality(place, operator, right)


def _write_type(left: TypeOf, operator: str, right: Expression, root: str) -> Schema:
    place = find_place(left.operand, root)
    if place is None or place.or_empty or not isinstance(right, Literal) or not isinstance(right.value, str):
        raise UnknownCode("'typeof' of another form")
    is_equal = operator in {"===", "=="}
    if right.value == "undefined":  # typeof null is "object", whatever the operator
        return _write_absence(place, is_equal=is_equal, with_null=False)
    name = _TYPES.get(right.value)
    if name is None:
        raise UnknownCode("'typeof' of another form")
    if is_equal:
        return _wrap(place, {"type": name})
    return _wrap(place, {"not": {"type": name}}, required=False)


def _find_counted(expression: Expression, root: str) -> Callable[[str, float], Schema] | None:
    """Return what writes the schema of a length or a number of keys; None: it is something else."""
    if not isinstance(expression, Member) or expression.key != "length":
        return None
    keys = match_method(expression.target, "keys")
    if keys is not None and keys[0] == Name("Object") and len(keys[1]) == 1:
        keys_place = find_place(keys[1][0], root)
        return None if keys_place is None else partial(_write_key_count, keys_place)
    place = find_place(expression.target, root)
    if place is None or place.lower or place.trim:
        return None
    return partial(_write_length, place)


def _write_key_count(place: Place, operator: str, number: float) -> Schema:
    return _wrap(place, {"type": "object", **_limit("Properties", operator, number)})


def _write_length(place: Place, operator: str, number: float) -> Schema:
    """Return the schema of a length: how many items a list has, or a text characters."""
    items = _limit("Items", operator, number)
    characters = _limit("Length", operator, number)
    schema: Schema = {"type": ["array", "string"], **items, **characters}
    if place.or_empty == "array":
        schema = {"type": "array", **items}
    if place.or_empty and "minItems" not in items:
        return _wrap(place, schema, required=False)
    return _wrap(place, schema)


def _limit(what: str, operator: str, number: float) -> dict[str, Json]:
    """Return the keywords for a count: ``minItems`` and ``maxItems``, or their like."""
    if not number.is_integer() or number < 0:
        raise UnknownCode("a count that is not a whole number")
    count = int(number)
    if operator in {"===", "=="}:
        return {f"min{what}": count, f"max{what}": count}
    if operator == ">" or (operator in {"!==", "!="} and count == 0):
        return {f"min{what}": count + 1}
    if operator == ">=":
        return {f"min{what}": count}
    if operator == "<=":
        return {f"max{what}": count}
    if operator == "<" and count > 0:
        return {f"max{what}": count - 1}
    raise UnknownCode("a count of another form")


def _write_number(place: Place, operator: str, right: Expression) -> Schema:
    if not isinstance(right, Literal) or not isinstance(right.value, float):
        raise UnknownCode("a comparison of another form")
    return _wrap(place, {"type": "number", _NUMBER_LIMITS[operator]: _as_json(right.value)})


def _write_equality(place: Place, operator: str, right: Expression) -> Schema:
    is_equal = operator in {"===", "=="}
    is_loose = operator in {"==", "!="}
    if place.or_empty == "string" and right == Literal(""):
        return _write_truth(Place(place.keys), positive=not is_equal)
    if place.or_empty and (
        place.or_empty == "array" or not isinstance(right, Literal) or right.value is None
    ):
        raise UnknownCode("a comparison of another form")
    if isinstance(right, Undefined) or (is_loose and right == Literal(None)):
        return _write_absence(place, is_equal=is_equal, with_null=is_loose)
    if not isinstance(right, Literal):
        raise UnknownCode("a comparison of another form")
    if place.lower or place.trim:
        schema = _write_text(place, right, r"\A{}\Z")
        if is_equal:
            return _wrap(place, schema)
        return _wrap(place, {"type": "string", "not": schema})
    value = _as_json(right.value)
    if operator == "!=" and not _is_word(value):
        raise UnknownCode("a comparison that converts numbers")
    if is_equal:
        return _wrap(place, {"const": value})
    return _wrap(place, {"not": {"const": value}}, required=False)


def _is_word(value: Json) -> bool:
    """Return whether no number equals a value in JavaScript, whose ``==`` converts them."""
    if not isinstance(value, str) or not value.strip():
        return False
    word = value.strip()
    return word.isalpha() or re.fullmatch(r"[-+.\w]+", word) is None


def _write_absence(place: Place, *, is_equal: bool, with_null: bool) -> Schema:
    """Return the schema of a value that is missing (or null), or is not."""
    if is_equal and with_null:
        return _wrap(place, {"type": "null"}, required=False)
    if is_equal:
        return _wrap(place, None, required=False)
    if with_null:
        return _wrap(place, {"not": {"type": "null"}})
    return _wrap(place, {})


def _write_text(place: Place, right: Expression, form: str) -> Schema:
    """Return the schema of a text that is compared in lower case, or without white space around it."""
    if not isinstance(right, Literal) or not isinstance(right.value, str) or not right.value:
        raise UnknownCode("a comparison of another form")
    text = right.value
    if place.lower and (text != text.lower() or not text.isascii()):
        raise UnknownCode("a text that is compared in lower case, and is not ASCII in lower case")
    pattern = javascript_regex.escape_text(text)
    if place.trim:
        form = form.replace(r"\A", r"\A\s*").replace(r"\Z", r"\s*\Z")
    pattern = form.replace("{}", pattern)
    if place.lower:
        pattern = f"(?i){pattern}"
    return {"type": "string", "pattern": pattern}


def _write_call(condition: Call, root: str, *, positive: bool) -> Schema:
    """Return the schema of a call: ``includes``, ``test``, ``some`` and their like."""
    function = condition.function
    if not isinstance(function, Member) or len(condition.arguments) != 1:
        raise UnknownCode("a call of another form")
    argument = condition.arguments[0]
    target = function.target
    if target in {Name("Array"), Name("Number")}:
        return _write_type_call(function, argument, root, positive=positive)
    if isinstance(target, Items) and function.key == "includes":
        return _write_choice(target, argument, root, positive=positive)
    schema, place = _write_search(target, str(function.key), argument, root)
    if positive:
        return _wrap(place, schema, required=function.key != "every" or not place.or_empty)
    kinds = schema["type"]
    if isinstance(argument, Function):
        raise UnknownCode("the opposite of a call")
    if place.or_empty and isinstance(kinds, str):
        kinds = [kinds, "null"]
    return _wrap(place, {"type": kinds, "not": schema}, required=not place.or_empty)


def _write_search(target: Expression, method: str, argument: Expression, root: str) -> tuple[Schema, Place]:
    """Return the schema of a value in which a call finds something, and the place of the value."""
    if isinstance(target, Pattern) and method == "test":
        place = find_place(argument, root)
        if place is None or place.lower or place.trim:
            raise UnknownCode("a call of another form")
        pattern = javascript_regex.translate(target.pattern, target.flags)
        if place.or_empty and re.search(pattern, ""):
            raise UnknownCode("a call of another form")
        return {"type": "string", "pattern": pattern}, place
    place = find_place(target, root)
    if place is None:
        raise UnknownCode("a call of another form")
    if isinstance(argument, Function):
        return _write_items(method, argument), place
    forms = {"includes": "{}", "startsWith": r"\A{}", "endsWith": r"{}\Z"}
    form = forms.get(method)
    if form is None:
        raise UnknownCode("a call of another form")
    if method == "includes" and not place.lower and not place.trim:
        return _write_inclusion(place, argument), place
    return _write_text(place, argument, form), place


def _write_inclusion(place: Place, argument: Expression) -> Schema:
    """Return the schema of ``includes``: a part of a text, or an item of a list."""
    if not isinstance(argument, Literal) or argument.value == "":
        raise UnknownCode("a call of another form")
    value = _as_json(argument.value)
    if not isinstance(value, str) or place.or_empty == "array":
        return {"type": "array", "contains": {"const": value}}
    pattern = javascript_regex.escape_text(value)
    if place.or_empty:
        return {"type": "string", "pattern": pattern}
    return {"type": ["array", "string"], "contains": {"const": value}, "pattern": pattern}


def _write_type_call(function: Member, argument: Expression, root: str, *, positive: bool) -> Schema:
    names = {("Array", "isArray"): "array", ("Number", "isInteger"): "integer"}
    place = find_place(argument, root)
    target = function.target
    name = names.get((target.name, str(function.key))) if isinstance(target, Name) else None
    if place is None or place.or_empty or name is None:
        raise UnknownCode("a call of another form")
    if positive:
        return _wrap(place, {"type": name})
    return _wrap(place, {"not": {"type": name}}, required=False)


def _write_choice(items: Items, argument: Expression, root: str, *, positive: bool) -> Schema:
    """Return the schema of a value that is one of a list."""
    place = find_place(argument, root)
    values = [_as_json(item.value) for item in items.items if isinstance(item, Literal)]
    if place is None or place != Place(place.keys) or len(values) != len(items.items):
        raise UnknownCode("a call of another form")
    if positive:
        return _wrap(place, {"enum": values})
    return _wrap(place, {"not": {"enum": values}}, required=False)


def _write_items(method: str, function: Function) -> Schema:
    """Return the schema of a list some or all of whose items fit."""
    item = write_schema(function.body, function.parameter)
    if method == "some":
        return {"type": "array", "contains": item}
    if method == "every":
        return {"type": "array", "items": item}
    raise UnknownCode("a call of another form")


def _as_json(value: Json) -> Json:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _wrap(place: Place, schema: Schema | None, *, required: bool = True) -> Schema:
    """Return the schema of JSON whose value at a place fits a schema; None: that has no such value.

    Args:
        place: The place.
        schema: The schema of the value.
        required: Whether the value has to be there.
    """
    if not place.keys:
        if schema is None:
            raise UnknownCode("a comparison of another form")
        return schema
    *outer, last = place.keys
    inner: Json = False if schema is None else schema
    wrapped = _wrap_in_key(last, inner, required=required)
    for key in reversed(outer):
        wrapped = _wrap_in_key(key, wrapped, required=True)
    return wrapped


def _wrap_in_key(key: str | int, schema: Json, *, required: bool) -> dict[str, Json]:
    if isinstance(key, int):
        items: dict[str, Json] = {"type": "array", "prefixItems": [*[{}] * key, schema]}
        if required:
            items["minItems"] = key + 1
        return items
    wrapped: dict[str, Json] = {"type": "object"}
    if schema != {}:
        wrapped["properties"] = {key: schema}
    if required:
        wrapped["required"] = [key]
    return wrapped
