"""One cassette while a test runs: what answers, what is new, what was missed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes import active_tape, drift, miss, store
from pytest_llmops.cassettes.active_tape import (
    change_listeners,
    current_tape,
    push_tape,
    remove_tape,
    use_tape,
)
from pytest_llmops.cassettes.journal import Journal, JournalEntry, find_abandoned_journals
from pytest_llmops.cassettes.request_key import MatchRules, Question, build_question, compute_stored_key
from pytest_llmops.cassettes.response import Answer, TapeCounts, answer_from_wire, answer_to_wire
from pytest_llmops.cassettes.shared_answers import FIRST_ERROR_STATUS, JUDGE_PURPOSE, shared_answer_key
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss
from pytest_llmops.measurement import Json
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import RecordMode
from pytest_llmops.wire.body import fold_body

if TYPE_CHECKING:
    from pytest_llmops.cassettes.budget import CallGrant, Ledger
    from pytest_llmops.cassettes.rate_limit import RateLimiter
    from pytest_llmops.cassettes.shared_answers import SharedAnswers

MAX_NEIGHBOUR_CASSETTES = 60
"""Cassettes beside a missing one that are searched for the nearest request."""
WRITING_MODES = ("new", "all")


@dataclass(slots=True, eq=False)
class Tape:
    """A cassette in use.

    Args:
        path: The file; it need not exist.
        mode: ``none``, ``new``, ``all``, ``live`` or ``verify``.
        redactor: Masks secrets.
        owner: The test, for the order in a shared file.
        command: What a miss tells the user to run.
        allowed: Hosts that pass through, neither recorded nor blocked.
        shared: Others use this file too: what this tape does not ask is not stale.
        rules: What of a request does not count.
        record_errors: Keep answers about the moment too (429, 5xx).
        ledger: Counts live calls, and refuses those beyond the budget.
        shelf: What judges were answered elsewhere in this run.
        pace: How fast judges ask.

    Raises:
        CassetteError: The file is damaged; it is left as it is.
    """

    path: Path
    mode: RecordMode = "none"
    redactor: Redactor = field(default_factory=Redactor)
    owner: str = ""
    command: str = "pytest --llm-record=new"
    allowed: frozenset[str] = frozenset()
    shared: bool = False
    rules: MatchRules = field(default_factory=MatchRules)
    record_errors: bool = False
    ledger: Ledger | None = None
    shelf: SharedAnswers | None = None
    pace: RateLimiter | None = None
    counts: TapeCounts = field(default_factory=TapeCounts)
    misses: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Live calls that the budget refused."""
    notes: list[str] = field(default_factory=list)
    drifts: list[drift.Drift] = field(default_factory=list)
    inner: list[Tape] = field(default_factory=list)
    """Those of blocks that were opened while this one was in use."""
    resolved: set[str] = field(default_factory=set)
    """Addresses of the allowed hosts, as they were looked up."""
    unfinished: dict[int, Callable[[], None]] = field(default_factory=dict)
    """Of the answers that are still coming: what reads their rest, or gives them up."""
    _interactions: dict[str, store.Interaction] = field(default_factory=dict)
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answers given, by (key, take)."""
    _seen: dict[tuple[str, str], bool] = field(default_factory=dict)
    """All questions by (key, take), and whether the last call was kept: its answer may have failed."""
    _renamed: dict[str, str] | None = None
    """Keys under the rules of now to those in the file, once a question was not found."""
    _grants: dict[str, list[CallGrant]] = field(default_factory=dict)
    _failed: CassetteError | None = None
    _journal: Journal = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._journal = Journal(self.path)
        self.allowed = frozenset(host.lower() for host in self.allowed)
        if self.mode != "live":
            self._interactions = store.load_with_journals(self.path)

    def open_block_tape(self, path: Path, mode: RecordMode | None = None) -> Tape:
        """Return the tape of a block inside this one's test: another file under the same rules.

        Raises:
            CassetteError: The file is damaged.
        """
        tape = Tape(
            path,
            mode or self.mode,
            self.redactor,
            owner=self.owner,
            command=self.command,
            allowed=self.allowed,
            shared=True,
            rules=self.rules,
            record_errors=self.record_errors,
            ledger=self.ledger,
            shelf=self.shelf,
            pace=self.pace,
        )
        self.inner.append(tape)
        return tape

    def passes(self, host: str) -> bool:
        """Say whether a host is neither recorded nor blocked."""
        return host.lower() in self.allowed or host in self.resolved

    def make_question(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return the question a request is."""
        question = build_question(method, url, headers, body, self.redactor, rules=self.rules)
        if question.key in self._interactions or not self._interactions:
            return question
        key = self._renamed_key(question.key)
        return question if key is None else replace(question, key=key)

    def _renamed_key(self, key: str) -> str | None:
        """The key in the file of a question that was recorded under other rules: they may change freely."""
        with self._lock:
            if self._renamed is None:
                self._renamed = {}
                for old, interaction in self._interactions.items():
                    with contextlib.suppress(CassetteError):
                        stored = interaction.request
                        new_key = compute_stored_key(
                            stored["method"], stored["url"], stored["body"], self.rules
                        )
                        if new_key != old:
                            self._renamed.setdefault(new_key, old)
            return self._renamed.get(key)

    def claim(self, question: Question) -> Answer | None:
        """Take the next answer to a question, or None if it has to be asked live.

        Raises:
            CassetteMiss: Mode none, and nothing recorded answers; or a live answer could not be written.
            BudgetReached: It would have to be asked live, and no live call is left.
        """
        with self._lock:
            take = active_tape.current_take()
            self._seen[question.key, take] = False
            recorded = self._recorded_answers(question, take) if self.mode in ("none", "new") else []
            if (place := self._asked[question.key, take]) >= len(recorded):
                if self.mode == "none":
                    raise self._note_miss(self._describe_miss(question, len(recorded), take))
                self._prepare_journal()
                shared_answer = self._take_shared_answer(question, take, place)
                if shared_answer is None:
                    self._reserve_budget(question)
                return shared_answer
            answer = self._read_answer(recorded[place])
            self._asked[question.key, take] += 1
            self.counts.replayed += 1
        return answer

    def _take_shared_answer(self, question: Question, take: str, n: int) -> Answer | None:
        """What another test of this run was answered, if a judge asks; kept as if asked here, by the redactors of here."""
        if self.shelf is None or self.mode == "verify" or active_tape.current_purpose() != JUDGE_PURPOSE:
            return None
        wire = self.shelf.find_answer(shared_answer_key(question), take, n, owner=self.owner)
        if wire is None:
            return None
        answer = self._read_answer(wire)
        try:
            self._keep_answer(question, answer_to_wire(answer, self.redactor), take)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None
        self.counts.reused += 1
        return answer

    def _read_answer(self, wire: Mapping[str, Any]) -> Answer:
        try:
            return answer_from_wire(wire)
        except CassetteError as error:
            # A miss, for an application could catch an error and the test would pass.
            text = f"cassette {display_path(self.path)} is damaged: {error}; record it again: {self.command}"
            raise self._note_miss(text) from None

    def _recorded_answers(self, question: Question, take: str) -> list[dict[str, Any]]:
        interaction = self._interactions.get(question.key)
        return interaction.answers.get(take, []) if interaction is not None else []

    def _prepare_journal(self) -> None:
        """Make sure that the answer can be kept before it is paid."""
        if self.mode not in WRITING_MODES:
            return
        try:
            self._journal.prepare()
        except CassetteError as error:
            self._failed = error
            # An error would make the SDK ask again.
            raise CassetteMiss(str(error)) from None

    def _reserve_budget(self, question: Question) -> None:
        if self.ledger is None:
            return
        asks_a_model = not self.priced or drift.is_model_request(question)
        cost = self.ledger.estimate(question.json, question.url) if asks_a_model else 0.0
        try:
            grant = self.ledger.reserve_call(cost)
        except BudgetReached as error:
            self.refusals.append(str(error))
            raise
        self._grants.setdefault(question.key, []).append(grant)

    @property
    def priced(self) -> bool:
        """Whether somebody wants to know what a live call cost."""
        return self.ledger is not None and self.ledger.budget_usd is not None

    def settle(self, question: Question, cost_usd: float | None) -> None:
        """Tell the ledger what a live call cost; without a known cost its estimate stays reserved."""
        with self._lock:
            grants = self._grants.get(question.key)
            grant = grants.pop(0) if grants else None
        if grant is not None:
            grant.settle(cost_usd)

    def refuse(self, text: str) -> CassetteMiss:
        """Return the miss to raise for a connection that must not be made; it counts like any other."""
        with self._lock:
            return self._note_miss(text)

    def _note_miss(self, text: str) -> CassetteMiss:
        self.counts.missed += 1
        self.misses.append(text)
        return CassetteMiss(text)

    def _describe_miss(self, question: Question, recorded: int, take: str) -> str:
        where = {"place": display_path(self.path), "command": self.command}
        if recorded:
            return miss.describe_exhausted_request(
                question, self._asked[question.key, take] + 1, recorded, **where
            )
        same = self._interactions.get(question.key)
        if same is not None:
            return miss.describe_other_take(question, take, same.answers, **where)
        return miss.describe_missing_request(question, self._recorded_requests(), rules=self.rules, **where)

    def _recorded_requests(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for interaction in self._interactions.values():
            yield interaction.by, interaction.request
        if self._interactions:
            return
        for path in sorted(self.path.parent.glob("*.json"))[:MAX_NEIGHBOUR_CASSETTES]:
            with contextlib.suppress(CassetteError):  # a damaged neighbour has its own test to complain
                for interaction in store.load_cassette(path).values():
                    yield f"{display_path(path)} {interaction.by}", interaction.request

    def record(self, question: Question, answer: Answer, take: str = "", purpose: str = "") -> None:
        """Keep a live answer, on disk before this returns, if its status says something about the question.

        Args:
            question: What was asked.
            answer: What came.
            take: Of whom the question was; left out: of who calls this.
            purpose: Whom the call served.

        Raises:
            CassetteError: It could not be put on disk; `close` raises it again.
        """
        take = take or active_tape.current_take()
        if self.mode == "verify":
            self._compare_with_recording(question, answer, take)
        shelf = (
            self.shelf
            if purpose == JUDGE_PURPOSE and answer.status < FIRST_ERROR_STATUS and self.mode != "verify"
            else None
        )
        if self.mode not in WRITING_MODES and shelf is None:
            return
        if not answer.is_reproducible and not (self.record_errors and answer.is_transient):
            self.notes.append(f"an answer with status {answer.status} was not recorded")
            return
        with self._lock:
            wire, n = answer_to_wire(answer, self.redactor), self._asked[question.key, take]
            self._keep_answer(question, wire, take)
            self.counts.recorded += self.mode in WRITING_MODES
        if shelf is not None:
            shelf.queue_answer(shared_answer_key(question), take, n, wire, owner=self.owner)

    def _keep_answer(self, question: Question, wire: dict[str, Any], take: str) -> None:
        """Take in the next answer to a question; on disk, where this tape writes."""
        if self.mode in WRITING_MODES:
            entry = self._make_entry(question, wire, take)
            try:
                self._journal.append(entry)
            except CassetteError as error:
                self._failed = error
                raise
            if self.mode == "new":
                store.apply_entries(self._interactions, [entry], replace=False)
        self._asked[question.key, take] += 1
        self._seen[question.key, take] = True

    def _make_entry(self, question: Question, wire: dict[str, Any], take: str) -> JournalEntry:
        place = self.counts.replayed + self.counts.recorded + self.counts.reused + 1
        return JournalEntry(
            by=f"{self.redactor.clean_text(self.owner) if self.shared else ''}#{place:03d}",
            key=question.key,
            take=take,
            n=self._asked[question.key, take],
            request={"method": question.method, "url": question.url, "body": fold_body(question.body)},
            answer=wire,
            again=self.mode == "all",
        )

    def _compare_with_recording(self, question: Question, answer: Answer, take: str) -> None:
        """Compare a live answer with the recorded one in its place; nothing is written."""
        if answer.is_transient:
            self.notes.append(f"an answer with status {answer.status} was not compared")
            return
        with self._lock:
            recorded, place = self._recorded_answers(question, take), self._asked[question.key, take]
            self._asked[question.key, take] += 1
            if place >= len(recorded):
                self.notes.append(f"nothing recorded to compare with: {question.method} {question.url}")
                return
            difference = drift.compare_answers(
                question, self._read_answer(recorded[place]), self._clean(answer)
            )
            self.counts.verified += 1
            if difference is not None:
                self.counts.drifted += 1
                self.drifts.append(difference)

    def _clean(self, answer: Answer) -> Answer:
        return replace(answer, body=self.redactor.clean(answer.body))

    def note_unrecorded(self, why: str) -> None:
        """Note that a live answer could not be kept."""
        if self.mode in WRITING_MODES:
            self.notes.append(why)

    def close(self, *, passed: bool = True) -> TapeCounts:
        """End the tape: merge what is new into the file, and count what nobody asked for.

        Args:
            passed: The test passed, so what it did not ask for is stale; with mode ``all`` it is dropped.

        Raises:
            CassetteError: The file cannot be written; nothing is lost, the answers wait in the journal.
        """
        for end in list(self.unfinished.values()):
            end()
        if passed and self.mode in ("none", "new") and not self.shared:
            self.counts.stale = len(self._interactions.keys() - {key for key, _ in self._seen})
        if self.mode in WRITING_MODES:
            self._journal.close()
            if self._journal.paths or find_abandoned_journals(self.path):
                # Who records again replaces; what a passed test did not ask is gone for good.
                again = self.mode == "all"
                keep = self._answers_to_keep() if again and passed and not self.shared else None
                store.merge_journals(self.path, self._journal.paths, self.redactor, replace=again, keep=keep)
                self._journal.paths.clear()
        if self._failed is not None:
            raise self._failed
        return self.counts

    def verdict(self) -> CassetteMiss | BudgetReached | None:
        """Return what fails a test even if it was caught: a miss, or a refused call, here or in a block inside."""
        if self.misses:
            return CassetteMiss(self.misses[0])
        if self.refusals:
            return BudgetReached(self.refusals[0])
        return next((verdict for tape in self.inner if (verdict := tape.verdict()) is not None), None)

    def use(self, *, passed: bool) -> dict[str, Json]:
        """Return what the run's usage record needs to tell stale answers and orphans from used ones."""
        requested: dict[str, Json] = {}
        with self._lock:
            for key in sorted({key for key, _ in self._seen}):
                requested[key] = {
                    take: n for (other_key, take), n in sorted(self._asked.items()) if other_key == key
                }
        return {"ran": passed, "shared": self.shared, "asked": requested}

    def _answers_to_keep(self) -> dict[tuple[str, str], int]:
        """How many answers of each question are this run's; of one whose last failed, all that there are."""
        kept = {place: n for place, n in self._asked.items() if self._seen[place]}
        return {**{(key, ""): 0 for key, _ in self._seen}, **kept}


def display_path(path: Path) -> str:
    """Return a path as a person would type it from here."""
    try:
        return os.path.relpath(path).replace("\\", "/")
    except (ValueError, OSError):
        return str(path)


__all__ = [
    "Answer",
    "Tape",
    "TapeCounts",
    "change_listeners",
    "current_tape",
    "display_path",
    "push_tape",
    "remove_tape",
    "use_tape",
]
