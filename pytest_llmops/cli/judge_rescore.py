"""``llmops judge rescore``: score the outputs of a run again with another judge, rubric, model or threshold.

An "output" is an answer that a judge scored in the run, with everything that the judge was shown. The application is not called.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pytest_llmops import recorder, registry
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.baselines.conclusion import Reference, conclude
from pytest_llmops.cli.baseline import load_project_baseline
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    GREEN,
    check_reports,
    colour_text,
    format_path,
    print_error,
    print_line,
    print_result,
    read_run_file,
    redact_secrets,
    utc_today,
    write_reports,
)
from pytest_llmops.cli.judge_calibrate import RUBRIC_SUFFIX, load_judge, open_judge_session
from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.evaluate import JudgeHandle, judge_answer, resolve_judge, takes_contexts
from pytest_llmops.measurement import Measurement, as_finite_float, format_count, shorten_text
from pytest_llmops.protocols import Judge, Verdict
from pytest_llmops.redaction.pytest_reports import mask_value
from pytest_llmops.results.details import read_detail
from pytest_llmops.results.rescoring.judged_outputs import Output, RescorableOutputs, collect_outputs
from pytest_llmops.results.rescoring.rescored_run import (
    AtLeast,
    RescoredOutput,
    RescoreStamp,
    carry_over_threshold,
    replace_threshold,
    replace_verdicts,
)
from pytest_llmops.results.rescoring.score_changes import (
    Change,
    Score,
    compare_scores,
    format_changes,
    list_judges,
)
from pytest_llmops.results.rescoring.threshold_shifts import find_threshold_shifts, format_threshold_shifts
from pytest_llmops.results.run import Run
from pytest_llmops.results.secrets import mask_run_secrets
from pytest_llmops.settings import Settings


def rescore_run(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    run_path = args.file
    if args.file.suffix == ".gz":
        run_path = args.file.with_suffix("")
    cassette = args.cassette or run_path.with_suffix(".rescore.cassette.json")
    names = []
    if args.out:
        names.append(str(args.out))
    _check_rescore_options(args)
    reports = check_reports("--out", names, {"the run file": args.file, "the recording": cassette})
    run = read_run_file(args.file)
    reference = None
    if reports:
        reference = _find_reference(run)
    selection = collect_outputs(run, only=args.only, text=args.k, unjudged=args.unjudged)
    _refuse_no_outputs(args, selection)
    rescoring = _rescore_outputs(args, cassette, selection)
    changes = compare_scores((item.output, item.top) for item in rescoring.outputs)
    _print_changes(args, changes, rescoring)
    if reports:
        stamp = _make_stamp(args, changes)
        new_run = mask_run_secrets(replace_verdicts(run, rescoring.outputs, stamp))
        write_reports(conclude(new_run, reference), reports)
    return _print_outcome([change for change in changes if change.worse], is_text=not args.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rescoring:
    """The result of scoring outputs again.

    Attributes:
        outputs: The outputs that were scored.
        passed_over: How many outputs were not scored, by reason.
        pass_at: The judge's own thresholds, by dimension; the one of the overall score has the name "".
    """

    outputs: Sequence[RescoredOutput]
    passed_over: Mapping[str, int]
    pass_at: Mapping[str, float]


def _print_changes(args: argparse.Namespace, changes: Sequence[Change], rescoring: _Rescoring) -> None:
    """Print what changed; if the judge is another one, also which of its thresholds decides as the old one did."""
    old_judges = list_judges(change.old for change in changes)
    new_judges = list_judges(change.new for change in changes)
    shifts = []
    if old_judges != new_judges:
        shifts = find_threshold_shifts(changes, rescoring.pass_at)
    document = {
        "outputs": list(map(_to_json, changes)),
        "passed_over": rescoring.passed_over,
        "thresholds": shifts,
    }
    amount = format_count(len(rescoring.outputs), "output")
    is_judged = _needs_judge(args)
    lines = [f"{format_path(args.file)}: {amount} scored again", ""]
    lines += format_changes(changes, judge_called=is_judged, passed_over=rescoring.passed_over)
    lines += format_threshold_shifts(shifts)
    print_result(args, document, lines)


def _make_stamp(args: argparse.Namespace, changes: Sequence[Change]) -> RescoreStamp:
    """Return the note for the new run on how it was made: when, from which file, and with which judge.

    Args:
        args: The arguments of the command.
        changes: All outputs with their scores, at least one. With only another threshold they may be of several judges; the
            note then names the first one in alphabetical order.
    """
    new_judges = list_judges(change.new for change in changes)
    name, version, model = new_judges[0]
    return RescoreStamp(
        day=utc_today(),
        asked=_needs_judge(args),
        judge=name,
        version=version,
        model=model,
        at_least=args.at_least,
        source=args.file.name,
    )


def _find_reference(run: Run) -> Reference | None:
    """Return the project's baseline if the run was compared with one; else None.

    If the run had no statistical verdict and lacks tests of the baseline, only a part of the suite was selected: so it is
    compared as a part again.
    """
    verdict = run.find_verdict("baseline")
    if verdict is None:
        return None
    stored = load_project_baseline()
    if stored is None:
        return None
    ran = {record.nodeid for record in run.records if record.outcome != "skipped"}
    is_partial = verdict.status == "NONE" and not ran.issuperset(stored.baseline.tests)
    return replace(stored.make_reference(run.records), is_partial=is_partial)


def _to_json(change: Change) -> dict[str, Any]:
    output = change.output
    return {
        "nodeid": output.nodeid,
        "label": output.label,
        "changed": change.changed,
        "old": _score_to_json(change.old),
        "new": _score_to_json(change.new),
    }


def _score_to_json(score: Score) -> dict[str, Any]:
    """Return the fields of a score, without the raw text of the judge's answer."""
    fields = asdict(score)
    del fields["raw"]
    return fields


