"""Find stale answers, orphaned and damaged cassettes of a project, and prune the stale answers and orphans.

Only a complete and green run decides what is stale or an orphan: not a run that left tests out or failed, and not for a
file that changed since, that a skipped test may use, or that a script or another process recorded. A cassette recorded
for another ``--llm-model`` is no orphan.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pytest_llmops.cassettes import naming, store
from pytest_llmops.cassettes.journal import JOURNAL_FOLDER, find_abandoned_journals
from pytest_llmops.cassettes.recordings import walk_folders
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.cassettes.usage_record import (
    OUTSIDE_OWNER,
    RUN_ALL_TESTS,
    CassetteUse,
    RunUsage,
    collect_cassette_uses,
    file_stamp,
    parse_timestamp_ns,
)
from pytest_llmops.errors import CassetteError, path_from_root
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import unfold_body

CHANGED_SINCE_RUN = "it changed since the last run"
UNMERGED_ANSWERS = "answers of a run that was killed wait beside it"
SKIPPED_USERS = "a skipped test may use it: run the test, or delete the file by hand"
OUTSIDE_USERS = (
    "a block outside of the tests recorded it: whether it is still used is not known, delete it by hand"
)
# Prefixes of a model's name in a test's id that are not sent to the server
MODEL_PREFIXES = ("", "anthropic:")


@dataclass(frozen=True, slots=True)
class StaleAnswers:
    """Answers that no test requested: the last n of a take."""

    file: str
    by: str
    key: str
    take: str
    n: int


@dataclass(frozen=True, slots=True)
class CassetteSummary:
    """A cassette that could be read.

    Attributes:
        recorded: The day it was written, or "".
    """

    file: str
    interactions: int
    answers: int
    recorded: str


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file, and what is wrong with it."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The state of a project's cassettes; paths are relative to its root.

    Attributes:
        files: Cassettes that could be read.
        stale: Answers that no test requested.
        orphans: Cassettes that no test uses.
        damaged: Cassettes and folders that cannot be read.
        leaks: Cassettes that hold a secret.
        journals: Cassettes with unmerged answers of a killed run, which the next run merges.
        unjudged: Cassettes that may be stale or orphaned: it cannot be decided.
        judged: Whether the record of a complete run was there to decide what is stale or an orphan.
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
        """Return the day of the oldest recording, or ""."""
        return min((file.recorded for file in self.files if file.recorded), default="")

    @property
    def clean(self) -> bool:
        """Return whether nothing has to be done."""
        return not (self.stale or self.orphans or self.damaged or self.leaks)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was pruned, or would be in a dry run.

    Attributes:
        removed: Files of which no answer is left, and orphans.
        left: Files that were left as they are, and why.
    """

    dropped: tuple[StaleAnswers, ...]
    removed: tuple[str, ...]
    left: tuple[FileProblem, ...]


class OtherModelCassettes:
    """The cassettes that the tests of a run would use with other models.

    They were recorded with several ``--llm-model`` values, so the model is part of the test's id and of the file name.
    A run with a single model has no model in its ids.

    Args:
        usage: The record of the run.
    """

    def __init__(self, usage: RunUsage) -> None:
        self._usage = usage
        self._cases: dict[str, list[str]] = {}
        for file, case in usage.cases.items():
            if case:
                folder = file.rpartition("/")[0]
            else:
                folder = file.removesuffix(".json")
            self._cases.setdefault(folder, []).append(case)
        self._file_names: dict[tuple[str, str], frozenset[str]] = {}

    def includes(self, name: str, interactions: Mapping[str, Interaction]) -> bool:
        """Return whether a cassette belongs to a test of the run with another model.

        The other models are those of the cassette's requests and of the hook `pytest_llmops_models`.

        Args:
            name: The cassette's path, relative to the root.
            interactions: The cassette's content.
        """
        folder, _, file = name.rpartition("/")
        if folder not in self._cases:
            return False
        return any(
            file in self._file_names_for(folder, model)
            for model in {*self._usage.models, *_requested_models(interactions.values())}
        )

    def _file_names_for(self, folder: str, model: str) -> frozenset[str]:
        if (folder, model) not in self._file_names:
            ids = {case_id for case in self._cases[folder] for case_id in _case_ids_with_model(case, model)}
            self._file_names[folder, model] = frozenset(
                f"{naming.safe_file_name(case_id)}.json" for case_id in ids
            )
        return self._file_names[folder, model]


