"""Requests of models that hold a folder of the test: placeholders stand for it, and the present folder on replay."""

from __future__ import annotations

import json
import shutil

import pytest
from support.project import Project
from support.server import Reply, Seen, chat_answer, chat_events, json_reply, stream

from pytest_llmops.cassettes import answer_player
from pytest_llmops.cassettes.clients.identities import NO_IDENTITIES

SHOP = """
from pathlib import Path

def find(name):
    return str(Path(__file__).parent / "data" / name)

def read(path):
    return Path(path).read_text()
"""
SUITE = """
import json, os, urllib.request
import pytest
import shop

def send(content, **more):
    body = json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": content}], **more}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return response.read().decode()

def message_of(answer):
    return json.loads(answer)["choices"][0]["message"]

@pytest.mark.llm_cassette(tools=["shop.find", "shop.read"])
def test_chain(llm_calls):
    path = shop.find("a.txt")
    assert path == os.path.join(os.path.dirname(shop.__file__), "data", "a.txt")
    call = message_of(send(json.dumps({"path": path})))["tool_calls"][0]["function"]
    asked = json.loads(call["arguments"])["path"]
    assert asked == path
    assert shop.read(asked) == "the content"

@pytest.mark.parametrize("end", ["out.txt", "other.txt"])
def test_prompt(tmp_path, llm_calls, end):
    message = message_of(send(f"Write to {tmp_path}/{end}, not to {tmp_path}er"))
    assert f"echo of Write to {tmp_path}/{end}, not to {tmp_path}er" in message["content"]
    assert f"{tmp_path}/{end}" in str(llm_calls[0].messages)

def test_stream(tmp_path_factory, llm_calls):
    folder = tmp_path_factory.mktemp("work")
    lines = send(f"stream {folder} again", stream=True).splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    assert text == f"stream {folder} again "
"""


def answer(seen: Seen) -> Reply:
    """Answer as a model that passes on the path that it is asked with."""
    request = json.loads(seen.body)
    content = request["messages"][0]["content"]
    if request.get("stream"):
        events = chat_events(content)
        for event in events:
            if isinstance(event, dict) and event["choices"]:
                event.pop("id")
        return stream(split_text(events))
    if not content.startswith("{"):
        return json_reply(chat_answer(f"echo of {content}"))
    function = {"name": "read", "arguments": content}
    return json_reply(chat_answer("", tool_calls=[{"id": "1", "type": "function", "function": function}]))


def split_text(events: list[object]) -> list[object]:
    """Return the events of a stream with each text in two of them, as a model's tokens split a path."""
    parts: list[object] = []
    for event in events:
        text = ""
        if isinstance(event, dict) and event["choices"]:
            text = event["choices"][0]["delta"].get("content", "")
        if len(text) < 2:
            parts.append(event)
            continue
        assert isinstance(event, dict)
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            parts.append({**event, "choices": [{**event["choices"][0], "delta": {"content": part}}]})
    return parts


@pytest.fixture
def asked(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """The suite in a project, with a model; what the model is asked."""
    seen: list[Seen] = []

    def note(request: Seen) -> Reply:
        seen.append(request)
        return answer(request)

    monkeypatch.setattr(project.server, "answer", note)
    project.write(**{"shop.py": SHOP, "test_a.py": SUITE, "data/a.txt": "the content"})
    return seen


def test_another_folder_of_the_project_and_of_the_test_replays(
    project: Project, asked: list[Seen], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (project.path.parent / f"{project.path.name}-{name}" for name in ("one", "two"))
    project.pytester.syspathinsert(project.path)
    done = project.record(f"--basetemp={first}", workers=workers)
    assert done.outcomes == {"passed": 4}, done.text
    assert len(asked) == 4
    assert (
        project.path.as_posix() in asked[0].body.decode() + asked[1].body.decode() + asked[-1].body.decode()
    )
    for name, data in project.cassettes().items():
        assert str(project.path).encode() not in data, name
        assert b"[this-" in data
    recorded = project.cassettes()
    replayed = project.run(f"--basetemp={second}")
    assert replayed.outcomes == {"passed": 4}, replayed.text
    assert replayed.records["test_chain"].fact("cassette")["replayed"] == 3

    clone = project.path.parent / f"{project.path.name} clone" / "deep"
    shutil.copytree(project.path, clone)
    monkeypatch.chdir(clone)
    project.pytester.syspathinsert(clone)
    moved = project.run(f"--basetemp={second}")
    assert moved.outcomes == {"passed": 4}, moved.text
    assert len(asked) == 4
    assert project.cassettes() == recorded


def test_recordings_with_the_folders_themselves_still_answer(
    project: Project, asked: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"--basetemp={project.path.parent / 'base'}"
    project.pytester.syspathinsert(project.path)
    with monkeypatch.context() as old:
        old.setattr(answer_player, "find_folders", lambda *_: NO_IDENTITIES)
        assert project.record(base).outcomes == {"passed": 4}
    recorded = project.cassettes()
    prompt = "cassettes/test_a/test_prompt/out.txt.json"
    assert b"[this-" not in recorded[prompt]
    for more in ((), ("--llm-record=new",), ("--llm-record=changed",)):
        done = project.run(base, *more)
        assert done.outcomes == {"passed": 4}, done.text
        assert [record.fact("cassette")["stale"] for record in done.run.records] == [0, 0, 0, 0]
    assert "--llm-record=changed: 0 of 4 tests with a new request" in done.text
    assert len(asked) == 4
    assert project.cassettes() == recorded
    verified = project.record(base, mode="verify")
    assert [record.fact("cassette")["verified"] for record in verified.run.records] == [3, 1, 1, 1]

    # A renamed test finds its own, too
    project.write(**{"test_a.py": SUITE.replace("def test_stream", "def test_renamed")})
    renamed = project.run(base, "-k", "renamed")
    assert renamed.outcomes == {"passed": 1}, renamed.text

    # Recorded again, they have placeholders alone
    project.write(**{"test_a.py": SUITE})
    assert project.record(base, mode="all").outcomes == {"passed": 4}
    for name, data in project.cassettes().items():
        assert str(project.path.parent).encode() not in data, name
        assert len(json.loads(data)["interactions"]) == (3 if "chain" in name else 1)


def test_a_call_ahead_has_the_folder_of_its_test_and_a_miss_names_the_difference_that_is_left(
    project: Project, asked: list[Seen]
) -> None:
    project.pytester.syspathinsert(project.path)
    # A silent run has another tmp_path than the run that counts
    done = project.record("-k", "out.txt", "--llm-concurrency=2")
    assert done.outcomes == {"passed": 1}, done.text
    assert len(asked) == 1
    assert b"/silent-" in asked[0].body
    project.write(**{"test_a.py": SUITE.replace("Write to", "Please write to")})
    missed = project.run("-k", "out.txt")
    assert missed.outcomes == {"errors": 1}
    assert "Please write to [this-tmp-path]/out.txt" in missed.text
    assert len(asked) == 1
