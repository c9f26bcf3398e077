"""``llmops cases from-traces``: conversations of exported traces become entries of the review queue."""

import argparse
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import EXIT_PROBLEM, add_command, format_path, print_json, print_line
from pytest_llmops.errors import refuse


def add_parser(commands: Any) -> None:
    """Declare the command in its group."""
    add_command(
        commands,
        "from-traces",
        import_traces,
        "put the conversations of exported traces into the review queue",
        "Reads OpenTelemetry GenAI, OpenInference, Traceloop, Langfuse, Phoenix and LangSmith: OTLP JSON of traces and their logs, or "
        "rows as JSON lines; give the files of one export together. Secrets are masked, and nothing is counted twice. Exit status 1: "
        "something was left out.",
        arguments={
            "traces": {
                "nargs": "+",
                "type": Path,
                "metavar": "FILE",
                "help": ".json or .jsonl; no protobuf, no Parquet",
            },
            "--queue": {
                "type": Path,
                "metavar": "QUEUE.jsonl",
                "default": Path("cases/queue.jsonl"),
                "help": "the review queue (default: cases/queue.jsonl)",
            },
            "--json": {"action": "store_true", "help": "print JSON"},
        },
    )


def import_traces(args: argparse.Namespace) -> int:
    """Run ``from-traces``, and return its exit status."""
    from pytest_llmops.cases.queue import add_to_queue
    from pytest_llmops.cases.trace_files import read_conversations

    left_out: Counter[str] = Counter()
    entries = read_conversations(args.traces, left_out)
    first = next(entries, None)  # all files are read by now
    notes = [f"left out ({count:,}): {reason}" for reason, count in left_out.items()]
    why = "; ".join([*notes[:3], *["and more"] * bool(notes[3:]), "nothing was written"])
    refuse(first is None, f"no conversation with a model in {format_path(args.traces[0])}; {why}")
    new, merged = add_to_queue(args.queue, filter(None, chain([first], entries)))
    if args.json:
        print_json({"new": new, "merged": merged, "left_out": left_out})
    else:
        for text in (f"{new:,} new in {format_path(args.queue)}, {merged:,} there already", *notes):
            print_line(text)
    return EXIT_PROBLEM if left_out else 0
