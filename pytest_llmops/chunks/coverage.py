"""Check that the chunks hold all of the source, nothing else, and in its order."""

from itertools import pairwise

from pytest_llmops.chunks.alignment import Alignment, gaps_between
from pytest_llmops.chunks.findings import CheckResult, Fault, count_result, share_result


def check_lost_text(alignment: Alignment) -> CheckResult:
    """Return the share of the source's characters that are in no chunk; ignored characters do not count.

    A passage that occurs twice in the source must be in the chunks twice. A blank source has lost nothing.
    """
    source = alignment.source
    faults = [Fault(source.place(a), source.compact.excerpt(a, b), b - a) for a, b in alignment.lost]
    missing = sum(fault.size for fault in faults)
    return share_result(
        "lost",
        missing,
        source.size,
        f"{missing:,} of the source's {source.size:,} characters are in no chunk",
        faults,
    )


def check_invented_text(alignment: Alignment) -> CheckResult:
    """Return the share of the chunks' characters that do not come from the source."""
    faults = [
        Fault(placed.piece.place, placed.text.excerpt(a, b), b - a)
        for placed in alignment.placed
        for a, b in gaps_between([(run.chunk, run.chunk_end) for run in placed.runs], len(placed.text.text))
    ]
    extra = sum(fault.size for fault in faults)
    size = sum(len(placed.text.text) for placed in alignment.placed)
    return share_result(
        "invented", extra, size, f"{extra:,} of the chunks' {size:,} characters are not in the source", faults
    )


def check_chunk_order(alignment: Alignment) -> CheckResult:
    """Return how many chunks begin before the preceding chunk; chunks that are not from the source do not count."""
    known = [
        (placed.piece, placed.main_span[0]) for placed in alignment.placed if placed.main_span is not None
    ]
    faults = [
        Fault(
            piece.place,
            f"begins at {alignment.source.place(start)}, before {before.place}",
            start_before - start,
        )
        for (before, start_before), (piece, start) in pairwise(known)
        if start < start_before
    ]
    return count_result(
        "out_of_order", f"{len(faults):,} of {len(known):,} chunks begin before the preceding chunk", faults
    )


def check_stated_starts(alignment: Alignment) -> CheckResult | None:
    """Return how many chunks do not begin where they state; None if no chunk states its start.

    Citations and highlights use these starts: LangChain's ``start_index``, LlamaIndex's ``start_char_idx``, in a
    source of a single document. White space at the start of a chunk does not count.
    """
    compact = alignment.source.compact
    starts = [(placed, placed.piece.start) for placed in alignment.placed if placed.text.text]
    stated = [(placed, start) for placed, start in starts if start is not None]
    if not stated or len(alignment.source.names) != 1:
        return None
    faults = []
    for placed, start in stated:
        position, _ = compact.kept_range(max(0, start), max(0, start))
        if start < 0 or not compact.text.startswith(placed.text.text[:64], position):
            text = compact.raw[max(0, start) : max(0, start) + 64]
            faults.append(
                Fault(placed.piece.place, f'states its start as {start:,}, where the source has "{text}"')
            )
    return count_result(
        "misplaced", f"{len(faults):,} of {len(stated):,} chunks do not begin where they state", faults
    )
