"""``llmops judge export-labels``: put answers of a run into a review queue, for human annotators to label."""

import argparse
import random
from collections.abc import Iterable
from dataclasses import replace

from pytest_llmops.cli import common
from pytest_llmops.cli.common import YELLOW, colour_text, format_path, print_line, refuse_options
from pytest_llmops.errors import UnknownName, format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.production.review_queue import QueueEntry, add_to_queue
from pytest_llmops.results.review import Judgement, collect_judgements

HARD_CASES_WARNING = (
    "hard cases only: they show where the judge errs, not how often. Do not judge a kappa by them alone: for that label "
    "answers drawn at random, with --all --sample N"
)


def export_labels(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    refuse_options(
        {
            "--sample: expected --all too: a draw among the cases to look at is no sample of the answers": (
                args.sample is not None and not args.all
            ),
            "--seed: expected --sample too: without it nothing is drawn": (
                args.seed is not None and args.sample is None
            ),
        }
    )
    judged = collect_judgements(common.read_run_file(args.run_file).records)
    names = {verdict.judge for verdict in judged}
    if args.judge is not None and args.judge not in names:
        raise UnknownName("judge", args.judge, names, where=f"judges of {args.run_file}")
    chosen = [verdict for verdict in judged if args.judge in (None, verdict.judge)]
    wanted = [verdict for verdict in chosen if args.all or verdict.why]
    usable = [verdict for verdict in wanted if verdict.answer is not None and verdict.other is None]
    run_file = format_path(args.run_file)
    print_line(f"{run_file}: {len(wanted):,} of {format_count(len(chosen), 'verdict')}")
    if len(usable) < len(wanted):
        print_line(
            f"left out: {len(wanted) - len(usable):,} on pairs or without an answer: a label is of one answer"
        )
    entries = list(_build_entries(usable, args).values())
    if args.sample is not None:
        draw = random.Random(args.seed or 0)  # noqa: S311 -- a sample that can be drawn again, no secret
        entries = draw.sample(entries, min(args.sample, len(entries)))
    new, merged = add_to_queue(args.out, entries)
    out = format_path(args.out)
    if args.sample:
        how = f" drawn at random (seed {args.seed or 0})"
    else:
        how = ""
    print_line(f"{format_count(len(entries), 'answer')}{how}: {new:,} new in {out}, {merged:,} there already")
    print_line(f"next: llmops cases review --queue {out}")
    if not args.all:
        print_line(colour_text(HARD_CASES_WARNING, YELLOW))
    return 0


def _build_entries(verdicts: Iterable[Judgement], args: argparse.Namespace) -> dict[str, QueueEntry]:
    """Return each answer once, with what its judges were shown."""
    versions = {f"{verdict.judge} {verdict.version}" for verdict in verdicts}
    several = f"--with-verdicts: expected verdicts of one judge in one version (--judge), got {shorten_text(format_name_list(sorted(versions)), 300)}"
    refuse_options({several: args.with_verdicts and len(versions) > 1})
    entries: dict[str, QueueEntry] = {}
    for verdict in verdicts:
        if verdict.low is not None and verdict.high is not None:
            scale = [verdict.low, verdict.high]
        else:
            scale = None
        data = {
            "contexts": list(verdict.contexts),
            # Answers to the same case are not independent, whichever prompt version or run they are from.
            "family": verdict.family or verdict.case,
            "scale": scale if verdict.score is not None else None,
            "judge": verdict.score if args.with_verdicts else None,
        }
        entry = QueueEntry(
            kind="case" if args.as_cases else "label",
            input=verdict.question,
            output=verdict.answer or "",
            reference=verdict.reference,
            reason=verdict.reason if args.with_verdicts or args.as_cases else "judge label wanted",
            rubric=verdict.judge,
            score=verdict.score if args.with_verdicts else None,
            origin=({"source": args.run_file.name, "id": verdict.nodeid},),
            data={key: value for key, value in data.items() if value not in (None, "", [])},
        )
        known = entries.setdefault(entry.id, entry)
        entries[entry.id] = replace(
            known, reference=known.reference or entry.reference, data={**entry.data, **known.data}
        )
    return entries
