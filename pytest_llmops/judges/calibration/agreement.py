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
    """Return why these labels cannot distinguish a right judge from a wrong judge, or ``""``.

    >>> from pytest_llmops.judges.calibration.labels import read_labels
    >>> why_invalid_labels(read_labels([{"id": "a", "human": True}, {"id": "b", "human": True}]))
    'all 2 labelled answers have the same label, pass: a judge that always says so would agree; add others'
    """
    majority = [majority_label(row, labels.kind) for row in labels.labelled]
    agreed = [label for label in majority if label is not None]
    if not agreed:
        return "no answer has a majority label"
    if len(set(agreed)) > 1:
        return ""
    label = format_label(agreed[0])
    return (
        f"all {len(agreed):,} labelled answers have the same label, {label}: "
        "a judge that always says so would agree; add others"
    )


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
    counts = Counter(given).most_common(2)
    first, votes = counts[0]
    if len(counts) > 1 and counts[1][1] == votes:
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
    judge_labels = {}
    for id_, verdict in verdicts.items():
        judge_labels[id_] = _apply_pass_threshold(verdict, labels.kind, pass_at)
    majority = {row.id: majority_label(row, labels.kind) for row in labels.labelled}
    pairs: list[_LabelledVerdict] = []
    unscored: list[str] = []
    for row in labels.labelled:
        human_label = majority[row.id]
        judge_label = judge_labels.get(row.id)
        if judge_label is None:
            unscored.append(row.id)
        elif human_label is not None:
            pairs.append(_LabelledVerdict(row, human_label, judge_label))
    human = [pair.human for pair in pairs]
    judge = [pair.judge for pair in pairs]
    weights: Weights | None = None
    spearman = None
    if labels.kind == "number":
        weights = "quadratic"
        spearman = correlation(human, judge)
    problem = why_invalid_labels(labels) or _why_no_kappa(human, judge)
    disputed = [id_ for id_, label in majority.items() if label is None]
    figures = AgreementFigures(
        problem=problem,
        weights=weights,
        compared=len(pairs),
        unscored=tuple(unscored),
        disputed=tuple(disputed),
        agreement=accuracy(human, judge),
        spearman=spearman,
        rates=_measure_rates(pairs, labels.kind, pass_at),
        annotators=human_agreement(labels, judge_labels, weights),
        table=confusion_table(human, judge),
        disagreements=_list_disagreements(pairs, span),
    )
    if problem:
        return figures
    unscored_labels = [majority[id_] for id_ in unscored]
    return _add_kappa(figures, pairs, unscored_labels)


def _measure_rates(pairs: Sequence[_LabelledVerdict], kind: LabelKind, pass_at: float | None) -> Rates | None:
    """Return how often the judge is right about answers that pass and fail; None: the labels do not say."""
    says_pass = kind == "pass or fail" or (kind == "number" and pass_at is not None)
    if not pairs or not says_pass:
        return None
    people = [_is_pass(pair.human, pass_at) for pair in pairs]
    judge = [_is_pass(pair.judge, pass_at) for pair in pairs]
    return judge_rates(people, judge)


def _why_no_kappa(human: Sequence[Label], judge: Sequence[Label]) -> str:
    if not human:
        return "the judge gave no verdict on any answer with a majority label"
    if len({*human, *judge}) > 1:
        return ""
    label = format_label(human[0])
    return f"labels and verdicts of all {len(human):,} compared answers are the same, {label}"


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
    lowest = cast("float", pass_at) - 1e-9
    return cast("float", label) >= lowest


def _add_kappa(
    figures: AgreementFigures, pairs: Sequence[_LabelledVerdict], unscored: Sequence[Label | None]
) -> AgreementFigures:
    human = [pair.human for pair in pairs]
    judge = [pair.judge for pair in pairs]
    weights = figures.weights
    # An answer without a family is a family by itself
    groups = [pair.row.family or f"\0{pair.row.id}" for pair in pairs]
    at_least = None
    one_sided = kappa_interval(human, judge, weights=weights, groups=groups, confidence=ONE_SIDED)
    if one_sided:
        at_least = one_sided[0]
    worst_case = None
    missing = [label for label in unscored if label is not None]
    if missing:
        wrong = _list_wrong_verdicts(missing, [*human, *missing, *judge], weights)
        worst_case = cohen_kappa([*human, *missing], [*judge, *wrong], weights=weights)
    kappa = cohen_kappa(human, judge, weights=weights)
    interval = kappa_interval(human, judge, weights=weights, groups=groups)
    return replace(figures, kappa=kappa, at_least=at_least, interval=interval, worst_case=worst_case)


