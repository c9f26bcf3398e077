from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import answer, entry, files, journalled, merged, request, texts
from support.messages import check_message

from pytest_llmops.cassettes import locking as files_
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.faults.takes import FIRST_FAULT_TAKE
from pytest_llmops.cassettes.journal import Journal, JournalEntry
from pytest_llmops.cassettes.tool_questions import FUNCTION
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body, unfold_body

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX")


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
    assert store.load_cassette(cassette) == {}
    assert store.load_with_journals(cassette) == {}
    assert store.read_recording_day(cassette) == ""


def test_the_order_is_by_test_and_place(cassette: Path) -> None:
    places = ["a#001", "a#002", "a#999", "a#1000", "b#001", "odd"]
    merged(cassette, *(entry(9 - number, by=by) for number, by in enumerate(places)))
    interactions = json.loads(cassette.read_text())["interactions"]
    assert [row["by"] for row in interactions] == places


def test_the_file_is_readable_and_dated(cassette: Path) -> None:
    merged(cassette, entry(1, "ä"))
    text = cassette.read_text(encoding="utf-8")
    assert '"text": "ä"' in text
    assert text.endswith("}\n")
    assert store.read_recording_day(cassette) == json.loads(text)["recorded"]


def test_the_first_answer_stays_unless_it_is_replaced(cassette: Path) -> None:
    merged(cassette, entry(1, "first"))
    merged(cassette, entry(1, "second"), entry(2))
    assert texts(cassette)["key-1"] == {"0": ["first"]}
    merged(cassette, entry(1, "third", by="#009"), replace=True)
    assert texts(cassette)["key-1"] == {"0": ["third"]}
    assert store.load_cassette(cassette)["key-1"].by == "#009"
    assert "key-2" in texts(cassette)


def test_keep_drops_what_was_not_requested(cassette: Path) -> None:
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
    stored = {**WHOLE["interactions"][0], "answers": value}
    return json.dumps({**WHOLE, "interactions": [stored]})


def without(key: str) -> str:
    stored = {name: value for name, value in WHOLE["interactions"][0].items() if name != key}
    return json.dumps({**WHOLE, "interactions": [stored]})


