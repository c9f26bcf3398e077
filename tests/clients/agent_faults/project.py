"""The project of a child process: an agent is recorded, and then runs with each kind of fault."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clients.mcp_agents import kit
from clients.mcp_agents.model import ModelServer
from clients.mcp_agents.project import INI, MCP_1, make_connection, model_variables
from support.matrix import PYTHON, TIMEOUT_S, environment
from support.server import Reply, Seen, json_reply

from pytest_llmops.cassettes import FAULT_KINDS

WAIT_S = 1.5
"""The limit of faults that never end. Frameworks with a limit of their own get a shorter one, so that it comes first."""
OWN_LIMIT_S = 0.5
MODEL_KINDS = (
    "timeout", "rate_limit", "server_error", "connection_reset", "cut", "malformed_json", "empty", "too_long", "hostile",
    "wrong_type", "never_returns", "bad_arguments", "unknown_tool",
)  # fmt: skip
TOOL_KINDS = (
    "timeout", "rate_limit", "server_error", "connection_reset", "malformed_json", "empty", "too_long", "hostile", "wrong_type",
    "never_returns", "server_died",
)  # fmt: skip
TESTS = """
import asyncio, json, os
from importlib.metadata import version
from pathlib import Path

import pytest
from clients.agent_faults import project
from clients.agent_faults.outcomes import describe_outcome
from clients.mcp_agents import kit
from {module} import PACKAGES, run_agent
from pytest_llmops.cassettes import find_fault_plan

CONNECTION = kit.Connection(**json.loads(os.environ["MCP_CONNECTION"]))
OUT = Path(os.environ["FAULTS_OUT"])
QUESTION = kit.make_question(kit.CLOCK, "/shop")
TALK = pytest.mark.llm_cassette("talk")

def run():
    limits = {{"timeout_s": project.OWN_LIMIT_S}} if "timeout_s" in run_agent.__code__.co_varnames else {{}}
    return asyncio.run(run_agent(CONNECTION, QUESTION, **limits))

def store(name, value):
    (OUT / f"{{name}}.json").write_text(json.dumps(value))

@TALK
def test_recorded(llm_calls):
    answer = asyncio.run(run_agent(CONNECTION, QUESTION))
    versions = {{package: version(package) for package in (*PACKAGES, "openai")}}
    store("recorded", {{"answer": answer, "requests": len(llm_calls), "versions": versions}})

def list_faults():
    for on, kinds in (("model", {models}), ("tool", {tools})):
        for kind in kinds:
            how = {{"tool": "*"}} if on == "tool" else {{}}
            if kind == "never_returns" or (kind, on) == ("malformed_json", "tool"):
                how["at_most_s"] = project.WAIT_S
            if kind == "too_long":
                how["size"] = 5000
            yield pytest.param(on, kind, marks=pytest.mark.llm_fault(kind, **how), id=f"{{on}}-{{kind}}")

@TALK
@pytest.mark.parametrize(("on", "kind"), list_faults())
def test_fault(on, kind):
    recorded = json.loads((OUT / "recorded.json").read_text())
    answer = error = None
    try:
        answer = run()
    except Exception as raised:
        error = raised
    store(f"{{on}}-{{kind}}", describe_outcome(find_fault_plan(), recorded, answer, error))
"""


@dataclass(frozen=True)
class Framework:
    """A column of the page.

    Attributes:
        name: Its name there.
        module: The module with its agent.
        has_tools: Whether it calls tools.
        major: The major version of the mcp SDK that it runs on.
    """

    name: str
    module: str
    has_tools: bool = True
    major: int = 2

    def has_kind(self, on: str, kind: str) -> bool:
        """Return whether its agent can get a fault."""
        return self.has_tools or (on == "model" and not FAULT_KINDS[kind].only_with_tools)


FRAMEWORKS = {
    "openai": Framework("openai SDK", "clients.mcp_agents.sdk"),
    "anthropic": Framework("anthropic SDK", "clients.agent_faults.anthropic_sdk", has_tools=False),
    "openai-agents": Framework("openai-agents", "clients.mcp_agents.openai_agents"),
    "langgraph": Framework("LangGraph", "clients.mcp_agents.langgraph", major=1),
    "pydantic-ai": Framework("Pydantic-AI", "clients.mcp_agents.pydantic_ai"),
    "google-adk": Framework("google-adk", "clients.mcp_agents.google_adk"),
}


class BothVendorsServer(ModelServer):
    """Answers Anthropic's requests with a text, too."""

    def answer(self, seen: Seen) -> Reply:
        if not seen.path.endswith("/messages"):
            return super().answer(seen)
        self.seen.append(seen)
        return json_reply(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": kit.MODEL,
                "content": [{"type": "text", "text": "0 results: "}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 3, "output_tokens": 2},
            }
        )


def run_framework(framework: Framework, folder: Path) -> tuple[dict[str, Any], str]:
    """Record the agent of a framework, run it with each fault, and return the outcomes by name, and pytest's output."""
    project = folder / "project"
    out = folder / "out"
    for path in (project, out):
        path.mkdir()
    (project / "pytest.ini").write_text(INI.format(clients=""), encoding="utf-8")
    models = [kind for kind in MODEL_KINDS if framework.has_kind("model", kind)]
    tools = [kind for kind in TOOL_KINDS if framework.has_kind("tool", kind)]
    tests = TESTS.format(module=framework.module, models=models, tools=tools)
    (project / "test_agent.py").write_text(tests, encoding="utf-8")
    variables = environment(folder)
    if framework.major == 1:
        variables["PYTHONPATH"] = os.pathsep.join((str(MCP_1), variables["PYTHONPATH"]))
    with BothVendorsServer() as model:
        done = subprocess.run(
            [str(PYTHON), "-m", "pytest", "-q", f"--basetemp={folder / 'tmp'}", "--llm-record=new"],
            cwd=project,
            env={
                **variables,
                "MCP_CONNECTION": json.dumps(asdict(make_connection(kit.CLOCK_SCRIPT))),
                "FAULTS_OUT": str(out),
                **model_variables(model.url),
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    outcomes = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.json")}
    return outcomes, f"{done.stdout}\n{done.stderr}"
