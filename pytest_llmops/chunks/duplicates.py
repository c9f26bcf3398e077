"""Check for chunks that repeat each other."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.findings import CheckResult, Fault, share_result

SHINGLE_WORDS = 4  # words of a shingle
SKETCH_SIZE = 96  # shingle hashes in the sketch of a chunk, the smallest
NEAR_DUPLICATE_SHARE = 0.8  # share of common shingles from which two chunks are near duplicates
MAX_HOLDERS = 64  # chunks that are remembered for a shingle

# Words, or single characters in scripts without spaces.
_WORDS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|\\w+")


def check_duplicates(pieces: Sequence[Piece]) -> CheckResult:
    """Return the share of chunks that equal an earlier chunk except for case and white space; empty chunks do not count."""
    first: dict[str, Piece] = {}
    faults, count = [], 0
    for piece in pieces:
        key = "".join(piece.text.split()).casefold()
        if not key:
            continue
        count += 1
        earlier = first.setdefault(key, piece)
        if earlier is not piece:
            faults.append(Fault(piece.place, f"as {earlier.place}: {piece.text}", len(key)))
    return share_result(
        "duplicates",
        len(faults),
        count,
        f"{len(faults):,} of {count:,} chunks repeat an earlier chunk",
        faults,
    )


def check_near_duplicates(pieces: Sequence[Piece]) -> CheckResult:
    """Return the share of chunks that are nearly or exactly the same as an earlier chunk.

    Near duplicates have four fifths of their shingles (4 words in a row, without case and punctuation) in common,
    estimated from the 96 smallest hashes of each; about linear. Chunks of fewer than 4 words do not count.

    Source: Broder, "On the resemblance and containment of documents", SEQUENCES 1997 (bottom-k sketch).
    """
    holders: dict[int, list[int]] = {}
    sketches: list[frozenset[int]] = []
    owners: list[Piece] = []
    faults, count = [], 0
    for piece in pieces:
        sketch = _shingle_sketch(piece.text)
        if not sketch:
            continue
        count += 1
        place, similarity = _find_nearest_sketch(sketch, holders, sketches)
        if similarity >= NEAR_DUPLICATE_SHARE:
            faults.append(
                Fault(
                    piece.place, f"{similarity:.0%} as {owners[place].place}: {piece.text}", len(piece.text)
                )
            )
            continue
        for shingle in sketch:
            known = holders.setdefault(shingle, [])
            if len(known) < MAX_HOLDERS:
                known.append(len(sketches))
        sketches.append(sketch)
        owners.append(piece)
    return share_result(
        "near_duplicates",
        len(faults),
        count,
        f"{len(faults):,} of {count:,} chunks are nearly the same as an earlier chunk",
        faults,
    )


def _shingle_sketch(text: str) -> frozenset[int]:
    words = _WORDS.findall(text.casefold())
    shingles = {
        # Not hash(), which differs from run to run.
        zlib.crc32(" ".join(words[at : at + SHINGLE_WORDS]).encode("utf-8", "surrogatepass"))
        for at in range(len(words) - SHINGLE_WORDS + 1)
    }
    return frozenset(sorted(shingles)[:SKETCH_SIZE])


def _find_nearest_sketch(
    sketch: frozenset[int], holders: dict[int, list[int]], sketches: list[frozenset[int]]
) -> tuple[int, float]:
    shared = Counter(place for shingle in sketch for place in holders.get(shingle, ()))
    best = (-1, 0.0)
    for place, _ in shared.most_common(4):
        other = sketches[place]
        smallest = sketch | other
        if max(len(sketch), len(other)) == SKETCH_SIZE:
            smallest = frozenset(sorted(smallest)[:SKETCH_SIZE])
        similarity = len(smallest & sketch & other) / len(smallest)
        best = max(best, (place, similarity), key=lambda candidate: candidate[1])
    return best
