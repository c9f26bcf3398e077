"""The case files of docs/how-to/conversations.md, said to a scripted agent; its examples with frameworks are run in tests/clients."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops import collect
from pytest_llmops.agents import ScriptedUser, converse
from pytest_llmops.cases import load_cases
from pytest_llmops.cases.turns import TURN_KEYS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "conversations.md"


def test_the_cases_of_the_page_go_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [key for key in TURN_KEYS if f"`{key}`" not in text] == []
    examples = re.findall(r"(.*?)^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for before, example in examples:
        name = re.findall(r"`([\w-]+\.yaml)`", before)[-1]
        (tmp_path / name).write_text(example, encoding="utf-8")
    look_up = {"role": "assistant", "tool_calls": [{"function": {"name": "get_order", "arguments": "{}"}}]}
    delivered = [look_up, {"role": "assistant", "content": "It was delivered."}]
    replies: dict[str, Any] = {
        "I want my money back.": "What is your order number?",
        "It is B-77.": delivered,
        "Thanks, bye.": "Bye.",
    }
    [case] = load_cases(tmp_path / "refunds.yaml")
    agent = SimpleNamespace(reply=replies.__getitem__)
    monkeypatch.setitem(sys.modules, "shop", SimpleNamespace(ShopAgent=lambda: agent))
    monkeypatch.setattr("pytest_llmops.assert_judge_score", lambda trajectory, **_: trajectory)
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0], names)
    with collect() as measurements:
        names["test_refund"](case)
    assert {measurement.status for measurement in measurements} == {"passed", "recorded"}
    conversation = converse(case, agent.reply)
    assert [len(turn.tool_calls) for turn in conversation] == [0, 1, 0]
    [case] = load_cases(tmp_path / "approvals.yaml")
    user = ScriptedUser(case)
    conversation = converse(user, lambda _: "It is refunded." if user.decide("refund") else "No.")
    assert [turn.reply for turn in conversation] == ["It is refunded.", "No."]
