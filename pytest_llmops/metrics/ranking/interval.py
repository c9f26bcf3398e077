"""How sure a mean over queries is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

RESAMPLES = 2000
CELLS = 2_000_000
"""Numbers drawn at once, so that many queries do not take much memory."""


def interval(
    values: ArrayLike, groups: Sequence[str] | None = None, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the interval of a mean by the bootstrap over groups: the same numbers give the same interval.

    Args:
        values: ``(n,)`` numbers.
        groups: The group of each; None: each is its own. Members of a group (paraphrases of one question) are
            drawn together, as they are not independent.
        confidence: Share of resampled means within the interval.
        seed: Of the draws.

    Returns:
        Lower and upper end; None where nothing can be told: there are fewer than two groups, or all values
        are equal.

    Raises:
        ValueError: The values are no list of finite numbers, the groups are not as many, or the confidence is
            not between 0 and 1.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).

    >>> low, high = interval([0.0, 1.0] * 50)
    >>> 0.38 < low < 0.42 and 0.58 < high < 0.62
    True
    """
    import numpy as np

    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ValueError(f"values: expected a list of finite numbers, got {values!r:.80}")
    if groups is not None and len(groups) != len(numbers):
        raise ValueError(f"groups: expected one for each of {len(numbers)} values, got {len(groups)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence!r}")
    names = groups if groups is not None else [str(place) for place in range(len(numbers))]
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    if len(known) < 2 or numbers.min() == numbers.max():  # noqa: PLR2004 -- one group has no spread
        return None
    number = np.array([known[name] for name in names])
    sums, sizes = np.bincount(number, weights=numbers), np.bincount(number)
    draws = np.random.default_rng(seed)
    means: list[float] = []
    block = max(1, CELLS // len(known))
    for start in range(0, RESAMPLES, block):
        drawn = draws.integers(len(known), size=(min(block, RESAMPLES - start), len(known)))
        means += (sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).tolist()
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
