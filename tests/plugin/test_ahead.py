"""--llm-concurrency: the calls of many tests at once, with the results and the cassettes of a sequential recording."""

from __future__ import annotations

import fcntl
import json
import re
import threading
from collections import Counter
from dataclasses import replace

import pytest
from support.ahead import HEAD, SIMPLE, listing, record, without_times
from support.project import Project
from support.server import Reply, Seen, StubServer, error_reply, stream

HOSTILE = """
def test_swallows_exceptions():
    try: answer = ask("swallow 1")
    except Exception: answer = "fallback"
    assert "echo" in ask(f"swallow 2 {answer}")

def test_swallows_everything():
    try: answer = ask("all 1")
    except BaseException: answer = "fallback"
    try: other = ask(f"all 2 {answer}")
    except BaseException: other = "fallback"
    assert "fallback" not in answer + other

def test_asks_again_for_ever():
    while True:
        try: answer = ask("again"); break
        except: pass
    assert "echo" in answer

def test_asks_in_finally():
    try: ask("finally 1")
    finally: ask("finally 2")

def test_environment(monkeypatch):
    monkeypatch.setenv("TONE", "kind")
    assert "kind" in ask(f"{os.environ['TONE']} {ask('environment')}")

def test_other_environment():
    assert "kind" not in ask(f"tone={os.environ.get('TONE')} {ask('other environment')}")

def test_output(capsys):
    print("before"); ask("output"); print("after")
    assert capsys.readouterr().out == "before\\nafter\\n"

def test_prints_and_fails():
    print("printed once"); logging.getLogger("app").warning("logged once"); ask("failing"); assert 0, "as it should"

def test_raises_before(): raise ValueError("before")
def test_raises_between(): ask("between"); raise ValueError("between")
def test_skips_after(): ask("skips"); pytest.skip("later")
def test_own_xfail(request):
    request.node.add_marker(pytest.mark.xfail(reason="dynamic")); ask("xfail"); assert 0
def test_property(record_property): record_property("k", 1); ask("property")
def test_raw_thread():
    out = []; thread = threading.Thread(target=lambda: out.append(ask("raw"))); thread.start(); thread.join(); assert out
def test_same_twice(): assert ask("same") != ask("same")
def test_left_stream():
    with openai.OpenAI() as client:
        with client.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": "left"}]) as stream:
            for event in stream: break
def test_read_stream():
    with openai.OpenAI() as client:
        more = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "read"}]}
        kept = client.chat.completions.create(**more)
        assert "echo" in "".join(event.choices[0].delta.content or "" for event in kept if event.choices)
def test_streams_of_a_task():
    async def leave(count):
        async with openai.AsyncOpenAI() as client:
            more = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"in a task {count}"}]}
            async with await client.chat.completions.create(**more) as stream:
                async for event in stream:
                    count -= 1
                    if not count: return
    for count in (1, 2, 3, 99): asyncio.run(leave(count))
def test_raw_answers_that_are_left(llm_cassette):
    with httpx2.Client() as client:
        for count, path in [(0, "/chat/completions"), (1, "/chat/completions"), (0, "/embeddings"), (1, "/embeddings")]:
            body = {"model": "m", "stream": path[1] == "c", "input": "x", "messages": [{"role": "user", "content": f"raw {count}"}], "n": count}
            with client.stream("POST", os.environ["OPENAI_BASE_URL"] + path, json=body) as answer:
                pieces = answer.iter_raw()
                for _ in range(count): next(pieces)
@pytest.fixture(scope="module")
def open_stream():
    with openai.OpenAI() as client:
        stream = client.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": "open"}])
        next(stream); yield stream
def test_stream_of_a_fixture(open_stream): assert next(open_stream).choices[0].delta.content == "echo "
def test_subtests(subtests):
    for number in range(3):
        with subtests.test(n=number): assert "echo" in ask(f"subtest {number}")
def test_of_the_calls(llm_calls): ask("calls"); assert len(llm_calls) == 1 and not llm_calls[0].replayed
def test_warns(): warnings.warn("own warning"); ask("warns")

class TestUnit(unittest.TestCase):
    def setUp(self): self.answer = ask("set-up")
    def test_unit(self): assert "echo" in ask(f"unit {self.answer}")

@pytest.fixture(scope="session")
def corpus(): seen.append("corpus"); answer = ask(f"corpus {ask('session')}"); yield answer; ask("session's tear-down")
@pytest.fixture(scope="module", params=["a", "b"])
def part(request, corpus): yield ask(f"part {request.param} {corpus}")
@pytest.fixture
def piece(part, request): yield ask(f"piece {part} {request.node.name}"); ask(f"tear-down {request.node.name}")
@pytest.fixture
def later(request): return request.getfixturevalue("corpus")
@pytest.mark.parametrize("i", range(2))
def test_fixtures(i, piece): assert "echo" in ask(f"{i} {piece}")
def test_later(later): assert "echo" in later
"""
TRIALS = """
@pytest.mark.llm_trials(3, pass_at_least=2)
def test_trials(llm): assert llm.complete("trial").text
"""
UNSETTLED = """
count = [0]
def test_clock(): assert "echo" in ask(f"it is {time.time_ns()}")
def test_uuid(): ask("first"); assert "echo" in ask(f"{uuid.uuid4()}")
def test_folder(tmp_path): assert "echo" in ask(f"in {tmp_path}")
def test_counter(): count[0] += 1; assert "echo" in ask(f"number {count[0]}")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_calls_are_made_at_once_and_recorded_as_one_after_another(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    alone = record(project)
    barrier = threading.Barrier(2 if workers else 6)  # each worker makes three of the six first calls at once

    def answer(seen: Seen) -> Reply:
        is_first = b'"question' in seen.body
        return replace(StubServer.answer(project.server, seen), before=meet if is_first else None)

    def meet() -> None:
        barrier.wait(20)

    project.server.answer = answer  # type: ignore[method-assign]
    together = record(project, "--llm-concurrency=6", workers=workers)
    assert together.result.outcomes == alone.result.outcomes == {"passed": 6}
    assert together.cassettes == alone.cassettes
    assert together.sent == alone.sent


def test_hostile_tests_end_as_they_do_one_after_another(project: Project) -> None:
    project.write(
        **{"test_a.py": HEAD + HOSTILE, "pytest.ini": "[pytest]\nllm_model = m\naddopts = -p no:anyio\n"}
    )
    alone = record(project)
    together = record(project, "--llm-concurrency=16")
    assert together.result.outcomes == alone.result.outcomes
    assert listing(together.result.text) == listing(alone.result.text)
    assert together.cassettes == alone.cassettes
    assert together.sent == alone.sent


def test_tests_whose_requests_never_settle_cost_one_call_and_are_named(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + UNSETTLED})
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"passed": 4}
    assert (
        together.sent.total() == 5 + 2
    )  # the counter starts anew in the run that counts, and uses its answer
    assert "test_a.py::test_folder: " not in together.result.text
    for name in ("clock", "uuid", "counter"):
        assert "differ" in together.result.line(f"test_a.py::test_{name}: ")
    assert "2 paid answers" in together.result.line("sent ahead")


def test_trials_that_a_verdict_makes_needless_are_not_requested(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + TRIALS})
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"passed": 1}
    assert together.sent.total() == 2
    (interaction,) = together.cassettes["cassettes/test_a/test_trials.json"]["interactions"]
    assert {take: len(answers) for take, answers in interaction["answers"].items()} == {"0": 1, "1": 1}
    assert record(project, "--llm-concurrency=8", "--llm-accept=first").sent.total() == 3


OTHER_CLIENTS = """
import aiohttp, socket, subprocess, sys, httpx2, requests
from pathlib import Path

BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
CHILD = "import openai; print(openai.OpenAI().chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'c'}]).id)"
URL = os.environ.get("OPENAI_BASE_URL", "") + "/chat/completions"

class OwnTransport(httpx2.HTTPTransport):
    pass

def test_own_transport(llm_cassette):
    with httpx2.Client(transport=OwnTransport()) as client: assert client.post(URL_OF(), json=BODY).status_code == 200
def test_mocked_sockets(monkeypatch):
    monkeypatch.setattr("socket.socket", type("Own", (socket.socket,), {}))
    assert requests.post(URL_OF(), json=BODY, timeout=9).status_code == 200
def test_child_process(): assert "chatcmpl" in subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True).stdout
def test_forked_process():
    child = os.fork()
    if not child:
        try: os._exit("echo" not in ask("forked"))
        finally: os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
def test_aiohttp():
    async def run():
        async with aiohttp.ClientSession() as session, session.post(URL_OF(), json=BODY) as answer: assert answer.status == 200
    asyncio.run(run())
@pytest.mark.llm_cassette(at_once=False)
def test_opted_out():
    with Path("runs.txt").open("a") as file: file.write("run ")
    ask("out"); assert Path("runs.txt").read_text() == "run "
def URL_OF(): return os.environ["OPENAI_BASE_URL"] + "/chat/completions"
"""


def test_what_cannot_be_sent_ahead_is_sent_in_line_and_goes_out_once(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + OTHER_CLIENTS})
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"passed": 6}
    assert together.sent.total() == 6
    assert len(together.cassettes) == 6
    for name in ("own_transport", "mocked_sockets", "child_process", "forked_process", "aiohttp"):
        assert together.result.line(f"sent one after another: test_a.py::test_{name}: ")
    assert "opted_out" not in "".join(re.findall("sent one.*", together.result.text))


def test_what_a_server_refuses_for_good_is_left_to_the_test(project: Project) -> None:
    project.write(
        **{
            "test_a.py": HEAD
            + "def test_key():\n    with pytest.raises(openai.AuthenticationError): ask('x')\n"
        }
    )
    project.server.queue.extend([error_reply(401), error_reply(401)])
    together = record(project, "--llm-concurrency=3")
    assert together.result.outcomes == {"passed": 1}
    assert (together.sent.total(), together.cassettes) == (2, {})


def test_an_answer_that_is_cut_is_left_to_the_test(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + "def test_cut(): assert 'echo' in ask('x')\n"})
    project.server.queue.append(stream(["a", "b"], cut_after=1))
    together = record(project, "--llm-concurrency=3")
    assert together.result.outcomes == {"passed": 1}
    assert "RemoteProtocolError" in together.result.line("sent one after another: ")
    assert "test_cut" in "".join(together.cassettes)


def test_call_limits_hold_and_the_tests_beyond_them_say_so(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    together = record(project, "--llm-concurrency=6", "--llm-max-calls=8")
    assert together.sent.total() == 8
    assert together.result.outcomes == {"passed": 2, "errors": 4}
    assert "8 of 8 live calls" in together.result.line("BudgetReached")


def test_failures_end_the_phase_where_they_end_the_run(project: Project) -> None:
    many = (
        "\n@pytest.mark.parametrize('i', range(12))\ndef test_many(i):\n    ask(f'many {i}'); assert i != 3\n"
    )
    project.write(**{"test_a.py": HEAD + many})
    together = record(project, "--llm-concurrency=2", "-x", keep_journals=True)
    assert together.result.outcomes == {"passed": 3, "failed": 1}
    assert 4 <= together.sent.total() <= 4 + 2 * 2
    # What was asked beyond the failure is taken in by the next run.
    project.server.seen.clear()
    assert project.record("--llm-concurrency=2").outcomes == {"passed": 11, "failed": 1}
    assert together.sent.total() + project.server.count == 12
    assert not list(project.path.rglob(".journal"))


@pytest.mark.parametrize(
    ("option", "runs"),
    [("--setup-plan", ""), ("--collect-only", ""), ("--llm-concurrency=1", "x"), ("--pdb", "x")],
)
def test_no_test_runs_silently(project: Project, option: str, runs: str) -> None:
    test = "from pathlib import Path\ndef test_runs(llm):\n    with Path('runs').open('a') as file: file.write('x')\n"
    project.write(**{"test_a.py": test, "runs": ""})
    project.record("--llm-concurrency=4", option)
    assert (project.path / "runs").read_text() == runs


def test_durations_are_those_of_the_calls(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + "def test_slow(): ask('slow')\n"})
    together = record(project, "--llm-concurrency=4")
    (call,) = together.result.records["test_slow"].calls
    assert call.latency_s is not None
    assert not call.replayed
    assert together.result.records["test_slow"].duration_s > call.latency_s


ENDING = """
import signal
def test_z(request):
    is_silent = request.config.pluginmanager.has_plugin("llmops_silent_runs")
    if is_silent is {in_phase}: {how}
