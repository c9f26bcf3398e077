"""Answers to requests that were sent before their tests run, and the files by which the workers of a run exchange them.

A test *claims* an answer when it makes the request in the run that is reported.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes import RunJournals, current_folder

WORKER_WAIT_S = 60.0  # time in which another worker must have begun to ask
POLL_INTERVAL_S = 0.02  # time between two looks at what it has done


class Place(NamedTuple):
    """Identifies an answer.

    Attributes:
        cassette: The path of the cassette it is for; empty: a judge's answer that all tests share.
        key: The key of the request.
        take: The take (the trial's number) in which the request is made.
        n: How often the same request was made before in that take.
    """

    cassette: str
    key: str
    take: str
    n: int


class AnswerStore:
    """The answers, by their place.

    Attributes:
        answers: Answers that no reported test has claimed yet.
        claimed: Number of answers that were claimed, and are no longer in ``answers``.
        latency_s: Seconds that the calls took whose answers were claimed; set to zero after each report of a test.
        journals: Hold the answers on disk; safe for threads.
    """

    def __init__(self) -> None:
        self.answers: dict[Place, Mapping[str, Any]] = {}
        self.claimed = 0
        self.latency_s = 0.0
        self.journals = RunJournals()

    def claim(self, place: Place) -> Mapping[str, Any] | None:
        """Remove an answer and return it to a reported test; None if there is none. No other test gets it."""
        wire = self.answers.pop(place, None)
        if wire is not None:
            self.claimed += 1
            self.latency_s += wire.get("latency_s") or 0.0
        return wire


class Workers:
    """The processes of a run, which exchange values through files in the folder of the run.

    Args:
        number: Number of this process, from 0. A process that replaces a crashed worker has a number of at least ``count``.
        count: Number of processes that the run began with.
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
        """Leave a value of a kind ("answers", "facts") for the other processes."""
        write_atomically(self._file(self.number, kind), json.dumps(value).encode("utf-8", "surrogatepass"))

    def read(self, kind: str) -> list[Any]:
        """Return the values of a kind that the processes have left, this process included."""
        return [json.loads(path.read_bytes()) for path in sorted(current_folder().glob(f"ahead-*.{kind}"))]

    def wait_for_answers(self) -> None:
        """Wait until each worker has left its answers or has ended; if none of the missing ones begins, for `WORKER_WAIT_S` at most."""
        waiting = list(range(self.count))
        deadline = time.monotonic() + WORKER_WAIT_S
        while True:
            waiting = [number for number in waiting if not self._is_done(number)]
            if not waiting:
                return
            has_begun = any(self._file(number, "begun").exists() for number in waiting)
            if not has_begun and time.monotonic() > deadline:
                return
            time.sleep(POLL_INTERVAL_S)

    def _is_done(self, number: int) -> bool:
        """Return whether a worker has left its answers, or has ended: then nobody holds its lock."""
        from filelock import FileLock, Timeout

        if self._file(number, "answers").exists():
            return True
        if not self._file(number, "begun").exists():
            return False
        try:
            with FileLock(self._file(number, "lock"), timeout=0):
                return True
        except Timeout:
            return False

    def _file(self, number: int, kind: str) -> Path:
        return current_folder() / f"ahead-{number}.{kind}"
