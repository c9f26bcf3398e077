"""What a test used of its cassettes, for the usage record of the run."""

from collections.abc import Iterator
from pathlib import Path

from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.measurement import Json


def describe_usage(tape: Tape, *, passed: bool) -> dict[str, Json]:
    """Return the requested answers of a tape's cassette.

    Args:
        tape: The tape.
        passed: Whether its test passed.
    """
    with tape.report.lock:
        counts = tape.player.given.count_by_key()
    asked: dict[str, Json] = {key: dict(takes) for key, takes in counts.items()}
    return {"ran": passed, "shared": tape.player.others_ask, "asked": asked}


def iter_moved_usage(tape: Tape, *, passed: bool) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Yield the cassettes of renamed tests that answered, with what was requested; not those that mode new copied.

    Args:
        tape: The tape.
        passed: Whether its test passed.
    """
    if tape.mode == "new":
        return
    with tape.report.lock:
        counts = tape.player.given.count_by_key()
    for place, keys in tape.player.recordings.moved.items():
        asked: dict[str, Json] = {key: dict(counts[key]) for key in sorted(keys & counts.keys())}
        yield place, {"ran": passed, "shared": True, "asked": asked}


def count_takes(tape: Tape) -> int:
    """Return the number of takes that are recorded of the requests of a tape, and of its blocks."""
    takes = [count_takes(inner) for inner in tape.inner]
    for key in tape.player.given.list_keys():
        interaction = tape.player.recordings.by_key.get(key)
        if interaction is not None:
            takes += [int(take) + 1 for take in interaction.answers]
    return max(takes, default=0)
