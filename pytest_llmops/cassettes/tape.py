"""One cassette while a test runs: what answers, what is new, what was missed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.cassettes import miss, store
from pytest_llmops.cassettes.journal import Entry, Journal, left_behind
from pytest_llmops.cassettes.question import Question, ask
from pytest_llmops.cassettes.redact import Redactor, mask_params
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


@dataclass(slots=True, eq=False)
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
    resolved: set[str] = field(default_factory=set)
    """Addresses of the allowed hosts, as they were looked up."""
    _interactions: dict[str, store.Interaction] = field(default_factory=dict)
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answers given, by (key, take)."""
    _seen: set[str] = field(default_factory=set)
    """Keys of all questions, also of those whose answer was not recorded."""
    _failed: CassetteError | None = None
    _journal: Journal = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._journal = Journal(self.path)
        self.allowed = frozenset(host.lower() for host in self.allowed)
        if self.mode != "live":
            self._interactions = store.opened(self.path)

    def passes(self, host: str) -> bool:
        """Say whether a host is neither recorded nor blocked."""
        return host.lower() in self.allowed or host in self.resolved

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return the question a request is."""
        return ask(method, url, headers, body, self.redactor)

    def claim(self, question: Question) -> Answer | None:
        """Take the next answer to a question, or None if it has to be asked live.

        Raises:
            CassetteMiss: Mode none, and nothing recorded answers.
        """
        with self._lock:
            self._seen.add(question.key)
            listed = self._answers(question)
            place = self._place(question)
            if place >= len(listed):
                if self.mode == "none":
                    raise self._missed(self._why(question, len(listed)))
                return None
            try:
                answer = _answer(listed[place])
            except CassetteError as error:
                # A miss, for an application could catch an error and the test would pass.
                text = f"cassette {shown(self.path)} is damaged: {error}; record it again: {self.command}"
                raise self._missed(text) from None
            self._asked[question.key, recorder.take()] += 1
            self.counts.replayed += 1
        return answer

    def _answers(self, question: Question) -> list[dict[str, Any]]:
        one = self._interactions.get(question.key) if self.mode in ("none", "new") else None
        return one.answers.get(recorder.take(), []) if one is not None else []

    def _place(self, question: Question) -> int:
        return self._asked[question.key, recorder.take()]

    def refuse(self, text: str) -> CassetteMiss:
        """Return the miss to raise for a connection that must not be made; it counts like any other."""
        with self._lock:
            return self._missed(text)

    def _missed(self, text: str) -> CassetteMiss:
        self.counts.missed += 1
        self.misses.append(text)
        return CassetteMiss(text)

    def _why(self, question: Question, recorded: int) -> str:
        where = {"place": shown(self.path), "command": self.command}
        if recorded:
            return miss.exhausted(question, self._place(question) + 1, recorded, **where)
        same = self._interactions.get(question.key)
        if same is not None:
            return miss.other_take(question, recorder.take(), same.answers, **where)
        return miss.describe(question, self._candidates(), **where)

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
            CassetteError: It could not be put on disk; `close` raises it again.
        """
        if self.mode in ("none", "live"):
            return
        if answer.status in NOT_RECORDED or answer.status >= 500:  # noqa: PLR2004 -- server errors
            self.notes.append(f"an answer with status {answer.status} was not recorded")
            return
        with self._lock:
            entry = self._entry(question, answer)
            try:
                self._journal.append(entry)
            except CassetteError as error:
                self._failed = error
                raise
            self._asked[question.key, entry.take] += 1
            self.counts.recorded += 1
            if self.mode == "new":
                store.apply(self._interactions, [entry], replace=False)

    def _entry(self, question: Question, answer: Answer) -> Entry:
        place = self.counts.replayed + self.counts.recorded + 1
        return Entry(
            by=f"{self.owner if self.shared else ''}#{place:03d}",
            key=question.key,
            take=recorder.take(),
            n=self._place(question),
            request={"method": question.method, "url": question.url, "body": fold(question.body)},
            answer=self._wire(answer),
        )

    def _wire(self, answer: Answer) -> dict[str, Any]:
        headers = {
            name: mask_params(self.redactor.text(answer.headers[name]).encode("utf-8", "replace")).decode()
            for name in KEPT_HEADERS
            if name in answer.headers
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
        if passed and self.mode in ("none", "new") and not self.shared:
            self.counts.stale = sum(key not in self._seen for key in self._interactions)
        if self.mode in ("new", "all"):
            self._journal.close()
            if self._journal.paths or left_behind(self.path):
                # Who records again replaces; what a passed test did not ask is gone for good.
                again = self.mode == "all"
                keep = self._kept() if again and passed and not self.shared else None
                store.merge(self.path, self._journal.paths, self.redactor, replace=again, keep=keep)
                self._journal.paths.clear()
        if self._failed is not None:
            raise self._failed
        return self.counts

    def _kept(self) -> dict[tuple[str, str], int]:
        """How many answers of each question are this run's; of one whose answer failed, all that there are."""
        unanswered = self._seen - {key for key, _ in self._asked}
        return {**self._asked, **{(key, ""): 0 for key in unanswered}}


def _answer(wire: Mapping[str, Any]) -> Answer:
    body = wire["body"]
    listed = events(body)
    pieces = tuple(listed) if listed is not None else ()
    return Answer(
        wire["status"],
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
    except (ValueError, OSError):
        return str(path)


_tapes: list[Tape] = []
on_change: list[Callable[..., object]] = []
"""Called with ``used=True`` when a tape comes into use, and with ``used=False`` when none is any more."""


def current() -> Tape | None:
    """Return the tape in use, or None."""
    return _tapes[-1] if _tapes else None


def insert(tape: Tape) -> None:
    """Use this tape from now on, in all threads and tasks."""
    _tapes.append(tape)
    if len(_tapes) == 1:
        _tell(used=True)


def eject(tape: Tape) -> None:
    """Stop using this tape; the one before is in use again."""
    if tape in _tapes:
        _tapes.remove(tape)
        if not _tapes:
            _tell(used=False)


def _tell(*, used: bool) -> None:
    for listener in on_change:
        listener(used=used)
