"""Assert that a judge agrees with human annotators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops import calibration, recorder
from pytest_llmops.assertions._arguments import component_name
from pytest_llmops.calibration import (
    AgreementFigures,
    AgreementRequirements,
    JudgedAnswers,
    RequirementResult,
    figures_to_json,
    format_evidence,
    format_missed_requirements,
    judge_labelled_answers,
    measure_agreement,
    read_stored_verdicts,
    why_invalid_labels,
)
from pytest_llmops.calibration.labels import Labels, LabelsSource, read_labels
from pytest_llmops.calibration.verdicts import MAX_UNSCORED
from pytest_llmops.errors import CaseError, MeasurementFailed, UnknownName, UsageError
from pytest_llmops.judges.evaluate import skipped_measurement
from pytest_llmops.measurement import Json, Measurement, label_suffix, shorten_text
from pytest_llmops.protocols import Judge

PassAt: TypeAlias = float | Literal["default"] | None
MIN_LABELS = 50
MAX_DETAIL_DISAGREEMENTS = 50
"""Maximum number of disagreements that the report lists."""


def assert_judge_agrees(
    judge: Judge | str,
    labels: LabelsSource,
    *,
    at_least_kappa: float | None = 0.6,
    at_least_kappa_lower: float | None = 0.4,
    at_least_tnr: float | None = None,
    at_least_tpr: float | None = None,
    pass_at: PassAt = "default",  # noqa: S107 -- a score, no secret
    verdicts: Literal["asked", "stored"] = "asked",
    trials: int = 1,
    at_least_labels: int = MIN_LABELS,
    label: str = "",
) -> Measurement:
    """Assert that a judge agrees with human annotators, beyond chance.

    There are two thresholds: the kappa reaches ``at_least_kappa``, and with 95 % confidence (one-sided, bootstrap over
    families) it is at least ``at_least_kappa_lower``. The first alone is no test: a judge with a true kappa of 0.6
    reaches 0.6 half the time, with any number of labels.

    Args:
        judge: An object or a name. It is called for every labelled answer; its calls are replayed like any other.
        labels: A file of labels or a list of its objects, see `pytest_llmops.calibration.labels`. Labels that pass or
            fail: Cohen's kappa, and the judge passes from ``pass_at``. Numbers on the judge's own scale: quadratic
            kappa. Several annotators: the majority, of numbers the median; the kappa between them is reported.
        at_least_kappa: Threshold of the kappa; None: record only.
        at_least_kappa_lower: Threshold of its lower confidence limit (95 %); None: record only.
        at_least_tnr: Threshold of the share of failed answers that the judge fails, with 95 % confidence (Wilson).
        at_least_tpr: Threshold of the share of passed answers that the judge passes, likewise.
        pass_at: The lowest score that passes; left out: the judge's own; None: scores are not split.
        verdicts: ``stored``: the judge is not called, the verdicts are in the labels. It may then be any name.
        trials: Verdicts on each answer; their mean counts.
        at_least_labels: With fewer answers a kappa is luck. 100 with 50 of each kind are a good beginning.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``judge.<name>.kappa`` (-1 to 1). Beside it are recorded ``.kappa_lower``, ``.tnr``,
        ``.tpr``, ``.precision``, ``.agreement``, ``.spearman``, ``.people_kappa`` and ``.unscored``, with a
        threshold ``.tnr_lower`` and ``.tpr_lower``, and ``.<dimension>.kappa`` for each dimension that is labelled.

    Raises:
        MeasurementFailed: A threshold is missed; shows the worst disagreements and the confusion table.
        MeasurementErrored: There is no kappa: more than 5 % of the verdicts are missing, or all are equal.
            Fewer missing verdicts are reported, with the kappa if they were wrong.
        CaseError: The labels cannot be used; with file and line.
        UsageError: An impossible threshold, no such judge, too few labels, or scores and labels that cannot be
            compared. If the scale of the judge is known, this is before any call.

    >>> rows = [{"id": str(n), "human": n % 2 == 0, "judge": n % 2 == 0 or n > 57} for n in range(60)]
    >>> kappa = assert_judge_agrees("lenient", rows, verdicts="stored")
    >>> round(kappa.value, 2), kappa.threshold
    (0.97, 0.6)
    """
    __tracebackhide__ = True
    requirements = _parse_requirements(at_least_kappa, at_least_kappa_lower, at_least_tnr, at_least_tpr)
    _check_agreement_arguments(trials, at_least_labels, verdicts)
    given = read_labels(labels)
    _check_label_count(given, at_least_labels)
    is_asked = verdicts == "asked"
    used_judge = recorder.find_component("judge", judge) if isinstance(judge, str) and is_asked else judge
    cut = _resolve_pass_at(pass_at, used_judge)
    # Mistakes are reported before anything is paid for.
    if given.kind == "pass or fail" and cut is None and is_asked:
        raise UsageError(
            "assert_judge_agrees: the labels are pass or fail and the judge gives scores: pass pass_at=, the lowest score "
            "that passes"
        )
    requirements.check(given.kind, cut)
    if is_asked and (skipped := skipped_measurement(f"judge.{component_name(used_judge)}.kappa", label)):
        return skipped
    judged = _collect_verdicts(used_judge, given, verdicts, trials)
    records = recorder.current_settings().judge_records
    known = calibration.describe(used_judge, judged.name, judged.version, records)
    agreement = _Agreement(
        labels=given,
        judged=judged,
        label=label,
        calibration={"calibration": known} if known else {},
    )
    if lost := _why_too_few_verdicts(judged, given):
        return agreement.emit_error(lost, {"errors": agreement.truncate_errors()})
    figures = measure_agreement(given, judged.verdicts, pass_at=cut, span=judged.span)
    results = requirements.compare_figures(figures)
    agreement.emit_further_figures(figures, cut)
    if not results:
        problem = figures.problem or "the answers are all of one family: nothing tells how sure the kappa is"
        return agreement.emit_error(problem, agreement.build_detail(figures))
    return agreement.emit_results(figures, results)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agreement:
    """The verdicts of a judge and the labels they are compared with."""

    labels: Labels
    judged: JudgedAnswers
    label: str
    calibration: dict[str, Json]

    def measure(self, name: str, **fields: Any) -> Measurement:
        detail = {**self.calibration, **fields.pop("detail", {})}
        return Measurement(
            name=f"judge.{self.judged.name}.{name}",
            label=self.label,
            version=self.judged.version,
            detail=detail,
            **fields,
        )

    def emit_error(self, error: str, detail: Mapping[str, Json]) -> Measurement:
        __tracebackhide__ = True
        title = f"agreement of judge {shorten_text(self.judged.name, 60)}{label_suffix(self.label)}"
        verdict = f"{title} could not be scored: {shorten_text(error, 400)}"
        return recorder.emit(self.measure("kappa", error=error, detail=detail), verdict=verdict)

    def emit_further_figures(self, figures: AgreementFigures, cut: float | None) -> None:
        """Emit what is recorded besides the requirements, and the kappa of each dimension."""
        __tracebackhide__ = True
        by_dimension = {}
        for name in self.labels.dimensions:
            if name not in self.judged.dimensions:
                where = f"what judge {self.judged.name} scores"
                raise UnknownName("dimension", name, self.judged.dimensions, where=where)
            verdicts = self.judged.dimensions[name]
            by_dimension[f"{name}.kappa"] = measure_agreement(
                self.labels.for_dimension(name), verdicts, pass_at=cut, span=self.judged.span
            ).kappa
        rates = figures.rates
        values = {
            "tnr": rates.tnr.value if rates else None,
            "tpr": rates.tpr.value if rates else None,
            "precision": rates.precision.value if rates else None,
            "agreement": figures.agreement,
            "spearman": figures.spearman,
            "people_kappa": figures.annotators.kappa if figures.annotators else None,
            "unscored": len(self.judged.errors) / len(self.judged.verdicts),
            **by_dimension,
        }
        for name, value in values.items():
            if value is not None:
                better = "lower" if name == "unscored" else "higher"
                recorder.emit(self.measure(name, value=value, better=better))

    def emit_results(self, figures: AgreementFigures, results: Sequence[RequirementResult]) -> Measurement:
        """Emit the kappa and the other requirements, the missed ones last: all is recorded before anything is raised."""
        __tracebackhide__ = True
        evidence = list(format_evidence(self.judged, figures))
        first_missed = next((result for result in results if result.missed), None)
        failures: list[MeasurementFailed] = []
        emitted: dict[str, Measurement] = {}
        for result in sorted(results, key=lambda result: result.missed):
            is_kappa = result is results[0]
            detail = self.build_detail(figures) if is_kappa else {}
            measurement = self.measure(
                result.name, value=result.value, threshold=result.threshold, detail=detail
            )
            if not result.missed:
                reached = replace(measurement, reason=evidence[0][1])
                whole = evidence if is_kappa and first_missed is None else ()
                emitted[result.name] = recorder.emit(reached, evidence=whole)
                continue
            try:
                # The first failure reports all requirements; within `soft` each of the others has its own line.
                is_first = result is first_missed
                emitted[result.name] = recorder.emit(
                    measurement,
                    verdict=format_missed_requirements(self.judged, results if is_first else [result]),
                    evidence=evidence if is_first else (),
                )
            except MeasurementFailed as failure:
                failures.append(failure)
        if failures:
            measurements = [failure.measurement for failure in failures]
            raise MeasurementFailed(str(failures[0]), measurements) from None
        return emitted["kappa"]

    def build_detail(self, figures: AgreementFigures) -> dict[str, Json]:
        disagreements: list[Json] = [
            {
                "id": disagreement.id,
                "line": disagreement.line,
                "people": disagreement.human,
                "judge": disagreement.judge,
                "gap": round(disagreement.gap, 4),
            }
            for disagreement in figures.disagreements[:MAX_DETAIL_DISAGREEMENTS]
        ]
        judged = self.judged
        return {
            "judge": {"name": judged.name, "version": judged.version, "model": judged.model},
            "labels": self.labels.fingerprint,
            "agreement": figures_to_json(figures),
            "classes": list(figures.table.classes),
            "table": [list(row) for row in figures.table.counts],
            "disagreements": disagreements,
            "errors": self.truncate_errors(),
        }

    def truncate_errors(self) -> dict[str, Json]:
        errors = islice(self.judged.errors.items(), MAX_DETAIL_DISAGREEMENTS)
        return {id_: shorten_text(error) for id_, error in errors}


def _parse_requirements(
    kappa: float | None, lower: float | None, tnr: float | None, tpr: float | None
) -> AgreementRequirements:
    __tracebackhide__ = True
    try:
        return AgreementRequirements(
            at_least_kappa=kappa, at_least_kappa_lower=lower, at_least_tnr=tnr, at_least_tpr=tpr
        )
    except UsageError as error:
        # The frame of a dataclass cannot be hidden.
        raise UsageError(f"assert_judge_agrees: {error}") from None


def _check_agreement_arguments(trials: object, at_least_labels: object, verdicts: object) -> None:
    __tracebackhide__ = True
    for name, value, low in (("trials", trials, 1), ("at_least_labels", at_least_labels, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise UsageError(
                f"assert_judge_agrees: expected {name} to be a whole number of at least {low}, got {value!r}"
            )
    if verdicts not in ("asked", "stored"):
        raise UsageError(f"assert_judge_agrees: expected verdicts 'asked' or 'stored', got {verdicts!r}")


def _check_label_count(labels: Labels, least: int) -> None:
    __tracebackhide__ = True
    problem = why_invalid_labels(labels)
    if problem:
        raise CaseError(problem, labels.path)
    count = len(labels.labelled)
    if count < least:
        raise UsageError(
            f"assert_judge_agrees: expected at least {least:,} labelled answers, got {count:,} @ {labels.path}: a kappa of so "
            f"few is luck; label more, or say at_least_labels={count} on purpose"
        )


def _resolve_pass_at(given: object, judge: object) -> float | None:
    """Return the lowest score that passes."""
    __tracebackhide__ = True
    own = None if isinstance(judge, str) else getattr(judge, "pass_at", None)
    cut = own if given == "default" else given
    if cut is None:
        return None
    if isinstance(cut, bool) or not isinstance(cut, (int, float)) or not math.isfinite(cut):
        raise UsageError(f"assert_judge_agrees: expected pass_at to be a number or None, got {cut!r}")
    return float(cut)


def _collect_verdicts(judge: object, labels: Labels, verdicts: str, trials: int) -> JudgedAnswers:
    __tracebackhide__ = True
    if verdicts == "stored":
        name = judge if isinstance(judge, str) else component_name(judge)
        version = "" if isinstance(judge, str) else str(getattr(judge, "version", ""))
        return read_stored_verdicts(labels, name=name, version=version)
    return judge_labelled_answers(cast("Judge", judge), labels, trials=trials)


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
