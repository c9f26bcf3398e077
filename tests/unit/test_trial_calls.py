"""Whose trial a call of a test's record is."""

from __future__ import annotations

from types import SimpleNamespace

from pytest_llmops.harness.trials import number_calls


def test_calls_are_numbered_in_the_order_of_the_record_phase_by_phase() -> None:
    def report(*calls: str) -> SimpleNamespace:
        return SimpleNamespace(llmops={"calls": list(calls)})

    trials = [
        [report("set up 0"), report("a", "b"), report()],
        [report("set up 1"), report("c"), report("tear down 1")],
        [report(), SimpleNamespace(), report()],
    ]
    assert number_calls(trials) == [0, 1, 0, 0, 1, 1]
