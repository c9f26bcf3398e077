"""What our recordings cost, each beside a floor: parsing the same JSON, a transport that answers by itself."""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.figures import cpu_s, in_turns, line, ms, wall_s
from benchmarks.material import ANSWER, HEADERS, PROMPT, URL, answer, body, write_ours
from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape, store
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings

CALLS = 200
TURN = 10
"""Calls in a row of one kind: the shorter, the less a busy machine tells them apart."""
ROUNDS = 15
CHANGED = " quintessentially"


@contextmanager
def inserted(tape: Tape) -> Iterator[recorder.Recorder]:
    """Have a tape in use, as the plugin has for a test."""
    rec = recorder.Recorder(settings=Settings())
    recorder.push_recorder(rec)
    active_tape.push_tape(tape)
    try:
        yield rec
    finally:
        active_tape.remove_tape(tape)
        recorder.pop_recorder(rec)


def load(path: Path, size: int) -> Iterator[str]:
    (floor, ours), (_, ratio) = in_turns(
        lambda: json.loads(path.read_bytes()),
        lambda: store.load_cassette(path),
        rounds=9 if size > 1000 else 15,
    )
    megabytes = path.stat().st_size / 1e6
    yield line(
        "load",
        f"{size:,} interactions, {megabytes:.1f} MB: json.loads {ms(floor)}, ours {ms(ours)}, ratio",
        ratio,
        2.5,
    )


def memory(path: Path, size: int) -> Iterator[str]:
    parsed = _kept(lambda: json.loads(path.read_bytes()))
    for what, made in (("loaded", lambda: store.load_cassette(path)), ("a tape in use", lambda: Tape(path))):
        ours = _kept(made)
        text = f"{size:,} interactions, {what}: parsed JSON {parsed / 1e6:.1f} MB, ours {ours / 1e6:.1f} MB, ratio"
        yield line("memory", text, ours / parsed, 2.5)


def _kept(make: Any) -> int:
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del made
    return kept


