"""``llmops cassettes move``: recordings of renamed tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cassettes import entry, merged, texts
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cassettes.audit import StaleAnswers
from pytest_llmops.cassettes.usage_record import RunUsage
from pytest_llmops.cli.cassettes import _describe_stale

OLD = "cassettes/old.json"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    merged(tmp_path / OLD, entry(1), entry(2))
    return tmp_path


def test_one_cassette_is_moved(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = texts(project / OLD)
    assert cli.main(["cassettes", "move", OLD, "cassettes/new.json"]) == 0
    assert texts(project / "cassettes/new.json") == before
    assert not (project / OLD).exists()
    check_message(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("files", [[OLD], [OLD, "new.txt"], [OLD, "a.json", "b.json"]])
def test_a_move_needs_two_cassettes(
    project: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cassettes", "move", *files]) == 2
    check_message(capsys.readouterr().err)
    assert [path.name for path in (project / "cassettes").iterdir()] == ["old.json"]


def test_without_files_the_moves_of_the_last_run_are_made(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged(project / "cassettes/other.json", entry(3))
    moved = {OLD: ("cassettes/a.json", "cassettes/b.json"), "cassettes/other.json": ("cassettes/c.json",)}
    usage = RunUsage("2026-01-02T03:04:05+00:00", str(project), moved=moved)
    path = project / ".pytest_cache/v/llmops/usage"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(usage.to_wire()))
    assert cli.main(["cassettes", "move"]) == 0
    check_message(capsys.readouterr().out)
    assert {path.name: sorted(texts(path)) for path in (project / "cassettes").iterdir()} == {
        "a.json": ["key-1", "key-2"],
        "b.json": ["key-1", "key-2"],
        "c.json": ["key-3"],
    }


def test_without_a_record_of_a_run_nothing_is_moved(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cassettes", "move"]) == 2
    check_message(capsys.readouterr().err)
    assert (project / OLD).exists()


def test_stale_answers_are_listed_by_file_with_their_first_keys() -> None:
    stale = [StaleAnswers("a.json", "#1", f"k{number}", "0", 2) for number in range(6)]
    stale += [StaleAnswers("b.json", "#1", "k", "0", 1), StaleAnswers("a.json", "#1", "k0", "1", 1)]
    listed = list(_describe_stale(stale))
    assert [(file, text.split()[0]) for file, text in listed] == [("a.json", "13"), ("b.json", "1")]
    check_message(listed)
