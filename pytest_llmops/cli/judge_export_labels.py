"""``llmops judge export-labels``: write answers of a run to a file in which human annotators label them."""

import argparse
import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmops.calibration.labels import parse_answer
from pytest_llmops.cli import common
from pytest_llmops.cli.common import DIM, YELLOW, colour_text, format_path, print_line, refuse_options
from pytest_llmops.cli.label_files import (
    COLUMNS,
    LabelFile,
    append_rows,
    check_label_suffix,
    describe_difference,
    read_label_file,
    simplify_number,
)
from pytest_llmops.errors import UnknownName, format_name_list
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.results.review import Judgement, collect_judgements, sort_by_doubt

TEXT_LIMIT = 300
MAX_ID_LENGTH = 200
HARD_CASES_WARNING = (
    "hard cases only: they show where the judge errs, not how often. Do not judge a kappa by them alone: for that label "
    "answers drawn at random, with --all --sample N"
)


@dataclass(slots=True)
class JudgedAnswer:
    """An answer of a run with all its verdicts.

    Attributes:
        verdicts: At least one verdict.
        id: Unique in the run, and the same in every run of the same tests.
    """

    verdicts: list[Judgement]
    id: str = ""

    @property
    def first_verdict(self) -> Judgement:
        """The first verdict: it has the answer, and the test's name."""
        return self.verdicts[0]

    @property
    def is_pair(self) -> bool:
        """Whether two answers were compared: such a verdict says nothing about either of them alone."""
        return self.first_verdict.other is not None

    @property
    def needs_review(self) -> bool:
        """Whether a human annotator should look at the answer."""
        return any(verdict.why for verdict in self.verdicts)

    def covers(self, verdict: Judgement) -> bool:
        """Whether a verdict is on this answer: no input of its judge differs from an input of the other judges."""
        same = all(
            getattr(self.first_verdict, key) == getattr(verdict, key) for key in ("nodeid", "answer", "other")
        )
        return same and all(
            not getattr(verdict, key) or self.judge_input(key) in ("", (), getattr(verdict, key))
            for key in ("question", "reference", "contexts")
        )

    def judge_input(self, key: str) -> Any:
        """Return an input that a judge was given; empty if no judge was."""
        return next(filter(None, (getattr(verdict, key) for verdict in self.verdicts)), "")

    @property
    def scale(self) -> tuple[float, float] | None:
        """The judges' scale; None: they have several, or it is unknown, as it is without a score."""
        scales = {
            (None, None) if verdict.score is None else (verdict.low, verdict.high)
            for verdict in self.verdicts
        }
        low, high = scales.pop()
        return None if scales or low is None or high is None else (low, high)

    def to_label_row(self, *, with_verdict: bool) -> dict[str, Json]:
        """Return the row to label, with the judge's verdict only on request."""
        first = self.first_verdict
        optional = {
            "reference": self.judge_input("reference"),
            # Answers to the same case are not independent, whichever prompt version or run they are from.
            "family": first.family or first.case,
            "contexts": list(self.judge_input("contexts")),
            "scale": [simplify_number(end) for end in self.scale or ()],
        }
        question = self.judge_input("question")
        row: dict[str, Json] = {"id": self.id, **({"question": question} if question else {})}
        row |= {"answer": first.answer, **{key: value for key, value in optional.items() if value}}
        row["human"] = None
        if with_verdict:
            row["judge"] = None if first.score is None else simplify_number(first.score)
            if reasons := dict.fromkeys(verdict.reason for verdict in self.verdicts if verdict.reason):
                row["reason"] = "; ".join(reasons)
        return row


