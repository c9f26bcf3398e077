"""Error rates of `llm_compare` and of a canary: simulated ones, and judgements that others made."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks.builds import BASELINE_TRIALS, BETA, SCENARIOS, draw_builds, draw_trials
from pytest_llmops.baselines.side_by_side import judge_comparisons
from pytest_llmops.measurement import Measurement
from pytest_llmops.production.canary import CanaryEvent, canary_decision
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

BUILDS = int(os.environ.get("LLMOPS_BUILDS", "400"))
SIZES = ((20, 3), (50, 3), (50, 5), (200, 3))
"""Cases, and trials of the variant; the base has ten."""
STATUSES = ("better", "worse", "equivalent", "undecided")
ACTIONS = ("ROLLBACK", "PROMOTE", "HOLD")
EVENTS = (1000, 2000, 4000, 8000)
START = datetime(2026, 1, 1, tzinfo=UTC)
DROPS = (0.0, -0.025, -0.05, -0.10)
RIGHT = 0.8
"""Share of requests that the stable version gets right."""
LOOKS = 4
"""Looks at each simulated canary, evenly spread; the first decision counts. A look sees all crossings since the start."""


def compare(sides: Mapping[str, Mapping[str, Sequence[float]]]) -> tuple[Verdict, ...]:
    """Return the shipped verdicts on the scores of variants by case; the first one is the base."""
    base = next(iter(sides))
    records = [
        TestRecord(
            nodeid=f"test_suite.py::test_case[{value}-{case}]",
            measurements=(
                Measurement(name="judge.quality", value=fmean(scores), samples=tuple(scores), version="1"),
            ),
            facts={
                "compare": {
                    "argument": "version",
                    "value": value,
                    "place": place,
                    "base": base,
                    "case": [case],
                },
                "trials": {"n": len(scores), "passed": len(scores)},
            },
        )
        for place, (value, cases) in enumerate(sides.items())
        for case, scores in cases.items()
    ]
    return judge_comparisons(records)


def simulate(name: str, cases: int, trials: int, builds: int) -> str:
    """Return the share of each verdict over simulated comparisons in %."""
    statuses = []
    for before, after, _ in draw_builds(name, cases, trials, builds):
        sides = {
            value: {str(case): list(scores) for case, scores in enumerate(drawn.tolist())}
            for value, drawn in (("v1", before), ("v2", after))
        }
        statuses.append(compare(sides)[0].status)
    return "/".join(f"{100 * statuses.count(status) / builds:.0f}" for status in STATUSES)


def read_rows(*parts: str) -> list[dict[str, Any]]:
    """Return the rows of third-party data; none if it is not on this machine."""
    root = os.environ.get("LLMOPS_SHARED_DATA")
    path = Path(root or "../shared/data").joinpath(*parts)
    if not path.exists():
        return []
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def real_pairs() -> Iterator[tuple[str, float, Verdict]]:
    """Yield each pair of models with the difference by the first judgement, and the verdict by the other two."""
    sources: dict[str, dict[str, list[float]]] = {}
    for row in read_rows("judge", "repeated_judge", "mt_bench_eval.jsonl.gz"):
        scores = [(score - 1) / 4 for score in row["gpt4_score"]]
        sources.setdefault(row["response_source"], {})[str(row["idx"])] = scores
    for base, other in combinations(sorted(sources), 2):
        truth = fmean(sources[other][case][0] - sources[base][case][0] for case in sources[base])
        rest = {side: {case: draws[1:] for case, draws in sources[side].items()} for side in (base, other)}
        yield f"{other} against {base}", truth, compare(rest)[0]


def single_judgements() -> Iterator[tuple[str, float, Verdict]]:
    """Yield GPT-4 Turbo against Mixtral on the answers of MT-Bench, one judgement each; the board's means are the truth."""
    sides: dict[str, dict[str, list[float]]] = {}
    for row in read_rows("judge", "mtbench_gpt4_single", "judgements.jsonl.gz"):
        case = f"{row['question_id']} {row['turn']}"
        sides.setdefault(row["model"], {})[case] = [(row["score"] - 1) / 9]
    if len(sides) > 1:
        base, other = sorted(sides)
        yield (
            f"{other} against {base}",
            (8.3406 - 9.2281) / 9,
            compare({base: sides[base], other: sides[other]})[0],
        )


