"""Agents: their steps (`Trajectory`), the calls that a test expects, and tools and users for their tests.

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

# As in the face of the whole package; the names of conversations are above this layer, as they call assertions
_MODULES_BY_NAME = {
    "Decision": "cases.scripted_user",
    "ScriptedConversation": "agents.conversations",
    "ScriptedUser": "cases.scripted_user",
    "SkillArm": "agents.skills",
    "Step": "agents.trajectory",
    "ToolCatalogue": "agents.tool_catalogue",
    "ToolUse": "agents.trajectory",
    "Trajectory": "agents.trajectory",
    "Turn": "agents.conversations",
    "call": "agents.expected_calls",
    "converse": "assertions.conversation",
    "converse_async": "assertions.conversation",
    "matches_schema": "agents.expected_calls",
    "read_trajectory": "agents.sources",
    "skill_arms": "agents.skills",
    "started": "agents.expected_calls",
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
    module = _MODULES_BY_NAME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"pytest_llmops.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES_BY_NAME])
