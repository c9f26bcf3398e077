"""The example of docs/how-to/tools.md runs, and prints what the page says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.fences import read_files, read_page
from support.project import MODEL_VARIABLES, Project
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

PAGE = read_page("how-to/tools")
CHOICES = {"never came": "refund", "stop order": "refund", "Where": "track_order"}


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
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", answer)
        project = Project(pytester, server)
        files = read_files("how-to/tools")
        del files["pytest.ini"]
        project.write(**files)
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
