"""``llmops judge calibrate`` and ``llmops judge canaries``, and the session of all commands that call a judge."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from pytest_llmops import judges, recorder
from pytest_llmops.cassettes.naming import safe_file_name
from pytest_llmops.cassettes.use_cassette import use_cassette
from pytest_llmops.cli.common import (
    DIM,
    EXIT_PROBLEM,
    GREEN,
    check_output_path,
    colour_text,
    extend_import_path,
    format_path,
    load_component,
    print_error,
    print_line,
    print_lines,
    read_ini,
    redact_secrets,
    utc_today,
    write_output_file,
)
from pytest_llmops.cli.judge import OPTION_NAMES
from pytest_llmops.errors import (
    BudgetReached,
    CaseError,
    CassetteMiss,
    LLMOpsError,
    UsageError,
    append_code,
)
from pytest_llmops.harness import tapes
from pytest_llmops.judges.calibration.canaries import (
    CanaryRun,
    format_canary_evidence,
    format_canary_summary,
)
from pytest_llmops.judges.calibration.evidence import format_confusion_table, format_missed_requirements
from pytest_llmops.judges.calibration.judge_comparison import Calibration, PassAt, VerdictSource
from pytest_llmops.judges.calibration.reason_comparison import ReasonComparison, format_reason_table
from pytest_llmops.judges.calibration.record import JudgeRecord
from pytest_llmops.judges.calibration.requirements import AgreementRequirements
from pytest_llmops.judges.concurrency import on_progress
from pytest_llmops.judges.protocol.reply_form import ReasonPlace
from pytest_llmops.judges.reason_places import move_reason
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.protocols import Judge
from pytest_llmops.redaction.pytest_reports import mask_value
from pytest_llmops.registry import is_builtin
from pytest_llmops.settings import Settings

RUBRIC_SUFFIX = ".md"
PROGRESS_STEP = 10  # answers between two lines of progress in a log
# Names of arguments of the Python functions as they occur in errors; `_flags_in_errors` replaces them with flags
ARGUMENT_NAMES = re.compile(
    r"\b(?P<name>at_least_(?:kappa_lower|kappa|tnr|tpr|labels)|pass_at)\b(?P<value_follows>=(?=\d))?=?"
)


@contextmanager
def open_judge_session(args: argparse.Namespace, cassette: Path) -> Iterator[recorder.Recorder]:
    """Prepare everything to call a judge: settings, recording, and the import of the user's own judges.

    Settings that the command line does not have are taken from the project's ini file, as pytest does.

    Args:
        args: The arguments that the commands declare.
        cassette: The recording.

    Raises:
        UsageError: The project's ini file cannot be read, or a setting has the wrong form.
        LLMOpsError: No recording matches a request, or a live call exceeds the budget.
    """
    active_recorder = recorder.Recorder()
    recorder.push_recorder(active_recorder)
    try:
        options = {name: getattr(args, name) for name in OPTION_NAMES}
        options["record"] = args.record or "none"  # the ini file does not decide whether the judge is called
        folder, ini = read_ini(Path.cwd()) or (Path(), {})
        settings = Settings.from_sources(("command line", options), ("ini", ini), environ=os.environ)
        settings = settings.with_paths_below(folder)
        active_recorder.settings = settings
        with (
            tapes.sdk_environment(settings),  # replaying needs no API key
            extend_import_path(Path.cwd()),
            use_cassette(cassette, record=settings.record),
            _report_progress(is_on=settings.record != "none"),
        ):
            yield active_recorder
        _print_unreadable_replies(active_recorder)
    except BudgetReached as error:
        text = f"{error} (the answers so far are recorded)"
        raise LLMOpsError(append_code(text, error.code)) from None
    except CassetteMiss as miss:
        request = str(miss).splitlines()[0]
        text = f"{request} in {format_path(cassette)}; to call the judge, add --record new"
        raise LLMOpsError(append_code(text, miss.code)) from None
    finally:
        recorder.pop_recorder(active_recorder)


@contextmanager
def _report_progress(*, is_on: bool) -> Iterator[None]:
    """Print to stderr how many answers are judged: on a terminal after each answer, in a log after every tenth."""
    if not is_on:
        yield
        return
    is_terminal = sys.stderr.isatty()

    def report(done: int, total: int) -> None:
        end = "\n"
        if is_terminal:
            end = "\r" if done < total else "\r\033[K"  # the last line is wiped
        if is_terminal or done % PROGRESS_STEP == 0:
            sys.stderr.write(f"{done:,} of {total:,} answers judged{end}")
            sys.stderr.flush()

    with on_progress(report):
        yield


def _print_unreadable_replies(active_recorder: recorder.Recorder) -> None:
    """Print how many recorded replies could not be read, and how the judge is called again; nothing if all could."""
    recorded = [verdict for verdict in active_recorder.unreadable if verdict.command]
    if not recorded:
        return
    questions = format_count(len(recorded), "recorded question")
    lines = [f"{questions} without a readable verdict; to ask the judge again, add --record new"]
    for label, text in recorded[0].lines:
        if label in ("model", "reply", "expected"):
            lines.append(f"  {label:<8}  {shorten_text(text, 400)}")
    print_error("\n".join(lines))


def load_judge(name: str, reason: ReasonPlace | None = None) -> Judge:
    """Return the judge of a name: a built-in judge, the path of a judge file, or ``module:Class`` of the user's own.

    Args:
        name: The name.
        reason: Where it is to give its reason; None: where it does.

    Raises:
        UsageError: The judge does not exist, it has no ``judge`` method and version, or it cannot move its reason.
    """
    judge = load_component("judge", name, "judge(answer, *, question, reference)")
    if reason is None:
        return cast("Judge", judge)
    return move_reason(judge, reason)


@contextmanager
def _flags_in_errors() -> Iterator[None]:
    """Replace names of Python arguments in usage errors with the flags of the command: ``pass_at`` becomes ``--pass-at``.

    Errors on cases are left as they are: they quote the user's file.
    """
    try:
        yield
    except CaseError:
        raise
    except UsageError as error:
        raise UsageError(ARGUMENT_NAMES.sub(_name_flag, str(error))) from None


def _name_flag(match: re.Match[str]) -> str:
    """Return the flag for a match of `ARGUMENT_NAMES`: ``pass_at=`` is ``--pass-at``, and ``pass_at=3`` is ``--pass-at 3``."""
    flag = f"--{match['name'].replace('_', '-')}"
    if match["value_follows"]:
        return f"{flag} "
    return flag


def calibrate_judge(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    cassette = args.cassette or args.labels.with_suffix(".cassette.json")
    _check_calibrate_options(args, cassette)
    if args.compare_reasons:
        return _compare_reasons(args, cassette)
    with _flags_in_errors():
        if args.verdicts:
            calibration = _calibrate(args, args.judge)
            calibration.judged.version = args.judge_version
            calibration.judged.model = args.judge_model or ""
        else:
            with open_judge_session(args, cassette):
                calibration = _calibrate(args, load_judge(args.judge, args.reason))
    _print_calibration(args, calibration)
    if calibration.problem:
        raise LLMOpsError(f"nothing is calibrated: {calibration.problem}")
    if args.out:
        _write_record(args.out, calibration.to_record(utc_today()), "labels")
    if not calibration.agrees:
        print_error(format_missed_requirements(calibration.judged, calibration.results))
        return EXIT_PROBLEM
    print_line(colour_text("the judge agrees with the human labels", GREEN))
    return 0


def _calibrate(args: argparse.Namespace, judge: Judge | str) -> Calibration:
    """Compare a judge with the human labels.

    Args:
        args: The arguments of the command.
        judge: The judge to call; with ``--verdicts`` only the name of the one that gave the stored verdicts.
    """
    verdicts: VerdictSource = "asked"
    if args.verdicts:
        verdicts = "stored"
    return judges.calibrate_judge(
        judge,
        args.labels,
        requirements=_read_requirements(args),
        pass_at=_read_pass_at(args),
        verdicts=verdicts,
        trials=args.trials,
        at_least_labels=args.at_least_labels,
    )


def _read_requirements(args: argparse.Namespace) -> AgreementRequirements:
    """Return the thresholds of the command line."""
    return judges.AgreementRequirements(
        at_least_kappa=args.at_least_kappa,
        at_least_kappa_lower=args.at_least_kappa_lower,
        at_least_tnr=args.at_least_tnr,
        at_least_tpr=args.at_least_tpr,
    )


def _read_pass_at(args: argparse.Namespace) -> PassAt:
    """Return the score from which on an answer passes."""
    if args.pass_at is None:
        return "default"
    return float(args.pass_at)


def _compare_reasons(args: argparse.Namespace, cassette: Path) -> int:
    """Compare the judge with its reason in all three places, print the results, and return the exit status."""
    with _flags_in_errors(), open_judge_session(args, cassette):
        judge = load_judge(args.judge)
        comparison = judges.compare_reasons(
            judge,
            args.labels,
            requirements=_read_requirements(args),
            pass_at=_read_pass_at(args),
            trials=args.trials,
            at_least_labels=args.at_least_labels,
        )
    first = comparison.results["before"].calibration
    answers = format_count(len(first.labels.labelled), "answer")
    annotators = format_count(len(first.labels.raters), "annotator")
    heading = f"{format_path(args.labels)}: {answers} with labels of {annotators}, each judged with the reason before, after and none"
    judge_line = f"judge {shorten_text(first.judged.name, 100)}"
    if first.judged.model:
        judge_line += f", model {shorten_text(first.judged.model, 100)}"
    print_lines((heading, judge_line, ""))
    print_lines((*format_reason_table(comparison), ""))
    sentence = comparison.describe()
    if not comparison.agrees:
        print_error(sentence)
    else:
        print_line(colour_text(sentence, GREEN))
    if not comparison.results[comparison.recommended].is_uniform:
        print_line(_describe_reason_change(comparison, args.judge, judge))
    if not comparison.agrees:
        return EXIT_PROBLEM
    return 0


def _describe_reason_change(comparison: ReasonComparison, name: str, judge: Judge) -> str:
    """Return what to write to have the judge give its reason in the recommended place.

    Args:
        comparison: The comparison.
        name: The judge as the command line names it.
        judge: The judge.
    """
    place = comparison.recommended
    if place == comparison.present:
        return f"nothing to change: the judge has reason={place}"
    if getattr(judge, "source", None) is not None:
        where = f"write `reason: {place}` into the front matter of {format_path(Path(name))}"
    elif is_builtin("judge", name):
        where = f'use {name}(reason="{place}") of pytest_llmops.judges, or @pytest.mark.judge("{name}", reason="{place}")'
    else:
        where = f'give the judge reason="{place}"'
    return f"to do so: {where}; then calibrate it with --out, which replays this recording"


def _write_record(path: Path, record: JudgeRecord, what: str) -> None:
    """Write the result of a calibration or of canaries, without secrets: it quotes the judge, and is committed.

    Args:
        path: The file.
        record: The result.
        what: Its validity besides the judge's version: "labels" or "canaries".
    """
    clean = replace(record, figures=mask_value(dict(record.figures), redact_secrets))
    write_output_file(path, clean.to_json_text())
    print_line(
        f"written to {format_path(path)}: commit it; it holds for this version of the judge and these {what}"
    )


def _check_calibrate_options(args: argparse.Namespace, cassette: Path) -> None:
    if args.out and args.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(args.out)!r}")
    if args.verdicts and not args.judge_version:
        raise UsageError(
            "--verdicts: expected --judge-version too, the judge's version that gave them: the calibration holds for no other"
        )
    if args.judge_version and not args.verdicts:
        raise UsageError(
            "--judge-version: a judge that is called knows its version; leave it out, or add --verdicts"
        )
    if args.reason and args.verdicts:
        raise UsageError(
            "--reason: a stored verdict cannot move its reason; leave out --reason or --verdicts"
        )
    for flag, value in (("--reason", args.reason), ("--verdicts", args.verdicts), ("--out", args.out)):
        if args.compare_reasons and value:
            raise UsageError(
                f"--compare-reasons: expected no {flag}: it calls the judge with its reason in all three places and writes no "
                "record; calibrate the one that it recommends afterwards"
            )
    check_output_path("--out", args.out, {"the labels": args.labels, "the recording": cassette})


def _print_calibration(args: argparse.Namespace, calibration: Calibration) -> None:
    """Print the labels, the judge, the agreement and the confusion table of a calibration."""
    labels = calibration.labels
    judged = calibration.judged
    table = calibration.figures.table
    annotators = format_count(len(labels.raters), "annotator")
    answers = format_count(len(labels.labelled), "answer")
    heading = f"{format_path(args.labels)}: {answers} with labels of {annotators}"
    rest = len(labels.rows) - len(labels.labelled)
    if rest:
        heading += f", {format_count(rest, 'answer')} without"
    print_line(heading)
    _print_judge(judged.name, judged.version, judged.model, "")
    facts = [pair for pair in calibration.iter_evidence() if pair[0] != "confusion"]
    for name, dimension in calibration.dimensions.items():
        kappa = "none"
        if dimension.kappa is not None:
            kappa = f"{dimension.kappa:.2f}"
        dimension_name = shorten_text(name, 40)
        facts.append((dimension_name, f"kappa {kappa}, {dimension.compared:,} answers"))
    _print_pairs(facts)
    if table.classes:
        heading, *rows = format_confusion_table(table)
        print_lines((colour_text(heading, DIM), *rows, ""))


def _print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print labels and texts in two columns."""
    width = max((len(label) for label, _ in pairs), default=0)
    for label, text in pairs:
        print_line(f"{label:<{width}}  {shorten_text(text, 400)}")
    print_line()


