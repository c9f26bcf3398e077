"""--llm-concurrency leaves no trace in the process whose run counts: module state, files, folders, and what ends a process."""

from __future__ import annotations

import os
import re

import pytest
from support.ahead import HEAD, SIMPLE, listing, record
from support.project import INI, Project
from support.server import Reply, Seen, chat_answer, json_reply

from pytest_llmops.harness.ahead.child import KIND_VARIABLE

# Forms of state that a module keeps; each has tests whose prompts depend on which of them have run before
STATE = """
import functools, itertools, random
import numpy

os.environ.pop("LLMOPS_TESTS_STYLE", None)
random.seed(3)
memo, history, lines = {}, [], itertools.count()
calls, is_started = 0, False
own_dice, arrays = random.Random(7), numpy.random.default_rng(7)
tone = "kind"
client = openai.OpenAI(max_retries=0) if "OPENAI_BASE_URL" in os.environ else None

class Agent:
    turns = 0
    def turn(self, text):
        type(self).turns += 1
        return ask(f"turn {self.turns}: {text}")

@functools.lru_cache
def look_up(text): return ask(text)

def remember(text):
    if text not in memo: memo[text] = ask(text)
    return memo[text]

def say(text):
    history.append(text); history.append(ask(" / ".join(history)))
    return history[-1]

def start():
    global is_started
    if not is_started: is_started = True; return ask("system prompt")
    return ""

twice = pytest.mark.parametrize("i", range(2))
@twice
def test_lru_cache(i): assert "echo" in ask(f"{i} of {look_up('shared')}")
@twice
def test_memo(i): assert "echo" in ask(f"{i} of {remember('memo')}")
@twice
def test_counter(i):
    global calls
    calls += 1; assert "echo" in ask(f"call {calls} of {ask(f'first {calls}')}")
@twice
def test_history(i): assert "echo" in say(f"words {i}")
@twice
def test_random(i): assert "echo" in ask(f"dice {random.random()}")
@twice
def test_own_random(i): assert "echo" in ask(f"own dice {own_dice.random()}")
@twice
def test_numpy(i): assert "echo" in ask(f"array {arrays.integers(10**9)}")
@twice
def test_count(i): assert "echo" in ask(f"line {next(lines)}")
@twice
def test_class_attribute(i): assert "echo" in Agent().turn("hello")
@twice
def test_once(i): assert "echo" in ask(f"{i} after {start()}")
@twice
def test_environ(i):
    style = os.environ.setdefault("LLMOPS_TESTS_STYLE", f"style of {i}")
    assert "echo" in ask(f"{i} in {style}")
@twice
def test_module_attribute(i):
    global tone
    answer = ask(f"{i} in a {tone} tone"); tone = f"{tone} and {i}"; assert answer
@twice
def test_name_of_a_folder(i, tmp_path):
    assert tmp_path.name == f"test_name_of_a_folder_{i}_0"; assert "echo" in ask(f"in {tmp_path.name}")
"""
# Files that are open before the fork
OPEN_FILES = """
import sys, tempfile

questions, system, log = open("questions.txt"), open("system.txt"), open("log.txt", "a")
notes = tempfile.TemporaryFile("w+")
notes.write("a note"); notes.flush()
files = [questions, system, log, notes]
logger, early_output = logging.getLogger("early"), sys.stdout
logger.addHandler(logging.StreamHandler(early_output))

def test_all_questions():
    for line in questions: assert "echo" in ask(line.strip())
def test_system(): assert "echo" in ask(f"{system.read()}: hello")
def test_open_notes(): notes.seek(0); assert "echo" in ask(f"{notes.read()} again")
def test_open_log(): log.write("line\\n"); log.flush(); assert "echo" in ask("logged")
def test_early_output():
    logger.warning("before"); print("printed early", file=early_output, flush=True)
    answer = ask("early"); logger.warning("after %s", answer); assert ask("late")
"""
CLOSES_FILES = """
import sys
def pytest_unconfigure():
    for file in sys.modules["test_a"].files: file.close()
    sys.modules["test_a"].logger.handlers.clear()
"""
GLOBAL_CLIENT = """
shared = None
@pytest.mark.parametrize("i", range(2))
def test_client(i):
    global shared
    shared = shared or openai.OpenAI(max_retries=0)
    messages = [{"role": "user", "content": f"global {i}"}]
    assert shared.chat.completions.create(model="m", messages=messages).choices
"""


