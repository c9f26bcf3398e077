"""Answers to requests that were sent before their tests run. A test *claims* an answer when it makes the request in the run that counts."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes import RunJournals, current_folder


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

    Args:
        on_answer: Called with each answer that is added, and its place.

    Attributes:
        answers: Answers that no reported test has claimed yet.
        claimed: Number of claimed answers. They are removed from ``answers``.
        latency_s: Seconds that the calls took whose answers were claimed; set to zero after each report of a test.
        journals: Hold the answers on disk in the process that sends the requests; safe for threads.
    """

    def __init__(self, on_answer: Callable[[Place, Mapping[str, Any]], object] | None = None) -> None:
        self.answers: dict[Place, Mapping[str, Any]] = {}
        self.claimed = 0
        self.latency_s = 0.0
        self.journals = RunJournals()
        self._on_answer = on_answer

    def add(self, place: Place, wire: Mapping[str, Any]) -> None:
        """Add an answer."""
        self.answers[place] = wire
        if self._on_answer is not None:
            self._on_answer(place, wire)

    def claim(self, place: Place) -> Mapping[str, Any] | None:
        """Remove an answer and return it to a reported test; None if there is none. No other test gets it."""
        wire = self.answers.pop(place, None)
        if wire is not None:
            self.claimed += 1
            self.latency_s += wire.get("latency_s") or 0.0
        return wire


def share_answers(answers: Mapping[Place, Mapping[str, Any]]) -> None:
    """Leave answers for the workers of xdist, in the folder of the run."""
    write_atomically(_shared_file(), json.dumps(list(answers.items())).encode())


def read_shared_answers() -> Iterable[tuple[Place, Mapping[str, Any]]]:
    """Return the answers that the controller of xdist has left; none if it has left none."""
    path = _shared_file()
    if not path.exists():
        return []
    return [(Place(*place), wire) for place, wire in json.loads(path.read_bytes())]


def _shared_file() -> Path:
    return current_folder() / "ahead.answers"
