"""Figures of how far a judge's verdicts agree with human labels, and annotators with each other, their ceiling."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import NamedTuple, TypeAlias, cast

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.calibration.labels import Label, LabelKind, LabelledAnswer, Labels
from pytest_llmops.metrics.agreement import (
    Rates,
    Weights,
    accuracy,
    cohen_kappa,
    correlation,
    judge_rates,
    kappa_interval,
)

__tracebackhide__ = True

Verdicts: TypeAlias = Mapping[str, Label | None]
ONE_SIDED = 0.9  # confidence of a two-sided interval whose lower end the value exceeds with 95 % confidence
UNSCORED = "(unscored)"
MAX_CLASSES = 11  # further classes are merged, to keep a table readable


@dataclass(frozen=True, slots=True)
class ConfusionTable:
    """How often the annotators give a class and the judge another.

    Attributes:
        classes: Names of rows and columns, from the lowest.
        counts: ``counts[human][judge]``.
    """

    classes: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAgreement:
    """How far annotators agree with each other: a judge can hardly do better.

    Attributes:
        raters: The number of annotators.
        kappa: Mean kappa over all pairs of annotators, each over the answers that both labelled; None: no pair has a kappa.
        judge: Mean kappa of the judge with each annotator, to compare with ``kappa``. The kappa with the majority
            label is higher, as single slips cancel.
    """

    raters: int
    kappa: float | None
    judge: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An answer on which the judge and the annotators disagree.

    Attributes:
        gap: The distance of the labels: 1 is the whole scale, or another name.
    """

    id: str
    line: int
    human: Label
    judge: Label
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementFigures:
    """How far a judge agrees with human annotators.

    Attributes:
        problem: Why there is no kappa, or ``""``.
        weights: Of the kappa: ``quadratic`` for numbers, None for names and for pass or fail.
        compared: Answers with a label and a verdict.
        unscored: Ids of labelled answers without a verdict; they are not compared.
        disputed: Ids of answers whose labels have no majority; they are not compared.
        kappa: Agreement with the majority label (of numbers: the median) beyond chance.
        at_least: What the kappa exceeds with 95 % confidence.
        interval: The 95 % interval of the kappa.
        worst_case: The kappa if each missing verdict were wrong; None: no verdict is missing.
        agreement: Share of equal labels and verdicts, chance included.
        spearman: Correlation of the ranks, of numbers; it does not see that a judge is lenient.
        rates: How often the judge is right about answers that annotators pass and fail; None: the labels do not say.
        annotators: Agreement between the annotators; None: there is a single annotator.
        table: How often the annotators give a class (row) and the judge another (column).
        disagreements: By falling gap.
    """

    problem: str = ""
    weights: Weights | None = None
    compared: int = 0
    unscored: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()
    kappa: float | None = None
    at_least: float | None = None
    interval: tuple[float, float] | None = None
    worst_case: float | None = None
    agreement: float | None = None
    spearman: float | None = None
    rates: Rates | None = None
    annotators: HumanAgreement | None = None
    table: ConfusionTable = field(default_factory=ConfusionTable)
    disagreements: tuple[Disagreement, ...] = ()


class _LabelledVerdict(NamedTuple):
    row: LabelledAnswer
    human: Label
    judge: Label


def why_invalid_labels(labels: Labels) -> str:
    """Return why these labels cannot tell a right judge from a wrong judge, or ``""``.

    >>> from pytest_llmops.judges.calibration.labels import read_labels
    >>> why_invalid_labels(read_labels([{"id": "a", "human": True}, {"id": "b", "human": True}]))
    'all 2 labelled answers have the same label, pass: a judge that always says so would agree; add others'
    """
    agreed = [label for row in labels.labelled if (label := majority_label(row, labels.kind)) is not None]
    if not agreed:
        return "no answer has a majority label"
    same = f"all {len(agreed):,} labelled answers have the same label, {format_label(agreed[0])}"
    if len(set(agreed)) == 1:
        return f"{same}: a judge that always says so would agree; add others"
    return ""


def majority_label(row: LabelledAnswer, kind: LabelKind) -> Label | None:
    """Return the most common label of an answer, of numbers the median; None without a majority.

    >>> from pytest_llmops.judges.calibration.labels import read_labels
    >>> majority_label(read_labels([{"id": "a", "human": ["A", "B", "A"]}]).rows[0], "name")
    'A'
    """
    given = row.opinion.labels
    if not given:
        return None
    if kind == "number":
        return float(median(cast("list[float]", given)))
    (first, most), *others = Counter(given).most_common(2)
    if others and others[0][1] == most:
        return None
    return first