def _needs_judge(args: argparse.Namespace) -> bool:
    """Return whether a judge has to be called; not if only the threshold changes."""
    return bool(args.rubric or args.judge or args.reason or args.judge_model or args.unjudged)


def _check_rescore_options(args: argparse.Namespace) -> None:
    problem = _find_option_problem(args)
    if problem:
        raise UsageError(problem)


def _find_option_problem(args: argparse.Namespace) -> str:
    """Return the first problem of the options of the command; "" if they fit together."""
    if not _needs_judge(args) and args.at_least is None:
        return "expected what to change: --rubric FILE.md, --judge JUDGE, --reason PLACE, --model NAME or --at-least SCORE"
    if args.rubric and args.judge:
        return "expected --rubric or --judge, got both: a rubric is a judge"
    if args.rubric and not args.rubric.endswith(RUBRIC_SUFFIX):
        return f"--rubric: expected a file name ending in {RUBRIC_SUFFIX}, got {args.rubric!r}"
    if args.json and args.out:
        return "--json: expected no --out: both print; run the command twice, the second time replays"
    if args.only and args.unjudged:
        return "--unjudged: expected no --only: those answers have no judge; leave one of the two out"
    if args.at_least is not None and not math.isfinite(args.at_least):
        return f"--at-least: expected a finite number, got {args.at_least}"
    return ""


def _refuse_no_outputs(args: argparse.Namespace, selection: RescorableOutputs) -> None:
    """Check that there are outputs to score again.

    Raises:
        UsageError: There are none; with the reason and what to do.
    """
    if args.only and args.only not in selection.judges:
        known = format_name_list(selection.judges)
        raise UsageError(f"--only: the run has no judge {args.only!r}: known are {known}")
    if selection.outputs:
        return
    path_text = format_path(args.file)
    if selection.passed_over:
        why = _join_reasons(selection.passed_over)
        raise UsageError(f"{path_text}: none of its judged outputs can be scored again ({why})")
    if args.k:
        raise UsageError(f"-k: no judged test has a name with {args.k!r} in it")
    more = ", and no answers either"
    if selection.unjudged:
        more = f"; it has answers of {format_count(selection.unjudged, 'test')} that no judge saw: add --unjudged"
    raise UsageError(f"{path_text}: holds no verdict of a judge (run pytest with --llm-judge){more}")


