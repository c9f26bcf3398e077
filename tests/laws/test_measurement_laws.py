"""What is measured passes the wire between processes unchanged, as exact builtins, or not at all."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.strategies import any_text, json_objects, json_values

from pytest_llmops.errors import WireError
from pytest_llmops.measurement import (
    UNITS,
    Measurement,
    format_amount,
    format_value_and_threshold,
    shorten_text,
    to_builtins,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
EXACT = (type(None), bool, int, float, str, list, dict)


def parts(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(part for child in inner for part in parts(child))]


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    errored = draw(st.booleans())
    return Measurement(
        name=draw(any_text.filter(bool)),
        value=None if errored else draw(finite),
        error=draw(any_text.filter(bool)) if errored else "",
        unit=draw(st.sampled_from(UNITS)),
        better=draw(st.sampled_from(["higher", "lower"])),
        threshold=draw(st.none() | finite),
        samples=tuple(draw(st.lists(finite, max_size=4))),
        label=draw(any_text),
        reason=draw(any_text),
        version=draw(any_text),
        detail=draw(json_objects),
    )


@pytest.mark.slow
@given(measurements())
def test_the_wire_gives_back_what_went_in(measurement: Measurement) -> None:
    wire = measurement.to_wire()
    assert all(type(part) in EXACT for part in parts(wire))
    assert Measurement.from_wire(json.loads(json.dumps(wire, ensure_ascii=False).encode())) == measurement


@pytest.mark.slow
@given(measurements(), json_values)
def test_a_newer_version_may_say_more(measurement: Measurement, more: Any) -> None:
    assert Measurement.from_wire({**measurement.to_wire(), "of a later version": more}) == measurement


@pytest.mark.slow
@given(measurements())
def test_the_status_follows_from_value_and_threshold(measurement: Measurement) -> None:
    if measurement.value is None:
        assert measurement.status == "errored"
    elif measurement.threshold is None:
        assert measurement.status == "recorded"
    elif measurement.value == measurement.threshold:
        assert measurement.status == "passed"
    elif not math.isclose(measurement.value, measurement.threshold, abs_tol=1e-8):
        good = (
            measurement.value > measurement.threshold
            if measurement.better == "higher"
            else measurement.value < measurement.threshold
        )
        assert measurement.status == ("passed" if good else "failed")


odd = st.one_of(
    st.floats(), st.complex_numbers(), st.binary(), st.integers(), any_text, st.dates(), st.just(object())
)
anything = st.recursive(
    odd,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(any_text, st.integers()), inner, max_size=3),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=8,
)


@given(anything)
def test_plain_gives_exact_builtins_that_json_can_hold_or_says_why_not(value: Any) -> None:
    try:
        made = to_builtins(value)
    except WireError as error:
        assert str(error).startswith("value")  # noqa: PT017
        return
    assert all(type(part) in EXACT for part in parts(made))
    assert json.loads(json.dumps(made, allow_nan=False, ensure_ascii=False).encode()) == made
    assert to_builtins(made) == made


@given(json_values)
def test_plain_changes_nothing_of_plain_json(value: Any) -> None:
    assert to_builtins(value) == value


@given(any_text, st.integers(1, 50))
def test_shorten_is_one_printable_line(text: str, limit: int) -> None:
    shortened = shorten_text(text, limit)
    assert shortened.isprintable()
    assert len(shortened.splitlines()) <= 1
    if len(text) <= limit and text.isprintable():
        assert shortened == text


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.sampled_from(UNITS))
def test_amounts_are_readable_and_apart(value: float, threshold: float, unit: str) -> None:
    assume(abs(value) > 1e-9 or value == 0)
    formatted = format_amount(value, unit)
    assert "e" not in formatted.replace("tokens", "")
    first, second = format_value_and_threshold(value, threshold, unit)
    if unit == "1" and abs(value - threshold) > 1e-6:
        assert first != second
