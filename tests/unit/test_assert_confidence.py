from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.messages import check_message
from support.shared import shared

from benchmarks import confidence as recorded
from pytest_llmops import assert_confidence, assert_correction, collect
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, UsageError
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.metrics.confidence import (
    agreement_confidence,
    coverage_curve,
    logprob_confidence,
    reliability_bins,
    stated_confidence,
)
from pytest_llmops.production.review_queue import read_queue
from pytest_llmops.protocols import Call

pytestmark = pytest.mark.usefixtures("alone")


def draw_rows(count: int, seed: int = 0, cut: float | None = 0.5) -> list[dict[str, Any]]:
    """Records whose confidence is the probability of being right, with many ties."""
    rng = Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        confidence = rng.randrange(0, 21) / 20
        rows.append({"confidence": confidence, "correct": rng.random() < confidence})
        if cut is not None:
            rows[-1]["outcome"] = "answered" if confidence >= cut else rng.choice(["fallback", "flagged"])
    return rows


def measure(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    wanted = {"at_least_accuracy": None, "at_least_coverage": None, **options}
    with collect() as measured:
        assert_confidence(rows, **wanted)
    return {measurement.name.removeprefix("confidence."): measurement for measurement in measured}


def test_accuracy_and_coverage_are_lower_ends_of_intervals() -> None:
    rows = draw_rows(400)
    answered = [row for row in rows if row["outcome"] == "answered"]
    figures = measure(rows)
    right = sum(row["correct"] for row in answered)
    assert figures["accuracy_lower"].value == pytest.approx(
        wilson_interval(right, len(answered), 1.644854)[0]
    )
    assert figures["coverage_lower"].value == pytest.approx(wilson_interval(len(answered), 400, 1.644854)[0])
    assert figures["unhandled"].value == 0
    assert "ece" not in figures


def test_auroc_is_that_of_scikit_learn_and_the_picture_holds_all_records() -> None:
    rows = draw_rows(600, seed=1)
    figures = measure(rows)
    expected = roc_auc_score([row["correct"] for row in rows], [row["confidence"] for row in rows])
    assert figures["auroc"].value == pytest.approx(expected)
    picture = figures["accuracy_lower"].detail["picture"]
    assert sum(count for *_, count in picture["points"]) == 600
    assert figures["ece"].value < 0.06
    assert figures["ece"].better == "lower"


def test_a_threshold_is_chosen_on_one_half_and_checked_on_the_other() -> None:
    rows = draw_rows(2000, seed=2, cut=None)
    figures = measure(rows, at_least_accuracy=0.8, at_least_coverage=0.2)
    assert figures["accuracy_lower"].threshold == 0.8
    assert "of 1,000 are answered" in figures["coverage_lower"].reason
    check_message(figures["accuracy_lower"].reason)
    # An answer of a confidence that is the accuracy: 0.8 is proved for all from about 0.65 on.
    assert 0.25 < figures["coverage_lower"].value < 0.5
    other = measure(rows, at_least_accuracy=0.8, seed=1)
    assert other["accuracy_lower"].value != figures["accuracy_lower"].value
    assert measure(rows, at_least_accuracy=0.8, seed=1)["accuracy_lower"] == other["accuracy_lower"]


def test_a_fixed_threshold_says_what_would_be_answered_of_all_records() -> None:
    rows = draw_rows(400, seed=3, cut=None)
    outcomes = [{**row, "outcome": "answered" if row["confidence"] >= 0.8 else "fallback"} for row in rows]
    result, expected = measure(rows, threshold=0.8, at_least_accuracy=0.7), measure(outcomes)
    assert {name: measurement.value for name, measurement in result.items()} == {
        name: measurement.value for name, measurement in expected.items()
    }
    assert "of 400 are answered" in result["coverage_lower"].reason
    check_message(result["accuracy_lower"].reason)
    # What is not answered needs no label
    unlabelled = [row if row["confidence"] >= 0.8 else {"confidence": row["confidence"]} for row in rows]
    assert measure(unlabelled, threshold=0.8)["accuracy_lower"].value == result["accuracy_lower"].value
    with pytest.raises(UsageError, match="correct: expected True or False"):
        measure(unlabelled, threshold=0.75)


def test_an_answer_below_the_fixed_threshold_is_not_taken_care_of() -> None:
    rows = [{**row, "id": f"q{number}"} for number, row in enumerate(draw_rows(400, seed=4))]
    assert measure(rows, threshold=0.5)["unhandled"].value == 0
    below = sum(0.5 <= row["confidence"] < 0.6 for row in rows)
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_confidence(rows, at_least_accuracy=None, at_least_coverage=None, threshold=0.6)
    assert (caught.value.measurement.name, caught.value.measurement.value) == ("confidence.unhandled", below)
    # From the threshold on, an answer may be withheld all the same: that only lowers the coverage.
    assert measure(rows, threshold=0.0)["unhandled"].value == 0


def test_a_family_is_in_one_half() -> None:
    rows = [
        {"confidence": family / 20, "correct": family > 9, "family": f"f{family}"} for family in range(20) for _ in range(10)
    ]  # fmt: skip
    figures = measure(rows, at_least_accuracy=0.9)
    hits = figures["coverage_lower"].reason.split()[0].replace(",", "")
    assert int(hits) % 10 == 0


def test_what_was_neither_answered_nor_taken_care_of_is_a_finding() -> None:
    rows = [{**row, "outcome": "dropped"} if row["confidence"] < 0.1 else row for row in draw_rows(400)]
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_confidence(rows, at_least_accuracy=0.5, at_least_coverage=0.2)
    assert caught.value.measurement.name == "confidence.unhandled"


def test_too_low_an_accuracy_fails_and_lists_what_was_sure_and_wrong() -> None:
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_confidence(draw_rows(400), at_least_accuracy=0.95, at_least_coverage=0.9)
    assert {measurement.name for measurement in caught.value.measurements} == {
        "confidence.accuracy_lower", "confidence.coverage_lower",
    }  # fmt: skip


def test_too_few_answers_prove_nothing() -> None:
    rows = [{"confidence": 0.9 - n / 1000, "correct": True, "outcome": "answered"} for n in range(51)]
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_confidence(rows, at_least_accuracy=0.95, at_least_coverage=None)
    more = {"confidence": 0.5, "correct": True, "outcome": "answered"}
    assert assert_confidence([*rows, more], at_least_accuracy=0.95, at_least_coverage=None).status == "passed"
    wrong = [{**row, "correct": False} for row in rows]
    with pytest.raises(MeasurementFailed):
        assert_confidence(wrong, at_least_accuracy=0.95, at_least_coverage=None)


def test_where_all_are_right_there_is_no_auroc() -> None:
    rows = [{"confidence": n / 100, "correct": True, "outcome": "answered"} for n in range(100)]
    assert "auroc" not in measure(rows)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"confidence": None}, {}),
        ({"confidence": 1.2}, {}),
        ({"confidence": -0.1}, {}),
        ({"confidence": math.nan}, {}),
        ({"confidence": True}, {}),
        ({"confidence": "0.9"}, {}),
        ({"correct": None}, {}),
        ({"correct": 1}, {}),
        ({"correct": "yes"}, {}),
        ({"outcome": None}, {}),
        ({"outcome": 3}, {}),
        ({}, {"at_least_accuracy": 95}),
        ({}, {"at_least_coverage": "0.5"}),
        ({}, {"threshold": 85}),
        ({}, {"threshold": True}),
        ({}, {"seed": 1.5}),
        ({}, {"seed": None}),
        ({}, {"queue": 3}),
        ({}, {"queue": "a\0b"}),
    ],
    ids=lambda value: "-".join(f"{key}={option}" for key, option in value.items()),
)
def test_bad_input_is_refused_with_its_record(change: dict[str, Any], options: dict[str, Any]) -> None:
    rows = draw_rows(5)
    rows[2] |= {"confidence": 0.9, "outcome": "answered", **change}
    with pytest.raises(UsageError, check=check_message):
        assert_confidence(rows, **{"at_least_accuracy": 0.9, "at_least_coverage": 0.5, **options})