def _requested_models(interactions: Iterable[Interaction]) -> Iterator[str]:
    for interaction in interactions:
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(unfold_body(interaction.request["body"]))
            if isinstance(body, dict):
                model = body.get("model")
            else:
                model = None
            if isinstance(model, str) and model:
                yield from (f"{prefix}{model}" for prefix in MODEL_PREFIXES)


def _case_ids_with_model(case: str, model: str) -> Iterator[str]:
    """Yield the ids that a case like ``v1-late`` may have with a model: first, unless others parametrize the test too."""
    if case:
        parts = case.split("-")
    else:
        parts = []
    # pytest writes the name or its escaped form.
    for spelling in {model, model.encode("unicode_escape").decode("ascii")}:
        yield from ("-".join((*parts[:place], spelling, *parts[place:])) for place in range(len(parts) + 1))


def audit_cassettes(
    root: Path, usage: RunUsage | None, *, within: Path | None = None, redactor: Redactor | None = None
) -> AuditResult:
    """Return the state of the cassettes below a root folder; no file is changed.

    Args:
        root: The root folder of the project.
        usage: The record of the last run; without a record, nothing is stale or an orphan.
        within: Only this file, or the files below this folder.
        redactor: Knows the secrets to look for; None: do not look for secrets.
    """
    files: list[CassetteSummary] = []
    stale: list[StaleAnswers] = []
    orphans: list[str] = []
    damaged: list[FileProblem] = []
    leaks: list[str] = []
    unjudged: list[FileProblem] = []
    other_models = OtherModelCassettes(usage or RunUsage(""))
    for path in find_cassettes(root, usage, within, partial(_add_unreadable_folder, damaged, root)):
        name = path_from_root(path, root)
        try:
            data = path.read_bytes()
            interactions = store.parse_cassette(data, path)
        except (CassetteError, OSError) as error:
            why = str(error).removeprefix(f"cassette {path} is damaged: ").removeprefix(f"cassette {path}: ")
            damaged.append(FileProblem(name, why))
            continue
        if redactor is not None and redactor.leaks(data):
            leaks.append(name)
        answers = sum(len(take) for entry in interactions.values() for take in entry.answers.values())
        files.append(CassetteSummary(name, len(interactions), answers, store.read_recording_day(path)))
        if usage is None:
            continue
        used = usage.files.get(name)
        if used is not None and used.ran and used.stamp != file_stamp(path):
            unjudged.append(FileProblem(name, CHANGED_SINCE_RUN))
        elif used is not None:
            unused = list(_find_stale(name, interactions, used, usage))
            if unused and (why := _why_use_unknown(name, interactions, usage)):
                unjudged.append(FileProblem(name, why))
            else:
                stale += unused
        elif usage.complete and _is_in_scope(name, usage) and not other_models.includes(name, interactions):
            why = _why_undecided(path, usage) or _why_use_unknown(name, interactions, usage)
            if why:
                unjudged.append(FileProblem(name, why))
            else:
                orphans.append(name)
    return AuditResult(
        *(tuple(files), tuple(stale), tuple(orphans), tuple(damaged), tuple(leaks)),
        journals=tuple(path_from_root(path, root) for path in _find_unmerged(root, usage, within)),
        unjudged=tuple(unjudged),
        judged=usage is not None and usage.complete,
    )


def _add_unreadable_folder(damaged: list[FileProblem], root: Path, error: OSError) -> None:
    """A single file was given, or the folder was removed meanwhile: neither is damaged."""
    if not isinstance(error, NotADirectoryError | FileNotFoundError):
        damaged.append(
            FileProblem(path_from_root(Path(error.filename), root), f"cannot be read: {error.strerror}")
        )


