"""Texts that are nearly the same, and texts that stand in others: duplicates and leaks of cases."""

from collections.abc import Iterator, Sequence

from pytest_llmops.errors import refuse

MIN_RATIO = 90.0
MIN_QUOTED_RATIO, MIN_QUOTED_CHARS = (
    95,
    20,
)  # of a text that stands in another: likeness, and the shortest that counts
MAX_CHARS, BLOCK = (
    2_000,
    512,
)  # characters of a text, and texts with those of similar length, that are compared at once


def find_similar_pairs(texts: Sequence[str], at_least: float = MIN_RATIO) -> Iterator[tuple[int, int, int]]:
    """Yield (earlier, later, ratio) for texts that are alike without case and marks; of equal ones each with the first.

    The ratio is `fuzz.ratio` of rapidfuzz over the first 2,000 characters, 0 to 100. It is likeness of letters, not of
    meaning: "How do I get my PIN?" and "How do I set my PIN?" may be a pair.

    >>> list(find_similar_pairs(["Where is my card?", "Is it free?", "where's my card"]))
    [(0, 2, 97)]

    Raises:
        UsageError: The least ratio is not above 1 and up to 100: 0.9 is no percentage.
    """
    import numpy as np
    from rapidfuzz import fuzz, process, utils

    refuse(
        not 1 < at_least <= 100,  # noqa: PLR2004
        f"likeness: expected a percentage above 1 and up to 100, got {at_least:g}",
    )
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        if (earlier := first.setdefault(utils.default_process(text[:MAX_CHARS]) or text, index)) != index:
            yield earlier, index, 100
    unique = sorted(first, key=len)
    lengths = np.fromiter(map(len, unique), int)
    # A ratio of 2 * common / (a + b) bounds how much longer the other text can be.
    ends = np.searchsorted(lengths, lengths * (200 / at_least - 1), side="right")
    for start in range(0, len(unique), BLOCK):
        block, others = unique[start : start + BLOCK], unique[start : ends[start : start + BLOCK][-1]]
        scores = process.cdist(
            block, others, scorer=fuzz.ratio, score_cutoff=at_least, dtype=np.uint8, workers=-1
        )
        for row, column in zip(*np.nonzero(np.triu(scores, 1)), strict=True):
            earlier, later = sorted((first[block[row]], first[others[column]]))
            yield earlier, later, int(scores[row, column])


def find_quoted(texts: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (text, document) where a text of at least 20 characters stands, nearly as it is, in a longer document."""
    import numpy as np
    from rapidfuzz import fuzz, process, utils

    needles, stacks = (list(map(utils.default_process, some)) for some in (texts, documents))
    for place, stack in enumerate(stacks):
        scores = process.cdist(
            needles,
            [stack],
            scorer=fuzz.partial_ratio,
            score_cutoff=MIN_QUOTED_RATIO,
            dtype=np.uint8,
            workers=-1,
        )
        rows = (int(row) for row in np.flatnonzero(scores))
        yield from ((row, place) for row in rows if MIN_QUOTED_CHARS <= len(needles[row]) <= len(stack))
