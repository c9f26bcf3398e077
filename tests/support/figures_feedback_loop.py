"""Figures of examples/feedback_loop/README.md, read from a run."""

from __future__ import annotations

import json

from support.example_runs import ExampleRun, read_case_id

ANSWERS = "feedback_loop/test_feedback.py::test_answer"
EVEN = 0.5  # as many letters in common with the right answer as with the rejected one


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences and table rows of the README that quote answers or votes.

    The answers of v1 are read from a second run, which fails.

    Raises:
        AssertionError: The tests pass with v1, or an answer in ``events.jsonl`` was not recorded.
    """
    before = run.rerun("feedback_loop", "--llm-prompt", "rental/answer=v1", "-k", "test_answer")
    outcomes = {record.outcome for record in before.records(ANSWERS)}
    if before.status != 1 or outcomes != {"failed"}:
        raise AssertionError(f"expected prompt v1 to fail every case:\n{before.output[-2000:]}")
    folder = run.folder / "feedback_loop"
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    cases = [json.loads(line) for line in (folder / "cases/feedback.jsonl").read_text().splitlines()]
    answers = {"v1": _read_answers(before), "v2": _read_answers(run)}
    rows = []
    for case in cases:
        old, new = answers["v1"][case["id"]], answers["v2"][case["id"]]
        rows.append(f"| {case['input']} | {old} | {new} |")
        complaints = [origin["id"] for origin in case["origin"]]
        quoted = [event["answer"] for event in events if event["event_id"] in complaints]
        if set(quoted) != {old}:
            raise AssertionError(f"{case['id']}: events.jsonl quotes {quoted}, recorded: {old}")
    down = sum(event["thumb"] == "down" for event in events)
    votes = f"`events.jsonl` has {len(events)} votes, {down} of them thumbs down."
    closeness = run.values(ANSWERS, "score.closer_to_reference")
    lost_pegs = closeness["fb-70fcda21136b"]
    if lost_pegs >= EVEN:
        raise AssertionError(f"the README says that letters mislead here, got {lost_pegs}")
    return [*rows, votes, f"For the lost pegs it is {lost_pegs:.2f}, below the middle of {EVEN}:"]


def _read_answers(run: ExampleRun) -> dict[str, str]:
    """Return the answer to each case."""
    return {read_case_id(record.nodeid): run.output_of(record.nodeid) for record in run.records(ANSWERS)}
