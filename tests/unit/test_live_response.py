from __future__ import annotations

from pathlib import Path

import pytest
from support.tapes import ask

from pytest_llmops.cassettes.http.live_response import LiveAnswer
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
    live = LiveAnswer(tape, ask(tape, "hi"), 0.0)
    live.add_chunk(b"one")
    live.add_chunk(b"two")
    live.finish(200, {"content-type": kind}, live.raw_body())
    tape.close()
    assert (live.timing["ttft_s"] is not None) == streamed
    assert live.timing["latency_s"] is not None