@pytest.mark.parametrize(
    "records", [None, 3, "x", b"x", [1], [None], ["a"], [[]], [("confidence", 0.1)]], ids=repr
)
def test_what_is_no_list_of_records_is_refused(records: Any) -> None:
    with pytest.raises(UsageError, match="assert_confidence: expected mappings with confidence and correct"):
        assert_confidence(records, at_least_accuracy=0.9, at_least_coverage=None)


def test_no_number_of_answers_proves_that_all_are_right() -> None:
    rows = [{**row, "correct": True} for row in draw_rows(99)]
    with pytest.raises(MeasurementErrored, match="none proves 1"):
        assert_confidence(rows, at_least_accuracy=1.0, at_least_coverage=None)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"confidence": 0.5, "correct": True, "outcome": "answered"}] * 5,
        [{"confidence": 0.5, "correct": True, "outcome": "answered"}, {"confidence": 0.4, "correct": True}],
        [{"confidence": n / 10, "correct": True, "family": "one"} for n in range(9)],
    ],
    ids=["none", "all equal", "some outcomes", "one family"],
)
def test_records_that_tell_nothing_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_confidence(rows, at_least_accuracy=0.9, at_least_coverage=None)


def test_what_was_flagged_goes_to_the_review_queue_once(tmp_path: Path) -> None:
    queue = tmp_path / "queue.jsonl"
    rows = [
        {"confidence": 0.1 * n, "correct": None if n < 3 else True, "outcome": "flagged" if n < 3 else "answered",
         "id": f"q{n}", "input": f"Question {n}?", "output": f"Answer {n}"}
        for n in range(8)
    ]  # fmt: skip
    measure(rows)
    assert not queue.exists()
    measure(rows, queue=str(queue))
    first = queue.read_bytes()
    measure(rows, queue=str(queue))
    assert queue.read_bytes() == first
    entries = read_queue(queue)
    assert [(entry.input, entry.output) for entry in entries] == [
        (f"Question {n}?", f"Answer {n}") for n in range(3)
    ]
    assert entries[1].reason == "low confidence 0.10"


