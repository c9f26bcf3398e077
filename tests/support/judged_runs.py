"""Runs with stored outputs, as a judged suite leaves them behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.run import Outcome, Run, TestRecord


def verdict(
    score: float | None,
    *,
    answer: str | None = "please wait",
    threshold: float | None = 7.0,
    name: str = "quality",
    low: float = 1.0,
    high: float = 10.0,
    label: str = "",
    error: str = "no verdict",
    fields: Mapping[str, Json] | None = None,
    **detail: Json,
) -> Measurement:
    """A judgement as `assert_judge_score` records it, of version 1."""
    text: dict[str, Json] = {
        "name": name, "model": "stub-1", "score": score, "low": low, "high": high, "reason": "as it says", "dimensions": {},
        "raw": "", "error": "" if score is not None else error, "prescreened": False, "threshold": threshold, **(fields or {}),
    }  # fmt: skip
    return Measurement(
        name=f"judge.{name}",
        value=None if score is None else (score - low) / (high - low),
        error=error if score is None else "",
        threshold=None if threshold is None or score is None else (threshold - low) / (high - low),
        version="1",
        label=label,
        detail={"actual": answer, "expected": "", "question": "how long?", "judge": text, **detail},
    )


def record(
    name: str,
    *measurements: Measurement,
    outcome: Outcome | None = None,
    calls: Sequence[Call] = (),
    **more: Any,
) -> TestRecord:
    """A test of that name; its outcome is what its measurements say, unless another one is given."""
    statuses = {measurement.status for measurement in measurements}
    implied: Outcome = "errored" if "errored" in statuses else "failed" if "failed" in statuses else "passed"
    return TestRecord(
        nodeid=f"test_a.py::{name}",
        measurements=measurements,
        outcome=outcome or implied,
        calls=tuple(calls),
        **more,
    )


def make_call(
    output: str, *, question: str = "how long?", purpose: str = "app", status: int | None = 200
) -> Call:
    """A call of a model."""
    return Call(
        model="stub-1", endpoint="chat", messages=(Message("user", question),), output=output, purpose=purpose, status=status
    )  # fmt: skip


def run_of(*records: TestRecord) -> Run:
    """A run of these tests."""
    return Run(records=records, meta={"command": "pytest --llm-judge"}, notes=("one",))
