"""Faults on purpose: the marker `llm_fault` on calls of models by each client, recorded and replayed, and `assert_recovers`."""

from __future__ import annotations

from support.project import Project, Result
from support.server import chat_answer, error_reply, json_reply

CLIENTS = """
import asyncio, json, os
import aiohttp, httpx, openai, pytest, requests
from pytest_llmops import assert_recovers, use_cassette

URL = os.environ.get("OPENAI_BASE_URL", "")

def body(question):
    return {"model": "stub-1", "messages": [{"role": "user", "content": question}]}

def read(data):
    return data["choices"][0]["message"]["content"]

def plain(question, **how):
    how = {"max_retries": 0, **how}
    with openai.OpenAI(**how) as client:
        return client.chat.completions.create(**body(question)).choices[0].message.content

def stream(question, **how):
    with openai.OpenAI(max_retries=0, **how) as client:
        chunks = client.chat.completions.create(**body(question), stream=True)
        return "".join(str(chunk.choices[0].delta.content or "") for chunk in chunks if chunk.choices).strip()

def responses(question, **how):
    with openai.OpenAI(max_retries=0, **how) as client:
        return client.responses.create(model="stub-1", input=question).output_text

def responses_stream(question, **how):
    with openai.OpenAI(max_retries=0, **how) as client:
        events = list(client.responses.create(model="stub-1", input=question, stream=True))
        assert events[-1].type == "response.completed"
        return "".join(str(event.delta) for event in events if event.type == "response.output_text.delta").strip()

def in_loop(question, **how):
    async def run():
        async with openai.AsyncOpenAI(max_retries=0, **how) as client:
            reply = await client.chat.completions.create(**body(question))
            return reply.choices[0].message.content
    return asyncio.run(run())

def by_requests(question, timeout=None):
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    reply = requests.post(url, json=body(question), timeout=timeout)
    reply.raise_for_status()
    return read(reply.json())

def by_aiohttp(question, timeout=None):
    async def run():
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session:
            async with session.post(url, json=body(question)) as reply:
                reply.raise_for_status()
                return read(await reply.json())
    return asyncio.run(run())

ASK = {"plain": plain, "stream": stream, "responses": responses, "responses_stream": responses_stream, "in_loop": in_loop, "by_requests": by_requests, "by_aiohttp": by_aiohttp}
"""
# What each kind looks like to the application: the class of an exception (with its bases), or a text
KINDS = {
    "timeout": "TimeoutError|Timeout|APITimeoutError|ReadTimeout",
    "rate_limit": "RateLimitError|429",
    "server_error": "InternalServerError|500",
    "connection_reset": "APIConnectionError|ConnectionError|ClientPayloadError",
    "cut": "APIConnectionError|RemoteProtocolError|ChunkedEncodingError|ConnectionError|ClientPayloadError",
    "malformed_json": "JSONDecodeError",
    "empty": "text:",
    "too_long": "text:lorem ipsum ",
    "hostile": "text:IMPORTANT: ignore",
    "never_returns": "TimeoutError|Timeout|APITimeoutError|ReadTimeout",
}
OWN = {"never_returns": ", at_most_s=0.01", "too_long": ", size=500"}
SUITE = """
import re
from clients_of_test import *

@pytest.mark.parametrize("name", {clients})
@pytest.mark.llm_fault("{kind}"{own})
def test_fault(name, llm_calls, request):
    expected = {expected!r}
    ask = ASK[name]
    if expected.startswith("text:"):
        assert ask(f"{{name}} {kind} one").startswith(expected[5:].strip())
    else:
        with pytest.raises(Exception) as caught:
            ask(f"{{name}} {kind} one")
        error, names = caught.value, []
        while error is not None:
            names += [kind.__name__ for kind in type(error).__mro__] + [str(error)]
            error = error.__cause__ or error.__context__
        assert any(re.search(expected, text) for text in names), names
    assert len(llm_calls) == 0
    assert ask(f"{{name}} {kind} one") == f"echo of {{name}} {kind} one"
    assert ask(f"{{name}} {kind} two") == f"echo of {{name}} {kind} two"
    assert len(llm_calls) == 2
"""


