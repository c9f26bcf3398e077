"""Texts that are nearly the same, and texts that occur within others: duplicates and leaks of cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llmops.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_RATIO = 90.0
MIN_QUOTED_RATIO = 95  # likeness of a text that occurs within another
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
        UsageError: The least ratio is not above 1 and up to 100: 0.9 is not a percentage.
    """
    from rapidfuzz import utils

    if not 1 < at_least <= 100:  # noqa: PLR2004 -- per cent
        raise UsageError(f"likeness: expected a percentage above 1 and up to 100, got {at_least:g}")
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        plain = utils.default_process(text[:MAX_CHARS]) or text
        earlier = first.setdefault(plain, index)
        if earlier != index:
            yield earlier, index, 100
    for text, other, ratio in _compare_texts(sorted(first, key=len), at_least):
        earlier, later = sorted((first[text], first[other]))
        yield earlier, later, ratio


def _compare_texts(texts: Sequence[str], at_least: float) -> Iterator[tuple[str, str, int]]:
    """Yield the pairs of different texts that are alike, with their ratio; the texts are sorted by length."""
    import numpy as np
    from rapidfuzz import fuzz, process

    unique = np.array(texts, dtype=object)
    lengths = np.fromiter(map(len, texts), int)
    # A ratio of 2 * common / (a + b) bounds how much longer the other text can be, and by how many characters they differ.
    longest_lengths = lengths * (200 / at_least - 1)
    ends = np.searchsorted(lengths, longest_lengths, side="right")
    sketches = None
    if hasattr(np, "bitwise_count"):  # numpy 2
        sketches = _sketch_texts(texts)
    for start in range(0, len(texts), BLOCK):
        block_end = min(start + BLOCK, len(texts))
        block = range(start, block_end)
        bits = None
        if sketches is not None:
            end = ends[block[-1]]
            bits = _fold_sketches(sketches[start:end], len(texts[end - 1]))
        for row in block:
            others = np.arange(row + 1, ends[row])
            if bits is not None:
                own_bits = bits[:, [row - start]]
                first_other = row + 1 - start
                other_bits = bits[:, first_other : ends[row] - start]
                unlike = np.bitwise_count(own_bits ^ other_bits).sum(axis=0, dtype=int)
                characters = lengths[row] + lengths[others]
                most = characters * (1 - at_least / 100) + 1
                others = others[unlike <= most]
            near = unique[others].tolist()
            text = texts[row]
            scores = process.cdist([text], near, scorer=fuzz.ratio, score_cutoff=at_least, dtype=np.uint8)
            for place in np.flatnonzero(scores):
                yield text, near[place], int(scores[0, place])


def _count_sketch_bits(length: int) -> int:
    """Return how many bits keep the characters of a text of a length apart: a power of 2, as sketches are folded."""
    return 64 << (length // 16).bit_length()


def _sketch_texts(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return the sketches of texts that are sorted by length, a row of bits each.

    Each character has a bit by the hash of "the third e", "the first x" ..., so the differing bits of two texts are at most
    the characters that one of them has more of than the other, and most pairs need no ratio.
    """
    import numpy as np

    bit_count = 64
    if texts:
        bit_count = _count_sketch_bits(len(texts[-1]))
    sketches = np.zeros((len(texts), bit_count // 8), np.uint8)
    for sketch, text in zip(sketches, texts, strict=True):
        encoded = text.encode("utf-32-le", "surrogatepass")
        codes = np.sort(np.frombuffer(encoded, np.uint32))
        places = np.arange(len(codes))
        first_places = np.searchsorted(codes, codes)
        repeats = (places - first_places).astype(np.uint32)
        mixed = codes * 0x9E3779B1 + repeats * 0x85EBCA6B
        hashes = mixed * 0xC2B2AE35 >> 12
        bits = (1 << hashes % 8).astype(np.uint8)
        places = hashes % bit_count // 8
        np.bitwise_or.at(sketch, places, bits)
    return sketches


def _fold_sketches(sketches: NDArray[np.uint8], longest: int) -> NDArray[np.uint64]:
    """Return sketches with as many bits as texts up to a length need, a column each."""
    import numpy as np

    words = _count_sketch_bits(longest) // 64
    parts = sketches.view(np.uint64).reshape(len(sketches), -1, words)
    folded: NDArray[np.uint64] = np.bitwise_or.reduce(parts, axis=1)
    return folded.T.copy()


def find_quoted(texts: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (text, document) where a text of at least 20 characters occurs, nearly as it is, in a longer document."""
    import numpy as np
    from rapidfuzz import fuzz, process, utils

    plain_texts = [utils.default_process(text) for text in texts]
    for number, document in enumerate(documents):
        plain_document = utils.default_process(document)
        scores = process.cdist(
            plain_texts,
            [plain_document],
            scorer=fuzz.partial_ratio,
            score_cutoff=MIN_QUOTED_RATIO,
            dtype=np.uint8,
            workers=-1,
        )
        for row in np.flatnonzero(scores).tolist():
            if MIN_QUOTED_CHARS <= len(plain_texts[row]) <= len(plain_document):
                yield row, number
