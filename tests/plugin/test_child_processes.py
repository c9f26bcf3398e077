"""Python processes that a test starts take part in it: tape, take, mode, budget, trace and the verdict of a miss."""

from __future__ import annotations

import os
import shlex
import sys

import pytest
from support.project import PROGRAM, Project
from support.server import json_reply

APP = f"""{PROGRAM}
if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(ask(text))
"""
STARTS = {
    "run": """
        done = subprocess.run([sys.executable, APP, text], capture_output=True, text=True, check=True)
        return done.stdout.strip()
""",
    "env": """
        environ = {"OPENAI_BASE_URL": os.environ["OPENAI_BASE_URL"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        done = subprocess.run([sys.executable, APP, text], env=environ, capture_output=True, text=True, check=True)
        return done.stdout.strip()
""",
    "asyncio": """
        async def main():
            child = await asyncio.create_subprocess_exec(sys.executable, APP, text, stdout=asyncio.subprocess.PIPE)
            return (await child.communicate())[0].decode().strip()
        return asyncio.run(main())
""",
    "fork_exec": """
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.execv(sys.executable, [sys.executable, APP, text])
        os.close(writer)
        answer = os.read(reader, 1000).decode().strip()
        assert os.waitpid(pid, 0)[1] == 0
        os.close(reader)
        return answer
""",
    "fork_pool": """
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            return pool.submit(app.ask, text).result()
""",
    "spawn_pool": """
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(app.ask, text).result()
""",
    "forkserver_pool": """
        with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
            return pool.submit(app.ask, text).result()
""",
}
TEST = """
import asyncio, multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
import app, pytest

APP = app.__file__

def start(text):{start}
@pytest.mark.llm_cassette
def test_a(llm_calls, monkeypatch):
    monkeypatch.chdir(os.path.dirname(APP))
    assert start("hello") == "echo of hello"
    assert app.ask("hello") == "echo of hello (2)"
    assert [call.output for call in llm_calls] == ["echo of hello", "echo of hello (2)"]
"""
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="fork is POSIX")


def write_test(project: Project, start: str) -> None:
    project.pytester.syspathinsert()
    project.write(**{"app.py": APP, "test_a.py": TEST.replace("{start}", STARTS[start])})


@pytest.mark.parametrize(
    "start", [pytest.param(name, marks=posix_only) if "fork" in name else name for name in STARTS]
)
def test_a_child_records_and_replays_with_its_test(project: Project, start: str) -> None:
    write_test(project, start)
    recorded = project.record("--llm-max-calls=2")
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert project.server.count == 2
    assert list(project.cassettes()) == ["cassettes/test_a/test_a.json"]
    replayed = project.run(f"--llm-base-url={project.server.url}/v1")
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert project.server.count == 2
    assert [call.replayed for call in replayed.records["test_a"].calls] == [True] * 2


@pytest.mark.parametrize("start", [pytest.param("fork_pool", marks=posix_only), "run"])
def test_the_budget_holds_for_children_and_the_test_says_so(project: Project, start: str) -> None:
    write_test(project, start)
    result = project.record("--llm-max-calls=0")
    assert project.server.count == 0
    assert "budget reached: 0 of 0 live calls" in result.line("BUDGET test_a.py::test_a")


def test_a_miss_of_a_child_that_swallows_it_fails_the_test(project: Project) -> None:
    project.write(
        **{
            "app.py": APP,
            "test_a.py": """
import subprocess, sys, pytest

@pytest.mark.llm_cassette
def test_a():
    code = "import app\\ntry:\\n    app.ask('never recorded')\\nexcept BaseException:\\n    print('swallowed')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "swallowed\\n"
""",
        }
    )
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 1, "errors": 1}, result.text
    assert project.server.count == 0
    assert "no recording answers POST" in result.records["test_a"].message
    assert "pytest test_a.py::test_a" in result.records["test_a"].message


REWORDING = """
import json, os, subprocess, sys, urllib.error, urllib.request
import pytest

APP = '''
import app
try:
    app.ask("never recorded")
except BaseException as error:
    text = str(error)
    raise SystemExit("SdkError: " + (repr(text) if "quote" in app.sys.argv else text[: text.index("record    pytest") + 20]))
'''

def run(how):
    done = subprocess.run([sys.executable, "-c", APP, how], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr + "\\n  record    pytest of_the_model.py")

@pytest.mark.llm_cassette
@pytest.mark.parametrize("how", ["quote", "cut"])
def test_child(how):
    run(how)

@pytest.fixture
def answer(llm_cassette):
    run("cut")

def test_set_up(answer):
    pass

def test_proxy(llm_proxy):
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, b"{}", {"content-type": "application/json"})
    code = "import sys, urllib.request, urllib.error\\ntry:\\n    urllib.request.urlopen(sys.argv[1], b'{}')\\nexcept urllib.error.HTTPError as error:\\n    print(error.read())"
    done = subprocess.run([sys.executable, "-I", "-c", code, url], capture_output=True, text=True)
    assert done.stdout == "an answer"
"""


