"""Runs of an agent that refunds orders, compared with a baseline in which it looked the order up before it refunded."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory, make_tool_use
from pytest_llmops.baselines.baseline import Acceptance, Baseline, summarize_test
from pytest_llmops.baselines.conclusion import Reference, conclude
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Role
from pytest_llmops.results.call_sequences import find_sequences
from pytest_llmops.results.run import Outcome, Run, TestRecord

NODEID = "test_support.py::test_refund[late]"
HOSTILE = "<script>alert(1)</script>\x1b[31m\n::error::x ##[group]\u202e\ud800 `|` @all"


def build_step(role: Role, text: str = "", *calls: ToolUse, tokens: int | None = None) -> Step:
    """Return a message of a trajectory."""
    return Step(role=role, text=text, tool_calls=calls, tokens=tokens, cost_usd=0.0002, latency_s=0.8)


ASKED = build_step("user", "My order B-77 came late. Please refund 20 euros.")
LOOK_UP = make_tool_use("get_order", '{"order_id": "B-77"}', result='{"status": "delivered"}', latency_s=0.02)
CAREFUL = Trajectory(
    agent="support",
    steps=(
        ASKED,
        build_step("assistant", "", LOOK_UP, tokens=120),
        build_step(
            "assistant", "", make_tool_use("refund", '{"order_id": "B-77", "amount": 20}', result="ok")
        ),
        build_step("assistant", "I refunded 20 euros.", tokens=80),
    ),
)
HASTY = Trajectory(
    agent="support",
    steps=(
        ASKED,
        build_step(
            "assistant", "I search first.", make_tool_use("search", '{"q": "refund"}', result=""), tokens=90
        ),
        build_step(
            "assistant",
            "",
            make_tool_use(
                "refund", '{"amount": 200, "order_id": "B-77"}', result="limit exceeded", is_error=True
            ),
        ),
        build_step("assistant", "I refunded 200 euros.", tokens=80),
    ),
)


def measure_calls(
    trajectory: Trajectory, value: float = 1.0, expected: Sequence[str] = ("get_order", "refund")
) -> tuple[Measurement, ...]:
    """Return what the assertions on calls of tools measure: two measurements with the same trajectory."""
    wire: Json = trajectory.to_wire()
    made = [call.name for call in trajectory.tool_calls]
    detail: dict[str, Json] = {"expected": list(expected), "made": [*made], "trajectory": wire}
    if value < 1:
        detail["unexpected"] = [1]
        detail["evidence"] = [["step 1", "expected get_order, got search"]]
    return (
        Measurement(name="tools.calls", value=value, threshold=1.0, detail=detail),
        Measurement(name="trajectory.steps", value=3.0, unit="count", better="lower", detail={"trajectory": wire}),
    )  # fmt: skip


def build_agent_record(trajectory: Trajectory, value: float = 1.0, nodeid: str = NODEID) -> TestRecord:
    """Return the record of a test of the agent."""
    outcome: Outcome = "passed" if value == 1 else "failed"
    message = "" if value == 1 else "tools.calls 0.00, needs 1.00"
    return TestRecord(
        nodeid=nodeid, outcome=outcome, message=message, measurements=measure_calls(trajectory, value)
    )


def compare_runs(before: Sequence[TestRecord], now: Sequence[TestRecord]) -> Run:
    """Return a run that is compared with another as its baseline."""
    tests = {record.nodeid: summarize_test(record) for record in before}
    calls = {record.nodeid: find_sequences(record.facts, record.measurements) for record in before}
    accepted = Acceptance(on="2026-11-24T09:00:00+00:00", reason="first", tests=len(tests))
    reference = Reference(
        name="llmops-baseline.json",
        baseline=Baseline(tests=tests, history=(accepted,)),
        find_calls=calls.__getitem__,
    )
    return conclude(Run(records=tuple(now), meta={"command": "pytest"}), reference)


def build_hostile_trajectory() -> Trajectory:
    """Return a trajectory whose every text is hostile, with an agent that a call started."""
    call = ToolUse(name=HOSTILE, arguments=None, text=HOSTILE, problem=HOSTILE, result=HOSTILE)
    nested = Trajectory(agent=HOSTILE, steps=(build_step("assistant", HOSTILE, call),), problems=(HOSTILE,))
    named = make_tool_use("x", {HOSTILE: HOSTILE}, started=nested)
    return Trajectory(
        agent=HOSTILE, steps=(build_step("assistant", HOSTILE, call, named),), problems=(HOSTILE,)
    )
