"""``llmops cases from-feedback``, ``review`` and ``coverage``: from feedback to the review queue, and on to cases and labels."""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from os.path import relpath
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import as_mapping
from pytest_llmops._util.text_files import BadFile, read_json_lines, read_text
from pytest_llmops.cases.files import Case, load_cases, parse_case
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
    write_output_file,
)
from pytest_llmops.errors import CaseError, UsageError, format_error
from pytest_llmops.measurement import Json, as_finite_float, format_count, shorten_text
from pytest_llmops.production.feedback import Feedback, measure_coverage, read_feedback
from pytest_llmops.production.review_queue import (
    QueueEntry,
    add_to_queue,
    change_queue,
    normalize_text,
    read_queue,
    redact_entry,
)
from pytest_llmops.redaction.json_texts import build_redactor

MAX_ORIGINS = 20  # origins that a case keeps
MAX_LISTED = 20  # topics without a case that are printed
# Reasons for leaving out an event that are not a problem, by their beginning: a rule requires it, or the event is empty
NO_PROBLEMS = ("not from a person", "no vote, comment or correction")
LABELS = {"pass": True, "true": True, "fail": False, "false": False}


def import_feedback(args: argparse.Namespace) -> int:
    """Run ``from-feedback``, and return its exit status."""
    for pair in args.field:
        if "=" not in pair:
            raise UsageError(f"--field: expected NAME=COLUMN, got {pair!r}")
    if args.good_at_least is not None and not 0 < args.good_at_least < float("inf"):
        raise UsageError(f"--good-at-least: expected a number above 0, got {args.good_at_least}")
    fields = dict(pair.split("=", 1) for pair in args.field)
    answers = _collect_answers(args.queue)
    feedback = read_feedback(
        args.events,
        good_at_least=args.good_at_least,
        humans_only=not args.all_sources,
        fields=fields,
        answers=answers,
    )
    if not feedback.events and not feedback.left_out:
        raise CaseError("no event in the file: expected at least one", args.events)
    new, merged = add_to_queue(args.queue, feedback.to_entries())
    votes = feedback.votes
    left_out = {}
    for why, (count, line) in feedback.left_out.items():
        left_out[why] = {"count": count, "line": line}
    document = {
        "events": len(feedback.events),
        "up": votes["up"],
        "down": votes["down"],
        "new": new,
        "merged": merged,
        "left_out": left_out,
        "claim": _claim_share(feedback),
    }
    print_result(args, document, _format_import(args, document))
    for why in feedback.left_out:
        # An event that a rule leaves out, or an empty one, is not a problem.
        if not why.startswith(NO_PROBLEMS):
            return EXIT_PROBLEM
    return 0


def _collect_answers(queue: Path) -> dict[str, tuple[Json, str]]:
    """Return question and answer of the entries of a queue, by the ids of the traces and events from which they come.

    Exported feedback often has only the id of a trace; this finds the conversation that from-traces imported before.
    """
    answers = {}
    for entry in read_queue(queue):
        for place in entry.origin:
            for key in ("trace", "id"):
                if key in place:
                    answers[str(place[key])] = entry.input, entry.output
    return answers


def _claim_share(feedback: Feedback) -> str:
    """Return the share of votes for the answers, or why the feedback allows no claim about it."""
    try:
        return f"{feedback.up_share():.0%} of the votes are up"
    except CaseError as error:
        return f"no claim about the share: {error.what}"


