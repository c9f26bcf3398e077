"""Checks of a test that are written as one, and what an application is given."""

from __future__ import annotations

from typing import Any

from support.imported_suites import FILE, SuiteBuilder, code, contains, pattern, prompt, schema

from pytest_llmops.imports.suite import Place, SuiteAssertion
from pytest_llmops.imports.suite_files import SuiteFiles, write_suite
from pytest_llmops.imports.test_functions import group_tests


def write(builder: SuiteBuilder) -> SuiteFiles:
    return write_suite(*builder.build())


def module(files: SuiteFiles) -> str:
    return files.files["test_refunds.py"]


def values(builder: SuiteBuilder) -> list[dict[str, Any]]:
    """The values of the only function, for each test."""
    suite, checks = builder.build()
    (group,) = group_tests(suite.tests, checks)
    return [dict(given) for _, given in group.tests]


def need(name: str, value: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"const": value}}, "required": [name]}


def test_conditions_on_the_same_json_are_one_schema() -> None:
    builder = SuiteBuilder()
    builder.add("a", schema(need("x", "1")), schema(need("y", "2")), schema(True))
    builder.add("b", schema(True), schema(need("z", "3")))
    both = {**need("x", "1")["properties"], **need("y", "2")["properties"]}
    assert values(builder) == [
        {"schema": {"type": "object", "properties": both, "required": ["x", "y"]}},
        {"schema": need("z", "3")},
    ]
    assert 'assert_schema(answer, case["schema"])' in module(write(builder))


def test_a_schema_of_the_suite_stays_as_it_is() -> None:
    own = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    builder = SuiteBuilder()
    builder.add("a", schema(own), schema(need("x", "1")), schema(need("y", "2")))
    (given,) = values(builder)
    assert given["schema"] == own
    assert given["schema_2"]["required"] == ["x", "y"]


def test_several_patterns_are_a_loop_that_makes_all_checks() -> None:
    builder = SuiteBuilder()
    builder.add("a", pattern("x"), pattern(r"\d"))
    builder.add("b", pattern("y"))
    files = write(builder)
    assert module(files).endswith(
        "    with soft():\n"
        '        for pattern in case["pattern"]:\n'
        "            assert_matches(answer, pattern)\n"
    )
    assert '"pattern": ["x", "\\\\d"]' in files.files["cases/refunds/pattern.jsonl"]
    assert '"pattern": ["y"]' in files.files["cases/refunds/pattern.jsonl"]


def test_patterns_that_all_tests_have_are_a_constant() -> None:
    shared = [pattern(f"{letter * 30}") for letter in "abc"]
    builder = SuiteBuilder()
    builder.add("a", contains("x"), shared=shared)
    text = module(write(builder))
    assert '\nPATTERN = [\n    "aaa' in text
    assert "        for pattern in PATTERN:\n            assert_matches(answer, pattern)\n" in text


def test_a_schema_that_tests_share_is_named_by_its_title() -> None:
    titled = schema({"title": "Order form", **need("x", "1")})
    builder = SuiteBuilder()
    builder.add("a", titled)
    builder.add("b", titled, contains("x"))
    assert "schemas/refunds/order_form.json" in write(builder).files


def test_a_long_pattern_stays_one_raw_text() -> None:
    text = r"\d" * 60
    builder = SuiteBuilder()
    builder.add("a", pattern(text))
    builder.add("b", pattern(text))
    assert f'r"{text}"' in module(write(builder))


def test_an_application_gets_the_text_itself_if_the_prompt_is_nothing_else() -> None:
    builder = SuiteBuilder(prompts=(prompt("{{ question }}\n", "question"),))
    builder.add("a", contains("x"))
    call = "assert_grounded(answer, {var:context}, question={var:question})"
    grounded = contains("", call=call, form="none", key="", noun="grounded", imports=("assert_grounded",))
    builder.add("b", grounded, variables={"question": "q", "context": "c"})
    files = write(builder)
    text = module(files)
    assert "def application(question):\n" in text
    assert "def test_contains(case):\n    answer = application(case.input)\n" in text
    assert 'assert_grounded(answer, case["vars"]["context"], question=case.input)' in text
    assert "mark.prompt" not in text
    assert files.prompts == {}
    assert files.needs_application