def prune_cassettes(
    root: Path, usage: RunUsage | None, *, dry_run: bool = False, redactor: Redactor | None = None
) -> PruneResult:
    """Drop stale answers, orphans, and folders that become empty.

    Damaged files, and files that changed since the run, are left as they are and named in the result.

    Args:
        root: The root folder of the project.
        usage: The record of the last run.
        dry_run: Change no file.
        redactor: Knows the secrets: a file with a secret is not rewritten.

    Raises:
        CassetteError: There is no record, or the run was partial or failed; the error shows what to run.
    """
    if usage is None:
        why_not = "no record of a run was found"
    else:
        why_not = usage.why_not_prunable
    if usage is None or why_not:
        raise CassetteError(f"nothing is pruned: {why_not}; {RUN_ALL_TESTS}")
    result = audit_cassettes(root, usage)
    left = [*result.damaged, *result.unjudged]
    dropped: list[StaleAnswers] = []
    removed: list[str] = []
    by_file: dict[str, list[StaleAnswers]] = {name: [] for name in result.orphans}
    for stale in result.stale:
        by_file.setdefault(stale.file, []).append(stale)
    for name, stale_answers in by_file.items():
        try:
            if _prune_file(
                root / name, stale_answers, usage, usage.files.get(name), redactor, dry_run=dry_run
            ):
                removed.append(name)
            dropped += stale_answers
        except CassetteError as error:
            left.append(FileProblem(name, str(error)))
    return PruneResult(
        tuple(dropped), tuple(sorted(removed)), tuple(sorted(left, key=lambda problem: problem.file))
    )


def _prune_file(
    path: Path,
    stale_answers: list[StaleAnswers],
    usage: RunUsage,
    used: CassetteUse | None,
    redactor: Redactor | None,
    *,
    dry_run: bool,
) -> bool:
    """Drop the stale answers of a cassette, or remove an orphan; return whether the file is removed."""
    rest: list[Interaction] = []

    def make_rest() -> list[Interaction] | None:
        # Under the lock: the file may have changed since the audit.
        if _changed_after_run(path, usage) if used is None else file_stamp(path) != used.stamp:
            raise CassetteError(CHANGED_SINCE_RUN)
        if used is None:
            if find_abandoned_journals(path):
                raise CassetteError(UNMERGED_ANSWERS)
            return None
        interactions = store.load_cassette(path)
        for stale in stale_answers:
            answers = interactions[stale.key].answers
            del answers[stale.take][-stale.n :]
            if not answers[stale.take]:
                del answers[stale.take]
        rest.extend(interaction for interaction in interactions.values() if interaction.answers)
        return rest or None

    if dry_run:
        make_rest()
    else:
        store.rewrite_cassette(path, make_rest, redactor or Redactor(), store.read_recording_day(path))
        _remove_empty_folders(path)
    return not rest


def _remove_empty_folders(path: Path) -> None:
    """Remove the folders that a removed file leaves empty, up to the folder of cassettes itself."""
    if path.exists() or naming.CASSETTE_FOLDER not in path.parts[:-1]:
        return
    for folder in path.parents:
        with contextlib.suppress(OSError):
            folder.rmdir()
        if folder.name == naming.CASSETTE_FOLDER or folder.exists():
            return


def _why_undecided(path: Path, usage: RunUsage) -> str:
    """Return why a file that no test of a complete run uses may still not be an orphan, or ""."""
    if _changed_after_run(path, usage):
        return "it was written after the last run"
    if find_abandoned_journals(path):
        return UNMERGED_ANSWERS
    return ""


def _why_use_unknown(name: str, interactions: Mapping[str, Interaction], usage: RunUsage) -> str:
    """Return why a run does not show what in a cassette is in use, or "".

    Which cassettes a skipped test would have opened in a block is not known, nor what a script or another process opens.
    """
    owners = {interaction.by.rpartition("#")[0] for interaction in interactions.values()}
    is_named = name.rpartition("/")[0].endswith(naming.CASSETTE_FOLDER)
    if usage.skipped and (is_named or owners != {""}):
        return SKIPPED_USERS
    if OUTSIDE_OWNER in owners:
        return OUTSIDE_USERS
    return ""


