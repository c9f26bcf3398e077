from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import Measurement, MeasurementErrored, MeasurementFailed, collect
from pytest_llmops.assertions.text import MAX_SPANS, assert_not_contains, assert_not_matches
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics import lexical

pytestmark = pytest.mark.usefixtures("alone")

Assertion = Callable[..., Measurement]
Lines = Callable[[BaseException], list[str]]

MAIL = "Dear customer,\nyour Password is hunter2. Never tell your Password to anyone."
HOSTILE = [
    "secret\x00",
    "\x1b[31msecret\x1b[0m",
    "line\r\n::error::secret\u2028three",
    "secret\ud800",
    "</script>secret<img onerror=alert(1)>",
    "\u202esecret",
    "lorem ipsum " * 40_000 + "secret" + " dolor" * 80_000,
    "secret " * 140_000,
    "\n" * 500_000 + "secret",
]
both = pytest.mark.parametrize(
    "assertion",
    [
        lambda actual, **how: assert_not_contains(actual, ["secret", "token"], **{"at_least": 1.0, **how}),
        lambda actual, **how: assert_not_matches(actual, r"sec\w+", **how),
    ],
    ids=["contains", "matches"],
)


@pytest.mark.parametrize(
    ("unwanted", "options", "value"),
    [
        ("secret", {}, 1.0),
        ("Password", {}, 0.0),
        ("password", {}, 1.0),
        ("password", {"ignore_case": True}, 0.0),
        (["hunter2", "secret"], {}, 0.5),
        ("Pass", {"whole_words": True}, 1.0),
        ("customer, your", {"whitespace": "collapse"}, 0.0),
        ("\uff30assword", {"unicode": "NFKC"}, 0.0),
        (["hunter2", "hunter2"], {}, 0.0),
    ],
)
def test_not_contains(unwanted: Any, options: dict[str, Any], value: float) -> None:
    measurement = assert_not_contains(MAIL, unwanted, at_least=None, **options)
    assert (measurement.name, measurement.better, measurement.status) == (
        "text.not_contains",
        "higher",
        "recorded",
    )
    assert measurement.value == value


def test_not_contains_shows_where_each_stands() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_not_contains(MAIL, ["password", "hunter2", "guarantee"], ignore_case=True, label="mail")
    check_message(caught.value)
    detail = caught.value.measurement.detail
    assert detail["found"] == ["password", "hunter2"]
    spans = cast("list[list[list[int]]]", detail["spans"])
    assert [MAIL[start:end] for start, end in spans[0]] == ["Password", "Password"]


@pytest.mark.parametrize(
    ("text", "unwanted", "options", "there"),
    [
        ("a   b  SECRET\tTOKEN!", "secret token", {"ignore_case": True, "whitespace": "collapse"}, "SECRET\tTOKEN"),
        ("stra\u00dfe: geheim", "GEHEIM", {"ignore_case": True}, "geheim"),
        ("\ufb01x \uff53\uff45\uff43\uff52\uff45\uff54 x", "secret", {"unicode": "NFKC"}, "\uff53\uff45\uff43\uff52\uff45\uff54"),
        ("e\u0301e\u0301 cafe\u0301 x", "caf\u00e9", {"unicode": "NFC"}, "cafe\u0301"),
        ("  secret", "secret", {"whitespace": "strip"}, "secret"),
    ],
)  # fmt: skip
def test_the_place_is_that_in_the_answer_itself(text: str, unwanted: str, options: Any, there: str) -> None:
    measurement = assert_not_contains(text, unwanted, at_least=None, **options)
    assert measurement.value == 0.0
    ((place,),) = cast("list[list[list[int]]]", measurement.detail["spans"])
    assert text[slice(*place)] == there


