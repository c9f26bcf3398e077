"""``llmops judge rescore``: what would another judge, rubric, model or threshold say of the same answers?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.option_values import report
from pytest_llmops.cli.files import check, read_run, write
from pytest_llmops.cli.judge_options import CHOICE, RUBRIC, add_asking, chosen, surroundings
from pytest_llmops.cli.output import GREEN, complain, painted, say, without_secrets
from pytest_llmops.errors import UsageError, listing
from pytest_llmops.measurement import counted, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmops.protocols import Judge
    from pytest_llmops.recorder import Recorder
    from pytest_llmops.results.rejudging import Found, Judged, Output, Stamp, Summary
    from pytest_llmops.results.run import Run

FOUND = 1


def add(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "rescore",
        help="score the outputs of a run again with another judge, rubric, model or threshold",
        description="Score the outputs that a run file holds again, with another judge, rubric, model or threshold, and show what "
        "changes. The application is not called. Recordings answer for the judge, unless --record says to ask. "
        "Exit status 1: something fails now that did not before, or could not be scored.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_rescore)
    command.add_argument("file", type=Path, metavar="RUN.json", help="what --llm-report=run.json wrote")
    command.add_argument(
        "--rubric", metavar="FILE.md", help="a rubric's file (default: the judge of the run)"
    )
    command.add_argument("--judge", metavar="JUDGE", help=CHOICE)
    command.add_argument(
        "--at-least",
        type=float,
        metavar="SCORE",
        help="another threshold, on the judge's own scale; alone: nobody is asked",
    )
    command.add_argument("--only", metavar="NAME", default="", help="only what the judge of that name judged")
    command.add_argument("-k", metavar="TEXT", default="", help="only tests whose name holds that text")
    command.add_argument(
        "--unjudged", action="store_true", help="also the last answer of tests that no judge saw"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the run with the new verdicts (.html, .json or .json.gz)",
    )
    add_asking(command, "RUN.rescore.cassette.json")


def _rescore(given: argparse.Namespace) -> int:
    from pytest_llmops.results import rejudging

    _check(given)
    check("--out", given.out, {"the run file": given.file, "the recording": _tape(given)})
    run = read_run(given.file)
    found = rejudging.outputs(run, only=given.only, text=given.k, unjudged=given.unjudged)
    _refuse_empty(given, found)
    over = dict(found.passed_over)
    asked = _asks(given)
    judged = _asked(given, found) if asked else _replace_thresholds(given, found, over)
    changes = rejudging.changes((one.output, one.top) for one in judged)
    total = rejudging.summary(changes)
    say(f"{shorten(str(given.file), 300)}: {counted(len(judged), 'output')} judged again")
    say()
    for line in rejudging.lines(changes, total, asked=asked, passed_over=over):
        say(line)
    if given.out:
        _write(given.out, rejudging.rejudged(run, judged, _stamp(given, total, asked=asked)))
    return _status(total)


def _asks(given: argparse.Namespace) -> bool:
    """Whether a judge is asked: another threshold alone needs none."""
    return bool(given.rubric or given.judge or given.model or given.unjudged)


def _check(given: argparse.Namespace) -> None:
    if not _asks(given) and given.at_least is None:
        raise UsageError(
            "expected what is new: --rubric FILE.md, --judge JUDGE, --model NAME or --at-least SCORE"
        )
    if given.rubric and given.judge:
        raise UsageError("expected --rubric or --judge, got both: a rubric is a judge")
    if given.rubric and not given.rubric.endswith(RUBRIC):
        raise UsageError(f"--rubric: expected a file name ending in {RUBRIC}, got {given.rubric!r}")
    if given.out:
        _check_name(given.out)
    if given.only and given.unjudged:
        raise UsageError(
            "--unjudged: expected no --only: no judge of any name saw those answers; leave one of the two out"
        )
    if given.at_least is not None and not abs(given.at_least) < float("inf"):
        raise UsageError(f"--at-least: expected a finite number, got {given.at_least}")


def _refuse_empty(given: argparse.Namespace, found: Found) -> None:
    shown = shorten(str(given.file), 300)
    if given.only and given.only not in found.judges:
        raise UsageError(f"--only: the run has no judge {given.only!r}: known are {listing(found.judges)}")
    if found.outputs:
        return
    if found.passed_over:
        why = "; ".join(f"{n:,}: {reason}" for reason, n in found.passed_over.items())
        raise UsageError(f"{shown}: nothing that is judged in it can be judged again ({why})")
    if given.k:
        raise UsageError(f"-k: no judged test has a name with {given.k!r} in it")
    more = (
        f"; it has answers of {counted(found.unjudged, 'test')} that no judge saw: add --unjudged"
        if found.unjudged
        else ", and no answers either"
    )
    raise UsageError(f"{shown}: holds no verdict of a judge (run pytest with --llm-judge){more}")


def _replace_thresholds(given: argparse.Namespace, found: Found, over: dict[str, int]) -> list[Judged]:
    from pytest_llmops.results.rejudging import Judged, replace_threshold

    made = []
    for one in found.outputs:
        try:
            made.append(Judged(output=one, measurements=(replace_threshold(one, given.at_least),)))
        except UsageError as error:
            over[str(error)] = over.get(str(error), 0) + 1
    if not made:
        why = "; ".join(f"{n:,}: {reason}" for reason, n in over.items())
        raise UsageError(f"--at-least {given.at_least:g}: fits none of the stored scores ({why})")
    return made


def _check_name(out: Path) -> None:
    try:
        report(str(out))
    except ValueError as error:
        raise UsageError(f"--out: expected {error}, got {str(out)!r}") from None


def _tape(given: argparse.Namespace) -> Path:
    run = given.file.with_suffix("") if given.file.suffix == ".gz" else given.file
    named: Path = given.cassette or run.with_suffix(".rescore.cassette.json")
    return named


def _asked(given: argparse.Namespace, found: Found) -> list[Judged]:
    from pytest_llmops.cli import rescoring

    with surroundings(given, _tape(given), how="--record new") as mine:
        judge = chosen(given.rubric or given.judge or _same(found))
        _same_model(mine, judge, found.outputs)
        return list(map(_masked, rescoring.score(judge, found.outputs, at_least=given.at_least)))


def _same(found: Found) -> str:
    """The built-in judge that judged the run, where only another model is asked for."""
    from pytest_llmops import registry

    names = sorted({one.judge for one in found.outputs if one.old is not None})
    if len(names) == 1 and registry.knows("judge", names[0]):
        return names[0]
    shown = listing(shorten(name, 60) for name in names)
    what = "several judges" if len(names) > 1 else "no judge" if not names else "no built-in judge"
    raise UsageError(
        f"the run's outputs have {what} ({shown}): say which to ask, --judge JUDGE or --rubric FILE.md"
        + (", or --only NAME" if len(names) > 1 else "")
    )


def _same_model(mine: Recorder, judge: Judge, outputs: Sequence[Output]) -> None:
    """Ask the model that was asked before, where nobody names another one."""
    settings = mine.settings
    models = {one.model for one in outputs if one.old is not None}
    rubric = getattr(judge, "rubric", None)
    if settings is None or settings.judge_model or settings.only_model or getattr(rubric, "model", ""):
        return
    if len(models) == 1 and "," not in (model := models.pop()):  # those of a panel are several
        mine.settings = replace(settings, judge_model=model)


def _stamp(given: argparse.Namespace, total: Summary, *, asked: bool) -> Stamp:
    import datetime as dt

    from pytest_llmops.results.rejudging import Stamp

    name, version, model = total.new_judges[0]
    return Stamp(
        day=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        asked=asked,
        judge=name,
        version=version,
        model=model,
        at_least=given.at_least,
        source=given.file.name,
    )


def _write(path: Path, run: Run) -> None:
    from pytest_llmops.harness import controller

    write(path, controller.render(controller.without_secrets(run), path.name))
    say(f"written to {shorten(str(path), 300)}")


def _masked(one: Judged) -> Judged:
    """The new verdict without secrets, and without the halves of those that were cut short, as pytest's reports have it."""
    from pytest_llmops.measurement import Measurement
    from pytest_llmops.redaction.pytest_reports import masked

    wires = [(made, made.to_wire()) for made in one.measurements]
    found = [(made, wire, masked(wire, without_secrets)) for made, wire in wires]
    kept = tuple(made if wire is new else Measurement.from_wire(new) for made, wire, new in found)
    return replace(one, measurements=kept)


def _status(total: Summary) -> int:
    if not total.worse:
        say(painted("nothing got worse", GREEN))
        return 0
    lost = sum(total.new_errors.values())
    failing = total.worse - lost
    parts = (
        [f"{counted(failing, 'output')} fail{'s' if failing == 1 else ''} that did not before"]
        if failing
        else []
    )
    parts += [f"{counted(lost, 'output')} could not be scored"] if lost else []
    complain("; ".join(parts))
    return FOUND
