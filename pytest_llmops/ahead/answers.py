"""Answers that were asked before the tests that claim them, in memory and in a journal of the whole run.

All cassettes of a folder share a journal, so that thousands of tests need one open file. A journal that a killed run
left is split into those of its cassettes, which are merged as ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes import journal, run_folder
from pytest_llmops.cassettes.store import RUN_JOURNAL


class Place(NamedTuple):
    """Where an answer belongs: the n-th to a request of a take in a cassette; a judge's answer serves all cassettes."""

    cassette: str
    key: str
    take: str
    n: int


@dataclass(frozen=True, slots=True)
class _Lines:
    """Journal lines that are written and synced together."""

    lines: tuple[bytes, ...]

    def to_line(self) -> bytes:
        return b"".join(self.lines)


@dataclass(slots=True)
class AnswerStore:
    """The answers, by their place; safe for threads.

    Attributes:
        taken: Answers that a reported test has used.
        latency_s: Seconds that the answers took which were claimed since `pop_latency`.
    """

    _answers: dict[Place, Mapping[str, Any]] = field(default_factory=dict)
    taken: set[Place] = field(default_factory=set)
    latency_s: float = 0.0
    _journals: dict[Path, journal.Journal] = field(default_factory=dict)
    _unwritten: dict[Path, list[bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, place: Place) -> Mapping[str, Any] | None:
        """Return an answer, which stays."""
        return self._answers.get(place)

    def take(self, place: Place) -> Mapping[str, Any] | None:
        """Return an answer to the test that is reported; nothing gets it again."""
        wire = self._answers.pop(place, None)
        if wire is not None:
            self.taken.add(place)
            self.latency_s += wire.get("latency_s") or 0.0
        return wire

    def pop_latency(self) -> float:
        """Return the seconds of the answers that were taken since the last call."""
        seconds, self.latency_s = self.latency_s, 0.0
        return seconds

    def put(self, place: Place, cassette: Path | None, entry: journal.JournalEntry) -> None:
        """Keep an answer, on disk before it is visible.

        Args:
            place: Its place.
            cassette: The cassette that records it; None: none does (mode live).
            entry: The answer as a journal holds it.

        Raises:
            CassetteError: It could not be written.
        """
        if cassette is not None:
            with self._lock:
                queue = self._unwritten.setdefault(cassette.parent, [])
            queue.append(name_cassette(entry, cassette).to_line())
            with self._lock:
                # What other threads have queued meanwhile is synced together with this line.
                lines = tuple(queue)
                if lines:
                    log = self._journals.setdefault(
                        cassette.parent, journal.Journal(cassette.parent / RUN_JOURNAL)
                    )
                    log.append(_Lines(lines))  # type: ignore[arg-type]  # all it needs is the line
                    del queue[: len(lines)]
        self._answers[place] = entry.answer

    def items(self) -> list[tuple[Place, Mapping[str, Any]]]:
        """Return all answers that nothing has taken."""
        return list(self._answers.items())

    def update(self, answers: Iterator[tuple[Place, Mapping[str, Any]]]) -> None:
        """Add the answers of other processes."""
        self._answers.update(answers)

    @property
    def journal_paths(self) -> list[str]:
        """Return the files of the journals."""
        return [str(path) for log in self._journals.values() for path in log.paths]

    def close(self) -> None:
        """Close the journals, which stay on disk."""
        for log in self._journals.values():
            log.close()


def remove_journals(paths: Iterable[str]) -> None:
    """Remove the journals of a run whose answers are in the cassettes."""
    for path in map(Path, paths):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        journal.remove_journal_folder(path.parent.parent / RUN_JOURNAL)


def name_cassette(entry: journal.JournalEntry, cassette: Path) -> journal.JournalEntry:
    """Return an entry that says to which cassette of its folder it belongs."""
    wire = {name: getattr(entry, name) for name in entry.__slots__}
    return journal.JournalEntry(**{**wire, "by": f"{cassette.name}/{entry.by}"})


@dataclass(frozen=True, slots=True)
class SharedPhase:
    """What the processes of a run tell each other about the phase, in the folder of the run.

    Args:
        number: Number of this process.
        count: Number of processes.
    """

    number: int = 0
    count: int = 1

    def hold_lock(self) -> int:
        """Return an open file that is locked as long as this process runs: another one waits for it."""
        draft = self._path(self.number, "draft")
        fd = os.open(draft, os.O_CREAT | os.O_RDWR)
        journal.lock_file(fd, exclusive=True)
        draft.rename(self._path(self.number, "lock"))  # once it is locked: no process finds it unlocked
        return fd

    def has_begun(self, number: int) -> bool:
        """Return whether a process has begun its phase."""
        return self._path(number, "lock").exists()

    def write(self, suffix: str, value: object) -> None:
        """Leave a value for the other processes."""
        write_atomically(self._path(self.number, suffix), json.dumps(value).encode("utf-8", "surrogatepass"))

    def read(self, suffix: str) -> Iterator[Any]:
        """Yield the values of all processes that have left any."""
        for path in sorted(run_folder.current_folder().glob(f"ahead-*.{suffix}")):
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(path.read_bytes())

    def is_done(self, number: int) -> bool:
        """Return whether a process has left its answers, or has ended."""
        if self._path(number, "answers").exists():
            return True
        try:
            fd = os.open(self._path(number, "lock"), os.O_RDWR)
        except OSError:  # it has not begun
            return False
        try:
            return journal.lock_file(fd, exclusive=True) is True
        finally:
            journal.unlock_and_close(fd)

    def _path(self, number: int, suffix: str) -> Path:
        return run_folder.current_folder() / f"ahead-{number}.{suffix}"
