"""The case files of docs/how-to/conversations.md, said to a scripted agent; its examples with frameworks are run in tests/clients."""

from __future__ import annotations

from pathlib import Path

from support.fences import read_files, read_text, write_files

from pytest_llmops.agents import ScriptedUser, converse
from pytest_llmops.cases import load_cases
from pytest_llmops.cases.turns import TURN_KEYS


def test_the_page_names_each_key_of_a_turn() -> None:
    text = read_text("how-to/conversations")
    assert [key for key in TURN_KEYS if f"`{key}`" not in text] == []


def test_the_approvals_of_the_page_are_answered(tmp_path: Path) -> None:
    write_files(tmp_path, {"approvals.yaml": read_files("how-to/conversations")["approvals.yaml"]})
    [case] = load_cases(tmp_path / "approvals.yaml")
    user = ScriptedUser(case)
    conversation = converse(user, lambda _: "It is refunded." if user.decide("refund") else "No.")
    assert [turn.reply for turn in conversation] == ["It is refunded.", "No."]
