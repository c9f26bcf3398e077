"""``llmops judge export-labels``: the answers of a run that a person should look at, or all, as a file to label."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.files import read_run
from pytest_llmops.cli.output import DIM, YELLOW, painted, say
from pytest_llmops.errors import CaseError, UnknownName, UsageError, listing
from pytest_llmops.measurement import Json, counted, shorten

if TYPE_CHECKING:
    from pytest_llmops.cli.label_files import LabelFile
    from pytest_llmops.results.review import Judgement

SHOWN = 300
MAX_ID = 200
MAX_SUFFIX = 40
HARD = (
    "hard cases only: they show where the judge errs, not how often. Do not correct a pass rate by them (PPI++), nor "
    "judge a kappa by them alone: for that label answers drawn at random, with --all --sample N"
)


def add(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "export-labels",
        help="list the answers that a person should look at, or write them down to be labelled",
        description="List the answers of a run that a person should look at, or write them down to be labelled: those of which "
        "the judge was not sure, that it could not score, on which judges disagree, or that speak to their judge. Nothing is "
        "written over: labels that are in the file stay.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_review)
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
        type=_suffix,
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


def _suffix(text: str) -> str:
    if not (text.isprintable() and text.strip() and len(text) <= MAX_SUFFIX):
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_SUFFIX} printable characters, got {text!a}")
    return text


@dataclass(slots=True)
class Answer:
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
        return next(filter(None, (getattr(one, key) for one in self.verdicts)), "")

    @property
    def flagged(self) -> bool:
        """Whether a person should look at it."""
        return any(one.why for one in self.verdicts)

    @property
    def scale(self) -> tuple[float, float] | None:
        """The judges' scale; None: not known, or they have several. Without a score nothing is known of it."""
        found = {(None, None) if one.score is None else (one.low, one.high) for one in self.verdicts}
        low, high = found.pop()
        return None if found or low is None or high is None else (low, high)

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
            row["scale"] = [_short(end) for end in self.scale]
        row["human"] = None
        if verdicts:
            row["judge"] = None if first.score is None else _short(first.score)
            reasons = dict.fromkeys(one.reason for one in self.verdicts if one.reason)
            row |= {"reason": "; ".join(reasons)} if reasons else {}
        return row


def _short(number: float) -> float:
    return int(number) if number.is_integer() else number


def _review(given: argparse.Namespace) -> int:
    from pytest_llmops.cli.label_files import suffix_of
    from pytest_llmops.results.review import judgements

    _check(given)
    if given.out:
        suffix_of("--out", given.out)
    found = judgements(read_run(given.run_file).records)
    where = shorten(str(given.run_file), SHOWN)
    if not found:
        say(f"{where}: no judge gave a verdict on an answer")
        return 0
    every = list(_of_judge(_answers(found), found, given))
    chosen = every if given.all else [one for one in every if one.flagged]
    if not chosen:
        say(f"{where}: no case for a person, of {counted(len(every), 'judged answer')}; --all takes them all")
        return 0
    if given.out is None:
        return _list(given, chosen, every)
    usable = [one for one in chosen if one.verdicts[0].answer is not None and one.verdicts[0].other is None]
    if given.with_verdicts:
        _check_verdicts(usable)
    _say_left_out(chosen)
    drawn = _drawn(given, usable)
    return _write(given, drawn, where)


def _check(given: argparse.Namespace) -> None:
    if given.sample is not None and not given.all:
        raise UsageError(
            "--sample: expected --all too: a draw among the cases to look at is no sample of the answers"
        )
    if given.seed is not None and given.sample is None:
        raise UsageError("--seed: expected --sample too: without it nothing is drawn")
    for flag in ("sample", "with_verdicts"):
        if getattr(given, flag) and not given.out:
            raise UsageError(f"--{flag.replace('_', '-')}: expected --out too, the file to write")


def _answers(found: Sequence[Judgement]) -> list[Answer]:
    """Each answer once, in the order of the run, with an id of its own."""
    by_test: dict[str, list[Answer]] = {}
    every: list[Answer] = []
    for one in found:
        known = by_test.setdefault(one.nodeid, [])
        place = next((answer for answer in known if answer.takes(one)), None)
        if place is None:
            place = Answer(verdicts=[one])
            known.append(place)
            every.append(place)
        else:
            place.verdicts.append(one)
    # Those that can be labelled are named first, as if there were no pairs.
    _name(sorted(every, key=lambda one: one.verdicts[0].other is not None))
    return every


def _name(answers: Sequence[Answer]) -> None:
    """The case's id where the run has one answer to it, else with a hash of the test's name.

    The whole name would tell who labels which prompt version an answer is from.
    """
    cases = Counter((one.verdicts[0].case, one.verdicts[0].other is None) for one in answers)
    taken: set[str] = set()
    for one in answers:
        first = one.verdicts[0]
        alone = (
            cases[first.case, first.other is None] == 1
            and first.case.strip()
            and len(first.case) <= MAX_ID // 2
        )
        base = first.case if alone else _made(first)
        one.id, number = base, 1
        while one.id in taken:
            number += 1
            one.id = f"{base}#{number}"
        taken.add(one.id)