class Replay:
    """Calls at random positions of a cassette, and the same through a transport that answers by itself."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.calls = min(size, TURN)
        self.mock = httpx2.Client(transport=httpx2.MockTransport(_mock))
        self.real = httpx2.Client()
        self._left: list[int] = []
        self._random = random.Random(size)
        self._tape = Tape(path)

    def positions(self) -> list[bytes]:
        """The next questions, none of them asked twice of one tape."""
        if len(self._left) < self.calls:
            self._left = self._random.sample(range(self.size), self.size)
            self._tape = Tape(self.path)
        return [body(self._left.pop()) for _ in range(self.calls)]

    def round(self) -> tuple[float, float]:
        """Seconds a call: of the floor, and replayed."""
        questions = self.positions()
        floor = cpu_s(lambda: _post_all(self.mock, questions))
        with inserted(self._tape) as rec:
            ours = cpu_s(lambda: _post_all(self.real, questions))
        assert len(rec.exchanges) == len(questions)
        return floor / self.calls, ours / self.calls


def _post_all(client: httpx2.Client, questions: list[bytes]) -> None:
    for question in questions:
        client.post(URL, content=question, headers=HEADERS).json()


_ANSWER = answer(0)


def _mock(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers=HEADERS, content=_ANSWER)


def replay(paths: dict[int, Path]) -> Iterator[str]:
    made = {size: Replay(path, size) for size, path in paths.items()}
    taken: dict[int, list[tuple[float, float]]] = {size: [] for size in made}
    for _ in range(ROUNDS + 1):
        for size, replayed in made.items():
            rounds = [replayed.round() for _ in range(CALLS // TURN)]
            taken[size].append((_mean(a for a, _ in rounds), _mean(b for _, b in rounds)))
    ours = {}
    for size, pairs in taken.items():
        counted = pairs[1:]
        floor, ours[size] = (statistics.median(pair[n] for pair in counted) for n in (0, 1))
        ratio = statistics.median(b / a for a, b in counted)
        text = f"random one of {size:,}: MockTransport {floor * 1e6:.0f} us, ours {ours[size] * 1e6:.0f} us, ratio"
        yield line("replay", text, ratio, 2.2)
    first, last = min(ours), max(ours)
    yield line("replay", f"of {last:,} over of {first:,}, ratio", ours[last] / ours[first], 1.25)


def _mean(values: Iterator[float]) -> float:
    return statistics.fmean(values)


def miss(path: Path, size: int) -> Iterator[str]:
    changed = body(size * 617 // 1000, CHANGED)
    messages: list[str] = []

    def missed(tape: Tape) -> None:
        try:
            tape.claim(tape.make_question("POST", URL, HEADERS, changed))
        except CassetteMiss as error:
            messages.append(str(error))

    # The first miss of a tape also looks for the question under rules that were changed since: a new one each time.
    tapes = [Tape(path) for _ in range(5 if size <= 1000 else 2)]
    took = statistics.median(cpu_s(lambda tape=tape: missed(tape)) for tape in tapes)
    verb = "shows" if CHANGED.strip() in messages[0] else "does NOT show"
    text = f"message of one of {size:,}, nearest request and difference ({verb} the word)"
    if size == 1000:
        yield line("miss", text, took * 1e3, 100, " ms")
    else:
        yield f"{'miss':<10}{text}: {ms(took)}"


def journal(folder: Path) -> Iterator[str]:
    """Each paid call is on disk before the application gets its answer."""
    calls = 100
    given = [Answer(200, HEADERS, answer(n), 0.5) for n in range(calls)]
    numbers = iter(range(1000))
    plain = b"".join((body(0), answer(0)))

    def bare() -> None:
        fd = os.open(folder / "plain.bin", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        for _ in range(calls):
            os.write(fd, plain)
            os.fsync(fd)
        os.close(fd)

    tape = Tape(folder / "journal.json", "new")

    def recorded() -> None:
        start = next(numbers) * calls
        for n, recorded_answer in enumerate(given):
            question = tape.make_question("POST", URL, HEADERS, body(start + n))
            tape.record(question, recorded_answer)

    (floor, ours), (_, ratio) = in_turns(bare, recorded, rounds=5, clock=wall_s)
    cpu = statistics.median(cpu_s(recorded) for _ in range(3))
    text = (
        f"a recorded call, wall: write and fsync of {(PROMPT + ANSWER) // 1024} KB {ms(floor / calls)},"
        f" ours {ms(ours / calls)} (CPU {ms(cpu / calls)}), ratio"
    )
    yield line("journal", text, ratio, 3)

    def redacted() -> None:
        redactor = Redactor.from_environment({"MY_TOKEN": "a-token-of-no-form"})
        start = next(numbers) * calls
        for n, recorded_answer in enumerate(given):
            redactor.learn_headers({**HEADERS, "authorization": "Bearer a-credential-of-1"})
            redactor.clean(body(start + n))
            redactor.clean_text(URL)
            redactor.learn_response_headers(recorded_answer.headers)
            redactor.clean(recorded_answer.body)

    (_, _), (_, share) = in_turns(recorded, redacted, rounds=9, clock=wall_s)
    yield line("redaction", "of a recorded call with its fsync, wall, ratio", share, 0.1)
    merging = wall_s(tape.close)
    yield f"{'journal':<10}merged at the end of the test, {tape.counts.recorded} calls: {ms(merging)} wall"


def lines(folder: Path) -> Iterator[str]:
    interception.install_patches()
    paths = {size: write_ours(folder / f"ours-{size}.json", size) for size in (10, 100, 1_000, 10_000)}
    for size in (1_000, 10_000):
        yield from load(paths[size], size)
    for size in (1_000, 10_000):
        yield from memory(paths[size], size)
    yield from replay(paths)
    for size in (1_000, 10_000):
        yield from miss(paths[size], size)
    yield from journal(folder)
