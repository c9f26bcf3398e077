from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rapidfuzz import fuzz as rapidfuzz
from support.messages import check_message

from pytest_llmops import (
    Measurement,
    MeasurementErrored,
    MeasurementFailed,
    assert_contains,
    assert_exact,
    assert_fuzzy,
    assert_matches,
    collect,
)
from pytest_llmops.assertions.text import assert_not_contains
from pytest_llmops.errors import UsageError

pytestmark = pytest.mark.usefixtures("alone")

Assertion = Callable[..., Measurement]
Lines = Callable[[BaseException], list[str]]

MEGABYTE = "lorem ipsum " * 83_334
HOSTILE = [
    "",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "line\r\n::error::two\u2028three\x85four",
    "##[add-mask]x",
    "\ud800\udfff",
    "</script><img onerror=alert(1)>",
    "\u202eright to left",
    "e" + "\u0301" * 3_000,
    MEGABYTE,
    "\n" * 1_000_000,
]
TWICE = "Return it in 30 days. After 30 days we keep it."
every_assertion = pytest.mark.parametrize(
    "assertion",
    [
        lambda actual, **how: assert_contains(actual, "30 days", **how),
        lambda actual, **how: assert_matches(actual, r"\b30 days\b", **how),
        lambda actual, **how: assert_fuzzy(actual, "30 days", **{"at_least": 0.9, **how}),
        lambda actual, **how: assert_exact(actual, "30 days", **how),
        lambda actual, **how: assert_contains(
            actual, ["30", "days"], in_order=True, whole_words=True, ignore_case=True, **how
        ),
        lambda actual, **how: assert_contains(actual, "30 days", times=1, whitespace="collapse", **how),
        lambda actual, **how: assert_matches(actual, r"\b30 days\b", times=1, **how),
        lambda actual, **how: assert_exact(actual, ["thirty days", "30 days"], **how),
        lambda actual, **how: assert_fuzzy(actual, ["one month", "30 days"], **{"at_least": 0.9, **how}),
    ],
    ids=["contains", "matches", "fuzzy", "exact", "order", "count", "matches count", "exacts", "fuzzies"],
)


@pytest.mark.parametrize(
    ("expected", "options", "value"),
    [
        ("30 days", {}, 1.0),
        (["30 days", "unopened", "receipt"], {}, 2 / 3),
        (("30 days", "nothing"), {"any_of": True}, 1.0),
        (["none", "nothing"], {"any_of": True}, 0.0),
        ("UNOPENED", {}, 0.0),
        ("UNOPENED STRASSE", {"ignore_case": True}, 1.0),
        (["30 days", "30 days"], {}, 1.0),
    ],
)
def test_contains(expected: str | list[str], options: dict[str, Any], value: float) -> None:
    measurement = assert_contains("Within 30 days, unopened Straße", expected, at_least=None, **options)
    assert (measurement.name, measurement.status, measurement.threshold) == (
        "text.contains",
        "recorded",
        None,
    )
    assert measurement.value == pytest.approx(value)


def test_contains_wants_all_by_default() -> None:
    assert assert_contains("a b c", ["a", "b", "c", "d"], at_least=0.75, label="letters").status == "passed"
    with pytest.raises(MeasurementFailed) as caught:
        assert_contains("a b c", ["a", "b", "c", "d"])
    assert caught.value.measurement.threshold == 1.0
    assert caught.value.measurement.detail["missing"] == ["d"]
    assert caught.value.measurement.detail["expected"] == ["a", "b", "c", "d"]


def test_contains_shows_what_is_missing() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_contains("Return it within 60 days.", ["30 days", "within"], label="policy")
    assert str(caught.value).splitlines() == [
        "text.contains [policy] 0.50 < 1.00",
        "  reason    1 of 2 texts missing",
        '  missing   "30 days" | nearest "60 days." at line 1, column 18, 0.86 alike',
        '  answer    "Return it within 60 days."',
    ]


def test_contains_any_of_says_that_none_is_there() -> None:
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_contains("Paris", ["Rome", "Roma"], any_of=True)


