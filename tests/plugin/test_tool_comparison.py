"""Tools that are called and compared with their recordings (``--llm-tools=compare``, ``--llm-record=verify``)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import cast
from xml.etree import ElementTree as ET

import httpx
import pytest
from support.messages import check_message
from support.project import Project

from pytest_llmops.cassettes import tool_addresses
from pytest_llmops.cassettes.active_tape import use_tape
from pytest_llmops.cassettes.http.httpx import wrap_async_transport
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tool_comparison import compare_tool_answers
from pytest_llmops.cassettes.tool_questions import MCP, make_tool_answer
from pytest_llmops.results.details import CassetteFacts, Drift
from pytest_llmops.settings import Settings, ToolMode

SUITE = """
import json, os, urllib.request
import pytest
import shop

def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["choices"][0]["message"]["content"]

@pytest.mark.llm_cassette(tools=["shop.find", "shop.fail"])
def test_a():
    order = shop.find(7)
    try:
        status = shop.fail(7)
    except ValueError as error:
        status = str(error)
    ask(f"{order} {status}")

@pytest.mark.llm_cassette(tools=["shop.find"])
def test_b():
    ask(str(shop.find(8)))
"""
BEFORE = """
def find(number):
    return {"number": number, "total": 5, "text": '{"state": "open", "lines": [1, 2]}', "at": "2026-01-02T03:04:05Z", "took_ms": 12}

def fail(number):
    raise ValueError("no")
"""
AFTER = """
def find(number):
    return {"number": number, "total": "5", "text": '{"state": "paid", "lines": [1]}', "at": "2026-11-12T13:14:15Z", "took_ms": 99}

def fail(number):
    return "now there is one"
"""

# What cannot be recorded is a difference here, and no reason to fail
ODD = """
import socket

def find(number):
    return object()

def fail(number):
    raise socket.gaierror(-2, "unknown host")
