"""docs/how-to/agents.md: its agent, its tests and its failure, with a scripted model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

PAGE = (Path(__file__).parents[2] / "docs/how-to/agents.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [shlex.split(line) for line in re.findall(r"^ {4}pytest(.*)$", PAGE, re.MULTILINE)]


class Desk(StubServer):
    """A model that looks the order up, pays an amount back, and then says so."""

    amount = 20

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        script: list[tuple[str, dict[str, object]]] = [
            ("get_order", {"order_id": "B-77"}),
            ("refund", {"order_id": "B-77", "amount": self.amount}),
        ]
        turn = sum(message["role"] == "assistant" for message in seen.json["messages"])
        reply = chat_answer("Done.")
        if turn < len(script):
            name, arguments = script[turn]
            function = {"name": name, "arguments": json.dumps(arguments)}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": function}],
            }
            reply["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        return json_reply(reply)


@pytest.fixture
def desk(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The folder of the page's first test."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    for name, text in zip(("desk.py", "test_desk.py"), PYTHON, strict=False):
        (reader.path / name).write_text(text, encoding="utf-8")
    return reader


def test_the_first_test_of_the_page(desk: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, replaying, *_ = COMMANDS
    with Desk() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        desk.runpytest_inprocess(*recording).assert_outcomes(passed=1)
        desk.runpytest_inprocess(*replaying).assert_outcomes(passed=1)
        assert server.count == 3
        server.amount = 200
        failed = desk.runpytest_inprocess("--llm-record=all")
    failed.assert_outcomes(failed=1)
    (failure, *_) = (text for language, text in BLOCKS if language == "text")
    printed = {line.removeprefix("E").strip() for line in failed.outlines}
    assert [
        line for line in failure.splitlines() if not any(line.strip() in other for other in printed)
    ] == []


def test_the_measured_test_of_the_page(desk: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (test,) = [text for text in PYTHON if "llm_trials" in text]
    (case,) = [text for language, text in BLOCKS if language == "json"]
    (desk.path / "test_desk.py").write_text(test, encoding="utf-8")
    (desk.path / "cases.jsonl").write_text(case, encoding="utf-8")
    with Desk() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        result = desk.runpytest_inprocess(*COMMANDS[-1])
        assert server.count == 9
    result.assert_outcomes(passed=1)
    baseline = (desk.path / "llmops-baseline.json").read_text(encoding="utf-8")
    names = re.findall(r"\| `(tools\.[a-z_]+)` \|", PAGE)
    assert names == ["tools.calls", "tools.recall", "tools.precision", "tools.valid_arguments"]
    assert [name for name in names if f'"{name}"' not in baseline] == []


def test_expected_arguments_of_the_page() -> None:
    (text,) = [text for text in PYTHON if "guests=" in text]
    exec(text, {})
