from __future__ import annotations

import pytest
from support.messages import check_message
from support.sample_run import fixed_run

from pytest_llmops.measurement import Json, Measurement, format_amount, format_value_and_threshold
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.results.run import Outcome, Run, TestRecord
from pytest_llmops.results.summary import build_matrices, summarize_metrics, summarize_run
from pytest_llmops.results.traffic import Traffic, count_traffic, format_cost, percentile, summarize_latency


def run_of(*measurements: Measurement) -> Run:
    return Run(records=(TestRecord(nodeid="t", measurements=measurements),))


def score(value: float, **how: object) -> Measurement:
    return Measurement(name="m", value=value, **how)  # type: ignore[arg-type]


def test_an_empty_run_adds_up_to_nothing() -> None:
    run = summarize_run(Run())
    assert (run.tests, run.verdict, run.outcome_words) == (0, "EMPTY", "no tests were recorded")
    assert (run.metrics, run.versions, run.judges, run.models, dict(run.by_purpose)) == (
        (),
        (),
        (),
        (),
        {},
    )
    assert run.traffic == Traffic()
    assert run.traffic.known_usd is None
    assert (run.latency.n, run.latency.p50, run.cassettes.files, run.duration_s) == (0, None, 0, 0)


def test_the_fixed_run() -> None:
    run = summarize_run(fixed_run())
    assert run.outcome_words == "2 failed, 2 errors, 1 xpassed, 4 passed, 1 xfailed, 1 skipped"
    assert (run.tests, run.verdict) == (11, "FAIL")
    assert run.models == ("gpt-5-mini", "claude-sonnet-4-5")
    cosine = run.metrics[0]
    assert (cosine.name, cosine.n, cosine.failed, cosine.passed, cosine.threshold) == (
        "similarity.cosine",
        4,
        1,
        3,
        0.75,
    )
    assert cosine.mean == pytest.approx((0.41 + 0.93 + 0.78 + 0.95) / 4)
    assert cosine.median == pytest.approx((0.78 + 0.93) / 2)
    assert (cosine.minimum, cosine.maximum) == (0.41, 0.95)
    assert cosine.histogram == (0, 0, 0, 0, 1, 0, 0, 1, 0, 2)
    assert not cosine.judged
    quality = run.metrics[1]
    assert (quality.n, quality.errored, quality.judged) == (4, 1, True)
    assert (run.traffic.live, run.traffic.replayed, run.traffic.unpriced) == (1, 8, 4)
    assert run.traffic.spent_usd == pytest.approx(0.0017)
    assert run.traffic.saved_usd == pytest.approx(0.0012)
    assert run.traffic.known_usd == pytest.approx(0.0029)
    assert (run.traffic.input_tokens, run.traffic.output_tokens) == (4 * 180 + 312, 4 * 21 + 54)
    assert {key: value.calls for key, value in run.by_purpose.items()} == {"app": 5, "judge": 4}
    assert (run.latency.n, run.latency.p50, run.latency.p95) == (5, 0.8, 1.9)
    tapes = run.cassettes
    assert (tapes.files, tapes.replayed, tapes.recorded, tapes.missed, tapes.stale) == (6, 8, 1, 1, 1)
    assert [(judge.name, judge.model) for judge in run.judges] == [("quality", "smollm2-135m-instruct")]


def test_versions_of_a_prompt_are_added_up_apart() -> None:
    versions = summarize_run(fixed_run()).versions
    assert [(version.prompt, version.label, version.tests, version.passed) for version in versions] == [
        ("support/answer", "v1 (production)", 2, 1),
        ("support/answer", "v2 (candidate)", 2, 2),
        ("extract/order", "v7", 1, 0),
    ]
    assert [version.metrics[0].mean for version in versions[:2]] == [
        pytest.approx(0.595),
        pytest.approx(0.94),
    ]
    assert versions[0].traffic.calls == 4
    assert versions[0].latency.p50 == 0.8


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["passed", "skipped"], "PASS"),
        (["xpassed"], "PASS"),
        (["passed", "errored"], "ERROR"),
        (["errored", "failed"], "FAIL"),
        (["skipped", "skipped"], "NO RESULT"),
        (["xfailed"], "NO RESULT"),
    ],
)
def test_the_verdict_of_a_run(outcomes: list[Outcome], verdict: str) -> None:
    run = Run(records=tuple(TestRecord(nodeid=str(n), outcome=outcome) for n, outcome in enumerate(outcomes)))
    assert summarize_run(run).verdict == verdict


