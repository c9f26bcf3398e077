"""The day on which each rule was last changed, by a checkout of git."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.git import commit, git
from support.ledgers import make_document

from pytest_llmops.ledger.blame import NOT_COMMITTED, date_rules
from pytest_llmops.ledger.model import Document

FIRST = "system:\n- Be brief.\n- Be kind.\n- Say no.\n"
SECOND = FIRST.replace("kind", "friendly")


def open_prompt(folder: Path) -> Document:
    path = folder / "prompts" / "v1.md"
    return replace(make_document(path.read_text(encoding="utf-8")), path=path)


@pytest.mark.slow
def test_each_rule_has_its_newest_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    hashes = []
    for day, text in (("2026-10-01", FIRST), ("2026-11-02", SECOND)):
        monkeypatch.setenv("GIT_AUTHOR_DATE", f"{day}T12:00:00Z")
        commit(origin, "change", **{"prompts/v1.md": text})
        hashes.append(git(origin, "rev-parse", "--short=8", "HEAD").strip())
    old, new = ("2026-10-01", hashes[0]), ("2026-11-02", hashes[1])
    document = open_prompt(origin)
    assert date_rules(document) == {1: old, 2: new, 3: old}

    first, *others = document.rules
    long = replace(document, rules=(replace(first, last_line=3), *others))
    assert date_rules(long)[1] == new

    document.path.write_text(SECOND.replace("Say no", "Say yes"), encoding="utf-8")
    assert date_rules(open_prompt(origin)) == {1: old, 2: new, 3: (NOT_COMMITTED, "")}

    # A shallow clone knows the last commit only: what it did not change may be of any day
    git(tmp_path, "clone", "-q", "--depth=1", origin.as_uri(), "shallow")
    assert set(date_rules(open_prompt(tmp_path / "shallow")).values()) == {("", "")}


def test_without_git_there_is_no_day(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    path = tmp_path / "prompts" / "v1.md"
    path.write_text(FIRST, encoding="utf-8")
    nothing = {1: ("", ""), 2: ("", ""), 3: ("", "")}
    assert date_rules(open_prompt(tmp_path)) == nothing
    git(tmp_path, "init", "-q")
    assert date_rules(open_prompt(tmp_path)) == nothing  # untracked
    gone = replace(open_prompt(tmp_path), path=tmp_path / "missing" / "v1.md")
    assert date_rules(gone) == nothing
