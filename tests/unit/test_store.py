from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import recording_child
from support.server import StubServer

from pytest_llmops.cassettes import journal, store
from pytest_llmops.cassettes.journal import Entry, Journal, left_behind, seize
from pytest_llmops.cassettes.redact import Redactor
from pytest_llmops.cassettes.wire import fold
from pytest_llmops.errors import CassetteError

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and flock are POSIX")
not_root = pytest.mark.skipif(
    sys.platform != "win32" and os.geteuid() == 0, reason="root may write into a read-only folder"
)


def request(number: int) -> dict[str, Any]:
    return {"method": "POST", "url": "http://loopback/ask", "body": fold(b'{"n":%d}' % number)}


def answer(text: str) -> dict[str, Any]:
    return {"status": 200, "headers": {"content-type": "text/plain"}, "body": {"text": text}}


def entry(number: int, text: str = "", *, take: str = "0", n: int = 0, by: str = "") -> Entry:
    return Entry(
        by or f"#{number:03d}", f"key-{number}", take, n, request(number), answer(text or f"answer {number}")
    )


def journalled(cassette: Path, *entries: Entry) -> Path:
    """A journal whose process is done with it."""
    one = Journal(cassette)
    for each in entries:
        one.append(each)
    one.close()
    return one.paths[0]


def texts(path: Path) -> dict[str, dict[str, list[str]]]:
    return {
        key: {take: [each["body"]["text"] for each in listed] for take, listed in one.answers.items()}
        for key, one in store.load(path).items()
    }


def merged(cassette: Path, *entries: Entry, **how: Any) -> None:
    store.merge(cassette, [journalled(cassette, *entries)], Redactor(), **{"replace": False, **how})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_a.json"


def test_merge_and_load(cassette: Path) -> None:
    merged(cassette, entry(2), entry(1), entry(1, "again", n=1), entry(1, "other", take="1"))
    assert texts(cassette) == {
        "key-1": {"0": ["answer 1", "again"], "1": ["other"]},
        "key-2": {"0": ["answer 2"]},
    }
    assert files(cassette.parent) == ["test_a.json"]


def test_a_file_that_is_not_there_is_empty(cassette: Path) -> None:
    assert store.load(cassette) == {}
    assert store.opened(cassette) == {}
    assert store.recorded_on(cassette) == ""


def test_the_order_is_by_test_and_place(cassette: Path) -> None:
    merged(cassette, entry(5, by="b#001"), entry(9, by="a#002"), entry(7, by="a#001"))
    found = json.loads(cassette.read_text())["interactions"]
    assert [one["by"] for one in found] == ["a#001", "a#002", "b#001"]


def test_the_file_is_readable_and_dated(cassette: Path) -> None:
    merged(cassette, entry(1, "ä"))
    text = cassette.read_text(encoding="utf-8")
    assert '"text": "ä"' in text
    assert text.endswith("}\n")
    assert store.recorded_on(cassette) == json.loads(text)["recorded"]


def test_the_first_answer_stays_unless_it_is_replaced(cassette: Path) -> None:
    merged(cassette, entry(1, "first"))
    merged(cassette, entry(1, "second"), entry(2))
    assert texts(cassette)["key-1"] == {"0": ["first"]}
    merged(cassette, entry(1, "third", by="#009"), replace=True)
    assert texts(cassette)["key-1"] == {"0": ["third"]}
    assert store.load(cassette)["key-1"].by == "#009"
    assert "key-2" in texts(cassette)


def test_keep_drops_what_was_not_asked(cassette: Path) -> None:
    merged(cassette, entry(1), entry(1, "b", n=1), entry(2), entry(3), entry(3, "t", take="1"))
    merged(cassette, entry(1, "new"), replace=True, keep={("key-1", "0"): 1, ("key-3", ""): 0})
    assert texts(cassette) == {"key-1": {"0": ["new"]}, "key-3": {"0": ["answer 3"], "1": ["t"]}}


