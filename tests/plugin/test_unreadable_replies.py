"""Replies of a judge without a readable verdict: asked again with --llm-record=new, and given up after three in a row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from support.messages import check_message
from support.project import Project, Result
from support.reruns import make_rerun_conftest
from support.server import Reply, Seen, chat_answer, error_reply, json_reply

from pytest_llmops.results.run import TestRecord

MODEL = "judge-1"
SCORES = {"accuracy": 9, "fluency": 9, "relevance": 9}
HEAD = """
import pytest
from pytest_llmops import assert_judge_score, soft
"""
TWO_ANSWERS = f"""{HEAD}
@pytest.mark.parametrize("city", ["Paris", "Lyon"])
def test_city(judge, city):
    assert_judge_score(f"The capital is {{city}}.", judge=judge)
"""
SAME_ANSWER = f"""{HEAD}
def test_first(judge):
    assert_judge_score("The capital is Paris.", judge=judge)

def test_second(judge):
    assert_judge_score("The capital is Paris.", judge=judge)
"""
RERUN = make_rerun_conftest(2)


class Judge:
    """Replies to the judge's questions: with the verdict, or without its reason where ``is_readable`` is false."""

    def __init__(self, project: Project, verdict: dict[str, object] | None = None) -> None:
        self.project = project
        self.verdict = verdict or {"dimensions": SCORES}
        self.is_readable: Callable[[str], bool] = lambda _: False
        self._answer = project.server.answer
        project.server.answer = self  # type: ignore[method-assign]
        self.asked = 0

    def __call__(self, seen: Seen) -> Reply:
        reply = self._answer(seen)
        text = json.dumps(seen.json)
        nonce = re.search(r"<data-([0-9a-f]{32})>", text)
        if nonce is None:
            return reply
        self.asked += 1
        verdict = {"nonce": nonce[1], **self.verdict}
        if self.is_readable(text):
            verdict["reason"] = "because of the facts"
        else:
            verdict["asked"] = self.asked
        return json_reply(chat_answer(json.dumps(verdict), model=seen.json["model"]))

    def run(self, *args: str, workers: int = 0, mode: str = "new") -> tuple[Result, int]:
        """Run pytest live; return the result, and how many questions the judge got."""
        before = self.asked
        result = self.project.record(
            "--llm-judge", f"--llm-judge-model={MODEL}", *args, workers=workers, mode=mode
        )
        return result, self.asked - before


def replay(project: Project, *args: str) -> Result:
    return project.run("--llm-judge", f"--llm-judge-model={MODEL}", *args)


def errors(result: Result) -> list[str]:
    return [m.error for record in result.run.records for m in record.measurements if m.error]


def test_an_unreadable_recorded_reply_is_asked_again_with_new(project: Project) -> None:
    project.write(**{"test_a.py": TWO_ANSWERS})
    judge = Judge(project)
    result, asked = judge.run()
    assert (result.outcomes, asked) == ({"errors": 2}, 4)
    recorded = project.cassettes()
    assert replay(project).outcomes == {"errors": 2}
    assert project.cassettes() == recorded
    assert judge.asked == 4

    judge.is_readable = lambda text: "Lyon" in text
    result, asked = judge.run()
    assert (result.outcomes, asked) == ({"passed": 1, "errors": 1}, 3)
    recorded = project.cassettes()
    second = replay(project, "-v")
    assert second.outcomes == {"passed": 1, "errors": 1}
    assert ", 0 stale" in second.text
    assert project.cassettes() == recorded
    # The new reply is in the place of the old one; the recorded retry is gone where it is not needed any more
    interactions = [json.loads(text)["interactions"] for text in recorded.values()]
    assert sorted(map(len, interactions)) == [1, 2]
    assert {len(answers) for file in interactions for row in file for answers in row["answers"].values()} == {
        1
    }

    judge.is_readable = lambda _: True
    result, asked = judge.run()
    assert (result.outcomes, asked) == ({"passed": 2}, 1)
    project.server.close()
    assert replay(project).outcomes == {"passed": 2}


