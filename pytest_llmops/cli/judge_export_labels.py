"""``llmops judge export-labels``: the answers of a run that a person should look at, or all, as a file to label."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.files import read_run_file
from pytest_llmops.cli.output import DIM, YELLOW, colour_text, print_line
from pytest_llmops.errors import CaseError, UnknownName, UsageError, format_name_list
from pytest_llmops.measurement import Json, format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.cli.label_files import LabelFile
    from pytest_llmops.results.review import Judgement

TEXT_LIMIT = 300
MAX_ID_LENGTH = 200
MAX_SUFFIX_LENGTH = 40
HARD_CASES_WARNING = (
    "hard cases only: they show where the judge errs, not how often. Do not correct a pass rate by them (PPI++), nor "
    "judge a kappa by them alone: for that label answers drawn at random, with --all --sample N"
)


def add_export_labels_command(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "export-labels",
        help="list the answers that a person should look at, or write them down to be labelled",
        description="List the answers of a run that a person should look at, or write them down to be labelled: those of which "
        "the judge was not sure, that it could not score, on which judges disagree, or that speak to their judge. Nothing is "
        "written over: labels that are in the file stay.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_export_labels)
    command.add_argument("run_file", type=Path, metavar="RUN.json", help="what --llm-report=run.json wrote")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to label: .jsonl, or .csv for a spreadsheet"
    )
    command.add_argument("--judge", metavar="NAME", help="only what that judge was shown")
    command.add_argument("--all", action="store_true", help="every judged answer, for a first set of labels")
    command.add_argument("--sample", type=_count, metavar="N", help="with --all: draw so many at random")
    command.add_argument("--seed", type=int, metavar="S", help="of the draw (default: 0)")
    command.add_argument(
        "--suffix",
        type=_parse_suffix,
        metavar="TEXT",
        help="end of the ids, where older answers to the same cases have labels already (@week-2)",
    )
    command.add_argument(
        "--with-verdicts",
        action="store_true",
        help="also write what the judge says, and why to look: who sees that labels otherwise",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _parse_suffix(text: str) -> str:
    if not (text.isprintable() and text.strip() and len(text) <= MAX_SUFFIX_LENGTH):
        raise argparse.ArgumentTypeError(
            f"expected 1 to {MAX_SUFFIX_LENGTH} printable characters, got {text!a}"
        )
    return text


@dataclass(slots=True)
class JudgedAnswer:
    """An answer of a run with all verdicts on it.

    Attributes:
        id: Unique in the run, and the same in every run of the same tests.
        verdicts: Of those judges that are asked for.
    """

    id: str = ""
    verdicts: list[Judgement] = field(default_factory=list)

    def takes(self, one: Judgement) -> bool:
        """Say whether a verdict is on this answer: nothing it was shown is another text."""
        first = self.verdicts[0]
        # A pair is a verdict on two answers: it says nothing of one of them alone.
        if (first.nodeid, first.answer, first.other) != (one.nodeid, one.answer, one.other):
            return False
        return all(
            not getattr(one, key) or self.shown(key) in ("", (), getattr(one, key))
            for key in ("question", "reference", "contexts")
        )

    def shown(self, key: str) -> Any:
        """What the judges were shown: empty where none was."""
        return next(filter(None, (getattr(verdict, key) for verdict in self.verdicts)), "")

    @property
    def flagged(self) -> bool:
        """Whether a person should look at it."""
        return any(verdict.why for verdict in self.verdicts)

    @property
    def scale(self) -> tuple[float, float] | None:
        """The judges' scale; None: not known, or they have several. Without a score nothing is known of it."""
        scales = {
            (None, None) if verdict.score is None else (verdict.low, verdict.high)
            for verdict in self.verdicts
        }
        low, high = scales.pop()
        return None if scales or low is None or high is None else (low, high)

    def row(self, *, verdicts: bool) -> dict[str, Json]:
        """Return the line to label; what judges say of it only if it is asked for."""
        first = self.verdicts[0]
        row: dict[str, Json] = {"id": self.id}
        if question := self.shown("question"):
            row["question"] = question
        row["answer"] = first.answer
        # Answers to one case are not independent, be they of several prompt versions or of several runs.
        more = {"reference": self.shown("reference"), "family": first.family or first.case}
        row |= {key: one for key, one in more.items() if one}
        if contexts := self.shown("contexts"):
            row["contexts"] = list(contexts)
        if self.scale:
            row["scale"] = [_simplify_number(end) for end in self.scale]
        row["human"] = None
        if verdicts:
            row["judge"] = None if first.score is None else _simplify_number(first.score)
            reasons = dict.fromkeys(one.reason for one in self.verdicts if one.reason)
            row |= {"reason": "; ".join(reasons)} if reasons else {}
        return row


