"""Comparisons and judges as rows of tables: words, colours, figures, order and next steps."""

from __future__ import annotations

import re

import pytest
from support.report_states import STATES, comparisons_run

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.reports.comparisons import (
    WORD_TONES,
    ShownComparison,
    ShownJudge,
    build_metric,
    count_holding,
    list_comparisons,
    list_judges,
)
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import MetricVerdict, Verdict


def named(run: Run) -> dict[str, ShownComparison]:
    return {row.name: row for row in list_comparisons(run)}


def judged(calibration: tuple[str, str] | None, canaries: tuple[str, str] | None) -> ShownJudge:
    """Return the row of a judge with these records: their status and text."""
    detail: dict[str, Json] = {"judge": {"name": "quality", "model": "m"}}
    for kind, record in (("calibration", calibration), ("canaries", canaries)):
        if record is not None:
            detail[kind] = {"status": record[0], "text": record[1]}
    measurement = Measurement(name="judge.quality", value=1.0, version="1", detail=detail)
    (judge,) = list_judges(Run(records=(TestRecord(nodeid="t", measurements=(measurement,)),)))
    return judge


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_a_run_without_comparisons_has_no_rows(state: str) -> None:
    assert list_comparisons(STATES[state]()) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 6, 20])
def test_a_sample_run_has_as_many_rows_as_it_says(count: int) -> None:
    assert len(list_comparisons(comparisons_run(count))) == count


@pytest.mark.slow
def test_what_does_not_hold_comes_first_by_colour() -> None:
    rows = list_comparisons(comparisons_run(20))
    assert [(row.word, row.tone) for row in rows if not row.holds] == [
        ("worse", "red"), ("broken", "red"), ("worse", "red"),
        ("not proved", "violet"), ("not proved", "violet"),
        ("undecided", "amber"), ("undecided", "amber"),
        ("better", "green"),
    ]  # fmt: skip
    assert [row.holds for row in rows] == sorted(row.holds for row in rows)
    assert count_holding(rows) == 12


@pytest.mark.slow
def test_a_variant_has_its_figures_on_the_scale_of_the_metric_and_in_points() -> None:
    row = named(comparisons_run(6))["model small-chat, against tiny-chat"]
    assert (row.kind, row.word, row.data) == ("versions", "better", "40 cases")
    assert row.metric is not None
    assert row.metric.name == "text.contains"
    assert (row.metric.base, row.metric.now, row.metric.change, row.metric.points) == (
        "0.641",
        "0.865",
        "+0.224",
        "+22.4",
    )
    assert re.fullmatch(r"\+21\.\d to \+23\.\d", row.metric.likely)
    assert row.metric.lower is not None
    assert row.metric.upper is not None
    assert row.metric.lower < row.metric.change_points < row.metric.upper
    (judge,) = row.others
    assert (judge.name, judge.base, judge.now) == ("judge.helpful, 1 to 5", "3.562", "4.460")


@pytest.mark.slow
def test_a_share_has_its_limit_its_interval_and_what_to_look_at() -> None:
    row = named(comparisons_run(20))["Tools: attacks blocked"]
    assert (row.kind, row.suite, row.what, row.decides) == ("red team", "Tools", "attacks blocked", True)
    assert row.share is not None
    assert (row.share.counted, row.share.share, row.share.interval, row.share.required) == (
        "6 of 24",
        "25 %",
        "12 to 45 %",
        "≥ 60 %",
    )
    assert row.look_at == "wording-00, wording-01 and 16 more"
    assert row.next_step == "Read wording-00, wording-01 and 16 more"
    assert row.sentence == "attacks blocked: 6 of 24 (25 %), required at least 60 %: broken"


@pytest.mark.slow
def test_a_single_red_team_needs_no_name_before_its_shares() -> None:
    rows = named(comparisons_run(6))
    assert rows["harmless refused"].share is not None
    assert rows["harmless refused"].share.required == "≤ 35 %"


@pytest.mark.slow
def test_what_is_undecided_says_how_many_cases_to_add() -> None:
    rows = named(comparisons_run(6))
    assert rows["Other wording: same answers kept"].next_step == "To decide, add about 360 changed inputs"
    assert rows["temperature 0.7, against 0"].next_step.startswith("To decide, add about 78 cases")


def test_one_transformation_in_two_tests_is_named_with_its_test() -> None:
    verdicts = [
        Verdict(
            kind="robustness",
            subject=f"input case of test_a.py::test_{name}",
            status="equivalent",
            shares=(ShareVerdict(name="right answers kept", status="holds"),),
        )
        for name in ("labels", "long_answers")
    ]
    assert list(named(Run(verdicts=tuple(verdicts)))) == [
        "Capital letters, Labels: right answers kept",
        "Capital letters, Long answers: right answers kept",
    ]


