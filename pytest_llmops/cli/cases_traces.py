"""``llmops cases from-traces``: conversations of exported traces become entries of the review queue."""

import argparse
import gc
from collections import Counter
from itertools import chain

from pytest_llmops.cli.common import EXIT_PROBLEM, format_path, print_result
from pytest_llmops.errors import UsageError
from pytest_llmops.production.exported_traces import read_conversations
from pytest_llmops.production.review_queue import add_to_queue

MAX_REASONS = 3  # reasons for leaving something out that an error lists


def import_traces(args: argparse.Namespace) -> int:
    """Run ``from-traces``, and return its exit status."""
    gc.disable()  # what is read has no cycles: to look for them takes a tenth of the time
    try:
        return _import_traces(args)
    finally:
        gc.enable()


def _import_traces(args: argparse.Namespace) -> int:
    """Add the conversations to the queue, print how many are new, and return the exit status."""
    left_out: Counter[str] = Counter()
    entries = read_conversations(args.traces, left_out)
    first = next(entries, None)  # this reads all files, so that `left_out` is complete
    notes = [f"left out ({count:,}): {reason}" for reason, count in left_out.items()]
    if first is None:
        reasons = notes[:MAX_REASONS]
        if len(notes) > MAX_REASONS:
            reasons.append("and more")
        reasons.append("nothing was written")
        place = format_path(args.traces[0])
        raise UsageError(f"no conversation with a model in {place}; {'; '.join(reasons)}")
    new, merged = add_to_queue(args.queue, chain([first], entries))
    counts = f"{new:,} new in {format_path(args.queue)}, {merged:,} there already"
    lines = [counts, *notes]
    print_result(args, {"new": new, "merged": merged, "left_out": left_out}, lines)
    if left_out:
        return EXIT_PROBLEM
    return 0
