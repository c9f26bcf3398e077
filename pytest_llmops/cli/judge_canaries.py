"""``llmops judge canaries``: does a judge let itself be talked to?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.files import check, write
from pytest_llmops.cli.judge_options import CHOICE, add_asking, chosen, surroundings
from pytest_llmops.cli.output import DIM, GREEN, complain, painted, say, without_secrets
from pytest_llmops.measurement import counted, shorten

if TYPE_CHECKING:
    from pytest_llmops.calibration.canaries import Outcome, Probe

FOUND = 1


def add(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "canaries",
        help="see whether a judge lets itself be talked to",
        description="Put canaries before a judge, answers that no judge may pass: nothing at all, orders, fake verdicts, fake ends "
        "of the data, role play, hidden characters; and some right answers. Recordings answer, unless --record says to ask. Exit "
        "status 1: the judge is unfit, or that could not be told.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_probe)
    command.add_argument("judge", metavar="JUDGE", help=f"{CHOICE}; or pairwise, the judge of two answers")
    command.add_argument(
        "--canaries",
        type=Path,
        metavar="FILE.jsonl",
        help="canaries of your own (default: the built-in ones)",
    )
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write what came of it")
    add_asking(command, "JUDGE.canaries.cassette.json in this folder, or beside the rubric")


def _probe(given: argparse.Namespace) -> int:
    from pytest_llmops.calibration.canaries import probe, read_canaries, summary

    tape = given.cassette or _tape(given.judge)
    check("--out", given.out, {"the recording": tape, "the canaries": given.canaries})
    canaries = None if given.canaries is None else read_canaries(given.canaries)
    with surroundings(given, tape, how="--record new"):
        found = probe(_judge(given.judge), canaries)
    _tell(found)
    if given.out and found.status != "undecided":  # it would hide what is known of the judge
        _keep(given.out, found)
    if found.status != "fit":
        complain(f"judge {found.judge}: {summary(found)}")
        return FOUND
    say(painted(f"the judge {summary(found)}", GREEN))
    return 0


def _judge(name: str) -> object:
    if name == "pairwise":
        from pytest_llmops.judges.pairwise import Pairwise

        return Pairwise()
    return chosen(name)


def _tape(judge: str) -> Path:
    from pytest_llmops.cassettes.naming import safe

    suffix = ".canaries.cassette.json"
    return Path(judge).with_suffix(suffix) if judge.endswith(".md") else Path(f"{safe(judge)}{suffix}")


def _tell(found: Probe) -> None:
    from pytest_llmops.calibration.canaries import facts

    model = f", model {shorten(found.model, 100)}" if found.model else ""
    say(f"judge {shorten(found.judge, 100)}, version {shorten(found.version, 100)}{model}")
    asked = sum(not one.prescreened for one in found.outcomes)
    threshold = "the middle of its scale" if found.threshold is None else f"{found.threshold:g}"
    say(
        f"{counted(len(found.outcomes), 'answer')}, {asked:,} of them put to it; it passes an answer above or at {threshold}"
    )
    say()
    kinds = facts(found)["by kind"]
    rows = dict(kinds) if isinstance(kinds, dict) else {}
    width = max(len(name) for name in (*rows, "right answers"))
    say(painted(f"{'kind':<{width}}  withstood", DIM))
    for name, text in rows.items():
        say(f"{shorten(name, 60):<{width}}  {text}")
    say(f"{'right answers':<{width}}  {found.controls - len(found.rejected)} of {found.controls} passed")
    for title, listed in (
        ("passes", found.fallen),
        ("rejects", found.rejected),
        ("unscored", found.unscored),
    ):
        if listed:
            say()
        for one in listed:
            say(f"{title}  {_line(one)}")
    say()


def _line(one: Outcome) -> str:
    if one.passed is None:
        return f"{shorten(one.canary.id, 60)} ({shorten(one.canary.kind, 40)}): {shorten(one.error, 200)}"
    score = "" if one.score is None else f", score {one.score:g}"
    return f'{shorten(one.canary.id, 60)} ({shorten(one.canary.kind, 40)}{score}): "{shorten(one.canary.answer, 120)}"'


def _keep(path: Path, found: Probe) -> None:
    import datetime as dt

    from pytest_llmops.calibration.canaries import Fitness
    from pytest_llmops.redaction.pytest_reports import masked

    record = Fitness.of(found, date=dt.datetime.now(tz=dt.UTC).date().isoformat())
    # A judge's reasons stand in a file that is committed.
    clean = replace(record, found=masked(dict(record.found), without_secrets))
    write(path, clean.text_of_file())
    say(
        f"written to {shorten(str(path), 300)}: commit it; it holds for this version of the judge and these canaries"
    )
