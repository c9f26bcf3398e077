"""What hypothesis draws from in several laws."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st


def scale_examples(factor: float) -> settings:
    """So many times the profile's examples, for a law that needs more than others or costs more."""
    return settings(max_examples=max(1, round(factor * settings().max_examples)))


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
"""With lone surrogates."""
clean_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.one_of(clean_text, st.sampled_from(["$lines", "$", "$$", "$$lines", "model", "content", "text"]))
numbers = st.one_of(st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, clean_text, st.sampled_from(["a\nb", "\n", "a\r\nb"]))
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)
json_objects = st.dictionaries(keys, json_values, max_size=5)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """JSON in many spellings, also such as no writer of Python's would choose."""
    value: Any = draw(json_values)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1, 2, 4, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (", ", ": "), (" ,", " : ")])),
        sort_keys=draw(st.booleans()),
    )
    return (
        draw(st.sampled_from(["", "", " ", "\n"]))
        + text
        + draw(st.sampled_from(["", "", "\n", "\r\n", " ", "\n\n"]))
    )
