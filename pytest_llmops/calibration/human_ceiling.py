"""Agreement of human annotators with each other, which is the ceiling of a judge."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmops.calibration.labels import Label, Labels
from pytest_llmops.metrics.agreement import Weights, cohen_kappa, fleiss_kappa, krippendorff_alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAgreement:
    """How far annotators agree with each other: a judge can hardly do better.

    Attributes:
        raters: The number of annotators.
        kappa: Mean kappa over all pairs of annotators, each over the answers that both labelled; None: no pair has a kappa.
        alpha: Krippendorff's alpha, which allows for missing labels.
        fleiss: Fleiss' kappa, if every annotator labelled every answer and the labels are not numbers.
        judge: Mean kappa of the judge with each annotator, to compare with ``kappa``. The kappa with the majority
            label is higher, as single slips cancel.
    """

    raters: int
    kappa: float | None
    alpha: float | None
    fleiss: float | None
    judge: float | None


def human_agreement(
    labels: Labels, verdicts: Mapping[str, Label | None], weights: Weights | None
) -> HumanAgreement | None:
    """Return how far annotators agree with each other, and the judge with each; None for a single annotator.

    >>> from pytest_llmops.calibration.labels import read_labels
    >>> rows = [{"id": "a", "human": [True, True]}, {"id": "b", "human": [False, False]}, {"id": "c", "human": [True]}]
    >>> human_agreement(read_labels(rows), {"a": True, "b": True}, None).kappa
    1.0
    """
    if len(labels.raters) < 2:  # noqa: PLR2004 -- a single annotator has nobody to agree with
        return None
    labels_by_answer = [row.opinion.human for row in labels.labelled]
    judged = [verdicts.get(row.id) for row in labels.labelled]
    columns = [[by_rater.get(rater) for by_rater in labels_by_answer] for rater in labels.raters]
    rows = list(zip(*columns, strict=True))
    whole = not weights and all(None not in row for row in rows)
    return HumanAgreement(
        raters=len(labels.raters),
        kappa=_mean_kappa([_common_kappa(a, b, weights) for a, b in itertools.combinations(columns, 2)]),
        alpha=krippendorff_alpha(rows, level="interval" if weights else "nominal"),
        fleiss=fleiss_kappa(rows) if whole else None,
        judge=_mean_kappa([_common_kappa(column, judged, weights) for column in columns]),
    )


def _common_kappa(
    a: Sequence[Label | None], b: Sequence[Label | None], weights: Weights | None
) -> float | None:
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return cohen_kappa([x for x, _ in both], [y for _, y in both], weights=weights)


def _mean_kappa(kappas: Sequence[float | None]) -> float | None:
    known = [kappa for kappa in kappas if kappa is not None]
    return fmean(known) if known else None
