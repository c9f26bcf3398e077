"""The time to the first token while a stream is recorded, against the same stream without a recorder."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.figures import in_turns, line, ms
from benchmarks.loopback import PAUSE_S, WORDS, Server
from benchmarks.ours import inserted
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.tape import Tape

ROUNDS = 11
_numbers = itertools.count()


def first_token_s(client: httpx2.Client, url: str) -> float:
    """Seconds from the question to the first event in the application's hands; the stream is read to its end."""
    request = {
        "model": "m",
        "stream": True,
        "messages": [{"role": "user", "content": f"question {next(_numbers)}"}],
    }
    started = time.perf_counter()
    first = 0.0
    body = json.dumps(request).encode()
    with client.stream("POST", f"{url}/v1/chat/completions", content=body) as response:
        for text in response.iter_lines():
            if text and not first:
                first = time.perf_counter() - started
    return first


def _own(way: Callable[[], Any]) -> float:
    took: float = way()
    return took


def lines(folder: Path, *, peers: bool) -> Iterator[str]:
    interception.install_patches()
    with Server() as server, httpx2.Client() as client:
        first_token_s(client, server.url)

        # One tape for all rounds: the first call of a test also makes its journal.
        tape = Tape(folder / "stream.json", "new")

        def recorded() -> float:
            with inserted(tape):
                return first_token_s(client, server.url)

        def by_vcrpy() -> float:
            import vcr

            with vcr.use_cassette(str(folder / f"stream-{next(_numbers)}.yaml"), record_mode="all"):
                return first_token_s(client, server.url)

        ways: list[Any] = [lambda: first_token_s(client, server.url), recorded]
        if peers:
            ways.append(by_vcrpy)
        times, ratios = in_turns(*ways, rounds=ROUNDS, clock=_own)
        tape.close()
    text = f"first of {WORDS} tokens {PAUSE_S * 1e3:.0f} ms apart, wall: bare {ms(times[0])}, recording {ms(times[1])}, ratio"
    yield line("stream", text, ratios[1], 2)
    if peers:
        yield f"{'stream':<10}vcrpy recording: {ms(times[2])}, ratio {ratios[2]:.0f}"
