"""``llmops import promptfoo``: what it writes and prints, that nothing is overwritten, and that the result runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cli import import_suites
from pytest_llmops.imports.suite import ImportedSuite, SuiteError
from pytest_llmops.imports.suite_files import SuiteFiles, write_suite

CONFIG = """\
description: Refund answers
prompts:
  - "Answer briefly: {{question}}"
providers: [openai:gpt-5-mini]
defaultTest:
  assert:
    - {type: not-icontains, value: as an AI}
tests:
  - description: late return
    vars: {question: May I return it?}
    providerOutput: "No, within 45 days."
    assert:
      - {type: icontains, value: 45 DAYS}
      - {type: regex, value: '\\d+ days'}
  - description: wrong answer
    vars: {question: Is it late?}
    providerOutput: "As an AI I do not know."
    assert:
      - {type: icontains, value: yes}
      - {type: regex, value: '\\d+ days'}
  - description: code
    vars: {question: Is it long?}
    providerOutput: "abc"
    assert:
      - {type: javascript, value: "file://check.js"}
"""
MODULE = Path("tests/llm/test_refund_answers.py")
CASES = Path("tests/llm/cases/refund_answers/icontains_and_pattern.jsonl")
Import = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Import:
    """Run the command in a project with the configuration ``evals/promptfooconfig.yaml``; give its exit status, stdout and stderr."""
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "promptfooconfig.yaml").write_text(CONFIG)
    (tmp_path / "pytest.ini").touch()
    monkeypatch.chdir(tmp_path)

    def call(*argv: str, path: str = "evals/promptfooconfig.yaml") -> tuple[int, str, str]:
        status = cli.main(["import", "promptfoo", path, *argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def list_files() -> list[str]:
    paths = sorted(Path().rglob("*"))
    return [
        path.as_posix() for path in paths if path.is_file() and path.parts[0] not in ("evals", "pytest.ini")
    ]


@pytest.mark.slow
def test_a_suite_is_written_and_a_second_time_nothing_is_overwritten(run: Import) -> None:
    status, out, _ = run()
    assert status == 0
    check_message(out.splitlines())
    files = list_files()
    assert files == [
        "tests/llm/cases/refund_answers/icontains_and_pattern.jsonl",
        "tests/llm/cases/refund_answers/not_icontains.jsonl",
        "tests/llm/prompts/refund_answers/v1.md",
        MODULE.as_posix(),
    ]
    MODULE.write_text("mine")
    CASES.unlink()
    status, out, err = run()
    assert (status, out) == (1, "")
    check_message(err)
    assert MODULE.as_posix() in err
    assert MODULE.read_text() == "mine"
    assert not CASES.exists()
    assert run("--name", "other")[0] == 0
    assert Path("tests/llm/test_other.py").is_file()


def test_a_dry_run_writes_nothing_and_json_has_all(run: Import) -> None:
    status, out, _ = run("--dry-run")
    assert status == 0
    assert "would write" in out
    document = json.loads(run("--dry-run", "--json", "--to", "here")[1])
    assert list_files() == []
    assert document["written"] is False
    (suite,) = document["suites"]
    assert (suite["name"], suite["carried"], suite["assertions"]) == ("refund_answers", 5, 6)
    assert (suite["functions"], suite["cases"]) == (3, 3)
    assert suite["files"][0] == "here/test_refund_answers.py"
    (missing,) = suite["not_carried"]
    assert (missing["place"], missing["what"]) == ("promptfooconfig.yaml:25", "javascript file://check.js")


def test_prompts_go_into_the_folder_that_tests_there_use(run: Import) -> None:
    Path("templates").mkdir()
    Path("pytest.ini").write_text("[pytest]\nllm_prompts_dir = templates\n")
    assert run()[0] == 0
    assert Path("templates/refund_answers/v1.md").is_file()


# With fixed outputs; what promptfoo 0.123.1 decided on each (its `eval`, in the order of its tests)
DECIDED = r"""description: Order answers
prompts:
  - label: short
    raw: "Answer in one sentence: {{question}}"
providers: [echo]
defaultTest:
  assert:
    - {type: not-icontains, value: as an AI}
tests:
  - description: number and unit
    vars: {question: How long?}
    providerOutput: "Within 45 days."
    assert: &days
      - {type: icontains, value: 45 DAYS}
      - {type: regex, value: '\d+ days\.$'}
  - description: a line break at the end
    vars: {question: How long?}
    providerOutput: "Within 45 days.\n"
    assert: *days
  - description: another script
    vars: {question: How long?}
    providerOutput: "Within ٤٥ days."
    assert: *days
  - description: mentions what it is
    vars: {question: How long?}
    providerOutput: "As an AI, I say 45 days."
    assert: *days
  - description: order as JSON
    vars: {question: Which order?}
    providerOutput: '{"id": 7, "items": ["tent"]}'
    assert: &order
      - {type: is-json, value: {type: object, required: [id], properties: {id: {type: integer}}}}
      - {type: javascript, value: 'JSON.parse(output).id === 7'}
  - description: order in a fence
    vars: {question: Which order?}
    providerOutput: "```json\n{\"id\": 7}\n```"
    assert: *order
  - description: order with a text as id
    vars: {question: Which order?}
    providerOutput: '{"id": "7"}'
    assert: *order
  - description: several words
    vars: {question: Which colours?, colour: [red, blue]}
    providerOutput: "red and green"
    assert:
      - {type: contains, value: "{{colour}}"}
      - {type: contains-any, value: ["green", "yellow"]}
      - {type: word-count, value: {min: 2, max: 3}}
  - description: not all
    vars: {question: Which colours?}
    providerOutput: "red"
    assert:
      - {type: not-contains-all, value: [red, blue]}
      - {type: starts-with, value: r}
      - {type: equals, value: blue, weight: 0}
  - description: no assertion of its own
    vars: {question: Any?}
    providerOutput: "x"
