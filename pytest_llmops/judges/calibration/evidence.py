"""Format how far a judge agrees with human labels: as lines of text, and as plain values for a report."""

from collections.abc import Iterator, Sequence
from operator import itemgetter

from pytest_llmops.judges.calibration.agreement import (
    AgreementFigures,
    ConfusionTable,
    Disagreement,
    HumanAgreement,
    format_label,
)
from pytest_llmops.judges.calibration.record import JudgedAnswers
from pytest_llmops.judges.calibration.requirements import RequirementResult, wilson_lower_end
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
    """Return a line that lists the requirements that a judge missed.

    >>> format_missed_requirements(JudgedAnswers(name="quality", version="1"), [RequirementResult("kappa", 0.52, 0.6)])
    'judge quality does not agree with the human labels: kappa 0.52 < 0.60'
    """
    missed = []
    for result in reached:
        if result.missed and result.threshold is not None:
            label = REQUIREMENT_LABELS[result.name]
            value, threshold = format_value_and_threshold(result.value, result.threshold, "1")
            missed.append(f"{label} {value} < {threshold}")
    name = shorten_text(judged.name, 60)
    return f"judge {name} does not agree with the human labels: {', '.join(missed)}"


def format_evidence(judged: JudgedAnswers, figures: AgreementFigures) -> Iterator[tuple[str, str]]:
    """Yield pairs of a title and a line of text, the kappa first; figures that are not known are left out."""
    yield "kappa", _format_kappa(figures)
    rates = figures.rates
    if rates:
        yield "TNR", _format_rate(rates.tnr, "fail", "passes")
        yield "TPR", _format_rate(rates.tpr, "pass", "fails")
    if figures.spearman is not None:
        yield "correlation", f"Spearman {figures.spearman:.2f}"
    if figures.table.classes:
        yield "confusion", _format_confusion(figures.table)
    for disagreement in figures.disagreements[:MAX_WORST]:
        yield "worst", _format_disagreement(disagreement, judged)
    if figures.annotators is not None:
        yield "annotators", _format_human_agreement(figures.annotators)
    if judged.errors:
        yield "unscored", _format_unscored(judged, figures)
    if figures.disputed:
        yield "disputed", _format_disputed(figures.disputed)


def format_confusion_table(table: ConfusionTable) -> list[str]:
    """Return the confusion table as lines of text, a row for each human label and a column for each verdict.

    >>> for line in format_confusion_table(ConfusionTable(("fail", "pass"), ((8, 2), (1, 9)))):
    ...     print(line)
    human / judge  fail  pass
             fail     8     2
             pass     1     9
    """
    names = [shorten_text(class_name, 16) for class_name in table.classes]
    lines = [["human / judge", *names]]
    for name, counts in zip(names, table.counts, strict=True):
        lines.append([name, *(f"{count:,}" for count in counts)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.rjust, cells, widths)) for cells in lines]


def figures_to_json(figures: AgreementFigures) -> dict[str, Json]:
    """Return the figures as plain values, rounded to four decimals; unknown figures are left out.

    Annotators are called ``people`` in this format, also in stored records.
    """
    wire: dict[str, Json] = {
        "problem": figures.problem or None,
        "weights": figures.weights,
        "compared": figures.compared,
        "unscored": len(figures.unscored),
        "disputed": len(figures.disputed),
        "kappa": figures.kappa,
        "at_least": figures.at_least,
        "interval": None,
        "worst_case": figures.worst_case,
        "agreement": figures.agreement,
        "spearman": figures.spearman,
        "people": 1,
    }
    if figures.interval:
        wire["interval"] = [round(end, DIGITS) for end in figures.interval]
    annotators = figures.annotators
    if annotators:
        wire["people"] = annotators.raters
        wire["people_kappa"] = annotators.kappa
        wire["judge_with_each"] = annotators.judge
    known: dict[str, Json] = {}
    for key, value in wire.items():
        if isinstance(value, float):
            known[key] = round(value, DIGITS)
        elif value is not None:
            known[key] = value
    return known


