"""While recordings are replayed, nothing outside of tests calls a model: no hook, no import, no thread between tests, nothing at exit."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.project import Project
from support.server import json_reply

ASK = '''
import json, os, urllib.request

def ask(who):
    """Ask the model in a hook or module, and catch what comes of it where WHERE names "caught"."""
    where = os.environ.get("WHERE", "").split(",")
    if who not in where:
        return
    body = json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": who}]}).encode()
    request = urllib.request.Request(os.environ["STUB"] + "/v1/chat/completions", body, {"content-type": "application/json"})
    try:
        urllib.request.urlopen(request).close()
    except BaseException:
        if "caught" not in where:
            raise
'''
HOOKS = (
    "pytest_configure(config)", "pytest_sessionstart(session)", "pytest_collection_modifyitems(items)", "pytest_runtest_logfinish()",
    "pytest_sessionfinish(session)", "pytest_terminal_summary(terminalreporter)", "pytest_unconfigure(config)",
)  # fmt: skip
NAMES = tuple(hook.partition("(")[0] for hook in HOOKS)
CONFTEST = (
    "import atexit\nfrom asking import ask\nask('conftest')\natexit.register(ask, 'atexit')\n"
    + "\n".join(f"def {hook}: ask({name!r})" for hook, name in zip(HOOKS, NAMES, strict=True))
    + "\n"
)
BARE_INI = "[pytest]\nfilterwarnings = error\naddopts = -p no:anyio\n"
RECORDED = """
import os, pytest, urllib.request

@pytest.mark.llm_cassette
def test_recorded():
    body = b'{"model": "stub-1", "messages": [{"role": "user", "content": "hi"}]}'
    url = os.environ["STUB"] + "/v1/chat/completions"
    urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})).close()
"""


@pytest.fixture
def asking(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose hooks, modules and conftest file ask the model, those that WHERE names."""
    monkeypatch.syspath_prepend(project.path)
    monkeypatch.setenv("STUB", project.server.url)
    test = "from asking import ask\nask('module')\ndef test_a(): pass\n"
    project.write(**{"asking.py": ASK, "conftest.py": CONFTEST, "test_a.py": test})
    return project


