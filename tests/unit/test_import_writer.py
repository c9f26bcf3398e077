"""What is written of an imported suite: functions, cases, prompts, judge files, and what is not carried."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from support.imported_suites import (
    FILE,
    SuiteBuilder,
    code,
    contains,
    latency,
    pattern,
    prompt,
    rubric,
    schema,
)
from support.messages import check_message

from pytest_llmops.cases import load_cases
from pytest_llmops.imports.suite import Application, Place, SuiteError
from pytest_llmops.imports.suite_files import SuiteFiles, write_suite
from pytest_llmops.judges.item_judges import load_judge_file
from pytest_llmops.prompts.registry import Prompts

ORDER: Any = {
    "type": "object",
    "required": ["id", "items"],
    "properties": {
        "id": {"type": "string", "minLength": 10},
        "items": {"type": "array", "minItems": 1, "items": {"type": "string"}},
    },
}


def write(builder: SuiteBuilder) -> SuiteFiles:
    return write_suite(*builder.build())


def module(files: SuiteFiles) -> str:
    return next(iter(files.files.values()))


def function(files: SuiteFiles, name: str) -> str:
    """The lines of a test function, with its decorators."""
    parts = module(files).split("\n\n\n")
    (found,) = [part for part in parts if f"def test_{name}(" in part]
    return found.rstrip("\n")


def rows(files: SuiteFiles, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files.files[f"cases/refunds/{name}.jsonl"].splitlines()]


def list_functions(files: SuiteFiles) -> list[str]:
    lines = module(files).splitlines()
    return [
        line.removeprefix("def test_").partition("(")[0] for line in lines if line.startswith("def test_")
    ]


def test_tests_with_the_same_checks_share_a_function_and_values_that_differ_are_in_the_cases() -> None:
    builder = SuiteBuilder()
    builder.add("late", contains("45 days"), contains("no"), shared=[latency()], tags=("a",), family="late")
    builder.add("late-2", contains("yes"), shared=[latency()], description="Two months")
    builder.add("same", pattern(r"\d+"))
    builder.add("same-2", pattern(r"\d+"))
    files = write(builder)
    assert function(files, "contains") == (
        '@pytest.mark.cases("cases/refunds/contains.jsonl")\n'
        "def test_contains(prompt, case):\n"
        "    answer = application(prompt.render(question=case.input))\n"
        "    with soft():\n"
        '        assert_contains(answer, case["icontains"], ignore_case=True)\n'
        "        assert_latency(at_most_s=8)"
    )
    assert function(files, "pattern").endswith('    assert_matches(answer, r"\\d+")')
    assert rows(files, "contains") == [
        {
            "id": "late",
            "input": "What of late?",
            "icontains": ["45 days", "no"],
            "tags": ["a"],
            "family": "late",
        },
        {"id": "late-2", "input": "What of late-2?", "description": "Two months", "icontains": "yes"},
    ]
    assert rows(files, "pattern") == [
        {"id": name, "input": f"What of {name}?"} for name in ("same", "same-2")
    ]
    assert (files.carried, files.total, files.functions) == (6, 6, 2)
    assert files.remarks == ()


def test_a_check_of_the_calls_needs_no_name_for_the_answer() -> None:
    builder = SuiteBuilder()
    builder.add("a", latency())
    assert function(write(builder), "latency").endswith(
        "    application(prompt.render(question=case.input))\n    assert_latency(at_most_s=8)"
    )


def test_checks_that_do_not_join_have_keys_of_their_own() -> None:
    builder = SuiteBuilder()
    any_of = {"call": "assert_contains(answer, {value}, any_of=True)", "joins": False, "key": "tags"}
    builder.add("a", contains(["x"], **any_of), contains(["y"], **any_of))
    files = write(builder)
    (row,) = rows(files, "contains")
    assert (row["tags_value"], row["tags_value_2"]) == (["x"], ["y"])
    assert 'case["tags_value_2"], any_of=True' in function(files, "contains")


def test_functions_are_named_by_their_checks_or_by_what_they_differ_in() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"), description="Names the refund window!", repeat=3)
    builder.add("b", contains("x"), contains("y"))
    builder.add("b2", contains("x"))
    builder.add("c", contains("x"), output="x")
    builder.add("d", contains("x"), code())
    builder.add("e", contains("x"), obstacle="its variables are made by code")
    builder.add("f")
    builder.add("g", contains("x"), pattern("x"), schema(True), rubric("x"), code(), shared=[latency()])
    builder.add("h", pattern("x"), contains("x"), schema(True), rubric("y"), code(), shared=[latency()])
    files = write(builder)
    assert list_functions(files) == [
        "names_the_refund_window",
        "contains",
        "contains_of_output",
        "contains_besides_javascript",
        "javascript",
        "contains_blocked",
        "answer",
        "contains_pattern_and_more",
        "javascript_of_contains_pattern_and_more",
    ]
    assert "@pytest.mark.llm_trials(3)\n" in function(files, "names_the_refund_window")
    named = [remark.place.line for remark in files.remarks if remark.what == "test without an assertion"]
    assert named == [28]


def test_what_is_not_carried_is_a_skipped_test_with_its_place_and_its_code() -> None:
    builder = SuiteBuilder()
    builder.add("a", code("javascript output.length", ["return output.length\u2028;"]))
    builder.add("b", code("javascript file://b.js"))
    builder.add(
        "c", code("python file://c.py", why="not run", noun="c_py", body=("assert answer, dict(case.input)",))
    )
    files = write(builder)
    assert function(files, "javascript") == (
        "@pytest.mark.skip(\n"
        f'    reason="{FILE}:21, 22: javascript: code of the suite is not run: "\n'
        '    "write the check here",\n'
        ")\n"
        '@pytest.mark.cases("cases/refunds/javascript.jsonl")\n'
        "def test_javascript(prompt, case):\n"
        f"    # {FILE}:21 (a): javascript output.length\n"
        "    #   return output.length\\u2028;\n"
        f"    # {FILE}:22 (b): javascript file://b.js\n"
        '    raise NotImplementedError("write the check here")'
    )
    assert function(files, "c_py").endswith(
        f"    # {FILE}:23: python file://c.py\n"
        "    answer = application(prompt.render(question=case.input))\n"
        '    assert answer, {"question": case.input, **case.data.get("vars", {})}'
    )
    assert [(remark.kind, remark.place.line, remark.what) for remark in files.remarks] == [
        ("not carried", 21, "javascript output.length"),
        ("not carried", 22, "javascript file://b.js"),
        ("not carried", 23, "python file://c.py"),
    ]
    assert (files.carried, files.total) == (0, 3)


def test_a_test_that_cannot_run_is_skipped_with_its_cases() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"), obstacle="its variables are made by code", variables={})
    files = write(builder)
    assert function(files, "contains").startswith(
        f'@pytest.mark.skip(reason="{FILE}:21: its variables are made by code")\n@pytest.mark.cases('
    )
    assert rows(files, "contains")[0]["id"] == "a"
    assert [remark.why for remark in files.remarks] == ["its variables are made by code"]


def test_rubrics_and_schemas_that_tests_share_are_files() -> None:
    builder = SuiteBuilder()
    builder.add("a", rubric("The answer is polite and helpful."), schema(ORDER))
    builder.add("b", rubric("The answer is polite and helpful."))
    builder.add("c", rubric("Says no."), contains("no"))
    builder.add(
        "d", rubric("Says yes.", levels={"1": "bad", "2": "good"}, pass_at=2), schema({"type": "object"})
    )
    files = write(builder)
    assert set(files.files) >= {"judges/refunds/polite_helpful.md", "schemas/refunds/json_and_rubric.json"}
    assert files.files["judges/refunds/polite_helpful.md"] == (
        "---\nkind: rubric\n---\nThe answer is polite and helpful.\n"
    )
    text = module(files)
    assert 'SCHEMAS = Path(__file__).parent / "schemas" / "refunds"\n' in text
    assert 'assert_schema(answer, SCHEMAS / "json_and_rubric.json")' in text
    assert 'assert_schema(answer, {"type": "object"})' in text
    # A rubric of one test is in its case, and such a test is skipped without a judge.
    own = function(files, "contains_and_rubric")
    assert own.startswith("@pytest.mark.judge\n")
    assert 'judge=Rubric(criteria=case["criteria"], name="criteria")' in own
    assert "from pytest_llmops.judges import Rubric\n" in text
    assert "@pytest.mark.judge" not in function(files, "rubric")
    # A failed check of the text counts also where no judge is asked.
    assert "soft" not in own
    assert own.index("assert_contains") < own.index("assert_judge_score")
    assert 'levels={"1": "bad", "2": "good"}' in function(files, "json_and_rubric_2")
    assert files.needs_judge


def test_long_values_that_functions_share_are_constants() -> None:
    builder = SuiteBuilder()
    banned = contains(["word", "another word", "x" * 50], key="banned")
    builder.add("a", contains("x"), shared=[banned])
    builder.add("b", pattern("x"), shared=[banned])
    levels = {"1-5": "It does not fulfil the criteria.", "6-10": "It fulfils the criteria."}
    for number, check in enumerate((contains("x"), pattern("x"))):
        builder.add(f"{number}", check, rubric(f"x{number}", levels=levels, pass_at=7))
    text = module(write(builder))
    assert text.count("\nBANNED = [") == 1
    assert text.count("assert_contains(answer, BANNED, ignore_case=True)") == 2
    assert text.count("LEVELS = {") == 1
    assert text.count("levels=LEVELS, pass_at=7") == 2


def test_what_all_tests_have_and_is_not_carried_is_written_once() -> None:
    builder = SuiteBuilder()
    shared = code("javascript file://all.js", noun="all_js")
    builder.add("a", contains("x"), shared=[shared])
    builder.add("b", contains("y"), shared=[shared])
    builder.add("c", pattern("x"), code(), shared=[shared])
    builder.add("d", shared=[shared])
    files = write(builder)
    assert list_functions(files) == ["contains", "all_js", "pattern", "javascript", "all_js_2"]
    text = function(files, "all_js")
    assert f'reason="{FILE}:3: javascript all.js (of all tests): code of the suite is ' in text.replace(
        '"\n    "', ""
    )
    assert (files.carried, files.total) == (3, 5)


def test_tests_that_cannot_run_for_several_reasons_share_a_function() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"), obstacle="no such file: a.txt")
    builder.add("b", contains("x"), obstacle="no such file: b.txt")
    builder.add("c", obstacle="no such file: b.txt")
    files = write(builder)
    text = function(files, "contains")
    assert f'"{FILE}:21, 22: no such file: a.txt; see the other reasons "' in text
    assert f"    # {FILE}:22 (b): no such file: b.txt\n    answer = " in text
    assert "raise NotImplementedError" in function(files, "answer")


def test_a_rubric_with_dimensions_is_a_file_also_of_one_test(tmp_path: Path) -> None:
    builder = SuiteBuilder()
    front = {
        "levels": {"1-5": "Bad: 'no'", "6-10": "yes"},
        "dimensions": {"tone": {"about": "x: y #"}, "help": {}},
    }
    front["dimensions"] = {"tone": {"weight": 0.5, "about": "x: y #"}, "help": {"weight": 0.5, "about": "no"}}
    builder.add("a", rubric("How good is it?", **front, pass_at=7))  # type: ignore[arg-type]
    files = write(builder)
    (path,) = [path for path in files.files if path.startswith("judges/")]
    (tmp_path / "judge.md").write_text(files.files[path])
    judge: Any = load_judge_file(tmp_path / "judge.md")
    assert (judge.pass_at, dict(judge.spec.scale.weights)) == (7, {"tone": 0.5, "help": 0.5})


MODELS = Application(models=("gpt-5-mini", "gpt-5"), params={"temperature": 0}, place=Place(FILE, 4))


def test_models_are_asked_by_the_fixture_and_versions_are_the_prompts(tmp_path: Path) -> None:
    prompts = (
        prompt("Answer {{ question }}", "question", label="short", params={"max_tokens": 5}),
        prompt("{{ tone }}: {{ question }}\nuser:\n", "tone", "question"),
    )
    builder = SuiteBuilder(application=MODELS, prompts=prompts)
    builder.add("a", contains("x"), variables={"question": ["q"], "tone": None, "context": "c"})
    files = write(builder)
    text = module(files)
    assert "application" not in text
    assert 'pytest.mark.prompt("refunds", versions=["v1", "v2"])' in text
    assert "gpt-5-mini and gpt-5" in text.split('"""')[1]
    assert (
        "    variables = {name: case.input[name] for name in prompt.variables}\n"
        "    answer = llm.complete(prompt.render(**variables)).text\n"
    ) in text
    assert rows(files, "contains")[0]["input"] == {"question": "q", "tone": ""}
    assert rows(files, "contains")[0]["vars"] == {"context": "c"}
    for path, content in files.prompts.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    first, second = (Prompts(tmp_path).get("refunds", version) for version in ("v1", "v2"))
    assert (first.description, dict(first.params)) == ("short", {"temperature": 0, "max_tokens": 5})
    assert second.render(tone="a", question="b")[0].content == "a: b\n user:"


