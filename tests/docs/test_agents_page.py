"""docs/how-to/agents.md: its agent, its tests and its failure, with a scripted model."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from support.fences import read_fences, read_files, read_page, write_files
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

FENCES = read_fences("how-to/agents")
PYTHON = [fence for fence in FENCES if fence.language == "python"]
COMMANDS = [
    shlex.split(line.removeprefix("$ pytest"))
    for fence in FENCES
    for line in fence.text.splitlines()
    if fence.language == "console"
]


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
    files = read_files("how-to/agents")
    write_files(reader.path, {name: files[name] for name in ("desk.py", "test_desk.py")})
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
    (failure,) = (fence.text for fence in FENCES if fence.language == "text")
    printed = {line.removeprefix("E").strip() for line in failed.outlines}
    assert [
        line for line in failure.splitlines() if not any(line.strip() in other for other in printed)
    ] == []


def test_the_measured_test_of_the_page(desk: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (test,) = [fence.text for fence in PYTHON if "llm_trials" in fence.text]
    write_files(desk.path, {"test_desk.py": test, "cases.jsonl": read_files("how-to/agents")["cases.jsonl"]})
    with Desk() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        result = desk.runpytest_inprocess(*COMMANDS[-1])
        assert server.count == 9
    result.assert_outcomes(passed=1)
    baseline = (desk.path / "llmops-baseline.json").read_text(encoding="utf-8")
    names = re.findall(r"^\| `(tools\.[a-z_]+)` \|", read_page("how-to/agents"), re.MULTILINE)
    assert names == ["tools.calls", "tools.recall", "tools.precision", "tools.valid_arguments"]
    assert [name for name in names if f'"{name}"' not in baseline] == []


def test_expected_arguments_of_the_page() -> None:
    (fence,) = [fence for fence in PYTHON if "guests=" in fence.text]
    exec(fence.text, {})