def test_passed_is_printed_even_when_it_is_none() -> None:
    assert (
        summarize_run(Run(records=(TestRecord(nodeid="t", outcome="skipped"),))).outcome_words
        == "0 passed, 1 skipped"
    )


def test_what_could_not_be_measured_is_in_no_mean() -> None:
    (summary,) = summarize_metrics(run_of(score(1.0), Measurement(name="m", error="timeout")).records)
    assert (summary.n, summary.mean, summary.errored, summary.recorded) == (1, 1.0, 1, 1)


def test_only_errors_give_no_statistics() -> None:
    (summary,) = summarize_metrics(run_of(Measurement(name="m", error="timeout")).records)
    assert (summary.n, summary.mean, summary.minimum, summary.median, summary.maximum) == (
        0,
        None,
        None,
        None,
        None,
    )
    assert summary.histogram == (0,) * 10


@pytest.mark.parametrize(
    "other",
    [{"version": "2"}, {"unit": "s"}, {"better": "lower"}],
    ids=["version", "unit", "direction"],
)
def test_unlike_measurements_are_not_mixed(other: dict[str, object]) -> None:
    assert [
        first.n for first in summarize_metrics(run_of(score(0.5), score(0.7, **other), score(0.6)).records)
    ] == [2, 1]


def test_labels_of_one_name_are_added_up_together() -> None:
    (summary,) = summarize_metrics(run_of(score(0.0, label="a"), score(1.0, label="b")).records)
    assert (summary.n, summary.mean) == (2, 0.5)


def test_a_threshold_is_reported_only_if_all_agree() -> None:
    assert (
        summarize_metrics(run_of(score(1, threshold=0.5), score(1, threshold=0.5), score(1)).records)[
            0
        ].threshold
        == 0.5
    )
    mixed = summarize_metrics(run_of(score(1, threshold=0.7), score(1, threshold=0.5)).records)[0]
    assert (mixed.threshold, mixed.thresholds) == (None, (0.5, 0.7))


@pytest.mark.parametrize("tenth", range(10))
def test_a_bin_begins_with_its_lower_edge(tenth: int) -> None:
    (summary,) = summarize_metrics(run_of(score(tenth / 10)).records)
    assert summary.histogram.index(1) == tenth


def test_the_outermost_bins_hold_what_lies_outside() -> None:
    (summary,) = summarize_metrics(run_of(score(-0.2), score(1.0), score(3.0)).records)
    assert summary.histogram == (1, 0, 0, 0, 0, 0, 0, 0, 0, 2)


def test_other_units_have_no_histogram() -> None:
    assert summarize_metrics(run_of(score(0.5, unit="s")).records)[0].histogram == ()


def test_the_mean_of_huge_numbers_stays_finite() -> None:
    (summary,) = summarize_metrics(run_of(*[score(1.7e308, unit="count")] * 3).records)
    assert summary.mean == pytest.approx(1.7e308)


@pytest.mark.parametrize(
    ("p", "expected"), [(5, 15), (30, 20), (40, 20), (50, 35), (95, 50), (100, 50)]
)  # the worked example of the nearest-rank method
def test_percentiles_are_nearest_rank(p: float, expected: float) -> None:
    assert percentile([50, 15, 40, 20, 35], p) == expected


def test_a_percentile_is_not_moved_by_rounding() -> None:
    # 29 * 100 / 100 is 29 on paper, and 0.29 * 100 is a hair above it.
    assert percentile(range(1, 101), 29) == 29
    assert percentile([], 50) is None


def test_only_the_application_counts_for_latency() -> None:
    calls = [Call(latency_s=1.0), Call(latency_s=9.0, purpose="judge"), Call(latency_s=None)]
    assert (summarize_latency(calls).n, summarize_latency(calls).p50, summarize_latency(calls).p95) == (
        1,
        1.0,
        1.0,
    )


