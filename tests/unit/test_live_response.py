from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from support.tapes import ask

from pytest_llmops.cassettes.http import live_response
from pytest_llmops.cassettes.http.live_response import LiveAnswer, hold_failed_write
from pytest_llmops.cassettes.request_key import answer_from_wire
from pytest_llmops.cassettes.store import load_cassette
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError, CassetteMiss


@pytest.mark.parametrize(
    ("kind", "streamed"),
    [
        ("text/event-stream; charset=utf-8", True),
        ("application/x-ndjson", True),
        ("application/stream+json", True),
        ("application/vnd.amazon.eventstream", True),
        ("application/json", False),
        ("", False),
    ],
)
def test_only_a_stream_has_a_time_of_its_first_piece(tmp_path: Path, kind: str, streamed: bool) -> None:
    tape = Tape(tmp_path / "a.json", "live")
    live = LiveAnswer(tape, ask(tape, "hi"), time.perf_counter())
    live.add_chunk(b"one")
    live.add_chunk(b"two")
    live.finish(200, {"content-type": kind}, live.raw_body())
    tape.close()
    assert (live.timing["ttft_s"] is not None) == streamed
    assert live.timing["latency_s"] is not None


@pytest.mark.parametrize(("kind", "gap"), [("text/event-stream", 2.5), ("application/json", None)])
def test_the_longest_pause_of_a_stream_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, gap: float | None
) -> None:
    tape = Tape(tmp_path / "a.json", "new")
    question = ask(tape, "hi")
    live = LiveAnswer(tape, question, 8.0)
    for second in (9.0, 9.5, 12.0, 12.25):  # the wait for the first chunk is none
        monkeypatch.setattr(time, "perf_counter", lambda now=second: now)
        live.add_chunk(b"data: x\n\n")
    live.finish(200, {"content-type": kind}, live.raw_body())
    monkeypatch.undo()
    tape.close()
    (recorded,) = load_cassette(tape.path)[question.key].answers["0"]
    assert answer_from_wire(recorded).gap_s == gap
    assert recorded.get("gap_s") == gap


@pytest.fixture
def full_tape(tmp_path: Path) -> Tape:
    """A tape of which an answer could not be written."""
    tape = Tape(tmp_path / "a.json", "new")
    tape.recorder.failed = CassetteError("the disk is full")
    return tape


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits for other answers, by a clock of their own: four of them are the limit of time."""
    waits: list[float] = []
    sleep = anyio.sleep
    clock = SimpleNamespace(monotonic=lambda: sum(waits), perf_counter=time.perf_counter)

    async def note_wait(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(anyio, "sleep", note_wait)
    monkeypatch.setattr(live_response, "time", clock)
    monkeypatch.setattr(live_response, "OPEN_ANSWERS_LIMIT_S", 1.0)
    monkeypatch.setattr(live_response, "OPEN_ANSWERS_POLL_S", 0.25)
    return waits


async def miss(tape: Tape) -> None:
    with pytest.raises(CassetteMiss, match="the disk is full"):
        async with hold_failed_write(tape):
            raise CassetteMiss("the disk is full")


async def begin(tape: Tape) -> LiveAnswer:
    return LiveAnswer(tape, ask(tape, "hi"), time.perf_counter())


async def begin_own(tape: Tape) -> None:
    await begin(tape)


async def receive_other(tape: Tape) -> None:
    answer = await asyncio.create_task(begin(tape))
    answer.add_chunk(b"one")


async def begin_in_ended_thread(tape: Tape) -> None:
    thread = threading.Thread(target=LiveAnswer, args=(tape, ask(tape, "hi"), time.perf_counter()))
    thread.start()
    thread.join()


async def finish_other(tape: Tape) -> None:
    answer = await asyncio.create_task(begin(tape))
    answer.finish(200, {}, b"")


@pytest.mark.parametrize("prepare", [begin_own, receive_other, begin_in_ended_thread, finish_other])
def test_a_miss_does_not_wait_for_answers_that_cannot_come(
    full_tape: Tape, waits: list[float], prepare: Callable[[Tape], Awaitable[None]]
) -> None:
    async def run() -> None:
        await prepare(full_tape)
        await miss(full_tape)

    asyncio.run(run())
    assert waits == []


def test_the_misses_of_a_tape_wait_once_for_an_answer_that_does_not_come(
    full_tape: Tape, waits: list[float]
) -> None:
    async def run() -> list[int]:
        left = await asyncio.create_task(begin(full_tape))
        assert left.open
        counts = []
        for _ in range(3):
            await miss(full_tape)
            counts.append(len(waits))
        return counts

    assert asyncio.run(run()) == [4, 4, 4]


def test_a_waiting_task_that_is_cancelled_ends_in_the_miss(
    full_tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        waiting = asyncio.Event()
        sleep = anyio.sleep

        async def note_wait(seconds: float) -> None:
            waiting.set()
            await sleep(seconds)

        monkeypatch.setattr(anyio, "sleep", note_wait)
        await asyncio.create_task(begin(full_tape))
        task = asyncio.create_task(miss(full_tape))
        await waiting.wait()
        task.cancel()
        await task

    asyncio.run(run())
