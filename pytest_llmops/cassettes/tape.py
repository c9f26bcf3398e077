"""A cassette in use: replays recorded answers, records live answers, and collects misses."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from pytest_llmops import recorder
from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.cassettes import active_tape, journal, miss, run_folder, store
from pytest_llmops.cassettes.budget import CallCosts, Ledger
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.recordings import RecordingIndex, Recordings
from pytest_llmops.cassettes.request_key import (
    Answer,
    MatchRules,
    Question,
    TapeCounts,
    answer_from_wire,
    answer_to_wire,
    build_question,
    describe_age,
)
from pytest_llmops.cassettes.run_folder import JUDGE_PURPOSE, RateLimiter, SharedAnswers, shared_answer_key
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import is_error_status
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import RecordMode, Settings
from pytest_llmops.wire.body import fold_body

WRITING_MODES = ("new", "all")
# Fields that the tape of a block shares with the tape of its test
BLOCK_FIELDS = (
    "redactor", "owner", "command", "settings", "rules", "ledger", "shared_answers", "pace", "proxy_ports", "attempt", "take",
    "elsewhere",
)  # fmt: skip
REPEATED_NOTE = "run again, and replayed from an earlier run's recording, so it is the same sample; --llm-record=new records more"


@dataclass(slots=True, eq=False)
class Tape:
    """A cassette in use.

    Args:
        path: The file; it need not exist.
        mode: ``none``, ``new``, ``all``, ``live`` or ``verify``.
        redactor: Masks secrets.
        owner: The test, for the order in a shared file.
        command: The command that records, for the message of a miss.
        settings: The run's: hosts whose requests are neither recorded nor blocked, what is recorded beside answers, and
            what happens to answers that are too old.
        shared: Whether other tests use the file too, so that answers without a request here are not stale.
        rules: Parts of a request to ignore when matching recordings.
        ledger: Counts live calls, and refuses calls beyond the budget.
        shared_answers: Judges' answers from other tests of the run.
        pace: Limits the rate of judge calls.

    Raises:
        CassetteError: The file is damaged; it is left as it is.
    """

    collects: ClassVar[bool] = False  # whether requests are only collected, to be sent with others'
    path: Path
    mode: RecordMode = "none"
    redactor: Redactor = field(default_factory=Redactor)
    owner: str = ""
    command: str = "pytest --llm-record=new"
    settings: Settings = field(default_factory=Settings)
    shared: bool = False
    rules: MatchRules = field(default_factory=MatchRules)
    ledger: Ledger | None = None
    shared_answers: SharedAnswers | None = None
    pace: RateLimiter | None = None
    # Zero-based repetition of a test that is run several times, which plays the take of that number; None: once
    attempt: int | None = None
    take: str = "0"  # of a call that no trial made: of a thread, or a process, that is older than the trial
    elsewhere: RecordingIndex | None = None  # finds recordings of tests that were renamed or moved
    counts: TapeCounts = field(default_factory=TapeCounts)
    misses: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # live calls that the budget refused
    notes: list[str] = field(default_factory=list)
    drifts: list[miss.Drift] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)  # where the first new request of --llm-changed differs
    inner: "list[Tape]" = field(default_factory=list)  # of blocks that were opened while this tape was in use
    resolved: set[str] = field(default_factory=set)  # IP addresses of the allowed hosts
    errors_elsewhere: int = 0  # misses and refused calls whose exception was raised in another process
    proxy_ports: set[int] = field(default_factory=set)  # of our own proxies, which record what they pass on
    # Functions that read the rest of incomplete answers, or give them up
    unfinished: dict[int, Callable[[], None]] = field(default_factory=dict)
    _recordings: Recordings = field(init=False)
    # Number of answers given, and whether the last request got one; by (key, take).
    _given: Counter[tuple[str, str]] = field(default_factory=Counter)
    _got_answer: dict[tuple[str, str], bool] = field(default_factory=dict)
    _journaled: list[journal.JournalEntry] = field(default_factory=list)  # on disk in the run's journal
    costs: CallCosts = field(init=False)
    _failed: CassetteError | None = None
    _journal: journal.Journal = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.costs = CallCosts(self.ledger)
        self._journal = journal.Journal(self.path)
        self._recordings = Recordings(self.path, self.rules, self.elsewhere)
        if self.mode != "live":
            self._recordings.by_key = store.load_with_journals(self.path)

    def open_block_tape(self, path: Path, mode: RecordMode | None = None) -> "Tape":
        """Return a tape for a block of the same test: a different file with the same settings.

        Raises:
            CassetteError: The file is damaged.
        """
        same = {name: getattr(self, name) for name in BLOCK_FIELDS}
        tape = active_tape.tape_factory(path, mode or self.mode, shared=True, **same)
        self.inner.append(tape)
        return tape

    def passes(self, host: str, port: int | None = None) -> bool:
        """Return whether requests to a host are neither recorded nor blocked."""
        if port is not None and port in self.proxy_ports and is_loopback(host):
            return True
        return host.lower() in self.settings.allow_hosts or host in self.resolved

    def make_question(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return a request in the form that is matched, with the key of its recording if the rules have changed."""
        build = partial(build_question, method, url, headers, body, self.redactor, rules=self.rules)
        # Masking takes half the time, and a request whose own key is recorded has nothing to mask, but in what rules leave out.
        if self.mode == "none" and not self.rules and self.redactor.is_known_clean(body):
            question = build(masked=True)
            if question.key in self._recordings.by_key and question.json is not None:
                return question
        question = build()
        if question.key in self._recordings.by_key:
            return question
        with self._lock:
            key = self._recordings.find_key(question)
        if key == question.key:
            return question
        return replace(question, key=key)

    def claim(self, question: Question) -> Answer | None:
        """Return the next recorded answer to a request, or None if the call has to be live.

        Raises:
            CassetteMiss: No recording in mode none; or a live answer could not be written.
            BudgetReached: The budget has no live call left.
        """
        with self._lock:
            take = active_tape.current_take()
            self._got_answer[question.key, take] = False
            if self.mode in ("none", "new"):
                recorded = self._recorded_answers(question.key, take)
            else:
                recorded = []
            place = self._given.get((question.key, take), 0)
            if place < len(recorded) and not self._is_expired(recorded[place], question):
                if not self._recordings.shows_request(question):
                    by = self._recordings.by_key[question.key].by
                    why = f"the request {by} is not the one of its key {question.key} (was it edited, or llm_match_ignore changed?)"
                    raise self._refuse_damaged(why)
                return self._replay(recorded[place], question.key, take)
            is_sought = not recorded and self.mode in ("none", "new")
            if is_sought and (elsewhere := self._claim_elsewhere(question, take)) is not None:
                return elsewhere
            if self.mode == "none":
                raise self.refuse(self._describe_miss(question, len(recorded), take))
            if self.settings.changed and self.mode == "new" and not self.changes:
                self.changes.append(self._recordings.describe_change(question, self._given, take))
            return self._claim_unrecorded(question, take, place)

    def _claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        """Return an answer of this run to a request without a recording, or None if the call may be live."""
        self._prepare_journal()
        shared_answer = self._take_shared_answer(question, take, n)
        if shared_answer is None:
            self._reserve_budget(question)
            run_folder.note_live_call("+")
        return shared_answer

    def _is_expired(self, wire: Mapping[str, Any], question: Question) -> bool:
        """Return whether an answer is to be asked again because it is too old.

        Raises:
        CassetteMiss: It is too old, and is neither replayed nor asked again.
        """
        text = describe_age(wire, self.settings.max_age)
        expired = self.settings.expired
        if not text or (expired == "refresh" and self.mode == "new"):
            return bool(text)
        if expired == "warn":
            self._note_once(f"an answer was {text}")
            return False
        if expired == "refresh":
            command = self.command
        else:
            command = self.command_again
        raise self.refuse(miss.describe_old_recording(question, text, display_path(self.path), command))

    def _replay(self, wire: Mapping[str, Any], key: str, take: str) -> Answer:
        answer = self._read_answer(wire)
        self._given[key, take] += 1
        self.counts.replayed += 1
        return answer

    def _claim_elsewhere(self, question: Question, take: str) -> Answer | None:
        """Return the next answer to the same request at another server, if that is unambiguous."""
        key = self._recordings.find_other_server(question, {key for key, _ in self._got_answer})
        if key:
            answers = self._recorded_answers(key, take)
        else:
            answers = []
        place = self._given[key, take]
        if place >= len(answers) or self._is_expired(answers[place], question):
            return None
        self._got_answer[key, take] = self._got_answer[question.key, take] = True
        there = shorten_text(str(self._recordings.by_key[key].request["url"]), 200)
        self._note_once(
            f"the recording of {there} answered {question.url}; --llm-record=all asks that address"
        )
        return self._replay(answers[place], key, take)

    def _take_shared_answer(self, question: Question, take: str, n: int) -> Answer | None:
        """Return another test's answer to the same judge call, and record it here with this tape's redactors."""
        if (
            self.shared_answers is None
            or self.mode == "verify"
            or active_tape.current_purpose() != JUDGE_PURPOSE
        ):
            return None
        wire = self.shared_answers.find_answer(shared_answer_key(question), take, n, owner=self.owner)
        if wire is None:
            return None
        answer = self._read_answer(wire)
        try:
            wire = answer_to_wire(answer, self.redactor, self.settings.record_headers)
            self._keep_answer(question, wire, take)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None
        self.counts.reused += 1
        return answer

    def _read_answer(self, wire: Mapping[str, Any]) -> Answer:
        try:
            return answer_from_wire(wire)
        except CassetteError as error:
            raise self._refuse_damaged(str(error)) from None

    def _refuse_damaged(self, why: str) -> CassetteMiss:
        """A miss: an application could catch another error, and the test would pass."""
        text = f"cassette {display_path(self.path)} is damaged: {why}; record it again: {self.command_again}"
        return self.refuse(text)

    def _recorded_answers(self, key: str, take: str) -> list[dict[str, Any]]:
        interaction = self._recordings.by_key.get(key)
        if interaction is None and self.elsewhere is not None:
            interaction = self._recordings.adopt_recording(key, self._describe_place(len(self._got_answer)))
        if interaction is not None:
            answers = interaction.answers
        else:
            answers = {}
        keeps = self.mode == "none" or (self.settings.changed and not self.changes)
        if take not in answers and keeps and self.attempt and take == self.take:
            earlier = [number for number in map(int, answers) if number < int(take)]
            if earlier:
                self._note_once(REPEATED_NOTE)
                return answers[str(max(earlier))]
        return answers.get(take, [])

    def _prepare_journal(self) -> None:
        """Make sure that the answer can be recorded before it is paid."""
        if self.mode not in WRITING_MODES:
            return
        if run_folder.are_live_calls_stopped():
            raise self.refuse(run_folder.STOPPED_TEXT)
        try:
            self._journal.prepare()
        except CassetteError as error:
            self._note_failed_write(error)
            raise CassetteMiss(str(error)) from None  # with another error the SDK would retry

    def _note_failed_write(self, error: CassetteError) -> None:
        """Keep an error for the end of the test, and stop the live calls of the whole run if the disk failed."""
        self._failed = error
        if isinstance(error.__context__, OSError) and error.__context__.errno in run_folder.DISK_ERRORS:
            run_folder.stop_live_calls()

    def _reserve_budget(self, question: Question, *, is_batched: bool = False) -> None:
        try:
            self.costs.reserve(question, is_batched=is_batched)
        except BudgetReached as error:
            self.refusals.append(str(error))
            raise

    @property
    def command_again(self) -> str:
        """The command that records again what is recorded."""
        return self.command.replace("record=new", "record=all").replace('record="new"', 'record="all"')

    def end_call(self, question: Question, exchange: recorder.Exchange, complete: bool = True) -> None:  # noqa: FBT001, FBT002 -- other processes send it by place
        """Report a live call to the trace, and its cost to the ledger; without a known cost its estimate stays reserved."""
        run_folder.note_live_call("-")
        recorder.record_exchange(exchange)
        self.costs.settle(question, exchange, complete=complete)

    def refuse(self, text: str) -> CassetteMiss:
        """Count a missing recording or a forbidden connection, and return the miss to raise."""
        with self._lock:
            self.counts.missed += 1
            self.misses.append(text)
        return CassetteMiss(text)

    def refuse_connection(self, host: str) -> CassetteMiss:
        """Return the miss to raise for a connection while recordings are replayed."""
        return self.refuse(miss.describe_closed_network(host, self.path.name, self.command))

    def _describe_miss(self, question: Question, recorded: int, take: str) -> str:
        requests = list(self._recordings.list_requests())
        command = miss.add_base_url(self.command, question.url, (request["url"] for _, request in requests))
        where: dict[str, Any] = {"place": display_path(self.path), "command": command}
        if recorded:
            number = self._given[question.key, take] + 1
            return miss.describe_exhausted_request(question, number, recorded, **where)
        same = self._recordings.by_key.get(question.key)
        if same is not None:
            return miss.describe_other_take(question, take, same.answers, **where)
        elsewhere = map(display_path, self._recordings.list_moved_places(question.key))
        return miss.describe_missing_request(
            question, requests, rules=self.rules, elsewhere=list(elsewhere), **where
        )

    def record(self, question: Question, answer: Answer, take: str = "", purpose: str = "") -> None:
        """Record a live answer on disk if another run would get the same answer.

        Args:
            question: The request.
            answer: The answer.
            take: The take of the request; by default the current take.
            purpose: The purpose of the call.

        Raises:
            CassetteError: The answer could not be written; `close` raises it again.
        """
        take = take or active_tape.current_take()
        if self.mode == "verify":
            self._compare_with_recording(question, answer, take)
            return
        is_shareable = purpose == JUDGE_PURPOSE and not is_error_status(answer.status)
        if is_shareable:
            shared = self.shared_answers
        else:
            shared = None
        if self.mode not in WRITING_MODES and shared is None:
            return
        if not answer.is_reproducible and not (self.settings.record_errors and answer.is_transient):
            self.notes.append(f"an answer with status {answer.status} was not recorded")
            return
        with self._lock:
            wire = answer_to_wire(answer, self.redactor, self.settings.record_headers)
            self._record_wire(question, wire, take, shared)

    def _record_wire(
        self, question: Question, wire: dict[str, Any], take: str, shared: SharedAnswers | None
    ) -> None:
        n = self._given[question.key, take]
        self._keep_answer(question, wire, take)
        self.counts.recorded += self.mode in WRITING_MODES
        if shared is not None:
            shared.queue_answer(shared_answer_key(question), take, n, wire, owner=self.owner)

    def _describe_place(self, number: int) -> str:
        return f"{self.redactor.clean_text(self.owner) if self.shared else ''}#{number:03d}"

    def _keep_answer(self, question: Question, wire: dict[str, Any], take: str) -> None:
        """Add the next answer to a request, and write it to the journal in a writing mode."""
        if self.mode in WRITING_MODES:
            place = self.counts.replayed + self.counts.recorded + self.counts.reused + 1
            entry = journal.JournalEntry(
                by=self._describe_place(place),
                key=question.key,
                take=take,
                n=self._given[question.key, take],
                request={"method": question.method, "url": question.url, "body": fold_body(question.body)},
                answer=wire,
                # In mode new, an answer in this place was too old.
                again=self.mode == "all"
                or self._given[question.key, take] < len(self._recorded_answers(question.key, take)),
            )
            try:
                self._write_entry(entry)
            except CassetteError as error:
                self._note_failed_write(error)
                raise
            if self.mode == "new":
                store.apply_entries(self._recordings.by_key, [entry], replace=False)
        self._given[question.key, take] += 1
        self._got_answer[question.key, take] = True

    def _write_entry(self, entry: journal.JournalEntry) -> None:
        self._journal.append(entry)

    def _compare_with_recording(self, question: Question, answer: Answer, take: str) -> None:
        """Compare a live answer with the recorded answer in its place; no file is written."""
        if answer.is_transient:
            self.notes.append(f"an answer with status {answer.status} was not compared")
            return
        with self._lock:
            recorded = self._recorded_answers(question.key, take)
            place = self._given[question.key, take]
            self._given[question.key, take] += 1
            if place < len(recorded):
                before = self._read_answer(recorded[place])
            else:
                before = None
            outcome = answer.outcome or (before.outcome if before is not None else None)
            if outcome is not None:
                self.notes.append(f"an answer with outcome {outcome.error!r} was not compared")
                return
            if before is None:
                self.notes.append(f"nothing recorded to compare with: {question.method} {question.url}")
                return
            now = replace(answer, body=self.redactor.clean(answer.body))
            difference = miss.compare_answers(question, before, now)
            self.counts.verified += 1
            if difference is not None:
                self.counts.drifted += 1
                self.drifts.append(difference)

    def _note_once(self, note: str) -> None:
        if note in self.notes:
            self.notes += ()
        else:
            self.notes += (note,)

    def note_unrecorded(self, why: str) -> None:
        """Note that a live answer could not be recorded."""
        if self.mode in WRITING_MODES:
            self.notes.append(why)

    def close(self, *, passed: bool = True) -> TapeCounts:
        """End the tape: merge new answers into the file, and count stale interactions.

        Args:
            passed: Whether the test passed: then answers without a request are stale, and dropped in mode ``all``.

        Raises:
            CassetteError: The file cannot be written; the answers stay in the journal.
        """
        for end in list(self.unfinished.values()):
            try:
                end()
            except CassetteMiss as error:  # raised below, once the others have ended too
                self._failed = self._failed or CassetteError(str(error))
        others_ask = self.shared or self.attempt is not None
        if passed and self.mode in ("none", "new") and not others_ask:
            mine = {key for key, entry in self._recordings.by_key.items() if self.take in entry.answers}
            self.counts.stale = len(mine - {key for key, _ in self._got_answer})
        if self.mode in WRITING_MODES:
            self._journal.close()
            if self.mode == "new":
                adopted = self._recordings.adopted.values()
            else:
                adopted = ()
            written = adopted or self._journaled or self._journal.paths
            if written or journal.find_abandoned_journals(self.path):
                again = self.mode == "all"  # replaces the test's answers, drops the others if it passed
                if again and passed and not others_ask:
                    keep = self._answers_to_keep()
                else:
                    keep = None
                more: dict[str, Any] = {"replace": again, "keep": keep, "adopted": adopted}
                journals = self._journal.paths
                entries = self._journaled
                try:
                    store.merge_journals(self.path, journals, self.redactor, entries=entries, **more)
                except CassetteError as error:
                    self._note_failed_write(error)
                    raise
                self._journal.paths.clear()
        if self._failed is not None:
            note = self._journal.rescue_note
            raise CassetteError(f"{self._failed}\n{note}") if note else self._failed
        return self.counts

    def verdict(self) -> CassetteMiss | BudgetReached | None:
        """Return the miss or refused call, also of inner blocks, that fails a test even if it was caught."""
        if self.misses:
            return CassetteMiss(self.misses[0])
        if self.refusals:
            return BudgetReached(self.refusals[0])
        return next((verdict for tape in self.inner if (verdict := tape.verdict()) is not None), None)

    def usage_facts(self, *, passed: bool) -> dict[str, Json]:
        """Return the requested answers, for the run's usage record."""
        with self._lock:
            requested: dict[str, dict[str, Json]] = {key: {} for key, _ in sorted(self._got_answer)}
            for (key, take), n in sorted(self._given.items()):
                if key in requested:
                    requested[key][take] = n
        return {"ran": passed, "shared": self.shared or self.attempt is not None, "asked": requested}

    def count_takes(self) -> int:
        """Return the number of takes that are recorded of the requests of this tape, and of its blocks."""
        asked = filter(None, (self._recordings.by_key.get(key) for key, _ in self._got_answer))
        takes = [int(take) + 1 for entry in asked for take in entry.answers]
        return max(takes + [tape.count_takes() for tape in self.inner], default=0)

    def iter_moved_facts(self, *, passed: bool) -> Iterator[tuple[Path, dict[str, Json]]]:
        """Yield the cassettes of renamed tests that answered, with what was requested; not those that mode new copied."""
        requested = cast("dict[str, Json]", self.usage_facts(passed=passed)["asked"])
        for place, keys in self._recordings.moved.items() if self.mode != "new" else ():
            asked = {key: requested[key] for key in sorted(keys & requested.keys())}
            yield place, {"ran": passed, "shared": True, "asked": asked}

    def _answers_to_keep(self) -> dict[tuple[str, str], int]:
        """Return the number of this run's answers by (key, take); after a failed last call, all answers are kept."""
        kept = {place: n for place, n in self._given.items() if self._got_answer[place]}
        asked = {place: 0 for key, take in self._got_answer for place in ((key, ""), ("", take))}
        return asked | kept


active_tape.tape_factory = Tape
