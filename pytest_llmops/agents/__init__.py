"""Agents: what they did step by step (`Trajectory`), what was expected of them, and tools and users for their tests.

Nothing is imported until a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.agents.conversations import ScriptedConversation, Turn
    from pytest_llmops.agents.expected_calls import call, matches_schema, started
    from pytest_llmops.agents.skills import SkillArm, skill_arms
    from pytest_llmops.agents.sources import read_trajectory
    from pytest_llmops.agents.tool_catalogue import ToolCatalogue
    from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory
    from pytest_llmops.assertions.conversation import converse, converse_async
    from pytest_llmops.cases.scripted_user import Decision, ScriptedUser

# Name -> the module that has it: its name here, or its whole name
_MODULES = {
    "Decision": "pytest_llmops.cases.scripted_user",
    "ScriptedConversation": "conversations",
    "ScriptedUser": "pytest_llmops.cases.scripted_user",
    "SkillArm": "skills",
    "Step": "trajectory",
    "ToolCatalogue": "tool_catalogue",
    "ToolUse": "trajectory",
    "Trajectory": "trajectory",
    "Turn": "conversations",
    "call": "expected_calls",
    "converse": "pytest_llmops.assertions.conversation",
    "converse_async": "pytest_llmops.assertions.conversation",
    "matches_schema": "expected_calls",
    "read_trajectory": "sources",
    "skill_arms": "skills",
    "started": "expected_calls",
}

__all__ = [
    "Decision",
    "ScriptedConversation",
    "ScriptedUser",
    "SkillArm",
    "Step",
    "ToolCatalogue",
    "ToolUse",
    "Trajectory",
    "Turn",
    "call",
    "converse",
    "converse_async",
    "matches_schema",
    "read_trajectory",
    "skill_arms",
    "started",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if "." not in module:
        module = f"{__name__}.{module}"
    return getattr(import_module(module), name)