def test_an_unknown_price_is_never_zero() -> None:
    unknown = count_traffic([Call(), Call(replayed=True)])
    assert (unknown.spent_usd, unknown.saved_usd, unknown.known_usd, unknown.unpriced) == (
        None,
        None,
        None,
        2,
    )
    free = count_traffic([Call(cost_usd=0.0)])
    assert (free.spent_usd, free.unpriced) == (0.0, 0)
    assert format_cost(free) == "$0.00 known"


def test_tokens_that_nobody_reports_are_unknown() -> None:
    used = count_traffic([Call(usage=Usage(input_tokens=7)), Call()])
    assert (used.input_tokens, used.output_tokens, used.uncounted) == (7, None, 1)


def test_the_cost_in_words() -> None:
    replayed = Traffic(replayed=2, saved_usd=0.5)
    check_message(format_cost(replayed))
    assert format_cost(Traffic(live=1, spent_usd=1234.5)) == "$1,234.50 known"
    assert format_cost(Traffic(live=12, unpriced=12)) == "unknown, 12 calls without a price"


def test_a_judge_passed_by_value_is_named_after_its_measurement() -> None:
    (measurement,) = summarize_run(run_of(Measurement(name="judge.polite", value=1, version="7"))).judges
    assert (measurement.name, measurement.model, measurement.version) == ("polite", "", "7")


def test_facts_of_another_form_do_not_break_the_totals() -> None:
    facts: dict[str, Json] = {
        "prompt": "text",
        "judge": [1],
        "cassette": {"path": None, "replayed": "many", "stale": 2},
    }
    run = summarize_run(Run(records=(TestRecord(nodeid="t", facts=facts),)))
    assert run.versions == ()
    assert (run.cassettes.files, run.cassettes.replayed, run.cassettes.stale) == (1, 0, 2)


def test_the_matrix_has_cases_down_and_versions_across() -> None:
    (matrix,) = build_matrices(fixed_run())
    assert (matrix.test, matrix.prompt) == ("tests/test_refunds.py::test_answer", "support/answer")
    assert [column.label for column in matrix.columns] == ["v1 (production)", "v2 (candidate)"]
    assert [row.case for row in matrix.rows] == ["late-return", "gift-card"]
    assert [[cell[0].outcome for cell in row.cells] for row in matrix.rows] == [
        ["failed", "passed"],
        ["passed", "passed"],
    ]
    assert [row.differs for row in matrix.rows] == [True, False]


def version_of(version: str, nodeid: str, *, case: str = "", alias: str = "") -> TestRecord:
    side = alias or version
    parts = nodeid.partition("[")[2].rstrip("]").split("-")
    parts.remove(side)
    if case:
        parts.remove(case)
    params: dict[str, Json] = {"prompt": {"id": side}, **({"case": {"id": case}} if case else {})}
    params |= {f"other {number}": {"id": part} for number, part in enumerate(parts)}
    facts: dict[str, Json] = {
        "prompt": {"name": "p", "version": version, "alias": alias}, "params": params
    }  # fmt: skip
    return TestRecord(nodeid=nodeid, facts={**facts, "case": {"id": case}} if case else facts)


@pytest.mark.parametrize(
    ("records", "rows"),
    [
        ([version_of("v1", "t.py::a[v1]"), version_of("v2", "t.py::a[v2]")], [""]),
        ([version_of("v1", "t.py::a[v1-x]"), version_of("v2", "t.py::a[v2-x]")], ["x"]),
        ([version_of("v1", "t.py::a[x-v1]"), version_of("v2", "t.py::a[x-v2]")], ["x"]),
        (
            [version_of("v1", "t.py::a[v1-v2]", case="v2"), version_of("v2", "t.py::a[v2-v2]", case="v2")],
            ["v2"],
        ),
        (
            [
                version_of("v1", "t.py::a[x-v1-big]", case="x"),
                version_of("v2", "t.py::a[x-v2-big]", case="x"),
            ],
            ["x [big]"],
        ),
        (
            [
                version_of("v1", "t.py::a[old-x]", alias="old"),
                version_of("v2", "t.py::a[new-x]", alias="new"),
            ],
            ["x"],
        ),
        ([version_of("v1", "t.py::a[v1-x]"), version_of("v2", "t.py::a[v2-y]")], ["x", "y"]),
    ],
)
def test_a_row_is_what_stays_the_same_while_the_version_changes(
    records: list[TestRecord], rows: list[str]
) -> None:
    (matrix,) = build_matrices(Run(records=tuple(records)))
    assert [row.case for row in matrix.rows] == rows
    assert len(matrix.columns) == 2


