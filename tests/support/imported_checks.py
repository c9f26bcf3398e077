"""Decide by the lines that an import writes, for tests that compare verdicts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest_llmops
from pytest_llmops import collect
from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.promptfoo.assertions import make_check
from pytest_llmops.imports.suite import Place, SuiteAssertion
from pytest_llmops.measurement import Json

PLACE = Place("promptfooconfig.yaml", 3)


def make_checks(
    name: str, value: Json = None, variables: Mapping[str, Json] | None = None, **fields: Any
) -> list[Check | NotCarried]:
    """What becomes of an assertion, by its type as promptfoo writes it, with ``not-``."""
    negated = name.startswith("not-")
    assertion = SuiteAssertion(
        type=name.removeprefix("not-"), negated=negated, value=value, place=PLACE, **fields
    )
    return make_check(assertion, variables or {})


def carry(
    name: str, value: Json = None, variables: Mapping[str, Json] | None = None, **fields: Any
) -> list[Check]:
    """The checks of an assertion that has to be carried."""
    made = make_checks(name, value, variables, **fields)
    checks = [check for check in made if isinstance(check, Check)]
    assert len(checks) == len(made), made
    return checks


def refuse(
    name: str, value: Json = None, variables: Mapping[str, Json] | None = None, **fields: Any
) -> NotCarried:
    """Why an assertion is not carried, which it must not be."""
    (refused,) = make_checks(name, value, variables, **fields)
    assert isinstance(refused, NotCarried), refused
    return refused


def find_names(check: Check) -> dict[str, Any]:
    """The names that a line needs, imported."""
    names = {}
    for name in check.imports:
        module, _, attribute = name.rpartition(".")
        if not module and name not in pytest_llmops.__all__:
            names[name] = importlib.import_module(name)
            continue
        names[attribute] = getattr(importlib.import_module(module or "pytest_llmops"), attribute)
    return names


def passes(checks: Sequence[Check], answer: str) -> bool:
    """Whether an answer passes all lines."""
    return all(_passes(check, answer) for check in checks)


def _passes(check: Check, answer: str) -> bool:
    names = {**find_names(check), "answer": answer, "VALUE": check.value}
    line = check.call.replace("{value}", "VALUE")
    with collect() as measurements:
        try:
            exec(line, names)
        except (ValueError, LookupError, TypeError, AttributeError):
            assert "json.loads(answer)" in line  # the answer is not JSON, or has no such text
            return False
    (measurement,) = measurements
    return measurement.status == "passed"