def test_a_share_without_scores_is_no_share_of_zero() -> None:
    share = ShareVerdict(name="attacks blocked", status="no score", limit=0.6)
    verdict = Verdict(kind="guardrail", subject="attacks a", status="unscored", decides=True, shares=(share,))
    run = Run(records=(TestRecord(nodeid="t"),), verdicts=(verdict,))
    (row,) = list_comparisons(run)
    assert (row.word, row.tone) == ("no score", "violet")
    assert row.share is not None
    assert (row.share.counted, row.share.share, row.share.value) == ("–", "–", None)
    assert build_headline(run).title == (
        "ERROR: A limit is not proved: attacks blocked, no score, required at least 60 %."
    )


@pytest.mark.slow
def test_the_headline_names_the_red_team_whose_limit_fails() -> None:
    assert build_headline(comparisons_run(20)).sentence == (
        "A limit is broken: Tools: attacks blocked, 6 of 24 (25 %), required at least 60 %"
    )


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("not compared: judge.tone has no score for 9 of 80 trials", "no score"),
        ("not compared: 9 of 40 cases did not run on both sides", "not compared"),
    ],
)
def test_variants_that_cannot_be_compared_have_no_figures(sentence: str, word: str) -> None:
    verdict = Verdict(
        kind="comparison", subject="prompt v2", baseline="v1", status="error", sentence=sentence,
        metrics=(MetricVerdict(name="judge.tone", status="undecided", before=0.5, after=0.7, change=0.2),),
    )  # fmt: skip
    (row,) = list_comparisons(Run(verdicts=(verdict,)))
    assert (row.word, row.tone, row.metric, row.holds) == (word, "violet", None, False)


@pytest.mark.parametrize(
    ("status", "word", "holds"),
    [("moved", "moved", False), ("unknown", "not known", False), ("same", "not moved", True), ("changed", "not moved", True)],
)  # fmt: skip
def test_sentinels_are_a_row(status: str, word: str, holds: bool) -> None:
    verdict = Verdict(kind="sentinel", status=status, sentence="nothing moved")
    (row,) = list_comparisons(Run(verdicts=(verdict,)))
    assert (row.kind, row.name, row.word, row.holds) == ("sentinels", "sentinels", word, holds)
    assert row.sentence == "nothing moved"


def test_of_a_metric_whose_lower_scores_are_better_the_own_scores_are_shown() -> None:
    verdict = MetricVerdict(name="judge.errors", status="better", before=0.6, after=0.8, change=0.2)
    metric = build_metric(verdict, better="lower")
    assert (metric.base, metric.now, metric.change, metric.points) == ("0.400", "0.200", "-0.200", "+20.0")


def test_scores_that_differ_do_not_look_equal() -> None:
    metric = build_metric(MetricVerdict(name="exact", before=0.811, after=0.814, change=0.003))
    assert (metric.base, metric.now, metric.change) == ("0.811", "0.814", "+0.003")


def test_of_a_metric_with_too_many_missing_scores_the_rest_is_not_shown() -> None:
    metric = build_metric(MetricVerdict(name="exact", before=0.8, after=0.9, scored=9, unscored=1))
    assert (metric.word, metric.base, metric.now, metric.change) == ("no score", "0.800", "–", "–")
    none = build_metric(MetricVerdict(name="exact", unscored=4))
    assert (none.word, none.base, none.now) == ("no score", "–", "–")


@pytest.mark.parametrize(
    ("calibration", "canaries", "word", "caution"),
    [
        (("calibrated", "calibrated: kappa 0.71 (2026-05-02)"), ("fit", "withstands all 41 canaries"), "reliable", ""),
        (None, None, "not checked", "the judge quality was never checked against human labels"),
        (
            None,
            ("unfit", "unfit: it passes 2 of 39 canaries (verdict-json, score-first)"),
            "not reliable",
            "the judge quality accepted 2 of 39 bad answers, and was never checked against human labels",
        ),
        (
            ("below its thresholds", "below its thresholds: kappa 0.21 (2026-05-02)"),
            None,
            "not reliable",
            "the judge quality does not agree well enough with human labels (kappa 0.21 (2026-05-02))",
        ),
        (
            ("out of date", "calibration out of date, the judge or its model has changed since: kappa 0.71"),
            None,
            "not checked",
            "the judge quality changed since it was last compared with human labels",
        ),
    ],
)  # fmt: skip
def test_a_judge_is_reliable_not_reliable_or_not_checked(
    calibration: tuple[str, str] | None, canaries: tuple[str, str] | None, word: str, caution: str
) -> None:
    judge = judged(calibration, canaries)
    assert (judge.word, judge.caution) == (word, caution)
    assert judge.tone == WORD_TONES[word]


def test_a_judge_that_rejects_all_bad_answers_is_said_so() -> None:
    text = "withstands all 41 canaries, 2 without a verdict (2026-05-02)"
    assert judged(None, ("fit", text)).canaries == "rejected all 41 bad answers"
