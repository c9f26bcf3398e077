"""The console command ``llmops``.

Exit status: 0 all is well, 1 something was found or refused, 2 the command line is wrong. What was asked for
goes to stdout, what went wrong to stderr, one line each.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from pytest_llmops import __version__
from pytest_llmops.errors import LLMOpsError, UsageError

GROUPS = ("cassettes", "judge", "semantic")
"""Modules of `pytest_llmops.cli`, in the order of the help."""
EPILOG = "exit status: 0 all is well, 1 something was found or refused, 2 the command line is wrong"

FOUND, WRONG = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: Arguments without the program's name; left out: those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        _escape_what_cannot_be_encoded(stream)
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads it has seen enough. Python would complain once more when it closes the stream.
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 -- a device, no path of anybody's
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return FOUND
    except KeyboardInterrupt:
        return _say("interrupted; nothing is half written", 130)
    return status


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        given = parser.parse_args(argv)
    except SystemExit as done:  # argparse has said why; 0 after --help
        return done.code if isinstance(done.code, int) else WRONG
    run: Callable[[argparse.Namespace], int] | None = getattr(given, "run", None)
    if run is None:
        given.helps.print_help(sys.stderr)
        return WRONG
    try:
        return run(given)
    except UsageError as error:
        return _say(str(error), WRONG)
    except LLMOpsError as error:
        return _say(str(error), FOUND)
    except (
        SystemExit
    ) as error:  # of a judge or an embedder of the user's: status 0 would say that all is well
        return _say(
            f"what was asked ended the program (SystemExit: {error.code}); nothing is half written", FOUND
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmops",
        description="Look after what pytest-llmops keeps beside your tests.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pytest-llmops {__version__}")
    parser.set_defaults(helps=parser)
    groups = parser.add_subparsers(title="groups", metavar="GROUP")
    for name in GROUPS:
        importlib.import_module(f"pytest_llmops.cli.{name}").add(groups)
    return parser


def _say(text: str, status: int) -> int:
    from pytest_llmops.cli.output import complain

    complain(text)
    return status


def _escape_what_cannot_be_encoded(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
