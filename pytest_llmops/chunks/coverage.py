"""Is all of the source in the chunks, nothing else, and in its order?"""

from __future__ import annotations

from itertools import pairwise

from pytest_llmops.chunks.alignment import Alignment, invented_stretches
from pytest_llmops.chunks.findings import CheckResult, Fault, ratio_or_zero, worst_faults


def check_lost_text(alignment: Alignment) -> CheckResult:
    """Return the share of the source's characters that are in no chunk; what is ignored does not count.

    A passage that stands twice in the source has to be in the chunks twice. A blank source has lost nothing.
    """
    source = alignment.source
    faults = [Fault(source.place(a), source.compact.excerpt(a, b), b - a) for a, b in alignment.lost]
    missing = sum(fault.size for fault in faults)
    return CheckResult(
        name="lost",
        value=ratio_or_zero(missing, source.size),
        reason=f"{missing:,} of the source's {source.size:,} characters are in no chunk",
        faults=worst_faults(faults),
    )


def check_invented_text(alignment: Alignment) -> CheckResult:
    """Return the share of the chunks' characters that do not come from the source."""
    faults = [
        Fault(placed.piece.place, placed.text.excerpt(a, b), b - a)
        for placed in alignment.placed
        for a, b in invented_stretches(placed)
    ]
    extra, size = (
        sum(fault.size for fault in faults),
        sum(len(placed.text.text) for placed in alignment.placed),
    )
    return CheckResult(
        name="invented",
        value=ratio_or_zero(extra, size),
        reason=f"{extra:,} of the chunks' {size:,} characters are not in the source",
        faults=worst_faults(faults),
    )


def check_chunk_order(alignment: Alignment) -> CheckResult:
    """Return how many chunks begin before the chunk in front of them; those not from the source do not count."""
    homes = [(placed, placed.home) for placed in alignment.placed]
    known = [(placed.piece, home) for placed, home in homes if home is not None]
    faults = [
        Fault(
            piece.place,
            f"begins at {_line(alignment, home[0])}, before {before.place}",
            earlier_span[0] - home[0],
        )
        for (before, earlier_span), (piece, home) in pairwise(known)
        if home[0] < earlier_span[0]
    ]
    return CheckResult(
        name="out_of_order",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(known):,} chunks stand before the one in front of them",
        faults=worst_faults(faults),
    )


def _line(alignment: Alignment, at: int) -> str:
    return alignment.source.place(at)


def check_stated_starts(alignment: Alignment) -> CheckResult | None:
    """Return how many chunks do not stand where they say they begin; None if none says so.

    What a citation or a highlight is made from: LangChain's ``start_index``, LlamaIndex's ``start_char_idx``,
    in a source of one document. White space at the chunk's begin does not count.
    """
    compact = alignment.source.compact
    starts = [(chunk, chunk.piece.start) for chunk in alignment.placed if chunk.text.text]
    stated = [(chunk, start) for chunk, start in starts if start is not None]
    if not stated or len(alignment.source.names) != 1:
        return None
    faults = []
    for placed, start in stated:
        at, _ = compact.within(max(0, start), max(0, start))
        if start < 0 or not compact.text.startswith(placed.text.text[:64], at):
            text = compact.raw[max(0, start) : max(0, start) + 64]
            faults.append(Fault(placed.piece.place, f'says it begins at {start:,}, where "{text}" stands'))
    return CheckResult(
        name="misplaced",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(stated):,} chunks do not stand where they say they begin",
        faults=worst_faults(faults),
    )
