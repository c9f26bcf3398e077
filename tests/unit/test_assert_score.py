from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import Measurement, MeasurementErrored, MeasurementFailed, assert_score, collect, soft
from pytest_llmops.errors import CassetteMiss, UsageError
from pytest_llmops.metrics.lexical import token_f1

pytestmark = pytest.mark.usefixtures("alone")

Lines = Callable[[BaseException], list[str]]


def share(actual: str, expected: str = "x") -> float:
    """Share of characters of actual that are in expected."""
    return sum(char in expected for char in actual) / len(actual)


def giving(value: Any) -> Callable[..., Any]:
    def metric(*_: object) -> Any:
        return value

    return metric


class Tone:
    """A metric with a version."""

    version = "tone/2"

    def __call__(self, actual: str) -> float:
        return float("please" in actual)


def test_a_metric_of_two_texts() -> None:
    measurement = assert_score(share, "xxxy", "x", at_least=0.7, label="letters")
    assert (measurement.name, measurement.value, measurement.threshold, measurement.label) == (
        "score.share",
        0.75,
        0.7,
        "letters",
    )
    assert (measurement.better, measurement.unit, measurement.status) == ("higher", "1", "passed")
    assert measurement.detail == {"actual": "xxxy", "expected": "x"}
    assert assert_score(token_f1, "the cat sat", "a cat", at_least=None).name == "score.token_f1"


def test_without_expected_the_metric_gets_one_argument() -> None:
    assert assert_score(len, "four", at_least=4, unit="count").value == 4
    assert assert_score(giving(1), None, None, at_least=1).detail == {"actual": None, "expected": None}
    assert assert_score(giving(1), "a", at_least=1).detail == {"actual": "a"}


def test_a_metric_that_should_be_low() -> None:
    measurement = assert_score(len, "four", at_most=4, unit="tokens")
    assert (measurement.better, measurement.status) == ("lower", "passed")
    with pytest.raises(MeasurementFailed) as caught:
        assert_score(len, "five!", at_most=4, unit="count")
    assert str(caught.value).splitlines() == ["score.len 5 > 4", '  answer   "five!"']
    assert assert_score(len, "four", at_most=None, unit="s").status == "recorded"


def test_a_failure_shows_both_texts() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_score(share, "yyyy", "x", at_least=0.5)
    assert str(caught.value).splitlines() == [
        "score.share 0.00 < 0.50",
        '  expected   "x"',
        '  answer     "yyyy"',
    ]


def test_a_failure_shows_other_values_too() -> None:
    with pytest.raises(MeasurementFailed, match=r"\n  answer     \{'a': \[1\]\}"):
        assert_score(giving(0), {"a": (1,)}, object(), at_least=1)


@pytest.mark.parametrize(
    ("metric", "name"),
    [(share, "score.share"), (partial(partial(share), expected="y"), "score.share"), (Tone(), "score.Tone"), (str.count, "score.count")],
)  # fmt: skip
def test_the_name_is_the_functions(metric: Callable[..., float], name: str) -> None:
    with collect() as measurements:
        assert_score(metric, "x", at_least=None)
    assert measurements[0].name == name


def test_a_name_of_ones_own_and_a_version() -> None:
    measurement = assert_score(Tone(), "please", at_least=1, name="tone")
    assert (measurement.name, measurement.version) == ("tone", "tone/2")
    assert assert_score(lambda text: len(text), "ab", at_least=1, name="length").name == "length"  # noqa: PLW0108


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), Decimal("0.5"), Fraction(1, 2)],
    ids=lambda value: type(value).__name__,
)
def test_any_kind_of_number_becomes_a_float(value: Any) -> None:
    measurement = assert_score(giving(value), "a", at_least=0.5)
    assert type(measurement.value) is float
    assert measurement.value == 0.5


@pytest.mark.parametrize(
    ("value", "number"), [(True, 1.0), (False, 0.0), (np.True_, 1.0), (np.int64(3), 3.0), (3, 3.0)]
)
def test_true_and_whole_numbers_count(value: Any, number: float) -> None:
    assert assert_score(giving(value), "a", at_least=None).value == number


