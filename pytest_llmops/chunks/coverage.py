"""Is all of the source in the chunks, nothing else, and in its order?"""

from __future__ import annotations

from itertools import pairwise

from pytest_llmops.chunks.alignment import Alignment, uncovered
from pytest_llmops.chunks.findings import Check, Fault, share, worst


def lost(alignment: Alignment) -> Check:
    """Return the share of the source's characters that are in no chunk; what is ignored does not count.

    A passage that stands twice in the source has to be in the chunks twice. A blank source has lost nothing.
    """
    source = alignment.source
    faults = [Fault(source.place(a), source.squeezed.slice(a, b), b - a) for a, b in alignment.lost]
    missing = sum(fault.size for fault in faults)
    return Check(
        name="lost",
        value=share(missing, source.size),
        reason=f"{missing:,} of the source's {source.size:,} characters are in no chunk",
        faults=worst(faults),
    )


def invented(alignment: Alignment) -> Check:
    """Return the share of the chunks' characters that do not come from the source."""
    faults = [
        Fault(placed.piece.place, placed.text.slice(a, b), b - a)
        for placed in alignment.placed
        for a, b in uncovered(placed)
    ]
    extra, size = sum(fault.size for fault in faults), sum(len(one.text.text) for one in alignment.placed)
    return Check(
        name="invented",
        value=share(extra, size),
        reason=f"{extra:,} of the chunks' {size:,} characters are not in the source",
        faults=worst(faults),
    )


def out_of_order(alignment: Alignment) -> Check:
    """Return how many chunks begin before the chunk in front of them; those not from the source do not count."""
    homes = [(one, one.home) for one in alignment.placed]
    known = [(one.piece, home) for one, home in homes if home is not None]
    faults = [
        Fault(piece.place, f"begins at {_line(alignment, home[0])}, before {before.place}", then[0] - home[0])
        for (before, then), (piece, home) in pairwise(known)
        if home[0] < then[0]
    ]
    return Check(
        name="out_of_order",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(known):,} chunks stand before the one in front of them",
        faults=worst(faults),
    )


def _line(alignment: Alignment, at: int) -> str:
    return alignment.source.place(at)


def misplaced(alignment: Alignment) -> Check | None:
    """Return how many chunks do not stand where they say they begin; None if none says so.

    What a citation or a highlight is made from: LangChain's ``start_index``, LlamaIndex's ``start_char_idx``,
    in a source of one document. White space at the chunk's begin does not count.
    """
    squeezed = alignment.source.squeezed
    said = [(one, one.piece.start) for one in alignment.placed if one.text.text]
    stated = [(one, start) for one, start in said if start is not None]
    if not stated or len(alignment.source.names) != 1:
        return None
    faults = []
    for placed, start in stated:
        at, _ = squeezed.within(max(0, start), max(0, start))
        if start < 0 or not squeezed.text.startswith(placed.text.text[:64], at):
            text = squeezed.raw[max(0, start) : max(0, start) + 64]
            faults.append(Fault(placed.piece.place, f'says it begins at {start:,}, where "{text}" stands'))
    return Check(
        name="misplaced",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(stated):,} chunks do not stand where they say they begin",
        faults=worst(faults),
    )