def _list_wrong_verdicts(
    labels: Sequence[Label], given: Sequence[Label], weights: Weights | None
) -> list[Label]:
    """Return verdicts that are as wrong about these labels as they can be, given all labels and verdicts."""
    wrong: list[Label] = []
    if not weights:
        for label in labels:
            if isinstance(label, bool):
                wrong.append(not label)
            else:
                wrong.append(UNSCORED)
        return wrong
    numbers = cast("Sequence[float]", given)
    lowest = min(numbers)
    highest = max(numbers)
    for label in cast("Sequence[float]", labels):
        if highest - label > label - lowest:
            wrong.append(highest)
        else:
            wrong.append(lowest)
    return wrong


def _list_disagreements(pairs: Sequence[_LabelledVerdict], span: float) -> tuple[Disagreement, ...]:
    numbers = []
    for pair in pairs:
        numbers += [label for label in (pair.human, pair.judge) if isinstance(label, float)]
    width = span
    if not width and numbers:
        width = max(numbers) - min(numbers)
    if not width:
        width = 1.0
    disagreements = []
    for row, human, judge in pairs:
        if human == judge:
            continue
        gap = 1.0
        if isinstance(human, float) and isinstance(judge, float):
            gap = abs(human - judge) / width
        disagreements.append(Disagreement(id=row.id, line=row.line, human=human, judge=judge, gap=gap))
    return tuple(sorted(disagreements, key=_disagreement_order))


def _disagreement_order(disagreement: Disagreement) -> tuple[float, bool, int]:
    """Return a key that sorts by falling gap.

    A judge that passes what the annotators fail comes before one that fails what they pass: the former slips through.
    """
    return -disagreement.gap, disagreement.judge is False, disagreement.line


def confusion_table(human: Sequence[Label], judge: Sequence[Label]) -> ConfusionTable:
    """Return how often the annotators give a class and the judge another.

    More than 11 different numbers become ten steps of equal width; names beyond the ten most common become one class.

    >>> confusion_table([True, True, False], [True, False, False])
    ConfusionTable(classes=('fail', 'pass'), counts=((1, 0), (1, 1)))
    """
    classes = _find_classes([*human, *judge])
    rows = map(classes.find, human)
    columns = map(classes.find, judge)
    counts = Counter(zip(rows, columns, strict=True))
    size = range(len(classes.names))
    table = [tuple(counts[row, column] for column in size) for row in size]
    return ConfusionTable(classes.names, tuple(table))


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


@dataclass(frozen=True, slots=True)
class _Classes:
    """The rows and columns of a confusion table.

    Attributes:
        names: From the lowest.
        places: The number of the class of each label.
        others: The number of the class of labels that have none of their own.
    """

    names: tuple[str, ...]
    places: Mapping[Label, int]
    others: int = 0

    def find(self, label: Label) -> int:
        return self.places.get(label, self.others)


def _find_classes(labels: Sequence[Label]) -> _Classes:
    """Return the classes of labels: each label, or at most eleven of them."""
    different = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(different) <= MAX_CLASSES:
        places = {label: place for place, label in enumerate(different)}
        return _Classes(tuple(map(format_label, different)), places)
    count = MAX_CLASSES - 1
    if not isinstance(different[0], float):
        common = [label for label, _ in Counter(labels).most_common(count)]
        places = {label: place for place, label in enumerate(common)}
        return _Classes((*map(format_label, common), "(others)"), places, len(common))
    numbers = cast("list[float]", different)
    low = numbers[0]
    width = numbers[-1] - low
    edges = [low + width * (step / count) for step in range(count + 1)]
    names = [f"{start:.4g} to {end:.4g}" for start, end in itertools.pairwise(edges)]
    steps: dict[Label, int] = {}
    for number in numbers:
        step = int((number - low) / width * count)
        steps[number] = min(step, count - 1)  # the highest number belongs to the last step
    return _Classes(tuple(names), steps)


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
    rows = labels.labelled
    judged = [verdicts.get(row.id) for row in rows]
    columns = []
    for rater in labels.raters:
        columns.append([row.opinion.human.get(rater) for row in rows])
    pairs = itertools.combinations(columns, 2)
    annotator_kappas = [_common_kappa(first, second, weights) for first, second in pairs]
    judge_kappas = [_common_kappa(column, judged, weights) for column in columns]
    return HumanAgreement(
        raters=len(labels.raters), kappa=_mean_kappa(annotator_kappas), judge=_mean_kappa(judge_kappas)
    )


def _common_kappa(
    first: Sequence[Label | None], second: Sequence[Label | None], weights: Weights | None
) -> float | None:
    """Return the kappa over the answers that both raters labelled."""
    common_first = []
    common_second = []
    for first_label, second_label in zip(first, second, strict=True):
        if first_label is not None and second_label is not None:
            common_first.append(first_label)
            common_second.append(second_label)
    return cohen_kappa(common_first, common_second, weights=weights)


def _mean_kappa(kappas: Sequence[float | None]) -> float | None:
    known = [kappa for kappa in kappas if kappa is not None]
    if known:
        return fmean(known)
    return None
