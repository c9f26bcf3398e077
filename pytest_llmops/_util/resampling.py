"""Draw resamples of a bootstrap in blocks, and take their percentile interval."""

from collections.abc import Iterator

from pytest_llmops._util.arrays import ArrayLike, np

RESAMPLES = 2000
MAX_DRAWN_CELLS = 2_000_000  # numbers drawn at a time, to limit the memory for many items


def iterate_blocks(width: int) -> Iterator[int]:
    """Yield the sizes of the blocks in which to draw `RESAMPLES` resamples; ``width`` is the number of numbers in a resample.

    >>> list(iterate_blocks(10)), list(iterate_blocks(1500))
    ([2000], [1333, 667])
    """
    block = max(1, MAX_DRAWN_CELLS // width)
    for start in range(0, RESAMPLES, block):
        yield min(block, RESAMPLES - start)


def percentile_interval(values: ArrayLike, confidence: float) -> tuple[float, float]:
    """Return the interval that holds a share (``confidence``) of the values, with equally many of them below and above it.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    >>> percentile_interval([0.0, 1.0, 2.0, 3.0, 4.0], 0.5)
    (1.0, 3.0)
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(values), [tail, 1 - tail])
    return float(low), float(high)
