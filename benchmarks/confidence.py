"""Does a confidence tell right verdicts from wrong ones? AUROC of four sources on judgements that other people recorded.

``python -m benchmarks.confidence``; the data is that of ``LLMOPS_SHARED_DATA``. The last lines choose a threshold on
half of the questions and check it on the other half.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_llmops import assert_confidence, collect
from pytest_llmops.metrics.confidence import agreement_confidence, logprob_confidence

SHARED = Path(os.environ.get("LLMOPS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data") / "judge"
EVALUATORS = ("GPT-4", "PaLM2", "ChatGPT-0301", "Falcon", "LLaMA2", "ChatGPT")


def read_lines(*parts: str) -> list[dict[str, Any]]:
    with gzip.open(SHARED.joinpath(*parts), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def measure(rows: Sequence[dict[str, Any]], accuracy: float | None = None) -> dict[str, Any]:
    with collect() as measured:
        assert_confidence(rows, at_least_accuracy=accuracy, at_least_coverage=None)
    return {measurement.name.removeprefix("confidence."): measurement for measurement in measured}


def describe(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """The AUROC over all records, and how often the surest answers are right, and the others."""
    most = max(row["confidence"] for row in rows)
    sure, others = (
        [row["correct"] for row in rows if (row["confidence"] == most) == is_sure]
        for is_sure in (True, False)
    )
    measurements = measure(
        [{**row, "outcome": "answered" if row["confidence"] == most else "flagged"} for row in rows]
    )
    return (
        f"confidence {name}: AUROC {measurements['auroc'].value:.2f} of {len(rows)}; the surest {len(sure) / len(rows):.2f} are right in "
        f"{sum(sure) / len(sure):.2f}, the others in {sum(others) / len(others):.2f}"
    )


def read_orders(evaluator: str) -> list[dict[str, Any]]:
    """Verdicts in both orders: sure is who gives the same one."""
    rows = []
    for row in read_lines("llmbar", "replies.jsonl.gz"):
        winners = [row[order]["winner"] for order in ("original", "swapped")]
        if row["evaluator"] == evaluator and all(winner in ("1", "2") for winner in winners):
            agreed = float(winners[0] == winners[1])
            rows.append({"confidence": agreed, "correct": winners[0] == str(row["label"])})
    return rows


def read_strategies(evaluator: str) -> list[dict[str, Any]]:
    """The share of up to 15 ways to ask, in both orders, that give the most usual verdict."""
    votes: dict[tuple[str, str], list[str]] = {}
    labels = {}
    for row in read_lines("llmbar", "replies.jsonl.gz"):
        winner = row["original"]["winner"]
        if row["evaluator"] == evaluator and winner in ("1", "2"):
            key = row["subset"], str(row["idx"])
            votes.setdefault(key, []).append(winner)
            labels[key] = str(row["label"])
    return [
        {
            "confidence": agreement_confidence(given),
            "correct": Counter(given).most_common(1)[0][0] == labels[key],
            "family": " ".join(key),
        }
        for key, given in votes.items()
        if len(given) > 1
    ]


def lines() -> Iterator[str]:
    """Yield the figures; a single line where the data is not there."""
    if not (SHARED / "llmbar").exists():
        yield "confidence not measured: LLMOPS_SHARED_DATA has no folder judge"
        return
    draws = [
        list(map(float, row["gpt4_score"])) for row in read_lines("repeated_judge", "mt_bench_eval.jsonl.gz")
    ]
    orders = [
        (first, second, third)
        for a, b, c in draws
        for first, second, third in ((a, b, c), (b, c, a), (c, a, b))
    ]
    rows = [
        {"confidence": float(first == second), "correct": second == third} for first, second, third in orders
    ]
    yield describe("two draws agree, against the third", rows)
    for name in ("GPT-4", "PaLM2", "ChatGPT"):
        yield describe(f"both orders agree, {name}", read_orders(name))
    for name in EVALUATORS:
        yield describe(f"ways to ask agree, {name}", read_strategies(name))
    attacked = [
        {
            "confidence": logprob_confidence([row["logprobs"]["content"][0]["logprob"]]),
            "correct": row["preference"] < 1.5,
        }
        for row in read_lines("logprob_judge", "nullmodel_gpt4turbo.jsonl.gz")
    ]
    yield describe("log-probability of the verdict, under attack", attacked)
    for accuracy in (0.85, 0.9):
        measurements = measure(read_strategies("GPT-4"), accuracy)
        yield f"confidence GPT-4, {accuracy:g} wanted: {measurements['accuracy_lower'].reason or measurements['accuracy_lower'].error}; {measurements['coverage_lower'].reason}"


if __name__ == "__main__":
    for line in lines():
        print(line)