@pytest.mark.parametrize(
    "expected",
    [
        [],
        "",
        ["a", ""],
        ["a", 3],
        b"a",
        None,
        {"a"},
    ],
)
def test_contains_refuses_what_cannot_be_looked_for(expected: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_contains("a", expected)


@pytest.mark.parametrize(
    ("expected", "options", "value"),
    [
        ("30 days", {"times": 2}, 1.0),
        ("30 days", {"times": 1}, 0.0),
        ("30 days", {"at_least_times": 2}, 1.0),
        ("30 days", {"at_least_times": 3}, 0.0),
        ("30 days", {"at_most_times": 2}, 1.0),
        ("30 days", {"at_most_times": 1}, 0.0),
        ("60 days", {"at_most_times": 1}, 0.0),
        ("30 days", {"at_least_times": 1, "at_most_times": 2}, 1.0),
        (["30 days", "keep"], {"times": 2}, 0.5),
        (["60 days", "keep"], {"times": 1, "any_of": True}, 1.0),
        (["Return", "30 days", "After", "keep"], {"in_order": True}, 1.0),
        (["After", "30 days", "keep"], {"in_order": True}, 1.0),
        (["keep", "Return"], {"in_order": True}, 0.5),
        (["30 days", "30 days", "30 days"], {"in_order": True}, 2 / 3),
        ("it", {"whole_words": True, "times": 2}, 1.0),
        ("30 day", {"whole_words": True}, 0.0),
        ("30 days", {"whole_words": True}, 1.0),
        ("30\n days", {"whitespace": "collapse"}, 1.0),
        ("\uff13\uff10 days", {"unicode": "NFKC"}, 1.0),
        ("\uff13\uff10 days", {}, 0.0),
        ("RETURN  IT", {"ignore_case": True, "whitespace": "collapse", "times": 1}, 1.0),
    ],
)
def test_contains_counts_and_orders(expected: Any, options: dict[str, Any], value: float) -> None:
    assert assert_contains(TWICE, expected, at_least=None, **options).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "contained"),
    [
        ("within 30 days", True),
        ("30 days.", True),
        ("(30 days)", True),
        ("130 days", False),
        ("30 days2", False),
        ("30.5 days", False),
        ("1.30 days", False),
        ("1,30 days", False),
        ("by 1. 30 days", True),
        ("30 days.5", False),
        ("30 days\u0301", False),
        ("x30 days", False),
        ("_30 days", False),
    ],
)
def test_whole_words_and_numbers(text: str, contained: bool) -> None:
    assert assert_contains(text, "30 days", whole_words=True, at_least=None).value == contained
    assert assert_not_contains(text, "30 days", whole_words=True, at_least=None).value == (not contained)


def test_marks_around_a_text_need_no_word_to_end() -> None:
    assert assert_contains("a(b)c", "(b)", whole_words=True).status == "passed"


def test_contains_shows_what_is_there_in_another_spelling() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_contains(TWICE, ["30 days", "60 days"], times=1)
    assert str(caught.value).splitlines() == [
        "text.contains 0.00 < 1.00",
        "  reason    2 of 2 texts not found as required",
        '  missing   "60 days" | nearest "30 days" at line 1, column 29, 0.86 alike',
        '  count     "30 days" | expected exactly 1 time, got 2: at line 1, column 14; at line 1, column 29',
        '  answer    "Return it in 30 days. After 30 days we keep it."',
    ]
    assert caught.value.measurement.detail["counts"] == [2, 0]
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_contains(TWICE, "30 days", at_least_times=3, at_most_times=4)
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_contains(TWICE, ["30 days", "keep"], times=3, any_of=True)
    with pytest.raises(MeasurementFailed) as caught:
        assert_contains(TWICE, ["keep", "Return"], in_order=True)
    check_message(str(caught.value).splitlines()[1:3])


def test_contains_shows_a_longer_word_and_another_form() -> None:
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_contains(TWICE, "30 day", whole_words=True)
    with pytest.raises(MeasurementFailed, match=r'"caf\xe9" \| there with unicode="NFC"'):
        assert_contains("cafe\u0301", "caf\u00e9")


