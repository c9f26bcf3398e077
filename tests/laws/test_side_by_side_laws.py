"""Laws of verdicts on variants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import scale_examples

from benchmarks.ab import compare
from pytest_llmops.metrics.change.trials import adjust_p_values

LEVELS = st.integers(0, 4).map(lambda level: level / 4)
CASES = st.lists(st.tuples(*[st.lists(LEVELS, min_size=3, max_size=3)] * 2), min_size=10, max_size=12)
MIRROR = {"better": "worse", "worse": "better"}


@pytest.mark.slow
@given(CASES)
@scale_examples(0.2)
def test_swapping_the_sides_turns_the_verdict(cases: list[tuple[list[float], list[float]]]) -> None:
    left, right = ({str(n): list(case[side]) for n, case in enumerate(cases)} for side in (0, 1))
    (there,) = compare({"a": left, "b": right})
    (back,) = compare({"a": right, "b": left})
    assert abs(there.metrics[0].change + back.metrics[0].change) < 1e-12
    assert there.metrics[0].p_value == pytest.approx(back.metrics[0].p_value)
    assert back.status == MIRROR.get(there.status, there.status)


@pytest.mark.slow
@given(CASES)
@scale_examples(0.2)
def test_a_variant_is_equivalent_to_itself_or_undecided(
    cases: list[tuple[list[float], list[float]]],
) -> None:
    same = {str(n): list(case[0]) for n, case in enumerate(cases)}
    (verdict,) = compare({"a": same, "b": same})
    assert verdict.status in ("equivalent", "undecided")
    assert (verdict.status == "undecided") == bool(verdict.next_step)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_adjusted_p_values_keep_the_order_and_are_not_smaller(p_values: list[float]) -> None:
    adjusted = adjust_p_values(p_values)
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    assert all(
        after <= min(1, before * len(p_values)) + 1e-12
        for before, after in zip(p_values, adjusted, strict=True)
    )
    ranked = sorted(zip(p_values, adjusted, strict=True))
    assert [after for _, after in ranked] == sorted(adjusted)