def export_labels(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    _check_export_options(args)
    verdicts = collect_judgements(common.read_run_file(args.run_file).records)
    run_file = format_path(args.run_file)
    if not verdicts:
        print_line(f"{run_file}: no judge gave a verdict on an answer")
        return 0
    answers = list(_select_answers(verdicts, args))
    selected = answers if args.all else [answer for answer in answers if answer.needs_review]
    judged = format_count(len(answers), "judged answer")
    if not selected:
        print_line(f"{run_file}: no case for a person, of {judged}; --all takes them all")
        return 0
    if args.out is None:
        flagged = sum(answer.needs_review for answer in selected)
        print_line(f"{run_file}: {format_count(flagged, 'case')} for a person, of {judged}")
        _print_answers(selected, every_verdict=args.all)
        return 0
    usable = [answer for answer in selected if answer.first_verdict.answer is not None and not answer.is_pair]
    if args.with_verdicts:
        _check_single_judge(usable)
    pairs = sum(answer.is_pair for answer in selected)
    empty = sum(answer.first_verdict.answer is None for answer in selected)
    for line in (
        f"left out: {format_count(pairs, 'pair')} of answers, as a label is of one answer" if pairs else "",
        f"left out: {format_count(empty, 'case')} without an answer" if empty else "",
        "" if usable else f"{run_file}: nothing to label",
    ):
        if line:
            print_line(line)
    if args.sample is not None:
        # In the order of the draw: whoever stops half way has still labelled a random sample.
        draw = random.Random(args.seed or 0)  # noqa: S311 -- a sample that can be drawn again, no secret
        usable = draw.sample(usable, min(args.sample, len(usable)))
    if usable:
        _write_answers(args, usable, run_file)
    return 0


def _check_export_options(args: argparse.Namespace) -> None:
    writing = {"--sample": args.sample, "--with-verdicts": args.with_verdicts}
    refuse_options(
        {
            "--sample: expected --all too: a draw among the cases to look at is no sample of the answers": (
                args.sample is not None and not args.all
            ),
            "--seed: expected --sample too: without it nothing is drawn": (
                args.seed is not None and args.sample is None
            ),
            **{
                f"{flag}: expected --out too, the file to write": is_set and not args.out
                for flag, is_set in writing.items()
            },
        }
    )
    if args.out:
        check_label_suffix("--out", args.out)


def _select_answers(verdicts: Sequence[Judgement], args: argparse.Namespace) -> Iterator[JudgedAnswer]:
    names = {verdict.judge for verdict in verdicts}
    if args.judge is not None and args.judge not in names:
        raise UnknownName("judge", args.judge, names, where=f"judges of {args.run_file}")
    for answer in group_by_answer(verdicts):
        chosen = [verdict for verdict in answer.verdicts if args.judge in (None, verdict.judge)]
        if chosen:
            yield JudgedAnswer(chosen, answer.id + (args.suffix or ""))


def group_by_answer(verdicts: Sequence[Judgement]) -> list[JudgedAnswer]:
    """Return each answer once, in the order of the run, with a unique id.

    The id is the case's where the run has no other answer to it; else the case with a hash of the test's name. The
    name itself would give away the prompt version to annotators.
    """
    answers: list[JudgedAnswer] = []
    by_test: dict[str, list[JudgedAnswer]] = {}
    for verdict in verdicts:
        known = by_test.setdefault(verdict.nodeid, [])
        answer = next((answer for answer in known if answer.covers(verdict)), None)
        if answer is None:
            answer = JudgedAnswer([verdict])
            known.append(answer)
            answers.append(answer)
        else:
            answer.verdicts.append(verdict)
    answers_per_case = Counter((answer.first_verdict.case, answer.is_pair) for answer in answers)
    taken: set[str] = set()
    # Pairs come last: the ids of answers that can be labelled do not depend on them.
    for answer in sorted(answers, key=lambda answer: answer.is_pair):
        case, nodeid = answer.first_verdict.case, answer.first_verdict.nodeid
        base = case
        if answers_per_case[case, answer.is_pair] > 1 or not case.strip() or len(case) > MAX_ID_LENGTH // 2:
            test = nodeid.partition("::")[2].partition("[")[0]
            name = (case.strip() or test.strip() or "answer")[: MAX_ID_LENGTH // 2]
            base = f"{name}-{hashlib.sha256(nodeid.encode()).hexdigest()[:8]}"
        answer.id, number = base, 1
        while answer.id in taken:
            number += 1
            answer.id = f"{base}#{number}"
        taken.add(answer.id)
    return answers


def _check_single_judge(answers: Sequence[JudgedAnswer]) -> None:
    verdicts = [verdict for answer in answers for verdict in answer.verdicts]
    judges, versions = (
        shorten_text(format_name_list(dict.fromkeys(names)), TEXT_LIMIT) if len(set(names)) > 1 else ""
        for names in ([each.judge for each in verdicts], [each.version for each in verdicts])
    )
    refuse_options(
        {
            f"--with-verdicts: expected --judge too, as several judged: {judges}; a line has the verdict of one": judges,
            f"--with-verdicts: expected verdicts of one version of the judge, got {versions}: unlike "
            "versions are never compared; leave the verdicts out": versions,
        }
    )


def _print_answers(answers: Sequence[JudgedAnswer], *, every_verdict: bool) -> None:
    ids = {id(verdict): answer.id for answer in answers for verdict in answer.verdicts}
    verdicts = (verdict for answer in answers for verdict in answer.verdicts)
    for verdict in sort_by_doubt(verdict for verdict in verdicts if verdict.why or every_verdict):
        score = "not scored" if verdict.score is None else f"{verdict.score:.4g}"
        why = f"  {colour_text(verdict.reason, YELLOW)}" if verdict.why else ""
        print_line(f"{shorten_text(ids[id(verdict)], 100)}  {shorten_text(verdict.judge, 60)} {score}{why}")
        print_line(colour_text(f"  {shorten_text(verdict.nodeid, 200)}", DIM))
    print_line("--out FILE.jsonl (or .csv) writes them down for people to label")


def _write_answers(args: argparse.Namespace, answers: Sequence[JudgedAnswer], run_file: str) -> None:
    rows = [answer.to_label_row(with_verdict=args.with_verdicts) for answer in answers]
    with common.lock_file(args.out):
        file = read_label_file(args.out) if args.out.exists() else LabelFile(path=args.out)
        if args.with_verdicts and not file.rows:
            file = replace(file, columns=(*COLUMNS, "judge", "reason"))
        new = _select_new_rows(file, rows)
        if new:
            common.write_output_file(args.out, append_rows(file, new))
    out = format_path(args.out)
    how = f" drawn at random (seed {args.seed or 0})" if args.sample else ""
    known = f", {len(rows) - len(new):,} of them are in it already" if len(new) < len(rows) else ""
    first = answers[0].first_verdict
    lines = {
        f"{run_file}: {format_count(len(rows), 'answer')}{how}{known}; {format_count(len(new), 'answer')} written to {out}": True,
        f"verdicts of {shorten_text(first.judge, 60)}, version {shorten_text(first.version, 100)}": args.with_verdicts,
        (
            'fill in "human": true or false, or a number on the scale; then: llmops judge import-labels '
            f"{out} --into labels.jsonl"
        ): True,
        colour_text(HARD_CASES_WARNING, YELLOW): not args.all,
    }
    for line in (line for line, applies in lines.items() if applies):
        print_line(line)


def _select_new_rows(file: LabelFile, rows: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
    known = file.by_id
    for row in rows:
        existing = known.get(str(row["id"]))
        if existing and (difference := describe_difference(existing.answer, parse_answer(row, 0))):
            raise existing.error(
                file.path, f"{difference}: another answer of that id; name another file, or add --suffix"
            )
    return [row for row in rows if row["id"] not in known]
