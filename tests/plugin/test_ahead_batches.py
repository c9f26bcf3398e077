"""--llm-record=batch: the calls of all tests through the vendors' batch APIs, over several runs of the same command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.batch_servers import AnthropicBatchServer, BatchServer, OpenAIBatchServer
from support.project import INI, Project, Result
from support.server import StubServer

from pytest_llmops.harness.ahead import batches
from pytest_llmops.harness.ahead.batch_apis import LIMITS

pytestmark = pytest.mark.slow
KEY = "sk-" + "proj-0123456789abcdefWXYZ"
HEAD = """
import json, openai, httpx2, os, pytest, time
pytestmark = pytest.mark.llm_cassette

def connect(**more):  # to load the certificates for each client takes longer than all the rest of a test
    return openai.OpenAI(http_client=openai.DefaultHttpxClient(verify=False), **more)

def ask(text, **more):
    with connect(max_retries=0) as client:
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="m", messages=messages, **more).choices[0].message.content
"""
SIMPLE = """
@pytest.mark.parametrize("i", range(4))
def test_simple(i): assert ask(f"question {i}") == f"echo of question {i}"
"""
CHAIN = """
@pytest.mark.parametrize("i", range(4))
def test_chain(i):
    first = ask(f"question {i}")
    assert "echo of second" in ask(f"second {i} of {first}")
"""
ENDPOINTS = """
@pytest.mark.parametrize("i", range(2))
def test_endpoints(i):
    with connect(max_retries=0) as client:
        assert client.responses.create(model="m", input=f"question {i}").output_text == f"echo of question {i}"
        assert client.embeddings.create(model="e", input=["a" * i, "b"]).data[0].embedding[0] == i
"""
CLAUDE = """
@pytest.mark.parametrize("i", range(4))
def test_claude(i):
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
    body = {"model": "c", "max_tokens": 9, "messages": [{"role": "user", "content": f"question {i}"}]}
    with httpx2.Client(verify=False) as client:
        reply = client.post(os.environ["CLAUDE_URL"] + "/v1/messages?beta=true", json=body, headers=headers)
    assert reply.json()["content"][0]["text"] == f"echo of question {i}"
