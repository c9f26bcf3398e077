"""Verdicts on variants that ran side by side in one run, for instance two versions of a prompt.

One variant is the base, with which each of the others is compared. The statistics are the same as in the gate: trials are exchanged
within the cases that both sides ran. A proved difference is then tested again on the means of the families, to see whether it
also holds for unseen cases. The table of error rates is in docs/explanation/measured/compare.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline, summarize_test
from pytest_llmops.baselines.changes import SuiteComparison, compare_tests, find_metrics
from pytest_llmops.baselines.gate import choose_primaries
from pytest_llmops.baselines.metric_data import GateRules, MetricData, format_points
from pytest_llmops.baselines.obstacles import why_out_of_scale
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.metrics.change.p_values import ROUNDING, change_p_value
from pytest_llmops.metrics.change.trials import TrialPair, adjust_p_values
from pytest_llmops.protocols import Call
from pytest_llmops.results.comparison import function_name, group_by
from pytest_llmops.results.details import CaseFacts, VariantFacts, fact_text
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.shares import describe_names
from pytest_llmops.results.tool_choices import ToolFacts
from pytest_llmops.results.traffic import Traffic, count_traffic, summarize_latency
from pytest_llmops.results.verdict import MetricVerdict, Verdict

Side = Mapping[str, TestRecord]  # the tests of a variant by case
MAX_LOSSES = 5  # cases that the details name
SEPARATOR = "\x1f"  # between function and arguments in the name of a case


class _Question(NamedTuple):
    """The key of a comparison: tests with the same argument, prompt, base and primary metric are compared together."""

    argument: str
    prompt: str
    base: str
    primary: str


def judge_comparisons(records: Sequence[TestRecord]) -> tuple[Verdict, ...]:
    """Return a verdict on each variant except the base, for each argument that tests are compared by.

    Tests with the same argument, base, prompt and primary metric are one comparison. The other arguments of a test are its
    case; cases that did not run on both sides are left out. If the base did not run at all, no verdict is given.

    >>> judge_comparisons([TestRecord(nodeid="test_a.py::test_a")])
    ()
    """
    groups: dict[_Question, list[tuple[VariantFacts, TestRecord]]] = {}
    for record in records:
        wire = record.fact("compare")
        if wire and record.outcome != "skipped":
            facts = VariantFacts.from_wire(wire)
            groups.setdefault(_find_question(facts, record), []).append((facts, record))
    verdicts = []
    for question, tests in groups.items():
        verdicts += _judge_comparison(question, tests)
    return tuple(verdicts)


def _find_question(facts: VariantFacts, record: TestRecord) -> _Question:
    prompt = ""
    if facts.argument == "prompt":
        prompt = fact_text(record.fact("prompt").get("name"))
    return _Question(facts.argument, prompt, facts.base, facts.primary)


def _judge_comparison(question: _Question, tests: Sequence[tuple[VariantFacts, TestRecord]]) -> list[Verdict]:
    """Return the verdicts of a comparison, in the order of its variants; none if the base did not run.

    Args:
        question: The key of the comparison.
        tests: Its tests with the variant of each; at least one.
    """
    sides: dict[str, dict[str, TestRecord]] = {}
    for facts, record in sorted(tests, key=lambda test: test[0].place):
        case = SEPARATOR.join([function_name(record), *facts.case])
        sides.setdefault(facts.value, {})[case] = record
    base = sides.pop(question.base, {})
    if not base:
        return []
    rules = GateRules(primary=_keep_measured(question.primary, [record for _, record in tests]))
    variants = {value: _Variant(base, side, rules) for value, side in sides.items()}
    _adjust_p_values([row for variant in variants.values() for row in variant.rows])
    argument = f"{question.argument} {question.prompt}".strip()
    _, first = tests[0]
    verdicts = []
    for value, variant in variants.items():
        subject = f"{argument} {value}".strip()
        verdict = Verdict(kind="comparison", subject=subject, baseline=question.base, place=first.place)
        verdicts.append(variant.judge(verdict))
    return verdicts


def _keep_measured(primary: str, records: Iterable[TestRecord]) -> str:
    """Return the metrics named by ``llm_primary_metric`` that the tests measured; all of them if none was measured.

    The setting is for the whole suite, and a comparison is of a few of its tests.
    """
    measured = {measurement.name for record in records for measurement in record.measurements}
    named = GateRules(primary=primary).list_named(measured)
    kept = [name for name in named if name in measured]
    return " ".join(kept) or primary


@dataclass(slots=True)
class _Row:
    """A metric of a variant over all cases, or over the cases of one family.

    Attributes:
        data: The trials.
        role: ``primary`` or ``guard-rail``.
        family: Only the cases of this family; "": all cases.
        p_value: Probability of such a difference, up or down, if there is none. `_adjust_p_values` corrects it.
        tests: How often the metric is tested: once for each variant, or for each family of each variant.
    """

    data: MetricData
    role: str
    family: str
    p_value: float
    tests: int = 1


def _adjust_p_values(rows: Iterable[_Row]) -> None:
    """Correct the p-values, in place, for the number of tests: a metric is tested once per variant.

    Rows over all cases and rows of families are two separate groups of tests.
    """
    groups = group_by(rows, lambda row: (row.data.metric, bool(row.family)))
    for group in groups.values():
        adjusted = adjust_p_values([row.p_value for row in group])
        for row, p_value in zip(group, adjusted, strict=True):
            row.p_value = p_value
            row.tests = len(group)


def _test_metrics(measured: Sequence[MetricData], primaries: Sequence[str], family: str = "") -> list[_Row]:
    """Return the metrics with their p-values, the primary ones first. These are one group of tests, all others another (Holm).

    A metric without new trials has the p-value 1.
    """
    changed = [data for data in measured if data.trials]
    p_values: dict[str, float] = {}
    groups = group_by(changed, lambda data: data.metric in primaries)
    for group in groups.values():
        adjusted = adjust_p_values([change_p_value(data.trials) for data in group])
        for data, p_value in zip(group, adjusted, strict=True):
            p_values[data.metric] = p_value
    rows = []
    for data in sorted(measured, key=lambda data: data.metric not in primaries):
        role = "primary" if data.metric in primaries else "guard-rail"
        rows.append(_Row(data, role, family, p_values.get(data.metric, 1.0)))
    return rows


def _judge_metric(row: _Row, rules: GateRules) -> MetricVerdict:
    """Return the verdict on a metric: ``better``, ``worse``, ``equivalent`` or ``undecided``, the last with the next step."""
    data = row.data
    status = "undecided"
    if data.cases and not data.trials:  # both sides have the same answers
        status = "equivalent"
    before, after = data.mean_scores
    trials_before, trials_after = data.fewest_trials
    verdict = MetricVerdict(
        name=data.metric,
        role=row.role,
        family=row.family,
        status=status,
        before=before,
        after=after,
        change=data.change,
        p_value=row.p_value,
        cases=data.cases,
        unchanged=data.cases - len(data.trials),
        trials_before=trials_before,
        trials_after=trials_after,
    )
    level = rules.alpha / row.tests
    likely = data.likely_range(level)
    if likely is None or not data.is_large_enough(rules):
        next_step = ""
        if data.trials:
            next_step = f"Too few cases for a verdict: {rules.describe_least_size()}"
        return replace(verdict, p_value=None, next_step=next_step)
    lower, upper = likely
    verdict = replace(verdict, lower=lower, upper=upper)
    if row.p_value <= rules.compare_level + ROUNDING and abs(data.change) >= rules.floor - ROUNDING:
        if data.change > 0:
            return replace(verdict, status="better")
        return replace(verdict, status="worse")
    if data.rules_out_difference(level, rules.margin):
        return replace(verdict, status="equivalent")
    levels = (rules.compare_level / row.tests / 2, level)
    return replace(verdict, next_step=data.plan_next_step(rules, levels, two_sided=True).words)


def _pair_sides(base: Side, other: Side) -> SuiteComparison:
    """Compare two variants as the gate compares a baseline and a run; the base replaces the baseline."""
    tests = {case: summarize_test(record, repeated=True) for case, record in base.items()}
    records = [replace(record, nodeid=case) for case, record in other.items()]
    return compare_tests(Baseline(tests=tests), records)


def _count_questions_of_one_catalogue(base: Side, other: Side) -> int:
    """Return how many cases can run on one side only: with ``llm_tools``, a catalogue is not given a question for a tool that it lacks."""
    count = 0
    for side, opposite in ((base, other), (other, base)):
        offered = set[str]()
        for record in opposite.values():
            facts = ToolFacts.from_wire(record.fact("tools"))
            offered.update(facts.tools, facts.decoys)
        for case in side.keys() - opposite.keys():
            expected = ToolFacts.from_wire(side[case].fact("tools")).expected
            count += not offered.issuperset(expected)
    return count


class _Variant:
    """A variant and the base: each metric over all cases, and the first metric for each family (if there are several).

    Attributes:
        rows: The metrics, those over all cases first.
    """

    def __init__(self, base: Side, other: Side, rules: GateRules) -> None:
        self._rules = rules
        self._base = {case: record for case, record in base.items() if case in other}
        self._other = {case: other[case] for case in self._base}
        self._other_questions = _count_questions_of_one_catalogue(base, other)
        self._left_out = len(base.keys() ^ other.keys()) - self._other_questions
        self._families = {}
        for case, record in self._other.items():
            facts = CaseFacts.from_wire(record.fact("case"))
            self._families[case] = facts.family
        comparison = _pair_sides(self._base, self._other)
        self._outside = why_out_of_scale(comparison, rules)
        self.rows = []
        if self._outside is not None:
            return
        measured = [MetricData(metric, comparison) for metric in find_metrics(comparison.compared)]
        self.rows = _test_metrics(measured, choose_primaries(measured, rules))
        families = group_by(comparison.compared, lambda test: self._families[test.record.nodeid] or None)
        if len(families) < 2 or not measured:  # noqa: PLR2004 -- one family is all cases
            return
        first = self.rows[0].data.metric
        for family, tests in families.items():
            part = SuiteComparison(tuple(tests), baseline=comparison.baseline)
            self.rows += _test_metrics([MetricData(first, part)], (first,), family)

    def judge(self, verdict: Verdict) -> Verdict:
        """Return the verdict completed with metrics, status, sentence and advice; call it after `_adjust_p_values`."""
        metrics = self._count_scores([_judge_metric(row, self._rules) for row in self.rows])
        verdict = replace(verdict, metrics=tuple(metrics))
        if self._outside is not None:
            outside = self._outside
            sentence = f"{outside.sentence[0].lower()}{outside.sentence[1:]}"
            next_step = "Give the scale, such as assert_score(..., scale=(1, 5)), and run again"
            return replace(verdict, status="error", sentence=sentence, why=outside.why, next_step=next_step)
        problem = self._why_not_comparable([metric for metric in metrics if not metric.family])
        if problem:
            return replace(verdict, status="error", sentence=problem)
        decisive = _choose_decisive([metric for metric in metrics if not metric.family])
        status = decisive[0].status
        if any(metric.status != status for metric in decisive):
            status = "undecided"
        sentence = "; ".join(_describe_metric(metric, self._rules) for metric in decisive)
        is_prompt = verdict.subject.startswith("prompt ")
        advice = self._list_advice(metrics, decisive, is_prompt=is_prompt)
        next_steps = [metric.next_step for metric in decisive if metric.next_step]
        next_step = next_steps[0] if next_steps else ""
        return replace(verdict, status=status, sentence=sentence, next_step=next_step, advice=tuple(advice))

    def _name_losses(self, metrics: Sequence[MetricVerdict], decisive: Sequence[MetricVerdict]) -> list[str]:
        """Return the cases that lost on a decisive metric, the largest loss first, each once.

        Args:
            metrics: The verdicts on the rows, in the same order.
            decisive: The metrics that decide the overall verdict.
        """
        losses = []
        for row, metric in zip(self.rows, metrics, strict=True):
            if metric not in decisive or metric.status not in ("worse", "undecided"):
                continue
            for case, pair in row.data.trials.items():
                if pair.difference < 0:
                    losses.append((pair.difference, _name_case(case)))
        names = [name for _, name in sorted(losses)]
        return list(dict.fromkeys(names))

    def _count_scores(self, metrics: Sequence[MetricVerdict]) -> list[MetricVerdict]:
        """Return the metrics with how many trials of both sides have a score, and how many have none; metrics of families as they are."""
        # `MetricData` counts only missing scores of the second side, so the sides are swapped to count missing scores of the base.
        swapped = _pair_sides(self._other, self._base)
        counted = []
        for row, metric in zip(self.rows, metrics, strict=True):
            if metric.family:
                counted.append(metric)
                continue
            base = MetricData(metric.name, swapped)
            scored = row.data.scored + base.scored
            unscored = row.data.unscored + base.unscored
            counted.append(replace(metric, scored=scored, unscored=unscored))
        return counted

    def _why_not_comparable(self, metrics: Sequence[MetricVerdict]) -> str:
        """Return why nothing can be decided on metrics over all cases; "" if the sides can be compared."""
        rules = self._rules
        names = [metric.name for metric in metrics]
        cases = len(self._base) + self._left_out
        if not names or len(self._base) < cases * rules.min_share:
            return (
                f"not compared: {self._left_out:,} of {format_count(cases, 'case')} did not run on both sides"
            )
        named = rules.list_named(names)
        for primary in named:
            if primary not in names:
                known = format_name_list(names)
                return (
                    f"ini llm_primary_metric: expected a metric that was measured ({known}), got {primary!r}"
                )
        for metric in sorted(
            metrics, key=lambda metric: metric.name == TRIAL_RATE
        ):  # which is less clear than a name
            if named and metric.name not in named:
                continue
            total = metric.scored + metric.unscored
            if metric.unscored > total * rules.max_unscored:
                name = "" if metric.name == TRIAL_RATE else f"{metric.name} has "
                trials = format_count(total, "trial")
                return f"not compared: {name}no score for {metric.unscored:,} of {trials}"
        return ""

    def _list_advice(
        self, metrics: Sequence[MetricVerdict], decisive: Sequence[MetricVerdict], *, is_prompt: bool
    ) -> list[str]:
        advice = []
        if is_prompt and self._has_one_text():
            advice.append("both are the same text of the prompt, so a difference is chance")
        if self._left_out:
            left_out = format_count(self._left_out, "case")
            advice.append(f"{left_out} left out, which did not run on both sides")
        if self._other_questions:
            questions = format_count(self._other_questions, "question")
            advice.append(f"{questions} left out, whose tool only one of the catalogues has")
        losses = self._name_losses(metrics, decisive)
        if losses:
            advice.append(f"worse: {describe_names(losses, MAX_LOSSES)}")
        further = [metric for metric in decisive if metric.next_step][
            1:
        ]  # the first is the next step of the verdict
        advice += [f"{metric.name}: {metric.next_step}" for metric in further]
        for row, metric in zip(self.rows, metrics, strict=True):
            if metric in decisive and metric.status in ("better", "worse"):
                advice.append(self._describe_unseen(row.data))
        advice += self._describe_others(metrics, decisive)
        used = _describe_use([self._base, self._other])
        if used:
            advice.append(used)
        return advice

    def _describe_others(
        self, metrics: Sequence[MetricVerdict], decisive: Sequence[MetricVerdict]
    ) -> list[str]:
        """Return a line for each metric that is not decisive, and one for the first metric by family."""
        lines = []
        families = []
        for metric in metrics:
            if metric.family:
                points = format_points(metric.change)
                families.append(f"{points} {metric.family} ({metric.word})")
            elif metric not in decisive and (metric.change or metric.name != TRIAL_RATE):
                lines.append(_describe_metric(metric, self._rules))
        if families:
            name = metrics[0].name
            lines.append(f"{name} by family: {', '.join(families)}")
        return lines

    def _has_one_text(self) -> bool:
        """Return whether all tests of both sides ran the same text of the prompt."""
        records = [*self._base.values(), *self._other.values()]
        texts = {fact_text(record.fact("prompt").get("fingerprint")) for record in records}
        return len(texts) == 1 and "" not in texts

    def _describe_unseen(self, data: MetricData) -> str:
        """Return whether a proved difference also holds for unseen cases, as a sentence.

        For this whole families are exchanged between the sides, and cases without a family as a whole.
        """
        clusters = group_by(data.trials, lambda case: self._families[case] or case)
        means = {}
        for cluster, cases in clusters.items():
            before = fmean(fmean(data.trials[case].before) for case in cases)
            after = fmean(fmean(data.trials[case].after) for case in cases)
            means[cluster] = TrialPair((before,), (after,))
        p_value = change_p_value(means)
        if len(means) < len(data.trials):
            count = format_count(len(means), "family", "families")
        else:
            count = format_count(len(means), "case")
        scope = "only these cases, not for unseen ones"
        if p_value <= self._rules.alpha:
            scope = "unseen cases like these as well"
        return f"{data.metric}: the difference holds for {scope} ({count})"


def _name_case(case: str) -> str:
    """Return the arguments of a case as a name; if it has none, the name of its test.

    >>> _name_case(f"test_a{SEPARATOR}late{SEPARATOR}de"), _name_case("test_a")
    ('late-de', 'test_a')
    """
    function, *arguments = case.split(SEPARATOR)
    return "-".join(arguments) or function


def _choose_decisive(metrics: Sequence[MetricVerdict]) -> Sequence[MetricVerdict]:
    """Return the metrics that the verdict is about.

    These are all that got worse; if none did, the leading ones that got better; if none did, all leading ones. The primary
    metric leads; without one all metrics do, except the share of passed trials.
    """
    leading = [metric for metric in metrics if metric.role == "primary"]
    if not leading:
        leading = [metric for metric in metrics if metric.name != TRIAL_RATE]
    if not leading:
        leading = list(metrics)
    worse = [metric for metric in metrics if metric.status == "worse"]
    better = [metric for metric in leading if metric.status == "better"]
    return worse or better or leading


def _describe_metric(metric: MetricVerdict, rules: GateRules) -> str:
    """Return the change of a metric, and for one without a difference whether the margin is ruled out.

    >>> _describe_metric(MetricVerdict(name="tone", status="worse", before=0.5, after=0.4, change=-0.1), GateRules())
    'tone worse by 10.0 points (0.50 → 0.40)'
    """
    scores = f"({metric.before:.2f} → {metric.after:.2f})"
    if metric.status in ("better", "worse"):
        return f"{metric.name} {metric.status} by {abs(metric.change) * 100:.1f} points {scores}"
    change = f"{metric.name} {format_points(metric.change)} {scores}"
    margin = f"{rules.margin * 100:g} points"
    if metric.status == "equivalent":
        return f"{change}, a difference of {margin} or more is ruled out"
    return f"{change}, a difference of {margin} or more is still possible"


def _describe_use(sides: Sequence[Side]) -> str:
    """Return cost, latency and length of an answer, for each side; "" if no call of the application is known."""
    calls = [_list_app_calls(side) for side in sides]
    costs = [_mean_cost(count_traffic(side_calls)) for side_calls in calls]
    latencies = [summarize_latency(side_calls) for side_calls in calls]
    p50 = [latency.p50 for latency in latencies]
    p95 = [latency.p95 for latency in latencies]
    lengths = [_mean_length(side_calls) for side_calls in calls]
    parts = [
        _describe_figure("cost", "USD", costs),
        _describe_figure("median latency", "s", p50),
        _describe_figure("95th percentile", "s", p95),
        _describe_figure("characters", "count", lengths),
    ]
    known = ", ".join(filter(None, parts))
    if known:
        return f"an answer: {known}"
    return ""


def _list_app_calls(side: Side) -> list[Call]:
    return [call for record in side.values() for call in record.calls if call.purpose == "app"]


def _mean_cost(used: Traffic) -> float | None:
    if used.known_usd is None:
        return None
    return used.known_usd / (used.calls - used.unpriced)


def _mean_length(calls: Sequence[Call]) -> float | None:
    lengths = [len(call.output) for call in calls if call.output]
    if not lengths:
        return None
    return round(fmean(lengths))


def _describe_figure(name: str, unit: str, values: Sequence[float | None]) -> str:
    """Return a figure of each side as "cost $0.10 → $0.20"; "" if it is unknown on all sides."""
    if all(value is None for value in values):
        return ""
    texts = []
    for value in values:
        if value is None:
            texts.append("unknown")
        else:
            texts.append(format_amount(value, unit))
    return f"{name} {' → '.join(texts)}"
