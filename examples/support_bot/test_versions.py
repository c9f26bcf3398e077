"""Versions of a prompt without a model: what is in production, who has which version, and the way back."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops.cli import main
from pytest_llmops.prompts import Prompts

if TYPE_CHECKING:
    from pytest_llmops.prompts import Prompt

NAME = "support/answer"
VARIABLES = {"policy": "Items can be returned within 45 days.", "question": "May I return my tent?"}


@pytest.fixture
def copy(tmp_path: Path) -> Prompts:
    """The prompts of the project, to move aliases in."""
    folder = shutil.copytree(Path(__file__).parent / "prompts", tmp_path / "prompts")
    return Prompts(folder)


@pytest.mark.prompt(NAME, versions="all")
def test_every_version_says_what_the_customer_asks(prompt: Prompt) -> None:
    messages = prompt.render(**VARIABLES)

    assert [messages[0].role, messages[-1].role] == ["system", "user"]
    assert VARIABLES["question"] in messages[-1].content


def test_a_promotion_that_goes_wrong_is_taken_back(copy: Prompts) -> None:
    where = ["--prompts", str(copy.folder)]
    before = copy.get(NAME)

    assert main(["prompts", "alias", NAME, "production", "v1", "--reason", "shorter", *where]) == 0
    assert copy.get(NAME).version == "v1"

    assert main(["prompts", "rollback", NAME, "--reason", "makes things up", *where]) == 0
    after = copy.get(NAME)
    assert after.render(**VARIABLES) == before.render(**VARIABLES)
    assert after.output_schema == before.output_schema


def test_one_customer_in_ten_has_the_other_version_and_keeps_it(copy: Prompts) -> None:
    customers = [f"customer-{number}" for number in range(200)]

    def choose(share: float) -> dict[str, str]:
        split = {"v1": share}
        return {customer: copy.choose(NAME, key=customer, split=split).version for customer in customers}

    few, more = choose(0.1), choose(0.3)
    assert Counter(few.values())["v1"] < Counter(more.values())["v1"] < 100
    assert all(more[customer] == "v1" for customer in few if few[customer] == "v1")
