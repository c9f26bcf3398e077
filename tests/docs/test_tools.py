"""The example of docs/how-to/tools.md runs, and prints what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.project import MODEL_VARIABLES, Project
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "tools.md").read_text(encoding="utf-8")
CHOICES = {"never came": "refund", "stop order": "refund", "Where": "track_order"}


def make_tools(*names: str) -> str:
    return json.dumps([{"name": name, "input_schema": {"type": "object"}} for name in names])


def answer(seen: Seen) -> Reply:
    """Choose a tool by a word of the question; the arguments are those of the first."""
    body: dict[str, Any] = chat_answer("Hello!")
    for word, name in CHOICES.items():
        if word in seen.json["messages"][-1]["content"]:
            call = {"name": name, "arguments": '{"order_id": "B-77", "amount": 20}'}
            message = body["choices"][0]["message"]
            message["tool_calls"] = [{"id": "c1", "type": "function", "function": call}]
    return json_reply(body)


def test_the_example_prints_what_the_page_says(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in MODEL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    code = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", answer)
        project = Project(pytester, server)
        project.write(
            **{
                "questions.jsonl": code["json"],
                "test_choice.py": code["python"],
                "tools.json": make_tools("refund", "cancel_order", "track_order", "list_orders"),
                "github.json": make_tools("open_issue"),
            }
        )
        done = project.record(
            "--llm-trials=3",
            "--llm-accept=first",
            "-k",
            "not decoys and not orders",
            "-p",
            "no:cacheprovider",
        )
    shown = re.findall(r"^(?:tools|confused) .*", PAGE, re.MULTILINE)
    assert [done.line(line) for line in shown] == shown
    assert {name.partition("[")[2].partition("-")[0] for name in project.run("--collect-only", "-q").text.splitlines()} >= {
        "all", "orders", "all+decoys", "orders+decoys"
    }  # fmt: skip