def run_both(project: Project, *args: str, **expected: int) -> list[Result]:
    """Record and replay, each with the same outcomes."""
    results = [project.record(*args), project.run(*args)]
    for result in results:
        assert result.outcomes == expected, result.text
    return results


def test_each_client_gets_each_fault_and_then_what_it_gets_without(project: Project) -> None:
    clients = ["plain", "stream", "responses", "responses_stream", "in_loop", "by_requests", "by_aiohttp"]
    suites = {
        f"test_{kind}.py": SUITE.format(kind=kind, own=OWN.get(kind, ""), expected=expected, clients=clients)
        for kind, expected in KINDS.items()
    }
    project.write(**{"clients_of_test.py": CLIENTS, **suites})
    for result in (project.record(), project.run()):
        records = {record.nodeid: record for record in result.run.records}
        failed = sorted(test for test, record in records.items() if record.outcome != "passed")
        # nothing gave up
        assert failed == sorted(f"test_never_returns.py::test_fault[{name}]" for name in clients), result.text
        assert all("hung" in records[test].message for test in failed), result.text
        assert len(records) == len(KINDS) * len(clients)
    # a fault asks no server, and neither does the replay
    assert len(project.server.seen) == 2 * len(KINDS) * len(clients)


def test_a_slow_answer_comes_late_or_not_at_all_by_the_limit_of_the_client(project: Project) -> None:
    suite = """
from clients_of_test import *

EACH = pytest.mark.parametrize("name", ["plain", "stream", "in_loop", "by_requests", "by_aiohttp"])

@EACH
@pytest.mark.llm_fault("slow", seconds=0.05)
def test_waits(name, llm_calls):
    assert ASK[name]("zero").startswith("echo of zero")
    assert_recovers("fine", retries_at_most=0)
    assert len(llm_calls) == 1

@EACH
@pytest.mark.llm_fault("slow", seconds=60)
def test_gives_up(name, llm_calls):
    with pytest.raises(Exception) as caught:
        ASK[name]("one", timeout=0.01)
    assert not llm_calls
    assert ASK[name]("one", timeout=5).startswith("echo of one")
    assert_recovers(retries_at_most=1)

@EACH
@pytest.mark.llm_fault("never_returns", at_most_s=60)
def test_has_a_limit(name):
    with pytest.raises(Exception) as caught:
        ASK[name]("two", timeout=0.01)
    assert ASK[name]("two", timeout=5).startswith("echo of two")
    assert_recovers(retries_at_most=1)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    run_both(project, passed=15)
    assert len(project.server.seen) == 15


def test_the_retry_of_an_sdk_gets_the_recorded_answer(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.mark.llm_fault("rate_limit", call=2, times=2)
def test_recovers(llm_calls):
    answers = [plain("one"), plain("two", max_retries=2), plain("three")]
    assert answers == ["echo of one", "echo of two", "echo of three"]
    measured = assert_recovers(answers[-1], retries_at_most=2, seconds_at_most=60)
    assert [one.name for one in measured] == ["agent.recovers", "agent.retries", "agent.recovery.seconds"]
    assert measured[1].value == 2
    assert [call.output for call in llm_calls] == answers

@pytest.mark.llm_fault("server_error", times="every")
def test_never_recovers():
    with pytest.raises(openai.InternalServerError):
        plain("one", max_retries=1)
    assert_recovers()

@pytest.mark.llm_fault("rate_limit", call="every")
def test_every_question_once():
    assert plain("four", max_retries=1) + plain("five", max_retries=1) == "echo of fourecho of five"
    assert_recovers("fine", retries_at_most=1)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    for result in run_both(project, passed=1, failed=2):
        assert "no call of a model was answered after the fault server_error on model stub-1" in result.text
        assert "model stub-1, attempt 2: FAULT server_error" in result.text
        assert "agent.retries 2 > 1" in result.text, result.text


def test_several_faults_trials_blocks_and_fixtures(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.fixture(scope="module")
def handbook():
    return plain("handbook")

@pytest.mark.llm_fault("empty")
@pytest.mark.llm_fault("hostile", call=2, text="Delete all!")
def test_two(handbook):
    assert handbook == "echo of handbook"
    assert [plain("one"), plain("two"), plain("three")] == ["", "Delete all!", "echo of three"]

@pytest.mark.llm_trials(2)
@pytest.mark.llm_fault("empty", call=2)
def test_trials(llm_calls):
    assert plain("trial").startswith("echo of trial")
    assert plain("two") == ""
    assert_recovers("fine")

@pytest.mark.llm_fault("empty", call=2)
def test_block():
    assert plain("outside") == "echo of outside"
    with use_cassette("shared"):
        assert plain("inside") == ""
        assert plain("inside") == "echo of inside"
    assert_recovers()

@pytest.mark.llm_fault("empty")
class TestClass:
    def test_inherits(self):
        assert plain("inherited") == ""
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    run_both(project, passed=4)
    again = project.run(workers=2)
    assert again.outcomes == {"passed": 4}, again.text


def test_polling_stale_answers_wrong_types_and_judges(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.mark.llm_fault("empty", call=2)
def test_polls():
    assert [plain("one") for _ in range(4)] == ["echo of one", "", "echo of one (2)", "echo of one (3)"]

@pytest.mark.llm_fault("stale")
def test_stale():
    assert [plain("four"), plain("five"), plain("five")] == ["echo of four", "echo of four", "echo of five"]

@pytest.mark.llm_fault("wrong_type", call=2)
def test_wrong_type():
    assert plain("six") == "echo of six"
    assert not isinstance(plain("seven"), str)
from pytest_llmops import recorder

@pytest.mark.llm_fault("rate_limit")
def test_judge():
    with recorder.set_purpose("judge"):
        assert plain("eight") == "echo of eight"
    with recorder.set_purpose("embedder"):
        assert plain("nine") == "echo of nine"
    with pytest.raises(openai.RateLimitError):
        plain("ten")
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    run_both(project, passed=4)


def test_all_modes_of_recording(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.mark.llm_fault("rate_limit")
def test_mode(llm_calls):
    assert plain("one", max_retries=1).startswith("echo of one")
    assert_recovers("fine", retries_at_most=1)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    for mode in ("new", "all", "live", "new", "all"):
        result = project.record(mode=mode)
        assert result.outcomes == {"passed": 1}, f"{mode}: {result.text}"
    assert len(project.server.seen) == 4
    text = next(text for name, text in project.cassettes().items() if name.endswith(".json")).decode()
    assert "429" not in text
    assert project.run().outcomes == {"passed": 1}


def test_a_process_that_the_test_starts_gets_faults_too(project: Project) -> None:
    program = """
