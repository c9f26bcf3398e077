"""A disk that is full, broken or closed to us: a clear error, the old file as it was, and no paid answer lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import entry, files, journalled, merged, texts
from support.killing import Job, Recorder, as_other, asked
from support.messages import check_message
from support.project import Project
from support.server import StubServer
from support.tapes import ask, recorded, says

from pytest_llmops.cassettes import locking as replacing
from pytest_llmops.cassettes import run_folder, store
from pytest_llmops.cassettes.journal import ensure_journal_folder
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.redaction.redactor import Redactor

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="users, limits and flock are POSIX")
CALLS = ("write", "fsync", "open", "mkdir", "scandir", "chmod", "replace", "unlink", "rmdir", "close")
MAX_CALLS = 60
QUESTIONS = ("a", "b", "c")


def failing(real: Callable[..., Any], at: int, number: int, lasting: bool) -> Callable[..., Any]:
    """A system call that fails the `at`-th time, and from then on if it lasts; a write has then written a part."""
    count = 0

    def call(*args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == at or (lasting and count > at):
            if real.__name__ == "write":
                real(args[0], bytes(args[1][:9]))
            if real.__name__ == "close":
                real(*args)
            raise OSError(number, os.strerror(number))
        return real(*args, **more)

    call.count = lambda: count  # type: ignore[attr-defined]
    return call


def record_all(path: Path) -> tuple[set[str], set[str], list[str]]:
    """Record what interceptors would; return what was paid, what its callers were given, and the errors."""
    paid, given, errors = set(), set(), []
    try:
        tape = Tape(path, "new")
    except CassetteError as error:
        return set(), set(), [str(error)]
    for text in QUESTIONS:
        question = ask(tape, text)
        try:
            if tape.claim(question) is None:
                paid.add(text)
                tape.record(question, says(f"answer {text}"))
            given.add(text)
        except (CassetteError, CassetteMiss) as error:
            errors.append(str(error))
    try:
        tape.close()
    except CassetteError as error:
        errors.append(str(error))
    return paid, given, errors


def answered(path: Path) -> set[str]:
    """What the next run finds, of what is asked here."""
    tape = Tape(path)
    replayed = set()
    for text in QUESTIONS:
        try:
            if tape.claim(ask(tape, text)) is not None:
                replayed.add(text)
        except CassetteMiss:
            continue
    return replayed


@posix_only
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", CALLS)
def test_every_call_to_the_disk_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lasting: bool, number: int
) -> None:
    template = tmp_path / "template" / "test_a.json"
    recorded(template, ("a", "old a"), ("z", "old z"))
    journalled(template, entry(1))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for at in range(1, MAX_CALLS):
        path = tmp_path / f"run-{at}" / "test_a.json"
        shutil.copytree(template.parent, path.parent)
        old = path.read_bytes()
        broken = failing(getattr(os, name), at, number, lasting)
        with monkeypatch.context() as patched:
            patched.setattr(os, name, broken)
            paid, given, errors = record_all(path)
        for error in errors:
            assert error.startswith("cassette ")
            assert os.strerror(number) in error
        data = path.read_bytes()
        assert data == old or set(texts(path)) > set(store.parse_cassette(old, path))
        kept = answered(path)
        assert given <= kept, (at, errors)
        if not lasting:  # what could not be written was written later
            assert paid <= kept, (at, errors)
        again, _, errors = record_all(path)
        assert not errors
        assert again == set(QUESTIONS) - kept
        assert len(texts(path)) == 5
        assert set(files(path.parent)) - {".journal"} == {path.name}
        if broken.count() < at:  # type: ignore[attr-defined]
            break
    else:
        pytest.fail("it never came to its end")
    assert at > 1 or name in ("chmod", "scandir")


@posix_only
@pytest.mark.parametrize("largest", [10, 300, 500, 900, 1_400])
def test_a_limit_on_files_costs_no_paid_answer(
    recorder: Recorder, server: StubServer, tmp_path: Path, largest: int
) -> None:
    """What the kernel does when a disk is full: half a line is written, then nothing."""
    cassette = tmp_path / "cassettes" / "test_a.json"
    job = Job(str(cassette), f"{server.url}/{tmp_path.name}", (1, 2, 3))
    ran = recorder.run(replace(job, largest_file=largest))
    assert ran.status == 0
    paid = asked(server, job)
    assert ran.errors
    assert all("File too large" in error for error in ran.errors)
    assert ran.told or len(paid) == 1  # after an answer that finds no room nobody pays for another
    assert {
        journal.request["body"]["json"]["q"] for journal in store.load_with_journals(cassette).values()
    } >= set(ran.told)
    again = recorder.run(job)
    assert set(again.told) == {1, 2, 3}
    assert {question: again.told[question] for question in ran.told} == ran.told
    assert files(cassette.parent) == [cassette.name]


@posix_only
def test_an_answer_that_found_no_room_is_written_when_there_is_some(
    recorder: Recorder, server: StubServer, tmp_path: Path
) -> None:
    cassette = tmp_path / "cassettes" / "test_a.json"
    job = Job(str(cassette), f"{server.url}/{tmp_path.name}", (1, 2, 3), largest_file=100, relieved_at=3)
    ran = recorder.run(job)
    assert set(ran.told) == {3}
    assert len(ran.errors) == 3  # of the first two questions, and at the end, so that the test fails
    assert ran.errors[1].startswith("CassetteMiss: ")
    check_message(ran.errors[1])
    assert asked(server, job) == [1, 3]  # the second was not paid
    assert {
        interaction.request["body"]["json"]["q"] for interaction in store.load_cassette(cassette).values()
    } == {
        1,
        3,
    }


MOUNTED = """
set -e
mount -t tmpfs -o size=64k tmpfs "$2"
exec "$1" -P - "$2" <<'END'
import sys
from pathlib import Path
from pytest_llmops.cassettes.journal import JournalEntry, Journal
from pytest_llmops.cassettes import store
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.errors import CassetteError

