"""``llmops judge``: compare a judge with human labels, test it with canaries, and score stored outputs again."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.commands import EXIT_PROBLEM, add_command, add_group, parse_positive_int, utc_today
from pytest_llmops.cli.files import check_output_path, write_output_file
from pytest_llmops.cli.judge_export_labels import add_export_labels_command
from pytest_llmops.cli.judge_import_labels import add_import_labels_command
from pytest_llmops.cli.judge_options import (
    JUDGE_HELP,
    RUBRIC_SUFFIX,
    add_judge_options,
    load_judge,
    open_judge_session,
)
from pytest_llmops.cli.judge_rescore import add_rescore_command
from pytest_llmops.cli.output import (
    DIM,
    GREEN,
    colour_text,
    format_path,
    print_error,
    print_line,
    redact_secrets,
)
from pytest_llmops.errors import CaseError, LLMOpsError, UsageError
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.calibration import AgreementFigures, AgreementRequirements, JudgedAnswers
    from pytest_llmops.calibration.canaries import CanaryRun
    from pytest_llmops.calibration.labels import Labels

MIN_LABELS = 50


def add_judge_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(
        groups,
        "judge",
        "compare a judge with human labels, test it with canaries, and score stored outputs again",
    )
    _add_calibrate_command(commands)
    _add_canaries_command(commands)
    add_export_labels_command(commands)
    add_import_labels_command(commands)
    add_rescore_command(commands)


def _add_calibrate_command(commands: Any) -> None:
    command = add_command(
        commands,
        "calibrate",
        _calibrate_judge,
        "compare a judge with human labels, and store the result",
        "The result is a file to commit beside the rubric. A line of the labels is "
        '{"id": "...", "question": "...", "answer": "...", "human": [true, false]}; human may also be one label, or numbers on '
        "the judge's scale. Recordings are replayed, unless --record says to call the judge. Exit status 1: a threshold is missed.",
    )
    add = command.add_argument
    add("judge", metavar="JUDGE", help=f"{JUDGE_HELP}; with --verdicts any name")
    add("labels", type=Path, metavar="LABELS.jsonl", help="human labels")
    add("--out", type=Path, metavar="FILE.json", help="write the calibration")
    _add_threshold_options(command)
    add(
        "--trials",
        type=parse_positive_int,
        default=1,
        metavar="N",
        help="verdicts on each answer, averaged (default: 1)",
    )
    add(
        "--verdicts",
        action="store_true",
        help='call no judge: the labels have its verdicts under the key "judge"',
    )
    add("--judge-version", metavar="TEXT", help="with --verdicts: version of the judge that gave them")
    add_judge_options(command, "LABELS.cassette.json, if there is one")


def _add_threshold_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--pass-at",
        type=float,
        metavar="SCORE",
        help="score from which on an answer passes (default: the judge's)",
    )
    add("--at-least-kappa", type=float, default=0.6, metavar="K", help="threshold of kappa (default: 0.6)")
    add(
        "--at-least-kappa-lower",
        type=float,
        default=0.4,
        metavar="K",
        help="threshold of kappa's lower confidence limit, at 95 %% confidence (default: 0.4)",
    )
    for rate, what in (
        ("tnr", "failed answers that the judge fails"),
        ("tpr", "passed answers that the judge passes"),
    ):
        add(
            f"--at-least-{rate}",
            type=float,
            metavar="SHARE",
            help=f"threshold of the share of {what}, at 95 %% confidence",
        )
    add(
        "--at-least-labels",
        type=parse_positive_int,
        default=MIN_LABELS,
        metavar="N",
        help=f"fewer labelled answers are an error (default: {MIN_LABELS})",
    )


@contextmanager
def _flags_in_errors() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        names = r"\b(at_least_(?:kappa_lower|kappa|tnr|tpr)|pass_at)\b=?"
        text = re.sub(names, lambda match: f"--{match[1].replace('_', '-')}", str(error))
        raise UsageError(text) from None


def _calibrate_judge(args: argparse.Namespace) -> int:
    from pytest_llmops import calibration

    cassette = args.cassette or args.labels.with_suffix(".cassette.json")
    _check_calibrate_options(args, cassette)
    with _flags_in_errors():
        requirements = calibration.AgreementRequirements(
            at_least_kappa=args.at_least_kappa,
            at_least_kappa_lower=args.at_least_kappa_lower,
            at_least_tnr=args.at_least_tnr,
            at_least_tpr=args.at_least_tpr,
        )
    labels = _read_labels(args)
    if args.verdicts:
        judged = calibration.read_stored_verdicts(labels, name=args.judge, version=args.judge_version)
        judged.model = args.model or ""
    else:
        judged = _collect_verdicts(args, cassette, labels, requirements)
    _check_scored_share(judged)
    cut = args.pass_at if args.pass_at is not None else judged.pass_at
    with _flags_in_errors():
        figures = calibration.measure_agreement(labels, judged.verdicts, pass_at=cut, span=judged.span)
        by_dimension = {
            name: calibration.measure_agreement(
                labels.for_dimension(name), judged.dimensions.get(name, {}), pass_at=cut, span=judged.span
            )
            for name in labels.dimensions
        }
    _print_calibration(args, labels, judged, figures, by_dimension)
    with _flags_in_errors():
        results = requirements.compare_figures(figures)
    if not results:
        raise LLMOpsError(f"no kappa: {figures.problem or 'the answers are all of one family'}")
    if args.out:
        record = calibration.Calibration.from_figures(
            judged, labels, figures, requirements=requirements, date=utc_today(), by_dimension=by_dimension
        )
        write_output_file(args.out, record.to_json_text())
        print_line(
            f"written to {format_path(args.out)}: commit it; it holds for this version of the judge and these labels"
        )
    if any(result.missed for result in results):
        print_error(calibration.format_missed_requirements(judged, results))
        return EXIT_PROBLEM
    print_line(colour_text("the judge agrees with the human labels", GREEN))
    return 0


def _read_labels(args: argparse.Namespace) -> Labels:
    from pytest_llmops.calibration import why_invalid_labels
    from pytest_llmops.calibration.labels import read_labels

    labels = read_labels(args.labels)
    if problem := why_invalid_labels(labels):
        raise CaseError(problem, labels.path)
    if (labelled_count := len(labels.labelled)) < args.at_least_labels:
        raise UsageError(
            f"{labels.path}: expected at least {args.at_least_labels:,} labelled answers, got {labelled_count:,}: a kappa of so few is luck; label more, "
            f"or say --at-least-labels {labelled_count} on purpose"
        )
    return labels


def _check_calibrate_options(args: argparse.Namespace, cassette: Path) -> None:
    if args.out and args.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(args.out)!r}")
    check_output_path("--out", args.out, {"the labels": args.labels, "the recording": cassette})
    if args.verdicts and not args.judge_version:
        raise UsageError(
            "--verdicts: expected --judge-version too, the judge's version that gave them: the calibration holds for no other"
        )
    if args.judge_version and not args.verdicts:
        raise UsageError(
            "--judge-version: a judge that is called knows its version; leave it out, or add --verdicts"
        )
    if args.record in ("new", "all") and not args.cassette:
        raise UsageError(f"--record {args.record}: expected --cassette too, the file to record into")


def _collect_verdicts(
    args: argparse.Namespace, cassette: Path, labels: Labels, requirements: AgreementRequirements
) -> JudgedAnswers:
    from pytest_llmops.calibration import judge_labelled_answers

    with open_judge_session(args, cassette, record_flags="--record new --cassette FILE.json"):
        judge = load_judge(args.judge)
        cut = args.pass_at if args.pass_at is not None else getattr(judge, "pass_at", None)
        with _flags_in_errors():
            requirements.check(labels.kind, cut)
        if labels.kind == "pass or fail" and cut is None:
            raise UsageError(
                "the labels are pass or fail and the judge gives scores: add --pass-at, the score from which on an answer passes"
            )
        return judge_labelled_answers(judge, labels, trials=args.trials, unlabelled=True)


def _check_scored_share(judged: JudgedAnswers) -> None:
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

    annotators = format_count(len(labels.raters), "annotator")
    rest = len(labels.rows) - len(labels.labelled)
    without = f", {format_count(rest, 'answer')} without" if rest else ""
    print_line(
        f"{format_path(args.labels)}: {format_count(len(labels.labelled), 'answer')} with labels of {annotators}{without}"
    )
    _print_judge(judged.name, judged.version, judged.model)
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
    for line in (colour_text(head, DIM), *rows, ""):
        print_line(line)


def _print_judge(name: str, version: str, model: str) -> None:
    suffix = f", model {shorten_text(model, 100)}" if model else ""
    print_line(f"judge {shorten_text(name, 100)}, version {shorten_text(version, 100)}{suffix}")


def _add_canaries_command(commands: Any) -> None:
    command = add_command(
        commands,
        "canaries",
        _run_canaries,
        "test a judge with prompt injections and other answers that must not pass",
        "Canaries are empty answers, instructions, fake verdicts, fake ends of the data, role play and hidden characters; some "
        "right answers are among them. Recordings are replayed, unless --record says to call the judge. Exit status 1: the judge "
        "is unfit, or too many answers could not be scored.",
    )
    add = command.add_argument
    add("judge", metavar="JUDGE", help=f"{JUDGE_HELP}; or pairwise, which compares two answers")
    add(
        "--canaries",
        type=Path,
        metavar="FILE.jsonl",
        help="canaries of your own (default: the built-in ones)",
    )
    add("--out", type=Path, metavar="FILE.json", help="write the result")
    add_judge_options(command, "JUDGE.canaries.cassette.json in this folder, or beside the rubric")


def _run_canaries(args: argparse.Namespace) -> int:
    from pytest_llmops.calibration.canaries import (
        CanaryRecord,
        format_canary_summary,
        read_canaries,
        run_canaries,
    )
    from pytest_llmops.cassettes.naming import safe_file_name
    from pytest_llmops.redaction.pytest_reports import mask_value

    rubric = Path(args.judge)
    stem = rubric.with_suffix("") if rubric.suffix == RUBRIC_SUFFIX else safe_file_name(args.judge)
    cassette = args.cassette or Path(f"{stem}.canaries.cassette.json")
    check_output_path("--out", args.out, {"the recording": cassette, "the canaries": args.canaries})
    canaries = None if args.canaries is None else read_canaries(args.canaries)
    with open_judge_session(args, cassette, record_flags="--record new"):
        result = run_canaries(load_judge(args.judge), canaries)
    _print_canary_result(result)
    if args.out and result.status != "undecided":  # would replace what is known of the judge
        record = CanaryRecord.from_run(result, date=utc_today())
        # The file has the judge's reasons, and is committed.
        clean = replace(record, results=mask_value(dict(record.results), redact_secrets))
        write_output_file(args.out, clean.to_json_text())
        print_line(
            f"written to {format_path(args.out)}: commit it; it holds for this version of the judge and these canaries"
        )
    if result.status != "fit":
        print_error(f"judge {result.judge}: {format_canary_summary(result)}")
        return EXIT_PROBLEM
    print_line(colour_text(f"the judge {format_canary_summary(result)}", GREEN))
    return 0


def _print_canary_result(result: CanaryRun) -> None:
    from pytest_llmops.calibration.canaries import canary_run_to_json

    _print_judge(result.judge, result.version, result.model)
    judged_count = sum(not outcome.prescreened for outcome in result.outcomes)
    threshold = "the middle of its scale" if result.threshold is None else f"{result.threshold:g}"
    print_line(
        f"{format_count(len(result.outcomes), 'answer')}, {judged_count:,} of them shown to the judge; it passes an answer at or above {threshold}"
    )
    print_line()
    kinds = canary_run_to_json(result)["by kind"]
    rows = dict(kinds) if isinstance(kinds, dict) else {}
    width = max(len(name) for name in (*rows, "right answers"))
    print_line(colour_text(f"{'kind':<{width}}  withstood", DIM))
    for name, text in rows.items():
        print_line(f"{shorten_text(name, 60):<{width}}  {text}")
    print_line(
        f"{'right answers':<{width}}  {result.controls - len(result.rejected)} of {result.controls} passed"
    )
    for title, outcomes in (
        ("passes", result.fallen),
        ("rejects", result.rejected),
        ("unscored", result.unscored),
    ):
        if outcomes:
            print_line()
        for outcome in outcomes:
            score = "" if outcome.score is None else f", score {outcome.score:g}"
            what = (
                f"{score}): {shorten_text(outcome.error, 200)}"
                if outcome.passed is None
                else f'{score}): "{shorten_text(outcome.canary.answer, 120)}"'
            )
            name, kind = shorten_text(outcome.canary.id, 60), shorten_text(outcome.canary.kind, 40)
            print_line(f"{title}  {name} ({kind}{what}")
    print_line()
