"""Keys of services are masked by their form, also under a name that does not tell that it is a secret."""

from __future__ import annotations

import json

import pytest
from support.vendor_keys import FORMS, make_key

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK

PLACES = {
    "JSON": '{"note": "KEY"}',
    "prose": "I use KEY, is that right?",
    "header": "x-trace: KEY",
    "URL": "https://a.example/v1/x?note=KEY&b=1",
}


def clean_stream(text: str) -> str:
    """Return a text that was cut into the events of a stream, masked, and joined again."""
    events = []
    for start in range(0, len(text), 5):
        delta = {"choices": [{"index": 0, "delta": {"content": text[start : start + 5]}}]}
        events.append(f"data: {json.dumps(delta)}\n\n")
    masked = Redactor().clean("".join(events).encode()).decode()
    rows = [json.loads(line[6:]) for line in masked.splitlines() if line]
    return "".join(row["choices"][0]["delta"]["content"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("service", FORMS)
def test_the_key_of_a_service_is_masked_in_each_place(service: str) -> None:
    key = make_key(service)
    for text in PLACES.values():
        masked = Redactor().clean(text.replace("KEY", key).encode()).decode()
        assert masked == text.replace("KEY", MASK)
    assert clean_stream(f"Here it is: {key}, thanks") == f"Here it is: {MASK}, thanks"


@pytest.mark.parametrize(
    "text",
    [
        "fc_68b2f1a09c3d4e5f6a7b8c9d0e1f2a3b is the id of a function call",
        "app-development-guidelines-2024 and app-startup-time-in-2025-q1",
        "re_compile_2024_with_many_words and sk_learn_compatible_estimators",
        "api-reference-for-the-year-2024-and-more, key-value-stores-of-2024",
        "sess_0123 is a session; secret_santa_2024_for_everyone_in_the_office_of_ours",
        "docs.example.com.au and MyModule.method.another_function_of_the_module_2",
        "d41d8cd98f00b204e9800998ecf8427e-us is a checksum",
        "the ratio 1//0 and 1234567890:AM",
        "EAAlong is not a key, SCWORDS neither",
    ],
)
def test_what_only_begins_like_a_key_is_left(text: str) -> None:
    assert Redactor().clean_text(text) == text