def answer_by_content(project: Project) -> None:
    """Let the server's answers depend on the request only, and not on how often it was made."""

    def answer(seen: Seen) -> Reply:
        return json_reply(chat_answer(f"echo of {seen.json['messages'][-1]['content'][-40:]}"))

    project.server.answer = answer  # type: ignore[method-assign]


def test_what_modules_keep_is_as_if_tests_had_run_once(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + STATE + GLOBAL_CLIENT + OPEN_FILES, "conftest.py": CLOSES_FILES})
    project.write(**{"questions.txt": "one\ntwo\nthree\n", "system.txt": "be kind"})
    answer_by_content(project)
    alone = record(project)
    (project.path / "log.txt").unlink()
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 33}
    assert together.cassettes == alone.cassettes
    assert listing(together.result.text) == listing(alone.result.text)
    assert (project.path / "log.txt").read_text() == "line\n"
    assert together.sent == alone.sent
    assert "folder" not in "".join(re.findall("sent one after.*", together.result.text))
    count = project.server.count
    assert project.run().outcomes == {"passed": 33}
    assert project.server.count == count


WRITES = """
import sqlite3, tempfile
from pathlib import Path

def test_mail():
    with Path("sent.txt").open("a") as file: file.write("mail\\n")
    assert "echo" in ask("mail")
@pytest.fixture(scope="session")
def folder(): Path("out").mkdir(); yield; Path("out").rmdir()
@pytest.mark.parametrize("i", range(2))
def test_folder(i, folder): assert "echo" in ask(f"folder {i}")
def test_rows():
    with sqlite3.connect("rows.db") as rows: rows.execute("create table t (a)")
    rows.close(); ask("rows")
def test_moved(): Path("old.txt").rename("new.txt"); ask("moved")
def test_temporary_files(tmp_path):
    (tmp_path / "a").write_text("1"); (tmp_path / "a").rename(tmp_path / "b")
    with tempfile.TemporaryDirectory() as folder: Path(folder, "c").write_text("1")
    with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryFile(): file.write(b"1")
    with sqlite3.connect(":memory:") as rows: ask("temporary")
    rows.close()
def test_cache(): Path("cache").mkdir(exist_ok=True); Path("cache", "a").write_text(ask("cached"))
def test_reads(): assert Path("pytest.ini").read_text(); ask("reads")
def test_home(): Path("~/models/a").expanduser().write_text("1"); ask("home")
folders = []
def test_space(tmp_path):
    if any("silent-" in str(folder) and folder.exists() for folder in folders): Path("cache", "left").touch()
    folders.append(tmp_path); (tmp_path / "a").write_text("1"); ask("space")
"""


def test_files_are_written_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ini = f"{INI}llm_silent_writes = cache\n  ~/models\n"
    project.write(**{"test_a.py": HEAD + WRITES, "pytest.ini": ini, "old.txt": "x", "models/b": "x"})
    monkeypatch.setenv("HOME", str(project.path))
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"passed": 10}
    assert not (project.path / "cache" / "left").exists()
    assert (project.path / "sent.txt").read_text() == "mail\n"
    in_line = re.findall(r"test_a\.py::(\S+): it would write (\S+) twice", together.result.text)
    where = {
        "mail": "sent.txt",
        "folder[0]": "out",
        "folder[1]": "out",
        "rows": "rows.db",
        "moved": "old.txt",
    }
    assert dict(in_line) == {f"test_{name}": str(project.path / path) for name, path in where.items()}
    assert together.sent.total() == 10


