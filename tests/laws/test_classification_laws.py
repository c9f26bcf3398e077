"""What holds of cuts and areas, whatever the scores."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmops.metrics import classification

labelled = st.lists(
    st.tuples(st.floats(-1, 1, allow_subnormal=False).map(lambda score: round(score, 3)), st.booleans()),
    min_size=2,
    max_size=30,
).filter(lambda pairs: len({same for _, same in pairs}) == 2)
RULES: list[Any] = ["balanced", "recall", "precision", "false passes"]


def split(pairs: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [score for score, _ in pairs], [same for _, same in pairs]


@pytest.mark.slow
@given(pairs=labelled)
def test_recall_and_false_passes_only_grow_as_the_cut_falls(pairs: list[tuple[float, bool]]) -> None:
    result = classification.distinct_cuts(*split(pairs))
    for point, lower in pairwise(result):
        assert lower.at_least < point.at_least
        assert (lower.same_passed, lower.different_passed) >= (point.same_passed, point.different_passed)
        assert lower.different_passed >= point.different_passed
    assert (result[-1].recall, result[-1].false_passes) == (1.0, 1.0)


@pytest.mark.slow
@given(pairs=labelled)
def test_labels_turned_round_turn_the_area_round(pairs: list[tuple[float, bool]]) -> None:
    scores, same = split(pairs)
    area = classification.roc_auc(scores, same)
    assert 0 <= area <= 1
    assert classification.roc_auc(scores, [not is_same for is_same in same]) == pytest.approx(1 - area)
    assert classification.roc_auc([-score for score in scores], same) == pytest.approx(1 - area)
    assert 0 < classification.average_precision(scores, same) <= 1 + 1e-12


@given(pairs=labelled)
def test_no_cut_beats_the_balanced_one(pairs: list[tuple[float, bool]]) -> None:
    scores, same = split(pairs)
    best = classification.choose_cut(scores, same)
    assert best is not None
    assert best.balanced_accuracy == max(
        cut.balanced_accuracy for cut in classification.distinct_cuts(scores, same)
    )
    assert classification.cut_at(scores, same, best.at_least) == best


@pytest.mark.slow
@given(pairs=labelled, rule=st.sampled_from(RULES), share=st.floats(0, 1))
def test_a_rule_is_kept_and_no_cut_further_on_keeps_it(pairs: Any, rule: Any, share: float) -> None:
    scores, same = split(pairs)
    chosen = classification.choose_cut(scores, same, rule=rule, share=share)
    keeps = {
        "recall": lambda point: point.recall >= share,
        "precision": lambda point: point.precision >= share,
        "false passes": lambda point: point.false_passes <= share,
    }
    assume(rule in keeps)
    good = [cut for cut in classification.distinct_cuts(scores, same) if keeps[rule](cut)]
    if chosen is None:
        assert not good
        return
    assert keeps[rule](chosen)
    wanted = good[0] if rule == "recall" else good[-1]
    assert (chosen.same_passed, chosen.different_passed) == (wanted.same_passed, wanted.different_passed)


@given(count=st.integers(1, 500), data=st.data())
def test_wilsons_interval_holds_the_share_and_stays_in_range(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    low, high = classification.wilson_interval(hits, count)
    assert 0 <= low <= hits / count <= high <= 1
