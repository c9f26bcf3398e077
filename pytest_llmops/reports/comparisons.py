"""The comparisons and the judges of a run as rows of tables: the same words and figures in every report.

A comparison is one of variants in the same run (A/B), of changed inputs, of attacks and harmless questions, or of sentinels.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.details import Scale, read_scale, to_scale
from pytest_llmops.results.run import NOT_CALIBRATED, JudgeUse, Run, TestRecord
from pytest_llmops.results.shares import (
    LONGEST_NAME,
    ShareVerdict,
    describe_names,
    format_interval,
    format_limit,
    format_share,
)
from pytest_llmops.results.verdict import MetricVerdict, Verdict

ComparisonKind: TypeAlias = Literal["versions", "changed inputs", "red team", "sentinels"]
Tone: TypeAlias = Literal["red", "amber", "green", "violet", ""]

# Verdict word -> its colour
WORD_TONES: Mapping[str, Tone] = {
    "worse": "red",
    "broken": "red",
    "not proved": "violet",
    "no score": "violet",
    "not compared": "violet",
    "undecided": "amber",
    "moved": "amber",
    "not known": "amber",
    "better": "green",
    "equal": "green",
    "holds": "green",
    "reliable": "green",
    "not reliable": "red",
    "not checked": "amber",
}
TRIAL_RATE = "trials.passed"  # the metric of all tests with trials, see `baselines.baseline`
HOLDING_WORDS = frozenset({"holds", "equal", "not moved"})
"""Verdicts that need nobody's attention: reports only count them where there is little room."""
_KINDS: Mapping[str, ComparisonKind] = {
    "comparison": "versions",
    "robustness": "changed inputs",
    "guardrail": "red team",
    "sentinel": "sentinels",
}
_TONE_ORDER: tuple[Tone, ...] = ("red", "violet", "amber", "green", "")
_TRANSFORMATION_NAMES: Mapping[str, str] = {
    "typos": "Typos",
    "case": "Capital letters",
    "order": "Another order",
    "distractor": "An unrelated document",
    "paraphrase": "Other wording",
}
NEVER_CHECKED = "never checked against human labels"
CHANGED_SINCE = "out of date"
# Of the texts in records of judges, see `judges.calibration`, which reports must not import
BELOW_THRESHOLDS = "below its thresholds"
_FALLEN_CANARIES = re.compile(r"passes (\d{1,6}) of (\d{1,6}) canaries")
_WITHSTOOD_CANARIES = re.compile(r"withstands all (\d{1,6}) canaries")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric:
    """A metric of a comparison of variants, or of the change since the baseline.

    Attributes:
        name: The metric; a judge's with its scale: "judge.helpful, 1 to 5".
        family: Only the cases of this family; "": all.
        word: better, worse, equal, undecided, or no score.
        base: Mean score of the base on the metric's own scale.
        now: Mean score of the variant; "–", as the change, if too many trials have no score.
        change: Change of the mean on the metric's own scale, with its sign.
        points: The same change as percent of the scale, with its sign and without a unit: "+22.5".
        likely: Likely range of the points, "-1.9 to +3.5"; "": not known.
        change_points: The points as a number, for pictures; ``lower`` and ``upper`` are the ends of the likely range.
    """

    name: str
    family: str = ""
    word: str = ""
    tone: str = ""
    base: str = ""
    now: str = ""
    change: str = ""
    points: str = ""
    likely: str = ""
    change_points: float = 0.0
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedShare:
    """A share of cases, as text and as numbers from 0 to 1 for pictures.

    Attributes:
        counted: "10 of 24"; "–": nothing was scored.
        share: "45 %"; families count once, so it may differ from ``counted``.
        interval: The 95 % interval, "25 to 66 %".
        required: "≥ 60 %" or "≤ 35 %"; "": without a limit.
    """

    counted: str = "–"
    share: str = "–"
    interval: str = "–"
    required: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    at_least: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownComparison:
    """A row of a comparison. It has a metric, or a share, or (sentinels; variants that could not be compared) only a sentence.

    Attributes:
        kind: In which table it belongs.
        name: The compared thing: "prompt answer v2, against v1", "Capital letters: right answers kept".
        suite: Which rows belong together, "Capital letters" or the name of a red team's test; "": there is only one.
        what: The name without the suite.
        word: The verdict in one or two words.
        data: How much was compared: "40 cases".
        look_at: At most two cases that count against the application, and how many more; "": none.
        next_step: What to do, as a sentence without a full stop; "": nothing.
        sentence: The verdict in a sentence, without a full stop.
        details: Further sentences: intervals, families, other metrics, cost and latency.
        others: Of variants: the other metrics, and the first one by family.
        subject: The subject of the verdict; rows of a red team with the same subject have the same details.
        place: File and line of the test; "": not known.
        decides: It fails the run if it is broken or not proved.
    """

    kind: ComparisonKind
    name: str
    suite: str = ""
    what: str = ""
    word: str
    tone: Tone
    sentence: str
    metric: ComparedMetric | None = None
    share: ComparedShare | None = None
    data: str = ""
    look_at: str = ""
    next_step: str = ""
    details: tuple[str, ...] = ()
    others: tuple[ComparedMetric, ...] = ()
    subject: str = ""
    place: str = ""
    decides: bool = False

    @property
    def holds(self) -> bool:
        """Whether there is nothing to look at: it holds, or both sides are equal, and there is nothing to do."""
        return self.word in HOLDING_WORDS and not self.next_step


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownJudge:
    """A row of a judge.

    Attributes:
        word: reliable (calibrated, and no canary speaks against it), not reliable, or not checked.
        agreement: Its agreement with human labels, "kappa 0.71, ...", or "never checked against human labels", or "out of date (...)".
        canaries: Its decisions on bad answers: "accepted 2 of 39 bad answers", "rejected all 41 bad answers"; "": not tried.
        disagrees: It was compared with human labels and missed a threshold.
    """

    name: str
    version: str = ""
    model: str = ""
    word: str = ""
    tone: Tone = ""
    agreement: str = ""
    canaries: str = ""
    disagrees: bool = False

    @property
    def caution(self) -> str:
        """What makes its scores worth less, as a sentence that names it; "": nothing does.

        >>> ShownJudge(name="quality", word="not reliable", canaries="accepted 2 of 39 bad answers").caution
        'the judge quality accepted 2 of 39 bad answers'
        """
        if self.word not in ("not reliable", "not checked"):
            return ""
        parts = []
        if self.canaries.startswith("accepted "):
            parts.append(self.canaries)
        if self.agreement == NEVER_CHECKED:
            parts.append(f"was {self.agreement}")
        elif self.agreement.startswith(CHANGED_SINCE):
            parts.append("changed since it was last compared with human labels")
        elif self.disagrees or (self.word == "not reliable" and not parts):
            parts.append(f"does not agree well enough with human labels ({self.agreement})")
        return f"the judge {shorten_text(self.name, LONGEST_NAME)} {', and '.join(parts)}"


