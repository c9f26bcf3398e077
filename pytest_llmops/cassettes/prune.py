"""Drop the findings of an audit: stale answers, orphans, and folders that become empty."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.cassettes import naming, store
from pytest_llmops.cassettes.audit import (
    CHANGED_SINCE_RUN,
    UNMERGED_ANSWERS,
    FileProblem,
    StaleAnswers,
    audit_cassettes,
    changed_after_run,
)
from pytest_llmops.cassettes.journal import find_abandoned_journals
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.cassettes.usage_record import RUN_ALL_TESTS, CassetteUse, RunUsage, file_stamp
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The answers and files that were pruned, or would be in a dry run.

    Attributes:
        dropped: The answers that were dropped.
        removed: The files that were removed: orphans, and files without any answer left.
        left: The files that were left as they are, and why.
    """

    dropped: tuple[StaleAnswers, ...]
    removed: tuple[str, ...]
    left: tuple[FileProblem, ...]


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
        CassetteError: The record is missing, or the run was partial or failed; the error shows what to run.
    """
    if usage is None:
        raise CassetteError(f"nothing is pruned: no record of a run was found; {RUN_ALL_TESTS}")
    if usage.why_not_prunable:
        raise CassetteError(f"nothing is pruned: {usage.why_not_prunable}; {RUN_ALL_TESTS}")
    result = audit_cassettes(root, usage)
    left = [*result.damaged, *result.unjudged]
    dropped: list[StaleAnswers] = []
    removed: list[str] = []
    # Orphans have no stale answers: they are removed as a whole.
    by_file: dict[str, list[StaleAnswers]] = {name: [] for name in result.orphans}
    for stale in result.stale:
        by_file.setdefault(stale.file, []).append(stale)
    for name, stale_answers in by_file.items():
        file = _PrunedFile(root / name, stale_answers, usage, usage.files.get(name))
        try:
            if dry_run:
                is_removed = file.read_rest() is None
            else:
                is_removed = file.rewrite(redactor or Redactor())
        except CassetteError as error:
            left.append(FileProblem(name, str(error)))
            continue
        if is_removed:
            removed.append(name)
        dropped += stale_answers
    left.sort(key=lambda problem: problem.file)
    return PruneResult(tuple(dropped), tuple(sorted(removed)), tuple(left))


@dataclass(frozen=True, slots=True)
class _PrunedFile:
    """A cassette to prune: its stale answers are dropped, or it is removed if it is an orphan.

    Args:
        path: The file.
        stale: The answers to drop.
        usage: The record of the last run.
        used: The answers that the run used; None: the cassette is an orphan.
    """

    path: Path
    stale: list[StaleAnswers]
    usage: RunUsage
    used: CassetteUse | None

    def rewrite(self, redactor: Redactor) -> bool:
        """Drop the stale answers, or remove the file; return whether it was removed.

        Raises:
            CassetteError: It changed since the run, or cannot be written; it is left as it is.
        """
        is_removed = False

        def make_rest() -> list[Interaction] | None:
            nonlocal is_removed
            rest = (
                self.read_rest()
            )  # read again, now under the lock: the file may have changed since the audit
            is_removed = rest is None
            return rest

        store.rewrite_cassette(self.path, make_rest, redactor, store.read_recording_day(self.path))
        _remove_empty_folders(self.path)
        return is_removed

    def read_rest(self) -> list[Interaction] | None:
        """Return the interactions that stay in the file; None if the file is to be removed.

        Raises:
            CassetteError: It is damaged, or it changed since the run.
        """
        if self.used is None:
            has_changed = changed_after_run(self.path, self.usage)
        else:
            has_changed = file_stamp(self.path) != self.used.stamp
        if has_changed:
            raise CassetteError(CHANGED_SINCE_RUN)
        if self.used is None:
            if find_abandoned_journals(self.path):
                raise CassetteError(UNMERGED_ANSWERS)
            return None
        interactions = store.load_cassette(self.path)
        _drop_answers(interactions, self.stale)
        return [entry for entry in interactions.values() if entry.answers] or None


def _drop_answers(interactions: Mapping[str, Interaction], stale_answers: Iterable[StaleAnswers]) -> None:
    """Drop stale answers from interactions, and takes that become empty."""
    for stale in stale_answers:
        answers = interactions[stale.key].answers
        del answers[stale.take][-stale.n :]
        if not answers[stale.take]:
            del answers[stale.take]


def _remove_empty_folders(path: Path) -> None:
    """Remove the folders that a removed file leaves empty, up to the folder of cassettes itself."""
    if path.exists() or naming.CASSETTE_FOLDER not in path.parts[:-1]:
        return
    for folder in path.parents:
        with contextlib.suppress(OSError):
            folder.rmdir()
        # A folder that still exists is not empty, and so none of its parents is.
        if folder.name == naming.CASSETTE_FOLDER or folder.exists():
            return
