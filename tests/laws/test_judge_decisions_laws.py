"""Whatever a server answers, a decision is a score on the scale with a confidence, or none and a reason."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.judges.decisions import DecisionsJudge
from pytest_llmops.judges.protocol.parsing import Scale
from pytest_llmops.judges.rubric import QUALITY, Rubric
from pytest_llmops.protocols import Verdict
from pytest_llmops.providers.openai_responses import Decided

TONE = Rubric(name="tone", file=QUALITY.file, scale=Scale(low=-1, high=2))
LABELS = ("-1", "0", "1", "2")
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*LABELS, "score", "refusal"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SHARES = st.floats(0, 1) | st.integers(-1, 2)
CHANCES = st.tuples(SHARES, SHARES, SHARES, SHARES).map(
    lambda shares: [
        {"label": label, "value": place, "probability": share / (sum(shares) or 1)}
        for place, (label, share) in enumerate(zip(LABELS, shares, strict=True))
    ]
)
ANSWERS = JSON | st.fixed_dictionaries(
    {
        "type": st.just("score"),
        "name": st.just("score"),
        "score": st.floats(0, 3) | JSON,
        "confidence": st.floats(0, 1) | JSON,
        "probabilities": CHANCES | JSON,
    }
)


class Answers:
    """A model that decides what it was given."""

    model = "m"

    def __init__(self, *answers: Any) -> None:
        self.answers = answers

    def decide(self, *_: object, **__: object) -> Decided:
        return Decided(answers=self.answers)


def judged(*answers: Any) -> Verdict:
    return DecisionsJudge(TONE, Answers(*answers)).judge("Gladly!")  # type: ignore[arg-type]


@given(st.lists(ANSWERS, max_size=2))
def test_a_verdict_is_on_the_scale_or_says_why_there_is_none(answers: list[Any]) -> None:
    found = judged(*answers)
    assert (found.low, found.high) == (-1, 2)
    if found.score is None:
        assert found.error.startswith("no decision: ")
        assert found.error.isprintable()
        assert (found.confidence, dict(found.dimensions)) == (None, {})
        return
    assert found.error == ""
    assert -1 <= found.score <= 2
    assert found.confidence is not None
    assert 0 <= found.confidence <= 1
    (answer,) = answers
    assert sum(one["probability"] for one in answer["probabilities"]) >= 0.97


@given(st.permutations(LABELS), st.floats(0.01, 1))
def test_neither_the_order_of_the_levels_nor_how_they_are_counted_matters(
    order: list[str], share: float
) -> None:
    chances = {"-1": 0.0, "0": 1 - share, "1": 0.0, "2": share}
    listed = [{"label": one, "value": 7, "probability": chances[one]} for one in order]
    answer = {"type": "score", "name": "score", "score": 7, "confidence": 0.5, "probabilities": listed}
    found = judged(answer)
    assert found.score is not None
    assert abs(found.score - 2 * share) < 1e-9
    assert json.loads(found.raw) == [answer]