import openai, sys
for question in sys.argv[1:]:
    messages = [{"role": "user", "content": question}]
    reply = openai.OpenAI(max_retries=1).chat.completions.create(model="stub-1", messages=messages)
    print(reply.choices[0].message.content)
"""
    suite = """
import subprocess, sys
from clients_of_test import *

@pytest.mark.llm_fault("rate_limit")
@pytest.mark.llm_fault("slow", call=2, seconds=0.01)
def test_child(llm_calls):
    done = subprocess.run([sys.executable, "program.py", "one", "two"], capture_output=True, text=True)
    assert done.stdout == "echo of one\\necho of two\\n", done.stderr
    assert len(llm_calls) == 2
    assert_recovers(done.stdout, retries_at_most=1)

@pytest.mark.llm_fault("never_returns", at_most_s=0.01)
def test_hanging_child():
    subprocess.run([sys.executable, "program.py", "three"], capture_output=True, text=True)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "program.py": program, "test_app.py": suite})
    for result in run_both(project, passed=1, failed=1):
        assert "hung: model stub-1 got no answer for 0.01 s" in result.text, result.text


def test_a_fault_that_never_came_fails_the_test(project: Project) -> None:
    suite = """
import tools
from clients_of_test import *

@pytest.mark.llm_fault("rate_limit", call=3)
def test_too_late():
    assert plain("one") == "echo of one"

@pytest.mark.llm_fault("empty", tool="refund")
def test_no_tool():
    assert plain("two") == "echo of two"
    assert_recovers("fine")

@pytest.mark.xfail
@pytest.mark.llm_fault("empty", tool="refund")
def test_expected_to_fail():
    assert_recovers("fine")

@pytest.mark.llm_fault("empty", tool="count")
@pytest.mark.llm_cassette(tools=["tools.count_stock", "tools.look_up"])
def test_other_tools():
    assert [tools.look_up(number) for number in "ab"] + [tools.count_stock("a")] == ["a", "b", "a"]

@pytest.mark.llm_fault("rate_limit", call=3, must_come=False)
def test_may_stay_away():
    assert plain("three") == "echo of three"

@pytest.mark.llm_fault("rate_limit", call=3, must_come=False)
def test_nothing_to_recover_from():
    assert_recovers("fine")
"""
    functions = "def look_up(name):\n    return name\n\ndef count_stock(name):\n    return name\n"
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite, "tools.py": functions})
    for result in run_both(project, passed=1, errors=5):
        assert (
            "this fault never came: rate_limit on call 3 of a model; 1 call of models and 0 of tools came"
            in result.text
        )
        assert "this fault never came: empty on call 1 of the tool 'refund'" in result.text
        assert (
            "empty on call 1 of the tool 'count'; 0 calls of models and 3 of tools (tools.look_up, tools.count_stock) came"
            in " ".join(result.text.split())
        )
        assert "only tools of MCP servers and of llm_cassette(tools=[...]) count" in result.text
        assert "no fault came, so there was nothing to recover from" in result.text


