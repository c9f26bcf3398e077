from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.schemas.json_decoding import MAX_DEPTH, MAX_DIGITS, nesting_depth
from pytest_llmops.schemas.json_extraction import (
    MAX_VALUES,
    JsonMatch,
    NoJson,
    find_json,
    format_position,
)


def match_json(text: str) -> JsonMatch:
    result = find_json(text)
    assert isinstance(result, JsonMatch), result
    return result


def why(text: str) -> NoJson:
    result = find_json(text)
    assert isinstance(result, NoJson), result
    return result


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ('{"a": 1}', {"a": 1}, "text"),
        ("[]", [], "text"),
        ("7", 7, "text"),
        (" null\n", None, "text"),
        ('"just text"', "just text", "text"),
        ('\ufeff\r\n{"a": 1}', {"a": 1}, "text"),
        ('Sure!\n```json\n{"a": 1}\n```\nAnything else?', {"a": 1}, "fence"),
        ('```JSON title=x\r\n{"a": 1}\r\n```\r\n', {"a": 1}, "fence"),
        ("```json\n7\n```", 7, "fence"),
        ('```\n{"a": 1}\n```', {"a": 1}, "fence"),
        ('~~~json\n{"a": 1}\n~~~', {"a": 1}, "fence"),
        ('1. Here:\n   ```json\n   {"a": 1}\n   ```', {"a": 1}, "fence"),
        ('````json\n{"a": "```"}\n````', {"a": "```"}, "fence"),
        ('Sure:\n```\nHere it is: {"a": 1}\n```\nBye.', {"a": 1}, "prose"),
        ('```\n{"a": 1}\nThis is the order.\n```', {"a": 1}, "prose"),
        ('```\n{"a": 1}\n``` as you wished', {"a": 1}, "prose"),
        ('```{"a": 1}\n```\nAnything else?', {"a": 1}, "fence"),
        ('As it was [see {"a": 1}].', {"a": 1}, "prose"),
        ('```json\n{"a": 1}', {"a": 1}, "fence"),
        ('```python\n{"a": 1}\n```', {"a": 1}, "fence"),
        ('In the text {"b": 2} it is.\n```json\n{"a": 1}\n```', {"a": 1}, "fence"),
        ('```python\nx = [1, 2]\n```\nand {"a": 1}', {"a": 1}, "prose"),
        ('Use ```json {"a": 1}``` here', {"a": 1}, "prose"),
        ('Action: multiply\nAction Input: {"a": 2, "b": [3]}', {"a": 2, "b": [3]}, "prose"),
        ('It is {"a": 1}. I hope that helps {you}!', {"a": 1}, "prose"),
        ('An interval [0, 1) and a [link](url), then {"a": 1}.', {"a": 1}, "prose"),
        ('A [note: {"a": 1}]', {"a": 1}, "prose"),
        ('As said {"a": 1} and {"a": 1}', {"a": 1}, "prose"),
        ('The template {a} becomes {"a": "b {c} ["}', {"a": "b {c} ["}, "prose"),
        ('As [1] and [2, 3] say, it is {"a": 1} [4].', {"a": 1}, "prose"),
        ('```json\n{"a": 1}\n```\n[1] The order of May\n[2](url) Another', {"a": 1}, "fence"),
        ('```json\n{"a": 1}\n```\nThe form is {"a": <number>}.', {"a": 1}, "fence"),
        ('```json\n{"a": 1}\n```\nAgain:\n{"a": 1}\n', {"a": 1}, "fence"),
        ('[note] As asked:\n```json\n{"a": 1}\n```', {"a": 1}, "fence"),
        ('\u200b{"a": 1}', {"a": 1}, "prose"),
        ('{"a": "\\ud83d\\ude00 \\u0000 </script>"}', {"a": "\U0001f600 \0 </script>"}, "text"),
        ('{"a": 0.5e-3, "b": -0, "c": 12345678901234567890}', None, "text"),
    ],
)
def test_where_models_put_their_json(text: str, value: Any, place: str) -> None:
    match = match_json(text)
    assert match.place == place
    assert json.loads(text[match.start : match.end]) == match.value
    if value is not None:
        assert match.value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeff \n\t",
        "Yes.",
        "The answer is 7, see [the docs](url) and {name}.",
        "\0\x1b[31m\ud800 </script>",
        "```python\nprint({1: 2})\n```",
        '{"a": 1,',
        '{"a": [1, 2',
        '{"a": "x',
        "{'a': 1}",
        "Set: { currency: string }",
        '{"a": True}',
        '{"a": 1 // one\n}',
        '{"a": "b"c"}',
        '{"a"\n 1}',
        '{"a": "\n"}',
        '{"a": "\\x"}',
        '{"a":\u00a01}',
        '{{"a": 1}}',
        '{"a": NaN}',
        '{"NaN": "NaN", "a": -Infinity}',
        '{"a": 1e999}',
        f"[{'9' * (MAX_DIGITS + 1)}]",
        '```json\n{"a": 1}\n{"b": 2}\n```',
        "```json\n```\n",
        '```json\nHere: {"a": 1}\n```',
    ],
)  # fmt: skip
def test_why_there_is_no_json(text: str) -> None:
    result = why(text)
    check_message(result.reason)
    assert result.reason.isprintable()
    assert 0 <= result.position <= len(text)