CONFLICT = '{"format": 1,\n<<<<<<< HEAD\n"a": 1,\n=======\n"a": 2,\n>>>>>>> branch\n"interactions": []}'
WHOLE: dict[str, Any] = {
    "format": 1,
    "recorded": "2026-01-01",
    "interactions": [{"by": "#001", "key": "k", "request": request(1), "answers": {"0": [answer("a")]}}],
}


def with_answer(value: object) -> str:
    one = {**WHOLE["interactions"][0], "answers": value}
    return json.dumps({**WHOLE, "interactions": [one]})


def without(key: str) -> str:
    one = {name: value for name, value in WHOLE["interactions"][0].items() if name != key}
    return json.dumps({**WHOLE, "interactions": [one]})


DAMAGED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "expected JSON"),
    "half": (json.dumps(WHOLE)[: len(json.dumps(WHOLE)) // 2], "expected JSON"),
    "merge conflict": (CONFLICT, "merge-conflict markers"),
    "merge conflict with CRLF": (CONFLICT.replace("\n", "\r\n"), "merge-conflict markers"),
    "half a merge conflict": (CONFLICT.replace("<<<<<<< HEAD\n", ""), "expected JSON"),
    "not UTF-8": (json.dumps(WHOLE).encode().replace(b"answer", b"\xff\xfe") + b"\xff", "expected JSON"),
    "nested too deeply": ("[" * 100_000, "expected JSON"),
    "binary": (bytes(range(256)), "expected JSON"),
    "a list": ("[]", "expected format 1, got None"),
    "a text": ('"x"', "expected format 1, got None"),
    "null": ("null", "expected format 1, got None"),
    "no format": ('{"interactions": []}', "expected format 1, got None"),
    "a newer format": ('{"format": 2, "interactions": []}', "expected format 1, got 2"),
    "a hostile format": (json.dumps({"format": "\x1b[2J\n" * 99}), "expected format 1"),
    "no interactions": ('{"format": 1}', "interactions"),
    "interactions is an object": ('{"format": 1, "interactions": {"a": 1}}', "incomplete"),
    "interactions is null": ('{"format": 1, "interactions": null}', "incomplete"),
    "an interaction is a text": ('{"format": 1, "interactions": ["x"]}', "incomplete"),
    **{f"no {key}": (without(key), "incomplete") for key in ("by", "key", "request", "answers")},
    "answers is a list": (with_answer([answer("a")]), "incomplete"),
    "a take is no number": (with_answer({"first": [answer("a")]}), "incomplete"),
    "a take is an object": (with_answer({"0": answer("a")}), "expected a list"),
    "an answer is a text": (with_answer({"0": ["a"]}), "an answer: expected an object"),
    "an answer without a status": (with_answer({"0": [{"body": {"text": ""}}]}), "an answer: expected"),
    "a status that is a text": (with_answer({"0": [{**answer("a"), "status": "200"}]}), "an answer"),
    "headers that are a list": (with_answer({"0": [{**answer("a"), "headers": []}]}), "the headers"),
    "an answer without a body": (with_answer({"0": [{"status": 200}]}), "a body: expected an object"),
    "a body of no form": (with_answer({"0": [{**answer("a"), "body": {"x": 1}}]}), "a body: expected one of"),
    "a body of a wrong type": (with_answer({"0": [{**answer("a"), "body": {"text": 5}}]}), "stored as text"),
    "a latency that is a text": (with_answer({"0": [{**answer("a"), "latency_s": "1"}]}), "latency_s"),
    "a request without a body": (json.dumps({**WHOLE, "interactions": [{**WHOLE["interactions"][0], "request": {}}]}), "a request"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_clear_error_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    content, said = DAMAGED[kind]
    path = tmp_path / "test_a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = path.read_bytes()
    waiting = journalled(path, entry(7))
    for attempt in (
        lambda: store.load(path),
        lambda: store.opened(path),
        lambda: store.merge(path, [waiting], Redactor(), replace=True, keep={}),
    ):
        with pytest.raises(CassetteError) as caught:
            attempt()
        assert str(caught.value).startswith(f"cassette {path} is damaged: ")
        assert said in str(caught.value)
        assert "the file was left as it is" in str(caught.value)
        assert str(caught.value).isprintable()
    assert path.read_bytes() == before
    assert waiting.exists()


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    merged(path, entry(1), entry(2))
    whole = path.read_bytes()
    for length in range(len(whole) - 2):
        with pytest.raises(CassetteError):
            store.parse(whole[:length], path)
    assert len(store.parse(whole[:-1], path)) == 2


def test_conflict_markers_inside_a_body_are_no_damage(cassette: Path) -> None:
    merged(cassette, entry(1, "<<<<<<< HEAD\n=======\n>>>>>>> branch\n"))
    assert texts(cassette)["key-1"]["0"] == ["<<<<<<< HEAD\n=======\n>>>>>>> branch\n"]


def test_both_sides_of_a_git_merge_count_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    one = WHOLE["interactions"][0]
    twin = {**one, "by": "#002", "answers": {"0": [answer("b")], "1": [answer("c")]}}
    path.write_text(json.dumps({**WHOLE, "interactions": [one, twin]}))
    assert texts(path) == {"k": {"0": ["a"], "1": ["c"]}}


def test_a_byte_order_mark_of_an_editor_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(WHOLE).encode())
    assert set(store.load(path)) == {"k"}


def test_a_file_in_place_of_the_folder_is_an_error(cassette: Path) -> None:
    cassette.parent.write_text("a file")
    for attempt in (
        lambda: store.opened(cassette),
        lambda: store.merge(cassette, [], Redactor(), replace=False),
        lambda: Journal(cassette).append(entry(1)),
    ):
        with pytest.raises(CassetteError, match="cannot be read|could not be written"):
            attempt()
    assert cassette.parent.read_text() == "a file"


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_a.json").mkdir()
    with pytest.raises(CassetteError, match="cannot be read"):
        store.load(tmp_path / "test_a.json")


@not_root
def test_a_read_only_folder_is_an_error_and_loses_nothing(cassette: Path) -> None:
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2))
    cassette.parent.chmod(0o555)
    try:
        with pytest.raises(CassetteError, match="cannot be written"):
            store.merge(cassette, [waiting], Redactor(), replace=False)
        with pytest.raises(CassetteError, match="make the folder writable"):
            Journal(cassette).append(entry(3))
    finally:
        cassette.parent.chmod(0o755)
    assert cassette.read_bytes() == before
    assert waiting.exists()