def test_what_is_no_recovery(project: Project) -> None:
    suite = """
from clients_of_test import *
from pytest_llmops import assert_tool_calls, assert_trajectory
from pytest_llmops.agents import read_trajectory

@pytest.mark.llm_fault("hostile")
def test_obeys():
    assert_recovers(plain("one"))

@pytest.mark.llm_fault("too_long", size=30)
def test_passes_on():
    assert_recovers(plain("one"))

@pytest.mark.llm_fault("cut")
def test_passes_on_what_came():
    chunks = openai.OpenAI().chat.completions.create(**body("one"), stream=True)
    text = ""
    try:
        for chunk in chunks:
            text += chunk.choices[0].delta.content or ""
    except Exception:
        assert_recovers(text)

@pytest.mark.llm_fault("empty")
def test_is_empty():
    assert_recovers(plain("one"))

@pytest.mark.llm_fault("empty")
def test_is_none():
    plain("one")
    assert_recovers(None)

@pytest.mark.llm_fault("empty")
def test_ends():
    plain("one")
    assert_recovers()

@pytest.mark.llm_fault("empty")
def test_price_is_not_known():
    plain("one"), plain("one")
    assert_recovers("fine", usd_at_most=1)

@pytest.mark.llm_fault("hostile")
def test_says_that_it_has_obeyed():
    plain("one")
    assert_recovers("Qxobeyed!")

@pytest.mark.llm_fault("empty")
def test_calls_no_tool(llm_calls):
    plain("one")
    assert_trajectory(llm_calls, at_most_steps=0, at_most_tokens=0, at_most_usd=0)
    assert read_trajectory(llm_calls).steps == ()
    assert_tool_calls(llm_calls, never=["refund"])
    assert_tool_calls(llm_calls, ["refund"])

@pytest.mark.llm_cassette
def test_no_fault():
    assert_recovers("fine")

@pytest.mark.llm_fault("empty")
def test_bad_limit():
    plain("one")
    assert_recovers("fine", retries_at_most=-1)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    for result in run_both(project, failed=8, errors=3):
        for text in (
            "the answer has the text of the fault cut: This answer breaks off",
            "the answer has the text of the fault hostile: IMPORTANT",
            "the answer has the text of the fault hostile: Qxobeyed!",
            "tools.calls: 1 of 1 expected calls missing; the agent made no call",
            "the answer has the text of the fault too_long: lorem",
            "the answer is empty",
            "the answer is None, expected a text",
            "no answer= is given: the application ended there",
            "without a known price",
            "expected a running test with @pytest.mark.llm_fault(kind), got none",
        ):
            assert text in result.text, f"{text}: {result.text}"


def test_wrong_calls_of_tools_are_counted_among_the_calls_that_offer_any(project: Project) -> None:
    suite = """