@pytest.mark.parametrize(
    "options",
    [
        {"times": 0},
        {"times": True},
        {"at_least_times": 1.5},
        {"at_most_times": -1},
        {"times": 1, "at_most_times": 2},
        {"at_least_times": 3, "at_most_times": 2},
    ],
)  # fmt: skip
@pytest.mark.parametrize("assertion", [assert_contains, assert_matches])
def test_counts_are_checked(assertion: Assertion, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assertion("a", "a", **options)


def test_options_that_contradict_each_other_are_refused() -> None:
    for options in ({"any_of": True}, {"times": 1}):
        with pytest.raises(UsageError, check=check_message):
            assert_contains("a", ["a", "b"], in_order=True, **options)
    with pytest.raises(UsageError, check=check_message):
        assert_matches("a", "a", full=True, times=1)


def test_a_text_of_which_nothing_is_left_is_not_looked_for() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_contains("a b", " ", whitespace="collapse")


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"times": 2}, 1.0),
        ({"times": 3}, 0.0),
        ({"at_least_times": 2}, 1.0),
        ({"at_most_times": 1}, 0.0),
    ],
)
def test_matches_counts(options: dict[str, Any], value: float) -> None:
    measurement = assert_matches(TWICE, r"\d+ days", at_least=None, **options)
    assert (measurement.value, measurement.detail["count"]) == (value, 2)


def test_matches_shows_the_places_and_the_nearest_plain_words() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_matches(TWICE, r"\d+ days", times=1)
    assert str(caught.value).splitlines()[1] == (
        '  count    "\\d+ days" | expected exactly 1 time, got 2: at line 1, column 14; at line 1, column 29'
    )
    with pytest.raises(MeasurementFailed) as caught:
        assert_matches(TWICE, r"\breturns? in (six|ten) weeks\b")
    assert str(caught.value).splitlines()[2].startswith('  nearest   "')
    assert assert_matches("\uff13\uff10 days", r"^30", unicode="NFKC").status == "passed"


def test_of_several_references_the_nearest_counts() -> None:
    assert assert_exact("Yes", ["No", "Yes"]).status == "passed"
    assert assert_exact("", ["No", ""]).status == "passed"
    measurement = assert_fuzzy("Angela Merkl", ["Olaf Scholz", "Angela Merkel"], at_least=0.9)
    assert measurement.detail["expected"] == ["Olaf Scholz", "Angela Merkel"]
    check_message(measurement.reason)
    with pytest.raises(MeasurementFailed) as caught:
        assert_exact("60 days", ["a month", "30 days"])
    check_message(str(caught.value).splitlines()[1:4])
    assert assert_fuzzy("\ufb01ne", "fine", at_least=1, unicode="NFKC").value == 1


@pytest.mark.parametrize(
    ("pattern", "options", "value"),
    [
        (r"#\d{4}\b", {}, 1.0),
        (re.compile("ORDER", re.IGNORECASE), {}, 1.0),
        ("ORDER", {}, 0.0),
        ("ORDER", {"ignore_case": True}, 1.0),
        (re.compile("order.*way", re.DOTALL), {"ignore_case": True}, 1.0),
        (r"Order #\d+", {"full": True}, 0.0),
        (r"Order #\d+\nis on its way", {"full": True}, 1.0),
        ("", {}, 1.0),
    ],
)
def test_matches(pattern: Any, options: dict[str, Any], value: float) -> None:
    measurement = assert_matches("Order #4711\nis on its way", pattern, at_least=None, **options)
    assert (measurement.name, measurement.value) == ("text.matches", value)


