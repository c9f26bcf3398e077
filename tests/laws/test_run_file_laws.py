"""A run file gives back what was written, whatever the texts and mappings are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import any_text, clean_text, json_objects

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.run import Run, TestRecord

LONG = [
    "a long answer " * 8,
    "ein langer Satz, \u00fcber Geb\u00fchren " * 4,
    '"},\n {"$text": 0}\n' * 9,
    "x" * 80,
]
KEYS = ["$text", "$$text", "$$$text", "text", "nodeid", "actual"]
leaves = st.one_of(st.sampled_from(LONG), st.integers(-2, 4), clean_text, st.none())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=2)
    ),
    max_leaves=16,
)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    text = st.one_of(st.sampled_from(LONG), clean_text)
    records = []
    for number in range(draw(st.integers(0, 3))):
        details: dict[str, Json] = draw(objects)
        call = Call(output=draw(text), messages=(Message("system", draw(text)), Message("user", draw(text))))
        measured = Measurement(name="m", value=1.0, reason=draw(text), detail=details)
        records.append(
            TestRecord(
                nodeid=f"{draw(text)}{number}", message=draw(text), measurements=(measured,), calls=(call,), facts=draw(objects)
            )
        )  # fmt: skip
    return Run(records=tuple(records), meta=draw(objects), notes=tuple(draw(st.lists(text, max_size=2))))


@pytest.mark.slow
@given(runs())
def test_a_run_comes_back_as_it_was_and_is_written_as_it_was(run: Run) -> None:
    written = run.to_json()
    again = Run.from_json(written)
    assert again == run
    assert again.to_json() == written
    assert Run.from_json(run.to_json(indent=None)) == run


def refusal(text: str) -> str:
    """Why a text is no run file, or nothing."""
    try:
        Run.from_json(text, where="some.json")
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.slow
@given(json_objects, objects)
def test_whatever_is_in_a_run_file_is_read_or_refused(record: dict[str, Any], other: dict[str, Any]) -> None:
    form = {"schema": "pytest-llmops/run/2", "records": [{"nodeid": "t", "facts": other}, record]}
    text = refusal(json.dumps(form))
    assert not text or text.startswith("some.json: ")


FIELDS = ["nodeid", "outcome", "duration_s", "message", "measurements", "calls", "facts", "name", "value", "error",
    "detail", "samples", "messages", "role", "content", "usage", "input_tokens", "tools", "tool_calls", "status", "$text"]  # fmt: skip
shaped = st.recursive(
    st.one_of(st.sampled_from(["passed", "t", 0, 1.5, None, True]), any_text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), shaped, min_size=1, max_size=8), max_size=3))
def test_records_of_any_form_are_read_or_refused_and_what_is_read_can_be_written(records: Json) -> None:
    document = {"schema": "pytest-llmops/run/2", "records": records}
    text = refusal(json.dumps(document))
    assert not text or text.startswith("some.json: ")
    if not text:
        written = Run.from_json(json.dumps(document)).to_json()
        assert Run.from_json(written).to_json() == written