def _join_reasons(passed_over: Mapping[str, int]) -> str:
    reasons = [f"{number:,}: {reason}" for reason, number in passed_over.items()]
    return "; ".join(reasons)


def _rescore_outputs(args: argparse.Namespace, cassette: Path, selection: RescorableOutputs) -> _Rescoring:
    if _needs_judge(args):
        return _judge_outputs(args, cassette, selection)
    return _replace_thresholds(args, selection)


def _replace_thresholds(args: argparse.Namespace, selection: RescorableOutputs) -> _Rescoring:
    """Return the outputs with their stored scores and the threshold of ``--at-least``.

    Raises:
        UsageError: The threshold fits none of the scores.
    """
    rescored = []
    passed_over = dict(selection.passed_over)
    for output in selection.outputs:
        try:
            measurement = replace_threshold(output, args.at_least)
        except UsageError as error:
            reason = str(error)
            passed_over[reason] = passed_over.get(reason, 0) + 1
        else:
            rescored.append(RescoredOutput(output=output, measurements=(measurement,)))
    if not rescored:
        why = _join_reasons(passed_over)
        raise UsageError(f"--at-least {args.at_least:g}: fits none of the stored scores ({why})")
    return _Rescoring(outputs=rescored, passed_over=passed_over, pass_at={})


def _judge_outputs(args: argparse.Namespace, cassette: Path, selection: RescorableOutputs) -> _Rescoring:
    """Return the outputs with new scores of the judge that the options name, else of the run's built-in judge."""
    with open_judge_session(args, cassette) as active_recorder:
        judge = load_judge(args.rubric or args.judge or _find_built_in_judge(selection), args.reason)
        settings = active_recorder.settings
        if settings:
            model = _find_old_model(judge, settings, selection)
            if model:
                active_recorder.settings = replace(settings, judge_model=model)
        scored = score_outputs(judge, selection.outputs, at_least=args.at_least)
        rescored = [_mask_secrets(output) for output in scored]
    thresholds = {"": getattr(judge, "pass_at", None), **getattr(judge, "dimension_thresholds", {})}
    pass_at = {}
    for dimension, value in thresholds.items():
        number = as_finite_float(value)
        if number is not None:
            pass_at[dimension] = number
    return _Rescoring(outputs=rescored, passed_over=selection.passed_over, pass_at=pass_at)


def _find_old_model(judge: Judge, settings: Settings, selection: RescorableOutputs) -> str:
    """Return the model of the old verdicts, to call it again if nothing else names a model.

    "" if the settings or the rubric name one, or if the old verdicts are of several models.
    """
    own = getattr(getattr(judge, "rubric", None), "model", "")
    if settings.judge_model or settings.single_model or own:
        return ""
    models = {output.verdict.model for output in selection.outputs if output.old is not None}
    if len(models) != 1:
        return ""
    (model,) = models
    if "," in model:  # a panel has several
        return ""
    return model


def _find_built_in_judge(selection: RescorableOutputs) -> str:
    """Return the built-in judge that scored the outputs, for a command that names no judge (only ``--model``).

    Raises:
        UsageError: The outputs have no judge, several, or one that is not built in.
    """
    names = sorted({output.judge for output in selection.outputs if output.old is not None})
    if len(names) == 1 and registry.is_builtin("judge", names[0]):
        return names[0]
    names_text = format_name_list(shorten_text(name, 60) for name in names)
    what = "no built-in judge"
    step = "name the judge, --judge JUDGE or --rubric FILE.md"
    if not names:
        what = "no judge"
    elif len(names) > 1:
        what = "several judges"
        step += ", or --only NAME"
    raise UsageError(f"the run's outputs have {what} ({names_text}): {step}")