def test_a_trailing_comma_is_no_json() -> None:
    # Its words differ between versions of Python.
    assert why('{"a": 1,}').reason.startswith("broken JSON at line 1, column ")
    assert why("[1, 2, ]").reason.startswith("broken JSON at line 1, column ")


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1}, {"a": 2}, {"a": ',
        '{"a": {"b": 1}, "c": oops, "d": {"e": 2}}',
        'Here: {"orders": [{"id": 1}, {"id": 2',
        "{'a': {\"b\": 1}}",
        '[1, oops, {"a": 1}]',
        '{"md": "\n```json\n{}\n```"}',
        '[{"key": "value"}}, {"key": "other"}]',
        '{"a": [1, 2}, "b": {"c": 3}}',
        '{"a": {"x": 1}}, "b": {"y": 2}}',
        'Sure! {"a": 1}}',
        "Sure: [1, 2]], [3]",
        '{"a": 1}, "b": [1, 2]}',
        'See [that] {"a": 1}}',
        '```json\n{"a": 1,,}\n```\nfor example {"b": 2}',
        '```\n{"a": 1,,}\n```\nfor example {"b": 2}',
    ],
)
def test_a_piece_of_a_broken_document_is_not_the_answer(text: str) -> None:
    assert why(text).reason.startswith("broken JSON at line ")


@pytest.mark.parametrize(
    "text",
    [
        '[note] here is {"a": 1}',
        '[note: {"a": 1}]',
        '[x, {"a": 1}]',
        '[1, 2, ...]\n{"a": 1}',
        '{note}\n{"a": 1}',
        '\ufeff\n[TOOL_CALLS] [{"a": 1}]',
        '{"a": 1}\nThat is all.',
        '{"a": 1}{"a": 1}',
    ],
)
def test_a_text_that_begins_with_a_bracket_is_json_as_a_whole_or_not_at_all(text: str) -> None:
    result = why(text)
    assert "begins with a bracket" in result.reason
    check_message(result.reason)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('First {"a": 1}\nthen {"a": 2}', 20),
        ('{"a": 1}\n{"a": 2}\n{"a": 3}\n', 9),
        ('It is {"a": 1} or [{"a": 1}]', 18),
        ("The lists [1] and [2]", 18),
        ('```json\n{"a": 1}\n```\n```json\n[1]\n```', 29),
        ('Draft:\n{"a": 1}\nFinal:\n```json\n{"a": 2}\n```', 31),
        ('```json\n{"a": 1}\n```\n  [1, 2]\n', 23),
    ],
)
def test_two_documents_are_not_chosen_from(text: str, position: int) -> None:
    result = why(text)
    assert result.position == position
    check_message(result.reason)


@pytest.mark.parametrize(
    "text",
    [
        'The template {"a": <value>} becomes {"a": "b {c} ["}',
        'It is {"a": 1} or {"a": 2,',
        '{"a": 1}\n{"a": 2,,}\n',
        "{'a': 1}\nCorrected:\n```json\n{\"a\": 1}\n```",
        '```json\n{"a": 1}\n```\n```json\n{"a": oops}\n```',
        '```json\n{"a": oops}\n```\n```json\n{"a": 1}\n```',
        '```json\n{"a": 1}\n```\nor rather\n{"a": 2, "b": }',
        '```\n{"a": 1} but not\n{"a": oops}\n```',
    ],
)
def test_a_broken_document_beside_a_good_one_is_refused(text: str) -> None:
    result = why(text)
    assert "got one at line " in result.reason
    check_message(result.reason)


def test_python_equals_what_json_does_not() -> None:
    assert "got 3 different ones" in why('{"a": 1} {"a": true} {"a": 1.0} {"a": 1}').reason


