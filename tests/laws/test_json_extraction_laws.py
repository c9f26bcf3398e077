"""What holds for all JSON values, and for all texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.schemas.json_decoding import JsonValue, nesting_depth
from pytest_llmops.schemas.json_extraction import JsonMatch, NoJson, find_json, format_position

short = st.text(max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | short
    | st.sampled_from(["```", "{", "[1]", "\n```json\n{}\n```\n", '"', "\\", "</script>", "\x1b[31m"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(short, inner, max_size=4),
    max_leaves=12,
)
containers = values.filter(lambda value: isinstance(value, (dict, list)))
documents = st.dictionaries(short, values, min_size=1, max_size=4)
prose = st.text(st.characters(exclude_categories=(), exclude_characters='[]{}"`~'), max_size=30)
pieces = st.sampled_from(
    ["{", "}", "[", "]", '"', "'", ":", ",", " ", "\n", "\\", "a", "1", "-", ".", "e", "null", "true", "NaN",
     "```", "```json\n", "~~~", "\ufeff", "\u00a0", "\ud800", "\0", '{"a": 1}', "[1]", '"a"', "//"]
)  # fmt: skip
texts = st.text(st.characters(exclude_categories=())) | st.lists(pieces, max_size=25).map("".join)
layouts = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def match_json(text: str) -> JsonMatch:
    result = find_json(text)
    assert isinstance(result, JsonMatch), result
    return result


@pytest.mark.slow
@given(value=values, layout=layouts, before=st.sampled_from(["", "\ufeff", " \r\n\t"]))
def test_json_alone_comes_back(value: JsonValue, layout: dict[str, int], before: str) -> None:
    text = before + json.dumps(value, **layout) + "\n"  # type: ignore[arg-type]
    match = match_json(text)
    assert match.value == value
    assert (match.place, match.duplicates) == ("text", ())
    assert text[match.start : match.end] == text.strip("\ufeff \r\n\t")


@pytest.mark.slow
@given(
    value=values, layout=layouts, before=prose, after=prose, fence=st.sampled_from(["```", "~~~", "`````"])
)
def test_json_in_a_fenced_block_comes_back(
    value: JsonValue, layout: dict[str, int], before: str, after: str, fence: str
) -> None:
    body = json.dumps(value, **layout)  # type: ignore[arg-type]
    match = match_json(f"{before}x\n{fence}json\n{body}\n{fence}\n{after}")
    assert match.value == value
    assert match.place == "fence"


@pytest.mark.slow
@given(value=documents, layout=layouts, before=prose, after=prose)
def test_json_in_prose_comes_back(value: JsonValue, layout: dict[str, int], before: str, after: str) -> None:
    body = json.dumps(value, **layout)  # type: ignore[arg-type]
    text = f"{before}: {body} {after}."
    match = match_json(text)
    assert match.value == value
    assert text[match.start : match.end] == body


@pytest.mark.slow
@given(value=documents, cut=st.integers(1))
def test_json_that_is_cut_off_is_never_taken_for_less(value: JsonValue, cut: int) -> None:
    text = json.dumps(value)
    assert isinstance(find_json(text[: -(1 + cut % (len(text) - 1))]), NoJson)


@given(text=texts)
def test_any_text_gives_json_or_a_reason(text: str) -> None:
    result = find_json(text)
    if isinstance(result, NoJson):
        assert result.reason
        assert result.reason.isprintable()
        assert 0 <= result.position <= len(text)
        return
    strict = json.loads(text[result.start : result.end])
    assert json.dumps(strict) == json.dumps(result.value)


@pytest.mark.slow
@given(first=documents, second=documents, between=prose, before=prose)
def test_two_documents_are_never_chosen_from(
    first: JsonValue, second: JsonValue, between: str, before: str
) -> None:
    good, other = json.dumps(first), json.dumps(second)
    for text in (f"{good}{between}{other}", f"{before}: {good} {between} {other}"):
        result = find_json(text)
        is_clear = good == other and text.startswith(before + ":")
        assert isinstance(result, JsonMatch if is_clear else NoJson), result


@pytest.mark.slow
@given(value=documents, cut=st.integers(1), before=prose, between=prose)
def test_a_broken_document_beside_a_good_one_is_refused(
    value: JsonValue, cut: int, before: str, between: str
) -> None:
    good = json.dumps(value)
    broken = good[: -(1 + cut % (len(good) - 1))]
    if len(broken) > 1:  # a bracket alone is prose
        assert isinstance(find_json(f"{before}: {good} {between} {broken}"), NoJson)


@given(value=values, before=st.sampled_from(["[note] ", "{x} ", "[", "{", '["a", ', "[1, 2]\n", "[x, "]))
def test_nothing_is_taken_out_of_a_text_that_begins_with_a_bracket(value: JsonValue, before: str) -> None:
    text = before + json.dumps(value)
    result = find_json(text)
    assert isinstance(result, NoJson) or result.place == "text"


@given(text=texts)
def test_what_is_found_alone_is_what_python_reads(text: str) -> None:
    result = find_json(text)
    if isinstance(result, JsonMatch) and result.place == "text":
        assert json.dumps(json.loads(text.strip("\ufeff \r\n\t"))) == json.dumps(result.value)


@pytest.mark.slow
@given(value=values)
def test_depth_is_that_of_the_deepest_value(value: JsonValue) -> None:
    def slow(value: JsonValue) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(slow, inner), default=0)

    assert nesting_depth(value) == slow(value)


@given(text=st.text("ab\n", max_size=20), at=st.integers(0, 20))
def test_a_place_can_be_found_again(text: str, at: int) -> None:
    position = min(at, len(text))
    line, column = (int(part.split()[1]) for part in format_position(text, position).split(", "))
    assert text.split("\n")[line - 1][: column - 1] == text[:position].rsplit("\n", maxsplit=1)[-1]
