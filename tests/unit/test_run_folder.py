from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.journal import lock_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders of killed runs are told by flock")


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def left_folder(folder: Path, name: str, *, alive: bool = True) -> Path:
    left = folder / f"pytest-llmops-run-{name}"
    (left / "ledger").mkdir(parents=True)
    if alive:
        (left / run_folder.ALIVE_FILE).touch()
    return left


def test_the_folder_of_a_killed_run_is_removed_by_the_next_one(tmp_path: Path) -> None:
    killed, being_made = left_folder(tmp_path, "killed"), left_folder(tmp_path, "new", alive=False)
    other = tmp_path / "pytest-other"
    other.mkdir()
    with run_folder.open_run_folder():
        assert not killed.exists()
        assert being_made.exists()
        assert other.exists()


def test_the_folder_of_a_run_that_goes_on_stays(tmp_path: Path) -> None:
    running = left_folder(tmp_path, "running")
    held = os.open(running / run_folder.ALIVE_FILE, os.O_RDWR)
    assert lock_file(held, exclusive=True)
    with run_folder.open_run_folder():
        outer = run_folder.current_folder()
        with run_folder.open_run_folder():  # a run inside of this one
            assert run_folder.current_folder() != outer
            assert outer.is_dir()
        assert (running / "ledger").is_dir()
        assert run_folder.current_folder() == outer
    assert not outer.exists()
    os.close(held)


def test_a_folder_that_is_gone_or_of_somebody_else_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_folder(tmp_path, "foreign")

    def refuse(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    run_folder.remove_abandoned_folders()
    assert left.is_dir()
