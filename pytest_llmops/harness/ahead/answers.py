"""Answers that were asked before the tests that claim them, in memory and in a journal of the whole run.

All cassettes of a folder share a journal, so that thousands of tests need one open file. A journal that a killed run
left is split into those of its cassettes, which are merged as ever.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes import journal, run_folder
from pytest_llmops.cassettes.store import RUN_JOURNAL

# Time in which another worker must have begun to ask, and between two looks at what it has done
WORKER_WAIT_S, POLL_INTERVAL_S = 60.0, 0.02


class Place(NamedTuple):
    """Where an answer belongs: the n-th to a request of a take in a cassette; a judge's answer serves all cassettes."""

    cassette: str
    key: str
    take: str
    n: int


class _Lines(bytes):
    # Lines of a journal that are synced together.
    def to_line(self) -> bytes:
        return self


class AnswerStore:
    """The answers, by their place; safe for threads.

    Attributes:
        answers: Those that no reported test has used.
        claimed: Number of the others.
        latency_s: Seconds that those took which were claimed since it was last set to zero.
    """

    def __init__(self) -> None:
        self.answers: dict[Place, Mapping[str, Any]] = {}
        self.claimed = 0
        self.latency_s = 0.0
        self.journals: dict[Path, journal.Journal] = {}
        self._unwritten: dict[Path, list[bytes]] = {}
        self._lock = threading.Lock()

    def claim(self, place: Place) -> Mapping[str, Any] | None:
        """Return an answer to the test that is reported; nothing gets it again."""
        wire = self.answers.pop(place, None)
        if wire is not None:
            self.claimed += 1
            self.latency_s += wire.get("latency_s") or 0.0
        return wire

    def prepare(self, cassette: Path) -> None:
        """Make sure that an answer can be written, before it is paid.

        Raises:
            CassetteError: It cannot.
        """
        with self._lock:
            self._journal(cassette).prepare()

    def _journal(self, cassette: Path) -> journal.Journal:
        return self.journals.setdefault(cassette.parent, journal.Journal(cassette.parent / RUN_JOURNAL))

    def write(self, cassette: Path, entry: journal.JournalEntry) -> None:
        """Write an answer to disk.

        Raises:
            CassetteError: It could not be written.
        """
        queue = self._unwritten.setdefault(cassette.parent, [])
        queue.append(replace(entry, by=f"{cassette.name}/{entry.by}").to_line())
        with self._lock:
            log = self._journal(cassette)
            lines = list(queue)  # those that other threads have queued meanwhile are synced together
            del queue[: len(lines)]  # the journal keeps what it cannot write
            if lines:
                log.append(_Lines(b"".join(lines)))  # type: ignore[arg-type]  # all it needs is the line
            else:
                log.prepare()  # raises if the thread that took this answer could not write it


def remove_journals(paths: Iterable[str]) -> None:
    """Remove the journals of a run whose answers are in the cassettes."""
    for path in map(Path, paths):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        journal.remove_journal_folder(path.parent.parent / RUN_JOURNAL)


class Workers:
    """The processes of a run, and what they tell each other in its folder.

    Args:
        number: Number of this process; one that replaces a crashed worker has no share of its own.
        count: Number of processes.
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        from filelock import FileLock

        self.number = number
        self.count = count
        self._lock = FileLock(self._file(number, "lock"))

    def begin(self) -> None:
        """Hold a lock as long as this process runs: the others wait for it."""
        self._lock.acquire()
        self.write("begun", True)  # noqa: FBT003 -- only the file counts

    def write(self, kind: str, value: object) -> None:
        """Leave a value for the other processes."""
        write_atomically(self._file(self.number, kind), json.dumps(value).encode("utf-8", "surrogatepass"))

    def read(self, kind: str) -> list[Any]:
        """Return what the processes have left."""
        return [
            json.loads(path.read_bytes())
            for path in sorted(run_folder.current_folder().glob(f"ahead-*.{kind}"))
        ]

    def wait_for_answers(self) -> None:
        """Wait until each worker has left its answers, or has ended."""
        waiting = set(range(self.count))
        deadline = time.monotonic() + WORKER_WAIT_S
        while waiting := {number for number in waiting if not self._is_done(number)}:
            has_begun = any(self._file(number, "begun").exists() for number in waiting)
            if not has_begun and time.monotonic() > deadline:
                return
            time.sleep(POLL_INTERVAL_S)

    def _is_done(self, number: int) -> bool:
        from filelock import FileLock, Timeout

        if self._file(number, "answers").exists():
            return True
        with contextlib.suppress(Timeout):
            if self._file(number, "begun").exists():
                with FileLock(self._file(number, "lock"), timeout=0):
                    return True
        return False

    def _file(self, number: int, kind: str) -> Path:
        return run_folder.current_folder() / f"ahead-{number}.{kind}"
