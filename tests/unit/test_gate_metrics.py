"""The gate on several metrics: who decides at which level, and what keeps a run from being compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.suites import CHECK, judge_records, make_record

from pytest_llmops.baselines import metric_verdicts
from pytest_llmops.baselines.baseline import Baseline, summarize_test
from pytest_llmops.baselines.changes import compare_tests
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.metrics.change.trials import Trials
from pytest_llmops.protocols import Call, Message
from pytest_llmops.reports.metric_rows import list_metric_rows
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

METRICS = ("a", "b", "c", "d")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("primary", "p_values", "red"),
    [
        ("a", (0.04, 0.5), "a"),  # a metric that decides: 4 %
        ("a", (0.041, 0.5), ""),
        ("a", (0.5, 0.01), "b"),  # all others: 1 %
        ("a", (0.5, 0.011), ""),
        ("a", (0.5, 0.005, 0.5), "b"),  # together (Holm)
        ("a", (0.5, 0.006, 0.5), ""),
        ("a", (0.5, 0.003, 0.005, 0.01), "bcd"),
        ("a", (0.5, 0.003, 0.006, 0.01), "b"),
        ("a, b", (0.02, 0.04, 0.5), "ab"),  # several that decide share the 4 %
        ("a b", (0.021, 0.5, 0.01), "c"),
        ("", (0.04,), "a"),  # the only metric decides
        ("", (0.0133, 0.5, 0.5), "a"),  # several without one that decides share the 4 %
        ("", (0.0134, 0.5, 0.5), ""),
    ],
)
def test_metrics_share_their_levels(
    primary: str, p_values: tuple[float, ...], red: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_p_value(trials: Trials) -> float:
        (score,) = next(iter(trials.values())).after
        return p_values[round(100 * (0.7 - score))]

    monkeypatch.setattr(metric_verdicts, "drop_p_value", find_p_value)
    names = METRICS[: len(p_values)]
    before = [make_record(str(case), dict.fromkeys(names, (0.8,))) for case in range(20)]
    worse = {name: (0.7 - place / 100,) for place, name in enumerate(names)}
    after = [make_record(str(case), worse) for case in range(20)]
    verdict = judge_records(before, after, GateRules(primary=primary))
    assert "".join(sorted(metric.name for metric in verdict.metrics if metric.status == "RED")) == red
    assert (verdict.status == "RED") == bool(red)


def test_the_metric_that_decides_may_have_spaces_in_its_name() -> None:
    name = "answer quality"
    before = [make_record(str(case), {name: (0.8,), "b": (0.8,)}) for case in range(20)]
    after = [make_record(str(case), {name: (0.7,), "b": (0.8,)}) for case in range(20)]
    verdict = judge_records(before, after, GateRules(primary=name))
    assert [metric.role for metric in verdict.metrics if metric.name == name] == ["primary"]
    assert verdict.status == "RED"


def judge_wavering(wavering: str, primary: str) -> Verdict:
    """Return the verdict on 60 cases, in which one of three metrics went up and down by 30 points."""
    before, after = [], []
    for case in range(60):
        scores = dict.fromkeys(METRICS[:3], (0.6,))
        before.append(make_record(str(case), scores))
        after.append(make_record(str(case), scores | {wavering: (0.3 if case % 2 else 0.9,)}))
    return judge_records(before, after, GateRules(primary=primary))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wavering", "primary", "status"),
    [
        ("c", "a", "GREEN"),
        ("c", "a b", "GREEN"),
        ("b", "a b", "AMBER"),
        ("c", "", "AMBER"),
        ("a", "a", "AMBER"),
    ],
)
def test_green_asks_only_the_metrics_that_are_named(wavering: str, primary: str, status: str) -> None:
    verdict = judge_wavering(wavering, primary)
    assert verdict.status == status
    assert {metric.name: metric.status for metric in verdict.metrics}[wavering] == "AMBER"
    hint = "name one to three of them in the ini key llm_primary_metric"
    assert any(hint in text for text in verdict.advice) == (primary == "")


def test_a_metric_that_decides_and_has_only_recordings_of_the_baseline_leaves_the_verdict_to_the_other() -> (
    None
):
    same = [make_record(f"b{case}", {"b": (0.4,)}, facts={"recordings": ["aa"]}) for case in range(30)]
    changed = [make_record(f"a{case}", {"a": (0.8,)}) for case in range(60)]
    verdict = judge_records([*changed, *same], [*changed, *same], GateRules(primary="a b"))
    assert verdict.status == "GREEN"
    assert verdict.unchanged == 30
    too_few = [make_record(f"b{case}", {"b": (0.4,)}) for case in range(5)]
    verdict = judge_records([*changed, *too_few], [*changed, *too_few], GateRules(primary="a b"))
    assert verdict.sentence.startswith("Too few cases for a verdict on b")


@pytest.mark.parametrize("primary", ["", "a"])
def test_a_guard_rail_that_no_test_measures_any_more_is_an_error(primary: str) -> None:
    before = [make_record(str(case), {"a": (0.8,), "b": (0.8,)}) for case in range(60)]
    after = [make_record(str(case), {"a": (0.8,)}) for case in range(60)]
    verdict = judge_records(before, after, GateRules(primary=primary))
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not compared: b is no longer measured in 60 of 60 tests (limit: 6)"


@pytest.mark.parametrize("worst", [1.2, -0.1, 55.0])
@pytest.mark.parametrize("is_before", [False, True])
def test_a_metric_that_is_not_from_0_to_1_is_refused(worst: float, is_before: bool) -> None:
    sides = [[make_record(str(case), {"a": (0.8,)}) for case in range(30)] for _ in range(2)]
    sides[not is_before][3] = make_record("3", {"a": (worst,)})
    before, after = sides
    verdict = judge_records(before, after)
    assert verdict.status == "ERROR"
    assert verdict.sentence.startswith("Not compared: a has scores that are not from 0 to 1")
    assert f"({worst:g} in test_a.py::test_a[3])" in verdict.sentence


@pytest.mark.parametrize(("missing", "status"), [(2, "GREEN"), (3, "ERROR")])
def test_just_ten_percent_are_not_more_than_ten_percent(missing: int, status: str) -> None:
    before = [make_record(str(case), {"a": (0.8,) * 5, "b": (0.8,) * 5}) for case in range(20)]
    gone = judge_records(before, before[missing:])
    lost = judge_records(
        before, [make_record(str(n), {"a": (0.8,) * 5}) for n in range(missing)] + before[missing:]
    )
    newer = [make_record(str(n), {"a": (0.8,) * 5, "b": (0.8,) * 5}, version="2") for n in range(missing)]
    others = judge_records(before, newer + before[missing:])
    assert [verdict.status for verdict in (gone, lost, others)] == [status] * 3


def ask(name: str, *questions: str, case: str = "1") -> TestRecord:
    """Return a test that asks a model."""
    calls = tuple(
        Call(model="m", messages=(Message("user", question),), output="yes") for question in questions
    )
    return make_record(name, {"a": (1.0,)}, calls=calls, facts={"case": {"id": case, "input": case}})


def accept(*records: TestRecord) -> Baseline:
    return Baseline(tests={record.nodeid: summarize_test(record) for record in records})


def test_a_test_with_another_name_is_recognised_by_its_requests() -> None:
    comparison = compare_tests(
        accept(ask("old", "q", "r"), ask("kept", "s")), [ask("new", "q", "r"), ask("kept", "s")]
    )
    assert comparison.renamed == {"test_a.py::test_a[new]": "test_a.py::test_a[old]"}
    assert (comparison.new, comparison.missing) == ((), ())
    assert [test.old_nodeid for test in comparison.compared] == [
        "test_a.py::test_a[old]",
        "test_a.py::test_a[kept]",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([ask("old", "q"), ask("older", "q")], [ask("new", "q")]),  # two candidates
        ([ask("old", "q")], [ask("new", "q"), ask("newer", "q")]),
        ([ask("old", "q")], [ask("new", "other")]),
        ([ask("old", "q")], [ask("new", "q", case="2")]),
        ([ask("old", "q")], [ask("old", "q"), ask("new", "q")]),  # the old one is still there
        ([ask("old")], [ask("new")]),  # no request to recognise it by
    ],
)
def test_what_could_be_another_test_is_new(before: list[TestRecord], after: list[TestRecord]) -> None:
    comparison = compare_tests(accept(*before), after)
    assert comparison.renamed == {}
    known = {record.nodeid for record in before}
    assert [record.nodeid for record in comparison.new] == [r.nodeid for r in after if r.nodeid not in known]


def test_twenty_single_trials_keep_their_verdict_if_one_is_renamed() -> None:
    before = [ask(str(number), f"question {number}", case=str(number)) for number in range(20)]
    after = [ask("renamed", "question 0", case="0"), *before[1:]]
    assert judge_records(before, after).metrics[0].cases == 20


@pytest.mark.parametrize(("trials", "status"), [(1, "AMBER"), (6, "GREEN")])
def test_one_case_with_new_trials_takes_as_many_answers_as_its_share_asks(trials: int, status: str) -> None:
    """With one of ten cases asked again, a drop of 5 points is one of 50 in that case."""
    old = [make_record(str(case), {CHECK: (1.0,) * 3}, facts={"recordings": ["old"]}) for case in range(10)]
    new = make_record("0", {CHECK: (1.0,) * trials}, facts={"recordings": ["new"] * trials})
    verdict = judge_records(old, [new, *old[1:]])
    assert verdict.status == status


@pytest.mark.parametrize("measures", [True, False])
def test_a_metric_is_not_called_unchanged_where_tests_missed_their_recordings(*, measures: bool) -> None:
    before, after = [], []
    for case in range(20):
        scores = {CHECK: (1.0,) if case < 18 else (0.5,)}
        trials = {"n": 1, "passed": 1} if case < 18 else {}
        facts: dict[str, Any] = {"recordings": [f"{case}"], "trials": trials}
        before.append(make_record(str(case), scores, facts=facts))
        if case < 18:
            facts = {"trials": {"n": 1, "unscored": 1}}
            missed = make_record(str(case), scores if measures else {}, facts=facts, outcome="errored")
            after.append(replace(missed, raised=("CassetteMiss",)))
        else:
            after.append(before[-1])
    verdict = judge_records(before, after)
    assert verdict.status == "ERROR"
    rows = list_metric_rows(Run(records=tuple(after), verdicts=(verdict,)))
    # The score before is that of all tests that ran, not of the two that have a score on both sides.
    assert [(row.name, row.before, row.now, row.verdict) for row in rows if not row.is_quiet] == [
        (CHECK, "0.950", "\N{EN DASH}", "no score")
    ]


UNCHANGED = [make_record(str(case), {"a": (0.8,)}, facts={"recordings": [f"{case}"]}) for case in range(25)]
NOTHING_CHANGED = "Nothing changed: all 25 answers are the recordings of the baseline"


@pytest.mark.parametrize(
    "moved",
    [
        make_record("x", {"a": (0.2,)}),
        make_record("x", {"a": (0.8,)}, version="2"),
        make_record("x", {"a": (0.8,)}, version="2", facts={"recordings": ["x"]}),
        make_record("x", {}),
        make_record("x", {"a": (0.2,)}, facts={"recordings": ["x"]}),
        make_record("x", {"a": (0.8,)}, facts={"recordings": ["other"]}),
    ],
    ids=[
        "a score",
        "a version",
        "a version of the same recording",
        "a score that is lost",
        "a score of the same recording",
        "a recording",
    ],
)
def test_one_test_that_moved_is_not_nothing_changed(moved: TestRecord) -> None:
    before = make_record("x", {"a": (0.8,)}, facts={"recordings": ["x"]})
    verdict = judge_records([*UNCHANGED, before], [*UNCHANGED, moved])
    assert verdict.unchanged == 25
    assert not verdict.sentence.startswith("Nothing changed")


def test_a_test_without_scores_does_not_keep_a_run_from_being_unchanged() -> None:
    silent = make_record("silent", {})
    verdict = judge_records([*UNCHANGED, silent], [*UNCHANGED, silent])
    assert (verdict.status, verdict.sentence) == ("GREEN", NOTHING_CHANGED)


def test_a_run_without_scores_and_recordings_has_no_verdict() -> None:
    silent = [make_record(str(case), {}) for case in range(25)]
    assert judge_records(silent, silent).status == "NONE"


@pytest.mark.parametrize(
    ("scores", "unchanged"),
    [({"a": 0.8, "b": 0.5}, True), ({"a": 0.2, "b": 0.5}, False), ({"a": 0.8, "b": 0.2}, False)],
)
def test_a_test_is_unchanged_if_all_of_its_scores_are(scores: dict[str, float], *, unchanged: bool) -> None:
    facts = {"recordings": ["x"]}
    before = make_record("x", {"a": (0.8,), "b": (0.5,)}, facts=facts)
    after = make_record("x", {name: (score,) for name, score in scores.items()}, facts=facts)
    (test,) = compare_tests(accept(before), [after]).compared
    assert test.unchanged == unchanged


def test_a_run_without_recordings_is_judged_by_its_scores() -> None:
    scored = [make_record(str(case), {"a": (0.8,)}) for case in range(25)]
    verdict = judge_records(scored, scored)
    assert verdict.unchanged == 0
    assert not verdict.sentence.startswith("Nothing changed")


@pytest.mark.parametrize(
    ("score", "unchanged"), [(0.8, True), (0.8049, True), (0.7951, True), (0.8051, False), (0.7949, False)]
)
def test_a_score_that_moved_by_more_than_half_a_point_is_new_evidence(
    score: float, *, unchanged: bool
) -> None:
    before = make_record("x", {"a": (0.8,)}, facts={"recordings": ["x"]})
    after = make_record("x", {"a": (score,)}, facts={"recordings": ["x"]})
    (test,) = compare_tests(accept(before), [after]).compared
    assert test.unchanged == unchanged


def test_the_scores_of_trials_belong_to_their_recordings() -> None:
    before = make_record("x", {"a": (1.0, 0.0)}, facts={"recordings": ["x", "y"]})
    for scores, recordings, unchanged in (
        ((0.0, 1.0), ["y", "x"], True),
        ((0.0, 1.0), ["x", "y"], False),
        ((0.0,), ["y"], True),
        ((1.0,), ["y"], False),
        ((1.0, 0.0), ["x", "z"], False),
    ):
        after = make_record("x", {"a": scores}, facts={"recordings": recordings})
        (test,) = compare_tests(accept(before), [after]).compared
        assert test.unchanged == unchanged, (scores, recordings)
