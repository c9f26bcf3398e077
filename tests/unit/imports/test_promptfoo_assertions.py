"""promptfoo's assertions in our words. The verdicts are promptfoo's."""

from __future__ import annotations

import ast
import gzip
import json
from collections import Counter
from typing import Any

import pytest
from support.imported_checks import carry, find_names, make_checks, passes, refuse
from support.shared import shared

from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.literals import quote
from pytest_llmops.imports.promptfoo.assertion_table import AssertionRow, find_row, read_table
from pytest_llmops.imports.promptfoo.assertion_values import CONVERTERS
from pytest_llmops.imports.promptfoo.meaning_values import VARIABLE_CONVERTERS
from pytest_llmops.judges import Rubric
from pytest_llmops.measurement import Json

# Those of promptfoo 0.123.1, with the three special ones and the set
TYPES = [
    "agent-rubric",
    "answer-relevance",
    "bleu",
    "classifier",
    "contains",
    "contains-all",
    "contains-any",
    "contains-html",
    "contains-json",
    "contains-sql",
    "contains-xml",
    "context-faithfulness",
    "context-recall",
    "context-relevance",
    "conversation-relevance",
    "cost",
    "equals",
    "factuality",
    "finish-reason",
    "g-eval",
    "gleu",
    "guardrails",
    "icontains",
    "icontains-all",
    "icontains-any",
    "is-html",
    "is-json",
    "is-refusal",
    "is-sql",
    "is-valid-function-call",
    "is-valid-openai-function-call",
    "is-valid-openai-tools-call",
    "is-xml",
    "javascript",
    "latency",
    "levenshtein",
    "llm-rubric",
    "pi",
    "meteor",
    "model-graded-closedqa",
    "model-graded-factuality",
    "moderation",
    "perplexity",
    "perplexity-score",
    "python",
    "regex",
    "rouge-n",
    "ruby",
    "similar",
    "similar:cosine",
    "similar:dot",
    "similar:euclidean",
    "starts-with",
    "tool-call-f1",
    "skill-used",
    "trajectory:goal-success",
    "trajectory:tool-args-match",
    "trajectory:step-count",
    "trajectory:tool-sequence",
    "trajectory:tool-used",
    "trace-error-spans",
    "trace-span-count",
    "trace-span-duration",
    "search-rubric",
    "webhook",
    "word-count",
    "select-best",
    "human",
    "max-score",
    "assert-set",
]
VARIABLES: dict[str, Json] = {"query": "May I return it?", "context": "Within 30 days."}


def test_every_type_has_a_row_that_says_what_becomes_of_it() -> None:
    rows_by_type = read_table()
    assert set(rows_by_type) == {*TYPES, "promptfoo:redteam"}
    for row in rows_by_type.values():
        assert bool(row.call) != bool(row.why), row.name
        assert not row.why.endswith("."), row.name
        if row.call:
            assert row.key, row.name
            assert row.value in {*CONVERTERS, *VARIABLE_CONVERTERS}, row.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("contains", "a", {}),
        ("not-icontains", "a", {}),
        ("not-contains-all", ["a", "b"], {}),
        ("equals", {"a": 1}, {}),
        ("not-equals", "a", {}),
        ("starts-with", "a", {}),
        ("regex", r"\d", {}),
        ("levenshtein", "a", {}),
        ("word-count", {"min": 1, "max": 3}, {}),
        ("is-json", "type: object", {}),
        ("contains-json", None, {}),
        ("latency", None, {"threshold": 500}),
        ("cost", None, {"threshold": 0.01}),
        ("finish-reason", "stop", {}),
        ("is-valid-openai-tools-call", None, {}),
        ("tool-call-f1", "search, refund", {}),
        ("trajectory:tool-used", ["search"], {}),
        ("not-trajectory:tool-used", "delete_*", {}),
        ("trajectory:tool-sequence", {"mode": "exact", "steps": ["a", {"name": "b"}]}, {}),
        ("trajectory:tool-args-match", {"name": "refund", "args": {"id": 1}}, {}),
        ("trajectory:goal-success", {"goal": "It is returned."}, {}),
        ("similar", ["a", "b"], {}),
        ("javascript", "output.length === 2 && output.includes('a')", {}),
        ("is-refusal", None, {}),
        ("not-is-refusal", None, {}),
        ("llm-rubric", "It is polite.", {"provider": "openai:gpt-4o"}),
        ("not-llm-rubric", "It is rude.", {}),
        ("g-eval", ["clear", "short"], {}),
        ("factuality", "a", {}),
        ("model-graded-closedqa", "It names the fee.", {}),
        ("answer-relevance", None, {}),
        ("context-faithfulness", None, {"threshold": 0.9}),
        ("context-relevance", None, {}),
        ("context-recall", "30 days", {}),
    ],
)
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_line_compiles_and_its_names_exist(
    name: str, value: Json, options: dict[str, Json], *, is_recorded: bool
) -> None:
    options = {"metric": 'tone "x" {y}', **options}
    why = "weight 0" if is_recorded else ""
    for check in make_checks(name, value, VARIABLES, options=options, records_only=why):
        row = find_row(name.removeprefix("not-"))
        assert row is not None
        if not isinstance(check, Check):
            assert is_recorded
            assert not row.record or name == "not-trajectory:tool-used"  # a forbidden call fails in any case
            continue
        line = check.call.replace("{value}", "VALUE")
        for variable in VARIABLES:
            line = line.replace(f"{{var:{variable}}}", "VARIABLE")
        tree = ast.parse(line)
        keywords = {
            node.arg: ast.unparse(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword)
        }
        assert ("None" in keywords.values()) == is_recorded
        if "options" in row.call or row.code:
            assert ast.literal_eval(keywords["label"]) == 'tone "x" {y}'
        assert all(find_names(check).values())
        assert bool(check.key) == ("{value}" in check.call)


