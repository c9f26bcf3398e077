"""Run the scenarios of one framework in this process: ``python -m clients.frameworks.run SCRIPT``; what they gave is printed as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from typing import Any

from clients.frameworks.kit import Scenario

connected: list[str] = []
"""Addresses on other machines that this process connected to."""


def main(script: str) -> None:
    sys.addaudithook(_note_connection)
    with contextlib.redirect_stdout(sys.stderr):
        module: Any = import_module(f"clients.frameworks.{script}")
        scenarios = {name: run_scenario(scenario) for name, scenario in module.SCENARIOS.items()}
        versions = {package: version(package) for package in module.PACKAGES}
    print(json.dumps({"versions": versions, "scenarios": scenarios, "connected": connected}))


def _note_connection(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and not isinstance(args[1], (str, bytes)) and args[1][0] != "127.0.0.1":
        connected.append(repr(args[1]))


def run_scenario(scenario: Scenario) -> dict[str, Any]:
    """Return the trajectory of a scenario as builtins, with its totals; or how it broke."""
    try:
        trajectory = scenario()
    except Exception:  # noqa: BLE001 -- every framework has its own
        return {"broke": traceback.format_exc()}
    return {
        "trajectory": trajectory.to_wire(),
        "answer": trajectory.answer,
        "tokens": trajectory.tokens,
        "cost_usd": trajectory.cost_usd,
    }


if __name__ == "__main__":
    main(sys.argv[1])
