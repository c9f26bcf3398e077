"""Simulated suites whose truth is known, and the gate's verdict on them.

Each kind of score has cases that differ, a way to get worse that fits it, and trials that hang together: ``alike`` is the share of a
trial's variance that the trials of a case in one session have in common. In a session each case draws what its trials share (a pass
rate, a mean, a shift of the judge's opinion), then the trials around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from pytest_llmops.baselines.baseline import Baseline, BaselineTest
from pytest_llmops.baselines.broken import BrokenSuite, find_broken
from pytest_llmops.baselines.changes import compare_tests
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.baselines.metric_verdicts import judge_metrics
from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.change.trials import TrialPair
from pytest_llmops.results.run import TestRecord

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]

METRIC = "judge.quality"
TINY = 1e-6


class Kind:
    """A kind of score. A case is a number, ``level``: its pass rate, its mean, or how good it is for the judge."""

    name: ClassVar[str]
    is_check: ClassVar[bool] = False
    strongest: ClassVar[float] = 1.0

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        """Return the levels of cases."""
        raise NotImplementedError

    def mean(self, levels: Array) -> Array:
        """Return the mean score of a trial of each case."""
        return levels

    def worsen(self, levels: Array, strength: float) -> Array:
        """Return the levels of cases that got worse; the strength is from 0 to ``strongest``."""
        return levels * (1 - strength)

    def draw(self, generator: np.random.Generator, levels: Array, trials: int, alike: float) -> Array:
        """Return the scores of a session, cases by trials."""
        raise NotImplementedError


def draw_rates(generator: np.random.Generator, rates: Array, alike: float) -> Array:
    """Return the rate of each case in a session, so that its trials correlate by ``alike`` (beta-binomial)."""
    if not alike:
        return rates
    weight = (1 - alike) / alike
    kept = np.clip(rates, TINY, 1 - TINY)
    return generator.beta(kept * weight, (1 - kept) * weight)


def draw_around(
    generator: np.random.Generator, means: Array, precision: float, trials: int, alike: float
) -> Array:
    """Return scores of a beta distribution around each mean, whose variance is divided between session and trial."""
    kept = np.clip(means, TINY, 1 - TINY)[:, None]
    if alike:
        weight = (precision + 1) / alike - 1
        kept = np.clip(generator.beta(kept * weight, (1 - kept) * weight), TINY, 1 - TINY)
        precision = (precision + 1) * weight / (weight + 1) / (1 - alike) - 1
    shape = (len(means), trials)
    return generator.beta(
        np.broadcast_to(kept * precision, shape), np.broadcast_to((1 - kept) * precision, shape)
    )


class Checks(Kind):
    """Checks that pass or fail, whose difficulty is normal on the scale of the logit."""

    is_check = True
    strongest = 40.0

    def __init__(self, rate: float, spread: float = 1.5) -> None:
        self.name = f"checks, {rate:.0%} pass".replace("%", " %")
        grid = spread * ndtri((np.arange(2000) + 0.5) / 2000)
        low, high = -10.0, 20.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if expit(middle + grid).mean() < rate else (low, middle)
        self.centre, self.spread = low, spread

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        return np.asarray(expit(generator.normal(self.centre, self.spread, count)))

    def worsen(self, levels: Array, strength: float) -> Array:
        return np.asarray(expit(logit(np.clip(levels, TINY, 1 - TINY)) - strength))

    def draw(self, generator: np.random.Generator, levels: Array, trials: int, alike: float) -> Array:
        rates = draw_rates(generator, levels, alike)
        return (generator.random((len(levels), trials)) < rates[:, None]).astype(float)


class MixedChecks(Checks):
    """Checks of which seven in ten are steady, and the others pass in any share of their trials."""

    strongest = 1.0
    name = "checks, steady and flaky"

    def __init__(self) -> None:
        pass

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        is_flaky = generator.random(count) < 0.3
        return np.where(is_flaky, generator.beta(2.0, 1.0, count), 0.995)

    def worsen(self, levels: Array, strength: float) -> Array:
        return levels * (1 - strength)


class JudgeScale(Kind):
    """A judge's five levels: a normal opinion of each answer, cut into levels."""

    name = "judge, 1 to 5"
    strongest = 20.0
    CUTS = np.array([-1.5, -0.5, 0.5, 1.5])
    NOISE = 0.6

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        return generator.normal(0.9, 0.8, count)

    def mean(self, levels: Array) -> Array:
        means: Array = ndtr((levels[:, None] - self.CUTS) / self.NOISE).mean(axis=1)
        return means

    def worsen(self, levels: Array, strength: float) -> Array:
        return levels - strength

    def draw(self, generator: np.random.Generator, levels: Array, trials: int, alike: float) -> Array:
        session = generator.normal(0, self.NOISE * np.sqrt(alike), (len(levels), 1))
        own = generator.normal(0, self.NOISE * np.sqrt(1 - alike), (len(levels), trials))
        return self.cut(levels[:, None] + session + own)

    def cut(self, opinions: Array) -> Array:
        return np.searchsorted(self.CUTS, opinions) / len(self.CUTS)


