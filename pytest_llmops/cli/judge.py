"""``llmops judge``: is a judge right?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli import judge_canaries, judge_export_labels, judge_import_labels, judge_rescore
from pytest_llmops.cli.files import check_output_path, write_output_file
from pytest_llmops.cli.judge_options import (
    JUDGE_HELP,
    add_judge_options,
    load_judge,
    open_judge_session,
    parse_positive_int,
)
from pytest_llmops.cli.output import DIM, GREEN, colour_text, print_error, print_line
from pytest_llmops.errors import CaseError, LLMOpsError, UsageError
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.calibration import AgreementFigures, AgreementRequirements, JudgedAnswers
    from pytest_llmops.calibration.labels import Labels

EXIT_PROBLEM = 1
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
    command.set_defaults(helps=command, run=_calibrate_judge)
    _add_calibrate_arguments(command)
    judge_canaries.add_canaries_command(commands)
    judge_export_labels.add_export_labels_command(commands)
    judge_import_labels.add_import_labels_command(commands)
    judge_rescore.add_rescore_command(commands)


def _add_calibrate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "judge",
        metavar="JUDGE",
        help=f"{JUDGE_HELP}; with --verdicts any name",
    )
    command.add_argument("labels", type=Path, metavar="LABELS.jsonl", help="what people say")
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write the calibration")
    _add_threshold_options(command)
    _add_verdict_options(command)


def _add_threshold_options(command: argparse.ArgumentParser) -> None:
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
        type=parse_positive_int,
        default=MIN_LABELS,
        metavar="N",
        help=f"fewer are refused (default: {MIN_LABELS})",
    )


def _add_verdict_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trials",
        type=parse_positive_int,
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
    add_judge_options(command, "LABELS.cassette.json, if there is one")


def _calibrate_judge(args: argparse.Namespace) -> int:
    from pytest_llmops import calibration
    from pytest_llmops.calibration.labels import read_labels

    _check_calibrate_options(args)
    bars = calibration.AgreementRequirements(
        at_least_kappa=args.at_least_kappa,
        at_least_kappa_lower=args.at_least_kappa_lower,
        at_least_tnr=args.at_least_tnr,
        at_least_tpr=args.at_least_tpr,
    )
    labels = read_labels(args.labels)
    _check_label_count(labels, args.at_least_labels)
    judged = _read_stored_verdicts(args, labels) if args.verdicts else _collect_verdicts(args, labels, bars)
    _refuse_unscored(judged)
    cut = args.pass_at if args.pass_at is not None else judged.pass_at
    figures = calibration.measure_agreement(labels, judged.verdicts, pass_at=cut, span=judged.span)
    by_dimension = {
        name: calibration.measure_agreement(
            labels.of(name), judged.dimensions.get(name, {}), pass_at=cut, span=judged.span
        )
        for name in labels.dimensions
    }
    _print_calibration(args, labels, judged, figures, by_dimension)
    return _finish_calibration(args, labels, judged, (figures, by_dimension), bars)


def _check_calibrate_options(args: argparse.Namespace) -> None:
    if args.out and args.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(args.out)!r}")
    check_output_path(
        "--out", args.out, {"the labels": args.labels, "the recording": _calibration_cassette(args)}
    )
    if args.verdicts and not args.judge_version:
        raise UsageError(
            "--verdicts: expected --judge-version too, the judge's version that gave them: the calibration holds for no other"
        )
    if args.judge_version and not args.verdicts:
        raise UsageError(
            "--judge-version: a judge that is asked knows its version; leave it out, or add --verdicts"
        )
    if args.record in ("new", "all") and not args.cassette:
        raise UsageError(f"--record {args.record}: expected --cassette too, the file to record into")


def _check_label_count(labels: Labels, min_labels: int) -> None:
    from pytest_llmops.calibration import why_invalid_labels

    problem = why_invalid_labels(labels)
    if problem:
        raise CaseError(problem, labels.path)
    labelled_count = len(labels.labelled)
    if labelled_count < min_labels:
        raise UsageError(
            f"{labels.path}: expected at least {min_labels:,} labelled answers, got {labelled_count:,}: a kappa of so few is luck; label more, "
            f"or say --at-least-labels {labelled_count} on purpose"
        )


def _read_stored_verdicts(args: argparse.Namespace, labels: Labels) -> JudgedAnswers:
    from pytest_llmops.calibration import read_stored_verdicts

    judged = read_stored_verdicts(labels, name=args.judge, version=args.judge_version)
    judged.model = args.model or ""
    return judged


def _calibration_cassette(args: argparse.Namespace) -> Path:
    named: Path = args.cassette or args.labels.with_suffix(".cassette.json")
    return named


def _collect_verdicts(args: argparse.Namespace, labels: Labels, bars: AgreementRequirements) -> JudgedAnswers:
    from pytest_llmops.calibration import judge_labelled_answers

    with open_judge_session(
        args, _calibration_cassette(args), record_flags="--record new --cassette FILE.json"
    ):
        judge = load_judge(args.judge)
        cut = args.pass_at if args.pass_at is not None else getattr(judge, "pass_at", None)
        bars.check(labels.kind, cut)
        if labels.kind == "pass or fail" and cut is None:
            raise UsageError(
                "people pass or fail and the judge gives scores: add --pass-at, the score from which on an answer passes"
            )
        return judge_labelled_answers(judge, labels, trials=args.trials, unlabelled=True)


def _refuse_unscored(judged: JudgedAnswers) -> None:
    from pytest_llmops.calibration.verdicts import MAX_UNSCORED

    if len(judged.errors) > MAX_UNSCORED * len(judged.verdicts):
        first = next(iter(judged.errors))
        raise LLMOpsError(
            f"{len(judged.errors):,} of {len(judged.verdicts):,} answers have no verdict, more than {MAX_UNSCORED:.0%}: nothing is "
            f"calibrated by what is left; {shorten_text(first, 40)}: {shorten_text(judged.errors[first])}"
        )


def _print_calibration(
    args: argparse.Namespace,
    labels: Labels,
    judged: JudgedAnswers,
    figures: AgreementFigures,
    by_dimension: dict[str, AgreementFigures],
) -> None:
    from pytest_llmops.calibration import format_confusion_table, format_evidence

    people = "a person" if len(labels.raters) == 1 else f"{len(labels.raters):,} people"
    rest = len(labels.rows) - len(labels.labelled)
    without = f", {format_count(rest, 'answer')} without" if rest else ""
    print_line(
        f"{shorten_text(str(args.labels), 300)}: {format_count(len(labels.labelled), 'answer')} with labels of {people}{without}"
    )
    model = f", model {shorten_text(judged.model, 100)}" if judged.model else ""
    print_line(f"judge {shorten_text(judged.name, 100)}, version {shorten_text(judged.version, 100)}{model}")
    print_line()
    facts = [pair for pair in format_evidence(judged, figures) if pair[0] != "confusion"]
    width = max(len(label) for label, _ in facts)
    for label, text in facts:
        print_line(f"{label:<{width}}  {shorten_text(text, 400)}")
    for name, dimension_figures in by_dimension.items():
        kappa = "none" if dimension_figures.kappa is None else f"{dimension_figures.kappa:.2f}"
        print_line(f"{shorten_text(name, 40)}: kappa {kappa}, {dimension_figures.compared:,} answers")
    print_line()
    head, *rows = format_confusion_table(figures.table) if figures.table.classes else [""]
    print_line(colour_text(head, DIM))
    for row in rows:
        print_line(row)
    print_line()


def _finish_calibration(
    args: argparse.Namespace,
    labels: Labels,
    judged: JudgedAnswers,
    measured: tuple[AgreementFigures, dict[str, AgreementFigures]],
    bars: AgreementRequirements,
) -> int:
    """Write what is asked for, and return the exit status."""
    import datetime as dt

    from pytest_llmops.calibration import Calibration, format_missed_requirements

    figures, by_dimension = measured
    reached = bars.compare_figures(figures)
    if not reached:
        raise LLMOpsError(f"no kappa: {figures.problem or 'the answers are all of one family'}")
    if args.out:
        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        record = Calibration.of(judged, labels, figures, bars=bars, date=today, by=by_dimension)
        write_output_file(args.out, record.text())
        print_line(
            f"written to {shorten_text(str(args.out), 300)}: commit it; it holds for this version of the judge and these labels"
        )
    if any(bar.missed for bar in reached):
        print_error(format_missed_requirements(judged, reached))
        return EXIT_PROBLEM
    print_line(colour_text("the judge agrees with people", GREEN))
    return 0
