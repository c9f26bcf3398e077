"""One cassette while a test runs: what answers, what is new, what was missed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.cassettes import miss, store
from pytest_llmops.cassettes.question import Question, ask
from pytest_llmops.cassettes.redact import Redactor
from pytest_llmops.cassettes.wire import events, fold, unfold
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.settings import RecordMode

KEPT_HEADERS = ("content-type", "retry-after", "x-should-retry", "location")
"""Of a response; all others say something about an account or a moment."""

NOT_RECORDED = frozenset({401, 403, 407, 408, 409, 425, 429})
"""Answers about the caller or the moment, not about the question; 5xx are left out too."""

MAX_NEIGHBOURS = 60
"""Cassettes beside a missing one that are searched for the nearest request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: decoded body, kept headers, and the time the real one took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float | None = None
    ttft_s: float | None = None
    pieces: tuple[bytes, ...] = ()
    """The body in the pieces it is replayed in: one an event of a stream."""


@dataclass(slots=True)
class Counts:
    """What happened on a tape."""

    replayed: int = 0
    recorded: int = 0
    missed: int = 0
    stale: int = 0


@dataclass(slots=True)
class Tape:
    """A cassette in use.

    Args:
        path: The file; it need not exist.
        mode: ``none``, ``new``, ``all`` or ``live``.
        redactor: Masks secrets.
        owner: The test, for the order in a shared file.
        command: What a miss tells the user to run.
        allowed: Hosts that pass through, neither recorded nor blocked.

    Raises:
        CassetteError: The file is damaged; it is left as it is.
    """

    path: Path
    mode: RecordMode = "none"
    redactor: Redactor = field(default_factory=Redactor)
    owner: str = ""
    command: str = "pytest --llm-record=new"
    allowed: frozenset[str] = frozenset()
    shared: bool = False
    counts: Counts = field(default_factory=Counts)
    misses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _interactions: dict[str, store.Interaction] = field(default_factory=dict)
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    _journal: store.Journal | None = None
    _lost: list[Path] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        if self.mode == "live":
            return
        self._interactions = store.load(self.path)
        self._lost = store.left_behind(self.path)
        for journal in self._lost:
            store.apply(self._interactions, store.entries(journal), replace=False)

    def passes(self, host: str) -> bool:
        """Say whether a host is neither recorded nor blocked."""
        return host in self.allowed

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return the question a request is."""
        return ask(method, url, headers, body, self.redactor)

    def can_replay(self, question: Question) -> bool:
        """Say whether the next answer is at hand, without taking it; in mode none, miss if it is not.

        Raises:
            CassetteMiss: Mode none, and nothing recorded answers.
        """
        with self._lock:
            listed = self._answers(question)
            if listed is not None and self._place(question) < len(listed):
                return True
            if self.mode == "none":
                raise self._missed(question, len(listed) if listed is not None else 0)
            return False

    def claim(self, question: Question) -> Answer | None:
        """Take the next answer to a question, or None if it has to be asked live.

        Raises:
            CassetteMiss: Mode none, and nothing recorded answers.
        """
        with self._lock:
            if not self.can_replay(question):
                return None
            listed = self._answers(question) or []
            wire = listed[self._place(question)]
            self._asked[question.key, recorder.take()] += 1
            self.counts.replayed += 1
        return _answer(wire)

    def _answers(self, question: Question) -> list[dict[str, Any]] | None:
        if self.mode in ("all", "live"):
            return None
        one = self._interactions.get(question.key)
        return one.answers.get(recorder.take()) if one else None

    def _place(self, question: Question) -> int:
        return self._asked[question.key, recorder.take()]

    def _missed(self, question: Question, recorded: int) -> CassetteMiss:
        self.counts.missed += 1
        if recorded:
            asked = self._place(question) + 1
            text = miss.exhausted(question, asked, recorded, place=shown(self.path), command=self.command)
        else:
            text = miss.describe(question, self._candidates(), place=shown(self.path), command=self.command)
        self.misses.append(text)
        return CassetteMiss(text)

    def _candidates(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for one in self._interactions.values():
            yield one.by, one.request
        if self._interactions:
            return
        for path in sorted(self.path.parent.glob("*.json"))[:MAX_NEIGHBOURS]:
            with contextlib.suppress(CassetteError):  # a damaged neighbour has its own test to complain
                for one in store.load(path).values():
                    yield f"{shown(path)} {one.by}", one.request

    def record(self, question: Question, answer: Answer) -> None:
        """Keep a live answer, on disk before this returns, if its status says something about the question.

        Raises:
            CassetteError: It could not be put on disk.
        """
        if self.mode in ("none", "live"):
            return
        if answer.status in NOT_RECORDED or answer.status >= 500:  # noqa: PLR2004 -- server errors
            self.notes.append(f"an answer with status {answer.status} was not recorded")
            return
        with self._lock:
            n = self._place(question)
            self._asked[question.key, recorder.take()] += 1
            self.counts.recorded += 1
            by = f"{self.owner if self.shared else ''}#{self.counts.recorded:03d}"
            wire = self._wire(answer)
            request = {"method": question.method, "url": question.url, "body": fold(question.body)}
            entry = store.Entry(by, question.key, recorder.take(), n, request, wire)
            if self._journal is None:
                self._journal = store.Journal(self.path)
            self._journal.append(entry)
            if self.mode == "new":
                store.apply(self._interactions, [entry], replace=False)

    def _wire(self, answer: Answer) -> dict[str, Any]:
        headers = {
            name: self.redactor.text(answer.headers[name]) for name in KEPT_HEADERS if name in answer.headers
        }
        wire: dict[str, Any] = {"status": answer.status, "headers": headers}
        for name in ("latency_s", "ttft_s"):
            seconds = getattr(answer, name)
            if seconds is not None:
                wire[name] = round(seconds, 4)
        wire["body"] = fold(self.redactor.clean(answer.body))
        return wire

    def not_recorded(self, why: str) -> None:
        """Note that a live answer could not be kept."""
        if self.mode in ("new", "all"):
            self.notes.append(why)

    def close(self, *, passed: bool = True) -> Counts:
        """End the tape: merge what is new into the file, and count what nobody asked for.

        Args:
            passed: The test passed, so what it did not ask for is stale; with mode ``all`` it is dropped.

        Raises:
            CassetteError: The file cannot be written; nothing is lost, the answers wait in the journal.
        """
        asked = {key for key, _ in self._asked}
        if passed and self.mode in ("none", "new") and not self.shared:
            self.counts.stale = sum(key not in asked for key in self._interactions)
        if self.mode in ("none", "live"):
            return self.counts
        journals = list(self._lost)
        if self._journal is not None and self._journal.path is not None:
            self._journal.close()
            journals.append(self._journal.path)
        if journals:
            again = self.mode == "all"
            keep = frozenset(asked) if again and passed and not self.shared else None
            store.merge(self.path, journals, self.redactor, replace=again, keep=keep)
        return self.counts


def _answer(wire: Mapping[str, Any]) -> Answer:
    body = wire["body"]
    listed = events(body)
    pieces = tuple(listed) if listed is not None else ()
    return Answer(
        int(wire["status"]),
        wire.get("headers", {}),
        b"".join(pieces) if listed is not None else unfold(body),
        wire.get("latency_s"),
        wire.get("ttft_s"),
        pieces,
    )


def shown(path: Path) -> str:
    """Return a path as a person would type it from here."""
    try:
        return os.path.relpath(path).replace("\\", "/")
    except ValueError:
        return str(path)


_tapes: list[Tape] = []


def current() -> Tape | None:
    """Return the tape in use, or None."""
    return _tapes[-1] if _tapes else None


def insert(tape: Tape) -> None:
    """Use this tape from now on, in all threads and tasks."""
    _tapes.append(tape)


def eject(tape: Tape) -> None:
    """Stop using this tape; the one before is in use again."""
    if tape in _tapes:
        _tapes.remove(tape)
