"""The headers of a request as they are recorded: no value that could be a secret, nothing of the moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.cassettes.request_headers import (
    DIGEST_CHARS,
    describe_headers,
    list_changed_behaviour,
    list_other_headers,
    list_other_secrets,
)
from pytest_llmops.redaction.redactor import Redactor

SECRET = "0f9d7c1b5a3e2846"


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("Authorization", f"AWS4-HMAC-SHA256 Credential=AKID{SECRET}/20261130/x, Signature=a", f"AWS4-HMAC-SHA256 Credential=AKID{SECRET}/20261201/x, Signature=b"),
        ("authorization", "Bearer eyJhbGciOi.J9.a", "Bearer eyJhbGciOi.J9.b"),
        ("authorization", "Bearer ya29.a0123456789", "Bearer ya29.b0123456789"),
        ("api-key", "dummy", "x"),
        ("Cookie", f"__cf_bm=1; sid={SECRET}", f"sid={SECRET}; __cf_bm=2"),
        ("X-API-Key", SECRET, f" {SECRET} "),
        ("OpenAI-Beta", "assistants=v2,  x=1", "x=1,assistants=v2"),
        ("X-Client-Request-Id", "1", "2"),
        ("x_session_id", "1", "2"),
        ("x-opencode-session", "1", "2"),
        ("authorization", f"AWS4-HMAC-SHA256 Credential=ASIA{SECRET}/1/x", f"AWS4-HMAC-SHA256 Credential=ASIA{SECRET[::-1]}/1/x"),
    ],
)  # fmt: skip
def test_what_differs_between_equal_calls_is_described_alike(name: str, one: str, other: str) -> None:
    recorded = describe_headers({name: one}, Redactor())
    now = describe_headers({name.swapcase(): other}, Redactor())
    assert recorded == now
    assert list_changed_behaviour(recorded, now) == list_other_headers(recorded, now) == []


@given(name=st.sampled_from(["authorization", "X-Api-Key", "cookie", "x-tenant", "OpenAI-Project", "x-goog-user-project"]), value=st.text(min_size=12))  # fmt: skip
def test_no_value_of_a_secret_an_account_or_an_unknown_header_is_written(name: str, value: str) -> None:
    described = describe_headers({name: value}, Redactor())
    assert all(len(text) == DIGEST_CHARS for text in described.values())


def test_a_secret_within_a_public_header_is_masked() -> None:
    redactor = Redactor(known={SECRET})
    assert describe_headers({"anthropic-beta": f"a,{SECRET}"}, redactor) == {"anthropic-beta": "[secret], a"}


@pytest.mark.parametrize(
    ("value", "described"),
    [
        ("arn:aws:bedrock:us-east-1:123456789012:guardrail/gr8abc1d2e3f", "gr8abc1d2e3f"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:guardrail/gr8abc1d2e3f", "gr8abc1d2e3f"),
        ("gr8abc1d2e3f", "gr8abc1d2e3f"),
        ("arn:aws:bedrock:us-east-1:123456789012:guardrail-profile/x", None),
        ("123456789012", None),
        ("arn:aws:bedrock:us-east-1:123456789012:guardrail/123456789012", None),
    ],
)
def test_the_account_of_a_guardrail_is_not_written(value: str, described: str | None) -> None:
    (text,) = describe_headers({"X-Amzn-Bedrock-GuardrailIdentifier": value}, Redactor()).values()
    if described is None:
        assert len(text) == DIGEST_CHARS
    else:
        assert text == described


def test_a_credential_is_named_only_if_both_sides_have_one() -> None:
    recorded = describe_headers({"authorization": f"Bearer {SECRET}"}, Redactor())
    assert list_other_secrets(recorded, {}) == list_other_secrets({}, recorded) == []
    other = describe_headers({"authorization": f"Bearer {SECRET[::-1]}"}, Redactor())
    assert list_other_secrets(recorded, other) == ["authorization"]
