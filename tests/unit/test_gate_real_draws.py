"""The gate on judgements that others made three times each: drawn again it is never RED, and a known drop is."""

from __future__ import annotations

import itertools

import pytest
from support.shared import rows

from pytest_llmops.baselines.baseline import Baseline, BaselineTest
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

Draws = dict[str, tuple[float, ...]]


@pytest.fixture(scope="module")
def sources() -> dict[str, Draws]:
    """Scores from 0 to 1 by the model that answered, and by question."""
    result: dict[str, Draws] = {}
    for row in rows("judge", "repeated_judge", "mt_bench_eval.jsonl.gz"):
        draws = tuple((score - 1) / 4 for score in row["gpt4_score"])
        result.setdefault(row["response_source"], {})[f"test_a.py::test_a[{row['idx']}]"] = draws
    return result


def judge(before: Draws, after: Draws) -> Verdict:
    tests = {
        case: BaselineTest(outcome="passed", scores={"judge.q": draws}, metrics={"judge.q": ("", "higher")})
        for case, draws in before.items()
    }
    records = [
        TestRecord(
            nodeid=case,
            measurements=(Measurement(name="judge.q", value=sum(draws) / len(draws), samples=draws),),
        )
        for case, draws in after.items()
    ]
    return judge_suite(Baseline(tests=tests), records)


@pytest.mark.slow
def test_the_same_answers_judged_again_are_never_red(sources: dict[str, Draws]) -> None:
    verdicts = []
    for draws in sources.values():
        for left, right in [
            ((0, 1), (2,)),
            ((0, 2), (1,)),
            ((1, 2), (0,)),
            *itertools.permutations(((0,), (1,), (2,)), 2),
        ]:
            before, after = (
                {case: tuple(scores[index] for index in side) for case, scores in draws.items()}
                for side in (left, right)
            )
            verdicts.append(judge(before, after).status)
    assert len(verdicts) == 36
    assert "RED" not in verdicts
    assert verdicts.count("GREEN") >= 30


@pytest.mark.slow
def test_a_weaker_model_is_red_and_a_stronger_one_is_green(sources: dict[str, Draws]) -> None:
    strong = sources["chatgpt"]  # first of the four on MT-Bench's published board
    others = [draws for source, draws in sources.items() if source != "chatgpt"]
    assert len(others) == 3
    for weaker in others:
        worse, better = judge(strong, weaker), judge(weaker, strong)
        assert (worse.status, better.status) == ("RED", "GREEN")
        assert worse.metrics[0].change == pytest.approx(-better.metrics[0].change)
        assert worse.metrics[0].change < -0.05
