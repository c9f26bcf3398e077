"""What commands print: labelled lines, and colour only where a person looks.

No line that is printed holds a secret, or starts a command of a CI runner.
"""

from __future__ import annotations

import json
import os
import sys
from functools import lru_cache
from typing import Any

RED, YELLOW, GREEN, DIM = "31", "33", "32", "2"


def print_line(text: str = "") -> None:
    """Print a line of what was asked for."""
    print(_redact_and_escape(text))  # noqa: T201 -- the way out of a command


def print_json(document: object) -> None:
    """Print a document for a program to read: its values stay as they are, a command of a CI runner is only escaped."""
    # Outside of texts JSON has no such characters, and no line of it starts with "::".
    print(json.dumps(document, indent=1).replace("##[", "#\\u0023["))  # noqa: T201 -- the way out of a command


def print_error(text: str) -> None:
    """Print a line about what went wrong; the text is escaped, and cut if it is very long."""
    from pytest_llmops.measurement import shorten_text

    # Secrets come first: of half a one nothing can be told any more.
    print(f"llmops: {shorten_text(_redact_and_escape(text), 2000)}", file=sys.stderr)  # noqa: T201 -- the way out of a command


def redact_secrets(text: str) -> str:
    """Return a text without what the environment or its shape says is secret, also where the text was cut short."""
    return str(_cached_redactor(tuple(os.environ.items())).shown(text))


@lru_cache(maxsize=1)
def _cached_redactor(environ: tuple[tuple[str, str], ...]) -> Any:
    from pytest_llmops.redaction.redactor import Redactor

    return Redactor.from_environment(dict(environ))


def _redact_and_escape(text: str) -> str:
    from pytest_llmops.measurement import defuse_github_commands

    return defuse_github_commands(redact_secrets(text)) if text else text


def colour_text(text: str, colour: str) -> str:
    """Return a text in colour if a terminal shows it that understands colour, and nobody asked for none."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else f"\x1b[{colour}m{text}\x1b[0m"
