"""A run with verdicts on answers, as the commands that label them read it."""

from __future__ import annotations

from typing import Any

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import Run, TestRecord


def verdict(
    answer: str | None,
    score: float | None = 8,
    *,
    judge: str = "quality",
    version: str = "v1",
    sure: float | None = None,
    **detail: Any,
) -> Measurement:
    """A measurement as `assert_judge_score` makes it; below 0.8 sure it is flagged."""
    flag = {"review": {"confidence": sure, "least": 0.8, "undecided": 7}} if sure is not None else {}
    return Measurement(
        name=f"judge.{judge}",
        value=None if score is None else (score - 1) / 9,
        error="no verdict" if score is None else "",
        version=version,
        detail={
            "actual": answer,
            "judge": {"name": judge, "score": score, "low": 1, "high": 10},
            **flag,
            **detail,
        },
    )


def judged_test(case: str, *measurements: Measurement, version: str = "", family: str = "") -> TestRecord:
    """The record of a test of a case, with a version of a prompt or none."""
    node = f"tests/test_a.py::test_answer[{'-'.join(filter(None, [version, case]))}]"
    return TestRecord(
        nodeid=node, measurements=measurements, facts={"case": {"id": case, "family": family}} if case else {}
    )


def judged_run(count: int = 10) -> Run:
    """So many answers; the judge is sure of all but each fifth, of which it is the less sure the later."""
    records = []
    for n in range(count):
        sure = 0.5 - n / 1_000 if n % 5 == 4 else None
        measurement = verdict(
            f"Answer {n}.", 1 + n % 10, sure=sure, question=f"Question {n}?", expected=f"R{n}"
        )
        records.append(judged_test(f"case {n}", measurement, family=f"f{n % 3}"))
    return Run(records=tuple(records))
