"""Ways of recording that meet in one test: processes, trials, repetitions, renames, ages, outcomes, other servers, the proxy."""

from __future__ import annotations

import json
import shutil

import pytest
from support.project import INI, PROGRAM, Project

APP = f"""{PROGRAM}
if __name__ == "__main__":
    for line in sys.stdin:
        print(ask(line.strip()), flush=True)
"""
SERVER = """
import subprocess, sys, pytest

@pytest.fixture(scope="module")
def app():
    with subprocess.Popen([sys.executable, "app.py"], stdin=-1, stdout=-1, text=True) as child:
        yield child
        child.stdin.close()

def ask(app, text):
    app.stdin.write(text + "\\n")
    app.stdin.flush()
    return app.stdout.readline().strip()
"""
CHILD = """
import os, subprocess, sys, pytest

def ask(text):
    done = subprocess.run([sys.executable, "app.py"], input=text, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr
"""
curl_only = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
CURL = """
import json, os, subprocess, pytest

def ask(text):
    body = json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": text}]})
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    command = ["curl", "-sS", "-H", "content-type: application/json", "-d", body, url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
"""
SDK = """
import pytest
from openai import OpenAI

def ask(text):
    message = {"role": "user", "content": text}
    return OpenAI(max_retries=0).chat.completions.create(model="stub-1", messages=[message]).choices[0].message.content
"""

REPEAT = """
import pytest

@pytest.fixture
def __pytest_repeat_step_number(request):
    return request.param

@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("__pytest_repeat_step_number")
    metafunc.parametrize("__pytest_repeat_step_number", range(2), indirect=True, ids=["1-2", "2-2"])
"""


def without_address(project: Project) -> None:
    """Let the next run ask the vendor's own server, with the recordings of the stub."""
    project.write(**{"pytest.ini": INI.replace("llm_base_url = http://127.0.0.1:1/v1\n", "")})


def change_answers(project: Project, **changes: object) -> None:
    for name, data in project.cassettes().items():
        document = json.loads(data)
        for interaction in document["interactions"]:
            for answers in interaction["answers"].values():
                for answer in answers:
                    answer.update(changes)
        (project.path / name).write_text(json.dumps(document))


def takes(project: Project) -> list[list[str]]:
    """Of each cassette the takes of its first request."""
    return [list(json.loads(data)["interactions"][0]["answers"]) for data in project.cassettes().values()]


def test_a_process_gives_each_trial_a_sample_of_its_own(project: Project) -> None:
    test = (
        f"{SERVER}\n@pytest.mark.llm_trials(3)\ndef test_a(app, llm_calls):\n    assert ask(app, 'hello')\n"
    )
    project.write(**{"app.py": APP, "test_a.py": test})
    assert project.record().outcomes == {"passed": 1}
    assert (project.server.count, takes(project)) == (3, [["0", "1", "2"]])
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 1}
    assert project.server.count == 3


def test_a_process_that_each_trial_starts_has_the_take_of_its_trial(project: Project) -> None:
    test = f"{CHILD}\n@pytest.mark.llm_trials(2)\ndef test_a(llm_calls):\n    assert ask('hello').startswith('echo')\n"
    project.write(**{"app.py": APP, "test_a.py": test})
    assert project.record().outcomes == {"passed": 1}
    assert (project.server.count, takes(project)) == (2, [["0", "1"]])


@pytest.mark.parametrize(("expired", "outcome"), [("warn", "passed"), ("fail", "errors")])
def test_a_process_learns_that_a_recording_is_too_old(project: Project, expired: str, outcome: str) -> None:
    test = f"{CHILD}\ndef test_a(llm_calls):\n    assert ask('hello') == 'echo of hello'\n"
    project.write(**{"app.py": APP, "test_a.py": test})
    project.record()
    change_answers(project, recorded="2001-01-01")
    project.write(**{"pytest.ini": f"{INI}\nllm_max_age = 90d {expired}\n"})
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes.get(outcome) == 1
    assert "2001-01-01" in result.text
    assert project.server.count == 1


def test_a_process_gets_the_outcome_of_a_recording_with_the_place_and_the_command(project: Project) -> None:
    test = f"{CHILD}\ndef test_a(llm_calls):\n    assert ask('hello') == 'echo of hello'\n"
    project.write(**{"app.py": APP, "test_a.py": test})
    project.record()
    change_answers(project, status=0, outcome={"error": "CancelledError", "text": ""})
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"errors": 1}
    line = result.line("in a process that the test started: cassette")
    assert "cassettes/test_a/test_a.json: a call was recorded as cancelled" in line
    assert "--llm-record=all" in line