"""
VERDICTS = {
    "number-and-unit": True,
    "a-line-break-at-the-end": False,
    "another-script": False,
    "mentions-what-it-is": False,
    "order-as-json": True,
    "order-in-a-fence": False,
    "order-with-a-text-as-id": False,
    "several-words-red": True,
    "several-words-blue": False,
    "not-all": True,
    "no-assertion-of-its-own": True,
}


@pytest.mark.slow
def test_the_written_suite_decides_as_promptfoo_does(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pytester.path / "promptfooconfig.yaml"
    config.write_text(DECIDED, encoding="utf-8")
    monkeypatch.chdir(pytester.path)
    assert cli.main(["import", "promptfoo", config.name]) == 0
    # Without workers: plugin/test_imported_suites.py
    result = pytester.runpytest("-rA", "-p", "no:cacheprovider", "-n", "2")
    lines = re.findall(r"^(PASSED|FAILED) \S+?\[([^\]]+)\]", result.stdout.str(), re.MULTILINE)
    assert {case: outcome == "PASSED" for outcome, case in lines} == VERDICTS


def test_a_file_that_cannot_be_written_leaves_nothing(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tests/llm").mkdir(parents=True)
    Path("tests/llm/prompts").write_text("a file")
    status, _, err = run()
    assert status == 2
    assert "prompts" in err
    assert list_files() == ["tests/llm/prompts"]


@pytest.mark.parametrize(
    ("argv", "text", "status"),
    [
        (("--name", "Not a name"), CONFIG, 2),
        ((), "prompts: [", 1),
    ],
)
def test_what_cannot_be_imported_is_an_error(
    run: Import, argv: tuple[str, ...], text: str, status: int
) -> None:
    Path("evals/promptfooconfig.yaml").write_text(text)
    found, out, err = run(*argv)
    assert (found, out) == (status, "")
    check_message(err)
    assert list_files() == []


def test_a_name_is_for_one_suite(run: Import) -> None:
    Path("evals/promptfooconfig.second.yaml").write_text("prompts: [x]\nproviders: [echo]\n")
    status, _, err = run("--name", "x", path="evals")
    assert status == 2
    check_message(err)
    assert list_files() == []


def test_other_suites_are_written_beside_one_that_cannot_be(
    run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_second(suite: ImportedSuite, checks: Any) -> SuiteFiles:
        if suite.title == "Second":
            raise SuiteError("it cannot be written", suite.source)
        return write_suite(suite, checks)

    monkeypatch.setattr(import_suites, "write_suite", refuse_second)
    Path("evals/promptfooconfig.second.yaml").write_text(
        "description: Second\nprompts: [x]\nproviders: [echo]\n"
    )
    status, out, err = run(path="evals")
    assert (status, "refund_answers" in out) == (1, True)
    assert "promptfooconfig.second.yaml: it cannot be written" in err
    assert MODULE.is_file()


OTHER = """\
prompts: ["{{question}}"]
providers:
  - {id: openai:chat:own-model, config: {apiBaseUrl: "http://localhost:1234/v1"}}
  - openai:chat:b
tests:
  - vars: {question: Why?}
    assert:
      - {type: similar, value: because}
      - {type: javascript, value: "file://one.js"}
      - {type: javascript, value: "file://two.js"}
"""


def test_the_summary_of_several_suites_has_a_total_and_a_reason_once(run: Import) -> None:
    Path("evals/promptfooconfig.other.yaml").write_text(OTHER)
    status, out, _ = run(path="evals")
    assert status == 0
    check_message(out.splitlines())
    assert "\n2 suites\n  carried      6 of 9 assertions (66 %), in 4 cases\n" in out
    reason = "code of the suite is not run: write this check in Python"
    assert (
        f"  not carried  {reason}:\n                 promptfooconfig.other.yaml:9: javascript file://one.js\n"
        in out
    )
    assert "llm_model = own-model" in out
    assert "name its server in the ini: llm_base_url = http://localhost:1234/v1" in out
    assert "install the embedder of assert_semantic" in out


def test_a_model_is_not_named_where_the_application_asks_it(run: Import) -> None:
    Path("evals/promptfooconfig.yaml").write_text(OTHER.replace('["{{question}}"]', "[file://prompt.js]"))
    _, out, _ = run()
    assert "let application() call your application" in out
    assert "llm_model" not in out


def test_a_suite_for_red_teaming_alone_says_why_it_has_no_tests(run: Import) -> None:
    Path("evals/promptfooconfig.yaml").write_text(
        "prompts: [a]\nproviders: [echo]\nredteam: {plugins: [pii]}\n"
    )
    status, _, err = run("--to", "tests/llm")
    assert status == 1
    assert "the suite has no tests; redteam: promptfoo makes these attacks when it runs" in err
    assert not Path("tests").exists()
