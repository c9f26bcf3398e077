"""A secret that is known is nowhere afterwards; nothing else is touched, and twice is once."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.strategies import any_text, clean_text, json_values

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, MIN_SECRET, PLACEHOLDER_KEY, mask_params

secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=MIN_SECRET, max_size=20).filter(
    lambda text: len(text.strip()) >= MIN_SECRET and text.strip() not in (MASK, PLACEHOLDER_KEY)
)
letters = st.text("abcdefgh .,\n", max_size=30)


@given(secrets, any_text, any_text)
def test_a_known_secret_is_gone(secret: str, before: str, after: str) -> None:
    redactor = Redactor(known={secret})
    made = redactor.clean_text(f"{before}{secret}{after}")
    assert MASK in made
    assert secret.strip() not in made.replace(MASK, "")
    assert not redactor.leaks(made.encode("utf-8", "surrogatepass"))


@given(secrets, letters)
def test_a_known_secret_is_gone_in_json_and_urls(secret: str, around: str) -> None:
    redactor = Redactor(known={secret})
    secret = secret.strip()
    for spelled in (
        json.dumps({"a": around, "b": secret}),
        json.dumps({"a": around, "b": secret}, ensure_ascii=False),
        json.dumps([f"{around}{secret}"]),
        f"https://h.example/?a={quote(secret, safe='')}",
    ):
        made = redactor.clean_text(spelled)
        assert MASK in made
        assert not redactor.leaks(made.encode())


@pytest.mark.slow
@given(secrets, json_values)
def test_json_stays_json(secret: str, value: object) -> None:
    assume("\\" not in secret)
    assume('"' not in secret)
    redactor = Redactor(known={f"x{secret}x"})
    body = json.dumps({"secret": f"x{secret}x", "value": value}).encode()
    assert json.loads(redactor.clean(body))["secret"] == MASK


@pytest.mark.slow
@given(st.sets(secrets, max_size=4), st.binary(max_size=200))
def test_twice_is_once(known: set[str], data: bytes) -> None:
    redactor = Redactor(known=known)
    once = redactor.clean(data)
    assert redactor.clean(once) == once
    assert not redactor.leaks(once)


@given(st.binary(max_size=200))
def test_bytes_without_a_mark_are_left_alone(data: bytes) -> None:
    assume(b"://" not in data)
    assert Redactor().clean(data) == data


@given(clean_text)
def test_what_leaks_is_what_would_be_masked(text: str) -> None:
    redactor = Redactor(known={"password-1"})
    for data in (text.encode(), f"{text}password-1".encode(), f"{text} sk-{'a1' * 12}".encode()):
        assert redactor.leaks(data) == (redactor.clean(data) != data)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "token", "sig", "q"]), st.text("abc123%", min_size=1)), max_size=5
    )
)
def test_parameters(pairs: list[tuple[str, str]]) -> None:
    data = "&".join(f"{name}={value}" for name, value in pairs).encode()
    expected = "&".join(f"{name}={MASK if name in ('token', 'sig') else value}" for name, value in pairs)
    assert mask_params(data).decode() == expected
