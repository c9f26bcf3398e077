from __future__ import annotations

import pytest
from sklearn.metrics import precision_score, recall_score
from support.messages import check_message

from pytest_llmops.metrics.agreement import Rates, judge_rates

PEOPLE = [True] * 60 + [False] * 40
LENIENT = [True] * 55 + [False] * 5 + [True] * 25 + [False] * 15


def test_equals_scikit_learn() -> None:
    rates = judge_rates(PEOPLE, LENIENT)
    assert rates == Rates(tp=55, fn=5, fp=25, tn=15)
    assert rates.tpr.value == pytest.approx(recall_score(PEOPLE, LENIENT))
    assert rates.tnr.value == pytest.approx(recall_score(PEOPLE, LENIENT, pos_label=False))
    assert rates.precision.value == pytest.approx(precision_score(PEOPLE, LENIENT))


def test_a_judge_that_passes_everything_has_no_share_of_what_people_fail() -> None:
    rates = judge_rates([True] * 8 + [False] * 2, [True] * 10)
    assert (rates.tnr.value, rates.tpr.value) == (0, 1)


def test_of_no_items_there_is_no_share() -> None:
    rates = judge_rates([], [])
    assert [rates.tpr.value, rates.tnr.value, rates.precision.value] == [None] * 3
    assert judge_rates([True], [False]).tnr.value is None
    assert judge_rates([True], [False]).precision.value is None


def test_unlike_lengths_are_refused() -> None:
    with pytest.raises(ValueError, check=check_message):
        judge_rates([True], [True, False])
