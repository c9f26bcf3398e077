"""A tape in use, as the plugin puts one in for a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import intercept, tape
from pytest_llmops.settings import RecordMode


@contextmanager
def taped(path: Path, mode: RecordMode = "none", *, passed: bool = True, **how: Any) -> Iterator[tape.Tape]:
    """Record to or replay from a file while the block runs; the patches stay, as they do under pytest."""
    intercept.enter()
    one = tape.Tape(path, mode, **how)
    tape.insert(one)
    try:
        yield one
    finally:
        tape.eject(one)
        one.close(passed=passed)


def stored(path: Path) -> list[dict[str, Any]]:
    """The interactions of a cassette file."""
    listed: list[dict[str, Any]] = json.loads(path.read_bytes())["interactions"]
    return listed
