"""--llm-concurrency beside plugins that order, repeat and show tests, and with an agent framework."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from clients.beside import OURS, Runner, Shelf
from support.server import Reply, Seen, StubServer, chat_answer, json_reply
from support.vendors import Vendors

TESTS = """
import pytest

@pytest.mark.parametrize("word", ["a", "b", "c", "d"])
def test_word(llm, word):
    assert "echo" in llm.complete(f"after {llm.complete(word).text}").text

def test_second_passes(llm):
    assert llm.complete("hello").text == "echo of hello (2)"
"""
AGENT = """
import agents, os, openai, pytest

agents.set_tracing_disabled(True)

@pytest.mark.llm_cassette
@pytest.mark.parametrize("city", ["Oslo", "Rome", "Bern"])
def test_agent(city, llm_calls):
    @agents.function_tool
    def look_up(city: str) -> str: return f"rain in {city}"

    client = openai.AsyncOpenAI(base_url=os.environ["STUB"] + "/v1", api_key="k")
    model = agents.OpenAIChatCompletionsModel("m", client)
    agent = agents.Agent("weather", instructions="Look it up.", tools=[look_up], model=model)
    assert agents.Runner.run_sync(agent, city).final_output == f"rain in {city}"
    assert len(llm_calls) == 2
"""


BEDROCK = """
import boto3, os, pytest
from botocore.config import Config

@pytest.mark.llm_cassette
@pytest.mark.parametrize("i", range(4))
def test_bedrock(i):
    client = boto3.client("bedrock-runtime", endpoint_url=os.environ["STUB"], region_name="eu-central-1",
        aws_access_key_id="AKIA" + "STUB" * 4, aws_secret_access_key="k" * 40, config=Config(retries={"max_attempts": 1}))
    messages = [{"role": "user", "content": [{"text": f"first {i}"}]}]
    first = client.converse(modelId="anthropic.stub-v1:0", messages=messages)["output"]["message"]["content"][0]["text"]
    messages = [{"role": "user", "content": [{"text": f"after {first}"}]}]
    events = list(client.converse_stream(modelId="anthropic.stub-v1:0", messages=messages)["stream"])
    assert "messageStop" in str(events)
    client.close()
"""


@pytest.mark.parametrize(
    ("plugins", "flags"),
    [
        (("pytest_randomly", "pytest_sugar"), ("--randomly-seed=3",)),
        (("pytest_rerunfailures",), ("--reruns=2",)),
    ],
    ids=["randomly and sugar", "rerunfailures"],
)
def test_what_is_recorded_is_that_of_a_sequential_recording(
    runner: Runner, tmp_path: Path, plugins: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    seen = []
    for name, more in (("alone", ()), ("together", ("--llm-concurrency=8",))):
        (tmp_path / name).mkdir()
        with StubServer() as server:
            project = Shelf(tmp_path / name, server.url, runner)
            project.write(**{"test_a.py": TESTS})
            address = f"--llm-base-url={server.url}/v1"
            ran = project.run("--llm-record=new", address, *flags, *more, plugins=(*plugins, OURS))
            assert ("sent ahead: " in ran.text) == bool(more), ran.text
            sent = Counter(request.body for request in server.seen)
            replayed = project.run(address, *flags, plugins=(*plugins, OURS))
            assert server.count == sent.total()
            seen.append((ran.exit, ran.outcomes, replayed.exit, replayed.outcomes, sent, project.cassettes()))
    assert seen[0] == seen[1]


def test_agents_are_called_together(runner: Runner, tmp_path: Path) -> None:
    def answer(seen: Seen) -> Reply:
        StubServer.answer(server, seen)
        last = seen.json["messages"][-1]
        if last["role"] == "tool":
            return json_reply(chat_answer(last["content"]))
        call = {"name": "look_up", "arguments": f'{{"city": "{last["content"]}"}}'}
        message = chat_answer("", tool_calls=[{"id": "1", "type": "function", "function": call}])
        return json_reply(message)

    with StubServer() as server:
        server.answer = answer  # type: ignore[method-assign]
        project = Shelf(tmp_path, server.url, runner)
        project.write(**{"test_a.py": AGENT})
        # The SDK uses an event loop again that it has shut down.
        flags = ("-W", "ignore::ResourceWarning", "--llm-record=new", "--llm-concurrency=8")
        ran = project.run(*flags, plugins=(OURS,))
        assert set(ran.outcomes.values()) == {"passed"}, ran.text
        assert "sent ahead: 6 calls" in ran.text
        assert "sent one after another" not in ran.text
        assert server.count == 6
    ran = project.run(*flags[:2], plugins=(OURS,))
    assert set(ran.outcomes.values()) == {"passed"}, ran.text


def test_bedrock_is_called_ahead_through_botocore(runner: Runner, tmp_path: Path) -> None:
    seen = []
    for name, more in (("alone", ()), ("together", ("--llm-concurrency=8",))):
        (tmp_path / name).mkdir()
        with Vendors() as server:
            project = Shelf(tmp_path / name, server.url, runner)
            project.write(**{"test_a.py": BEDROCK})
            ran = project.run("--llm-record=new", *more, plugins=(OURS,))
            assert set(ran.outcomes.values()) == {"passed"}, ran.text
            assert ("sent ahead: 8 calls" in ran.text) == bool(more), ran.text
            assert "sent one after another" not in ran.text
            seen.append((ran.outcomes, Counter(request.body for request in server.seen), project.cassettes()))
    assert seen[0] == seen[1]
