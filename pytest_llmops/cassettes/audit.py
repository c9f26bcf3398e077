"""Looks through the cassettes of a project, and drops what a complete and green run did not ask for.

Nothing is judged on a guess: not by a run that left tests out or failed, not by a test that was skipped, and
not in a file that changed since.

Whose cassette is this? That of a model that was a candidate once is no orphan, although no test of this run asks it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.importers.foreign import is_ours
from pytest_llmops.cassettes.journal import FOLDER as JOURNALS
from pytest_llmops.cassettes.journal import left_behind
from pytest_llmops.cassettes.naming import safe
from pytest_llmops.cassettes.usage_record import FULL_RUN, Usage, Used, collect, moment, stamp_of
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import unfold

if TYPE_CHECKING:
    from pytest_llmops.cassettes.store import Interaction


PREFIXES = ("", "anthropic:")
"""Before the name of a model, where a test has more of it in its id than goes to the server."""


class Candidates:
    """The cassettes that tests of a run would have if they were made for other models too.

    They were recorded with several ``--llm-model``; an everyday run names one, and its tests have no model in their ids.

    Args:
        usage: The record of the run.
    """

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._cases: dict[str, list[str]] = {}
        for file, case in usage.cases.items():
            folder = file.rpartition("/")[0] if case else file.removesuffix(".json")
            self._cases.setdefault(folder, []).append(case)
        self._places: dict[tuple[str, str], frozenset[str]] = {}

    def own(self, name: str, interactions: Mapping[str, Interaction]) -> bool:
        """Say whether a cassette is of a test that the run knows, but for a model that it was made for, or that it skipped.

        The model is one which the cassette asks, or one of the hook `pytest_llmops_models`.

        Args:
            name: The cassette's path, relative to the root.
            interactions: What is in it.
        """
        if any(self._usage.was_skipped(one.by) for one in interactions.values()):
            return True
        folder, _, file = name.rpartition("/")
        if folder not in self._cases:
            return False
        return any(file in self._of(folder, model) for model in {*self._usage.models, *_asked(interactions)})

    def _of(self, folder: str, model: str) -> frozenset[str]:
        place = (folder, model)
        if place not in self._places:
            ids = (one for case in self._cases[folder] for one in _with(case, model))
            self._places[place] = frozenset(f"{safe(one)}.json" for one in ids)
        return self._places[place]


def _asked(interactions: Mapping[str, Interaction]) -> Iterator[str]:
    for one in interactions.values():
        try:
            body = json.loads(unfold(one.request["body"]))
        except (ValueError, RecursionError):
            continue
        model = body.get("model") if isinstance(body, dict) else None
        if isinstance(model, str) and model:
            yield from (f"{prefix}{model}" for prefix in PREFIXES)


def _with(case: str, model: str) -> Iterator[str]:
    """The ids that a test like ``v1-late`` may have with a model in them: it is first, unless others parametrize it too."""
    parts = case.split("-") if case else []
    for found in {model, model.encode("unicode_escape").decode("ascii")}:  # as pytest writes it, or may
        for place in range(len(parts) + 1):
            yield "-".join((*parts[:place], found, *parts[place:]))


CASSETTES = "cassettes"
_NOT_OURS = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist"})
CHANGED = "it changed since the last run"
WAITING = "answers of a run that was killed wait beside it"


@dataclass(frozen=True, slots=True)
class Stale:
    """Answers that nobody asked for: the last n of a take."""

    file: str
    by: str
    key: str
    take: str
    n: int


@dataclass(frozen=True, slots=True)
class Checked:
    """One cassette that could be read."""

    file: str
    interactions: int
    answers: int
    recorded: str
    """The day it was written; empty if it does not say."""


@dataclass(frozen=True, slots=True)
class Told:
    """A file and what is to be said about it."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in the cassettes of a project; paths are relative to its root.

    Attributes:
        files: Cassettes that could be read.
        stale: Answers in them that no test asked for.
        orphans: Cassettes that no test uses.
        damaged: Cassettes and folders that cannot be read.
        leaks: Cassettes with a secret in them.
        journals: Cassettes beside which answers of a killed run wait; the next run takes them in.
        unjudged: Cassettes of which staleness cannot be told.
        judged: Stale and orphaned could be told at all: there is the record of a complete run.
    """

    files: tuple[Checked, ...]
    stale: tuple[Stale, ...]
    orphans: tuple[str, ...]
    damaged: tuple[Told, ...]
    leaks: tuple[str, ...]
    journals: tuple[str, ...]
    unjudged: tuple[Told, ...]
    judged: bool

    @property
    def oldest(self) -> str:
        """The day of the oldest recording; empty if there is none."""
        return min((one.recorded for one in self.files if one.recorded), default="")

    @property
    def clean(self) -> bool:
        """Nothing is to be done."""
        return not (self.stale or self.orphans or self.damaged or self.leaks)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped, or would be."""

    dropped: tuple[Stale, ...]
    removed: tuple[str, ...]
    """Files."""
    left: tuple[Told, ...]
    """Files that were not touched although something is the matter with them."""


