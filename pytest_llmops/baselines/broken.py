"""Cases that broke since the baseline: a verdict of their own, next to the verdict on the mean.

A case broke if all of its trials are now below all of the baseline, by 25 points or more on average. Three or more, none mended, are
RED at once. Fewer are run again in another session, and are RED if they fail again (``--llm-again``). A recorded answer that gets
another score needs no statistics: the code changed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.baselines.baseline import TRIAL_RATE
from pytest_llmops.baselines.changes import ComparedTest
from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.change.broken_cases import (
    ROUNDING,
    BrokenCases,
    find_broken_cases,
    plan_trials_again,
    split_odds,
)
from pytest_llmops.metrics.change.trials import TrialPair, passes_or_fails
from pytest_llmops.results.broken_case import BrokenCase

ENOUGH_AT_ONCE = 3  # broken cases that are RED without another session
GRADED_SHARE = 0.1  # of graded scores also one case in ten
# Odds above which a single case is only called worse: with one trial on both sides every second flaky case looks like it
CLEAR_ODDS = 1 / 20
MOST_NAMED = 3
AGAIN_COMMAND = "pytest --llm-again"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenSuite:
    """What broke in a suite.

    Attributes:
        cases: The cases that broke, each once, those with the same answer first.
        chance: The odds that chance breaks as many, of the metric in which they are the smallest; 1 if none broke.
        is_red: It is proved without another session.
        mended: How many cases rose as clearly, in the metric with the smallest odds.
        trials_again: How many trials of them another session needs; 0: it is proved, or another session cannot prove it.
    """

    cases: tuple[BrokenCase, ...] = ()
    chance: float = 1.0
    is_red: bool = False
    mended: int = 0
    trials_again: int = 0

    @property
    def has_same_answer(self) -> bool:
        """Whether a recorded answer got another score."""
        return any(case.same_answer for case in self.cases)


def find_broken(
    measured: Sequence[MetricData], tests: Sequence[ComparedTest], primaries: Sequence[str], rules: GateRules
) -> BrokenSuite:
    """Return what broke in a suite, by any of its metrics.

    Args:
        measured: The trials of all metrics.
        tests: The compared tests.
        primaries: The metrics that decide; empty: all do.
        rules: The rules of the gate.

    >>> find_broken([], [], (), GateRules()).cases
    ()
    """
    cases = {case.nodeid: case for case in _list_same_answers(measured, tests)}
    suite = BrokenSuite(is_red=bool(cases))
    levels = _divide_level([data.metric for data in measured], primaries, rules)
    trials_again = 0
    for data in sorted(measured, key=lambda data: _order(data.metric, primaries)):
        broken = find_broken_cases(data.trials)
        level = levels[data.metric]
        is_red = _is_proved(data, broken, level)
        named = [case for case in broken.broke if is_red or is_clear(data.trials[case])]
        if not named:
            continue
        if broken.chance < suite.chance:
            suite = replace(suite, chance=broken.chance, mended=round(broken.mended))
        suite = replace(suite, is_red=suite.is_red or is_red)
        for nodeid in named:
            cases.setdefault(nodeid, _describe_case(nodeid, data, broken))
        trials_again = max(trials_again, plan_trials_again(broken, rules.broken_level))
    if suite.is_red:
        trials_again = 0
    return replace(suite, cases=tuple(cases.values()), trials_again=trials_again)


def _order(metric: str, primaries: Sequence[str]) -> tuple[bool, bool, str]:
    """Return a sort key: the metrics that decide first, the share of passed trials last."""
    return metric not in primaries, metric == TRIAL_RATE, metric


def _divide_level(metrics: Sequence[str], primaries: Sequence[str], rules: GateRules) -> dict[str, float]:
    """Return the odds that are small enough, for each metric: the more metrics, the smaller, as for their means."""
    leading = [metric for metric in metrics if metric in primaries]
    guards = [metric for metric in metrics if metric not in primaries]
    if not leading:
        return {metric: rules.broken_level / len(metrics) for metric in metrics}
    guard_level = rules.broken_level * rules.guard_level / rules.mean_level
    levels = {metric: rules.broken_level / len(leading) for metric in leading}
    return levels | {metric: guard_level / len(guards) for metric in guards}


def _is_proved(data: MetricData, broken: BrokenCases, level: float) -> bool:
    """Return whether enough cases of a metric broke, and it is rare enough that chance does that."""
    return have_enough_broken(data, broken) and broken.chance <= level + ROUNDING


def have_enough_broken(data: MetricData, broken: BrokenCases) -> bool:
    """Return whether enough cases of a metric broke, and none mended: as falls and rises are equally likely, that is rare."""
    enough = ENOUGH_AT_ONCE
    if data.trials and not passes_or_fails(data.trials.values()):
        enough = max(enough, math.ceil(data.cases * GRADED_SHARE - ROUNDING))
    return len(broken.broke) >= enough and broken.none_mended


def is_clear(pair: TrialPair) -> bool:
    """Return whether a single case that broke is named: chance rarely breaks a case with so many trials."""
    return split_odds(len(pair.before), len(pair.after)) <= CLEAR_ODDS + ROUNDING


def _describe_case(nodeid: str, data: MetricData, broken: BrokenCases) -> BrokenCase:
    pair = data.trials[nodeid]
    return BrokenCase(
        nodeid=nodeid,
        metric=data.metric,
        before=pair.before,
        after=pair.after,
        breakable=tuple(f"{before}+{after}" for before, after in broken.possible),
    )


def _list_same_answers(measured: Sequence[MetricData], tests: Iterable[ComparedTest]) -> list[BrokenCase]:
    """Return the cases whose recorded answers got a score that is lower by the gap of a broken case, each once."""
    pairs: dict[tuple[str, str], TrialPair] = {}
    for data in measured:
        for nodeid, pair in data.trials.items():
            pairs[nodeid, data.metric] = pair
    cases: dict[str, BrokenCase] = {}
    for test in tests:
        nodeid = test.record.nodeid
        for metric in test.list_fallen_metrics():
            scored = pairs.get((nodeid, metric))
            if scored is None:  # the test measures it several times, and one of these has no score
                continue
            case = BrokenCase(
                nodeid=nodeid, metric=metric, before=scored.before, after=scored.after, same_answer=True
            )
            cases.setdefault(nodeid, case)
    return list(cases.values())


def describe_broken(suite: BrokenSuite) -> str:
    """Return what broke, as a sentence without a full stop; "" if nothing did.

    >>> case = BrokenCase(nodeid="t.py::test_a[late]", metric="exact", before=(1.0,) * 3, after=(0.0,) * 3)
    >>> describe_broken(BrokenSuite(cases=(case,)))
    '1 case broke (test_a[late]): passed 3 of 3, fails 3 of 3'
    >>> describe_broken(BrokenSuite(cases=(case, case, case), is_red=True))
    '3 cases broke, none mended (test_a[late], test_a[late], test_a[late]): passed 3 of 3, fail 3 of 3'
    """
    if not suite.cases:
        return ""
    same = [case for case in suite.cases if case.same_answer]
    others = [case for case in suite.cases if not case.same_answer]
    parts = []
    if same:
        parts.append(
            f"{format_count(len(same), 'case')} broke ({_name_cases(same)}): "
            "the same answer has another score now, so your code changed"
        )
    if others:
        count = f"{format_count(len(others), 'other case' if same else 'case')} broke"
        if suite.is_red and not suite.mended and not same:
            count += ", none mended"
        words = {case.describe(plural=len(others) > 1) for case in others}
        how = "all trials are worse than all before"
        if len(words) == 1:
            how = words.pop()
        parts.append(f"{count} ({_name_cases(others)}): {how}")
    return "; ".join(parts)


def _name_cases(cases: Sequence[BrokenCase]) -> str:
    """Return the names of the first cases, and how many more there are."""
    names = ", ".join(case.name for case in cases[:MOST_NAMED])
    if len(cases) > MOST_NAMED:
        names += f" and {len(cases) - MOST_NAMED:,} more"
    return names


def format_odds(chance: float) -> str:
    """Return a probability as a share of runs.

    >>> format_odds(0.05), format_odds(0.0000001), format_odds(0.4)
    ('1 of 20 runs', 'fewer than 1 of 10,000 runs', '1 of 2 runs')
    """
    if chance < 1 / 10_000:
        return "fewer than 1 of 10,000 runs"
    return f"1 of {max(1, int(1 / chance + ROUNDING)):,} runs"


def explain_chance(suite: BrokenSuite) -> str:
    """Return how often only chance does it, in a sentence."""
    return f"If nothing had changed, chance would do this in {format_odds(suite.chance)}"
