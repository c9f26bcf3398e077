"""Summarize a run: the counts, means and costs that every report shows.

A measurement without a value does not enter the mean; it is counted separately. For side, row and axis of a comparison see
`pytest_llmops.results.comparison`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Json, Measurement, as_finite_float, format_count, to_builtins
from pytest_llmops.results.comparison import (
    Axis,
    MetricKey,
    UnevenMetrics,
    find_uneven_metrics,
    function_name,
    group_by,
    iter_fair_comparisons,
    metric_key,
    row_key,
    side_key,
    side_texts,
    sort_by_position,
    subject_name,
)
from pytest_llmops.results.details import Scale, SideFacts, as_mapping, read_scale
from pytest_llmops.results.run import (
    OUTCOMES,
    JudgeUse,
    Outcome,
    Run,
    TestRecord,
    attribute_failure,
    is_judged,
    judge_doubt,
)
from pytest_llmops.results.tool_choices import CatalogueUse, summarize_tool_choices
from pytest_llmops.results.traffic import (
    CassetteTotals,
    Latency,
    Traffic,
    count_traffic,
    format_budget,
    summarize_cassettes,
    summarize_latency,
)

RunStatus: TypeAlias = Literal["FAIL", "ERROR", "RED", "PASS", "NO RESULT", "EMPTY"]

BINS = 10
NOT_STORED = ("left_out", "histogram", "judged")  # fields of `Metric` that a run file does not have
# The facts that tell the columns of a matrix apart: a version under two aliases has two columns
_COLUMN_FACTS: Mapping[Axis, tuple[str, ...]] = {
    "prompt": ("version", "fingerprint", "alias"),
    "model": ("name",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """All measurements of one name, unit, direction and version: unlike versions are never mixed.

    Attributes:
        n: How many measurements have a value. The statistics cover these, and are None if there are none.
        left_out: In a comparison: rows that lack a value on some side, and so are left out of the statistics.
        thresholds: The different thresholds, smallest first.
        histogram: Ten bins from 0 to 1 for unit "1", else empty.
        judged: The values come from a judge.
        scale: The judge's own scale, if all scores have the same one; else None.
        doubt: A warning about the judge: "unfit", "not calibrated", "out of date", "below its thresholds"; empty: none.
    """

    name: str
    version: str = ""
    unit: str = "1"
    better: Literal["higher", "lower"] = "higher"
    n: int = 0
    left_out: int = 0
    mean: float | None = None
    minimum: float | None = None
    median: float | None = None
    maximum: float | None = None
    passed: int = 0
    failed: int = 0
    recorded: int = 0
    errored: int = 0
    thresholds: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()
    judged: bool = False
    scale: Scale | None = None
    doubt: str = ""

    @property
    def key(self) -> MetricKey:
        """The key of the metric: measurements of different keys are never mixed."""
        return self.name, self.version, self.unit, self.better

    def to_wire(self) -> dict[str, object]:
        """Return the fields that a run file stores of the metric."""
        names = [spec.name for spec in fields(self) if spec.name not in NOT_STORED]
        return {name: getattr(self, name) for name in names}

    @property
    def threshold(self) -> float | None:
        """The threshold, if all thresholds are the same."""
        if len(self.thresholds) == 1:
            return self.thresholds[0]
        return None

    @property
    def threshold_scope(self) -> str:
        """How many of the values have a threshold, as text to print after the threshold; "" if all have one.

        >>> Metric(name="m", n=6, passed=3, recorded=3, thresholds=(1.0,)).threshold_scope
        ' in 3'
        """
        if self.thresholds and self.recorded:
            return f" in {self.passed + self.failed:,}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A version of a prompt, or a model, and the measurements of the tests that ran with it.

    Attributes:
        comparison: Number of the comparison within the run. Only means of the same comparison cover the same tests.
        left_out: Rows of the comparison that did not run on every side, and so count on none.
        unscored: How many tests have a measurement without a score.
        traffic: All calls of a prompt version; for a model only the application's calls, as judges are not its cost.
    """

    prompt: str = ""
    version: str = ""
    fingerprint: str = ""
    aliases: tuple[str, ...] = ()
    model: str = ""
    comparison: int = 0
    left_out: int = 0
    tests: int = 0
    passed: int = 0
    skipped: int = 0
    unscored: int = 0
    metrics: tuple[Metric, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    latency: Latency = field(default_factory=Latency)

    @property
    def label(self) -> str:
        """The model, or the version as people name it: ``v2 (production)``."""
        version = self.model or self.version or self.fingerprint[:8] or "?"
        if self.aliases:
            return f"{version} ({', '.join(self.aliases)})"
        return version


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The summary of a run.

    Attributes:
        outcomes: Numbers of tests as pytest counts them, by outcome; cases of a dataset are not tests of their own.
        dataset_cases: How many cases the tests evaluated as datasets.
        candidates: Models that are compared; empty if no test ran with several.
        tools: The results with the catalogues of ``llm_tools``.
        blamed: Numbers of tests in which retrieval or generation did badly, by the status of both in words.
        concluded: RED or ERROR if a verdict fails the run; else "".
    """

    outcomes: Mapping[Outcome, int]
    metrics: tuple[Metric, ...]
    versions: tuple[Side, ...]
    candidates: tuple[Side, ...] = ()
    judges: tuple[JudgeUse, ...]
    models: tuple[str, ...]
    traffic: Traffic
    by_purpose: Mapping[str, Traffic]
    latency: Latency
    cassettes: CassetteTotals
    blamed: Mapping[str, int] = field(default_factory=dict)
    tools: tuple[CatalogueUse, ...] = ()
    dataset_cases: int = 0
    budget: str = ""
    concluded: Literal["RED", "ERROR", ""] = ""
    duration_s: float

    @property
    def tests(self) -> int:
        """How many tests there are."""
        return sum(self.outcomes.values())

    @property
    def verdict(self) -> RunStatus:
        """The status of the run, the worst that applies; a run in which every test was skipped has NO RESULT."""
        if not self.tests:
            return "EMPTY"
        if self.outcomes["failed"]:
            return "FAIL"
        if self.outcomes["errored"]:
            return "ERROR"
        if self.concluded:
            return self.concluded
        if self.outcomes["passed"] + self.outcomes["xpassed"]:
            return "PASS"
        return "NO RESULT"

    def to_wire(self) -> Mapping[str, Json]:
        """Return the totals as plain builtins, for the run file."""
        metrics = [metric.to_wire() for metric in self.metrics]
        totals: dict[str, object] = {
            "verdict": self.verdict,
            "tests": self.tests,
            "outcomes": self.outcomes,
            "duration_s": round(self.duration_s, 6),
            "metrics": metrics,
            "calls": asdict(self.traffic),
            "latency_s": asdict(self.latency),
        }
        if self.tools:
            totals["tools"] = [use.to_wire() for use in self.tools]
        return as_mapping(to_builtins(totals))

    @property
    def outcome_words(self) -> str:
        """The outcomes in pytest's words, the worst first; passed is always included. Cases of datasets follow in brackets."""
        if not self.tests:
            return "no tests were recorded"
        outcomes = self.outcomes.items()
        counts = {outcome: count for outcome, count in outcomes if count or outcome == "passed"}
        words = format_outcomes(counts)
        if self.dataset_cases:
            words += f" ({format_count(self.dataset_cases, 'case')})"
        return words


def format_outcomes(counts: Mapping[Outcome, int]) -> str:
    """Return outcomes in pytest's words, the worst first.

    >>> format_outcomes({"passed": 3, "errored": 2, "failed": 1})
    '1 failed, 2 errors, 3 passed'
    """
    words = []
    for outcome in OUTCOMES:
        if outcome == "errored" and outcome in counts:
            words.append(format_count(counts[outcome], "error"))
        elif outcome in counts:
            words.append(f"{counts[outcome]:,} {outcome}")
    return ", ".join(words)


def summarize_run(run: Run) -> Totals:
    """Return the summary of a run; an empty run gives zero counts and empty tables.

    >>> summarize_run(Run()).outcome_words
    'no tests were recorded'
    """
    records = run.records
    tests = [record for record in records if not record.is_dataset_case]
    counts = Counter(record.outcome for record in tests)
    outcomes = {outcome: counts[outcome] for outcome in OUTCOMES}
    calls = [call for record in records for call in record.calls]
    calls_by_purpose = group_by(calls, lambda call: call.purpose)
    by_purpose = {purpose: count_traffic(group) for purpose, group in calls_by_purpose.items()}
    models = dict.fromkeys(call.model for call in calls_by_purpose.get("app", []))
    models.pop("", None)
    versions = _summarize_sides(records, "prompt")
    candidates = _summarize_sides(records, "model")
    blamed = Counter(map(describe_weak_half, records))
    del blamed[""]
    duration_s = math.fsum(record.duration_s for record in records)
    return Totals(
        outcomes=outcomes,
        metrics=summarize_metrics(records),
        versions=tuple(versions),
        candidates=tuple(candidates),
        judges=run.judges,
        models=tuple(models),
        traffic=count_traffic(calls),
        by_purpose=by_purpose,
        latency=summarize_latency(calls),
        cassettes=summarize_cassettes(run),
        blamed=dict(blamed),
        tools=summarize_tool_choices(records),
        dataset_cases=len(records) - len(tests),
        budget=format_budget(run),
        concluded=_read_verdicts(run),
        duration_s=duration_s,
    )


def _read_verdicts(run: Run) -> Literal["RED", "ERROR", ""]:
    """Return RED or ERROR if verdicts of that level fail the run; else ""."""
    levels = {verdict.level for verdict in run.failing_verdicts}
    if "bad" in levels:
        return "RED"
    if "error" in levels:
        return "ERROR"
    return ""


def describe_weak_half(record: TestRecord) -> str:
    """Return the status of retrieval and generation in words if one of them is bad; else "".

    >>> describe_weak_half(TestRecord(nodeid="t"))
    ''
    """
    halves = attribute_failure(record.measurements)
    if halves is not None and halves.bad:
        return halves.status_words
    return ""


def summarize_metrics(
    records: Iterable[TestRecord], left_out: UnevenMetrics | None = None
) -> tuple[Metric, ...]:
    """Return a `Metric` for each name, unit, direction and version, in the order of first occurrence.

    Args:
        records: The tests.
        left_out: In a comparison: measurements that are counted, but left out of the statistics.
    """
    uneven = left_out or UnevenMetrics()
    pairs = [(record, measurement) for record in records for measurement in record.measurements]
    groups = group_by(pairs, lambda pair: metric_key(pair[1]))
    return tuple(_summarize_metric(group, uneven) for group in groups.values())


def _summarize_metric(group: Sequence[tuple[TestRecord, Measurement]], uneven: UnevenMetrics) -> Metric:
    """Return the metric of a group of measurements with equal keys; the group has at least one."""
    measurements = [measurement for _, measurement in group]
    first = measurements[0]
    values = _list_values(group, uneven)
    statuses = Counter(map(_read_status, measurements))
    thresholds = {limit for limit in map(_read_threshold, measurements) if limit is not None}
    histogram: tuple[int, ...] = ()
    if first.unit == "1":
        histogram = _count_bins(values)
    doubts = filter(None, map(judge_doubt, measurements))
    metric = Metric(
        name=first.name,
        version=first.version,
        unit=first.unit,
        better=first.better,
        n=len(values),
        left_out=uneven.rows.get(metric_key(first), 0),
        passed=statuses["passed"],
        failed=statuses["failed"],
        recorded=statuses["recorded"],
        errored=statuses["errored"],
        thresholds=tuple(sorted(thresholds)),
        histogram=histogram,
        judged=any(map(is_judged, measurements)),
        scale=_find_common_scale(measurements),
        doubt=next(doubts, ""),
    )
    if not values:
        return metric
    return replace(
        metric,
        mean=_mean_value(values),
        minimum=values[0],
        median=_median_value(values),
        maximum=values[-1],
    )


def _read_threshold(measurement: Measurement) -> float | None:
    """Return the threshold of a score, or the one that an adopted tool compares it with; None: it has neither."""
    if measurement.threshold is not None:
        return measurement.threshold
    return as_finite_float(measurement.detail.get("tool_threshold"))


def _read_status(measurement: Measurement) -> str:
    """Return the status of a score; of an adopted one with a threshold, what its tool found."""
    passed = measurement.detail.get("tool_passed")
    if (
        measurement.status != "recorded"
        or not isinstance(passed, bool)
        or _read_threshold(measurement) is None
    ):
        return measurement.status
    return "passed" if passed else "failed"


def _find_common_scale(measurements: Iterable[Measurement]) -> Scale | None:
    """Return the judge's own scale, if all scores have the same one."""
    scales = {read_scale(measurement) for measurement in measurements if measurement.value is not None}
    if len(scales) == 1:
        return scales.pop()
    return None


def _list_values(group: Iterable[tuple[TestRecord, Measurement]], uneven: UnevenMetrics) -> list[float]:
    """Return the values for the statistics, the smallest first."""
    values = []
    for record, measurement in group:
        part = (id(record), metric_key(measurement), measurement.label)
        if measurement.value is not None and part not in uneven.parts:
            values.append(measurement.value)
    return sorted(values)


def _count_bins(values: Iterable[float]) -> tuple[int, ...]:
    """Return how many values are in each tenth from 0 to 1; values outside count in the first or last one."""
    below_one = 1 - 1 / BINS / 2  # the middle of the last bin: 1.0 itself would need an eleventh
    bins = [0] * BINS
    for value in values:
        bounded = min(max(value, 0.0), below_one)
        bins[int(bounded * BINS)] += 1
    return tuple(bins)


def _median_value(values: Sequence[float]) -> float | None:
    """Return the middle one of sorted values; of an even number the mean of the two in the middle."""
    middle = len(values) // 2
    first = middle if len(values) % 2 else middle - 1
    return _mean_value(values[first : middle + 1])


def _mean_value(values: Sequence[float]) -> float | None:
    if not values:
        return None
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # the sum is too large for a float, but the mean is not
        return math.fsum(value / len(values) for value in values)


def _summarize_sides(records: Sequence[TestRecord], axis: Axis) -> Iterator[Side]:
    """Yield the summary of each version of each prompt (or of each model), over the tests of its fair comparison."""
    for number, (group, left_out) in enumerate(iter_fair_comparisons(records, axis)):
        ran = group_by(group, lambda record: (subject_name(record, axis), side_key(record, axis)))
        uneven = UnevenMetrics()
        if len(ran) > 1:
            rows = group_by(group, lambda record: (function_name(record), *row_key(record, axis)))
            uneven = find_uneven_metrics(rows.values())
        for key in sort_by_position(ran, axis):
            side = _summarize_side(ran[key], axis, uneven)
            yield replace(side, comparison=number, left_out=left_out)


def describe_uneven_metrics(sides: Iterable[Side]) -> list[tuple[str, str]]:
    """Return the metrics whose mean leaves out rows, each with a note on how many."""
    notes = {}
    for side in sides:
        for metric in side.metrics:
            if metric.left_out:
                cases = format_count(metric.left_out, "case")
                notes[metric.name] = f"{cases} left out without a value on every side"
    return list(notes.items())


def _summarize_side(records: Sequence[TestRecord], axis: Axis, uneven: UnevenMetrics | None = None) -> Side:
    """Return the summary of the tests that ran on a side.

    Args:
        records: The tests, at least one. The first names the side, and all of them name its aliases.
        axis: The compared dimension.
        uneven: Measurements that some side lacks; None: there are none.
    """
    calls = [call for record in records for call in record.calls]
    if axis == "model":
        calls = [call for call in calls if call.purpose == "app"]
    facts = SideFacts.from_wire(records[0].fact(axis))
    aliases: list[str] = []
    for record in records:
        alias = SideFacts.from_wire(record.fact(axis)).alias
        if alias not in ("", facts.version, *aliases):
            aliases.append(alias)
    model = ""
    if axis == "model":
        model = facts.name
    outcomes = Counter(record.outcome for record in records)
    unscored = sum(map(_is_unscored, records))
    return Side(
        prompt=subject_name(records[0], axis),
        version=facts.version,
        fingerprint=facts.fingerprint,
        aliases=tuple(aliases),
        model=model,
        tests=len(records),
        passed=outcomes["passed"] + outcomes["xpassed"],
        skipped=outcomes["skipped"],
        unscored=unscored,
        metrics=summarize_metrics(records, uneven),
        traffic=count_traffic(calls),
        latency=summarize_latency(calls),
    )


def _is_unscored(record: TestRecord) -> bool:
    """Return whether a measurement of a test got no score."""
    if record.outcome == "errored":
        return True
    return any(measurement.status == "errored" for measurement in record.measurements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a matrix: for each column the records that ran the case, usually one; none if it did not run there."""

    case: str
    cells: tuple[tuple[TestRecord, ...], ...]

    @property
    def differs(self) -> bool:
        """Whether the columns have different outcomes."""
        outcomes = {tuple(record.outcome for record in cell) for cell in self.cells}
        return len(outcomes) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A test that ran with several versions of a prompt, or models.

    Columns are in the order of the command line, rows in the order of the run. The summary of a column covers only the rows
    that ran in all columns (if there are none, all rows of the column), and a mean only those with a value in every column.
    """

    test: str
    prompt: str
    columns: tuple[Side, ...]
    rows: tuple[Row, ...]


def build_matrices(run: Run, axis: Axis = "prompt") -> tuple[Matrix, ...]:
    """Return one matrix per test and prompt with more than one version, or per test with more than one model.

    A version that was named by two aliases has two columns.

    >>> build_matrices(Run())
    ()
    """
    compared = [record for record in run.records if record.fact(axis)]
    groups = group_by(compared, lambda record: (function_name(record), subject_name(record, axis)))
    matrices = []
    for (test, prompt), records in groups.items():
        matrix = _build_matrix(test, prompt, records, axis)
        if len(matrix.columns) > 1:
            matrices.append(matrix)
    return tuple(matrices)


def _build_matrix(test: str, prompt: str, records: Sequence[TestRecord], axis: Axis) -> Matrix:
    """Return the matrix of a test; it may have a single column.

    Args:
        test: Name of the test function.
        prompt: Name of the prompt; "" for models.
        records: The tests of the function with this prompt, at least one.
        axis: The kind of the columns.
    """

    def find_column(record: TestRecord) -> tuple[str, ...]:
        return side_texts(record, axis, _COLUMN_FACTS[axis])

    columns = group_by(records, find_column)
    order = sort_by_position(columns, axis)
    rows = group_by(records, lambda record: row_key(record, axis))
    complete = []
    for row in rows.values():
        ran = {find_column(record) for record in row if record.outcome != "skipped"}
        if ran == set(columns):
            complete.append(row)
    compared = group_by((record for row in complete for record in row), find_column) or columns
    uneven = find_uneven_metrics(complete)
    built = []
    for key, ran_records in rows.items():
        by_column = group_by(ran_records, find_column)
        cells = [tuple(by_column.get(column, ())) for column in order]
        built.append(Row(case=_name_row(*key), cells=tuple(cells)))
    sides = [_summarize_side(compared[column], axis, uneven) for column in order]
    return Matrix(test=test, prompt=prompt, columns=tuple(sides), rows=tuple(built))


def _name_row(case: str, *params: str) -> str:
    """Return the name of a row: its case, and its other parameters in brackets."""
    others = "-".join(filter(None, params))
    if case and others:
        return f"{case} [{others}]"
    return case or others