def test_a_miss_that_an_sdk_rewords_is_one_error_with_the_command_of_the_tape(project: Project) -> None:
    project.write(**{"app.py": APP, "test_a.py": REWORDING})
    address = f"--llm-base-url={project.server.url}/v1"
    result = project.run(address)
    assert result.outcomes == {"errors": 4}, result.text
    names = ["test_child[cut]", "test_child[quote]", "test_proxy", "test_set_up"]
    assert sorted(result.records) == names
    for name in names:
        record = result.records[name]
        assert record.message.startswith("CassetteMiss: in a process that the test started: no recording")
        assert record.record_commands == (
            shlex.join(["pytest", f"test_a.py::{name}", address, "--llm-record=new"]),
        )
    assert result.line("pytest test_a.py --") == f"pytest test_a.py {address} --llm-record=new"
    assert "SdkError: " in result.text


def test_workers_have_children_of_their_own(project: Project) -> None:
    test = TEST.replace("{start}", STARTS["run"]).replace(
        "def test_a(", "@pytest.mark.parametrize('n', range(2))\ndef test_a(n, "
    )
    project.write(
        **{
            "app.py": APP,
            "test_a.py": test.replace("hello", "{n}").replace('"echo', 'f"echo').replace('"{n}"', 'f"{n}"'),
        }
    )
    project.pytester.syspathinsert()
    assert project.record(workers=2).outcomes == {"passed": 2}
    assert project.server.count == 4
    assert project.run(f"--llm-base-url={project.server.url}/v1", workers=2).outcomes == {"passed": 2}
    assert project.server.count == 4


def test_a_server_of_a_fixture_asks_with_the_test_that_is_running(project: Project) -> None:
    project.write(
        **{
            "app.py": APP + "    for line in sys.stdin:\n        print(ask(line.strip()), flush=True)\n",
            "test_a.py": """
import subprocess, sys, pytest

@pytest.fixture(scope="module")
def app():
    with subprocess.Popen([sys.executable, "app.py"], stdin=-1, stdout=-1, text=True) as child:
        yield child
        child.stdin.close()

@pytest.mark.llm_cassette
@pytest.mark.parametrize("word", ["one", "two"])
def test_a(app, word):
    app.stdin.write(word + "\\n")
    app.stdin.flush()
    assert app.stdout.readline() == f"echo of {word}\\n"
""",
        }
    )
    assert project.record().outcomes == {"passed": 2}
    assert list(project.cassettes()) == [f"cassettes/test_a/test_a/{word}.json" for word in ("one", "two")]
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 2}
    assert project.server.count == 2


def test_a_child_that_outlives_its_test_asks_no_model(project: Project) -> None:
    project.write(
        **{
            "app.py": APP,
            "test_a.py": """
import subprocess, sys, pytest
child = None

@pytest.mark.llm_cassette
def test_a():
    global child
    code = "import app, sys; sys.stdin.readline(); app.ask('late')"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stderr=-1, text=True)

def test_b():
    _, error = child.communicate("go on\\n")
    assert child.returncode
    assert "after the test that started it has ended" in error
""",
        }
    )
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 2}, result.text
    assert project.server.count == 0


def test_the_own_sitecustomize_of_a_project_still_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_test(project, "run")
    project.write(
        **{"site/sitecustomize.py": "import os\nos.environ['OPENAI_BASE_URL'] = os.environ['OWN_URL']\n"}
    )
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(project.path / "site"), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setenv("OWN_URL", f"{project.server.url}/v1")
    assert project.record().outcomes == {"passed": 1}


