"""Agreement of many raters against the papers' worked examples and the figures published with the data sets."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
from support.messages import check_message
from support.shared import rows

from pytest_llmops.judges import accuracy, cohen_kappa, krippendorff_alpha
from pytest_llmops.metrics.agreement import Level


def columns(*raters: str) -> list[tuple[str | None, ...]]:
    """One row an item, from one line a rater; a dot is a gap."""
    return list(
        zip(*([None if one == "." else one for one in rater.split()] for rater in raters), strict=True)
    )


# Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011: the examples of its sections A, B and C.
BINARY = columns("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
NAMES = columns("a a b b d c c c e d d a", "b a b b b c c c e d d d")
GAPS = columns(
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


@pytest.mark.parametrize(
    ("ratings", "level", "alpha"),
    [
        (BINARY, "nominal", 0.095),
        (NAMES, "nominal", 0.692),
        (GAPS, "nominal", 0.743),
        (GAPS, "ordinal", 0.815),
        (GAPS, "interval", 0.849),
    ],
)
def test_the_examples_of_krippendorff(ratings: list[Any], level: Any, alpha: float) -> None:
    if level == "nominal":
        assert krippendorff_alpha(ratings) == pytest.approx(alpha, abs=5e-4)
    numbers = [[None if one is None else int(one, 36) for one in row] for row in ratings]
    assert krippendorff_alpha(numbers, level=level) == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize("ratings", [[], [[]], [[1]], [[1, None], [None, 2]], [[1, 1], [1, 1]]])
def test_what_tells_nothing_has_no_alpha(ratings: list[Any]) -> None:
    assert krippendorff_alpha(ratings) is None
    assert krippendorff_alpha(ratings, level="interval") is None


def test_extreme_numbers_never_become_nan() -> None:
    huge, small = [[1e308, -1e308], [0.0, 0.0], [1e308, 1e308]], [[1, -1], [0, 0], [1, 1]]
    levels: list[Level] = ["ordinal", "interval"]
    for level in levels:
        assert krippendorff_alpha(huge, level=level) == pytest.approx(krippendorff_alpha(small, level=level))


@pytest.mark.parametrize(
    "call",
    [
        lambda: krippendorff_alpha([[1, 2]], level=cast("Any", "ratio")),
        lambda: krippendorff_alpha([["a", "b"]], level="interval"),
        lambda: krippendorff_alpha([["a", "x"]], level="ordinal"),
        lambda: krippendorff_alpha([[1, 1], [1, float("nan")]]),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        call()


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("dimension", "alpha"),
    [("Informativeness", 0.2849), ("Relevance", 0.1151), ("Fluency", -0.0158), ("Coherence", 0.0650)],
)
def test_people_of_judge_bench(dimension: str, alpha: float) -> None:
    """Newsroom's ordinal alphas as JUDGE-BENCH publishes them."""
    ratings = [row[dimension] for row in rows("judge", "human_ordinal", "newsroom_scores.jsonl")]
    assert krippendorff_alpha(ratings, level="ordinal") == pytest.approx(alpha, abs=5e-5)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("model", "agreement"),
    [
        ("llama2orig", 0.964),
        ("llama2new", 0.958),
        ("mistralinstruct", 0.976),
        ("mistralguard", 0.938),
        ("gpt4", 0.984),
    ],
)
def test_annotators_of_xstest(model: str, agreement: float) -> None:
    """Agreement as the paper of XSTest publishes them."""
    answers = [row for row in rows("guardrails", "xstest", "labels.jsonl.gz") if row["model"] == model]
    first, second = ([row[f"annotation_{n}"] for row in answers] for n in (1, 2))
    assert len(answers) == 450
    assert accuracy(first, second) == pytest.approx(agreement, abs=5e-4)


@pytest.mark.shared_data
def test_both_orders_of_llmbar() -> None:
    """The authors' kappa of a judge with itself, in all 97 rows without an unread reply, and their counts."""
    grouped: dict[Any, list[dict[str, Any]]] = {}
    for row in rows("judge", "llmbar", "replies.jsonl.gz"):
        grouped.setdefault((row["subset"], row["evaluator"], row["strategy"]), []).append(row)
    whole = 0
    for known in rows("judge", "llmbar", "published_statistics.jsonl"):
        found = grouped[known["subset"], known["evaluator"], known["strategy"]]
        given, swapped = ([row[order]["winner"] for row in found] for order in ("original", "swapped"))
        same = sum(one == other for one, other in zip(given, swapped, strict=True))
        assert known["equal"].startswith(f"{same} / {len(found)} ")
        for key, winners in (("correct_False", given), ("correct_True", swapped)):
            right = sum(one == str(row["label"]) for one, row in zip(winners, found, strict=True))
            assert known[key].startswith(f"{right} / {len(found)} ")
        if None in given + swapped:
            continue
        whole += 1
        assert cohen_kappa(given, swapped) == pytest.approx(known["kappa_agreement"], abs=1e-12)
    assert whole == 97


@pytest.mark.shared_data
def test_the_majority_of_pandalm() -> None:
    people = rows("judge", "pandalm", "testset-v1.json.gz")
    votes = [Counter(row[f"annotator{n}"] for n in (1, 2, 3)).most_common(1)[0] for row in people]
    assert Counter(label for label, _ in votes) == {0: 105, 1: 422, 2: 472}
    assert min(n for _, n in votes) == 2
