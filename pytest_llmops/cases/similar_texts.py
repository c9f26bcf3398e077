"""Texts that are nearly the same, and texts that stand in others: duplicates and leaks of cases."""

from collections.abc import Iterable, Iterator, Sequence

from pytest_llmops.errors import refuse

MIN_RATIO = 90.0
MIN_QUOTED_RATIO = 95  # likeness of a text that stands in another
MIN_QUOTED_CHARS = 20  # the shortest such text that counts
MAX_CHARS = 2_000  # characters of a text that are compared
BLOCK = 512  # texts that are compared at once with those of similar length


def find_similar_pairs(texts: Iterable[str], at_least: float = MIN_RATIO) -> Iterator[tuple[int, int, int]]:
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
        earlier = first.setdefault(utils.default_process(text[:MAX_CHARS]) or text, index)
        if earlier != index:
            yield earlier, index, 100
    unique = np.array(sorted(first, key=len), dtype=object)
    lengths = np.fromiter(map(len, unique), int)
    # A ratio of 2 * common / (a + b) bounds how much longer the other text can be, and by how many characters they differ.
    # Each of them is one more or less of "the third e", "the first x" ...: a bit for each, so most pairs need no ratio.
    ends = np.searchsorted(lengths, lengths * (200 / at_least - 1), side="right")
    sizes = [64 << (int(length) // 16).bit_length() for length in lengths]  # bits that keep them apart
    counted = np.zeros((len(unique), sizes[-1] // 8 if sizes else 0), np.uint8)
    count_bits = getattr(np, "bitwise_count", None)  # numpy 2
    for row, text in enumerate(unique if count_bits else ()):
        codes = np.sort(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))
        nth = (np.arange(len(codes)) - np.searchsorted(codes, codes)).astype(np.uint32)
        hashes = (codes * 0x9E3779B1 + nth * 0x85EBCA6B) * 0xC2B2AE35 >> 12
        np.bitwise_or.at(counted[row], hashes % sizes[-1] // 8, (1 << hashes % 8).astype(np.uint8))
    for start in range(0, len(unique), BLOCK):
        stop = ends[start : start + BLOCK][-1]
        folded = counted[start:stop].view(np.uint64).reshape(stop - start, -1, sizes[stop - 1] // 64)
        bits = np.bitwise_or.reduce(folded, axis=1).T.copy()
        for row in range(start, min(start + BLOCK, len(unique))):
            others = np.arange(row + 1, ends[row])
            if count_bits:
                unlike = count_bits(
                    bits[:, [row - start]] ^ bits[:, row + 1 - start : ends[row] - start]
                ).sum(axis=0, dtype=int)
                others = others[unlike <= (lengths[row] + lengths[others]) * (1 - at_least / 100) + 1]
            near = unique[others].tolist()
            scores = process.cdist(
                [unique[row]], near, scorer=fuzz.ratio, score_cutoff=at_least, dtype=np.uint8
            )
            for place in np.flatnonzero(scores):
                earlier, later = sorted((first[unique[row]], first[near[place]]))
                yield earlier, later, int(scores[0, place])


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
        yield from (
            (row, place)
            for row in np.flatnonzero(scores).tolist()
            if MIN_QUOTED_CHARS <= len(needles[row]) <= len(stack)
        )
