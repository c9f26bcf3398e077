"""How far people agree with each other: the ceiling of a judge."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmops.calibration.labels import Label, Labels
from pytest_llmops.metrics.agreement import Weights, cohen_kappa, fleiss_kappa, krippendorff_alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAgreement:
    """How far people agree with each other: a judge can hardly do better.

    Attributes:
        raters: How many people there are.
        kappa: Mean of the kappas of any two of them, over the answers both labelled; None: no two have one.
        alpha: Krippendorff's alpha of all, who may have left answers out.
        fleiss: Fleiss' kappa, where everybody labelled everything and the labels are no numbers.
        judge: Mean of the judge's kappas with each of them: what to hold against ``kappa``. The kappa with what
            most of them say is higher, as their slips cancel.
    """

    raters: int
    kappa: float | None
    alpha: float | None
    fleiss: float | None
    judge: float | None


def human_agreement(
    labels: Labels, verdicts: Mapping[str, Label | None], weights: Weights | None
) -> HumanAgreement | None:
    """Return how far people agree with each other, and the judge with each; None if there is one person only.

    >>> from pytest_llmops.calibration.labels import read_labels
    >>> rows = [{"id": "a", "human": [True, True]}, {"id": "b", "human": [False, False]}, {"id": "c", "human": [True]}]
    >>> human_agreement(read_labels(rows), {"a": True, "b": True}, None).kappa
    1.0
    """
    if len(labels.raters) < 2:  # noqa: PLR2004 -- one person has nobody to agree with
        return None
    labels_by_answer = [row.opinion.human for row in labels.labelled]
    judged = [verdicts.get(row.id) for row in labels.labelled]
    columns = [[by_rater.get(rater) for by_rater in labels_by_answer] for rater in labels.raters]
    rows = list(zip(*columns, strict=True))
    whole = not weights and all(None not in row for row in rows)
    return HumanAgreement(
        raters=len(labels.raters),
        kappa=_mean_of_known(
            [_kappa_of_common_answers(a, b, weights) for a, b in itertools.combinations(columns, 2)]
        ),
        alpha=krippendorff_alpha(rows, level="interval" if weights else "nominal"),
        fleiss=fleiss_kappa(rows) if whole else None,
        judge=_mean_of_known([_kappa_of_common_answers(column, judged, weights) for column in columns]),
    )


def _kappa_of_common_answers(
    a: Sequence[Label | None], b: Sequence[Label | None], weights: Weights | None
) -> float | None:
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return cohen_kappa([x for x, _ in both], [y for _, y in both], weights=weights)


def _mean_of_known(kappas: Sequence[float | None]) -> float | None:
    known = [kappa for kappa in kappas if kappa is not None]
    return fmean(known) if known else None
