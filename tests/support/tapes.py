"""A tape in use, as the plugin puts one in for a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.settings import Settings

URL = "http://localhost:1234/v1/x"


def make_tape(path: Path, mode: RecordMode = "none", *, shared: bool = False, **config: Any) -> Tape:
    """A tape with the given parts of a configuration."""
    return Tape(path, mode, TapeConfig(**config), shared=shared)


@contextmanager
def taped(path: Path, mode: RecordMode = "none", *, passed: bool = True, **how: Any) -> Iterator[Tape]:
    """Record to or replay from a file while the block runs, with a recorder of its own."""
    interception.install_patches()
    tape = make_tape(path, mode, **how)
    active_tape.push_tape(tape)
    # A model on this machine may take its time over a recording.
    listening = recorder.Recorder(settings=Settings(timeout=1800))
    recorder.push_recorder(listening)
    try:
        yield tape
    finally:
        recorder.pop_recorder(listening)
        active_tape.remove_tape(tape)
        tape.close(passed=passed)


def stored(path: Path) -> list[dict[str, Any]]:
    """The interactions of a cassette file."""
    listed: list[dict[str, Any]] = json.loads(path.read_bytes())["interactions"]
    return listed


def ask(one: Tape, text: str, **headers: str) -> Question:
    return one.make_question("POST", URL, {"content-type": "text/plain", **headers}, text.encode())


def says(text: str, status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"content-type": "text/plain", **headers}, text.encode(), 0.123456, 0.05)


def call(one: Tape, text: str, live: str) -> str:
    """What an interceptor does: the recording, or a live answer that is recorded."""
    question = ask(one, text)
    request = one.claim(question)
    if request is not None:
        return request.body.decode()
    one.record(question, says(live))
    return live


def recorded(path: Path, *calls: tuple[str, str], mode: RecordMode = "new", **how: Any) -> Tape:
    tape = make_tape(path, mode, **how)
    for text, live in calls:
        call(tape, text, live)
    tape.close()
    return tape


@contextmanager
def no_tape() -> Iterator[None]:
    """As between two tests: no tape is in use, and nothing is patched."""
    inserted, active_tape._test_tapes[:] = active_tape._test_tapes[:], []
    entered = interception._interception
    if entered is not None:
        entered.use(used=False)
    try:
        yield
    finally:
        active_tape._test_tapes[:] = inserted
        if entered is not None and inserted:
            entered.use(used=True)
