"""`python -m benchmarks.agents`: figures of the assertions on agents."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import skill_gate
from benchmarks.figures import in_turns, line
from pytest_llmops import MeasurementFailed, assert_tool_calls, assert_trajectory, call
from pytest_llmops.agents import Step, ToolUse, Trajectory

STEPS, MAX_MS = 1_000, 100
TOOLS = ("search", "get_order", "read_page", "refund", "send_mail")


def make_trajectory(shift: int) -> Trajectory:
    """Return a trajectory of 1,000 calls of five tools; with another shift every seventh has other arguments."""
    steps = []
    for number in range(STEPS):
        value = number
        if number % 7 == 0:
            value += shift
        arguments = {"q": f"query {value // 5}", "limit": value % 3, "tags": ["a", "b"]}
        use = ToolUse(name=TOOLS[number % 5], arguments=arguments, result="ok " * 20)
        steps.append(Step(role="assistant", tool_calls=(use,), tokens=120, latency_s=0.8))
    return Trajectory(steps=tuple(steps))


def compared_and_shown() -> Iterator[str]:
    """Compare 1,000 steps with 1,000 expected ones of which 143 differ, and format the failure, in each order."""
    made = make_trajectory(0)
    reference = make_trajectory(1)
    expected = [call(use.name, **use.arguments or {}) for use in reference.tool_calls]

    def fail_calls(order: str) -> None:
        try:
            assert_tool_calls(made, expected, order=order)  # type: ignore[arg-type]
        except MeasurementFailed as failure:
            str(failure)
        else:
            raise RuntimeError("the calls were expected to differ")

    def fail_trajectory() -> None:
        try:
            assert_trajectory(made, reference, order="turns")
        except MeasurementFailed as failure:
            str(failure)
        else:
            raise RuntimeError("the trajectories were expected to differ")

    works = [
        lambda: fail_calls("strict"),
        lambda: fail_calls("turns"),
        lambda: fail_calls("any"),
        fail_trajectory,
    ]
    names = ["strict", "turns", "any", "reference"]
    times, _ = in_turns(*works, rounds=7)
    for name, seconds in zip(names, times, strict=True):
        yield line("agents", f"{STEPS:,} steps compared and shown, {name}", seconds * 1e3, MAX_MS, " ms")


def lines() -> Iterator[str]:
    """Yield a line for each figure."""
    yield from compared_and_shown()
    yield from skill_gate.lines()


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