def test_not_matches() -> None:
    assert assert_not_matches(MAIL, r"\d{4}").value == 1.0
    assert assert_not_matches(MAIL, r"password").value == 1.0
    with pytest.raises(MeasurementFailed) as caught:
        assert_not_matches(MAIL, re.compile("password"), ignore_case=True)
    assert str(caught.value).splitlines() == [
        "text.not_matches 0.00 < 1.00",
        "  pattern   password",
        '  matches   "Password" at line 2, column 6, 2 times in all: "Dear customer,\\nyour >>>Password<<< is hunter2. Never t..."',
        '  answer    "Dear customer,\\nyour Password is hunter2. Never tell your Password to anyone."',
    ]
    assert caught.value.measurement.detail["spans"] == [[20, 28], [57, 65]]
    with pytest.raises(MeasurementFailed, match=r'""'):
        assert_not_matches("abc", "x*")
    with pytest.raises(MeasurementFailed):
        assert_not_matches("\uff13", "^3", unicode="NFKC")


def test_not_so_many_places_are_kept() -> None:
    measurement = assert_not_contains("a" * 10_000, "a", at_least=None)
    assert len(cast("list[list[object]]", measurement.detail["spans"])[0]) == MAX_SPANS
    assert (
        len(cast("list[object]", assert_not_matches("a" * 10_000, "a", at_least=None).detail["spans"]))
        == MAX_SPANS
    )


@both
def test_an_empty_answer_says_nothing_unwanted(assertion: Assertion) -> None:
    assert assertion("").status == "passed"


@both
@pytest.mark.parametrize(
    "actual",
    [
        None,
        b"x",
        SimpleNamespace(text="x"),
    ],
)
def test_what_is_no_text_is_not_scored(assertion: Assertion, actual: object) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assertion(actual, at_least=None)


@both
def test_what_cannot_be_normalised_is_not_scored(assertion: Assertion) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assertion("e" + "\u0301" * 3_000, unicode="NFC")


@pytest.mark.slow
@both
@pytest.mark.parametrize("actual", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_cannot_break_a_message(
    assertion: Assertion, actual: str, well_formed: Lines, shown_frames: Lines
) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assertion(actual, ignore_case=True)
    assert len(well_formed(caught.value)) <= 5
    assert len(str(caught.value)) < 2_000
    assert shown_frames(caught.value) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: assert_not_contains("a", []),
        lambda: assert_not_contains("a", ["a", ""]),
        lambda: assert_not_contains("a", "b", at_least=2),
        lambda: assert_not_contains("a", "b", unicode="NFD"),  # type: ignore[arg-type]
        lambda: assert_not_matches("a", "("),
        lambda: assert_not_matches("a", None),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_usage_errors_say_what_and_point_at_the_users_line(
    call: Callable[[], object], shown_frames: Lines
) -> None:
    with pytest.raises(UsageError, check=check_message) as caught:
        call()
    assert shown_frames(caught.value) == []


def test_a_share_may_be_enough() -> None:
    assert assert_not_contains(MAIL, ["hunter2", "x1", "x2", "x3"], at_least=0.75).status == "passed"
    with collect() as measurements:
        assert_not_contains(MAIL, [f"{n}" for n in range(10)], at_least=1)
    assert measurements[0].detail["evidence"]


@pytest.mark.slow
def test_places_in_a_long_text_that_is_changed_are_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is changed in all, in characters: a few times the text, however many places there are.
    changed = 0
    normalise = lexical.normalize_text

    def counted(text: str, **how: Any) -> str:
        nonlocal changed
        changed += len(text)
        return normalise(text, **how)

    monkeypatch.setattr(lexical, "normalize_text", counted)
    text = "The quick\n  brown \uff26ox jumps.  " * 10_000
    measurement = assert_not_contains(
        text, ["fox", "the quick"], at_least=None, ignore_case=True, whitespace="collapse", unicode="NFKC"
    )
    assert changed < 5 * len(text)
    foxes, quick = cast("list[list[list[int]]]", measurement.detail["spans"])
    assert len(foxes) == len(quick) == MAX_SPANS
    assert {text[slice(*place)] for place in foxes} == {"\uff26ox"}
    assert {text[slice(*place)] for place in quick} == {"The quick"}
    assert [start for start, _ in quick] == [number * 30 for number in range(MAX_SPANS)]


@pytest.mark.parametrize("at_least", [np.float32(0.5), np.float64(0.5), np.int64(0), Fraction(1, 2)])
def test_a_threshold_may_be_a_number_of_another_library(at_least: Any) -> None:
    assert assert_not_contains(MAIL, ["hunter2", "secret"], at_least=at_least).threshold == float(at_least)
