"""Changes of several families of cases side by side, each with a status; tested exactly, and adjusted for their number."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from pytest_llmops.metrics.change.bounds import bound_range
from pytest_llmops.metrics.change.p_values import ROUNDING, change_p_value
from pytest_llmops.metrics.change.trials import Trials, adjust_p_values, mean_change


def compare_families(
    families: Mapping[str, Trials],
    *,
    is_quality: bool = True,
    alpha: float = 0.05,
    floor: float = 0.02,
    margin: float = 0.05,
) -> dict[str, dict[str, Any]]:
    """Return for each family a mapping of its figures.

    The keys are ``status``, ``change``, ``interval`` (of the change, with 1 - alpha; empty if unknown), ``before`` and
    ``after`` (mean scores) and ``cases`` (their number). The status is ``better`` or ``worse`` (the change is
    significant and not below the floor), ``equivalent`` (the interval lies within the margin) or ``undecided``. The
    p-values are adjusted for the number of families (Holm).

    Args:
        families: The trials of each family; a case may be in several families.
        is_quality: Whether a higher score is better. If not, the scores are similarities: a significant drop has the
            status ``changed``, and a rise has no status of its own.
        alpha: The probability of a significant change in any family if nothing changed.
        floor: A smaller change is never ``better``, ``worse`` or ``changed``.
        margin: Changes up to this size count as no change.

    >>> from pytest_llmops.metrics.change.trials import TrialPair
    >>> same = {str(number): TrialPair((0.9,) * 4, (0.9,) * 4) for number in range(20)}
    >>> compare_families({"all": same})["all"]["status"]
    'equivalent'
    """
    compared = {}
    p_values = adjust_p_values([change_p_value(trials) for trials in families.values()])
    for (name, trials), p_value in zip(families.items(), p_values, strict=True):
        change = mean_change(trials)
        status = "undecided"
        interval = bound_range(trials, alpha / 2) or ()
        if interval and -margin < interval[0] and interval[1] < margin:
            status = "equivalent"
        if p_value <= alpha + ROUNDING and abs(change) >= floor - ROUNDING:
            if not is_quality and change < 0:
                status = "changed"
            elif is_quality and change > 0:
                status = "better"
            elif is_quality:
                status = "worse"
        means_before = [fmean(pair.before) for pair in trials.values()]
        means_after = [fmean(pair.after) for pair in trials.values()]
        compared[name] = {
            "status": status,
            "change": change,
            "interval": list(interval),
            "before": fmean(means_before),
            "after": fmean(means_after),
            "cases": len(trials),
        }
    return compared
