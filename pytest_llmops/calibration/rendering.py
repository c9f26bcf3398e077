"""Format a calibration: the missed requirements, the evidence for them, the confusion table, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import cast

from pytest_llmops.calibration.agreement import (
    AgreementFigures,
    ConfusionTable,
    Disagreement,
    HumanAgreement,
    format_label,
)
from pytest_llmops.calibration.requirements import RequirementResult, wilson_lower_end
from pytest_llmops.calibration.verdicts import JudgedAnswers
from pytest_llmops.measurement import Json, format_value_and_threshold, shorten_text
from pytest_llmops.metrics.agreement import Share

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
    if figures.rates is not None:
        yield "TNR", _format_rate(figures.rates.tnr, "fail", "passes")
        yield "TPR", _format_rate(figures.rates.tpr, "pass", "fails")
    if figures.spearman is not None and figures.pearson is not None and figures.kendall is not None:
        yield (
            "correlation",
            f"Pearson {figures.pearson:.2f}, Spearman {figures.spearman:.2f}, Kendall's tau-b {figures.kendall:.2f}",
        )
    if figures.table.classes:
        yield "confusion", _format_confusion(figures.table)
    yield from (
        ("worst", _format_disagreement(disagreement, judged))
        for disagreement in figures.disagreements[:MAX_WORST]
    )
    if figures.annotators is not None:
        yield "annotators", _format_human_agreement(figures.annotators)
    if judged.errors:
        yield "unscored", _format_unscored(judged, figures)
    if figures.disputed:
        yield (
            "disputed",
            f"{len(figures.disputed):,} answers without a majority, not compared: {_join_ids(figures.disputed)}",
        )
    if corrected := figures.corrected:
        interval = f"95 % interval {corrected.low:.0%} to {corrected.high:.0%}"
        yield (
            "pass rate",
            f"of {corrected.judged:,} answers without a label the judge passes {corrected.naive:.0%}; corrected by the labels {corrected.rate:.0%} ({interval})",
        )


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
    rows = [(corner, names), *zip(names, cells, strict=True)]
    return [
        f"{head:>{left}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for head, row in rows
    ]


def figures_to_json(figures: AgreementFigures) -> dict[str, Json]:
    """Return the figures as plain values, rounded to four decimals; unknown figures are left out."""
    annotators = figures.annotators
    wire: dict[str, object] = {
        "problem": figures.problem or None,
        "weights": figures.weights,
        "compared": figures.compared,
        "unscored": len(figures.unscored),
        "disputed": len(figures.disputed),
        "kappa": figures.kappa,
        "at_least": figures.at_least,
        "interval": list(figures.interval) if figures.interval else None,
        "worst_case": figures.worst_case,
        "agreement": figures.agreement,
        "spearman": figures.spearman,
        "pearson": figures.pearson,
        "kendall": figures.kendall,
        "people": annotators.raters if annotators else 1,
        "people_kappa": annotators.kappa if annotators else None,
        "people_alpha": annotators.alpha if annotators else None,
        "people_fleiss": annotators.fleiss if annotators else None,
        "judge_with_each": annotators.judge if annotators else None,
    }
    return {key: _round_values(value) for key, value in wire.items() if value is not None}


def _round_values(value: object) -> Json:
    if isinstance(value, list):
        return [_round_values(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else cast("Json", value)


def _format_kappa(figures: AgreementFigures) -> str:
    name = "quadratic kappa" if figures.weights else "kappa"
    if figures.kappa is None or figures.at_least is None or figures.interval is None:
        return f"none: {figures.problem or 'all answers are of the same family'}"
    low, high = figures.interval
    unscored = f", {len(figures.unscored):,} unscored" if figures.unscored else ""
    disputed = f", {len(figures.disputed):,} disputed" if figures.disputed else ""
    return (
        f"{name} {figures.kappa:.2f}, with 95 % confidence at least {figures.at_least:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}), {figures.compared:,} answers{unscored}{disputed}"
    )


def _format_rate(share: Share, human: str, judge: str) -> str:
    if share.value is None:
        return f"the annotators {human} none of the answers"
    wrong = share.total - share.hits
    return (
        f"{share.value:.2f}, with 95 % confidence at least {wilson_lower_end(share):.2f}: the judge {judge} {wrong:,} of "
        f"{share.total:,} that the annotators {human}"
    )


def _format_unscored(judged: JudgedAnswers, figures: AgreementFigures) -> str:
    first = next(iter(judged.errors))
    worst = "" if figures.worst_case is None else f"; were they all wrong, kappa {figures.worst_case:.2f}"
    return (
        f"{len(judged.errors):,} of {len(judged.verdicts):,} answers have no verdict and are not compared{worst}; "
        f"{shorten_text(first, 40)}: {shorten_text(judged.errors[first], 80)}"
    )


def _format_disagreement(disagreement: Disagreement, judged: JudgedAnswers) -> str:
    given = judged.verdicts.get(disagreement.id)
    score = (
        f" ({format_label(given)})"
        if given is not None and isinstance(disagreement.judge, bool) and given != disagreement.judge
        else ""
    )
    return f"{shorten_text(disagreement.id, 60)} (line {disagreement.line}): human {format_label(disagreement.human)}, judge {format_label(disagreement.judge)}{score}"


def _format_human_agreement(agreement: HumanAgreement) -> str:
    if agreement.kappa is None:
        return "no two annotators labelled enough of the same answers to say how far they agree"
    alpha = "" if agreement.alpha is None else f", Krippendorff's alpha {agreement.alpha:.2f}"
    each = "" if agreement.judge is None else f"; of the judge with each {agreement.judge:.2f}"
    return f"kappa between any two of {agreement.raters} annotators {agreement.kappa:.2f}{alpha}{each}"


def _format_confusion(table: ConfusionTable) -> str:
    names = [shorten_text(class_name, 20) for class_name in table.classes]
    if len(names) <= MAX_ROWS:
        rows = (
            f"human {name}: judge "
            + ", ".join(f"{verdict} {n:,}" for verdict, n in zip(names, row, strict=True))
            for name, row in zip(names, table.counts, strict=True)
        )
        return "; ".join(rows)
    off = [
        (n, names[row], names[column])
        for row, counts in enumerate(table.counts)
        for column, n in enumerate(counts)
        if n and row != column
    ]
    often = sorted(off, key=itemgetter(0), reverse=True)[:MAX_CELLS]
    most_often = "; ".join(f"human {human}, judge {judge}: {n:,} times" for n, human, judge in often)
    return f"most often {most_often}" if often else "labels and verdicts are the same"


def _join_ids(ids: Sequence[str]) -> str:
    rest = len(ids) - MAX_WORST
    return ", ".join(shorten_text(id_, 40) for id_ in ids[:MAX_WORST]) + (
        f" and {rest:,} more" if rest > 0 else ""
    )
