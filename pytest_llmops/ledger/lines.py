"""The lines of a ledger in words: the measured change, the cases that show it, and what to do next."""

from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

from pytest_llmops.baselines.baseline import TRIAL_RATE
from pytest_llmops.baselines.metric_data import MetricData, format_points, format_size
from pytest_llmops.ledger.answers import find_changed_cases
from pytest_llmops.ledger.evidence import CaseAnswers, Evidence, Unscored
from pytest_llmops.ledger.line_tests import (
    Loss,
    count_further_breaks,
    find_fallen_guard,
    is_better,
    list_decided,
)
from pytest_llmops.ledger.model import Line, LineCase, LineStatus
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.change.broken_cases import find_broken_cases
from pytest_llmops.metrics.change.trials import passes_or_fails
from pytest_llmops.results.shares import describe_names

MOST_CASES = 5  # cases that show the effect of a rule
MOST_NAMED = 3
ADD_TEST = "Add a test that sends it to a model"
ADD_CASE = "Add a case whose right answer depends on it"
ASK_AGAIN = "Run the same command again: it requests only the missing answers"


class LineWriter:
    """Writes the line of a ledger for a run without rules.

    Args:
        numbers: The rules that were left out.
        evidence: The evidence of the run.
        level: The level of the likely range of the change, corrected for the number of lines.
    """

    def __init__(self, numbers: tuple[int, ...], evidence: Evidence, level: float) -> None:
        self._numbers = numbers
        self._evidence = evidence
        self._level = level
        self._old_names = {test.record.nodeid: test.old_nodeid for test in evidence.comparison.compared}

    def write_needed(self, loss: Loss) -> Line:
        """Return the line of a rule without which something got worse."""
        data = next(data for data in self._evidence.measured if data.metric == loss.metric)
        if loss.is_broken:
            why = _describe_broken(data)
        else:
            before, after = data.mean_scores
            why = f"without it {_name_metric(data)} falls by {format_size(-data.change)} ({before:.2f} → {after:.2f})"
        return self._measure("needed", why, data, cases=self._list_moved(data, 1))

    def write_can_go(self) -> Line:
        """Return the line of a rule without which the answers are as good."""
        data = self._choose_metric()
        if data is not None and is_better(self._evidence, data, self._level):
            why = f"better without it: {_name_metric(data)} rises by {format_size(data.change)}"
            return self._measure("can go", why, data, cases=self._list_moved(data, -1))
        why = f"a drop of {self._format_margin()} or more is ruled out"
        return self._measure("can go", why, data, cases=self._list_changed())

    def write_no_request(self) -> Line:
        """Return the line of a rule that no test sends to a model."""
        why = "no request of the suite contains it"
        return Line(
            numbers=self._numbers, status="not measured", why=why, next_step=ADD_TEST, changed_answers=0.0
        )

    def write_not_measured(self) -> Line:
        """Return the line of a rule without which no answer changed, or none that could score lower."""
        evidence = self._evidence
        unseeing = {case: pair for case, pair in evidence.pairs.items() if case not in evidence.seen_pairs}
        changed, by_chance = find_changed_cases(unseeing)
        data = self._choose_metric()
        if len(changed) <= by_chance:
            why = "no answer changed"
            next_step = ADD_CASE
            if any(pair.is_other for pair in evidence.pairs.values()):
                why = "the answers differ no more than trials of the whole prompt do"
                next_step += self._warn_of_noise(data)
            return self._measure("not measured", why, data, next_step=next_step)
        names = [_shorten_nodeid(case) for case in changed]
        tests = f"{format_count(len(changed), 'test')} ({describe_names(names, MOST_NAMED)})"
        return self._measure(
            "not measured",
            "only answers changed that no metric looks at",
            data,
            cases=[self._describe_case(case) for case in changed[:MOST_CASES]],
            next_step=f"Measure the answers of {tests}, or add a case whose right answer depends on it",
        )

    def _warn_of_noise(self, data: MetricData | None) -> str:
        """Return that a loss of the margin may not show in so few trials, as the end of a sentence; "" if it would."""
        rules = self._evidence.rules
        if data is None or not data.trials:
            return ""
        lower, _ = data.bound_change(rules.alpha)
        if lower is not None and lower > -rules.margin:
            return ""
        return f", or run more trials: with so few, a loss of {self._format_margin()} may not show"

    def write_problem(self) -> Line:
        """Return the line of a run that cannot be compared."""
        why, next_step = self._evidence.problem
        return Line(numbers=self._numbers, status="undecided", why=why, next_step=next_step)

    def write_unscored(self, unscored: Unscored) -> Line:
        """Return the line of a run in which too many trials have no score, on one of the sides."""
        side = "with the whole prompt" if unscored.is_base else "without it"
        trials = format_count(unscored.total, "trial")
        why = f"{_name_metric(unscored.data)} has no score in {unscored.unscored:,} of {trials} {side}"
        return self._measure("undecided", why, unscored.data, next_step=ASK_AGAIN)

    def write_undecided(self) -> Line:
        """Return the line of a rule on which nothing is proved, with the data that would decide it."""
        evidence = self._evidence
        fallen = find_fallen_guard(evidence)
        data = fallen or self._choose_metric()
        if data is None or not data.trials:
            return self._measure("undecided", "no new answer was scored", data, next_step=ADD_CASE)
        if not data.is_large_enough(evidence.rules):
            why = f"{format_count(data.cases, 'case')} are too few: {evidence.rules.describe_least_size()}"
            further = format_count(data.count_missing_cases(evidence.rules), "case")
            return self._measure(
                "undecided", why, data, cases=self._list_moved(data, 1), next_step=f"Add {further}"
            )
        line = self._measure("undecided", "", data, cases=self._list_moved(data, 1))
        why = f"measured: {_describe_change(data)}"
        if line.lower is not None and line.upper is not None:
            lower, upper = (format_points(end).removesuffix(" points") for end in (line.lower, line.upper))
            why += f", and the true change may be anything from {lower} to {upper}"
        broken = [case for case, _ in evidence.list_broken()]
        if broken:
            names = describe_names([_shorten_nodeid(case) for case in broken], MOST_NAMED)
            why = f"{format_count(len(broken), 'case')} broke ({names}), which may be chance; {why}"
        elif fallen is not None:
            why = f"{data.metric} looks lower; {why}"
        return replace(line, why=why, next_step=self._plan(data))

    def _plan(self, data: MetricData) -> str:
        """Return how many trials or cases would decide a metric in most runs; if cases broke, how many like them prove a loss."""
        further = count_further_breaks(self._evidence, self._level)
        if further:
            cases = format_count(further, "case")
            they = "it breaks too, that proves" if further == 1 else "they break too, that proves"
            return f"Add {cases} whose right answer depends on it: if {they} that it is needed"
        levels = (self._level, self._level)
        step = data.plan_next_step(self._evidence.rules, levels)
        # Both sides get the trials: an option of the command sets how many
        step = replace(step, run_only=0, two_sided=True, is_fixed=True)
        if step.is_out_of_reach and data.change <= -self._evidence.rules.margin:
            return f"Add cases whose right answers depend on it: these {data.cases:,} are too few, with any number of trials"
        return step.words

    def _format_margin(self) -> str:
        return f"{self._evidence.rules.margin * 100:g} points"

    def _choose_metric(self) -> MetricData | None:
        """Return the metric that decides; of several the one whose change may be the lowest. None: nothing was measured."""
        decided = list_decided(self._evidence) or self._evidence.leading
        return min(decided, key=self._find_lowest_change, default=None)

    def _find_lowest_change(self, data: MetricData) -> tuple[float, str]:
        lower, _ = data.bound_change(self._level)
        return data.change if lower is None else lower, data.metric

    def _measure(
        self,
        status: LineStatus,
        why: str,
        data: MetricData | None,
        *,
        cases: Iterable[LineCase] = (),
        next_step: str = "",
    ) -> Line:
        """Return the line with the figures of a metric; None: nothing was measured."""
        line = Line(
            numbers=self._numbers,
            status=status,
            why=why,
            changed_answers=self._share_of_changed_answers(),
            cases=tuple(cases),
            next_step=next_step,
        )
        if data is None or not data.cases:
            return line
        before, _ = data.mean_scores
        lower, upper = data.bound_change(self._level)
        if lower is not None and upper is not None:  # scores stay within 0 and 1
            lower, upper = max(lower, -before), min(upper, 1 - before)
        return replace(line, change=data.change, lower=lower, upper=upper, metric=data.metric)

    def _share_of_changed_answers(self) -> float | None:
        """Return the share of cases whose answers changed, less what chance makes look so; None: no answer is known."""
        cases = len(self._evidence.pairs)
        if not cases:
            return None
        changed, by_chance = self._evidence.changed_cases
        return max(len(changed) - by_chance, 0.0) / max(cases - by_chance, 1.0)

    def _list_moved(self, data: MetricData, sign: int) -> list[LineCase]:
        """Return the cases that fell most in a metric; with a sign of -1, those that rose most."""
        moved = []
        for case, pair in data.trials.items():
            if sign * pair.difference < 0:
                moved.append((sign * pair.difference, case))
        cases = [case for _, case in sorted(moved)[:MOST_CASES]]
        return [self._describe_case(case, data) for case in cases]

    def _list_changed(self) -> list[LineCase]:
        """Return the cases whose answers changed most, of those that could get worse."""
        changed, _ = self._evidence.changed_cases
        seen = [case for case in changed if case in self._evidence.seen_pairs]
        return [self._describe_case(case) for case in seen[:MOST_CASES]]

    def _describe_case(self, case: str, data: MetricData | None = None) -> LineCase:
        """Return a case with the answers of its first trials, and its scores in a metric."""
        line_case = LineCase(
            nodeid=case,
            answer_before=_show_first(self._evidence.reference.answers[self._old_names[case]]),
            answer_after=_show_first(self._evidence.answers[case]),
        )
        if data is None:
            return line_case
        pair = data.trials[case]
        return replace(line_case, metric=data.metric, before=fmean(pair.before), after=fmean(pair.after))


