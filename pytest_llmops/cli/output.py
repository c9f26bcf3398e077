"""Print lines, JSON and errors of commands, without secrets and without workflow commands of a CI runner."""

import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops.measurement import escape_json_output, escape_output, shorten_text

RED, YELLOW, GREEN, DIM = "31", "33", "32", "2"


def print_line(text: str = "") -> None:
    """Print a line of a command's result."""
    print(escape_output(redact_secrets(text), colours=True) if text else "")  # noqa: T201 -- the command's output


def print_json(document: object) -> None:
    """Print a document for a program to read: values stay as they are, workflow commands of a CI runner are escaped."""
    print(escape_json_output(json.dumps(document, indent=1)))  # noqa: T201 -- the command's output


def print_error(text: str) -> None:
    """Print an error to stderr, escaped; of ten lines at most, each truncated if it is very long."""
    # Redact before truncating: half a secret is not recognised.
    safe = escape_output(redact_secrets(text))
    lines = (shorten_text(line, 2000) for line in safe.split("\n", 9))
    print("llmops: " + "\n".join(lines), file=sys.stderr)  # noqa: T201 -- the command's output


def redact_secrets(text: str) -> str:
    """Return a text without secrets that the environment or their form reveals, even if they were truncated."""
    return str(environment_redactor().clean_excerpt(text))


def environment_redactor() -> Any:
    """Return the redactor of the secrets that the environment reveals."""
    return _redactor_of(tuple(os.environ.items()))


@lru_cache(maxsize=1)
def _redactor_of(environ: tuple[tuple[str, str], ...]) -> Any:
    from pytest_llmops.redaction.redactor import Redactor

    return Redactor.from_environment(dict(environ))


def format_path(path: Path | str) -> str:
    """Return a path for a line or an error, truncated if it is very long."""
    return shorten_text(str(path), 500)


def colour_text(text: str, colour: str) -> str:
    """Return a text in colour if stdout is a terminal with colours, and ``NO_COLOR`` is not set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else f"\x1b[{colour}m{text}\x1b[0m"