def _changed_after_run(path: Path, usage: RunUsage) -> bool:
    stamp = file_stamp(path)
    return stamp is not None and stamp[0] > parse_timestamp_ns(usage.created)


def _is_in_scope(name: str, usage: RunUsage) -> bool:
    in_folder = naming.CASSETTE_FOLDER in name.split("/")[:-1]
    return in_folder and any(not scope or name.startswith(f"{scope.rstrip('/')}/") for scope in usage.scopes)


def _find_stale(
    name: str, interactions: Mapping[str, Interaction], used: CassetteUse, usage: RunUsage
) -> Iterator[StaleAnswers]:
    # Other users of a shared file did not run if the run was partial.
    if not used.ran or (used.shared and not (usage.complete and _is_in_scope(name, usage))):
        return
    for key, interaction in interactions.items():
        requested = used.asked.get(key)
        for take, answers in interaction.answers.items():
            # A take without any request belongs to a run with more trials.
            if requested is None:
                wanted = 0
            else:
                wanted = requested.get(take, len(answers))
            if len(answers) > wanted:
                yield StaleAnswers(name, interaction.by, key, take, len(answers) - wanted)


def find_orphans(root: Path, usage: RunUsage) -> list[str]:
    """Return the cassettes that no test of a complete run uses, reading as few files as possible."""
    if not usage.complete:
        return []
    other_models = OtherModelCassettes(usage)

    def is_in_use(path: Path, name: str) -> bool:
        with contextlib.suppress(CassetteError, OSError):
            interactions = store.parse_cassette(path.read_bytes(), path)
            return other_models.includes(name, interactions) or bool(
                _why_use_unknown(name, interactions, usage)
            )
        return False

    return [
        name
        for path in find_cassettes(root, usage, None)
        if (name := path_from_root(path, root)) not in usage.files
        and _is_in_scope(name, usage)
        and not _why_undecided(path, usage)
        and not is_in_use(path, name)
    ]


def find_cassettes(
    root: Path,
    usage: RunUsage | None,
    within: Path | None,
    report_folder: Callable[[OSError], None] | None = None,
) -> list[Path]:
    """Return our cassettes in folders of cassettes or in the record, sorted, and report folders that cannot be read."""
    if usage is not None:
        recorded = {root / file for file in usage.files}
    else:
        recorded = set()
    # os.path, here and below: Path raises where a folder must not be entered.
    paths = {path for path in recorded if os.path.isfile(path) and _is_within(path, within)}  # noqa: PTH113
    for folder, files in walk_folders(within or root, report_folder):
        if folder.is_relative_to(root):
            below = folder.relative_to(root)
        else:
            below = folder
        if naming.CASSETTE_FOLDER in below.parts:
            paths |= {folder / name for name in files if name.endswith(".json")}
    if within is not None and within.is_file():
        paths.add(within)
    # Ours, or empty: other recorders keep JSON files in folders of that name too.
    return sorted(
        path
        for path in paths
        if path in recorded
        or path == within
        or store.is_own_cassette(path)
        or ((stamp := file_stamp(path)) is not None and stamp[1] == 0)
    )


def _find_unmerged(root: Path, usage: RunUsage | None, within: Path | None) -> list[Path]:
    """Return the cassettes with unmerged answers of killed runs; the file itself may not exist yet."""
    if within is not None and within.is_file():
        start = within.parent
    else:
        start = within or root
    folders = {folder for folder, _ in walk_folders(start)}
    if usage is not None:
        folders |= {(root / file).parent for file in usage.files}
    cassettes: set[Path] = set()
    for folder in folders:
        journals = folder / JOURNAL_FOLDER
        for journal in journals.glob("*.journal") if os.path.isdir(journals) else ():  # noqa: PTH112
            cassette = folder / journal.name.removesuffix(".journal").rpartition(".")[0]
            if _is_within(cassette, within) and find_abandoned_journals(cassette):
                cassettes.add(cassette)
    return sorted(cassettes)


def _is_within(path: Path, within: Path | None) -> bool:
    return within is None or path.is_relative_to(within)


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
    "find_cassettes",
    "prune_cassettes",
]
