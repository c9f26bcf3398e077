"""Win rates and length-controlled win rates beside the published figures of AlpacaEval 2.

The data are not ours to commit: ``LLMOPS_ALPACA_EVAL`` names a folder as for `verdicts_on_alpaca`, which also has two more files of
tatsu-lab/alpaca_eval (Apache-2.0): ``baseline_gpt4_1106_preview.csv``, the published coefficients, and
``results/MODEL/model_outputs.json`` of the baseline and of its two anchors. ``python -m benchmarks.win_rates``

Two inputs of the published figures are not in their repository: the difficulty of each question, and the judgements of the
anchors (the baseline told to be brief or verbose). So there are two figures at equal length:

* *pairs*: from public data only. The difficulty of a question is the log-odds of the mean preference of all other models. No anchors:
  a model that is shorter in almost all pairs has no figure.
* *rebuilt*: the difficulties are fitted to the other models' preferences and published coefficients, and the anchors' preferences are
  predicted from their own published coefficients. A model's own coefficients are never used.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import spearmanr

from benchmarks.figures import line
from benchmarks.verdicts_on_alpaca import BOARD, JUDGE, VARIABLE
from pytest_llmops.metrics.win_rates import JudgedPairs, length_controlled_win_rate, win_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BASELINE = "gpt4_1106_preview"
ANCHORS = ("gpt4_1106_preview_concise", "gpt4_1106_preview_verbose")
COEFFICIENTS = f"baseline_{BASELINE}.csv"
PUBLISHED = ("win_rate", "standard_error", "length_controlled_winrate")
STEPS = 50  # of Newton's method
PENALTY = 0.02  # of a difficulty
LOWEST = 0.005  # mean preference of a question


@dataclass(frozen=True)
class Judgements:
    """The judgements of all models, as arrays of (models, questions); NaN where there is none."""

    names: list[str]
    preferences: Array
    lengths: Array
    other_lengths: Array


def read_judgements(folder: Path, board: Mapping[str, Any]) -> tuple[Judgements, list[str]]:
    """Return the judgements of all models on the board, and the questions."""
    rows: dict[str, dict[str, tuple[float, int, int]]] = {}
    for path in sorted(folder.glob(f"results/*/{JUDGE}/annotations.json")):
        name = path.parts[-3]
        if name not in board or name == BASELINE:
            continue
        rows[name] = {}
        for row in json.loads(path.read_text(encoding="utf-8")):
            if row["preference"] is None:
                continue
            preference = row["preference"] - 1
            if row["preference"] == 0:  # how a tie is written in the older files
                preference = 0.5
            lengths = len(row["output_2"] or ""), len(row["output_1"] or "")
            rows[name][row["instruction"]] = (preference, *lengths)
    questions = sorted(set().union(*rows.values()))
    table = np.full((3, len(rows), len(questions)), np.nan)
    for number, own in enumerate(rows.values()):
        for place, question in enumerate(questions):
            if question in own:
                table[:, number, place] = own[question]
    return Judgements(list(rows), *table), questions


def fit_difficulties(judgements: Judgements, coefficients: Array, left_out: int) -> Array:
    """Return the difficulty of each question that fits the other models' preferences, given their published coefficients."""
    others = np.arange(len(judgements.names)) != left_out
    preferences = judgements.preferences[others]
    known = ~np.isnan(preferences)
    differences = (judgements.other_lengths - judgements.lengths)[others]
    spread = np.nanstd(differences, axis=1, ddof=1, keepdims=True)
    length, slope, identity = (coefficients[others, column, None] for column in range(3))
    fixed = identity + length * np.tanh(np.nan_to_num(differences / spread))
    difficulties = np.zeros(preferences.shape[1])
    for _ in range(STEPS):
        fitted = expit(fixed + slope * difficulties)
        gradient = np.where(known, slope * (preferences - fitted), 0).sum(axis=0) - PENALTY * difficulties
        curvature = np.where(known, slope**2 * fitted * (1 - fitted), 0).sum(axis=0) + PENALTY
        difficulties += np.clip(gradient / curvature, -1, 1)
    return difficulties


def estimate_difficulties(judgements: Judgements, left_out: int) -> Array:
    """Return the log-odds of the mean preference of all other models on each question."""
    others = np.arange(len(judgements.names)) != left_out
    means = np.nanmean(judgements.preferences[others], axis=0)
    log_odds: Array = logit(np.clip(means, LOWEST, 1 - LOWEST))
    return log_odds