class Event(NamedTuple):
    """An event that is not checked again: a simulation makes millions of them."""

    id: str
    time: datetime
    arm: str
    score: float
    error: bool = False
    latency_s: float | None = None
    cost_usd: float | None = None
    user: str = ""


def draw_events(
    generator: np.random.Generator, count: int, share: float, drop: float, *, graded: bool
) -> list[CanaryEvent]:
    """Return events: right or wrong, or scores of the suites in benchmarks.builds, the canary's lower by a drop."""
    arms = generator.random(count) < share
    if graded:
        scores = draw_trials(generator, generator.beta(*BETA, count), 1)[:, 0]
        # A request that falls goes to 0: the mean falls by the drop, whatever the scores are.
        falls = generator.random(count) < -drop / scores.mean()
        scores = np.where(arms & falls, 0.0, scores)
    else:
        scores = (generator.random(count) < RIGHT + drop * arms).astype(float)
    events = [
        Event(str(number), START + timedelta(seconds=number), arm, score)
        for number, (arm, score) in enumerate(
            zip(np.where(arms, "canary", "stable").tolist(), scores.tolist(), strict=True)
        )
    ]
    return cast("list[CanaryEvent]", events)


def simulate_canaries(count: int, share: float, drop: float, builds: int, *, graded: bool = False) -> str:
    """Return the share of each first decision over simulated canaries in %, with looks at quarters of the events."""
    made = []
    for build in range(builds):
        generator = np.random.default_rng([count, round(share * 100), round(-drop * 1000), build])
        events = draw_events(generator, count, share, drop, graded=graded)
        looks = (canary_decision(events[: count * look // LOOKS]).action for look in range(1, LOOKS + 1))
        made.append(next((action for action in looks if action != "HOLD"), "HOLD"))
    return "/".join(f"{100 * made.count(action) / builds:.1f}".removesuffix(".0") for action in ACTIONS)


def lines(builds: int = BUILDS) -> Iterator[str]:
    """Yield the tables."""
    yield f"llm_compare, {builds} simulated comparisons each, {BASELINE_TRIALS} trials of the base, {'/'.join(STATUSES)} %"
    yield f"| cases x trials | {' | '.join(SCENARIOS)} |"
    yield f"|---|{'---|' * len(SCENARIOS)}"
    for cases, trials in SIZES:
        cells = [simulate(name, cases, trials, builds) for name in SCENARIOS]
        yield f"| {cases} x {trials} | {' | '.join(cells)} |"
    real = [*real_pairs(), *single_judgements()]
    for name, truth, verdict in real:
        yield f"{name}: {100 * truth:+.1f} points by the first judgements; {verdict.status} by the others: {verdict.sentence}"
    if not real:
        yield "real judgements: skipped, third-party data not found; LLMOPS_SHARED_DATA says where it is"
    yield f"canary, {builds // 2} simulated ones each, {LOOKS} looks, {'/'.join(ACTIONS)} %"
    yield f"| scores, share of the canary, events | {' | '.join(f'{100 * drop:+.1f} points' for drop in DROPS)} |"
    yield f"|---|{'---|' * len(DROPS)}"
    for graded, share, events in [
        *((False, 0.5, count) for count in EVENTS),
        *((True, 0.5, count) for count in EVENTS[:3]),
        (False, 0.1, 8000),
        (True, 0.1, 8000),
    ]:
        cells = [simulate_canaries(events, share, drop, builds // 2, graded=graded) for drop in DROPS]
        yield f"| {'0 to 1' if graded else 'right or wrong'}, {share:.0%}, {events:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