def test_a_case_that_a_version_did_not_run_has_an_empty_cell() -> None:
    (matrix,) = build_matrices(
        Run(records=(version_of("v1", "a[v1-x]"), version_of("v1", "a[v1-y]"), version_of("v2", "a[v2-y]")))
    )
    assert [[len(cell) for cell in row.cells] for row in matrix.rows] == [[1, 0], [1, 1]]


def test_one_version_under_two_aliases_gives_two_columns() -> None:
    records = (version_of("v1", "a[old]", alias="old"), version_of("v1", "a[new]", alias="new"))
    (matrix,) = build_matrices(Run(records=records))
    assert [column.label for column in matrix.columns] == ["v1 (old)", "v1 (new)"]
    assert [version.label for version in summarize_run(Run(records=records)).versions] == ["v1 (old, new)"]


def test_one_version_alone_is_no_matrix() -> None:
    assert build_matrices(Run(records=(version_of("v1", "a[v1]"), version_of("v2", "b[v2]")))) == ()


@pytest.mark.parametrize(
    ("value", "unit", "formatted"),
    [
        (0.00001, "USD", "$0.00001"),
        (0.0, "USD", "$0.00"),
        (1234.5, "USD", "$1,234.50"),
        (0.0059, "s", "0.0059 s"),
        (0.0, "s", "0.00 s"),
        (0.5, "s", "0.50 s"),
        (1.5, "count", "1.5"),
    ],
)
def test_amounts(value: float, unit: str, formatted: str) -> None:
    assert format_amount(value, unit) == formatted


def test_a_value_is_told_apart_from_its_threshold() -> None:
    assert format_value_and_threshold(0.74999, 0.75, "1") == ("0.74999", "0.75000")
    assert format_value_and_threshold(0.75, 0.75, "1") == ("0.75", "0.75")
    assert format_value_and_threshold(0.05001, 0.05, "s") == ("0.05001 s", "0.05 s")
    assert format_value_and_threshold(501, 500, "tokens") == ("501 tokens", "500 tokens")


def test_each_verdict_names_its_judge() -> None:
    facts: dict[str, Json] = {"judge": {"name": "second", "version": "2", "model": "b"}}
    first = Measurement(
        name="judge.first", value=1, version="1", detail={"judge": {"name": "first", "model": "a"}}
    )
    second = Measurement(name="judge.second", value=1, version="2", detail={"judge": {"score": 3}})
    part = Measurement(name="judge.first.accuracy", value=1, version="1")
    record = TestRecord(nodeid="t", measurements=(part, first, second), facts=facts)
    judges = summarize_run(Run(records=(record, record))).judges
    assert [(judge.name, judge.model, judge.version) for judge in judges] == [
        ("first", "a", "1"),
        ("second", "b", "2"),
    ]


def test_versions_are_compared_over_the_tests_that_ran_with_each() -> None:
    def record(test: str, version: str, value: float) -> TestRecord:
        facts: dict[str, Json] = {"prompt": {"name": "p", "version": version, "fingerprint": version}}
        return TestRecord(nodeid=test, facts=facts, measurements=(Measurement(name="m", value=value),))

    both = [record("t.py::test_a[v1-x]", "v1", 0.2), record("t.py::test_a[v2-x]", "v2", 0.4)]
    more = [record("t.py::test_b[y]", "v2", 1.0)]
    means = {
        version.version: version.metrics[0].mean
        for version in summarize_run(Run(records=(*both, *more))).versions
    }
    assert means == {"v1": 0.2, "v2": 0.4}
    alone = {
        version.version: version.tests for version in summarize_run(Run(records=(both[0], *more))).versions
    }
    assert alone == {"v1": 1, "v2": 1}
