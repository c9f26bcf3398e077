"""Journals of a whole run, for answers that are requested ahead of the tests that need them.

All cassettes of a folder share a journal, so that thousands of tests need a single open file. If a killed run has
left such a journal, it is split into journals of the cassettes, which are merged like any others.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.journal import (
    Journal,
    JournalEntry,
    close_quietly,
    find_abandoned_journals,
    lock_file,
    name_journal,
    remove_journal_folder,
    seize_journal,
    unlock_and_close,
)
from pytest_llmops.errors import CassetteError

ADOPTION_LIMIT_S = 5.0  # a process closes its journals in milliseconds
LOCK_POLL_S = 0.002
RUN_JOURNAL = "run"  # replaces a cassette's name in the name of the journal


class RunJournals:
    """The journals of a run, one for each folder with cassettes. Its methods can be called in any thread."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Journal] = {}
        self._unwritten: dict[Path, list[bytes]] = {}
        self._lock = threading.Lock()

    def prepare(self, cassette: Path) -> None:
        """Make sure that an answer can be written, before the call is paid.

        Raises:
            CassetteError: It cannot be written.
        """
        journal = self._by_folder.get(cassette.parent)
        if journal is not None and journal.is_open:
            return  # without waiting for the disk, while another thread writes an answer
        with self._lock:
            self._open_journal(cassette.parent).prepare()

    def _open_journal(self, folder: Path) -> Journal:
        """Return the journal of a folder, made at the first call; the lock must be held."""
        return self._by_folder.setdefault(folder, Journal(folder / RUN_JOURNAL))

    def write(self, cassette: Path, entry: JournalEntry) -> None:
        """Write an answer to disk, together with those that other threads are about to write.

        When it returns, the answer is on disk, even if another thread has written it.

        Answers that could not be written are rescued at once: a worker of xdist may end without a call of `close`.

        Raises:
            CassetteError: It could not be written.
        """
        folder = cassette.parent
        queue = self._unwritten.setdefault(folder, [])
        queue.append(replace(entry, by=f"{cassette.name}/{entry.by}").to_line())
        with self._lock:
            journal = self._open_journal(folder)
            lines = list(queue)  # also the lines that other threads have queued meanwhile: one sync for all
            del queue[: len(lines)]  # not lost if it fails: the journal keeps lines that it cannot write
            if not lines:  # another thread took this answer
                if journal.rescue_note:
                    raise CassetteError(f"cassette {cassette}: an answer could not be written")
                return
            try:
                journal.append_lines(b"".join(lines))
            except CassetteError:
                journal.rescue()
                run_folder.note_rescue(self._rescue_notes())
                raise

    @property
    def paths(self) -> list[Path]:
        """The files of this process."""
        return [path for journal in self._by_folder.values() for path in journal.paths]

    def _rescue_notes(self) -> list[str]:
        """Return notes on answers that could not be written."""
        return [journal.rescue_note for journal in self._by_folder.values() if journal.rescue_note]

    def close(self) -> list[str]:
        """Close the files, which stay on disk. Return notes about answers that could not be written there."""
        for journal in self._by_folder.values():
            journal.close()
        return self._rescue_notes()


class AdoptedJournals:
    """Journals that another process of this run has written, locked by this process, which has their answers in memory.

    It is made while the other process closes them. A journal that is gone, or that another run merges, is left to that run.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._held: dict[Path, int] = {}
        deadline = time.monotonic() + ADOPTION_LIMIT_S
        for path in paths:
            self._adopt(path, deadline)

    def _adopt(self, path: Path, deadline: float) -> None:
        """Lock a journal once its writer has closed it."""
        try:
            fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            return
        is_locked = lock_file(fd, exclusive=True)
        while is_locked is False and time.monotonic() < deadline:
            time.sleep(LOCK_POLL_S)
            is_locked = lock_file(fd, exclusive=True)
        if is_locked is False:
            close_quietly(fd)
            return
        if (
            is_locked is None and sys.platform != "win32"
        ):  # no locks there: the name shows which process uses a journal
            with contextlib.suppress(OSError):
                path = path.rename(path.with_name(name_journal(path.parent.parent / RUN_JOURNAL)))
        self._held[path] = fd

    def release(self, *, is_recorded: bool) -> None:
        """Unlock the journals.

        Args:
            is_recorded: Whether the cassettes hold all that is needed of them, so that they are removed.
        """
        for path, fd in self._held.items():
            if is_recorded and sys.platform != "win32":  # while they are locked
                remove_run_journals([path])
            unlock_and_close(fd)
        if is_recorded:
            remove_run_journals(self._held)
        self._held = {}


def remove_run_journals(paths: Iterable[Path]) -> None:
    """Remove journals of a run, after their answers were merged into the cassettes."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        remove_journal_folder(path.parent.parent / RUN_JOURNAL)


def split_run_journals(folder: Path) -> None:
    """Split the journals that killed runs have left for a folder into journals of its cassettes."""
    for path in find_abandoned_journals(folder / RUN_JOURNAL):
        # An error, as in a read-only folder, is ignored: the next run that can write will split them.
        with contextlib.suppress(CassetteError, OSError), seize_journal(path) as entries:
            if entries is None:
                continue
            _write_parts(folder, entries)
            path.unlink(missing_ok=True)


def _write_parts(folder: Path, entries: Iterable[JournalEntry]) -> None:
    """Write the entries of a run's journal to journals of their cassettes (``by`` is ``<cassette>/<place>``)."""
    parts: dict[str, list[JournalEntry]] = {}
    for entry in entries:
        cassette, _, place = entry.by.partition("/")
        parts.setdefault(cassette, []).append(replace(entry, by=place))
    for cassette, part in parts.items():
        journal = Journal(folder / cassette)
        for entry in part:
            journal.append(entry)
        journal.close()
