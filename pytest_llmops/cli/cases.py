"""``llmops cases``: case files and files for fine-tuning; feedback and traces become cases that a person reviews.

The commands are declared here; their modules are imported when a command runs.
"""

import argparse
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, add_group, import_command, parse_positive_int, parse_share


def add_cases_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(groups, "cases", "look after case files, and make cases of feedback and traces")
    _declare_from_feedback(commands)
    _declare_from_traces(commands)
    _declare_review(commands)
    _declare_coverage(commands)
    _declare_check(commands)
    _declare_sample(commands)
    _declare_split(commands)
    _declare_dedupe(commands)
    _declare_convert(commands)
    add_command(
        commands,
        "schema",
        import_command("case_files", "print_schema"),
        "print the JSON Schema of case files, for editors",
    )


def _declare_from_feedback(commands: Any) -> None:
    command = add_command(
        commands,
        "from-feedback",
        import_command("cases_queue", "import_feedback"),
        "put the feedback of users on answers into the review queue",
        "Reads votes, ratings, comments and corrections: JSON lines, JSON or CSV of your own, and exports of Langfuse, LangSmith and Phoenix (read their traces with llmops cases from-traces first). Secrets are masked, the same question and answer is one entry, and nothing is counted twice. Exit status 1: an event could not be read.",
    )
    command.add_argument("events", type=Path, metavar="EVENTS", help="the events: .jsonl, .json or .csv")
    _add_queue(command)
    command.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="a column with another name: input=frage or vote=daumen",
    )
    command.add_argument(
        "--good-at-least",
        type=float,
        metavar="RATING",
        help="the lowest rating of a good answer (default: 4, of 5)",
    )
    command.add_argument(
        "--all-sources", action="store_true", help="also read scores of evaluators and models"
    )
    _add_json(command)


def _declare_from_traces(commands: Any) -> None:
    command = add_command(
        commands,
        "from-traces",
        import_command("cases_traces", "import_traces"),
        "put the conversations of exported traces into the review queue",
        "Reads OpenTelemetry GenAI, OpenInference, Traceloop, Langfuse, Phoenix and LangSmith: OTLP JSON of traces and their logs, or rows as JSON lines. Give the files of one export together. Secrets are masked, and nothing is counted twice. Exit status 1: something was left out.",
    )
    command.add_argument(
        "traces", nargs="+", type=Path, metavar="FILE", help=".json or .jsonl, not protobuf or Parquet"
    )
    command.add_argument(
        "--cassette",
        action="store_true",
        help="also write the trace tape of each run into the folder traces of the queue, so that tests of the case replay it",
    )
    _add_queue(command)
    _add_json(command)


def _declare_review(commands: Any) -> None:
    command = add_command(
        commands,
        "review",
        import_command("cases_queue", "review_queue"),
        "accept, edit or drop entries of the review queue, and label answers for a judge",
        "The command shows each entry and waits for your decision. An accepted entry is added to the case file. A label stays in the queue, which llmops judge calibrate reads. In scripts, use --list, --accept, --drop and --label.",
    )
    _add_queue(command)
    command.add_argument(
        "--into",
        type=Path,
        metavar="CASES.jsonl",
        default=Path("cases/feedback.jsonl"),
        help="the case file (default: cases/feedback.jsonl)",
    )
    command.add_argument("--list", action="store_true", help="print the entries, the most important first")
    command.add_argument("--accept", metavar="ID", help="make a case of an entry")
    command.add_argument("--reference", metavar="TEXT", help="with --accept: a good answer")
    command.add_argument(
        "--fact",
        metavar="TEXT",
        help="with --accept: a text that only good answers contain, which the case gets under this key",
    )
    command.add_argument("--drop", metavar="ID", help="remove an entry for good")
    command.add_argument(
        "--label",
        nargs=2,
        metavar=("ID", "LABEL"),
        help="label an answer: pass, fail, or a number on the judge's scale",
    )
    command.add_argument("--rater", metavar="NAME", help="name of the annotator, if there are several")
    _add_json(command)


def _declare_coverage(commands: Any) -> None:
    command = add_command(
        commands,
        "coverage",
        import_command("cases_queue", "show_coverage"),
        "show which topics of the feedback have a case",
        "A topic is a tag, or a group of similar questions. Exit status 1: the cases cover a smaller share of the negative votes than --at-least.",
    )
    command.add_argument("cases", type=Path, nargs="+", metavar="CASES", help="case files")
    _add_queue(command)
    command.add_argument(
        "--at-least",
        type=parse_share,
        metavar="SHARE",
        help="minimum share of the negative votes that cases must cover",
    )
    _add_json(command)