@curl_only
def test_the_proxy_finds_the_recording_of_another_server(project: Project) -> None:
    project.write(
        **{"test_a.py": f"{CURL}\ndef test_a(llm_proxy):\n    assert 'echo of hello' in ask('hello')\n"}
    )
    assert project.record().outcomes == {"passed": 1}
    without_address(project)
    result = project.run()
    assert result.outcomes == {"passed": 1}
    (note,) = result.run.notes
    assert "api.openai.com" in note
    assert project.server.count == 1


@curl_only
@pytest.mark.parametrize("strict", [False, True])
def test_xfail_does_not_hide_a_miss_of_the_proxy(project: Project, strict: bool) -> None:
    mark = f"@pytest.mark.xfail(strict={strict})\n"
    project.write(**{"test_a.py": f"{CURL}\n{mark}def test_a(llm_proxy):\n    assert 'echo' in ask('q')\n"})
    result = project.run()
    assert result.exit == 1
    assert result.records["test_a"].outcome == "errored"


def test_a_repeated_test_replays_the_recording_of_another_server(project: Project) -> None:
    test = f"{SDK}\n@pytest.mark.llm_cassette\ndef test_a():\n    assert ask('hello') == 'echo of hello'\n"
    project.write(**{"test_a.py": test})
    project.record()
    without_address(project)
    project.write(**{"conftest.py": REPEAT})
    result = project.run()
    assert result.outcomes == {"passed": 2}, result.text
    project.write(**{"test_a.py": test.replace("test_a", "test_new")})
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 2}


@pytest.mark.parametrize("status", [0, 200])
def test_an_outcome_that_another_server_gave_is_replayed(project: Project, status: int) -> None:
    test = f"""{SDK}
import openai
@pytest.mark.llm_cassette
def test_a():
    with pytest.raises((openai.APITimeoutError, openai.APIConnectionError)):
        ask('hello')
"""
    recording = f"{SDK}\n@pytest.mark.llm_cassette\ndef test_a():\n    ask('hello')\n"
    project.write(**{"test_a.py": recording})
    project.record()
    change_answers(project, status=status, outcome={"error": "ReadTimeout", "text": "timed out"})
    without_address(project)
    project.write(**{"test_a.py": test})
    assert project.run().outcomes == {"passed": 1}


def test_renamed_tests_that_share_a_recording_do_not_get_what_the_other_records(project: Project) -> None:
    test = f"{SDK}\n@pytest.mark.llm_cassette\ndef test_NAME():\n    assert ask('hello')\n    AGAIN\n"
    project.write(**{"test_a.py": test.replace("NAME", "old").replace("AGAIN", "")})
    project.record()
    names = ("one", "two")
    twice = [test.replace("NAME", name).replace("AGAIN", "assert ask('hello')") for name in names]
    project.write(**{"test_a.py": "\n".join(twice)})
    assert project.record().outcomes == {"passed": 2}
    assert project.server.count == 3


def test_each_trial_of_each_repetition_has_a_take_of_its_own(project: Project) -> None:
    test = f"{SDK}\n@pytest.mark.llm_trials(2)\ndef test_a(llm_calls):\n    assert ask('hello')\n"
    project.write(**{"conftest.py": REPEAT, "test_a.py": test})
    assert project.record().outcomes == {"passed": 2}
    assert (project.server.count, takes(project)) == (4, [["0", "1", "2", "3"]])
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 2}
    assert project.server.count == 4


def test_a_renamed_test_asks_again_only_what_is_too_old(project: Project) -> None:
    test = f"{SDK}\n@pytest.mark.llm_cassette\ndef test_NAME():\n    assert ask('hello')\n"
    project.write(**{"test_a.py": test.replace("NAME", "old")})
    project.record()
    change_answers(project, recorded="2001-01-01")
    project.write(
        **{
            "pytest.ini": f"{INI}\nllm_max_age = 90d refresh\n",
            "test_a.py": test.replace("NAME", "new"),
        }
    )
    assert project.record().outcomes == {"passed": 1}
    assert project.server.count == 2
    assert b"echo of hello (2)" in project.cassettes()["cassettes/test_a/test_new.json"]
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 1}
    assert project.server.count == 2
