"""Arms of a comparison that shows whether a skill helps: an agent without it, with its older version, and with the one in the working tree.

A skill is a folder with a file SKILL.md (Agent Skills), or a single file: AGENTS.md, CLAUDE.md, a system prompt, a list of tools.
"""

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pytest_llmops._util.git import CommittedPath, find_at_commit, list_commits, open_git_folder, run_git
from pytest_llmops._util.text_files import BadFile, decode_text, read_bytes
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.prompts.prompt_file import split_front_matter

WITHOUT = "without"
OLD = "old"
NEW = "new"
SKILL_FILE = "SKILL.md"
# Where agents look for the folders of skills: Claude Code, and Codex and others
SKILL_FOLDERS = (".claude/skills", ".agents/skills")
# Folders of a skill that are not part of it: the agent must not see the expected results
LEFT_OUT = ("evals", "__pycache__", ".git")


@dataclass(frozen=True, slots=True)
class SkillArm:
    """The files and instructions of an agent in one arm of the comparison.

    Attributes:
        name: ``"without"``, ``"old"`` or ``"new"``. ``str(arm)`` is the same.
        text: The instructions: SKILL.md without its front matter, or the file. ``""`` without the skill.
        files: Path in the folder of the skill -> content, without the folder ``evals``. The single file under its own name.
        places: Where `install` puts it, relative to the agent's folder.
        executables: Paths of ``files`` that are programs.
    """

    name: str
    text: str = field(default="", repr=False)
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    places: tuple[str, ...] = field(default=(), repr=False)
    executables: frozenset[str] = field(default=frozenset(), repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def __name__(self) -> str:
        """The name that pytest shows in the id of a test, also without ``ids=str``."""
        return self.name

    @property
    def in_baseline(self) -> bool:
        """Whether the baseline holds the tests of the arm: only the tests of the skill as it is now."""
        return self.name == NEW

    def install(self, folder: str | Path) -> list[Path]:
        """Put the skill where agents look for it, and return the paths. Nothing is written without the skill.

        The folder of a skill is copied to ``.claude/skills/NAME`` and ``.agents/skills/NAME``. A single file is copied to the top of the folder.

        Args:
            folder: The folder in which the agent works, usually a copy in ``tmp_path``. It must not have the skill yet.

        Raises:
            UsageError: The folder does not exist, or has the skill already, which the agent without it would find, too.
        """
        root = Path(folder)
        if not root.is_dir():
            raise UsageError(
                f"install: expected the folder in which the agent works, got {root}: no such folder"
            )
        targets = [root / place for place in self.places]
        for target in targets:
            if target.exists() or target.is_symlink():
                raise UsageError(
                    f"install: {target} exists: expected a folder without the skill, which the arm {WITHOUT!r} "
                    "would find, too; copy your project without it (shutil.ignore_patterns)"
                )
        if not self.files:
            return []
        for target in targets:
            self._write(target)
        return targets

    def _write(self, target: Path) -> None:
        """Write the files below a folder, or the single file under that path."""
        for name, content in self.files.items():
            path = target
            if path.name != name:
                path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if name in self.executables:
                path.chmod(path.stat().st_mode | stat.S_IXUSR)


@dataclass(frozen=True, slots=True)
class _Version:
    """The files of a skill at one time: contents by path, and which of them are programs."""

    files: Mapping[str, bytes]
    executables: frozenset[str]


def skill_arms(source: str | Path, *, old: str = "") -> tuple[SkillArm, ...]:
    """Return the arms of a comparison for ``@pytest.mark.parametrize``: without the skill, its older version, the present one.

    ``new`` is the skill in the working tree, committed or not. ``old`` is the newest version in the history of a branch that differs from
    it: on a branch that changes the skill the branch's own version, after the merge the one before. A skill that has no other
    version there has no arm ``old``. The folder ``evals`` of a skill is not part of it.

    Args:
        source: The folder of a skill with a SKILL.md, the SKILL.md itself, or a single file. Searched as all files that a test names.
        old: The branch, tag or commit of git with the older version: ``"main"``. If there is none of the name, ``origin/`` is put in
            front of it. Empty: no arm ``old``.

    Raises:
        UsageError: The file does not exist, the folder has no SKILL.md, a file cannot be read or is a link, the path is in no checkout of
            git, or the clone is too shallow to have the older version.
        UnknownName: The branch, tag or commit does not exist.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "AGENTS.md").write_text("Be kind.")
    ...     arms = skill_arms(Path(folder, "AGENTS.md"))
    >>> [(arm.name, arm.text) for arm in arms]
    [('without', ''), ('new', 'Be kind.')]
    """
    path = _find_skill(source)
    places = _list_places(path)
    new = _read_working_tree(path)
    versions = {NEW: new}
    if old:
        older = _find_older(path, old, new)
        if older is not None:
            versions = {OLD: older, NEW: new}
    arms = [SkillArm(WITHOUT, places=places)]
    for name, version in versions.items():
        text = _read_instructions(path, version)
        arms.append(SkillArm(name, text, MappingProxyType(version.files), places, version.executables))
    return tuple(arms)


def _find_skill(source: str | Path) -> Path:
    """Return the absolute path of the folder of a skill or of the single file.

    Raises:
        UsageError: The file does not exist, or the folder has no SKILL.md.
    """
    try:
        path = find_path(source)
    except BadFile as error:
        raise UsageError(f"skill_arms: {source}: {error.what}") from None
    path = path.absolute()
    if path.name == SKILL_FILE:
        return path.parent
    if path.is_dir() and not (path / SKILL_FILE).is_file():
        raise UsageError(
            f"skill_arms: expected a folder with a {SKILL_FILE}, or a file; there is none in {path}"
        )
    return path


def _list_places(path: Path) -> tuple[str, ...]:
    """Return where a skill is installed, relative to the agent's folder."""
    if path.is_dir():
        return tuple(f"{folder}/{path.name}" for folder in SKILL_FOLDERS)
    return (path.name,)


def _read_working_tree(path: Path) -> _Version:
    """Return the version of a skill that is on the disk.

    Raises:
        UsageError: A file cannot be read, or a folder has a link in it.
    """
    if not path.is_dir():
        return _Version({path.name: _read_file(path)}, frozenset())
    files = {}
    executables = set()
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if inside.parts[0] in LEFT_OUT or "__pycache__" in inside.parts:
            continue
        if file.is_symlink():
            raise UsageError(
                f"skill_arms: {file} is a link: expected files, as a link leads elsewhere in the copy that the agent gets"
            )
        if file.is_dir():
            continue
        name = inside.as_posix()
        files[name] = _read_file(file)
        if file.stat().st_mode & stat.S_IXUSR:
            executables.add(name)
    return _Version(files, frozenset(executables))


def _read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return read_bytes(path)
    except BadFile as error:
        raise UsageError(f"skill_arms: {path}: {error.what}") from None


def _find_older(path: Path, ref: str, new: _Version) -> _Version | None:
    """Return the newest version in the history of a commit that differs from the present one; None: there is none.

    Raises:
        UsageError: The path is in no checkout of git, or the clone is too shallow to have an older version.
        UnknownName: The branch, tag or commit does not exist.
    """
    place = _find_branch(path, ref)
    for commit in list_commits(place):
        version = _read_commit(path, place, commit)
        if version is not None and version != new:
            return version
    if place.is_shallow:
        raise UsageError(
            f"skill_arms: {ref} has no other version of {place.inside}, and the clone is shallow: it may lack older ones; "
            "git fetch --unshallow (actions/checkout: fetch-depth: 0)"
        )
    return None


def _find_branch(path: Path, ref: str) -> CommittedPath:
    """Return a path at a branch; a branch that is not checked out may be known only as a branch of ``origin``, as in CI.

    Raises:
        UsageError: The path is in no checkout of git, or no commit can have the name.
        UnknownName: The branch, tag or commit does not exist.
    """
    try:
        return find_at_commit(path, ref)
    except UnknownName as error:
        with suppress(UnknownName):
            return find_at_commit(path, f"origin/{ref}")
        raise error from None
    except UsageError as error:
        raise UsageError(f"skill_arms: old={ref!r}: {error}; leave old= out to have no arm {OLD!r}") from None


def _read_commit(path: Path, place: CommittedPath, commit: str) -> _Version | None:
    """Return the version of a skill at a commit; None: it was not a skill yet, or a file where it is a folder now."""
    name = f"{commit}:{place.inside}"
    kind = run_git(place.top, "cat-file", "-t", name)
    if not path.is_dir():
        content = run_git(place.top, "cat-file", "--filters", name)
        if kind != b"blob\n" or isinstance(content, str):
            return None
        return _Version({path.name: content}, frozenset())
    if kind != b"tree\n":
        return None
    files = {}
    executables = set()
    folders = [open_git_folder(path, commit)]
    while folders:
        for entry in folders.pop().iterdir():
            inside = entry.at.removesuffix("/")
            if inside.partition("/")[0] in LEFT_OUT or "__pycache__" in inside:
                continue
            if entry.is_dir():
                folders.append(entry)
                continue
            files[inside] = entry.read_bytes()
            if entry.root.getinfo(entry.at).external_attr >> 16 & stat.S_IXUSR:
                executables.add(inside)
    if SKILL_FILE not in files:
        return None
    return _Version(dict(sorted(files.items())), frozenset(executables))


def _read_instructions(path: Path, version: _Version) -> str:
    """Return the text of SKILL.md without its front matter, or of the single file.

    Raises:
        UsageError: It is not UTF-8.
    """
    name = path.name
    if SKILL_FILE in version.files:
        name = SKILL_FILE
    try:
        text = decode_text(version.files.get(name, b""))
    except BadFile as error:
        raise UsageError(f"skill_arms: {shorten_text(str(path), 200)}: {name}: {error.what}") from None
    if name != SKILL_FILE:
        return text
    try:
        _, body, _ = split_front_matter(text)
    except BadFile:  # no second line of dashes: it is a rule of Markdown, and no front matter
        return text
    return body
