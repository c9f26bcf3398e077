"""The arms of a skill: what is read from the disk and from git, and what an agent finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.git import commit, git
from support.messages import check_message

from pytest_llmops.agents import SkillArm, skill_arms
from pytest_llmops.errors import LLMOpsError

HEAD = "---\nname: refunds\ndescription: Refunds.\n---\n"
SKILL = {"refunds/SKILL.md": f"{HEAD}Pay it back.\n", "refunds/references/terms.md": "30 days\n"}


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def by_name(arms: tuple[SkillArm, ...]) -> dict[str, SkillArm]:
    return {str(arm): arm for arm in arms}


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_folder_of_a_skill_is_installed_where_agents_look_for_it(tmp_path: Path) -> None:
    write(tmp_path, **SKILL, **{"refunds/evals/evals.json": "{}", "refunds/scripts/pay.sh": "#!/bin/sh\n"})
    (tmp_path / "refunds/scripts/pay.sh").chmod(0o755)
    without, new = skill_arms(tmp_path / "refunds")
    assert (without.text, new.text) == ("", "Pay it back.\n")
    assert (without.in_baseline, new.in_baseline) == (False, True)
    folder = tmp_path / "agent"
    folder.mkdir()
    assert without.install(folder) == []
    paths = new.install(folder)
    assert paths == [folder / ".claude/skills/refunds", folder / ".agents/skills/refunds"]
    for path in paths:
        assert list_files(path) == ["SKILL.md", "references/terms.md", "scripts/pay.sh"]
        assert os.access(path / "scripts/pay.sh", os.X_OK)
        assert not os.access(path / "SKILL.md", os.X_OK)
    assert skill_arms(tmp_path / "refunds" / "SKILL.md") == (without, new)


@pytest.mark.parametrize("name", ["AGENTS.md", "CLAUDE.md", "tools.json", "SKILL.txt"])
def test_a_single_file_is_installed_at_the_top(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: "---\nBe kind.\n---\n"})
    _, new = skill_arms(tmp_path / name)
    assert new.text == "---\nBe kind.\n---\n"
    folder = tmp_path / "agent"
    folder.mkdir()
    assert new.install(folder) == [folder / name]
    assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("no front matter\n", "no front matter\n"),
        ("---\r\nname: a\r\n---\r\nbody\r\n", "body\n"),
        ("---\nname: a\n---", ""),
        ("---- a line\n---\nkept\n---\n", "---- a line\n---\nkept\n---\n"),
        ("---\nnever closed\n", "---\nnever closed\n"),
        ("--- a\n---\n", "--- a\n---\n"),
        (f"{'---' * 50_000}\n", f"{'---' * 50_000}\n"),
    ],
)
def test_the_text_of_a_skill_is_the_part_after_its_front_matter(tmp_path: Path, text: str, body: str) -> None:
    (tmp_path / "SKILL.md").write_bytes(text.encode())
    assert skill_arms(tmp_path)[1].text == body


def test_an_agent_that_has_the_skill_already_is_refused(tmp_path: Path) -> None:
    write(tmp_path, **SKILL, **{"agent/.agents/skills/refunds/SKILL.md": "other\n"})
    for arm in skill_arms(tmp_path / "refunds"):
        with pytest.raises(LLMOpsError) as error:
            arm.install(tmp_path / "agent")
        check_message(str(error.value).replace(str(tmp_path), "FOLDER"))
    assert list_files(tmp_path / "agent") == [".agents/skills/refunds/SKILL.md"]
    with pytest.raises(LLMOpsError) as error:
        arm.install(tmp_path / "nowhere")
    check_message(str(error.value).replace(str(tmp_path), "FOLDER"))


@pytest.mark.slow
def test_the_older_version_is_that_of_the_branch_before_and_after_the_merge(tmp_path: Path) -> None:
    write(tmp_path, **SKILL)
    (tmp_path / "refunds/SKILL.md").chmod(0o755)
    commit(tmp_path, "first")
    commit(tmp_path, "evals", **{"refunds/evals/evals.json": "[]"})
    arms = skill_arms(tmp_path / "refunds", old="main")
    assert list(by_name(arms)) == ["without", "new"]  # it never had another version
    git(tmp_path, "checkout", "-q", "-b", "shorter")
    write(tmp_path, **{"refunds/SKILL.md": "Pay.\n"})
    uncommitted = skill_arms(tmp_path / "refunds", old="main")
    assert list(by_name(uncommitted)) == ["without", "old", "new"]
    old = by_name(uncommitted)["old"]
    assert (old.text, dict(old.files), old.executables) == (
        "Pay it back.\n",
        dict(arms[1].files),
        arms[1].executables,
    )
    assert (by_name(uncommitted)["new"].text, old.in_baseline) == ("Pay.\n", False)
    git(tmp_path, "commit", "-q", "-a", "-m", "shorter")
    assert skill_arms(tmp_path / "refunds", old="main") == uncommitted
    git(tmp_path, "checkout", "-q", "main")
    git(tmp_path, "merge", "-q", "shorter")
    assert skill_arms(tmp_path / "refunds", old="main") == uncommitted
    assert skill_arms(tmp_path / "refunds", old="HEAD~1") == uncommitted


@pytest.mark.slow
def test_the_older_version_of_a_single_file_and_of_a_branch_of_origin(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    commit(source, "first", **{"AGENTS.md": "Be kind.\n"})
    git(tmp_path, "clone", "-q", str(source), "clone")
    clone = tmp_path / "clone"
    git(clone, "checkout", "-q", "--detach")
    git(clone, "branch", "-q", "-D", "main")
    write(clone, **{"AGENTS.md": "Be brief.\n"})
    assert by_name(skill_arms(clone / "AGENTS.md", old="main"))["old"].text == "Be kind.\n"


@pytest.mark.slow
def test_a_file_that_was_deleted_for_a_while_has_its_last_version(tmp_path: Path) -> None:
    commit(tmp_path, "first", **{"AGENTS.md": "Be kind.\n"})
    commit(tmp_path, "gone", **{"AGENTS.md": None})
    write(tmp_path, **{"AGENTS.md": "Be brief.\n"})
    assert by_name(skill_arms(tmp_path / "AGENTS.md", old="main"))["old"].text == "Be kind.\n"


@pytest.mark.slow
def test_what_was_no_skill_yet_is_no_older_version(tmp_path: Path) -> None:
    commit(tmp_path, "a file", refunds="Pay it back.\n")
    commit(tmp_path, "gone", refunds=None)
    commit(tmp_path, "a folder", **{"refunds/notes.md": "Pay it back.\n"})
    write(tmp_path, **SKILL)
    assert list(by_name(skill_arms(tmp_path / "refunds", old="main"))) == ["without", "new"]


@pytest.mark.slow
def test_a_shallow_clone_says_how_to_get_the_older_version(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    commit(source, "first", **{"AGENTS.md": "Be kind.\n"})
    commit(source, "second", **{"AGENTS.md": "Be brief.\n"})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{source}", "clone")
    with pytest.raises(LLMOpsError) as error:
        skill_arms(tmp_path / "clone" / "AGENTS.md", old="main")
    check_message(str(error.value))


@pytest.mark.slow
@pytest.mark.parametrize(
    "old",
    ["main", "mian", "--help", "HEAD:refunds", "a b"],
    ids=["no-git", "unknown", "option", "path", "space"],
)
def test_a_revision_that_cannot_be_read_is_an_error(tmp_path: Path, old: str) -> None:
    write(tmp_path, **SKILL)
    if old != "main":
        commit(tmp_path, "first")
    with pytest.raises(LLMOpsError) as error:
        skill_arms(tmp_path / "refunds", old=old)
    check_message(str(error.value).replace(str(tmp_path), "FOLDER"))


def test_a_wrong_source_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, **{"refunds/notes.md": "", "latin.md": "", "linked/SKILL.md": "x\n"})
    (tmp_path / "latin.md").write_bytes("é".encode("latin-1"))
    (tmp_path / "linked/terms.md").symlink_to(tmp_path / "latin.md")
    for name in ("refunds", "refnds", "latin.md", "linked"):
        with pytest.raises(LLMOpsError) as error:
            skill_arms(tmp_path / name)
        check_message(str(error.value).replace(str(tmp_path), "FOLDER"))