def test_options_that_all_assertions_have() -> None:
    (check,) = carry("icontains", "a", options={"metric": "Tone"}, records_only="weight 0")
    assert check.call == 'assert_contains(answer, {value}, ignore_case=True, at_least=None, label="Tone")'
    assert refuse("icontains", "a", options={"transform": "output.a"}).why.startswith("its transform")
    assert (
        refuse("icontains", "a", obstacle="a template that cannot be read").why
        == "a template that cannot be read"
    )
    (check,) = carry("icontains", "a", options={"metric": "{{ name }}"})
    assert "label" not in check.call


def test_what_is_not_carried_is_named_with_its_value() -> None:
    code = "\n".join(f"const line{number} = {number};" for number in range(40))
    refused = refuse("javascript", code, options={"config": {"tool": "query"}})
    assert refused.noun == "javascript"
    assert refused.code[0] == "const line0 = 0;"
    assert refused.code[30:] == ("... and 10 more lines", 'config: {"tool": "query"}')
    assert refused.body == ()
    assert refuse("contians", "a").why.endswith("did the suite mean contains")
    assert refuse("promptfoo:redteam:pii", "a").noun == "promptfoo_redteam_pii"
    assert refuse("").what == "assertion without a type"


@pytest.mark.parametrize(
    ("value", "noun", "path", "function"),
    [
        ("file://checks/bleu.py", "bleu_py", "checks/bleu.py", "get_assert"),
        ("file://checks/bleu.py:score", "score", "checks/bleu.py", "score"),
        ("file://a'b.py", "a_b_py", "a'b.py", "get_assert"),
    ],
)
def test_a_python_file_is_named_with_the_lines_that_would_run_it(
    value: str, noun: str, path: str, function: str
) -> None:
    refused = refuse("python", value)
    assert refused.noun == noun
    tree = ast.parse("\n".join(refused.body))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert {path, function} <= set(texts)


def test_a_javascript_file_is_named_after_its_function() -> None:
    assert refuse("javascript", "file://assertions.ts:assertTool").noun == "asserttool"
    assert refuse("javascript", "file://a/b.mjs").body == ()


@pytest.mark.parametrize("name", ["contains-any", "icontains-all", "not-contains-any"])
def test_a_text_is_split_at_commas(name: str) -> None:
    (check,) = carry(name, 'a, "b, c" ,, "say ""no"" \\"x\\""')
    assert check.value == ["a", "b, c", 'say "no" "x"']
    assert "quote" in refuse(name, 'a, "b').why


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("contains", ""),
        ("contains", True),
        ("contains", ["a"]),
        ("contains-any", []),
        ("contains-any", ["a", ""]),
        ("contains-all", [["a"]]),
        ("equals", None),
        ("not-equals", [1]),
        ("regex", "a++"),
        ("levenshtein", 5),
        ("contains-any", '"a" b'),
        ("word-count", {}),
        ("word-count", "many"),
        ("not-word-count", 3),
        ("is-json", "a: [b"),
        ("is-json", ["a"]),
        ("not-is-json", None),
        ("latency", None),
        ("g-eval", []),
        ("llm-rubric", {"a": 1}),
        ("trajectory:tool-used", {"name": "a", "max": 2}),
        ("trajectory:tool-args-match", {"name": "a"}),
        ("context-recall", "a"),
        ("answer-relevance", None),
    ],
)
def test_values_without_an_equal_are_refused(name: str, value: Json) -> None:
    assert refuse(name, value, {"a": "x", "b": "y"}).why