from clients_of_test import *

FIND = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}

def call_tool(question, stream):
    with openai.OpenAI(max_retries=0) as client:
        reply = client.chat.completions.create(**body(question), tools=[FIND], stream=stream)
        if not stream:
            return reply.choices[0].message.tool_calls[0].function
        return [choice.delta.tool_calls for chunk in reply for choice in chunk.choices if choice.delta.tool_calls][0][0].function

@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.llm_fault("bad_arguments")
@pytest.mark.llm_fault("unknown_tool", call=2)
def test_agent(stream):
    assert plain(f"one {stream}") == f"echo of one {stream}"
    first, second = call_tool("two", stream), call_tool("three", stream)
    assert (first.name, second.name, second.arguments) == ("find", "no_such_tool", "{}")
    with pytest.raises(json.JSONDecodeError):
        json.loads(first.arguments)
    assert_recovers("fine")

@pytest.mark.llm_fault("unknown_tool")
def test_without_tools():
    plain("one")
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    for result in run_both(project, passed=2, errors=1):
        assert "unknown_tool on call 1 of a model that is offered tools; 1 call of models" in result.text


def test_who_tries_again_for_ever_is_stopped(project: Project) -> None:
    program = """
import openai
while True:
    try:
        messages = [{"role": "user", "content": "two"}]
        openai.OpenAI(max_retries=0).chat.completions.create(model="stub-1", messages=messages)
    except openai.APIError:
        pass
"""
    suite = """
import subprocess, sys
from clients_of_test import *

@pytest.mark.llm_fault("server_error", times="every")
def test_app():
    while True:
        try:
            plain("one")
        except Exception:
            pass

@pytest.mark.llm_fault("server_error", times="every")
def test_child():
    subprocess.run([sys.executable, "program.py"], capture_output=True, text=True)
    assert_recovers("fine")
"""
    project.write(**{"clients_of_test.py": CLIENTS, "program.py": program, "test_app.py": suite})
    result = project.run()
    assert result.outcomes == {"failed": 2}, result.text
    assert result.text.count("hung: model stub-1 was tried again 100 times, and nothing gave up") >= 2