def _print_judge(name: str, version: str, model: str, *lines: str) -> None:
    heading = f"judge {shorten_text(name, 100)}, version {shorten_text(version, 100)}"
    if model:
        heading += f", model {shorten_text(model, 100)}"
    print_lines((heading, *lines))


def run_canaries(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    stem: Path | str = safe_file_name(args.judge)
    if Path(args.judge).suffix == RUBRIC_SUFFIX:
        stem = Path(args.judge).with_suffix("")
    cassette = args.cassette or Path(f"{stem}.canaries.cassette.json")
    check_output_path("--out", args.out, {"the recording": cassette, "the canaries": args.canaries})
    canaries = None
    if args.canaries is not None:
        canaries = judges.read_canaries(args.canaries)
    with open_judge_session(args, cassette):
        result = judges.run_canaries(load_judge(args.judge, args.reason), canaries)
    _print_canaries(result)
    evidence = format_canary_evidence(result)
    if evidence:
        _print_pairs(evidence)
    if (
        args.out and result.status != "undecided"
    ):  # an undecided result must not replace an earlier one that decided
        _write_record(args.out, result.to_record(utc_today()), "canaries")
    if result.status != "fit":
        print_error(f"judge {result.judge}: {format_canary_summary(result)}")
        return EXIT_PROBLEM
    print_line(colour_text(f"the judge {format_canary_summary(result)}", GREEN))
    return 0


def _print_canaries(result: CanaryRun) -> None:
    """Print the judge, and how many canaries of each kind it withstood."""
    answers = format_count(len(result.outcomes), "answer")
    judged = sum(not outcome.prescreened for outcome in result.outcomes)
    threshold = "the middle of its scale"
    if result.threshold is not None:
        threshold = f"{result.threshold:g}"
    summary = f"{answers}, {judged:,} of them shown to the judge; it passes an answer at or above {threshold}"
    _print_judge(result.judge, result.version, result.model, summary, "")
    pairs = [("kind", "withstood")]
    for kind, text in result.withstood_by_kind.items():
        pairs.append((shorten_text(kind, 60), text))
    passed = result.controls - len(result.rejected)
    pairs.append(("right answers", f"{passed} of {result.controls} passed"))
    _print_pairs(pairs)
