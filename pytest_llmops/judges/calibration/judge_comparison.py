"""Hold a judge against human labels: check the input, collect its verdicts, measure, and compare with the thresholds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from typing import Literal, NamedTuple, TypeAlias, cast

from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.judges.calibration.agreement import (
    AgreementFigures,
    ConfusionTable,
    Disagreement,
    HumanAgreement,
    format_label,
    measure_agreement,
    why_invalid_labels,
)
from pytest_llmops.judges.calibration.labels import LabelKind, Labels, LabelsSource, read_labels
from pytest_llmops.judges.calibration.record import (
    BELOW_THRESHOLDS,
    MAX_UNSCORED,
    JudgedAnswers,
    JudgeRecord,
    judge_labelled_answers,
    read_stored_verdicts,
)
from pytest_llmops.judges.evaluate import find_judge
from pytest_llmops.measurement import Json, as_finite_float, format_value_and_threshold, shorten_text
from pytest_llmops.metrics.agreement import Share
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.protocols import Judge

__tracebackhide__ = True

PassAt: TypeAlias = float | Literal["default"] | None
VerdictSource: TypeAlias = Literal["asked", "stored"]
MIN_LABELS = 50
DEFAULT_KAPPA_LOWER = 0.4
Z_ONE_SIDED = 1.644854  # the normal quantile of 95 %, for a one-sided interval


class RequirementResult(NamedTuple):
    """A requirement with its measured value: ``threshold`` None is recorded only."""

    name: str
    value: float
    threshold: float | None

    @property
    def missed(self) -> bool:
        """Whether the value is below the threshold."""
        return self.threshold is not None and self.value < self.threshold - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRequirements:
    """The thresholds at which a judge counts as agreeing with human annotators.

    The kappa has two thresholds, as a single threshold is a coin flip: a judge whose true kappa is exactly 0.6
    measures 0.6 or more half the time, with any number of labels. The threshold on the lower end excludes luck: with
    30 labels a judge of a true kappa of 0.5 measures 0.6 in a quarter of the cases.

    Args:
        at_least_kappa: For the kappa itself; None: record only.
        at_least_kappa_lower: For the kappa with 95 % confidence; None: record only.
        at_least_tnr: For the share of failed answers that the judge fails, with 95 % confidence.
        at_least_tpr: For the share of passed answers that it passes, with 95 % confidence.

    Raises:
        UsageError: A threshold that is not a number, or cannot be reached.
    """

    at_least_kappa: float | None = 0.6
    at_least_kappa_lower: float | None = DEFAULT_KAPPA_LOWER
    at_least_tnr: float | None = None
    at_least_tpr: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if "kappa" in name:
                low = -1
            else:
                low = 0
            number = as_finite_float(value)
            if value is not None and (number is None or not low <= number < 1):
                raise UsageError(f"{name}: expected a number from {low} to less than 1, got {value!r}")
        kappa = self.at_least_kappa
        lower = self.at_least_kappa_lower
        if kappa is not None and lower is not None and lower > kappa:
            is_default = lower == DEFAULT_KAPPA_LOWER
            if is_default:
                hint = "the default: set at_least_kappa_lower too"
            else:
                hint = "above kappa itself"
            raise UsageError(
                f"at_least_kappa_lower: expected at most at_least_kappa, {kappa:g}, got {lower:g}, {hint}"
            )

    def check(self, kind: LabelKind, cut: float | None) -> None:
        """Raise, before the judge is called, for a threshold on a rate that such labels do not have.

        Args:
            kind: The kind of the labels.
            cut: The number from which an answer passes; None: numbers stay numbers.

        Raises:
            UsageError: The labels do not say pass or fail.

        >>> AgreementRequirements(at_least_tnr=0.7).check("number", 7.0)
        """
        names = [name for name in ("at_least_tnr", "at_least_tpr") if getattr(self, name) is not None]
        if names and kind != "pass or fail" and (kind != "number" or cut is None):
            raise UsageError(
                f"{names[0]}: the labels do not say pass or fail; label that, or numbers with pass_at, the number from which on "
                "an answer passes"
            )

    def compare_figures(self, figures: AgreementFigures) -> list[RequirementResult]:
        """Return each requirement with its measured value; none without a kappa.

        Raises:
            UsageError: A threshold on a rate, and the annotators pass, or fail, none of the answers.
        """
        if figures.kappa is None or figures.at_least is None:
            return []
        results = [
            RequirementResult("kappa", figures.kappa, self.at_least_kappa),
            RequirementResult("kappa_lower", figures.at_least, self.at_least_kappa_lower),
        ]
        for name, threshold in (("tnr", self.at_least_tnr), ("tpr", self.at_least_tpr)):
            if threshold is None:
                continue
            if figures.rates:
                share: Share = getattr(figures.rates, name)
            else:
                share = Share(0, 0)
            if not share.total:
                raise UsageError(
                    f"at_least_{name}: the annotators {'fail' if name == 'tnr' else 'pass'} none of the {figures.compared:,} answers; add some that they do"
                )
            results.append(RequirementResult(f"{name}_lower", wilson_lower_end(share), float(threshold)))
        return results


def wilson_lower_end(share: Share) -> float:
    """Return what a share exceeds with 95 % confidence (Wilson); 0 without items.

    >>> round(wilson_lower_end(Share(45, 50)), 3)
    0.808
    """
    return wilson_interval(share.hits, share.total, Z_ONE_SIDED)[0]


DIGITS = 4
MAX_WORST = 3  # disagreements in a failure text; the report has more
MAX_ROWS = 3  # a failure text shows the whole confusion table up to so many classes
MAX_CELLS = 3
REQUIREMENT_LABELS = {
    "kappa": "kappa",
    "kappa_lower": "kappa at 95 % confidence",
    "tnr_lower": "TNR at 95 % confidence",
    "tpr_lower": "TPR at 95 % confidence",
}


def format_missed_requirements(judged: JudgedAnswers, reached: Sequence[RequirementResult]) -> str:
    """Return the requirements that a judge missed, in a line.

    >>> format_missed_requirements(JudgedAnswers(name="quality", version="1"), [RequirementResult("kappa", 0.52, 0.6)])
    'judge quality does not agree with the human labels: kappa 0.52 < 0.60'
    """
    missed = [
        f"{REQUIREMENT_LABELS[result.name]} {' < '.join(format_value_and_threshold(result.value, result.threshold, '1'))}"
        for result in reached
        if result.missed and result.threshold is not None
    ]
    return f"judge {shorten_text(judged.name, 60)} does not agree with the human labels: {', '.join(missed)}"


def format_evidence(judged: JudgedAnswers, figures: AgreementFigures) -> Iterator[tuple[str, str]]:
    """Yield titles and lines: the kappa and its interval, the rates, the worst disagreements, the table, the ceiling."""
    yield "kappa", _format_kappa(figures)
    rates = figures.rates
    if rates:
        yield from (
            ("TNR", _format_rate(rates.tnr, "fail", "passes")),
            ("TPR", _format_rate(rates.tpr, "pass", "fails")),
        )
    if figures.spearman is not None:
        yield "correlation", f"Spearman {figures.spearman:.2f}"
    if figures.table.classes:
        yield "confusion", _format_confusion(figures.table)
    yield from (
        ("worst", _format_disagreement(disagreement, judged))
        for disagreement in figures.disagreements[:MAX_WORST]
    )
    if figures.annotators is not None:
        yield "annotators", _format_human_agreement(figures.annotators)
    for id_, error in list(judged.errors.items())[:1]:
        if figures.worst_case is None:
            worst = ""
        else:
            worst = f"; were they all wrong, kappa {figures.worst_case:.2f}"
        missing = (
            f"{len(judged.errors):,} of {len(judged.verdicts):,} answers could not be scored and are not compared{worst}; "
            f"{shorten_text(id_, 40)}: {shorten_text(error, 80)}"
        )
        yield "unscored", missing
    disputed = [shorten_text(id_, 40) for id_ in figures.disputed]
    if disputed:
        if len(disputed) > MAX_WORST:
            more = f" and {len(disputed) - MAX_WORST:,} more"
        else:
            more = ""
        listed = ", ".join(disputed[:MAX_WORST]) + more
        yield "disputed", f"{len(disputed):,} answers without a majority, not compared: {listed}"


def format_confusion_table(table: ConfusionTable) -> list[str]:
    """Return the confusion table as lines of text, a row for each human label and a column for each verdict.

    >>> for line in format_confusion_table(ConfusionTable(("fail", "pass"), ((8, 2), (1, 9)))):
    ...     print(line)
    human / judge  fail  pass
             fail     8     2
             pass     1     9
    """
    corner = "human / judge"
    names = [shorten_text(class_name, 16) for class_name in table.classes]
    cells = [[f"{count:,}" for count in row] for row in table.counts]
    widths = [
        max(map(len, (name, *column))) for name, column in zip(names, zip(*cells, strict=True), strict=True)
    ]
    left = max(map(len, (corner, *names)))
    return [
        f"{head:>{left}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for head, row in [(corner, names), *zip(names, cells, strict=True)]
    ]


def figures_to_json(figures: AgreementFigures) -> dict[str, Json]:
    """Return the figures as plain values, rounded to four decimals; unknown figures are left out."""
    annotators = figures.annotators
    wire: dict[str, Json] = {
        "problem": figures.problem or None,
        "weights": figures.weights,
        "compared": figures.compared,
        "unscored": len(figures.unscored),
        "disputed": len(figures.disputed),
        "kappa": figures.kappa,
        "at_least": figures.at_least,
        "interval": [round(end, DIGITS) for end in figures.interval] if figures.interval else None,
        "worst_case": figures.worst_case,
        "agreement": figures.agreement,
        "spearman": figures.spearman,
        "people": annotators.raters if annotators else 1,
        "people_kappa": annotators.kappa if annotators else None,
        "judge_with_each": annotators.judge if annotators else None,
    }
    return {
        key: round(value, DIGITS) if isinstance(value, float) else value
        for key, value in wire.items()
        if value is not None
    }


def _format_kappa(figures: AgreementFigures) -> str:
    if figures.weights:
        name = "quadratic kappa"
    else:
        name = "kappa"
    if figures.kappa is None or figures.at_least is None or figures.interval is None:
        return f"none: {figures.problem or 'all answers are of the same family'}"
    low, high = figures.interval
    if figures.unscored:
        unscored = f", {len(figures.unscored):,} unscored"
    else:
        unscored = ""
    if figures.disputed:
        disputed = f", {len(figures.disputed):,} disputed"
    else:
        disputed = ""
    return (
        f"{name} {figures.kappa:.2f}, with 95 % confidence at least {figures.at_least:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}), {figures.compared:,} answers{unscored}{disputed}"
    )


def _format_rate(share: Share, human: str, judge: str) -> str:
    if share.value is None:
        return f"the annotators {human} none of the answers"
    return (
        f"{share.value:.2f}, with 95 % confidence at least {wilson_lower_end(share):.2f}: the judge {judge} "
        f"{share.total - share.hits:,} of {share.total:,} that the annotators {human}"
    )


def _format_disagreement(disagreement: Disagreement, judged: JudgedAnswers) -> str:
    given = judged.verdicts.get(disagreement.id)
    if given is not None and isinstance(disagreement.judge, bool) and given != disagreement.judge:
        score = f" ({format_label(given)})"
    else:
        score = ""
    return f"{shorten_text(disagreement.id, 60)} (line {disagreement.line}): human {format_label(disagreement.human)}, judge {format_label(disagreement.judge)}{score}"


def _format_human_agreement(agreement: HumanAgreement) -> str:
    if agreement.kappa is None:
        return "no two annotators labelled enough of the same answers to say how far they agree"
    if agreement.judge is None:
        each = ""
    else:
        each = f"; of the judge with each {agreement.judge:.2f}"
    return f"kappa between any two of {agreement.raters} annotators {agreement.kappa:.2f}{each}"


def _format_confusion(table: ConfusionTable) -> str:
    names = [shorten_text(class_name, 20) for class_name in table.classes]
    if len(names) <= MAX_ROWS:
        return "; ".join(
            f"human {name}: judge "
            + ", ".join(f"{verdict} {n:,}" for verdict, n in zip(names, row, strict=True))
            for name, row in zip(names, table.counts, strict=True)
        )
    off = [
        (n, names[row], names[column])
        for row, counts in enumerate(table.counts)
        for column, n in enumerate(counts)
        if n and row != column
    ]
    often = sorted(off, key=itemgetter(0), reverse=True)[:MAX_CELLS]
    most_often = "; ".join(f"human {human}, judge {judge}: {n:,} times" for n, human, judge in often)
    if often:
        return f"most often {most_often}"
    return "labels and verdicts are the same"


DEFAULT_REQUIREMENTS = AgreementRequirements()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A judge held against human labels.

    Attributes:
        labels: The labels.
        judged: The judge's verdicts on them.
        figures: How far both agree.
        dimensions: The same by dimension, of those that are labelled.
        requirements: The thresholds.
        results: Each threshold with the value that was measured; none without a kappa.
        problem: Why there is no kappa, or ``""``.
    """

    labels: Labels
    judged: JudgedAnswers
    requirements: AgreementRequirements
    figures: AgreementFigures = field(default_factory=AgreementFigures)
    dimensions: Mapping[str, AgreementFigures] = field(default_factory=dict)
    results: Sequence[RequirementResult] = ()
    problem: str = ""

    @property
    def agrees(self) -> bool:
        """Whether all thresholds are reached."""
        return bool(self.results) and not any(result.missed for result in self.results)

    def iter_evidence(self) -> Iterator[tuple[str, str]]:
        """Yield titles and lines for a person, the kappa first."""
        return format_evidence(self.judged, self.figures)

    def to_record(self, date: str) -> JudgeRecord:
        """Return the record to commit, with today's ``date`` (ISO 8601)."""
        figures, rates = self.figures, self.figures.rates
        wire = figures_to_json(figures)
        if self.dimensions:
            wire["dimensions"] = {name: figures_to_json(each) for name, each in self.dimensions.items()}
        wire["thresholds"] = {
            key: value for key, value in asdict(self.requirements).items() if value is not None
        }
        if rates is not None:
            wire["rates"] = asdict(rates)
        kappa, lower = (
            "unknown" if value is None else f"{value:.2f}" for value in (figures.kappa, figures.at_least)
        )
        if self.agrees:
            status = "calibrated"
        else:
            status = BELOW_THRESHOLDS
        return JudgeRecord(
            kind="calibration",
            judge=self.judged.name,
            version=self.judged.version,
            model=self.judged.model,
            date=date,
            answers=self.labels.fingerprint,
            status=status,
            text=f"{status}: kappa {kappa}, with 95 % confidence at least {lower}, on {figures.compared} labels",
            figures=wire,
        )


