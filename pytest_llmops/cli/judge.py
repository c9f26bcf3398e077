"""``llmops judge``: is a judge right?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli import judge_canaries, judge_export_labels, judge_import_labels, judge_rescore
from pytest_llmops.cli.files import check, write
from pytest_llmops.cli.judge_options import CHOICE, add_asking, chosen, count, surroundings
from pytest_llmops.cli.output import DIM, GREEN, complain, painted, say
from pytest_llmops.errors import CaseError, LLMOpsError, UsageError
from pytest_llmops.measurement import counted, shorten

if TYPE_CHECKING:
    from pytest_llmops.calibration import Bars, Figures, Judged
    from pytest_llmops.calibration.labels import Labels

FOUND = 1
MIN_LABELS = 50


def add(groups: Any) -> None:
    """Declare the group's commands."""
    group = groups.add_parser(
        "judge",
        help="see whether a judge is right, and score stored outputs again",
        description="See whether a judge is right, and score stored outputs again.",
        allow_abbrev=False,
    )
    group.set_defaults(helps=group)
    commands = group.add_subparsers(title="commands", metavar="COMMAND")
    command: argparse.ArgumentParser = commands.add_parser(
        "calibrate",
        help="hold a judge against people's labels, and keep what is found",
        description="Hold a judge against people's labels, and keep what is found: a file to commit beside the rubric. A line "
        'of the labels is {"id": "...", "question": "...", "answer": "...", "human": [true, false]}; human may also be one '
        "label, or numbers on the judge's scale. Recordings answer, unless --record says to ask. Exit status 1: a bar is missed.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_calibrate)
    _add_arguments(command)
    judge_canaries.add(commands)
    judge_export_labels.add(commands)
    judge_import_labels.add(commands)
    judge_rescore.add(commands)


def _add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "judge",
        metavar="JUDGE",
        help=f"{CHOICE}; with --verdicts any name",
    )
    command.add_argument("labels", type=Path, metavar="LABELS.jsonl", help="what people say")
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write the calibration")
    _add_bars(command)
    _add_asking(command)


def _add_bars(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pass-at",
        type=float,
        metavar="SCORE",
        help="from which score on an answer passes (default: the judge's)",
    )
    command.add_argument(
        "--at-least-kappa",
        type=float,
        default=0.6,
        metavar="K",
        help="what the kappa has to reach (default: 0.6)",
    )
    command.add_argument(
        "--at-least-kappa-lower",
        type=float,
        default=0.4,
        metavar="K",
        help="what its lower bound has to reach, with 95 %% confidence (default: 0.4)",
    )
    command.add_argument(
        "--at-least-tnr",
        type=float,
        metavar="SHARE",
        help="share of failed answers that the judge has to fail, with 95 %% confidence",
    )
    command.add_argument(
        "--at-least-tpr",
        type=float,
        metavar="SHARE",
        help="share of passed answers that it has to pass, with 95 %% confidence",
    )
    command.add_argument(
        "--at-least-labels",
        type=count,
        default=MIN_LABELS,
        metavar="N",
        help=f"fewer are refused (default: {MIN_LABELS})",
    )


def _add_asking(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trials",
        type=count,
        default=1,
        metavar="N",
        help="verdicts on each answer; their mean counts (default: 1)",
    )
    command.add_argument(
        "--verdicts",
        action="store_true",
        help='ask nobody: the verdicts stand in the labels, under the key "judge"',
    )
    command.add_argument(
        "--judge-version", metavar="TEXT", help="with --verdicts: which version of the judge they are from"
    )
    add_asking(command, "LABELS.cassette.json, if there is one")


def _calibrate(given: argparse.Namespace) -> int:
    from pytest_llmops import calibration
    from pytest_llmops.calibration.labels import read_labels

    _check(given)
    bars = calibration.Bars(
        at_least_kappa=given.at_least_kappa,
        at_least_kappa_lower=given.at_least_kappa_lower,
        at_least_tnr=given.at_least_tnr,
        at_least_tpr=given.at_least_tpr,
    )
    labels = read_labels(given.labels)
    _enough(labels, given.at_least_labels)
    judged = _stored(given, labels) if given.verdicts else _asked(given, labels, bars)
    _refuse_lost(judged)
    cut = given.pass_at if given.pass_at is not None else judged.pass_at
    found = calibration.measure(labels, judged.verdicts, pass_at=cut, span=judged.span)
    by = {
        name: calibration.measure(
            labels.of(name), judged.dimensions.get(name, {}), pass_at=cut, span=judged.span
        )
        for name in labels.dimensions
    }
    _tell(given, labels, judged, found, by)
    return _keep(given, labels, judged, (found, by), bars)


