"""Measure how far a judge's verdicts agree with human labels, and how far the annotators agree with each other.

The latter is a ceiling: a judge can hardly agree better with people than they do among themselves.
"""

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
    """How often each class of the annotators meets each class of the judge.

    Attributes:
        classes: The names of rows and columns, from the lowest class.
        counts: ``counts[human][judge]``: the number of answers, by the indexes of both classes.
    """

    classes: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAgreement:
    """How far annotators agree with each other: a judge can hardly do better.

    Attributes:
        raters: The number of annotators.
        kappa: Mean kappa over all pairs of annotators. A pair is compared on the answers that both labelled. None: no
            pair has a kappa.
        judge: Mean over the annotators of the judge's kappa with one of them. Compare this with ``kappa``: the judge's
            kappa with the majority label is higher, as the slips of single annotators cancel out.
    """

    raters: int
    kappa: float | None
    judge: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An answer on which the judge and the annotators disagree.

    Attributes:
        gap: The distance between label and verdict, as a share of the scale; 1 for different names.
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
        problem: Why kappa is missing, or ``""``.
        weights: The weights of the kappa: ``quadratic`` for numbers, None for names and for pass or fail.
        compared: Answers with a label and a verdict.
        unscored: Ids of labelled answers without a verdict. They are not compared.
        disputed: Ids of answers whose labels have no majority. They are not compared.
        kappa: Agreement beyond chance with the majority label (for numbers: the median).
        at_least: The value that the kappa exceeds with 95 % confidence.
        interval: The 95 % interval of the kappa.
        worst_case: The kappa if all missing verdicts were wrong; None: no verdict is missing.
        agreement: Share of answers with equal label and verdict. It includes agreement by chance.
        spearman: Rank correlation, for numbers. It does not notice a judge that is lenient with all answers.
        rates: How often the judge is right about answers that annotators pass, and about those that they fail; None:
            the labels are not pass or fail.
        annotators: Agreement between the annotators; None: there is a single annotator.
        table: The confusion table of annotators (rows) and judge (columns).
        disagreements: Answers with different label and verdict, the largest gap first.
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
    """An answer with its majority label and the judge's verdict."""

    row: LabelledAnswer
    human: Label
    judge: Label


def why_invalid_labels(labels: Labels) -> str:
    """Return an error if these labels cannot distinguish a right judge from a wrong one, else ``""``.

    >>> from pytest_llmops.judges.calibration.labels import read_labels
    >>> why_invalid_labels(read_labels([{"id": "a", "human": True}, {"id": "b", "human": True}]))
    'all 2 labelled answers have the same label, pass: a judge that always gives this verdict would agree; add others'
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
        "a judge that always gives this verdict would agree; add others"
    )


def majority_label(row: LabelledAnswer, kind: LabelKind) -> Label | None:
    """Return the most common label of an answer, or the median if the labels are numbers.

    None without a label, or if two labels are equally common.

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

    Pass or fail and names are compared as they are. Numbers are compared with quadratic weights, so that 4 against 5 weighs
    little and 1 against 5 much. Where the labels are pass or fail, a numeric verdict passes from ``pass_at``.

    Args:
        labels: The human labels.
        verdicts: The judge's verdicts by the answer's id. A labelled answer with the verdict None, or without one,
            is unscored.
        pass_at: The lowest number that passes. None: numbers are not turned into pass or fail.
        span: Width of the judge's scale, for the gaps. 0: use the range of the numbers that occur.

    Returns:
        The figures. Without a kappa, and with the problem, if nothing can be compared or all labels are equal.

    Raises:
        UsageError: The labels are pass or fail, the verdicts are numbers, and ``pass_at`` is missing.
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
    """Return how often the judge is right about answers that pass and that fail; None if the labels do not say so."""
    says_pass = kind == "pass or fail" or (kind == "number" and pass_at is not None)
    if not pairs or not says_pass:
        return None
    people = [_is_pass(pair.human, pass_at) for pair in pairs]
    judge = [_is_pass(pair.judge, pass_at) for pair in pairs]
    return judge_rates(people, judge)


