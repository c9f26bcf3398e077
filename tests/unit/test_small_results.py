"""Results that other tests do not look at: edges of a diff, documents behind the first, limits, ends of scales."""

from __future__ import annotations

import pytest
from support.messages import check_message

from pytest_llmops import recorder, trace
from pytest_llmops.assertions.budgets import assert_call_count
from pytest_llmops.assertions.guardrails import _list_evidence
from pytest_llmops.chunks import chunk_checks
from pytest_llmops.chunks.pieces import SEAM
from pytest_llmops.errors import MeasurementFailed, UsageError
from pytest_llmops.guardrails.findings import Finding
from pytest_llmops.judges import Pairwise
from pytest_llmops.judges.protocol.images import MAX_DATA_CHARS, MAX_DATA_HEADER, MAX_IMAGE_BYTES
from pytest_llmops.judges.protocol.reply_form import ReplyForm, Scale
from pytest_llmops.metrics.lexical import word_diff_steps
from pytest_llmops.protocols import Call
from pytest_llmops.providers.offline import ScriptedModel


@pytest.mark.parametrize(
    ("actual", "expected", "steps"),
    [
        ("a ", "b ", [("-", "b"), ("+", "a"), ("=", " ")]),
        (" a", " b", [("=", " "), ("-", "b"), ("+", "a")]),
        ("a c", "b d", [("-", "b d"), ("+", "a c")]),
        ("a c", "b c", [("-", "b"), ("+", "a"), ("=", " c")]),
    ],
)
def test_only_white_space_between_two_changes_belongs_to_them(
    actual: str, expected: str, steps: list[tuple[str, str]]
) -> None:
    assert word_diff_steps(actual, expected) == steps


def test_code_blocks_of_a_later_document_are_where_they_are_in_the_whole_text() -> None:
    text = f"ab\n```\nc\n```\n{SEAM}d\n```\ne\n```{SEAM}```\nf"
    blocks = [text[start:end] for start, end in chunk_checks.find_code_blocks(text)]
    assert blocks == ["```\nc\n```", "```\ne\n```", "```\nf"]


def test_the_largest_image_may_be_a_data_address() -> None:
    base64_chars = 4 * -(-MAX_IMAGE_BYTES // 3)
    assert MAX_DATA_HEADER + base64_chars <= MAX_DATA_CHARS <= MAX_DATA_HEADER + base64_chars + 4


@pytest.mark.parametrize(
    ("form", "ends"),
    [
        (ReplyForm(names={"a": 3, "b": None, "c": -1}), (-1.0, 3.0)),
        (ReplyForm(names={"a": None, "b": None}), (0.0, 1.0)),
        (ReplyForm(names=("a", "b")), (0.0, 1.0)),
        (ReplyForm(scale=Scale(low=1, high=5)), (1.0, 5.0)),
    ],
)
def test_the_lowest_and_the_highest_score_of_a_form(form: ReplyForm, ends: tuple[float, float]) -> None:
    assert form.ends == ends


def test_a_finding_in_a_changed_view_says_so_in_its_place() -> None:
    evidence = _list_evidence("mail a@b.c", [Finding(5, 10, "email"), Finding(5, 10, "email", view="rot13")])
    check_message(evidence)
    places = [place for label, place in evidence if label == "[email]"]
    assert [place.endswith("rot13") for place in places] == [False, True]
    assert _list_evidence("mail", []) == []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls of a running test."""
    calls = [Call(), Call(purpose="judge"), Call()]
    monkeypatch.setattr(recorder, "list_exchanges", lambda: tuple(calls))
    monkeypatch.setattr(trace, "read_call", lambda call: call)
    return calls


@pytest.mark.usefixtures("alone")
def test_a_test_may_make_as_many_calls_as_its_budget_says(calls: list[Call]) -> None:
    measurement = assert_call_count(at_most=2)
    assert (measurement.name, measurement.value, measurement.unit, measurement.better) == (
        "calls.count",
        2,
        "count",
        "lower",
    )
    assert (measurement.threshold, measurement.status) == (2, "passed")
    assert assert_call_count(at_most=3, purpose="all").value == len(calls)
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_call_count(at_most=1)
    with pytest.raises(UsageError, check=check_message):
        assert_call_count(at_most=-1)


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [("x", "x", 0.5), ("", "x", 0.0), ("x", "", 1.0)],
)
def test_answers_that_are_decided_without_a_call_have_a_probability_too(
    first: str, second: str, probability: float
) -> None:
    model = ScriptedModel(lambda _: "never called")
    preference = Pairwise(model=model, criteria="Which is kind?", name="kind", probability=True).compare(
        first, second
    )
    assert (preference.probability, preference.prescreened) == (probability, True)
    plain = Pairwise(model=model, criteria="Which is kind?", name="kind").compare(first, second)
    assert plain.probability is None