def calibrate_judge(
    judge: Judge | str,
    labels: LabelsSource,
    *,
    requirements: AgreementRequirements = DEFAULT_REQUIREMENTS,
    pass_at: PassAt = "default",  # noqa: S107 -- a score, no secret
    verdicts: VerdictSource = "asked",
    trials: int = 1,
    at_least_labels: int = MIN_LABELS,
) -> Calibration:
    """Compare a judge with human labels, and with the thresholds that it has to reach.

    Args:
        judge: A judge, its name or the path of its file. Its calls are replayed like any other.
        labels: A file of labels or a list of its objects, see `read_labels`.
        requirements: The thresholds.
        pass_at: The lowest score that passes; left out: the judge's own; None: scores are not split.
        verdicts: ``stored``: no judge is called, the verdicts are in the labels. The judge may then be any name.
        trials: Verdicts on each answer; their mean counts.
        at_least_labels: With fewer answers a kappa is luck. 100 with 50 of each kind are a good beginning.

    Returns:
        The figures; without a kappa, and with the ``problem``, if too many verdicts are missing, all labels and
        verdicts are the same, or all answers are of one family.

    Raises:
        CaseError: The labels cannot be used; with file and line.
        UsageError: No such judge, too few labels, or scores and labels that cannot be compared. Where the scale of
            the judge is known, this is before any call.

    >>> rows = [{"id": str(n), "human": n % 2 == 0, "judge": n % 2 == 0 or n > 57} for n in range(60)]
    >>> calibration = calibrate_judge("lenient", rows, verdicts="stored")
    >>> calibration.agrees, round(calibration.figures.kappa, 2)
    (True, 0.97)
    """
    for argument, value, low in (("trials", trials, 1), ("at_least_labels", at_least_labels, 2)):
        if type(value) is not int or value < low:
            raise UsageError(f"{argument}: expected a whole number of at least {low}, got {value!r}")
    if verdicts not in ("asked", "stored"):
        raise UsageError(f"verdicts: expected 'asked' or 'stored', got {verdicts!r}")
    given = read_labels(labels)
    _check_labels(given, at_least_labels)
    if verdicts == "stored":
        found = judge
    else:
        found = find_judge(judge)
    if pass_at == "default":  # noqa: S105 -- a score
        lowest = getattr(found, "pass_at", None)
    else:
        lowest = pass_at
    cut = as_finite_float(lowest)
    if cut is None and lowest is not None:
        raise UsageError(f"pass_at: expected a number or None, got {lowest!r}")
    if verdicts == "asked" and given.kind == "pass or fail" and cut is None:
        raise UsageError(
            "the labels are pass or fail and the judge gives scores: say pass_at, the lowest score that passes"
        )
    requirements.check(given.kind, cut)
    if verdicts == "stored":
        if isinstance(found, str):
            name = found
        else:
            name = getattr(found, "name", "") or type(found).__name__
        judged = read_stored_verdicts(given, name=str(name), version=str(getattr(found, "version", "")))
    else:
        judged = judge_labelled_answers(cast("Judge", found), given, trials=trials)
    return _compare_verdicts(given, judged, requirements, cut)


