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
from pytest_llmops.cassettes.importers.foreign import is_own_cassette
from pytest_llmops.cassettes.journal import JOURNAL_FOLDER as JOURNALS
from pytest_llmops.cassettes.journal import find_abandoned_journals
from pytest_llmops.cassettes.naming import safe_file_name
from pytest_llmops.cassettes.usage_record import (
    RUN_ALL_TESTS,
    CassetteUse,
    RunUsage,
    collect_cassette_uses,
    file_stamp,
    parse_timestamp_ns,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import unfold_body

if TYPE_CHECKING:
    from pytest_llmops.cassettes.store import Interaction


MODEL_PREFIXES = ("", "anthropic:")
"""Before the name of a model, where a test has more of it in its id than goes to the server."""


class OtherModelCassettes:
    """The cassettes that tests of a run would have if they were made for other models too.

    They were recorded with several ``--llm-model``; an everyday run names one, and its tests have no model in their ids.

    Args:
        usage: The record of the run.
    """

    def __init__(self, usage: RunUsage) -> None:
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
        if any(self._usage.was_skipped(interaction.by) for interaction in interactions.values()):
            return True
        folder, _, file = name.rpartition("/")
        if folder not in self._cases:
            return False
        return any(
            file in self._of(folder, model)
            for model in {*self._usage.models, *_requested_models(interactions)}
        )

    def _of(self, folder: str, model: str) -> frozenset[str]:
        place = (folder, model)
        if place not in self._places:
            ids = (case_id for case in self._cases[folder] for case_id in _case_ids_with_model(case, model))
            self._places[place] = frozenset(f"{safe_file_name(case_id)}.json" for case_id in ids)
        return self._places[place]


def _requested_models(interactions: Mapping[str, Interaction]) -> Iterator[str]:
    for interaction in interactions.values():
        try:
            body = json.loads(unfold_body(interaction.request["body"]))
        except (ValueError, RecursionError):
            continue
        model = body.get("model") if isinstance(body, dict) else None
        if isinstance(model, str) and model:
            yield from (f"{prefix}{model}" for prefix in MODEL_PREFIXES)


def _case_ids_with_model(case: str, model: str) -> Iterator[str]:
    """The ids that a test like ``v1-late`` may have with a model in them: it is first, unless others parametrize it too."""
    parts = case.split("-") if case else []
    for spelling in {model, model.encode("unicode_escape").decode("ascii")}:  # as pytest writes it, or may
        for place in range(len(parts) + 1):
            yield "-".join((*parts[:place], spelling, *parts[place:]))


CASSETTE_FOLDER = "cassettes"
_SKIPPED_FOLDERS = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist"})
CHANGED_SINCE_RUN = "it changed since the last run"
UNMERGED_ANSWERS = "answers of a run that was killed wait beside it"


@dataclass(frozen=True, slots=True)
class StaleAnswers:
    """Answers that nobody asked for: the last n of a take."""

    file: str
    by: str
    key: str
    take: str
    n: int


@dataclass(frozen=True, slots=True)
class CassetteSummary:
    """One cassette that could be read."""

    file: str
    interactions: int
    answers: int
    recorded: str
    """The day it was written; empty if it does not say."""


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file and what is to be said about it."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class AuditResult:
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

    files: tuple[CassetteSummary, ...]
    stale: tuple[StaleAnswers, ...]
    orphans: tuple[str, ...]
    damaged: tuple[FileProblem, ...]
    leaks: tuple[str, ...]
    journals: tuple[str, ...]
    unjudged: tuple[FileProblem, ...]
    judged: bool

    @property
    def oldest(self) -> str:
        """The day of the oldest recording; empty if there is none."""
        return min((file.recorded for file in self.files if file.recorded), default="")

    @property
    def clean(self) -> bool:
        """Nothing is to be done."""
        return not (self.stale or self.orphans or self.damaged or self.leaks)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was dropped, or would be."""

    dropped: tuple[StaleAnswers, ...]
    removed: tuple[str, ...]
    """Files."""
    left: tuple[FileProblem, ...]
    """Files that were not touched although something is the matter with them."""


def audit_cassettes(
    root: Path, usage: RunUsage | None, *, within: Path | None = None, redactor: Redactor | None = None
) -> AuditResult:
    """Look through the cassettes below a root folder; nothing is changed.

    Args:
        root: The root folder of the project.
        usage: The record of the last run; None: nothing is stale or an orphan then.
        within: Only this file, or the files below this folder.
        redactor: Knows the secrets to look for; None: they are not looked for.
    """
    files: list[CassetteSummary] = []
    stale: list[StaleAnswers] = []
    orphans: list[str] = []
    damaged: list[FileProblem] = []
    leaks: list[str] = []
    unjudged: list[FileProblem] = []
    candidates = OtherModelCassettes(usage or RunUsage(""))

    def report_folder(error: OSError) -> None:
        # A single file was given, or the folder was removed meanwhile: neither is damaged.
        if not isinstance(error, NotADirectoryError | FileNotFoundError):
            damaged.append(
                FileProblem(_relative_name(root, Path(error.filename)), f"cannot be read: {error.strerror}")
            )

    for path in _find_cassettes(root, usage, within, report_folder):
        name = _relative_name(root, path)
        try:
            data = path.read_bytes()
            interactions = store.parse_cassette(data, path)
        except (CassetteError, OSError) as error:
            damaged.append(FileProblem(name, _why(error, path)))
            continue
        if redactor is not None and redactor.leaks(data):
            leaks.append(name)
        files.append(_checked(name, path, interactions))
        used = usage.files.get(name) if usage is not None else None
        if usage is None:
            continue
        if used is None:
            if not candidates.own(name, interactions):
                _classify_unused(path, name, usage, orphans, unjudged)
        elif used.ran and used.stamp != file_stamp(path):
            unjudged.append(FileProblem(name, CHANGED_SINCE_RUN))
        else:
            stale += _find_stale(name, interactions, used, usage)
    return AuditResult(
        *(tuple(files), tuple(stale), tuple(orphans), tuple(damaged), tuple(leaks)),
        journals=tuple(_relative_name(root, path) for path in _find_unmerged(root, usage, within)),
        unjudged=tuple(unjudged),
        judged=usage is not None and usage.complete,
    )


def prune_cassettes(
    root: Path, usage: RunUsage | None, *, dry_run: bool = False, redactor: Redactor | None = None
) -> PruneResult:
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
        raise CassetteError(f"nothing is pruned: no record of a run was found; {RUN_ALL_TESTS}")
    if usage.why_not_prunable:
        raise CassetteError(f"nothing is pruned: {usage.why_not_prunable}; {RUN_ALL_TESTS}")
    result = audit_cassettes(root, usage)
    left = [*result.damaged, *result.unjudged]
    dropped: list[StaleAnswers] = []
    removed: list[str] = []
    for name in dict.fromkeys(item.file for item in result.stale):
        stale_answers = [item for item in result.stale if item.file == name]
        try:
            if _drop_stale(
                root / name, stale_answers, usage.files[name], redactor or Redactor(), dry_run=dry_run
            ):
                removed.append(name)
            dropped += stale_answers
        except CassetteError as error:
            left.append(FileProblem(name, str(error)))
    for name in result.orphans:
        try:
            _remove_orphan(root / name, usage, dry_run=dry_run)
            removed.append(name)
        except CassetteError as error:
            left.append(FileProblem(name, str(error)))
    return PruneResult(
        tuple(dropped), tuple(sorted(removed)), tuple(sorted(left, key=lambda item: item.file))
    )


def _drop_stale(
    path: Path, stale_answers: list[StaleAnswers], used: CassetteUse, redactor: Redactor, *, dry_run: bool
) -> bool:
    """Drop stale answers; says whether nothing is left and the file goes."""
    rest: list[store.Interaction] = []

    def made() -> list[store.Interaction] | None:
        if file_stamp(path) != used.stamp:
            raise CassetteError(CHANGED_SINCE_RUN)
        interactions = store.load_cassette(path)
        for item in stale_answers:
            answers = interactions[item.key].answers
            del answers[item.take][len(answers[item.take]) - item.n :]
            if not answers[item.take]:
                del answers[item.take]
        rest.extend(item for item in interactions.values() if item.answers)
        return rest or None

    if dry_run:
        made()
    else:
        store.rewrite_cassette(path, made, redactor, store.read_recording_day(path))
        _remove_empty_folders(path)
    return not rest


def _remove_orphan(path: Path, usage: RunUsage, *, dry_run: bool) -> None:
    def made() -> None:
        if _changed_after_run(path, usage):
            raise CassetteError(CHANGED_SINCE_RUN)
        if find_abandoned_journals(path):
            raise CassetteError(UNMERGED_ANSWERS)

    if dry_run:
        made()
    else:
        store.rewrite_cassette(path, made, Redactor(), "")
        _remove_empty_folders(path)


def _remove_empty_folders(path: Path) -> None:
    """Remove the folders that a file leaves empty, up to the folder of cassettes itself."""
    if path.exists() or CASSETTE_FOLDER not in path.parts[:-1]:
        return
    for folder in path.parents:
        with contextlib.suppress(OSError):
            folder.rmdir()
        if folder.name == CASSETTE_FOLDER or folder.exists():
            return


def _classify_unused(
    path: Path, name: str, usage: RunUsage, orphans: list[str], unjudged: list[FileProblem]
) -> None:
    if not usage.complete or not _is_in_scope(name, usage):
        return
    if _changed_after_run(path, usage):
        unjudged.append(FileProblem(name, "it was written after the last run"))
    elif find_abandoned_journals(path):
        unjudged.append(FileProblem(name, UNMERGED_ANSWERS))
    else:
        orphans.append(name)


def _changed_after_run(path: Path, usage: RunUsage) -> bool:
    stamp = file_stamp(path)
    return stamp is not None and stamp[0] > parse_timestamp_ns(usage.created)


def _is_in_scope(name: str, usage: RunUsage) -> bool:
    in_folder = CASSETTE_FOLDER in name.split("/")[:-1]
    return in_folder and any(not scope or name.startswith(f"{scope.rstrip('/')}/") for scope in usage.scopes)


def _find_stale(
    name: str, interactions: dict[str, store.Interaction], used: CassetteUse, usage: RunUsage
) -> Iterator[StaleAnswers]:
    # Who else uses a shared file did not run if the run was partial.
    if not used.ran or (used.shared and not (usage.complete and _is_in_scope(name, usage))):
        return
    for key, interaction in interactions.items():
        if usage.was_skipped(interaction.by):
            continue
        requested = used.asked.get(key)
        for take, answers in interaction.answers.items():
            # A take that was not asked at all belongs to another number of trials.
            wanted = 0 if requested is None else requested.get(take, len(answers))
            if len(answers) > wanted:
                yield StaleAnswers(name, interaction.by, key, take, len(answers) - wanted)


def _checked(name: str, path: Path, interactions: dict[str, store.Interaction]) -> CassetteSummary:
    answers = sum(
        len(take_answers)
        for interaction in interactions.values()
        for take_answers in interaction.answers.values()
    )
    return CassetteSummary(name, len(interactions), answers, store.read_recording_day(path))


def _why(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"cassette {path} is damaged: ").removeprefix(f"cassette {path}: ")


def find_orphans(root: Path, usage: RunUsage) -> list[str]:
    """Return the cassettes in the scopes of a complete run that no test uses; else none. Only those are read."""
    if not usage.complete:
        return []
    candidates = OtherModelCassettes(usage)
    names = ((_relative_name(root, path), path) for path in _find_cassettes(root, usage, None))
    return [
        name
        for name, path in names
        if name not in usage.files
        and _is_in_scope(name, usage)
        and not _changed_after_run(path, usage)
        and not find_abandoned_journals(path)
        and not _is_for_other_model(path, name, candidates)
    ]


def _is_for_other_model(path: Path, name: str, candidates: OtherModelCassettes) -> bool:
    try:
        return candidates.own(name, store.parse_cassette(path.read_bytes(), path))
    except (CassetteError, OSError):
        return False


def _find_cassettes(
    root: Path,
    usage: RunUsage | None,
    within: Path | None,
    report_folder: Callable[[OSError], None] | None = None,
) -> list[Path]:
    """All files that are cassettes of ours, by their place or by the record, sorted; a folder that cannot be read is reported."""
    named = {root / file for file in usage.files} if usage is not None else set()
    # os.path, here and below: Path raises where a folder may not be entered.
    present = {path for path in named if os.path.isfile(path)}  # noqa: PTH113
    paths = {path for path in present if within is None or _is_within(path, within)}
    for folder, files in _walk_folders(within or root, report_folder):
        below = folder.relative_to(root) if folder.is_relative_to(root) else folder
        if CASSETTE_FOLDER in below.parts:
            paths |= {folder / name for name in files if name.endswith(".json")} - paths
    if within is not None and within.is_file():
        paths.add(within)
    return sorted(path for path in paths if path in named or path == within or _may_be_cassette(path))


def _may_be_cassette(path: Path) -> bool:
    """Other recorders keep JSON in folders of that name too; an empty file is what is left of one."""
    try:
        return is_own_cassette(path) or path.stat().st_size == 0
    except OSError:
        return False


def _find_unmerged(root: Path, usage: RunUsage | None, within: Path | None) -> list[Path]:
    """Cassettes beside which answers of killed runs wait; the file itself may not be there yet."""
    start = within.parent if within is not None and within.is_file() else within or root
    folders = {folder for folder, _ in _walk_folders(start)}
    if usage is not None:
        folders |= {(root / file).parent for file in usage.files}
    cassettes: set[Path] = set()
    for folder in folders:
        journals = (folder / JOURNALS).glob("*.journal") if os.path.isdir(folder / JOURNALS) else ()  # noqa: PTH112
        for journal in journals:
            cassette = folder / journal.name.removesuffix(".journal").rpartition(".")[0]
            if (within is None or _is_within(cassette, within)) and find_abandoned_journals(cassette):
                cassettes.add(cassette)
    return sorted(cassettes)


def _walk_folders(
    start: Path, report_folder: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    for folder, below, files in os.walk(start, onerror=report_folder):
        below[:] = sorted(name for name in below if _is_walked(Path(folder, name)))
        yield Path(folder), files


def _is_walked(folder: Path) -> bool:
    name = folder.name
    return not (name.startswith(".") or name in _SKIPPED_FOLDERS or os.path.exists(folder / "pyvenv.cfg"))  # noqa: PTH110


def _is_within(path: Path, within: Path) -> bool:
    return path == within or path.is_relative_to(within)


def _relative_name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


__all__ = [
    "AuditResult",
    "CassetteSummary",
    "CassetteUse",
    "FileProblem",
    "PruneResult",
    "RunUsage",
    "StaleAnswers",
    "audit_cassettes",
    "collect_cassette_uses",
    "file_stamp",
    "prune_cassettes",
]
