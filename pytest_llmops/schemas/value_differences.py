"""Where two JSON values differ, in the words of the difference of a value from its schema."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.differences import cut_answers
from pytest_llmops._util.json_values import parse_json
from pytest_llmops.schemas.differences import describe_json_value, format_json_path
from pytest_llmops.schemas.json_decoding import JsonPath

MISSING = object()
MAX_TEXT = 80
NESTED_TEXT = 200_000  # longest text that is read as JSON


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """A place in which two JSON values differ.

    Attributes:
        place: Where.
        before: The value there; `MISSING` if there is none.
        after: The same of the other one.
    """

    place: JsonPath
    before: Any
    after: Any

    @property
    def path(self) -> str:
        """The place as a JSON path: ``$.items[0].qty``."""
        return format_json_path(self.place)

    @property
    def words(self) -> tuple[str, str]:
        """Both values in words; of two long texts the part in which they differ."""
        if isinstance(self.before, str) and isinstance(self.after, str):
            before, after = cut_answers(self.before, self.after, MAX_TEXT)
            if before != after:
                return f'"{before}"', f'"{after}"'
        return describe_value(self.before), describe_value(self.after)


def describe_value(value: object) -> str:
    """Return a value in words, see `describe_json_value`; ``missing`` if there is none."""
    if value is MISSING:
        return "missing"
    return describe_json_value(value)


def iter_value_differences(before: Any, after: Any, place: JsonPath = ()) -> Iterator[ValueDifference]:
    """Yield the places in which two JSON values differ, from the outside in. Texts that are JSON are compared as JSON.

    >>> [(difference.path, *difference.words) for difference in iter_value_differences({"a": [1, 2]}, {"a": [1]})]
    [('$.a[1]', '2 (integer)', 'missing')]
    """
    if _is_same(before, after):
        return
    before = _read_nested(before, after)
    after = _read_nested(after, before)
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from iter_value_differences(
                before.get(key, MISSING), after.get(key, MISSING), (*place, key)
            )
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from iter_value_differences(_item(before, index), _item(after, index), (*place, index))
    else:
        yield ValueDifference(place, before, after)


def _is_same(before: Any, after: Any) -> bool:
    """Return whether two values are the same in JSON, where 1 is not true."""
    return bool(type(before) is type(after) and not isinstance(before, (dict, list)) and before == after)


def _item(values: list[Any], index: int) -> Any:
    if index < len(values):
        return values[index]
    return MISSING


def _read_nested(value: Any, other: Any) -> Any:
    """Return the object or list that a text holds as JSON, if it is compared with another such text."""
    if not isinstance(value, str) or not isinstance(other, (str, dict, list)):
        return value
    if value.lstrip()[:1] not in ("{", "[") or len(value) > NESTED_TEXT:
        return value
    if isinstance(other, str) and other.lstrip()[:1] not in ("{", "["):
        return value
    content = parse_json(value)
    if isinstance(content, (dict, list)):
        return content
    return value