def audit(
    root: Path, usage: Usage | None, *, within: Path | None = None, redactor: Redactor | None = None
) -> Audit:
    """Look through the cassettes below a root folder; nothing is changed.

    Args:
        root: The root folder of the project.
        usage: The record of the last run; None: nothing is stale or an orphan then.
        within: Only this file, or the files below this folder.
        redactor: Knows the secrets to look for; None: they are not looked for.
    """
    files: list[Checked] = []
    stale: list[Stale] = []
    orphans: list[str] = []
    damaged: list[Told] = []
    leaks: list[str] = []
    unjudged: list[Told] = []
    candidates = Candidates(usage or Usage(""))

    def report_folder(error: OSError) -> None:
        # A single file was given, or the folder was removed meanwhile: neither is damaged.
        if not isinstance(error, NotADirectoryError | FileNotFoundError):
            damaged.append(Told(_name(root, Path(error.filename)), f"cannot be read: {error.strerror}"))

    for path in _cassettes(root, usage, within, report_folder):
        name = _name(root, path)
        try:
            data = path.read_bytes()
            interactions = store.parse(data, path)
        except (CassetteError, OSError) as error:
            damaged.append(Told(name, _why(error, path)))
            continue
        if redactor is not None and redactor.leaks(data):
            leaks.append(name)
        files.append(_checked(name, path, interactions))
        used = usage.files.get(name) if usage is not None else None
        if usage is None:
            continue
        if used is None:
            if not candidates.own(name, interactions):
                _judge_orphan(path, name, usage, orphans, unjudged)
        elif used.ran and used.stamp != stamp_of(path):
            unjudged.append(Told(name, CHANGED))
        else:
            stale += _stale(name, interactions, used, usage)
    return Audit(
        *(tuple(files), tuple(stale), tuple(orphans), tuple(damaged), tuple(leaks)),
        journals=tuple(_name(root, path) for path in _waiting(root, usage, within)),
        unjudged=tuple(unjudged),
        judged=usage is not None and usage.complete,
    )


def prune(
    root: Path, usage: Usage | None, *, dry_run: bool = False, redactor: Redactor | None = None
) -> Pruned:
    """Drop the answers that no test asked for, and the files that no test uses, with folders that get empty.

    A damaged file, and one that changed since the run, is left alone and named.

    Args:
        root: The root folder of the project.
        usage: The record of the last run.
        dry_run: Only tell.
        redactor: Knows the secrets: a file that holds one is not written again.

    Raises:
        CassetteError: There is no record, or it is of a partial or failed run; says what to run.
    """
    if usage is None:
        raise CassetteError(f"nothing is pruned: no record of a run was found; {FULL_RUN}")
    if usage.why_not:
        raise CassetteError(f"nothing is pruned: {usage.why_not}; {FULL_RUN}")
    found = audit(root, usage)
    left = [*found.damaged, *found.unjudged]
    dropped: list[Stale] = []
    removed: list[str] = []
    for name in dict.fromkeys(one.file for one in found.stale):
        listed = [one for one in found.stale if one.file == name]
        try:
            if _drop(root / name, listed, usage.files[name], redactor or Redactor(), dry_run=dry_run):
                removed.append(name)
            dropped += listed
        except CassetteError as error:
            left.append(Told(name, str(error)))
    for name in found.orphans:
        try:
            _remove(root / name, usage, dry_run=dry_run)
            removed.append(name)
        except CassetteError as error:
            left.append(Told(name, str(error)))
    return Pruned(tuple(dropped), tuple(sorted(removed)), tuple(sorted(left, key=lambda one: one.file)))


def _drop(path: Path, listed: list[Stale], used: Used, redactor: Redactor, *, dry_run: bool) -> bool:
    """Drop stale answers; says whether nothing is left and the file goes."""
    rest: list[store.Interaction] = []

    def made() -> list[store.Interaction] | None:
        if stamp_of(path) != used.stamp:
            raise CassetteError(CHANGED)
        interactions = store.load(path)
        for one in listed:
            answers = interactions[one.key].answers
            del answers[one.take][len(answers[one.take]) - one.n :]
            if not answers[one.take]:
                del answers[one.take]
        rest.extend(one for one in interactions.values() if one.answers)
        return rest or None

    if dry_run:
        made()
    else:
        store.rewrite(path, made, redactor, store.recorded_on(path))
        _tidy(path)
    return not rest


def _remove(path: Path, usage: Usage, *, dry_run: bool) -> None:
    def made() -> None:
        if _is_newer(path, usage):
            raise CassetteError(CHANGED)
        if left_behind(path):
            raise CassetteError(WAITING)

    if dry_run:
        made()
    else:
        store.rewrite(path, made, Redactor(), "")
        _tidy(path)


def _tidy(path: Path) -> None:
    """Remove the folders that a file leaves empty, up to the folder of cassettes itself."""
    if path.exists() or CASSETTES not in path.parts[:-1]:
        return
    for folder in path.parents:
        with contextlib.suppress(OSError):
            folder.rmdir()
        if folder.name == CASSETTES or folder.exists():
            return