"""


def run_to_its_end(project: Project, how: str, *, in_phase: bool) -> int:
    """Run pytest in a process of its own, and return its exit status once its silent runs have ended too."""
    project.write(**{"test_a.py": HEAD + SIMPLE + ENDING.format(in_phase=in_phase, how=how)})
    args = ["--llm-record=new", f"--llm-base-url={project.server.url}/v1", "--llm-concurrency=6"]
    done = project.pytester.runpytest_subprocess(*args)
    for journal in project.path.rglob("?*.journal"):
        with journal.open("rb") as file:  # the process of the silent runs holds the lock until it ends
            fcntl.flock(file, fcntl.LOCK_SH)
    return int(done.ret)


def check_that_the_next_run_takes_it_in(project: Project, most_lost: int = 0) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    assert project.record("--llm-concurrency=6").outcomes == {"passed": 6}
    assert 0 <= project.server.count - 12 <= most_lost
    assert not list(project.path.rglob(".journal"))
    assert project.run().outcomes == {"passed": 6}


def test_a_run_that_ends_early_leaves_what_was_paid_to_the_next(project: Project) -> None:
    assert run_to_its_end(project, "os.kill(os.getpid(), 9)", in_phase=False) == -9
    assert project.server.count == 12
    check_that_the_next_run_takes_it_in(project)


def test_silent_runs_that_end_early_change_no_result(project: Project) -> None:
    how = "os.kill(os.getpid(), 9)"
    project.write(**{"test_a.py": HEAD + SIMPLE + ENDING.format(in_phase=True, how=how)})
    together = record(project, "--llm-concurrency=6")
    assert together.result.outcomes == {"passed": 7}
    assert "has ended" in together.result.line("silent runs ended early: ")
    assert project.server.count <= 12 + 6  # a kill loses what is under way
    check_that_the_next_run_takes_it_in(project, 6)


def test_silent_runs_end_with_the_run_that_counts(project: Project) -> None:
    kill = "__import__('subprocess').run(['kill', '-KILL', str(os.getppid())])"  # `os.kill` would be refused
    how = f"{kill}; threading.Event().wait()"  # a test that hangs does not keep its process
    assert run_to_its_end(project, how, in_phase=True) == -9
    assert project.server.count <= 6  # of two calls in a row, no second one was sent
    check_that_the_next_run_takes_it_in(project)


def test_every_live_mode_asks_at_once(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    first = record(project, "--llm-concurrency=6")
    for mode in ("all", "verify", "live"):
        project.server.seen.clear()
        project.server._bodies.clear()
        result = project.record("--llm-concurrency=6", mode=mode)
        assert result.outcomes == {"passed": 6}
        assert "12 calls" in result.line("sent ahead")
        assert Counter(seen.body for seen in project.server.seen) == first.sent
        results = {name: without_times(json.loads(data)) for name, data in project.cassettes().items()}
        assert results == first.cassettes
        assert not any(call.replayed for record in result.run.records for call in record.calls)


def test_nothing_is_requested_that_could_not_be_recorded(project: Project) -> None:
    project.write(
        **{
            "test_a.py": HEAD + SIMPLE,
            "cassettes/test_a/test_simple/.journal": "a file, where the folder goes",
        }
    )
    alone = project.record()
    result = project.record("--llm-concurrency=6")
    assert result.outcomes == alone.outcomes
    assert "could not be written" in result.line("CassetteMiss")
    assert project.server.count == 0