def test_no_hook_reaches_a_model_and_no_error_of_it_can_be_caught(
    asking: Project, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", ",".join(["caught", "conftest", *NAMES]))
    result = asking.run(workers=workers)
    assert asking.server.count == 0
    assert result.exit == pytest.ExitCode.TESTS_FAILED
    for name in NAMES:
        assert f"hook {name}: a call of a model at 127.0.0.1 was refused" in result.text
    assert "import of conftest.py: a call of a model" in result.text
    assert "the ini key llm_calls_outside_tests = allow" in result.text


@pytest.mark.parametrize(
    "where", ["conftest", "pytest_sessionstart", "pytest_sessionfinish", "pytest_unconfigure"]
)
def test_an_error_that_nobody_catches_ends_the_run_without_a_traceback(
    asking: Project, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", where)
    result = asking.bare()
    assert asking.server.count == 0
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    assert result.text.count("was refused: this run replays recordings") == 1
    assert "INTERNALERROR" not in result.text
    assert "Traceback" not in result.text


@pytest.mark.parametrize(
    ("workers", "caught"), [(0, ""), (0, ",caught"), (2, ",caught")], indirect=["workers"]
)
def test_a_module_that_asks_while_it_is_imported_is_a_collection_error(
    asking: Project, workers: int, caught: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", f"module{caught}")
    result = asking.run(workers=workers)
    assert asking.server.count == 0
    assert result.exit != 0
    assert "import of test_a.py: a call of a model at 127.0.0.1 was refused" in result.text
    assert "ERROR collecting test_a.py" in result.text


@pytest.mark.parametrize(
    ("where", "status"),
    [("atexit", pytest.ExitCode.OK), ("pytest_unconfigure", pytest.ExitCode.TESTS_FAILED)],
)
def test_a_call_after_the_tests_is_refused_in_controller_and_worker(
    asking: Project, where: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", f"{where},caught")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n1"],
        cwd=asking.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asking.server.count == 0
    assert "1 passed" in done.stdout
    assert done.returncode == status
    assert done.stderr.count(": a call of a model at 127.0.0.1 was refused") == 2, done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "import httpx; httpx.post(url, json={})",
        "import httpx2; httpx2.post(url, json={})",
        "import requests; requests.post(url, json={})",
        "import aiohttp, asyncio; asyncio.run(post(aiohttp, url))",
        "import openai; openai.OpenAI(base_url=url[:-17], api_key='x').chat.completions.create(model='m', messages=[])",
        "import socket; socket.getaddrinfo('api.openai.com', 443)",
        "import _socket; sock = _socket.socket(); sock.close(); sock.connect(('127.0.0.1', 1))",
    ],
    ids=["httpx", "httpx2", "requests", "aiohttp", "openai", "look-up", "_socket"],
)
def test_every_client_is_refused(project: Project, call: str) -> None:
    what = "a connection to" if "socket" in call else "a call of a model at"
    url = f"{project.server.url}/v1/chat/completions"
    project.write(
        **{
            "conftest.py": f"""
async def post(aiohttp, url):
    async with aiohttp.ClientSession() as session:
        await session.post(url, json={{}})

def pytest_sessionstart(session):
    url = {url!r}
    {call}
""",
            "test_a.py": "def test_a(): pass\n",
        }
    )
    result = project.bare("-W", "ignore::ResourceWarning")
    assert f"hook pytest_sessionstart: {what} " in result.text
    assert project.server.count == 0


def test_a_thread_asks_nothing_between_tests(asking: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "thread")
    asking.write(
        **{
            "conftest.py": """
import threading
from asking import ask
may_ask = threading.Event()

def pytest_runtest_logfinish():
    may_ask.set()
    thread.join()

def work():
    may_ask.wait()
    try:
        ask("thread")
    except BaseException:
        pass

thread = threading.Thread(target=work)
thread.start()
""",
            "test_a.py": "def test_a(): pass\n",
        }
    )
    result = asking.run()
    assert asking.server.count == 0
    assert result.exit == pytest.ExitCode.TESTS_FAILED
    assert "outside of tests: a call of a model at 127.0.0.1 was refused" in result.text


SWITCHING = "def pytest_configure(config): config.option.llm_record = 'new'\n"
WAYS = ("-ollm_calls_outside_tests=allow", "--llm-record=new", SWITCHING)


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_out_work(asking: Project, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [way]
    if way == SWITCHING:  # a conftest file chooses the mode
        asking.write(
            **{"conftest.py": SWITCHING + CONFTEST.replace("pytest_configure", "pytest_report_header")}
        )
        options = []
    monkeypatch.setenv("WHERE", "pytest_sessionstart,module")
    result = asking.run(*options)
    assert result.outcomes == {"passed": 1}, result.text
    assert asking.server.count == 2


def test_allowed_calls_outside_of_tests_let_no_test_through(
    asking: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking.write(**{"test_a.py": RECORDED})
    assert asking.record().outcomes == {"passed": 1}
    asking.write(**{"test_b.py": "import socket\ndef test_b(): socket.getaddrinfo('api.openai.com', 443)\n"})
    before = asking.server.count
    monkeypatch.setenv("WHERE", "pytest_sessionstart")
    result = asking.run("-ollm_calls_outside_tests=allow")
    assert result.outcomes == {"passed": 1, "errors": 1}, result.text
    assert "test_b.py::test_b: a connection to api.openai.com was refused" in result.text
    assert asking.server.count - before == 1


def test_a_test_is_one_whatever_it_does_to_the_environment(
    asking: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "test,pytest_sessionfinish,caught")
    asking.write(
        **{
            "test_a.py": """
import os, pytest, socket
from unittest import mock
from asking import ask
pytest_plugins = ["pytester"]

def test_cleared_environment():
    with mock.patch.dict(os.environ, {"STUB": os.environ["STUB"], "WHERE": "test"}, clear=True):
        ask("test")

def test_deleted_variable(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    ask("test")

def test_inner_run(pytester):
    pytester.makepyfile("def test_inner(): pass")
    assert pytester.runpytest_inprocess("-p", "no:anyio").ret == 0
    ask("test")

def test_known_host(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    socket.getaddrinfo("api.openai.com", 443)

def test_end_of_the_run():
    pytest.exit("over", 0)
""",
        }
    )
    result = asking.run()
    assert result.outcomes == {"passed": 3, "errors": 1}, result.text
    assert asking.server.count == 3
    assert "test_a.py::test_known_host: a connection to api.openai.com was refused" in result.text
    assert "hook pytest_sessionfinish: a call of a model at 127.0.0.1 was refused" in result.text


PATHS = ("/forms/17/responses", "/v1/messages", "/search/rerank", "/api/chat", "/shell/completions")


def test_other_applications_have_such_paths_too(project: Project) -> None:
    project.write(
        **{
            "conftest.py": f"""
import asyncio, json, urllib.request
import aiohttp, httpx

async def post(url, **options):
    async with aiohttp.ClientSession() as session:
        await session.post(url, **options)

def pytest_sessionstart(session):
    for path in {PATHS}:
        url = "{project.server.url}" + path
        urllib.request.urlopen(urllib.request.Request(url, b'{{"model": "m"}}')).close()
        httpx.post(url, json={{"text": "hi"}})
        httpx.post(url, content=iter([b"hi"]))
        asyncio.run(post(url, json={{"text": "hi"}}))
        asyncio.run(post(url, data=b"hi"))

def pytest_report_header():
    import httpx
    for path in {PATHS}:
        url = "{project.server.url}" + path
        for send in (lambda: httpx.post(url, json={{"model": "m"}}), lambda: asyncio.run(post(url, json={{"model": "m"}}))):
            try:
                send()
            except BaseException as error:
                print(str(error).partition(":")[0], "refused")
""",
            "test_a.py": "def test_a(): pass\n",
        }
    )
    project.server.queue.extend([json_reply({})] * 5 * len(PATHS))
    result = project.run("-s", "-W", "ignore::ResourceWarning")
    assert project.server.count == 5 * len(PATHS), result.text
    assert len([line for line in result.text.splitlines() if line.endswith(" refused")]) == 2 * len(PATHS)
    assert "hook pytest_report_header: a call of a model" in result.text


@pytest.mark.parametrize("has_cassettes", [False, True])
def test_without_an_option_cassettes_tell_that_a_project_uses_the_plugin(
    asking: Project, monkeypatch: pytest.MonkeyPatch, *, has_cassettes: bool
) -> None:
    asking.write(**{"pytest.ini": f"{BARE_INI}testpaths = fold*\n", "folder/test_b.py": RECORDED})
    if has_cassettes:
        assert asking.record("folder").outcomes == {"passed": 1}
        asking.write(**{"folder/cassettes/0.json": "{}"})  # of another recorder
    asking.write(**{"folder/test_b.py": "from asking import ask\nask('module')\ndef test_b(): pass\n"})
    before = asking.server.count
    monkeypatch.setenv("WHERE", "conftest,module,caught")
    result = asking.bare()
    assert asking.server.count - before == (0 if has_cassettes else 2)
    assert ("import of conftest.py: a call of a model" in result.text) == has_cassettes
    assert ("import of folder/test_b.py: a call of a model" in result.text) == has_cassettes


AFTER_THE_RUN = """
import http.client, socket, sys
import pytest

def list_patched():
    checks = sys.modules.get("pytest_llmops.cassettes.http.connection_checks")
    sockets = [getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto", "sendmsg")]
    return [http.client.HTTPConnection.putrequest, socket.getaddrinfo, *sockets, list(sys.meta_path), list(checks._checks if checks else [])]

class Importer:
    def pytest_sessionstart(self):
        import httpx2
        assert hasattr(httpx2.HTTPTransport.handle_request, "__wrapped__")

import httpx
plain = httpx.HTTPTransport.handle_request
before = list_patched()
assert pytest.main(["--no-such-option"]) == 4
assert "httpx2" not in sys.modules
assert list_patched() == before
assert pytest.main([], plugins=[Importer()]) == 0
assert list_patched() == before
assert httpx.HTTPTransport.handle_request is plain
assert not hasattr(sys.modules["httpx2"].HTTPTransport.handle_request, "__wrapped__")
"""


def test_the_patches_end_with_the_run(project: Project) -> None:
    """In a process of its own: the run of these tests patches the same."""
    project.write(**{"test_a.py": "def test_a(): pass\n", "after.py": AFTER_THE_RUN})
    done = subprocess.run([sys.executable, "after.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
