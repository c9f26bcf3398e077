"""--llm-record, the cassette marker and fixture, and what a miss does."""

from __future__ import annotations

import json

import pytest
from support.messages import check_message
from support.page import unpack_report
from support.project import Project

ASK = """
import pytest

@pytest.mark.parametrize("word", ["one", "two", "three"])
def test_ask(llm, word):
    assert llm.complete(f"say {word}").text == f"echo of say {word}"
"""


def test_replay_needs_neither_server_nor_key(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    recorded = project.record()
    assert recorded.outcomes == {"passed": 3}
    assert project.server.count == 3
    project.server.close()
    replayed = project.run()
    assert replayed.outcomes == {"passed": 3}
    calls_by_test = [record.calls for record in replayed.run.records]
    assert [len(calls) for calls in calls_by_test] == [1, 1, 1]
    assert all(call.replayed for calls in calls_by_test for call in calls)
    latencies = [calls[0].latency_s for calls in calls_by_test]
    live = [record.calls[0].latency_s for record in recorded.run.records]
    assert latencies == pytest.approx(live, abs=1e-4)


def test_one_readable_file_a_test(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    project.record()
    files = project.cassettes()
    assert list(files) == [f"cassettes/test_a/test_ask/{word}.json" for word in ("one", "three", "two")]
    document = json.loads(files["cassettes/test_a/test_ask/one.json"])
    stored = document["interactions"][0]
    assert stored["request"]["body"]["json"]["messages"] == [{"role": "user", "content": "say one"}]
    assert stored["request"]["url"] == "http://loopback/v1/chat/completions"


def test_none_never_writes(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    project.record()
    before = project.cassettes()
    project.run()
    assert project.cassettes() == before


def test_new_records_only_what_is_missing(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    project.record()
    project.write(**{"test_a.py": ASK.replace('"three"]', '"three", "four"]')})
    project.record()
    assert project.server.count == 4


def test_all_records_again_and_drops_what_is_not_requested_any_more(project: Project) -> None:
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('old')\n    llm.complete('same')\n"})
    project.record()
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('new')\n    llm.complete('same')\n"})
    assert project.record(mode="all").outcomes == {"passed": 1}
    (data,) = project.cassettes().values()
    assert project.server.count == 4
    assert b"echo of old" not in data
    assert b"echo of new" in data


def test_live_neither_reads_nor_writes(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    result = project.record(mode="live")
    assert result.outcomes == {"passed": 3}
    assert project.cassettes() == {}
    assert [call.replayed for record in result.run.records for call in record.calls] == [False] * 3


def test_a_miss_names_the_nearest_request_and_the_command(project: Project) -> None:
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('what is the capital of France')\n"})
    project.record()
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('what is the capital of Italy')\n"})
    result = project.run()
    assert result.outcomes == {"errors": 1}
    message = result.records["test_a"].message
    assert "- messages[0].content: what is the capital of France" in message
    assert "+ messages[0].content: what is the capital of Italy" in message
    assert "pytest test_a.py::test_a --llm-record=new" in message
    assert result.records["test_a"].outcome == "errored"
    assert "MISSED test_a.py::test_a" in result.text


def test_a_miss_without_a_cassette_shows_the_nearest_of_its_neighbours(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    project.record()
    project.write(**{"test_a.py": ASK.replace('"three"]', '"three", "thirty"]')})
    message = project.run().records["test_ask[thirty]"].message
    assert "+ messages[0].content: say thirty" in message
    assert "cassettes/test_a/test_ask/" in message


def test_an_application_cannot_swallow_a_miss(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
from pytest_llmops import assert_contains, assert_tool_calls

def ask(llm):
    try:
        return llm.complete("never recorded").text
    except BaseException:
        return "Sorry"

def test_plain_assert(llm):
    assert_contains(ask(llm), "B-77", at_least=None)
    assert "B-77" in ask(llm)

def test_recorded_only(llm):
    assert_contains(ask(llm), "B-77", at_least=None)

def test_group(llm):
    assert_contains("B-77", "B-77")
    try:
        llm.complete("never recorded")
    except BaseException as miss:
        raise BaseExceptionGroup("tasks", [miss])

def test_caught(llm):
    try:
        llm.complete("never recorded")
    except Exception:
        pass

def test_swallowed(llm):
    try:
        llm.complete("never recorded")
    except BaseException:
        pass

def test_scored(llm):
    steps = [{"role": "user", "content": "Where is B-77?"}]
    try:
        llm.complete("never recorded")
    except BaseException as error:  # as an agent does that hands it to its model
        steps.append({"role": "assistant", "content": f"Sorry: {error}"})
    assert_tool_calls(steps, ["get_order"])

def test_wrong():
    assert_tool_calls([{"role": "assistant", "content": "Sorry"}], ["get_order"])
"""
        }
    )
    result = project.run()
    assert {name: record.outcome for name, record in result.records.items()} == {
        "test_plain_assert": "errored",
        "test_recorded_only": "errored",
        "test_group": "errored",
        "test_caught": "errored",
        "test_swallowed": "errored",
        "test_scored": "errored",
        "test_wrong": "failed",
    }
    check_message(result.records["test_swallowed"].message)
    scored = result.records["test_scored"]
    assert scored.message.startswith("CassetteMiss: the test went on although a request was missed")
    assert "tools.calls: 1 of 1 expected calls missing" in result.text
    assert "MISSED test_a.py::test_scored" in result.text
    plain = result.records["test_plain_assert"]
    assert plain.message.startswith("CassetteMiss: the test went on although a request was missed")
    assert plain.record_commands
    for name in ("test_plain_assert", "test_recorded_only", "test_scored"):
        assert {measurement.status for measurement in result.records[name].measurements} == {"errored"}
    # A miss that nothing caught says itself what is missing, and leaves the scores before it
    assert not result.records["test_group"].message.startswith("CassetteMiss: the test went on")
    assert [measurement.value for measurement in result.records["test_group"].measurements] == [1.0]


def test_the_network_is_closed_while_recordings_answer(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import socket
import pytest
pytestmark = pytest.mark.llm_cassette

def test_address():
    with socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))

def test_name():
    socket.getaddrinfo("model.invalid", 443)
"""
        }
    )
    result = project.run()
    assert result.outcomes == {"errors": 2}
    for name, host in {"test_address": "192.0.2.1", "test_name": "model.invalid"}.items():
        message = result.records[name].message
        assert host in message
        check_message(message)


def test_allowed_hosts_pass(project: Project) -> None:
    project.write(
        **{
            "pytest.ini": "[pytest]\nllm_allow_hosts =\n    127.0.0.1\n",
            "test_a.py": f"""
import json
import urllib.request
import pytest

@pytest.mark.llm_cassette
def test_own_server():
    with urllib.request.urlopen("{project.server.url}/health") as answer:
        assert json.load(answer)["path"] == "/health"
""",
        }
    )
    assert project.run().outcomes == {"passed": 1}
    assert project.cassettes() == {}


def test_marker_shares_one_cassette(project: Project) -> None:
    source = """
import pytest
pytestmark = pytest.mark.llm_cassette("shared/answers")

@pytest.mark.parametrize("word", ["a", "b", "c", "d"])
def test_ask(llm, word):
    assert llm.complete(word).text == f"echo of {word}"
"""
    project.write(**{"test_a.py": source})
    project.record()
    files = project.cassettes()
    assert list(files) == ["cassettes/shared/answers.json"]
    assert len(json.loads(files["cassettes/shared/answers.json"])["interactions"]) == 4
    project.server.close()
    assert project.run().outcomes == {"passed": 4}


def test_cassette_name_cannot_leave_its_folder(project: Project) -> None:
    project.write(
        **{
            "test_a.py": "import pytest\n@pytest.mark.llm_cassette('../../evil')\ndef test_a(llm):\n    llm.complete('x')\n"
        }
    )
    project.record()
    assert all(name.startswith("cassettes/") for name in project.cassettes())
    assert not (project.path.parent / "evil.json").exists()


def test_llm_cassette_fixture_tells_what_happened(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
def test_a(llm, llm_cassette):
    llm.complete("x")
    assert llm_cassette.path.name == "test_a.json"
    assert (llm_cassette.counts.replayed, llm_cassette.counts.recorded) == ((0, 1) if llm_cassette.mode == "new" else (1, 0))
"""
        }
    )
    assert project.record().outcomes == {"passed": 1}
    assert project.run().outcomes == {"passed": 1}


def test_a_damaged_cassette_is_one_clear_error_and_stays_as_it_is(project: Project) -> None:
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('x')\n"})
    project.record()
    path = project.path / "cassettes/test_a/test_a.json"
    damaged = path.read_bytes()[:40]  # of the head: further down times of unlike length shift the place
    path.write_bytes(damaged)
    for run in (project.run, project.record):
        result = run()
        assert result.outcomes == {"errors": 1}
        check_message(result.records["test_a"].message)
        assert "Traceback" not in result.text
        assert path.read_bytes() == damaged


def test_stale_interactions_are_reported(project: Project) -> None:
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('x')\n    llm.complete('y')\n"})
    project.record()
    project.write(**{"test_a.py": "def test_a(llm):\n    llm.complete('x')\n"})
    result = project.run("-v")
    facts = result.records["test_a"].facts["cassette"]
    assert isinstance(facts, dict)
    assert facts["stale"] == 1
    assert "1 stale" in result.text


def test_no_key_of_the_environment_reaches_the_disk(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    monkeypatch.setenv("SHOP_TOKEN", "shop-token-value-1234")
    project.write(
        **{
            "test_a.py": f"""
def test_a(llm):
    llm.complete("my key is {secret} and shop-token-value-1234")
    assert 0
"""
        }
    )
    assert project.record("--junitxml=j.xml", "--llm-report=r.html").outcomes == {"failed": 1}
    assert project.cassettes()
    # The test's own source, which pytest shows on a failure, is the user's; all that is ours must not tell.
    ours = [*project.cassettes().values(), (project.path / "run-file.json").read_bytes()]
    ours.append(unpack_report("r.html", (project.path / "r.html").read_bytes()))
    for data in ours:
        assert secret.encode() not in data
        assert b"shop-token-value-1234" not in data
    assert project.server.seen[0].headers["authorization"] == f"Bearer {secret}"


def test_no_key_reaches_a_failure_message(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "shop-token-value-1234")
    project.write(
        **{
            "test_a.py": """
import os
from pytest_llmops import assert_contains
def test_a(llm):
    assert_contains(llm.complete(os.environ["SHOP_TOKEN"]).text, "something else")
"""
        }
    )
    result = project.record("--junitxml=j.xml")
    assert result.records["test_a"].outcome == "failed"
    assert "shop-token" not in result.text
    assert b"shop-token" not in (project.path / "j.xml").read_bytes()


def test_redactors_hook_masks_before_hashing(project: Project) -> None:
    project.write(
        **{
            "conftest.py": """
import re
def pytest_llmops_redactors(config):
    return {"customer": lambda text: re.sub(r"customer-[0-9]+", "customer-X", text)}
""",
            "test_a.py": """
import os
def test_a(llm):
    assert llm.complete(f"hello customer-{os.environ['NUMBER']}").text
""",
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBER", "12345")
        project.record()
        assert b"customer-12345" not in b"".join(project.cassettes().values())
        patch.setenv("NUMBER", "99")
        assert project.run().outcomes == {"passed": 1}


def test_an_application_that_calls_an_sdk_itself(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import asyncio
import openai
import pytest
pytestmark = pytest.mark.llm_cassette
ASK = dict(model="m", messages=[{"role": "user", "content": "hi there"}])

def test_sync(llm_calls):
    assert openai.OpenAI().chat.completions.create(**ASK).choices[0].message.content == "echo of hi there"
    assert [(call.endpoint, call.model, call.usage.total_tokens) for call in llm_calls] == [("chat", "stub-1", 10)]

def test_stream(llm_calls):
    with openai.OpenAI().chat.completions.create(stream=True, **ASK) as events:
        text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text.strip() == "echo of hi there"
    assert llm_calls[0].streamed and llm_calls[0].ttft_s is not None

def test_async():
    async def main():
        async with openai.AsyncOpenAI() as client:
            requests = [client.responses.create(model="m", input=word) for word in "abc"]
            return [response.output_text for response in await asyncio.gather(*requests)]
    assert asyncio.run(main()) == ["echo of a", "echo of b", "echo of c"]
"""
        }
    )
    assert project.record().outcomes == {"passed": 3}
    project.server.close()
    assert project.run().outcomes == {"passed": 3}


def test_environment_is_as_before_after_the_test(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import os
def test_ours(llm_cassette):
    assert os.environ["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    assert os.environ["OPENAI_API_KEY"]
def test_theirs():
    assert "OPENAI_BASE_URL" not in os.environ and "OPENAI_API_KEY" not in os.environ
"""
        }
    )
    assert project.run().outcomes == {"passed": 2}


def test_a_folder_that_cannot_be_used_is_reported(project: Project) -> None:
    project.write(
        **{
            "cassettes": "a file where the folder should be",
            "test_a.py": "def test_a(llm):\n    llm.complete('x')\n",
        }
    )
    result = project.record()
    assert result.exit == 1
    check_message(result.records["test_a"].message)
