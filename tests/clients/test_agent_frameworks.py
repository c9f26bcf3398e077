"""Agents of real frameworks run on scripted models, and the trajectory read from their results is what was scripted."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from clients.frameworks import page
from support.matrix import ROOT, TIMEOUT_S, environment

COMMANDS = {"clients": "make test-clients", "agents": "make agents", "frameworks": "make frameworks"}
# Other results of the same run as "lookup"
SAME_RUNS = ("streamed", "stopped", "messages", "events", "agent", "structured")
NO_TELEMETRY = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
}


def run_scenarios(script: str, folder: Path) -> dict[str, Any]:
    """Run a framework's scenarios in its environment; skips the test without it."""
    name = page.SCRIPTS[script][1]
    python = ROOT / ".venv" / name / "bin" / "python"
    if not python.exists():
        reason = (
            f"the environment of {script} is not there: {python.parents[1]} ({COMMANDS[name]} sets it up)"
        )
        if os.environ.get(f"LLMOPS_REQUIRE_{name.upper()}"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [str(python), "-m", "clients.frameworks.run", script],
        cwd=folder,
        env={**environment(folder), **NO_TELEMETRY},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("script", page.SCRIPTS)
def test_the_trajectory_of_a_result_is_what_the_agent_did(script: str, tmp_path: Path) -> None:
    result = run_scenarios(script, tmp_path)
    scenarios = result["scenarios"]
    broken = {name: scenario["broke"] for name, scenario in scenarios.items() if "broke" in scenario}
    assert broken == {}, "\n".join(broken.values())
    assert result["connected"] == []
    assert [name for name, scenario in scenarios.items() if "problems" in scenario["trajectory"]] == []
    for name in SAME_RUNS:
        if name in scenarios:
            assert page.get_calls(scenarios[name]) == page.get_calls(scenarios["lookup"])
    row = page.make_row(script, result["versions"], scenarios)
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write_page({script: row})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    assert page.read_rows().get(script) == row


def test_the_page_has_all_frameworks_and_is_written_as_the_tests_write_it() -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write_page({})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    rows = page.read_rows()
    assert list(rows) == list(page.SCRIPTS)
    assert page.PAGE.read_text(encoding="utf-8") == page.make_page(rows)
