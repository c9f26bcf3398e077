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
BLOCK = 512  # texts that are compared at once with texts of similar length


def find_similar_pairs(texts: Iterable[str], at_least: float = MIN_RATIO) -> Iterator[tuple[int, int, int]]:
    """Yield (index, later index, ratio) for pairs of similar texts; letter case and punctuation do not count.

    Of several equal texts, each is paired with the first one only, and only the first one is compared with other texts.

    The ratio is `fuzz.ratio` of rapidfuzz over the first 2,000 characters, 0 to 100. It is similarity of letters, not of
    meaning: "How do I get my PIN?" and "How do I set my PIN?" may be a pair.

    >>> list(find_similar_pairs(["Where is my card?", "Is it free?", "where's my card"]))
    [(0, 2, 97)]

    Raises:
        UsageError: ``at_least`` is not above 1 and up to 100 (0.9 is not a percentage).
    """
    from rapidfuzz import utils

    if not 1 < at_least <= 100:  # noqa: PLR2004 -- per cent
        raise UsageError(f"likeness: expected a percentage above 1 and up to 100, got {at_least:g}")
    first: dict[str, int] = {}  # normalized text -> index of its first occurrence
    for index, text in enumerate(texts):
        plain = utils.default_process(text[:MAX_CHARS]) or text
        earlier = first.setdefault(plain, index)
        if earlier != index:
            yield earlier, index, 100
    for text, other, ratio in _compare_texts(sorted(first, key=len), at_least):
        earlier, later = sorted((first[text], first[other]))
        yield earlier, later, ratio


def _compare_texts(texts: Sequence[str], at_least: float) -> Iterator[tuple[str, str, int]]:
    """Yield the pairs of similar texts with their ratio. The texts must be sorted by length, without duplicates.

    Each text is compared with those after it, up to the length at which the ratio cannot be reached. Sketches (see
    `_sketch_texts`) exclude most of these pairs without computing their ratio.
    """
    import numpy as np
    from rapidfuzz import fuzz, process

    unique = np.array(texts, dtype=object)
    lengths = np.fromiter(map(len, texts), int)
    # The ratio is 200 * common / (a + b) for texts of a and b characters, and common <= a: so b <= a * (200 / ratio - 1), and the
    # number of characters that differ, a + b - 2 * common, is at most (a + b) * (1 - ratio / 100).
    longest_lengths = lengths * (200 / at_least - 1)
    ends = np.searchsorted(lengths, longest_lengths, side="right")
    sketches = None
    if hasattr(np, "bitwise_count"):  # numpy 2
        sketches = _sketch_texts(texts)
    for start in range(0, len(texts), BLOCK):
        block_end = min(start + BLOCK, len(texts))
        block = range(start, block_end)
        bits = None  # sketches of the block and of all texts it is compared with, a column for each text
        if sketches is not None:
            end = ends[block[-1]]  # after the longest text that any text of the block is compared with
            bits = _fold_sketches(sketches[start:end], len(texts[end - 1]))
        for row in block:
            others = np.arange(row + 1, ends[row])
            if bits is not None:
                own_bits = bits[:, [row - start]]
                first_other = row + 1 - start
                other_bits = bits[:, first_other : ends[row] - start]
                differing = np.bitwise_count(own_bits ^ other_bits).sum(axis=0, dtype=int)
                characters = lengths[row] + lengths[others]
                most_differing = characters * (1 - at_least / 100) + 1  # 1 for rounding
                others = others[differing <= most_differing]
            near = unique[others].tolist()
            text = texts[row]
            scores = process.cdist([text], near, scorer=fuzz.ratio, score_cutoff=at_least, dtype=np.uint8)
            for place in np.flatnonzero(scores):
                yield text, near[place], int(scores[0, place])


def _count_sketch_bits(length: int) -> int:
    """Return the size of a sketch for texts of this length: some bits for each character, so that few characters share one.

    It is a power of 2, at least 64, so that a longer sketch can be folded into a shorter one.
    """
    return 64 << (length // 16).bit_length()


def _sketch_texts(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return a row of bits for each text, its sketch. The texts are sorted by length; the last one decides the size of all rows.

    For each character, the bit at the hash of "the third e", "the first x" ... is set. So two texts differ in at most as many
    bits as there are characters that only one of them has: more differing bits prove that the texts are not similar.
    """
    import numpy as np

    bit_count = 64
    if texts:
        bit_count = _count_sketch_bits(len(texts[-1]))
    sketches = np.zeros((len(texts), bit_count // 8), np.uint8)
    for sketch, text in zip(sketches, texts, strict=True):
        encoded = text.encode("utf-32-le", "surrogatepass")
        codes = np.sort(np.frombuffer(encoded, np.uint32))
        first_places = np.searchsorted(codes, codes)
        repeats = (np.arange(len(codes)) - first_places).astype(
            np.uint32
        )  # how many equal characters come before
        mixed = codes * 0x9E3779B1 + repeats * 0x85EBCA6B
        hashes = mixed * 0xC2B2AE35 >> 12
        bits = (1 << hashes % 8).astype(np.uint8)
        byte_numbers = hashes % bit_count // 8
        np.bitwise_or.at(sketch, byte_numbers, bits)
    return sketches


def _fold_sketches(sketches: NDArray[np.uint8], longest: int) -> NDArray[np.uint64]:
    """Return the sketches shortened to the size for texts of at most ``longest`` characters, a column for each text.

    Each row is cut into pieces of that size, which are combined by OR. As both sizes are powers of 2, this gives the same bits
    as a sketch that was made in the smaller size.
    """
    import numpy as np

    words = _count_sketch_bits(longest) // 64  # of 64 bits
    pieces = sketches.view(np.uint64).reshape(len(sketches), -1, words)
    folded: NDArray[np.uint64] = np.bitwise_or.reduce(pieces, axis=1)
    return folded.T.copy()


def find_quoted(texts: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (index of the text, index of the document) where a text occurs almost literally in a document of at least its length.

    Texts under 20 characters are not searched for; letter case and punctuation do not count.
    """
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
