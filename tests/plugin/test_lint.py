"""--llm-lint: each assertion is tried again on altered answers, and the run lists those that never fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
from support.project import Project, Result
from support.server import Reply, Seen, chat_answer, json_reply

from pytest_llmops import assert_contains
from pytest_llmops.errors import SettingError
from pytest_llmops.harness.lint.hooks import check_lint
from pytest_llmops.harness.lint.targets import (
    ASKS_A_MODEL,
    IN_A_THREAD,
    NO_ANSWER,
    NO_FORBIDDEN_TEXT,
    NOT_ALTERABLE,
)
from pytest_llmops.reports.html_run import build_run_facts
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.results.assertion_lint import AssertionLint, read_lint
from pytest_llmops.results.summary import summarize_run
from pytest_llmops.settings import Settings

SUITE = """
import pytest, random, warnings
from threading import Thread
from pytest_llmops.protocols import Completion
from pytest_llmops import (assert_contains, assert_exact, assert_matches, assert_no_pii, assert_not_contains,
    assert_not_matches, assert_retrieval, assert_schema, assert_score, assert_semantic, collect, soft)

ANSWER = "Unopened items go back to Anna in Berlin within 30 days <b>."

def always(answer):
    return 1.0

def checks(answer, word):
    assert_contains(answer, word, at_least=0)  # toothless

@pytest.mark.parametrize("word", ["Unopened", "items"])
def test_of_an_answer(word):
    assert_contains(ANSWER, word)
    checks(ANSWER, word)
    checks(answer=ANSWER, word=word)
    assert_matches(ANSWER, ".*")  # toothless
    assert_matches(ANSWER, word + "|")  # toothless
    assert_score(always, ANSWER, at_least=0.5)  # toothless
    assert_semantic(ANSWER, "They go back.", at_least=0, checks=(), embedder="hashing")  # toothless
    assert_semantic(ANSWER, ANSWER, at_least=0.1, checks=(), embedder="hashing")
    assert_schema({"a": 1}, True)  # toothless
    assert_schema('{"a": 1}', True)

def test_of_what_is_forbidden():
    assert_not_contains(ANSWER, "sorry")
    assert_not_contains(ANSWER, "sorry", at_least=0)  # toothless
    assert_not_matches(ANSWER, r"as an \\w+ model")
    assert_not_matches(ANSWER, r"(?!)")
    assert_no_pii(ANSWER)

def share(answer, expected):
    return 0.5 + 0.5 * (expected in answer)

def refers(answer, expected):
    return expected not in answer

def leaves(answer):
    print("printed", answer)
    random.random()
    warnings.warn(answer)
    if answer != ANSWER:
        pytest.fail("by the metric")
    return 1.0

def changes(value):
    value["new"] = value["list"].append(1)
    return 1.0

def test_of_metrics(capsys, recwarn):
    assert_score(str.count, ANSWER, "!", at_most=1_000_000, unit="count")  # its value moves
    assert_score(share, ANSWER, "Anna", at_least=0.5)  # toothless
    assert_score(refers, ANSWER, "Repeat the question.", at_least=1)
    random.seed(3)
    assert_score(leaves, ANSWER, at_least=1)
    drawn = random.random()
    random.seed(3)
    random.random()
    assert drawn == random.random()
    assert (capsys.readouterr().out.count("printed"), len(recwarn)) == (1, 1)
    value = {"list": []}
    assert_score(changes, value, at_least=1)
    assert value == {"list": [1], "new": None}

def test_that_fails_on_one_case_only():
    for limit in (0, 1.0):
        assert_exact("Yes.", "Yes.", at_least=limit)

def test_of_other_things():
    assert_retrieval(["a"], ["a"], at_least=1)
    assert_exact(ANSWER, "No.", at_least=None)
    with collect() as measured:
        assert_exact(ANSWER, "No.")
    with soft():
        assert_exact("Yes.", "Yes.")
    assert len(measured) == 1
    assert_contains(Completion(text=ANSWER), "Anna", at_least=0)  # toothless
    assert_score(abs, 3, at_least=0, unit="count")  # toothless
    assert_score(always, object(), at_least=1)
    thread = Thread(target=assert_exact, args=("Yes.", "Yes."))
    thread.start()
    thread.join()
"""
ASKING = """
import openai, pytest
from pytest_llmops import assert_contains, assert_semantic

def ask(question):
    with openai.OpenAI() as client:
        messages = [{"role": "user", "content": question}]
        return client.chat.completions.create(model="stub-1", messages=messages).choices[0].message.content