@pytest.mark.parametrize("is_readable", [False, True], ids=["unreadable", "readable"])
def test_a_question_is_asked_again_once_a_run(project: Project, is_readable: bool) -> None:
    project.write(**{"test_a.py": SAME_ANSWER})
    judge = Judge(project)
    judge.run()
    judge.is_readable = lambda _: is_readable
    result, asked = judge.run()
    if is_readable:  # the second test gets the answer of the first one
        assert (result.outcomes, asked) == ({"passed": 2}, 1)
    else:
        assert (result.outcomes, asked) == ({"errors": 2}, 2)


def test_a_rerun_of_the_test_does_not_ask_once_more(project: Project) -> None:
    project.write(**{"test_a.py": TWO_ANSWERS})
    judge = Judge(project)
    judge.run("-k", "Paris")
    project.write(**{"conftest.py": RERUN})
    result, asked = judge.run("-k", "Paris")
    assert (result.records["test_city[Paris]"].outcome, asked) == ("errored", 2)
    # Nor if nothing is recorded yet
    result, asked = judge.run("-k", "Lyon")
    assert (result.records["test_city[Lyon]"].outcome, asked) == ("errored", 2)


def test_trials_are_asked_again_one_by_one(project: Project) -> None:
    project.write(**{"test_a.py": TWO_ANSWERS})
    judge = Judge(project)
    judge.is_readable = lambda text: "Lyon" in text
    result, asked = judge.run("--llm-trials=3")
    # The trials ask one question, which counts once: so the judge is not given up before the second test
    assert (result.outcomes, asked) == ({"passed": 1, "errors": 1}, 3 * 2 + 3)
    judge.is_readable = lambda _: True
    result, asked = judge.run("--llm-trials=3")
    assert (result.outcomes, asked) == ({"passed": 2}, 3)
    project.server.close()
    assert replay(project, "--llm-trials=3").outcomes == {"passed": 2}


def test_calls_that_are_sent_together_are_sent_again_too(project: Project) -> None:
    project.write(**{"test_a.py": TWO_ANSWERS})
    judge = Judge(project)
    judge.run()
    judge.is_readable = lambda text: "Lyon" in text
    result, asked = judge.run("--llm-concurrency=4")
    assert (result.outcomes, asked) == ({"passed": 1, "errors": 1}, 3)
    project.server.close()
    assert replay(project).outcomes == {"passed": 1, "errors": 1}


def test_what_is_recorded_stays_if_it_cannot_be_asked_again(project: Project) -> None:
    project.write(**{"test_a.py": TWO_ANSWERS})
    judge = Judge(project)
    judge.run("-k", "Paris")
    recorded = project.cassettes()

    def check_run(reason: str, *args: str) -> None:
        """The test is an error that shows the recorded reply, and why it could not be asked again."""
        result, asked = judge.run("-k", "Paris", *args)
        message = result.records["test_city[Paris]"].message
        check_message(message, long=WHY_LONG)
        assert (result.outcomes, asked) == ({"errors": 1}, 0)
        for part in ("a new call failed: ", reason, '"asked": 1', f"{MODEL}, of judge", "--llm-record=new"):
            assert part in message
        assert all("CassetteMiss" not in record.raised for record in result.run.records)
        assert project.cassettes() == recorded

    check_run("budget reached", "--llm-max-calls=0")
    fail = error_reply(500, x_should_retry="false")
    project.server.answer = lambda _: fail  # type: ignore[assignment, method-assign]
    check_run("status 500")
    project.server.close()
    check_run("does not answer")


MANY = f"""{HEAD}
@pytest.mark.parametrize("number", range(6))
def test_number(judge, number):
    assert_judge_score(f"The number is {{number}}.", judge=judge)
"""
WHY_LONG = "it quotes the reply, and the form that a verdict has"
NOTE = re.compile(r"judge quality \(model judge-1\) gave 3 unreadable replies in a row")


def is_not_asked(record: TestRecord) -> bool:
    return any(m.error.startswith("not called: judge quality gave 3 ") for m in record.measurements)