"""


def use(project: Project, server: BatchServer) -> Project:
    project.server = server
    project.write(**{"pytest.ini": INI, "test_a.py": HEAD + SIMPLE})
    return project


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MIN_REQUESTS", 2)


@pytest.fixture
def server() -> Iterator[OpenAIBatchServer]:
    with OpenAIBatchServer(polls=0) as open_a_i_batch_server:
        yield open_a_i_batch_server


@pytest.fixture
def batch(project: Project, server: OpenAIBatchServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return use(project, server)


@pytest.fixture
def claude(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicBatchServer]:
    with AnthropicBatchServer(polls=0) as anthropic_batch_server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("CLAUDE_URL", anthropic_batch_server.url)
        use(project, anthropic_batch_server).write(**{"test_a.py": HEAD + CLAUDE})
        yield anthropic_batch_server


def run(project: Project, status: int, *args: str, **how: Any) -> Result:
    """Run the command once more."""
    result = project.record("--llm-record=batch", *args, **how)
    assert result.exit == status, result.text
    return result


def states(project: Project) -> list[Path]:
    return sorted((project.path / "cassettes" / ".batches").glob("*.json"))


def cassettes(project: Project) -> dict[str, Any]:
    result = {name: json.loads(data) for name, data in project.cassettes().items() if ".batches" not in name}
    return {name: without_marks(data) for name, data in result.items()}


def without_marks(value: Any) -> Any:
    """A cassette without times and the mark of the price."""
    if isinstance(value, dict):
        marks = {"latency_s", "ttft_s", "started_s"} | ({"batch"} if "status" in value else set())
        return {name: without_marks(item) for name, item in value.items() if name not in marks}
    return [without_marks(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("tests", "rounds"), [(CHAIN, 2), (ENDPOINTS, 2)], ids=["chain", "endpoints"])
def test_batches_record_what_live_calls_record(
    batch: Project, server: OpenAIBatchServer, tests: str, rounds: int
) -> None:
    batch.write(**{"test_a.py": HEAD + tests})
    count = 2 if tests == ENDPOINTS else 4
    assert batch.record().outcomes == {"passed": count}
    alone = cassettes(batch)
    shutil.rmtree(batch.path / "cassettes")
    asked = len(server.live)
    for number in range(rounds):
        result = run(batch, 75)
        assert (result.outcomes, len(result.run.records)) == ({}, 0)
        assert f"batch_{number + 1}" in result.line("submitted")
        assert (f"call {number + 1} in a row" in result.line("submitted")) == (number > 0)
        assert f"{count} deselected" in result.text
    last = run(batch, 0)
    assert last.outcomes == {"passed": count}
    assert not any(call.replayed for record in last.run.records for call in record.calls)
    assert cassettes(batch) == alone
    assert len(server.live) == asked
    assert not states(batch)
    assert not list(batch.path.rglob(".journal"))
    if tests == ENDPOINTS:
        return
    # The same command has nothing left to do, and a replay is marked as what was paid.
    assert run(batch, 0).outcomes == batch.run().outcomes == {"passed": count}


def test_an_open_batch_is_waited_for(batch: Project, server: OpenAIBatchServer) -> None:
    server.polls = 1
    batch.write(**{"test_a.py": HEAD + SIMPLE + "def test_else(): assert False\n"})
    assert run(batch, 75).outcomes == {"failed": 1}
    check_that_no_secret_is_written(batch, server)
    waiting = run(batch, 75)
    assert "4 requests wait for batch_1" in waiting.line("expires")
    assert waiting.outcomes == {"failed": 1}
    assert run(batch, 1).outcomes == {"passed": 4, "failed": 1}
    assert len(server.batches) == 1
    assert not states(batch)


def check_that_no_secret_is_written(batch: Project, server: OpenAIBatchServer) -> None:
    assert server.seen[-1].headers["authorization"] == f"Bearer {KEY}"
    (state,) = states(batch)
    wire = json.loads(state.read_bytes())
    assert (wire["status"], wire["id"], wire["endpoint"]) == ("submitted", "batch_1", "/chat/completions")
    for path in batch.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def make_old(project: Project) -> None:
    """Let the only batch be submitted long ago."""
    (state,) = states(project)
    old = {**json.loads(state.read_bytes()), "created": "2026-01-02T03:04:05+00:00"}
    state.write_text(json.dumps(old), encoding="utf-8")


def check_that_late_results_are_waited_for(
    project: Project, server: BatchServer, results: dict[str, int]
) -> None:
    run(project, 75)
    for fault, count in results.items():
        server.faults = {fault}
        assert f"only {count} of 4 results are there" in run(project, 75).line("wait for")
    server.faults = set()
    assert run(project, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(project)) == (1, [], [])


def test_results_that_are_not_there_yet_are_waited_for(batch: Project, server: OpenAIBatchServer) -> None:
    results = {"no file id": 0, "gone files": 0, "cut": 3, "missing": 3}
    check_that_late_results_are_waited_for(batch, server, results)


def test_a_page_in_place_of_a_batch_is_no_answer(batch: Project, server: OpenAIBatchServer) -> None:
    run(batch, 75)
    make_old(batch)
    server.faults = {"page"}
    assert "expected a batch with its status" in run(batch, 75).line("wait for")
    server.faults = set()
    assert run(batch, 0).outcomes == {"passed": 4}
    assert len(server.batches) == 1


@pytest.mark.parametrize("faults", [["shuffled", "unknown", "repeated", "201"], ["missing"]], ids=" ".join)
def test_odd_results_are_named(batch: Project, server: OpenAIBatchServer, faults: list[str]) -> None:
    server.faults = set(faults)
    run(batch, 75)
    make_old(batch)
    result = run(batch, 0)
    assert result.outcomes == {"passed": 4}
    for text in (
        ("missing",) if faults == ["missing"] else ("for requests that it does not have", "given twice")
    ):
        assert result.line(f"batch_1: 1 {text}")
    assert len(server.live) == (faults == ["missing"])  # too few for another batch
    assert not states(batch)


def test_what_expired_is_submitted_once_more_and_then_asked_live(
    batch: Project, server: OpenAIBatchServer
) -> None:
    server.faults = {"half-expired"}
    run(batch, 75)
    half = run(batch, 75)
    assert half.outcomes == {"passed": 2}
    assert "2 expired" in half.line("batch: batch_1: ")
    last = run(batch, 0)
    assert last.outcomes == {"passed": 4}
    assert [len(requests) for requests in server.batches.values()] == [4, 2]
    assert len(server.live) == 1
    assert not states(batch)


@pytest.mark.parametrize("fault", ["gone", "gone files"])
def test_what_its_vendor_has_forgotten_is_submitted_once_more(
    batch: Project, server: OpenAIBatchServer, fault: str
) -> None:
    run(batch, 75)
    server.faults = {fault}
    if fault == "gone":  # it is another account that does not see a batch of today
        assert "use the key of the account" in run(batch, 75).line("wait for batch_1")
    make_old(batch)
    assert "4 missing" in run(batch, 75).line("batch: batch_1: ")
    server.faults.clear()
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (2, [], [])


def test_a_rejected_batch_is_not_asked_live(batch: Project, server: OpenAIBatchServer) -> None:
    server.faults = {"rejected"}
    server.problem += f"{'.' * 250}{KEY}"  # it ends within the key
    run(batch, 75)
    result = run(batch, 4)
    assert result.outcomes == {}
    assert KEY[:12] not in result.text
    assert "line 3: the model does not exist" in result.line("were rejected")
    server.faults.clear()
    run(batch, 75)
    assert run(batch, 0).outcomes == {"passed": 4}
    assert not server.live


def test_a_batch_that_is_refused_leaves_no_state(batch: Project, server: OpenAIBatchServer) -> None:
    server.faults = {"refused"}
    assert "billing hard limit" in run(batch, 4).line("were refused")
    assert not states(batch)
    assert run(batch, 0, "--llm-concurrency=4").outcomes == {"passed": 4}
    assert len(server.live) == 4


def test_a_server_without_batches_says_so(project: Project) -> None:
    project.write(**{"pytest.ini": INI, "test_a.py": HEAD + SIMPLE})
    assert "POST /files" in run(project, 4).line("were refused")
    assert not states(project)


@pytest.mark.parametrize("fault", ["create lost", "no id"])
def test_a_submission_that_was_not_confirmed_is_found_again(
    batch: Project, server: OpenAIBatchServer, fault: str
) -> None:
    server.faults = {fault}
    assert "not confirmed" in run(batch, 75).line("submitted")
    assert json.loads(states(batch)[0].read_bytes())["status"] == "submitting"
    server.faults.clear()
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (1, [], [])


@pytest.mark.parametrize("ends", [["/batches"], ["/files", "/batch_1", "/content"]], ids=" ".join)
def test_a_server_that_fails_once_is_asked_again(
    batch: Project, server: OpenAIBatchServer, ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmops.harness.ahead.batch_groups.PAUSES_S", (0.0, 0.0, 0.0))
    server.broken = list(ends)
    run(batch, 75)
    if ends == ["/batches"]:  # it did not reach the server, but nothing tells
        run(batch, 75)
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, server.broken) == (1, [], [])


def test_a_bad_request_is_an_answer_and_a_busy_server_is_not(
    batch: Project, server: OpenAIBatchServer
) -> None:
    test = """
