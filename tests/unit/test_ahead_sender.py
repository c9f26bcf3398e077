"""The sender of the collected requests: what it sends again, when it gives up, and what it keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.silent import URL, answer_of
from support.tapes import make_tape

from pytest_llmops.cassettes import Answer
from pytest_llmops.cassettes.request_key import Question, build_question
from pytest_llmops.errors import BudgetReached, CassetteError
from pytest_llmops.harness.ahead import sender
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.sender import STOPPED, LiveSender, why_not_sent
from pytest_llmops.harness.ahead.tapes import PendingRequest
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.untrusted_documents import DocumentError

GOOD = Answer(200, {}, b"{}")
BUSY = Answer(429, {}, b"")
BROKEN = Answer(500, {}, b"")
BODY = b'{"ask": "x"}'


class Tape:
    """The tape of a test; it keeps answers that are no refusals of the moment.

    Attributes:
        steps: What the sender has done, in order.
        refusal: The error of a call that the budget does not allow.
    """

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.refusal: BaseException | None = None
        self.costs = SimpleNamespace(settle=self._settle)

    def _settle(self, _question: object, exchange: object) -> None:
        self.steps.append("settled" if exchange else "not paid")

    def prepare_call(self, _question: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.steps.append("prepared")

    def keep_ahead(self, _pending: object, answer: Answer) -> bool:
        self.steps.append(answer.status)
        return answer.status < 400


class Pace:
    """Limits no rate, and notes the servers, and how the calls ended."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.released: list[tuple[int, Any]] = []

    def enter(self, address: str) -> Any:
        self.entered.append(address)
        return self

    def release(self, *answer: Any) -> None:
        self.released.append(answer)


class Sending:
    """A sender whose server answers with given answers, or raises given errors.

    Attributes:
        ends: How its requests have ended.
        pauses: Seconds that it has waited before each try.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Answer | BaseException) -> None:
        self.left = list(answers)
        self.ends: list[str] = []
        self.pauses: list[float] = []
        self.tape = Tape()
        self.sender = LiveSender(1, lambda _, why: self.ends.append(why))
        self.pace = Pace()
        any_pace: Any = self.pace
        self.sender._pace = any_pace
        monkeypatch.setattr(self.sender._stopping, "wait", self.pauses.append)
        monkeypatch.setattr(sender, "send_request", self.answer)

    def answer(self, *_: object) -> Answer:
        answer = self.left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def run(self) -> None:
        """Send a request in this thread."""
        question = build_question("POST", URL, {}, BODY, Redactor())
        tape: Any = self.tape
        self.sender._run(PendingRequest(Place("a", "key", "0", 0), question, tape, "app", "httpx2"))


@pytest.mark.parametrize(
    ("answers", "why", "pauses"),
    [
        ([GOOD], "", [0.0]),
        ([BUSY, GOOD], "", [0.0, 0.5]),
        ([BUSY, BROKEN, GOOD], "", [0.0, 0.5, 1.0]),
        ([BUSY, BUSY, BROKEN], "status 500", [0.0, 0.5, 1.0]),
        ([Answer(401, {}, b"")], "status 401", [0.0]),
        ([BROKEN, Answer(401, {}, b"")], "status 401", [0.0, 0.5]),
        ([Answer(503, {"x-should-retry": "false"}, b"")], "status 503", [0.0]),
    ],
)
def test_a_server_that_refuses_for_the_moment_is_asked_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, answers: Sequence[Answer], why: str, pauses: list[float]
) -> None:
    sending = Sending(monkeypatch, *answers)
    sending.run()
    assert (sending.ends, sending.left) == ([why], [])
    assert sending.pauses == pauses
    assert sending.tape.steps == [
        step for answer in answers for step in ("prepared", "settled", answer.status)
    ]


def test_a_call_that_fails_is_not_paid_and_the_test_meets_the_error_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sending = Sending(monkeypatch, TimeoutError("read"))
    sending.run()
    assert sending.ends == ["TimeoutError"]
    assert sending.tape.steps == ["prepared", "not paid"]


@pytest.mark.parametrize("error", [BudgetReached("8 of 8 live calls"), CassetteError("no space left")])
def test_a_call_that_is_not_allowed_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    sending = Sending(monkeypatch, GOOD)
    sending.tape.refusal = error
    sending.run()
    assert (sending.ends, sending.left, sending.tape.steps) == ([str(error)], [GOOD], [])


def test_every_try_waits_for_the_rate_of_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    sending = Sending(monkeypatch, BUSY, OSError("no route"))
    sending.run()
    assert sending.pace.entered == ["model.example:", "model.example:"]
    assert sending.pace.released == [(429, {}), (0, {})]


@pytest.mark.parametrize("how", ["sender", "disk"])
def test_a_run_that_is_stopped_makes_no_further_call(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    sending = Sending(monkeypatch, BUSY, GOOD)
    stop = threading.Event()

    def answer(*_: object) -> Answer:
        stop.set()
        return sending.answer()

    monkeypatch.setattr(sender, "send_request", answer)
    if how == "disk":
        monkeypatch.setattr(sender, "are_live_calls_stopped", stop.is_set)
    else:
        monkeypatch.setattr(sending.sender._stopping, "wait", lambda _: stop.is_set())
    sending.run()
    assert (sending.ends, sending.left) == ([STOPPED], [GOOD])


def test_a_stopped_sender_waits_for_calls_under_way_and_starts_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    ends: list[str] = []
    one = LiveSender(1, lambda _, why: ends.append(why))

    def answer(*_: object) -> Answer:
        begun.set()
        may_end.wait(20)
        return GOOD

    monkeypatch.setattr(sender, "send_request", answer)
    tape: Any = Tape()
    question = Question("POST", URL, BODY, "application/json", "key", {"ask": "x"})
    requests = [PendingRequest(Place("a", str(n), "0", 0), question, tape, "app", "httpx2") for n in range(3)]
    one.submit(requests)
    begun.wait(20)
    stopping = threading.Thread(target=one.stop)
    stopping.start()
    one._stopping.wait(20)
    may_end.set()
    stopping.join()
    assert ends == [""]
    assert (one.flush(), one.queue, one.confirms) == (False, {}, False)


def test_requests_of_other_clients_are_sent_on_their_connections(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The answer is kept by the tape of the test."""
    ends: list[str] = []
    sent: list[Any] = []

    def send(*arguments: object) -> Answer:
        sent.append(arguments)
        return answer_of(BODY)

    monkeypatch.setattr(sender, "send_on_connection", send)
    one = LiveSender(1, lambda _, why: ends.append(why))
    tape: Any = Tape()
    question = make_tape(tmp_path / "a.json").make_question("POST", URL, {}, BODY)
    pending = PendingRequest(Place("a", "k", "0", 0), question, tape, "app", None, "connection", "open")
    one._run(pending)
    assert (ends, sent) == ([""], [("connection", "open")])


