"""Records live answers: in a journal before the application gets them, and in the cassette when the tape is closed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import run_folder, store
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.journal import Journal, JournalEntry, find_abandoned_journals
from pytest_llmops.cassettes.request_headers import list_changed_behaviour
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.tape_config import WRITING_MODES, TapeConfig
from pytest_llmops.cassettes.tape_report import KeyAndTake, TapeReport
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.wire.body import fold_body


@dataclass(slots=True, eq=False)
class AnswerRecorder:
    """Keeps the live answers of a tape, in a writing mode also on disk.

    Args:
        path: The cassette.
        mode: The mode of the tape.
        config: The configuration of the tape.
        report: Has the number of answers so far, and gets misses.
        player: Has the recordings, and counts the answers of each request.

    Attributes:
        journal: The answers that are not in the cassette yet.
        failed: The error that is raised when the tape is closed; None: everything is recorded.
    """

    path: Path
    mode: RecordMode
    config: TapeConfig
    report: TapeReport
    player: AnswerPlayer
    journal: Journal = field(init=False)
    failed: CassetteError | None = None
    # Answers that the journal of the whole run holds, and copies of recorded ones
    _without_journal: list[JournalEntry] = field(default_factory=list)
    _unwritten_count: int = 0  # answers that could not be written at once
    # Recorded answers that are dropped when the tape is closed, unless they are requested until then
    _unneeded: set[KeyAndTake] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.journal = Journal(self.path)

    @property
    def is_writing(self) -> bool:
        """Whether answers are written to disk."""
        return self.mode in WRITING_MODES

    def prepare(self) -> None:
        """Make sure that an answer can be recorded, before the call is paid.

        Raises:
            CassetteMiss: It cannot be recorded. After another error the SDK would call again.
        """
        if not self.is_writing:
            return
        if run_folder.are_live_calls_stopped():
            raise self.report.refuse(run_folder.describe_stop())
        try:
            self.journal.prepare()
        except CassetteError as error:
            self.note_failed_write(error)
            raise CassetteMiss(str(error)) from None

    def keep(
        self, question: Question, wire: dict[str, Any], take: str, *, in_run_journal: bool = False
    ) -> None:
        """Add the next answer to a request, and write it to the journal in a writing mode.

        Args:
            question: The request.
            wire: The answer as it is recorded.
            take: The take of the request.
            in_run_journal: Whether the answer is on disk already, in the journal of the whole run.

        Raises:
            CassetteError: The answer could not be written; `close` raises it again.
        """
        if self.is_writing:
            if self.config.fork is not None:
                wire = self.config.fork.mark(wire, take)
            self._note_compressed(wire)
            entry = self._make_entry(question, wire, take)
            if in_run_journal:
                self._without_journal.append(entry)
            else:
                self.check_secrets(entry)
                try:
                    self._write(entry)
                except CassetteError:
                    # The journal keeps the answer, so the next one must get another place.
                    self._unwritten_count += 1
                    self.player.given.add_answer(question.key, take)
                    raise
            if self.mode == "new":
                store.apply_entries(self.player.recordings.by_key, [entry], replace=False)
            if self.config.settings.changed:
                self._drop_other_headers(question, take)
        self.player.given.add_answer(question.key, take)

    def copy_answer(self, key: str, wire: Mapping[str, Any], take: str) -> None:
        """Keep a recorded answer as the next one of another take too, unless that take has it already.

        It needs no journal: after a crash, the next run copies it again.

        Args:
            key: The key under which it is recorded.
            wire: The answer as it is recorded.
            take: The other take; the caller counts the answer as given.
        """
        interaction = self.player.recordings.by_key[key]
        answers = interaction.answers.get(take, [])
        place = self.player.given.count(key, take)
        is_recorded = place < len(answers)
        if is_recorded and answers[place] == wire:
            return
        entry = JournalEntry(
            by=interaction.by,
            key=key,
            take=take,
            n=place,
            request=dict(interaction.request),
            answer=dict(wire),
            again=is_recorded,
        )
        self._without_journal.append(entry)
        store.apply_entries(self.player.recordings.by_key, [entry], replace=False)

    def _note_compressed(self, wire: Mapping[str, Any]) -> None:
        """Note that an answer is recorded as compressed bytes, because it could not be decoded."""
        encoding = wire["headers"].get("content-encoding")
        if encoding and "base64" in wire["body"]:
            self.report.note_once(
                f"an answer was recorded compressed ({encoding}): its decoder is not installed, or it is damaged;"
                " secrets in it could not be found"
            )

    def _make_entry(self, question: Question, wire: dict[str, Any], take: str) -> JournalEntry:
        """Return the line of the journal for the next answer to a request."""
        counts = self.report.counts
        number = counts.replayed + counts.recorded + counts.reused + self._unwritten_count + 1
        place = self.player.given.count(question.key, take)
        if self.config.fault_take:  # counts only answers that were recorded with the fault
            take = self.config.fault_take
            place = self.player.count_recorded(question.key, take)
        replaces = self.mode == "all"
        if not replaces:  # in mode new, an answer in this place was too old
            replaces = place < len(self.player.recorded_answers(question.key, take))
        return JournalEntry(
            by=self.config.name_place(number, shared=self.player.shared),
            key=question.key,
            take=take,
            n=place,
            request={"method": question.method, "url": question.url, "body": fold_body(question.body)},
            answer=wire,
            again=replaces,
        )

    def check_secrets(self, entry: JournalEntry) -> None:
        """Check before an answer is written that no secret is left in it.

        Raises:
            CassetteError: There is one: the answer is not recorded; `close` raises the error again.
        """
        if not store.has_secret(entry, self.config.redactor):
            return
        self.failed = CassetteError(
            f"cassette {self.path}: answer {entry.by} was not written, a secret is still in it or in its request; add a"
            " pytest_llmops_redactors hook that masks it, and record again"
        )
        raise self.failed

    def _drop_other_headers(self, question: Question, take: str) -> None:
        """Drop the other takes of a request that came with other headers: they do not belong to the changed request."""
        for other_take, answers in self.player.recordings.by_key[question.key].answers.items():
            for answer in answers:
                is_changed = list_changed_behaviour(answer.get("request_headers"), question.headers)
                if is_changed and other_take != take:
                    self.drop_unless_requested(question.key, other_take)

    def drop_unless_requested(self, key: str, take: str) -> None:
        """Drop the recorded answers of a take when the tape is closed, unless this test or another may request them."""
        if not self.player.others_ask:
            self._unneeded.add((key, take))

    def _write(self, entry: JournalEntry) -> None:
        """Write an entry to the journal; an error is also kept for the end of the tape.

        Raises:
            CassetteError: It could not be written.
        """
        try:
            self.journal.append(entry)
        except CassetteError as error:
            self.note_failed_write(error)
            if self.journal.rescue_note:  # the tape is closed already, so its error does not name this answer
                raise CassetteError(f"{error}\n{self.journal.rescue_note}") from None
            raise

    def note_failed_write(self, error: CassetteError) -> None:
        """Keep an error for the end of the tape.

        If the disk failed, the live calls of the whole run are stopped, as no other answer could be recorded either.
        """
        self.failed = error
        cause = error.__context__
        if isinstance(cause, OSError) and cause.errno in run_folder.DISK_ERRORS:
            run_folder.stop_live_calls()

    def note_missed_write(self, error: CassetteMiss) -> None:
        """Keep an error for the end of the tape, unless there is one already."""
        if self.failed is None:
            self.failed = CassetteError(str(error))

    def close(self, *, passed: bool) -> None:
        """Merge new answers into the cassette.

        Args:
            passed: Whether the test passed. If so, answers that it did not request are dropped in mode ``all``.

        Raises:
            CassetteError: An answer, or the cassette, could not be written; the answers stay in the journal.
        """
        if self.is_writing:
            self.journal.close()
            try:
                self._merge(passed=passed)
            except CassetteError:
                if not self.journal.rescue_note:
                    raise
        if self.failed is None:
            return
        if self.journal.rescue_note:
            raise CassetteError(f"{self.failed}\n{self.journal.rescue_note}")
        raise self.failed

    def _merge(self, *, passed: bool) -> None:
        """Merge into the cassette the answers of this tape, and those that killed runs have left in journals."""
        adopted: Collection[store.Interaction] = ()
        if self.mode == "new":
            adopted = self.player.recordings.adopted.values()
        own_journals = self.journal.paths
        has_answers = bool(adopted or self._without_journal or own_journals)
        if not has_answers and not find_abandoned_journals(self.path):
            return
        # Mode all replaces the answers that the test requested. If it passed, the others are dropped.
        to_keep: Mapping[KeyAndTake, int] | None = None
        if self.mode == "all" and passed and self.failed is None and not self.player.others_ask:
            to_keep = self.player.given.answers_to_keep()
        given = self.player.given
        dropped = [(key, take) for key, take in self._unneeded if not given.count(key, take)]
        if to_keep is not None:  # the requests after a fault depend on the answers that are recorded anew
            dropped += self.player.recordings.list_fault_answers()
        try:
            store.merge_journals(
                self.path,
                own_journals,
                self.config.redactor,
                replace=self.mode == "all",
                keep=to_keep,
                adopted=adopted,
                entries=self._without_journal,
                dropped=dropped,
            )
        except CassetteError as error:
            self.note_failed_write(error)
            raise
        own_journals.clear()
