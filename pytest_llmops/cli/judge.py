"""``llmops judge``: compare a judge with human labels, test it with canaries, and score stored outputs again.

The commands are declared here; their modules are imported when a command runs.
"""

import argparse
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, add_group, import_command, parse_positive_int
from pytest_llmops.settings import OPTIONS

JUDGE_HELP = "a built-in judge (quality), the path of a judge file.md, or module.path:Class"
MIN_LABELS = 50
REASON_PLACES = ("before", "after", "none")
# Options of pytest that the commands accept too, by name, with their short form here: --llm-judge-model is --model as well
OPTION_NAMES = {
    "record": "record",
    "judge_model": "model",
    "base_url": "base-url",
    "api": "api",
    "concurrency": "concurrency",
    "max_calls": "max-calls",
    "budget": "budget",
}
RECORD_MODES_OF_JUDGES = {
    "none": "replay, a missing recording is an error",
    "new": "record missing answers",
    "all": "record everything again",
    "live": "neither read nor write recordings",
}


def add_judge_arguments(command: argparse.ArgumentParser, default_cassette: str) -> None:
    """Declare the arguments for the recording, and pytest's options of a judge's model.

    Args:
        command: The command that gets them.
        default_cassette: The recording that is used without an argument, for the help.
    """
    command.add_argument(
        "--cassette",
        type=Path,
        metavar="FILE.json",
        help=f"recording to replay, or to record into (default: {default_cassette})",
    )
    options = {option.name: option for option in OPTIONS}
    for name, short in OPTION_NAMES.items():
        option = options[name]
        flags = [f"--{short}"]
        if option.flag:
            flags.append(option.flag)
        form: dict[str, Any] = {
            "metavar": option.metavar or short.upper(),
            "help": option.help.replace("%", "%%"),
        }
        if name == "record":
            form = {"choices": tuple(RECORD_MODES_OF_JUDGES), "help": _describe_modes()}
        command.add_argument(*flags, dest=name, **form)


def _describe_modes() -> str:
    """Return the help of ``--record``."""
    return "; ".join(f"{mode}: {meaning}" for mode, meaning in RECORD_MODES_OF_JUDGES.items())


def add_reason_argument(command: argparse.ArgumentParser) -> None:
    """Declare the argument for the place of the judge's reason."""
    command.add_argument(
        "--reason",
        choices=REASON_PLACES,
        help="where the judge gives its reason: before or after its verdict, or none (default: as the judge has it)",
    )


def add_judge_group(groups: Any) -> None:
    """Declare the group's commands."""
    summary = "compare a judge with human labels, test it with canaries, and score stored outputs again"
    commands = add_group(groups, "judge", summary)
    _declare_calibrate(commands)
    _declare_canaries(commands)
    _declare_export_labels(commands)
    _declare_rescore(commands)


def _declare_calibrate(commands: Any) -> None:
    command = add_command(
        commands,
        "calibrate",
        import_command("judge_calibrate", "calibrate_judge"),
        "compare a judge with human labels, and store the result",
        'Commit the result with the rubric. A line of the labels is {"id": "...", "question": "...", "answer": "...", "human": [true, false]}. human may also be one label, or numbers on the judge\'s scale. Recordings are replayed, unless --record is given. Exit status 1: a threshold is missed.',
    )
    command.add_argument("judge", metavar="JUDGE", help=f"{JUDGE_HELP}; with --verdicts any name")
    command.add_argument("labels", type=Path, metavar="LABELS.jsonl", help="human labels")
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write the calibration")
    command.add_argument(
        "--pass-at",
        type=float,
        metavar="SCORE",
        help="lowest score that passes (default: the judge's)",
    )
    _add_thresholds(command)
    command.add_argument(
        "--trials",
        type=parse_positive_int,
        default=1,
        metavar="N",
        help="verdicts on each answer, averaged (default: 1)",
    )
    add_reason_argument(command)
    command.add_argument(
        "--compare-reasons",
        action="store_true",
        help="judge the labels with the reason before the verdict, after it and without one, and recommend a place",
    )
    command.add_argument(
        "--verdicts",
        action="store_true",
        help='do not call the judge: the labels have its verdicts under the key "judge"',
    )
    command.add_argument(
        "--judge-version", metavar="TEXT", help="with --verdicts: version of the judge that gave them"
    )
    add_judge_arguments(command, "LABELS.cassette.json")