def test_after_three_unreadable_replies_in_a_row_a_judge_is_not_asked_again(project: Project) -> None:
    project.write(**{"test_a.py": MANY})
    judge = Judge(project)
    result, asked = judge.run()
    assert (result.outcomes, asked) == ({"errors": 6}, 6)
    assert {record.outcome for record in result.run.records} == {"errored"}
    assert [is_not_asked(record) for record in result.run.records] == [False] * 3 + [True] * 3
    assert len(NOTE.findall(result.text)) == 1
    check_message(result.line("judge quality (model judge-1) gave 3"))
    check_message(result.line("gave no score: not called: judge quality gave 3"))
    message = result.records["test_number[5]"].message
    check_message(message, long=WHY_LONG)
    assert "--llm-record=new" in message
    assert "rerun" not in message

    # Recorded replies count for nothing, and those that are asked again do
    judge.is_readable = lambda text: "number is 1" in text
    result, asked = judge.run()
    assert asked == 2 + 1 + 3 * 2
    assert [record.outcome for record in result.run.records] == ["errored", "passed"] + ["errored"] * 4
    assert [is_not_asked(record) for record in result.run.records] == [False] * 5 + [True]

    # A judge that is given up still scores what is recorded
    project.write(**{"test_a.py": MANY.replace("range(6)", "[2, 3, 4, 1, 5]")})
    result, asked = judge.run()
    assert asked == 3 * 2
    assert result.records["test_number[1]"].outcome == "passed"
    assert is_not_asked(result.records["test_number[5]"])


def test_what_is_recorded_stays_if_the_judge_is_given_up(project: Project) -> None:
    test = MANY.replace("(judge, number):", "(judge, number, llm):\n    llm.complete('hello')")
    project.write(**{"test_a.py": test})
    judge = Judge(project)
    judge.run("-k", "0 or 1 or 2")
    judge.run("-k", "3")
    project.write(**{"test_a.py": test.replace("hello", "good morning")})
    result, asked = judge.run("-k", "0 or 1 or 2 or 3")
    assert asked == 3 * 2
    assert is_not_asked(result.records["test_number[3]"])
    assert '"asked": 7' in result.records["test_number[3]"].message
    record = replay(project, "-k", "3").records["test_number[3]"]
    assert [m.error for m in record.measurements] == ["no verdict after 2 tries: the reason is missing"]


def test_each_worker_asks_again_and_counts_for_itself(project: Project) -> None:
    project.write(**{"test_a.py": MANY.replace("range(6)", "range(9)")})
    judge = Judge(project)
    judge.run("-k", "0 or 1")
    judge.is_readable = lambda text: "number is 0" in text
    result, asked = judge.run(workers=2)
    given_up = sum(map(is_not_asked, result.run.records))
    assert result.outcomes == {"passed": 1, "errors": 8}
    assert asked == 1 + 2 * (8 - given_up)
    assert (
        given_up >= 1
    )  # besides the first test, and one that may come before it, at most three of each worker are asked
    assert len(NOTE.findall(result.text)) == 1


def test_the_failure_names_the_judges_model_and_the_command_that_asks_again(project: Project) -> None:
    project.write(
        **{
            "test_a.py": f"""{HEAD}
def test_a(llm, judge):
    reply = llm.complete("capital?")
    assert_judge_score(reply.text, judge=judge)
"""
        }
    )
    judge = Judge(project)
    live, _ = judge.run()
    check_message(live.records["test_a"].message, long=WHY_LONG)
    result = replay(project)
    message = result.records["test_a"].message
    check_message(message, long=WHY_LONG)
    assert MODEL in message
    assert "stub-1" not in message
    assert '"asked": ' in message
    command = f"pytest test_a.py::test_a --llm-judge --llm-judge-model={MODEL} --llm-record=new"
    assert command in message
    assert result.records["test_a"].record_commands == (command,)
    assert f"next      Ask the judge again:\n          {command}\n" in result.text
    judge.is_readable = lambda _: True
    assert judge.run()[0].outcomes == {"passed": 1}