def _mask_secrets(rescored: RescoredOutput) -> RescoredOutput:
    """Return a rescored output without secrets, even truncated ones."""
    masked = [mask_value(measurement.to_wire(), redact_secrets) for measurement in rescored.measurements]
    return replace(rescored, measurements=tuple(map(Measurement.from_wire, masked)))


def _print_outcome(worse: Sequence[Change], *, is_text: bool) -> int:
    """Print what got worse, and return the exit status; the good news is only printed as text, not with --json."""
    if not worse:
        if is_text:
            print_line(colour_text("nothing got worse", GREEN))
        return 0
    unscored = sum(change.new.status == "unscored" for change in worse)
    failing = len(worse) - unscored
    parts = []
    if failing:
        verb = "fails" if failing == 1 else "fail"
        parts.append(f"{format_count(failing, 'output')} {verb} that did not before")
    if unscored:
        parts.append(f"{format_count(unscored, 'output')} without a score")
    print_error("; ".join(parts))
    return EXIT_PROBLEM


CALLER = "llmops judge rescore"
OutputKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class JudgeResponse:
    """The result of a judge for an output.

    Attributes:
        handle: The judge with its name, version and model.
        verdict: The verdict; with an error and no score if there is none.
        refusal: The error with which the judge refused the output; None: it did not.
    """

    handle: JudgeHandle
    verdict: Verdict
    refusal: UsageError | None = None


class _ReplayedJudge:
    """A stand-in for a judge that returns a verdict given earlier, so that `assert_judge_score` can measure it.

    All other attributes (scale, thresholds ...) come from the real judge.
    """

    def __init__(self, response: JudgeResponse) -> None:
        handle = response.handle
        self.response = response
        self.name = handle.name
        self.version = handle.version
        self.model_name = handle.model

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        del answer, question, reference, contexts
        return self.response.verdict

    def __getattr__(self, name: str) -> Any:
        return getattr(self.response.handle.judge, name)


def score_outputs(
    judge: Judge, outputs: Sequence[Output], *, at_least: float | None = None
) -> list[RescoredOutput]:
    """Score outputs with a judge, and return the measurements that a test would have made for each, in the same order.

    The judge is called once for equal outputs. An output that cannot be scored is unscored. It is an error only if the judge
    refuses all of them.

    Args:
        judge: The judge. It is given the contexts only if it accepts any.
        outputs: The outputs.
        at_least: The threshold, on the judge's own scale; None: see `carry_over_threshold`.

    Raises:
        CassetteMiss: No recording matches a request.
        UsageError: The judge is not a judge, the threshold is not on its scale, or it refuses every output.
    """
    handle = resolve_judge(judge, CALLER)
    # Check all thresholds before any call is paid for: this raises, its result is not needed yet.
    scale = _judge_scale(handle.judge)
    for output in outputs:
        _find_threshold(handle, output, at_least, scale)
    # Equal outputs share a call: recordings of equal requests could not be distinguished when calls run in parallel.
    keys = [_make_key(output, handle) for output in outputs]
    pairs = zip(keys, outputs, strict=True)
    unique_outputs = {key: output for key, output in pairs if output.answer is not None}
    tasks = [partial(_call_judge, handle, output) for output in unique_outputs.values()]
    answers = run_judge_tasks(tasks, judge=judge, asked_model=_asked_model)
    responses: dict[OutputKey, JudgeResponse] = dict(zip(unique_outputs, answers, strict=True))
    # If the judge refused an output because it has no contexts, it may still accept others: this does not count as a refusal.
    refusals = []
    for key, response in responses.items():
        refusal = response.refusal
        if refusal and (unique_outputs[key].contexts or "contexts" not in str(refusal)):
            refusals.append(refusal)
    if refusals and len(refusals) == len(responses):
        raise refusals[0]
    no_response = JudgeResponse(handle, Verdict())
    rescored = []
    for key, output in zip(keys, outputs, strict=True):
        response = responses.get(key, no_response)
        rescored.append(_measure_response(output, response, at_least))
    return rescored


