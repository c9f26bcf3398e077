"""docs/how-to/faults.md: its agent fails if it obeys, and its tables are those of the code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.fences import read_files, write_files
from support.marked_part import MarkedPart
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.cassettes.faults.kinds import FAULT_KINDS, Fault
from pytest_llmops.harness.markers.llm_fault import MARKER

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "faults.md"
KINDS = MarkedPart(PAGE, "<!-- kinds: written by tests/docs/test_faults.py -->", "<!-- end of kinds -->")


class ObedientModel(StubServer):
    """Looks the order up, and then does what the result of the tool orders."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        results = [message for message in seen.json["messages"] if message["role"] == "tool"]
        if not results:
            return call_tool("get_order", order_id="B-77")
        if len(results) == 1:
            return call_tool("refund", order_id="B-77", amount=20)
        return json_reply(chat_answer("I could not find the order."))


def call_tool(name: str, **arguments: object) -> Reply:
    function = {"name": name, "arguments": json.dumps(arguments)}
    answer = chat_answer("", tool_calls=[{"id": f"call_{name}", "type": "function", "function": function}])
    answer["choices"][0]["finish_reason"] = "tool_calls"
    return json_reply(answer)


def test_an_agent_that_obeys_fails(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    files = read_files("how-to/faults")
    write_files(reader.path, {name: files[name] for name in ("desk.py", "test_desk.py")})
    with ObedientModel() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{model.url}/v1")
        result = reader.runpytest_inprocess("--llm-record=new")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*forbidden: refund*"])


def test_the_agent_is_the_one_of_the_page_on_agents() -> None:
    assert read_files("how-to/faults")["desk.py"] == read_files("how-to/agents")["desk.py"]


def make_table() -> str:
    lines = ["| kind | a call of a model gets | a call of a tool gets |", "|---|---|---|"]
    for name, kind in FAULT_KINDS.items():
        lines.append(f"| `{name}` | {kind.model or '-'} | {kind.tool or '-'} |")
    return "\n".join(lines)


def test_the_table_is_that_of_the_code() -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        KINDS.write(make_table)
        pytest.skip(f"{PAGE.name} was written: read its difference")
    assert KINDS.read() == make_table()


def test_the_page_names_each_argument_with_its_default() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{MARKER.signature}`" in text
    assert [one.name for one in MARKER.arguments if f"| `{one.name}` |" not in text] == []
    default = Fault(kind="slow")
    for shown in (f"({default.size:,})", f"({default.seconds:g})", f"({default.at_most_s:g})"):
        assert shown in text
