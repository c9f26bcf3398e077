"""Find the threshold of a new judge that decides as a threshold of the old judge did, over outputs that both scored."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.results.rescoring.judged_outputs import Change

# Least outputs that both judges scored, of these passed, and failed, by the old judge; least kappa of the decisions of both, below
# which they rank the outputs so differently that no threshold makes up for it; and the rounding of scores
MIN_OUTPUTS, MIN_EACH, MIN_KAPPA, TOLERANCE = 20, 5, 0.4, 1e-9


def read_both_scores(change: Change, dimension: str) -> tuple[float, float] | None:
    """Return the old and the new score of an output on the judges' own scales, of a dimension or (``""``) as a whole; None: one is missing."""
    old, new = (
        as_finite_float(side.dimensions.get(dimension) if dimension else side.score)
        for side in (change.old, change.new)
    )
    return None if old is None or new is None else (old, new)


def find_threshold_shifts(changes: Sequence[Change], pass_at: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return for each threshold of an old judge, and of its dimensions, the threshold of the new judge that decides most alike.

    Args:
        changes: The outputs with both scores.
        pass_at: The new judge's own thresholds by dimension; that of the score itself under ``""``. They count for an old judge of
            the same name and scale too, where its verdicts have none.

    Returns:
        Objects with ``judge``, ``dimension``, the old ``threshold``, the ``present`` one of the new judge and the ``outputs`` that both
        scored; and either a ``problem``, or the threshold ``equivalent`` to the old one, how many outputs it ``passes`` (the old one:
        ``old_passes``) and in how many both agree (at the present one: ``present_agrees``), and the ``kappa`` of the decisions.
    """
    thresholds: dict[tuple[str, str], dict[float, float]] = {}
    for change in changes:
        old, new, threshold = change.old, change.new, change.output.threshold
        if (old.name, old.scale) == (new.name, new.scale):
            for dimension in {*old.dimensions, *([""] if threshold is None else [])} & pass_at.keys():
                thresholds.setdefault((old.name, dimension), {}).setdefault(
                    pass_at[dimension], pass_at[dimension]
                )
        if threshold is not None:
            thresholds.setdefault((old.name, ""), {})[threshold] = (
                pass_at.get("", threshold) if new.threshold is None else new.threshold
            )
    return [
        {
            "judge": judge,
            "dimension": dimension,
            "threshold": threshold,
            "present": present,
            **_match_threshold(
                [
                    pair
                    for change in changes
                    if change.old.name == judge and (pair := read_both_scores(change, dimension))
                ],
                threshold,
                present,
            ),
        }
        for (judge, dimension), known in sorted(thresholds.items())
        for threshold, present in sorted(known.items())
    ]


def _match_threshold(
    pairs: Sequence[tuple[float, float]], threshold: float, present: float
) -> dict[str, Any]:
    # Of all places where the new scores can be split, take the one whose decisions have the highest kappa with the old ones.
    scores = sorted(((new, old >= threshold - TOLERANCE) for old, new in pairs), reverse=True)
    count, passed = len(scores), sum(decision for _, decision in scores)
    if count < MIN_OUTPUTS or min(passed, count - passed) < MIN_EACH or scores[0][0] == scores[-1][0]:
        return {
            "outputs": count,
            "problem": f"expected at least {MIN_OUTPUTS} outputs that both judges scored, {MIN_EACH} of them passed and {MIN_EACH} failed by the old one, "
            f"and different scores of the new one; got {count}, {passed} passed and {count - passed} failed",
        }
    splits, passes, hits = [], 0, 0
    for (score, decisions), (below, _) in pairwise(
        (score, [decision for _, decision in group]) for score, group in groupby(scores, itemgetter(0))
    ):
        passes, hits = passes + len(decisions), hits + sum(decisions)
        apart = passes + passed - 2 * hits
        kappa = 1 - apart * count / (passed * (count - passes) + passes * (count - passed))
        splits.append((kappa, -abs(passes - passed), passes, count - apart, score, below))
    kappa, _, passes, agrees, score, below = max(splits)
    # Every number between two scores decides alike: stay at the present one if it lies there.
    stays = below < present - TOLERANCE and present <= score + TOLERANCE
    weak = f"no threshold of the new judge decides as it does; the best, {(score + below) / 2:.3g}, agrees in {agrees} of {count} outputs (kappa {kappa:.2f})"
    return {
        "outputs": count,
        **(
            {"problem": weak}
            if kappa < MIN_KAPPA
            else {"equivalent": present if stays else (score + below) / 2}
        ),
        "old_passes": passed,
        "passes": passes,
        "agrees": agrees,
        "present_agrees": sum((new >= present - TOLERANCE) == decision for new, decision in scores),
        "kappa": round(kappa, 4),
    }


def format_threshold_shifts(shifts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each shift; names are shortened.

    >>> next(format_threshold_shifts([{"judge": "tone", "dimension": "", "threshold": 7.0, "problem": "got 3"}]))
    'tone: pass_at 7 of the old judge corresponds to none of the new one: got 3'
    """
    for shift in shifts:
        what = f"{shorten_text(' '.join(filter(None, (shift['judge'], shift['dimension']))), 100)}: pass_at {shift['threshold']:g} of the old judge corresponds to"
        if "problem" in shift:
            yield f"{what} none of the new one: {shift['problem']}"
        else:
            here = f", {shift['present_agrees']} at the present {shift['present']:g}"
            stays = shift["equivalent"] == shift["present"]
            yield (
                f"{what} {'' if stays else 'about '}{shift['equivalent']:.3g} of the new one: they agree in {shift['agrees']} of "
                f"{shift['outputs']} outputs{', as at present' if stays else here}, and pass {shift['old_passes']} and {shift['passes']}"
            )
