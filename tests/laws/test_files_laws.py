"""Laws of watched folders: any tree and any change of it against a plain model; patterns, rules and diffs against git."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.git import git
from support.strategies import scale_examples

from pytest_llmops import assert_files, collect, watch_folder
from pytest_llmops._util import file_changes
from pytest_llmops._util.folder_snapshot import SnapshotLimits, take_snapshot
from pytest_llmops._util.ignore_rules import IgnoreRules
from pytest_llmops._util.path_patterns import parse_pattern

LIMITS = SnapshotLimits(time_limit_s=60, max_files=1_000, max_bytes=1_000_000)
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")

names = st.sampled_from(
    ["a", "b", "ab", "a.py", "b.py", "[a]", "x y", "ba\n", "-a", "#a", "!a", "caf\udce9", ".h"]
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
texts = st.lists(st.sampled_from([b"", b"x", b"y", b"\xff", b"x\r", b"\0"]), max_size=6).map(b"\n".join)
trees = st.dictionaries(paths, texts, max_size=8)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def checkout(scratch: Path) -> Path:
    """An empty checkout without the settings of this machine, for files that git lists as not tracked."""
    folder = scratch / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def plant(folder: Path, tree: dict[str, bytes]) -> dict[str, bytes]:
    """Make the folder hold just these files; of two that cannot both be, the first."""
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    planted = {}
    for path, content in tree.items():
        place = folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        except OSError:
            continue
        planted[path] = content
    return planted


def list_untracked(folder: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "--others", "-z", *arguments], check=True, capture_output=True
    )
    return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}


@pytest.mark.slow
@given(before=trees, after=trees)
def test_changes_are_those_of_two_dictionaries(
    scratch: Path, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    root = scratch / "model"
    root.mkdir(exist_ok=True)
    old = plant(root, before)
    folder = watch_folder(root)
    new = plant(root, after)
    with collect() as measurements:
        assert_files(folder)
    detail = measurements[0].detail
    differing = sum(old.get(path) != new.get(path) for path in {*old, *new})
    assert detail["changes"] == differing
    assert measurements[0].value == float(differing == 0)
    for action, expected in {
        "created": new.keys() - old.keys(),
        "deleted": old.keys() - new.keys(),
        "changed": {path for path in old.keys() & new.keys() if old[path] != new[path]},
    }.items():
        listed = detail[action]
        assert isinstance(listed, list)
        assert len(listed) == len(expected)
        assert (folder.diff() == "") == (differing == 0)
    everything = assert_files(folder, allowed="**")
    assert everything.value == 1.0


pieces = st.sampled_from(
    ["a", "b", "*", "**", "?", "*.py", "[ab]", "[a]", "[!a]*", "[[]a]", "a*", "x y", "[^a]", ".h", "-a"]
)
globs = st.lists(pieces, min_size=1, max_size=4).map("/".join)


@pytest.mark.slow
@needs_git
@given(tree=trees, glob=globs)
def test_a_pattern_matches_what_git_matches(checkout: Path, tree: dict[str, bytes], glob: str) -> None:
    planted = plant(checkout, tree)
    pattern = parse_pattern(glob)
    matched = {path for path in planted if pattern.matches(path)}
    assert matched == list_untracked(checkout, "--", f":(glob){glob}")


rule_lines = st.one_of(
    st.lists(st.sampled_from(["a", "b", "*", "**", "*.py", "ab", "[ab]", "?", "x y", "\\#a", "[!a]", "\\[a\\]", "[[]a]"]), min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "#a", "a/", "/a", "!a", "!a/b", "a/**", "!a/**", "/a/*", "**/b", "*", "!*.py", "!*/", "a ", "\\!a", ".*"]),
)  # fmt: skip
rule_files = st.lists(rule_lines, max_size=5).map("\n".join)


@pytest.mark.slow
@needs_git
@given(tree=trees, top=rule_files, nested=rule_files)
def test_what_is_ignored_is_what_git_ignores(
    checkout: Path, tree: dict[str, bytes], top: str, nested: str
) -> None:
    files = {".gitignore": top.encode(), "a/.gitignore": nested.encode(), **tree}
    plant(checkout, files)
    seen = take_snapshot(checkout, IgnoreRules(), LIMITS, reads_gitignore=True)
    assert set(seen) == list_untracked(checkout, "--exclude-per-directory=.gitignore")


diff_texts = st.lists(st.sampled_from(["", "x", "y", "z", "+x", "-y", "@@", "\\", "x\r"]), max_size=30).map(
    "\n".join
)


@pytest.mark.slow
@needs_git
@pytest.mark.parametrize("aligned_lines", [file_changes.MAX_ALIGNED_LINES, 0])
@scale_examples(0.5)
@given(old=diff_texts, new=diff_texts)
def test_git_applies_our_diff(scratch: Path, aligned_lines: int, old: str, new: str) -> None:
    root = scratch / "patched"
    root.mkdir(exist_ok=True)
    place = root / "a.txt"
    place.write_text(old, encoding="utf-8", newline="")
    folder = watch_folder(root)
    place.write_text(new, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_changes, "MAX_ALIGNED_LINES", aligned_lines)
        diff = folder.diff()
    place.write_text(old, encoding="utf-8", newline="")
    if old != new:
        subprocess.run(
            ["git", "-C", str(root), "apply", "--whitespace=nowarn", "-"],
            input=diff.encode(),
            check=True,
            capture_output=True,
        )
    assert place.read_bytes() == new.encode()
