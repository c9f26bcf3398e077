"""Agreement against the figures published with the data sets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.shared import rows

from pytest_llmops.judges import accuracy, cohen_kappa


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
    """Agreement as the paper of XSTest publishes it."""
    answers = [row for row in rows("guardrails", "xstest", "labels.jsonl.gz") if row["model"] == model]
    first, second = ([row[f"annotation_{n}"] for row in answers] for n in (1, 2))
    assert len(answers) == 450
    assert accuracy(first, second) == pytest.approx(agreement, abs=5e-4)


@pytest.mark.slow
@pytest.mark.shared_data
def test_both_orders_of_llmbar() -> None:
    """The authors' kappa of a judge with itself, in all 97 rows without an unread reply, and their counts."""
    grouped: dict[Any, list[dict[str, Any]]] = {}
    for row in rows("judge", "llmbar", "replies.jsonl.gz"):
        grouped.setdefault((row["subset"], row["evaluator"], row["strategy"]), []).append(row)
    whole = 0
    for known in rows("judge", "llmbar", "published_statistics.jsonl"):
        result = grouped[known["subset"], known["evaluator"], known["strategy"]]
        given, swapped = ([row[order]["winner"] for row in result] for order in ("original", "swapped"))
        same = sum(first == other for first, other in zip(given, swapped, strict=True))
        assert known["equal"].startswith(f"{same} / {len(result)} ")
        for key, winners in (("correct_False", given), ("correct_True", swapped)):
            right = sum(first == str(row["label"]) for first, row in zip(winners, result, strict=True))
            assert known[key].startswith(f"{right} / {len(result)} ")
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