def _format_kappa(figures: AgreementFigures) -> str:
    if figures.kappa is None or figures.at_least is None or figures.interval is None:
        return f"none: {figures.problem or 'all answers are of the same family'}"
    name = "kappa"
    if figures.weights:
        name = "quadratic kappa"
    low, high = figures.interval
    answers = f"{figures.compared:,} answers"
    if figures.unscored:
        answers += f", {len(figures.unscored):,} unscored"
    if figures.disputed:
        answers += f", {len(figures.disputed):,} disputed"
    kappa = f"{name} {figures.kappa:.2f}, with 95 % confidence at least {figures.at_least:.2f}"
    return f"{kappa} (95 % interval {low:.2f} to {high:.2f}), {answers}"


def _format_rate(share: Share, human: str, judge: str) -> str:
    """Return a line about a rate of the judge.

    Args:
        share: The answers about which the judge is right, among those that the annotators pass (or fail).
        human: The annotators' decision on all of these answers, ``pass`` or ``fail``.
        judge: The judge's decision on the answers that it gets wrong, ``fails`` or ``passes``.
    """
    if share.value is None:
        return f"the annotators {human} none of the answers"
    lower = wilson_lower_end(share)
    rate = f"{share.value:.2f}, with 95 % confidence at least {lower:.2f}"
    wrong = share.total - share.hits
    return f"{rate}: the judge {judge} {wrong:,} of {share.total:,} that the annotators {human}"


def _format_disagreement(disagreement: Disagreement, judged: JudgedAnswers) -> str:
    where = f"{shorten_text(disagreement.id, 60)} (line {disagreement.line})"
    human = format_label(disagreement.human)
    judge = format_label(disagreement.judge)
    score = judged.verdicts.get(disagreement.id)
    # A score that the threshold turned into pass or fail
    if isinstance(disagreement.judge, bool) and score is not None and score != disagreement.judge:
        judge += f" ({format_label(score)})"
    return f"{where}: human {human}, judge {judge}"


def _format_human_agreement(agreement: HumanAgreement) -> str:
    if agreement.kappa is None:
        return "no two annotators labelled enough of the same answers to say how far they agree"
    kappa = f"kappa between any two of {agreement.raters} annotators {agreement.kappa:.2f}"
    if agreement.judge is None:
        return kappa
    return f"{kappa}; of the judge with each {agreement.judge:.2f}"


def _format_unscored(judged: JudgedAnswers, figures: AgreementFigures) -> str:
    """Return the number of answers without a verdict, and the error of the first. There must be at least one error."""
    worst = ""
    if figures.worst_case is not None:
        worst = f"; if all of them were wrong, kappa {figures.worst_case:.2f}"
    count = f"{len(judged.errors):,} of {len(judged.verdicts):,} answers"
    id_, error = next(iter(judged.errors.items()))
    example = f"{shorten_text(id_, 40)}: {shorten_text(error, 80)}"
    return f"{count} got no score and are not compared{worst}; {example}"


def _format_disputed(ids: Sequence[str]) -> str:
    listed = ", ".join(shorten_text(id_, 40) for id_ in ids[:MAX_WORST])
    if len(ids) > MAX_WORST:
        listed += f" and {len(ids) - MAX_WORST:,} more"
    return f"{len(ids):,} answers without a majority, not compared: {listed}"


def _format_confusion(table: ConfusionTable) -> str:
    """Return the table in a line; of a table with more than three classes only the most common disagreements."""
    names = [shorten_text(class_name, 20) for class_name in table.classes]
    if len(names) > MAX_ROWS:
        return _format_common_disagreements(names, table.counts)
    rows = []
    for name, counts in zip(names, table.counts, strict=True):
        cells = zip(names, counts, strict=True)
        verdicts = ", ".join(f"{verdict} {count:,}" for verdict, count in cells)
        rows.append(f"human {name}: judge {verdicts}")
    return "; ".join(rows)


def _format_common_disagreements(names: Sequence[str], table: Sequence[Sequence[int]]) -> str:
    """Return the most common pairs of different classes; ``table[human][judge]`` counts the answers."""
    disagreements = []
    for row, counts in enumerate(table):
        for column, count in enumerate(counts):
            if count and row != column:
                disagreements.append((count, names[row], names[column]))
    if not disagreements:
        return "labels and verdicts are the same"
    disagreements.sort(key=itemgetter(0), reverse=True)
    cells = []
    for count, human, judge in disagreements[:MAX_CELLS]:
        cells.append(f"human {human}, judge {judge}: {count:,} times")
    return f"most often {'; '.join(cells)}"