def test_a_pool_with_a_backend_of_its_own_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    class HTTPTransport:
        _pool = SimpleNamespace(_network_backend=None)

    module = SimpleNamespace(HTTPTransport=HTTPTransport, AsyncHTTPTransport=int)
    transport: Any = HTTPTransport()
    assert "NoneType" in why_not_sent(module, transport)
    for backend in ("AutoBackend", "SyncBackend"):
        monkeypatch.setattr(HTTPTransport._pool, "_network_backend", type(backend, (), {})())
        assert why_not_sent(module, transport) == ""
    assert "Own" in why_not_sent(None, type("Own", (), {})())


@pytest.mark.parametrize(
    ("times", "ttft_s", "gap_s"), [([], None, None), ([10.5], 0.5, 0.0), ([10.5, 10.75, 11.75], 0.5, 1.0)]
)
def test_a_stream_keeps_its_first_byte_and_its_longest_gap(
    monkeypatch: pytest.MonkeyPatch, times: list[float], ttft_s: float | None, gap_s: float | None
) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 12.0)
    headers = {"content-type": "text/event-stream", "content-length": "9", "x-own": "1"}
    answer = sender._make_answer(200, headers, 10.0, times, [b"a", b"b"])
    assert (answer.latency_s, answer.ttft_s, answer.gap_s) == (2.0, ttft_s, gap_s)
    assert answer.headers == {"content-type": "text/event-stream", "x-own": "1"}
    assert answer.body == b"ab"
    plain = sender._make_answer(200, {"content-type": "application/json"}, 10.0, [11.0], [b"{}"])
    assert (plain.latency_s, plain.ttft_s, plain.gap_s) == (2.0, None, None)


def test_a_body_that_cannot_be_decoded_keeps_its_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, certain: bool) -> bytes:
        assert certain
        raise DocumentError("too large")

    monkeypatch.setattr(sender, "decode_body", refuse)
    answer = sender._make_answer(200, {"content-encoding": "gzip"}, 0.0, [], [b"packed"])
    assert (answer.body, answer.headers) == (b"packed", {"content-encoding": "gzip"})
