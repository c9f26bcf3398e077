"""Find the threshold of a new judge that decides most like the threshold of the old judge.

A "split" divides the outputs by the new score into those that pass and those that fail. The best one is that whose decisions
agree most with the old judge, measured by kappa.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.results.rescoring.score_changes import Change, Score

# With less than these, no threshold is proposed
MIN_OUTPUTS = 20  # outputs that both judges scored
MIN_EACH = 5  # outputs that the old judge passed, and as many that it failed
MIN_KAPPA = 0.4  # kappa of the decisions of both: below it they rank the outputs so differently that no threshold makes up for it
TOLERANCE = 1e-9  # the rounding of scores


def find_threshold_shifts(changes: Sequence[Change], pass_at: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return, for each threshold of an old judge and its dimensions, the threshold of the new judge that decides most alike.

    Args:
        changes: The outputs with both scores.
        pass_at: The new judge's own thresholds by dimension; ``""`` is the overall score. They are also taken for the old judge,
            where its verdicts have no threshold, if it has the same name and scale.

    Returns:
        Objects with ``judge``, ``dimension``, the old ``threshold``, the ``present`` one of the new judge and the ``outputs`` that both
        scored; and either a ``problem``, or the threshold ``equivalent`` to the old one, how many outputs it ``passes`` (the old one:
        ``old_passes``) and in how many both agree (at the present one: ``present_agrees``), and the ``kappa`` of the decisions.
    """
    shifts = []
    thresholds = _collect_thresholds(changes, pass_at)
    for (judge, dimension), known in sorted(thresholds.items()):
        pairs = []
        for change in changes:
            pair = _read_both_scores(change, dimension)
            if change.old.name == judge and pair is not None:
                pairs.append(pair)
        for threshold, present in sorted(known.items()):
            shift: dict[str, Any] = {
                "judge": judge,
                "dimension": dimension,
                "threshold": threshold,
                "present": present,
            }
            shift |= _match_threshold(pairs, threshold, present)
            shifts.append(shift)
    return shifts


def _collect_thresholds(
    changes: Sequence[Change], pass_at: Mapping[str, float]
) -> dict[tuple[str, str], dict[float, float]]:
    """Return by old judge and dimension: its thresholds, each with the present threshold of the new judge."""
    thresholds: dict[tuple[str, str], dict[float, float]] = {}
    for change in changes:
        old = change.old
        new = change.new
        threshold = change.output.threshold
        if (old.name, old.scale) == (new.name, new.scale):
            dimensions = set(old.dimensions)
            if threshold is None:
                dimensions.add("")
            for dimension in dimensions & pass_at.keys():
                known = thresholds.setdefault((old.name, dimension), {})
                known.setdefault(pass_at[dimension], pass_at[dimension])
        if threshold is not None:
            present = new.threshold
            if present is None:
                present = pass_at.get("", threshold)
            thresholds.setdefault((old.name, ""), {})[threshold] = present
    return thresholds


def _read_both_scores(change: Change, dimension: str) -> tuple[float, float] | None:
    """Return the old and the new score of an output on the judges' own scales; None if one is missing.

    Args:
        change: The output with both scores.
        dimension: The dimension; "": the overall score.
    """
    old = _read_score(change.old, dimension)
    new = _read_score(change.new, dimension)
    if old is None or new is None:
        return None
    return (old, new)


def _read_score(score: Score, dimension: str) -> float | None:
    if dimension:
        return as_finite_float(score.dimensions.get(dimension))
    return as_finite_float(score.score)


@dataclass(frozen=True, slots=True, order=True)
class _Split:
    """A place at which the new scores can be split. Splits are ordered by their fields, and the greatest is the best.

    Attributes:
        kappa: Agreement of its decisions with the old judge.
        balance: Minus the difference between the numbers of outputs that it and the old judge pass; 0 is the best.
        passes: How many outputs it passes.
        agrees: How many outputs it decides as the old judge did.
        score: The lowest score that passes.
        below: The highest score that fails.
    """

    kappa: float
    balance: int
    passes: int
    agrees: int
    score: float
    below: float


