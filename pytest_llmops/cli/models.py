"""``llmops models``: which models a project names, whether they are still offered, and what another one would answer."""

import argparse
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, import_command, parse_positive_int
from pytest_llmops.cli.judge import JUDGE_HELP, add_judge_arguments


def add_models_group(groups: Any) -> None:
    """Declare the group, which is a command itself (it lists models), and its command ``compare``."""
    group = add_command(
        groups,
        "models",
        import_command("model_commands", "list_models"),
        "list the models that a project names, and whether the server offers them",
        "Looks into settings, cassettes, prompts, rubrics, the baseline and calibrations. Exit status 1: a file cannot be read.",
    )
    _add_root(group)
    group.add_argument(
        "--live",
        action="store_true",
        help="ask the OpenAI-compatible server which of them it offers (GET /v1/models)",
    )
    group.add_argument("--llm-base-url", dest="base_url", metavar="URL", help="address of that server")
    group.add_argument("--json", action="store_true", help="print JSON")
    _declare_compare(group.add_subparsers(title="commands", metavar="COMMAND"))


def _declare_compare(commands: Any) -> None:
    command = add_command(
        commands,
        "compare",
        import_command("model_compare", "compare_models"),
        "ask another model what is recorded, and compare its answers with the recorded ones",
        "Asks the new model alone: the old one may be gone. Requests of judges are left out: another model of a judge is compared by "
        "llmops judge rescore RUN.json --model NEW. Without --judge it says how far the answers change, not whether they are better. "
        "Exit status 1: the new model is worse, or its answers changed, or an answer is missing.",
    )
    command.add_argument("--to", required=True, metavar="NEW", help="the new model, named as for --llm-model")
    command.add_argument(
        "--from", dest="old", default="", metavar="OLD", help="the recorded model (default: the only one)"
    )
    command.add_argument("--judge", metavar="JUDGE", help=f"score the answers of both with {JUDGE_HELP}")
    command.add_argument(
        "--trials",
        type=parse_positive_int,
        metavar="N",
        help="answers of the new model to each request (default: as many as are recorded)",
    )
    command.add_argument(
        "--embedder",
        metavar="NAME",
        help="embedder that compares answers (default: the project's)",
    )
    _add_root(command)
    command.add_argument("--json", action="store_true", help="print JSON")
    add_judge_arguments(command, "models.NEW.cassette.json")


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="root folder of the project (default: the nearest folder upwards with a configuration file of pytest)",
    )
