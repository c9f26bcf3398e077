"""``llmops prompts``: list, show, render, diff, log, alias, rollback, check, canary and ledger.

The commands are declared here; their modules are imported when a command runs.
"""

import argparse
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import (
    add_command,
    add_group,
    import_command,
    parse_positive_int,
    parse_share,
    take_rest,
)


def add_prompts_group(groups: Any) -> None:
    """Declare the group's commands."""
    summary = "show versions of prompts, compare them, move their aliases, find superfluous lines"
    commands = add_group(groups, "prompts", summary)
    _declare_list(commands)
    _declare_show(commands)
    _declare_render(commands)
    _declare_diff(commands)
    _declare_log(commands)
    _declare_alias(commands)
    _declare_rollback(commands)
    _declare_check(commands)
    _declare_canary(commands)
    _declare_ledger(commands)


def _declare_list(commands: Any) -> None:
    command = add_command(
        commands,
        "list",
        import_command("prompt_commands", "list_prompts"),
        "the prompts with their versions and aliases",
    )
    _add_shared(command)


def _declare_show(commands: Any) -> None:
    command = add_command(
        commands,
        "show",
        import_command("prompt_commands", "show_prompt"),
        "a version: its text, variables and parameters, and where the prompt is used",
        "Uses are calls of prompt(), get() and choose() with the prompt's name in Python files below this folder.",
    )
    _add_name(command)
    _add_version(command)
    _add_shared(command)


def _declare_render(commands: Any) -> None:
    command = add_command(
        commands,
        "render",
        import_command("prompt_commands", "render_prompt"),
        "the messages of a version with its variables filled in",
    )
    _add_name(command)
    _add_version(command)
    command.add_argument(
        "--var", action="append", default=[], metavar="NAME=TEXT", help="a variable (repeatable)"
    )
    command.add_argument(
        "--vars", type=Path, metavar="FILE.json", help="variables that are not texts, as a JSON object"
    )
    _add_shared(command)


def _declare_diff(commands: Any) -> None:
    command = add_command(
        commands,
        "diff",
        import_command("prompt_commands", "compare_versions"),
        "two versions, word by word, with their variables and parameters",
        "[-so-] is only in the old one, {+so+} only in the new one.",
    )
    _add_name(command)
    command.add_argument("old", metavar="OLD", help="a version or alias, also at a commit (v1@main, @HEAD~3)")
    command.add_argument("new", nargs="?", default="", metavar="NEW", help="the same; default: production")
    _add_shared(command)


def _declare_log(commands: Any) -> None:
    command = add_command(
        commands,
        "log",
        import_command("prompt_commands", "show_log"),
        "how the aliases of a prompt moved, and the commits that changed it",
    )
    _add_name(command)
    _add_shared(command)


def _declare_alias(commands: Any) -> None:
    command = add_command(
        commands,
        "alias",
        import_command("prompt_aliases", "run_move"),
        "move an alias to another version",
        "Writes aliases.toml, and the reason into aliases.log in the same folder.",
    )
    _add_name(command)
    command.add_argument("alias", metavar="ALIAS", help="production, candidate ...")
    command.add_argument("version", metavar="VERSION", help="a version, or another alias")
    _add_reason(command)
    _add_shared(command)


def _declare_rollback(commands: Any) -> None:
    command = add_command(
        commands,
        "rollback",
        import_command("prompt_aliases", "run_move"),
        "move an alias back to its version before the last move",
    )
    _add_name(command)
    command.add_argument(
        "alias", nargs="?", default="production", metavar="ALIAS", help="default: production"
    )
    _add_reason(command)
    _add_shared(command)


def _declare_check(commands: Any) -> None:
    command = add_command(
        commands,
        "check",
        import_command("prompt_commands", "check_prompts"),
        "report problems of the prompts",
        "Finds files that cannot be read, undeclared and unused variables, roles out of order, secrets, long prompts and equal versions. Exit status 1: there are problems.",
    )
    command.add_argument(
        "--max-chars",
        type=parse_positive_int,
        default=32_000,
        metavar="N",
        help="maximum number of characters of a prompt without its variables (default: 32000)",
    )
    _add_shared(command)


