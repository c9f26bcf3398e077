"""--llm-record=fork: a recorded run is replayed up to its first new request, and asked live from there on, in each trial."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.mcp_client import CLIENT, SERVER, STARTS
from support.messages import check_message
from support.project import PROGRAM, Project, Result
from support.server import Reply, Seen, chat_answer, error_reply, json_reply

from pytest_llmops.results.fork import ForkResult

AGENT = """
import shop

RULE = {rule!r}

def run_agent(llm, question):
    kind = llm.complete(f"kind of {{question}}").text
    found = shop.find(kind)
    action = llm.complete(f"{{RULE}} {{kind}}: {{found}}").text
    return llm.complete(f"answer with {{action}} after {{shop.find(action)}}").text
"""
SHOP = """
def find(text):
    with open("calls.txt", "a") as file:
        print(text, file=file)
    return f"found {text}"
"""
SUITE = """
import pytest
from pytest_llmops import assert_contains
from agent import run_agent

@pytest.mark.llm_cassette(tools=["shop.find"])
def test_parcel(llm):
    assert_contains(run_agent(llm, "parcel"), "tell")

@pytest.mark.llm_cassette
def test_other(llm):
    assert llm.complete("something else").text
"""
OLD = "decide"
NEW = "decide, and never refund"


class Model:
    """Answers the agent by a script, and counts: of the fixed rule, the tenth decision is still wrong."""

    def __init__(self, project: Project) -> None:
        self.server = project.server
        self.decisions = 0
        self.kinds = 0
        self.wrong = {10}
        self.broken: set[int] = set()
        self.server.answer = self.answer  # type: ignore[method-assign]

    def answer(self, seen: Seen) -> Reply:
        self.server.seen.append(seen)
        text = str(seen.json["messages"][-1]["content"])
        if text.startswith("kind"):
            self.kinds += 1
            return json_reply(chat_answer(f"kind-{self.kinds}"))
        if text.startswith(NEW):
            self.decisions += 1
            if self.decisions in self.broken:
                return error_reply(403, "this key may not")
            return json_reply(chat_answer("refund" if self.decisions in self.wrong else "tell"))
        if text.startswith(OLD):
            return json_reply(chat_answer("refund"))
        return json_reply(chat_answer(f"I {text}"))


@pytest.fixture
def model(project: Project, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.syspath_prepend(project.path)
    write_agent(project, OLD)
    project.write(**{"test_a.py": SUITE, "shop.py": SHOP})
    model = Model(project)
    assert project.record().outcomes == {"passed": 1, "failed": 1}
    forget_calls(project)
    return model


def write_agent(project: Project, rule: str) -> None:
    project.write(**{"agent.py": AGENT.format(rule=rule)})


def forget_calls(project: Project) -> None:
    (project.path / "calls.txt").unlink(missing_ok=True)


def tool_calls(project: Project) -> list[str]:
    path = project.path / "calls.txt"
    return path.read_text("utf-8").split() if path.exists() else []


def run_fork(project: Project, *args: str, workers: int = 0) -> tuple[Result, int]:
    """Return a run with --llm-record=fork, and how many calls it has made."""
    before = project.server.count
    forget_calls(project)
    result = project.run(
        "--llm-record=fork", f"--llm-base-url={project.server.url}/v1", *args, workers=workers
    )
    return result, project.server.count - before


def fork_of(result: Result, name: str = "test_parcel") -> ForkResult:
    return ForkResult.from_wire(result.records[name].fact("fork"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fix_is_asked_live_from_the_changed_step_on_and_then_replays(
    project: Project, model: Model, workers: int
) -> None:
    write_agent(project, NEW)
    result, calls = run_fork(project, workers=workers)
    assert result.outcomes == {"passed": 1, "failed": 1}, result.text
    assert calls == 20  # two steps in each of ten trials
    assert model.kinds == 1  # the first step was asked when the bad run was recorded
    assert sorted(tool_calls(project)) == ["refund"] + ["tell"] * 9  # the tool before the fork is replayed
    fork = fork_of(result)
    assert (fork.passed, fork.failed, fork.first_step, fork.last_step, fork.asked) == (9, 1, 2, 2, 10)
    assert fork_of(result, "test_other").sentence.startswith("no request changed")
    line = "passed in 9 of 10 runs from step 2 on (true rate at least 60 %, 95 % confidence)"
    assert line in " ".join(result.text.split())
    check_message(fork.sentence)


def test_a_fork_replays_without_network_and_asks_nothing_the_second_time(
    project: Project, model: Model
) -> None:
    write_agent(project, NEW)
    run_fork(project)
    cassettes = project.cassettes()
    replayed = project.run("--llm-trials=10", "-k", "parcel")
    assert replayed.records["test_parcel"].fact("trials")["passed"] == 9
    assert replayed.records["test_parcel"].fact("cassette")["missed"] == 0
    assert project.run().outcomes == {"passed": 2}
    again, calls = run_fork(project)
    assert (calls, tool_calls(project)) == (0, [])
    assert (fork_of(again).passed, fork_of(again).asked, fork_of(again).first_step) == (9, 0, 2)
    assert "no model was called: 10 of 10 runs are recorded" in fork_of(again).sentence
    check_message(fork_of(again).sentence)
    assert project.cassettes() == cassettes


def test_an_unchanged_run_replays_once_and_fails_as_it_did(project: Project, model: Model) -> None:
    cassettes = project.cassettes()
    result, calls = run_fork(project)
    assert (result.outcomes, calls, tool_calls(project)) == ({"passed": 1, "failed": 1}, 0, [])
    assert "trials" not in result.records["test_parcel"].facts
    assert fork_of(result).sentence.endswith("no model was called; it fails as it did")
    assert "2 tests were replayed without a changed request; no model was called" in result.text
    assert project.cassettes() == cassettes


def test_a_second_fork_asks_only_the_trials_that_are_missing(project: Project, model: Model) -> None:
    write_agent(project, NEW)
    _, calls = run_fork(project, "--llm-trials=3", "-k", "parcel")
    assert calls == 6
    result, calls = run_fork(project, "--llm-trials=5", "-k", "parcel")
    fork = fork_of(result)
    assert (calls, fork.asked, fork.passed, fork.failed) == (4, 2, 5, 0)


def test_a_second_fix_forks_the_same_bad_run(project: Project, model: Model) -> None:
    write_agent(project, NEW)
    run_fork(project, "--llm-trials=3")
    write_agent(project, f"{NEW}, ever")
    result, calls = run_fork(project, "--llm-trials=3")
    fork = fork_of(result)
    assert (calls, model.kinds, fork.asked, fork.first_step) == (6, 1, 3, 2)
    requests = [seen.json["messages"][-1]["content"] for seen in project.server.seen]
    assert requests[-6] == f"{NEW}, ever kind-1: found kind-1"


def test_trials_without_a_verdict_count_neither_way(project: Project, model: Model) -> None:
    write_agent(project, NEW)
    result, _ = run_fork(project, "--llm-max-calls=6", "--llm-trials=4", "-k", "parcel")
    fork = fork_of(result)
    assert (fork.passed, fork.failed, len(fork.reasons)) == (2, 0, 2)
    assert "passed in 2 of 2 runs from step 2 on (true rate at least 22 %" in fork.sentence
    assert fork.reasons[0] == "BudgetReached"
    check_message(fork.sentence)
    model.broken = {4}
    result, _ = run_fork(project, "--llm-trials=4", "-k", "parcel")
    fork = fork_of(result)
    assert (fork.passed, fork.failed, fork.reasons) == (3, 0, ("ModelError",))


def test_a_test_without_recording_is_recorded_once(project: Project, model: Model) -> None:
    more = SUITE + "\n@pytest.mark.llm_cassette\ndef test_new(llm):\n    assert llm.complete('new').text\n"
    project.write(**{"test_a.py": more})
    result, calls = run_fork(project, "-k", "new")
    assert (result.outcomes, calls, fork_of(result, "test_new").stage) == ({"passed": 1}, 1, "new")
    assert fork_of(result, "test_new").sentence in " ".join(result.text.split())
    assert b'"fork"' not in project.cassettes()["cassettes/test_a/test_new.json"]


def test_earlier_trials_of_the_bad_run_are_replaced(project: Project, model: Model) -> None:
    more = SUITE.replace("def test_parcel", "@pytest.mark.llm_trials(3, pass_at_least=1)\ndef test_parcel", 1)
    project.write(**{"test_a.py": more})
    project.record("-k", "parcel")
    assert model.kinds == 3
    write_agent(project, NEW)
    result, calls = run_fork(project, "-k", "parcel")
    assert (calls, model.kinds, fork_of(result).first_step) == (6, 3, 2)
    replayed = project.run("-k", "parcel")
    assert replayed.records["test_parcel"].fact("cassette")["missed"] == 0
    answers = recorded_answers(project, "kind of parcel")
    assert answers["1"] == answers["2"] == answers["0"]


def recorded_answers(project: Project, text: str) -> dict[str, Any]:
    """Return the recorded answers to the request that holds a text, by take."""
    cassette = json.loads(project.cassettes()["cassettes/test_a/test_parcel.json"])
    entry = next(entry for entry in cassette["interactions"] if text in json.dumps(entry["request"]))
    return {take: [answer["body"] for answer in answers] for take, answers in entry["answers"].items()}


@pytest.mark.parametrize(
    "args",
    [
        ["--llm-faults=timeout"],
        ["--llm-again"],
        ["--llm-concurrency=4"],
        ["--llm-trials=auto"],
        ["--llm-accept=fixed"],
    ],
)
def test_options_that_make_no_sense_beside_it_are_refused(project: Project, args: list[str]) -> None:
    project.write(**{"test_a.py": "def test_a(llm):\n    pass\n"})
    result = project.bare("--llm-record=fork", *args)
    assert result.exit == 4
    assert args[0].partition("=")[0] in result.text
    check_message(result.line("expected"))


def test_options_of_the_ini_give_way(project: Project, model: Model) -> None:
    ini = (project.path / "pytest.ini").read_text("utf-8")
    project.write(**{"pytest.ini": f"{ini}llm_trials = 2\nllm_concurrency = 4\nllm_record = none\n"})
    write_agent(project, NEW)
    result, calls = run_fork(project, "-k", "parcel")
    assert (calls, fork_of(result).planned) == (4, 2)


def test_a_server_that_was_replayed_is_started_at_the_fork(project: Project) -> None:
    def write(prompt: str) -> None:
        agent = (
            f"{PROGRAM}\nfrom client import open_server\nserver = open_server()\n"
            'print([tool["name"] for tool in server.ask("tools/list")["tools"]], server.call("add", order="1"))\n'
            f'print(ask({prompt!r}), server.call("count"), server.close())\n'
        )
        project.write(**{"agent.py": agent})

    test = f"{STARTS}\n@pytest.mark.llm_cassette\ndef test_a(llm):\n    assert 'count' in start()\n"
    project.write(**{"server.py": SERVER, "client.py": CLIENT, "test_a.py": test})
    write("old")
    assert project.record().outcomes == {"passed": 1}
    starts = project.path / "starts.txt"
    starts.unlink()
    write("new")
    result, calls = run_fork(project, "--llm-trials=2")
    assert (result.outcomes, calls, len(starts.read_text().split())) == ({"passed": 1}, 2, 2)
    notes = result.records["test_a"].fact("cassette")["notes"]
    assert any("called live after it: it does not know its earlier calls" in str(note) for note in notes)  # type: ignore[union-attr]
    starts.unlink()
    replayed = project.run("--llm-trials=2", "--llm-record=none")
    assert (replayed.outcomes, starts.exists()) == ({"passed": 1}, False), replayed.text
    assert replayed.records["test_a"].fact("cassette")["replayed"] == 10
