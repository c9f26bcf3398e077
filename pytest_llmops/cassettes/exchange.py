"""What every interceptor does with an answer: time it, keep it, tell the trace."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pytest_llmops import recorder
from pytest_llmops.cassettes.question import Question
from pytest_llmops.cassettes.tape import Answer, Tape
from pytest_llmops.errors import CassetteError, CassetteMiss

DIGITS = 4
"""Of a second: a live run tells the very figure that its replay will tell."""


def replayed(question: Question, answer: Answer) -> None:
    """Tell the trace that a recording answered."""
    _told(question, answer, recorder.whose(), replay=True)


def _told(question: Question, answer: Answer, purpose: str, *, replay: bool) -> None:
    recorder.exchanged(
        recorder.Exchange(
            method=question.method,
            url=question.url,
            request=question.json,
            status=answer.status or None,
            content_type=answer.headers.get("content-type", ""),
            body=answer.body,
            latency_s=answer.latency_s,
            ttft_s=answer.ttft_s,
            replayed=replay,
            purpose=purpose,
        )
    )


class Live:
    """An answer that is still coming: its chunks, and when they came."""

    def __init__(self, tape: Tape, question: Question, started: float) -> None:
        self._tape = tape
        self._question = question
        self._started = started
        # A stream may be closed by somebody else than who asked.
        self._take = int(recorder.take())
        self._purpose = recorder.whose()
        self._chunks: list[bytes] = []
        self._first: float | None = None
        self.open = True
        self.timing: dict[str, object] = {"latency_s": None, "ttft_s": None, "replayed": False}

    @property
    def wanted(self) -> bool:
        """Whether the rest is read although the application left: it is paid, and is kept."""
        return self.open and self._tape.mode != "live"

    def add(self, chunk: bytes) -> None:
        """Take in a chunk before the application gets it."""
        if self._first is None:
            self._first = time.perf_counter()
        self._chunks.append(chunk)

    def raw(self) -> bytes:
        """Return the body as it came over the wire."""
        return b"".join(self._chunks)

    def finish(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the whole answer; the second call does nothing.

        Raises:
            CassetteMiss: It could not be put on disk. An error would make the SDK ask, and pay, again.
        """
        if not self.open:
            return
        answer = self._tell(status, headers, body)
        try:
            with recorder.trial(self._take):
                self._tape.record(self._question, answer)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None

    def left(self, status: int, headers: Mapping[str, str]) -> None:
        """The application left early, and nobody reads the rest."""
        if self.open:
            self._tell(status, headers, self.raw())

    def broken(self, error: BaseException) -> None:
        """Give up on an answer that ended in an error: half an answer is never recorded."""
        if self.open:
            self._tape.not_recorded(f"1 call was not recorded: its answer broke off ({type(error).__name__})")
            self._tell(0, {}, self.raw())

    def _tell(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        self.open = False
        took = round(time.perf_counter() - self._started, DIGITS)
        streamed = "text/event-stream" in headers.get("content-type", "").lower()
        first = round(self._first - self._started, DIGITS) if streamed and self._first is not None else None
        self.timing.update(latency_s=took, ttft_s=first)
        answer = Answer(status, headers, body, took, first)
        _told(self._question, answer, self._purpose, replay=False)
        return answer