cassette = Path(sys.argv[1], "cassettes", "test_a.json")
def entry(n):
    body = {"text": str(n) * 3000}
    return JournalEntry(f"#{n:03d}", f"key-{n}", "0", 0, {"method": "GET", "url": "http://h/", "body": body}, {"status": 200, "body": body})
journal, written = Journal(cassette), []
try:
    for n in range(99):
        journal.append(entry(n))
        written.append(f"key-{n}")
except CassetteError as error:
    print(error)
journal.close()
try:
    store.merge_journals(cassette, journal.paths, Redactor(), replace=False)
except CassetteError as error:
    print(error)
print(not cassette.exists(), set(store.load_with_journals(cassette)) == set(written), len(written) > 3)
END
"""


@posix_only
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not there")
    command = ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", sys.executable, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed")
    assert done.returncode == 0, done.stderr
    first, second, last = done.stdout.splitlines()
    for message in (first, second):
        assert "[Errno 28] No space left on device" in message
        check_message(message)
    assert last == "True True True"


@posix_only
def test_a_folder_that_is_read_only_is_reported_before_anything_is_paid(
    recorder: Recorder, server: StubServer, open_folder: Path
) -> None:
    cassette = open_folder / "cassettes" / "test_a.json"
    job = Job(str(cassette), f"{server.url}/{open_folder.name}", (1,))
    assert recorder.run(job).status == 0
    before = cassette.read_bytes()
    cassette.parent.chmod(0o555)
    ran = recorder.run(as_other(replace(job, questions=(1, 2)), open_folder))
    assert ran.status == 0
    assert set(ran.told) == {1}
    assert len(ran.errors) == 2
    assert ran.errors[0].startswith(f"CassetteMiss: cassette {cassette}: ")
    assert "Permission denied" in ran.errors[0]
    check_message(ran.errors[0])
    assert asked(server, job) == [1]
    assert cassette.read_bytes() == before


@posix_only
def test_a_folder_that_becomes_read_only_keeps_the_answers_in_the_journal(
    recorder: Recorder, server: StubServer, open_folder: Path
) -> None:
    cassette = open_folder / "cassettes" / "test_a.json"
    (cassette.parent / ".journal").mkdir(parents=True)
    (cassette.parent / ".journal").chmod(0o777)
    cassette.parent.chmod(0o555)
    job = as_other(Job(str(cassette), f"{server.url}/{open_folder.name}", (1, 2)), open_folder)
    ran = recorder.run(job)
    assert set(ran.told) == {1, 2}
    assert len(ran.errors) == 1
    assert "[Errno 13] Permission denied" in ran.errors[0]
    check_message(ran.errors[0])
    assert len(store.load_with_journals(cassette)) == 2
    cassette.parent.chmod(0o777)
    again = recorder.run(job)
    assert again.told == ran.told
    assert not again.errors
    assert files(cassette.parent) == [cassette.name]


def test_a_read_only_cassette_is_not_replaced(tmp_path: Path) -> None:
    cassette = tmp_path / "test_a.json"
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    cassette.chmod(0o444)
    waiting = journalled(cassette, entry(2))
    with pytest.raises(CassetteError, check=check_message):
        store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert cassette.read_bytes() == before
    assert stat.S_IMODE(cassette.stat().st_mode) == 0o444
    assert set(store.load_with_journals(cassette)) == {"key-1", "key-2"}
    cassette.chmod(0o644)
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2"}
    assert json.loads(cassette.read_bytes())["format"] == 1


def test_a_cassette_that_others_may_write_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassette = tmp_path / "test_a.json"
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2))
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == cassette and mode == os.W_OK))
    with pytest.raises(CassetteError) as caught:
        store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert str(cassette) in str(caught.value)
    assert cassette.read_bytes() == before
    assert waiting.exists()


def test_the_folder_may_vanish_while_a_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has merged another cassette of it, and tidies up."""
    cassette = tmp_path / "test_a.json"
    waiting = journalled(cassette, entry(1)).replace(tmp_path / "waiting.journal")
    real, vanishing = ensure_journal_folder, [True, True]

    def tidied(path: Path) -> Path:
        folder = real(path)
        if vanishing:
            vanishing.pop()
            folder.rmdir()
        return folder

    monkeypatch.setattr("pytest_llmops.cassettes.journal.ensure_journal_folder", tidied)
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert not vanishing
    assert set(texts(cassette)) == {"key-1"}


