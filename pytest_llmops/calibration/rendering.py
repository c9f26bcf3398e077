"""A calibration in words: the verdict, the evidence for it, and the confusion table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from pytest_llmops.calibration.agreement import Disagreement, Figures
from pytest_llmops.calibration.confusion import Table, shown
from pytest_llmops.calibration.human_ceiling import People
from pytest_llmops.calibration.requirements import Reached, at_least
from pytest_llmops.calibration.verdicts import Judged
from pytest_llmops.measurement import Json, apart, shorten
from pytest_llmops.metrics.agreement import Corrected, Share

DIGITS = 4
MAX_WORST = 3
"""Disagreements of a failure text; the report has more."""
MAX_ROWS = 3
"""Classes up to which a failure text shows the whole confusion table."""
MAX_CELLS = 3
NAMES = {
    "kappa": "kappa",
    "kappa_lower": "kappa at 95 % confidence",
    "tnr_lower": "TNR at 95 % confidence",
    "tpr_lower": "TPR at 95 % confidence",
}


def summary(judged: Judged, reached: Sequence[Reached]) -> str:
    """Return what a judge missed, in one line.

    >>> summary(Judged(name="quality", version="1"), [Reached("kappa", 0.52, 0.6)])
    'judge quality does not agree with people: kappa 0.52 < 0.60'
    """
    missed = [
        f"{NAMES[one.name]} {' < '.join(apart(one.value, one.threshold, '1'))}"
        for one in reached
        if one.missed and one.threshold is not None
    ]
    return f"judge {shorten(judged.name, 60)} does not agree with people: {', '.join(missed)}"


def evidence(judged: Judged, found: Figures) -> Iterator[tuple[str, str]]:
    """Yield labelled lines: how sure the kappa is, the rates, the worst disagreements, the table, the ceiling."""
    yield "kappa", _kappa(found)
    if found.rates is not None:
        yield "TNR", _rate(found.rates.tnr, "fail", "passes")
        yield "TPR", _rate(found.rates.tpr, "pass", "fails")
    if found.table.classes:
        yield "confusion", _confusion(found.table)
    yield from (("worst", _worst(one, judged)) for one in found.disagreements[:MAX_WORST])
    if found.people is not None:
        yield "people", _people(found.people)
    if judged.errors:
        yield "unscored", _unscored(judged, found)
    if found.disputed:
        yield (
            "disputed",
            f"{len(found.disputed):,} answers without a majority, not compared: {_ids(found.disputed)}",
        )
    if found.corrected is not None:
        yield "pass rate", _corrected(found.corrected)


def lines(found: Table) -> list[str]:
    """Return the confusion table as lines of text, people's classes downwards and the judge's to the right.

    >>> for line in lines(Table(("fail", "pass"), ((8, 2), (1, 9)))):
    ...     print(line)
    people / judge  fail  pass
              fail     8     2
              pass     1     9
    """
    corner = "people / judge"
    names = [shorten(one, 16) for one in found.classes]
    cells = [[f"{count:,}" for count in row] for row in found.counts]
    widths = [
        max(map(len, (name, *column))) for name, column in zip(names, zip(*cells, strict=True), strict=True)
    ]
    left = max(map(len, (corner, *names)))
    rows = [(corner, names), *zip(names, cells, strict=True)]
    return [
        f"{head:>{left}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for head, row in rows
    ]


def facts(found: Figures) -> dict[str, Json]:
    """Return the figures as plain values of four decimals; what is not known is left out."""
    people = found.people
    wire: dict[str, object] = {
        "problem": found.problem or None,
        "weights": found.weights,
        "compared": found.compared,
        "unscored": len(found.unscored),
        "disputed": len(found.disputed),
        "kappa": found.kappa,
        "at_least": found.at_least,
        "interval": list(found.interval) if found.interval else None,
        "worst_case": found.worst_case,
        "agreement": found.agreement,
        "spearman": found.spearman,
        "people": people.raters if people else 1,
        "people_kappa": people.kappa if people else None,
        "people_alpha": people.alpha if people else None,
        "people_fleiss": people.fleiss if people else None,
        "judge_with_each": people.judge if people else None,
    }
    return {key: _rounded(value) for key, value in wire.items() if value is not None}


def _rounded(value: object) -> Json:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else cast("Json", value)


def _kappa(found: Figures) -> str:
    how = "quadratic kappa" if found.weights else "kappa"
    if found.kappa is None or found.at_least is None or found.interval is None:
        return f"none: {found.problem or 'the answers are all of one family'}"
    low, high = found.interval
    return (
        f"{how} {found.kappa:.2f}, with 95 % confidence at least {found.at_least:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}), {found.compared:,} answers{_beside(found)}"
    )


def _beside(found: Figures) -> str:
    unscored = f", {len(found.unscored):,} unscored" if found.unscored else ""
    return unscored + (f", {len(found.disputed):,} disputed" if found.disputed else "")


def _rate(share: Share, people: str, judge: str) -> str:
    if share.value is None:
        return f"people {people} none of the answers"
    wrong = share.total - share.hits
    return (
        f"{share.value:.2f}, with 95 % confidence at least {at_least(share):.2f}: the judge {judge} {wrong:,} of "
        f"{share.total:,} that people {people}"
    )


def _unscored(judged: Judged, found: Figures) -> str:
    first = next(iter(judged.errors))
    worst = "" if found.worst_case is None else f"; were they all wrong, kappa {found.worst_case:.2f}"
    return (
        f"{len(judged.errors):,} of {len(judged.verdicts):,} answers have no verdict and are not compared{worst}; "
        f"{shorten(first, 40)}: {shorten(judged.errors[first], 80)}"
    )


def _worst(one: Disagreement, judged: Judged) -> str:
    given = judged.verdicts.get(one.id)
    score = (
        f" ({shown(given)})"
        if given is not None and isinstance(one.judge, bool) and given != one.judge
        else ""
    )
    return (
        f"{shorten(one.id, 60)} (line {one.line}): people {shown(one.human)}, judge {shown(one.judge)}{score}"
    )


def _people(people: People) -> str:
    if people.kappa is None:
        return "no two people labelled enough of the same answers to say how far they agree"
    alpha = "" if people.alpha is None else f", Krippendorff's alpha {people.alpha:.2f}"
    each = "" if people.judge is None else f"; of the judge with each {people.judge:.2f}"
    return f"kappa between any two of {people.raters} people {people.kappa:.2f}{alpha}{each}"


def _confusion(found: Table) -> str:
    names = [shorten(one, 20) for one in found.classes]
    if len(names) <= MAX_ROWS:
        rows = (
            f"people {name}: judge "
            + ", ".join(f"{other} {n:,}" for other, n in zip(names, row, strict=True))
            for name, row in zip(names, found.counts, strict=True)
        )
        return "; ".join(rows)
    off = [
        (n, names[row], names[column])
        for row, counts in enumerate(found.counts)
        for column, n in enumerate(counts)
        if n and row != column
    ]
    often = sorted(off, key=lambda one: -one[0])[:MAX_CELLS]
    told = "; ".join(f"people {human}, judge {judge}: {n:,} times" for n, human, judge in often)
    return f"most often {told}" if often else "no answer is seen differently"


def _corrected(one: Corrected) -> str:
    return (
        f"of {one.judged:,} answers without a label the judge passes {one.naive:.0%}; corrected by the labels "
        f"{one.rate:.0%} (95 % interval {one.low:.0%} to {one.high:.0%})"
    )


def _ids(ids: Sequence[str]) -> str:
    rest = len(ids) - MAX_WORST
    return ", ".join(shorten(one, 40) for one in ids[:MAX_WORST]) + (
        f" and {rest:,} more" if rest > 0 else ""
    )