def _declare_canary(commands: Any) -> None:
    command = add_command(
        commands,
        "canary",
        import_command("prompt_commands", "decide_on_canary"),
        "decide whether to promote, hold or roll back a canary, from the logs of its events",
        "Each event has an id, a time, the arm that answered, and if known score, error, latency_s and cost_usd. You may run the command as often as you like. Exit status 1: the decision is ROLLBACK.",
    )
    command.add_argument("logs", nargs="+", type=Path, metavar="FILE", help="JSONL, CSV or YAML")
    command.add_argument(
        "--arms",
        nargs=2,
        metavar=("STABLE", "CANARY"),
        help="the names of both versions (default: stable canary)",
    )
    command.add_argument(
        "--share",
        type=float,
        help="the intended share of users of the canary, which is checked (in requests if users are not logged)",
    )
    command.add_argument(
        "--margin", type=float, help="the loss of the mean score that must be ruled out (default: 0.05)"
    )
    command.add_argument(
        "--error-margin", type=float, help="the same for the share of errors (default: 0.02)"
    )
    command.add_argument(
        "--latency-ratio", type=float, help="highest allowed ratio of latencies (default: 1.25)"
    )
    command.add_argument("--cost-ratio", type=float, help="highest allowed ratio of costs (default: 1.25)")
    command.add_argument(
        "--alpha", type=float, help="probability of each wrong decision, over all looks (default: 0.02)"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _declare_ledger(commands: Any) -> None:
    command = add_command(
        commands,
        "ledger",
        import_command("prompt_ledger", "run_ledger"),
        "measure which lines of a prompt are needed, by running the tests without each of them",
        "Each rule is needed, can go, or is not measured by the suite. The file and its cassettes stay as they are. Arguments of pytest follow two dashes: llmops prompts ledger support/answer -- -k support -n 4. Exit status 75: answers of a batch are not there yet, and the same command collects them.",
    )
    take_rest(command)
    command.add_argument(
        "target",
        metavar="TARGET",
        help="a prompt (support/answer), a file (skills/refunds/SKILL.md, tools.json), a text in Python (shop.py:POLICY)",
    )
    command.add_argument("--version", default="", metavar="V", help="of a prompt; default: production")
    command.add_argument(
        "--prompts",
        type=Path,
        dest="folder",
        metavar="FOLDER",
        help="default: llm_prompts_dir, from here upwards",
    )
    command.add_argument(
        "--trials",
        type=parse_positive_int,
        default=3,
        metavar="N",
        help="number of trials of each test (default: 3)",
    )
    command.add_argument(
        "--by",
        choices=("auto", "paragraph", "item", "line", "sentence"),
        default="auto",
        help="unit of a rule. auto: each item of a list and each sentence of a paragraph (default: auto)",
    )
    command.add_argument(
        "--lines",
        action="append",
        default=[],
        metavar="A-B",
        help="lines of the file that are a rule. With it, other lines are not rules (repeatable)",
    )
    command.add_argument(
        "--only", default="", metavar="3,5-7", help="the numbers of the rules to leave out (default: all)"
    )
    _add_ledger_limits(command)


def _add_ledger_limits(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--margin",
        type=parse_share,
        default=0.05,
        metavar="DROP",
        help="a rule can go if a drop of the scores by this margin is ruled out (default: 0.05)",
    )
    command.add_argument(
        "--calls-per-month",
        type=parse_positive_int,
        metavar="N",
        help="number of calls in a month, for the costs of a rule",
    )
    command.add_argument(
        "--llm-budget", default="", metavar="USD", help="US dollars that all live calls may cost together"
    )
    command.add_argument(
        "--llm-max-calls",
        type=parse_positive_int,
        metavar="N",
        help="live calls that all runs may make together",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="print the plan with its costs, and call no model"
    )
    command.add_argument(
        "--yes", action="store_true", help="do not wait for a confirmation before many calls"
    )
    command.add_argument(
        "-o",
        action="append",
        default=[],
        type=Path,
        dest="reports",
        metavar="FILE",
        help="write a report: .html, .md or .json (repeatable)",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name",
        metavar="NAME",
        help="the prompt (support/answer), at a commit of git with @ (support/answer@main)",
    )


def _add_version(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "version",
        nargs="?",
        default="",
        metavar="VERSION",
        help="a version or alias, also at a commit (v1@main, @HEAD~3); default: production",
    )


def _add_reason(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reason", required=True, metavar="TEXT", help="the reason, for readers of the log")


def _add_shared(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--prompts",
        type=Path,
        dest="folder",
        metavar="FOLDER",
        help="default: llm_prompts_dir, from here upwards",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