def _made(one: Judgement) -> str:
    test = one.nodeid.partition("::")[2].partition("[")[0]
    name = (one.case.strip() or test.strip() or "answer")[: MAX_ID // 2]
    return f"{name}-{hashlib.sha256(one.nodeid.encode()).hexdigest()[:8]}"


def _of_judge(
    answers: Iterable[Answer], found: Sequence[Judgement], given: argparse.Namespace
) -> Iterator[Answer]:
    names = {one.judge for one in found}
    if given.judge is not None and given.judge not in names:
        raise UnknownName("judge", given.judge, names, where=f"judges of {given.run_file}")
    for one in answers:
        verdicts = [said for said in one.verdicts if given.judge in (None, said.judge)]
        if verdicts:
            yield Answer(one.id + (given.suffix or ""), verdicts)


def _check_verdicts(chosen: Sequence[Answer]) -> None:
    who: Mapping[str, None] = dict.fromkeys(said.judge for one in chosen for said in one.verdicts)
    if len(who) > 1:
        raise UsageError(
            f"--with-verdicts: expected --judge too, as several judged: {shorten(listing(who), SHOWN)}; a line has the verdict of one"
        )
    versions = dict.fromkeys(said.version for one in chosen for said in one.verdicts)
    if len(versions) > 1:
        raise UsageError(
            f"--with-verdicts: expected verdicts of one version of the judge, got {shorten(listing(versions), SHOWN)}: unlike "
            "versions are never compared; leave the verdicts out"
        )


def _list(given: argparse.Namespace, chosen: Sequence[Answer], every: Sequence[Answer]) -> int:
    from pytest_llmops.results.review import by_doubt

    say(f"{shorten(str(given.run_file), SHOWN)}: {_among(chosen, every)}")
    ids = {id(said): one.id for one in chosen for said in one.verdicts}
    said = by_doubt(said for one in chosen for said in one.verdicts if said.why or given.all)
    for one in said:
        score = "not scored" if one.score is None else f"{one.score:.4g}"
        why = f"  {painted(one.reason, YELLOW)}" if one.why else ""
        say(f"{shorten(ids[id(one)], 100)}  {shorten(one.judge, 60)} {score}{why}")
        say(painted(f"  {shorten(one.nodeid, 200)}", DIM))
    say("--out FILE.jsonl (or .csv) writes them down for people to label")
    return 0


def _among(chosen: Sequence[Answer], every: Sequence[Answer]) -> str:
    flagged = sum(one.flagged for one in chosen)
    return f"{counted(flagged, 'case')} for a person, of {counted(len(every), 'judged answer')}"


def _say_left_out(chosen: Sequence[Answer]) -> None:
    pairs = sum(one.verdicts[0].other is not None for one in chosen)
    empty = sum(one.verdicts[0].answer is None for one in chosen)
    if pairs:
        say(f"left out: {counted(pairs, 'pair')} of answers, as a label is of one answer")
    if empty:
        say(f"left out: {counted(empty, 'case')} without an answer")


def _drawn(given: argparse.Namespace, usable: list[Answer]) -> list[Answer]:
    if given.sample is None:
        return usable
    import random

    # In the order of the draw: who stops half way has still labelled a random sample.
    draw = random.Random(given.seed or 0)  # noqa: S311 -- a sample that can be drawn again, no secret
    return draw.sample(usable, min(given.sample, len(usable)))


def _write(given: argparse.Namespace, drawn: Sequence[Answer], where: str) -> int:
    from pytest_llmops.cli.files import alone, write
    from pytest_llmops.cli.label_files import COLUMNS, LabelFile, appended, read

    if not drawn:
        say(f"{where}: nothing to label")
        return 0
    rows = [one.row(verdicts=given.with_verdicts) for one in drawn]
    with alone(given.out):
        file = read(given.out) if given.out.exists() else LabelFile(path=given.out)
        if given.with_verdicts and not file.rows:
            file = replace(file, columns=(*COLUMNS, "judge", "reason"))
        new = list(_new(file, rows))
        if new:
            write(given.out, appended(file, new))
    out = shorten(str(given.out), SHOWN)
    there = f", {len(rows) - len(new):,} of them are in it already" if len(new) < len(rows) else ""
    how = f" drawn at random (seed {given.seed or 0})" if given.sample else ""
    say(
        f"{where}: {counted(len(rows), 'answer')}{how}{there}; {counted(len(new), 'answer')} written to {out}"
    )
    if given.with_verdicts:
        version = drawn[0].verdicts[0].version
        say(f"verdicts of {shorten(drawn[0].verdicts[0].judge, 60)}, version {shorten(version, 100)}")
    say(
        'fill in "human": true or false, or a number on the scale; then: llmops judge import-labels '
        f"{out} --into labels.jsonl"
    )
    if not given.all:
        say(painted(HARD, YELLOW))
    return 0


def _new(file: LabelFile, rows: Iterable[dict[str, Json]]) -> Iterator[dict[str, Json]]:
    """The rows that are not in the file yet.

    Raises:
        CaseError: One of the same id is another answer, with file and line.
    """
    from pytest_llmops.calibration.labels import answer_of
    from pytest_llmops.cli.label_files import differing

    known = file.by_id
    for row in rows:
        there = known.get(str(row["id"]))
        if there is None:
            yield row
        elif difference := differing(there.answer, answer_of(row, 0)):
            raise CaseError(
                f"{shorten(there.answer.id, 60)}: {difference}: another answer of that id; name another file, or add --suffix",
                file.path,
                there.line,
            )
