from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.tapes import ask

from pytest_llmops.cassettes.http.live_response import LiveAnswer
from pytest_llmops.cassettes.request_key import answer_from_wire
from pytest_llmops.cassettes.store import load_cassette
from pytest_llmops.cassettes.tape import Tape


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
