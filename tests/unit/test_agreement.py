"""Kappa against published examples, scikit-learn, and a table of people's labels where it is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from support.messages import check_message
from support.shared import rows

from pytest_llmops.judges import accuracy, cohen_kappa, correlation, kappa_interval
from pytest_llmops.metrics.agreement import confusion


def from_table(table: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


@pytest.mark.parametrize(
    ("table", "kappa", "share"),
    [
        # The worked examples of the article "Cohen's kappa" of the English Wikipedia.
        ([[20, 5], [10, 15]], 0.40, 0.70),
        ([[45, 15], [25, 15]], 0.1304, 0.60),
        ([[25, 35], [5, 35]], 0.2593, 0.60),
        # Cohen 1960, table 1 (proportions of 200): three categories, kappa .492.
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.492, 0.70),
    ],
)
def test_published_examples(table: list[list[int]], kappa: float, share: float) -> None:
    a, b = from_table(table)
    assert cohen_kappa(a, b) == pytest.approx(kappa, abs=5e-4)
    assert accuracy(a, b) == pytest.approx(share)
    assert confusion(a, b) == {(i, j): n for i, row in enumerate(table) for j, n in enumerate(row) if n}


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, "quadratic"])
def test_equals_scikit_learn(weights: Any) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        a = rng.integers(1, 6, size=40)
        b = np.clip(a + rng.integers(-1, 2, size=40), 1, 5)
        wanted = cohen_kappa_score(a, b, weights=weights, labels=range(1, 6))
        assert cohen_kappa(a.tolist(), b.tolist(), weights=weights) == pytest.approx(wanted)
        counts = confusion(a.tolist(), b.tolist())
        assert [[counts.get((i, j), 0) for j in range(1, 6)] for i in range(1, 6)] == confusion_matrix(
            a, b, labels=range(1, 6)
        ).tolist()


def test_a_value_that_nobody_gave_still_has_its_place_on_the_scale() -> None:
    a, b = [1, 1, 2, 9, 9], [1, 2, 2, 9, 2]
    assert cohen_kappa(a, b, weights="quadratic") == pytest.approx(
        cohen_kappa_score(a, b, weights="quadratic", labels=range(1, 10))
    )
    assert cohen_kappa(a, b, weights="quadratic") != pytest.approx(
        cohen_kappa_score(a, b, weights="quadratic")
    )


def test_no_agreement_at_all_and_perfect_agreement() -> None:
    assert cohen_kappa([0, 1], [1, 0]) == -1
    assert cohen_kappa(["a", "b"], ["a", "b"]) == 1


@pytest.mark.parametrize("weights", [None, "quadratic"])
def test_one_class_only_is_no_agreement_but_unknown(weights: Any) -> None:
    assert cohen_kappa([1, 1, 1], [1, 1, 1], weights=weights) is None
    assert cohen_kappa([], [], weights=weights) is None
    assert accuracy([1, 1, 1], [1, 1, 1]) == 1
    assert accuracy([], []) is None


def test_a_rubber_stamp_agrees_often_and_has_no_kappa() -> None:
    people = [True] * 8 + [False] * 2
    assert accuracy(people, [True] * 10) == 0.8
    assert cohen_kappa(people, [True] * 10) == 0


def test_extreme_numbers_never_become_nan() -> None:
    assert cohen_kappa([1e308, -1e308, 0], [1e308, 0, 0], weights="quadratic") == pytest.approx(
        cohen_kappa([1, -1, 0], [1, 0, 0], weights="quadratic")
    )


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        ([1], [1, 2], {}),
        ([1.0, float("nan")], [1.0, 1.0], {}),
        ([1.0, 1.0], [float("nan"), 1.0], {}),
        (["a", "b"], ["a", "a"], {"weights": "quadratic"}),
        ([1, 10**400], [1, 1], {"weights": "quadratic"}),
        ([1], [1], {"weights": "linear"}),
    ],
)
def test_what_cannot_be_compared_is_refused(a: Any, b: Any, options: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        cohen_kappa(a, b, **options)


@pytest.mark.parametrize("compare", [confusion, accuracy, cohen_kappa, correlation])
@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0, float("nan")], [1.0, 1.0]), ([1.0, 1.0], [float("nan"), 1.0]), ([1.0], [1.0, 1.0])],
    ids=["NaN of the first", "NaN of the second", "lengths"],
)
def test_labels_that_do_not_belong_together_are_never_counted(
    compare: Callable[[Any, Any], object], a: list[float], b: list[float]
) -> None:
    with pytest.raises(ValueError, check=check_message):
        compare(a, b)


INTELLIGENCE, HOURS = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110], [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
"""The worked example of the article "Spearman's rank correlation coefficient" of the English Wikipedia."""


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        (INTELLIGENCE, HOURS, -29 / 165),
        # scipy 1.17 spearmanr([1, 2, 2, 3, 3, 3], [2, 1, 3, 3, 4, 4]).
        ([1, 2, 2, 3, 3, 3], [2, 1, 3, 3, 4, 4], 0.778661114550567),
        ([0, 1, 2], [1, 2, 2], 0.8660254),
        ([1e308, -1e308, 0], [1e308, -1e308, 0], 1),
        ([1, 2, 3], [3, 2, 1], -1),
    ],
)
def test_correlations_of_published_examples(a: list[Any], b: list[Any], wanted: float) -> None:
    assert correlation(a, b) == pytest.approx(wanted, abs=5e-6)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [1]), ([1, 1, 1], [1, 2, 3]), ([1, 2], [5.0, 5.0])])
def test_without_an_order_there_is_no_correlation(a: list[int], b: list[int]) -> None:
    assert correlation(a, b) is None


@pytest.mark.parametrize(("a", "b"), [(["a", "b"], [1, 2]), ([1], [1, 2])])
def test_what_has_no_correlation_is_refused(a: list[Any], b: list[Any]) -> None:
    with pytest.raises(ValueError, check=check_message):
        correlation(a, b)


@pytest.mark.parametrize("weights", [None, "quadratic"])
@pytest.mark.parametrize(
    ("table", "plain", "squared"),
    [
        # Ends of the 95 % interval by the standard error of Fleiss, Cohen and Everitt 1969, as statsmodels 0.15
        # `cohens_kappa` gives them, without weights and with ``wt="fc"``.
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], (0.39156, 0.59149), (0.32430, 0.58479)),
        ([[20, 5], [10, 15]], (0.15109, 0.64891), (0.15109, 0.64891)),
        ([[45, 15], [25, 15]], (-0.06294, 0.32381), (-0.06294, 0.32381)),
    ],
)
def test_the_interval_is_that_of_the_standard_error(
    table: list[list[int]], plain: tuple[float, float], squared: tuple[float, float], weights: Any
) -> None:
    result = kappa_interval(*from_table(table), weights=weights)
    assert result == pytest.approx(squared if weights else plain, abs=0.012)
    assert result == kappa_interval(*from_table(table), weights=weights)
    assert result != kappa_interval(*from_table(table), weights=weights, seed=1)


@pytest.mark.slow
def test_the_interval_is_the_same_in_every_process() -> None:
    code = (
        "from pytest_llmops.metrics.agreement import kappa_interval\n"
        "print(kappa_interval(['good', 'bad', 'fair', 'tie'] * 9, ['good', 'tie', 'fair', 'tie', 'bad', 'bad'] * 6))"
    )
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


@pytest.mark.slow
def test_many_different_numbers_are_no_matter_of_patience() -> None:
    people = [n % 5 + 1 for n in range(1500)]
    given = [people[n] + n % 997 / 997 for n in range(1500)]
    result = kappa_interval(people, given, weights="quadratic")
    kappa = cohen_kappa(people, given, weights="quadratic")
    assert result is not None
    assert kappa is not None
    assert result[0] < kappa < result[1]
    assert result[1] - result[0] < 0.01


def test_answers_of_one_family_count_as_one() -> None:
    a, b = from_table([[20, 5], [10, 15]])
    alone = kappa_interval(a, b, groups=[str(n) for n in range(50)])
    assert alone == pytest.approx(kappa_interval(a, b), abs=0.02)
    families = kappa_interval(a * 4, b * 4, groups=[str(n % 50) for n in range(200)])
    assert families == pytest.approx(alone, abs=0.02)
    assert kappa_interval(a * 4, b * 4)[0] > families[0] + 0.1  # type: ignore[index]
    assert kappa_interval(a, b, groups=["one"] * 50) is None


def test_a_rare_class_makes_a_perfect_kappa_unsure() -> None:
    people = [True] * 49 + [False]
    assert kappa_interval(people, people) == (0, 1)
    assert kappa_interval([True, False] * 25, [True, False] * 25) == (1, 1)
    assert kappa_interval([1, 1], [1, 1]) is None


@pytest.mark.parametrize(
    "options",
    [
        {"confidence": 1.0},
        {"groups": ["a"]},
        {"weights": "linear"},
    ],
)
def test_an_interval_that_cannot_be_is_refused(options: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        kappa_interval([1, 0], [1, 0], **options)


@pytest.mark.shared_data
def test_people_of_pandalm() -> None:
    """The three figures published in the repository of PandaLM: 0.85, 0.88 and 0.86."""
    people = rows("judge", "pandalm", "testset-v1.json.gz")
    first, second, third = ([row[f"annotator{n}"] for row in people] for n in (1, 2, 3))
    assert cohen_kappa(first, second) == pytest.approx(0.8520, abs=5e-5)
    assert cohen_kappa(first, third) == pytest.approx(0.8789, abs=5e-5)
    assert cohen_kappa(second, third) == pytest.approx(0.8617, abs=5e-5)