def _why_no_kappa(human: Sequence[Label], judge: Sequence[Label]) -> str:
    """Return why these labels and verdicts have no kappa, or ``""``."""
    if not human:
        return "the judge gave no verdict on any answer with a majority label"
    if len({*human, *judge}) > 1:
        return ""
    label = format_label(human[0])
    return f"labels and verdicts of all {len(human):,} compared answers are the same, {label}"


def _apply_pass_threshold(verdict: Label | None, kind: LabelKind, pass_at: float | None) -> Label | None:
    """Return a verdict in the kind of the labels: if these are pass or fail, a number becomes True or False."""
    if verdict is None or kind != "pass or fail" or isinstance(verdict, bool):
        return verdict
    if pass_at is None:
        raise UsageError(
            f"the labels are pass or fail and the judge gives numbers (as {format_label(verdict)}): pass pass_at=, the "
            "lowest number that passes"
        )
    return _is_pass(verdict, pass_at)


def _is_pass(label: Label, pass_at: float | None) -> bool:
    """Return whether a label passes. It is a bool, or a number and then the caller has made sure of a ``pass_at``."""
    if isinstance(label, bool):
        return label
    lowest = cast("float", pass_at) - 1e-9
    return cast("float", label) >= lowest


def _add_kappa(
    figures: AgreementFigures, pairs: Sequence[_LabelledVerdict], unscored: Sequence[Label | None]
) -> AgreementFigures:
    """Return the figures with the kappa, its intervals and its worst case.

    Args:
        figures: The figures so far.
        pairs: The compared answers.
        unscored: The majority labels of the answers without a verdict; None: an answer has no majority.
    """
    human = [pair.human for pair in pairs]
    judge = [pair.judge for pair in pairs]
    weights = figures.weights
    # An answer without a family is a family by itself; "\0" keeps its id apart from the names of families
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
    """Return for each label the verdict that would disagree most with it.

    For numbers that is the lowest or the highest number in ``given`` (all labels and verdicts), for pass or fail the
    opposite, for names a name that no label has.
    """
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
    """Return the answers with different label and verdict, the largest gap first; ``span`` as in `measure_agreement`."""
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
    """Return a sort key: the largest gap first.

    Among equal gaps a wrong pass comes before a wrong fail, as a bad answer that passes goes unnoticed.
    """
    return -disagreement.gap, disagreement.judge is False, disagreement.line


def confusion_table(human: Sequence[Label], judge: Sequence[Label]) -> ConfusionTable:
    """Return the confusion table of labels and verdicts, both in the same order of answers.

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
        names: The names of the classes, from the lowest.
        places: Label -> index of its class.
        others: The index of the class of all other labels.
    """

    names: tuple[str, ...]
    places: Mapping[Label, int]
    others: int = 0

    def find(self, label: Label) -> int:
        """Return the index of a label's class."""
        return self.places.get(label, self.others)


def _find_classes(labels: Sequence[Label]) -> _Classes:
    """Return the classes of a confusion table, at most eleven.

    Every label is a class if there are few enough. Otherwise numbers become ten steps of equal width, and of names the
    ten most common are kept and the rest become ``(others)``.
    """
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
    """Return how far the annotators agree with each other, and the judge with them; None for a single annotator.

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
    """Return the kappa over the answers that both raters labelled; None if there is none. Both lists have one order."""
    common_first = []
    common_second = []
    for first_label, second_label in zip(first, second, strict=True):
        if first_label is not None and second_label is not None:
            common_first.append(first_label)
            common_second.append(second_label)
    return cohen_kappa(common_first, common_second, weights=weights)


def _mean_kappa(kappas: Sequence[float | None]) -> float | None:
    """Return the mean of the kappas that are known; None if none is."""
    known = [kappa for kappa in kappas if kappa is not None]
    if known:
        return fmean(known)
    return None
