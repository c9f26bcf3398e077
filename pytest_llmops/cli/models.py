"""``llmops models``: which models a project names and until when they are there, and what another model would answer."""

from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, import_command, parse_positive_int
from pytest_llmops.cli.judge import JUDGE_HELP, list_judge_arguments

ROOT = {
    "type": Path,
    "metavar": "FOLDER",
    "help": "root folder of the project (default: the nearest folder upwards with a configuration file of pytest)",
}


def add_models_group(groups: Any) -> None:
    """Declare the group, which lists models, and its command."""
    group = add_command(
        groups,
        "models",
        import_command("model_commands", "list_models"),
        "list the models that a project names, with the day of their shutdown",
        "Looks into settings, cassettes, prompts, rubrics, the baseline and calibrations. Days come from a dated table of announcements. "
        "Exit status 1: a file cannot be read, or a model is shut down within llm_warn_shutdown.",
        arguments={
            "--root": ROOT,
            "--live": {
                "action": "store_true",
                "help": "ask the OpenAI-compatible server for its models and their days (GET /v1/models)",
            },
            "--llm-base-url": {"dest": "base_url", "metavar": "URL", "help": "address of that server"},
            "--json": {"action": "store_true", "help": "print JSON"},
        },
    )
    add_command(
        group.add_subparsers(title="commands", metavar="COMMAND"),
        "compare",
        import_command("model_commands", "compare_models"),
        "ask another model what is recorded, and compare its answers with the recorded ones",
        "Asks the new model alone: the old one may be gone. Requests of judges are left out: another model of a judge is compared by "
        "llmops judge rescore RUN.json --model NEW. Without --judge it says how far the answers change, not whether they are better. "
        "Exit status 1: the new model is worse, or its answers changed, or an answer is missing.",
        arguments={
            "--to": {"required": True, "metavar": "NEW", "help": "the new model, named as for --llm-model"},
            "--from": {
                "dest": "old",
                "default": "",
                "metavar": "OLD",
                "help": "the recorded model (default: the only one)",
            },
            "--judge": {"metavar": "JUDGE", "help": f"score the answers of both with {JUDGE_HELP}"},
            "--trials": {
                "type": parse_positive_int,
                "metavar": "N",
                "help": "answers of the new model to each request (default: as many as are recorded)",
            },
            "--embedder --llm-embedder": {
                "metavar": "NAME",
                "help": "embedder that compares answers (default: the project's)",
            },
            "--root": ROOT,
            "--json": {"action": "store_true", "help": "print JSON"},
            **list_judge_arguments("models.NEW.cassette.json"),
        },
    )