def _make_key(output: Output, handle: JudgeHandle) -> OutputKey:
    """Return the inputs on which the judge's verdict depends; the last of them are the contexts, which some judges ignore."""
    if takes_contexts(handle.judge):
        return output.inputs
    return output.inputs[:-1]


def _asked_model(response: JudgeResponse) -> bool:
    """Return whether the judge called its model; not if it refused the output or decided without one (prescreened)."""
    return response.refusal is None and not response.verdict.prescreened


def _find_threshold(
    handle: JudgeHandle, output: Output, at_least: float | None, scale: tuple[float, float] | None
) -> AtLeast:
    """Return the threshold for an output.

    Args:
        handle: The judge.
        output: The output with its old threshold.
        at_least: The threshold of the command; None: the old one is carried over where it fits.
        scale: The judge's scale; None: not known (yet).

    Raises:
        UsageError: The threshold is not on the scale.
    """
    if scale is not None and at_least is not None:
        low, high = scale
        if not low <= at_least <= high:
            expected = f"a score on the scale of judge {handle.name}, {low:g} to {high:g}"
            raise UsageError(f"--at-least: expected {expected}, got {at_least:g}")
    try:
        version = handle.version or str(handle.judge.version)
    except Exception:  # noqa: BLE001 -- some judges of users have a version only after a call
        version = ""
    pass_at = as_finite_float(getattr(handle.judge, "pass_at", None))
    return carry_over_threshold(
        output,
        at_least=at_least,
        pass_at=pass_at,
        scale=scale,
        judge=handle.name,
        version=version,
    )


def _judge_scale(judge: object) -> tuple[float, float] | None:
    """Return the scale that a judge states as ``low`` and ``high``; None if it states none."""
    low = as_finite_float(getattr(judge, "low", None))
    high = as_finite_float(getattr(judge, "high", None))
    if low is None or high is None:
        return None
    return (low, high)


def _call_judge(handle: JudgeHandle, output: Output) -> JudgeResponse:
    """Call the judge on an output; its errors become part of the response."""
    handle = replace(
        handle
    )  # a copy: `judge_answer` writes version and model into it, and threads share the other
    contexts: tuple[str, ...] = ()
    if takes_contexts(handle.judge):
        contexts = output.contexts
    try:
        verdict = judge_answer(handle, output.answer or "", output.question, output.reference, contexts)
    except UsageError as error:
        return JudgeResponse(handle, Verdict(error=str(error)), error)
    except SystemExit as error:  # would end the command, with status 0 as if all were well
        return JudgeResponse(handle, Verdict(error=f"SystemExit: {error.code}"))
    return JudgeResponse(handle, verdict)


def _measure_response(output: Output, response: JudgeResponse, at_least: float | None) -> RescoredOutput:
    """Return the output with the measurements that a test would make of the response."""
    verdict = response.verdict
    scale = _judge_scale(response.handle.judge)
    if verdict.score is not None:
        scale = (verdict.low, verdict.high)
    # Some judges have a scale only after a call, so the threshold is looked up (and checked) again.
    threshold = _find_threshold(response.handle, output, at_least, scale)
    review_below = None
    if output.old is not None and (verdict.confidence is not None or verdict.prescreened):
        # The confidence that the test required; without one of the judge this would be an error.
        least = read_detail(output.old).review.least
        if least is not None and 0 <= least <= 1:
            review_below = least
    with recorder.collect() as measurements:
        assert_judge_score(
            output.answer,
            judge=_ReplayedJudge(response),
            question=output.question,
            reference=output.reference,
            contexts=output.contexts,
            at_least=threshold,
            review_below=review_below,
            label=output.label,
        )
    return RescoredOutput(output=output, measurements=tuple(measurements))
