"""Suites of scores on five levels, with cases that move without a net effect; shared by the benchmarks beside other tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

LEVELS = 4
"""Steps of a scale with five levels."""
NOISE = float(np.hypot(0.10, 0.08))
"""Of the application and the judge, a trial."""
CHURN = 0.08
BETA = 5.3, 1.1
"""Quality of the cases: mean .82 (after rounding to levels), SD .14."""
SCENARIOS = {
    "A/A": (0.0, 1.0, 0.0),
    "A/A'": (0.0, 1.0, CHURN),
    "-3 spread": (0.03, 1.0, CHURN),
    "-5 spread": (0.05, 1.0, CHURN),
    "-5 in 20 %": (0.05, 0.2, CHURN),
    "-10 in 20 %": (0.10, 0.2, CHURN),
}
"""Drop of the mean, share of the cases that carry it, and SD of shifts without a net effect."""
BASELINE_TRIALS = 10


def expected_scores(latent: NDArray[float64]) -> NDArray[float64]:
    """Return the mean score of cases of a latent quality: rounded to levels, clipped to 0..1."""
    edges = (np.arange(LEVELS) + 0.5) / LEVELS
    means: NDArray[float64] = ndtr((latent[..., None] - edges) / NOISE).mean(axis=-1)
    return means


def find_shift(reference: NDArray[float64], moved: NDArray[float64], drop: float) -> float:
    """Return how far the latent quality of the moved cases has to fall for the mean score to drop."""
    before = expected_scores(reference).mean()
    low, high = -0.5, 1.5
    for _ in range(50):
        middle = (low + high) / 2
        enough = before - expected_scores(reference - middle * moved).mean() >= drop
        low, high = (low, middle) if enough else (middle, high)
    return (low + high) / 2


def draw_trials(generator: np.random.Generator, latent: NDArray[float64], trials: int) -> NDArray[float64]:
    """Return scores of trials, cases by trials."""
    noisy = latent[:, None] + generator.normal(0, NOISE, (len(latent), trials))
    scores: NDArray[float64] = np.round(np.clip(noisy, 0, 1) * LEVELS) / LEVELS
    return scores


def draw_builds(
    name: str, cases: int, trials: int, builds: int, baseline_trials: int = BASELINE_TRIALS
) -> Iterator[tuple[NDArray[float64], NDArray[float64], float]]:
    """Yield the scores before and after, cases by trials, and the true change of the suite's mean, of each build."""
    drop, share, churn = SCENARIOS[name]
    generator = np.random.default_rng([cases, trials, list(SCENARIOS).index(name)])
    reference = generator.beta(*BETA, 40_000)
    shaken = reference + generator.normal(0, churn, reference.size) if churn else reference
    # Rounding makes shifts without an effect on the mean quality move the mean score: they are centred.
    centre = find_shift(
        shaken,
        np.ones_like(shaken),
        float(expected_scores(shaken).mean() - expected_scores(reference).mean()),
    )
    hit = generator.random(reference.size) < share
    shift = find_shift(shaken - centre, hit.astype(float), drop) if drop else 0.0
    for _ in range(builds):
        latent = generator.beta(*BETA, cases)
        moved = latent + (generator.normal(0, churn, cases) - centre if churn else 0)
        moved = moved - shift * (generator.random(cases) < share)
        before = draw_trials(generator, latent, baseline_trials)
        change = float(expected_scores(moved).mean() - expected_scores(latent).mean())
        yield before, draw_trials(generator, moved, trials), change
