"""``llmops prompts canary``: promote, hold or roll back a canary, by the logs of its events."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_llmops.cli.commands import EXIT_PROBLEM, add_command
from pytest_llmops.cli.output import print_json, print_line
from pytest_llmops.measurement import shorten_text


def add_canary_command(commands: Any) -> None:
    """Declare the command in its group."""
    add_command(
        commands,
        "canary",
        canary,
        "promote, hold or roll back a canary, by the logs of its events",
        "Each event has an id, a time, the arm that answered, and as far as known score, error, latency_s and cost_usd. One may look as "
        "often as one likes. The exit status is 1 for ROLLBACK.",
        arguments={
            "logs": {"nargs": "+", "type": Path, "metavar": "FILE", "help": "JSONL, CSV or YAML"},
            "--arms": {
                "nargs": 2,
                "metavar": ("STABLE", "CANARY"),
                "help": "the names of both versions (default: stable canary)",
            },
            "--share": {
                "type": float,
                "help": "the share of requests that the canary is meant to get: checked",
            },
            "--margin": {
                "type": float,
                "help": "the loss of the mean score that must be excluded (default: 0.05)",
            },
            "--error-margin": {"type": float, "help": "the same for the share of errors (default: 0.02)"},
            "--latency-ratio": {"type": float, "help": "how much slower it may be (default: 1.25)"},
            "--cost-ratio": {"type": float, "help": "how much dearer it may be (default: 1.25)"},
            "--alpha": {
                "type": float,
                "help": "probability of each wrong decision, over all looks (default: 0.02)",
            },
            "--json": {"action": "store_true", "help": "print JSON"},
        },
    )


def canary(args: argparse.Namespace) -> int:
    """Print the decision on a canary."""
    from pytest_llmops.canary import CanaryRules, canary_decision, read_events

    given = ((name, getattr(args, name)) for name in CanaryRules.__dataclass_fields__)
    decision = canary_decision(
        [event for path in args.logs for event in read_events(path)],
        CanaryRules(**{name: value for name, value in given if value is not None}),
    )
    if args.json:
        print_json(asdict(decision))
    else:
        print_line(
            shorten_text(f"{decision.action}  {'; '.join([decision.sentence, *decision.notes])}", 1000)
        )
    return EXIT_PROBLEM if decision.action == "ROLLBACK" else 0