def _show_first(answers: CaseAnswers) -> str:
    """Return the answer of the first trial, for people; "": it is not known."""
    if not answers.trials:
        return ""
    return answers.trials[0].shown


def _name_metric(data: MetricData) -> str:
    """Return a metric as the subject of a sentence.

    >>> from pytest_llmops.baselines.changes import SuiteComparison
    >>> _name_metric(MetricData("trials.passed", SuiteComparison()))
    'the share of passed trials'
    """
    if data.metric == TRIAL_RATE:
        return "the share of passed trials"
    return data.metric


def _describe_change(data: MetricData) -> str:
    """Return the change of a metric, with how many cases of how many trials it is from."""
    cases = format_count(data.cases, "case")
    trials = min(data.fewest_trials)
    if trials > 1:
        cases += f" of {trials} trials"
    return f"{format_points(data.change)} in {cases}"


def _describe_broken(data: MetricData) -> str:
    """Return how many cases broke, as a sentence without a full stop."""
    broke = find_broken_cases(data.trials).broke
    names = describe_names([_shorten_nodeid(case) for case in broke], MOST_NAMED)
    how = "every trial is worse than all with it"
    if passes_or_fails([data.trials[case] for case in broke]):
        how = "they fail in every trial, and passed in every trial with it"
    return f"without it {format_count(len(broke), 'case')} break ({names}): {how}"


def _shorten_nodeid(nodeid: str) -> str:
    """Return the name of a test without its file.

    >>> _shorten_nodeid("tests/test_a.py::test_a[late]")
    'test_a[late]'
    """
    return nodeid.partition("::")[2] or nodeid