def _check_labels(labels: Labels, least: int) -> None:
    problem = why_invalid_labels(labels)
    if problem:
        raise CaseError(problem, labels.path)
    count = len(labels.labelled)
    if count < least:
        raise UsageError(
            f"{labels.path}: expected at least {least:,} labelled answers, got {count:,}: a kappa of so few is luck; label "
            f"more, or say at_least_labels={count} on purpose"
        )


def _compare_verdicts(
    labels: Labels, judged: JudgedAnswers, requirements: AgreementRequirements, cut: float | None
) -> Calibration:
    missing = sum(row.id in judged.errors for row in labels.labelled)
    if judged.stopped or missing > MAX_UNSCORED * len(labels.labelled):
        first = next(iter(judged.errors))
        return Calibration(
            labels=labels,
            judged=judged,
            requirements=requirements,
            problem=f"{len(judged.errors):,} of {len(labels.labelled_anywhere):,} answers could not be scored, more than {MAX_UNSCORED:.0%}: what is "
            f"left is no fair sample; {shorten_text(first, 40)}: {shorten_text(judged.errors[first])}",
        )
    figures = measure_agreement(labels, judged.verdicts, pass_at=cut, span=judged.span)
    results = requirements.compare_figures(figures)
    dimensions: dict[str, AgreementFigures] = {}
    for name in labels.dimensions:
        if name not in judged.dimensions:
            raise UnknownName("dimension", name, judged.dimensions, where=f"what judge {judged.name} scores")
        given = labels.for_dimension(name)
        verdicts = judged.dimensions[name]
        dimensions[name] = measure_agreement(given, verdicts, pass_at=cut, span=judged.span)
    no_kappa = figures.problem or "the answers are all of one family: nothing tells how sure the kappa is"
    return Calibration(
        labels=labels,
        judged=judged,
        requirements=requirements,
        figures=figures,
        dimensions=dimensions,
        results=results,
        problem="" if results else no_kappa,
    )
