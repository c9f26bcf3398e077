"""``llmops cases from-feedback``, ``review`` and ``coverage``: from feedback to the review queue, and on to cases and labels."""

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pytest_llmops._util.json_values import as_mapping
from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.cases.files import load_cases, parse_case
from pytest_llmops.cli.common import (
    DIM,
    EXIT_PROBLEM,
    colour_text,
    format_json_line,
    format_path,
    print_error,
    print_json,
    print_line,
    print_result,
    refuse_options,
    write_output_file,
)
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import Json, as_finite_float, format_count, shorten_text
from pytest_llmops.production.feedback import measure_coverage, read_feedback
from pytest_llmops.production.review_queue import (
    QueueEntry,
    add_to_queue,
    build_redactor,
    change_queue,
    normalize_text,
    read_queue,
    redact_entry,
)

MAX_ORIGINS, MAX_LISTED, NO_PROBLEMS = 20, 20, ("not from a person", "no vote, comment or correction")
LABELS = {"pass": True, "true": True, "fail": False, "false": False}


def import_feedback(args: argparse.Namespace) -> int:
    """Run ``from-feedback``, and return its exit status."""
    refuse_options(
        {f"--field: expected NAME=COLUMN, got {entry!r}": "=" not in entry for entry in args.field}
        | {
            f"--good-at-least: expected a number above 0, got {args.good_at_least}": args.good_at_least
            is not None
            and not 0 < args.good_at_least < float("inf")
        }
    )
    answers = {
        str(place[key]): (entry.input, entry.output)
        for entry in read_queue(args.queue)
        for place in entry.origin
        for key in ("trace", "id")
        if key in place
    }
    feedback = read_feedback(
        args.events,
        good_at_least=args.good_at_least,
        humans_only=not args.all_sources,
        fields=dict(entry.split("=", 1) for entry in args.field),
        answers=answers,
    )
    if not (feedback.events or feedback.left_out):
        raise CaseError("no event in the file: expected at least one", args.events)
    new, merged = add_to_queue(args.queue, feedback.to_entries())
    try:
        claim = f"{feedback.up_share():.0%} of the votes are up"
    except CaseError as error:
        claim = f"no claim about the share: {error.what}"
    sums = {"events": len(feedback.events), "up": feedback.votes["up"], "down": feedback.votes["down"]}
    left_out = {why: {"count": count, "line": line} for why, (count, line) in feedback.left_out.items()}
    texts = [
        f"{format_path(args.events)}: {format_count(sums['events'], 'event')}, {sums['up']:,} up and {sums['down']:,} down; "  # noqa: ISC003 -- an item of a list
        + f"{new:,} new in {format_path(args.queue)}, {merged:,} there already",
        *(
            f"left out: {format_count(count, 'event')}, the first in line {line}: {why}"
            + f" (in another column: --field {why[3:]}=COLUMN)" * (why in ("no question", "no answer"))
            for why, (count, line) in feedback.left_out.items()
        ),
        claim,
    ]
    print_result(args, {**sums, "new": new, "merged": merged, "left_out": left_out, "claim": claim}, texts)
    # What is left out by a rule, or said nothing, is no problem.
    if any(not why.startswith(NO_PROBLEMS) for why in left_out):
        return EXIT_PROBLEM
    return 0


def show_coverage(args: argparse.Namespace) -> int:
    """Run ``coverage``, and return its exit status."""
    # A pattern for the case files often finds the queue too, which covers nothing.
    topics, votes, covered = measure_coverage(
        read_queue(args.queue),
        (case for path in args.cases if path.resolve() != args.queue.resolve() for case in load_cases(path)),
    )
    missing = {topic: count for topic, (count, is_covered) in topics.items() if not is_covered}
    if votes:
        share = covered / votes
    else:
        share = None
    lines = [
        f"{len(topics) - len(missing):,} of {format_count(len(topics), 'topic')} of the feedback have a case: "  # noqa: ISC003 -- an item of a list
        + f"{covered:,} of {format_count(votes, 'vote')} against answers",
        *(f"  {count:>6,}  {shorten_text(topic, 100)}" for topic, count in [*missing.items()][:MAX_LISTED]),
    ]
    document = {"topics": len(topics), "votes": votes, "share": share, "missing": missing}
    print_result(args, document, lines)
    if args.at_least is not None and (share or 0) < args.at_least:
        return EXIT_PROBLEM
    return 0