def test_values_that_a_prompt_inserts_are_texts_and_checks_have_them_as_they_are() -> None:
    text = "{{ flag }} {{ context }} {{ item }}{% for x in rows %}{{ x }}{% endfor %}{% if on %}!{% endif %}"
    names = ("flag", "context", "item", "rows", "on")
    builder = SuiteBuilder(prompts=(prompt(text, *names),))
    call = "assert_grounded(answer, {var:context}, question={var:question})"
    grounded = contains("x", call=call, form="none", key="", imports=("assert_grounded",))
    values = {"flag": True, "context": ["a", "b"], "item": {"k": 1}, "rows": [1, 2], "on": False}
    builder.add("a", grounded, variables={**values, "question": "q"})
    builder.add("b", contains("x"), variables={**values, "rows": [{"k": 1}], "question": "q"})
    files = write(builder)
    assert rows(files, "contains")[0] == {
        "id": "a",
        "input": {"flag": "true", "context": "a,b", "item": "[object Object]", "rows": [1, 2], "on": False},
        "vars": {"context": ["a", "b"], "question": "q"},
    }
    assert 'assert_grounded(answer, case["vars"]["context"], question=case["vars"]["question"])' in module(
        files
    )
    # The rows of the second test are objects, which the prompt cannot insert one by one.
    assert "its prompt cannot be made: " in function(files, "contains_blocked").replace('"\n    "', "")


