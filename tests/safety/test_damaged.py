"""A cassette that was cut, merged badly, swapped or made up: a clear error and the file as it was, never a silent loss."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cassettes import entry, journalled, merged, texts
from support.messages import check_message
from support.tapes import call, recorded

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.journal import find_abandoned_journals
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor

MARKERS = "<<<<<<< HEAD\none side\n||||||| base\nbefore\n=======\nother side\n>>>>>>> branch\n"
BODIES = {
    "plain": "an answer",
    "lines": "first\nsecond\n",
    "markers": MARKERS,
    "json": json.dumps({"diff": MARKERS, "list": [MARKERS, 1.5, None]}),
    "picture": json.dumps({"data": base64.b64encode(bytes(range(256)) * 12).decode()}),
    "stream": 'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n',
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cassette with a body of every kind."""
    made = tmp_path / "test_a.json"
    recorded(made, *BODIES.items())
    return made


def test_conflict_markers_inside_of_bodies_are_no_conflict(path: Path) -> None:
    tape = Tape(path)
    assert {name: call(tape, name, "-") for name in BODIES} == BODIES
    recorded(path, ("more " + MARKERS, MARKERS))
    two = Tape(path)
    assert call(two, "more " + MARKERS, "-") == MARKERS


def test_a_file_cut_at_any_byte_is_an_error(path: Path) -> None:
    whole = path.read_bytes()
    interactions, heads = store.parse_cassette(whole, path), set()
    for cut in range(len(whole)):
        if whole[cut:].isspace():
            assert store.parse_cassette(whole[:cut], path) == interactions
            continue
        with pytest.raises(CassetteError) as caught:
            store.parse_cassette(whole[:cut], path)
        assert str(caught.value).isprintable()
        heads.add(str(caught.value).partition(": ")[0])
    check_message(sorted(heads))


def test_a_file_with_a_hole_is_an_error_or_tells_no_other_answer(path: Path) -> None:
    whole = path.read_bytes()
    interactions, heads = store.parse_cassette(whole, path), set()
    for start in range(0, len(whole), 37):
        data = whole[:start] + b"\0" * 16 + whole[start + 16 :]
        with pytest.raises(CassetteError) as caught:
            store.parse_cassette(data, path)
        heads.add(str(caught.value).partition(": ")[0])
    check_message(sorted(heads))
    assert store.parse_cassette(whole, path) == interactions


@pytest.mark.parametrize("cut", [0, 1, 100, 500, -2])
def test_nothing_is_merged_into_half_a_file(path: Path, cut: int) -> None:
    half = path.read_bytes()[:cut]
    path.write_bytes(half)
    waiting, messages = journalled(path, entry(1)), set()
    for attempt in (
        lambda: Tape(path, "none"),
        lambda: Tape(path, "new"),
        lambda: Tape(path, "all"),
        lambda: store.merge_journals(path, [waiting], Redactor(), replace=True, keep={}),
    ):
        with pytest.raises(CassetteError) as caught:
            attempt()
        messages.add(str(caught.value))
    (message,) = messages
    assert str(path) in message
    check_message(message)
    assert path.read_bytes() == half
    assert find_abandoned_journals(path) == [waiting]


