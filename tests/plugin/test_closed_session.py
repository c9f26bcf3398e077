"""While recordings are replayed, nothing outside of tests calls a model: no hook, no import, no thread between tests, nothing at exit."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.project import Project

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
    assert "llm_allow_hosts = 127.0.0.1" in result.text


@pytest.mark.parametrize("where", ["conftest", *NAMES])
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


def test_a_call_at_exit_is_refused_too(asking: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "atexit,caught")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n1"],
        cwd=asking.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asking.server.count == 0
    assert "outside of tests: a call of a model at 127.0.0.1 was refused" in done.stderr


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
    assert "hook pytest_sessionstart: a call of a model at " in result.text
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


@pytest.mark.parametrize("way", ["-ollm_allow_hosts=127.0.0.1", "--llm-record=new", "--llm-record=live"])
def test_the_ways_out_work(asking: Project, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "pytest_sessionstart,module")
    result = asking.run(way)
    assert result.outcomes == {"passed": 1}, result.text
    assert asking.server.count == 2


def test_requests_that_go_to_no_model_are_left_alone(project: Project) -> None:
    project.write(
        **{
            "conftest.py": f"""
import urllib.request

def pytest_sessionstart(session):
    urllib.request.urlopen("{project.server.url}/health").close()
""",
            "test_a.py": "def test_a(): pass\n",
        }
    )
    result = project.run()
    assert result.outcomes == {"passed": 1}, result.text


@pytest.mark.parametrize("has_cassettes", [False, True])
def test_without_an_option_cassettes_tell_that_a_project_uses_the_plugin(
    asking: Project, monkeypatch: pytest.MonkeyPatch, *, has_cassettes: bool
) -> None:
    asking.write(**{"pytest.ini": BARE_INI, "folder/test_b.py": RECORDED})
    if has_cassettes:
        assert asking.record("folder").outcomes == {"passed": 1}
    asking.write(**{"folder/test_b.py": "from asking import ask\nask('module')\ndef test_b(): pass\n"})
    before = asking.server.count
    monkeypatch.setenv("WHERE", "module")
    result = asking.bare("folder")
    assert asking.server.count - before == (0 if has_cassettes else 1)
    assert ("import of folder/test_b.py: a call of a model" in result.text) == has_cassettes


@pytest.mark.parametrize("options", [(), ("--no-such-option",)])
def test_the_patches_end_with_the_run(project: Project, options: tuple[str, ...]) -> None:
    import http.client

    before = http.client.HTTPConnection.putrequest, list(sys.meta_path)
    project.write(**{"test_a.py": "def test_a(): pass\n"})
    project.bare(*options)
    assert (http.client.HTTPConnection.putrequest, sys.meta_path) == before
