"""mlflow's `compare_evaluations` and the gate on the same builds: where they differ, and who is right.

mlflow compares the means of the cases (Wilcoxon, two-sided) and calls a scorer worse at p < .05 and a negative
difference. In a simulated build the true change of the suite's mean is known: saying "worse" is right if it fell by the
gate's floor or more, and wrong if it did not fall. The real builds are judgements that a model made three times.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.builds import SCENARIOS, draw_builds
from benchmarks.suites import judge_build
from pytest_llmops.baselines.metric_data import GateRules

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

BUILDS = int(os.environ.get("LLMOPS_BUILDS", "400"))
CHECKED = 2
"""Builds that go through mlflow's public function as well, which takes seconds each; the others through what that calls."""
SIZES = ((20, 1), (20, 3), (50, 3))
ALPHA = 0.05
SHARED = Path(os.environ.get("LLMOPS_SHARED_DATA", str(Path(__file__).parents[2] / "shared" / "data")))
DRAWS_FILE = SHARED / "judge" / "repeated_judge" / "mt_bench_eval.jsonl.gz"


def lines(builds: int = BUILDS) -> Iterator[str]:
    """Yield the figures; a single line where mlflow or the data is not there."""
    yield from real_lines()
    try:
        compare = import_module("mlflow.genai.evaluation.comparison.paired_comparison")
    except ImportError:
        yield "mlflow   not compared: mlflow 3.18 is not installed (requirements/peers.in)"
        return
    version = import_module("mlflow").__version__
    yield f"mlflow {version} and the gate on {builds} simulated builds each; says worse in %; of those that one alone calls worse, right"
    yield "| cases x trials | | gate | mlflow | gate alone, right | mlflow alone, right |"
    yield "|---|---|---|---|---|---|"
    for (cases, trials), name in itertools.product(SIZES, SCENARIOS):
        yield f"| {cases} x {trials} | {name} | {_compare(compare, name, cases, trials, builds)} |"


def _compare(compare: Any, name: str, cases: int, trials: int, builds: int) -> str:
    counts: Counter[str] = Counter()
    for number, (before, after, change) in enumerate(draw_builds(name, cases, trials, builds)):
        ours = judge_build(before, after) == "RED"
        theirs = is_worse(compare, before, after)
        if number < CHECKED and (name, cases, trials) == ("-10 in 20 %", *SIZES[0]):
            assert theirs == is_worse_by_public_function(before, after)
        counts["gate"] += ours
        counts["mlflow"] += theirs
        if ours != theirs:
            alone = "gate alone" if ours else "mlflow alone"
            counts[alone] += 1
            counts[f"{alone}, right"] += change <= -GateRules().floor
    cells = [f"{100 * counts[who] / builds:.0f}" for who in ("gate", "mlflow")]
    return " | ".join(
        [*cells, *(f"{counts[f'{who}, right']} of {counts[who]}" for who in ("gate alone", "mlflow alone"))]
    )


def is_worse(compare: Any, before: NDArray[float64], after: NDArray[float64]) -> bool:
    """Return whether mlflow's statistics call a build worse."""
    comparison = compare._compare_paired_values(  # noqa: SLF001 -- the public function takes a second a build
        "quality", before.mean(axis=1), after.mean(axis=1), value_type="numeric", greater_is_better=True, confidence_level=0.95
    )  # fmt: skip
    return bool(comparison.p_value is not None and comparison.p_value < ALPHA and comparison.diff < 0)


def is_worse_by_public_function(before: NDArray[float64], after: NDArray[float64]) -> bool:
    """Return whether `mlflow.genai.compare_evaluations` calls a build worse, over evaluations that it ran itself."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_GENAI_EVAL_MAX_WORKERS": "1"}
    mlflow = import_module("mlflow")
    feedback = import_module("mlflow.entities").Feedback
    genai = import_module("mlflow.genai")
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("verdicts")
        runs = []
        for scores in (before, after):

            def quality(inputs: dict[str, int], scores: NDArray[float64] = scores) -> list[Any]:
                return [feedback(name="quality", value=float(score)) for score in scores[inputs["case"]]]

            data = [{"inputs": {"case": case}, "outputs": "x"} for case in range(len(scores))]
            runs.append(genai.evaluate(data=data, scorers=[genai.scorer(quality)]).run_id)
        comparison = genai.compare_evaluations(baseline_run_id=runs[0], candidate_run_id=runs[1]).scorers[
            "quality"
        ]
    return bool(comparison.p_value < ALPHA and comparison.diff < 0)


def real_lines() -> Iterator[str]:
    """Yield what the gate says of real judgements: of the same answers drawn again, and of another model's answers."""
    if not DRAWS_FILE.exists():
        yield f"real     not compared: {DRAWS_FILE} is not there (LLMOPS_SHARED_DATA)"
        return
    sources = read_draws(DRAWS_FILE)
    again = Counter(judge_build(before, after) for before, after in pair_draws(sources))
    yield f"real     the same 80 answers judged again, 12 pairs of 2 + 1 draws and 24 of 1 + 1: {dict(sorted(again.items()))}"
    for name, other in itertools.permutations(sources, 2):
        change = 100 * (sources[other].mean() - sources[name].mean())
        verdict = judge_build(sources[name], sources[other])
        yield f"real     {name} -> {other}, 80 answers with 3 draws: {change:+.1f} points, {verdict}"


def read_draws(path: Path) -> dict[str, NDArray[float64]]:
    """Return scores from 0 to 1, answers by draws, of each source: a model judged each answer three times."""
    rows: dict[str, dict[Any, list[float]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            draws = [(score - 1) / 4 for score in row["gpt4_score"]]
            rows.setdefault(row["response_source"], {})[row["idx"]] = draws
    return {source: np.array([cases[case] for case in sorted(cases)]) for source, cases in rows.items()}


def pair_draws(sources: dict[str, NDArray[float64]]) -> Iterator[tuple[NDArray[float64], NDArray[float64]]]:
    """Yield draws of the same answers as if they were a baseline and a run."""
    for scores in sources.values():
        for draw in range(scores.shape[1]):
            yield np.delete(scores, draw, axis=1), scores[:, [draw]]
        for before, after in itertools.permutations(range(scores.shape[1]), 2):
            yield scores[:, [before]], scores[:, [after]]


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
