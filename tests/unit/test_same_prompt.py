"""check_same_prompt: what a model gets is what it got."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.prompts.registry import Prompt, read_prompt
from pytest_llmops.testing import check_same_prompt


@pytest.fixture
def prompt(tmp_path: Path) -> Prompt:
    path = tmp_path / "v1.md"
    path.write_text(
        "---\nvariables: [q]\nparams: {temperature: 0}\n---\n{% if q == 'x' %}a {% endif %}{{ q }}\n"
    )
    return read_prompt(path, name="answer", version="v1")


def test_a_copy_is_the_same(prompt: Prompt) -> None:
    check_same_prompt(replace(prompt, version="v7", description="new"), prompt, {"q": "x"}, {"q": "y"})


@pytest.mark.parametrize(
    "change",
    [{"params": {"temperature": 0.0}}, {"params": {}}, {"model": "m"}, {"output_schema": {}}],
    ids=str,
)
def test_another_parameter_is_a_difference(prompt: Prompt, change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, check=check_message):
        check_same_prompt(replace(prompt, **change), prompt, {"q": "x"})


def test_another_text_is_a_difference_only_where_it_is_rendered(prompt: Prompt) -> None:
    section = replace(prompt.sections[0], text="{% if q == 'x' %}b {% endif %}{{ q }}")
    changed = replace(prompt, sections=(section,))
    check_same_prompt(changed, prompt, {"q": "y"})
    with pytest.raises(AssertionError, check=check_message):
        check_same_prompt(changed, prompt, {"q": "y"}, {"q": "x"})
    with pytest.raises(AssertionError, check=check_message):
        check_same_prompt(prompt, prompt)
