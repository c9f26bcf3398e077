"""``llmops judge calibrate`` and ``llmops judge canaries``, and the session of all commands that call a judge."""

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
    refuse_options,
    utc_today,
    write_output_file,
)
from pytest_llmops.cli.judge import OPTION_NAMES
from pytest_llmops.errors import BudgetReached, CaseError, CassetteMiss, LLMOpsError, UsageError
from pytest_llmops.harness import tapes
from pytest_llmops.judges.calibration.canaries import format_canary_evidence, format_canary_summary
from pytest_llmops.judges.calibration.evidence import format_confusion_table, format_missed_requirements
from pytest_llmops.judges.calibration.judge_comparison import Calibration
from pytest_llmops.judges.calibration.record import JudgeRecord
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.protocols import Judge
from pytest_llmops.redaction.pytest_reports import mask_value
from pytest_llmops.settings import Settings

RUBRIC_SUFFIX = ".md"


@contextmanager
def open_judge_session(args: argparse.Namespace, cassette: Path) -> Iterator[recorder.Recorder]:
    """Apply the settings, replay the recording, and make the user's own judges importable.

    The project's ini file counts where the command line says nothing, as with pytest.

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
        settings = Settings.from_sources(
            ("command line", options), ("ini", ini), environ=os.environ
        ).with_paths_below(folder)
        active_recorder.settings = settings
        with (
            tapes.sdk_environment(settings),  # replaying needs no API key
            extend_import_path(Path.cwd()),
            use_cassette(cassette, record=settings.record),
        ):
            yield active_recorder
    except BudgetReached as error:
        raise LLMOpsError(f"{error} (what was answered is recorded)") from None
    except CassetteMiss as miss:
        request = str(miss).splitlines()[0]
        raise LLMOpsError(
            f"{request} in {format_path(cassette)}; to call the judge, add --record new"
        ) from None
    finally:
        recorder.pop_recorder(active_recorder)


def load_judge(name: str) -> Judge:
    """Return the judge of a name: a built-in judge, that of a judge file, or a class of the user's own.

    Raises:
        UsageError: There is no such judge, or it has no ``judge`` method and version.
    """
    return cast("Judge", load_component("judge", name, "judge(answer, *, question, reference)"))


@contextmanager
def _flags_in_errors() -> Iterator[None]:
    """Name the arguments of Python functions in errors as the command's flags."""
    try:
        yield
    except CaseError:
        raise
    except UsageError as error:
        names = r"\b(at_least_(?:kappa_lower|kappa|tnr|tpr|labels)|pass_at)\b(=(?=\d))?=?"
        text = re.sub(
            names, lambda match: f"--{match[1].replace('_', '-')}{' ' if match[2] else ''}", str(error)
        )
        raise UsageError(text) from None


