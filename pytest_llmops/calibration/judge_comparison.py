"""Hold a judge against human labels: check the input, collect its verdicts, measure, and compare with the thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias, cast

from pytest_llmops.calibration.agreement import AgreementFigures, measure_agreement, why_invalid_labels
from pytest_llmops.calibration.labels import Labels, LabelsSource, read_labels
from pytest_llmops.calibration.record import BELOW_THRESHOLDS, JudgeRecord
from pytest_llmops.calibration.rendering import figures_to_json, format_evidence
from pytest_llmops.calibration.requirements import AgreementRequirements, RequirementResult
from pytest_llmops.calibration.verdicts import (
    MAX_UNSCORED,
    JudgedAnswers,
    judge_labelled_answers,
    read_stored_verdicts,
)
from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.judges.evaluate import find_judge
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.protocols import Judge

PassAt: TypeAlias = float | Literal["default"] | None
VerdictSource: TypeAlias = Literal["asked", "stored"]
MIN_LABELS = 50
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
        status = "calibrated" if self.agrees else BELOW_THRESHOLDS
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
    unlabelled: bool = True,
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
        unlabelled: Whether answers without a label are judged too: their pass rate is corrected.

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
    __tracebackhide__ = True
    _check_arguments(trials, at_least_labels, verdicts)
    given = read_labels(labels)
    _check_labels(given, at_least_labels)
    found = judge if verdicts == "stored" else find_judge(judge)
    cut = _resolve_pass_at(pass_at, found)
    if verdicts == "asked" and given.kind == "pass or fail" and cut is None:
        raise UsageError(
            "the labels are pass or fail and the judge gives scores: say pass_at, the lowest score that passes"
        )
    requirements.check(given.kind, cut)
    if verdicts == "stored":
        name = found if isinstance(found, str) else getattr(found, "name", "") or type(found).__name__
        judged = read_stored_verdicts(given, name=str(name), version=str(getattr(found, "version", "")))
    else:
        judged = judge_labelled_answers(cast("Judge", found), given, trials=trials, unlabelled=unlabelled)
    if problem := _why_too_few_verdicts(judged, given):
        return Calibration(labels=given, judged=judged, requirements=requirements, problem=problem)
    figures = measure_agreement(given, judged.verdicts, pass_at=cut, span=judged.span)
    results = requirements.compare_figures(figures)
    no_kappa = figures.problem or "the answers are all of one family: nothing tells how sure the kappa is"
    return Calibration(
        labels=given,
        judged=judged,
        requirements=requirements,
        figures=figures,
        dimensions=_measure_dimensions(given, judged, cut),
        results=results,
        problem="" if results else no_kappa,
    )


def _check_arguments(trials: object, at_least_labels: object, verdicts: object) -> None:
    __tracebackhide__ = True
    for name, value, low in (("trials", trials, 1), ("at_least_labels", at_least_labels, 2)):
        if type(value) is not int or value < low:
            raise UsageError(f"{name}: expected a whole number of at least {low}, got {value!r}")
    if verdicts not in ("asked", "stored"):
        raise UsageError(f"verdicts: expected 'asked' or 'stored', got {verdicts!r}")


def _check_labels(labels: Labels, least: int) -> None:
    __tracebackhide__ = True
    if problem := why_invalid_labels(labels):
        raise CaseError(problem, labels.path)
    count = len(labels.labelled)
    if count < least:
        raise UsageError(
            f"{labels.path}: expected at least {least:,} labelled answers, got {count:,}: a kappa of so few is luck; label "
            f"more, or say at_least_labels={count} on purpose"
        )


def _resolve_pass_at(given: object, judge: object) -> float | None:
    """Return the lowest score that passes."""
    __tracebackhide__ = True
    cut = getattr(judge, "pass_at", None) if given == "default" else given
    if cut is not None and as_finite_float(cut) is None:
        raise UsageError(f"pass_at: expected a number or None, got {cut!r}")
    return as_finite_float(cut)


def _why_too_few_verdicts(judged: JudgedAnswers, labels: Labels) -> str:
    """Return why there are too few verdicts to compare, or ""."""
    missing = [row.id for row in labels.labelled if row.id in judged.errors]
    if not judged.stopped and len(missing) <= MAX_UNSCORED * len(labels.labelled):
        return ""
    first = next(iter(judged.errors))
    return (
        f"{len(judged.errors):,} of {len(labels.labelled_anywhere):,} answers have no verdict, more than {MAX_UNSCORED:.0%}: what is "
        f"left is no fair sample; {shorten_text(first, 40)}: {shorten_text(judged.errors[first])}"
    )


def _measure_dimensions(
    labels: Labels, judged: JudgedAnswers, cut: float | None
) -> dict[str, AgreementFigures]:
    """Return the agreement in each dimension that is labelled."""
    __tracebackhide__ = True
    for name in labels.dimensions:
        if name not in judged.dimensions:
            where = f"what judge {judged.name} scores"
            raise UnknownName("dimension", name, judged.dimensions, where=where)
    return {
        name: measure_agreement(
            labels.for_dimension(name), judged.dimensions[name], pass_at=cut, span=judged.span
        )
        for name in labels.dimensions
    }
