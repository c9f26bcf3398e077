"""Several calls are under way when the disk becomes full: each answer that still comes is kept, or named as lost."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import httpx
import pytest
from support.cassettes import entry
from support.messages import check_message
from support.server import StubServer, stream, wait
from support.tapes import ask, make_tape, says, taped

from pytest_llmops.cassettes import locking, run_folder, store
from pytest_llmops.cassettes.http import live_response
from pytest_llmops.cassettes.run_journals import RunJournals
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError, CassetteMiss

CALLS = 16
BEFORE = 3  # answers that the disk still has room for
Fill = Callable[[], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the cassettes; its name needs quotes in a shell."""
    return tmp_path / "my tests"


@pytest.fixture
def fill(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Fill the disk of the cassettes; the temporary folder is on another one."""
    temporary = tmp_path / "temporary folder"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def refuse_cassette(path: Path, *_: str) -> None:
        raise CassetteError(f"cassette {path}: cannot be written: {os.strerror(errno.ENOSPC)}")

    def fill_disk() -> None:
        real_open = os.open
        monkeypatch.setattr(locking, "replace_file", refuse_cassette)

        def refuse(path: str | Path, flags: int, *args: int) -> int:
            if flags & os.O_CREAT and Path(path).is_relative_to(folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return real_open(path, flags, *args)

        def refuse_data(fd: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "open", refuse)
        monkeypatch.setattr(os, "write", refuse_data)

    return fill_disk


def call_at_once(tape: Tape, questions: list[str], fill_disk: Fill) -> list[str]:
    """Pay for all questions at once; the disk becomes full while the answers come. Return the errors."""
    barrier = threading.Barrier(len(questions))
    turn = threading.Lock()
    answered: list[str] = []
    errors: list[str] = []

    def call(number: int) -> None:
        question = ask(tape, questions[number])
        with turn:
            assert tape.claim(question) is None
        barrier.wait()  # all calls are paid before the first answer comes
        with turn:
            if len(answered) == BEFORE:
                fill_disk()
            answered.append(questions[number])
            try:
                tape.record(question, says(f"answer {number}"))
            except CassetteError as error:
                errors.append(str(error))

    with ThreadPoolExecutor(len(questions)) as pool:
        list(pool.map(call, range(len(questions))))
    return errors


def bring_back(text: str) -> list[str]:
    """Run the commands in a message; return the counts that it names."""
    notes = re.findall(r"kept: (\d+ paid answers?) in .+?; (mkdir .+), and the next run", text)
    for _, command in notes:
        subprocess.run(command, shell=True, check=True)
    return [count for count, _ in notes]


def replay(path: Path, questions: list[str]) -> set[str]:
    """Return the recorded answers to some questions."""
    tape = make_tape(path)
    answers = set()
    for text in questions:
        answer = tape.claim(ask(tape, text))
        assert answer is not None
        answers.add(answer.body.decode())
    return answers


@pytest.mark.parametrize("equal", [False, True], ids=["other requests", "the same request"])
def test_each_answer_that_comes_in_is_kept(
    folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch, *, equal: bool
) -> None:
    path = folder / "test_a.json"
    questions = ["same"] * CALLS if equal else [f"question {number}" for number in range(CALLS)]
    tape = make_tape(path, "new")
    errors = call_at_once(tape, questions, fill)
    assert len(errors) == CALLS - BEFORE
    with pytest.raises(CassetteError) as failed:
        tape.close(passed=False)
    check_message(re.sub(r"[0-9a-f]+-[0-9]+-[0-9a-f]{8}", "NAME", str(failed.value)))
    monkeypatch.undo()
    assert len(bring_back(str(failed.value))) == 1
    assert replay(path, questions) == {f"answer {number}" for number in range(CALLS)}


def test_an_answer_that_comes_after_the_end_is_kept(
    folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "test_a.json"
    tape = make_tape(path, "new")
    questions = [ask(tape, "early"), ask(tape, "late")]
    for question in questions:
        assert tape.claim(question) is None
    tape.record(questions[0], says("answer early"))
    tape.close()
    fill()
    with pytest.raises(CassetteError) as failed:
        tape.record(questions[1], says("answer late"))
    monkeypatch.undo()
    assert bring_back(str(failed.value)) == ["1 paid answer"]
    assert replay(path, ["early", "late"]) == {"answer early", "answer late"}


def test_answers_for_which_no_disk_has_room_are_named(
    folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = make_tape(folder / "test_a.json", "new")
    fill_temporary = partial(monkeypatch.setattr, tempfile, "tempdir", str(folder / "missing"))

    def fill_both() -> None:
        fill()
        fill_temporary()

    call_at_once(tape, [f"question {number}" for number in range(CALLS + BEFORE + 4)], fill_both)
    with pytest.raises(CassetteError) as failed:
        tape.close(passed=False)
    [lost] = [line for line in str(failed.value).split("\n") if line.startswith("lost: ")]
    assert re.match(r"lost: 20 paid answers \(#004, .*#019 and 4 more\), as ", lost)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
def test_answers_that_fit_into_the_temporary_folder_are_kept(
    folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    path = folder / "test_a.json"
    tape = make_tape(path, "new")
    questions = [f"question {number}" for number in range(CALLS)]
    call_at_once(tape, questions, fill)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(CassetteError) as failed:
            tape.close(passed=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    text = str(failed.value)
    check_message(re.sub(r"[0-9a-f]+-[0-9]+-[0-9a-f]{8}", "NAME", text))
    [kept] = bring_back(text)
    assert len(store.load_with_journals(path)) == BEFORE + int(kept.split()[0])
    assert "lost: " in text


def test_answers_asked_ahead_are_kept(folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "test_a.json"
    journals = RunJournals()
    barrier = threading.Barrier(CALLS)
    turn = threading.Lock()
    written: list[int] = []

    def write(number: int) -> None:
        journals.prepare(path)
        barrier.wait()
        with turn:
            if len(written) == BEFORE:
                fill()
            written.append(number)
        with suppress(CassetteError):
            journals.write(path, entry(number))

    with run_folder.open_run_folder():
        with ThreadPoolExecutor(CALLS) as pool:
            list(pool.map(write, range(CALLS)))
        text = run_folder.describe_stop()  # a worker of xdist may not close its journals
    assert journals.close() == text.split("\n")[1:]
    monkeypatch.undo()
    assert len(bring_back(text)) == 1
    assert len(store.load_with_journals(path)) == CALLS


async def post_by_httpx(url: str, number: int) -> None:
    async with httpx.AsyncClient() as client:
        await client.post(url, content=f"question {number}")


async def post_by_aiohttp(url: str, number: int) -> None:
    async with aiohttp.ClientSession() as session, session.post(url, data=f"question {number}") as answer:
        await answer.read()


@pytest.mark.parametrize("post", [post_by_httpx, post_by_aiohttp], ids=lambda post: post.__name__)
def test_tasks_of_a_loop_lose_no_answer(
    folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch, post: Callable[[str, int], Awaitable[None]]
) -> None:
    """The miss of the first task would stop the loop, and cancel the calls of the others."""
    path = folder / "test_a.json"
    barrier = threading.Barrier(CALLS, action=fill)  # all calls are paid
    has_failed = threading.Event()
    wait_for_open_answers = live_response._wait_for_open_answers

    async def release_and_wait(tape: Tape) -> None:
        has_failed.set()
        await wait_for_open_answers(tape)

    def wait_for_failure(_: int) -> None:
        if barrier.wait():  # the first answer comes at once, and the others after it has failed
            wait(has_failed)

    monkeypatch.setattr(live_response, "_wait_for_open_answers", release_and_wait)

    async def post_one(url: str, number: int) -> None:
        try:
            await post(url, number)
        except asyncio.CancelledError:  # too early: its answer has not come
            has_failed.set()
            raise

    async def post_all(url: str) -> None:
        await asyncio.gather(*(post_one(url, number) for number in range(CALLS)))

    with StubServer() as server:
        for _ in range(CALLS):
            server.queue.append(stream(["all"], before_chunk=wait_for_failure))
        with (
            pytest.raises(CassetteError) as failed,
            taped(path, "new", passed=False),
            pytest.raises(CassetteMiss),
        ):
            asyncio.run(post_all(f"{server.url}/x"))
    monkeypatch.undo()
    assert bring_back(str(failed.value)) == [f"{CALLS} paid answers"]
    outcomes = [
        answer.get("outcome")
        for interaction in store.load_with_journals(path).values()
        for answer in interaction.answers["0"]
    ]
    assert outcomes == [None] * CALLS