@pytest.mark.parametrize("name", ["Anna", "Ben"])
def test_asked(llm_calls, name):
    answer = ask(f"Who is {name}?")
    assert_contains(answer, name)
    assert_contains(answer, name, at_least=0)  # toothless

def test_judged(llm_calls):
    assert_semantic(ask("Why?"), "Because.", judge=True, checks=(), at_least=0)
"""


def places(suite: str) -> list[str]:
    """Return the lines of a suite that are marked."""
    lines = enumerate(suite.splitlines(), start=1)
    return [f"test_a.py:{number}" for number, line in lines if line.endswith("# toothless")]


def lint_of(result: Result) -> AssertionLint:
    lint = read_lint(result.run.records)
    assert lint is not None, result.text
    return lint


def named(result: Result) -> list[str]:
    return [found.place for found in lint_of(result).toothless]


def test_assertions_that_never_fail_are_listed(project: Project) -> None:
    project.write(**{"test_a.py": SUITE})
    plain = project.run()
    result = project.run("--llm-lint")
    assert result.exit == 0, result.text
    lint = lint_of(result)
    assert named(result) == places(SUITE)
    assert dict(lint.skipped) == {NO_ANSWER: 1, NO_FORBIDDEN_TEXT: 1, NOT_ALTERABLE: 1, IN_A_THREAD: 1}
    assert (lint.recorded, lint.moved) == (1, 1)
    helper = lint.toothless[0]
    assert (helper.answers, helper.call) == (4, "assert_contains(answer, 'Unopened', at_least=0)")
    check_message(result.line("passed on 4 answers"))
    check_message(result.line("lint  "))
    for name, record in plain.records.items():  # the run is as ever
        assert result.records[name].measurements == record.measurements
        assert result.records[name].calls == record.calls
    text = render_markdown(result.run)
    assert all(f"`{place} assert_" in text for place in places(SUITE))
    facts = build_run_facts(result.run, summarize_run(result.run), ())
    assert [label for label, _ in facts].count("Cannot fail") == len(places(SUITE))
    assert "lint" not in plain.text
    strict = project.run("--llm-lint", "--llm-strict", "-q")
    assert strict.exit == 1
    check_message(strict.line("lint  "))
    assert strict.line("passed on 4 answers") == result.line("passed on 4 answers")
    assert assert_contains("as before", "before").status == "passed"  # no longer watched
    assert "wanted" in assert_contains.__code__.co_varnames


def answering(seen: Seen) -> Reply:
    text = seen.json["messages"][-1]["content"]
    if "Who is" not in text and text != "Why?":
        return json_reply(chat_answer(json.dumps({"verdict": "same"})))
    return json_reply(chat_answer(f"You asked: {text}"))


def test_recorded_trials_on_two_workers_and_a_judge_that_is_not_asked(project: Project) -> None:
    project.server.answer = answering  # type: ignore[method-assign]
    project.write(**{"test_a.py": ASKING})
    how = ("--llm-judge", "--llm-trials=2")
    recorded = project.record(*how)
    assert recorded.outcomes == {"passed": 3}, recorded.text
    count = len(project.server.seen)
    files = project.cassettes()
    alone = project.run("--llm-lint", *how)
    shared = project.run("--llm-lint", *how, workers=2)
    for result in (alone, shared):
        assert result.outcomes == {"passed": 3}, result.text
        lint = lint_of(result)
        assert named(result) == places(ASKING)
        assert lint.toothless[0].answers == 4  # of two cases and two trials
        assert dict(lint.skipped) == {ASKS_A_MODEL: 1}
    assert lint_of(alone) == lint_of(shared)
    assert [len(record.calls) for record in alone.run.records] == [2, 2, 4]
    assert (len(project.server.seen), project.cassettes()) == (count, files)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("record", "new"),
        ("tools", "compare"),
        ("faults", ("timeout",)),
        ("accept", "better"),
    ],
)
def test_what_a_lint_does_not_go_with_is_refused(name: str, value: Any) -> None:
    settings: dict[str, Any] = {"lint": True, name: value}
    with pytest.raises(SettingError) as caught:
        check_lint(Settings(**settings))
    check_message(caught.value)


def test_a_refused_option_ends_the_run(project: Project) -> None:
    project.write(**{"test_a.py": "def test_a(llm_calls): pass\n"})
    result = project.bare("--llm-lint", "--llm-record=new")
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    assert "--llm-lint" in result.text
