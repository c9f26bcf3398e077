"""Calls of tools that no recording answers, and what other parts say of recorded calls of tools."""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import Project

from pytest_llmops.cassettes.active_tape import use_tape
from pytest_llmops.cassettes.store import list_answered_requests, load_cassette
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tool_questions import MCP, make_tool_answer
from pytest_llmops.cli import main
from pytest_llmops.errors import CassetteMiss

ESCAPE = "\x1b[31m"


def record(tape: Tape, method: str, params: object, result: object, server: str = "orders") -> None:
    """Record a call of a tool as a session does."""
    question = tape.make_tool_question(MCP, server, method, params)
    turn = tape.claim_tool(question)
    tape.finish_tool(question, turn, make_tool_answer({"result": result}, 0.01))


def call(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


@pytest.fixture
def cassette(pytester: pytest.Pytester) -> Tape:
    """A tape that replays calls of two servers."""
    path = pytester.path / "cassettes" / "a.json"
    tape = Tape(path, "new", TapeConfig())
    with use_tape(tape):
        record(tape, "tools/list", {}, {"tools": [{"name": "refund", "description": "Refund."}]})
        record(tape, "tools/call", call("refund", order_id=42, reason="late"), {"content": []})
        record(tape, "tools/call", call("refund", order_id=44, reason="lost"), {"content": []})
        record(tape, "tools/call", call("track", order_id=43), {"content": []})
        record(
            tape,
            "tools/call",
            call("get_time", zone="Paris", model="gpt-9", messages=[]),
            {"content": []},
            "time",
        )
    tape.close()
    return Tape(path, "none", TapeConfig())


def miss(tape: Tape, method: str, params: object, server: str = "orders") -> str:
    with use_tape(tape), pytest.raises(CassetteMiss) as caught:
        tape.claim_tool(tape.make_tool_question(MCP, server, method, params))
    text = str(caught.value)
    check_message(text, long="it quotes a name and arguments, both shortened")
    return text


def test_a_missed_call_shows_the_nearest_call_and_its_arguments(cassette: Tape) -> None:
    text = miss(cassette, "tools/call", call("refund", order_id=43, reason="late"))
    assert text.splitlines() == [
        'no recording answers the call refund(order_id=43, reason="late") of MCP server orders',
        "  cassette  cassettes/a.json",
        '  nearest   #002: refund(order_id=42, reason="late") of MCP server orders',
        "    - order_id: 42",
        "    + order_id: 43",
        "  recorded  refund (2 different calls), tools/list, track",
        "  record    pytest --llm-record=new",
    ]


def test_a_missed_call_of_an_unrecorded_tool_shows_the_recorded_ones(cassette: Tape) -> None:
    text = miss(cassette, "tools/call", call("cancel", order_id=43))
    assert "  reason    no call of cancel is recorded" in text
    assert "  recorded  refund (2 different calls), tools/list, track" in text


def test_a_missed_server_shows_the_recorded_servers(cassette: Tape) -> None:
    text = miss(cassette, "tools/list", {}, "uvx orders")
    assert "no recording answers the request tools/list of MCP server uvx orders" in text
    assert "  reason    nothing of MCP server uvx orders is recorded here" in text
    assert "  recorded  MCP server orders, MCP server time" in text
    assert "llm_mcp_servers gives a server a name that stays" in text


def test_a_call_that_came_too_often_says_so(cassette: Tape) -> None:
    with use_tape(cassette):
        cassette.claim_tool(
            cassette.make_tool_question(MCP, "orders", "tools/call", call("track", order_id=43))
        )
    text = miss(cassette, "tools/call", call("track", order_id=43))
    assert text.startswith("the call track(order_id=43) of MCP server orders was sent 2 times, recorded 1")


def test_calls_that_are_missed_for_the_same_reason_are_counted(cassette: Tape) -> None:
    first = miss(cassette, "server/discover", {}, "uvx orders")
    with use_tape(cassette), pytest.raises(CassetteMiss) as caught:
        cassette.claim_tool(cassette.make_tool_question(MCP, "uvx orders", "initialize", {}))
    assert str(caught.value).splitlines() == [
        "no recording answers the request initialize of MCP server uvx orders, for the same reason as the call before"
    ]
    assert str(cassette.verdict()) == f"{first}\n  times     2 calls missed for this reason"


def test_the_text_of_a_tool_is_bounded_and_defused(cassette: Tape) -> None:
    text = miss(
        cassette,
        "tools/call",
        call(f"refund{ESCAPE}" * 200, **{f"x{ESCAPE}\n{n}": "y" * 900 for n in range(90)}),
    )
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 700
    assert len(text.splitlines()) < 30


def test_a_tool_call_is_shown_and_never_taken_for_a_call_of_a_model(
    cassette: Tape, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cassettes", "show", str(cassette.path)]) == 0
    shown = capsys.readouterr().out
    assert "#002  tools/call refund of MCP server orders  key " in shown
    assert "#001  tools/list of MCP server orders  key " in shown
    assert '  asked   {"order_id": 42, "reason": "late"}' in shown
    assert '  answers {"content": []}' in shown
    assert "  status  0.01 s" in shown
    assert "  model" not in shown
    assert list_answered_requests(load_cassette(cassette.path).values(), "") == []
    pytester.makeini("[pytest]\nllm_model = m\n")
    assert main(["cassettes", "check", str(pytester.path)]) == 0
    main(["models", "check", "--root", str(pytester.path)])
    assert "gpt-9" not in capsys.readouterr().out


MODEL = """
import json, os, urllib.request
import pytest
import shop

TOOLS = [{"type": "function", "function": {"name": "refund", "description": DESCRIPTION, "parameters": {"type": "object"}}}]

def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "tools": TOOLS}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)

@pytest.mark.llm_cassette(tools=["shop.find"])
def test_a():
    try:
        found = shop.find(NUMBER)
    except BaseException as error:
        found = f"failed: {type(error).__name__}"
    ask(f"found {found}")
"""


def write(project: Project, number: int = 7, description: str = "Refund.") -> None:
    project.pytester.syspathinsert()
    source = MODEL.replace("NUMBER", str(number)).replace("DESCRIPTION", repr(description))
    project.write(**{"shop.py": "def find(number):\n    return number * 2\n", "test_a.py": source})


@pytest.mark.parametrize("workers", [0, 2])
def test_the_missed_tool_fails_the_test_and_not_the_model_that_hears_of_it(
    project: Project, workers: int
) -> None:
    write(project)
    project.record()
    write(project, number=8)
    result = project.run(workers=workers)
    assert result.outcomes == {"errors": 1}
    record = result.records["test_a"]
    assert record.message.startswith("CassetteMiss: no recording answers the call shop.find(number=8)"), (
        record.message
    )
    assert "then      no recording answers POST" in result.text


@pytest.mark.parametrize("mode", ["all", "live"])
def test_no_model_is_asked_live_after_a_missed_tool(project: Project, mode: str) -> None:
    """It would hear of our error: its answer is paid and kept for nothing, and the conversation is no recording of the test."""
    write(project)
    project.record()
    before = project.cassettes()
    write(project, number=8)
    asked = len(project.server.seen)
    result = project.record("--llm-tools=replay", mode=mode)
    assert result.outcomes == {"errors": 1}
    assert len(project.server.seen) == asked
    assert project.cassettes() == before
    assert result.records["test_a"].message.startswith(
        "CassetteMiss: no recording answers the call shop.find(number=8)"
    )
    assert "was not sent" in result.text
    assert "--llm-record=all" in result.records["test_a"].message
    assert "--llm-record=new" not in result.text
    assert "tools are replayed" in result.text


def test_a_changed_definition_of_a_tool_comes_before_the_messages(project: Project) -> None:
    write(project)
    project.record()
    write(project, description="Refund an order.")
    result = project.run()
    lines = [line.removeprefix("E ").strip() for line in result.text.splitlines()]
    line = 'tools     the definition of tool refund changed: $.description: recorded "Refund.", now "Refund an order."'
    assert line in lines
    assert not any(entry.startswith(("- tools", "+ tools")) for entry in lines)
    assert not any("it is the same request" in entry for entry in lines)


def test_calls_of_tools_are_no_calls_of_a_model(project: Project) -> None:
    """In the totals of the run, its budget, and the calls that a test reads."""
    write(project)
    recorded = project.record("--llm-max-calls=2")
    assert recorded.outcomes == {"passed": 1}
    assert len(recorded.records["test_a"].calls) == 1
    assert len(project.run().records["test_a"].calls) == 1


def test_a_new_tool_call_is_named_as_the_change(project: Project) -> None:
    write(project)
    project.record()
    write(project, number=8)
    result = project.record("--llm-record=changed")
    assert "shop.find(number=8)" in result.text


def test_calls_that_are_made_ahead_replay_with_their_tools(project: Project) -> None:
    write(project)
    source = (project.path / "test_a.py").read_text(encoding="utf-8")
    project.write(**{"test_b.py": source.replace("shop.find(7)", "shop.find(9)")})
    recorded = project.record("--llm-concurrency=4")
    assert recorded.outcomes == {"passed": 2}, recorded.text
    replayed = project.run()
    assert replayed.outcomes == {"passed": 2}, replayed.text
    for name in ("test_a", "test_b"):
        entries = load_cassette(project.path / f"cassettes/{name}/test_a.json").values()
        assert [len(entry.answers["0"]) for entry in entries] == [1, 1]
