"""Presets for coding agents that run in their own process: Claude Code, Codex, Gemini CLI, opencode.

Such a client puts the day, the folder, the machine, its session and its version into every request. Its preset removes
them before the request is matched and stored, and puts the present folder into recorded paths when an answer is
replayed. Requests of other programs are matched as without a preset.

A preset is one module, which is imported only if ``llm_clients`` names it.
"""

import importlib
from collections.abc import Sequence
from typing import cast

from pytest_llmops.cassettes.clients.preset import ClientPreset

# The module of each preset, by its name in `llm_clients` (`settings.CLIENTS` lists the same names)
MODULES = {
    "claude-agent": "claude_agent",
    "codex": "codex",
    "gemini-cli": "gemini_cli",
    "opencode": "opencode",
}


def load_presets(names: Sequence[str]) -> tuple[ClientPreset, ...]:
    """Return the presets with these names, which `Settings` has checked.

    >>> [preset.name for preset in load_presets(["codex"])]
    ['codex']
    """
    presets = []
    for name in dict.fromkeys(names):
        module = importlib.import_module(f"{__name__}.{MODULES[name]}")
        presets.append(cast("ClientPreset", module.PRESET))
    return tuple(presets)
