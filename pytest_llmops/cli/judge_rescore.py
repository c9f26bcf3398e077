"""``llmops judge rescore``: score the outputs of a run again with another judge, rubric, model or threshold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_llmops import registry
from pytest_llmops._util.option_values import parse_report_path
from pytest_llmops.cli.commands import EXIT_PROBLEM, utc_today
from pytest_llmops.cli.files import check_output_path, read_run_file, write_output_file
from pytest_llmops.cli.judge_options import RUBRIC_SUFFIX, load_judge, open_judge_session
from pytest_llmops.cli.output import GREEN, colour_text, format_path, print_error, print_line, redact_secrets
from pytest_llmops.cli.rescoring import score_outputs
from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.harness import controller
from pytest_llmops.measurement import Measurement, format_count, shorten_text
from pytest_llmops.protocols import Judge
from pytest_llmops.recorder import Recorder
from pytest_llmops.redaction.pytest_reports import mask_value
from pytest_llmops.results import rescoring
from pytest_llmops.results.rescoring import Change, Output, RescorableOutputs, RescoredOutput


def rescore_run(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    run_path = args.file.with_suffix("") if args.file.suffix == ".gz" else args.file
    cassette = args.cassette or run_path.with_suffix(".rescore.cassette.json")
    _check_rescore_options(args)
    check_output_path("--out", args.out, {"the run file": args.file, "the recording": cassette})
    run = read_run_file(args.file)
    selection = rescoring.collect_outputs(run, only=args.only, text=args.k, unjudged=args.unjudged)
    _refuse_no_outputs(args, selection)
    passed_over = dict(selection.passed_over)
    needs_judge = _needs_judge(args)
    rescored = (
        _judge_outputs(args, cassette, selection)
        if needs_judge
        else _replace_thresholds(args, selection, passed_over)
    )
    changes = rescoring.compare_scores((item.output, item.top) for item in rescored)
    print_line(f"{format_path(args.file)}: {format_count(len(rescored), 'output')} scored again")
    print_line()
    for line in rescoring.format_changes(changes, judge_called=needs_judge, passed_over=passed_over):
        print_line(line)
    if args.out:
        name, version, model = rescoring.list_judges(change.new for change in changes)[0]
        stamp = rescoring.RescoreStamp(
            day=utc_today(),
            asked=needs_judge,
            judge=name,
            version=version,
            model=model,
            at_least=args.at_least,
            source=args.file.name,
        )
        new_run = controller.mask_run_secrets(rescoring.replace_verdicts(run, rescored, stamp))
        write_output_file(args.out, controller.render_report(new_run, args.out.name))
        print_line(f"written to {format_path(args.out)}")
    return _print_outcome([change for change in changes if change.worse])


def _needs_judge(args: argparse.Namespace) -> bool:
    """Return whether a judge has to be called: another threshold alone needs none."""
    return bool(args.rubric or args.judge or args.judge_model or args.unjudged)


def _check_rescore_options(args: argparse.Namespace) -> None:
    if not _needs_judge(args) and args.at_least is None:
        raise UsageError(
            "expected what to change: --rubric FILE.md, --judge JUDGE, --model NAME or --at-least SCORE"
        )
    if args.rubric and args.judge:
        raise UsageError("expected --rubric or --judge, got both: a rubric is a judge")
    if args.rubric and not args.rubric.endswith(RUBRIC_SUFFIX):
        raise UsageError(f"--rubric: expected a file name ending in {RUBRIC_SUFFIX}, got {args.rubric!r}")
    if args.out:
        try:
            parse_report_path(str(args.out))
        except ValueError as error:
            raise UsageError(f"--out: expected {error}, got {str(args.out)!r}") from None
    if args.only and args.unjudged:
        raise UsageError(
            "--unjudged: expected no --only: those answers have no judge; leave one of the two out"
        )
    if args.at_least is not None and not abs(args.at_least) < float("inf"):
        raise UsageError(f"--at-least: expected a finite number, got {args.at_least}")


def _refuse_no_outputs(args: argparse.Namespace, selection: RescorableOutputs) -> None:
    path_text = format_path(args.file)
    if args.only and args.only not in selection.judges:
        raise UsageError(
            f"--only: the run has no judge {args.only!r}: known are {format_name_list(selection.judges)}"
        )
    if selection.outputs:
        return
    if selection.passed_over:
        why = "; ".join(f"{n:,}: {reason}" for reason, n in selection.passed_over.items())
        raise UsageError(f"{path_text}: none of its judged outputs can be scored again ({why})")
    if args.k:
        raise UsageError(f"-k: no judged test has a name with {args.k!r} in it")
    more = (
        f"; it has answers of {format_count(selection.unjudged, 'test')} that no judge saw: add --unjudged"
        if selection.unjudged
        else ", and no answers either"
    )
    raise UsageError(f"{path_text}: holds no verdict of a judge (run pytest with --llm-judge){more}")


def _replace_thresholds(
    args: argparse.Namespace, selection: RescorableOutputs, passed_over: dict[str, int]
) -> list[RescoredOutput]:
    rescored = []
    for output in selection.outputs:
        try:
            rescored.append(
                RescoredOutput(
                    output=output, measurements=(rescoring.replace_threshold(output, args.at_least),)
                )
            )
        except UsageError as error:
            passed_over[str(error)] = passed_over.get(str(error), 0) + 1
    if not rescored:
        why = "; ".join(f"{n:,}: {reason}" for reason, n in passed_over.items())
        raise UsageError(f"--at-least {args.at_least:g}: fits none of the stored scores ({why})")
    return rescored


def _judge_outputs(
    args: argparse.Namespace, cassette: Path, selection: RescorableOutputs
) -> list[RescoredOutput]:
    with open_judge_session(args, cassette) as active_recorder:
        judge = load_judge(args.rubric or args.judge or _find_built_in_judge(selection))
        _reuse_recorded_model(active_recorder, judge, selection.outputs)
        return list(map(_mask_secrets, score_outputs(judge, selection.outputs, at_least=args.at_least)))


def _find_built_in_judge(selection: RescorableOutputs) -> str:
    """Return the built-in judge of the run, for a command that names only another model."""
    names = sorted({output.judge for output in selection.outputs if output.old is not None})
    if len(names) == 1 and registry.is_builtin("judge", names[0]):
        return names[0]
    names_text = format_name_list(shorten_text(name, 60) for name in names)
    what = "several judges" if len(names) > 1 else "no judge" if not names else "no built-in judge"
    raise UsageError(
        f"the run's outputs have {what} ({names_text}): name the judge, --judge JUDGE or --rubric FILE.md"
        + (", or --only NAME" if len(names) > 1 else "")
    )


def _reuse_recorded_model(active_recorder: Recorder, judge: Judge, outputs: Sequence[Output]) -> None:
    settings = active_recorder.settings
    models = {output.model for output in outputs if output.old is not None}
    rubric = getattr(judge, "rubric", None)
    if settings is None or settings.judge_model or settings.single_model or getattr(rubric, "model", ""):
        return
    if len(models) == 1 and "," not in (model := models.pop()):  # a panel has several models
        active_recorder.settings = replace(settings, judge_model=model)


def _mask_secrets(rescored: RescoredOutput) -> RescoredOutput:
    """Return a rescored output without secrets, or the remains of truncated secrets, as in pytest's reports."""
    measurements = []
    for measurement in rescored.measurements:
        wire = measurement.to_wire()
        masked = mask_value(wire, redact_secrets)
        measurements.append(measurement if masked is wire else Measurement.from_wire(masked))
    return replace(rescored, measurements=tuple(measurements))


def _print_outcome(worse: Sequence[Change]) -> int:
    if not worse:
        print_line(colour_text("nothing got worse", GREEN))
        return 0
    lost = sum(change.new.status == "unscored" for change in worse)
    failing = len(worse) - lost
    parts = (
        f"{format_count(failing, 'output')} fail{'s' if failing == 1 else ''} that did not before"
        if failing
        else "",
        f"{format_count(lost, 'output')} could not be scored" if lost else "",
    )
    print_error("; ".join(filter(None, parts)))
    return EXIT_PROBLEM
