"""Trivial code as checks; the verdicts of the data are promptfoo's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.imported_checks import carry, make_checks, passes, refuse

from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.code_tree import UnknownCode
from pytest_llmops.imports.javascript_syntax import read_javascript
from pytest_llmops.imports.python_syntax import read_python
from pytest_llmops.measurement import Json

DATA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "support" / "data" / "javascript_conditions.json").read_text(
        encoding="utf-8"
    )
)


@pytest.mark.slow
def test_javascript_decides_as_promptfoo_does() -> None:
    for row in DATA["codes"]:
        checks = carry("javascript", row["code"])
        assert all(passes(checks, output) for output in row["passing"]), row["code"]
        assert not any(passes(checks, output) for output in row["failing"]), row["code"]


def test_where_javascript_converts_types_the_check_is_stricter_and_says_so() -> None:
    stricter = [row for row in DATA["codes"] if "stricter" in row]
    assert stricter
    for row in stricter:
        checks = carry("javascript", row["code"])
        assert not any(passes(checks, output) for output in row["stricter"]), row["code"]
        says_so = any(check.differs or "loads(answer)" in check.call for check in checks)
        assert says_so, row["code"]


@pytest.mark.parametrize(
    ("code", "lines", "values"),
    [
        (
            "output.length < 20",
            ['assert_score(len, answer, at_most=19, name="length", unit="count")'],
            [None],
        ),
        (
            "5 <= output.trim().length",
            ['assert_score(len, answer.strip(), at_least=5, name="length", unit="count")'],
            [None],
        ),
        (
            'output.toLowerCase().includes("a") || output.toLowerCase().includes("b")',
            ["assert_contains(answer, {value}, any_of=True, ignore_case=True)"],
            [["a", "b"]],
        ),
        (
            '!["a", "b"].some(w => output.includes(w))',
            ["assert_not_contains(answer, {value})", "assert_not_contains(answer, {value})"],
            ["a", "b"],
        ),
        ("!/\\bno$/i.test(output)", ["assert_not_matches(answer, {value})"], [r"(?ai)\bno\Z"]),
        (
            "const j = JSON.parse(output); j.a === 1 && j.b.c >= 2 && output.length > 1",
            [
                'assert_score(len, answer, at_least=2, name="length", unit="count")',
                "assert_schema(answer, {value}, whole=True)",
            ],
            [
                None,
                {
                    "type": "object",
                    "properties": {
                        "a": {"const": 1},
                        "b": {
                            "type": "object",
                            "properties": {"c": {"type": "number", "minimum": 2}},
                            "required": ["c"],
                        },
                    },
                    "required": ["a", "b"],
                },
            ],
        ),
        (
            "(JSON.parse(output).text || '').split(/\\s+/).filter(w => w.length > 0).length >= 5",
            [
                'assert_score(len, (json.loads(answer).get("text") or "").split(), at_least=5, name="words", unit="count")',
            ],
            [None],
        ),
        (
            "!['a', 'b'].includes(JSON.parse(output).a[0].b.toLowerCase().trim().split(/\\s+/)[0])",
            ['assert_not_matches([*json.loads(answer)["a"][0]["b"].split(), ""][0].lower(), {value})'],
            [r"\A(?:a|b)\Z"],
        ),
        (
            "output.route.status === 'ok'",
            ["assert_schema(answer, {value}, whole=True)"],
            [
                {
                    "type": "object",
                    "properties": {
                        "route": {
                            "type": "object",
                            "properties": {"status": {"const": "ok"}},
                            "required": ["status"],
                        }
                    },
                    "required": ["route"],
                }
            ],
        ),
    ],
)
def test_the_lines_are_those_that_a_person_would_write(
    code: str, lines: list[str], values: list[Json]
) -> None:
    checks = carry("javascript", code)
    assert [check.call for check in checks] == lines
    assert [check.value for check in checks] == values


@pytest.mark.parametrize(
    ("code", "passing", "failing"),
    [
        ("len(output) < 3", "ab", "abc"),
        ("1 < len(output.strip()) <= 3", " ab ", " a "),
        ("'fee' in output.lower() and 'x' not in output", "Fee", "fee x"),
        ("output.startswith('Ahoy') or output.endswith('!')", "Hi!", "Hi"),
        ("not output == 'no'", "no!", "no"),
        ("1.0 if 'a' in output else 0.0", "a", "b"),
        ("text = output.strip()\nreturn text == 'yes'", " yes\n", "no"),
        ("bool(output)", "a", ""),
    ],
)
def test_python(code: str, passing: str, failing: str) -> None:
    checks = carry("python", code)
    assert passes(checks, passing)
    assert not passes(checks, failing)


@pytest.mark.parametrize(
    ("code", "passing", "failing"),
    [
        ("String(output).length > 2", "abc", "ab"),
        ("output.length !== 0", "a", ""),
        ("JSON.parse(output).a.trim() === 'x'", '{"a": " x "}', '{"a": "x y"}'),
        ("(JSON.parse(output).a || '') !== ''", '{"a": "x"}', '{"a": ""}'),
        (
            "JSON.parse(output).l.some(i => i.a.trim() === 'x')",
            '{"l": [{"a": " x "}]}',
            '{"l": [{"a": "y"}]}',
        ),
        ("JSON.parse(output).l.some(i => (i.a || '') !== '')", '{"l": [{"a": "x"}]}', '{"l": [{}]}'),
        ("!['a', 'b'].includes(JSON.parse(output).a)", '{"a": "c"}', '{"a": "b"}'),
    ],
)
def test_further_forms_of_javascript(code: str, passing: str, failing: str) -> None:
    checks = carry("javascript", code)
    assert passes(checks, passing)
    assert not passes(checks, failing)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "output.length",
        "output.search('a')",
        "output.includes(5)",
        "output.includes(output)",
        "JSON.parse(output).a.length > -1",
        "JSON.parse(output).a.includes('x', 3)",
        "output.length < 5 ? 1 : 0.5",
        "output.includes('')",
        "output.toLowerCase().includes('A')",
        "['A', 'B'].includes(output.toLowerCase())",
        "output[0] === 'a'",  # of a text its first character
        "output[0].includes('a')",
        "const x = 1;\noutput.length > 0",
        "fetch('http://example.org')",
        "output.includes(`${context.vars.name}`)",
        "output.a === 1 && output.length > 2 || output.b",
        "JSON.parse(output).a === context.vars.missing",
        "output.includes('a') || output.length > 3",
        "!(output.includes('a') && output.includes('b'))",
        "JSON.parse(output).a != true",
        "JSON.parse(output).l.some(i => i.a.b === 1) || JSON.parse(output).c",
        "process.exit(1)",
        "(() => { while (true) {} })()",
        "output => output.length > 1",
        "typeof output === 'string'",
        "/(?<=a+)b/.test(output)",
        "require('fs').readFileSync('x').length > 1",
    ],
)
def test_anything_else_is_refused(code: str) -> None:
    made = make_checks("javascript", code)
    assert isinstance(made[0], NotCarried)


def test_one_line_with_its_end_is_carried() -> None:
    made = make_checks("javascript", "output.length > 0\n")
    assert isinstance(made[0], Check)


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('x')",
        "len(output) < 3; import os",
        "[x for x in output]",
        "open('x')",
        "output.lower",
        "x = 1",
        "len(output) <",
        "return len(output) < 3",
        "(" * 500,
        "f'{output}' == 'x'",
    ],
)
def test_other_python_is_refused(code: str) -> None:
    assert refuse("python", code).why


def test_variables_of_the_test_are_values() -> None:
    (check,) = carry("javascript", "output.includes(context.vars.city)", {"city": "Rome"})
    assert (check.key, check.value) == ("contains", "Rome")
    (check,) = carry("javascript", "JSON.parse(output).n === context.vars.count", {"count": 3})
    assert check.value == {"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"]}


def test_an_opposite() -> None:
    checks = carry("not-javascript", "output.includes('a') || output.length > 3")
    assert passes(checks, "b")
    assert not passes(checks, "a")
    assert not passes(checks, "bbbb")


def test_a_threshold_changes_what_a_number_means() -> None:
    code = "output.includes('a') ? 1 : 0"
    assert carry("javascript", code, options={"threshold": 0.5})
    assert refuse("javascript", code, options={"threshold": 0}).why


def test_hostile_code_ends_soon() -> None:
    doubling = "const a0 = output.trim();" + "".join(
        f"const a{number + 1} = a{number}.concat(a{number}, a{number});" for number in range(60)
    )
    for code in (
        f"{doubling} a60 === 'x'",
        "!" * 4_000 + "output",
        "output" + ".a" * 2_000,
        "(" * 2_000,
        "[" * 2_000,
        "output.length > 0" + " && output.length > 0" * 200,
        "'" + "a" * 10_000 + "'",
    ):
        with pytest.raises(UnknownCode):
            read_javascript(code)
    python = "a = (output, output)\n" + "".join(f"{chr(98 + n)} = ({chr(97 + n)},) * 9\n" for n in range(20))
    with pytest.raises(UnknownCode):
        read_python(f"{python}return a == b")


PIECES = st.sampled_from(
    [
        "output",
        ".",
        "length",
        "trim",
        "(",
        ")",
        "JSON",
        "parse",
        "===",
        "!==",
        "<",
        "&&",
        "||",
        "!",
        "?",
        ":",
        "'a'",
        "1",
        "/a/i",
        "test",
        "includes",
        "[",
        "]",
        ",",
        "=>",
        "x",
        "some",
        "const",
        "=",
        ";",
        "return",
        "null",
        "typeof",
        "in",
        "{",
        "}",
        "pass",
        "score",
        "reason",
        "context",
        "vars",
        "\n",
        "if",
        "`b`",
        "Object",
        "keys",
        "undefined",
        "??",
        "-",
    ]
)


@given(st.lists(PIECES, max_size=16))
def test_any_tokens_become_checks_or_a_reason(pieces: list[str]) -> None:
    for made in make_checks("javascript", " ".join(pieces), {"x": "y"}):
        if isinstance(made, Check):
            assert passes([made], "a") in {True, False}
        else:
            assert made.why
