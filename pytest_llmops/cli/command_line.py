"""Read the command line, run its command, and turn errors into an exit status."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from pytest_llmops import __version__
from pytest_llmops.cli.common import EXIT_PROBLEM, EXIT_USAGE, print_error
from pytest_llmops.errors import LLMOpsError, UsageError, format_error

# Modules of `pytest_llmops.cli` with an ``add_NAME_group``, in the order of the help
GROUPS = (
    "init",
    "baseline",
    "cases",
    "cassettes",
    "docs",
    "doctor",
    "guardrails",
    "imports",
    "judge",
    "merge",
    "models",
    "prompts",
    "semantic",
    "tools",
)
EPILOG = "exit status: 0 no problem, 1 something was found or refused, 2 the command line is wrong"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a command line, and return its exit status.

    Args:
        argv: Arguments without the program's name; None: the arguments of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run_command(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as with `| head`. Python would complain once more when it closes the stream.
        with open(os.devnull, "wb") as devnull:  # noqa: PTH123 -- a device
            os.dup2(devnull.fileno(), sys.stdout.fileno())
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        return _report_error("interrupted; nothing is half written", 130)
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Each command sets ``run`` (None for a group, which only prints its help) and ``helps``, its parser.
    """
    parser = argparse.ArgumentParser(
        prog="llmops",
        description="Manage the files that pytest-llmops keeps with your tests.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pytest-llmops {__version__}")
    parser.set_defaults(helps=parser, run=None)
    groups = parser.add_subparsers(title="groups", metavar="GROUP")
    for name in GROUPS:
        module = importlib.import_module(f"pytest_llmops.cli.{name}")
        add_group = getattr(module, f"add_{name}_group")
        add_group(groups)
    return parser


def _run_command(argv: Sequence[str] | None) -> int:
    """Parse the arguments, run the command, and report an error as one line."""
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as done:  # argparse has reported the error; 0 after --help
        if isinstance(done.code, int):
            return done.code
        return EXIT_USAGE
    run: Callable[[argparse.Namespace], int] | None = args.run
    if run is None:
        args.helps.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        return run(args)
    except UsageError as error:
        return _report_error(format_error(error), EXIT_USAGE)
    except LLMOpsError as error:
        return _report_error(format_error(error), EXIT_PROBLEM)
    except SystemExit as error:  # raised by a user's judge or embedder: its status 0 would look like success
        return _report_error(
            f"called code ended the program (SystemExit: {error.code}); nothing is half written",
            EXIT_PROBLEM,
        )


def _report_error(text: str, status: int) -> int:
    """Print an error, and return the given exit status."""
    print_error(text)
    return status
