"""Compare a judge with human labels: check the input, collect verdicts, measure agreement, compare with thresholds.

The *cut* is the lowest score that passes. With it scores can be compared with labels that are pass or fail.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias, cast

from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.judges.calibration.agreement import (
    AgreementFigures,
    measure_agreement,
    why_invalid_labels,
)
from pytest_llmops.judges.calibration.evidence import figures_to_json, format_evidence
from pytest_llmops.judges.calibration.labels import Labels, LabelsSource, read_labels
from pytest_llmops.judges.calibration.record import (
    BELOW_THRESHOLDS,
    MAX_UNSCORED,
    JudgedAnswers,
    JudgeRecord,
    judge_labelled_answers,
    read_stored_verdicts,
)
from pytest_llmops.judges.calibration.requirements import AgreementRequirements, RequirementResult
from pytest_llmops.judges.evaluate import find_judge
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.protocols import Judge

__tracebackhide__ = True

PassAt: TypeAlias = float | Literal["default"] | None
VerdictSource: TypeAlias = Literal["asked", "stored"]
MIN_LABELS = 50


DEFAULT_REQUIREMENTS = AgreementRequirements()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The comparison of a judge with human labels.

    Attributes:
        labels: The human labels.
        judged: The judge's verdicts on the labelled answers.
        figures: How far labels and verdicts agree.
        dimensions: The same for each labelled dimension, by name.
        requirements: The thresholds.
        results: The thresholds with their measured values. Empty without a kappa.
        problem: Why kappa is missing, or ``""``.
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
        figures = self.figures
        wire = figures_to_json(figures)
        if self.dimensions:
            dimensions = self.dimensions.items()
            wire["dimensions"] = {name: figures_to_json(dimension) for name, dimension in dimensions}
        thresholds = asdict(self.requirements).items()
        wire["thresholds"] = {key: value for key, value in thresholds if value is not None}
        if figures.rates is not None:
            wire["rates"] = asdict(figures.rates)
        status = BELOW_THRESHOLDS
        if self.agrees:
            status = "calibrated"
        kappa = _format_figure(figures.kappa)
        lower = _format_figure(figures.at_least)
        text = f"{status}: kappa {kappa}, with 95 % confidence at least {lower}, on {figures.compared} labels"
        return JudgeRecord(
            kind="calibration",
            judge=self.judged.name,
            version=self.judged.version,
            model=self.judged.model,
            reason=self.judged.reason,
            date=date,
            answers=self.labels.fingerprint,
            status=status,
            text=text,
            figures=wire,
        )


def _format_figure(value: float | None) -> str:
    """Return a figure with two decimals, or ``unknown``."""
    if value is None:
        return "unknown"
    return f"{value:.2f}"


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
        pass_at: The lowest score that passes. Left out: the judge's own. None: scores are not split.
        verdicts: ``stored``: no judge is called, the verdicts are in the labels. The judge may then be any name.
        trials: The number of verdicts on each answer. Their mean counts.
        at_least_labels: The least number of labelled answers: a kappa of few answers is luck. 100 answers, 50 of each
            kind, are a good beginning.

    Returns:
        The figures. Without a kappa, and with the ``problem``, if too many verdicts are missing, all labels and
        verdicts are the same, or all answers are of one family.

    Raises:
        CaseError: The labels cannot be used. With file and line.
        UsageError: The judge does not exist, the labels are too few, or scores and labels cannot be compared. If the
            judge's scale is known, this is raised before any call.

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
    read = read_labels(labels)
    _check_labels(read, at_least_labels)
    chosen: object = judge
    if verdicts == "asked":
        chosen = find_judge(judge)
    cut = _choose_cut(chosen, pass_at)
    if verdicts == "asked" and read.kind == "pass or fail" and cut is None:
        raise UsageError(
            "the labels are pass or fail and the judge gives scores: pass pass_at=, the lowest score that passes"
        )
    requirements.check(read.kind, cut)
    if verdicts == "asked":
        judged = judge_labelled_answers(cast("Judge", chosen), read, trials=trials)
    else:
        version = str(getattr(chosen, "version", ""))
        judged = read_stored_verdicts(read, name=_name_judge(chosen), version=version)
    return _compare_verdicts(read, judged, requirements, cut)


def _choose_cut(judge: object, pass_at: PassAt) -> float | None:
    """Return the lowest score that passes, by default the judge's own; None: scores are not turned into pass or fail."""
    lowest: object = pass_at
    if pass_at == "default":  # noqa: S105 -- a score
        lowest = getattr(judge, "pass_at", None)
    if lowest is None:
        return None
    cut = as_finite_float(lowest)
    if cut is None:
        raise UsageError(f"pass_at: expected a number or None, got {lowest!r}")
    return cut


def _name_judge(judge: object) -> str:
    """Return the name of a judge that is given by name or as an object."""
    if isinstance(judge, str):
        return judge
    return str(getattr(judge, "name", "") or type(judge).__name__)


def _check_labels(labels: Labels, least: int) -> None:
    """Raise if the labels cannot tell a right judge from a wrong one, or are fewer than ``least``."""
    problem = why_invalid_labels(labels)
    if problem:
        raise CaseError(problem, labels.path)
    count = len(labels.labelled)
    if count < least:
        raise UsageError(
            f"{labels.path}: expected at least {least:,} labelled answers, got {count:,}: a kappa of so few is luck; label "
            f"more, or pass at_least_labels={count} on purpose"
        )


def _compare_verdicts(
    labels: Labels, judged: JudgedAnswers, requirements: AgreementRequirements, cut: float | None
) -> Calibration:
    """Return the calibration; without figures if too many verdicts are missing."""
    missing = sum(row.id in judged.errors for row in labels.labelled)
    if judged.stopped or missing > MAX_UNSCORED * len(labels.labelled):
        problem = _describe_unscored(labels, judged)
        figures = AgreementFigures(problem="too many answers got no score")
        return Calibration(
            labels=labels, judged=judged, requirements=requirements, figures=figures, problem=problem
        )
    figures = measure_agreement(labels, judged.verdicts, pass_at=cut, span=judged.span)
    results = requirements.compare_figures(figures)
    dimensions: dict[str, AgreementFigures] = {}
    for name in labels.dimensions:
        if name not in judged.dimensions:
            raise UnknownName("dimension", name, judged.dimensions, where=f"scores of judge {judged.name}")
        dimension_labels = labels.for_dimension(name)
        verdicts = judged.dimensions[name]
        dimensions[name] = measure_agreement(dimension_labels, verdicts, pass_at=cut, span=judged.span)
    problem = ""
    if not results:
        problem = (
            figures.problem or "all answers are of one family: the uncertainty of kappa cannot be estimated"
        )
    return Calibration(
        labels=labels,
        judged=judged,
        requirements=requirements,
        figures=figures,
        dimensions=dimensions,
        results=results,
        problem=problem,
    )


def _describe_unscored(labels: Labels, judged: JudgedAnswers) -> str:
    """Return the error that too many answers have no verdict, with the first of them. There must be at least one."""
    unscored = f"{len(judged.errors):,} of {len(labels.labelled_anywhere):,} answers got no score"
    id_, error = next(iter(judged.errors.items()))
    example = f"{shorten_text(id_, 40)}: {shorten_text(error)}"
    return f"{unscored}, more than {MAX_UNSCORED:.0%}: the others are not a representative sample; {example}"
