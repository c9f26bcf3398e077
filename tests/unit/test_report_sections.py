"""Whole sections of the terminal and of the Markdown report, with their colours: what a run found besides its verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message, Usage
from pytest_llmops.reports.html import build_page
from pytest_llmops.reports.html_cases import begin_at_difference
from pytest_llmops.reports.html_overview import format_day, format_duration
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import Surroundings, build_section
from pytest_llmops.results.assertion_lint import MOVED
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import CaseChange, MetricVerdict, SuiteEdit, Verdict

SCORED = Measurement(name="text.exact", value=1.0)


def record(nodeid: str, *measurements: Measurement, **more: Any) -> TestRecord:
    return TestRecord(nodeid=f"t.py::{nodeid}", measurements=measurements or (SCORED,), **more)


def lint_run() -> Run:
    """A run with more assertions that cannot fail than Markdown lists, and one of each other kind."""
    found: list[dict[str, Json]] = [
        {
            "place": f"t.py:{line}",
            "name": "assert_x",
            "call": "assert_x(answer)",
            "answers": 1,
            "alterations": 9,
        }
        for line in range(1, 53)
    ]
    found[1] |= {"kind": "emptied", "before": "Yes."}
    found += [
        {"place": "t.py:120", "name": "assert_y", "alterations": 9, "failed": True},
        {"place": "t.py:21", "name": "assert_y", "recorded": 2},
        {"place": "t.py:22", "name": "assert_y", "why": "needs too much time"},
        {"place": "t.py:23", "name": "assert_y", "why": "needs a judge"},
        {"place": "t.py:24", "name": "assert_y", "why": "needs a judge"},
        {"place": "t.py:25", "name": "assert_y", "why": MOVED, "alterations": 9},
        {"place": "t.py:26", "name": "assert_y", "why": MOVED, "alterations": 9, "failed": True},
    ]
    return Run(records=(record("a", facts={"lint": found}),))


def sound_lint_run() -> Run:
    found: list[Json] = [{"place": "t.py:120", "name": "assert_y", "alterations": 9, "failed": True}]
    return Run(records=(record("a", facts={"lint": found}),))


def faults_run() -> Run:
    ends: list[Json] = [
        {"kind": "timeout", "status": "survived"},
        {"kind": "cut", "status": "survived"},
        {"kind": "empty", "status": "gave up", "why": "it raised ValueError"},
        {"kind": "empty", "on": "tool", "status": "not recorded", "record": "pytest t --llm-faults=empty"},
    ]
    more: list[Json] = [{"kind": "empty", "status": "survived"}, {"kind": "cut", "status": "survived"}]
    return Run(
        records=(record("a", facts={"faults": {"ends": ends}}), record("b", facts={"faults": {"ends": more}}))
    )


def tools_run() -> Run:
    """A run with more catalogues than are listed, and a confused tool in each."""
    records = []
    for number in range(12):
        facts = {
            "catalogue": f"c{number}",
            "tools": ["refund", "track", "ping"],
            "decoys": ["fly"],
            "expected": ["refund"],
        }
        detail: dict[str, Json] = {"expected": ["refund"], "made": ["track"]}
        choice = Measurement(name="tools.calls", value=0.0, detail=detail)
        records.append(record(f"test[{number}]", choice, facts={"tools": facts}))
    return Run(records=tuple(records))


def missed_run() -> Run:
    """Tests without a recording for two different commands, a spent budget, and verified answers."""
    commands = ["pytest t.py::a --llm-record=new", "pytest t.py::b --llm-record=all"]
    missed = [
        record(name, raised=("CassetteMiss",), outcome="errored", facts={"record": [command]})
        for name, command in zip("ab", commands, strict=True)
    ]
    spent = record("c", raised=("BudgetReached",), outcome="errored")
    verified = record("d", facts={"cassette": {"path": "c.json", "verified": 3, "drifted": 1}})
    budget: dict[str, Json] = {"calls": 3, "usd": 0.5, "max_calls": 50, "budget_usd": 0.5}
    return Run(records=(*missed, spent, verified), meta={"budget": budget})


def later_run() -> Run:
    """A run with a verdict of a kind that this version does not know, and notes."""
    changes = (
        CaseChange(nodeid="t.py::new", kind="new"),
        CaseChange(nodeid="t.py::gone", kind="missing"),
        CaseChange(nodeid="t.py::a", kind="regressed"),
    )
    later = Verdict(
        kind="later",
        status="odd",
        sentence="something moved",
        subject="x",
        advice=("First.", "Second."),
        changes=changes,
    )
    gate = Verdict(
        kind="baseline",
        status="AMBER",
        decides=True,
        sentence="too little data",
        baseline="b.json",
        unchanged=3,
        advice=("Why.", "More."),
        changes=changes,
    )
    return Run(records=(record("a"),), verdicts=(later, gate), notes=("doubt", "a note"), meta={"doubts": 1})


def calls_run() -> Run:
    """Calls of which some have no price, no tokens, or a latency of another run."""
    known = Call(
        model="gpt-4o-mini",
        provider="openai",
        usage=Usage(input_tokens=1200, output_tokens=300),
        latency_s=2.0,
    )
    records = (
        record("a", calls=(known, replace(known, replayed=True, latency_s=1.0))),
        record("b", calls=(Call(model="nosuch", latency_s=4.0),)),
        record("c", calls=(replace(known, purpose="judge"),)),
    )
    return Run(records=records)


def compared(subject: str, status: str, change: float, **more: Any) -> Verdict:
    metric = MetricVerdict(
        name="judge.tone",
        status=status,
        before=0.5,
        after=0.5 + change,
        change=change,
        lower=change - 0.1,
        upper=change + 0.1,
        cases=40,
    )
    return Verdict(
        kind="comparison",
        subject=f"prompt {subject}",
        baseline="v1",
        status=status,
        metrics=(metric,),
        sentence=f"{subject} is {status}",
        **more,
    )


def comparisons_run() -> Run:
    """More comparisons than are listed, of each kind, and some that hold."""
    worse = [
        compared(f"v{number}", "worse", -0.2 - number / 100, advice=(f"Why {number}.",))
        for number in range(9)
    ]
    share = ShareVerdict(
        name="Typos", status="broken", count=6, total=24, share=0.25, limit=0.6, at_least=True
    )
    robust = Verdict(
        kind="robustness", subject="test_a", status="broken", sentence="a limit is broken", shares=(share,)
    )
    sentinel = Verdict(kind="sentinel", status="unknown", sentence="cannot tell", next_step="To decide, wait")
    return Run(records=(record("a"),), verdicts=(*holding_run().verdicts, *worse, robust, sentinel))


def holding_run() -> Run:
    equal = [compared(f"w{number}", "equivalent", 0.0) for number in range(3)]
    return Run(records=(record("a"),), verdicts=tuple(equal))


def metrics_run() -> Run:
    """Metrics of which two did not change, and one has too many trials without a score."""
    quiet = [
        MetricVerdict(name=f"text.{name}", status="GREEN", before=1.0, after=1.0, cases=40, scored=40)
        for name in ("exact", "contains")
    ]
    red = MetricVerdict(
        name="judge.tone",
        role="primary",
        status="RED",
        before=0.9,
        after=0.4,
        change=-0.5,
        lower=-0.6,
        upper=-0.4,
        cases=40,
        scored=40,
    )
    unscored = MetricVerdict(name="judge.form", before=0.9, after=0.4, cases=40, scored=30, unscored=10)
    gate = Verdict(
        kind="baseline",
        status="RED",
        decides=True,
        sentence="it got worse",
        baseline="b.json",
        metrics=(red, *quiet, unscored),
        next_step="Fix it",
        compared=40,
    )
    return Run(records=(record("a"),), verdicts=(gate,))


def collection_run(places: int, modules: int) -> Run:
    """Modules that cannot be loaded, at so many places."""
    errors: list[dict[str, Json]] = [
        {
            "module": f"test_{number}.py",
            "place": f"shop.py:{number % places}",
            "error": "KeyError: 'x'",
            "tests": number % 3,
        }
        for number in range(modules)
    ]
    meta: dict[str, Json] = {"collection_errors": errors}
    return Run(records=(record("a"),), meta=meta)


def edits_run() -> Run:
    """More edits than are listed, one of many lines, and cases that got worse after it."""
    lines = tuple(f"{sign} {number} words" for number in range(5) for sign in "-+")
    edits = [SuiteEdit(kind="prompt", name="support", before="v1", after="v2", count=3, lines=lines)]
    edits += [
        SuiteEdit(kind="model", before=f"m{number}", after=f"n{number}", count=number) for number in range(6)
    ]
    records = [
        record(
            f"c{number}",
            Measurement(name="judge.tone", value=0.0, threshold=0.5),
            outcome="failed",
            message="E  AssertionError: too rude",
            calls=(Call(messages=(Message("user", "Hi?"),), output="Go away."),),
        )
        for number in range(2)
    ]
    changes = tuple(
        CaseChange(nodeid=item.nodeid, kind="regressed", before_output="Hello.") for item in records
    )
    missing = tuple(CaseChange(nodeid=f"t.py::gone_{number}", kind="missing") for number in range(9))
    gate = Verdict(
        kind="baseline",
        status="RED",
        decides=True,
        sentence="it got worse",
        baseline="b.json",
        edits=tuple(edits),
        changes=(*changes, *missing),
    )
    return Run(records=tuple(records), verdicts=(gate,))


RUNS: dict[str, Callable[[], Run]] = {
    "assertions that cannot fail": lint_run,
    "a lint without findings": sound_lint_run,
    "faults": faults_run,
    "confused tools": tools_run,
    "missing recordings": missed_run,
    "a later verdict": later_run,
    "calls": calls_run,
    "comparisons": comparisons_run,
    "comparisons that hold": holding_run,
    "metrics": metrics_run,
    "edits": edits_run,
    "a module that cannot be loaded": partial(collection_run, 1, 1),
    "two modules with one cause": partial(collection_run, 1, 2),
    "modules with one cause": partial(collection_run, 1, 9),
    "modules with several causes": partial(collection_run, 8, 17),
}


@pytest.mark.slow
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
@pytest.mark.parametrize("name", list(RUNS))
def test_the_terminal_shows_what_a_run_found(name: str, verbosity: int) -> None:
    around = Surroundings(more="-v, or report.html")
    section = build_section(RUNS[name](), around, verbosity=verbosity, width=100)
    lines = [f"{line.style:<7}{line.styled or '':<3}|{line.text}".rstrip() for line in section.lines]
    check_message([f"{section.style}: {section.title}", *lines])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RUNS))
def test_markdown_shows_what_a_run_found(name: str) -> None:
    check_message(render_markdown(RUNS[name]()).splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RUNS))
def test_the_page_has_what_a_run_found(name: str) -> None:
    page = build_page(RUNS[name]())
    lines = []
    for part in (
        "headline",
        "causes",
        "changes",
        "decision",
        "chips",
        "unchanged",
        "removed",
        "facts",
        "calls",
    ):
        content = page[part]
        rows = content if isinstance(content, list) else [content]
        lines += [f"{part}: {json.dumps(row, ensure_ascii=False)}".replace("null", "-") for row in rows]
    check_message(lines, long="a row of the page's data")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9.94, "9.94 s"), (10, "10 s"), (119.4, "119 s"), (119.6, "2 min 0 s"), (3_661, "61 min 1 s")],
)
def test_a_duration_has_the_unit_that_people_use(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_day_is_in_universal_time() -> None:
    assert format_day("2026-01-01T00:30:00+02:00") == "31 Dec 2025, 22:30 UTC"
    assert format_day("x" * 90) == "x" * 60 + "... (+30 chars)"


def test_long_texts_begin_shortly_before_their_difference() -> None:
    same = "".join(str(number % 10) for number in range(100_000))
    before, now = begin_at_difference(f"{same}a", f"{same}bc")
    assert (before, now) == (f"… {same[-200:]}a", f"… {same[-200:]}bc")
    short = same[:1_000]
    assert begin_at_difference(f"{short}a", f"{short}b") == (f"{short}a", f"{short}b")
    assert begin_at_difference(same, same) == (same, same)
    assert begin_at_difference(short, same) == (short, same)
