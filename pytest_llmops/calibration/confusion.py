"""The confusion table of human annotators and a judge, and the text of a label."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pytest_llmops.calibration.labels import Label

MAX_CLASSES = 11
"""Further classes are merged, to keep a table readable."""


@dataclass(frozen=True, slots=True)
class ConfusionTable:
    """How often the annotators give a class and the judge another.

    Attributes:
        classes: Names of rows and columns, from the lowest.
        counts: ``counts[human][judge]``.
    """

    classes: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()


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
        return "pass" if label else "fail"
    return label if isinstance(label, str) else f"{label:.6g}"


def _label_classes(labels: Sequence[Label]) -> tuple[tuple[str, ...], Mapping[Label, int], int]:
    """Return the names of the classes, the class of each label, and the class of labels that are not listed."""
    different = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(different) > MAX_CLASSES and isinstance(different[0], float):
        return _number_steps(cast("list[float]", different))
    if len(different) > MAX_CLASSES:
        common = [label for label, _ in Counter(labels).most_common(MAX_CLASSES - 1)]
        return (
            (*map(format_label, common), "(others)"),
            {label: n for n, label in enumerate(common)},
            len(common),
        )
    return tuple(map(format_label, different)), {label: n for n, label in enumerate(different)}, 0


def _number_steps(numbers: Sequence[float]) -> tuple[tuple[str, ...], Mapping[Label, int], int]:
    low, high, count = numbers[0], numbers[-1], MAX_CLASSES - 1
    edges = [low + (high - low) * (step / count) for step in range(count + 1)]
    names = tuple(f"{start:.4g} to {end:.4g}" for start, end in itertools.pairwise(edges))
    return (
        names,
        {number: min(count - 1, int((number - low) / (high - low) * count)) for number in numbers},
        0,
    )