@pytest.mark.parametrize("style", ["--", "--diff3", "--zdiff3"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_what_git_makes_of_two_recordings_is_refused(tmp_path: Path, style: str, ends: str) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not there")
    versions = []
    for name, answer in (("ours", "one"), ("base", "two"), ("theirs", "three")):
        path = tmp_path / name / "test_a.json"
        recorded(path, ("a", answer), ("b", "same"))
        path.write_bytes(path.read_bytes().replace(b"\n", ends.encode()))
        versions.append(str(path))
    done = subprocess.run(
        ["git", "merge-file", "-p", *([] if style == "--" else [style]), *versions],
        capture_output=True,
        check=False,
    )
    if done.returncode > 127 or not done.stdout:
        pytest.skip("this git does not know the style")
    path = tmp_path / "test_a.json"
    path.write_bytes(done.stdout)
    with pytest.raises(CassetteError, check=check_message):
        Tape(path, "new")
    assert path.read_bytes() == done.stdout


HUGE = "9" * 5_000
WHOLE = {
    "format": 1,
    "interactions": [
        {
            "by": "#001",
            "key": "k",
            "request": {"method": "GET", "url": "http://h/", "body": {"text": ""}},
            "answers": {"0": [{"status": 200, "body": {"text": "x"}, "latency_s": 0.5}]},
        }
    ],
}
ODD = {
    "a format": ('"format": 1', f'"format": {HUGE}'),
    "a format that is no end": ('"format": 1', '"format": 1e999'),
    "a place": ('"#001"', f'"#{HUGE}"'),
    "a take": ('"0": [', f'"{HUGE}": ['),
    "a status": ('"status": 200', f'"status": {HUGE}'),
    "a large status": ('"status": 200', '"status": ' + "9" * 400),
    "a latency": ('"latency_s": 0.5', f'"latency_s": {HUGE}.5'),
    "a latency without end": ('"latency_s": 0.5', '"latency_s": 1e999'),
    "a latency that is none": ('"latency_s": 0.5', '"latency_s": NaN'),
}


HARMLESS = {"a place", "a large status", "a latency", "a latency without end", "a latency that is none"}


@pytest.mark.parametrize("what", ODD)
def test_huge_numbers_are_an_error_or_harmless(tmp_path: Path, what: str) -> None:
    path = tmp_path / "test_a.json"
    data = json.dumps(WHOLE).replace(*ODD[what])
    assert data != json.dumps(WHOLE)
    path.write_text(data)
    waiting = journalled(path, entry(1))
    if what in HARMLESS:
        store.merge_journals(path, [waiting], Redactor(), replace=False)
        assert set(store.load_cassette(path)) == {"k", "key-1"}
        return
    with pytest.raises(CassetteError) as caught:
        store.merge_journals(path, [waiting], Redactor(), replace=False)
    check_message(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert path.read_text() == data
    assert waiting.exists()


@pytest.mark.parametrize("n", ["-1", HUGE, "1e999", "true", "0.5", "null"])
def test_a_journal_with_an_odd_number_loses_nothing_else(tmp_path: Path, n: str) -> None:
    path = tmp_path / "test_a.json"
    waiting = journalled(path, entry(1), entry(2))
    first, second = waiting.read_text().splitlines()
    waiting.write_text(first.replace('"n": 0', f'"n": {n}') + "\n" + second + "\n")
    assert "key-2" in store.load_with_journals(path)
    store.merge_journals(path, [waiting], Redactor(), replace=False)
    assert texts(path)["key-2"] == {"0": ["answer 2"]}


def test_a_folder_in_place_of_the_file_is_an_error(path: Path) -> None:
    path.unlink()
    path.mkdir()
    waiting = journalled(path, entry(1))
    for attempt in (
        lambda: Tape(path, "new"),
        lambda: store.merge_journals(path, [waiting], Redactor(), replace=False),
    ):
        with pytest.raises(CassetteError, check=check_message):
            attempt()
    assert waiting.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.json"
    merged(real, entry(1))
    link = tmp_path / "cassettes" / "test_a.json"
    link.parent.mkdir()
    link.symlink_to("../elsewhere/real.json")
    tape = Tape(link, "new")
    call(tape, "a", "1")
    assert find_abandoned_journals(link) == []
    tape.close()
    assert link.is_symlink()
    assert len(store.load_cassette(real)) == 2
    assert sorted(path.name for path in link.parent.iterdir()) == ["test_a.json"]
    assert sorted(path.name for path in real.parent.iterdir()) == ["real.json"]
    link.unlink()
    link.symlink_to("nowhere/yet.json")
    recorded(link, ("a", "2"))
    assert link.is_symlink()
    assert call(Tape(link.parent / "nowhere" / "yet.json"), "a", "-") == "2"


def test_journals_of_a_cassette_whose_name_begins_like_another_s_are_its_own(tmp_path: Path) -> None:
    short, long = tmp_path / "a.json", tmp_path / "a.json.b.json"
    waiting = journalled(long, entry(1))
    assert find_abandoned_journals(short) == []
    merged(short, entry(2))
    assert find_abandoned_journals(long) == [waiting]
    assert set(texts(short)) == {"key-2"}


def test_a_name_as_long_as_file_systems_take_has_a_journal(tmp_path: Path) -> None:
    first, second = (tmp_path / ("x" * 240 + f"{number}.json") for number in (1, 2))
    waiting = journalled(first, entry(1))
    merged(second, entry(2))
    assert find_abandoned_journals(first) == [waiting]
    assert find_abandoned_journals(second) == []
    merged(first, entry(3))
    assert set(texts(first)) == {"key-1", "key-3"}
