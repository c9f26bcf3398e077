"""The examples of docs/how-to/conversations.md that need an agent framework, run with the real packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clients.beside import OURS, Runner, Shelf
from support.agent_server import event_reply, message_events
from support.fences import read_files
from support.matrix import ROOT, TIMEOUT_S, environment
from support.server import Reply, Seen, StubServer

AGENTS = ROOT / ".venv" / "agents"
GRAPH = '''
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

class Clerk(BaseChatModel):
    """Refunds the order that the user names, and then repeats what the tool returned."""
    @property
    def _llm_type(self): return "scripted"
    def bind_tools(self, tools, **options): return self
    def _generate(self, messages, *args, **options):
        last = messages[-1]
        if last.type == "human":
            order = last.content.split()[1].strip(",.")
            call = {"name": "refund", "args": {"order_id": order}, "id": f"call-{order}"}
            answer = AIMessage("", tool_calls=[call])
        else:
            answer = AIMessage(f"Result: {last.content}")
        return ChatResult(generations=[ChatGeneration(message=answer)])

def refund(order_id: str) -> str:
    """Pay an order back."""
    return f"{order_id} is refunded"

def make_graph():
    approval = [HumanInTheLoopMiddleware({"refund": True})] if APPROVAL else []
    return create_agent(Clerk(), [refund], middleware=approval, checkpointer=InMemorySaver())
'''
CLAUDE = """
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, create_sdk_mcp_server, tool

@tool("refund", "Pay an order back", {"order_id": str})
async def refund(arguments):
    return {"content": [{"type": "text", "text": f"{arguments['order_id']} is refunded"}]}

def open_client(can_use_tool):
    shop = create_sdk_mcp_server("shop", "1.0.0", [refund])
    allowed = [] if APPROVAL else ["mcp__shop__refund"]
    options = ClaudeAgentOptions(
        can_use_tool=can_use_tool, mcp_servers={"shop": shop}, allowed_tools=allowed, model="claude-sonnet-4-5",
        setting_sources=[], tools=[], system_prompt="You are a clerk.",
    )
    return ClaudeSDKClient(options)
"""
NOT_ASKED = "turn 1: the agent did not ask to approve 'refund'"


def make_files(test: str, shop: str, *, approval: bool) -> dict[str, str]:
    """The example, its cases, and an application whose refunds need approval, or do not."""
    examples = read_files("how-to/conversations")
    return {
        test: examples[test],
        "approvals.yaml": examples["approvals.yaml"],
        "shop.py": f"APPROVAL = {approval}\n{shop}",
    }


@pytest.mark.parametrize("approval", [True, False])
def test_an_interrupt_of_langgraph_is_answered(runner: Runner, tmp_path: Path, approval: bool) -> None:
    project = Shelf(tmp_path, "http://127.0.0.1:9", runner)
    project.write(**make_files("test_graph.py", GRAPH, approval=approval))
    ran = project.run("test_graph.py", "-ollm_model=stub-1", "-Wignore", plugins=(OURS,))
    outcome = "passed" if approval else "failure"
    assert ran.outcomes == {"test_graph::test_refund[refund]": outcome}, ran.text
    assert (NOT_ASKED in ran.text) is not approval


class ClerkServer(StubServer):
    """Refunds the order that the user names last, and then repeats what the tool returned."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if seen.method != "POST":
            return Reply(b"{}", 404)
        body = seen.json
        blocks = [
            block
            for message in body["messages"]
            for block in as_blocks(message["content"])
            if message["role"] == "user"
        ]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        orders = re.findall(r"\b(?:B-77|C-12)\b", "\n".join(texts))
        results = {
            block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"
        }
        tools = [tool["name"] for tool in body.get("tools", []) if tool["name"].endswith("refund")]
        if not tools or not orders:
            return event_reply(message_events(body["model"], "title", "A title"))
        order = orders[-1]
        if f"toolu_{order}" in results:
            result = as_blocks(results[f"toolu_{order}"])[0]["text"]
            return event_reply(message_events(body["model"], f"{order}-end", f"Result: {result}"))
        return event_reply(
            message_events(body["model"], order, json.dumps({"order_id": order}), tool=tools[0])
        )


def as_blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks: list[dict[str, Any]] = content
    return blocks


@pytest.mark.slow
@pytest.mark.parametrize("approval", [True, False])
def test_a_permission_of_the_claude_agent_sdk_is_answered(tmp_path: Path, approval: bool) -> None:
    packages = [*AGENTS.glob("lib/python*/site-packages/claude_agent_sdk")]
    if not packages:
        reason = f"the environment of the coding agents is not there: {AGENTS} (make agents sets it up)"
        if os.environ.get("LLMOPS_REQUIRE_AGENTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    # That environment has no pytest, so the SDK is imported from there, behind the packages of this one.
    find_sdk = f"import sys\n\nsys.path.append({str(packages[0].parent)!r})\n"
    files = {**make_files("test_claude.py", CLAUDE, approval=approval), "conftest.py": find_sdk}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    report = tmp_path / "run-file.json"
    with ClerkServer() as server:
        own = {
            "ANTHROPIC_BASE_URL": server.url,
            "ANTHROPIC_API_KEY": "x",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", OURS, "-ollm_model=stub-1", f"--llm-report={report}"],
            cwd=tmp_path, env={**environment(tmp_path), **own}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    [record] = json.loads(report.read_text(encoding="utf-8"))["records"]
    assert record["outcome"] == ("passed" if approval else "failed"), done.stdout
    assert (NOT_ASKED in done.stdout) is not approval