def _format_import(args: argparse.Namespace, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of ``from-feedback``; ``document`` is its output with --json."""
    events = format_count(document["events"], "event")
    votes = f"{document['up']:,} up and {document['down']:,} down"
    new = f"{document['new']:,} new in {format_path(args.queue)}"
    merged = f"{document['merged']:,} there already"
    yield f"{format_path(args.events)}: {events}, {votes}; {new}, {merged}"
    for why, left_out in document["left_out"].items():
        amount = format_count(left_out["count"], "event")
        line = f"left out: {amount}, the first in line {left_out['line']}: {why}"
        if why in ("no question", "no answer"):
            line += f" (in another column: --field {why.removeprefix('no ')}=COLUMN)"
        yield line
    yield document["claim"]


def show_coverage(args: argparse.Namespace) -> int:
    """Run ``coverage``, and return its exit status."""
    entries = read_queue(args.queue)
    topics, votes, covered = measure_coverage(entries, _iter_cases(args.cases, args.queue))
    missing = {topic: count for topic, (count, is_covered) in topics.items() if not is_covered}
    share = None
    if votes:
        share = covered / votes
    topics_with_case = len(topics) - len(missing)
    with_case = f"{topics_with_case:,} of {format_count(len(topics), 'topic')}"
    votes_covered = f"{covered:,} of {format_count(votes, 'vote')}"
    lines = [f"{with_case} of the feedback have a case: {votes_covered} against answers"]
    for topic, count in [*missing.items()][:MAX_LISTED]:
        lines.append(f"  {count:>6,}  {shorten_text(topic, 100)}")
    document = {"topics": len(topics), "votes": votes, "share": share, "missing": missing}
    print_result(args, document, lines)
    if args.at_least is not None and (share or 0) < args.at_least:
        return EXIT_PROBLEM
    return 0


def _iter_cases(paths: Iterable[Path], queue: Path) -> Iterator[Case]:
    """Yield the cases of files, except the queue: a pattern like cases/*.jsonl matches it too, but its entries are not cases."""
    for path in paths:
        if path.resolve() != queue.resolve():
            yield from load_cases(path)


def review_queue(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    _check_review_options(args)
    if args.label:
        name, label = args.label
        return _decide(args, name, label, args.reference)
    if args.accept:
        return _decide(args, args.accept, "accept", args.reference)
    if args.drop:
        return _decide(args, args.drop, "drop", args.reference)
    waiting = [entry for entry in read_queue(args.queue) if _is_waiting(entry, args.rater)]
    waiting.sort(key=lambda entry: (not entry.rank, entry.rank, entry.id))
    if args.json:
        print_json([json.loads(entry.to_line()) for entry in waiting])
    elif args.list:
        for entry in waiting:
            _print_entry(entry)
    else:
        with suppress(EOFError):
            _ask(args, waiting)
    return 0


def _check_review_options(args: argparse.Namespace) -> None:
    """Check that the options of ``review`` go together.

    Raises:
        UsageError: They do not.
    """
    actions = [value for value in (args.list, args.accept, args.drop, args.label) if value]
    if len(actions) > 1:
        raise UsageError("expected one of --list, --accept, --drop and --label")
    if (args.reference or args.fact) and not args.accept:
        raise UsageError("--reference, --fact: expected --accept too")
    if args.into.suffix != ".jsonl":
        raise UsageError(f"--into: expected a file name ending in .jsonl, got {str(args.into)!r}")


def _is_waiting(entry: QueueEntry, rater: str | None) -> bool:
    """Return whether an entry is still to be reviewed: it is open, or it has labels but none of this rater.

    Each rater labels all answers, independently of the others.
    """
    if entry.status == "open":
        return True
    labels = as_mapping(entry.data.get("human"))
    return bool(rater and labels and rater not in labels)


def _print_entry(entry: QueueEntry) -> None:
    """Print an entry on two lines: id, kind, reason and votes; then question and answer."""
    votes = [f"{count:,} {vote}" for vote, count in entry.votes.items()]
    reasons = [text for text in (entry.reason, ", ".join(votes)) if text]
    print_line(f"{entry.id}  {entry.kind}  {'; '.join(reasons)}")
    question = shorten_text(_format_input(entry), 160)
    answer = shorten_text(entry.output, 160)
    exchange = f"  {question} -> {answer}"
    print_line(colour_text(exchange, DIM))


def _format_input(entry: QueueEntry) -> str:
    if isinstance(entry.input, str):
        return entry.input
    return json.dumps(entry.input)


def _ask(args: argparse.Namespace, waiting: list[QueueEntry]) -> None:
    """Ask a person about each entry, until none is left or the person quits.

    Args:
        args: The arguments of ``review``; a typed fact is stored in ``args.fact`` until the next decision.
        waiting: The entries; those that are decided or skipped are removed.
    """
    while waiting:
        entry = waiting[0]
        for title, text in _describe_entry(entry, len(waiting), args.fact):
            if text:
                print_line(f"{title}: {shorten_text(text, 4_000)}")
        if entry.kind == "case":
            choices = "a accept, or type the right answer; f a fact"
        else:
            choices = "pass, fail, or a number"
        answer = input(f"{choices}; d drop, s skip, q quit: ").strip()
        if answer == "q":
            return
        if answer == "f" and entry.kind == "case":
            fact = input("a text that only right answers contain, for the next one that you accept: ")
            args.fact = fact.strip()
            continue
        try:
            _apply_typed_answer(args, entry, answer)
        except UsageError as error:
            print_error(format_error(error))
        else:
            waiting.pop(0)
            args.fact = None


def _describe_entry(entry: QueueEntry, count: int, fact: str | None) -> Iterator[tuple[str, str]]:
    """Yield titles and texts to show for an entry; empty texts are to be left out."""
    yield f"{count:,} to review", f"{entry.id}  {entry.reason}"
    yield "input", _format_input(entry)
    yield "answer", entry.output
    if entry.messages:
        yield "messages", json.dumps(entry.messages)
    if "contexts" in entry.data:
        yield "contexts", json.dumps(entry.data["contexts"])
    yield "comments", "; ".join(entry.comments)
    yield "reference", entry.reference
    yield "fact", fact or ""


def _apply_typed_answer(args: argparse.Namespace, entry: QueueEntry, answer: str) -> None:
    """Drop, accept, label or skip an entry, as a person typed.

    Args:
        args: The arguments of ``review``.
        entry: The entry.
        answer: A command (``a``, ``d``, ``s`` or nothing for skip), a label for an entry of kind label, else the right answer.

    Raises:
        UsageError: It is a single letter that is not a command, or does not fit the entry.
    """
    if answer in ("", "s"):
        return
    if answer == "d":
        _decide(args, entry.id, "drop", None)
    elif answer == "a":
        _decide(args, entry.id, "accept", None)
    elif entry.kind == "label":
        _decide(args, entry.id, answer, answer)
    elif len(answer) == 1 and answer.isascii() and not answer.isdigit():
        raise UsageError(
            f"{answer!r} is not a command, and short for a right answer: type more, or in scripts --reference {answer}"
        )
    else:
        _decide(args, entry.id, "accept", answer)


def _decide(args: argparse.Namespace, name: str, decision: str, reference: str | None) -> int:
    """Drop, accept or label an entry, print what became of it, and return the exit status.

    Args:
        args: The arguments of ``review``.
        name: The entry.
        decision: ``drop``, ``accept`` or the label of an answer.
        reference: The right answer; None: the one of the entry.

    Raises:
        CaseError: The entry does not exist, or the decision does not fit it.
    """
    summary = ""

    def change(queue: dict[str, QueueEntry]) -> None:
        """Change the entry in the queue, and set ``summary``; `change_queue` writes the file if nothing is raised."""
        nonlocal summary
        if name not in queue:
            raise BadFile("no such entry: --list shows those that wait")
        entry = queue[name]
        _check_kind(args, entry)
        if decision == "drop":
            summary = _drop(args, queue, entry)
        elif entry.kind == "label":
            summary = _label(args, queue, entry, decision)
        else:
            summary = _accept(args, queue, entry, reference)

    try:
        change_queue(args.queue, change)
    except BadFile as error:
        raise CaseError(f"{shorten_text(name, 60)}: {error.what}", args.queue) from None
    print_line(f"{name}: {summary}")
    return 0


def _check_kind(args: argparse.Namespace, entry: QueueEntry) -> None:
    """Check that the option fits the kind of the entry: --accept is for cases, --label for labels.

    Raises:
        BadFile: It does not fit.
    """
    if entry.kind == "label" and args.accept:
        raise BadFile("its kind is label: expected --label")
    if entry.kind == "case" and args.label:
        raise BadFile("its kind is case: expected --accept")


def _drop(args: argparse.Namespace, queue: dict[str, QueueEntry], entry: QueueEntry) -> str:
    """Mark an entry of the queue as dropped, and return what to print.

    Raises:
        BadFile: It is a case already.
    """
    if entry.kind == "case" and entry.status == "accepted":
        raise BadFile(f"it is a case already: delete it in {format_path(args.into)}")
    queue[entry.id] = replace(entry, status="dropped")
    return f"dropped, {format_path(args.queue)}"


def _label(args: argparse.Namespace, queue: dict[str, QueueEntry], entry: QueueEntry, label: str) -> str:
    """Give an entry of the queue its label, and return what to print.

    Raises:
        BadFile: The label does not fit the entry, or the queue then has both labels of pass or fail and numbers.
    """
    queue[entry.id] = _add_label(replace(entry, status="accepted"), label, args.rater)
    kinds: set[bool] = set()  # True for a label of pass or fail, False for a number
    for labelled in queue.values():
        if "human" in labelled.data:
            human = labelled.data["human"]
            labels = human.values() if isinstance(human, Mapping) else [human]
            kinds.update(isinstance(value, (bool, str)) for value in labels)
    if len(kinds) > 1:
        raise BadFile("the labels are of two kinds: pass or fail, and numbers; expected one")
    return f"labelled, {format_path(args.queue)}"


def _accept(
    args: argparse.Namespace, queue: dict[str, QueueEntry], entry: QueueEntry, reference: str | None
) -> str:
    """Mark an entry of the queue as accepted, add its case to the case file, and return what to print."""
    completed = replace(entry, reference=reference or entry.reference)
    accepted = replace(redact_entry(completed, build_redactor()), status="accepted")
    queue[entry.id] = accepted
    case = _build_case(accepted, args.fact, _relocate_trace(args, accepted))
    _append_case(args.into, case)
    return f"accepted, {format_path(args.into)}"


def _relocate_trace(args: argparse.Namespace, entry: QueueEntry) -> str:
    """Return the path of an entry's trace from the folder of the case file; "" without one."""
    if not entry.trace:
        return ""
    path = args.queue.parent / entry.trace
    return Path(relpath(path, args.into.parent)).as_posix()


def _build_case(entry: QueueEntry, fact: str | None, trace: str) -> dict[str, Json]:
    """Return the case of an entry, with which a test fails for the given answer and passes for the right one.

    The right answer is the reference of the entry; without one, the given answer if it only has votes for it. ``trace`` is the path of
    its trace from the folder of the case file.

    Raises:
        BadFile: The right answer is missing, or the fact does not separate the answers.
    """
    votes_down = entry.votes.get("down", 0)
    reference = entry.reference
    if not reference and entry.votes.get("up", 0) > 0 and not votes_down:
        reference = entry.output
    rejected = entry.output
    if normalize_text(reference) == normalize_text(entry.output):
        rejected = ""
    if not reference:
        raise BadFile("no right answer: type it, or give it as --reference")
    if not rejected and votes_down:
        raise BadFile(
            "the right answer is the one that was voted down: type another one, or give it as --reference"
        )
    if fact:
        folded = fact.casefold()
        if folded not in reference.casefold() or folded in rejected.casefold():
            raise BadFile(
                f"--fact {fact!r}: expected a text that the right answer contains, and the other one does not"
            )
    origin = [dict(place) for place in entry.origin[:MAX_ORIGINS]]
    more: dict[str, Json] = {
        "rejected": rejected,
        "fact": fact,
        "tags": list(entry.tags),
        "messages": entry.messages,
        "calls": entry.calls,
        "origin": origin,
        "trace": trace,
    }
    known = {key: value for key, value in more.items() if value}
    return {"id": entry.id, "input": entry.input, "reference": reference, **known}


def _append_case(path: Path, row: Mapping[str, Json]) -> None:
    """Add a case to a file, unless it has the same case already.

    Raises:
        CaseError: The file has it with another reference or fact, or without its trace, has rows of another form, or cannot be written.
        BadFile: The row makes no case: the entry was edited by hand.
    """
    known: dict[str, dict[str, Json]] = {}
    if path.exists():
        for case in load_cases(path):
            known[case.id] = {"reference": case.reference, **case.data}
    stored = known.get(str(row["id"]), row)
    for key in ("reference", "fact"):
        value = row.get(key)
        if value is not None and value != stored.get(key):
            raise CaseError(
                f"{row['id']} is there already with another reference or fact: change it there", path
            )
    trace = row.get("trace")
    if trace and "trace" not in stored:
        step = f'add "trace": "{trace}" to it, or delete it and accept it again'
        raise CaseError(f"{row['id']} is there already without its trace: {step}", path)
    parse_case(row)
    if row["id"] in known:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = format_json_line(row)
    if known:
        text = read_text(path).rstrip("\n") + "\n" + text
    rows: Any = [value for _, value in read_json_lines(text)]
    try:
        load_cases(rows)
    except CaseError as error:  # the rows of the file have no ids, or their input under another name
        raise CaseError(f"a reviewed case cannot be added to these rows: {error.what}", path) from None
    write_output_file(path, text)


def _add_label(entry: QueueEntry, text: str, rater: str | None) -> QueueEntry:
    """Return an entry with a label added to its data.

    The key "human" holds the label itself, or the labels by rater if there are several raters.

    Args:
        entry: The entry.
        text: The label as it was typed.
        rater: The name of the rater; None: there is only one.

    Raises:
        BadFile: It is not a label on the judge's scale, the rater gave another one before, or only some raters have names.
    """
    label = _parse_label(text, entry.data.get("scale"))
    before = entry.data.get("human")
    by_rater = as_mapping(before)
    known = before
    if by_rater and rater:
        known = by_rater.get(rater)
    is_mixed = before is not None and bool(by_rater) != bool(rater)
    if is_mixed or known not in (None, label):
        raise BadFile(f"expected the label {json.dumps(known)} of the file: name all annotators by --rater")
    human: Json = label
    if rater:
        human = {**by_rater, rater: label}
    return replace(entry, data={**entry.data, "human": human})


def _parse_label(text: str, scale: Json) -> bool | float:
    """Return a label: True for pass, False for fail, else a number on the judge's scale.

    Args:
        text: The label as it was typed.
        scale: A list of the lowest and the highest score; anything else: the scale is not known, and any number will do.

    Raises:
        BadFile: It is neither, or outside of the scale.
    """
    word = LABELS.get(text.strip().casefold())
    if word is not None:
        return word
    low = high = None
    if isinstance(scale, list) and len(scale) == 2:  # noqa: PLR2004 -- both ends
        low, high = map(as_finite_float, scale)
    number = None
    with suppress(ValueError):
        number = as_finite_float(float(text))
    is_below = number is not None and low is not None and number < low
    is_above = number is not None and high is not None and number > high
    if number is None or is_below or is_above:
        scale_text = scale or "of the judge"
        got = shorten_text(text, 60)
        raise BadFile(f"expected pass, fail or a number on the scale {scale_text}, got {got!r}")
    return number
