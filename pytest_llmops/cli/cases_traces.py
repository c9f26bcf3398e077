"""``llmops cases from-traces``: conversations of exported traces become entries of the review queue."""

import argparse
import gc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import EXIT_PROBLEM, format_path, print_result
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.production.exported_traces import Conversation, read_conversations
from pytest_llmops.production.review_queue import QueueEntry, add_to_queue, read_queue, redact_entry
from pytest_llmops.production.trace_tapes import FOLDER, read_tapes, write_tape
from pytest_llmops.redaction.json_texts import build_redactor

MAX_REASONS = 3  # reasons for leaving something out that an error lists
MAX_TAPES = 20  # tapes of which it prints the missing parts


def import_traces(args: argparse.Namespace) -> int:
    """Run ``from-traces``, and return its exit status."""
    gc.disable()  # the objects that are read have no cycles: to look for them needs a tenth of the time
    try:
        return _import_traces(args)
    finally:
        gc.enable()


def _import_traces(args: argparse.Namespace) -> int:
    """Add the conversations to the queue, print how many are new, and return the exit status."""
    left_out: Counter[str] = Counter()
    conversations = read_conversations(args.traces, left_out)
    first = next(conversations, None)  # this reads all files, so that `left_out` is complete
    notes = [f"left out ({count:,}): {reason}" for reason, count in left_out.items()]
    if first is None:
        reasons = notes[:MAX_REASONS]
        if len(notes) > MAX_REASONS:
            reasons.append("and more")
        reasons.append("nothing was written")
        place = format_path(args.traces[0])
        raise UsageError(f"no conversation with a model in {place}; {'; '.join(reasons)}")
    tapes = _Tapes(args.queue.parent)
    found = chain([first], conversations)
    entries: Iterable[QueueEntry] = (conversation.entry for conversation in found)
    if args.cassette:
        tapes.note_cases(args.queue)
        entries = tapes.write(args.traces, list(found))
    new, merged = add_to_queue(args.queue, entries)
    counts = f"{new:,} new in {format_path(args.queue)}, {merged:,} there already"
    lines = [counts, *tapes.list_lines(), *notes]
    document: dict[str, Any] = {"new": new, "merged": merged, "left_out": left_out}
    if args.cassette:
        document["traces"] = tapes.by_path
    print_result(args, document, lines)
    if left_out:
        return EXIT_PROBLEM
    return 0


@dataclass(slots=True)
class _Tapes:
    """The trace tapes of a run of the command.

    Args:
        folder: The folder of the queue.

    Attributes:
        by_path: The number of calls and the missing parts, by the path of each tape from the folder.
        written: How many files are new or changed.
        without: The ids of entries that have no tape.
        cases: The ids of entries that became cases before they had a tape.
    """

    folder: Path
    by_path: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: int = 0
    without: list[str] = field(default_factory=list)
    cases: set[str] = field(default_factory=set)

    def note_cases(self, queue: Path) -> None:
        """Note which entries of a queue are cases already, without a tape.

        Raises:
            CaseError: The queue cannot be read.
        """
        self.cases = {
            entry.id for entry in read_queue(queue) if entry.status == "accepted" and not entry.trace
        }

    def write(self, paths: Sequence[Path], conversations: Sequence[Conversation]) -> list[QueueEntry]:
        """Write the tape of each conversation, and return the entries, each with the path of its tape.

        Raises:
            CaseError: A file cannot be written.
        """
        redactor = build_redactor()
        entries = []
        for conversation, tape in zip(conversations, read_tapes(paths, conversations), strict=True):
            entry = redact_entry(conversation.entry, redactor)  # this may change its id
            if tape is None:
                self.without.append(entry.id)
                entries.append(entry)
                continue
            place = f"{FOLDER}/{entry.id}.json"
            if place not in self.by_path:
                self.written += write_tape(self.folder / place, tape, redactor)
                missing = [redactor.clean_text(text) for text in tape.missing]  # errors are quoted in it
                self.by_path[place] = {"calls": len(tape.calls), "missing": missing}
            entries.append(replace(entry, trace=place))
        return entries

    def list_lines(self) -> list[str]:
        """Return lines about the tapes: how many were written, and the missing parts of each."""
        lines = []
        if self.by_path:
            same = len(self.by_path) - self.written
            place = format_path(self.folder / FOLDER)
            tapes = format_count(self.written, "trace tape")
            lines.append(f"{tapes} written to {place}, {same:,} there already")
        lacking = [(place, facts) for place, facts in self.by_path.items() if facts["missing"]]
        for place, facts in lacking[:MAX_TAPES]:
            calls = format_count(facts["calls"], "call")
            missing = shorten_text("; ".join(facts["missing"]), 300)
            lines.append(f"  {place} ({calls}) lacks: {missing}")
        if len(lacking) > MAX_TAPES:
            lines.append(f"  and {len(lacking) - MAX_TAPES:,} more lack something: --json lists them")
        for place in self.by_path:
            case_id = Path(place).stem
            if case_id in self.cases:
                lines.append(
                    f'{case_id} became a case before: add "trace": "{place}" to it, so that it replays'
                )
        if self.without:
            lines.append(
                f"no trace tape, as no call has messages and an answer in text: {', '.join(self.without)}"
            )
        return lines