def calibrate_judge(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    cassette = args.cassette or args.labels.with_suffix(".cassette.json")
    _check_calibrate_options(args, cassette)
    with _flags_in_errors(), nullcontext() if args.verdicts else open_judge_session(args, cassette):
        calibration = judges.calibrate_judge(
            args.judge if args.verdicts else load_judge(args.judge),
            args.labels,
            requirements=judges.AgreementRequirements(
                at_least_kappa=args.at_least_kappa,
                at_least_kappa_lower=args.at_least_kappa_lower,
                at_least_tnr=args.at_least_tnr,
                at_least_tpr=args.at_least_tpr,
            ),
            pass_at="default" if args.pass_at is None else args.pass_at,
            verdicts="stored" if args.verdicts else "asked",
            trials=args.trials,
            at_least_labels=args.at_least_labels,
        )
    if args.verdicts:
        calibration.judged.version = args.judge_version
        calibration.judged.model = args.judge_model or ""
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


def _write_record(path: Path, record: JudgeRecord, what: str) -> None:
    """The file has the judge's reasons, and is committed."""
    clean = replace(record, figures=mask_value(dict(record.figures), redact_secrets))
    write_output_file(path, clean.to_json_text())
    print_line(
        f"written to {format_path(path)}: commit it; it holds for this version of the judge and these {what}"
    )


def _check_calibrate_options(args: argparse.Namespace, cassette: Path) -> None:
    refuse_options(
        {
            f"--out: expected a file name ending in .json, got {str(args.out)!r}": (
                args.out and args.out.suffix != ".json"
            ),
            "--verdicts: expected --judge-version too, the judge's version that gave them: the calibration holds for no other": (
                args.verdicts and not args.judge_version
            ),
            "--judge-version: a judge that is called knows its version; leave it out, or add --verdicts": (
                args.judge_version and not args.verdicts
            ),
        }
    )
    check_output_path("--out", args.out, {"the labels": args.labels, "the recording": cassette})


def _print_calibration(args: argparse.Namespace, calibration: Calibration) -> None:
    labels = calibration.labels
    judged = calibration.judged
    table = calibration.figures.table
    annotators = format_count(len(labels.raters), "annotator")
    rest = len(labels.rows) - len(labels.labelled)
    if rest:
        without = f", {format_count(rest, 'answer')} without"
    else:
        without = ""
    print_line(
        f"{format_path(args.labels)}: {format_count(len(labels.labelled), 'answer')} with labels of {annotators}{without}"
    )
    _print_judge(judged.name, judged.version, judged.model, "")
    facts = [pair for pair in calibration.iter_evidence() if pair[0] != "confusion"]
    for name, each in calibration.dimensions.items():
        if each.kappa is None:
            kappa = "none"
        else:
            kappa = f"{each.kappa:.2f}"
        facts.append((shorten_text(name, 40), f"kappa {kappa}, {each.compared:,} answers"))
    _print_pairs(facts)
    head, *rows = format_confusion_table(table) if table.classes else [""]
    print_lines((colour_text(head, DIM), *rows, ""))


def _print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    width = max((len(label) for label, _ in pairs), default=0)
    print_lines([*(f"{label:<{width}}  {shorten_text(text, 400)}" for label, text in pairs), ""])


def _print_judge(name: str, version: str, model: str, *lines: str) -> None:
    if model:
        suffix = f", model {shorten_text(model, 100)}"
    else:
        suffix = ""
    print_lines((f"judge {shorten_text(name, 100)}, version {shorten_text(version, 100)}{suffix}", *lines))


def run_canaries(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    rubric = Path(args.judge)
    if rubric.suffix == RUBRIC_SUFFIX:
        stem = rubric.with_suffix("")
    else:
        stem = safe_file_name(args.judge)
    cassette = args.cassette or Path(f"{stem}.canaries.cassette.json")
    check_output_path("--out", args.out, {"the recording": cassette, "the canaries": args.canaries})
    if args.canaries is None:
        canaries = None
    else:
        canaries = judges.read_canaries(args.canaries)
    with open_judge_session(args, cassette):
        result = judges.run_canaries(load_judge(args.judge), canaries)
    judged_count = sum(not outcome.prescreened for outcome in result.outcomes)
    if result.threshold is None:
        threshold = "the middle of its scale"
    else:
        threshold = f"{result.threshold:g}"
    shown = f"{format_count(len(result.outcomes), 'answer')}, {judged_count:,} of them shown to the judge; it passes an answer at or above {threshold}"
    _print_judge(result.judge, result.version, result.model, shown, "")
    right = f"{result.controls - len(result.rejected)} of {result.controls} passed"
    _print_pairs(
        [
            ("kind", "withstood"),
            *[(shorten_text(kind, 60), text) for kind, text in result.withstood_by_kind.items()],
            ("right answers", right),
        ]
    )
    evidence = format_canary_evidence(result)
    if evidence:
        _print_pairs(evidence)
    if args.out and result.status != "undecided":  # would replace what is known of the judge
        _write_record(args.out, result.to_record(utc_today()), "canaries")
    if result.status != "fit":
        print_error(f"judge {result.judge}: {format_canary_summary(result)}")
        return EXIT_PROBLEM
    print_line(colour_text(f"the judge {format_canary_summary(result)}", GREEN))
    return 0
