"""Foreign text never becomes code, and what is written is read back as it was."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import imported_suites as suites
from support.strategies import json_values, scale_examples

from pytest_llmops._util.text_files import read_yaml
from pytest_llmops.imports.front_matter import format_prompt, format_yaml
from pytest_llmops.imports.python_code import (
    escape_line,
    fill_placeholders,
    format_code_comment,
    format_comment,
    format_docstring,
    format_pattern,
    format_statement,
    format_text,
    format_value,
)
from pytest_llmops.imports.suite import Application, Place, SuiteError
from pytest_llmops.imports.suite_files import write_suite
from pytest_llmops.prompts.prompt_file import split_front_matter, split_sections

# What would end a literal, a comment or a docstring, or begin code, if it could
HOSTILE = st.sampled_from(
    [
        '"""',
        "'''",
        '"',
        "'",
        "\\",
        "\\'",
        '\\"',
        "\n",
        "\r",
        "\x0c",
        "\0",
        "\u2028",
        "\u202e",
        "\x85",
        "{value}",
        "{var:x}",
        "{question}",
        "# ",
        "\nimport os\nos.system('x')\n",
        '"); __import__("os"); ("',
        "user:",
        "---",
        "{{ 7 * 7 }}",
        "%s",
        "\ufeff",
        "word " * 30,
    ]
)
texts = st.lists(st.one_of(HOSTILE, st.text(st.characters(exclude_categories=["Cs"]), max_size=8))).map(
    "".join
)
CALLS = {
    "NotImplementedError",
    "Path",
    "Rubric",
    "application",
    "assert_contains",
    "assert_judge_score",
    "assert_matches",
    "assert_schema",
    "isinstance",
    "prompt.render",
    "pytest.mark.cases",
    "pytest.mark.prompt",
    "pytest.mark.skip",
    "soft",
}


@pytest.mark.slow
@given(texts, json_values)
def test_literals_are_the_values_and_stay_in_their_line(text: str, value: Any) -> None:
    for literal, expected in (
        (format_text(text), text),
        (format_pattern(text), text),
        (format_value(value), value),
    ):
        assert ast.literal_eval(literal) == expected
        assert literal.isprintable()
        statement = fill_placeholders("check(answer, {value}, label='{value}')", literal, {})
        lines = "\n".join(format_statement(statement, "    "))
        call = ast.parse(f"with x:\n{lines}").body[0].body[0].value  # type: ignore[attr-defined]
        assert ast.literal_eval(call.args[1]) == expected
        assert ast.literal_eval(call.keywords[0].value) == "{value}"


@pytest.mark.slow
@given(texts, st.lists(texts, max_size=4))
def test_comments_and_docstrings_do_not_end(text: str, lines: list[str]) -> None:
    comments = [*format_comment(text, "    "), *format_code_comment(lines, "    ")]
    assert all(line.lstrip().startswith("#") and line.isprintable() for line in comments)
    docstring = "\n".join(format_docstring([text or "x", *(line for line in lines if line.strip())], "    "))
    body = ast.parse(f"def f():\n{docstring}\n").body[0].body  # type: ignore[attr-defined]
    assert len(body) == 1
    assert isinstance(body[0].value.value, str)


@given(json_values)
def test_yaml_of_a_front_matter_is_read_as_it_was(value: Any) -> None:
    assert read_yaml(f"key: {format_yaml(value)}\n")[0] == {"key": value}


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=3))
def test_the_sections_of_a_prompt_are_read_as_they_were(sections: list[tuple[Any, str]]) -> None:
    sections = [(role, text.replace("\r", "").replace("\0", "")) for role, text in sections]
    if not all(text.strip() for _, text in sections):
        return
    text = format_prompt(suites.prompt("", sections=tuple(sections)), {})
    front, body, _ = split_front_matter(text)
    read = [(section.role, strip_lines(section.text)) for section in split_sections(body)]
    assert front == ""
    assert read == [(role, strip_lines(text)) for role, text in sections]


def strip_lines(text: str) -> list[str]:
    """The lines without their indentation, which a line such as ``user:`` gets, and without empty ones at the ends."""
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return lines


@pytest.mark.slow
@scale_examples(0.4)
@given(texts, texts, texts, st.data())
def test_a_module_has_no_code_of_the_suite(title: str, first: str, second: str, data: st.DataObject) -> None:
    draw = data.draw
    builder = suites.SuiteBuilder(
        title=title,
        source=Place(escape_line(draw(texts)) or "x", 3),
        application=Application(asked=(draw(texts),), place=Place(draw(texts), 4)),
    )
    variables = {"question": draw(texts), draw(texts): draw(json_values)}
    fields: Any = {"variables": variables, "description": draw(texts)}
    builder.add("a", suites.contains(first), suites.pattern(second), **fields)
    builder.add("b", suites.contains(first, differs=draw(texts)), suites.pattern(second), **fields)
    builder.add("c", suites.schema({first: second}), suites.rubric(first + "x"), **fields)
    builder.add("d", suites.code(draw(texts), [first, second], why=draw(texts), noun=draw(texts)), **fields)
    builder.add("e", obstacle=draw(texts), **fields)
    try:
        files = write_suite(*builder.build()).files
    except SuiteError:
        pytest.fail("it should be written")
    tree = ast.parse(files["test_refunds.py"])
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls <= CALLS
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {*modules} <= {"pathlib", "pytest_llmops", "pytest_llmops.judges"}
    assert all(Path(path).is_absolute() is False and ".." not in Path(path).parts for path in files)
