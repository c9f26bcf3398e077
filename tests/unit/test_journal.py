from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from support import recording_child
from support.cassettes import entry, files, journalled, merged, texts
from support.messages import check_message
from support.server import StubServer

from pytest_llmops.cassettes import journal, store
from pytest_llmops.cassettes.journal import Journal, find_abandoned_journals, seize_journal
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and flock are POSIX")


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_a.json"


def test_a_journal_is_made_at_the_first_answer(cassette: Path) -> None:
    tape = Journal(cassette)
    tape.close()
    assert not cassette.parent.exists()


def test_a_journal_in_use_belongs_to_its_writer(cassette: Path) -> None:
    tape = Journal(cassette)
    tape.append(entry(1))
    assert find_abandoned_journals(cassette) == []
    assert store.load_with_journals(cassette) == {}
    tape.close()
    assert find_abandoned_journals(cassette) == tape.paths
    assert set(store.load_with_journals(cassette)) == {"key-1"}
    assert tape.paths[0].exists()


def test_an_answer_after_the_end_opens_another_journal(cassette: Path) -> None:
    tape = Journal(cassette)
    tape.append(entry(1))
    tape.close()
    tape.append(entry(2))
    tape.close()
    assert len(tape.paths) == 2
    assert set(store.load_with_journals(cassette)) == {"key-1", "key-2"}


