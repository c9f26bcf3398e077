"""A secret is never kept, whatever thoughts surround it; searching for thoughts does not fail, and finds those that are in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.thought_signatures import (
    THOUGHT_FORMS,
    ThoughtForm,
    Thoughts,
    is_thought_in_text,
    iterate_thoughts,
)

SIGNATURE = "ErUBCkYIARgCIkDGs9QuvKv" * 4
# Short and long secrets, and those that are long random base64, as a signature is
SECRETS = st.sampled_from(
    ["Zx9Kq27LmPw4Tb81Vn", "Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0" * 3, "Rt4Lw8Vb3/Nc6Yd1Hs5Jf0+Gp" * 4, SIGNATURE]
)
SECRET_NAMES = st.sampled_from(
    ["password", "client_secret", "api_key", "dbPassword", "X-Api-Key", "access_token"]
)


def make_thought(form: ThoughtForm, member: str, value: str) -> dict[str, Any]:
    """An object with a member in a form of a vendor."""
    holder: dict[str, Any] = {member: value}
    above: dict[str, Any] = holder
    if form.below:
        above = {form.below[0]: holder}
    if form.types:
        above = {"type": form.types[0], **above}
    return above


def spell_json(value: Any) -> str:
    return json.dumps(value)


def spell_text_in_json(value: Any) -> str:
    return json.dumps({"content": json.dumps(value)})


def spell_events(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\ndata: [DONE]\n\n"


SPELLINGS = st.sampled_from([spell_json, spell_text_in_json, spell_events, repr])
THOUGHTS = st.sampled_from([(form, member) for form in THOUGHT_FORMS for member in form.members])


@pytest.mark.slow
@given(
    secret=SECRETS,
    name=SECRET_NAMES,
    forms=st.lists(THOUGHTS, min_size=1, max_size=3),
    spell=SPELLINGS,
    spell_thought=SPELLINGS,
    is_inside=st.booleans(),
    is_earlier=st.booleans(),
)
def test_a_value_under_the_name_of_a_secret_is_never_kept(
    *,
    secret: str,
    name: str,
    forms: list[tuple[ThoughtForm, str]],
    spell: Any,
    spell_thought: Any,
    is_inside: bool,
    is_earlier: bool,
) -> None:
    redactor = Redactor()
    thoughts = [make_thought(form, member, secret) for form, member in forms]
    if is_earlier:
        redactor.clean(spell_thought(thoughts).encode())
    body: Any = {"thoughts": thoughts, "db": {name: secret}}
    if is_inside:
        form, member = forms[0]
        body = make_thought(form, member, secret)
        body[member] = {name: secret}
    data = spell(body).encode()
    assert secret.encode() not in redactor.clean(data)
    assert redactor.leaks(spell_thought(thoughts).encode())


PARTS = st.sampled_from(
    [
        "signature",
        "type",
        "thinking",
        "reasoningText",
        '"',
        "'",
        "\\",
        ":",
        "=",
        ",",
        " ",
        "\n",
        "- ",
        *"{}[]()",
    ]
)
TEXTS = st.lists(PARTS | st.text(max_size=5), max_size=40).map("".join)


@given(before=TEXTS, after=TEXTS)
def test_no_text_makes_the_search_fail(before: str, after: str) -> None:
    start = before.encode("utf-8", "surrogatepass")
    data = start + SIGNATURE.encode() + after.encode("utf-8", "surrogatepass")
    end = len(start) + len(SIGNATURE)
    thoughts = Thoughts()
    thoughts.learn(data)
    if thoughts.has_thought_value(data, len(start), end) and SIGNATURE.encode() not in thoughts:
        assert is_thought_in_text(data, len(start), end)
        assert b"signature" in start
    if thoughts.is_part_of_thought(data, len(start) + 30, end):
        assert b"signature" in start


VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.slow
@given(before=VALUES, after=VALUES)
def test_a_thought_in_json_is_found(before: object, after: object) -> None:
    thought = {"type": "thinking", "signature": "EqkE"}
    data = json.dumps({"a": before, "b": [thought], "c": after}).encode()
    assert b"EqkE" in list(iterate_thoughts(data))
