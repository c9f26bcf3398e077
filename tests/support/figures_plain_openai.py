"""Figures of examples/plain_openai/README.md, read from a run."""

from __future__ import annotations

from support.example_runs import ExampleRun

TESTS = "plain_openai/test_assistant.py::"


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences of the README that count calls or quote answers."""
    records = run.records(TESTS)
    calls = [call for record in records for call in record.calls]
    tokens = sum(call.usage.output_tokens or 0 for call in calls)
    (dark,) = [call.output for call in calls if call.messages[-1].content == "When does it get dark in June?"]
    return [
        f"{len(records)} tests replay {len(calls)} calls, with {tokens} tokens of answers.",
        f'one answer is "{dark}"',
    ]