"""


def make_shop(project: Project, source: str) -> None:
    project.pytester.syspathinsert()
    project.write(**{"shop.py": source, "test_tools.py": SUITE})
    project.write(
        **{"conftest.py": "import sys\nsys.modules.pop('shop', None)\nsys.dont_write_bytecode = True\n"}
    )


@pytest.fixture
def recorded(project: Project) -> Project:
    """A project whose tools have answered once, and answer otherwise now."""
    make_shop(project, BEFORE)
    assert project.record().outcomes == {"passed": 2}
    make_shop(project, AFTER)
    return project


@pytest.mark.parametrize("workers", [0, 2])
def test_the_agent_gets_the_recorded_result_and_the_differences_are_reported(
    recorded: Project, workers: int
) -> None:
    """Each of them would change what the model is asked: with the live results, both tests would miss."""
    before = recorded.cassettes()
    result = recorded.run("--llm-tools=compare", workers=workers)
    assert result.outcomes == {"passed": 2}, result.text
    assert result.exit == 0
    assert recorded.cassettes() == before
    notes = [note for note in result.run.notes if "tools" in note or "recorded" in note]
    assert notes[0] == "tools have changed since the recording: 7 differences in 2 tests"
    test = "test_tools.py::test_a"
    assert f'{test}: shop.find(number=7): result $.total: recorded 5 (integer), now "5" (string)' in notes
    assert f'{test}: shop.find(number=7): result $.text.state: recorded "open", now "paid"' in notes
    assert f"{test}: shop.find(number=7): result $.text.lines[1]: recorded 2 (integer), now missing" in notes
    assert f"{test}: shop.fail(number=7): result $: recorded an error (ValueError: no), now a result" in notes
    [volatile] = [note for note in notes if "in every run" in note]
    assert "2 values that differ in every run" in volatile
    check_message(notes)


def test_all_reports_show_that_tools_have_changed(recorded: Project) -> None:
    names = {"html": "r.html", "md": "r.md", "xml": "junit.xml"}
    result = recorded.run(
        "--llm-tools=compare",
        f"--llm-report={names['html']}",
        f"--llm-report={names['md']}",
        f"--junitxml={names['xml']}",
    )
    assert "tools have changed since the recording" in result.text
    for kind, name in names.items():
        text = (recorded.path / name).read_text(encoding="utf-8")
        if kind == "xml":
            text = " ".join(
                str(value)
                for node in ET.fromstring(text).iter()
                for value in (*node.attrib.values(), node.text)
            )
            assert "shop.find" in text
            continue
        assert "tools have changed since the recording" in text, kind
        assert "$.total" in text
    drifts = CassetteFacts.from_wire(result.records["test_a"].fact("cassette")).drift
    drift = Drift(
        question="shop.find(number=7)",
        what="result",
        place="$.total",
        recorded="5 (integer)",
        now='"5" (string)',
    )
    assert drifts[0] == drift


def test_a_live_answer_that_cannot_be_recorded_is_a_difference(recorded: Project) -> None:
    make_shop(recorded, ODD)
    result = recorded.run("--llm-tools=compare")
    assert result.outcomes == {"passed": 2}, result.text
    text = " ".join(result.run.notes)
    assert 'now "cannot be recorded: an object of the class builtins.object"' in text
    assert 'shop.fail(number=7): error $.type: recorded "ValueError", now "gaierror"' in text


def test_the_same_change_in_the_text_and_in_the_structure_of_a_result_is_one() -> None:
    """Servers of the SDK say a result twice."""

    def answer(value: object, text: str) -> Answer:
        content = [{"type": "text", "text": text}]
        return make_tool_answer({"result": {"content": content, "structuredContent": {"result": value}}})

    tape = Tape(Path("a.json"))
    question = tape.make_tool_question(MCP, "orders", "tools/call", {"name": "a"})
    for old, new in ((answer(5, "5"), answer(6, "6")), (answer("x", "x"), answer("y", "y"))):
        [drift] = compare_tool_answers(question, old, new, tape.config).drifts
        assert drift.place == "$.structuredContent.result"
    drifts = compare_tool_answers(question, answer("x", "x"), answer("x", "z"), tape.config).drifts
    assert [drift.place for drift in drifts] == ["$.content[0].text"]


@pytest.mark.parametrize(
    ("method", "message", "status", "answered"),
    [
        ("POST", {"id": 7, "method": "tools/call"}, 200, 7),
        ("POST", {"method": "notifications/initialized"}, 202, None),
        ("GET", None, 405, None),
        ("DELETE", None, 202, None),
    ],
)
def test_a_server_at_an_address_that_is_down_answers_with_an_error_while_it_is_compared(
    method: str, message: object, status: int, answered: int | None
) -> None:
    """The clients of the SDK give up their connection at an error of httpx; so the session gets no chance to replay."""
    url = "http://127.0.0.1:9/mcp"
    tool_addresses.add_address(url)

    async def refuse(transport: object, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def send(tools: ToolMode) -> httpx.Response:
        tape = Tape(Path("a.json"), "live", TapeConfig(settings=Settings(tools=tools)))
        with use_tape(tape):
            request = httpx.Request(method, url, json=message)
            return cast("httpx.Response", await wrap_async_transport(httpx, refuse)(None, request))

    with pytest.raises(httpx.ConnectError):
        asyncio.run(send("auto"))
    tool_addresses.take_failure(url)
    response = asyncio.run(send("compare"))
    assert response.status_code == status
    if answered is not None:
        assert response.json()["id"] == answered
        assert response.json()["error"]["message"] == "the server cannot be reached: ConnectError: refused"


def test_a_note_in_the_details_shows_both_values_of_a_long_call(recorded: Project) -> None:
    name = "test_" + "long_name_" * 15
    path = recorded.path / "test_tools.py"
    make_shop(recorded, BEFORE)
    path.write_text(SUITE.replace("test_b", name), encoding="utf-8")
    recorded.record()
    make_shop(recorded, AFTER)
    path.write_text(SUITE.replace("test_b", name), encoding="utf-8")
    text = " ".join(recorded.run("--llm-tools=compare", "-v", "-k", "long_name").text.split())
    assert 'result $.total: recorded 5 (integer), now "5" (string)' in text


def test_verify_compares_tools_too_and_gives_the_live_result(recorded: Project) -> None:
    result = recorded.record(mode="verify")
    assert "tools have changed since the recording: 7 differences" in result.text
    assert any("nothing recorded to compare with: POST" in note for note in result.run.notes)


def test_tools_that_did_not_change_are_not_reported(project: Project) -> None:
    make_shop(project, BEFORE)
    project.record()
    result = project.run("--llm-tools=compare")
    assert result.outcomes == {"passed": 2}
    assert result.run.notes == ()


def test_a_hostile_result_is_bounded_and_defused(project: Project) -> None:
    make_shop(project, BEFORE)
    project.record()
    hostile = "\\x1b[31m<script>alert(1)</script>\\u202e" + "x" * 5000
    make_shop(
        project,
        f"def find(number):\n    return {{str(n): '{hostile}' for n in range(400)}}\n\ndef fail(number):\n    raise ValueError('no')\n",
    )
    result = project.run("--llm-tools=compare", "--llm-report=r.html", "-v")
    assert "\x1b[31m<script>" not in result.text
    assert "\u202e" not in result.text
    page = (project.path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "more differences" in result.text
    changes = [note for note in result.run.notes if "shop.find" in note]
    assert len(changes) <= 31
    assert max(map(len, changes)) < 700


def test_a_call_that_is_not_recorded_is_a_miss_and_not_made(project: Project) -> None:
    make_shop(project, BEFORE)
    project.record()
    make_shop(
        project, BEFORE.replace("def find(number):", "def find(number):\n    open('called', 'a').close()")
    )
    path = Path(project.path / "test_tools.py")
    path.write_text(SUITE.replace("shop.find(8)", "shop.find(9)"), encoding="utf-8")
    result = project.run("--llm-tools=compare", "-k", "test_b")
    assert result.outcomes == {"errors": 1}
    assert not (project.path / "called").exists()
    assert "no recording answers the call shop.find(number=9)" in result.text
    assert json.loads(json.dumps(result.exit)) != 0
