"""Suites of a stranger: their text never becomes code, their secrets are not shown, and their size is limited."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmops import cli
from pytest_llmops._util.text_files import read_yaml
from pytest_llmops.cases import load_cases
from pytest_llmops.imports.front_matter import format_yaml
from pytest_llmops.imports.promptfoo import tests as suite_tests
from pytest_llmops.imports.promptfoo.assertions import make_check
from pytest_llmops.imports.promptfoo.config import read_suites
from pytest_llmops.imports.slugs import add_number
from pytest_llmops.imports.suite_files import SuiteFiles, write_suite
from pytest_llmops.measurement import Json
from pytest_llmops.prompts.prompt_file import split_front_matter, split_sections

NASTY = (
    'q"\'\\ """ \n\r\u2028\x85\x0c\u202eA{value}{var:x} #\n---\nsystem:\n---\nid: x\n\\N{DASH} {0} \u200d😀'
)
TYPES = ("contains", "equals", "regex", "llm-rubric", "similar", "is-json", "javascript", "python", NASTY)


def write(folder: Path, config: dict[str, Any]) -> SuiteFiles:
    """Return the files of the one suite of a configuration."""
    path = folder / "promptfooconfig.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    (suite,) = read_suites(path)
    checks = [
        [(assertion, make_check(assertion, test.variables)) for assertion in test.assertions]
        for test in suite.tests
    ]
    return write_suite(suite, checks)


def make_config(text: str) -> dict[str, Any]:
    """Return a configuration that has a text wherever a text can be."""
    tests = []
    for kind in TYPES:
        value: Json = text
        if kind == "is-json":
            value = {"title": text, "required": [text]}
        check = {"type": kind, "value": value, "metric": text, "config": {text: text}}
        test = {"description": text, "vars": {"a": text, text: text}, "assert": [check]}
        tests += [test, {**test, "metadata": {text: text}}]
    return {
        "description": text,
        "prompts": [{"label": text, "raw": "Say {{ a }} " + text.replace("\0", "")}],
        "providers": [{"id": f"python:{text}"}],
        "tests": tests,
        text: text,
    }