def _judge_orphan(path: Path, name: str, usage: Usage, orphans: list[str], unjudged: list[Told]) -> None:
    if not usage.complete or not _in_scope(name, usage):
        return
    if _is_newer(path, usage):
        unjudged.append(Told(name, "it was written after the last run"))
    elif left_behind(path):
        unjudged.append(Told(name, WAITING))
    else:
        orphans.append(name)


def _is_newer(path: Path, usage: Usage) -> bool:
    stamp = stamp_of(path)
    return stamp is not None and stamp[0] > moment(usage.created)


def _in_scope(name: str, usage: Usage) -> bool:
    in_folder = CASSETTES in name.split("/")[:-1]
    return in_folder and any(not scope or name.startswith(f"{scope.rstrip('/')}/") for scope in usage.scopes)


def _stale(
    name: str, interactions: dict[str, store.Interaction], used: Used, usage: Usage
) -> Iterator[Stale]:
    # Who else uses a shared file did not run if the run was partial.
    if not used.ran or (used.shared and not (usage.complete and _in_scope(name, usage))):
        return
    for key, one in interactions.items():
        if usage.was_skipped(one.by):
            continue
        asked = used.asked.get(key)
        for take, listed in one.answers.items():
            # A take that was not asked at all belongs to another number of trials.
            wanted = 0 if asked is None else asked.get(take, len(listed))
            if len(listed) > wanted:
                yield Stale(name, one.by, key, take, len(listed) - wanted)


def _checked(name: str, path: Path, interactions: dict[str, store.Interaction]) -> Checked:
    answers = sum(len(listed) for one in interactions.values() for listed in one.answers.values())
    return Checked(name, len(interactions), answers, store.recorded_on(path))


def _why(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"cassette {path} is damaged: ").removeprefix(f"cassette {path}: ")


def orphans(root: Path, usage: Usage) -> list[str]:
    """Return the cassettes in the scopes of a complete run that no test uses; else none. Only those are read."""
    if not usage.complete:
        return []
    candidates = Candidates(usage)
    names = ((_name(root, path), path) for path in _cassettes(root, usage, None))
    return [
        name
        for name, path in names
        if name not in usage.files
        and _in_scope(name, usage)
        and not _is_newer(path, usage)
        and not left_behind(path)
        and not _is_a_candidates(path, name, candidates)
    ]


def _is_a_candidates(path: Path, name: str, candidates: Candidates) -> bool:
    try:
        return candidates.own(name, store.parse(path.read_bytes(), path))
    except (CassetteError, OSError):
        return False


def _cassettes(
    root: Path,
    usage: Usage | None,
    within: Path | None,
    report_folder: Callable[[OSError], None] | None = None,
) -> list[Path]:
    """All files that are cassettes of ours, by their place or by the record, sorted; a folder that cannot be read is reported."""
    named = {root / file for file in usage.files} if usage is not None else set()
    # os.path, here and below: Path raises where a folder may not be entered.
    present = {path for path in named if os.path.isfile(path)}  # noqa: PTH113
    found = {path for path in present if within is None or _is_below(path, within)}
    for folder, files in _folders(within or root, report_folder):
        below = folder.relative_to(root) if folder.is_relative_to(root) else folder
        if CASSETTES in below.parts:
            found |= {folder / one for one in files if one.endswith(".json")} - found
    if within is not None and within.is_file():
        found.add(within)
    return sorted(path for path in found if path in named or path == within or _looks_like_one(path))


def _looks_like_one(path: Path) -> bool:
    """Other recorders keep JSON in folders of that name too; an empty file is what is left of one."""
    try:
        return is_ours(path) or path.stat().st_size == 0
    except OSError:
        return False


def _waiting(root: Path, usage: Usage | None, within: Path | None) -> list[Path]:
    """Cassettes beside which answers of killed runs wait; the file itself may not be there yet."""
    start = within.parent if within is not None and within.is_file() else within or root
    folders = {folder for folder, _ in _folders(start)}
    if usage is not None:
        folders |= {(root / file).parent for file in usage.files}
    found: set[Path] = set()
    for folder in folders:
        journals = (folder / JOURNALS).glob("*.journal") if os.path.isdir(folder / JOURNALS) else ()  # noqa: PTH112
        for journal in journals:
            cassette = folder / journal.name.removesuffix(".journal").rpartition(".")[0]
            if (within is None or _is_below(cassette, within)) and left_behind(cassette):
                found.add(cassette)
    return sorted(found)


def _folders(
    start: Path, report_folder: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    for folder, below, files in os.walk(start, onerror=report_folder):
        below[:] = sorted(one for one in below if _is_walked(Path(folder, one)))
        yield Path(folder), files


def _is_walked(folder: Path) -> bool:
    name = folder.name
    return not (name.startswith(".") or name in _NOT_OURS or os.path.exists(folder / "pyvenv.cfg"))  # noqa: PTH110


def _is_below(path: Path, within: Path) -> bool:
    return path == within or path.is_relative_to(within)


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


__all__ = [
    "Audit",
    "Checked",
    "Pruned",
    "Stale",
    "Told",
    "Usage",
    "Used",
    "audit",
    "collect",
    "prune",
    "stamp_of",
]
