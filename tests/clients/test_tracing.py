"""openai-agents as it is by default: it traces every run, and sends a random hint for the prompt cache to OpenAI's own address."""

from __future__ import annotations

from pathlib import Path

from clients.beside import OURS, Runner, Shelf
from support.server import StubServer

AGENT = """
import agents, os, openai, pytest

class Model(agents.OpenAIChatCompletionsModel):
    def _supports_default_prompt_cache_key(self):
        return True  # as at the address of OpenAI

@pytest.fixture(autouse=True)
def trace(request, caplog):
    agents.set_tracing_disabled(request.config.getoption("--llm-record") == "new")  # a recording would send it
    agents.set_tracing_export_api_key("k")
    yield
    agents.tracing.get_trace_provider().force_flush()
    assert caplog.text == ""

@pytest.mark.llm_cassette
def test_agent(llm_calls):
    client = openai.AsyncOpenAI(base_url=os.environ["STUB"] + "/v1", api_key="k")
    agents.Runner.run_sync(agents.Agent("echo", model=Model("m", client)), "hi")
    agents.tracing.get_trace_provider().force_flush()
    assert len(llm_calls) == 1

def test_without_a_cassette():
    with agents.trace("by hand"):
        pass
"""


def test_a_replay_of_a_traced_agent_neither_misses_nor_logs(runner: Runner, tmp_path: Path) -> None:
    flags = ("-W", "ignore::ResourceWarning")  # the SDK uses an event loop again that it has shut down
    with StubServer() as server:
        project = Shelf(tmp_path, server.url, runner)
        project.write(**{"test_a.py": AGENT})
        ran = project.run(*flags, "--llm-record=new", plugins=(OURS,))
        assert set(ran.outcomes.values()) == {"passed"}, ran.text
        assert b"agents-sdk:run:" in server.seen[0].body
    ran = project.run(*flags, plugins=(OURS,))
    assert ran.outcomes == {"test_a::test_agent": "passed", "test_a::test_without_a_cassette": "passed"}, (
        ran.text
    )
    assert ran.exit == 0
