"""The lines for coding agents in an AGENTS.md: added once, kept up to date, and nothing else touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.cli import agents_file
from pytest_llmops.cli.agents_file import BEGIN, END, LINES, replace_lines, update_agents_file

Init = Callable[..., str]
OWN = "\n".join(LINES)
OLDER = f"{BEGIN}\n- what an older version wrote\n{END}"


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Init:
    """Run ``llmops init`` in a folder, and give what it prints."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> str:
        assert cli.main(["init", *argv]) == 0
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", f"{OWN}\n".encode()),
        (b"# Mine\n", f"# Mine\n\n{OWN}\n".encode()),
        (b"# Mine", f"# Mine\n\n{OWN}\n".encode()),
        (b"# Mine\n\n", f"# Mine\n\n{OWN}\n".encode()),
        (b"# Mine\r\n", f"# Mine\n\n{OWN}\n".replace("\n", "\r\n").encode()),
        (b"\xef\xbb\xbf# Mine\n", b"\xef\xbb\xbf" + f"# Mine\n\n{OWN}\n".encode()),
        (f"a\n{OLDER}\nb".encode(), f"a\n{OWN}\nb".encode()),
        (f"a\r\n{OLDER}\r\nb".encode(), f"a\n{OWN}\nb".replace("\n", "\r\n").encode()),
    ],
    ids=[
        "empty",
        "end",
        "no end",
        "blank line",
        "windows",
        "mark of the encoding",
        "older",
        "older, windows",
    ],
)
def test_the_lines_are_added_once_and_older_ones_are_replaced(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    path = tmp_path / "AGENTS.md"
    path.write_bytes(before)
    assert update_agents_file(path).status == "written"
    assert path.read_bytes() == after
    assert update_agents_file(path).status == "unchanged"
    assert path.read_bytes() == after


@pytest.mark.parametrize(
    "content",
    [
        b"# \xfc",
        "# Mine".encode("utf-16"),
        BEGIN.encode(),
        END.encode(),
        f"{END}\n{BEGIN}".encode(),
        f"{OLDER}\n{OLDER}".encode(),
    ],
    ids=["latin-1", "utf-16", "begin", "end", "turned", "twice"],
)
def test_what_cannot_be_understood_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "AGENTS.md"
    path.write_bytes(content)
    update = update_agents_file(path)
    assert update.status == "left alone"
    check_message(update.why)
    assert path.read_bytes() == content


def test_a_file_that_may_not_be_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "AGENTS.md"
    path.write_bytes(b"# Mine\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(agents_file, "write_atomically", refuse)
    check_message(update_agents_file(path).why)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a user with all rights may write a read-only file
    check_message(update_agents_file(path).why)
    assert path.read_bytes() == b"# Mine\n"


def test_a_link_stays_a_link_and_a_folder_or_a_broken_link_is_no_file(tmp_path: Path, init: Init) -> None:
    (tmp_path / "shared.md").write_bytes(b"# Ours\n")
    (tmp_path / "AGENTS.md").symlink_to("shared.md")
    assert "written     AGENTS.md" in init()
    assert (tmp_path / "AGENTS.md").is_symlink()
    assert (tmp_path / "shared.md").read_text().endswith(f"{OWN}\n")
    (tmp_path / "shared.md").unlink()
    assert "AGENTS.md" not in init()
    (tmp_path / "AGENTS.md").unlink()
    (tmp_path / "AGENTS.md").mkdir()
    check_message(init().partition("next")[0].splitlines())


def test_init_adds_the_lines_to_a_file_that_exists_and_makes_none(tmp_path: Path, init: Init) -> None:
    assert json.loads(init("--json"))["agents_file"] == {}
    assert not (tmp_path / "AGENTS.md").exists()
    (tmp_path / "AGENTS.md").write_text("# Mine\n")
    assert json.loads(init("--json"))["agents_file"] == {"file": "AGENTS.md", "status": "written", "why": ""}
    assert "left alone  AGENTS.md: it has the lines" in init()
    assert (tmp_path / "AGENTS.md").read_text() == f"# Mine\n\n{OWN}\n"


def test_the_file_of_the_project_is_found_from_a_folder_in_it(
    tmp_path: Path, init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "AGENTS.md").write_text("")
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path / "app")
    assert "written     ../AGENTS.md" in init()


@given(
    st.lists(st.sampled_from(["a", "\n", "\r\n", "\r", BEGIN, END, OLDER, OWN, "\ufeff"]), max_size=8).map(
        "".join
    )
)
def test_a_second_time_changes_nothing(text: str) -> None:
    try:
        once = replace_lines(text)
    except BadFile:
        return
    assert replace_lines(once) == once
    assert once.count(BEGIN) == 1