def test_the_curve_has_points_between_distinct_confidences_only() -> None:
    rows = draw_rows(300, seed=3)
    curve = coverage_curve([row["confidence"] for row in rows], [row["correct"] for row in rows])
    assert [level for level, *_ in curve] == sorted({row["confidence"] for row in rows}, reverse=True)
    for level, count, right in curve:
        least = [row["correct"] for row in rows if row["confidence"] >= level]
        assert (count, right) == (len(least), sum(least))
    assert coverage_curve([], []) == []
    assert reliability_bins([], []) == []
    assert reliability_bins([1.0, 0.0], [True, False]) == [[0.0, 0.0, 1], [1.0, 1.0, 1]]


def test_log_probabilities() -> None:
    assert logprob_confidence([math.log(0.5), math.log(0.125)]) == pytest.approx(0.25)
    assert logprob_confidence([-math.inf, -0.1]) == 0.0
    tokens = {" m": math.log(0.5), "m": math.log(0.25), "M": math.log(0.2)}
    assert logprob_confidence(tokens, "m") == pytest.approx(0.75)
    # So sure that what is left out does not show: no sign of a renormalization
    assert logprob_confidence({"yes": -1e-9, "no": -22.0}, "yes") == pytest.approx(1.0)


@pytest.mark.parametrize(
    "read",
    [
        lambda: logprob_confidence([]),
        lambda: logprob_confidence([-0.1, None]),  # type: ignore[list-item]
        lambda: logprob_confidence([0.3]),
        lambda: logprob_confidence([math.nan]),
        lambda: logprob_confidence({"yes": math.log(0.6), "no": math.log(0.4)}, "yes"),
        lambda: logprob_confidence({"yes": math.log(0.6)}, "no"),
        lambda: agreement_confidence(["yes"]),
        lambda: agreement_confidence(["yes", None]),  # type: ignore[list-item]
        lambda: stated_confidence("I have no idea."),
        lambda: stated_confidence("Confidence: 0.9, no, confidence: 0.3"),
        lambda: stated_confidence("Confidence: 85"),
        lambda: stated_confidence("confidence: x", {"x": -0.5}),
        lambda: stated_confidence("confidence: x", {}),
        lambda: stated_confidence("confidence: ", {"": 0.5}),
        lambda: stated_confidence(None),  # type: ignore[arg-type]
        lambda: logprob_confidence(None),  # type: ignore[arg-type]
        lambda: logprob_confidence({"yes": -0.5}, None),  # type: ignore[arg-type]
        lambda: agreement_confidence(None),  # type: ignore[arg-type]
        lambda: agreement_confidence("aa"),
        lambda: agreement_confidence({"a": 1, "b": 2}),  # type: ignore[arg-type]
    ],
)
def test_a_confidence_that_cannot_be_read_is_an_error(read: Callable[[], float]) -> None:
    with pytest.raises(ValueError, check=check_message):
        read()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45 days. Confidence: 0.85", 0.85),
        ("I am 85% sure of it.", 0.85),
        ("confidence level is 8/10", 0.8),
        ("Confidence = 70 / 100.", 0.7),
        ("My confidence is very low.", 0.1),
        ("I say so with high confidence (confidence: high)", 0.85),
        ("Confidence: 1", 1.0),
        ("100 % certain", 1.0),
        ("Confidence: 8.5 / 10", 0.85),
    ],
)
def test_stated_confidence(text: str, expected: float) -> None:
    assert stated_confidence(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "Confidence: 0,85",
        "Confidence: 1/5",
        "Confidence: 1 out of 10",
        "confidence 0.8/5",
        "0,1 sure",
        "85-90% sure",
    ],
)
def test_a_number_that_is_written_otherwise_is_no_confidence_of_its_first_digit(text: str) -> None:
    with pytest.raises(ValueError, match="got none"):
        stated_confidence(text)