class Similarity(Kind):
    """Scores without steps around a mean of .3 to .95, as similarities are."""

    name = "similarity"

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        return 0.3 + 0.65 * generator.beta(3.0, 2.0, count)

    def draw(self, generator: np.random.Generator, levels: Array, trials: int, alike: float) -> Array:
        return draw_around(generator, levels, 14.0, trials, alike)


class NearCeiling(Kind):
    """Answers that mostly score 1, and else anything up to .9."""

    name = "near the ceiling"
    REST = 0.45

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        return generator.beta(19.0, 1.0, count)

    def mean(self, levels: Array) -> Array:
        return levels + (1 - levels) * self.REST

    def draw(self, generator: np.random.Generator, levels: Array, trials: int, alike: float) -> Array:
        rates = draw_rates(generator, levels, alike)
        shape = (len(levels), trials)
        rest = 2 * self.REST * generator.random(shape)
        return np.where(generator.random(shape) < rates[:, None], 1.0, rest)


class RareZeros(Kind):
    """Good answers around .9, of which now and then one is worthless; getting worse means more of these."""

    name = "rare zeros"
    GOOD = 0.9

    def draw_cases(self, generator: np.random.Generator, count: int) -> Array:
        return 1 - generator.beta(1.0, 60.0, count)

    def mean(self, levels: Array) -> Array:
        return self.GOOD * levels

    def draw(self, generator: np.random.Generator, levels: Array, trials: int, alike: float) -> Array:
        rates = draw_rates(generator, levels, alike)
        good = draw_around(generator, np.full(len(levels), self.GOOD), 60.0, trials, alike)
        return np.where(generator.random(good.shape) < rates[:, None], good, 0.0)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Checks(0.97),
        Checks(0.90),
        MixedChecks(),
        JudgeScale(),
        Similarity(),
        NearCeiling(),
        RareZeros(),
    )
}