@pytest.mark.parametrize("i", range(4))
def test_status(i):
    if i == 1:
        with pytest.raises(openai.BadRequestError): ask(f"question {i}")
    else: assert ask(f"question {i}")
"""
    batch.write(**{"test_a.py": HEAD + test})
    server.status_of = {"question 1": 400, "question 2": 429}
    run(batch, 75)
    assert run(batch, 0).outcomes == {"passed": 4}
    assert [body["messages"][0]["content"] for body in server.live] == ["question 2"]
    assert batch.run().outcomes == {"passed": 4}


def test_streams_and_requests_that_never_settle_are_in_no_batch(
    batch: Project, server: OpenAIBatchServer
) -> None:
    more = """
def ask_stream(text):
    with connect() as client:
        return list(client.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": text}]))
def test_stream(): assert [event for event in ask_stream("s")]
def test_clock(): assert ask(f"it is {time.time_ns()}")
"""
    batch.write(**{"test_a.py": HEAD + SIMPLE + more})
    result = run(batch, 75)
    assert result.outcomes == {"passed": 2}
    assert "differ" in result.line("test_a.py::test_clock: ")
    assert ([len(requests) for requests in server.batches.values()], len(server.live)) == ([4], 2)
    assert run(batch, 0, "-k", "not clock").outcomes == {"passed": 5}
    assert len(server.live) == 2


def test_connections_of_requests_are_asked_live(batch: Project, server: OpenAIBatchServer) -> None:
    more = """
import requests
def test_requests():
    body = {"model": "m", "messages": [{"role": "user", "content": "r"}]}
    assert requests.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=body, timeout=30).ok