def test_a_prompt_that_cannot_be_made_blocks_its_test() -> None:
    builder = SuiteBuilder(prompts=(prompt("{{ rows | sum }}", "rows"),))
    builder.add("a", contains("x"), variables={"rows": ["x", "y"]})
    builder.add("b", contains("x"), variables={"rows": [1, 2]})
    files = write(builder)
    assert "its prompt cannot be made: " in function(files, "contains_blocked").replace('"\n    "', "")
    assert rows(files, "contains")[0]["input"] == {"rows": [1, 2]}


def test_a_variable_that_is_a_keyword_is_given_by_a_mapping() -> None:
    builder = SuiteBuilder(prompts=(prompt("{{ class }}", "class"),))
    builder.add("a", contains("x"), variables={"class": "5b"})
    files = write(builder)
    assert "prompt.render(**case.input)" in module(files)
    assert rows(files, "contains")[0]["input"] == {"class": "5b"}


def test_a_prompt_without_variables_and_variables_that_no_prompt_uses() -> None:
    builder = SuiteBuilder(prompts=(prompt("Tell a joke."),))
    builder.add("a", contains("x"), variables={}, description="A joke")
    builder.add("b", contains("x"), variables={"topic": "cats"})
    files = write(builder)
    assert "answer = application(prompt.render())" in module(files)
    assert [row["input"] for row in rows(files, "contains")] == ["A joke", {"topic": "cats"}]