def find_strength(kind: Kind, levels: Array, hit: NDArray[np.bool_], drop: float) -> float:
    """Return how much worse the cases that are hit have to get for the mean of the suite to fall by ``drop``."""
    before = kind.mean(levels).mean()
    low, high = 0.0, kind.strongest
    for _ in range(40):
        middle = (low + high) / 2
        after = kind.mean(np.where(hit, kind.worsen(levels, middle), levels)).mean()
        low, high = (low, middle) if before - after >= drop else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What suites are drawn.

    Attributes:
        kind: A key of `KINDS`.
        cases: How many cases a suite has.
        before: Trials of a case in each session of the baseline; ``after``: in the run.
        sessions: Sessions of the baseline.
        alike: What the trials of a session share.
        drop: By how much the mean of each suite falls, and in which ``share`` of its cases.
        broken: Cases that always passed and now fail in 98 % (checks only).
        shift: Standard deviation by which all cases of a session move together (similarities only).
    """

    kind: str
    cases: int
    before: int = 3
    after: int = 3
    sessions: int = 1
    alike: float = 0.0
    drop: float = 0.0
    share: float = 1.0
    broken: int = 0
    shift: float = 0.0

    def describe(self) -> str:
        """Return the scenario for a person."""
        text = f"{self.kind}, {self.cases} x {self.before}+{self.after}"
        if self.sessions > 1:
            text += f", {self.sessions} sessions"
        if self.broken:
            text += f", {self.broken} broke"
        if self.alike:
            text += f", alike {self.alike:g}"
        if self.drop:
            text += f", {-100 * self.drop:.0f}"
            text += " in all" if self.share == 1 else f" in {self.share:.0%}".replace("%", " %")
        return text


@dataclass(frozen=True)
class Suite:
    """A suite that was drawn: the scores of both sides, and what a later session draws from."""

    scenario: Scenario
    before: Array
    after: Array
    levels_now: Array = field(repr=False)

    @cached_property
    def trials(self) -> dict[str, TrialPair]:
        scenario = self.scenario
        sessions: tuple[int, ...] = ()
        if scenario.sessions > 1:
            sessions = (scenario.before,) * scenario.sessions
        return pair_scores(self.before, self.after, sessions)

    def draw_again(self, generator: np.random.Generator, trials: int) -> Array:
        """Return the scores of all cases in another session of the new version."""
        return KINDS[self.scenario.kind].draw(generator, self.levels_now, trials, self.scenario.alike)


def pair_scores(before: Array, after: Array, sessions: tuple[int, ...] = ()) -> dict[str, TrialPair]:
    """Return scores, cases by trials, as trials by case."""
    return {
        f"test_suite.py::test_case[{case}]": TrialPair(tuple(old), tuple(new), sessions)
        for case, (old, new) in enumerate(zip(before.tolist(), after.tolist(), strict=True))
    }


def shift_session(scenario: Scenario, generator: np.random.Generator, levels: Array) -> Array:
    """Return the levels of a session in which all cases are a little better or worse."""
    if not scenario.shift:
        return levels
    return np.clip(levels + generator.normal(0, scenario.shift), 0, 1)


def draw_suite(scenario: Scenario, generator: np.random.Generator) -> Suite:
    """Return a suite whose mean falls by exactly the drop of the scenario, as far as the cases can fall so far."""
    kind = KINDS[scenario.kind]
    levels = kind.draw_cases(generator, scenario.cases)
    now = levels.copy()
    if scenario.broken:
        hit = generator.permutation(scenario.cases)[: scenario.broken]
        levels[hit], now[hit] = 1.0, 0.02
    if scenario.drop:
        mask = np.zeros(scenario.cases, bool)
        mask[generator.permutation(scenario.cases)[: round(scenario.share * scenario.cases)]] = True
        strength = find_strength(kind, levels, mask, scenario.drop)
        now = np.where(mask, kind.worsen(levels, strength), levels)
    sessions = [
        kind.draw(generator, shift_session(scenario, generator, levels), scenario.before, scenario.alike)
        for _ in range(scenario.sessions)
    ]
    moved = shift_session(scenario, generator, now)
    after = kind.draw(generator, moved, scenario.after, scenario.alike)
    return Suite(scenario, np.concatenate(sessions, axis=1), after, now)


EMPTY = compare_tests(Baseline(), [])


def make_data(trials: dict[str, TrialPair], metric: str = METRIC) -> MetricData:
    """Return the trials as the gate's data on a metric."""
    data = MetricData(metric, EMPTY)
    data.trials = trials
    data.cases = len(trials)
    data.scored = sum(len(pair.after) for pair in trials.values())
    return data


@dataclass(frozen=True)
class Judged:
    """The verdict on a suite: of the whole, of the mean alone, and what broke."""

    status: str
    mean_status: str
    broken: BrokenSuite
    data: MetricData


def judge_trials(trials: dict[str, TrialPair], rules: GateRules | None = None) -> Judged:
    """Return the verdict by the functions that `judge_suite` calls, without the lists, sentences and advice around them."""
    rules = rules or GateRules()
    data = make_data(trials)
    (metric,) = judge_metrics([data], [METRIC], rules)
    broken = find_broken([data], (), [METRIC], rules)
    status = metric.status
    if broken.is_red:
        status = "RED"
    elif broken.cases and status not in {"GREEN", "RED"}:
        status = "AMBER"
    return Judged(status, metric.status, broken, data)


def make_suite(before: Array, after: Array) -> tuple[Baseline, list[TestRecord]]:
    """Return scores of cases by trials as a baseline and the tests of a run."""
    tests, records = {}, []
    for nodeid, pair in pair_scores(before, after).items():
        tests[nodeid] = BaselineTest(
            outcome="passed", scores={METRIC: pair.before}, metrics={METRIC: ("1", "higher")}
        )
        measurement = Measurement(name=METRIC, value=fmean(pair.after), samples=pair.after, version="1")
        records.append(TestRecord(nodeid=nodeid, measurements=(measurement,)))
    return Baseline(tests=tests), records


def judge_build(before: Array, after: Array, rules: GateRules | None = None) -> str:
    """Return the verdict of the shipped gate on scores of cases by trials."""
    return judge_suite(*make_suite(before, after), rules=rules).status