texts = st.text(
    st.sampled_from("\"'\\\n\r\u2028\x85\x0c\u202e{}#-:%() aé😀\u200d\t\0"), min_size=1, max_size=12
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(text=texts.map(lambda text: text.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #")))
def test_foreign_text_stands_in_literals_alone(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    check_module(write(tmp_path_factory.mktemp("suite"), make_config(text)), text)


def check_module(files: SuiteFiles, text: str) -> None:
    """Check that a module calls nothing of a suite, and that its values are those of the suite."""
    module = next(iter(files.files.values()))
    tree = ast.parse(module)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names <= {
        *(
            "pytest",
            "pytestmark",
            "Path",
            "SCHEMAS",
            "answer",
            "case",
            "prompt",
            "application",
            "soft",
            "Rubric",
        ),
        *(name for name in names if name.startswith("assert_")),
        *("__file__", "NotImplementedError", "isinstance", "str", "len", "json"),
    }
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert text.removesuffix("\n") in texts or text in texts


def test_foreign_text_is_the_same_in_all_files(tmp_path: Path) -> None:
    files = write(tmp_path, make_config(NASTY))
    check_module(files, NASTY)
    for path, text in {**files.files, **files.prompts}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text.encode())
    for path in files.files:
        if path.endswith(".jsonl"):
            for case in load_cases(tmp_path / path):
                assert case["vars"] == {NASTY: NASTY}
    (prompt,) = files.prompts.values()
    front, body, _ = split_front_matter(prompt.replace("\r", "\n"))
    label = " ".join(NASTY.split())
    assert read_yaml(front)[0] == {"description": label, "variables": ["a"]}
    (section,) = split_sections(body)
    assert section.text == "Say {{ a }} " + NASTY.replace("\r", "\n").replace("\nsystem:", "\n system:")
    (remark,) = [remark for remark in files.remarks if "indented by a blank" in remark.why]
    assert remark.kind == "differs"


@given(text=texts)
def test_yaml_gives_any_text_back(text: str) -> None:
    assert read_yaml(f"key: {format_yaml(text)}")[0] == {"key": text}


def test_a_path_that_looks_like_our_code_stays_a_text(tmp_path: Path) -> None:
    path = "it's dict(case.input).py"
    test = {"vars": {"a": "x"}, "assert": [{"type": "python", "value": f"file://{path}"}]}
    files = write(tmp_path, {"prompts": ["{{a}}"], "providers": ["echo"], "tests": [test]})
    module = ast.parse(next(iter(files.files.values())))
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    (run,) = [call for call in calls if ast.unparse(call.func) == "runpy.run_path"]
    assert ast.literal_eval(run.args[0]) == path


SECRETS = """\
prompts: ["{{a}}"]
env: {API_KEY: SECRET}
providers:
  - id: openai:gpt-4
    config: {apiKey: SECRET, headers: {x: SECRET}, apiBaseUrl: "https://u:SECRET@h.example/v1?k=SECRET"}
  - {id: "https://u:SECRET@h.example/x?k=SECRET", config: {body: {k: SECRET}}}
tests:
  - vars: {a: x}
    options: {transform: "ask('https://h.example?k=SECRET')", provider: {config: {apiKey: SECRET}}}
    assert:
      - {type: webhook, value: "https://SECRET@h.example/x?token=SECRET", config: {headers: {A: SECRET}}}
      - {type: llm-rubric, value: good, provider: "https://u:SECRET@h.example/y?k=SECRET"}
      - {type: python, value: "file://c.py", config: {api_key: SECRET, tool: find}}
      - {type: contains, value: a, transform: "ask('https://h.example?k=SECRET')"}
  - vars: "https://u:SECRET@h.example/vars.csv?k=SECRET"
  - "https://u:SECRET@h.example/tests.csv?k=SECRET"
"""


def test_no_secret_is_written_or_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(SECRETS, encoding="utf-8")
    target = tmp_path / "to"
    assert cli.main(["import", "promptfoo", str(path), "--to", str(target), "--name", "shop"]) == 0
    written = [path.read_text(encoding="utf-8") for path in target.rglob("*") if path.is_file()]
    text = "".join([*written, *capsys.readouterr()])
    assert "https://h.example/x?token=..." in text
    assert '"tool": "find"' in text
    assert "secret" not in text.replace("[secret]", "").replace(str(tmp_path), "").lower()


def test_values_that_grow_too_large_end_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_tests, "MAX_CHARS", 1_000)
    names = [f"n{number}" for number in range(100)]
    test = {
        "vars": {"a": names, "b": names, "text": "x" * 300},
        "assert": [{"type": "contains", "value": "{{text}}"}],
    }
    files = write(
        tmp_path, {"prompts": ["{{a}}"], "providers": ["echo"], "tests": [test, {"vars": {"a": "y"}}]}
    )
    blocked = [bool(test.obstacle) for test in files.suite.tests]
    assert blocked == [False, False, True, True]
    assert "import a part of the suite" in files.suite.tests[-1].obstacle


def test_a_prompt_that_a_value_does_not_suit_is_named(tmp_path: Path) -> None:
    tests = [{"vars": {"a": "text"}}, {"vars": {"a": {"b": "c"}}}]
    files = write(tmp_path, {"prompts": ["{{a.b}}", "{{a}}"], "providers": ["echo"], "tests": tests})
    named = [remark.what for remark in files.remarks if "its test fails" in remark.why]
    assert named == ["prompt v1", "prompt v2"]  # each for another test


@pytest.mark.parametrize("name", [".env", ".env.local", ".git/config", "server.pem", "link.txt"])
def test_files_that_hold_secrets_are_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / ".env")
    for file in (".env", ".env.local", ".git/config", "server.pem"):
        (tmp_path / file).write_text("KEY=SECRET", encoding="utf-8")
    test = {"vars": {"a": f"file://{name}"}}
    files = write(tmp_path, {"prompts": ["{{a}}"], "providers": ["echo"], "tests": [test]})
    assert "may contain secrets" in files.suite.tests[0].obstacle
    assert "SECRET" not in "".join(files.files.values())


def test_paths_that_are_too_long_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("prompts: [x]\nproviders: [echo]\n", encoding="utf-8")
    long = str(tmp_path / ("a" * 300))
    assert cli.main(["import", "promptfoo", long]) == 2
    assert cli.main(["import", "promptfoo", str(tmp_path / "c.yaml"), "--to", long]) == 2
    assert capsys.readouterr().err.count("name another file or folder") == 2


class CountedNames(set[str]):
    """Names that count how often they are asked for one."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


def test_a_free_number_is_found_with_few_tries() -> None:
    used = CountedNames(f"same-{number}" for number in range(2, 5_000))
    assert add_number("same-", used) == "same-5000"
    assert used.asked < 50


def test_an_assertion_behind_an_anchor_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(
        "prompts: ['{{a}}']\nproviders: [echo]\ntests:\n"
        "- {vars: {a: x}, assert: &all [{type: contains, value: x}, {type: webhook, value: y}]}\n"
        "- {vars: {a: y}, assert: *all}\n",
        encoding="utf-8",
    )
    (suite,) = read_suites(path)
    checks = [[(one, make_check(one, test.variables)) for one in test.assertions] for test in suite.tests]
    files = write_suite(suite, checks)
    assert (files.carried, files.total) == (1, 2)