def test_a_bool_is_no_log_probability() -> None:
    with pytest.raises(ValueError, match="False"):
        logprob_confidence([False])


@pytest.mark.slow
def test_words_of_ones_own_and_a_long_text() -> None:
    assert stated_confidence("Konfidenz? confidence: sicher", {"Sicher": 0.9, "unsicher": 0.2}) == 0.9
    assert stated_confidence("confidence is of about " * 20_000 + "confidence: 0.5") == 0.5


def sides(fixed: int, broken: int, same: int = 20) -> tuple[list[bool], list[bool]]:
    return [False] * fixed + [True] * broken + [True] * same, [True] * fixed + [False] * broken + [
        True
    ] * same


def test_a_correction_that_helps() -> None:
    measured = assert_correction(*sides(9, 1), calls=[Call(cost_usd=0.01), Call(cost_usd=0.02)])
    assert (measured.name, measured.status) == ("correction.gain", "passed")
    assert measured.value == pytest.approx(8 / 30)
    check_message(measured.reason)


def test_a_correction_that_makes_answers_worse_fails() -> None:
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_correction(*sides(1, 9))
    assert caught.value.measurement.value == pytest.approx(-8 / 30)


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (5, 0), (4, 2), (3, 3)])
def test_too_few_changes_are_undecided_with_the_number_that_decides(fixed: int, broken: int) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_correction(*sides(fixed, broken), calls=[Call()])


@pytest.mark.parametrize(
    ("before", "after"),
    [([], []), ([True], []), ([True], [None]), ([1, 0], [1, 1]), (True, [False]), ([True], False)],
    ids=str,
)
def test_labels_that_are_no_labels(before: Any, after: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_correction(before, after)


@pytest.mark.parametrize(
    "value", [None, 3, "x", {}, b"xx", range(2), (1, 0), {True, None}], ids=lambda value: type(value).__name__
)
def test_what_is_no_list_of_labels_is_refused(value: Any) -> None:
    for given in ((value, [True, False]), ([True, False], value)):
        with pytest.raises(
            UsageError, match="assert_correction: expected lists of as many True or False before as after"
        ):
            assert_correction(*given)


@pytest.mark.parametrize("calls", [None, 3, "abc", [1], [None]], ids=str)
def test_the_calls_of_a_correction_are_calls(calls: Any) -> None:
    with pytest.raises(UsageError, match="assert_correction: expected calls"):
        assert_correction(*sides(9, 1), calls=calls)


def test_labels_and_costs_of_any_kind_of_list() -> None:
    before, after = sides(9, 1)
    calls = (Call(cost_usd=cost) for cost in (0.01, math.nan))
    measured = assert_correction(iter(before), np.array(after), calls=calls)
    assert measured.value == pytest.approx(8 / 30)
    assert "a sum that is not known" in measured.reason


@pytest.mark.slow
@pytest.mark.parametrize(("evaluator", "auroc"), [("GPT-4", 0.92), ("ChatGPT", 0.54)])
def test_agreement_of_recorded_judges_tells_much_of_a_strong_model_only(evaluator: str, auroc: float) -> None:
    shared("judge", "llmbar", "replies.jsonl.gz")
    rows = recorded.read_strategies(evaluator)
    expected = roc_auc_score([row["correct"] for row in rows], [row["confidence"] for row in rows])
    assert expected == pytest.approx(auroc, abs=0.005)
    figures = recorded.measure(rows, 0.8)
    assert figures["auroc"].value > 0.8 if evaluator == "GPT-4" else figures["auroc"].value < 0.65
