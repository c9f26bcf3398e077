"""In a project that uses the plugin, a test that nothing records opens no connection to a model."""

from __future__ import annotations

import pytest
from support.project import Project

ASK = """
import urllib.request

def ask(url):
    with urllib.request.urlopen(url + "/models") as response:
        return response.status
"""
OURS = "\ndef test_ours(llm_cassette): pass\n"
BARE_INI = "[pytest]\nfilterwarnings = error\naddopts = -p no:anyio\n"


def test_a_test_that_nothing_records_asks_no_model(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": f"{ASK}\ndef test_a():\n    ask('{project.server.url}/v1')\n"})
    result = project.run(f"--llm-base-url={project.server.url}/v1", workers=workers)
    assert result.outcomes == {"errors": 1}, result.text
    assert project.server.count == 0
    message = result.records["test_a"].message
    for way_out in (
        "@pytest.mark.llm_cassette",
        "pytest test_a.py::test_a",
        "def record_calls(llm_cassette)",
        "llm_allow_hosts = 127.0.0.1",
    ):
        assert way_out in message


CALLS = (
    "socket.getaddrinfo('api.openai.com', 443)",
    "socket.gethostbyname('api.anthropic.com')",
    "socket.create_connection(('eu-central-1-aiplatform.googleapis.com', 443))",
    "with socket.socket() as sock: sock.connect(('api.mistral.ai', 443))",
    "asyncio.run(asyncio.open_connection('api.openai.com', 443))",
    "openai.OpenAI(max_retries=0, api_key='x', base_url='https://api.openai.com').models.list()",
)


def test_known_hosts_are_refused_however_they_are_reached(project: Project) -> None:
    tests = (f"def test_{number}():\n    {call}\n" for number, call in enumerate(CALLS))
    project.write(**{"test_a.py": "import asyncio, openai, socket\n" + "".join(tests)})
    result = project.run(
        "-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"
    )
    messages = [record.message for record in result.records.values()]
    assert len(messages) == len(CALLS), result.text
    assert all("nothing records this test" in message for message in messages), result.text


def test_the_error_cannot_be_swallowed(project: Project) -> None:
    project.write(
        **{
            "test_a.py": f"""{ASK}
def test_a():
    try:
        ask("{project.server.url}/v1")
    except BaseException:
        pass
"""
        }
    )
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 1, "errors": 1}, result.text
    assert "was the error caught?" in result.records["test_a"].message


def test_the_two_ways_out_work(project: Project) -> None:
    project.write(
        **{
            "test_a.py": f"import pytest\n{ASK}\n@pytest.mark.llm_cassette\ndef test_a():\n    ask('{project.server.url}/v1')\n",
            "folder/test_b.py": f"{ASK}\ndef test_b():\n    ask('{project.server.url}/v1')\n",
            "folder/conftest.py": "import pytest\n@pytest.fixture(autouse=True)\ndef record_calls(llm_cassette): ...\n",
        }
    )
    assert project.record().outcomes == {"passed": 2}
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 2}
    assert project.server.count == 2


@pytest.mark.parametrize("way", ["marker", "host", "run"])
def test_a_test_may_ask_live_if_it_says_so(project: Project, way: str) -> None:
    marker = "import pytest\n@pytest.mark.llm_cassette(record='live')" if way == "marker" else ""
    project.write(**{"test_a.py": f"{ASK}\n{marker}\ndef test_a():\n    ask('{project.server.url}/v1')\n"})
    more = {"marker": [], "host": ["-o", "llm_allow_hosts=127.0.0.1"], "run": ["--llm-record=live"]}[way]
    result = project.run(f"--llm-base-url={project.server.url}/v1", *more)
    assert result.outcomes == {"passed": 1}, result.text
    assert project.server.count == 1
    assert not project.cassettes()


@pytest.mark.parametrize(("other", "refused"), [("", False), (OURS, True)])
def test_projects_that_do_not_use_the_plugin_are_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch, other: str, *, refused: bool
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{project.server.url}/v1")
    project.write(
        **{
            "pytest.ini": BARE_INI,
            "test_a.py": f"{ASK}\ndef test_a():\n    ask('{project.server.url}/v1')\n{other}",
        }
    )
    result = project.run()
    assert ("nothing records this test" in result.text) == refused
    assert project.server.count == (0 if refused else 1)


def test_other_hosts_and_other_ports_of_this_machine_are_left_alone(project: Project) -> None:
    project.write(**{"test_a.py": f"{ASK}\ndef test_a():\n    ask('{project.server.url}')\n"})
    assert project.run("--llm-base-url=http://127.0.0.1:9/v1").outcomes == {"passed": 1}


def test_the_patches_end_with_the_run(project: Project) -> None:
    import socket

    before = socket.getaddrinfo, socket.socket.connect
    project.write(**{"test_a.py": "def test_a(): pass\n"})
    project.run()
    assert (socket.getaddrinfo, socket.socket.connect) == before


def test_asyncio_logs_no_miss_of_a_task_that_nobody_awaits(project: Project) -> None:
    """anyio's plugin leaves such tasks. Their traceback, logged while pytest parses a module, breaks the parser of Python 3.11."""
    project.write(
        **{
            "test_a.py": f"""{ASK}
import asyncio, gc

async def run(work):
    return work()

def fail():
    raise ValueError("of the application")

def test_a(llm_cassette):
    loop = asyncio.new_event_loop()
    for work in (lambda: ask("{project.server.url}/v1"), fail):
        task = loop.create_task(run(work))
        loop.run_until_complete(asyncio.wait([task]))
    del task
    loop.close()
    gc.collect()
"""
        }
    )
    result = project.run()
    assert "no recording answers" in result.records["test_a"].message, result.text
    assert result.text.count("exception was never retrieved") == 1, result.text
    assert "ValueError: of the application" in result.text
