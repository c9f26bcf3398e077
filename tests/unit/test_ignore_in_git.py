"""The line in .gitignore that keeps the outputs of a baseline out of git."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.git import commit, git

from pytest_llmops._util.git import ignore_in_git
from pytest_llmops.harness.acceptance import _describe_commit

NAME = "llmops-baseline-outputs.json.gz"


@pytest.mark.slow
def test_a_line_is_added_once_and_the_file_of_the_user_kept(tmp_path: Path) -> None:
    commit(tmp_path, "first", **{".gitignore": "*.log", "qa/readme": ""})
    assert _describe_commit(tmp_path / NAME) == f"commit it, and .gitignore, which now has a line for {NAME}"
    assert (tmp_path / ".gitignore").read_text() == f"*.log\n/{NAME}\n"
    assert _describe_commit(tmp_path / NAME) == "commit it"
    assert (
        ignore_in_git(tmp_path / "qa" / NAME) == "added"
    )  # the line is anchored: it holds for its own folder
    assert (tmp_path / "qa" / ".gitignore").read_text() == f"/{NAME}\n"
    (tmp_path / NAME).touch()
    git(tmp_path, "add", "-A")
    assert NAME not in git(tmp_path, "ls-files")


def test_without_git_or_with_a_tracked_file_nothing_is_written(tmp_path: Path) -> None:
    assert _describe_commit(tmp_path / NAME) == f"commit it, and keep {NAME} out of git"
    assert list(tmp_path.iterdir()) == []
    commit(tmp_path, "outputs too", **{NAME: "x"})
    advice = f"commit it, and take the answers out of git: git rm --cached {NAME}"
    assert _describe_commit(tmp_path / NAME) == advice
    assert not (tmp_path / ".gitignore").exists()


def test_a_gitignore_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    commit(tmp_path, "first", readme="")
    (tmp_path / ".gitignore").write_bytes(b"\xff\n")
    assert ignore_in_git(tmp_path / NAME) == "no git"
    assert (tmp_path / ".gitignore").read_bytes() == b"\xff\n"