"""
    batch.write(**{"test_a.py": HEAD + SIMPLE + more})
    result = run(batch, 75)
    assert result.outcomes == {"passed": 1}
    assert "sent one after another" not in result.text
    assert len(server.live) == 1
    assert run(batch, 0).outcomes == {"passed": 5}
    assert len(server.live) == 1


def test_too_few_requests_are_no_batch(
    batch: Project, server: OpenAIBatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MIN_REQUESTS", 20)
    result = run(batch, 4)
    assert "fewer than 20 requests" in result.line("4 requests")
    assert "--llm-concurrency" in result.line("4 requests")
    assert not server.seen
    assert run(batch, 0, "--llm-concurrency=2").outcomes == {"passed": 4}
    assert (len(server.live), len(server.batches)) == (4, 0)


def test_the_budget_holds_what_a_run_submits(batch: Project, server: OpenAIBatchServer) -> None:
    assert run(batch, 75, "--llm-max-calls=2").outcomes == {"errors": 2}
    assert run(batch, 75, "--llm-max-calls=2").outcomes == {"passed": 2}
    assert run(batch, 0, "--llm-max-calls=0").outcomes == {"passed": 4}
    assert ([len(requests) for requests in server.batches.values()], server.live) == ([2, 2], [])


def test_a_part_of_the_tests_leaves_the_answers_of_the_others(
    batch: Project, server: OpenAIBatchServer
) -> None:
    run(batch, 75)
    result = run(batch, 0, "-k", "0 or 1")
    assert result.outcomes == {"passed": 2}
    assert "2 answers" in result.line("is kept")
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (1, [], [])


def test_what_a_test_has_not_used_is_kept(batch: Project, server: OpenAIBatchServer) -> None:
    test = """
@pytest.mark.parametrize("i", range(4))
def test_shared(request, i):
    is_reported = not request.config.pluginmanager.has_plugin("llmops_silent_runs")
    assert i < 3 or not is_reported or not os.path.exists("broken")
    assert ask(f"question {i}")
"""
    head = HEAD.replace("pytest.mark.llm_cassette", 'pytest.mark.llm_cassette("shared.json")')
    batch.write(**{"test_a.py": head + test, "broken": ""})
    run(batch, 75)
    assert "2 answers" in run(batch, 0, "-k", "0 or 1").line("is kept")
    assert run(batch, 1).outcomes == {"passed": 3, "failed": 1}
    (batch.path / "broken").unlink()
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (1, [], [])


def test_a_changed_prompt_is_asked_anew(batch: Project, server: OpenAIBatchServer) -> None:
    run(batch, 75)
    batch.write(**{"test_a.py": HEAD + SIMPLE.replace("question", "request")})
    run(batch, 75)
    result = run(batch, 0)
    assert result.outcomes == {"passed": 4}
    assert "no test used 4 answers" in result.line("batch_1: ")
    assert (len(server.batches), server.live, states(batch)) == (2, [], [])


def test_the_batch_of_another_server_is_left_alone(batch: Project, server: OpenAIBatchServer) -> None:
    run(batch, 75)
    with OpenAIBatchServer() as other:
        batch.server = other
        run(batch, 75)
        assert (len(other.batches), other.asked) == (1, {"batch_1": 0})
    batch.server = server
    assert run(batch, 0).outcomes == {"passed": 4}


def test_a_state_that_cannot_be_read_stops_the_submission(batch: Project, server: OpenAIBatchServer) -> None:
    batch.write(**{"cassettes/.batches/a.json": '{"version": 2}'})
    result = run(batch, 4, "--llm-concurrency=4")
    assert "a.json" in result.line("the state of a batch")
    assert (server.batches, server.live) == ({}, [])


def test_fixtures_and_trials_wait_too(
    batch: Project, server: OpenAIBatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MIN_REQUESTS", 1)
    test = """