def test_too_many_values_are_not_told_apart() -> None:
    check_message(why(" ".join(f'["{n}"]' for n in range(MAX_VALUES + 1))).reason)


def test_keys_that_stand_twice_are_reported_with_their_paths() -> None:
    match = match_json('{"x": [{"a": 1, "b": {"c": 0, "c": 1}, "a": 2}], "y": {"a": 1}}')
    assert match.value == {"x": [{"a": 2, "b": {"c": 1}}], "y": {"a": 1}}
    assert set(match.duplicates) == {("x", 0, "a"), ("x", 0, "b", "c")}
    assert match_json('{"a": 1, "b": 1}').duplicates == ()


def test_a_value_with_twins_is_another_one() -> None:
    check_message(why('{"a": 1} {"a": 2, "a": 1}').reason)


@pytest.mark.slow
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_is_explained_instead_of_a_recursion_error(left: str, right: str) -> None:
    levels = left.count("[") + left.count("{")
    fits = left * (MAX_DEPTH // levels) + "1" + right * (MAX_DEPTH // levels)
    assert nesting_depth(match_json(fits).value) == MAX_DEPTH
    for times in (MAX_DEPTH + 1, 100_000):
        assert "nested deeper than 100 levels" in why(left * times + "1" + right * times).reason
        assert "nested deeper than 100 levels" in why(left * times).reason or times < 1_000


@pytest.mark.parametrize(
    "piece",
    ["[", "{", "{ ", '{"', '["', "[1 ", '{"a" ', '{"a":', '\\"', '{\\"', "[1]", "{}", "{x: ", "[{", "{'", '"{',
     "```json\n", "```\n", "~~~ x\n", "`", " ", "\n", "\0", "\\", "\ud800", "\x1b[31m", "</script>", "\\frac{a}{b} "],
)  # fmt: skip
@pytest.mark.slow
def test_a_megabyte_of_anything_ends_soon(piece: str) -> None:
    for text in (piece * (1_000_000 // len(piece)), "x" + piece * (1_000_000 // len(piece)) + '{"a": 1}'):
        result = find_json(text)
        assert isinstance(result, (JsonMatch, NoJson))


@pytest.mark.slow
def test_a_megabyte_of_json() -> None:
    value = [{"id": n, "text": "lorem ipsum {[" * 2} for n in range(20_000)]
    text = json.dumps(value)
    assert match_json(text).value == value
    assert match_json(f"Here you are:\n{text}\nBye {{name}}").value == value
    assert match_json(f"```json\n{text}\n```").value == value


@pytest.mark.slow
def test_text_with_too_many_brackets_is_given_up() -> None:
    check_message(why("{x} " * 50_000).reason)


def test_depth() -> None:
    assert (
        nesting_depth(1),
        nesting_depth("[]"),
        nesting_depth([[]]),
        nesting_depth({"a": {"b": (1,)}}),
    ) == (0, 0, 2, 3)
    endless: list[object] = []
    endless += [endless, endless]
    assert nesting_depth(endless) == MAX_DEPTH + 1


def test_where_counts_from_1() -> None:
    assert (format_position("", 0), format_position("a\nb", 1), format_position("a\n\nb", 3)) == (
        "line 1, column 1",
        "line 1, column 2",
        "line 3, column 1",
    )


@pytest.mark.slow
@pytest.mark.shared_data
def test_what_models_really_wrote(shared_data: Path) -> None:
    path = shared_data / "llm_outputs" / "outputs.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        result = find_json(row["text"])
        kind = "+".join(sorted(row["class"])) or "plain"
        seen[kind, result.place if isinstance(result, JsonMatch) else result.reason.partition(" at ")[0]] += 1
        if "pure_json" in row["class"]:
            assert isinstance(result, JsonMatch)
            assert result.value == json.loads(row["text"])
        if isinstance(result, JsonMatch):
            assert json.loads(row["text"][result.start : result.end]) == result.value
    nothing = "no JSON object or array in the output"
    assert seen == {
        ("pure_json", "text"): 325,
        ("embedded_json+fence+json_fence", "fence"): 9,
        ("embedded_json+fence+json_fence+score", "fence"): 4,
        ("embedded_json", "prose"): 6,
        ("broken_or_trailing_json", "broken JSON"): 2,  # the same object twice, glued together
        ("fence", nothing): 17,  # blocks of other languages
        ("fence", "prose"): 1,  # `{}` in a block without a label
        ("refusal", nothing): 8,
        ("plain", nothing): 1_425,
        ("plain", "broken JSON"): 2,
        ("plain", "prose"): 2,
        ("plain", "text"): 16,  # numbers and true
    }