@pytest.mark.parametrize("name", ["replace", "chmod", "open"])
def test_a_failing_write_is_an_error_and_loses_nothing(
    cassette: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2))
    real: Callable[..., Any] = getattr(Path, name)

    def failing(self: Path, *args: Any, **more: Any) -> Any:
        if self.name.endswith(".tmp"):
            raise OSError(28, "No space left on device")
        return real(self, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Path, name, failing)
        with pytest.raises(CassetteError, match="No space left on device; the answers wait in its journal"):
            store.merge(cassette, [waiting], Redactor(), replace=False)
    assert cassette.read_bytes() == before
    assert files(cassette.parent) == sorted([cassette.name, waiting.name])
    store.merge(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2"}
    assert files(cassette.parent) == [cassette.name]


def test_a_file_with_a_secret_is_refused(cassette: Path) -> None:
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2, "the secret is hunter2hunter2"))
    with pytest.raises(CassetteError, match="not written, a secret is still in it") as caught:
        store.merge(cassette, [waiting], Redactor(known={"hunter2hunter2"}), replace=False)
    assert str(waiting) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert cassette.read_bytes() == before


def test_what_a_killed_writer_left_is_swept(cassette: Path) -> None:
    merged(cassette, entry(1))
    (cassette.parent / f".{cassette.name}.0123abcd.tmp").write_text("half")
    (cassette.parent / ".other.json.0123abcd.tmp").write_text("not ours")
    merged(cassette, entry(2))
    assert files(cassette.parent) == [".other.json.0123abcd.tmp", cassette.name]