def list_comparisons(run: Run) -> list[ShownComparison]:
    """Return the comparisons of a run: those that are broken or worse first, those that hold last, each in the order of the tests.

    >>> list_comparisons(Run())
    []
    """
    scales = _find_scales(run.records)
    compared = [verdict for verdict in run.verdicts if verdict.kind in _KINDS]
    names = _name_suites(compared)
    rows = []
    for verdict in compared:
        if verdict.shares:
            rows += _list_shares(verdict, names[verdict.subject])
        else:
            rows.append(_build_row(verdict, scales))
    return sorted(rows, key=_severity)


def count_holding(rows: Iterable[ShownComparison]) -> int:
    """Return how many comparisons hold, or have equal sides.

    >>> count_holding([])
    0
    """
    return sum(row.holds for row in rows)


def list_judges(run: Run) -> list[ShownJudge]:
    """Return the judges of a run in the order of first use.

    >>> list_judges(Run())
    []
    """
    return [_build_judge(judge) for judge in run.judges]


def build_metric(
    metric: MetricVerdict, scale: Scale | None = None, *, better: str = "higher"
) -> ComparedMetric:
    """Return a metric of a verdict on its own scale.

    Args:
        metric: The verdict; its scores are from 0 to 1, and higher is better.
        scale: Lowest and highest score of a judge; None: from 0 to 1.
        better: Whether a "higher" or a "lower" score of the metric is better.

    >>> helpful = build_metric(MetricVerdict(name="judge.helpful", before=0.9, after=0.925, change=0.025), (1, 5))
    >>> helpful.name, helpful.base, helpful.now, helpful.change, helpful.points
    ('judge.helpful, 1 to 5', '4.600', '4.700', '+0.100', '+2.5')
    """
    before, after = metric.before, metric.after
    if better == "lower":
        before, after = 1 - before, 1 - after
    base, now = to_scale(before, scale), to_scale(after, scale)
    digits = 3  # with fewer, a reader who subtracts would not get the points
    name = metric.name
    if scale is not None:
        name += f", {scale[0]:g} to {scale[1]:g}"
    if metric.is_unscored:
        # The remaining scores are not a representative sample.
        base_text = f"{base:.{digits}f}"
        if not metric.scored:  # no test has a score on both sides: the mean before is not known either
            base_text = "–"
        return ComparedMetric(
            name=name,
            family=metric.family,
            word=metric.word,
            tone=metric.tone,
            base=base_text,
            now="–",
            change="–",
            points="–",
        )
    likely = ""
    if metric.lower is not None and metric.upper is not None:
        likely = f"{format_signed(100 * metric.lower)} to {format_signed(100 * metric.upper)}"
    return ComparedMetric(
        name=name,
        family=metric.family,
        word=metric.word,
        tone=metric.tone,
        base=f"{base:.{digits}f}",
        now=f"{now:.{digits}f}",
        change=format_signed(now - base, digits),
        points=format_signed(100 * metric.change),
        likely=likely,
        change_points=100 * metric.change,
        lower=None if metric.lower is None else 100 * metric.lower,
        upper=None if metric.upper is None else 100 * metric.upper,
    )


