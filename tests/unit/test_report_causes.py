"""What may be the cause: the same in the terminal, in Markdown and in HTML."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.report_states import STATES

from pytest_llmops.reports.html import build_page
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import SuiteEdit

PROMPT = SuiteEdit(kind="prompt", name="support/answer", before="v1", after="v2", count=1, total=1)


def with_gate(state: str, **changes: object) -> Run:
    run = STATES[state]()
    gate = run.find_verdict("baseline")
    assert gate is not None
    return replace(run, verdicts=(replace(gate, **changes),))  # type: ignore[arg-type]


def terminal(run: Run) -> list[str]:
    return [line.text for line in build_section(run, width=0).lines]


def without_worse(state: str) -> Run:
    gate = STATES[state]().find_verdict("baseline")
    assert gate is not None
    kept = tuple(change for change in gate.changes if change.kind != "regressed")
    return with_gate(state, edits=(PROMPT,), changes=kept)


def with_a_failed_test() -> Run:
    run = with_gate("red", edits=(PROMPT,))
    first, *others = run.records
    return replace(run, records=(replace(first, outcome="failed"), *others))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "is_cause"),
    [
        (with_gate("red", edits=(PROMPT,)), True),
        (with_gate("red", edits=(SuiteEdit(kind="cases", name="a.csv", count=2),)), True),
        (with_gate("amber", edits=(PROMPT,)), True),
        (without_worse("amber"), False),
        (with_gate("red", edits=(PROMPT, replace(PROMPT, kind="model"))), False),
        (with_gate("red", edits=(SuiteEdit(kind="answers", count=2),)), False),
        (with_gate("red", edits=(SuiteEdit(kind="code", count=2),)), False),
        (with_gate("red", edits=(SuiteEdit(kind="unknown"),)), False),
        (with_gate("green", edits=(PROMPT,)), False),
        (with_a_failed_test(), False),
    ],
)
def test_every_report_says_alike_whether_an_edit_is_the_cause(run: Run, is_cause: bool) -> None:
    assert any(line.startswith("cause     most likely: ") for line in terminal(run)) is is_cause
    assert any(line.startswith("edited    ") for line in terminal(run)) is not is_cause
    label = "Cause, most likely" if is_cause else "Edited since the baseline"
    assert f"**{label}:**" in render_markdown(run)
    assert build_page(run)["causes"]["title"] == label


@pytest.mark.slow
def test_every_report_names_the_same_tests_that_did_not_run_also_skipped_ones() -> None:
    run = STATES["error-missing-tests"]()
    gate = run.find_verdict("baseline")
    assert gate is not None
    skipped = tuple(
        replace(run.records[0], nodeid=change.nodeid, outcome="skipped", measurements=(), calls=())
        for change in gate.of_kind("removed")
    )
    for records in (run.records, (*run.records, *skipped)):
        shown = replace(run, records=records)
        names = ["boots-worn", "gift-card-expiry", "order-cancel", "pickup-days", "rental-late"]
        listed = ", ".join(names)
        (line,) = [line for line in terminal(shown) if line.startswith("missing")]
        assert line.startswith(f"missing   {listed} and 4 more")
        quoted = ", ".join(f"`{name}`" for name in names)
        assert f"\n**Did not run:** {quoted} and 4 more\n" in render_markdown(shown)
        causes = build_page(shown)["causes"]
        assert causes["title"] == "Cause"
        assert [item["text"] for item in causes["items"]] == [f"Did not run: {listed} and 4 more"]
    other = with_gate(
        "error-missing-tests", sentence="Not compared: tone is no longer measured in 9 of 40 tests"
    )
    assert "**Did not run" not in render_markdown(other)
    assert not any(line.startswith("missing") for line in terminal(other))


@pytest.mark.slow
def test_a_long_line_that_was_edited_differs_in_what_every_report_shows() -> None:
    start = "word " * 60
    run = with_gate("red", edits=(replace(PROMPT, lines=(f"- {start}old", f"+ {start}new")),))
    lines = ["- … word word word old", "+ … word word word new"]
    assert [line.strip() for line in terminal(run) if line.strip().startswith(("- ", "+ "))] == lines
    assert "\n".join(lines) in render_markdown(run)
    assert build_page(run)["causes"]["items"][0]["lines"] == lines