@pytest.mark.parametrize(
    ("value", "passing", "failing"), [({"min": 3}, "a b", "a b c"), ({"max": 2}, "a b c", "a b")]
)
def test_the_opposite_of_a_limit_of_words(value: Json, passing: str, failing: str) -> None:
    checks = carry("not-word-count", value)
    assert passes(checks, passing)
    assert not passes(checks, failing)


def test_numbers_are_written_as_javascript_does() -> None:
    assert [carry("equals", value)[0].value for value in (12, 12.0, 0.5, True)] == ["12", "12", "0.5", "true"]


def test_a_schema_is_of_draft_7_and_has_patterns_of_python() -> None:
    schema: dict[str, Json] = {
        "properties": {"id": {"pattern": r"^\d+$"}},
        "patternProperties": {r"\/x$": {"const": {"pattern": "$"}}},
    }
    (check,) = carry("is-json", schema)
    assert check.value == {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"id": {"pattern": r"(?a)^\d+\Z"}},
        "patternProperties": {r"/x\Z": {"const": {"pattern": "$"}}},
    }
    assert passes([check], '{"id": "12"}')
    assert not passes([check], '{"id": "12\\n"}')
    (check,) = carry("is-json", {"pattern": r"\p{L}"})
    assert "pattern" in check.differs


def test_a_graded_rubric_has_levels_and_the_threshold_on_its_scale() -> None:
    (check,) = carry("g-eval", "clear", options={"threshold": 0.75})
    assert Rubric(criteria=str(check.value), name="g", **_as_arguments(check)).pass_at == 8
    (check,) = carry("g-eval", ["clear", "short"])
    assert Rubric(criteria=str(check.value), name="g", **_as_arguments(check)).pass_at == 7


def _as_arguments(check: Check) -> dict[str, Any]:
    return dict(check.rubric)


def test_a_question_is_a_variable_whose_name_is_plain() -> None:
    (check,) = carry("answer-relevance", None, {"topic": "x"})
    assert "{var:topic}" in check.call
    assert refuse("answer-relevance", None, {'x}"+y("': "x"}).why


@pytest.mark.parametrize("text", ["a", "it's", '"x"', "'\"\\", "a\nb\u2028\u202e\0", "{value}"])
def test_a_text_is_quoted_as_a_literal(text: str) -> None:
    literal = quote(text)
    assert ast.literal_eval(literal) == text
    assert literal.isprintable()
    assert "{" not in literal


@pytest.mark.slow
@pytest.mark.shared_data
def test_verdicts_are_those_of_promptfoo() -> None:
    """Of its 5,632 stored pairs; `contains-json` differs on purpose, as promptfoo reads braces as YAML there."""
    equal: Counter[str] = Counter()
    different: Counter[str] = Counter()
    passing: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    checks: dict[str, Any] = {}
    packed = shared("imports", "promptfoo", "verdicts.jsonl.gz").read_bytes()
    for line in gzip.decompress(packed).decode().rstrip("\n").split("\n"):
        row = json.loads(line)
        assertion = row["assert"]
        identity = repr(assertion)
        if identity not in checks:
            checks[identity] = make_checks(assertion["type"], assertion.get("value"))
        made = checks[identity]
        verdict = row.get("pass", False)
        if not isinstance(made[0], Check):
            refused[assertion["type"]] += 1
        elif passes(made, row["output"]) == verdict:
            equal[assertion["type"]] += 1
            passing["equal"] += verdict
        else:
            different[assertion["type"]] += 1
            passing["different"] += verdict and assertion["type"] != "contains-json"
    assert different == {"contains-json": 17, "regex": 1, "not-regex": 1}  # `.` does not match U+2028 there
    assert sum(equal.values()) > 5_300
    assert passing["different"] <= 1
    assert passing["equal"] > 1_500
    # No text, an empty list, a pattern that is invalid there, and the opposite of JSON
    assert refused == {
        "contains": 46,
        "contains-any": 23,
        "contains-all": 23,
        "regex": 69,
        "not-regex": 69,
        "not-is-json": 23,
    }


def test_a_row_is_what_the_table_has() -> None:
    row = find_row("promptfoo:redteam:harmful")
    assert isinstance(row, AssertionRow)
    assert row.why
    assert find_row("contains-nothing") is None
