"""Verdicts on variants that ran side by side, on sentinels, and on the drop that a baseline would notice.

The statistics are the gate's: trials are permuted within the cases that both sides ran. In addition a difference that is
proved is tried on the means of the families, for unseen cases. The table of error rates is in docs/compare.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline, flip_rate, summarize_test
from pytest_llmops.baselines.changes import (
    SuiteComparison,
    compare_tests,
    find_metrics,
    metric_name,
    metric_trials,
)
from pytest_llmops.baselines.gate import choose_primary, format_points, format_size, list_suspects
from pytest_llmops.baselines.guardrails import judge_guardrails
from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.baselines.robustness import judge_robustness
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.metrics import trial_change
from pytest_llmops.metrics.trial_change import (
    TrialPair,
    compare_families,
    estimate_change_error,
    pool_noise,
)
from pytest_llmops.results.comparison import function_name, group_by
from pytest_llmops.results.details import CaseFacts, CassetteFacts, VariantFacts, fact_text
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.traffic import count_traffic, summarize_latency
from pytest_llmops.results.verdict import VariantMetric, VariantVerdict

Side = Mapping[str, TestRecord]  # the tests of a variant by case
Row = tuple[MetricData, VariantMetric]  # a metric over all cases, or those of a family, and its p-value


def judge_variants(records: Sequence[TestRecord]) -> tuple[VariantVerdict, ...]:
    """Return a verdict on each variant but the base, for each argument that tests are compared by.

    Tests with the same argument, base and prompt are one comparison. A case is what the other arguments of a test say;
    cases that did not run on both sides are left out. Where only a part of the suite ran, without the base, there is no verdict.

    >>> judge_variants([TestRecord(nodeid="test_a.py::test_a")])
    ()
    """
    compared = [
        (VariantFacts.from_wire(facts), record)
        for record in records
        if (facts := record.fact("compare")) and record.outcome != "skipped"
    ]
    groups = group_by(
        compared,
        lambda pair: (
            pair[0].argument,
            fact_text(pair[1].fact("prompt").get("name")) if pair[0].argument == "prompt" else "",
            pair[0].base,
            pair[0].primary,
        ),
    )
    return (
        *(verdict for key, group in groups.items() for verdict in _judge_comparison(*key, group)),
        *judge_guardrails(records),
        *judge_robustness(records),
    )


def _judge_comparison(
    argument: str,
    prompt: str,
    first: str,
    primary: str,
    group: Sequence[tuple[VariantFacts, TestRecord]],
) -> list[VariantVerdict]:
    by_value = group_by(sorted(group, key=lambda pair: pair[0].place), lambda pair: pair[0].value)
    sides = {
        value: {"\x1f".join([function_name(record), *facts.case]): record for facts, record in pairs}
        for value, pairs in by_value.items()
    }
    base = sides.pop(first, {})
    rules = GateRules(primary=primary)
    if base:
        variants = {value: _Variant(base, side, rules) for value, side in sides.items()}
    else:
        variants = {}
    adjusted = {
        id(data): (p_value, len(same))
        for same in group_by(
            (row for variant in variants.values() for row in variant.rows),
            lambda row: (row[1].name, bool(row[1].family)),
        ).values()
        for (data, _), p_value in zip(
            same,
            trial_change.adjust_p_values([metric.p_value or 0.0 for _, metric in same]),
            strict=True,
        )
    }
    return [
        variant.conclude(
            VariantVerdict(argument=f"{argument} {prompt}".strip(), base=first, value=value), adjusted
        )
        for value, variant in variants.items()
    ]


def _test_metrics(measured: Sequence[MetricData], primary: str, family: str = "") -> list[Row]:
    """Return the metrics with their p-values, the primary first: it alone, all others jointly."""
    changed = [data for data in measured if data.trials]
    nulls = trial_change.draw_null_changes([data.trials for data in changed])
    p_values = {
        changed[place].metric: p
        for places in group_by(range(len(changed)), lambda place: changed[place].metric == primary).values()
        for place, p in zip(
            places,
            trial_change.joint_change_p_values(
                [trial_change.mean_change(changed[place].trials) for place in places], nulls[places]
            ),
            strict=True,
        )
    }
    return [
        (
            data,
            VariantMetric(
                name=data.metric,
                role="primary" if data.metric == primary else "guard-rail",
                family=family,
                p_value=p_values.get(data.metric, 1.0),
            ),
        )
        for data in sorted(measured, key=lambda data: data.metric != primary)
    ]


def _judge_metric(data: MetricData, metric: VariantMetric, rules: GateRules, tests: int) -> VariantMetric:
    """Return the verdict on a metric that is judged in so many variants, or families of them."""
    metric = replace(
        metric,
        # Without any new trial both sides have the same answers.
        status="undecided" if data.trials or not data.cases else "equivalent",
        before=fmean(before for before, _ in data.means) if data.means else 0.0,
        after=fmean(after for _, after in data.means) if data.means else 0.0,
        change=data.change,
        cases=data.cases,
        unchanged=data.cases - len(data.trials),
        trials_before=data.fewest_trials[0],
        trials_after=data.fewest_trials[1],
    )
    errors = data.bound_errors()
    if errors is None or not data.is_large_enough(rules):
        few = f"{rules.min_cases} cases with {rules.min_trials} trials (--llm-trials={rules.min_trials}), or {rules.min_single_cases} cases"
        return replace(metric, p_value=None, next_step=f"a verdict takes {few}" if data.trials else "")
    lower = errors[0].lower_end(metric.change, 1 - rules.alpha / tests)
    metric = replace(metric, lower=lower, upper=2 * metric.change - lower)
    if (metric.p_value or 0.0) <= rules.alpha and abs(metric.change) >= rules.floor:
        return replace(metric, status="better" if metric.change > 0 else "worse")
    if abs(metric.change) + metric.change - lower < rules.margin:
        return replace(metric, status="equivalent")
    levels = rules.alpha / 2 / tests, rules.alpha / tests
    return replace(metric, next_step=data.describe_next_step(rules, levels, two_sided=True))


def _pair_sides(base: Side, other: Side) -> SuiteComparison:
    return compare_tests(
        Baseline(tests={case: summarize_test(record, repeated=True) for case, record in base.items()}),
        [replace(record, nodeid=case) for case, record in other.items()],
    )


class _Variant:
    # A variant beside the base: each metric over all cases, and the first by family.
    def __init__(self, base: Side, other: Side, rules: GateRules) -> None:
        self._rules = rules
        self._both = [{case: side[case] for case in base if case in other} for side in (base, other)]
        self._left_out = len(base.keys() ^ other.keys())
        comparison = _pair_sides(*self._both)
        self._families = {
            case: CaseFacts.from_wire(record.fact("case")).family for case, record in self._both[1].items()
        }
        measured = [MetricData(metric, comparison) for metric in find_metrics(comparison.compared)]
        self.rows = _test_metrics(measured, choose_primary(measured, rules))
        families = group_by(comparison.compared, lambda test: self._families[test.record.nodeid] or None)
        for family, tests in families.items() if len(families) > 1 and measured else ():
            first = self.rows[0][0].metric
            self.rows += _test_metrics(
                [MetricData(first, SuiteComparison(tuple(tests), baseline=comparison.baseline))],
                first,
                family,
            )

    def conclude(self, verdict: VariantVerdict, adjusted: Mapping[int, tuple[float, int]]) -> VariantVerdict:
        metrics = [
            _judge_metric(data, replace(metric, p_value=p_value), self._rules, tests)
            for data, metric in self.rows
            for p_value, tests in [adjusted[id(data)]]
        ]
        verdict = replace(verdict, metrics=tuple(metrics))
        problem = self._why_not_comparable()
        if problem:
            return replace(verdict, status="error", sentence=problem)
        whole = [metric for metric in metrics if not metric.family]
        leading = [metric for metric in whole if metric.role == "primary"]
        leading = leading or [metric for metric in whole if metric.name != TRIAL_RATE] or whole
        proved = [
            [metric for metric in side if metric.status == status]
            for side, status in ((whole, "worse"), (leading, "better"))
        ]
        told = proved[0] or proved[1] or leading
        losses = sorted(
            (pair.difference, case.partition("\x1f")[2].replace("\x1f", "-") or case)
            for (data, _), metric in zip(self.rows, metrics, strict=True)
            for case, pair in data.trials.items()
            if metric in told and metric.status in ("worse", "undecided") and pair.difference < 0
        )
        left_out = f"; {format_count(self._left_out, 'case')} left out that did not run on both sides"
        return replace(
            verdict,
            status=told[0].status if len({metric.status for metric in told}) == 1 else "undecided",
            sentence="; ".join(_describe_metric(metric, self._rules) for metric in told)
            + list_suspects([*dict.fromkeys(name for _, name in losses)])
            + (left_out if self._left_out else ""),
            advice=tuple(self._list_advice(metrics, told, is_prompt=verdict.argument.startswith("prompt "))),
        )

    def _why_not_comparable(self) -> str:
        cases = len(self._both[0]) + self._left_out
        rules = self._rules
        back = _pair_sides(*reversed(self._both))
        names = [data.metric for data, metric in self.rows if not metric.family]
        counts = {
            data.metric: (data.unscored + other.unscored, data.scored + other.scored)
            for data, other in ((data, MetricData(data.metric, back)) for data, _ in self.rows[: len(names)])
            if rules.primary in ("", data.metric)
        }
        known = format_name_list(names)
        problems = {
            f"{self._left_out:,} of {format_count(cases, 'case')} did not run on both sides: nothing is decided": not names
            or len(self._both[0]) < cases * rules.min_share,
            f"ini llm_primary_metric: expected a metric that was measured ({known}), got {rules.primary!r}": rules.primary
            not in ("", *names),
            **{
                f"{name}: {unscored:,} of {format_count(unscored + scored, 'trial')} could not be scored: nothing is decided": unscored
                > (unscored + scored) * rules.max_unscored
                for name, (unscored, scored) in counts.items()
            },
        }
        return next((problem for problem, applies in problems.items() if applies), "")

    def _list_advice(
        self, metrics: Sequence[VariantMetric], told: Sequence[VariantMetric], *, is_prompt: bool
    ) -> list[str]:
        texts = {
            fact_text(record.fact("prompt").get("fingerprint"))
            for side in self._both
            for record in side.values()
        }
        families = [
            f"{format_points(metric.change)} {metric.family} ({metric.status})"
            for metric in metrics
            if metric.family
        ]
        advice = (
            "both are the same text of the prompt, so a difference is chance"
            if is_prompt and len(texts) == 1 and all(texts)
            else "",
            *(f"{metric.name}: {metric.next_step}" for metric in told if metric.next_step),
            *(
                self._describe_unseen(data)
                for (data, _), metric in zip(self.rows, metrics, strict=True)
                if metric in told and metric.status in ("better", "worse")
            ),
            *(
                _describe_metric(metric, self._rules)
                for metric in metrics
                if not metric.family and metric not in told and (metric.change or metric.name != TRIAL_RATE)
            ),
            f"{metrics[0].name} by family: {', '.join(families)}" if families else "",
            _describe_use(self._both),
        )
        return list(filter(None, advice))

    def _describe_unseen(self, data: MetricData) -> str:
        """Say whether a difference holds for unseen cases: families, or single cases, are flipped as a whole."""
        clusters = group_by(data.trials, lambda case: self._families[case] or case)
        means = {
            cluster: trial_change.TrialPair(
                (fmean(fmean(data.trials[case].before) for case in cases),),
                (fmean(fmean(data.trials[case].after) for case in cases),),
            )
            for cluster, cases in clusters.items()
        }
        p_values = trial_change.joint_change_p_values(
            [trial_change.mean_change(means)], trial_change.draw_null_changes([means])
        )
        if len(means) < len(data.trials):
            units = ("family", "families")
        else:
            units = ("case", "cases")
        scope = ("these cases alone, not for unseen ones", "unseen cases like these as well")[
            p_values[0] <= self._rules.alpha
        ]
        return f"{data.metric}: proved for {scope} ({format_count(len(means), *units)})"


def _describe_metric(metric: VariantMetric, rules: GateRules) -> str:
    words = {
        "equivalent": f": a difference of {format_size(rules.margin)} is excluded",
        "undecided": f": no difference is proved, and one of {format_size(rules.margin)} is not excluded",
    }
    means = f"{metric.before:.2f} -> {metric.after:.2f}"
    return f"{metric.name} {format_points(metric.change)} ({means}){words.get(metric.status, '')}"


def _describe_use(sides: Sequence[Side]) -> str:
    """Say what an answer of each side costs and takes, and how long it is; "": no call of the application is known."""
    calls = [
        [call for record in side.values() for call in record.calls if call.purpose == "app"] for side in sides
    ]
    used = list(map(count_traffic, calls))
    latency = list(map(summarize_latency, calls))
    figures: Mapping[tuple[str, str], Sequence[float | None]] = {
        ("cost", "USD"): [
            None if side.known_usd is None else side.known_usd / (side.calls - side.unpriced) for side in used
        ],
        ("latency p50", "s"): [side.p50 for side in latency],
        ("p95", "s"): [side.p95 for side in latency],
        ("characters", "count"): [
            round(fmean(counts)) if (counts := [len(call.output) for call in made if call.output]) else None
            for made in calls
        ],
    }
    parts = [
        f"{name} {' -> '.join('unknown' if value is None else format_amount(value, unit) for value in values)}"
        for (name, unit), values in figures.items()
        if any(value is not None for value in values)
    ]
    if parts:
        return f"an answer: {', '.join(parts)}"
    return ""


PLANNED_TRIALS = (1, 3, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPower:
    """The noise of a metric and the drops that it would show.

    Attributes:
        cases: How many tests have the metric.
        trials: The smallest number of trials of a case.
        mean: Mean score, higher is better.
        noise: Standard deviation of a trial within its case; None: no case has two trials.
        detectable: By trials of a later run: the drop of the mean that is noticed in 8 of 10 runs; empty: no trials of a
            case differ, and that says nothing about the noise of a later run.
        noisiest: Cases whose trials differ, with their standard deviation, the largest first.
        flaky: Cases that pass in some trials and fail in others: node id, share of pairs of trials that differ, and the
            time of the acceptance since which they do; the largest share first.
    """

    name: str
    cases: int
    trials: int
    mean: float
    noise: float | None = None
    detectable: tuple[tuple[int, float], ...] = ()
    noisiest: tuple[tuple[str, float], ...] = ()
    flaky: tuple[tuple[str, float, str], ...] = ()


def estimate_power(
    baseline: Baseline, *, alpha: float = 0.05, planned: Sequence[int] = PLANNED_TRIALS
) -> list[MetricPower]:
    """Return the power of each metric of a baseline, from its trials alone.

    >>> estimate_power(Baseline())
    []
    """
    names = sorted({metric_name(series) for test in baseline.tests.values() for series in test.scores})
    return [_estimate_metric_power(baseline, name, alpha, planned) for name in names]


def _estimate_metric_power(
    baseline: Baseline, name: str, alpha: float, planned: Sequence[int]
) -> MetricPower:
    trials = {}
    flaky = []
    for nodeid, test in baseline.tests.items():
        scores = [score for score in metric_trials(test, name, tuple(test.scores)) if score is not None]
        rate = flip_rate(tuple(scores))
        if rate:
            flaky.append((nodeid, rate, test.flaky_since))
        if scores:
            # A single trial at the mean stands for the later run, and adds no spread of its own.
            trials[nodeid] = TrialPair(tuple(scores), (fmean(scores),))
    power = MetricPower(
        name=name,
        cases=len(trials),
        trials=min((len(pair.before) for pair in trials.values()), default=0),
        mean=fmean(fmean(pair.before) for pair in trials.values()) if trials else 0.0,
        flaky=tuple(sorted(flaky, key=lambda case: (-case[1], case[0]))),
    )
    noise = pool_noise(list(trials.values()))
    if noise is None:
        return power
    detectable = [
        (count, max(error.detectable_drop(alpha), GateRules().floor))
        for count in planned
        if (error := estimate_change_error(trials, trials_after=count)) and error.standard_error
    ]
    spreads = [(nodeid, pstdev(pair.before)) for nodeid, pair in trials.items()]
    noisiest = sorted((entry for entry in spreads if entry[1] > 0), key=lambda entry: (-entry[1], entry[0]))
    return replace(power, noise=noise.standard_error, detectable=tuple(detectable), noisiest=tuple(noisiest))


def judge_sentinels(baseline: Baseline, records: Sequence[TestRecord]) -> str:
    """Return in a sentence what moved the live answers since the baseline: the model or the judge, the change, or nothing.

    Without a score of a sentinel in the baseline it cannot be told; the sentence then says how many answers are as recorded.

    >>> judge_sentinels(Baseline(), [TestRecord(nodeid="t", facts={"sentinel": True})])[:55]
    'cannot tell what moved: there is no baseline to compare'
    """
    families: dict[str, dict[str, TrialPair]] = {"sentinels": {}, "others": {}}
    for test in compare_tests(baseline, records).compared:
        family = families["sentinels" if test.record.facts.get("sentinel") else "others"]
        if test.unchanged:
            after = test.before
        else:
            after = test.after
        for metric in [name for name in find_metrics([test]) if name != TRIAL_RATE] or [TRIAL_RATE]:
            sides = (metric_trials(side, metric, test.series) for side in (test.before, after))
            pair = [tuple(score for score in side if score is not None) for side in sides]
            if all(pair):
                family[f"{test.record.nodeid} {metric}"] = TrialPair(*pair)
    asked = {
        record.nodeid: CassetteFacts.from_wire(record.fact("cassette"))
        for record in records
        if record.facts.get("sentinel")
    }
    if not families["sentinels"]:
        return _describe_answers(list(asked.values()), has_baseline=bool(baseline.tests))
    edited = [nodeid for nodeid, cassette in asked.items() if not cassette.verified]
    if edited:
        return f"cannot tell what moved: a sentinel has to ask what is recorded, and these ask something else: {format_name_list(edited)}"
    compared = compare_families({name: trials for name, trials in families.items() if trials})
    status = {name: verdict["status"] for name, verdict in compared.items()}
    figures = ", ".join(
        f"{name} {100 * each['change']:+.1f} points ({each['status']})" for name, each in compared.items()
    )
    if status["sentinels"] in ("worse", "better"):
        return f"the model or the judge moved: {figures}"
    if status["sentinels"] != "equivalent" or status.get("others") == "undecided":
        return f"cannot tell what moved: {figures}; more trials, or more sentinels, would tell"
    return f"{'your change moved it' if status.get('others') in ('worse', 'better') else 'nothing moved'}: {figures}"


def _describe_answers(sentinels: Sequence[CassetteFacts], *, has_baseline: bool) -> str:
    """Say why scores tell nothing, what makes a baseline, and what the recordings of the sentinels tell without scores."""
    if has_baseline:
        why = "no sentinel (@pytest.mark.llm_sentinel) has a score here and in the baseline"
    else:
        why = "there is no baseline to compare the scores of the sentinels with"
    verified = sum(each.verified for each in sentinels)
    drifted = sum(each.drifted for each in sentinels)
    if not verified:
        return f"cannot tell what moved: {why}, and none of their answers has a recording; pytest --llm-record=new --llm-accept 'first baseline' makes both"
    if drifted:
        answers = f"{drifted:,} of {verified:,} answers of sentinels differ from the recordings of the same requests: the model or the judge moved, or only its sampling differs"
    else:
        answers = f"all {verified:,} answers of sentinels are those recorded: on these requests nothing moved"
    return f"cannot tell what moved: {why}; pytest --llm-accept 'first baseline' makes one of what is recorded. Without it: {answers}"