def test_in_a_soft_block_the_command_is_given_too(project: Project) -> None:
    project.write(
        **{
            "test_a.py": f"""{HEAD}
def test_a(judge):
    with soft():
        assert_judge_score("Paris", judge=judge, label="one")
        assert_judge_score("Lyon", judge=judge, label="two")
"""
        }
    )
    Judge(project).run()
    result = replay(project)
    assert len(result.records["test_a"].record_commands) == 1


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "checklist": ('assert_checklist("Paris", ["names a city"])', {"items": {"1": "yes"}}),
    "pairwise": ('assert_preferred("Paris", over="Lyon")', {"winner": "tie"}),
    "policy": ('assert_complies("Paris", policy="policy.md")', {"items": {"1": "kept"}}),
    "panel": (
        'assert_judge_score("Paris", judge=Panel([quality(OpenAIModel("one")), quality(OpenAIModel("two"))]))',
        {"dimensions": SCORES},
    ),
    "conversation": (
        'assert_judge_score([Message("user", "capital?"), Message("assistant", "Paris")], judge="goal", at_least=None)',
        {"score": 4},
    ),
}
KINDS_HEAD = """
from pytest_llmops import assert_checklist, assert_complies, assert_judge_score, assert_preferred
from pytest_llmops.judges import Panel
from pytest_llmops.judges.rubric import quality
from pytest_llmops.protocols import Message
from pytest_llmops.providers.openai import OpenAIModel
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_judge_is_asked_again(project: Project, kind: str) -> None:
    assertion, verdict = KINDS[kind]
    test = f"{KINDS_HEAD}\ndef test_a(judge):\n    {assertion}\n"
    project.write(**{"test_a.py": test, "policy.md": "---\nkind: policy\n---\n- Never name a person.\n"})
    judge = Judge(project, verdict)
    judge.run()
    result = replay(project)
    record = result.records["test_a"]
    assert record.outcome == "errored"
    message = record.message
    if kind == "panel":  # its judges are asked at the same time: either may be the first
        message = re.sub(r'"asked": \d', '"asked": 1', message)
        message = re.sub(r"(one|two), of judge", "one, of judge", message)
    check_message(message, long=WHY_LONG)
    assert len(record.record_commands) == 1
    judge.is_readable = lambda _: True
    result, asked = judge.run()
    assert (result.outcomes, asked) == ({"passed": 1}, {"pairwise": 2, "panel": 2}.get(kind, 1))
    project.server.close()
    assert replay(project).outcomes == {"passed": 1}


LABELS = "".join(
    json.dumps({"id": str(number), "answer": f"{number} days", "human": ["pass", "fail"][number % 2]}) + "\n"
    for number in range(12)
)
MEASURED = {
    "agreement": 'assert_judge_agrees(judge, "labels.jsonl", at_least_labels=12)',
    "canaries": "assert_judge_canaries(judge)",
}


@pytest.mark.parametrize("kind", MEASURED)
def test_a_measured_judge_is_asked_again_and_not_given_up(project: Project, kind: str) -> None:
    """A calibration and canaries stop by their own share of unreadable replies."""
    names = "assert_judge_agrees, assert_judge_canaries"
    test = f"from pytest_llmops import {names}\n\ndef test_a(judge):\n    {MEASURED[kind]}\n"
    project.write(**{"test_a.py": test, "labels.jsonl": LABELS})
    judge = Judge(project)
    result, asked = judge.run("--llm-concurrency=1")
    assert not NOTE.search(result.text)
    assert result.records["test_a"].outcome == "errored"
    replayed = replay(project)
    check_message(replayed.records["test_a"].message, long=WHY_LONG)
    assert len(replayed.records["test_a"].record_commands) == 1
    judge.is_readable = lambda _: True
    result, asked_again = judge.run("--llm-concurrency=1")
    assert asked_again >= asked / 2
    assert not errors(result)


def test_tests_that_share_a_cassette_keep_each_others_recordings(project: Project) -> None:
    marked = SAME_ANSWER.replace("def test_", '@pytest.mark.llm_cassette("shared")\ndef test_')
    project.write(**{"test_a.py": marked})
    judge = Judge(project)
    assert judge.run()[1] == 2  # what the first test got in vain is not asked again by the second one
    judge.is_readable = lambda _: True
    assert judge.run("-k", "first")[0].outcomes == {"passed": 1}
    project.server.close()
    result = replay(project)
    assert result.outcomes == {"passed": 2}
    (recorded,) = project.cassettes().values()
    assert len(json.loads(recorded)["interactions"]) == 2  # the retry stays, another test may need it


def test_a_run_of_what_changed_asks_no_judge_again(project: Project) -> None:
    project.write(**{"test_a.py": TWO_ANSWERS})
    judge = Judge(project)
    judge.run()
    before = judge.asked
    address = f"--llm-base-url={project.server.url}/v1"
    assert replay(project, "--llm-record=changed", address).outcomes == {"errors": 2}
    assert judge.asked == before
