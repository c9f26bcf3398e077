"""Real pairs: the judgements of AlpacaEval 2, 805 instructions, each answer of a model compared once with a reference.

The data are not ours to commit: ``LLMOPS_ALPACA_EVAL`` names a folder with ``results/MODEL/weighted_alpaca_eval_gpt4_turbo/annotations.json``
and ``weighted_alpaca_eval_gpt4_turbo_leaderboard.csv``, as tatsu-lab/alpaca_eval has them (Apache-2.0). A model is the baseline, another
one the run; the published win rates of both say which is better. ``python -m benchmarks.verdicts_on_alpaca``
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures import line
from benchmarks.suites import judge_trials, pair_scores

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Model = tuple[NDArray[float64], float, float]

VARIABLE = "LLMOPS_ALPACA_EVAL"
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
BOARD = f"{JUDGE}_leaderboard.csv"
PAIRS = 200
SUBSETS = (805, 200, 50)
"""Instructions of a suite; the published win rates of all 805 are the truth."""
STEPS = (-math.inf, -0.10, -0.05, -0.02, 0.0, 0.05, math.inf)
"""Ends of the classes of the published difference."""


def read_models(folder: Path) -> dict[str, Model]:
    """Return the scores of each model by instruction, its published win rate and standard error, both from 0 to 1.

    A model whose scores have another mean than its published win rate is left out: its annotations are of another version.
    """
    with (folder / BOARD).open(encoding="utf-8", newline="") as file:
        board = {row[""]: row for row in csv.DictReader(file)}
    scores: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob(f"results/*/{JUDGE}/annotations.json")):
        name = path.parts[-3]
        rows = json.loads(path.read_text(encoding="utf-8"))
        own = {row["instruction"]: row["preference"] - 1 for row in rows if row["preference"] is not None}
        if name in board:
            scores[name] = own
    shared = sorted(set.intersection(*map(set, scores.values())))
    models = {}
    for name, own in scores.items():
        rate, error = (float(board[name][key]) / 100 for key in ("win_rate", "standard_error"))
        values = np.array([own[instruction] for instruction in shared])
        if abs(values.mean() - rate) < error / 2:
            models[name] = values, rate, error
    return models


def lines() -> Iterator[str]:
    """Yield how the verdicts on pairs of models agree with the published win rates."""
    root = os.environ.get(VARIABLE)
    if not root or not (Path(root) / BOARD).is_file():
        yield f"verdicts  real pairs: not measured, {VARIABLE} names no folder with {BOARD} and results/"
        return
    models = read_models(Path(root))
    generator = np.random.default_rng(0)
    ordered = list(permutations(sorted(models), 2))
    # A pair whose rates differ by more than 15 points is an easy one
    near = [pair for pair in ordered if abs(models[pair[0]][1] - models[pair[1]][1]) <= 0.15]
    pairs = [near[place] for place in generator.permutation(len(near))[:PAIRS]]
    yield ""
    yield f"AlpacaEval 2: {len(models)} models, {len(pairs)} ordered pairs that differ by at most 15 points; RED/GREEN % by the published difference of the win rates (one judgement an instruction)"
    yield f"| instructions | {' | '.join(name_classes())} |"
    yield f"|---|{'---|' * (len(STEPS) - 1)}"
    of_all: list[str] = []
    for size in SUBSETS:
        counts: dict[int, Counter[str]] = {}
        for before, after in pairs:
            chosen = generator.permutation(len(models[before][0]))[:size]
            sides = models[before][0][chosen, None], models[after][0][chosen, None]
            status = judge_trials(pair_scores(*sides)).status
            difference = models[after][1] - models[before][1]
            counts.setdefault(find_class(difference), Counter())[status] += 1
            if size == max(SUBSETS):
                of_all.append(status)
        yield f"| {size} | {' | '.join(format_counts(counts.get(place, Counter())) for place in range(len(STEPS) - 1))} |"
    yield from error_lines(models, pairs, of_all)


def error_lines(
    models: dict[str, Model], pairs: Sequence[tuple[str, str]], statuses: Sequence[str]
) -> Iterator[str]:
    """Yield the verdicts by how many published standard errors a model is below the other, and whether their signs are right."""
    counts: dict[str, Counter[str]] = {}
    wrong = 0
    for (before, after), status in zip(pairs, statuses, strict=True):
        old, new = models[before], models[after]
        distance = (new[1] - old[1]) / math.hypot(old[2], new[2])
        name = "did not fall"
        if distance <= -2:
            name = "fell by 2 or more"
        elif distance < 0:
            name = "fell by less"
        counts.setdefault(name, Counter())[status] += 1
        wrong += status == "RED" and distance >= 0
    text = f"real pairs, all instructions: RED though the published win rate is not lower, of {statuses.count('RED')} RED"
    yield line("verdicts", text, wrong, 0)
    for name, own in sorted(counts.items()):
        yield f"verdicts  real pairs, win rate {name} (published standard errors of the difference): {format_counts(own)} RED/GREEN % of {own.total()}"


def find_class(difference: float) -> int:
    return next(place for place, end in enumerate(STEPS[1:]) if difference < end)


def name_classes() -> list[str]:
    names = []
    for low, high in pairwise(STEPS):
        if math.isinf(low):
            names.append(f"below {100 * high:.0f}")
        elif math.isinf(high):
            names.append(f"{100 * low:.0f} and more")
        else:
            names.append(f"{100 * low:.0f} to {100 * high:.0f}")
    return names


def format_counts(counts: Counter[str]) -> str:
    if not counts:
        return ""
    total = counts.total()
    return f"{100 * counts['RED'] / total:.0f}/{100 * counts['GREEN'] / total:.0f}"


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
