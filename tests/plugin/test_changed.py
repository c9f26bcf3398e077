"""--llm-record=changed: a test with a request that is not recorded is asked live, with its trials; all others keep their result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
from support.project import Project, Result
from support.server import Reply, chat_answer, error_reply, json_reply

from pytest_llmops.results.details import TrialFacts

SUITE = """
import pytest
from pytest_llmops import assert_contains
from pytest_llmops.protocols import Message

PROMPTS = {{"a": "Say it.", "b": {b!r}}}

@pytest.mark.parametrize("name", PROMPTS)
def test_case(llm, name):
    reply = llm.complete([Message("system", PROMPTS[name]), Message("user", "now")]{more})
    assert_contains(reply.text, "echo")

def test_twice(llm):
    first = llm.complete("first").text
    assert_contains(llm.complete({second}).text, "echo of")
"""
SECOND = '"then " + first'


def write_suite(project: Project, *, b: str = "Say that.", more: str = "", second: str = SECOND) -> None:
    project.write(**{"test_a.py": SUITE.format(b=b, more=more, second=second)})


def run_changed(project: Project, *args: str, workers: int = 0) -> tuple[Result, int]:
    """Return a run with --llm-record=changed, and how many calls it has made."""
    before = project.server.count
    result = project.run(
        "--llm-record=changed", f"--llm-base-url={project.server.url}/v1", *args, workers=workers
    )
    return result, project.server.count - before


def changes_of(result: Result) -> dict[str, list[str]]:
    """Return what changed, by test."""
    facts = {name: record.fact("cassette") for name, record in result.records.items()}
    return {name: fact["changes"] for name, fact in facts.items() if "changes" in fact}  # type: ignore[misc]


def trials_of(result: Result, name: str) -> int:
    return TrialFacts.from_wire(result.records[name].fact("trials")).n


def test_an_unchanged_suite_asks_nothing_and_needs_no_key(project: Project) -> None:
    write_suite(project)
    project.record("--llm-trials=2")
    cassettes = project.cassettes()
    project.write(**{"helper.py": "CHANGED = True\n"})
    result, calls = run_changed(project, "--llm-trials=2")
    assert (result.outcomes, calls, changes_of(result)) == ({"passed": 3}, 0, {})
    assert [trials_of(result, name) for name in result.records] == [2, 2, 2]
    assert "0 of 3 tests with a new request, 0 live calls, 8 saved" in result.run.notes[0]
    assert project.cassettes() == cassettes


def test_only_the_changed_test_is_called_with_the_trials_of_the_suite(project: Project, workers: int) -> None:
    write_suite(project)
    project.record()
    write_suite(project, b="Say that again.")
    result, calls = run_changed(project, "--llm-trials=3", workers=workers)
    assert (result.outcomes, calls) == ({"passed": 3}, 3)
    assert changes_of(result) == {
        "test_case[b]": ["messages[0]", "trial 2 is not recorded", "trial 3 is not recorded"]
    }
    assert trials_of(result, "test_case[b]") == 3
    assert result.records["test_case[a]"].fact("trials") == {}  # a single take is recorded
    check_message("\n".join(result.run.notes))
    result, calls = run_changed(project, "--llm-trials=3", workers=workers)
    assert (changes_of(result), calls, trials_of(result, "test_case[b]")) == ({}, 0, 3)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"more": ", temperature=0.5"}, "temperature"),
        ({"more": ', tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]'}, "tools"),
        ({"b": "Say that!", "more": ", n=1"}, "messages[0], n"),
    ],
)
def test_the_first_difference_is_named(project: Project, change: dict[str, str], place: str) -> None:
    write_suite(project)
    project.record()
    write_suite(project, **change)
    result, _ = run_changed(project)
    assert changes_of(result)["test_case[b]"] == [place]


def test_a_later_request_of_a_conversation_is_compared_with_its_own_recording(project: Project) -> None:
    write_suite(project)
    project.record("--llm-trials=3")
    write_suite(project, second='"after " + first')
    result, calls = run_changed(project, "--llm-trials=3")
    assert calls == 3  # the first requests of all takes are recorded
    assert changes_of(result) == {"test_twice": ["messages[0]"]}


def test_a_test_without_recordings_and_one_that_asks_more_often_run(project: Project) -> None:
    write_suite(project)
    project.record("-k", "not a]")
    write_suite(project, second='llm.complete("first").text and "then " + first')
    result, calls = run_changed(project)
    assert calls == 2
    assert changes_of(result) == {
        "test_case[a]": ["nothing is recorded"],
        "test_twice": ["requested more than 1 time"],
    }


JUDGED = """
import pytest
from pytest_llmops import assert_judge_score

@pytest.mark.parametrize("name", ["a", "b"])
def test_judged(llm, judge, name):
    assert_judge_score(llm.complete(f"{{name}}{text}").text, judge=judge, at_least=5)
