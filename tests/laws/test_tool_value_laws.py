"""Laws of recorded functions: a value that is recorded is made again as it was; a replaced function keeps its signature."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops._util.code_swap import CodeSwap
from pytest_llmops.cassettes.functions.values import (
    Unrecordable,
    decode,
    decode_error,
    encode,
    encode_error,
    encode_result,
    find_classes,
    read_return_hint,
)
from pytest_llmops.schemas.value_differences import iter_value_differences

if TYPE_CHECKING:
    from nowhere import Session  # type: ignore[import-not-found]

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = (1, 2)


class Pair(NamedTuple):
    left: int
    right: Colour


@dataclasses.dataclass
class Box:
    name: str
    pairs: list[Pair]
    inner: Box | None = None


CLASSES = find_classes(list[Box] | None)
ZONES = [UTC, ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Kolkata")]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
OTHERS = (
    st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.sampled_from(ZONES))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([*Colour, Path("a/b")])
)
KEYS = st.text(max_size=4) | st.sampled_from(["$tuple", "$class", "$"]) | st.integers() | st.dates()
VALUES = st.recursive(
    PLAIN | OTHERS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(PLAIN, max_size=3)
        | st.frozensets(st.dates(), max_size=3)
    ),
    max_leaves=8,
)
BOXES = st.recursive(
    st.builds(Box, st.text(), st.lists(st.builds(Pair, st.integers(), st.sampled_from(Colour)), max_size=2)),
    lambda inner: st.builds(Box, st.text(), st.just([]), inner),
    max_leaves=3,
)


def test_the_classes_of_an_annotation_are_found_in_their_fields() -> None:
    assert {name: CLASSES[name] for name in sorted(CLASSES)} == {"Box": Box, "Colour": Colour, "Pair": Pair}


@given(value=VALUES | BOXES)
def test_a_recorded_value_is_made_again(value: Any) -> None:
    written = json.loads(json.dumps(encode_result(value, CLASSES)))
    again = decode(written, CLASSES)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.slow
@given(
    value=st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
)
def test_reading_a_hostile_recording_gives_a_value_or_an_error(value: Any) -> None:
    for mark in (
        "$tuple",
        "$class",
        "$dict",
        "$set",
        "$bytes",
        "$datetime",
        "$decimal",
        "$uuid",
        "$timedelta",
        "$other",
    ):
        try:
            decode({mark: value}, CLASSES)
        except Exception:  # noqa: BLE001 -- the caller makes a miss of any
            continue


@pytest.mark.slow
@given(before=VALUES, after=VALUES)
def test_two_values_have_a_difference_if_they_are_not_the_same(before: Any, after: Any) -> None:
    old, new = json.loads(json.dumps(encode(before))), json.loads(json.dumps(encode(after)))
    differences = list(iter_value_differences(old, new))
    assert list(iter_value_differences(old, old)) == []
    if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True):
        assert differences == []
    elif old != new:
        assert all(difference.path.startswith("$") for difference in differences)


@pytest.mark.parametrize("value", [object(), {1: object()}, [lambda: 1], 1j, Box, iter(())])
def test_a_value_that_cannot_be_made_again_is_refused(value: object) -> None:
    with pytest.raises(Unrecordable):
        encode_result(value, CLASSES)


@dataclasses.dataclass(frozen=True)
class Counter:
    name: str
    hits: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]


def count_page(session: Session) -> Page[Counter]:
    """Only type checkers know the class of the parameter."""
    counter = Counter("a")
    object.__setattr__(counter, "hits", session)
    return Page([counter])


def test_generic_dataclasses_and_fields_that_init_does_not_take_are_made_again() -> None:
    classes = find_classes(read_return_hint(count_page))
    value = count_page(5)
    assert decode(json.loads(json.dumps(encode_result(value, classes))), classes) == value


def test_the_second_of_two_equal_times_stays_the_second() -> None:
    moment = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris"))
    again = decode(encode(moment), {})
    assert (again.fold, again.tzinfo, again.utcoffset()) == (1, moment.tzinfo, timedelta(hours=1))


def test_a_recording_makes_no_object_that_does_things_also_if_the_annotation_names_it() -> None:
    classes = find_classes(subprocess.Popen | None)
    command = [sys.executable, "-c", "open('made', 'w')"]
    with pytest.raises(ValueError, match="the return annotation names none"):
        decode({"$class": ["Popen", [command]]}, classes)


def test_a_class_that_the_annotation_does_not_name_is_refused() -> None:
    with pytest.raises(Unrecordable, match="which the return annotation does not name"):
        encode_result([Colour.RED], {})
    with pytest.raises(ValueError, match="the return annotation names none"):
        decode({"$class": ["Colour", "red"]}, {})


class Strange(Exception):
    def __init__(self, number: int, more: str = "x") -> None:
        super().__init__(f"{number} {more}")
        self.number = number


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        Strange(1),
        LookupError(),
        OSError(2, "no file"),
        FileNotFoundError(2, "no file", "a.txt"),
        OSError(17, "exists", "a.txt", None, "b.txt"),
        UnicodeDecodeError("utf-8", b"a", 0, 1, "bad"),
    ],
)
def test_an_error_is_raised_again_as_it_was(error: Exception) -> None:
    again = decode_error(json.loads(json.dumps(encode_error(error, globals()))), globals())
    assert (type(again), str(again)) == (type(error), str(error))
    assert vars(again) == vars(error)
    assert getattr(again, "filename", None) == getattr(error, "filename", None)


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "eval", "Path", "Box", "os.system", ""])
def test_a_recording_can_only_name_an_exception(name: str) -> None:
    with pytest.raises(ValueError, match="which the module of the function does not have"):
        decode_error({"type": name, "args": []}, globals())


def plain(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int, e: int = 5, **more: int) -> object:
    return a, b, c, rest, d, e, more


def only_names(*, hook: int = 1, item: int = 2) -> object:
    return hook, item


def make_closure() -> Any:
    outside = 7

    def inner(hook: int, hook_: int = 1) -> object:
        return hook, hook_, outside

    return inner


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {"d": 4}),
        (plain, (1, 8, 9, 10, 11), {"d": 4, "e": 6, "z": 7}),
        (only_names, (), {"item": 9}),
        (make_closure(), (1,), {"hook_": 3}),
    ],
)
def test_a_replaced_function_gets_its_arguments_with_defaults_and_is_restored(
    function: FunctionType, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    expected = function(*args, **kwargs)
    signature = inspect.signature(function)
    given: list[Any] = []

    def hook(
        first: Sequence[Any], rest: Sequence[Any], named: Mapping[str, Any], more: Mapping[str, Any]
    ) -> object:
        given.append((first, rest, named, more))
        return swap.real(*first, *rest, **named, **more)

    swap = CodeSwap(function, hook)
    swap.apply()
    assert function(*args, **kwargs) == expected
    assert inspect.signature(function) == signature
    swap.restore_attribute()
    assert function(*args, **kwargs) == expected
    assert len(given) == 1


def test_a_replaced_function_has_no_other_lines_than_its_first() -> None:
    """Coverage would take them for lines of the function."""

    async def stream(number: int) -> Any:
        for item in range(number):
            yield item

    first = stream.__code__.co_firstlineno
    assert isinstance(stream, FunctionType)
    swap = CodeSwap(stream, lambda *given: given)
    swap.apply()
    assert {line for *_, line in stream.__code__.co_lines() if line is not None} == {first}
    swap.restore_attribute()


def test_a_model_of_pydantic_is_made_again() -> None:
    pydantic = pytest.importorskip("pydantic")
    kind = pydantic.create_model("Order", number=(int, ...), due=(date, ...), total=(Decimal, ...))
    order = kind(number=1, due="2026-01-02", total="2.50")
    written = encode_result({"orders": [order]}, {"Order": kind})
    assert decode(json.loads(json.dumps(written)), {"Order": kind}) == {"orders": [order]}


def test_the_types_of_the_standard_library_are_all_tried() -> None:
    """A guard for the strategies above: each of these types comes back as itself."""
    samples = [
        b"a",
        bytearray(b"b"),
        datetime(2026, 1, 2, tzinfo=UTC),
        date(2026, 1, 2),
        time(3),
        timedelta(1),
        Decimal(1),
        UUID(int=1),
    ]
    assert [type(decode(encode(value), {})) for value in samples] == [type(value) for value in samples]
