"""What replaying a recorded chat call costs, against the same call through an in-process transport."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai

from benchmarks.figures import line
from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape, store, tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings
from pytest_llmops.wire.body import fold_body

CALLS = 200
ROUNDS = 15
URL = "http://127.0.0.1:8080/v1"
PROMPT = " ".join(f"word{n}" for n in range(290))  # some 2 KB
REPLY = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "answer " * 140}}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 140, "total_tokens": 440},
}  # fmt: skip
BODY = json.dumps(
    {"messages": [{"role": "user", "content": PROMPT}], "model": "m"}, separators=(",", ":")
).encode()
ANSWER = json.dumps(REPLY).encode()
HEADERS = {"content-type": "application/json"}


def mock(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers=HEADERS, content=ANSWER)


def cassette(path: Path, size: int) -> None:
    """A cassette in which the benchmark's question is one of ``size``."""
    question = build_question("POST", f"{URL}/chat/completions", HEADERS, BODY, Redactor())
    answer = {"status": 200, "headers": HEADERS, "latency_s": 0.5, "body": fold_body(ANSWER)}
    interactions = [
        store.Interaction(
            "#000",
            question.key,
            {"method": "POST", "url": question.url, "body": fold_body(BODY)},
            {"0": [answer] * (CALLS * (ROUNDS + 1) * 2)},
        )
    ]
    interactions += [
        store.Interaction(
            f"#{n:05d}",
            f"{n:020d}",
            {"method": "POST", "url": question.url, "body": fold_body(BODY)},
            {"0": [answer]},
        )
        for n in range(1, size)
    ]
    path.write_text(store.format_cassette(interactions, "2026-01-01"))


def us_a_call(call: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - started) / CALLS * 1e6


def compare(floor: Callable[[], object], replayed: Callable[[], object]) -> tuple[float, float]:
    """Least of both, taken in turns: the floor without a tape, the replay with one."""
    pairs = [(us_a_call(floor), us_a_call(replayed)) for _ in range(ROUNDS + 1)][1:]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def lines() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bench.json"
        cassette(path, 100)
        interception.install_patches()
        recorder.push_recorder(rec := recorder.Recorder(settings=Settings()))
        active_tape.push_tape(open_tape := tape.Tape(path))
        try:
            yield from measured()
        finally:
            active_tape.remove_tape(open_tape)
            recorder.pop_recorder(rec)
            interception.remove_patches()


def measured() -> Iterator[str]:
    raw_mock, raw_real = httpx2.Client(transport=httpx2.MockTransport(mock)), httpx2.Client()
    post = f"{URL}/chat/completions"
    floor, ours = compare(
        lambda: raw_mock.post(post, content=BODY, headers=HEADERS).json(),
        lambda: raw_real.post(post, content=BODY, headers=HEADERS).json(),
    )
    yield line(
        "replay",
        f"httpx2 alone: MockTransport {floor:.0f} us, replay {ours:.0f} us, ratio",
        ours / floor,
        1.9,
    )
    sdk_mock = openai.OpenAI(
        api_key="x", base_url=URL, http_client=httpx2.Client(transport=httpx2.MockTransport(mock))
    )
    sdk_real = openai.OpenAI(api_key="x", base_url=URL)
    messages = [{"role": "user", "content": PROMPT}]
    floor, ours = compare(
        lambda: sdk_mock.chat.completions.create(model="m", messages=messages),  # type: ignore[arg-type]
        lambda: sdk_real.chat.completions.create(model="m", messages=messages),  # type: ignore[arg-type]
    )
    yield line(
        "replay", f"openai SDK: MockTransport {floor:.0f} us, replay {ours:.0f} us, ratio", ours / floor, 1.9
    )