def review_queue(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    ways = (args.list, args.accept, args.drop, args.label)
    refuse_options(
        {
            "expected one of --list, --accept, --drop and --label": sum(map(bool, ways)) > 1,
            "--reference, --fact: expected --accept too": (args.reference or args.fact) and not args.accept,
            f"--into: expected a file name ending in .jsonl, got {str(args.into)!r}": args.into.suffix
            != ".jsonl",
        }
    )
    if args.accept or args.drop or args.label:
        name, decision = args.label or (args.accept or args.drop, "drop" if args.drop else "accept")
        return _decide(args, name, decision, args.reference)
    # Each annotator labels all answers, and does not see what others said.
    waiting = sorted(
        (
            entry
            for entry in read_queue(args.queue)
            if entry.status == "open"
            or (args.rater and args.rater not in (as_mapping(entry.data.get("human")) or [args.rater]))
        ),
        key=lambda entry: (not entry.rank, entry.rank, entry.id),
    )
    if args.json:
        print_json([json.loads(entry.to_line()) for entry in waiting])
    elif args.list:
        for entry in waiting:
            votes = ", ".join(f"{count:,} {vote}" for vote, count in entry.votes.items())
            print_line(f"{entry.id}  {entry.kind}  {'; '.join(filter(None, (entry.reason, votes)))}")
            if isinstance(entry.input, str):
                asked = entry.input
            else:
                asked = json.dumps(entry.input)
            print_line(colour_text(f"  {shorten_text(asked, 160)} -> {shorten_text(entry.output, 160)}", DIM))
    else:
        with suppress(EOFError):
            _ask(args, waiting)
    return 0


def _ask(args: argparse.Namespace, waiting: list[QueueEntry]) -> None:
    while waiting:
        entry = waiting[0]
        shown = {
            f"{len(waiting):,} to review": f"{entry.id}  {entry.reason}",
            "input": entry.input if isinstance(entry.input, str) else json.dumps(entry.input),
            "answer": entry.output,
            "messages": json.dumps(entry.messages) if entry.messages else "",
            "contexts": json.dumps(entry.data["contexts"]) if "contexts" in entry.data else "",
            "comments": "; ".join(entry.comments),
            "reference": entry.reference,
            "fact": args.fact or "",
        }
        for title, text in ((title, text) for title, text in shown.items() if text):
            print_line(f"{title}: {shorten_text(text, 4_000)}")
        if entry.kind == "case":
            choices = "a accept, or type the right answer; f a fact"
        else:
            choices = "pass, fail, or a number"
        answer = input(f"{choices}; d drop, s skip, q quit: ").strip()
        decision = {"a": "accept", "d": "drop"}.get(answer, "accept" if entry.kind == "case" else answer)
        if answer == "q":
            return
        if answer == "f" and entry.kind == "case":
            args.fact = input(
                "a text that only right answers contain, for the next one that you accept: "
            ).strip()
            continue
        try:
            if (
                entry.kind == "case"
                and len(answer) == 1
                and answer.isascii()
                and not answer.isdigit()
                and answer not in "ads"
            ):
                raise UsageError(
                    f"{answer!r} is no command, and short for a right answer: type more, or in scripts --reference {answer}"
                )
            if answer not in ("", "s"):
                _decide(args, entry.id, decision, None if answer in ("a", "d") else answer)
            waiting.pop(0)
            args.fact = None
        except UsageError as error:
            print_error(str(error))


def _decide(args: argparse.Namespace, name: str, decision: str, reference: str | None) -> int:
    done: list[str] = []

    def change(queue: dict[str, QueueEntry]) -> None:
        if name not in queue:
            raise BadFile("no such entry: --list shows those that wait")
        entry = replace(queue[name], reference=reference or queue[name].reference)
        before = queue[name]
        if args.accept if entry.kind == "label" else args.label:
            raise BadFile(
                f"its kind is {entry.kind}: expected --{'label' if entry.kind == 'label' else 'accept'}"
            )
        if decision == "drop":
            if (before.kind, before.status) == ("case", "accepted"):
                raise BadFile(f"it is a case already: delete it in {format_path(args.into)}")
            queue[name] = replace(before, status="dropped")
        elif entry.kind == "label":
            queue[name] = _add_label(replace(before, status="accepted"), decision, args.rater)
            kinds = {
                isinstance(label, (bool, str))
                for human in (each.data["human"] for each in queue.values() if "human" in each.data)
                for label in (human.values() if isinstance(human, Mapping) else [human])
            }
            if len(kinds) > 1:
                raise BadFile("the labels are of two kinds: pass or fail, and numbers; expected one")
        else:
            queue[name] = replace(redact_entry(entry, build_redactor()), status="accepted")
            _append_case(args.into, _build_case(queue[name], args.fact))
        is_case = (queue[name].kind, queue[name].status) == ("case", "accepted")
        done.append(
            f"{name}: {'labelled' if entry.kind == 'label' and decision != 'drop' else queue[name].status}, "
            f"{format_path(args.into if is_case else args.queue)}"
        )

    try:
        change_queue(args.queue, change)
    except BadFile as error:
        raise CaseError(f"{shorten_text(name, 60)}: {error.what}", args.queue) from None
    print_line(*done)
    return 0


def _build_case(entry: QueueEntry, fact: str | None) -> dict[str, Json]:
    """Return the case of an entry: what makes a test of it fail for the answer that was given, and pass for the right one."""
    is_liked = entry.votes.get("up", 0) > 0 and not entry.votes.get("down")
    reference = entry.reference or (entry.output if is_liked else "")
    if normalize_text(reference) == normalize_text(entry.output):
        rejected = ""
    else:
        rejected = entry.output
    for problem, applies in (
        ("no right answer: type it, or give it as --reference", not reference),
        (
            "the right answer is the one that was voted down: type another one, or give it as --reference",
            not rejected and entry.votes.get("down"),
        ),
        (
            f"--fact {fact!r}: expected a text that the right answer contains, and the other one does not",
            fact and (fact.casefold() not in reference.casefold() or fact.casefold() in rejected.casefold()),
        ),
    ):
        if applies:
            raise BadFile(problem)
    given: dict[str, Json] = {
        "rejected": rejected,
        "fact": fact,
        "tags": list(entry.tags),
        "messages": entry.messages,
        "calls": entry.calls,
        "origin": [dict(place) for place in entry.origin[:MAX_ORIGINS]],
    }
    return {
        "id": entry.id,
        "input": entry.input,
        "reference": reference,
        **{key: value for key, value in given.items() if value},
    }


def _append_case(path: Path, row: Mapping[str, Json]) -> None:
    known = {
        case.id: {"reference": case.reference, **case.data}
        for case in (load_cases(path) if path.exists() else ())
    }
    if any(
        row.get(key) not in (None, known.get(str(row["id"]), row).get(key)) for key in ("reference", "fact")
    ):
        raise CaseError(f"{row['id']} stands there with another reference or fact: change it there", path)
    parse_case(row, {})  # an entry that was edited by hand may make none
    if row["id"] not in known:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output_file(
            path, (read_text(path).rstrip("\n") + "\n" if known else "") + format_json_line(row)
        )


def _add_label(entry: QueueEntry, text: str, rater: str | None) -> QueueEntry:
    scale = entry.data.get("scale")
    before = entry.data.get("human")
    low, high = map(as_finite_float, scale if isinstance(scale, list) and len(scale) == 2 else (None, None))  # noqa: PLR2004 -- both ends
    label: Json = LABELS.get(text.strip().casefold(), text)
    with suppress(ValueError):
        label = as_finite_float(float(text))
    if isinstance(label, float):
        number = label
    else:
        number = None
    fits = isinstance(label, bool) or (
        number is not None and (low is None or low <= number) and (high is None or number <= high)
    )
    if not fits:
        raise BadFile(
            f"expected pass, fail or a number on the scale {scale or 'of the judge'}, got {shorten_text(text, 60)!r}"
        )
    named = as_mapping(before)
    if named and rater:
        known = named.get(rater)
    else:
        known = before
    if (before is not None and bool(named) != bool(rater)) or known not in (None, label):
        raise BadFile(
            f"expected the label {json.dumps(known)} that stands there: name all annotators by --rater"
        )
    return replace(entry, data={**entry.data, "human": {**named, rater: label} if rater else label})
