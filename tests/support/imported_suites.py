"""Suites as a reader of another tool makes them, with checks, for the tests of what is written of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.suite import (
    Application,
    ImportedSuite,
    Place,
    SuiteAssertion,
    SuitePrompt,
    SuiteTest,
)
from pytest_llmops.measurement import Json

FILE = "promptfooconfig.yaml"
Results = list[Check | NotCarried]
Checked = list[tuple[SuiteAssertion, Results]]


def contains(value: Json, **changes: Any) -> Check:
    fields: dict[str, Any] = {
        "call": "assert_contains(answer, {value}, ignore_case=True)",
        "value": value,
        "form": "literal",
        "key": "icontains",
        "noun": "contains",
        "imports": ("assert_contains",),
        "joins": True,
        "rank": 10,
    }
    return Check(**{**fields, **changes})


def latency(call: str = "assert_latency(at_most_s=8)") -> Check:
    return Check(call=call, noun="latency", imports=("assert_latency",), rank=40)


def pattern(value: str) -> Check:
    return Check(
        call="assert_matches(answer, {value})",
        value=value,
        form="pattern",
        key="pattern",
        noun="pattern",
        imports=("assert_matches",),
        rank=14,
    )


def schema(value: Json) -> Check:
    return Check(
        call="assert_schema(answer, {value})",
        value=value,
        form="schema",
        key="schema",
        noun="json",
        imports=("assert_schema",),
        rank=20,
    )


def rubric(value: str, **front: Json) -> Check:
    return Check(
        call="assert_judge_score(answer, judge={value}, case=case)",
        value=value,
        form="rubric",
        key="criteria",
        noun="rubric",
        imports=("assert_judge_score",),
        rank=70,
        rubric=front,
    )


def code(what: str = "javascript file://check.js", lines: Sequence[str] = (), **changes: Any) -> NotCarried:
    fields: dict[str, Any] = {
        "what": what,
        "why": "code of the suite is not run: write the check here",
        "code": tuple(lines),
        "noun": "javascript",
    }
    return NotCarried(**{**fields, **changes})


class SuiteBuilder:
    """Collects tests; the place of each assertion is a line of its own, unless it is shared."""

    def __init__(self, **fields: Any) -> None:
        self.fields: dict[str, Any] = {
            "tool": "promptfoo",
            "name": "refunds",
            "title": "Answers of the support bot",
            "source": Place(FILE),
            "prompts": (prompt("Question: {{ question }}", "question"),),
            "application": Application(asked=("python:provider.py",), place=Place(FILE, 9)),
            **fields,
        }
        self.tests: list[SuiteTest] = []
        self.checks: list[Checked] = []
        self.line = 20

    def add(
        self,
        name: str,
        *results: Check | NotCarried,
        shared: Sequence[Check | NotCarried] = (),
        **fields: Any,
    ) -> None:
        """Add a test with an assertion for each result; ``shared`` are those of all tests."""
        checked: Checked = []
        for number, check in enumerate(shared):
            assertion = SuiteAssertion(
                type=check.noun.replace("all_js", "javascript"), place=Place(FILE, 3 + number), is_shared=True
            )
            checked.append((assertion, [check]))
        for result in results:
            self.line += 1
            checked.append((SuiteAssertion(type=result.noun, place=Place(FILE, self.line)), [result]))
        values: dict[str, Any] = {"variables": {"question": f"What of {name}?"}, **fields}
        assertions = tuple(assertion for assertion, _ in checked)
        self.tests.append(SuiteTest(id=name, assertions=assertions, place=Place(FILE, self.line), **values))
        self.checks.append(checked)

    def build(self) -> tuple[ImportedSuite, list[Checked]]:
        return ImportedSuite(tests=tuple(self.tests), **self.fields), self.checks


def prompt(text: str, *variables: str, **fields: Any) -> SuitePrompt:
    values: dict[str, Any] = {"label": "", "sections": (("user", text),), **fields}
    return SuitePrompt(variables=variables, place=Place(FILE, 2), **values)
