"""Run git, and read files and folders as they are at a commit."""

import io
import os
import re
import stat
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import shorten_text

GIT_TIMEOUT_S = 30
# The name of a commit: no option of git (`-x`), no path within a commit (`main:file`)
_REF = re.compile(r"[^-\s:][^\s:]*")


def run_git(root: Path, *arguments: str) -> bytes | str:
    """Return what git prints as bytes; if it failed, return why as text."""
    try:
        done = subprocess.run(  # noqa: S603 -- arguments are a list, and no name becomes an option
            ["git", "-C", str(root), *arguments],  # noqa: S607 -- git of the user's PATH
            capture_output=True,
            check=False,
            timeout=GIT_TIMEOUT_S,
        )
    except FileNotFoundError:
        return "no such file, and git is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git failed: {error}"
    if done.returncode == 0:
        return done.stdout
    return done.stderr.decode("utf-8", "replace").strip() or "git failed"


@dataclass(frozen=True, slots=True)
class CommittedPath:
    """A path at a commit.

    Attributes:
        top: The top folder of the checkout.
        commit: The hash of the commit.
        inside: The path below the top folder; ``"."`` is the top folder itself.
        is_shallow: Whether older commits may be missing because the clone is shallow.
    """

    top: Path
    commit: str
    inside: str
    is_shallow: bool


def find_at_commit(path: Path, ref: str) -> CommittedPath:
    """Return a path at a commit; the path may exist neither at the commit nor in the working tree.

    Args:
        path: A file or folder in a checkout of git.
        ref: A commit, branch, tag or an expression like ``HEAD~3``; it never becomes an option of git.

    Raises:
        UsageError: The path is in no checkout, git cannot be run, or no commit can have the name.
        UnknownName: The commit does not exist; a shallow clone is named as the reason.
    """
    if not ref.isprintable() or not _REF.fullmatch(ref):
        raise UsageError(f"expected a commit, branch or tag of git, got {shorten_text(ref, 80)!r}")
    path = path.resolve()
    # The path may exist only at the commit. The root always exists, so `next` finds a folder.
    here = next(parent for parent in (path, *path.parents) if parent.is_dir())
    where = f"{path.name}@{shorten_text(ref, 80)}"
    place = run_git(here, "rev-parse", "--is-shallow-repository", "--show-toplevel")
    if isinstance(place, str):
        raise UsageError(f"{where}: git cannot read {here}: {shorten_text(place, 200)}")
    shallow, _, top = os.fsdecode(place).removesuffix("\n").partition("\n")
    commit = run_git(here, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    if isinstance(commit, str):
        known: list[str] = []
        names = run_git(here, "for-each-ref", "--format=%(refname:short)")
        if isinstance(names, bytes):
            known = names.decode("utf-8", "replace").split()
        if shallow == "true":
            where += "; the clone is shallow: git fetch --unshallow"
        raise UnknownName("commit, branch or tag", shorten_text(ref, 80), known, where=where)
    inside = path.relative_to(Path(top).resolve()).as_posix()
    return CommittedPath(Path(top), commit.decode().strip(), inside, is_shallow=shallow == "true")


def open_git_folder(folder: Path, ref: str) -> zipfile.Path:
    """Return a folder as it is at a commit; it may be missing in the working tree. Links in it are left out.

    Args:
        folder: The folder in a checkout of git.
        ref: A commit, branch, tag or an expression like ``HEAD~3``; it never becomes an option of git.

    Raises:
        UsageError: The folder is in no checkout or not in the commit, git cannot be run, or no commit can have the name.
        UnknownName: The commit does not exist; a shallow clone is named as the reason.
    """
    place = find_at_commit(folder, ref)
    tree = f"{place.commit}:"
    if place.inside != ".":
        tree += place.inside
    data = run_git(place.top, "archive", "--format=zip", "-0", tree)
    if isinstance(data, str):
        where = f"{folder.resolve().name}@{shorten_text(ref, 80)}"
        raise UsageError(f"{where}: the commit has no folder {place.inside}")
    archive = zipfile.ZipFile(io.BytesIO(data))
    archive.filename = f"{folder.resolve()}@{ref}"
    archive.filelist = [info for info in archive.filelist if not stat.S_ISLNK(info.external_attr >> 16)]
    return zipfile.Path(archive)


def list_commits(place: CommittedPath) -> list[str]:
    """Return the hashes of the commits that changed a path, the newest first, from the commit of the path on.

    Raises:
        UsageError: git failed.
    """
    log = run_git(place.top, "log", "--format=%H", place.commit, "--", f":(top,literal){place.inside}")
    if isinstance(log, str):
        raise UsageError(f"{place.inside}: git log failed: {shorten_text(log, 200)}")
    return log.decode().split()


def ignore_in_git(path: Path) -> str:
    """Add a line for a file to the ``.gitignore`` of its folder, unless git ignores or tracks the file already.

    Returns:
        ``"added"``; ``"ignored"`` if git ignores it already; ``"tracked"`` if git tracks it; ``"no git"`` if the folder is not in a
        checkout, git is not installed, or the ``.gitignore`` cannot be written.
    """
    if isinstance(run_git(path.parent, "rev-parse", "--show-toplevel"), str):
        return "no git"
    if isinstance(run_git(path.parent, "check-ignore", "-q", "--", path.name), bytes):
        return "ignored"
    if run_git(path.parent, "ls-files", "--", path.name):
        return "tracked"
    ignore_file = path.with_name(".gitignore")
    try:
        text = ignore_file.read_text(encoding="utf-8") if ignore_file.exists() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        ignore_file.write_text(f"{text}/{path.name}\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "no git"
    return "added"
