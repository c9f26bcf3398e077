"""The evidence of a run without rules, compared with the run with the whole prompt: scores, requests and answers, as the gate compares two runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_llmops.baselines.baseline import Baseline, list_scored, summarize_test
from pytest_llmops.baselines.broken import have_enough_broken, is_clear
from pytest_llmops.baselines.changes import (
    compare_tests,
    find_metrics,
    metric_name,
    metric_trials,
)
from pytest_llmops.baselines.gate import choose_primaries
from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.baselines.obstacles import why_out_of_scale
from pytest_llmops.baselines.requests import list_requests
from pytest_llmops.errors import format_name_list
from pytest_llmops.ledger.answers import AnswerPair, TrialAnswer, find_changed_cases, list_trial_answers
from pytest_llmops.ledger.model import LedgerRules
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.change.broken_cases import find_broken_cases
from pytest_llmops.metrics.change.p_values import ROUNDING, drop_p_value
from pytest_llmops.metrics.change.trials import adjust_p_values
from pytest_llmops.results.run import Run, TestRecord


@dataclass(frozen=True, slots=True)
class CaseAnswers:
    """The requests of a test and its answers.

    Attributes:
        requests: The fingerprints of its different requests.
        trials: The answers of its trials; empty: they are not known.
    """

    requests: frozenset[str]
    trials: tuple[TrialAnswer, ...]

    @classmethod
    def read(cls, record: TestRecord) -> "CaseAnswers":
        """Return the requests and answers of a test of a run file."""
        requests: set[str] = set()
        for call in record.calls:
            requests.update(request.fingerprint for request in list_requests([call]))
        return cls(frozenset(requests), list_trial_answers(record))


class Reference:
    """The run with the whole prompt, read once for all lines.

    Attributes:
        records: Its tests that ran, by node id.
        baseline: Their scores.
        answers: Their requests and answers.
        unseeing: Tests in which nothing could get worse: they measure nothing, or scored 0 in every trial.
    """

    def __init__(self, base: Run, others: Iterable[Run]) -> None:
        self.records = {record.nodeid: record for record in base.records if record.outcome != "skipped"}
        tests = {}
        for nodeid, record in self.records.items():
            tests[nodeid] = summarize_test(record, repeated=True)
        self.baseline = Baseline(tests=tests)
        self.answers = {nodeid: CaseAnswers.read(record) for nodeid, record in self.records.items()}
        failing = _find_failing(self.records.values())
        for run in others:
            failing |= _find_failing(run.records)
        self.unseeing = self._find_unseeing(failing)

    def _find_unseeing(self, failing: set[str]) -> frozenset[str]:
        """Return the tests in which nothing could get worse.

        A test without a measurement may have an ``assert`` of its own. That is known if it failed in any trial of any run, and
        supposed if no test of the suite measures anything.

        Args:
            failing: The tests that failed in some trial of some run.
        """
        measuring = set(failing)
        for record in self.records.values():
            if record.measurements:
                measuring.update((record.nodeid, record.runnable_nodeid))
        suite_measures = any(record.measurements for record in self.records.values())
        unseeing = set()
        for nodeid, test in self.baseline.tests.items():
            metrics = {metric_name(series) for series in test.scores}
            trials = [metric_trials(test, metric, tuple(test.scores)) for metric in metrics]
            scores = [score for scored in trials for score in list_scored(scored)]
            is_blind = suite_measures and nodeid not in measuring
            if is_blind or not any(scores):
                unseeing.add(nodeid)
        return frozenset(unseeing)

    @property
    def asked(self) -> frozenset[str]:
        """The tests that call a model; if no call of any test is known, all."""
        asked = {record.nodeid for record in self.records.values() if record.calls}
        return frozenset(asked or self.records)


def _find_failing(records: Iterable[TestRecord]) -> set[str]:
    """Return the tests that failed in some trial."""
    failing = set()
    for record in records:
        failed = record.fact("trials").get("failed")
        if failed or record.outcome == "failed":
            failing.add(record.nodeid)
    return failing


@dataclass(frozen=True, slots=True)
class Unscored:
    """How many trials of a metric have no score, of how many, on one side."""

    data: MetricData
    unscored: int
    total: int
    is_base: bool

    def is_too_many(self, most: float) -> bool:
        """Return whether it is more than a share of the trials."""
        return self.unscored > self.total * most + ROUNDING


class Evidence:
    """A run without rules, compared with the reference.

    Args:
        reference: The run with the whole prompt.
        run: The run without the rules.
        rules: The limits and metrics by which the ledger decides.

    Attributes:
        comparison: The tests of both, paired as the gate does.
        measured: The trials of each metric.
        primaries: The metrics that decide; empty: all do.
        rules: The limits by which the gate would decide.
        problem: Why nothing can be decided, with what to do; "" and "" if it can.
    """

    def __init__(self, reference: Reference, run: Run, rules: LedgerRules) -> None:
        self.reference = reference
        self.records = {record.nodeid: record for record in run.records if record.outcome != "skipped"}
        self.comparison = compare_tests(reference.baseline, run.records)
        gate_rules = GateRules(primary=rules.primary, margin=rules.margin, alpha=rules.level)
        names = find_metrics(self.comparison.compared)
        named = gate_rules.list_named(names)
        kept = [name for name in named if name in names]
        self.rules = GateRules(primary=" ".join(kept), margin=rules.margin, alpha=rules.level)
        self.measured = [MetricData(name, self.comparison) for name in names]
        self.primaries = choose_primaries(self.measured, self.rules)
        self.problem = self._find_problem(named if named and not kept else ())

    def _find_problem(self, unknown: Sequence[str]) -> tuple[str, str]:
        """Return why nothing can be decided, and what to do.

        Args:
            unknown: The metrics that decide, if none of them was measured.
        """
        outside = why_out_of_scale(self.comparison, self.rules)
        if outside is not None:
            sentence = f"{outside.sentence[:1].lower()}{outside.sentence[1:]}"
            return sentence, "Give the scale, such as assert_score(..., scale=(1, 5))"
        if unknown:
            known = format_name_list([data.metric for data in self.measured])
            why = f"no test measured {format_name_list(unknown)}, which the ini key llm_primary_metric names (measured: {known})"
            return why, "Correct the key, or measure the metric"
        asked = self.reference.asked
        ran = {test.old_nodeid for test in self.comparison.compared}
        missing = len(asked - ran)
        if missing > len(asked) * (1 - self.rules.min_share) + ROUNDING:
            tests = format_count(len(asked), "test")
            return (
                f"{missing:,} of {tests} did not run without it",
                "See why in the run without it, then run the same command again",
            )
        return "", ""

    @cached_property
    def answers(self) -> Mapping[str, CaseAnswers]:
        """The requests and answers of the tests without the rules."""
        return {test.record.nodeid: CaseAnswers.read(test.record) for test in self.comparison.compared}

    @cached_property
    def pairs(self) -> Mapping[str, AnswerPair]:
        """The answers of the cases in which the answers of both sides are known."""
        pairs = {}
        for test in self.comparison.compared:
            before = self.reference.answers[test.old_nodeid].trials
            after = self.answers[test.record.nodeid].trials
            if before and after:
                pairs[test.record.nodeid] = AnswerPair(
                    tuple(answer.content for answer in before), tuple(answer.content for answer in after)
                )
        return pairs

    @cached_property
    def seen_pairs(self) -> Mapping[str, AnswerPair]:
        """The same of the cases that could get worse."""
        unseeing = self.reference.unseeing
        return {case: pair for case, pair in self.pairs.items() if case not in unseeing}

    @cached_property
    def changed_cases(self) -> tuple[list[str], float]:
        """The cases whose answers changed, the clearest first, and how many of them would look changed only by chance."""
        return find_changed_cases(self.pairs)

    @cached_property
    def has_other_requests(self) -> bool:
        """Whether some test sent another request than with the whole prompt; True also if no request is known."""
        is_known = False
        for test in self.comparison.compared:
            before = self.reference.answers[test.old_nodeid].requests
            after = self.answers[test.record.nodeid].requests
            if before != after:
                return True
            is_known = is_known or bool(before)
        return not is_known

    def find_unscored(self) -> "Unscored | None":
        """Return the first metric that decides and has no score in too many trials; None if all have enough scores."""
        for data in self.leading:
            for unscored in self._unscored[data.metric]:
                if unscored.is_too_many(self.rules.max_unscored):
                    return unscored
        return None

    @cached_property
    def _unscored(self) -> "dict[str, tuple[Unscored, Unscored]]":
        return {data.metric: self._count_unscored(data) for data in self.measured}

    def _count_unscored(self, data: MetricData) -> "tuple[Unscored, Unscored]":
        """Return how many trials of a metric have no score, with the whole prompt and without the rules."""
        scores: list[float | None] = []
        for test in self.comparison.compared:
            scores += metric_trials(test.before, data.metric, (*test.series, *test.lost))
        unscored = data.unscored + self._count_left_out(data)
        return (
            Unscored(data, scores.count(None), len(scores), is_base=True),
            Unscored(data, unscored, data.scored + unscored, is_base=False),
        )

    def _count_left_out(self, data: MetricData) -> int:
        """Return how many trials of tests that passed did not measure a metric; of tests that failed `MetricData` counts them."""
        count = 0
        for test in self.comparison.compared:
            is_lost = data.metric in map(metric_name, test.lost)
            if is_lost and test.record.outcome not in ("failed", "errored"):
                count += test.after.trials
        return count

    def is_fair(self, data: MetricData) -> bool:
        """Return whether the trials of a metric that have a score are a fair sample of all of them, and there are enough cases."""
        sides = self._unscored[data.metric]
        return bool(data.trials) and not any(side.is_too_many(self.rules.max_unscored) for side in sides)

    @property
    def leading(self) -> list[MetricData]:
        """The metrics that decide."""
        return [data for data in self.measured if not self.primaries or data.metric in self.primaries]

    @property
    def guards(self) -> list[MetricData]:
        """The other metrics, in which a proved drop is a loss too."""
        return [data for data in self.measured if self.primaries and data.metric not in self.primaries]

    def correct_drops(self, group: Sequence[MetricData]) -> dict[str, float]:
        """Return the p-value of a drop of each metric, corrected for their number; 1 for a drop below the floor, or of too few cases."""
        p_values = [self._measure_drop(data) for data in group]
        return {data.metric: p for data, p in zip(group, adjust_p_values(p_values), strict=True)}

    def _measure_drop(self, data: MetricData) -> float:
        if not self.is_fair(data) or not data.is_large_enough(self.rules):
            return 1.0
        if data.change > -self.rules.floor + ROUNDING:
            return 1.0
        return drop_p_value(data.trials)

    def measure_broken(self) -> dict[str, float]:
        """Return the odds that chance breaks as many cases of each metric, corrected for their number; 1 if too few broke.

        Those that decide share four fifths of the level, as at the gate.
        """
        shares = self.rules.mean_level, self.rules.guard_level
        total = sum(shares) if self.guards else self.rules.mean_level
        chances = {}
        for group, share in zip((self.leading, self.guards), shares, strict=True):
            for data in group:
                broken = find_broken_cases(data.trials)
                chances[data.metric] = 1.0
                if self.is_fair(data) and have_enough_broken(data, broken):
                    chances[data.metric] = broken.chance * len(group) * total / share
        return chances

    def list_broken(self) -> list[tuple[str, str]]:
        """Return the cases that clearly broke in a metric that decides, each with the metric."""
        cases = []
        for data in self.leading:
            broken = find_broken_cases(data.trials).broke
            cases += [(case, data.metric) for case in broken if is_clear(data.trials[case])]
        return cases
