"""What holds of any raters: of their correlation, of rates and of a whole calibration."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmops.errors import CaseError
from pytest_llmops.judges import AgreementRequirements, measure_agreement, read_labels
from pytest_llmops.judges.calibration.evidence import figures_to_json
from pytest_llmops.metrics.agreement import (
    cohen_kappa,
    correlation,
    judge_rates,
    kappa_interval,
)

numbers = st.integers(1, 5)
pairs = st.lists(st.tuples(numbers, numbers), max_size=25)
passes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40)


def split(items: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [a for a, _ in items], [b for _, b in items]


@given(items=pairs)
def test_rank_correlation_knows_order_alone(items: list[tuple[int, int]]) -> None:
    a, b = split(items)
    coefficient = correlation(a, b)
    assert (coefficient is None) == (len(set(a)) < 2 or len(set(b)) < 2)
    assert correlation(b, a) == pytest.approx(coefficient)
    assert correlation([value**3 for value in a], b) == pytest.approx(coefficient)
    if coefficient is not None:
        assert -1 <= coefficient <= 1
        assert correlation([-value for value in a], b) == pytest.approx(-coefficient)
        assert correlation(a, a) == pytest.approx(1)


@pytest.mark.slow
@given(items=pairs, weights=st.sampled_from([None, "quadratic"]))
def test_an_interval_lies_on_the_scale_and_narrows_with_confidence(
    items: list[tuple[int, int]], weights: Any
) -> None:
    a, b = split(items)
    wide = kappa_interval(a, b, weights=weights)
    assert (wide is None) == (cohen_kappa(a, b, weights=weights) is None)
    if wide is not None:
        narrow = kappa_interval(a, b, weights=weights, confidence=0.5)
        assert narrow is not None
        assert -1 - 1e-9 <= wide[0] <= narrow[0] <= narrow[1] <= wide[1] <= 1 + 1e-9


@given(items=passes)
def test_rates_turn_with_pass_and_fail(items: list[tuple[bool, bool]]) -> None:
    people, judge = split(items)
    rates, turned = (
        judge_rates(people, judge),
        judge_rates([not passed for passed in people], [not passed for passed in judge]),
    )
    assert (rates.tpr, rates.tnr) == (turned.tnr, turned.tpr)
    assert len(items) == rates.tpr.total + rates.tnr.total


human = st.lists(st.none() | numbers, min_size=1, max_size=3)
answers = st.lists(st.tuples(human, st.none() | st.floats(1, 5)), min_size=1, max_size=20)


@pytest.mark.slow
@given(pairs=answers, pass_at=st.none() | st.floats(1, 5))
def test_a_calibration_is_never_nan_and_the_order_of_the_answers_does_not_count(
    pairs: Any, pass_at: float | None
) -> None:
    rows = [{"id": str(n), "human": people, "judge": verdict} for n, (people, verdict) in enumerate(pairs)]
    assume(any(label is not None for people, _ in pairs for label in people))
    labels, turned = read_labels(rows), read_labels(rows[::-1])
    verdicts = {row["id"]: row["judge"] for row in rows}
    figures, again = (measure_agreement(labels_, verdicts, pass_at=pass_at) for labels_ in (labels, turned))
    assert labels.fingerprint == turned.fingerprint
    json.dumps(figures_to_json(figures), allow_nan=False)
    assert (figures.kappa is None) == bool(figures.problem)
    assert again.kappa == pytest.approx(figures.kappa)
    assert sum(map(sum, figures.table.counts)) == figures.compared
    named = {row.id for row in labels.labelled}
    assert figures.compared + len({*figures.unscored, *figures.disputed}) == len(named)
    assert (figures.rates is None) == (pass_at is None or not figures.compared)
    assert len(AgreementRequirements().compare_figures(figures)) in (0, 2)


@pytest.mark.slow
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    key=st.sampled_from(["id", "human", "judge", "contexts", "dimensions", "answer"]),
)
def test_any_value_is_read_or_refused_with_its_place(value: Any, key: str) -> None:
    rows = [{"id": "a", "human": 3}, {"id": "b", "human": 4, key: value}]
    place = ""
    try:
        labels = read_labels(rows)
    except CaseError as error:
        place = str(error)
    if place:
        assert "@ labels" in place
        assert place.isprintable()
    else:
        assert labels.kind == "number"
        assert all(math.isfinite(float(label)) for row in labels.rows for label in row.opinion.labels)
