"""The table on the page of agent frameworks, made of what their scenarios gave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clients.frameworks import kit
from support.marked_part import MarkedPart

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "agent-frameworks.md"
# Script of a framework -> its name on the page, and the environment that has it
SCRIPTS = {
    "openai_agents": ("openai-agents", "clients"),
    "langchain": ("LangChain, LangGraph", "clients"),
    "pydantic_ai": ("Pydantic-AI", "clients"),
    "google_adk": ("google-adk", "clients"),
    "claude_agent": ("claude-agent-sdk", "agents"),
    "crewai": ("CrewAI", "frameworks"),
    "strands": ("Strands", "frameworks"),
}
YES, NO = "yes", "–"

# What the last turn of each scenario says
ANSWERS = {
    "lookup": kit.LOOKUP[-1].text,
    "failure": kit.FAILURE[-1].text,
    "parallel": kit.PARALLEL[-1].text,
    "handoff": kit.REFUND[-1].text,
}
_BILLING = [("billing", [("refund", {"order_id": "B-77"}, "B-77 was refunded")])]

Scenarios = dict[str, dict[str, Any]]

PART = MarkedPart(
    PAGE,
    "<!-- frameworks: written by tests/clients/test_agent_frameworks.py -->",
    "<!-- end of frameworks -->",
)


def _walk(trajectory: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a trajectory, those of started agents after the step with the call."""
    for step in trajectory.get("steps", []):
        yield step
        for call in step.get("calls", []):
            yield from _walk(call.get("started", {}))


def get_calls(scenario: dict[str, Any]) -> list[tuple[str, Any, str | None]]:
    """Return name, arguments and result of each call; arguments that are not JSON as text."""
    calls = []
    for step in _walk(scenario["trajectory"]):
        for call in step.get("calls", []):
            arguments = call["arguments"]
            if not call.get("problem"):
                arguments = json.loads(arguments)
            calls.append((call["name"], arguments, call.get("result")))
    return calls


def _has_question(scenarios: Scenarios) -> bool:
    steps = [step for scenario in scenarios.values() for step in _walk(scenario["trajectory"])]
    return any(step["role"] == "user" and kit.QUESTION in step["text"] for step in steps)


def _has_calls(scenarios: Scenarios) -> bool:
    return [call[:2] for call in get_calls(scenarios["lookup"])] == [("get_order", {"order_id": "B-77"})]


def _has_results(scenarios: Scenarios) -> bool:
    return [call[2] for call in get_calls(scenarios["lookup"])] == ["B-77 was delivered"]


def _has_failure(scenarios: Scenarios) -> bool:
    (failed,) = _list_failures(scenarios["failure"])
    others = [*_list_failures(scenarios["lookup"]), *_list_failures(scenarios["parallel"])]
    return failed and not any(others)


def _list_failures(scenario: dict[str, Any]) -> list[bool]:
    """Return for each call whether it is marked as an error."""
    steps = _walk(scenario["trajectory"])
    return [call.get("is_error") is True for step in steps for call in step.get("calls", [])]


def _has_parallel_calls(scenarios: Scenarios) -> bool:
    (step,) = [step for step in _walk(scenarios["parallel"]["trajectory"]) if step.get("calls")]
    results = [call.get("result") for call in step["calls"]]
    return results == ["B-77 was delivered", "B-78 was delivered"]


def _has_invalid_arguments(scenarios: Scenarios) -> bool:
    if "invalid" not in scenarios:
        return False
    return [call[1] for call in get_calls(scenarios["invalid"])] == [kit.BROKEN_ARGUMENTS]


def _has_tree(scenarios: Scenarios) -> bool:
    trees = [scenarios[name] for name in ("handoff", "started") if name in scenarios]
    return bool(trees) and all(_find_started(scenario) == _BILLING for scenario in trees)


def _find_started(scenario: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the agents that calls started, each with its calls."""
    calls = [call for step in _walk(scenario["trajectory"]) for call in step.get("calls", [])]
    started = [call["started"] for call in calls if "started" in call]
    return [(agent["agent"], get_calls({"trajectory": agent})) for agent in started]


def _has_answer(scenarios: Scenarios) -> bool:
    names = [name for name in ANSWERS if name in scenarios]
    return [scenarios[name]["answer"] for name in names] == [ANSWERS[name] for name in names]


def _has_agent_names(scenarios: Scenarios) -> bool:
    names = set()
    for scenario in ("lookup", "failure", "parallel", "handoff"):
        trajectory = scenarios.get(scenario, {}).get("trajectory", {})
        names |= {step.get("agent") for step in _walk(trajectory) if step["role"] == "assistant"}
    return "desk" in names and names <= {"desk", "billing"}


def _has_tokens(scenarios: Scenarios) -> bool:
    return bool(scenarios["lookup"]["tokens"] == 2 * kit.TOKENS_OF_A_TURN)


def _has_cost(scenarios: Scenarios) -> bool:
    return bool(scenarios["lookup"]["cost_usd"] == kit.COST_USD)


def _has_latency(scenarios: Scenarios) -> bool:
    return any("latency_s" in step for step in _walk(scenarios["lookup"]["trajectory"]))


COLUMNS: dict[str, Callable[[Scenarios], bool]] = {
    "question": _has_question,
    "calls": _has_calls,
    "results": _has_results,
    "failed tool": _has_failure,
    "parallel calls": _has_parallel_calls,
    "invalid JSON": _has_invalid_arguments,
    "tree": _has_tree,
    "answer": _has_answer,
    "agent names": _has_agent_names,
    "tokens": _has_tokens,
    "cost": _has_cost,
    "latency": _has_latency,
}


def make_row(script: str, versions: dict[str, str], scenarios: Scenarios) -> str:
    """Return the line of a framework: its name and versions, and what its trajectories have."""
    cells = [YES if has_it(scenarios) else NO for has_it in COLUMNS.values()]
    return f"| {SCRIPTS[script][0]} {', '.join(versions.values())} | {' | '.join(cells)} |"


def make_page(rows: dict[str, str]) -> str:
    """Return the whole page, with a table of the rows by their scripts."""
    return PART.fill(format_table(rows))


def format_table(rows: dict[str, str]) -> str:
    head = ["| framework | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    return "\n".join([*head, *(rows[script] for script in SCRIPTS if script in rows)])


def read_rows() -> dict[str, str]:
    """Return the rows of the stored page by their scripts."""
    rows = {}
    for line in PART.read().splitlines():
        for script, (name, _) in SCRIPTS.items():
            if line.startswith(f"| {name} "):
                rows[script] = line
    return rows


def write_page(rows: dict[str, str]) -> None:
    """Put rows on the page, and keep the others."""
    PART.write(lambda: format_table({**read_rows(), **rows}))
