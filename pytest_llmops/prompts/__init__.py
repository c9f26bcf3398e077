"""Prompts as files: versions, aliases, front matter, templates."""

from pytest_llmops.prompts.registry import Prompt, Prompts, read_prompt

__all__ = ["Prompt", "Prompts", "read_prompt"]