"""


def test_judge_requests_of_a_changed_answer_belong_to_the_changed_test(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = project.server.answer

    def answer(seen: Any) -> Reply:
        nonce = json.dumps(seen.json).partition("<data-")[2][:32]
        scores = {"accuracy": 9, "fluency": 9, "relevance": 9}
        verdict = json.dumps({"nonce": nonce, "reason": "because of the facts", "dimensions": scores})
        reply = plain(seen)
        return json_reply(chat_answer(verdict)) if nonce else reply

    monkeypatch.setattr(project.server, "answer", answer)
    project.write(**{"test_a.py": JUDGED.format(text="")})
    project.record("--llm-judge", "--llm-trials=2")
    project.write(**{"test_a.py": JUDGED.format(text="{'!' * (name == 'b')}")})
    result, calls = run_changed(project, "--llm-judge", "--llm-trials=2")
    assert (result.outcomes, calls) == ({"passed": 2}, 4)
    assert list(changes_of(result)) == ["test_judged[b]"]


FIXTURE = """
import pytest
from pytest_llmops import assert_contains
import os, httpx2

def ask(text):
    body = {{"model": "m", "messages": [{{"role": "user", "content": text}}]}}
    answer = httpx2.post(f"{{os.environ['OPENAI_BASE_URL']}}/chat/completions", json=body).json()
    return answer["choices"][0]["message"]["content"].partition(" (")[0]

@pytest.fixture(scope="module")
def index():
    return ask("build {what}")

@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", [1, 2])
def test_ours(index, n):
    assert_contains(ask(f"question {{n}}"), "echo")
"""


def test_a_fixture_that_changed_is_named_and_makes_no_test_a_changed_one(project: Project) -> None:
    project.write(**{"test_a.py": FIXTURE.format(what="it")})
    project.record()
    project.write(**{"test_a.py": FIXTURE.format(what="that")})
    result, calls = run_changed(project, "--llm-trials=2")
    assert (calls, changes_of(result)) == (1, {})
    assert "changed, messages[0] in cassettes/test_a/fixture.index.json: (a fixture)" in result.run.notes
    assert run_changed(project)[1] == 0


def test_a_block_and_a_marker_with_trials_of_its_own(project: Project) -> None:
    text = """
import pytest
from pytest_llmops import assert_contains, use_cassette

def test_block(llm):
    with use_cassette("block"):
        assert_contains(llm.complete("WORD").text, "echo")

@pytest.mark.llm_trials(N, pass_at_least=1)
def test_marked(llm):
    assert_contains(llm.complete("marked").text, "echo")
"""
    project.write(**{"test_a.py": text.replace("WORD", "one").replace("N,", "2,")})
    project.record("--llm-accept=all trials run")
    project.write(**{"test_a.py": text.replace("WORD", "one").replace("N,", "3,")})
    result, calls = run_changed(project, "--llm-trials=2")
    assert calls == 1
    assert changes_of(result) == {"test_marked": ["trial 3 is not recorded"]}
    project.write(**{"test_a.py": text.replace("WORD", "two").replace("N,", "3,")})
    result, calls = run_changed(project, "--llm-trials=2")
    assert calls == 2
    assert changes_of(result)["test_block"][0] == "messages[0] in cassettes/block.json"


@pytest.mark.parametrize(
    "reply", [error_reply(429, "slow down", retry_after="0"), json_reply(chat_answer("echo"))]
)
def test_what_was_not_recorded_is_requested_again(project: Project, reply: Reply) -> None:
    write_suite(project)
    project.record()
    write_suite(project, b="Say nothing.")
    if reply.status == 200:
        cut = Reply(chunks=[reply.body[:20], b""], headers=reply.headers, cut_after=1)
        project.server.queue.extend([cut] * 5)
    else:
        project.server.queue.extend([reply] * 5)
    result, _ = run_changed(project)
    assert result.records["test_case[b]"].outcome != "passed"
    assert changes_of(result) == {"test_case[b]": ["messages[0]"]}
    project.server.queue.clear()


RERUN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for attempt in range(2):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        item._initrequest()
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_a_test_that_runs_again_is_no_changed_one(project: Project) -> None:
    write_suite(project)
    project.record()
    project.write(**{"conftest.py": RERUN})
    result, calls = run_changed(project)
    assert (result.outcomes, calls, changes_of(result)) == ({"passed": 3}, 0, {})
    assert any("same sample" in note for note in result.run.notes)


def test_looks_beside_it_are_refused(project: Project) -> None:
    write_suite(project)
    done = project.bare("--llm-record=changed", "--llm-trials=auto")
    assert done.exit == pytest.ExitCode.USAGE_ERROR
    check_message(done.line("--llm-record=changed"))


def test_the_header_shows_what_is_requested(project: Project) -> None:
    write_suite(project)
    assert "a test with a new request runs live" in run_changed(project)[0].line("llm: recordings")
    assert json.loads((project.path / "run-file.json").read_text())["meta"]["settings"]["changed"] is True
