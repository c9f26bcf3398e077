"""``llmops doctor``: whether a project has everything for its runs, and the next step for each missing thing."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from pytest_llmops._util.setup_check import format_checks
from pytest_llmops.cli.common import EXIT_PROBLEM, add_command, import_command, print_result, redact_secrets


def add_doctor_group(groups: Any) -> None:
    """Declare ``doctor``."""
    command = add_command(
        groups,
        "doctor",
        import_command("doctor", "check_setup"),
        "check the requirements of a run: embedder, model server, key, model of the judges, baseline",
        "Reads pytest's configuration and the environment, and requests the list of models from each model server once, free of charge. A key is never shown. Exit status 1: something is missing. Requirements of only some tests ('missing, if used') do not count.",
    )
    command.add_argument(
        "--replay",
        action="store_true",
        help="check only the requirements of a replay, without a request",
    )
    command.add_argument("--llm-base-url", dest="base_url", metavar="URL", help="address of the model server")
    command.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="root folder of the project (default: the nearest folder upwards with a configuration file of pytest)",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def check_setup(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    from pytest_llmops.cli.model_commands import open_project
    from pytest_llmops.harness.setup_checks import check_project
    from pytest_llmops.providers.model_server import check_server

    root, settings = open_project(args.root, args.base_url)
    if args.replay:
        checks = check_project(settings, root, ask_server=None)
    else:
        checks = check_project(settings, root, ask_server=check_server)
    checks = [dataclasses.replace(check, sentence=redact_secrets(check.sentence)) for check in checks]
    missing = [check for check in checks if check.status == "missing"]
    rows = [check.to_wire() for check in checks]
    document = {"root": str(root), "missing": len(missing), "checks": rows}
    print_result(args, document, format_checks(checks))
    if missing:
        return EXIT_PROBLEM
    return 0
