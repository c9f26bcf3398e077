from __future__ import annotations

import pytest
from support.messages import check_message
from support.page import read_texts

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.html_views import rerun_flags
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.comparison import row_key
from pytest_llmops.results.run import Outcome, Run, TestRecord
from pytest_llmops.results.summary import build_matrices, summarize_run


def record(
    nodeid: str, model: str, value: float = 1.0, *, outcome: Outcome = "passed", case: str = ""
) -> TestRecord:
    others = [part for part in nodeid.partition("[")[2].rstrip("]").split("-") if part not in (model, case)]
    params: dict[str, Json] = {"llm": {"id": model}, "case": {"id": case}} if case else {"llm": {"id": model}}
    params |= {f"other {number}": {"id": part} for number, part in enumerate(others)}
    facts: dict[str, Json] = {
        "model": {"name": model}, **({"case": {"id": case}} if case else {}), "params": params
    }  # fmt: skip
    return TestRecord(
        nodeid=nodeid, outcome=outcome, measurements=(Measurement(name="m", value=value),), facts=facts
    )


def compared(*records: TestRecord) -> list[tuple[int, str, int, int, float | None]]:
    candidates = summarize_run(Run(records=records)).candidates
    return [
        (
            candidate.comparison,
            candidate.label,
            candidate.tests,
            candidate.left_out,
            candidate.metrics[0].mean,
        )
        for candidate in candidates
    ]


def test_only_tests_that_ran_with_all_models_count() -> None:
    assert compared(
        record("t.py::a[x-late]", "x", 0.2, case="late"),
        record("t.py::a[x-early]", "x", 1.0, case="early"),
        record("t.py::a[x-odd]", "x", 0.9, case="odd"),
        record("t.py::a[y-late]", "y", 0.4, case="late"),
        record("t.py::a[y-odd]", "y", 0.5, case="odd", outcome="skipped"),
    ) == [(0, "x", 1, 2, 0.2), (0, "y", 1, 2, 0.4)]


def test_a_test_that_failed_or_was_not_scored_has_run() -> None:
    result = compared(
        record("t.py::a[x]", "x", 0.1, outcome="failed"), record("t.py::a[y]", "y", outcome="errored")
    )
    assert [row[1:3] for row in result] == [("x", 1), ("y", 1)]


def test_tests_of_other_candidates_are_another_comparison() -> None:
    assert compared(
        record("t.py::a[x]", "x", 0.1), record("t.py::a[y]", "y", 0.2),
        record("t.py::b[y]", "y", 0.3), record("t.py::b[z]", "z", 0.4),
        record("t.py::c[x]", "x", 0.5), record("t.py::c[y]", "y", 0.6),
        record("t.py::alone[x]", "x", 1.0),
    ) == [(0, "x", 2, 0, 0.3), (0, "y", 2, 0, 0.4), (1, "y", 1, 0, 0.3), (1, "z", 1, 0, 0.4)]  # fmt: skip


@pytest.mark.parametrize(
    "records",
    [
        (),
        (record("t.py::a[x]", "x"),),
        (record("t.py::a[x]", "x"), record("t.py::b[y]", "y")),
        (record("t.py::a[x-1]", "x"), record("t.py::a[y-2]", "y")),
    ],
)
def test_no_comparison(records: tuple[TestRecord, ...]) -> None:
    assert compared(*records) == []


def test_a_candidate_costs_the_calls_of_the_application_and_not_of_its_judge() -> None:
    def call(purpose: str, usd: float, latency: float) -> Call:
        return Call(
            purpose=purpose, cost_usd=usd, latency_s=latency, usage=Usage(input_tokens=10, output_tokens=1)
        )

    calls = (call("app", 0.1, 1.0), call("judge", 7.0, 9.0), call("embedder", 3.0, 9.0))
    records = [
        TestRecord(
            nodeid=f"t.py::a[{name}]", calls=calls, facts={"model": {"name": name}}, measurements=(unscored,)
        )
        for name, unscored in (
            ("x", Measurement(name="m", error="no")),
            ("y", Measurement(name="m", value=1)),
        )
    ]
    first, second = summarize_run(Run(records=tuple(records))).candidates
    assert (first.traffic.known_usd, first.traffic.calls, first.traffic.input_tokens) == (0.1, 1, 10)
    assert (first.latency.p50, first.latency.p95) == (1.0, 1.0)
    assert (first.unscored, second.unscored) == (1, 0)