def _declare_check(commands: Any) -> None:
    command = add_command(
        commands,
        "check",
        import_command("case_check", "check_files"),
        "find mistakes, near-duplicates and leaks in a file",
        "Exit status 1: there are problems. Near-duplicates of a split and personal data in cases are notes, not problems.",
    )
    _add_file(command, nargs="+")
    _add_split(command)
    _add_format(command)
    command.add_argument(
        "--against",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="case files that must not contain a row of this file",
    )
    command.add_argument(
        "--prompts",
        type=Path,
        metavar="FOLDER",
        help="prompts whose examples must not be cases (default: prompts)",
    )
    command.add_argument(
        "--max-tokens",
        type=parse_positive_int,
        default=65_536,
        metavar="N",
        help="maximum number of tokens of a training row, estimated (default: 65536)",
    )
    _add_likeness(command)
    _add_json(command)


def _declare_sample(commands: Any) -> None:
    command = add_command(
        commands,
        "sample",
        import_command("case_files", "sample_file"),
        "choose a random sample of cases, the same one on every machine",
    )
    _add_file(command)
    command.add_argument("-n", "--size", type=parse_positive_int, required=True, help="how many cases")
    _add_split(command)
    _add_format(command)
    _add_seed(command)
    _add_out(command)
    _add_json(command)


def _declare_split(commands: Any) -> None:
    command = add_command(
        commands,
        "split",
        import_command("case_files", "split_file"),
        "give every case a split, and keep each family together",
    )
    _add_file(command)
    command.add_argument(
        "--names",
        nargs="+",
        default=["train", "test"],
        metavar="NAME",
        help="names of the splits (default: train test)",
    )
    command.add_argument(
        "--shares",
        nargs="+",
        type=float,
        default=[0.8, 0.2],
        metavar="SHARE",
        help="shares of the splits (default: 0.8 0.2)",
    )
    _add_format(command)
    _add_seed(command)
    _add_out(command)
    _add_json(command)


def _declare_dedupe(commands: Any) -> None:
    command = add_command(
        commands,
        "dedupe",
        import_command("case_files", "dedupe_file"),
        "list near-duplicates, or write a file without them",
        "Exit status 1: there are near-duplicates and no file is written.",
    )
    _add_file(command)
    _add_split(command)
    _add_format(command)
    _add_likeness(command)
    _add_out(command, required=False)
    _add_json(command)


def _declare_convert(commands: Any) -> None:
    command = add_command(
        commands,
        "convert",
        import_command("case_files", "convert_file"),
        "make training rows of cases, or cases of training rows",
        "Cases made of training rows get the split train, which tests leave out by default.",
    )
    _add_file(command)
    _add_split(command)
    _add_format(command)
    command.add_argument(
        "--to", choices=("cases", "openai-chat", "dpo"), required=True, help="the kind of rows to write"
    )
    command.add_argument("--system", default="", help="a system message for rows that are made of cases")
    _add_out(command)
    _add_json(command)


def _add_queue(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--queue",
        type=Path,
        metavar="QUEUE.jsonl",
        default=Path("cases/queue.jsonl"),
        help="the review queue (default: cases/queue.jsonl)",
    )


def _add_file(command: argparse.ArgumentParser, nargs: str | None = None) -> None:
    command.add_argument(
        "file",
        nargs=nargs,
        type=Path,
        metavar="FILE",
        help="JSONL, YAML, CSV, TSV, JSON, Parquet, Arrow, a saved dataset, or hf:NAME of the cache of datasets",
    )


def _add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format",
        choices=("cases", "openai-chat", "tools", "dpo"),
        default="cases",
        help="kind of the rows (default: cases)",
    )
    command.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="KEY=COLUMN",
        help="a column with another name: input=question (repeatable)",
    )


def _add_split(command: argparse.ArgumentParser) -> None:
    command.add_argument("--split", default="", metavar="NAME", help="only the rows of this split")


def _add_likeness(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--at-least",
        type=float,
        default=90.0,
        metavar="PERCENT",
        help="similarity of two inputs from which they are near-duplicates (default: 90)",
    )


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="seed of the random choice (default: 0)")


def _add_out(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    command.add_argument(
        "-o", "--out", required=required, type=Path, metavar="FILE.jsonl", help="where to write"
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")
