"""Compare an argument of a tool call with the expectation of a test: a value, a type, a regular expression, a function or a schema."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Number
from typing import Any, get_origin

from pytest_llmops._util.masked_cuts import mask_start
from pytest_llmops._util.timed_search import matches_in_time
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.measurement import shorten_text
from pytest_llmops.recorder import mask_secrets, shorten_masked
from pytest_llmops.schemas import Schema, load

MAX_DIFFERENCES = 20  # differences of a call that are described
MAX_VALUE_CHARS = 80
MAX_COMPARED_CHARS = 10_000  # of texts that may only look the same
MAX_SHOWN_ITEMS = 8  # entries of a list or mapping that are written out
# The types that values of JSON have; `object` is any value
_JSON_TYPES = (str, int, float, bool, list, dict, type(None), object)
_JSON_VALUES: tuple[object, ...] = ("", 0, 0.0, True, None, [], {})  # one of each kind
MAX_DEPTH = 100  # lists and mappings in each other that a test may expect


@dataclass(frozen=True, slots=True)
class ArgumentDifference:
    """An argument that is not as expected.

    Attributes:
        path: Where: ``amount``, ``items[0].price``; "" for the whole object of arguments.
        expected: The expectation of the test there; "" if the argument should not be there.
        got: The value in the call; "" if it has no such argument.
        is_certain: False if the comparison was not finished: a function of the test raised, or a search took too long.
    """

    path: str
    expected: str
    got: str
    is_certain: bool = True

    def __str__(self) -> str:
        """Return a line such as ``amount: expected 20, got 200``."""
        prefix = ""
        if self.path:
            prefix = f"{self.path}: "
        if not self.expected:
            return f"{prefix}not expected, got {self.got}"
        return f"{prefix}expected {self.expected}, got {self.got or 'nothing'}"


class SchemaMatcher:
    """Equal to all values that fit a schema; `matches_schema` makes it."""

    __slots__ = ("_given", "schema")

    def __init__(self, given: object, schema: Schema) -> None:
        self._given = given
        self.schema = schema

    def __repr__(self) -> str:
        """Return the call that makes it, the schema shortened."""
        return f"matches_schema({format_value(self._given)})"


def matches_schema(schema: object) -> SchemaMatcher:
    """Return a matcher for all values that fit a schema, for an argument of `call` or for all of them.

    Args:
        schema: A JSON Schema as a dictionary, the path of its file, a pydantic model's class, a dataclass or a type such as
            ``list[int]``.

    Raises:
        SchemaError: The schema is invalid. The message names the error.

    >>> matches_schema({"type": "integer", "minimum": 1})
    matches_schema({'type': 'integer', 'minimum': 1})
    """
    try:
        return SchemaMatcher(schema, load(schema))
    except UsageError as error:
        error.args = (f"matches_schema: {error}",)
        raise


def check_expected_value(value: object, where: str, depth: int = 0) -> None:
    """Raise a `UsageError` if a value can never be equal to an argument, such as a date or the class of a pydantic model.

    Args:
        value: The expectation of a test.
        where: Its place, for the error: ``call('refund'): amount``.
        depth: How many lists and mappings are around it.
    """
    if depth > MAX_DEPTH:
        raise UsageError(
            f"{shorten_text(where, MAX_VALUE_CHARS)}: expected at most {MAX_DEPTH} levels of lists and mappings, got more"
        )
    if get_origin(value) is not None:
        raise UsageError(
            f"{where}: expected a value or a plain type, got {value}; write matches_schema({value})"
        )
    if isinstance(value, type) and not _has_own_equality(value) and value not in _JSON_TYPES:
        name = value.__qualname__
        raise UsageError(
            f"{where}: expected one of the types str, int, float, bool, list, dict, got {name}; "
            f"for a model or a dataclass write matches_schema({name})"
        )
    if isinstance(value, re.Pattern) and isinstance(value.pattern, bytes):
        raise UsageError(
            f"{where}: expected a regular expression for text, got one for bytes: {value.pattern!r}"
        )
    if isinstance(value, (float, Decimal)) and value != value:  # noqa: PLR0124 -- NaN
        raise UsageError(f"{where}: expected a value, got NaN, which is equal to nothing")
    if isinstance(value, Decimal) and value != float(value):
        raise UsageError(
            f"{where}: expected a number that JSON has, got {value!r}, which no float is equal to; write {float(value)!r}"
        )
    if isinstance(value, Mapping):
        for key, child in value.items():
            if not isinstance(key, str):
                raise UsageError(
                    f"{where}: expected keys that are texts, as in JSON, got {format_value(key)}"
                )
            check_expected_value(child, f"{where}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            check_expected_value(child, f"{where}[{index}]", depth + 1)
    elif not _is_comparable(value):
        raise UsageError(
            f"{where}: expected a JSON value, a type, a regular expression, a function or matches_schema(...), "
            f"got {format_value(value)}, which is not equal to any value of JSON; write its text, number, list or dictionary"
        )


def _is_comparable(value: object) -> bool:
    """Return whether a value can be equal to a value of JSON: false for a date, an enum, a set, and an object without ``__eq__``."""
    if isinstance(value, (SchemaMatcher, re.Pattern, type)) or _is_function(value):
        return True
    if _is_array(value):
        return False
    try:
        return any(type(value).__eq__(value, other) is not NotImplemented for other in _JSON_VALUES)
    except Exception:  # noqa: BLE001 -- the user's own comparison, which may only know some values
        return True


def compare_value(expected: object, got: object, path: str = "") -> list[ArgumentDifference]:
    """Return how a value of JSON differs from the expectation; empty if it does not.

    >>> [str(difference) for difference in compare_value({"a": 1, "b": str}, {"a": True, "b": "x"}, "order")]
    ['order.a: expected 1, got True']
    """
    if isinstance(expected, SchemaMatcher):
        return _compare_schema(expected, got, path)
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return [_difference(path, expected, got)]
        return compare_mapping(expected, got, path)
    if isinstance(expected, (list, tuple)):
        return _compare_list(expected, got, path)
    if isinstance(expected, re.Pattern):
        return _compare_pattern(expected, got, path)
    if isinstance(expected, type) and not _has_own_equality(expected):
        if _is_of_type(got, expected):
            return []
        return [_difference(path, expected, got)]
    if _is_function(expected):
        return _run_check(expected, got, path, is_check=True)  # type: ignore[arg-type]
    if _has_other_booleans(expected, got):
        return [_difference(path, expected, got)]
    return _run_check(lambda value: expected == value, got, path, is_check=False, described=expected)


def compare_mapping(
    expected: Mapping[Any, object], got: Mapping[Any, object], path: str = "", *, others_allowed: bool = False
) -> list[ArgumentDifference]:
    """Return how an object of JSON differs, key by key.

    Args:
        expected: The expectation on each key.
        got: The object.
        path: Its place.
        others_allowed: Whether there may be keys that are not expected.
    """
    differences = []
    for key, value in expected.items():
        place = _join_path(path, key)
        if key not in got:
            differences.append(ArgumentDifference(place, format_value(value), ""))
        else:
            differences += compare_value(value, got[key], place)
    if not others_allowed:
        for key, value in got.items():
            if len(differences) >= MAX_DIFFERENCES:
                break
            if key not in expected:
                differences.append(ArgumentDifference(_join_path(path, key), "", format_value(value)))
    return differences[:MAX_DIFFERENCES]


def _compare_list(expected: list[Any] | tuple[Any, ...], got: object, path: str) -> list[ArgumentDifference]:
    """Return how two lists differ, place by place."""
    if not isinstance(got, (list, tuple)):
        return [_difference(path, expected, got)]
    differences: list[ArgumentDifference] = []
    for index, value in enumerate(expected[: len(got)]):
        differences += compare_value(value, got[index], f"{path}[{index}]")
        if len(differences) >= MAX_DIFFERENCES:
            return differences
    # Of a list with 100,000 entries more only the first are described.
    for index in range(len(got), min(len(expected), len(got) + MAX_DIFFERENCES)):
        differences.append(ArgumentDifference(f"{path}[{index}]", format_value(expected[index]), ""))
    for index in range(len(expected), min(len(got), len(expected) + MAX_DIFFERENCES)):
        differences.append(ArgumentDifference(f"{path}[{index}]", "", format_value(got[index])))
    return differences[:MAX_DIFFERENCES]


def _compare_schema(expected: SchemaMatcher, got: object, path: str) -> list[ArgumentDifference]:
    """Return how a value differs from a schema; a validator of a model that raises is a difference too."""
    try:
        of_schema = expected.schema.differences(got)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 -- the user's own validator
        return [_describe_raised(path, expected, got, error)]
    differences = []
    for difference in of_schema[:MAX_DIFFERENCES]:
        place = path + difference.path.removeprefix("$")
        text = difference.expected.removeprefix("expected ")
        differences.append(
            ArgumentDifference(place.removeprefix("."), text, difference.got or format_value(got))
        )
    return differences


def _compare_pattern(expected: re.Pattern[str], got: object, path: str) -> list[ArgumentDifference]:
    """Search a text with a time limit, which `re` lacks."""
    if not isinstance(got, str):
        return [_difference(path, expected, got)]
    try:
        if matches_in_time(expected, got):
            return []
    except TimeoutError as error:
        problem = f"{format_value(got)}: {error}"
        return [ArgumentDifference(path, format_value(expected), problem, is_certain=False)]
    return [_difference(path, expected, got)]


def _run_check(
    check: Callable[[object], object], got: object, path: str, *, is_check: bool, described: object = None
) -> list[ArgumentDifference]:
    """Return a difference if a check is false; one that raises is one too, with the error in its text."""
    if is_check:
        described = check
    try:
        result = check(got)
        if result:
            return []
    except Exception as error:  # noqa: BLE001 -- the user's own check
        return [_describe_raised(path, described, got, error)]
    if is_check and result is None:
        problem = f"{format_value(got)}: the function returned None; expected it to return true or false"
        return [ArgumentDifference(path, format_value(described), problem, is_certain=False)]
    return [_difference(path, described, got)]


def _describe_raised(path: str, expected: object, got: object, error: Exception) -> ArgumentDifference:
    """Return that a comparison was not finished, as code of the test raised."""
    problem = f"{format_value(got)}: the comparison raised {shorten_masked(describe_exception(error), 120)}"
    return ArgumentDifference(path, format_value(expected), problem, is_certain=False)


def _is_function(value: object) -> bool:
    """Return whether a value is called with the argument, and not compared with it."""
    return callable(value) and not isinstance(value, type) and not _has_own_equality(value)


def _is_array(value: object) -> bool:
    """Return whether a value is an array of numpy or another package, whose comparison is not true or false."""
    return hasattr(value, "dtype") and getattr(value, "shape", ()) != ()


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # the booleans of numpy


def _is_number(value: object) -> bool:
    """Return whether a value is a number or a boolean, also of numpy, or `pytest.approx` of a number."""
    if type(value).__name__ == "ApproxScalar":
        value = getattr(value, "expected", None)
    return isinstance(value, Number) or _is_boolean(value)


def _has_other_booleans(expected: object, got: object) -> bool:
    """Return whether a number is expected where a value has a boolean, or the other way round, also in `pytest.approx` of a list."""
    if type(expected).__name__ not in ("ApproxSequenceLike", "ApproxMapping"):
        return _is_boolean(expected) != isinstance(got, bool) and _is_number(expected)
    inner = getattr(expected, "expected", None)
    if isinstance(inner, Mapping) and isinstance(got, Mapping):
        pairs = [(value, got.get(key)) for key, value in inner.items()]
    elif isinstance(inner, Sequence) and isinstance(got, Sequence):
        pairs = list(zip(inner, got, strict=False))
    else:
        return False
    return any(_is_boolean(value) != isinstance(other, bool) for value, other in pairs)


def _has_own_equality(value: object) -> bool:
    """Return whether the class of a value defines its own equality, as the class of `pytest.approx` does."""
    equality = type(value).__eq__
    return equality is not object.__eq__ and equality is not type.__eq__


def _is_of_type(got: object, expected: type) -> bool:
    """Return whether a value of JSON has a type; a boolean is not an int, a whole number is a float."""
    if expected is object:
        return True
    if isinstance(got, bool):
        return expected is bool
    if expected is float:
        return isinstance(got, (int, float))
    return isinstance(got, expected)


def _difference(path: str, expected: object, got: object) -> ArgumentDifference:
    """Return that a value is not the expected one."""
    text = format_value(got)
    if isinstance(got, str) and isinstance(expected, (int, float)) and repr(expected) == got:
        text += ", which is a text"
    elif isinstance(expected, str) and isinstance(got, (int, float)) and repr(got) == expected:
        text += ", which is not a text"
    elif isinstance(got, str) and isinstance(expected, str) and _is_same_text(expected, got):
        text += ", which only looks the same: its Unicode form differs (NFC, NFD)"
    return ArgumentDifference(path, format_value(expected), text)


def _is_same_text(expected: str, got: str) -> bool:
    """Return whether two short texts look the same, as ``é`` is one code point or two."""
    if max(len(expected), len(got)) > MAX_COMPARED_CHARS:
        return False
    return unicodedata.normalize("NFC", expected) == unicodedata.normalize("NFC", got)


def _join_path(path: str, key: object) -> str:
    """Return the place of a key within another place."""
    name = shorten_text(str(key), 60)
    if path:
        return f"{path}.{name}"
    return name


def format_value(value: object) -> str:
    """Return a value as a test writes it, shortened.

    >>> format_value(str), format_value("x" * 200)[:10], format_value({"a": [1, int]})
    ('str', "'xxxxxxxxx", "{'a': [1, int]}")
    """
    return shorten_masked(_format(value, 0), MAX_VALUE_CHARS)


def _format(value: object, depth: int) -> str:
    """Write a value out; of long texts and lists only the beginning, so that 5 MB take no time."""
    if isinstance(value, str):
        if len(value) <= MAX_VALUE_CHARS:
            return repr(value)
        kept = MAX_VALUE_CHARS // 2
        masked = mask_start(value, kept, mask_secrets)
        return f"{masked[:kept]!r}... (+{max(len(masked) - kept, 0):,} chars)"
    if isinstance(value, type) and not _has_own_equality(value):
        return value.__name__
    if depth > 3:  # noqa: PLR2004 -- levels that fit a line
        return "..."
    if isinstance(value, Mapping):
        entries = [f"{key!r}: {_format(child, depth + 1)}" for key, child in _first_items(value.items())]
        return f"{{{_join_items(entries, len(value))}}}"
    if isinstance(value, (list, tuple)):
        entries = [_format(child, depth + 1) for child in _first_items(value)]
        return f"[{_join_items(entries, len(value))}]"
    code = getattr(value, "__code__", None)
    if code is not None:
        name = getattr(value, "__name__", "function")
        if name == "<lambda>":
            return f"lambda of line {code.co_firstlineno}"
        return str(name)
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 -- the user's own object
        return f"<{type(value).__qualname__}>"


def _first_items(values: Any) -> list[Any]:
    """Return the values that are written out."""
    first: list[Any] = []
    for value in values:
        if len(first) == MAX_SHOWN_ITEMS:
            break
        first.append(value)
    return first


def _join_items(entries: list[str], count: int) -> str:
    """Return the texts of values, and how many more there are."""
    text = ", ".join(entries)
    if count > len(entries):
        text += f", ... (+{count - len(entries):,})"
    return text
