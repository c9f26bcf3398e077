"""Kappa against published examples, scikit-learn, and a table of people's labels where it is at hand."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from pytest_llmops.metrics.agreement import accuracy, cohen_kappa, confusion


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


def test_names_have_distances_in_the_order_given() -> None:
    names = ["bad", "fair", "good"]
    a, b = ["bad", "good", "fair", "good"], ["fair", "good", "fair", "bad"]
    places = [[names.index(one) for one in rater] for rater in (a, b)]
    assert cohen_kappa(a, b, weights="quadratic", order=names) == pytest.approx(
        cohen_kappa_score(*places, weights="quadratic")
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
    ("a", "b", "options", "expected"),
    [
        ([1], [1, 2], {}, "got 1 and 2 labels"),
        ([1.0, float("nan")], [1.0, 1.0], {}, "item 1 has the label NaN"),
        ([1.0, 1.0], [float("nan"), 1.0], {}, "item 0 has the label NaN"),
        (["a", "b"], ["a", "a"], {"weights": "quadratic"}, "quadratic weights need numbers or order="),
        ([1, 10**400], [1, 1], {"weights": "quadratic"}, "quadratic weights need numbers"),
        (
            ["a", "x"],
            ["a", "a"],
            {"weights": "quadratic", "order": ["a", "b"]},
            r"out of \['a', 'b'\], got 'x'",
        ),
        (["a"], ["a"], {"weights": "quadratic", "order": ["a", "a"]}, "each label once"),
        ([1], [1], {"weights": "linear"}, "None or 'quadratic', got 'linear'"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: Any, b: Any, options: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        cohen_kappa(a, b, **options)


@pytest.mark.shared_data
def test_people_of_pandalm() -> None:
    """The three figures published in the repository of PandaLM: 0.85, 0.88 and 0.86."""
    root = os.environ.get("LLMOPS_SHARED_DATA")
    folder = Path(root) if root else Path(__file__).parents[3] / "shared" / "data"
    file = folder / "judge" / "pandalm" / "testset-v1.json.gz"
    if not file.exists():
        pytest.skip("the third-party data is not beside the checkout")
    rows = json.loads(gzip.decompress(file.read_bytes()))
    one, two, three = ([row[f"annotator{n}"] for row in rows] for n in (1, 2, 3))
    assert cohen_kappa(one, two) == pytest.approx(0.8520, abs=5e-5)
    assert cohen_kappa(one, three) == pytest.approx(0.8789, abs=5e-5)
    assert cohen_kappa(two, three) == pytest.approx(0.8617, abs=5e-5)
