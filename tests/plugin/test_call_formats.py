"""The hook `pytest_llmops_call_formats`: a project reads the calls of its own model server."""

from __future__ import annotations

import json

import pytest
from support.project import INI, Project
from support.server import Reply, Seen, json_reply

CONFTEST = """
from pytest_llmops.protocols import Message, Usage
from pytest_llmops.trace import CallFormat, Endpoint, ParsedReply, ParsedRequest, WireFormat


def read_request(request):
    return ParsedRequest([Message("user", request["say"])], model=request["engine"])


def read_reply(reply):
    counts = reply["counts"]
    usage = Usage(input_tokens=counts["read"], output_tokens=counts["written"])
    return ParsedReply(output=reply["said"], usage=usage, cost_usd=reply.get("dollars"))


def join_events(events):
    text = "".join(event.get("piece", "") for event in events)
    return {**events[-1], "said": text}, "counts" in events[-1]


def pytest_llmops_call_formats(config):
    speak = Endpoint("speak", "/acme/speak", CallFormat(read_request, read_reply, join_events), is_unmistakable=True)
    return {"acme": WireFormat([speak], hosts={"acme.example": "acme"}, on_other_hosts=True)}
"""
TESTS = """
import json, os, urllib.request

def ask(text, **more):
    body = json.dumps({"engine": "oracle-1", "say": text, **more}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/acme/speak"
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})) as response:
        return response.read()

def check(llm_calls, text):
    (call,) = llm_calls
    assert (call.provider, call.endpoint, call.model) == ("acme-compatible", "speak", "oracle-1")
    assert (call.messages[0].content, call.output, call.unread) == (text, "You said " + text, "")
    assert (call.usage.input_tokens, call.usage.output_tokens, call.cost_usd) == (3, 4, 0.25)

def test_whole(llm_calls):
    ask("yes")
    check(llm_calls, "yes")

def test_streamed(llm_calls):
    ask("no", stream=True)
    check(llm_calls, "no")
    assert llm_calls[0].streamed

def test_cost(llm_calls):
    from pytest_llmops import assert_cost, assert_tokens
    ask("much")
    assert_cost(llm_calls, at_most_usd=0.3)
    assert_tokens(llm_calls, at_most_tokens=7)
"""


def answer_in_acme_format(seen: Seen) -> Reply:
    end = {"counts": {"read": 3, "written": 4}, "dollars": 0.25}
    pieces = ["You said ", seen.json["say"]]
    if not seen.json.get("stream"):
        return json_reply({"said": "".join(pieces), **end})
    events = [*({"piece": piece} for piece in pieces), end]
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    return Reply(lines, headers={"content-type": "application/x-ndjson"})


@pytest.fixture
def acme(project: Project) -> Project:
    project.server.answer = answer_in_acme_format  # type: ignore[method-assign]
    project.write(**{"conftest.py": CONFTEST, "test_a.py": TESTS})
    return project


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_calls_are_read_live_and_on_replay(acme: Project, workers: int) -> None:
    assert acme.record(workers=workers).outcomes == {"passed": 3}
    count = acme.server.count
    result = acme.run(f"--llm-base-url={acme.server.url}/v1", workers=workers)
    assert result.outcomes == {"passed": 3}, result.text
    assert acme.server.count == count
    call = result.records["test_whole"].calls[0]
    assert (call.provider, call.output, call.cost_usd) == ("acme-compatible", "You said yes", 0.25)


def test_a_format_of_a_folder_is_used_and_is_gone_after_the_run(acme: Project) -> None:
    acme.write(**{"conftest.py": "", "folder/conftest.py": CONFTEST, "folder/test_b.py": TESTS})
    (acme.path / "test_a.py").unlink()
    assert acme.record("folder").outcomes == {"passed": 3}
    assert acme.record(".", mode="none").outcomes == {"passed": 3}
    acme.write(**{"folder/conftest.py": ""})
    assert acme.record(mode="none").outcomes == {"failed": 2, "errors": 1}


def test_a_connection_to_its_host_is_refused_on_replay(acme: Project) -> None:
    acme.write(
        **{
            "test_a.py": "import socket\ndef test_a():\n    socket.create_connection(('eu.acme.example', 443))\n"
        }
    )
    result = acme.run()
    assert "a connection to eu.acme.example was refused" in result.records["test_a"].message, result.text


def test_a_reader_that_raises_is_named(acme: Project) -> None:
    broken = CONFTEST.replace('counts["read"]', 'counts["heard"]')
    acme.write(
        **{
            "conftest.py": broken,
            "test_a.py": TESTS.replace("    check(", "    print(llm_calls[0].unread); check("),
        }
    )
    result = acme.record("-s", "-k", "whole")
    assert "a call that its wire format cannot read (KeyError: 'heard')" in result.text


WRONG = {
    "return 5": "expected a mapping of names to formats, got int",
    "return {'acme': 5}": "'acme': expected a pytest_llmops.trace.WireFormat, got int",
    "return {'': WireFormat([])}": "expected a name, got ''",
    "return {'openai': WireFormat([])}": "'openai': a built-in format has this name; choose another",
    "return {'acme': WireFormat([])}": "'acme': no call can have this format: give it hosts, or on_other_hosts=True",
    "return {'acme': WireFormat(5)}": "'acme': endpoints: expected a list, got int",
    "return {'acme': WireFormat([5])}": "'acme': endpoints: expected a pytest_llmops.trace.Endpoint each, got int",
    "return {'acme': WireFormat([Endpoint('e', 'chat', 1)])}": "'acme': endpoint 'e': expected a path that begins with a slash, got 'chat'",
    "return {'acme': WireFormat([Endpoint('e', '/chat', 1)])}": "'acme': endpoint 'e': expected a pytest_llmops.trace.CallFormat, got int",
    "return {'acme': WireFormat([], hosts={'https://a.example': 'a'})}": "'acme': hosts: expected a name such as 'api.example.com', got 'https://a.example'",
    "raise OSError('no file')": "raised OSError: no file",
}


@pytest.mark.parametrize("body", WRONG)
def test_a_wrong_value_ends_the_run(project: Project, body: str) -> None:
    project.write(
        **{
            "conftest.py": "from pytest_llmops.trace import *\n"
            f"def pytest_llmops_call_formats(config):\n    {body}\n",
            "test_a.py": "def test_a(llm_calls): pass\n",
        }
    )
    result = project.run()
    assert result.exit == pytest.ExitCode.USAGE_ERROR, result.text
    line = result.line("the hook pytest_llmops_call_formats")
    assert line.endswith(f"{WRONG[body]} [LLM-USAGE]"), line


def test_two_formats_of_one_name(acme: Project) -> None:
    acme.write(**{"folder/conftest.py": CONFTEST, "folder/test_b.py": "def test_b(llm_calls): pass\n"})
    result = acme.run()
    assert result.exit == pytest.ExitCode.USAGE_ERROR, result.text
    assert "'acme': two formats have this name; choose another for one of them" in result.text


def test_workers_name_a_wrong_value_of_a_folder(acme: Project) -> None:
    acme.write(**{"folder/conftest.py": CONFTEST, "folder/test_b.py": "def test_b(llm_calls): pass\n"})
    result = acme.run(workers=2)
    assert result.outcomes == {"errors": 4}, result.text
    assert "two formats have this name" in result.records["test_b"].message


def test_a_run_without_the_hook_reads_the_built_in_formats(project: Project) -> None:
    project.write(**{"pytest.ini": INI, "test_a.py": "def test_a(llm_calls): assert not llm_calls\n"})
    assert project.run().outcomes == {"passed": 1}