def _match_threshold(
    pairs: Sequence[tuple[float, float]], threshold: float, present: float
) -> dict[str, Any]:
    """Return the result of `find_threshold_shifts` for one threshold, from the best split of the new scores.

    Args:
        pairs: The old and the new score of each output.
        threshold: The threshold of the old judge.
        present: The present threshold of the new judge. It is proposed if it splits the scores at the same place.
    """
    # New scores with the decision of the old judge, the highest first
    scores = [(new, old >= threshold - TOLERANCE) for old, new in pairs]
    scores.sort(reverse=True)
    count = len(scores)
    passed = sum(decision for _, decision in scores)
    failed = count - passed
    if not _can_compare(scores, passed):
        problem = (
            f"expected at least {MIN_OUTPUTS} outputs that both judges scored, {MIN_EACH} of them passed and {MIN_EACH} failed by the old one, "
            f"and different scores of the new one; got {count}, {passed} passed and {failed} failed"
        )
        return {"outputs": count, "problem": problem}
    best = max(_iter_splits(scores, passed))
    middle = (best.score + best.below) / 2
    result: dict[str, Any] = {"outputs": count}
    if best.kappa < MIN_KAPPA:
        result["problem"] = (
            f"no threshold of the new judge decides as it does; the best, {middle:.3g}, agrees in {best.agrees} of {count} "
            f"outputs (kappa {best.kappa:.2f})"
        )
    elif best.below < present - TOLERANCE and present <= best.score + TOLERANCE:
        # Every number between two scores decides alike: stay at the present one.
        result["equivalent"] = present
    else:
        result["equivalent"] = middle
    lowest = present - TOLERANCE
    result["old_passes"] = passed
    result["passes"] = best.passes
    result["agrees"] = best.agrees
    result["present_agrees"] = sum((new >= lowest) == decision for new, decision in scores)
    result["kappa"] = round(best.kappa, 4)
    return result


def _can_compare(scores: Sequence[tuple[float, bool]], passed: int) -> bool:
    """Return whether there are enough scores to propose a threshold.

    Args:
        scores: The new scores with the decision of the old judge, sorted.
        passed: How many of the outputs the old judge passed.
    """
    count = len(scores)
    if count < MIN_OUTPUTS or min(passed, count - passed) < MIN_EACH:
        return False
    highest, _ = scores[0]
    lowest, _ = scores[-1]
    return highest != lowest


def _iter_splits(scores: Sequence[tuple[float, bool]], passed: int) -> Iterator[_Split]:
    """Yield all splits between different scores; there is one at least if `_can_compare` accepts the scores.

    Args:
        scores: The new scores with the decision of the old judge, the highest first.
        passed: How many of the outputs the old judge passed.
    """
    count = len(scores)
    passes = 0  # outputs above the split
    hits = 0  # the ones that the old judge passed too
    groups = []
    for score, group in groupby(scores, itemgetter(0)):
        groups.append((score, [decision for _, decision in group]))
    for (score, decisions), (below, _) in pairwise(groups):
        passes += len(decisions)
        hits += sum(decisions)
        disagreements = passes + passed - 2 * hits
        by_chance = passed * (count - passes) + passes * (
            count - passed
        )  # expected disagreements, times count
        kappa = 1 - disagreements * count / by_chance
        balance = -abs(passes - passed)
        yield _Split(kappa, balance, passes, count - disagreements, score, below)


def format_threshold_shifts(shifts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each shift; names are shortened.

    >>> next(format_threshold_shifts([{"judge": "tone", "dimension": "", "threshold": 7.0, "problem": "got 3"}]))
    'tone: pass_at 7 of the old judge corresponds to none of the new one: got 3'
    """
    for shift in shifts:
        name = " ".join(filter(None, (shift["judge"], shift["dimension"])))
        threshold = shift["threshold"]
        start = f"{shorten_text(name, 100)}: pass_at {threshold:g} of the old judge corresponds to"
        if "problem" in shift:
            yield f"{start} none of the new one: {shift['problem']}"
            continue
        present = shift["present"]
        equivalent = f"about {shift['equivalent']:.3g}"
        at_present = f", {shift['present_agrees']} at the present {present:g}"
        if shift["equivalent"] == present:
            equivalent = f"{present:.3g}"
            at_present = ", as at present"
        agreement = f"they agree in {shift['agrees']} of {shift['outputs']} outputs{at_present}"
        passes = f"pass {shift['old_passes']} and {shift['passes']}"
        yield f"{start} {equivalent} of the new one: {agreement}, and {passes}"
