"""Every body comes back to the byte, through a file of UTF-8 JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.strategies import any_text, clean_text, json_texts, json_values

from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import (
    check_answer,
    check_body,
    check_request,
    fold_body,
    unfold_body,
    unfold_stream,
)
from pytest_llmops.wire.stream_events import stream_text


def through_a_file(body: bytes) -> dict[str, Any]:
    text = json.dumps(fold_body(body), ensure_ascii=False, indent=1).encode("utf-8")
    stored: dict[str, Any] = json.loads(text)
    check_body(stored)
    return stored


def comes_back(body: bytes) -> None:
    stored = through_a_file(body)
    assert unfold_body(stored) == body
    pieces = unfold_stream(stored)
    assert pieces is None or b"".join(pieces) == body


@given(st.binary(max_size=200))
def test_arbitrary_bytes(body: bytes) -> None:
    comes_back(body)


@given(any_text)
def test_arbitrary_text(text: str) -> None:
    comes_back(text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@given(json_texts())
def test_json_in_many_spellings(text: str) -> None:
    comes_back(text.encode())


@given(json_values, st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}]))
def test_json_as_servers_write_it_is_stored_parsed(value: Any, how: dict[str, Any]) -> None:
    whole = {"value": value}
    stored = through_a_file(json.dumps(whole, **how).encode())
    assert "json" in stored
    assert unfold_body(stored) == json.dumps(whole, **how).encode()


odd_json = st.sampled_from(
    [
        '"\\ud800"',
        '"\\udfff\\ud800"',
        "NaN",
        "-Infinity",
        "1.0e+5",
        "-0",
        "-0.0",
        "1E400",
        '"\\/"',
        '"\\u0041"',
        '{"a":1,"a":2}',
        '{"$lines":["x"]}',
        '{"$":{"$$":{"$lines":1}}}',
        '{"":""}',
        '"a\\nb"',
        "123456789012345678901234567890",
        "0.1000",
    ]
)


@given(st.lists(odd_json, min_size=1, max_size=4), st.sampled_from([",", ", "]), st.booleans())
def test_odd_json(parts: list[str], comma: str, listed: bool) -> None:
    inner = comma.join(parts) if listed else comma.join(f'"k{n}": {part}' for n, part in enumerate(parts))
    comes_back((f"[{inner}]" if listed else f"{{{inner}}}").encode())


lines = st.one_of(
    clean_text,
    clean_text.map(lambda text: f"data: {text}"),
    json_values.map(lambda value: f"data: {json.dumps(value)}"),
    st.sampled_from(["", "event: x", ": ping", "data: [DONE]", "id: 1", "retry: 5", "data:", "\r"]),
)


@pytest.mark.slow
@given(
    st.lists(lines, max_size=8),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\n\r\n"]),
    st.sampled_from(["", "\n", "\n\n", "\r\n", "\r\n\r\n", "\n\n\n"]),
)
@example(["data: a", "", "data: b"], "\r\n", "\r\n\r\n")
@example(["data: a"], "\n", "\n\n\n")
def test_streams_with_all_line_ends(parts: list[str], end: str, last: str) -> None:
    comes_back(("data: first" + end + end.join(parts) + last).encode())


@pytest.mark.slow
@given(st.lists(st.one_of(any_text, json_values.map(lambda value: f"data: {json.dumps(value)}")), max_size=5))
def test_says_never_fails(listed: list[str]) -> None:
    assert isinstance(stream_text(listed), str)


@pytest.mark.slow
@given(json_values)
def test_anything_else_in_a_file_is_a_body_or_a_cassette_error(value: Any) -> None:
    for read in (unfold_body, unfold_stream, check_body, check_answer, check_request):
        try:
            read(value)
        except CassetteError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.slow
@given(st.sampled_from(["json", "text", "events", "base64"]), json_values, st.dictionaries(st.sampled_from(["style", "tail", "newline"]), st.one_of(json_values, st.sampled_from(["compact", "\n", "\r\n"]))))  # fmt: skip
def test_a_body_with_wrong_insides_is_a_cassette_error(form: str, inside: Any, more: dict[str, Any]) -> None:
    stored = {form: inside, **more}
    try:
        body = unfold_body(stored)
    except CassetteError as error:
        assert str(error).startswith("a body")  # noqa: PT017
    else:
        assert isinstance(body, bytes)


def test_the_laws_see_every_form() -> None:
    forms = {next(iter(fold_body(body))) for body in (b"{}", b"x", b"\xff")}
    assert forms == {"json", "text", "base64"}
    assert "events" in fold_body(b"data: x\n\n")