def read_lengths(folder: Path, name: str, questions: list[str]) -> list[int]:
    """Return the length of a model's answer to each question."""
    text = (folder / "results" / name / "model_outputs.json").read_text(encoding="utf-8")
    lengths = {row["instruction"]: len(row["output"]) for row in json.loads(text)}
    return [lengths[question] for question in questions]


def rebuild_anchors(
    lengths: Mapping[str, list[int]], coefficients: Mapping[str, list[float]], difficulties: Array
) -> list[JudgedPairs]:
    """Return the anchors, with preferences that their published coefficients predict."""
    anchors = []
    for name in ANCHORS:
        length, slope, identity = coefficients[name]
        differences = np.array(lengths[BASELINE]) - np.array(lengths[name])
        log_odds = length * np.tanh(differences / differences.std(ddof=1)) + slope * difficulties + identity
        anchors.append(
            JudgedPairs(
                preferences=expit(log_odds).tolist(),
                lengths=lengths[name],
                other_lengths=lengths[BASELINE],
                difficulties=difficulties.tolist(),
            )
        )
    return anchors


def select_pairs(judgements: Judgements, number: int, difficulties: Array) -> JudgedPairs:
    """Return the pairs of a model that have a judgement."""
    known = ~np.isnan(judgements.preferences[number])
    return JudgedPairs(
        preferences=judgements.preferences[number, known].tolist(),
        lengths=judgements.lengths[number, known].tolist(),
        other_lengths=judgements.other_lengths[number, known].tolist(),
        difficulties=difficulties[known].tolist(),
    )


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by their first column."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row.pop(""): row for row in csv.DictReader(file)}


def lines() -> Iterator[str]:
    """Yield each model's figures beside the published ones, and the largest differences."""
    folder = Path(os.environ.get(VARIABLE) or "/nonexistent")
    if not (folder / BOARD).is_file() or not (folder / COEFFICIENTS).is_file():
        yield f"win rates  not measured, {VARIABLE} names no folder with {BOARD}, {COEFFICIENTS} and results/"
        return
    board = read_table(folder / BOARD)
    coefficients = {
        name: [float(value) for value in row.values()]
        for name, row in read_table(folder / COEFFICIENTS).items()
    }
    judgements, questions = read_judgements(folder, board)
    own_coefficients = np.array([coefficients[name] for name in judgements.names])
    lengths = {name: read_lengths(folder, name, questions) for name in (BASELINE, *ANCHORS)}
    yield "| model | win rate | published | at equal length: pairs | rebuilt | published |"
    yield "|---|---|---|---|---|---|"
    differences: dict[str, list[float]] = {"rate": [], "error": [], "pairs": [], "rebuilt": []}
    targets: dict[str, list[float]] = {"pairs": [], "rebuilt": []}
    for number, name in enumerate(judgements.names):
        published = {key: float(board[name][key]) for key in PUBLISHED}
        target = published["length_controlled_winrate"]
        pairs = select_pairs(judgements, number, estimate_difficulties(judgements, number))
        rate = win_rate(pairs.preferences)
        differences["rate"].append(100 * rate.rate - published["win_rate"])
        differences["error"].append(100 * rate.standard_error - published["standard_error"])
        try:
            controlled = f"{100 * length_controlled_win_rate(pairs).rate:.2f}"
            differences["pairs"].append(float(controlled) - target)
            targets["pairs"].append(target)
        except ValueError:
            controlled = "none: always shorter"
        difficulties = fit_difficulties(judgements, own_coefficients, number)
        anchors = rebuild_anchors(lengths, coefficients, difficulties)
        rebuilt = length_controlled_win_rate(
            select_pairs(judgements, number, difficulties), anchors=anchors
        ).rate
        differences["rebuilt"].append(100 * rebuilt - target)
        targets["rebuilt"].append(target)
        yield (
            f"| {name} | {100 * rate.rate:.2f} | {published['win_rate']:.2f} | {controlled} | {100 * rebuilt:.2f} | {target:.2f} |"
        )
    for kind, limit in (("rate", 0.001), ("error", 0.001), ("pairs", 10.0), ("rebuilt", 3.0)):
        values = np.abs(differences[kind])
        text = f"{kind}, {len(values)} models, largest difference to the published figure in points (mean {values.mean():.3g})"
        yield line("win rates", text, float(values.max()), limit)
    for kind, published_rates in targets.items():
        ours = np.array(differences[kind]) + published_rates
        correlation = spearmanr(ours, published_rates).statistic
        yield line("win rates", f"{kind}, rank correlation", float(correlation), 0.95, at_least=True)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
