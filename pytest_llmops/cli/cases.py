"""``llmops cases``: case files and files for fine-tuning; feedback and traces become cases that a person reviews.

The commands are declared here; their modules are imported when a command runs.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, add_group, import_command, parse_positive_int, parse_share

QUEUE = {
    "type": Path,
    "metavar": "QUEUE.jsonl",
    "default": Path("cases/queue.jsonl"),
    "help": "the review queue (default: cases/queue.jsonl)",
}
JSON = {"action": "store_true", "help": "print JSON"}
# The commands: what runs them, their summary and details, and their arguments
COMMANDS: Mapping[
    str, tuple[Callable[[argparse.Namespace], int], str, str, Mapping[str, Mapping[str, Any]]]
] = {
    "from-feedback": (
        import_command("cases_queue", "import_feedback"),
        "put what users said of answers into the review queue",
        (
            "Reads votes, ratings, comments and corrections: JSON lines, JSON or CSV of your own, and exports of Langfuse, LangSmith "
            "and Phoenix (of which llmops cases from-traces has read the traces before). Secrets are masked, the same question and answer is one entry, and nothing is counted twice. "
            "Exit status 1: an event could not be read."
        ),
        {
            "events": {"type": Path, "metavar": "EVENTS", "help": "the events: .jsonl, .json or .csv"},
            "--queue": QUEUE,
            "--field": {
                "action": "append",
                "default": [],
                "metavar": "NAME=COLUMN",
                "help": "a column of another name, as input=frage or vote=daumen",
            },
            "--good-at-least": {
                "type": float,
                "metavar": "RATING",
                "help": "the rating from which on an answer is good (default: 4, of 5)",
            },
            "--all-sources": {"action": "store_true", "help": "also scores of evaluators and models"},
            "--json": JSON,
        },
    ),
    "from-traces": (
        import_command("cases_traces", "import_traces"),
        "put the conversations of exported traces into the review queue",
        (
            "Reads OpenTelemetry GenAI, OpenInference, Traceloop, Langfuse, Phoenix and LangSmith: OTLP JSON of traces and their logs, or "
            "rows as JSON lines; give the files of one export together. Secrets are masked, and nothing is counted twice. Exit status 1: "
            "something was left out."
        ),
        {
            "traces": {
                "nargs": "+",
                "type": Path,
                "metavar": "FILE",
                "help": ".json or .jsonl; no protobuf, no Parquet",
            },
            "--queue": QUEUE,
            "--json": JSON,
        },
    ),
    "review": (
        import_command("cases_queue", "review_queue"),
        "accept, edit or drop what waits in the review queue, and label answers for a judge",
        (
            "Asks about each entry. What is accepted is added to the case file; a label stays in the queue, which llmops judge calibrate reads. In "
            "scripts, --list, --accept, --drop and --label do it without asking."
        ),
        {
            "--queue": QUEUE,
            "--into": {
                "type": Path,
                "metavar": "CASES.jsonl",
                "default": Path("cases/feedback.jsonl"),
                "help": "the case file (default: cases/feedback.jsonl)",
            },
            "--list": {"action": "store_true", "help": "print what waits, the most important first"},
            "--accept": {"metavar": "ID", "help": "make a case of an entry"},
            "--reference": {"metavar": "TEXT", "help": "with --accept: the right answer"},
            "--fact": {
                "metavar": "TEXT",
                "help": "with --accept: what only right answers contain; the case has it under this key",
            },
            "--drop": {"metavar": "ID", "help": "leave an entry out for good"},
            "--label": {
                "nargs": 2,
                "metavar": ("ID", "LABEL"),
                "help": "label an answer: pass, fail, or a number on the judge's scale",
            },
            "--rater": {"metavar": "NAME", "help": "who labels, if several annotators do"},
            "--json": JSON,
        },
    ),
    "coverage": (
        import_command("cases_queue", "show_coverage"),
        "show which topics of the feedback have a case",
        "A topic is a tag, or similar questions. Exit status 1: fewer of the votes against answers are covered than --at-least says.",
        {
            "cases": {"type": Path, "nargs": "+", "metavar": "CASES", "help": "case files"},
            "--queue": QUEUE,
            "--at-least": {
                "type": parse_share,
                "metavar": "SHARE",
                "help": "the share of votes against answers to be covered",
            },
            "--json": JSON,
        },
    ),
}


FILE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "file": {"type": Path, "metavar": "FILE", "help": "JSONL, YAML, CSV, Parquet, Arrow or a saved dataset"},
    "--format": {"choices": ("cases", "openai-chat", "tools", "dpo"), "default": "cases", "help": "what the rows are (default: cases)"},
    "--field": {
        "action": "append", "default": [], "metavar": "KEY=COLUMN",
        "help": "a column of another name, input=question (repeatable)",
    },
    "--against": {
        "nargs": "+", "type": Path, "default": [], "metavar": "FILE", "help": "case files that no row may leak into",
    },
    "--prompts": {"type": Path, "metavar": "FOLDER", "help": "prompts whose examples no case may be (default: prompts)"},
    "--max-tokens": {
        "type": parse_positive_int, "default": 65_536, "metavar": "N",
        "help": "of a training row, estimated (default: 65536)",
    },
    "--at-least": {
        "type": float, "default": 90.0, "metavar": "PERCENT", "help": "likeness of two inputs (default: 90)",
    },
    "--names": {
        "nargs": "+", "default": ["train", "test"], "metavar": "NAME", "help": "splits (default: train test)",
    },
    "--shares": {
        "nargs": "+", "type": float, "default": [0.8, 0.2], "metavar": "SHARE", "help": "theirs (default: 0.8 0.2)",
    },
    "--to": {"choices": ("cases", "openai-chat", "dpo"), "required": True, "help": "what to make"},
    "--system": {"default": "", "help": "a system message for rows that are made of cases"},
    "-n --size": {"type": parse_positive_int, "required": True, "help": "how many cases"},
    "--seed": {"type": int, "default": 0, "help": "of the draw (default: 0)"},
    "-o --out": {"type": Path, "metavar": "FILE.jsonl", "help": "where to write"},
    "--json": {"action": "store_true", "help": "print JSON"},
}  # fmt: skip
DRAWN = ("--format", "--field", "--seed", "-o --out", "--json")
# Commands on files: function, summary, details, and names of arguments
FILE_COMMANDS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    (
        "check", "check_files", "find what is wrong with a file, near-duplicates and leaks",
        "The exit status is 1 for problems; near-duplicates of a split and personal data in cases are notes.",
        ("--format", "--field", "--against", "--prompts", "--max-tokens", "--at-least", "--json"),
    ),
    ("sample", "sample_file", "draw cases, the same ones on every machine", "", ("-n --size", *DRAWN)),
    ("split", "split_file", "give every case a split; a family is never divided", "", ("--names", "--shares", *DRAWN)),
    (
        "dedupe", "dedupe_file", "list near-duplicates, or write a file without them",
        "The exit status is 1 if there are some and no file is written.",
        ("--format", "--field", "--at-least", "-o --out", "--json"),
    ),
    (
        "convert", "convert_file", "make training rows of cases, or cases of training rows",
        "Cases of training rows are of the split train, which no test takes without saying so.",
        ("--format", "--field", "--to", "--system", "-o --out", "--json"),
    ),
    ("schema", "print_schema", "print the JSON Schema of case files, for editors", "", ()),
)  # fmt: skip


def add_cases_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(
        groups, "cases", "look after case files, and make cases of feedback and traces", COMMANDS
    )
    for name, function, summary, details, names in FILE_COMMANDS:
        options = {
            key: FILE_ARGUMENTS[key]
            | ({"nargs": "+"} if (key, name) == ("file", "check") else {})
            | ({"required": True} if key.startswith("-o") and name != "dedupe" else {})
            for key in (*["file"][: len(names)], *names)
        }
        add_command(
            commands, name, import_command("case_files", function), summary, details, arguments=options
        )
