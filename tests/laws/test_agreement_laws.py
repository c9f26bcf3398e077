from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmops.metrics.agreement import Weights, accuracy, cohen_kappa, confusion

pairs = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=30)
weights = st.sampled_from([None, "quadratic"])


def split(items: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [a for a, _ in items], [b for _, b in items]


@given(items=pairs, how=weights)
def test_kappa_is_from_minus_1_to_1_or_unknown(items: list[tuple[int, int]], how: Weights | None) -> None:
    a, b = split(items)
    kappa = cohen_kappa(a, b, weights=how)
    assert (kappa is None) == (len({*a, *b}) < 2)
    if kappa is not None:
        assert math.isfinite(kappa)
        assert -1 - 1e-9 <= kappa <= 1


@given(items=pairs, how=weights)
def test_raters_can_change_places_and_items_their_order(
    items: list[tuple[int, int]], how: Weights | None
) -> None:
    a, b = split(items)
    kappa = cohen_kappa(a, b, weights=how)
    assert cohen_kappa(b, a, weights=how) == pytest.approx(kappa)
    assert cohen_kappa(a[::-1], b[::-1], weights=how) == pytest.approx(kappa)


@given(labels=st.lists(st.integers(1, 5), min_size=1), how=weights)
def test_a_rater_agrees_with_itself(labels: list[int], how: Weights | None) -> None:
    assert accuracy(labels, labels) == 1
    assume(len(set(labels)) > 1)
    assert cohen_kappa(labels, labels, weights=how) == 1


@given(items=pairs, factor=st.sampled_from([0.5, 2.0, 1e9, 1e-9]), offset=st.integers(-9, 9))
def test_another_unit_of_the_scale_changes_nothing(
    items: list[tuple[int, int]], factor: float, offset: int
) -> None:
    a, b = split(items)
    moved = [[(rating + offset) * factor for rating in rater] for rater in (a, b)]
    wanted = cohen_kappa(a, b, weights="quadratic")
    assert cohen_kappa(moved[0], moved[1], weights="quadratic") == pytest.approx(wanted, abs=1e-9)


@given(items=pairs)
def test_names_count_as_their_numbers_do(items: list[tuple[int, int]]) -> None:
    a, b = split(items)
    assert cohen_kappa([f"l{x}" for x in a], [f"l{x}" for x in b]) == cohen_kappa(a, b)
    counts = confusion(a, b)
    assert sum(counts.values()) == len(items)
    same = sum(n for (x, y), n in counts.items() if x == y)
    assert accuracy(a, b) == (same / len(items) if items else None)


@given(items=pairs)
def test_two_classes_have_the_same_kappa_with_and_without_weights(items: list[tuple[int, int]]) -> None:
    a, b = ([rating > 3 for rating in rater] for rater in split(items))
    assert cohen_kappa(a, b, weights="quadratic") == pytest.approx(cohen_kappa(a, b))
