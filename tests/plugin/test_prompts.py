"""Prompts at a commit, prompts that an application loads by itself, and answers that are repaired."""

from __future__ import annotations

import os

from support.git import commit
from support.messages import check_message
from support.project import Project
from support.server import chat_answer, json_reply

APP = """
import json, openai
from pathlib import Path
from pytest_llmops import repair
from pytest_llmops.prompts import Prompts

PROMPTS = Prompts(Path(__file__).parent / "prompts")
VERSION_AT_IMPORT = PROMPTS.get("answer").version
TURNS = []

def answer(user):
    prompt = PROMPTS.choose("answer", key=user, split={"v3": 0.5})
    return prompt.version

def order(text):
    prompt = PROMPTS.get("order")
    messages = prompt.render(text=text).to_dicts()

    def ask(wrong=None, request=""):
        turns = [{"role": "assistant", "content": wrong}, {"role": "user", "content": request}] if request else []
        call = openai.OpenAI().chat.completions.create(model="stub-1", messages=[*messages, *turns], **prompt.response_format())
        return call.choices[0].message.content

    return repair(ask, ask(), schema=prompt)
"""
FILES = {
    "app.py": APP,
    **{f"prompts/answer/v{n}.md": f"This is v{n}." for n in (1, 2, 3)},
    "prompts/answer/aliases.toml": 'production = "v2"\n',
    "prompts/order/v1.md": """---
variables: [text]
output_schema: {title: Order, type: object, properties: {qty: {type: integer}}, required: [qty], additionalProperties: false}
---
{{ text }}
""",
}


def test_an_application_that_loads_its_own_prompts_has_the_version_under_test(project: Project) -> None:
    test = """
import sys
import pytest
sys.modules.pop("app", None)
import app

def test_import():
    assert app.VERSION_AT_IMPORT == EXPECTED

def test_every_user():
    assert {app.answer(user) for user in range(30)} == CHOSEN

@pytest.mark.prompt("answer", versions="all")
def test_each_version(prompt):
    assert {app.answer(user) for user in range(30)} == {prompt.version}

@pytest.mark.prompt("answer")
def test_production(prompt):
    assert prompt.version == EXPECTED
"""
    project.write(
        **FILES, **{"test_a.py": test.replace("EXPECTED", "'v2'").replace("CHOSEN", "{'v2', 'v3'}")}
    )
    result = project.run()
    assert result.outcomes == {"passed": 6}
    assert "test_each_version[v3]" in result.records
    project.write(**{"test_a.py": test.replace("EXPECTED", "'v1'").replace("CHOSEN", "{'v1'}")})
    assert project.run("--llm-prompt=answer=v1").outcomes == {"passed": 4}
    assert "LLMOPS_PROMPT" not in os.environ


def test_a_prompt_that_only_the_application_loads_is_no_unknown_one(project: Project) -> None:
    project.write(**FILES)
    project.write(
        **{
            "test_a.py": "import pytest\n@pytest.mark.prompt('answer')\ndef test_a(prompt): assert prompt.version == 'v2'\n",
        }
    )
    assert project.run("--llm-prompt=order=v1").outcomes == {"passed": 1}
    check_message(project.run("--llm-prompt=ordr=v1").line("ordr"))


def test_a_version_of_a_commit_beside_that_of_the_working_tree(project: Project) -> None:
    project.write(**FILES)
    commit(project.path, "first")
    project.write(
        **{
            "prompts/answer/v2.md": "Edited.",
            "test_a.py": """
import pytest
@pytest.mark.prompt("answer", versions=["v2", "v2@main", "production@HEAD"])
def test_listed(prompt):
    assert prompt.render()[0].content == ("This is v2." if "@" in prompt.version else "Edited.")

@pytest.mark.prompt("answer@main")
def test_named(prompt):
    assert (prompt.version, prompt.render()[0].content) == ("v2@main", "This is v2.")

@pytest.mark.prompt("answer@main", versions="all")
def test_all(prompt):
    assert prompt.version in ("v1@main", "v2@main", "v3@main")

@pytest.mark.prompt("answer@mian")
def test_misspelt(prompt):
    pass
""",
        }
    )
    result = project.run()
    assert result.outcomes == {"passed": 7, "errors": 1}
    assert {"test_listed[production@HEAD]", "test_named[@main]", "test_all[v3@main]"} <= result.records.keys()
    fact = result.records["test_listed[production@HEAD]"].facts["prompt"]
    assert isinstance(fact, dict)
    assert (fact["version"], fact["alias"]) == ("v2@HEAD", "production@HEAD")
    check_message(result.line("'mian'"))


def test_each_round_of_a_repair_is_recorded_and_counts(project: Project) -> None:
    project.write(**FILES)
    project.write(
        **{
            "test_a.py": """
import pytest
import app
from pytest_llmops.assertions.budgets import assert_call_count
from pytest_llmops import assert_tokens

@pytest.mark.llm_cassette
def test_order(llm_calls):
    assert app.order("two of them") == {"qty": 2}
    assert len(llm_calls) == 3
    assert_tokens(at_most_tokens=10_000)
    assert_call_count(at_most=3)
    with pytest.raises(AssertionError):
        assert_call_count(at_most=2)
""",
        }
    )
    answers = ('{"qty": "two"}', "none", '{"qty": 2}')
    project.server.queue.extend(json_reply(chat_answer(text)) for text in answers)
    assert project.record().outcomes == {"passed": 1}
    requests = [request.json for request in project.server.seen]
    assert [len(row["messages"]) for row in requests] == [1, 3, 3]
    assert requests[0]["response_format"]["json_schema"]["strict"] is True
    check_message(requests[1]["messages"][2]["content"])
    assert project.run().outcomes == {"passed": 1}
    assert len(project.server.seen) == 3
