"""Agents: what they did step by step (`Trajectory`), what was expected of them, and tools and users for their tests.

Nothing is imported until a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.agents.expected_calls import call, matches_schema, started
    from pytest_llmops.agents.sources import read_trajectory
    from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory

# Name -> the module here that has it
_MODULES = {
    "Step": "trajectory",
    "ToolUse": "trajectory",
    "Trajectory": "trajectory",
    "call": "expected_calls",
    "matches_schema": "expected_calls",
    "read_trajectory": "sources",
    "started": "expected_calls",
}

__all__ = ["Step", "ToolUse", "Trajectory", "call", "matches_schema", "read_trajectory", "started"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