def format_signed(number: float, digits: int = 1) -> str:
    """Return a number with its sign, and 0 without one; the minus is the one of ASCII.

    >>> format_signed(22.54), format_signed(-0.04), format_signed(-0.1, 2)
    ('+22.5', '0.0', '-0.10')
    """
    rounded = round(number, digits) or 0.0
    if rounded:
        return f"{rounded:+.{digits}f}"
    return f"{rounded:.{digits}f}"


def _find_scales(records: Sequence[TestRecord]) -> dict[str, tuple[Scale | None, str]]:
    """Return metric -> scale, and whether a higher or a lower score is better, as the first score of the run has them."""
    scales: dict[str, tuple[Scale | None, str]] = {}
    for record in records:
        for measurement in record.measurements:
            if measurement.value is not None and measurement.name not in scales:
                scales[measurement.name] = read_scale(measurement), measurement.better
    return scales


def _list_shares(verdict: Verdict, suite: str) -> list[ShownComparison]:
    """Return a row for each share of a verdict on changed inputs or attacks.

    Args:
        verdict: The verdict.
        suite: The beginning of the names of the rows; "": only the share.
    """
    unit = ("changed input", "changed inputs")
    if verdict.kind == "guardrail":
        unit = ("family of cases", "families of cases")
    rows = []
    for share in verdict.shares:
        word = share.status or "no limit"
        next_step = share.describe_next_step(*unit)
        if verdict.why and share is verdict.shares[0]:
            # Something is wrong with the test as a whole, whatever the share.
            next_step = f"{verdict.next_step}: {verdict.why}"
        name = share.name
        if suite:
            name = f"{suite}: {share.name}"
        rows.append(
            ShownComparison(
                kind=_KINDS[verdict.kind],
                name=name,
                suite=suite,
                what=share.name,
                word=word,
                tone=WORD_TONES.get(word, ""),
                sentence=share.words,
                share=_build_share(share),
                data=format_count(share.total, "case"),
                look_at=describe_names(share.look_at),
                next_step=next_step,
                details=verdict.advice,
                subject=verdict.subject,
                place=verdict.place,
                decides=verdict.decides,
            )
        )
    return rows


def _build_share(share: ShareVerdict) -> ComparedShare:
    required = ""
    if share.limit is not None:
        sign = "≥" if share.at_least else "≤"
        required = f"{sign} {format_limit(share.limit)}"
    if share.share is None or share.low is None or share.high is None:
        return ComparedShare(required=required, limit=share.limit, at_least=share.at_least)
    return ComparedShare(
        counted=share.counted,
        share=format_share(share.share),
        interval=format_interval(share.low, share.high),
        required=required,
        value=share.share,
        low=share.low,
        high=share.high,
        limit=share.limit,
        at_least=share.at_least,
    )


