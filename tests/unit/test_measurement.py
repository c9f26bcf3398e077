from __future__ import annotations

import enum
import json
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.errors import UsageError, WireError
from pytest_llmops.measurement import (
    Measurement,
    format_amount,
    format_value_and_threshold,
    require_list,
    shorten_text,
    to_builtins,
)


class Tone(str, enum.Enum):  # noqa: UP042 -- its `str` is not its value
    KIND = "kind"


class Level(enum.IntEnum):
    HIGH = 3


class Sub(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.str_("a"), "a"),
        (np.array(2.5), 2.5),
        (Tone.KIND, "kind"),
        (Level.HIGH, 3),
        (Sub("a"), "a"),
        ((1, [2.0, {"a"}]), [1, [2.0, ["a"]]]),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        ({1: "a"}, {"1": "a"}),
        ({Tone.KIND: 1}, {"kind": 1}),
        ("a\ud800b", "a�b"),
        ({"k\udfff": "v"}, {"k�": "v"}),
        ("ä𝄞", "ä𝄞"),
    ],
)
def test_plain(given: object, expected: object) -> None:
    made = to_builtins(given)
    assert made == expected
    assert type(made) is type(expected)
    json.dumps(made, allow_nan=False).encode()


@pytest.mark.parametrize(
    "given",
    [
        object(),
        b"bytes",
        float("nan"),
        float("-inf"),
        np.float32("nan"),
        np.array([1.0, 2.0]),
        np.array([1.0]),
        np.datetime64("2026-01-01"),
        1 + 2j,
        {1: "a", "1": "b"},
        [10**5000],
        {"deep": [{"er": float("inf")}]},
    ],
)
def test_plain_refuses_what_no_wire_can_hold(given: object) -> None:
    with pytest.raises(WireError) as caught:
        to_builtins(given)
    check_message(caught.value)


def test_plain_refuses_what_holds_itself() -> None:
    knot: list[Any] = []
    knot.append({"again": knot})
    with pytest.raises(WireError, check=check_message):
        to_builtins(knot)


def test_plain_takes_what_the_json_reader_takes() -> None:
    deep: object = 1
    for _ in range(200):
        deep = {"a": [deep]}
    assert to_builtins(deep) == deep


