"""``llmops judge export-labels``: put answers of a run into a review queue, for human annotators to label."""

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pytest_llmops.cli.common import YELLOW, colour_text, format_path, print_line, read_run_file
from pytest_llmops.errors import UnknownName, UsageError, format_name_list
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.production.review_queue import QueueEntry, add_to_queue
from pytest_llmops.results.review import Judgement, collect_judgements

HARD_CASES_WARNING = (
    "hard cases only: they show where the judge errs, not how often. Do not judge a kappa only by them: for that label "
    "answers drawn at random, with --all --sample N"
)


def export_labels(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    if args.sample is not None and not args.all:
        raise UsageError(
            "--sample: expected --all too: a draw among the cases to look at is not a sample of the answers"
        )
    if args.seed is not None and args.sample is None:
        raise UsageError("--seed: expected --sample too: without it nothing is drawn")
    entries = list(_build_entries(_choose_verdicts(args), args).values())
    how = ""
    if args.sample is not None:
        seed = args.seed or 0
        draw = random.Random(seed)  # noqa: S311 -- a sample that can be drawn again, no secret
        entries = draw.sample(entries, min(args.sample, len(entries)))
        how = f" drawn at random (seed {seed})"
    new, merged = add_to_queue(args.out, entries)
    out = format_path(args.out)
    answers = format_count(len(entries), "answer")
    counts = f"{new:,} new in {out}, {merged:,} there already"
    print_line(f"{answers}{how}: {counts}")
    print_line(f"next: llmops cases review --queue {out}")
    if not args.all:
        print_line(colour_text(HARD_CASES_WARNING, YELLOW))
    return 0


def _choose_verdicts(args: argparse.Namespace) -> list[Judgement]:
    """Return the verdicts of a run on answers that a person should label, and print how many were chosen and left out.

    These are the verdicts to review, with ``--all`` all of them. Verdicts on pairs or without an answer are left out.

    Raises:
        UnknownName: The run has no such judge.
    """
    judged = collect_judgements(read_run_file(args.run_file).records)
    chosen = list(judged)
    if args.judge is not None:
        names = {verdict.judge for verdict in judged}
        if args.judge not in names:
            raise UnknownName("judge", args.judge, names, where=f"judges of {args.run_file}")
        chosen = [verdict for verdict in judged if verdict.judge == args.judge]
    wanted = [verdict for verdict in chosen if args.all or verdict.why]
    usable = [verdict for verdict in wanted if verdict.answer is not None and verdict.other is None]
    run_file = format_path(args.run_file)
    amount = format_count(len(chosen), "verdict")
    print_line(f"{run_file}: {len(wanted):,} of {amount}")
    if len(usable) < len(wanted):
        left_out = len(wanted) - len(usable)
        print_line(f"left out: {left_out:,} on pairs or without an answer: a label is of one answer")
    return usable


def _build_entries(verdicts: Sequence[Judgement], args: argparse.Namespace) -> dict[str, QueueEntry]:
    """Return an entry of the queue for each answer, by id. If several judges scored an answer, their entries are merged.

    Raises:
        UsageError: ``--with-verdicts`` is given, and the verdicts are of several judges or versions.
    """
    versions = {f"{verdict.judge} {verdict.version}" for verdict in verdicts}
    if args.with_verdicts and len(versions) > 1:
        names = shorten_text(format_name_list(sorted(versions)), 300)
        raise UsageError(
            f"--with-verdicts: expected verdicts of one judge in one version (--judge), got {names}"
        )
    entries: dict[str, QueueEntry] = {}
    for verdict in verdicts:
        entry = _build_entry(verdict, args)
        known = entries.setdefault(entry.id, entry)
        reference = known.reference or entry.reference
        data = {**entry.data, **known.data}
        entries[entry.id] = replace(known, reference=reference, data=data)
    return entries


def _build_entry(verdict: Judgement, args: argparse.Namespace) -> QueueEntry:
    """Return the entry of an answer; it has the judge's score and reasons only if the options ask for them."""
    kind: Literal["case", "label"] = "label"
    if args.as_cases:
        kind = "case"
    reason = "judge label wanted"
    if args.with_verdicts or args.as_cases:
        reason = verdict.reason
    score = None
    if args.with_verdicts:
        score = verdict.score
    data: dict[str, Json] = {}
    if verdict.contexts:
        data["contexts"] = list(verdict.contexts)
    # Answers to the same case are not independent, whichever prompt version or run they are from.
    family = verdict.family or verdict.case
    if family:
        data["family"] = family
    if verdict.score is not None and verdict.low is not None and verdict.high is not None:
        data["scale"] = [verdict.low, verdict.high]
    if score is not None:
        data["judge"] = score
    origin = {"source": args.run_file.name, "id": verdict.nodeid}
    return QueueEntry(
        kind=kind,
        input=verdict.question,
        output=verdict.answer or "",
        reference=verdict.reference,
        reason=reason,
        rubric=verdict.judge,
        score=score,
        origin=(origin,),
        data=data,
    )