def measure_agreement(
    labels: Labels, verdicts: Verdicts, *, pass_at: float | None = None, span: float = 0.0
) -> AgreementFigures:
    """Compare a judge's verdicts with human labels.

    Pass or fail and names are compared as they are; numbers with quadratic weights, so that 4 against 5 weighs
    little and 1 against 5 much. Where the labels are pass or fail, a numeric verdict passes from ``pass_at``.

    Args:
        labels: The human labels.
        verdicts: The judge's verdicts by the answer's id; None: unscored. A labelled answer without an entry was
            not judged, and is unscored too.
        pass_at: The number from which an answer passes; None: numbers stay numbers.
        span: Width of the judge's scale, for gaps; 0: that of the numbers that occur.

    Returns:
        The figures; without a kappa, and with the problem, if nothing can be compared or all labels are equal.

    Raises:
        UsageError: The labels are pass or fail, the verdicts are numbers, and there is no ``pass_at``.
    """
    judge_labels = {
        id_: _apply_pass_threshold(verdict, labels.kind, pass_at) for id_, verdict in verdicts.items()
    }
    majority = {row.id: majority_label(row, labels.kind) for row in labels.labelled}
    pairs = [
        _LabelledVerdict(row, label, verdict)
        for row in labels.labelled
        if (label := majority[row.id]) is not None and (verdict := judge_labels.get(row.id)) is not None
    ]
    human = [pair.human for pair in pairs]
    judge = [pair.judge for pair in pairs]
    unscored = tuple(row.id for row in labels.labelled if judge_labels.get(row.id) is None)
    if human and (labels.kind == "pass or fail" or (labels.kind == "number" and pass_at is not None)):
        rates = judge_rates(*([_is_pass(label, pass_at) for label in group] for group in (human, judge)))
    else:
        rates = None
    if labels.kind == "number":
        weights: Weights | None = "quadratic"
    else:
        weights = None
    problem = why_invalid_labels(labels) or _why_no_kappa(human, judge)
    figures = AgreementFigures(
        problem=problem,
        weights=weights,
        compared=len(pairs),
        unscored=unscored,
        disputed=tuple(id_ for id_, label in majority.items() if label is None),
        agreement=accuracy(human, judge),
        spearman=correlation(human, judge) if weights else None,
        rates=rates,
        annotators=human_agreement(labels, judge_labels, weights),
        table=confusion_table(human, judge),
        disagreements=_list_disagreements(pairs, span),
    )
    if problem:
        return figures
    return _add_kappa(figures, pairs, [majority[id_] for id_ in unscored])


def _why_no_kappa(human: Sequence[Label], judge: Sequence[Label]) -> str:
    if not human:
        return "the judge gave no verdict on any answer with a majority label"
    same = (
        f"labels and verdicts of all {len(human):,} compared answers are the same, {format_label(human[0])}"
    )
    if len({*human, *judge}) == 1:
        return same
    return ""


def _apply_pass_threshold(verdict: Label | None, kind: LabelKind, pass_at: float | None) -> Label | None:
    if verdict is None or kind != "pass or fail" or isinstance(verdict, bool):
        return verdict
    if pass_at is None:
        raise UsageError(
            f"the labels are pass or fail and the judge gives numbers (as {format_label(verdict)}): pass pass_at=, the "
            "number from which on an answer passes"
        )
    return _is_pass(verdict, pass_at)


def _is_pass(label: Label, pass_at: float | None) -> bool:
    if isinstance(label, bool):
        return label
    return cast("float", label) >= cast("float", pass_at) - 1e-9


def _add_kappa(
    figures: AgreementFigures, pairs: Sequence[_LabelledVerdict], unscored: Sequence[Label | None]
) -> AgreementFigures:
    human = [pair.human for pair in pairs]
    judge = [pair.judge for pair in pairs]
    weights = figures.weights
    groups = [pair.row.family or f"\0{pair.row.id}" for pair in pairs]
    one_sided = kappa_interval(human, judge, weights=weights, groups=groups, confidence=ONE_SIDED)
    missing = [label for label in unscored if label is not None]
    wrong: list[Label] = [not label if isinstance(label, bool) else UNSCORED for label in missing]
    if weights:
        numbers = cast("list[float]", [*human, *missing, *judge])
        ends = (min(numbers), max(numbers))
        wrong = [max(ends, key=lambda end: abs(end - cast("float", label))) for label in missing]
    return replace(
        figures,
        kappa=cohen_kappa(human, judge, weights=weights),
        at_least=one_sided[0] if one_sided else None,
        interval=kappa_interval(human, judge, weights=weights, groups=groups),
        worst_case=cohen_kappa([*human, *missing], [*judge, *wrong], weights=weights) if missing else None,
    )


