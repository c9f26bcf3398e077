"""What a verdict costs: the whole gate over 1,000 cases, ten trials in the baseline and five now, five metrics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.figures import cpu_s, line
from benchmarks.suites import KINDS
from pytest_llmops.baselines.baseline import Baseline, BaselineTest
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import TestRecord

CASES = 1000
TRIALS = 10, 5
LIMIT_S = 1.0
MIXES = {
    "five metrics without steps": ("similarity",) * 5,
    "two checks, two judges, a similarity": (
        "checks, 97 % pass",
        "checks, 90 % pass",
        "judge, 1 to 5",
        "judge, 1 to 5",
        "similarity",
    ),
}


def make_suite(kinds: tuple[str, ...]) -> tuple[Baseline, list[TestRecord]]:
    """Return an unchanged suite with a metric of each kind."""
    generator = np.random.default_rng(0)
    sides = []
    for name in kinds:
        kind = KINDS[name]
        levels = kind.draw_cases(generator, CASES)
        sides.append([kind.draw(generator, levels, trials, 0.0).tolist() for trials in TRIALS])
    names = [f"judge.metric{number}" for number in range(len(kinds))]
    tests, records = {}, []
    for case in range(CASES):
        nodeid = f"test_suite.py::test_case[{case}]"
        before = {name: tuple(side[0][case]) for name, side in zip(names, sides, strict=True)}
        tests[nodeid] = BaselineTest(
            outcome="passed", scores=before, metrics=dict.fromkeys(names, ("1", "higher"))
        )
        measurements = []
        for name, side in zip(names, sides, strict=True):
            scores = tuple(side[1][case])
            mean = sum(scores) / len(scores)
            measurements.append(Measurement(name=name, value=mean, samples=scores, version="1"))
        records.append(TestRecord(nodeid=nodeid, measurements=tuple(measurements)))
    return Baseline(tests=tests), records


def lines() -> Iterator[str]:
    """Yield the CPU seconds of a verdict."""
    for name, kinds in MIXES.items():
        baseline, records = make_suite(kinds)
        rules = GateRules(primary="judge.metric0")

        def judge(
            baseline: Baseline = baseline, records: list[TestRecord] = records, rules: GateRules = rules
        ) -> object:
            return judge_suite(baseline, records, rules=rules)

        judge()
        seconds = min(cpu_s(judge) for _ in range(3))
        text = f"the gate, {CASES:,} cases x {TRIALS[0]}+{TRIALS[1]}, {name}, CPU"
        yield line("verdicts", text, seconds, LIMIT_S, " s")


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