def _check(given: argparse.Namespace) -> None:
    if given.out and given.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(given.out)!r}")
    check("--out", given.out, {"the labels": given.labels, "the recording": _tape(given)})
    if given.verdicts and not given.judge_version:
        raise UsageError(
            "--verdicts: expected --judge-version too, the judge's version that gave them: the calibration holds for no other"
        )
    if given.judge_version and not given.verdicts:
        raise UsageError(
            "--judge-version: a judge that is asked knows its version; leave it out, or add --verdicts"
        )
    if given.record in ("new", "all") and not given.cassette:
        raise UsageError(f"--record {given.record}: expected --cassette too, the file to record into")


def _enough(labels: Labels, least: int) -> None:
    from pytest_llmops.calibration import unfit

    problem = unfit(labels)
    if problem:
        raise CaseError(problem, labels.path)
    count = len(labels.labelled)
    if count < least:
        raise UsageError(
            f"{labels.path}: expected at least {least:,} labelled answers, got {count:,}: a kappa of so few is luck; label more, "
            f"or say --at-least-labels {count} on purpose"
        )


def _stored(given: argparse.Namespace, labels: Labels) -> Judged:
    from pytest_llmops.calibration import stored

    judged = stored(labels, name=given.judge, version=given.judge_version)
    judged.model = given.model or ""
    return judged


def _tape(given: argparse.Namespace) -> Path:
    named: Path = given.cassette or given.labels.with_suffix(".cassette.json")
    return named


def _asked(given: argparse.Namespace, labels: Labels, bars: Bars) -> Judged:
    from pytest_llmops.calibration import ask

    with surroundings(given, _tape(given), how="--record new --cassette FILE.json"):
        judge = chosen(given.judge)
        cut = given.pass_at if given.pass_at is not None else getattr(judge, "pass_at", None)
        bars.check(labels.kind, cut)
        if labels.kind == "pass or fail" and cut is None:
            raise UsageError(
                "people pass or fail and the judge gives scores: add --pass-at, the score from which on an answer passes"
            )
        return ask(judge, labels, trials=given.trials, unlabelled=True)


def _refuse_lost(judged: Judged) -> None:
    from pytest_llmops.calibration.verdicts import MAX_UNSCORED

    if len(judged.errors) > MAX_UNSCORED * len(judged.verdicts):
        first = next(iter(judged.errors))
        raise LLMOpsError(
            f"{len(judged.errors):,} of {len(judged.verdicts):,} answers have no verdict, more than {MAX_UNSCORED:.0%}: nothing is "
            f"calibrated by what is left; {shorten(first, 40)}: {shorten(judged.errors[first])}"
        )


def _tell(
    given: argparse.Namespace, labels: Labels, judged: Judged, found: Figures, by: dict[str, Figures]
) -> None:
    from pytest_llmops.calibration import evidence, lines

    people = "a person" if len(labels.raters) == 1 else f"{len(labels.raters):,} people"
    rest = len(labels.rows) - len(labels.labelled)
    without = f", {counted(rest, 'answer')} without" if rest else ""
    say(
        f"{shorten(str(given.labels), 300)}: {counted(len(labels.labelled), 'answer')} with labels of {people}{without}"
    )
    model = f", model {shorten(judged.model, 100)}" if judged.model else ""
    say(f"judge {shorten(judged.name, 100)}, version {shorten(judged.version, 100)}{model}")
    say()
    told = [pair for pair in evidence(judged, found) if pair[0] != "confusion"]
    width = max(len(label) for label, _ in told)
    for label, text in told:
        say(f"{label:<{width}}  {shorten(text, 400)}")
    for name, one in by.items():
        kappa = "none" if one.kappa is None else f"{one.kappa:.2f}"
        say(f"{shorten(name, 40)}: kappa {kappa}, {one.compared:,} answers")
    say()
    head, *rows = lines(found.table) if found.table.classes else [""]
    say(painted(head, DIM))
    for row in rows:
        say(row)
    say()


def _keep(
    given: argparse.Namespace,
    labels: Labels,
    judged: Judged,
    found: tuple[Figures, dict[str, Figures]],
    bars: Bars,
) -> int:
    """Write what is asked for, and return the exit status."""
    import datetime as dt

    from pytest_llmops.calibration import Calibration, summary

    figures, by = found
    reached = bars.against(figures)
    if not reached:
        raise LLMOpsError(f"no kappa: {figures.problem or 'the answers are all of one family'}")
    if given.out:
        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        record = Calibration.of(judged, labels, figures, bars=bars, date=today, by=by)
        write(given.out, record.text())
        say(
            f"written to {shorten(str(given.out), 300)}: commit it; it holds for this version of the judge and these labels"
        )
    if any(one.missed for one in reached):
        complain(summary(judged, reached))
        return FOUND
    say(painted("the judge agrees with people", GREEN))
    return 0