def _list_disagreements(pairs: Sequence[_LabelledVerdict], span: float) -> tuple[Disagreement, ...]:
    numbers = [label for pair in pairs for label in pair[1:] if isinstance(label, float)]
    width = span or (max(numbers, default=0.0) - min(numbers, default=0.0)) or 1.0
    disagreements = [
        Disagreement(
            id=row.id,
            line=row.line,
            human=human,
            judge=judge,
            gap=abs(human - judge) / width if isinstance(human, float) and isinstance(judge, float) else 1.0,
        )
        for row, human, judge in pairs
        if human != judge
    ]
    # A judge that passes what the annotators fail comes first: that is what slips through.
    return tuple(sorted(disagreements, key=lambda each: (-each.gap, each.judge is False, each.line)))


def confusion_table(human: Sequence[Label], judge: Sequence[Label]) -> ConfusionTable:
    """Return how often the annotators give a class and the judge another.

    More than 11 different numbers become ten steps of equal width; names beyond the ten most common become one class.

    >>> confusion_table([True, True, False], [True, False, False])
    ConfusionTable(classes=('fail', 'pass'), counts=((1, 0), (1, 1)))
    """
    names, where, others = _label_classes([*human, *judge])
    counts = Counter(
        (where.get(human_label, others), where.get(judge_label, others))
        for human_label, judge_label in zip(human, judge, strict=True)
    )
    size = range(len(names))
    return ConfusionTable(names, tuple(tuple(counts[row, column] for column in size) for row in size))


def format_label(label: Label) -> str:
    """Return a label as a report shows it.

    >>> format_label(True), format_label(4.0), format_label(4.25), format_label("tie")
    ('pass', '4', '4.25', 'tie')
    """
    if isinstance(label, bool):
        if label:
            return "pass"
        return "fail"
    if isinstance(label, str):
        return label
    return f"{label:.6g}"


def _label_classes(labels: Sequence[Label]) -> tuple[tuple[str, ...], Mapping[Label, int], int]:
    """Return the names of the classes, the class of each label, and the class of labels that are not listed."""
    different = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(different) > MAX_CLASSES and isinstance(different[0], float):
        numbers = cast("list[float]", different)
        low = numbers[0]
        high = numbers[-1]
        count = MAX_CLASSES - 1
        edges = [low + (high - low) * (step / count) for step in range(count + 1)]
        return (
            tuple(f"{start:.4g} to {end:.4g}" for start, end in itertools.pairwise(edges)),
            {number: min(count - 1, int((number - low) / (high - low) * count)) for number in numbers},
            0,
        )
    if len(different) > MAX_CLASSES:
        common = [label for label, _ in Counter(labels).most_common(MAX_CLASSES - 1)]
        return (
            (*map(format_label, common), "(others)"),
            {label: n for n, label in enumerate(common)},
            len(common),
        )
    return tuple(map(format_label, different)), {label: n for n, label in enumerate(different)}, 0


def human_agreement(
    labels: Labels, verdicts: Mapping[str, Label | None], weights: Weights | None
) -> HumanAgreement | None:
    """Return how far annotators agree with each other, and the judge with each; None for a single annotator.

    >>> from pytest_llmops.judges.calibration.labels import read_labels
    >>> rows = [{"id": "a", "human": [True, True]}, {"id": "b", "human": [False, False]}, {"id": "c", "human": [True]}]
    >>> human_agreement(read_labels(rows), {"a": True, "b": True}, None).kappa
    1.0
    """
    if len(labels.raters) < 2:  # noqa: PLR2004 -- a single annotator has nobody to agree with
        return None
    labels_by_answer = [row.opinion.human for row in labels.labelled]
    judged = [verdicts.get(row.id) for row in labels.labelled]
    columns = [[by_rater.get(rater) for by_rater in labels_by_answer] for rater in labels.raters]
    return HumanAgreement(
        raters=len(labels.raters),
        kappa=_mean_kappa([_common_kappa(a, b, weights) for a, b in itertools.combinations(columns, 2)]),
        judge=_mean_kappa([_common_kappa(column, judged, weights) for column in columns]),
    )


def _common_kappa(
    a: Sequence[Label | None], b: Sequence[Label | None], weights: Weights | None
) -> float | None:
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return cohen_kappa([x for x, _ in both], [y for _, y in both], weights=weights)


def _mean_kappa(kappas: Sequence[float | None]) -> float | None:
    known = [kappa for kappa in kappas if kappa is not None]
    if known:
        return fmean(known)
    return None