def test_an_application_gets_all_variables_if_no_test_has_that_of_the_prompt() -> None:
    builder = SuiteBuilder(prompts=(prompt("{{ prompt }}", "prompt"),))
    builder.add("a", contains("x"), variables={"question": "q", "link": "l"})
    files = write(builder)
    assert "def application(variables):\n" in module(files)
    assert '"input": {"question": "q", "link": "l"}' in files.files["cases/refunds/contains.jsonl"]
    assert files.remarks == ()


def test_the_docstring_says_where_the_text_of_a_prompt_is() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"))
    assert "`prompt[0].content` is its text." in " ".join(module(write(builder)).split())
    two = prompt("", "question", sections=(("system", "Be kind."), ("user", "{{ question }}")))
    builder = SuiteBuilder(prompts=(two,))
    builder.add("a", contains("x"))
    assert "`prompt.to_dicts()` has its messages." in " ".join(module(write(builder)).split())


def test_the_reason_of_a_skipped_test_is_short_and_its_comment_has_all() -> None:
    long = "javascript const data = JSON.parse(output); return data.items.length"
    builder = SuiteBuilder()
    for number in range(3):
        builder.add(f"{number}", code(long))
    text = module(write(builder))
    assert f'reason="{FILE}:21, 22 and 1 more: javascript: code of the suite' in text.replace('"\n    "', "")
    assert f"# {FILE}:21, 22, 23: javascript const data" in text


def test_functions_that_differ_in_one_label_are_one() -> None:
    def named(text: str, label: str) -> Any:
        return contains(text, call=f"assert_contains(answer, {{value}}, label={label!r})")

    builder = SuiteBuilder()
    builder.add("a", named("x", "Tone"), code())
    builder.add("b", named("y", "it's"), code())
    builder.add("c", named("z", "Tone"), named("z", "Rules"))
    builder.add("d", named("z", "Tone"), named("z", "Other"))
    builder.add("e", named("z", "a"), named("z", "Third"))
    files = write(builder)
    text = module(files)
    assert 'assert_contains(answer, case["icontains"], label=case["label"])' in text
    assert (
        '"icontains": "x", "label": "Tone"}' in files.files["cases/refunds/contains_besides_javascript.jsonl"]
    )
    assert (
        '"icontains": "y", "label": "it\'s"}'
        in files.files["cases/refunds/contains_besides_javascript.jsonl"]
    )
    # Two labels that differ would say nothing of what is checked.
    assert text.count("label='Rules'") == text.count("label='Third'") == 1
    assert files.carried == 8


def test_a_check_of_all_tests_is_not_repeated() -> None:
    builder = SuiteBuilder()
    builder.add("a", contains("x"), contains("y"), shared=[contains("x")])
    builder.add("b", contains("x"), contains("z"), shared=[contains("x")])
    builder.add("c", contains("w"), contains("w"), shared=[contains("x")])
    files = write(builder)
    assert module(files).count("assert_contains(answer, ") == 2
    assert '"icontains": "y"' in files.files["cases/refunds/contains.jsonl"]
    assert '"icontains": "w"' in files.files["cases/refunds/contains.jsonl"]
    assert files.carried == 7


def test_assertions_in_one_line_count_each() -> None:
    builder = SuiteBuilder(assertion_count=3)
    for number, name in enumerate("abc", start=1):
        builder.add(name, contains("x") if name < "c" else code())
        assertion = SuiteAssertion(type="x", place=Place(FILE, 1), number=number)
        builder.checks[-1][:] = [(assertion, results) for _, results in builder.checks[-1]]
    files = write(builder)
    assert (files.carried, files.total) == (2, 3)
