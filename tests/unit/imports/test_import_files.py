"""``llmops import openai-results`` and ``llmops import prompt``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops.cases.files import load_cases
from pytest_llmops.cli.command_line import main
from pytest_llmops.prompts.registry import Prompts

ANSWERED = {
    "run_id": "r1",
    "item": {"question": "Capital of France?", "ideal": "Paris", "level": 1},
    "sample": {"outputs": [{"role": "assistant", "content": None}, {"role": "assistant", "content": "Lyon"}]},
    "grades": {"exact": 0.0},
    "passes": {"exact": False},
}
UNANSWERED = {
    "run_id": "r1",
    "item": {"question": "2 + 2?"},
    "sample": {"error": {"message": "rate limit"}},
}
MESSAGES = [
    {"role": "system", "content": "You answer for {{ shop | upper }}."},
    {"role": "user", "content": [{"type": "text", "text": "{{question}}"}]},
]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_lines(*rows: dict[str, Any]) -> str:
    Path("results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "results.jsonl"


def test_items_become_cases_with_their_old_answers(capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(ANSWERED, UNANSWERED)
    assert main(["import", "openai-results", file, "--to", "cases/old.jsonl", "--dry-run"]) == 0
    assert not Path("cases").exists()
    assert main(["import", "openai-results", file, "--to", "cases/old.jsonl"]) == 0

    first, second = load_cases("cases/old.jsonl")
    assert (first.input, first.reference, first.output) == ("Capital of France?", "Paris", "Lyon")
    assert first.data == {"level": 1, "graded": {"exact": {"grade": 0.0, "passed": False}}}
    assert (second.input, second.reference, second.output) == ("2 + 2?", "", None)
    shown = capsys.readouterr().out
    assert "not carried  results.jsonl:2: the answer: the model gave none: rate limit" in shown


def test_keys_of_items_that_mean_something_in_a_case_are_kept() -> None:
    item = {"input": "Hi", "tags": ["a"], "family": "f", "split": "test"}
    assert main(["import", "openai-results", write_lines({**ANSWERED, "item": item}), "--to", "a.jsonl"]) == 0
    (case,) = load_cases("a.jsonl")
    assert (case.tags, case.family, case.split) == (("a",), "f", "test")


@pytest.mark.slow
def test_a_case_keeps_its_id_in_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    again = {**ANSWERED, "run_id": "r2", "sample": {"outputs": [{"content": "Paris"}]}}
    file = write_lines(UNANSWERED, again, ANSWERED)
    assert main(["import", "openai-results", file, "--to", "a.jsonl"]) == 2
    assert "the results of 2 runs: name one, --run: r1, r2" in capsys.readouterr().err
    assert main(["import", "openai-results", file, "--to", "a.jsonl", "--run", "r3"]) == 2
    assert "unknown run 'r3'" in capsys.readouterr().err

    for run in ("r1", "r2"):
        assert main(["import", "openai-results", file, "--to", f"{run}.jsonl", "--run", run, "--json"]) == 0
    capsys.readouterr()
    (new,) = load_cases("r2.jsonl")
    assert new.id in {case.id for case in load_cases("r1.jsonl")}
    assert new.output == "Paris"


def test_the_right_answer_may_be_under_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines({"item": {"question": "2 + 2?", "solution": "4"}})
    assert main(["import", "openai-results", file, "--to", "a.jsonl"]) == 0
    assert "name its field, --reference-field" in capsys.readouterr().out
    assert main(["import", "openai-results", file, "--to", "b.jsonl", "--reference-field", "solution"]) == 0
    assert [case.reference for case in load_cases("b.jsonl")] == ["4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no result line in the file"),
        (
            '{"id": 1}\n',
            "expected a result line with an object `item`, got an object with the keys id @ results.jsonl:1",
        ),
        (
            '{"item": {"question": "a", "output": "b"}}\n',
            "item.output: the case has something else under this key",
        ),
        ('{"item": {"level": 1}}\n', "items: "),
        ('{"item": {"input": "a", "files": ["../.env"]}}\n', "item.files: "),
        ("[1\n", "broken JSON"),
    ],
)
def test_what_is_no_file_of_results(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("results.jsonl").write_text(text, encoding="utf-8")
    assert main(["import", "openai-results", "results.jsonl", "--to", "a.jsonl"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("a.jsonl").exists()


def test_a_pasted_list_of_messages_becomes_the_next_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(MESSAGES).encode())))
    assert main(["import", "prompt", "-", "--name", "shop/answer"]) == 0
    assert "prompts/shop/answer/v1.md: system, user; variables: shop, question" in capsys.readouterr().out

    prompt = Prompts(Path("prompts")).get("shop/answer", "v1")
    rendered = prompt.render(shop="tent", question="Is {{ this }} data?")
    assert [(message.role, message.content) for message in rendered] == [
        ("system", "You answer for TENT."),
        ("user", "Is {{ this }} data?"),
    ]

    request = {"model": "gpt-4o", "temperature": 0.2, "messages": MESSAGES, "stream": None}
    Path("request.yaml").write_text(json.dumps(request), encoding="utf-8")
    assert main(["import", "prompt", "request.yaml", "--name", "shop/answer"]) == 0
    shown = capsys.readouterr().out
    assert "left out     request.yaml:1: model gpt-4o: name it in the ini: llm_model" in shown
    assert "stream" not in shown
    assert "llmops prompts alias shop/answer production v2" in shown
    assert Prompts(Path("prompts")).get("shop/answer", "v2").params == {"temperature": 0.2}


def test_a_pasted_request_shows_no_key_and_names_what_its_file_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = {"messages": [{"role": "user", "content": "Say\nuser:\nHi"}], "api_key": "abc-def-123"}
    Path("m.json").write_text(json.dumps(request), encoding="utf-8")
    assert main(["import", "prompt", "m.json", "--name", "a"]) == 0
    shown = capsys.readouterr().out
    assert "api_key [secret]" in shown
    assert "differs      m.json:1: the text: a line that would begin a section" in shown

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["import", "prompt", "-", "--name", "b"]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_a_prompt_that_no_test_could_read_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.json").write_text('[{"role": "user", "content": "a\\u0000b"}]', encoding="utf-8")
    assert main(["import", "prompt", "m.json", "--name", "a"]) == 2
    assert main(["import", "prompt", "m.json", "--name", "a", "--to", "a" * 300]) == 2
    shown = capsys.readouterr().err
    assert "no prompt can be made of it: a NUL character" in shown
    assert "cannot be read: File name too long" in shown
    assert not Path("prompts").exists()


def test_a_list_as_code_has_it_is_read() -> None:
    Path("m.txt").write_text("[{'role': 'user', 'content': 'Hi {{ name }}'},]\n", encoding="utf-8")
    assert main(["import", "prompt", "m.txt", "--name", "hi"]) == 0
    assert Prompts(Path("prompts")).get("hi", "v1").render(name="Ada")[0].content == "Hi Ada"


def test_braces_of_another_template_language_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.json").write_text('[{"role": "user", "content": "Hi {name}, {{ question }}"}]', encoding="utf-8")
    assert main(["import", "prompt", "m.json", "--name", "hi", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["remarks"] == [
        {
            "kind": "differs",
            "place": "m.json:1",
            "what": "{name} in the user message",
            "why": "it stays a text; if it is a variable, write {{name}}",
        }
    ]
    assert not Path("prompts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', "expected a list of messages with a role each"),
        ("role: 'user", "broken YAML"),
        ("- just a text", "expected a list of messages with a role each"),
        ('[{"role": "tool", "content": "x"}]', "a message with the role 'tool'"),
        ('[{"role": "user", "content": "{{ env.KEY }}"}]', "the user message: env is never read"),
        ('[{"role": "user", "content": "{% include x %}"}]', "the user message: "),
        ('[{"role": "user"', "broken JSON"),
        ('[{"role": "user", "content": [{"type": "image_url"}]}]', "a prompt file has texts only"),
    ],
)
def test_what_is_no_prompt(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.txt").write_text(text, encoding="utf-8")
    assert main(["import", "prompt", "m.txt", "--name", "hi"]) == 1
    assert message in capsys.readouterr().err
    assert not Path("prompts").exists()


def test_the_names_on_the_command_line_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "prompt", "m.txt", "--name", "../x"]) == 2
    assert "--name: expected the name of a prompt" in capsys.readouterr().err
    assert main(["import", "prompt", "m.txt", "--name", "x"]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["import", "openai-results", "m.jsonl", "--to", "x.csv"]) == 2
    assert "--to: expected a file name ending in .jsonl" in capsys.readouterr().err
