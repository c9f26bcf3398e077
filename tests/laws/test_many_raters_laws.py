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
    found = correlation(a, b)
    assert (found is None) == (len(set(a)) < 2 or len(set(b)) < 2)
    assert correlation(b, a) == pytest.approx(found)
    assert correlation([one**3 for one in a], b) == pytest.approx(found)
    if found is not None:
        assert -1 <= found <= 1
        assert correlation([-one for one in a], b) == pytest.approx(-found)
        assert correlation(a, a) == pytest.approx(1)


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
    found, turned = (
        judge_rates(people, judge),
        judge_rates([not one for one in people], [not one for one in judge]),
    )
    assert (found.tpr, found.tnr) == (turned.tnr, turned.tpr)
    assert len(items) == found.tpr.total + found.tnr.total


human = st.lists(st.none() | numbers, min_size=1, max_size=3)
answers = st.lists(st.tuples(human, st.none() | st.floats(1, 5)), min_size=1, max_size=20)


@given(said=answers, pass_at=st.none() | st.floats(1, 5))
def test_a_calibration_is_never_nan_and_the_order_of_the_answers_does_not_count(
    said: Any, pass_at: float | None
) -> None:
    rows = [{"id": str(n), "human": people, "judge": one} for n, (people, one) in enumerate(said)]
    assume(any(one is not None for people, _ in said for one in people))
    labels, turned = read_labels(rows), read_labels(rows[::-1])
    verdicts = {row["id"]: row["judge"] for row in rows}
    found, again = (measure_agreement(one, verdicts, pass_at=pass_at) for one in (labels, turned))
    assert labels.fingerprint == turned.fingerprint
    json.dumps(figures_to_json(found), allow_nan=False)
    assert (found.kappa is None) == bool(found.problem)
    assert again.kappa == pytest.approx(found.kappa)
    assert sum(map(sum, found.table.counts)) == found.compared
    named = {row.id for row in labels.labelled}
    assert found.compared + len({*found.unscored, *found.disputed}) == len(named)
    assert (found.rates is None) == (pass_at is None or not found.compared)
    assert len(AgreementRequirements().compare_figures(found)) in (0, 2)


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
        assert all(math.isfinite(float(one)) for row in labels.rows for one in row.opinion.labels)
