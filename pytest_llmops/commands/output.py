"""What commands print: labelled lines, counted nouns, and colour only where a person looks."""

from __future__ import annotations

import os
import sys

RED, YELLOW, GREEN, DIM = "31", "33", "32", "2"


def say(text: str = "") -> None:
    """Print a line of what was asked for."""
    print(text)  # noqa: T201 -- the way out of a command


def complain(text: str) -> None:
    """Print a line about what went wrong; the text is escaped, and cut if it is very long."""
    from pytest_llmops.measurement import shorten

    print(f"llmops: {shorten(text, 2000)}", file=sys.stderr)  # noqa: T201 -- the way out of a command


def painted(text: str, colour: str) -> str:
    """Return a text in colour if a terminal shows it that understands colour, and nobody asked for none."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else f"\x1b[{colour}m{text}\x1b[0m"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "cassette"), counted(1200, "cassette")
    ('1 cassette', '1,200 cassettes')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
