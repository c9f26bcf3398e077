"""How far a judge's verdicts agree with people's labels, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, TypeAlias, cast

from pytest_llmops.calibration.confusion import ConfusionTable, confusion_table, format_label
from pytest_llmops.calibration.human_ceiling import HumanAgreement, human_agreement
from pytest_llmops.calibration.labels import Label, LabelKind, LabelledAnswer, Labels
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics.agreement import (
    Corrected,
    Rates,
    Weights,
    accuracy,
    cohen_kappa,
    corrected_rate,
    judge_rates,
    kappa_interval,
    spearman,
)

Verdicts: TypeAlias = Mapping[str, Label | None]
ONE_SIDED = 0.9
"""Confidence of the interval whose lower end is exceeded with 95 %."""
UNSCORED = "(unscored)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An answer that judge and people see differently.

    Attributes:
        gap: How far apart they are: 1 is the whole scale, or another name.
    """

    id: str
    line: int
    human: Label
    judge: Label
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementFigures:
    """How far a judge agrees with people.

    Attributes:
        problem: Why there is no kappa; empty: there is one.
        weights: Of the kappa: ``quadratic`` for numbers, None for names and for pass or fail.
        compared: Answers with a label and a verdict.
        unscored: Ids of labelled answers that the judge gave no verdict on: not compared, and told.
        disputed: Ids of answers on which as many people say one thing as another: there is no label to compare.
        kappa: Agreement with what most people say (of numbers: their median) beyond chance.
        at_least: What the kappa exceeds with 95 % confidence.
        interval: Its 95 % interval.
        worst_case: The kappa if each verdict that is missing were wrong; None: none is missing.
        agreement: Share of the same verdicts. It flatters.
        spearman: Rank correlation, of numbers.
        rates: How often the judge is right about what people pass and fail; None: the labels do not say.
        people: None: there is one person only.
        judged: Answers without a label that the judge has seen.
        corrected: Their pass rate, corrected by the labels; None: there are none, or no rates.
        table: How often people give a class (row) and the judge another (column).
        disagreements: From the widest gap.
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
    people: HumanAgreement | None = None
    judged: int = 0
    corrected: Corrected | None = None
    table: ConfusionTable = field(default_factory=ConfusionTable)
    disagreements: tuple[Disagreement, ...] = ()


class _Pair(NamedTuple):
    row: LabelledAnswer
    human: Label
    judge: Label


def why_invalid_labels(labels: Labels) -> str:
    """Return why these labels cannot tell a right judge from a wrong one, or ``""``.

    >>> from pytest_llmops.calibration.labels import read_labels
    >>> why_invalid_labels(read_labels([{"id": "a", "human": True}, {"id": "b", "human": True}]))
    'people give each of 2 answers the same label, pass: a judge that always says so would agree; add others'
    """
    agreed = [label for row in labels.labelled if (label := majority_label(row, labels.kind)) is not None]
    if not agreed:
        return "people agree on no answer: as many say one thing as another"
    if len(set(agreed)) > 1:
        return ""
    return (
        f"people give each of {len(agreed):,} answers the same label, {format_label(agreed[0])}: "
        "a judge that always says so would agree; add others"
    )


def majority_label(row: LabelledAnswer, kind: LabelKind) -> Label | None:
    """Return what most people say of an answer, of numbers the median; None where there is no majority.

    >>> from pytest_llmops.calibration.labels import read_labels
    >>> majority_label(read_labels([{"id": "a", "human": ["A", "B", "A"]}]).rows[0], "name")
    'A'
    """
    given = row.opinion.labels
    if not given:
        return None
    if kind == "number":
        return float(median(cast("list[float]", given)))
    (first, most), *others = Counter(given).most_common(2)
    return None if others and others[0][1] == most else first


def measure_agreement(
    labels: Labels, verdicts: Verdicts, *, pass_at: float | None = None, span: float = 0.0
) -> AgreementFigures:
    """Hold a judge's verdicts against people's labels.

    Pass or fail and names are compared as they are; numbers with quadratic weights, so that 4 beside 5 weighs
    little and 1 beside 5 much. Where people pass or fail, a verdict that is a number passes from ``pass_at``.

    Args:
        labels: What people say.
        verdicts: What the judge says, by the answer's id; None: it gave no verdict. An id that is not there was
            not judged: with a label it is unscored too.
        pass_at: From which number on an answer passes; None: numbers are not cut.
        span: Width of the judge's scale, for gaps; 0: that of the numbers that occur.

    Returns:
        The figures; without a kappa, and with the problem, where it cannot be told: nothing to compare, or one
        class only.

    Raises:
        UsageError: People pass or fail, the judge gives numbers, and there is no ``pass_at``.
    """
    __tracebackhide__ = True
    judge_labels = {id_: _apply_pass_threshold(one, labels.kind, pass_at) for id_, one in verdicts.items()}
    agreed = {row.id: majority_label(row, labels.kind) for row in labels.labelled}
    pairs = [
        _Pair(row, label, verdict)
        for row in labels.labelled
        if (label := agreed[row.id]) is not None and (verdict := judge_labels.get(row.id)) is not None
    ]
    human, judge = [one.human for one in pairs], [one.judge for one in pairs]
    unscored = tuple(row.id for row in labels.labelled if judge_labels.get(row.id) is None)
    problem = why_invalid_labels(labels) or _why_no_kappa(human, judge)
    weights: Weights | None = "quadratic" if labels.kind == "number" else None
    pass_fail_rates = _pass_fail_rates(human, judge, labels.kind, pass_at)
    rest = [
        verdict
        for row in labels.rows
        if not row.opinion.labels and (verdict := judge_labels.get(row.id)) is not None
    ]
    low, interval = (None, None) if problem else _kappa_bounds(pairs, weights)
    return AgreementFigures(
        problem=problem,
        weights=weights,
        compared=len(pairs),
        unscored=unscored,
        disputed=tuple(id_ for id_, one in agreed.items() if one is None),
        kappa=None if problem else cohen_kappa(human, judge, weights=weights),
        at_least=low,
        interval=interval,
        worst_case=None if problem else _worst_case_kappa(pairs, [agreed[id_] for id_ in unscored], weights),
        agreement=accuracy(human, judge),
        spearman=spearman(human, judge) if weights else None,
        rates=pass_fail_rates,
        people=human_agreement(labels, judge_labels, weights),
        judged=len(rest),
        corrected=_corrected_pass_rate(human, judge, rest, pass_at) if pass_fail_rates else None,
        table=confusion_table(human, judge),
        disagreements=_sort_disagreements(pairs, labels.kind, span),
    )


def _why_no_kappa(human: Sequence[Label], judge: Sequence[Label]) -> str:
    if not human:
        return "the judge gave no verdict on any answer on which people agree"
    if len({*human, *judge}) > 1:
        return ""
    return f"people and judge give each of {len(human):,} compared answers the same label, {format_label(human[0])}"


def _apply_pass_threshold(verdict: Label | None, kind: LabelKind, pass_at: float | None) -> Label | None:
    __tracebackhide__ = True
    if verdict is None or kind != "pass or fail" or isinstance(verdict, bool):
        return verdict
    if pass_at is None:
        raise UsageError(
            f"people pass or fail and the judge gives numbers (as {format_label(verdict)}): pass pass_at=, the number from "
            "which on an answer passes"
        )
    return _is_pass(verdict, pass_at)


def _is_pass(label: Label, pass_at: float | None) -> bool:
    return label if isinstance(label, bool) else cast("float", label) >= cast("float", pass_at) - 1e-9


def _kappa_bounds(
    pairs: Sequence[_Pair], weights: Weights | None
) -> tuple[float | None, tuple[float, float] | None]:
    human, judge = [pair.human for pair in pairs], [pair.judge for pair in pairs]
    groups = [pair.row.family or f"\0{pair.row.id}" for pair in pairs]
    inner = kappa_interval(human, judge, weights=weights, groups=groups, confidence=ONE_SIDED)
    return inner[0] if inner else None, kappa_interval(human, judge, weights=weights, groups=groups)


def _worst_case_kappa(
    pairs: Sequence[_Pair], unscored: Sequence[Label | None], weights: Weights | None
) -> float | None:
    missing = [one for one in unscored if one is not None]
    if not missing:
        return None
    human, judge = [*(one.human for one in pairs), *missing], [one.judge for one in pairs]
    if weights:
        numbers = cast("list[float]", [*human, *judge])
        ends = (min(numbers), max(numbers))
        judge += [max(ends, key=lambda end: abs(end - cast("float", one))) for one in missing]
    else:
        judge += [not one if isinstance(one, bool) else UNSCORED for one in missing]
    return cohen_kappa(human, judge, weights=weights)


def _pass_fail_rates(
    human: Sequence[Label], judge: Sequence[Label], kind: LabelKind, pass_at: float | None
) -> Rates | None:
    if not human or kind == "name" or (kind == "number" and pass_at is None):
        return None
    return judge_rates(
        [_is_pass(label, pass_at) for label in human], [_is_pass(label, pass_at) for label in judge]
    )


def _corrected_pass_rate(
    human: Sequence[Label], judge: Sequence[Label], rest: Sequence[Label], pass_at: float | None
) -> Corrected | None:
    passed = sum(_is_pass(label, pass_at) for label in rest)
    both = [[_is_pass(label, pass_at) for label in each] for each in (human, judge)]
    return corrected_rate(both[0], both[1], passed, len(rest))


def _sort_disagreements(pairs: Sequence[_Pair], kind: LabelKind, span: float) -> tuple[Disagreement, ...]:
    numbers = [cast("float", one) for pair in pairs for one in pair[1:]] if kind == "number" else []
    width = span or (max(numbers, default=0.0) - min(numbers, default=0.0)) or 1.0
    # A judge that passes what people fail comes first: that is what slips through.
    return tuple(
        sorted(_find_disagreements(pairs, width), key=lambda one: (-one.gap, one.judge is False, one.line))
    )


def _find_disagreements(pairs: Sequence[_Pair], width: float) -> Iterator[Disagreement]:
    for row, human, judge in pairs:
        if human != judge:
            numbers = isinstance(human, float) and isinstance(judge, float)
            gap = abs(cast("float", human) - cast("float", judge)) / width if numbers else 1.0
            yield Disagreement(id=row.id, line=row.line, human=human, judge=judge, gap=gap)
