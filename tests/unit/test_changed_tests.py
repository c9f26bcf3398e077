"""How a test differs from the baseline: its answers, its scores, and the kind of the change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline, BaselineTest, summarize_test
from pytest_llmops.baselines.changes import (
    ComparedTest,
    compare_tests,
    is_unchanged,
    list_changes,
    metric_trials,
)
from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.change.broken_cases import GAP
from pytest_llmops.results.run import TestRecord

RECORD = TestRecord(nodeid="t")


def stored(*scores: float | None, recordings: str = "", better: str = "higher", **how: Any) -> BaselineTest:
    return BaselineTest(
        outcome="passed",
        scores={"a": scores},
        metrics={"a": ("1", better)},
        recordings=tuple(recordings),
        **how,
    )


def pair(before: BaselineTest, after: BaselineTest, **how: Any) -> ComparedTest:
    return ComparedTest(RECORD, before, after, series=("a",), **how)


@pytest.mark.parametrize(
    ("before", "after", "is_known"),
    [
        ({"calls": ("r a",)}, {"calls": ("r a",)}, True),
        ({"output": "x"}, {"output": "y"}, True),
        ({"calls": ("r a",)}, {"output": "y"}, True),
        ({"calls": ("r a",)}, {}, False),
        ({}, {"output": "y"}, False),
    ],
)
def test_answers_are_compared_where_both_sides_have_some(
    before: dict[str, Any], after: dict[str, Any], *, is_known: bool
) -> None:
    test = pair(stored(1.0, **before), stored(1.0, **after))
    assert test.has_known_answers is is_known
    edited = replace(test, case_edited=True)
    assert (edited.has_known_answers, edited.answer_changed) == (False, False)


@pytest.mark.parametrize(
    ("before", "after", "is_other"),
    [
        (("x", ("r a",)), ("y", ("r b",)), True),
        (("x", ("r a",)), ("y", ("r a",)), False),
        (("x", ("r a,b",)), ("y", ("r a",)), True),  # a single trial that got two answers
        (("xy", ("r a,b",)), ("z", ("r a",)), False),  # fewer trials have fewer answers
        (("xy", ("r a,b",)), ("zw", ("r a,c",)), True),
        (("xy", ("r a",)), ("x", ("r b",)), False),  # the same recordings, read otherwise
        (("", ()), ("z", ("r a",)), False),
        (("x", ("r a",)), ("", ("r b",)), True),
        (("xy", ("r a,b",)), ("zw", ("r a,b",)), False),
    ],
)
def test_answers_are_other_ones_if_the_baseline_does_not_have_them(
    before: tuple[str, tuple[str, ...]], after: tuple[str, tuple[str, ...]], *, is_other: bool
) -> None:
    sides = [stored(1.0, recordings=recordings, calls=calls) for recordings, calls in (before, after)]
    assert pair(*sides).has_other_answers is is_other


def test_another_output_is_known_only_of_as_many_trials() -> None:
    one, other = stored(1.0, output="x"), stored(1.0, output="y")
    assert pair(one, other).has_other_output
    assert not pair(one, one).has_other_output
    assert not pair(one, stored(1.0, 1.0, output="y")).has_other_output


@pytest.mark.parametrize(
    ("before", "after", "fallen"),
    [
        (stored(1.0, recordings="x"), stored(1.0 - GAP, recordings="x"), ["a"]),
        (stored(1.0, recordings="x"), stored(1.0 - GAP + 0.01, recordings="x"), []),
        (stored(0.0, recordings="x", better="lower"), stored(GAP, recordings="x", better="lower"), ["a"]),
        (stored(0.0, recordings="x"), stored(GAP, recordings="x"), []),
        (
            stored(0.0, recordings="x", better="lower"),
            stored(GAP - 0.01, recordings="x", better="lower"),
            [],
        ),
        (stored(1.0, 0.0, recordings="xy"), stored(0.0, recordings="x"), ["a"]),
        (stored(1.0, 0.0, recordings="xy"), stored(0.0, recordings="y"), []),
        (stored(1.0, 1.0, recordings="xy"), stored(0.0, 1.0, recordings="xy"), []),
        (stored(1.0, recordings="x"), stored(0.0, recordings="z"), []),
        (stored(1.0, recordings="x"), stored(0.0), []),
        (stored(1.0, None, recordings="xy"), stored(0.0, recordings="x"), []),
    ],
)
def test_the_same_recordings_with_far_lower_scores_have_fallen(
    before: BaselineTest, after: BaselineTest, fallen: list[str]
) -> None:
    assert pair(before, after).list_fallen_metrics() == fallen


@pytest.mark.parametrize(
    ("old", "new", "unchanged"),
    [
        ((1.0, 1.0), (1.0, 1.0), True),
        ((1.0, 1.0), (0.0, 0.0), False),
        ((1.0, 0.0), (1.0, 0.0), True),
        ((1.0, 0.0), (0.0, 0.0), True),  # passed trials come first: which recording failed is not known
        ((1.0, 1.0), (1.0, 0.0), False),
    ],
)
def test_the_share_of_passed_trials_says_nothing_of_a_single_recording(
    old: tuple[float, ...], new: tuple[float, ...], *, unchanged: bool
) -> None:
    def make(scores: tuple[float, ...]) -> BaselineTest:
        return BaselineTest(
            outcome="passed",
            scores={TRIAL_RATE: scores},
            metrics={TRIAL_RATE: ("", "higher")},
            recordings=("x", "y"),
        )

    assert is_unchanged(make(old), make(new), [TRIAL_RATE]) is unchanged


def test_a_test_without_recordings_is_never_unchanged() -> None:
    assert not is_unchanged(stored(1.0, recordings="x"), stored(1.0), ["a"])
    assert not is_unchanged(stored(1.0), stored(1.0), ["a"])


def test_a_trial_that_has_no_score_now_is_no_other_score() -> None:
    assert is_unchanged(stored(1.0, 0.5, recordings="xy"), stored(1.0, None, recordings="xy"), ["a"])
    assert not is_unchanged(stored(1.0, recordings="xy"), stored(0.5, None, recordings="xy"), ["a"])


@pytest.mark.parametrize(
    ("outcomes", "scores", "kind"),
    [
        (("passed", "failed"), (0.5, 1.0), "regressed"),
        (("failed", "passed"), (1.0, 0.5), "regressed"),
        (("failed", "passed"), (0.5, 0.5), "improved"),
        (("failed", "xfailed"), (0.5, 0.5), "improved"),
        (("failed", "failed"), (0.5, 1.0), "improved"),
        (("failed", "failed"), (1.0, 0.5), "regressed"),
        (("passed", "passed"), (0.5, 0.5), None),
    ],
)
def test_the_outcome_of_a_test_counts_before_its_scores(
    outcomes: tuple[Any, Any], scores: tuple[float, float], kind: str | None
) -> None:
    before, after = (
        TestRecord(nodeid="t", outcome=outcome, measurements=(Measurement(name="a", value=score),))
        for outcome, score in zip(outcomes, scores, strict=True)
    )
    comparison = compare_tests(Baseline(tests={"t": summarize_test(before)}), [after])
    changes = list_changes(comparison, lambda _: None, partial=False)
    assert [change.kind for change in changes] == [kind] * (kind is not None)


def test_a_test_that_did_not_run_is_removed_unless_the_run_is_partial() -> None:
    baseline = Baseline(tests={"t": stored(1.0), "u": stored(1.0)})
    skipped = TestRecord(nodeid="u", outcome="skipped")
    comparison = compare_tests(baseline, [skipped])
    assert comparison.missing == ("t", "u")
    removed = list_changes(comparison, lambda _: None, partial=False)
    assert [(change.kind, change.nodeid, change.before_outcome) for change in removed] == [
        ("removed", "t", "passed"),
        ("removed", "u", "passed"),
    ]
    assert list_changes(comparison, lambda _: None, partial=True) == []


def test_the_score_of_a_trial_is_the_mean_of_its_series_and_higher_is_better() -> None:
    test = BaselineTest(
        outcome="passed",
        scores={"a": (1.0, 0.0, 0.5), "a #2": (0.0, None), "b": (0.0,)},
        metrics={"a": ("", "higher"), "a #2": ("", "lower"), "b": ("", "higher")},
    )
    assert metric_trials(test, "a", ["a", "a #2", "b"]) == (1.0, None, 0.5)
    assert metric_trials(test, "a", ["b"]) == ()