@pytest.mark.parametrize(
    "how",
    [
        {"name": "", "value": 1.0},
        {"name": None, "value": 1.0},
        {"name": "m"},
        {"name": "m", "value": 1.0, "error": "x"},
        {"name": "m", "value": True},
        {"name": "m", "value": "1"},
        {"name": "m", "value": float("nan")},
        {"name": "m", "value": 10**400},
        {"name": "m", "value": 1.0, "threshold": float("inf")},
        {"name": "m", "value": 1.0, "unit": "ms"},
        {"name": "m", "value": 1.0, "better": "more"},
        {"name": "m", "value": 1.0, "samples": "12"},
        {"name": "m", "value": 1.0, "samples": 1.0},
        {"name": "m", "value": 1.0, "samples": [1.0, None]},
        {"name": "m", "value": 1.0, "reason": None},
        {"name": "m", "value": 1.0, "label": 3},
        {"name": "m", "value": 1.0, "detail": ["a"]},
        {"name": "m", "value": 1.0, "detail": {"a": object()}},
    ],
)
def test_refuses_what_it_cannot_hold(how: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        Measurement(**how)
    check_message(caught.value)


@pytest.mark.parametrize(
    ("value", "threshold", "better", "status"),
    [
        (0.5, None, "higher", "recorded"),
        (0.5, 0.5, "higher", "passed"),
        (0.1 + 0.2, 0.3, "lower", "passed"),
        (0.3 - 1e-12, 0.3, "higher", "passed"),
        (0.2999, 0.3, "higher", "failed"),
        (0.31, 0.3, "lower", "failed"),
        (0.0, 0.0, "lower", "passed"),
        (-1.0, 0.0, "higher", "failed"),
    ],
)
def test_status(value: float, threshold: float | None, better: Any, status: str) -> None:
    assert Measurement(name="m", value=value, threshold=threshold, better=better).status == status


def test_an_error_has_no_value_and_is_never_a_failure() -> None:
    measurement = Measurement(name="m", error="no verdict", threshold=0.5)
    assert measurement.status == "errored"
    assert measurement.to_wire() == {"name": "m", "error": "no verdict", "threshold": 0.5}


def test_numbers_become_plain_on_entry() -> None:
    how: dict[str, Any] = {"samples": [np.float32(1), 0], "detail": {"n": np.int32(2)}}
    measurement = Measurement(name="m", value=np.float64(0.5), threshold=1, **how)
    assert [
        type(x)
        for x in (measurement.value, measurement.threshold, *measurement.samples, measurement.detail["n"])
    ] == [float] * 4 + [int]


def test_the_wire_leaves_defaults_out_but_never_a_zero() -> None:
    measurement = Measurement(name="m", value=0.0, threshold=0.0, samples=(0.0,))
    assert measurement.to_wire() == {"name": "m", "value": 0.0, "threshold": 0.0, "samples": [0.0]}
    assert Measurement.from_wire(measurement.to_wire()) == measurement


def test_from_wire_says_what_is_wrong() -> None:
    with pytest.raises(WireError, check=check_message):
        Measurement.from_wire({"value": 1.0})
    with pytest.raises(WireError, check=check_message):
        Measurement.from_wire({"name": "m"})


def test_the_detail_is_a_copy() -> None:
    mine = {"list": [1]}
    measurement = Measurement(name="m", value=1.0, detail=mine)
    mine["list"].append(2)
    assert measurement.detail == {"list": [1]}
    assert isinstance(measurement.detail, Mapping)


@pytest.mark.parametrize(
    ("value", "unit", "formatted"),
    [
        (0.5, "1", "0.50"),
        (0.0, "USD", "$0.00"),
        (0.00001, "USD", "$0.00001"),
        (1234.5, "USD", "$1,234.50"),
        (0.004, "s", "0.004 s"),
        (12.0, "s", "12.00 s"),
        (0.0, "s", "0.00 s"),
        (1200, "tokens", "1,200 tokens"),
        (2.5, "count", "2.5"),
    ],
)
def test_amount(value: float, unit: str, formatted: str) -> None:
    assert format_amount(value, unit) == formatted


def test_apart_shows_what_differs() -> None:
    assert format_value_and_threshold(0.69999, 0.7, "1") == ("0.69999", "0.70000")
    assert format_value_and_threshold(0.7, 0.7, "1") == ("0.70", "0.70")
    assert format_value_and_threshold(1.0, 1.0 + 1e-15, "1") == ("1.00", "1.00")


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\rb", "\x1b[31mred", "a\u2028b", "a\u202eb", "a\x00b", "a\ud800b", "a\x85b", "a\u200bb"],
)
def test_shorten_keeps_foreign_text_on_its_line(text: str) -> None:
    shortened = shorten_text(text)
    assert shortened.isprintable()
    assert len(shortened.splitlines()) == 1
    assert "\\" in shortened


def test_shorten_says_how_much_is_left_out() -> None:
    assert shorten_text("a" * 2000, 10) == "aaaaaaaaaa... (+1,990 chars)"
    assert shorten_text("a" * 10, 10) == "a" * 10
    assert shorten_text("") == ""


class Unprinted:
    def __repr__(self) -> str:
        raise RuntimeError("was printed")


def test_a_list_is_only_printed_if_an_element_is_wrong() -> None:
    elements = [Unprinted(), Unprinted()]
    assert require_list(elements, Unprinted, "expected") == elements
    with pytest.raises(UsageError, match=r"^expected numbers, got \[1, 'a'\]$"):
        require_list([1, "a"], int, "expected numbers")
