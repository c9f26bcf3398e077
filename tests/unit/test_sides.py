from __future__ import annotations

import pytest

from pytest_llmops.matrix import matrices
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.runs import Outcome, Run, TestRecord
from pytest_llmops.sides import row
from pytest_llmops.totals import totals
from pytest_llmops.views import flags_of


def record(
    nodeid: str, model: str, value: float = 1.0, *, outcome: Outcome = "passed", case: str = ""
) -> TestRecord:
    facts: dict[str, Json] = {"model": {"name": model}, **({"case": {"id": case}} if case else {})}
    return TestRecord(
        nodeid=nodeid, outcome=outcome, measurements=(Measurement(name="m", value=value),), facts=facts
    )


def compared(*records: TestRecord) -> list[tuple[int, str, int, int, float | None]]:
    found = totals(Run(records=records)).candidates
    return [(one.comparison, one.label, one.tests, one.left_out, one.metrics[0].mean) for one in found]


def test_only_tests_that_ran_with_all_models_count() -> None:
    assert compared(
        record("t.py::a[x-late]", "x", 0.2, case="late"),
        record("t.py::a[x-early]", "x", 1.0, case="early"),
        record("t.py::a[x-odd]", "x", 0.9, case="odd"),
        record("t.py::a[y-late]", "y", 0.4, case="late"),
        record("t.py::a[y-odd]", "y", 0.5, case="odd", outcome="skipped"),
    ) == [(0, "x", 1, 2, 0.2), (0, "y", 1, 2, 0.4)]


def test_a_test_that_failed_or_was_not_scored_has_run() -> None:
    found = compared(
        record("t.py::a[x]", "x", 0.1, outcome="failed"), record("t.py::a[y]", "y", outcome="errored")
    )
    assert [one[1:3] for one in found] == [("x", 1), ("y", 1)]


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


def test_a_candidate_costs_what_the_application_asked_and_not_its_judge() -> None:
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
    first, second = totals(Run(records=tuple(records))).candidates
    assert (first.traffic.known_usd, first.traffic.calls, first.traffic.input_tokens) == (0.1, 1, 10)
    assert (first.latency.p50, first.latency.p95) == (1.0, 1.0)
    assert (first.unscored, second.unscored) == (1, 0)


def test_the_matrix_of_models_keeps_versions_and_cases_apart() -> None:
    facts: dict[str, Json] = {"prompt": {"name": "p", "version": "v1"}, "case": {"id": "late"}}
    records = [
        TestRecord(nodeid=f"t.py::a[{model}-{version}-late]",
                   facts={**facts, "model": {"name": model}, "prompt": {"name": "p", "version": version}})
        for model in ("gpt-4.1", "a/b:c") for version in ("v1", "v2")
    ]  # fmt: skip
    (by_model,), (by_version,) = (
        matrices(Run(records=tuple(records)), "model"),
        matrices(Run(records=tuple(records))),
    )
    assert ([one.label for one in by_model.columns], [one.case for one in by_model.rows]) == (
        ["gpt-4.1", "a/b:c"],
        ["late [v1]", "late [v2]"],
    )
    assert [one.case for one in by_version.rows] == ["late [gpt-4.1]", "late [a/b:c]"]
    assert all(len(cell) == 1 for one in (by_model, by_version) for line in one.rows for cell in line.cells)


def test_a_column_adds_up_the_rows_that_all_columns_ran() -> None:
    (found,) = matrices(
        Run(records=(record("a[x-1]", "x", 0.2), record("a[x-2]", "x", 1.0), record("a[y-1]", "y", 0.4))),
        "model",
    )
    assert [(one.tests, one.metrics[0].mean) for one in found.columns] == [(1, 0.2), (1, 0.4)]
    assert [[len(cell) for cell in line.cells] for line in found.rows] == [[1, 1], [1, 0]]


@pytest.mark.parametrize("name", ["größe", "モデル", "a\tb"])
def test_names_that_pytest_escapes_in_ids_are_found(name: str) -> None:
    escaped = name.encode("unicode_escape").decode("ascii")
    assert row(record(f"t.py::a[{escaped}-late]", name, case="late"), "model") == ("late", "")
    assert row(record(f"t.py::a[x-{escaped}]", "x", case=name), "model") == (name, "")


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
    ],
)
def test_the_command_makes_the_same_test_again(setting: Json, fact: str | None, flags: str) -> None:
    one = record("t.py::a[x]", fact) if fact else TestRecord(nodeid="t.py::a")
    assert flags_of({"settings": {"model": setting, "prompt": []}}, one) == flags