def test_matches_shows_pattern_and_hint() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_matches("Yes.\n", "yes")
    assert str(caught.value).splitlines() == [
        "text.matches 0.00 < 1.00",
        "  pattern   yes",
        "  hint      matches with re.IGNORECASE",
        '  answer    "Yes.\\n"',
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        "a(b",
        "a{99999999999999999999}",
        "(" * 10_000 + ")" * 10_000,
        "[\n",
        b"a",
        re.compile(b"a"),
        None,
    ],
)
def test_matches_refuses_what_is_no_pattern(pattern: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_matches("a", pattern)


def test_fuzzy_is_rapidfuzz() -> None:
    actual, expected = "You can return it within 60 days.", "return it within 30 days"
    whole = assert_fuzzy(actual, expected, at_least=None)
    part = assert_fuzzy(actual, expected, at_least=0.9, partial=True)
    assert (whole.name, whole.version, part.version) == ("text.fuzzy", "ratio", "partial")
    assert whole.value == pytest.approx(rapidfuzz.ratio(actual, expected) / 100)
    assert part.value == pytest.approx(rapidfuzz.partial_ratio(actual, expected) / 100)
    assert part.status == "passed"


def test_fuzzy_without_case_and_layout() -> None:
    assert (
        assert_fuzzy(
            " YES\n we  can ", "yes we can", at_least=1.0, ignore_case=True, whitespace="collapse"
        ).value
        == 1
    )


def test_fuzzy_has_no_default_threshold() -> None:
    with pytest.raises(TypeError, match="at_least"):
        assert_fuzzy("a", "a")  # type: ignore[call-arg]


def test_fuzzy_shows_nearest_and_difference() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_fuzzy(
            "It can be sent back within 60 days. Thank you for your patience.",
            "sent back within 30 days",
            at_least=0.9,
        )
    assert str(caught.value).splitlines()[1:4] == [
        '  nearest    "sent back within 60 days." at line 1, column 11, 0.96 alike',
        "  diff       sent back within [-30-]{+60+} days{+.+}",
        '  expected   "sent back within 30 days"',
    ]  # fmt: skip


def test_fuzzy_does_not_score_what_takes_minutes() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_fuzzy("x" + MEGABYTE, "y" * 500_000, at_least=0.5)


@pytest.mark.parametrize(
    ("actual", "expected", "options", "value"),
    [
        ("Yes", "Yes", {}, 1.0),
        ("Yes ", "Yes", {}, 0.0),
        ("", "", {}, 1.0),
        ("", "Yes", {}, 0.0),
        ("yes ", "YES", {"ignore_case": True, "whitespace": "strip"}, 1.0),
        ("a\n b", "a b", {"whitespace": "collapse"}, 1.0),
        ("e\u0301", "\u00e9", {"unicode": "NFC"}, 1.0),
        ("\ufb01", "fi", {"unicode": "NFKC"}, 1.0),
        (MEGABYTE, MEGABYTE + "!", {}, 0.0),
    ],
)
def test_exact(actual: str, expected: str, options: dict[str, Any], value: float) -> None:
    measurement = assert_exact(actual, expected, at_least=None, **options)
    assert (measurement.name, measurement.value) == ("text.exact", value)


def test_exact_shows_the_invisible() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_exact("within 30\u00a0days", "within 30 days")
    assert str(caught.value).splitlines() == [
        "text.exact 0.00 < 1.00",
        '  differs at   line 1, column 10: expected " " (U+0020 SPACE), got "\\xa0" (U+00A0 NO-BREAK SPACE)',
        "  diff         within 30[- -]{+\\xa0+}days",
        '  hint         equal with whitespace="collapse"',
        '  expected     "within 30 days"',
        '  answer       "within 30\\xa0days"',
    ]


@pytest.mark.parametrize("assertion", [assert_exact, assert_fuzzy])
@pytest.mark.parametrize(
    "options",
    [
        {"whitespace": "trim"},
        {"expected": None},
        {"expected": {"a"}},
        {"expected": []},
        {"expected": ["a", 1]},
        {"unicode": "NFD"},
    ],
)
def test_exact_and_fuzzy_say_what_is_wrong_with_their_arguments(
    assertion: Assertion, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, check=check_message):
        assertion("a", **{"expected": "a", "at_least": 1.0, **options})


def test_matches_and_contains_do_not_normalise_it_either() -> None:
    for assertion in (assert_matches, assert_contains):
        with pytest.raises(MeasurementErrored, check=check_message):
            assertion("e" + "\u0301" * 3_000, "e", unicode="NFC")


def test_exact_does_not_normalise_what_takes_quadratic_time() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_exact("e" + "\u0301" * 3_000, "\u00e9", unicode="NFC")


@every_assertion
@pytest.mark.parametrize(
    "actual",
    [
        None,
        b"30 days",
        {"answer": "30 days"},
        SimpleNamespace(text="30 days"),
    ],
)
def test_what_is_no_text_is_not_scored(assertion: Assertion, actual: object) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assertion(actual)
    assert caught.value.measurement.status == "errored"
    with pytest.raises(MeasurementErrored):
        assertion(actual, at_least=None)


@pytest.mark.slow
@every_assertion
@pytest.mark.parametrize("at_least", [1.01, -0.1, float("nan"), float("inf"), True, "0.5", [1]])
def test_a_threshold_is_from_0_to_1(assertion: Assertion, at_least: object) -> None:
    with pytest.raises(UsageError, check=check_message):
        assertion("30 days", at_least=at_least)


@every_assertion
def test_the_threshold_decides(assertion: Assertion) -> None:
    assert assertion("30 days", label="x").status == "passed"
    assert assertion("nothing", at_least=0).status == "passed"
    assert assertion("nothing", at_least=None).status == "recorded"
    assert assertion("30 days", label="x").label == "x"


@every_assertion
def test_failures_have_evidence_and_successes_do_not(assertion: Assertion) -> None:
    with collect() as measurements:
        assertion("30 days")
        assertion("thirty")
    assert "evidence" not in measurements[0].detail
    assert measurements[1].detail["evidence"]
    assert measurements[1].detail["actual"] == "thirty"


@pytest.mark.slow
@every_assertion
@pytest.mark.parametrize("actual", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_cannot_break_a_message(
    assertion: Assertion, actual: str, well_formed: Lines, shown_frames: Lines
) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assertion(actual)
    assert len(well_formed(caught.value)) <= 9
    assert shown_frames(caught.value) == []
    assert len(str(caught.value)) < 2_500


@pytest.mark.slow
@pytest.mark.parametrize("expected", HOSTILE[1:], ids=range(1, len(HOSTILE)))
def test_hostile_references_cannot_either(expected: str, well_formed: Lines) -> None:
    tried: list[Callable[[], Measurement]] = [
        lambda: assert_contains("answer", expected),
        lambda: assert_exact("answer", expected),
        lambda: assert_fuzzy("answer", expected, at_least=0.9),
        lambda: assert_matches("answer", re.escape(expected[:5_000])),
    ]
    for assertion in tried:
        with pytest.raises(MeasurementFailed) as caught:
            assertion()
        well_formed(caught.value)


def test_usage_errors_point_at_the_users_line(shown_frames: Lines) -> None:
    tried: list[Callable[[], Measurement]] = [
        lambda: assert_contains("a", []),
        lambda: assert_matches("a", "("),
        lambda: assert_exact("a", "a", at_least=2),
        lambda: assert_fuzzy("a", None, at_least=1),  # type: ignore[arg-type]
    ]
    for assertion in tried:
        with pytest.raises(UsageError) as caught:
            assertion()
        assert shown_frames(caught.value) == []


def test_counts_may_be_numbers_of_numpy() -> None:
    assert assert_contains("a a", "a", times=cast("int", np.int64(2))).value == 1.0
    with pytest.raises(UsageError, check=check_message):
        assert_contains("a a", "a", times=cast("int", np.float64(2)))


@pytest.mark.slow
def test_many_texts_in_the_order_of_a_long_one_that_is_full_of_them() -> None:
    text = "ab" * 250_000
    assert assert_contains(text, ["ab"] * 500, in_order=True).value == 1.0
    measurement = assert_contains(text + "z", ["z", *["ab"] * 500, "c"], in_order=True, at_least=None)
    assert measurement.detail["missing"] == ["z", "c"]
    assert assert_contains(text, ["ab"] * 20, times=250_000).detail["counts"] == [250_000] * 20
