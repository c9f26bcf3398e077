"""The pace of judges: so many calls at once over processes and threads, and a pause for all after a 429."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest
from support.server import WAIT_S, StubServer, error_reply
from support.tapes import taped

from pytest_llmops import recorder
from pytest_llmops.cassettes import rate_limit
from pytest_llmops.cassettes.rate_limit import LONGEST_PAUSE_S, CallSlot, RateLimiter


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pace(folder: Path, clock: Clock, limit: int = 2) -> RateLimiter:
    return RateLimiter(limit, lambda: folder, clock.now, clock.sleep)


def test_so_many_places_and_no_more_and_one_that_is_given_back_is_free(tmp_path: Path, clock: Clock) -> None:
    first, other = pace(tmp_path, clock), pace(tmp_path, clock)
    held = [first.try_enter(), other.try_enter()]
    assert all(isinstance(slot, CallSlot) for slot in held)
    assert first.try_enter() == other.try_enter() == rate_limit.POLL_INTERVAL_S
    assert isinstance(held[1], CallSlot)
    held[1].release(200, {})
    held[1].release(200, {})  # the second time is nothing
    again = first.try_enter()
    assert isinstance(again, CallSlot)
    assert first.try_enter() == rate_limit.POLL_INTERVAL_S


@pytest.mark.slow
def test_another_process_holds_places_and_gives_them_back_when_it_dies(tmp_path: Path, clock: Clock) -> None:
    code = (
        "import sys, pathlib; from pytest_llmops.cassettes.rate_limit import RateLimiter\n"
        "held = [RateLimiter(2, lambda: pathlib.Path(sys.argv[1])).enter() for _ in range(2)]\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"held"
        assert pace(tmp_path, clock).try_enter() == rate_limit.POLL_INTERVAL_S
        other.kill()
    assert isinstance(pace(tmp_path, clock).try_enter(), CallSlot)


def test_a_place_may_be_given_back_by_another_thread(tmp_path: Path, clock: Clock) -> None:
    entry = pace(tmp_path, clock, limit=1)
    slot = entry.enter()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(slot.release, 200, {}).result()
    assert isinstance(entry.try_enter(), CallSlot)


def test_who_waits_too_long_asks_without_a_place(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "MAX_WAIT_S", 3.0)
    entry = pace(tmp_path, clock, limit=1)
    held = entry.enter()
    entry.enter().release(200, {})
    assert sum(clock.waits) == pytest.approx(3.0, rel=0.05)
    held.release(200, {})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": format_datetime(datetime.fromtimestamp(1_012, UTC), usegmt=True)}, 12.0),
        ({"retry-after": "86400"}, LONGEST_PAUSE_S),
        ({}, 1.0),
        *[
            ({"retry-after": bad}, 1.0)
            for bad in ("soon", "-3", "nan", "inf", "", f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT")
        ],
    ],
)
def test_all_wait_as_long_as_the_server_says(
    tmp_path: Path, clock: Clock, headers: dict[str, str], seconds: float
) -> None:
    pace(tmp_path, clock).enter().release(429, headers)
    pace(tmp_path, clock).enter().release(200, {})
    assert sum(clock.waits) == pytest.approx(seconds)


def test_the_pause_doubles_in_a_row_and_a_good_answer_ends_the_row(tmp_path: Path, clock: Clock) -> None:
    entry = pace(tmp_path, clock)
    waited = []
    for _ in range(10):
        clock.waits.clear()
        entry.enter().release(429, {})
        waited.append(sum(clock.waits))
    assert waited == [0, 1, 2, 4, 8, 16, 32, 64, 120, 120]
    entry.enter().release(200, {})
    entry.enter().release(429, {})
    clock.waits.clear()
    entry.enter()
    assert sum(clock.waits) == pytest.approx(1.0)


def test_several_refusals_at_once_are_one(tmp_path: Path, clock: Clock) -> None:
    entry = pace(tmp_path, clock, limit=3)
    slots = [entry.enter() for _ in range(3)]
    slots[0].release(429, {})
    slots[1].release(429, {"retry-after": "5"})
    slots[2].release(429, {"retry-after": "3"})
    entry.enter()
    assert sum(clock.waits) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [(529, {}, 1.0), (503, {"retry-after": "2"}, 2.0), (503, {}, 0.0), (500, {}, 0.0), (0, {}, 0.0)],
)
def test_which_answers_make_all_wait(
    tmp_path: Path, clock: Clock, status: int, headers: dict[str, str], waits: float
) -> None:
    pace(tmp_path, clock).enter().release(status, headers)
    pace(tmp_path, clock).enter()
    assert sum(clock.waits) == pytest.approx(waits)


@pytest.mark.parametrize("text", ["", "x", "1e999 3", "nan 1", "5", "\ud7ff", "1 2 3"])
def test_a_damaged_pause_is_none(tmp_path: Path, clock: Clock, text: str) -> None:
    pace(tmp_path, clock).slow_down("", None)
    (file,) = tmp_path.glob("pause-*")
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert isinstance(pace(tmp_path, clock).try_enter(), CallSlot)


@pytest.mark.slow
def test_in_an_event_loop_the_others_go_on(tmp_path: Path, clock: Clock) -> None:
    entry, at_work, most = pace(tmp_path, clock, limit=2), 0, 0

    async def use() -> None:
        nonlocal at_work, most
        slot = await entry.enter_async()
        at_work += 1
        most = max(most, at_work)
        for _ in range(5):
            await asyncio.sleep(0)
        at_work -= 1
        slot.release(200, {})

    async def all_of_them() -> None:
        await asyncio.gather(*(use() for _ in range(5)))

    asyncio.run(all_of_them())
    assert most == 2
    assert clock.waits == []  # nothing blocks the loop


def test_in_an_event_loop_a_call_that_would_block_it_goes_without_a_place(
    tmp_path: Path, clock: Clock
) -> None:
    entry = pace(tmp_path, clock, limit=1)

    async def both() -> None:
        held = await entry.enter_async()
        entry.enter().release(200, {})
        held.release(200, {})

    asyncio.run(both())
    assert clock.waits == []


def test_each_host_has_pauses_of_its_own_and_only_an_answer_ends_a_row(tmp_path: Path, clock: Clock) -> None:
    entry = pace(tmp_path, clock)
    for _ in range(3):
        entry.enter("busy").release(429, {})
        entry.enter("free").release(200, {})
        entry.enter("busy").release(500, {})
    assert sum(clock.waits) == pytest.approx(1 + 2 + 4)
    clock.waits.clear()
    entry.enter("free").release(200, {})
    assert clock.waits == []


def test_nobody_waits_for_who_was_given_up_until_it_answers(tmp_path: Path, clock: Clock) -> None:
    first, other = pace(tmp_path, clock), pace(tmp_path, clock)
    first.enter("busy").release(429, {"retry-after": "60"})
    assert [first.gave_up] == [False]
    first.give_up()
    other.enter("busy").release(429, {"retry-after": "60"})
    other.enter("busy").release(429, {})
    assert [other.gave_up, clock.waits] == [True, []]
    other.enter("busy").release(200, {})
    assert [other.gave_up] == [False]
    other.enter("busy").release(429, {})
    first.enter("busy")
    assert sum(clock.waits) == pytest.approx(1.0)


def test_a_pause_is_no_wait_for_a_place_and_a_clock_that_is_set_back_is_none(
    tmp_path: Path, clock: Clock
) -> None:
    entry = pace(tmp_path, clock, limit=1)
    held = entry.enter()
    entry.slow_down("", 100)
    clock.time -= 3_600
    assert entry.try_enter() == rate_limit.POLL_INTERVAL_S
    held.release(200, {})
    for _ in range(10):
        entry.enter().release(429, {"retry-after": "120"})
    held = entry.enter()
    assert entry.try_enter() == rate_limit.POLL_INTERVAL_S  # after 20 minutes of pauses the limit still holds
    held.release(200, {})


def test_without_a_folder_a_call_goes_out_all_the_same(tmp_path: Path, clock: Clock) -> None:
    slot = pace(tmp_path / "none" / "such", clock).enter()
    slot.release(429, {})


def test_calls_of_judges_keep_the_pace_and_others_do_not(tmp_path: Path, clock: Clock) -> None:
    entry = pace(tmp_path, clock, limit=1)
    with (
        StubServer() as server,
        taped(tmp_path / "c.json", "new", pace=entry) as tape,
        httpx2.Client() as client,
    ):
        server.queue += [error_reply(429, retry_after="9"), error_reply(429, retry_after="4")]
        assert client.post(f"{server.url}/v1/x", json={"n": 0}).status_code == 429
        client.post(f"{server.url}/v1/x", json={"n": 1})
        assert clock.waits == []  # the application's own business
        server.queue.clear()
        server.queue.append(error_reply(429, retry_after="9"))
        with recorder.set_purpose("judge"):
            client.post(f"{server.url}/v1/x", json={"n": 2})
            client.post(f"{server.url}/v1/x", json={"n": 3})
        assert sum(clock.waits) == pytest.approx(9.0)
        assert isinstance(entry.try_enter(), CallSlot)  # nobody is left at work
    assert tape.report.counts.recorded == 1


@pytest.mark.slow
@pytest.mark.parametrize("client", ["httpx2", "asynchronous", "http.client"])
def test_no_more_calls_at_once_than_allowed_whatever_the_client(tmp_path: Path, client: str) -> None:
    """Whoever holds the only place holds all others back, and they go on when it is given back."""
    looking, all_look = set(), threading.Event()

    class Watched(RateLimiter):
        def try_enter(self, host: str = "", waited: float = 0.0) -> CallSlot | float:
            looking.add(threading.get_ident())
            if len(looking) == 4:  # the three, and who holds the place
                all_look.set()
            return super().try_enter(host, waited)

    watched = Watched(1, lambda: tmp_path)
    held = watched.enter()
    with (
        StubServer() as server,
        taped(tmp_path / "c.json", "new", pace=watched),
        recorder.set_purpose("judge"),
    ):
        host = server.url.removeprefix("http://")

        def call(number: int) -> int:
            if client == "http.client":
                connection = http.client.HTTPConnection(host, timeout=20)
                connection.request("POST", "/v1/x", body=json.dumps(number))
                status = connection.getresponse()
                status.read()
                connection.close()
                return status.status
            if client == "httpx2":
                return httpx2.post(f"{server.url}/v1/x", json=number).status_code

            async def ask() -> int:
                async with httpx2.AsyncClient() as asking:
                    return (await asking.post(f"{server.url}/v1/x", json=number)).status_code

            return asyncio.run(ask())

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(copy_context().run, call, number) for number in range(3)]
            assert all_look.wait(WAIT_S)
            assert server.count == 0
            held.release(200, {})
            assert [done.result(WAIT_S) for done in running] == [200] * 3
        assert server.count == 3


def test_a_call_that_breaks_off_gives_its_place_back(tmp_path: Path, clock: Clock) -> None:
    entry = pace(tmp_path, clock, limit=1)
    with (
        taped(tmp_path / "c.json", "new", pace=entry),
        httpx2.Client() as client,
        recorder.set_purpose("judge"),
    ):
        with StubServer() as server:
            url = server.url
        with pytest.raises(httpx2.ConnectError):
            client.post(f"{url}/v1/x", json={})
        assert isinstance(entry.try_enter(), CallSlot)
