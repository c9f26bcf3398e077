"""Journals of a whole run: of answers that were asked before the tests that claim them.

All cassettes of a folder share a journal, so that thousands of tests need one open file. A journal that a killed run
left is split into those of its cassettes, which are merged as ever.
"""

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pytest_llmops.cassettes.journal import (
    Journal,
    JournalEntry,
    find_abandoned_journals,
    remove_journal_folder,
    seize_journal,
)
from pytest_llmops.errors import CassetteError

RUN_JOURNAL = "run"  # instead of a cassette's name, in the name of a journal


class RunJournals:
    """The journals of a run, one for each folder with cassettes; safe for threads."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Journal] = {}
        self._unwritten: dict[Path, list[bytes]] = {}
        self._lock = threading.Lock()

    def prepare(self, cassette: Path) -> None:
        """Make sure that an answer can be written, before it is paid.

        Raises:
            CassetteError: It cannot.
        """
        with self._lock:
            self._open_journal(cassette.parent).prepare()

    def _open_journal(self, folder: Path) -> Journal:
        return self._by_folder.setdefault(folder, Journal(folder / RUN_JOURNAL))

    def write(self, cassette: Path, entry: JournalEntry) -> None:
        """Write an answer to disk.

        Raises:
            CassetteError: It could not be written.
        """
        folder = cassette.parent
        queue = self._unwritten.setdefault(folder, [])
        queue.append(replace(entry, by=f"{cassette.name}/{entry.by}").to_line())
        with self._lock:
            journal = self._open_journal(folder)
            lines = list(queue)  # those that other threads have queued meanwhile are synced together
            del queue[: len(lines)]  # the journal keeps what it cannot write
            if lines:
                journal.append_lines(b"".join(lines))
            else:
                journal.prepare()  # raises if the thread that took this answer could not write it

    @property
    def paths(self) -> list[Path]:
        """The files of this process."""
        return [path for journal in self._by_folder.values() for path in journal.paths]

    def close(self) -> list[str]:
        """Close the files, which stay on disk, and return where answers are that could not be written."""
        notes = []
        for journal in self._by_folder.values():
            journal.close()
            if journal.rescue_note:
                notes.append(journal.rescue_note)
        return notes


def remove_run_journals(paths: Iterable[Path]) -> None:
    """Remove the journals of a run whose answers are in the cassettes."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        remove_journal_folder(path.parent.parent / RUN_JOURNAL)


def split_run_journals(folder: Path) -> None:
    """Give each cassette of a folder its part of the journals that killed runs kept for all of them."""
    for path in find_abandoned_journals(folder / RUN_JOURNAL):
        # A read-only folder: the next run that can write takes them in.
        with contextlib.suppress(CassetteError, OSError), seize_journal(path) as entries:
            if entries is None:
                continue
            _write_parts(folder, entries)
            path.unlink(missing_ok=True)


def _write_parts(folder: Path, entries: Iterable[JournalEntry]) -> None:
    """Write the entries of a run's journal into journals of their cassettes."""
    parts: dict[str, list[JournalEntry]] = {}
    for entry in entries:
        cassette, _, place = entry.by.partition("/")
        parts.setdefault(cassette, []).append(replace(entry, by=place))
    for cassette, part in parts.items():
        journal = Journal(folder / cassette)
        for entry in part:
            journal.append(entry)
        journal.close()