DAMAGED: dict[str, str | bytes] = {
    "empty": "",
    "half": json.dumps(WHOLE)[: len(json.dumps(WHOLE)) // 2],
    "merge conflict": CONFLICT,
    "merge conflict with CRLF": CONFLICT.replace("\n", "\r\n"),
    "half a merge conflict": CONFLICT.replace("<<<<<<< HEAD\n", ""),
    "not UTF-8": json.dumps(WHOLE).encode().replace(b"answer", b"\xff\xfe") + b"\xff",
    "nested too deeply": "[" * 100_000,
    "binary": bytes(range(256)),
    "a list": "[]",
    "a text": '"x"',
    "null": "null",
    "no format": '{"interactions": []}',
    "a newer format": '{"format": 2, "interactions": []}',
    "a hostile format": json.dumps({"format": "\x1b[2J\n" * 99}),
    "no interactions": '{"format": 1}',
    "interactions is an object": '{"format": 1, "interactions": {"a": 1}}',
    "interactions is null": '{"format": 1, "interactions": null}',
    "an interaction is a text": '{"format": 1, "interactions": ["x"]}',
    **{f"no {key}": without(key) for key in ("by", "key", "request", "answers")},
    "a key that is a list": json.dumps({**WHOLE, "interactions": [{**WHOLE["interactions"][0], "key": ["k"]}]}),
    "answers is a list": with_answer([answer("a")]),
    "a take is no number": with_answer({"first": [answer("a")]}),
    "a take is an object": with_answer({"0": answer("a")}),
    "an answer is a text": with_answer({"0": ["a"]}),
    "an answer without a status": with_answer({"0": [{"body": {"text": ""}}]}),
    "a status that is a text": with_answer({"0": [{**answer("a"), "status": "200"}]}),
    "headers that are a list": with_answer({"0": [{**answer("a"), "headers": []}]}),
    "an answer without a body": with_answer({"0": [{"status": 200}]}),
    "a body of no form": with_answer({"0": [{**answer("a"), "body": {"x": 1}}]}),
    "a body of a wrong type": with_answer({"0": [{**answer("a"), "body": {"text": 5}}]}),
    "a latency that is a text": with_answer({"0": [{**answer("a"), "latency_s": "1"}]}),
    "a request without a body": json.dumps({**WHOLE, "interactions": [{**WHOLE["interactions"][0], "request": {}}]}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_clear_error_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    content = DAMAGED[kind]
    path = tmp_path / "test_a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = path.read_bytes()
    waiting = journalled(path, entry(7))
    for attempt in (
        lambda: store.load_cassette(path),
        lambda: store.load_with_journals(path),
        lambda: store.merge_journals(path, [waiting], Redactor(), replace=True, keep={}),
    ):
        with pytest.raises(CassetteError) as caught:
            attempt()
        check_message(caught.value)
        assert str(caught.value).isprintable()
    assert path.read_bytes() == before
    assert waiting.exists()


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    merged(path, entry(1), entry(2))
    whole = path.read_bytes()
    for length in range(len(whole) - 2):
        with pytest.raises(CassetteError):
            store.parse_cassette(whole[:length], path)
    assert len(store.parse_cassette(whole[:-1], path)) == 2


def test_a_body_that_nests_too_deeply_cannot_be_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_document: object) -> str:
        raise RecursionError

    monkeypatch.setattr(store, "format_json", fail)  # how deep is too deep depends on Python
    with pytest.raises(CassetteError, check=check_message):
        store.format_cassette([], "2026-12-01")


def test_conflict_markers_inside_a_body_are_no_damage(cassette: Path) -> None:
    merged(cassette, entry(1, "<<<<<<< HEAD\n=======\n>>>>>>> branch\n"))
    assert texts(cassette)["key-1"]["0"] == ["<<<<<<< HEAD\n=======\n>>>>>>> branch\n"]


def test_both_sides_of_a_git_merge_count_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    stored = WHOLE["interactions"][0]
    twin = {**stored, "by": "#002", "answers": {"0": [answer("b")], "1": [answer("c")]}}
    path.write_text(json.dumps({**WHOLE, "interactions": [stored, twin]}))
    assert texts(path) == {"k": {"0": ["a"], "1": ["c"]}}


def test_a_byte_order_mark_of_an_editor_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(WHOLE).encode())
    assert set(store.load_cassette(path)) == {"k"}


def test_a_file_in_place_of_the_folder_is_an_error(cassette: Path) -> None:
    cassette.parent.write_text("a file")
    for attempt in (
        lambda: store.load_with_journals(cassette),
        lambda: store.merge_journals(cassette, [], Redactor(), replace=False),
        lambda: Journal(cassette).append(entry(1)),
    ):
        with pytest.raises(CassetteError, check=check_message):
            attempt()
    assert cassette.parent.read_text() == "a file"


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_a.json").mkdir()
    with pytest.raises(CassetteError, check=check_message):
        store.load_cassette(tmp_path / "test_a.json")


def test_a_read_only_folder_is_an_error_and_loses_nothing(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its refusal is patched in, as rights do not bind root; tests/safety takes them from a process."""
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2))

    def refused(_: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(target))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refused)
        with pytest.raises(CassetteError, check=check_message):
            store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert cassette.read_bytes() == before
    assert files(cassette.parent) == [".journal", f".journal/{waiting.name}", cassette.name]
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2"}


@pytest.mark.slow
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
        with pytest.raises(CassetteError, check=check_message):
            store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert cassette.read_bytes() == before
    assert files(cassette.parent) == [".journal", f".journal/{waiting.name}", cassette.name]
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2"}
    assert files(cassette.parent) == [cassette.name]


def test_a_file_with_a_secret_is_refused(cassette: Path) -> None:
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2, "the secret is hunter2hunter2"))
    with pytest.raises(CassetteError, check=check_message) as caught:
        store.merge_journals(cassette, [waiting], Redactor(known={"hunter2hunter2"}), replace=False)
    assert str(waiting) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert cassette.read_bytes() == before


def test_what_a_killed_writer_left_is_swept(cassette: Path) -> None:
    merged(cassette, entry(1))
    workshop = cassette.parent / ".journal"
    workshop.mkdir()
    (workshop / f"{cassette.name}.0123abcd.tmp").write_text("half")
    (workshop / "other.json.0123abcd.tmp").write_text("not ours")
    merged(cassette, entry(2))
    assert files(cassette.parent) == [".journal", ".journal/other.json.0123abcd.tmp", cassette.name]


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
        store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    finally:
        os.umask(before)
    assert cassette.stat().st_mode & 0o777 == 0o600


def test_lone_surrogates_of_a_hostile_header_pass(cassette: Path) -> None:
    hostile = {**answer("a"), "headers": {"content-type": "text/\udcff"}}
    merged(cassette, JournalEntry("#001", "k", "0", 0, request(1), hostile))
    assert store.load_cassette(cassette)["k"].answers["0"][0]["headers"] == {"content-type": "text/\udcff"}


@posix_only
def test_a_lock_folder_of_somebody_else_is_refused(
    cassette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = journalled(cassette, entry(1))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    with pytest.raises(CassetteError, check=check_message):
        store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert waiting.exists()


def test_nobody_merges_between_reading_and_replacing(cassette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = journalled(cassette, entry(1)), journalled(cassette, entry(2))
    real = store.format_cassette
    refused: list[str] = []

    def interrupted(*args: Any) -> str:
        monkeypatch.setattr(store, "format_cassette", real)
        monkeypatch.setattr(files_, "LOCK_TIMEOUT_S", 0.0)
        with ThreadPoolExecutor(1) as pool:
            merging = pool.submit(store.merge_journals, cassette, [theirs], Redactor(), replace=False)
            refused.append(str(merging.exception()))
        return real(*args)

    monkeypatch.setattr(store, "format_cassette", interrupted)
    store.merge_journals(cassette, [mine], Redactor(), replace=False)
    check_message(refused[0])


def test_a_merge_that_hangs_is_not_waited_for_for_ever(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_, "LOCK_TIMEOUT_S", 0.0)
    waiting = journalled(cassette, entry(1))
    with files_.lock_cassette(cassette), pytest.raises(CassetteError, check=check_message):
        store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert waiting.exists()


def test_a_journal_that_is_being_written_does_not_stop_the_others(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a thread of another process would, which has come between the look for journals and their reading."""
    busy = Journal(cassette)
    busy.append(entry(1))
    first, last = journalled(cassette, entry(2)), journalled(cassette, entry(3))
    left = [busy.paths[0], first]
    with monkeypatch.context() as patched:
        patched.setattr(store, "find_abandoned_journals", lambda path: left if path == cassette else [])
        assert set(store.load_with_journals(cassette)) == {"key-2"}
        store.merge_journals(cassette, [last], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-2", "key-3"}
    assert not first.exists()
    busy.append(entry(4))
    busy.close()
    assert set(store.load_with_journals(cassette)) == {"key-1", "key-2", "key-3", "key-4"}
    store.merge_journals(cassette, busy.paths, Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2", "key-3", "key-4"}
    assert files(cassette.parent) == [cassette.name]


def test_a_merge_that_takes_nothing_in_writes_nothing(cassette: Path) -> None:
    merged(cassette, entry(1))
    before = cassette.stat().st_mtime_ns, cassette.stat().st_ino
    busy = Journal(cassette)
    busy.append(entry(2))
    store.merge_journals(cassette, busy.paths, Redactor(), replace=False)
    assert (cassette.stat().st_mtime_ns, cassette.stat().st_ino) == before
    busy.close()


def test_a_cassette_that_is_gone_meanwhile_is_made_again(cassette: Path) -> None:
    merged(cassette, entry(1))
    assert set(store.load_with_journals(cassette)) == {"key-1"}
    waiting = journalled(cassette, entry(2))
    cassette.unlink()
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-2"}


def test_a_journal_that_cannot_be_removed_is_taken_in_once(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = journalled(cassette, entry(1), entry(1, "again", n=1))
    real = Path.unlink

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        if self == waiting:
            raise PermissionError(13, "in use", str(self))
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert waiting.exists()
    merged(cassette, entry(2))
    assert texts(cassette) == {"key-1": {"0": ["answer 1", "again"]}, "key-2": {"0": ["answer 2"]}}
    assert files(cassette.parent) == [cassette.name]


def test_an_answer_that_replaces_and_one_that_does_not(cassette: Path) -> None:
    merged(cassette, entry(1), entry(2), entry(2, "second", n=1))
    again = dataclasses.replace(entry(1, "again"), again=True)
    merged(cassette, again, entry(2, "late"))
    assert texts(cassette) == {"key-1": {"0": ["again"]}, "key-2": {"0": ["answer 2", "second"]}}


def test_a_cassette_is_rewritten(cassette: Path) -> None:
    merged(cassette, entry(1), entry(2))
    kept = [store.load_cassette(cassette)["key-2"]]
    store.rewrite_cassette(cassette, lambda: kept, Redactor(), "2026-01-31")
    assert set(texts(cassette)) == {"key-2"}
    assert store.read_recording_day(cassette) == "2026-01-31"
    before = cassette.read_bytes()
    with pytest.raises(CassetteError) as caught:
        store.rewrite_cassette(cassette, lambda: kept, Redactor(known={"answer 2"}), "2026-01-31")
    assert str(cassette) in str(caught.value)
    assert "answer 2" not in str(caught.value)
    assert cassette.read_bytes() == before
    with pytest.raises(KeyError):
        store.rewrite_cassette(cassette, lambda: [store.load_cassette(cassette)["key-1"]], Redactor(), "")
    assert cassette.read_bytes() == before


def test_a_cassette_is_removed_also_when_it_is_gone(cassette: Path) -> None:
    merged(cassette, entry(1))
    for _ in range(2):
        store.rewrite_cassette(cassette, lambda: None, Redactor(), "")
        assert not cassette.exists()


def test_a_cassette_that_cannot_be_removed_is_an_error(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(cassette, entry(1))
    before = cassette.read_bytes()

    def refuse(self: Path, **_: bool) -> None:
        raise PermissionError(13, "in use", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(CassetteError) as caught:
            store.rewrite_cassette(cassette, lambda: None, Redactor(), "")
    assert str(cassette) in str(caught.value)
    assert "in use" in str(caught.value)
    assert cassette.read_bytes() == before
    merged(cassette, entry(2))  # its lock was given back
    assert set(texts(cassette)) == {"key-1", "key-2"}


def test_a_journal_that_was_left_behind_adds_to_a_cassette_and_replaces_nothing(cassette: Path) -> None:
    merged(cassette, entry(1, "first"))
    journalled(cassette, entry(1, "another first"), entry(1, "second", n=1))
    listed = store.load_with_journals(cassette)["key-1"].answers["0"]
    assert [answer["body"]["text"] for answer in listed] == ["first", "second"]


def test_an_answer_is_as_old_as_its_file_unless_it_has_a_day_of_its_own(tmp_path: Path) -> None:
    answers = {"0": [answer("a"), {**answer("b"), "recorded": "2025-05-05"}], "1": [answer("c")]}
    interactions = [{**WHOLE["interactions"][0], "answers": answers}]
    path = tmp_path / "test_a.json"
    path.write_text(json.dumps({**WHOLE, "interactions": interactions}))
    (held,) = store.load_cassette(path).values()
    days = [one["recorded"] for take in held.answers.values() for one in take]
    assert days == ["2026-01-01", "2025-05-05", "2026-01-01"]


def test_an_answer_of_a_file_without_a_day_has_none(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    path.write_text(json.dumps({name: value for name, value in WHOLE.items() if name != "recorded"}))
    (held,) = store.load_cassette(path).values()
    assert held.answers["0"][0]["recorded"] == ""


def test_a_merge_keeps_the_day_of_each_answer(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    path.write_text(json.dumps(WHOLE))
    merged(path, entry(2))
    today = store.read_recording_day(path)
    assert today > "2026-01-01"
    days = {key: one.answers["0"][0]["recorded"] for key, one in store.load_cassette(path).items()}
    assert days == {"k": "2026-01-01", "key-2": today}
    wires = json.loads(path.read_text())["interactions"]
    assert [one["answers"]["0"][0].get("recorded") for one in wires] == ["2026-01-01", None]


# The text of a file.


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ({}, ["{}"]),
        ([], ["[]"]),
        ("a\n", ['"a\\n"']),
        ({"a": [1, 2.5]}, ["{", ' "a": [1, 2.5]', "}"]),
        ([[True, 1]], ["[", " [", "  true,", "  1", " ]", "]"]),
        (["a", None], ["[", ' "a",', " null", "]"]),
        ({"$blob": "x"}, ['{"$blob": "x"}']),
        ({"$numbers": "x"}, ['{"$numbers": "x"}']),
        ({"blob": "x"}, ["{", ' "blob": "x"', "}"]),
        ({"headers": {"a": 1}, "payload": "x"}, ['{"headers": {"a": 1}, "payload": "x"}']),
        ({"headers": "a", "body": "x"}, ["{", ' "headers": "a",', ' "body": "x"', "}"]),
        ([[111] * 20], ["[", f" {[111] * 20}", "]"]),
        ([[1111] * 17], ["[", " [", *["  1111,"] * 16, "  1111", " ]", "]"]),
    ],
)
def test_a_value_is_a_line_or_a_block(value: object, lines: list[str]) -> None:
    assert store.format_json(value).split("\n") == lines
    assert json.loads(store.format_json(value)) == value


def test_a_list_of_numbers_is_a_line_as_long_as_it_fits() -> None:
    fitting = [1234567] * 11  # 99 characters
    assert len(json.dumps(fitting)) == store.MAX_LIST_WIDTH - 1
    assert store.format_json([*fitting[:-1], 12345678]) == json.dumps([*fitting[:-1], 12345678])
    assert "\n" in store.format_json([*fitting[:-1], 123456789])


def test_long_bytes_are_at_the_end_of_the_file_and_come_back(cassette: Path) -> None:
    body = fold_body(bytes(range(256)) * 4)
    number = entry(1)
    long = dataclasses.replace(number, answer={**number.answer, "body": body})
    merged(cassette, long)
    document = json.loads(cassette.read_text())
    assert list(document) == ["format", "recorded", "interactions", "blobs"]
    (text,) = document["blobs"].values()
    assert text not in json.dumps(document["interactions"])
    (held,) = store.load_cassette(cassette).values()
    assert unfold_body(held.answers["0"][0]["body"]) == bytes(range(256)) * 4
    again = cassette.read_bytes()
    merged(cassette, entry(1))
    assert cassette.read_bytes() == again


def test_a_number_of_too_many_digits_is_a_part_of_the_name(cassette: Path) -> None:
    places = ["a#2", f"a#{10**11}", f"a#1{'0' * 12}", f"a#9{'0' * 5000}", "b#1"]
    merged(cassette, *(entry(9 - number, by=by) for number, by in enumerate(places)))
    assert [row["by"] for row in json.loads(cassette.read_text())["interactions"]] == places


def test_the_takes_of_a_request_are_in_the_order_of_their_numbers(cassette: Path) -> None:
    merged(cassette, *(entry(1, take=take) for take in ("10", "0", "9")))
    (row,) = json.loads(cassette.read_text())["interactions"]
    assert list(row["answers"]) == ["0", "9", "10"]


# What is read of a file.


def test_the_answered_requests_of_a_test_are_listed_in_its_order() -> None:
    tool = store.Interaction(
        "t#003", "tool", {**request(9), "url": f"{FUNCTION}:search"}, {"0": [answer("tool")]}
    )
    interactions = [
        tool,
        store.Interaction("t#010", "c", request(3), {"0": [answer("third")]}),
        store.Interaction("other#001", "d", request(4), {"0": [answer("other")]}),
        store.Interaction("t#004", "e", request(5), {"1": [answer("another take")]}),
        store.Interaction("t#005", "f", request(6), {"0": []}),
        store.Interaction("t#002", "b", request(2), {"0": [answer("older"), answer("second")]}),
        store.Interaction("#001", "a", request(1), {"0": [answer("first")]}),
    ]

    def list_texts(take: str) -> list[bytes]:
        return [one.body for one in store.list_answered_requests(interactions, "t", take)]

    assert list_texts("0") == [b"first", b"second", b"third"]
    assert list_texts("1") == [b"another take"]


@pytest.mark.parametrize(
    ("data", "is_own"),
    [
        (b'{"format": 1}', True),
        (b'{\n "format": 1,', True),
        (b'{"interactions": [], "format": 1}', False),
        (b"interactions:\n- request:", False),
        (b"", False),
    ],
)
def test_a_file_begins_like_a_cassette_of_ours_or_does_not(
    tmp_path: Path, data: bytes, *, is_own: bool
) -> None:
    path = tmp_path / "test_a.json"
    path.write_bytes(data)
    assert store.is_own_cassette(path) is is_own
    assert store.is_own_cassette(tmp_path / "none.json") is False


def test_the_highest_take_is_that_of_the_test_and_not_of_a_fault(cassette: Path) -> None:
    assert store.find_highest_take([cassette]) == -1
    merged(cassette, entry(1), entry(2, take="3"), entry(3, take=str(FIRST_FAULT_TAKE)))
    other = cassette.with_name("test_b.json")
    journalled(other, entry(1, take="1"))
    assert store.find_highest_take([cassette, other]) == 3
    assert store.find_highest_take([other]) == 1


# What a merge keeps and drops.


def test_a_merge_takes_in_adopted_interactions_and_answers_of_a_run(cassette: Path) -> None:
    merged(cassette, entry(1, "own"))
    adopted = [
        store.Interaction("#009", "key-1", request(1), {"0": [answer("adopted")]}),
        store.Interaction("#010", "key-2", request(2), {"0": [answer("adopted")]}),
    ]
    store.merge_journals(cassette, [], Redactor(), replace=False, adopted=adopted)
    assert texts(cassette) == {"key-1": {"0": ["own"]}, "key-2": {"0": ["adopted"]}}
    store.merge_journals(cassette, [], Redactor(), replace=False, entries=[entry(3)])
    assert set(texts(cassette)) == {"key-1", "key-2", "key-3"}


def test_takes_are_dropped_with_requests_that_have_no_other(cassette: Path) -> None:
    merged(cassette, entry(1), entry(1, "b", take="1"), entry(2))
    dropped = [("key-1", "1"), ("key-2", "0"), ("key-2", "5"), ("none", "0")]
    merged(cassette, entry(3), dropped=dropped)
    assert texts(cassette) == {"key-1": {"0": ["answer 1"]}, "key-3": {"0": ["answer 3"]}}


def test_of_a_take_that_was_made_only_requested_answers_are_kept(cassette: Path) -> None:
    merged(cassette, entry(1), entry(1, "b", n=1), entry(2), entry(2, "t", take="1"), entry(3), entry(4))
    keep = {("key-1", "0"): 1, ("key-4", ""): 0, ("", "0"): 0}
    store.merge_journals(cassette, [], Redactor(), replace=False, keep=keep)
    kept = [
        (key, take, texts_of_take)
        for key, takes in texts(cassette).items()
        for take, texts_of_take in takes.items()
        if texts_of_take
    ]
    assert kept == [("key-1", "0", ["answer 1"]), ("key-2", "1", ["t"]), ("key-4", "0", ["answer 4"])]
