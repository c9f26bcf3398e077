"""The figures of examples/agent_support/README.md."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping

from pytest_llmops.cases.files import load_cases
from pytest_llmops.results.run import TestRecord
from support.example_runs import ROOT, ExampleRun

TESTS = "agent_support/test_agent.py::"
# What the README calls each variant of the agent -> the names of its tests; the group is the id of the case
VARIANTS = {
    "v1": re.compile(r"test_prompts\[v1-(.+)\]"),
    "v2": re.compile(r"test_prompts\[v2-(.+)\]"),
    "v2, lookup first": re.compile(r"test_agent\[(.+)-lookup_first\]"),
}
KINDS = {
    "refund": "the money is to be paid back",
    "no-refund": "it is not to be paid back",
    "question": "the customer has another question",
    "person": "the customer wants a person",
}


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences and table rows of the README that hold a figure or quote the agent, made from the run."""
    cases = load_cases(ROOT / "examples/agent_support/cases/messages.jsonl")
    kinds = {case.id: case.tags[0] for case in cases}
    tests = {name: _read_tests(run, pattern) for name, pattern in VARIANTS.items()}
    last = tests["v2, lookup first"]
    broken = sum(_read_score(record, "score.keeps_its_word") == 0 for record in last.values())
    price = [_list_tools(tests[name]["what-price"]).count("refund") for name in VARIANTS]
    offers = run.verdict("comparison", "offer lookup_first")
    details = [line for line in offers.advice if line.startswith(("tools.precision", "score.keeps_its_word"))]
    return [
        f"{len(cases)} messages of customers",
        f"{len(cases)} messages are few",
        *_list_rows(tests, kinds),
        f"For the price of an order, v2 called `refund` {price[1]} times",
        f"In {broken} of {len(last)} conversations it announces money that it did not pay",
        f'"{_read_answer(last["refund-sent-back"])}"',
        f'"{_read_answer(last["refund-worn-boots"])}"',
        f"`{run.verdict('comparison', 'desk/agent v2').statement}`",
        f"`{offers.statement}`",
        *(f"`{line}`" for line in details),
    ]


def _read_tests(run: ExampleRun, pattern: re.Pattern[str]) -> dict[str, TestRecord]:
    """Return the tests of a variant by the id of their case."""
    tests = {}
    for record in run.records(TESTS):
        match = pattern.fullmatch(record.nodeid.removeprefix(TESTS))
        if match:
            tests[match[1]] = record
    return tests


def _list_rows(tests: Mapping[str, Mapping[str, TestRecord]], kinds: Mapping[str, str]) -> list[str]:
    """Return the rows of the table: right calls of each kind of message, and refunds without a look at the order."""
    rows = []
    totals = Counter(kinds.values())
    right = {
        name: Counter(kinds[case_id] for case_id, record in records.items() if _is_right(record))
        for name, records in tests.items()
    }
    for kind, words in KINDS.items():
        counts = " | ".join(str(right[name][kind]) for name in VARIANTS)
        rows.append(f"| {words}, {totals[kind]} messages | {counts} |")
    counts = " | ".join(str(right[name].total()) for name in VARIANTS)
    rows.append(f"| all {len(kinds)} | {counts} |")
    counts = " | ".join(str(sum(map(_refunds_blindly, tests[name].values()))) for name in VARIANTS)
    rows.append(f"| `refund` called before the order was looked up | {counts} |")
    return rows


def _is_right(record: TestRecord) -> bool:
    return _read_score(record, "tools.calls") == 1


def _read_score(record: TestRecord, name: str) -> float | None:
    (measurement,) = [measurement for measurement in record.measurements if measurement.name == name]
    return measurement.value


def _refunds_blindly(record: TestRecord) -> bool:
    names = _list_tools(record)
    return "refund" in names and "get_order" not in names[: names.index("refund")]


def _list_tools(record: TestRecord) -> list[str]:
    return [tool.name for call in record.calls for tool in call.tool_calls]


def _read_answer(record: TestRecord) -> str:
    """Return what the agent told the customer at the end."""
    (tool,) = record.calls[-1].tool_calls
    return str(json.loads(tool.arguments)["text"])