@pytest.mark.parametrize(
    "value",
    [
        None,
        "0.5",
        [0.5],
        np.array([0.5]),
        1 + 2j,
        float("nan"),
        float("-inf"),
        np.float32("nan"),
        10**400,
        Decimal("NaN"),
    ],
)
def test_what_is_no_finite_number_is_not_scored(value: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_score(giving(value), "a", at_least=None)
    assert caught.value.measurement.status == "errored"


def test_an_asynchronous_metric_is_told_apart() -> None:
    async def slow(_: str) -> float:
        return 1.0

    class Later:
        def __await__(self) -> Iterator[float]:
            return iter(())

    for metric in (slow, giving(Later())):
        with pytest.raises(MeasurementErrored, check=check_message):
            assert_score(metric, "a", at_least=1)  # type: ignore[arg-type]


def test_an_exception_of_the_metric_is_no_low_score(shown_frames: Lines) -> None:
    with pytest.raises(MeasurementErrored) as caught:
        assert_score(share, "", "x", at_least=0.5)
    check_message(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert shown_frames(caught.value) == []


def test_a_wrong_call_of_the_metric_is_no_low_score() -> None:
    with pytest.raises(MeasurementErrored, match="TypeError"):
        assert_score(Tone(), "a", "b", at_least=1)


def test_soft_and_collect_keep_the_error() -> None:
    with collect() as measurements:
        assert_score(share, "", at_least=0.5)
    assert measurements[0].status == "errored"
    with pytest.raises(MeasurementErrored, match="ZeroDivisionError"), soft():
        assert_score(share, "", at_least=0.5)


def test_a_missing_recording_goes_through() -> None:
    def asks(_: str) -> float:
        raise CassetteMiss

    with pytest.raises(CassetteMiss):
        assert_score(asks, "a", at_least=1)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"at_least": 1, "at_most": 1},
        {"at_least": None, "at_most": 1},
        {"at_least": float("nan")},
        {"at_most": "1"},
        {"at_least": True},
        {"at_least": 1, "unit": "ms"},
    ],
)  # fmt: skip
def test_thresholds_and_units_are_checked(how: dict[str, Any], shown_frames: Lines) -> None:
    with pytest.raises(UsageError, check=check_message) as caught:
        assert_score(share, "a", "b", **how)
    assert shown_frames(caught.value) == []


@pytest.mark.parametrize(
    "metric",
    [
        lambda _: 1.0,
        "share",
        None,
    ],
)
def test_the_metric_is_checked(metric: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_score(metric, "a", at_least=1)


@pytest.mark.parametrize("actual", ["", "\x00\x1b[31m\n::error::x", "\ud800", "</script>", "x" * 1_000_000])
def test_hostile_text_cannot_break_a_message(actual: str, well_formed: Lines, shown_frames: Lines) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_score(giving(0), actual, actual, at_least=1)
    assert len(well_formed(caught.value)) == 3
    assert shown_frames(caught.value) == []


def test_what_cannot_be_stored_is_named() -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise RuntimeError

    endless: list[object] = []
    endless.append(endless)
    for value in (Nasty(), endless, {1: Nasty()}):
        measurement: Measurement = assert_score(giving(1), value, at_least=1)
        check_message(measurement.detail["actual"])


@pytest.mark.parametrize("threshold", [np.float32(0.5), np.float64(0.5), np.int64(0), Fraction(1, 2)])
def test_a_threshold_may_be_a_number_of_another_library(threshold: Any) -> None:
    measurement = assert_score(share, "a", "a", at_least=threshold)
    assert (measurement.threshold, type(measurement.threshold)) == (float(threshold), float)
    assert assert_score(share, "a", "b", at_most=threshold).better == "lower"


@pytest.mark.parametrize("threshold", [10**400, np.float32("nan"), np.bool_(True), 1j, Decimal(1)])
def test_what_is_no_finite_number_is_no_threshold(threshold: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_score(share, "a", "b", at_least=threshold)


def test_a_score_on_its_own_scale_is_stored_from_0_to_1() -> None:
    measured = assert_score(len, "four", at_least=4, scale=(0, 8))
    assert (measured.value, measured.threshold, measured.detail["scale"]) == (0.5, 0.5, [0.0, 8.0])
    falling = assert_score(len, "four", at_most=6, scale=(0, 8))
    assert (falling.value, falling.threshold, falling.better) == (0.5, 0.75, "lower")


@pytest.mark.parametrize(
    ("metric", "scale", "version"),
    [
        (giving(1), (1, 5), "scale 1 to 5"),
        (giving(1), (1, 10), "scale 1 to 10"),  # the same answer has another score
        (giving(0), (-0.5, 1_000_001), "scale -0.5 to 1000001"),
        (Tone(), (0, 5), "tone/2, scale 0 to 5"),
        (Tone(), (0, 1), "tone/2"),  # as without a scale
        (giving(1), None, ""),
    ],
)
def test_the_scale_is_part_of_the_version(
    metric: Callable[..., Any], scale: tuple[float, float] | None, version: str
) -> None:
    assert assert_score(metric, "x", at_least=None, name="own", scale=scale).version == version


def test_a_value_outside_of_its_scale_is_not_scored() -> None:
    with pytest.raises(MeasurementErrored, match="the metric gave 9, expected a number on its scale, 0 to 8"):
        assert_score(len, "nine char", at_least=None, scale=(0, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at_least": 9, "scale": (0, 8)}, "expected a threshold on the scale, 0 to 8, got 9"),
        ({"at_least": 1, "scale": (8, 0)}, "expected scale as the lowest and the highest value"),
        ({"at_least": 1, "scale": 8}, "expected scale as the lowest and the highest value"),
        ({"at_least": 1, "scale": (0, float("inf"))}, "expected scale as the lowest and the highest value"),
        ({"at_least": 1, "scale": (0, 8), "unit": "s"}, 'expected scale= only with unit="1"'),
    ],
)
def test_a_scale_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        assert_score(len, "four", **arguments)