def _add_thresholds(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--at-least-kappa", type=float, default=0.6, metavar="K", help="threshold of kappa (default: 0.6)"
    )
    command.add_argument(
        "--at-least-kappa-lower",
        type=float,
        default=0.4,
        metavar="K",
        help="threshold of kappa's lower confidence limit, at 95 %% confidence (default: 0.4)",
    )
    command.add_argument(
        "--at-least-tnr",
        type=float,
        metavar="SHARE",
        help="threshold of the share of failed answers that the judge fails, at 95 %% confidence",
    )
    command.add_argument(
        "--at-least-tpr",
        type=float,
        metavar="SHARE",
        help="threshold of the share of passed answers that the judge passes, at 95 %% confidence",
    )
    command.add_argument(
        "--at-least-labels",
        type=parse_positive_int,
        default=MIN_LABELS,
        metavar="N",
        help=f"fewer labelled answers are an error (default: {MIN_LABELS})",
    )


def _declare_canaries(commands: Any) -> None:
    command = add_command(
        commands,
        "canaries",
        import_command("judge_calibrate", "run_canaries"),
        "test a judge with prompt injections and other answers that must not pass",
        "Canaries are empty answers, instructions, fake verdicts, fake ends of the data, role play and hidden characters. Some good answers are among them. Recordings are replayed, unless --record is given. Exit status 1: the judge is unfit, or gave no score for too many answers.",
    )
    command.add_argument(
        "judge", metavar="JUDGE", help=f"{JUDGE_HELP}; or pairwise, which compares two answers"
    )
    command.add_argument(
        "--canaries",
        type=Path,
        metavar="FILE.jsonl",
        help="canaries of your own (default: the built-in ones)",
    )
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write the result")
    add_reason_argument(command)
    add_judge_arguments(
        command, "JUDGE.canaries.cassette.json in this folder, or in the folder of the rubric"
    )


def _declare_export_labels(commands: Any) -> None:
    command = add_command(
        commands,
        "export-labels",
        import_command("judge_export_labels", "export_labels"),
        "put the answers of a run that need a human label into a review queue",
        "These are answers with an uncertain judge, without a score, with judges that disagree, or with a prompt injection. Existing labels in the file stay.",
    )
    command.add_argument(
        "run_file", type=Path, metavar="RUN.json", help="a run file that --llm-report=run.json wrote"
    )
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="QUEUE.jsonl",
        help="the queue to which they are added, for llmops cases review and llmops judge calibrate",
    )
    command.add_argument("--judge", metavar="NAME", help="only answers that this judge scored")
    command.add_argument("--all", action="store_true", help="every judged answer, for a first set of labels")
    command.add_argument(
        "--sample", type=parse_positive_int, metavar="N", help="with --all: a random sample of this size"
    )
    command.add_argument("--seed", type=int, metavar="S", help="seed of the draw (default: 0)")
    command.add_argument(
        "--as-cases",
        action="store_true",
        help="for new cases instead of labels: llmops cases review requests a good answer",
    )
    command.add_argument(
        "--with-verdicts",
        action="store_true",
        help="also write the judge's verdict and why to look: annotators who see them label differently",
    )


def _declare_rescore(commands: Any) -> None:
    command = add_command(
        commands,
        "rescore",
        import_command("judge_rescore", "rescore_run"),
        "score the outputs of a run again with another judge, rubric, model or threshold",
        "Shows the changes, and the threshold of another judge or model that decides as the present one does. The application is not called. Recordings of the judge are replayed, unless --record is given. Exit status 1: an answer that passed before fails now, or an answer got no score.",
    )
    command.add_argument(
        "file", type=Path, metavar="RUN.json", help="a run file that --llm-report=run.json wrote"
    )
    command.add_argument(
        "--rubric", metavar="FILE.md", help="a rubric's file (default: the judge of the run)"
    )
    command.add_argument("--judge", metavar="JUDGE", help=JUDGE_HELP)
    add_reason_argument(command)
    command.add_argument(
        "--at-least",
        type=float,
        metavar="SCORE",
        help="another threshold, on the judge's own scale. Without --judge, --rubric and --model the judge is not called",
    )
    command.add_argument("--only", metavar="NAME", default="", help="only outputs that this judge scored")
    command.add_argument("-k", metavar="TEXT", default="", help="only tests whose name contains this text")
    command.add_argument(
        "--unjudged", action="store_true", help="also the last answer of tests without a judge"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the run with the new verdicts (.html, .json or .json.gz)",
    )
    add_judge_arguments(command, "RUN.rescore.cassette.json")