def test_the_matrix_of_models_keeps_versions_and_cases_apart() -> None:
    facts: dict[str, Json] = {"prompt": {"name": "p", "version": "v1"}, "case": {"id": "late"}}
    records = [
        TestRecord(nodeid=f"t.py::a[{model}-{version}-late]",
                   facts={**facts, "model": {"name": model}, "prompt": {"name": "p", "version": version},
                          "params": {"llm": {"id": model}, "prompt": {"id": version}, "case": {"id": "late"}}})
        for model in ("gpt-4.1", "a/b:c") for version in ("v1", "v2")
    ]  # fmt: skip
    (by_model,), (by_version,) = (
        build_matrices(Run(records=tuple(records)), "model"),
        build_matrices(Run(records=tuple(records))),
    )
    assert ([column.label for column in by_model.columns], [row.case for row in by_model.rows]) == (
        ["gpt-4.1", "a/b:c"],
        ["late [v1]", "late [v2]"],
    )
    assert [row.case for row in by_version.rows] == ["late [gpt-4.1]", "late [a/b:c]"]
    assert all(
        len(cell) == 1 for table in (by_model, by_version) for line in table.rows for cell in line.cells
    )


def test_a_column_adds_up_the_rows_that_all_columns_ran() -> None:
    (result,) = build_matrices(
        Run(records=(record("a[x-1]", "x", 0.2), record("a[x-2]", "x", 1.0), record("a[y-1]", "y", 0.4))),
        "model",
    )
    assert [(column.tests, column.metrics[0].mean) for column in result.columns] == [(1, 0.2), (1, 0.4)]
    assert [[len(cell) for cell in line.cells] for line in result.rows] == [[1, 1], [1, 0]]


def make_record(
    model: str, version: str, case: str, *, order: tuple[str, ...] = (), outcome: Outcome = "passed"
) -> TestRecord:
    """A record that says what it is parametrized by, as tests do."""
    params: dict[str, Json] = {
        "llm": {"id": model, "place": order.index(model) if order else 0},
        "prompt": {"id": version, "place": 0},
        "case": {"id": case, "place": 0},
    }
    facts = {"model": {"name": model}, "prompt": {"name": "p", "version": version}, "case": {"id": case}}
    return TestRecord(
        nodeid=f"t.py::a[{model}-{version}-{case}]", outcome=outcome, facts={**facts, "params": params},
        measurements=(Measurement(name="m", value=float(outcome == "passed")),),
    )  # fmt: skip


def test_a_case_that_looks_like_a_part_of_a_models_name_stays_in_the_comparison() -> None:
    records = tuple(
        make_record(model, version, case, outcome="failed" if (model, case) == ("llama", "4") else "passed")
        for model in ("claude-sonnet-4-5", "llama") for version in ("4", "5") for case in ("1", "3", "4", "late")
    )  # fmt: skip
    run = summarize_run(Run(records=records))
    assert [(candidate.label, candidate.passed, candidate.tests, candidate.left_out) for candidate in run.candidates] == [
        ("claude-sonnet-4-5", 8, 8, 0), ("llama", 6, 8, 0)
    ]  # fmt: skip
    assert [(version.label, version.passed, version.tests, version.left_out) for version in run.versions] == [
        ("4", 7, 8, 0), ("5", 7, 8, 0)
    ]  # fmt: skip
    assert row_key(records[2], "model") == ("4", "4")
    assert row_key(records[2], "prompt") == ("4", "claude-sonnet-4-5")
    (table,) = build_matrices(Run(records=records), "model")
    assert "4 [5]" in [row.case for row in table.rows]


def test_parameters_that_read_alike_together_are_told_apart() -> None:
    first, other = (
        TestRecord(nodeid="t", facts={"params": {"llm": {"id": "x"}, "a": {"id": a}, "b": {"id": b}}})
        for a, b in (("1-2", "3"), ("1", "2-3"))
    )
    assert (row_key(first, "model"), row_key(other, "model")) == (("", "1-2", "3"), ("", "1", "2-3"))