@posix_only
def test_the_file_s_own_mode_and_link_are_kept(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    merged(real, entry(1))
    real.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(real)
    merged(link, entry(2))
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert set(texts(real)) == {"key-1", "key-2"}


@posix_only
def test_new_files_obey_the_umask(cassette: Path) -> None:
    before = os.umask(0o077)
    try:
        waiting = journalled(cassette, entry(1))
        assert waiting.stat().st_mode & 0o777 == 0o600
        store.merge(cassette, [waiting], Redactor(), replace=False)
    finally:
        os.umask(before)
    assert cassette.stat().st_mode & 0o777 == 0o600


def test_lone_surrogates_of_a_hostile_header_pass(cassette: Path) -> None:
    hostile = {**answer("a"), "headers": {"content-type": "text/\udcff"}}
    merged(cassette, Entry("#001", "k", "0", 0, request(1), hostile))
    assert store.load(cassette)["k"].answers["0"][0]["headers"] == {"content-type": "text/\udcff"}


@posix_only
def test_a_lock_folder_of_somebody_else_is_refused(
    cassette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = journalled(cassette, entry(1))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    with pytest.raises(CassetteError, match="cannot be locked"):
        store.merge(cassette, [waiting], Redactor(), replace=False)
    assert waiting.exists()


def test_a_merge_that_hangs_is_not_waited_for_for_ever(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCK_TIMEOUT_S", 0.0)
    waiting = journalled(cassette, entry(1))
    with store._locked(cassette), pytest.raises(CassetteError, match="cannot be locked"):
        store.merge(cassette, [waiting], Redactor(), replace=False)
    assert waiting.exists()


# --- journals ---


def test_a_journal_is_made_at_the_first_answer(cassette: Path) -> None:
    one = Journal(cassette)
    one.close()
    assert not cassette.parent.exists()


def test_a_journal_in_use_belongs_to_its_writer(cassette: Path) -> None:
    one = Journal(cassette)
    one.append(entry(1))
    assert left_behind(cassette) == []
    assert store.opened(cassette) == {}
    one.close()
    assert left_behind(cassette) == one.paths
    assert set(store.opened(cassette)) == {"key-1"}
    assert one.paths[0].exists()


def test_an_answer_after_the_end_opens_another_journal(cassette: Path) -> None:
    one = Journal(cassette)
    one.append(entry(1))
    one.close()
    one.append(entry(2))
    one.close()
    assert len(one.paths) == 2
    assert set(store.opened(cassette)) == {"key-1", "key-2"}


def test_a_short_write_is_gone_on_with(cassette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
    path = journalled(cassette, entry(1), entry(2))
    monkeypatch.undo()
    with seize(path) as entries:
        assert entries == [entry(1), entry(2)]


def test_a_full_disk_costs_the_one_answer_only(cassette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Journal(cassette)
    one.append(entry(1))
    real, left = os.write, [20]

    def full(fd: int, data: Any) -> int:
        room = left.pop() if left else 0
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, bytes(data[:room]))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(CassetteError, match="No space left on device; free the disk"):
            one.append(entry(2))
    one.append(entry(3))
    one.close()
    store.merge(cassette, one.paths, Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-3"}


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_line_cut_by_a_crash_is_left_out(cassette: Path, cut: int) -> None:
    path = journalled(cassette, entry(1), entry(2))
    path.write_bytes(path.read_bytes()[: -cut - 1])
    assert set(store.opened(cassette)) == {"key-1"}


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
    assert set(store.opened(cassette)) == {"key-1", "key-2"}


def test_files_that_only_look_like_journals_do_no_harm(cassette: Path) -> None:
    merged(cassette, entry(1))
    for name in ("x", "1-2", "a-b-c-d", ""):
        (cassette.parent / f".{cassette.name}.{name}.journal").write_text("nonsense")
    (cassette.parent / f".{cassette.name}.journal").write_text("nonsense")
    assert set(store.opened(cassette)) == {"key-1"}


def test_a_journal_that_is_gone_was_merged_by_somebody_else(cassette: Path) -> None:
    waiting = journalled(cassette, entry(1))
    store.merge(cassette, [waiting], Redactor(), replace=False)
    store.merge(cassette, [waiting, cassette.parent / "never.journal"], Redactor(), replace=False)
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
    monkeypatch.setattr(journal, "_lock", lambda _fd, **_: None)
    own = journalled(cassette, entry(1))
    assert left_behind(cassette) == []
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    gone = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{done.pid}-"))
    own.rename(gone)
    assert left_behind(cassette) == [gone]
    elsewhere = gone.with_name(gone.name.replace(f".{journal._host()}-", ".ffffff-"))
    gone.rename(elsewhere)
    assert left_behind(cassette) == []


FORKING = """
import os, sys
from pathlib import Path
from pytest_llmops.cassettes.journal import Entry, Journal

def entry(key):
    body = {"text": ""}
    answer = {"status": 200, "body": body}
    return Entry("#1", key, "0", 0, {"method": "GET", "url": "http://h/", "body": body}, answer)

one = Journal(Path(sys.argv[1]))
one.append(entry("before"))
child = os.fork()
if not child:
    one.append(entry("child"))
    os._exit(0)
os.waitpid(child, 0)
one.append(entry("after"))
"""


@posix_only
def test_a_forked_child_writes_a_journal_of_its_own(cassette: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKING, str(cassette)], check=True)
    assert len(left_behind(cassette)) == 2
    assert set(store.opened(cassette)) == {"before", "child", "after"}


# --- processes ---


@contextmanager
def child(
    cassette: Path, url: str, first: int, last: int, mode: str = "new"
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, recording_child.__file__, str(cassette), url, mode, str(first), str(last)]
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


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@posix_only
@pytest.mark.parametrize("answers", [1, 3])
def test_a_killed_run_loses_no_paid_answer(cassette: Path, answers: int) -> None:
    with StubServer() as server, child(cassette, server.url, 0, 9) as process:
        for number in range(answers):
            assert said(process) == str(number)
            if number < answers - 1:
                go_on(process)
        assert store.opened(cassette) == {}
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert server.count == answers
    assert len(store.opened(cassette)) == answers
    merged(cassette, entry(100))
    assert len(store.load(cassette)) == answers + 1
    assert files(cassette.parent) == [cassette.name]


@posix_only
def test_a_run_killed_at_its_end_loses_nothing(cassette: Path) -> None:
    with StubServer() as server, child(cassette, server.url, 0, 3) as process:
        for number in range(3):
            assert said(process) == str(number)
            go_on(process)
        assert said(process) == "closing"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(store.opened(cassette)) == 3


def test_two_processes_that_merge_into_one_cassette_lose_nothing(cassette: Path) -> None:
    with (
        StubServer() as server,
        child(cassette, server.url, 0, 4) as first,
        child(cassette, server.url, 2, 6) as second,
    ):
        for step in range(4):
            assert said(first) == str(step)
            assert said(second) == str(step + 2)
            if step < 3:
                go_on(first)
                go_on(second)
        go_on(first)
        go_on(second)
        assert [said(one) for one in (first, second) for _ in range(2)] == ["closing", "closed"] * 2
        assert server.count == 8
    found = store.load(cassette)
    assert sorted(json.dumps(one.request["body"]["json"]) for one in found.values()) == [
        f'{{"n": {number}}}' for number in range(6)
    ]
    assert all(len(one.answers["0"]) == 1 for one in found.values())
    assert [one.by for one in found.values()] == sorted(one.by for one in found.values())
    assert files(cassette.parent) == [cassette.name]