@pytest.mark.parametrize("refusals", [0, 2, 3])
def test_a_file_that_somebody_has_open_is_waited_for(monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
    monkeypatch.setattr(replacing, "RETRY_WAITS_S", (0.0, 0.0))
    left = [True] * refusals

    def act() -> str:
        if left:
            left.pop()
            raise PermissionError(13, "in use")
        return "done"

    if refusals > 2:
        with pytest.raises(PermissionError):
            replacing.retry_while_in_use(act)
    else:
        assert replacing.retry_while_in_use(act) == "done"
    assert not left


LIMITED = """
import pytest, resource, sys

sys.dont_write_bytecode = True  # Python takes a module that was cut at the limit for whole

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
"""
LONG_ANSWERS = """
import pytest
from openai import OpenAI

@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(6))
def test_a(n):
    message = {"role": "user", "content": f"{n} " + "word " * 1_000}
    OpenAI().chat.completions.create(model="stub-1", messages=[message])
"""


@posix_only
def test_the_first_answer_that_finds_no_room_stops_the_calls_of_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workers = 2  # each of them learns of it; in one process it is the same flag
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    project.write(**{"test_a.py": LONG_ANSWERS, "conftest.py": LIMITED})
    result = project.record(workers=workers)
    paid = project.server.count
    assert 1 <= paid <= max(1, workers)
    assert result.exit == 1
    full = [line for line in result.text.splitlines() if line.startswith("E ") and "File too large" in line]
    assert len({line.partition("[Errno")[0] for line in full}) <= 2 * paid
    assert result.text.count("lost: 1 paid answer") == paid
    refused = [
        record for record in result.records.values() if record.message.startswith("CassetteMiss: not called")
    ]
    assert len(refused) == 6 - paid
    assert len({record.message for record in refused}) == 1

    (project.path / "conftest.py").unlink()
    assert project.record(workers=workers).outcomes == {"passed": 6}
    assert project.run(workers=workers).outcomes == {"passed": 6}


@posix_only
def test_a_paid_answer_that_finds_no_room_is_kept_on_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassette = tmp_path / "cassettes" / "test_a.json"
    rescue = tmp_path / "tmp"
    rescue.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rescue))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing(os.write, 1, errno.ENOSPC, lasting=True))
        paid, given, errors = record_all(cassette)
    assert (len(paid), given) == (1, set())
    kept = next(rescue.glob("*.journal"))
    assert str(kept) in errors[-1]
    check_message(errors[-1])
    ensure_journal_folder(cassette)
    shutil.move(kept, cassette.parent / ".journal")
    monkeypatch.setattr("pytest_llmops.cassettes.journal._is_writer_running", lambda _: False)
    assert answered(cassette) == paid


@posix_only
def test_a_file_without_permission_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_folder.open_run_folder():
        for number, is_stopped in ((errno.EACCES, False), (errno.EDQUOT, True)):
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", failing(os.write, 1, number, lasting=True))
                record_all(tmp_path / f"{number}.json")
            assert run_folder.are_live_calls_stopped() is is_stopped
            paid, _, errors = record_all(tmp_path / f"other-{number}.json")
            assert (paid == set()) is is_stopped
        assert len(set(errors)) == 1
        check_message(errors[0])
    assert not run_folder.are_live_calls_stopped()
