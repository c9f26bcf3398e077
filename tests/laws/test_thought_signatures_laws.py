"""Whatever surrounds a signature, searching for thoughts does not fail, and finds those that are in JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.redaction.thought_signatures import Thoughts, is_thought_in_text, iterate_thoughts

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
    data = start + b"EqkECkgIBxABGAIqQ" + after.encode("utf-8", "surrogatepass")
    end = len(start) + 17
    thoughts = Thoughts()
    thoughts.learn(data)
    assert thoughts.hold_part(data, start=len(start) + 4, end=end) in (True, False)
    assert is_thought_in_text(data, len(start), end) in (True, False)


VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(before=VALUES, after=VALUES)
def test_a_thought_in_json_is_found(before: object, after: object) -> None:
    thought = {"type": "thinking", "signature": "EqkE"}
    data = json.dumps({"a": before, "b": [thought], "c": after}).encode()
    assert b"EqkE" in list(iterate_thoughts(data))
