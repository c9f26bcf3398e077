"""``llmops cases``: feedback becomes cases, and a person decides about what is in the review queue.

The commands are declared here; their modules are imported when a command runs.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, add_group, import_command

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
            "and Phoenix (of which llmops cases from-traces has read the traces before). Secrets are masked, the same question and answer is one entry, and nothing is counted twice."
        ),
        {
            "events": {"type": Path, "metavar": "EVENTS", "help": "the events: .jsonl, .json or .csv"},
            "--queue": QUEUE,
            "--map": {
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
                "type": float,
                "metavar": "SHARE",
                "help": "the share of votes against answers to be covered",
            },
            "--json": JSON,
        },
    ),
}


def add_cases_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(groups, "cases", "make cases of feedback, and review what waits for a person")
    for name, (run, summary, details, arguments) in COMMANDS.items():
        add_command(commands, name, run, summary, details, arguments=arguments)