def test_candidates_stand_in_the_order_they_were_requested() -> None:
    records = tuple(make_record(name, "v", "c", order=("zeta", "alpha")) for name in ("alpha", "zeta"))
    assert [candidate.label for candidate in summarize_run(Run(records=records)).candidates] == [
        "zeta",
        "alpha",
    ]
    assert [column.label for column in build_matrices(Run(records=records), "model")[0].columns] == [
        "zeta",
        "alpha",
    ]


def scored(model: str, case: str, *measured: Measurement) -> TestRecord:
    return TestRecord(
        nodeid=f"t.py::a[{model}-{case}]",
        facts={"model": {"name": model}, "case": {"id": case}},
        measurements=measured,
    )


def judge_said(value: float | None, label: str = "") -> Measurement:
    return Measurement(name="judge.q", value=value, label=label, error="" if value is not None else "no")


def test_a_mean_is_over_the_cases_that_have_a_value_with_every_model() -> None:
    """Where a judge was not asked, or said nothing, the other model's score is of another question."""
    records = (
        scored("x", "easy", judge_said(0.9)), scored("y", "easy", judge_said(0.7)),
        scored("x", "hard", judge_said(0.1)), scored("y", "hard"),
        scored("x", "odd", judge_said(0.2)), scored("y", "odd", judge_said(None)),
        scored("x", "two", judge_said(0.5, "a"), judge_said(0.3, "b")),
        scored("y", "two", judge_said(0.6, "a"), judge_said(None, "b")),
    )  # fmt: skip
    run = Run(records=records)
    first, second = summarize_run(run).candidates
    assert [(candidate.metrics[0].n, candidate.metrics[0].left_out) for candidate in (first, second)] == [
        (2, 3),
        (2, 3),
    ]
    assert [candidate.metrics[0].mean for candidate in (first, second)] == [
        pytest.approx(0.7),
        pytest.approx(0.65),
    ]
    assert (first.tests, second.unscored, second.metrics[0].errored) == (4, 2, 2)
    (table,) = build_matrices(run, "model")
    assert [column.metrics[0].mean for column in table.columns] == [pytest.approx(0.7), pytest.approx(0.65)]
    texts = [line.text.strip() for line in build_section(run, verbosity=1, ascii=True, width=200).lines]
    (left_out,) = (text.partition("judge.q: ")[2] for text in texts if "judge.q: 3" in text)
    check_message(left_out)
    assert f"judge.q: {left_out}" in read_texts(render_html(run))


def test_what_a_test_measured_before_it_was_skipped_is_in_no_mean() -> None:
    records = (
        record("a[x]", "x", 0.2),
        record("a[y]", "y", 0.4),
        record("b[x]", "x", 0.4),
        record("b[y]", "y", 0.6),
    )
    skipped = TestRecord(
        nodeid="a[x-again]", outcome="skipped", facts={"model": {"name": "x"}, "params": {"llm": {"id": "x"}}},
        measurements=(Measurement(name="m", value=1.0),),
    )  # fmt: skip
    candidates = summarize_run(Run(records=(*records, skipped))).candidates
    assert [candidate.metrics[0].mean for candidate in candidates] == [pytest.approx(0.3), pytest.approx(0.5)]


@pytest.mark.parametrize(
    ("setting", "fact", "flags"),
    [
        (["x", "y"], "x", " --llm-model=x --llm-model=y"),
        ("x", "x", " --llm-model=x"),
        ("other", "x", ""),
        (["other", "more"], "x", ""),
        ("x", None, ""),
        (["$(x)", "y"], "y", " --llm-model='$(x)' --llm-model=y"),
        (None, "x", ""),
        ([""], None, ""),
        ("", None, ""),
    ],
)
def test_the_command_makes_the_same_test_again(setting: Json, fact: str | None, flags: str) -> None:
    test = record("t.py::a[x]", fact) if fact else TestRecord(nodeid="t.py::a")
    assert rerun_flags({"settings": {"model": setting, "prompt": []}}, test) == flags