@pytest.fixture(scope="module")
def corpus(): return [ask("corpus a"), ask("corpus b")]
@pytest.mark.parametrize("i", range(2))
def test_corpus(corpus, i): assert corpus
@pytest.mark.llm_trials(2)
def test_trials(): assert ask("trial")
"""
    batch.write(**{"test_a.py": HEAD + test, "pytest.ini": INI})
    run(batch, 75)
    run(batch, 75)
    assert run(batch, 0).outcomes == {"passed": 3}
    assert [len(requests) for requests in server.batches.values()] == [3, 1]
    assert (server.live, states(batch)) == ([], [])


@pytest.mark.parametrize(
    ("args", "about"),
    [
        (("-n2",), "-n"),
        (("--pdb",), "--pdb"),
    ],
)
def test_options_that_do_not_go_with_it(batch: Project, args: tuple[str, ...], about: str) -> None:
    result = batch.bare("--llm-record=batch", *args)
    assert result.exit == 4
    assert about in result.line("--llm-record=batch: expected")


def test_claude(project: Project, claude: AnthropicBatchServer) -> None:
    assert project.record().outcomes == {"passed": 4}
    alone = cassettes(project)
    shutil.rmtree(project.path / "cassettes")
    claude.polls = 1
    run(project, 75)
    run(project, 75)
    assert run(project, 0).outcomes == {"passed": 4}
    assert cassettes(project) == alone
    assert (len(claude.batches), len(claude.live), states(project)) == (1, 4, [])
    assert {seen.path.partition("?")[2] for seen in claude.seen} == {"beta=true"}
    assert claude.seen[-1].headers["x-api-key"] == KEY
    assert claude.seen[-1].headers["anthropic-version"] == "2023-06-01"
    assert project.run().outcomes == {"passed": 4}


def test_results_of_claude_that_are_not_there_yet_are_waited_for(
    project: Project, claude: AnthropicBatchServer
) -> None:
    check_that_late_results_are_waited_for(project, claude, {"gone files": 0, "cut": 3})


@pytest.mark.parametrize("fault", ["half-expired", "shuffled"])
def test_faults_of_claude(project: Project, claude: AnthropicBatchServer, fault: str) -> None:
    claude.faults, claude.status_of = {fault}, {"question 3": 529} if fault == "shuffled" else {}
    run(project, 75)
    result = project.record("--llm-record=batch")
    claude.faults.clear()
    if fault == "half-expired":
        assert result.exit == 75
        result = run(project, 0)
    assert result.outcomes == {"passed": 4}
    assert len(claude.live) == (fault == "shuffled")
    assert len(claude.batches) == 1 + (fault == "half-expired")
    assert not states(project)


def test_an_unconfirmed_submission_to_claude_waits_for_what_may_be_it(
    project: Project, claude: AnthropicBatchServer
) -> None:
    claude.faults = {"create lost"}
    run(project, 75)
    claude.faults.clear()
    claude.asked[claude.add_batch({"of-somebody-else": {"model": "c", "messages": [{"content": "x"}]}})] = 9
    claude.polls = 2  # it is asked for once more to see whether it is ours
    run(project, 75)
    assert run(project, 0).outcomes == {"passed": 4}
    assert (len(claude.batches), claude.live, states(project)) == (2, [], [])


def test_a_large_batch_is_split(
    batch: Project, server: OpenAIBatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "openai", (3, 10**6))
    run(batch, 75)
    assert sorted(len(requests) for requests in server.batches.values()) == [2, 2]
    assert len(states(batch)) == 2
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (server.live, states(batch)) == ([], [])


def test_accounts_have_batches_of_their_own(batch: Project, server: OpenAIBatchServer) -> None:
    keyed = SIMPLE.replace(
        'f"question {i}")', 'f"question {i}", extra_headers={"openai-project": "ab"[i % 2]})', 1
    )
    batch.write(**{"test_a.py": HEAD + keyed})
    run(batch, 75)
    assert [len(requests) for requests in server.batches.values()] == [2, 2]
    assert {seen.headers["openai-project"] for seen in server.seen} == {"a", "b"}
    assert run(batch, 0).outcomes == {"passed": 4}


KILLED = """
def test_z(request):
    if not request.config.pluginmanager.has_plugin("llmops_silent_runs"): os.kill(os.getpid(), 9)
"""


def test_a_run_that_is_killed_while_it_reports_collects_again(
    batch: Project, server: OpenAIBatchServer
) -> None:
    run(batch, 75)
    batch.write(**{"test_a.py": HEAD + SIMPLE.replace("    ", "") + KILLED})
    args = ["--llm-record=new", f"--llm-base-url={server.url}/v1", "--llm-record=batch", "-p", "no:anyio"]
    assert batch.pytester.runpytest_subprocess(*args).ret == -9
    batch.write(**{"test_a.py": HEAD + SIMPLE})
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (1, [], [])


def test_a_stub_is_not_asked_for_batches_without_the_option(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    assert isinstance(project.server, StubServer)
    assert project.record("--llm-concurrency=4").outcomes == {"passed": 4}
    assert {seen.path for seen in project.server.seen} == {"/v1/chat/completions"}
    assert not (project.path / "cassettes" / ".batches").exists()
