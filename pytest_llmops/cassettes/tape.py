"""A cassette in use: it answers requests with recorded answers, and records live ones."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape, judge_calls, miss, run_folder
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.answer_recorder import AnswerRecorder
from pytest_llmops.cassettes.answer_sharing import AnswerSharing
from pytest_llmops.cassettes.budget import CallCosts
from pytest_llmops.cassettes.fault_injection import FaultInjection
from pytest_llmops.cassettes.fork_player import connect_recorder, make_player
from pytest_llmops.cassettes.ledger_folder import find_ledger_path
from pytest_llmops.cassettes.live_comparison import LiveComparison
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.rate_limit import RateLimiter
from pytest_llmops.cassettes.request_key import Answer, Question, TapeCounts, comparable_message
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE
from pytest_llmops.cassettes.tape_config import REPLAYING_MODES, TapeConfig
from pytest_llmops.cassettes.tape_report import TapeReport
from pytest_llmops.cassettes.telemetry import is_telemetry
from pytest_llmops.cassettes.tool_addresses import is_tool_host
from pytest_llmops.cassettes.tool_calls import ToolCalls, ToolTurn
from pytest_llmops.cassettes.tool_questions import MCP, collect_folders, make_tool_question
from pytest_llmops.cassettes.wrong_address import NOT_FOUND
from pytest_llmops.errors import BudgetReached, CassetteMiss, reword_error
from pytest_llmops.protocols import is_error_status
from pytest_llmops.recorder import Exchange, record_exchange

START_DIGITS = 3  # decimal places of the seconds at which a call began


@dataclass(slots=True, eq=False)
class Tape:
    """A cassette in use.

    The patched HTTP clients of a test call it for every request. Its parts do the work: `player` replays recorded
    answers, `recorder` records live ones, `comparison` compares live with recorded ones, `sharing` exchanges judges'
    answers with other tests, `tools` does the same for calls of tools, and `costs` keeps live calls within the budget.

    Args:
        path: The file; it need not exist.
        mode: ``none``, ``new``, ``all``, ``live`` or ``verify``.
        config: The configuration, shared with the tapes of blocks in the same test.
        shared: Whether other tests use the file too, so that answers without a request here are not stale.

    Attributes:
        report: Its events.
        inner: The tapes of blocks that were opened while it was in use.
        resolved: IP addresses of the allowed hosts.
        unfinished: Functions that end answers which are not complete when the tape is closed, by the id of the answer.
        receivers: The task or thread that receives each live answer under way, by the id of the answer; None: not known.
        hold_end: Until when misses are held back for these answers; None: no answer could not be written.

    Raises:
        CassetteError: The file is damaged; it is left as it is.
    """

    collects: ClassVar[bool] = False  # whether requests are only collected, to be sent together later
    path: Path
    mode: RecordMode = "none"
    config: TapeConfig = field(default_factory=TapeConfig)
    shared: bool = False
    report: TapeReport = field(init=False, default_factory=TapeReport)
    inner: "list[Tape]" = field(init=False, default_factory=list)
    resolved: set[str] = field(init=False, default_factory=set)
    unfinished: dict[int, Callable[[], None]] = field(init=False, default_factory=dict)
    receivers: dict[int, object] = field(init=False, default_factory=dict)
    hold_end: float | None = field(init=False, default=None)
    costs: CallCosts = field(init=False)
    player: AnswerPlayer = field(init=False)
    recorder: AnswerRecorder = field(init=False)
    comparison: LiveComparison = field(init=False)
    sharing: AnswerSharing = field(init=False)
    tools: ToolCalls = field(init=False)
    faults: FaultInjection = field(init=False)
    _first_start: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.costs = CallCosts(self.config.ledger)
        self.player = make_player(self.path, self.mode, self.config, self.report, shared=self.shared)
        self.recorder = AnswerRecorder(self.path, self.mode, self.config, self.report, self.player)
        connect_recorder(self.player, self.recorder)
        self.comparison = LiveComparison(self.config, self.report, self.player)
        self.sharing = AnswerSharing(self.config, self.report, self.player, self.recorder)
        self.tools = ToolCalls(
            self.mode,
            self.config,
            self.report,
            self.player,
            self.recorder,
            self.comparison,
            self.costs,
        )
        self.faults = FaultInjection(self.config, self.report, self.player)

    def open_block_tape(self, path: Path, mode: RecordMode | None = None) -> "Tape":
        """Return a tape for a block of the same test: a different file with the same configuration.

        Raises:
            CassetteError: The file is damaged.
        """
        tape = open_tape(path, mode or self.mode, self.config, shared=True)
        self.inner.append(tape)
        return tape

    @property
    def counts(self) -> TapeCounts:
        """How many requests were replayed, recorded and missed, for tests that look at their cassette."""
        return self.report.counts

    @property
    def command_again(self) -> str:
        """The command that replaces existing recordings."""
        return self.config.command_again

    @property
    def pace(self) -> RateLimiter | None:
        """Limits the rate of judge calls."""
        return self.config.pace

    def passes(self, host: str, port: int | None = None) -> bool:
        """Return whether requests to a host, or to this port of it, are neither recorded nor blocked."""
        if port is not None and port in self.config.proxy_ports and is_loopback(host):
            return True
        name = host.lower()
        allowed = self.config.settings.allow_hosts
        return name in allowed or f"{name}:{port}" in allowed or host in self.resolved

    def allows_connection(self, host: str) -> bool:
        """Return whether a connection to a host may be opened in a replay; with ``--llm-tools=compare`` to MCP servers, too."""
        if self.passes(host):
            return True
        return self.config.settings.tools == "compare" and is_tool_host(host.lower())

    def make_question(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return a request in the form that is matched.

        If it was recorded under other match rules, it has the key of that recording.
        """
        content_type = headers.get("content-type", "")
        if is_telemetry(method, url, content_type, body):
            return Question(method, url, b"", content_type, key="", is_telemetry=True)
        return self.player.make_question(method, url, headers, body)

    def claim(self, question: Question, after_fault: bool = False) -> Answer | None:  # noqa: FBT001, FBT002 -- other processes send it by place
        """Return the next recorded answer to a request, or None if the call has to go out live.

        A fault on purpose comes before both, and uses up neither.

        Args:
            question: The request.
            after_fault: Whether the client has waited for an answer that is late on purpose, and gets it now.

        Raises:
            CassetteMiss: No recording in mode none; or a live answer could not be written.
            BudgetReached: The budget has no live call left.
        """
        if question.is_telemetry:
            return self._answer_telemetry(question)
        with self.report.lock:
            take = active_tape.current_take()
            self.player.given.begin_request(question.key, take)
            injected = self.faults.take_model_fault(question, after_fault=after_fault)
            if injected is not None:
                return injected
            n = self.player.given.count(question.key, take)
            if self.mode in REPLAYING_MODES and not judge_calls.is_repeated(self):
                recorded = self.player.play(question, take)
                if recorded is not None:
                    self.faults.note_model_answer(question, recorded)
                    judge_calls.note_call(self, question, take, recorded, "recorded")
                    return recorded
            if self.mode == "none":
                raise self.player.refuse_request(question, take)
            self._refuse_after_tool_miss(question, take)
            self.comparison.note_change(question, take)
            answer = self.claim_unrecorded(question, take, n)
            source: judge_calls.Source = "live"
            if answer is not None:
                source = "shared"
            elif active_tape.current_purpose() != JUDGE_PURPOSE:
                self.tools.note_live_model_call(take)
            judge_calls.note_call(self, question, take, answer, source)
            return answer

    def _refuse_after_tool_miss(self, question: Question, take: str) -> None:
        """Refuse live calls of models once a tool was missed: the model would get our error, and its answer would be paid for nothing.

        Raises:
            CassetteMiss: A tool was missed in this take.
        """
        missed = self.report.find_tool_miss(take)
        if missed:
            raise self.report.refuse(
                f"{missed}\n  then      {question.method} {question.url} was not sent", ""
            )

    def _answer_telemetry(self, question: Question) -> Answer | None:
        """Return the success that a tracing SDK gets in a replay; None if its request goes out, unrecorded."""
        if self.mode != "none":
            return None
        if question.content_type.startswith("application/x-protobuf"):  # an empty message has no bytes
            return Answer(200, {"content-type": question.content_type}, b"")
        return Answer(200, {"content-type": "application/json"}, b"{}")

    def claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        """Return another test's answer to a request that is not recorded; None if the call may go out live.

        In that case the call is taken from the budget.

        Args:
            question: The request.
            take: The take of the request.
            n: Zero-based place among equal requests.

        Raises:
            CassetteMiss: The call cannot be recorded, or its server cannot be used in this run.
            BudgetReached: The budget has no live call left.
            CallRefusedError: The judge that calls is not to be called again in this run.
        """
        self.recorder.prepare()
        shared_answer = self.sharing.take_answer(question, take, n)
        if shared_answer is None:
            judge_calls.check_may_go_out()
            self.check_set_up(question)
            self.costs.reserve(question)
            run_folder.note_live_call("+")
        return shared_answer

    def check_set_up(self, question: Question) -> None:
        """Check before a live call that it can be recorded, and that its server can be used.

        Raises:
            CassetteMiss: One of them is not so. After another error the SDK would call again.
        """
        if question.unreadable and self.recorder.is_writing:
            raise self.report.refuse(miss.describe_unreadable_request(question, display_path(self.path)))
        if self.config.why_not_called is None:
            return
        problem = self.config.why_not_called(question)
        if problem:
            raise self.report.refuse(problem)

    def uses_tools(self) -> bool:
        """Return whether calls of tools are recorded, replayed or compared."""
        return not self.tools.is_off or self.faults.is_for_tools

    def may_call_tools(self) -> bool:
        """Return whether a server of tools may be called: if all calls are replayed, nothing has to reach it."""
        return self.uses_tools() and (self.mode != "none" or self.config.settings.tools == "compare")

    def compares_tools(self) -> bool:
        """Return whether tools are called only to compare their answers with the recorded ones."""
        return self.config.settings.tools == "compare"

    def list_tool_servers(self) -> Mapping[str, str]:
        """Return the patterns of ``llm_mcp_servers`` by name."""
        return self.config.settings.mcp_server_names

    def name_tool_server(self, label: str, identity: str, derived: str = "") -> str:
        """Return the name of a server of tools, see `ToolCalls.name_server`.

        Args:
            label: Its name for readers.
            identity: Distinguishes two servers of one label in this run.
            derived: Its name by its command or address. If only that is recorded, `label` was given to it later.
        """
        if derived and derived != label and self.tools.reuses_recordings:
            given_url, derived_url = (
                self.make_tool_question(MCP, name, "", {}).url for name in (label, derived)
            )
            if not self.tools.has_server(given_url) and self.tools.has_server(derived_url):
                label = derived
        return self.tools.name_server(label, identity)

    def make_tool_question(self, kind: str, server: str, method: str, params: object) -> Question:
        """Return a call of a tool in the form that is matched, see `tool_questions.make_tool_question`."""
        return make_tool_question(
            kind,
            server,
            method,
            params,
            redactor=self.config.redactor,
            rules=self.config.rules,
            identities=collect_folders(self.config.list_folders()),
        )

    def claim_tool(self, question: Question, take: str = "") -> ToolTurn:
        """Return how a call of a tool is handled.

        Args:
            question: The call.
            take: Its take; by default the current take.

        Raises:
            CassetteMiss: It has to be replayed, and no recording answers it; or a live answer could not be written.
            BudgetReached: The budget has no live call left.
        """
        take = take or active_tape.current_take()
        fault = self.faults.take_tool_fault(question, take)
        if fault is not None and not fault.is_late_answer:
            return ToolTurn("replay", take, fault.answer, fault)
        turn = self.tools.claim(question, take)
        self.faults.note_tool_answer(question, turn.answer)
        if fault is not None:
            self.note_late(question.key)
        return replace(turn, fault=fault)

    def note_late(self, key: str) -> None:
        """Note that the answer to a question comes now, late on purpose."""
        self.faults.note_late(key)

    def note_hung(self, key: str) -> None:
        """Note that a client has waited for an answer that never comes on purpose, up to the limit of the fault."""
        self.faults.note_hung(key)

    def is_tool_recorded(self, question: Question, take: str) -> bool:
        """Return whether the next answer to a call of a tool is recorded, see `ToolCalls.is_recorded`."""
        return self.tools.is_recorded(question, take or active_tape.current_take())

    def has_tool_server_ended(self, end: Question, take: str) -> bool:
        """Return whether a server had ended by now when it was recorded, see `ToolCalls.has_ended`."""
        return self.tools.has_ended(end, take or active_tape.current_take())

    def starts_tools(self, question: Question, take: str) -> bool:
        """Return whether a server has to be started before its first call, see `ToolCalls.replays`."""
        return not self.tools.replays(question, take or active_tape.current_take())

    def finish_tool(self, question: Question, turn: ToolTurn, answer: Answer) -> Answer:
        """Record or compare the live answer of a tool, and return the answer that the agent gets.

        Raises:
            CassetteError: The answer could not be written; `close` raises it again.
        """
        given = self.tools.finish(question, turn, answer)
        self.faults.note_tool_answer(question, given)
        return given

    def abandon_tool(self, question: Question, turn: ToolTurn) -> None:
        """End a live call of a tool that is neither recorded nor compared."""
        self.tools.abandon(question, turn)

    def measure_start(self, started: float) -> float | None:
        """Return how many seconds after the first call of the tape a live call began, in milliseconds.

        None if that is not known: after an answer that was not live, which took no time now; on a tape that several tests use; and for
        requests that are collected.

        Args:
            started: When the call began, by `time.perf_counter`.
        """
        if self.shared or self.collects:
            return None
        with self.report.lock:
            counts = self.report.counts
            if counts.replayed or counts.reused:
                return None
            if self._first_start is None:
                self._first_start = started
            return round(max(started - self._first_start, 0.0), START_DIGITS)

    def end_call(self, question: Question, exchange: Exchange, complete: bool = True) -> None:  # noqa: FBT001, FBT002 -- other processes send it by place
        """Report a live call to the trace, and its cost to the ledger.

        Args:
            question: The request.
            exchange: The call.
            complete: Whether its answer is complete. Otherwise its cost is unknown, and its estimate stays reserved.
        """
        run_folder.note_live_call("-")
        record_exchange(exchange)
        if exchange.status is None:
            self.faults.note_failure(question)
        self.costs.settle(question, exchange, complete=complete)

    def begin_response(self, question: Question) -> None:
        """Take a response over a WebSocket from the budget, before it is requested; `end_call` ends it.

        Raises:
            CassetteMiss: Its server cannot be used in this run.
            BudgetReached: The budget has no live call left.
        """
        self._refuse_after_tool_miss(question, active_tape.current_take())
        self.check_set_up(question)
        self.costs.reserve(question)
        run_folder.note_live_call("+")

    def end_socket(self, question: Question) -> None:
        """Note that a WebSocket has ended, or a response over it without a whole answer; its cost stays reserved."""
        run_folder.note_live_call("-")
        self.costs.settle(question, None, complete=False)

    def note_replay(self, exchange: Exchange) -> None:
        """Report a replayed response over a WebSocket to the trace."""
        record_exchange(exchange)

    def comparable_message(self, data: bytes) -> bytes:
        """Return a text that a client sends over a WebSocket in the form in which it is compared, without secrets."""
        return comparable_message(self.config.redactor.clean(data), self.config.rules)

    def record(self, question: Question, answer: Answer, take: str = "", purpose: str = "") -> None:
        """Record a live answer in a writing mode, if another run would get the same; compare it in mode ``verify``.

        Args:
            question: The request.
            answer: The answer.
            take: The take of the request; by default the current take.
            purpose: The purpose of the call.

        Raises:
            CassetteError: The answer could not be written; `close` raises it again.
        """
        take = take or active_tape.current_take()
        self.faults.note_model_answer(question, answer, purpose)
        if self.mode == "verify":
            self.comparison.compare_answer(question, answer, take)
            return
        is_shared = self.sharing.is_shareable(answer, purpose)
        if not self.recorder.is_writing and not is_shared:
            return
        if not self.config.records_status(answer, question):
            self._note_unrecorded_status(question, answer)
            return
        with self.report.lock:
            if judge_calls.is_repeated(self) and self._is_worse(question, answer, take):
                self.note_unrecorded(
                    f"a judge's call that was sent again got status {answer.status}: its recording stays"
                )
                self.player.given.add_answer(question.key, take)
                return
            self.keep_answer(question, self.config.to_wire(answer, question), take, is_shared=is_shared)

    def _note_unrecorded_status(self, question: Question, answer: Answer) -> None:
        """Note that an answer was not recorded because of its status."""
        note = f"an answer with status {answer.status} was not recorded"
        if answer.status == NOT_FOUND:
            note += f": it has no error of its own, so the address may be wrong (a base URL without /v1?): {question.url}"
        self.report.notes.append(note)

    def _is_worse(self, question: Question, answer: Answer, take: str) -> bool:
        """Return whether an answer is an error, and the next recorded answer to its request is not."""
        recorded = self.player.recorded_answers(question.key, take)
        place = self.player.given.count(question.key, take)
        if not is_error_status(answer.status) or place >= len(recorded):
            return False
        return not is_error_status(recorded[place]["status"])

    def keep_answer(
        self,
        question: Question,
        wire: dict[str, Any],
        take: str,
        *,
        is_shared: bool,
        in_run_journal: bool = False,
    ) -> None:
        """Keep a live answer, and offer it to other tests if they may get it.

        Args:
            question: The request.
            wire: The answer as it is recorded.
            take: The take of the request.
            is_shared: Whether other tests may get it.
            in_run_journal: Whether it is on disk already, in the journal of the whole run.

        Raises:
            CassetteError: The answer could not be written; `close` raises it again.
        """
        n = self.player.given.count(question.key, take)
        self.recorder.keep(question, wire, take, in_run_journal=in_run_journal)
        if self.recorder.is_writing:
            self.report.counts.recorded += 1
        if is_shared:
            self.sharing.offer_answer(question, take, n, wire)

    def note_once(self, note: str) -> None:
        """Add a note to the report of the test, unless it is there already."""
        self.report.note_once(note)

    def note_unrecorded(self, why: str) -> None:
        """Note in a writing mode that a live answer was not recorded."""
        if self.recorder.is_writing:
            self.report.notes.append(why)

    def note(self, text: str) -> None:
        """Note something about the replay, once."""
        self.report.note_once(text)

    def refuse(self, text: str, command: str = "") -> CassetteMiss:
        """Count a missing recording or a forbidden connection, and return the miss to raise.

        Args:
            text: The message.
            command: The command that records the missing answer; "": the summary of the run names none.
        """
        return self.report.refuse(text, command)

    def refuse_connection(self, host: str) -> CassetteMiss:
        """Count a connection that was refused because recordings are replayed, and return the miss to raise."""
        return self.refuse(miss.describe_closed_network(host, self.path.name, self.config.command))

    def refuse_old_connection(self, method: str, host: str) -> CassetteMiss:
        """Count a request over a connection that no patch sees, and return the miss to raise."""
        return self.refuse(miss.describe_old_connection(method, host, self.path.name, self.config.command))

    def forget_refusal(self, error: CassetteMiss | BudgetReached) -> None:
        """Forget a missed or refused call, so that it does not fail the test if the caller goes on without an answer."""
        if isinstance(error, CassetteMiss):
            self.report.forget_miss(error)
        elif str(error) in self.costs.refusals:
            self.costs.refusals.remove(str(error))

    def has_failed_write(self) -> bool:
        """Return whether an answer of this tape, or of the run, could not be written: then no further call is made."""
        if not self.recorder.is_writing:
            return False
        return self.recorder.failed is not None or run_folder.are_live_calls_stopped()

    def close(self, *, passed: bool = True) -> TapeCounts:
        """End the tape: merge new answers into the file, and count stale interactions.

        Args:
            passed: Whether the test passed. If so, recorded answers that it did not request are stale, and in
                mode ``all``
                they are dropped.

        Raises:
            CassetteError: The file cannot be written; the answers stay in the journal.
        """
        for end in list(self.unfinished.values()):
            try:
                end()
            except CassetteMiss as error:  # raised below, once the others have ended too
                self.recorder.note_missed_write(error)
        if self.tools.is_off:
            self.player.keep_tool_answers()
        if passed:
            self.player.count_stale()
        self.recorder.close(passed=passed)
        return self.report.counts

    def verdict(self) -> CassetteMiss | BudgetReached | None:
        """Return the error that fails the test even if the test caught it: a miss or refused call, also in a block."""
        if self.report.misses:
            first = self.report.misses[0]
            return reword_error(first, self.report.describe_first_miss())
        if self.costs.refusals:
            return BudgetReached(self.costs.refusals[0])
        for tape in self.inner:
            verdict = tape.verdict()
            if verdict is not None:
                return verdict
        return None


TapeFactory = Callable[..., Tape]
_make_tape: TapeFactory = Tape


def open_tape(path: Path, mode: RecordMode, config: TapeConfig, *, shared: bool = False) -> Tape:
    """Return the tape of a cassette, made by the factory of `replace_tape_factory` if one is in use.

    Args:
        path: The file; it need not exist.
        mode: The mode.
        config: The configuration.
        shared: Whether other tests use the file too.

    Raises:
        CassetteError: The file is damaged; it is left as it is.
    """
    return _make_tape(find_ledger_path(path), mode, config, shared=shared)


@contextmanager
def replace_tape_factory(factory: TapeFactory) -> Iterator[None]:
    """Let another function make the tapes while a block runs; it is called with the arguments of `Tape`."""
    global _make_tape  # noqa: PLW0603 -- of the whole process
    before = _make_tape
    _make_tape = factory
    try:
        yield
    finally:
        _make_tape = before
