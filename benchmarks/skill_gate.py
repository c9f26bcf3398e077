"""How often the skill gate is wrong, and what it finds: simulated agents, judged by the shipped functions.

``python -m benchmarks.skill_gate``: 400 builds in two minutes. ``LLMOPS_BUILDS=40`` only shows that it works: with so few builds one false
verdict is 2.5 %, and a limit may be missed by chance.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.ab import compare
from benchmarks.builds import draw_trials, find_shift
from benchmarks.figures import line

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

BUILDS = int(os.environ.get("LLMOPS_BUILDS", "400"))
SIZE = (20, 3)
"""Cases, and trials of each arm."""
GAIN = 0.2
"""Of an agent that is right in 60 % of its trials without the skill."""
FALSE_LIMIT = 3.0
FOUND_LIMIT = 90.0
# Chance of a case to pass without the skill: mean 0.6. Mixed: most cases pass at times; settled: most pass or fail in nearly every trial
DIFFICULTIES = {"mixed": (2.4, 1.6), "settled": (0.6, 0.4)}
LATENT = (2.4, 1.6)
"""Quality of the cases whose answers are graded on five levels."""
ASSERTIONS = 5
"""Of a case with a checklist; in 46 public evals.json with 297 cases the median is 6."""
TOGETHER = 0.3
"""Share of the answers that pass or fail the assertions as a whole: one answer is not five opinions."""
LARGER = ((40, 3), (60, 3))
"""Cases and trials with which single checks are simulated, too."""


def halve_failures(_generator: np.random.Generator, chances: NDArray[float64]) -> NDArray[float64]:
    """Return the chances of cases of which each fails half as often: 20 points more on average."""
    return (1 + chances) / 2


def mend_half(generator: np.random.Generator, chances: NDArray[float64]) -> NDArray[float64]:
    """Return the chances of cases of which a half always passes, and the others stay: 20 points more on average."""
    return np.where(generator.random(chances.size) < 0.5, 1.0, chances)


def change_nothing(_generator: np.random.Generator, chances: NDArray[float64]) -> NDArray[float64]:
    """Return the chances as they are."""
    return chances


Effect = Callable[[np.random.Generator, "NDArray[float64]"], "NDArray[float64]"]
Draw = Callable[[np.random.Generator], "list[NDArray[float64]]"]
GAINS: dict[str, Effect] = {"all fail half as often": halve_failures, "half always pass": mend_half}


def draw_checks(
    difficulty: str, effects: Sequence[Effect], generator: np.random.Generator, size: tuple[int, int] = SIZE
) -> list[NDArray[float64]]:
    """Return for each arm its trials, cases by trials: 1 passed, 0 failed."""
    cases, trials = size
    chances = generator.beta(*DIFFICULTIES[difficulty], cases)
    arms = []
    for effect in effects:
        arm = effect(generator, chances)
        arms.append((generator.random((cases, trials)) < arm[:, None]).astype(float))
    return arms


def draw_checklists(
    difficulty: str, effects: Sequence[Effect], generator: np.random.Generator
) -> list[NDArray[float64]]:
    """Return for each arm its trials, cases by trials: the share of the assertions that the answer passes."""
    cases, trials = SIZE
    chances = generator.beta(*DIFFICULTIES[difficulty], (cases, ASSERTIONS))
    arms = []
    for effect in effects:
        arm = effect(generator, chances.ravel()).reshape(chances.shape)
        luck = generator.random((cases, trials, ASSERTIONS))
        shared = generator.random((cases, trials, 1))
        is_whole = generator.random((cases, trials, 1)) < TOGETHER
        passed = np.where(is_whole, shared, luck) < arm[:, None, :]
        arms.append(passed.mean(axis=-1))
    return arms


@lru_cache
def find_gain(gain: float) -> float:
    """Return how far the quality of all cases has to rise for the mean grade to rise by the gain."""
    reference = np.random.default_rng(0).beta(*LATENT, 20_000)
    return -find_shift(reference, np.ones_like(reference), -gain)


def draw_grades(gains: Sequence[float], generator: np.random.Generator) -> list[NDArray[float64]]:
    """Return for each arm the graded scores of its trials, with a mean that is higher by the gain."""
    cases, trials = SIZE
    latent = generator.beta(*LATENT, cases)
    arms = []
    for gain in gains:
        rise = 0.0
        if gain:
            rise = find_gain(gain)
        arms.append(draw_trials(generator, latent + rise, trials))
    return arms


def judge_arms(arms: Sequence[NDArray[float64]]) -> list[str]:
    """Return the shipped verdict on each arm against the first one."""
    sides = {
        name: {str(case): list(scores) for case, scores in enumerate(arm.tolist())}
        for name, arm in zip(("without", "old", "new"), arms, strict=False)
    }
    return [verdict.status for verdict in compare(sides)]


def count_verdicts(name: str, draw: Draw, builds: int) -> tuple[float, float]:
    """Return in how many of the builds some arm is called better, and in how many worse, in %."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    verdicts = [judge_arms(draw(generator)) for _ in range(builds)]
    better = sum("better" in statuses for statuses in verdicts)
    worse = sum("worse" in statuses for statuses in verdicts)
    return 100 * better / builds, 100 * worse / builds


def lines(builds: int = BUILDS) -> Iterator[str]:
    """Yield how often arms without a difference are called better or worse, and how often a gain of 20 points is found."""
    yield from _false_verdict_lines(builds)
    yield from _gain_lines(builds)


def _false_verdict_lines(builds: int) -> Iterator[str]:
    """Yield how often arms without a difference are called better or worse."""
    effects = [change_nothing] * 2
    draws: dict[str, Draw] = {"2 arms, grades": partial(draw_grades, [0.0, 0.0])}
    for difficulty in DIFFICULTIES:
        draws[f"2 arms, {difficulty} checks"] = partial(draw_checks, difficulty, effects)
        draws[f"2 arms, {difficulty} checklists"] = partial(draw_checklists, difficulty, effects)
    draws["3 arms, mixed checklists"] = partial(draw_checklists, "mixed", [change_nothing] * 3)
    for kind, draw in draws.items():
        name = f"no difference, {kind}, {builds} builds of 20 cases x 3"
        shares = count_verdicts(name, draw, builds)
        yield line("skills", f"{name}: better or worse", sum(shares), FALSE_LIMIT, " %")


def _gain_lines(builds: int) -> Iterator[str]:
    """Yield how often a gain of 20 points is found; with single checks also of larger suites, as no test can find it in 20 x 3."""
    draws: dict[str, Draw] = {"grades": partial(draw_grades, [0.0, GAIN])}
    checks: dict[str, Draw] = {}
    for text, effect in GAINS.items():
        for difficulty in DIFFICULTIES:
            effects = [change_nothing, effect]
            draws[f"{difficulty} checklists, {text}"] = partial(draw_checklists, difficulty, effects)
    for difficulty in DIFFICULTIES:
        for cases, trials in (SIZE, *LARGER):
            kind = f"{difficulty} checks, all fail half as often, {cases} x {trials}"
            effects = [change_nothing, halve_failures]
            checks[kind] = partial(draw_checks, difficulty, effects, size=(cases, trials))
    for kind, draw in draws.items():
        name = f"a gain of 20 points, {kind}, {builds} builds of 20 cases x 3"
        better, _ = count_verdicts(name, draw, builds)
        yield line("skills", f"{name}: better", better, FOUND_LIMIT, " %", at_least=True)
    for kind, draw in checks.items():
        better, _ = count_verdicts(kind, draw, builds)
        yield f"skills    a gain of 20 points, {kind}, {builds} builds: better: {better:.1f} %"


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
