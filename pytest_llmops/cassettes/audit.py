"""Find stale answers, and orphaned and damaged cassettes of a project.

The record of the last run decides which answers are stale and which cassettes are orphans, if that run was complete and green. Nothing is
decided for a file that changed since the run, that a skipped test may use, or that a script or another process
recorded. A cassette recorded for another ``--llm-model`` is not an orphan.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops.cassettes import naming, store
from pytest_llmops.cassettes.active_tape import SESSION_TAKES
from pytest_llmops.cassettes.faults.takes import is_fault_take
from pytest_llmops.cassettes.journal import JOURNAL_FOLDER, find_abandoned_journals
from pytest_llmops.cassettes.other_models import OtherModelCassettes
from pytest_llmops.cassettes.recordings import walk_folders
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.cassettes.tool_questions import REPEATED_METHODS
from pytest_llmops.cassettes.usage_record import (
    OUTSIDE_OWNER,
    CassetteUse,
    RunUsage,
    file_stamp,
    parse_timestamp_ns,
)
from pytest_llmops.errors import CassetteError, path_from_root
from pytest_llmops.redaction.redactor import Redactor

CHANGED_SINCE_RUN = "it changed since the last run"
UNMERGED_ANSWERS = "a journal has answers of a killed run that are not merged yet"
SKIPPED_USERS = "a skipped test may use it: run the test, or delete the file by hand"
OUTSIDE_USERS = (
    "a block outside of the tests recorded it, so its use is not known; delete it by hand if it is unused"
)


@dataclass(frozen=True, slots=True)
class StaleAnswers:
    """Answers that no test requested: the last ``n`` answers of a take to a request."""

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
    """A file and its error."""

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
        unjudged: Cassettes that may be stale or orphaned, and why this cannot be decided.
        judged: Whether there was the record of a complete run, without which no answer is called stale and no file an orphan.
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


@dataclass(slots=True)
class _Audit:
    """An audit in progress, which collects the parts of an `AuditResult`.

    Args:
        root: The root folder of the project.
        usage: The record of the last run; None: there is none.
        redactor: Knows the secrets to look for; None: do not look for secrets.
    """

    root: Path
    usage: RunUsage | None
    redactor: Redactor | None
    other_models: OtherModelCassettes
    files: list[CassetteSummary] = field(default_factory=list)
    stale: list[StaleAnswers] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    damaged: list[FileProblem] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    unjudged: list[FileProblem] = field(default_factory=list)

    def add_unreadable_folder(self, error: OSError) -> None:
        """Add a folder that cannot be read; ignore one that was removed meanwhile, or is a single file to look at."""
        if not isinstance(error, NotADirectoryError | FileNotFoundError):
            name = path_from_root(Path(error.filename), self.root)
            self.damaged.append(FileProblem(name, f"cannot be read: {error.strerror}"))

    def add_file(self, path: Path) -> None:
        """Read a cassette and add its findings."""
        name = path_from_root(path, self.root)
        try:
            data = path.read_bytes()
            interactions = store.parse_cassette(data, path)
        except (CassetteError, OSError) as error:
            why = str(error).removeprefix(f"cassette {path} is damaged: ").removeprefix(f"cassette {path}: ")
            self.damaged.append(FileProblem(name, why))
            return
        if self.redactor is not None and self.redactor.leaks(data):
            self.leaks.append(name)
        answers = sum(len(take) for entry in interactions.values() for take in entry.answers.values())
        day = store.read_recording_day(path)
        self.files.append(CassetteSummary(name, len(interactions), answers, day))
        if self.usage is None:
            return
        used = self.usage.files.get(name)
        if used is not None:
            self._add_used_file(path, name, interactions, used, self.usage)
        elif self.usage.complete and is_in_scope(name, self.usage):
            self._add_unused_file(path, name, interactions, self.usage)

    def _add_used_file(
        self,
        path: Path,
        name: str,
        interactions: Mapping[str, Interaction],
        used: CassetteUse,
        usage: RunUsage,
    ) -> None:
        """Add the stale answers of a cassette that the run has used."""
        if used.ran and used.stamp != file_stamp(path):
            self.unjudged.append(FileProblem(name, CHANGED_SINCE_RUN))
            return
        unused = list(_find_stale(name, interactions, used, usage))
        if not unused:
            return
        why = _why_use_unknown(name, interactions, usage)
        if why:
            self.unjudged.append(FileProblem(name, why))
        else:
            self.stale += unused

    def _add_unused_file(
        self, path: Path, name: str, interactions: Mapping[str, Interaction], usage: RunUsage
    ) -> None:
        """Add a cassette that the run has not used, although all tests that could use it were collected."""
        if self.other_models.includes(name, interactions):
            return
        why = _why_not_orphan_yet(path, usage) or _why_use_unknown(name, interactions, usage)
        if why:
            self.unjudged.append(FileProblem(name, why))
        else:
            self.orphans.append(name)


def audit_cassettes(
    root: Path, usage: RunUsage | None, *, within: Path | None = None, redactor: Redactor | None = None
) -> AuditResult:
    """Return the state of the cassettes in a project; no file is changed.

    Args:
        root: The root folder of the project.
        usage: The record of the last run; without a record, nothing is stale or an orphan.
        within: Only this file, or the files below this folder.
        redactor: Knows the secrets to look for; None: do not look for secrets.
    """
    audit = _Audit(root, usage, redactor, OtherModelCassettes(usage or RunUsage("")))
    for path in find_cassettes(root, usage, within, audit.add_unreadable_folder):
        audit.add_file(path)
    unmerged = _find_unmerged(root, usage, within)
    return AuditResult(
        files=tuple(audit.files),
        stale=tuple(audit.stale),
        orphans=tuple(audit.orphans),
        damaged=tuple(audit.damaged),
        leaks=tuple(audit.leaks),
        journals=tuple(path_from_root(path, root) for path in unmerged),
        unjudged=tuple(audit.unjudged),
        judged=usage is not None and usage.complete,
    )


def _why_not_orphan_yet(path: Path, usage: RunUsage) -> str:
    """Return why a file that a complete run has not used may still be in use, or ""."""
    if changed_after_run(path, usage):
        return "it was written after the last run"
    if find_abandoned_journals(path):
        return UNMERGED_ANSWERS
    return ""


def _why_use_unknown(name: str, interactions: Mapping[str, Interaction], usage: RunUsage) -> str:
    """Return why a run does not show which parts of a cassette are in use, or "".

    It does not show which cassettes a skipped test would have opened in a block, nor those that a script or another
    process opens.
    """
    owners = {interaction.by.rpartition("#")[0] for interaction in interactions.values()}
    folder = name.rpartition("/")[0]
    # A block's cassette lies directly in the folder of cassettes, or its recordings carry the names of tests.
    is_named = folder.endswith(naming.CASSETTE_FOLDER)
    if usage.skipped and (is_named or owners != {""}):
        return SKIPPED_USERS
    if OUTSIDE_OWNER in owners:
        return OUTSIDE_USERS
    return ""


def changed_after_run(path: Path, usage: RunUsage) -> bool:
    """Return whether a file was written after a run ended."""
    stamp = file_stamp(path)
    return stamp is not None and stamp[0] > parse_timestamp_ns(usage.created)


def is_in_scope(name: str, usage: RunUsage) -> bool:
    """Return whether all tests that could use a cassette were collected.

    Args:
        name: The cassette's path, relative to the root.
        usage: The record of the run.
    """
    if naming.CASSETTE_FOLDER not in name.split("/")[:-1]:
        return False
    return any(not scope or name.startswith(f"{scope.rstrip('/')}/") for scope in usage.scopes)


def _find_stale(
    name: str, interactions: Mapping[str, Interaction], used: CassetteUse, usage: RunUsage
) -> Iterator[StaleAnswers]:
    """Yield the answers that no test of a run requested."""
    if not used.ran:
        return
    # In a partial run, other users of a shared file may not have run.
    if used.shared and not (usage.complete and is_in_scope(name, usage)):
        return
    takes_again = _find_takes_again(interactions, used)
    asked_urls = {interactions[key].request["url"] for key in used.asked if key in interactions}
    for key, interaction in interactions.items():
        request = interaction.request
        # The first test that uses a shared connection requests the list of the server's tools, and any test can be the first
        if request["method"] in REPEATED_METHODS and request["url"] in asked_urls:
            continue
        requested = used.asked.get(key)
        for take, answers in interaction.answers.items():
            requested_count = 0
            if requested is None and (take in takes_again or is_fault_take(int(take))):
                continue
            if (
                requested is not None
            ):  # a take without any request belongs to a run with more trials, and stays
                requested_count = requested.get(take, len(answers))
            if len(answers) > requested_count:
                yield StaleAnswers(name, interaction.by, key, take, len(answers) - requested_count)


def _find_takes_again(interactions: Mapping[str, Interaction], used: CassetteUse) -> set[str]:
    """Return the takes of ``--llm-again`` that requests of the run have too: an ordinary run replays none of them.

    The second request of a conversation depends on the first answer, so that only its own take makes it.
    """
    takes: set[str] = set()
    for key in used.asked:
        if key in interactions:
            takes |= interactions[key].answers.keys()
    return {take for take in takes if int(take) >= SESSION_TAKES}


def find_orphans(root: Path, usage: RunUsage) -> list[str]:
    """Return the cassettes that no test of a complete run uses, reading as few files as possible."""
    if not usage.complete:
        return []
    other_models = OtherModelCassettes(usage)
    orphans = []
    for path in find_cassettes(root, usage, None):
        name = path_from_root(path, root)
        if name in usage.files or not is_in_scope(name, usage) or _why_not_orphan_yet(path, usage):
            continue
        if not _may_be_in_use(path, name, usage, other_models):
            orphans.append(name)
    return orphans


def _may_be_in_use(path: Path, name: str, usage: RunUsage, other_models: OtherModelCassettes) -> bool:
    """Return whether a cassette that a run has not used may be in use: for another model, or outside of the tests.

    False if it cannot be read: then it is an orphan.
    """
    try:
        interactions = store.parse_cassette(path.read_bytes(), path)
    except (CassetteError, OSError):
        return False
    if other_models.includes(name, interactions):
        return True
    return bool(_why_use_unknown(name, interactions, usage))


def find_cassettes(
    root: Path,
    usage: RunUsage | None,
    within: Path | None,
    report_folder: Callable[[OSError], None] | None = None,
) -> list[Path]:
    """Return the cassettes of this plugin, in folders of cassettes or in the record of the last run, sorted.

    Args:
        root: The root folder of the project.
        usage: The record of the last run.
        within: Only this file, or the files below this folder.
        report_folder: Called with the error of a folder that cannot be read.
    """
    recorded: set[Path] = set()
    if usage is not None:
        recorded = {root / file for file in usage.files}
    # Here and below with os.path: Path raises an error for a folder that must not be entered.
    certain = {path for path in recorded if os.path.isfile(path) and _is_within(path, within)}  # noqa: PTH113
    if within is not None and within.is_file():
        certain.add(within)
    others = _find_json_files(root, within or root, report_folder)
    # Other recorders keep JSON files in folders of that name too.
    ours = {path for path in others if path in recorded or path in certain or _is_ours(path)}
    return sorted(certain | ours)


def _find_json_files(root: Path, start: Path, report_folder: Callable[[OSError], None] | None) -> set[Path]:
    """Return the JSON files below a folder that lie in folders of cassettes."""
    paths: set[Path] = set()
    for folder, files in walk_folders(start, report_folder):
        below = folder
        if folder.is_relative_to(root):
            below = folder.relative_to(root)
        if naming.CASSETTE_FOLDER in below.parts:
            paths |= {folder / name for name in files if name.endswith(".json")}
    return paths


def _is_ours(path: Path) -> bool:
    """Return whether a file is a cassette of this plugin, or an empty file."""
    if store.is_own_cassette(path):
        return True
    stamp = file_stamp(path)
    return stamp is not None and stamp[1] == 0


def _find_unmerged(root: Path, usage: RunUsage | None, within: Path | None) -> list[Path]:
    """Return the cassettes with unmerged answers of killed runs; the file itself may not exist yet."""
    start = within or root
    if within is not None and within.is_file():
        start = within.parent
    folders = {folder for folder, _ in walk_folders(start)}
    if usage is not None:
        folders |= {(root / file).parent for file in usage.files}
    cassettes: set[Path] = set()
    for folder in folders:
        if not os.path.isdir(folder / JOURNAL_FOLDER):  # noqa: PTH112
            continue
        for journal in (folder / JOURNAL_FOLDER).glob("*.journal"):
            cassette = folder / journal.name.removesuffix(".journal").rpartition(".")[0]
            if _is_within(cassette, within) and find_abandoned_journals(cassette):
                cassettes.add(cassette)
    return sorted(cassettes)


def _is_within(path: Path, within: Path | None) -> bool:
    """Return whether a path is a file or lies below a folder; True without one."""
    return within is None or path.is_relative_to(within)