def test_prompts_made_by_code_get_the_variables() -> None:
    application = Application(asked=("openai:gpt-5",), takes_variables=True, place=Place(FILE, 4))
    builder = SuiteBuilder(application=application, prompts=())
    call = "assert_grounded(answer, [{var:context}])"
    builder.add("a", contains("x", call=call, form="none", key="", imports=("assert_grounded",)))
    files = write(builder)
    assert 'answer = application(case.input)\n    assert_grounded(answer, [case.input["context"]])' in module(
        files
    )
    assert rows(files, "contains")[0]["input"] == {"question": "What of a?", "context": ""}
    assert [remark.what for remark in files.remarks] == ["variable context"]
    assert files.prompts == {}


def test_an_answer_of_the_suite_is_checked_without_a_call() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"), latency(), output="x y")
    builder.add("b", contains("x"))
    files = write(builder)
    text = function(files, "contains_of_output")
    assert text.startswith(
        '@pytest.mark.cases("cases/refunds/contains_of_output.jsonl")\ndef test_contains_of_output(case):'
    )
    assert "    answer = case.output\n" in text
    assert rows(files, "contains_of_output")[0]["output"] == "x y"
    assert '@pytest.mark.prompt("refunds")' in function(files, "contains")
    assert "pytestmark = pytest.mark.llm_cassette\n" in module(files)
    assert "assert_latency" not in module(files)
    assert (files.carried, files.total) == (2, 3)


