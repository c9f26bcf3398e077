"""Declare the groups and commands of ``llmops``, and what all commands share."""

import argparse
import datetime as dt
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_llmops.errors import UsageError

EXIT_PROBLEM, EXIT_USAGE = 1, 2


def add_group(groups: Any, name: str, summary: str) -> Any:
    """Declare a group, and return the object to which its commands are added."""
    group = add_command(groups, name, None, summary)
    return group.add_subparsers(title="commands", metavar="COMMAND")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    summary: str,
    details: str = "",
    *,
    arguments: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> argparse.ArgumentParser:
    """Declare a command, or a group if it has no ``run``; the description is the summary and the details.

    ``arguments`` are those of `argparse` by name; blanks separate the names of an option that has several.
    """
    description = f"{summary[0].upper()}{summary[1:]}. {details}".strip()
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, allow_abbrev=False
    )
    command.set_defaults(helps=command, run=run)
    for names, how in arguments.items():
        command.add_argument(*names.split(), **how)
    return command


def import_command(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """Return a function that runs a command, and imports its module only then."""
    return lambda args: int(getattr(importlib.import_module(f"pytest_llmops.cli.{module}"), name)(args))


def parse_positive_int(text: str) -> int:
    """Return a whole number of at least 1 from an argument."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def refuse_options(problems: Mapping[str, object]) -> None:
    """Raise for the first message whose condition holds.

    Raises:
        UsageError: One of them does.
    """
    for message, applies in problems.items():
        if applies:
            raise UsageError(message)


def utc_today() -> str:
    """Return today's date as ISO text."""
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


@contextmanager
def extend_import_path(folder: Path) -> Iterator[None]:
    """Make modules in a folder importable while a command runs, as ``python -m`` does: a judge may import later."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(entry)