def _build_row(verdict: Verdict, scales: Mapping[str, tuple[Scale | None, str]]) -> ShownComparison:
    """Return the row of a verdict on a variant or on sentinels."""
    word = verdict.word
    if verdict.kind == "sentinel":
        name = "sentinels"
    else:
        name = f"{verdict.subject}, against {verdict.baseline}"
        if word == "not compared" and "no score for" in verdict.sentence:
            word = "no score"
    lead = _find_lead(verdict)
    others = [metric for metric in verdict.metrics if metric is not lead]
    metric = None
    data = ""
    if lead is not None:
        data = format_count(lead.cases, "case")
        if verdict.level != "error":
            metric = _place_on_scale(lead, scales)
    return ShownComparison(
        kind=_KINDS[verdict.kind],
        name=name,
        what=name,
        word=word,
        tone=WORD_TONES.get(word, ""),
        sentence=verdict.sentence,
        metric=metric,
        data=data,
        next_step=verdict.next_step,
        details=verdict.advice,
        others=tuple(_place_on_scale(metric, scales) for metric in others if _is_worth_showing(metric)),
        subject=verdict.subject,
        place=verdict.place,
        decides=verdict.decides,
    )


def _find_lead(verdict: Verdict) -> MetricVerdict | None:
    """Return the metric that a row of a verdict shows: the first with the verdict's status, else the first; None: there is none."""
    for metric in verdict.metrics:
        if not metric.family and metric.status == verdict.status:
            return metric
    if verdict.metrics:
        return verdict.metrics[0]
    return None


def _is_worth_showing(metric: MetricVerdict) -> bool:
    """Return whether a metric is informative: the share of passed trials is only if it changed."""
    return metric.name != TRIAL_RATE or bool(metric.change)


def _place_on_scale(metric: MetricVerdict, scales: Mapping[str, tuple[Scale | None, str]]) -> ComparedMetric:
    scale, better = scales.get(metric.name, (None, "higher"))
    return build_metric(metric, scale, better=better)


def _name_suites(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return subject -> the beginning of the names of its shares: a transformation, or the test of a red team; "": it is the only one."""
    inputs = Counter(_split_inputs(verdict)[0] for verdict in verdicts if verdict.kind == "robustness")
    red_teams = sum(verdict.kind == "guardrail" for verdict in verdicts)
    names = {}
    for verdict in verdicts:
        name = ""
        if verdict.kind == "robustness":
            name, test = _split_inputs(verdict)
            if inputs[name] > 1:
                name = f"{name}, {_name_test(test)}"
        elif verdict.kind == "guardrail" and red_teams > 1:
            name = _name_test(verdict.subject)
        names[verdict.subject] = name
    return names


def _split_inputs(verdict: Verdict) -> tuple[str, str]:
    """Return the name of a transformation of inputs, and its test; "" if it is the only one.

    >>> _split_inputs(Verdict(kind="robustness", subject="input case of test_a.py::test_a"))
    ('Capital letters', 'test_a.py::test_a')
    """
    transformation, _, test = verdict.subject.removeprefix("input ").partition(" of ")
    return _TRANSFORMATION_NAMES.get(transformation, transformation), test


def _name_test(test: str) -> str:
    """Return the name of a test as a person would say it.

    >>> _name_test("attacks tests/test_attacks.py::test_system_prompt v2")
    'System prompt v2'
    """
    words = test.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    return words[:1].upper() + words[1:]


def _severity(row: ShownComparison) -> tuple[bool, int]:
    """Return the key by which rows are sorted: rows that do not hold first, by colour; Python's sort keeps the order of the rest."""
    return row.holds, _TONE_ORDER.index(row.tone)


def _build_judge(judge: JudgeUse) -> ShownJudge:
    """Return the row of a judge; its facts come from the texts in its records."""
    canaries = judge.canaries
    fallen = _FALLEN_CANARIES.search(canaries)
    withstood = _WITHSTOOD_CANARIES.search(canaries)
    if fallen is not None:
        canaries = f"accepted {fallen[1]} of {fallen[2]} bad answers"
    elif withstood is not None:
        canaries = f"rejected all {withstood[1]} bad answers"
    status, _, figures = judge.calibration.partition(": ")
    is_below = status == BELOW_THRESHOLDS
    if judge.unfit or is_below:
        word = "not reliable"
    elif judge.doubtful:
        word = "not checked"
    else:
        word = "reliable"
    agreement = judge.calibration
    if not judge.doubtful or is_below:
        agreement = figures or agreement
    elif status.startswith("calibration out of date"):
        agreement = f"{CHANGED_SINCE} ({figures})"
    elif judge.calibration == NOT_CALIBRATED:
        agreement = NEVER_CHECKED
    return ShownJudge(
        name=judge.name,
        version=judge.version,
        model=judge.model,
        word=word,
        tone=WORD_TONES[word],
        agreement=agreement,
        canaries=canaries,
        disagrees=is_below,
    )