@pytest.mark.parametrize(
    ("builder", "tests"),
    [
        (SuiteBuilder(), []),
        (SuiteBuilder(), [contains("x", call="assert_contains(answer, exec)")]),
        (SuiteBuilder(prompts=(prompt(" "),)), [contains("x")]),
        (SuiteBuilder(prompts=(prompt("{{ question }", "question"),)), [contains("x")]),
    ],
)
def test_a_suite_that_cannot_be_written_is_an_error(builder: SuiteBuilder, tests: Sequence[Any]) -> None:
    own = deepcopy(builder)
    for check in tests:
        own.add("a", check)
    with pytest.raises(SuiteError, check=check_message) as caught:
        write(own)
    assert caught.value.place.file == FILE


def test_a_case_that_no_prompt_takes_is_named_and_the_others_are_written() -> None:
    builder = SuiteBuilder(prompts=(prompt("{{ to }} in {{ to.town }}", "to"),))
    for number, output in enumerate((None, "an answer")):
        builder.add(f"case-{number}", contains("x"), variables={"to": {"town": "Bern"}}, output=output)
    builder.add("list", contains("x"), variables={"to": ["Bern"]})
    files = write(builder)
    problems = [remark for remark in files.remarks if remark.kind == "not carried"]
    assert problems == list(files.remarks)
    assert [remark.what for remark in problems] == ["test case-0", "test list"]
    assert files.carried == 3


def make_large_suite() -> SuiteBuilder:
    """A suite with all kinds of lines, and long ones."""
    builder = SuiteBuilder(title='Say "hi" \\ """ to \u202e everybody ' + "again " * 20)
    builder.add("a", contains("x " * 60), contains("'\"\n\\"), pattern("\\d \"'"), shared=[latency()])
    builder.add("b", contains(["x" * 50, "y" * 50]), pattern("\\\\"), description="it's \\ " + "long " * 30)
    builder.add("c", rubric("c"), schema(ORDER), code("c " * 100, ["d " * 100] * 40))
    builder.add("d", rubric("x", levels={"1": "a" * 50, "2": "b" * 50}, pass_at=2))
    for name in ("e", "f"):
        builder.add(name, contains(["x" * 50, "y" * 50], key="k"), pattern("z" * 90), code("e"))
    builder.add("g", contains("x", differs="there it is judged by a model of its own, " * 3))
    builder.add("h", obstacle="its variables are made by code, " * 4)
    return builder


@pytest.mark.slow
def test_the_module_is_as_a_formatter_and_a_linter_want_it(tmp_path: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    (tmp_path / "test_refunds.py").write_text(module(write(make_large_suite())), encoding="utf-8")
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--no-cache", "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_lines_are_short_where_they_can_be() -> None:
    lines = module(write(make_large_suite())).splitlines()
    assert [line for line in lines if len(line) > 100 and " " in line.strip()[:90]] == []


def test_case_files_are_read_by_ours(tmp_path: Path) -> None:
    files = write(make_large_suite())
    ids = []
    for path, text in files.files.items():
        if path.startswith("cases/"):
            (tmp_path / "cases.jsonl").write_text(text, encoding="utf-8")
            ids += [case.id for case in load_cases(tmp_path / "cases.jsonl")]
    assert sorted(ids) == list("abcdefgh")


def test_variables_that_no_prompt_uses_reach_the_application() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"), variables={"question": "q", "system_prompt": "Be brief."})
    builder.add("b", contains("x"), variables={"question": "r"})
    text = module(write(builder))
    assert "def application(prompt, case):" in text
    assert "`system_prompt`" in text
    assert "    answer = application(prompt.render(question=case.input), case)\n" in text