def test_a_child_of_an_unrelated_test_is_left_alone(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import os, subprocess, sys
def test_a():
    code = "import os, sys; print('LLMOPS_TEST_PROCESS' in os.environ, 'vcr' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False False\\n"
def test_b(llm):
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0
    assert "LLMOPS_TEST_PROCESS" not in os.environ
def test_c():
    test_a()
"""
        }
    )
    assert project.run().outcomes == {"passed": 3}


SERVED = """
import os, subprocess, sys, pytest

@pytest.fixture(scope="session")
def app():
    environ = {**os.environ, "OPENAI_BASE_URL": os.environ["STUB"] + "/v1"}
    with subprocess.Popen([sys.executable, "app.py"], stdin=-1, stdout=-1, text=True, env=environ) as child:
        yield child
        child.stdin.close()

def check(app, word):
    app.stdin.write(word + "\\n")
    app.stdin.flush()
    assert app.stdout.readline().startswith(f"echo of {word}")

@pytest.mark.llm_cassette
def test_first(app): check(app, "one")

def test_plain(app): check(app, "plain")

@pytest.mark.llm_cassette
def test_next(app): check(app, "two")
"""


def test_a_server_that_a_plain_test_has_used_asks_with_the_next_test(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", project.server.url)
    app = APP + "    for line in sys.stdin:\n        print(ask(line.strip()), flush=True)\n"
    project.write(**{"app.py": app, "test_a.py": SERVED})
    assert project.record().outcomes == {"passed": 3}
    assert list(project.cassettes()) == [f"cassettes/test_a/test_{name}.json" for name in ("first", "next")]
    before = project.server.count
    result = project.run()
    assert result.outcomes == {"passed": 3}, result.text
    assert project.server.count - before == 1  # the plain test is left alone


LATE = """
import json, multiprocessing, os, subprocess, sys, urllib.request
import httpx2, pytest

URL = os.environ["STUB"] + "/v1/"

def post(how):
    if how == "path":
        body = b'{"model": "stub-1", "messages": [{"role": "user", "content": "hi"}]}'
        request = urllib.request.Request(URL + "chat/completions", body, {"content-type": "application/json"})
        urllib.request.urlopen(request).close()
    elif how == "body":
        httpx2.post(URL + "messages", json={"model": "stub-1", "messages": []})
    else:
        httpx2.post(URL + "messages", json={"text": "not for a model"})

def answer(how):
    try:
        post(how)
    except BaseException as error:
        return f"refused {how} {error}".partition("\\n")[0]
    return f"sent {how}"

def serve(pipe):
    while how := pipe.recv():
        pipe.send(answer(how))

def start_fork():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=[theirs], daemon=True)
    process.start()
    return ours, process
"""
LATE_CONFTEST = """
import late, subprocess, sys, pytest
children = []

def start():
    code = "import late, sys\\nfor line in sys.stdin: print(late.answer(line.strip()), flush=True)"
    children.append(subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True))
    if sys.platform != "win32":
        children.extend(late.start_fork())

def ask(how):
    child, *forked = children
    child.stdin.write(how + "\\n")
    child.stdin.flush()
    answers = [child.stdout.readline().strip()]
    if forked:
        forked[0].send(how)
        answers.append(forked[0].recv())
    return answers

def pytest_runtest_logfinish():
    for how in ("path", "body", "other"):
        print("between", *dict.fromkeys(ask(how)))

def pytest_unconfigure():
    child, *forked = children
    if forked:
        forked[0].send("")
        forked[1].join()
    child.communicate()
"""


@pytest.mark.parametrize("policy", ["refuse", "allow", "hosts"])
def test_a_child_that_outlives_its_test_asks_no_gateway_between_tests(
    project: Project, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("STUB", project.server.url)
    project.pytester.syspathinsert()
    project.write(
        **{
            "late.py": LATE,
            "conftest.py": LATE_CONFTEST,
            "test_a.py": """
import conftest, pytest

@pytest.mark.llm_cassette
def test_a(): conftest.start()
""",
        }
    )
    option = {
        "refuse": "-ollm_calls_outside_tests=refuse",
        "allow": "-ollm_calls_outside_tests=allow",
        "hosts": "-ollm_allow_hosts=127.0.0.1",
    }[policy]
    project.server.queue.extend([json_reply({})] * 6)
    result = project.run("-s", option)
    assert result.outcomes == {"passed": 1}, result.text
    assert "between sent other" in result.text
    if policy != "refuse":
        assert result.exit == 0
        assert "between sent path" in result.text
        return
    assert result.exit == pytest.ExitCode.TESTS_FAILED
    assert project.server.count == (1 if sys.platform == "win32" else 2)
    for how in ("path", "body"):
        line = f"between refused {how} a process that outlived its test: a call of a model at 127.0.0.1 was refused"
        assert line in result.text
