"""Two requests have one key exactly when they ask the same thing."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.strategies import any_text, json_objects, json_values

from pytest_llmops.cassettes.request_key import Question, build_question, canonical_url
from pytest_llmops.redaction.redactor import Redactor

JSON = {"content-type": "application/json"}


def key(body: bytes, url: str = "https://h.example/x", method: str = "POST") -> str:
    return make_question(body, url, method).key


def make_question(body: bytes, url: str = "https://h.example/x", method: str = "POST") -> Question:
    return build_question(method, url, JSON, body, Redactor())


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, dict):
        return {name: shuffled(value[name], draw) for name in draw(st.permutations(list(value)))}
    return [shuffled(entry, draw) for entry in value] if isinstance(value, list) else value


@st.composite
def respelled(draw: st.DrawFn) -> tuple[bytes, bytes]:
    value = draw(json_objects)

    def spelled(spelled_value: Any) -> bytes:
        text = json.dumps(
            spelled_value,
            ensure_ascii=draw(st.booleans()),
            indent=draw(st.sampled_from([None, 1, 4, "\t"])),
            separators=draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
        )
        return (
            draw(st.sampled_from(["", " ", "\n", "\t\r\n"])) + text + draw(st.sampled_from(["", "\n", " "]))
        ).encode()

    return spelled(value), spelled(shuffled(value, draw))


@pytest.mark.slow
@given(respelled())
def test_order_and_white_space_do_not_count(bodies: tuple[bytes, bytes]) -> None:
    assert key(bodies[0]) == key(bodies[1])


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.slow
@given(json_values, json_values)
def test_another_value_is_another_question(first: Any, second: Any) -> None:
    assume(canonical(first) != canonical(second))
    assert key(json.dumps({"a": first}).encode()) != key(json.dumps({"a": second}).encode())


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_bytes_that_are_no_json_count_as_they_are(first: bytes, second: bytes) -> None:
    assume(first != second)
    assume(make_question(first).json is None or make_question(second).json is None)
    assert key(first) != key(second)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), any_text), max_size=5), st.randoms())
def test_the_order_of_a_query_does_not_count(pairs: list[tuple[str, str]], random: Any) -> None:
    other = list(pairs)
    random.shuffle(other)
    first, two = (
        f"https://h.example/x?{urlencode(parameters, errors='surrogatepass')}"
        for parameters in (pairs, other)
    )
    assert canonical_url(first) == canonical_url(two)
    assert key(b"", first) == key(b"", two)


@given(any_text)
def test_a_canonical_url_stays_as_it_is(path: str) -> None:
    once = canonical_url(f"https://H.example:443/{path}?b=1&a=%FF")
    assert canonical_url(once) == once


@example("\ud800", "http://\ud800/\ud800?\ud800", b"", {"content-type": "multipart/x; boundary=\ud800"})
@given(any_text, any_text, st.binary(max_size=50), st.dictionaries(st.sampled_from(["content-type", "authorization", "x"]), any_text))  # fmt: skip
def test_any_request_has_a_key(method: str, url: str, body: bytes, headers: dict[str, str]) -> None:
    first, other = (build_question(method, url, headers, body, Redactor()) for _ in range(2))
    assert first == other
    assert len(first.key) == 20