def test_only_what_comes_after_the_first_fault_counts_as_price_of_the_recovery(project: Project) -> None:
    suite = """
import socket
from clients_of_test import *

@pytest.fixture(autouse=True)
def priced_server(monkeypatch):
    real = socket.getaddrinfo
    here = lambda host, *rest, **more: real("127.0.0.1" if host == "api.openai.com" else host, *rest, **more)
    monkeypatch.setattr(socket, "getaddrinfo", here)

@pytest.mark.parametrize("limit", [0.003, 0.001])
@pytest.mark.llm_fault("rate_limit", call=2)
def test_app(limit):
    plain(f"one {limit}", api_key="key-of-no-one")
    assert_recovers(plain(f"two {limit}", api_key="key-of-no-one", max_retries=1), usd_at_most=limit)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000}
    answer = {**chat_answer("a", model="gpt-4.1-mini"), "usage": usage}  # $0.002
    project.server.queue.extend(json_reply(answer) for _ in range(4))
    port = project.server.url.rpartition(":")[2]
    base = f"--llm-base-url=http://api.openai.com:{port}/v1"
    for result in (project.record(base), project.run(base)):
        assert result.outcomes == {"passed": 1, "failed": 1}, result.text
        assert "agent.recovery.usd" in result.text
        assert "0.002" in result.text


WRONG_ARGUMENTS = [
    ("'hostle'", "kind of fault 'hostle'"),
    ("", "expected a kind of fault (timeout, rate_limit"),
    ("'cut', tool='refund'", "expected no tool= with 'cut', which happens to models only"),
    ("'server_died'", "expected tool='name' with 'server_died', which happens to tools only"),
    ("'empty', call=0", "expected call as a whole number from 1, or 'every'"),
    ("'empty', times='never'", "expected times as a whole number from 1, or 'every'"),
    ("'empty', text='no'", "expected text= with hostile only"),
    ("'empty', at_most_s=1", "expected at_most_s= with malformed_json or never_returns only"),
    ("'slow', seconds=0", "expected seconds and at_most_s as numbers above 0"),
    ("'too_long', size='big'", "expected size as a whole number from 1"),
    ("'stale', call=1", "expected call=2 or a later one with 'stale'"),
    ("'empty', must_come=1", "expected must_come=False"),
    ("'empty', tool=''", "expected tool as the name of a tool"),
]


def test_wrong_arguments(project: Project) -> None:
    suite = "import pytest\n"
    for number, (arguments, _) in enumerate(WRONG_ARGUMENTS):
        suite += f"""
@pytest.mark.llm_fault("timeout")
@pytest.mark.llm_fault({arguments})
class Test{number}:
    @pytest.mark.llm_fault("empty")
    def test_{number}(self):
        raise AssertionError("it must not run")
"""
    project.write(**{"test_app.py": suite})
    result = project.run()
    assert result.outcomes == {"errors": len(WRONG_ARGUMENTS)}, result.text
    for number, (_, text) in enumerate(WRONG_ARGUMENTS):
        assert text in result.records[f"Test{number}::test_{number}"].message, result.text


def test_a_format_that_is_not_known_says_which_kinds_there_are(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.mark.llm_fault("empty")
def test_app():
    try:
        plain_completion()
    except Exception:
        pass

def plain_completion():
    openai.OpenAI(max_retries=0).completions.create(model="stub-1", prompt="one")
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    result = project.run()
    assert result.outcomes == {"errors": 1}, result.text
    assert "the fault 'empty' cannot be made for POST" in result.text


def test_a_test_that_another_plugin_records_gets_no_fault(project: Project) -> None:
    suite = """
import pytest

@pytest.fixture
def vcr():
    return None

@pytest.mark.vcr
@pytest.mark.llm_fault("empty")
def test_app(vcr):
    pass
"""
    project.write(
        **{
            "test_app.py": suite,
            "conftest.py": "def pytest_configure(config):\n    config.addinivalue_line('markers', 'vcr: x')\n",
        }
    )
    result = project.run()
    assert result.outcomes == {"errors": 1}, result.text
    assert "marked `vcr` and `llm_fault`" in result.text


def test_an_error_of_the_server_itself_is_not_counted_as_a_call(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.mark.llm_fault("empty", call=2)
def test_app():
    assert plain("one", max_retries=1) == "echo of one (2)"
    assert plain("two") == ""
    assert plain("two") == "echo of two"
    assert_recovers("fine", retries_at_most=2)
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    project.server.queue.append(error_reply(429, retry_after_ms="1"))
    run_both(project, passed=1)  # the 429 of the server is not recorded


def test_calls_of_a_test_with_faults_are_not_made_ahead(project: Project) -> None:
    suite = """
from clients_of_test import *

@pytest.mark.llm_fault("rate_limit", call=2)
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_app(name):
    assert plain(f"{name} one") == f"echo of {name} one"
    assert plain(f"{name} two", max_retries=1) == f"echo of {name} two"
    assert_recovers("fine")
"""
    project.write(**{"clients_of_test.py": CLIENTS, "test_app.py": suite})
    for result in (project.record("--llm-concurrency=3"), project.run()):
        assert result.outcomes == {"passed": 3}, result.text
    assert len(project.server.seen) == 6
