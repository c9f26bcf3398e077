"""Describes the use that a test made of its cassettes, for the usage record of the run."""

from collections.abc import Iterator
from pathlib import Path

from pytest_llmops.cassettes.active_tape import SESSION_TAKES
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.measurement import Json


def describe_usage(tape: Tape, *, passed: bool) -> dict[str, Json]:
    """Return the use of a tape's cassette, in the form of the usage record.

    Args:
        tape: The tape.
        passed: Whether its test passed.
    """
    return {"ran": passed, "shared": tape.player.others_ask, "asked": _count_requested(tape)}


def _count_requested(tape: Tape) -> dict[str, Json]:
    """Return the number of requested answers by key and then by take."""
    with tape.report.lock:
        counts = tape.player.given.count_by_key()
    return {key: dict(takes) for key, takes in counts.items()}


def iter_moved_usage(tape: Tape, *, passed: bool) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Yield the cassettes of renamed tests that have answered requests, with their use.

    Nothing in mode ``new``, which copies such recordings into the test's own cassette.

    Args:
        tape: The tape.
        passed: Whether its test passed.
    """
    if tape.mode == "new":
        return
    requested = _count_requested(tape)
    for cassette, keys in tape.player.recordings.moved.items():
        asked = {key: requested[key] for key in sorted(keys & requested.keys())}
        yield cassette, {"ran": passed, "shared": True, "asked": asked}


def count_takes(tape: Tape) -> int:
    """Return the highest number of takes that are recorded for a request of a tape, or of its blocks; 0 for none.

    Takes of ``--llm-again`` do not count: an ordinary run does not replay them.
    """
    takes = [count_takes(inner) for inner in tape.inner]
    for key in tape.player.given.list_keys():
        interaction = tape.player.recordings.by_key.get(key)
        if interaction is not None:
            takes += [int(take) + 1 for take in interaction.answers if int(take) < SESSION_TAKES]
    return max(takes, default=0)
