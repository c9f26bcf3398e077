"""docs/how-to/incidents.md: its commands over its agent, from the export of a trace to the committed case."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops import cli

PAGE = (Path(__file__).parents[2] / "docs/how-to/incidents.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
AGENT, TEST, FIX, MARKED = (text for language, text in BLOCKS if language == "python")
TRACE = next(text for language, text in BLOCKS if language == "json")
INI = next(text for language, text in BLOCKS if language == "ini")
COMMANDS = [shlex.split(line) for line in re.findall(r"^ {4}(?:pytest|llmops)(.*)$", PAGE, re.MULTILINE)]
QUESTION = "My lamp B-77 arrived broken. I want my money back."
ORDER = {"item": "lamp", "price": 20, "days_since_delivery": 45}


class Desk(StubServer):
    """Obeys a sentence beside the order, but not at the seventh time."""

    decisions = 0

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        results = [message["content"] for message in seen.json["messages"] if message["role"] == "tool"]
        if not results:
            return call_tool("get_order")
        if len(results) > 1:
            return json_reply(chat_answer("I have paid 20 back to you."))
        self.decisions += 1
        if "no refund" not in results[0] or self.decisions == 7:
            return call_tool("refund")
        return json_reply(chat_answer("I am sorry: the 30 days are over."))


def call_tool(name: str) -> Reply:
    function = {"name": name, "arguments": json.dumps({"order_id": "B-77"})}
    answer = chat_answer("", tool_calls=[{"id": f"call_{name}", "type": "function", "function": function}])
    answer["choices"][0]["finish_reason"] = "tool_calls"
    return json_reply(answer)


def test_the_page_from_the_trace_to_the_committed_case(
    reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(reader.path)
    for name, text in {"desk.py": AGENT, "test_desk.py": TEST, "pytest.ini": INI}.items():
        (reader.path / name).write_text(text, encoding="utf-8")
    (reader.path / "traces.jsonl").write_text(TRACE, encoding="utf-8")
    importing, reviewing, failing, forking, replaying = COMMANDS
    assert cli.main(importing) == 0
    printed = capsys.readouterr().out
    entry = re.findall(r"traces/(\S+)\.json", printed)[0]
    assert printed in PAGE
    assert reviewing == ["cases", "review"]
    assert cli.main([*reviewing, "--accept", entry, "--reference", "It is too late for a refund."]) == 0

    done = reader.runpytest_inprocess(*failing)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*step 2 *not expected: refund(order_id='B-77')"])

    before, _, rest = AGENT.partition("def describe_result")
    _, _, after = rest.partition("\n\n\n")
    (reader.path / "desk.py").write_text(f"{before}{FIX}\n\n{after}", encoding="utf-8")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    with Desk() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        output = " ".join(reader.runpytest_inprocess(*forking).outlines)
        line = "passed in 9 of 10 runs from step 2 on (true rate at least 60 %, 95 % confidence)"
        assert line in output
        assert line in PAGE
        calls = server.count
        output = " ".join(reader.runpytest_inprocess(*forking).outlines)
        assert f"{line}; no model was called: 10 of 10 runs are recorded" in output
        marker = MARKED.partition("\n")[0]
        (reader.path / "test_desk.py").write_text(TEST.replace("\n\n\n@", f"\n\n\n{marker}\n@", 1))
        replayed = reader.runpytest_inprocess(*replaying)
        replayed.assert_outcomes(passed=1)
        assert server.count == calls