def _simplify_number(number: float) -> float:
    return int(number) if number.is_integer() else number


def _export_labels(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.label_files import check_label_suffix
    from pytest_llmops.results.review import collect_judgements

    _check_export_options(args)
    if args.out:
        check_label_suffix("--out", args.out)
    verdicts = collect_judgements(read_run_file(args.run_file).records)
    where = shorten_text(str(args.run_file), TEXT_LIMIT)
    if not verdicts:
        print_line(f"{where}: no judge gave a verdict on an answer")
        return 0
    answers = list(_select_judge(_group_by_answer(verdicts), verdicts, args))
    selected = answers if args.all else [answer for answer in answers if answer.flagged]
    if not selected:
        print_line(
            f"{where}: no case for a person, of {format_count(len(answers), 'judged answer')}; --all takes them all"
        )
        return 0
    if args.out is None:
        return _print_answers(args, selected, answers)
    usable = [
        answer
        for answer in selected
        if answer.verdicts[0].answer is not None and answer.verdicts[0].other is None
    ]
    if args.with_verdicts:
        _check_single_judge(usable)
    _print_left_out(selected)
    drawn = _draw_sample(args, usable)
    return _write_label_file(args, drawn, where)


def _check_export_options(args: argparse.Namespace) -> None:
    if args.sample is not None and not args.all:
        raise UsageError(
            "--sample: expected --all too: a draw among the cases to look at is no sample of the answers"
        )
    if args.seed is not None and args.sample is None:
        raise UsageError("--seed: expected --sample too: without it nothing is drawn")
    for flag in ("sample", "with_verdicts"):
        if getattr(args, flag) and not args.out:
            raise UsageError(f"--{flag.replace('_', '-')}: expected --out too, the file to write")


def _group_by_answer(verdicts: Sequence[Judgement]) -> list[JudgedAnswer]:
    """Each answer once, in the order of the run, with an id of its own."""
    by_test: dict[str, list[JudgedAnswer]] = {}
    answers: list[JudgedAnswer] = []
    for verdict in verdicts:
        known = by_test.setdefault(verdict.nodeid, [])
        match = next((answer for answer in known if answer.takes(verdict)), None)
        if match is None:
            match = JudgedAnswer(verdicts=[verdict])
            known.append(match)
            answers.append(match)
        else:
            match.verdicts.append(verdict)
    # Those that can be labelled are named first, as if there were no pairs.
    _assign_ids(sorted(answers, key=lambda verdict: verdict.verdicts[0].other is not None))
    return answers


def _assign_ids(answers: Sequence[JudgedAnswer]) -> None:
    """The case's id where the run has one answer to it, else with a hash of the test's name.

    The whole name would tell who labels which prompt version an answer is from.
    """
    cases = Counter((answer.verdicts[0].case, answer.verdicts[0].other is None) for answer in answers)
    taken: set[str] = set()
    for answer in answers:
        first = answer.verdicts[0]
        alone = (
            cases[first.case, first.other is None] == 1
            and first.case.strip()
            and len(first.case) <= MAX_ID_LENGTH // 2
        )
        base = first.case if alone else _hashed_id(first)
        answer.id, number = base, 1
        while answer.id in taken:
            number += 1
            answer.id = f"{base}#{number}"
        taken.add(answer.id)


def _hashed_id(verdict: Judgement) -> str:
    test = verdict.nodeid.partition("::")[2].partition("[")[0]
    name = (verdict.case.strip() or test.strip() or "answer")[: MAX_ID_LENGTH // 2]
    return f"{name}-{hashlib.sha256(verdict.nodeid.encode()).hexdigest()[:8]}"


def _select_judge(
    answers: Iterable[JudgedAnswer], judgements: Sequence[Judgement], args: argparse.Namespace
) -> Iterator[JudgedAnswer]:
    names = {one.judge for one in judgements}
    if args.judge is not None and args.judge not in names:
        raise UnknownName("judge", args.judge, names, where=f"judges of {args.run_file}")
    for one in answers:
        verdicts = [verdict for verdict in one.verdicts if args.judge in (None, verdict.judge)]
        if verdicts:
            yield JudgedAnswer(one.id + (args.suffix or ""), verdicts)


def _check_single_judge(answers: Sequence[JudgedAnswer]) -> None:
    judges: Mapping[str, None] = dict.fromkeys(
        verdict.judge for answer in answers for verdict in answer.verdicts
    )
    if len(judges) > 1:
        raise UsageError(
            f"--with-verdicts: expected --judge too, as several judged: {shorten_text(format_name_list(judges), TEXT_LIMIT)}; a line has the verdict of one"
        )
    versions = dict.fromkeys(verdict.version for answer in answers for verdict in answer.verdicts)
    if len(versions) > 1:
        raise UsageError(
            f"--with-verdicts: expected verdicts of one version of the judge, got {shorten_text(format_name_list(versions), TEXT_LIMIT)}: unlike "
            "versions are never compared; leave the verdicts out"
        )


def _print_answers(
    args: argparse.Namespace, chosen: Sequence[JudgedAnswer], every: Sequence[JudgedAnswer]
) -> int:
    from pytest_llmops.results.review import sort_by_doubt

    print_line(f"{shorten_text(str(args.run_file), TEXT_LIMIT)}: {_format_flagged_count(chosen, every)}")
    ids = {id(said): one.id for one in chosen for said in one.verdicts}
    said = sort_by_doubt(said for one in chosen for said in one.verdicts if said.why or args.all)
    for one in said:
        score = "not scored" if one.score is None else f"{one.score:.4g}"
        why = f"  {colour_text(one.reason, YELLOW)}" if one.why else ""
        print_line(f"{shorten_text(ids[id(one)], 100)}  {shorten_text(one.judge, 60)} {score}{why}")
        print_line(colour_text(f"  {shorten_text(one.nodeid, 200)}", DIM))
    print_line("--out FILE.jsonl (or .csv) writes them down for people to label")
    return 0


def _format_flagged_count(chosen: Sequence[JudgedAnswer], every: Sequence[JudgedAnswer]) -> str:
    flagged = sum(answer.flagged for answer in chosen)
    return f"{format_count(flagged, 'case')} for a person, of {format_count(len(every), 'judged answer')}"


def _print_left_out(chosen: Sequence[JudgedAnswer]) -> None:
    pairs = sum(answer.verdicts[0].other is not None for answer in chosen)
    empty = sum(answer.verdicts[0].answer is None for answer in chosen)
    if pairs:
        print_line(f"left out: {format_count(pairs, 'pair')} of answers, as a label is of one answer")
    if empty:
        print_line(f"left out: {format_count(empty, 'case')} without an answer")


def _draw_sample(args: argparse.Namespace, usable: list[JudgedAnswer]) -> list[JudgedAnswer]:
    if args.sample is None:
        return usable
    import random

    # In the order of the draw: who stops half way has still labelled a random sample.
    draw = random.Random(args.seed or 0)  # noqa: S311 -- a sample that can be drawn again, no secret
    return draw.sample(usable, min(args.sample, len(usable)))


def _write_label_file(args: argparse.Namespace, drawn: Sequence[JudgedAnswer], where: str) -> int:
    from pytest_llmops.cli.files import lock_file, write_output_file
    from pytest_llmops.cli.label_files import COLUMNS, LabelFile, append_rows, read_label_file

    if not drawn:
        print_line(f"{where}: nothing to label")
        return 0
    rows = [answer.row(verdicts=args.with_verdicts) for answer in drawn]
    with lock_file(args.out):
        file = read_label_file(args.out) if args.out.exists() else LabelFile(path=args.out)
        if args.with_verdicts and not file.rows:
            file = replace(file, columns=(*COLUMNS, "judge", "reason"))
        new = list(_select_new_rows(file, rows))
        if new:
            write_output_file(args.out, append_rows(file, new))
    out = shorten_text(str(args.out), TEXT_LIMIT)
    there = f", {len(rows) - len(new):,} of them are in it already" if len(new) < len(rows) else ""
    how = f" drawn at random (seed {args.seed or 0})" if args.sample else ""
    print_line(
        f"{where}: {format_count(len(rows), 'answer')}{how}{there}; {format_count(len(new), 'answer')} written to {out}"
    )
    if args.with_verdicts:
        version = drawn[0].verdicts[0].version
        print_line(
            f"verdicts of {shorten_text(drawn[0].verdicts[0].judge, 60)}, version {shorten_text(version, 100)}"
        )
    print_line(
        'fill in "human": true or false, or a number on the scale; then: llmops judge import-labels '
        f"{out} --into labels.jsonl"
    )
    if not args.all:
        print_line(colour_text(HARD_CASES_WARNING, YELLOW))
    return 0


def _select_new_rows(file: LabelFile, rows: Iterable[dict[str, Json]]) -> Iterator[dict[str, Json]]:
    """The rows that are not in the file yet.

    Raises:
        CaseError: One of the same id is another answer, with file and line.
    """
    from pytest_llmops.calibration.labels import parse_answer
    from pytest_llmops.cli.label_files import describe_difference

    known = file.by_id
    for row in rows:
        there = known.get(str(row["id"]))
        if there is None:
            yield row
        elif difference := describe_difference(there.answer, parse_answer(row, 0)):
            raise CaseError(
                f"{shorten_text(there.answer.id, 60)}: {difference}: another answer of that id; name another file, or add --suffix",
                file.path,
                there.line,
            )