# Without an end of its own, a silent run would wait for what the refused write keeps from it; the limit notes that
WAITS_FOR_A_WRITE = """
import queue
from pathlib import Path

LIMIT_S = 20
jobs, results = queue.Queue(), queue.Queue()

def write(done):
    with Path("audit.log").open("a") as file: file.write("line\\n")
    done("written")

def note_hang(): Path("hangs").mkdir(exist_ok=True); Path("hangs", "one").touch()

def test_thread():
    threading.Thread(target=lambda: write(results.put), daemon=True).start()
    try: assert results.get(timeout=LIMIT_S) == "written"
    except queue.Empty: note_hang(); raise
    assert "echo" in ask("after the thread")

def test_callback():
    async def wait():
        loop = asyncio.get_running_loop(); done = loop.create_future()
        loop.call_soon(write, done.set_result)
        return await asyncio.wait_for(done, LIMIT_S)
    try: assert asyncio.run(wait()) == "written"
    except TimeoutError: note_hang(); raise
    assert "echo" in ask("after the callback")
"""


def test_a_refused_write_ends_a_test_that_waits_for_it(project: Project) -> None:
    project.write(**{
        "test_a.py": HEAD + WAITS_FOR_A_WRITE + SIMPLE, "pytest.ini": f"{INI}llm_silent_writes = hangs\n"
    })  # fmt: skip
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"passed": 8}
    assert not (project.path / "hangs").exists()
    assert (project.path / "audit.log").read_text() == "line\n" * 2
    in_line = re.findall(r"test_a\.py::(\S+): it would write \S+audit.log twice", together.result.text)
    assert in_line == ["test_thread", "test_callback"]
    assert "12 calls" in together.result.line("sent ahead")


def test_a_fresh_pytest_records_what_a_fork_does(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    files = "\ndef test_fails(tmp_path): name = tmp_path.name; print('printed'); del tmp_path; assert not ask(name)\n"
    project.write(**{"test_a.py": HEAD + SIMPLE + files})
    args = ("-p", "no:cacheprovider", f"--log-file={project.path / 'run.log'}")
    alone = record(project, *args)
    monkeypatch.setenv(KIND_VARIABLE, "fresh")
    project.write(**{"start/sitecustomize.py": "print('printed at the start', flush=True)"})
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(project.path / "start"), *paths])))
    together = record(project, "--llm-concurrency=6", *args)
    assert together.result.outcomes == alone.result.outcomes == {"passed": 6, "failed": 1}
    assert listing(together.result.text) == listing(alone.result.text)
    assert together.cassettes == alone.cassettes
    assert together.sent == alone.sent
    assert "13 calls" in together.result.line("sent ahead")


def test_a_worker_that_crashes_costs_no_call(project: Project) -> None:
    crash = "\ndef test_crash(): os.kill(os.getpid(), 9)\n"
    project.write(**{"test_a.py": HEAD + SIMPLE + crash.replace("():", "(request):", 1).replace(
        "os.kill", 'request.config.pluginmanager.has_plugin("llmops_silent_runs") or os.kill'
    )})  # fmt: skip
    together = record(project, "--llm-concurrency=6", workers=2)
    assert together.result.outcomes == {"passed": 6, "failed": 1}
    assert together.sent.total() == 12
    assert set(together.sent.values()) == {1}


def test_a_process_that_cannot_be_started_leaves_the_calls_to_the_tests(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(
        KIND_VARIABLE
    )  # the threads of the server do not allow a fork, and pytester has plugins of its own
    project.write(**{"test_a.py": HEAD + SIMPLE})
    together = record(project, "--llm-concurrency=6")
    assert together.result.outcomes == {"passed": 6}
    assert "plugins as objects" in together.result.line("sent one after another: ")
    assert together.sent.total() == 12