def test_a_short_write_is_gone_on_with(cassette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
    path = journalled(cassette, entry(1), entry(2))
    monkeypatch.undo()
    with seize_journal(path) as entries:
        assert entries == [entry(1), entry(2)]


def test_an_answer_that_found_no_room_is_written_with_the_next(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Journal(cassette)
    tape.append(entry(1))
    real, left = os.write, [20]

    def full(fd: int, data: Any) -> int:
        room = left.pop() if left else 0
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, bytes(data[:room]))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(CassetteError, check=check_message):
            tape.append(entry(2))
        with pytest.raises(CassetteError, check=check_message):
            tape.prepare()
    tape.append(entry(3))
    tape.close()
    store.merge_journals(cassette, tape.paths, Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2", "key-3"}


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_line_cut_by_a_crash_is_left_out(cassette: Path, cut: int) -> None:
    path = journalled(cassette, entry(1), entry(2))
    path.write_bytes(path.read_bytes()[: -cut - 1])
    assert set(store.load_with_journals(cassette)) == {"key-1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "5",
        "null",
        "{}",
        '{"by": 1}',
        "[" * 50_000,
        "\x00" * 64,
        json.dumps({**json.loads(entry(9).to_line()), "take": "x"}),
        json.dumps({**json.loads(entry(9).to_line()), "n": "0"}),
        json.dumps({**json.loads(entry(9).to_line()), "key": ["k"]}),
        json.dumps({**json.loads(entry(9).to_line()), "answer": {"status": 200}}),
        json.dumps({**json.loads(entry(9).to_line()), "request": None}),
        json.dumps({**json.loads(entry(9).to_line()), "more": 1}),
    ],
)
def test_a_line_that_is_no_answer_is_left_out(cassette: Path, line: str) -> None:
    path = journalled(cassette, entry(1))
    with path.open("a") as file:
        file.write(line + "\n")
    with path.open("ab") as file:
        file.write(b"\xff\xfe\n" + entry(2).to_line())
    assert set(store.load_with_journals(cassette)) == {"key-1", "key-2"}


def test_files_that_only_look_like_journals_do_no_harm(cassette: Path) -> None:
    merged(cassette, entry(1))
    workshop = cassette.parent / ".journal"
    workshop.mkdir()
    for name in ("x", "1-2", "a-b-c-d", ""):
        (workshop / f"{cassette.name}.{name}.journal").write_text("nonsense")
    (workshop / f"{cassette.name}.journal").write_text("nonsense")
    (workshop / "folder.journal").mkdir()
    (workshop / f"{cassette.name}.folder.journal").mkdir()
    assert set(store.load_with_journals(cassette)) == {"key-1"}
    merged(cassette, entry(2))
    assert set(texts(cassette)) == {"key-1", "key-2"}


def test_the_folder_may_vanish_while_a_journal_is_opened(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = journal.ensure_journal_folder
    vanishing = [True, True]

    def tidied(path: Path) -> Path:
        folder = real(path)
        if vanishing:
            vanishing.pop()
            folder.rmdir()
        return folder

    monkeypatch.setattr(journal, "ensure_journal_folder", tidied)
    journalled(cassette, entry(1))
    assert set(store.load_with_journals(cassette)) == {"key-1"}


def test_a_new_journal_that_another_process_looks_at_is_given_up(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = journal.lock_file
    looked_at = [False]

    def lock(fd: int, *, exclusive: bool) -> bool | None:
        return looked_at.pop() if looked_at and exclusive else real(fd, exclusive=exclusive)

    monkeypatch.setattr(journal, "lock_file", lock)
    path = journalled(cassette, entry(1))
    assert files(cassette.parent) == [".journal", f".journal/{path.name}"]
    monkeypatch.setattr(journal, "lock_file", lambda _fd, **_: False)
    with pytest.raises(CassetteError, check=check_message):
        Journal(cassette).append(entry(2))
    assert files(cassette.parent) == [".journal", f".journal/{path.name}"]


def test_a_journal_that_is_gone_was_merged_by_somebody_else(cassette: Path) -> None:
    waiting = journalled(cassette, entry(1))
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    store.merge_journals(cassette, [waiting, cassette.parent / "never.journal"], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1"}


@pytest.mark.parametrize("content", [b"", b"\n", entry(1).to_line()[:-1], entry(1).to_line()[:-9]])
def test_a_journal_without_a_whole_line_is_merged_away(cassette: Path, content: bytes) -> None:
    waiting = journalled(cassette, entry(1))
    waiting.write_bytes(content)
    whole = {"key-1"} if content.endswith(b"}") else set()
    assert set(store.load_with_journals(cassette)) == whole
    assert set(store.load_with_journals(cassette)) == whole
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == whole
    assert files(cassette.parent) == [cassette.name]


def test_a_journal_that_nothing_was_written_to_is_removed(cassette: Path) -> None:
    tape = Journal(cassette)
    tape.prepare()
    assert len(files(cassette.parent)) == 2
    tape.close()
    assert tape.paths == []
    assert files(cassette.parent) == []


def test_an_answer_after_one_that_was_cut_is_a_line_of_its_own(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut line must not swallow the start of the next answer, nor be taken for one."""
    tape = Journal(cassette)
    real = os.write

    def write_a_part(fd: int, data: Any) -> int:
        monkeypatch.undo()
        real(fd, bytes(data[:30]))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", write_a_part)
    with pytest.raises(CassetteError):
        tape.append(entry(1))
    tape.append(entry(2))
    tape.close()
    assert len(tape.paths) == 2
    assert tape.paths[0].read_bytes() == entry(1).to_line()[:30]
    assert tape.paths[1].read_bytes() == entry(1).to_line() + entry(2).to_line()
    assert list(store.load_with_journals(cassette)) == ["key-1", "key-2"]


def is_folder(fd: int) -> bool:
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    except OSError:
        return False


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EIO, errno.ENOSPC])
def test_a_folder_that_cannot_be_synced(cassette: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Some file systems cannot; any other error is one of the disk."""
    waiting = journalled(cassette, entry(1))
    real, refused = os.fsync, list[int]()

    def fsync(fd: int) -> None:
        if is_folder(fd):
            refused.append(fd)
            raise OSError(number, os.strerror(number))
        real(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        if number in (errno.EIO, errno.ENOSPC):
            for write in (
                lambda: journalled(cassette, entry(2)),
                lambda: store.merge_journals(cassette, [waiting], Redactor(), replace=False),
            ):
                with pytest.raises(CassetteError) as caught:
                    write()
                assert str(cassette) in str(caught.value)
                assert os.strerror(number) in str(caught.value)
        else:
            journalled(cassette, entry(2))
            store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert len(refused) == 2
    assert not any(map(is_folder, refused))  # they were closed
    assert "key-1" in store.load_with_journals(cassette)
    merged(cassette, entry(2))
    assert set(texts(cassette)) == {"key-1", "key-2"}


@posix_only
def test_a_folder_that_cannot_be_listed_is_not_synced(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *args: int) -> int:
        if flags == os.O_RDONLY and Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        merged(cassette, entry(1))
    assert set(texts(cassette)) == {"key-1"}


def test_a_merge_takes_in_what_killed_runs_left(cassette: Path) -> None:
    journalled(cassette, entry(1))
    merged(cassette, entry(2))
    assert set(texts(cassette)) == {"key-1", "key-2"}
    assert files(cassette.parent) == [cassette.name]


@posix_only
def test_where_files_cannot_be_locked_the_process_counts(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "lock_file", lambda _fd, **_: None)
    mine = journalled(cassette, entry(1))
    assert find_abandoned_journals(cassette) == []
    store.merge_journals(cassette, [mine], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1"}
    assert not mine.exists()
    own = journalled(cassette, entry(1))
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    gone = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{done.pid}-"))
    own.rename(gone)
    assert find_abandoned_journals(cassette) == [gone]
    elsewhere = gone.with_name(gone.name.replace(f".{journal._host_digest()}-", ".ffffff-"))
    gone.rename(elsewhere)
    assert find_abandoned_journals(cassette) == []


FORKING = """
import os, sys
from pathlib import Path
from pytest_llmops.cassettes.journal import JournalEntry, Journal

def entry(key):
    body = {"text": ""}
    answer = {"status": 200, "body": body}
    return JournalEntry("#1", key, "0", 0, {"method": "GET", "url": "http://h/", "body": body}, answer)

one = Journal(Path(sys.argv[1]))
one.append(entry("before"))
child = os.fork()
if not child:
    assert one.paths == []
    one.append(entry("child"))
    assert len(one.paths) == 1
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
one.append(entry("after"))
"""


@pytest.mark.slow
@posix_only
def test_a_forked_child_writes_a_journal_of_its_own(cassette: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKING, str(cassette)], check=True)
    assert len(find_abandoned_journals(cassette)) == 2
    assert set(store.load_with_journals(cassette)) == {"before", "child", "after"}


@contextmanager
def child(
    cassette: Path, url: str, first: int, last: int, mode: str = "new"
) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-P",
        recording_child.__file__,
        str(cassette),
        url,
        mode,
        str(first),
        str(last),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@posix_only
@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.slow
def test_a_killed_run_loses_no_paid_answer(cassette: Path, answers: int) -> None:
    with StubServer() as server, child(cassette, server.url, 0, 9) as process:
        for number in range(answers):
            assert read_line(process) == str(number)
            if number < answers - 1:
                go_on(process)
        assert store.load_with_journals(cassette) == {}
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert server.count == answers
    assert len(store.load_with_journals(cassette)) == answers
    merged(cassette, entry(100))
    assert len(store.load_cassette(cassette)) == answers + 1
    assert files(cassette.parent) == [cassette.name]


@posix_only
@pytest.mark.slow
def test_a_run_killed_at_its_end_loses_nothing(cassette: Path) -> None:
    with StubServer() as server, child(cassette, server.url, 0, 3) as process:
        for number in range(3):
            assert read_line(process) == str(number)
            go_on(process)
        assert read_line(process) == "closing"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(store.load_with_journals(cassette)) == 3


@pytest.mark.slow
def test_two_processes_that_merge_into_one_cassette_lose_nothing(cassette: Path) -> None:
    with (
        StubServer() as server,
        child(cassette, server.url, 0, 4) as first,
        child(cassette, server.url, 2, 6) as second,
    ):
        for step in range(4):
            assert read_line(first) == str(step)
            assert read_line(second) == str(step + 2)
            if step < 3:
                go_on(first)
                go_on(second)
        go_on(first)
        go_on(second)
        assert [read_line(process) for process in (first, second) for _ in range(2)] == [
            "closing",
            "closed",
        ] * 2
        assert server.count == 8
    result = store.load_cassette(cassette)
    assert sorted(json.dumps(interaction.request["body"]["json"]) for interaction in result.values()) == [
        f'{{"n": {number}}}' for number in range(6)
    ]
    assert all(len(interaction.answers["0"]) == 1 for interaction in result.values())
    assert [interaction.by for interaction in result.values()] == sorted(
        interaction.by for interaction in result.values()
    )
    assert files(cassette.parent) == [cassette.name]


def test_a_folder_that_is_tidied_away_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, tries = Path.mkdir, list[Path]()

    def mkdir(folder: Path, *args: Any, **how: Any) -> None:
        tries.append(folder)
        if len(tries) == 1:  # `os.mkdir` found the folder of another process, `is_dir` did not
            raise FileExistsError(folder)
        make(folder, *args, **how)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert journal.ensure_journal_folder(tmp_path / "a.json").is_dir()
    assert len(tries) == 2


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / journal.JOURNAL_FOLDER).touch()
    with pytest.raises(FileExistsError):
        journal.ensure_journal_folder(tmp_path / "a.json")


# Answers for which there is no room.


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Refuse every write to a journal, and return the temporary folder, which has room."""

    def refuse(_fd: int, _data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(os, "write", refuse)
    return folder


def read_rescued(folder: Path) -> list[str]:
    """Return the places of the answers in the temporary folder, where there is one file at most."""
    lines = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
    assert len(list(folder.iterdir())) <= 1
    return [json.loads(line)["by"] for line in lines]


def append_in_vain(tape: Journal, *numbers: int) -> None:
    for number in numbers:
        with pytest.raises(CassetteError):
            tape.append(entry(number))


def test_an_answer_after_the_end_belongs_to_nobody_any_more(cassette: Path) -> None:
    tape = Journal(cassette)
    tape.close()
    tape.append(entry(1))
    assert not tape.is_open
    assert find_abandoned_journals(cassette) == tape.paths
    tape.append(entry(2))
    assert set(store.load_with_journals(cassette)) == {"key-1", "key-2"}


def test_after_the_end_no_journal_is_made_for_an_answer_that_may_come(cassette: Path) -> None:
    tape = Journal(cassette)
    tape.close()
    tape.prepare()
    assert not cassette.parent.exists()


def test_a_journal_is_prepared_before_the_answer_is_paid(cassette: Path) -> None:
    tape = Journal(cassette)
    is_open = [tape.is_open]
    tape.prepare()
    tape.prepare()
    is_open.append(tape.is_open)
    assert [path.exists() for path in tape.paths] == [True]
    tape.close()
    assert [*is_open, tape.is_open] == [False, True, False]


def test_an_answer_without_room_is_kept_until_the_end(cassette: Path, no_room: Path) -> None:
    tape = Journal(cassette)
    append_in_vain(tape, 1, 2)
    assert not tape.is_open
    assert (tape.rescue_note, read_rescued(no_room)) == ("", [])
    tape.close()
    assert read_rescued(no_room) == ["#001", "#002"]
    check_message(tape.rescue_note)


def test_an_answer_without_room_after_the_end_is_rescued_at_once(cassette: Path, no_room: Path) -> None:
    tape = Journal(cassette)
    tape.close()
    append_in_vain(tape, 1)
    assert read_rescued(no_room) == ["#001"]


def test_a_second_rescue_adds_to_the_file_of_the_first(cassette: Path, no_room: Path) -> None:
    tape = Journal(cassette)
    append_in_vain(tape, 1)
    tape.rescue()
    append_in_vain(tape, 2, 3)
    tape.rescue()
    tape.rescue()
    assert read_rescued(no_room) == ["#001", "#002", "#003"]
    check_message(tape.rescue_note)


def test_what_was_rescued_is_not_written_to_the_cassette_too(
    cassette: Path, no_room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Journal(cassette)
    append_in_vain(tape, 1)
    tape.rescue()
    monkeypatch.undo()
    tape.append(entry(2))
    tape.close()
    assert list(store.load_with_journals(cassette)) == ["key-2"]
    assert read_rescued(no_room) == ["#001"]


def test_a_journal_with_room_rescues_nothing(cassette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cassette.parent / "temporary"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    tape = Journal(cassette)
    tape.append(entry(1))
    tape.close()
    tape.rescue()
    assert (tape.rescue_note, files(folder)) == ("", [])


@pytest.mark.parametrize("count", [1, 16, 17])
def test_answers_without_room_anywhere_are_lost_and_named(cassette: Path, no_room: Path, count: int) -> None:
    no_room.rmdir()
    tape = Journal(cassette)
    append_in_vain(tape, *range(1, count + 1))
    tape.close()
    check_message(tape.rescue_note)


def test_what_finds_room_at_a_second_rescue_is_not_lost(cassette: Path, no_room: Path) -> None:
    no_room.rmdir()
    tape = Journal(cassette)
    append_in_vain(tape, 1)
    tape.rescue()
    no_room.mkdir()
    tape.rescue()
    assert read_rescued(no_room) == ["#001"]
    check_message(tape.rescue_note)


class SmallFile:
    """A file with room for some lines; of the next one only a part is written."""

    def __init__(self, file: Any, lines: int) -> None:
        self.file = file
        self.lines = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def tell(self) -> int:
        end: int = self.file.tell()
        return end

    def write(self, line: bytes) -> None:
        self.lines -= 1
        self.file.write(line if self.lines >= 0 else line[:9])

    def flush(self) -> None:
        self.file.flush()
        if self.lines < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("room", [0, 1, 2])
def test_of_rescued_answers_only_whole_lines_stay(
    cassette: Path, no_room: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    tape = Journal(cassette)
    append_in_vain(tape, 1, 2, 3)
    real = Path.open
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode: SmallFile(real(path, mode), room))
        tape.rescue()
    assert read_rescued(no_room) == ["#001", "#002"][:room]
    assert len(files(no_room)) == min(room, 1)
    check_message(tape.rescue_note)
    tape.rescue()
    assert read_rescued(no_room) == ["#001", "#002", "#003"]


def test_a_journal_that_cannot_be_read_is_an_error_and_stays(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journalled(cassette, entry(1))

    def refuse(_path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        with pytest.raises(CassetteError, check=check_message), seize_journal(path):
            pass
    with seize_journal(path) as entries:
        assert entries == [entry(1)]


@posix_only
def test_a_folder_that_was_synced_is_not_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    closed: list[int] = []
    monkeypatch.setattr(os, "fsync", opened.append)
    monkeypatch.setattr(journal, "close_quietly", closed.append)
    journal.sync_folder(tmp_path)
    assert opened == closed
    assert len(opened) == 1
    os.close(opened[0])


def test_a_long_name_of_a_cassette_is_short_in_the_name_of_its_journal(tmp_path: Path) -> None:
    names = [f"{'x' * 200}{end}.json" for end in "ab"]
    journals = [journalled(tmp_path / name, entry(1)) for name in names]
    assert all(len(path.name) < 200 for path in journals)
    assert [find_abandoned_journals(tmp_path / name) for name in names] == [[path] for path in journals]
    fits = "y" * (journal.MAX_STEM - 5) + ".json"
    assert journalled(tmp_path / fits, entry(1)).name.startswith(f"{fits}.")


def test_a_journal_of_a_cassette_whose_name_goes_on_is_not_its_own(tmp_path: Path) -> None:
    journalled(tmp_path / "a.json.b.json", entry(1))
    own = journalled(tmp_path / "a.json", entry(2))
    assert find_abandoned_journals(tmp_path / "a.json") == [own]
