"""Plays, records and compares the calls of tools on a tape.

A tool has a memory: a database knows the rows that earlier calls have written. So a test never gets a recorded answer
of a server for one call and a live one for the next. Which of the two is decided at the first call of a server that
counts, for each trial.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import miss, run_folder
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.answer_recorder import AnswerRecorder
from pytest_llmops.cassettes.budget import CallCosts
from pytest_llmops.cassettes.faults.tool_answers import ToolFault
from pytest_llmops.cassettes.fork_player import ForkPlayer, find_fork
from pytest_llmops.cassettes.live_comparison import LiveComparison
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape_config import REPLAYING_MODES, TapeConfig
from pytest_llmops.cassettes.tape_report import KeyAndTake, TapeReport
from pytest_llmops.cassettes.tool_comparison import compare_tool_answers, iter_sorted
from pytest_llmops.cassettes.tool_questions import (
    END_METHOD,
    MCP,
    REPEATED_METHODS,
    UNASKED_METHODS,
    describe_tool_question,
    is_repeated,
)
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.measurement import format_count

# replay: the recorded answer; record: the tool is called, and its answer recorded; compare: the tool is called, and the
# recorded answer given; verify: the tool is called, compared, and its own answer given; pass: the tool is called
Action = Literal["replay", "record", "compare", "verify", "pass"]


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """How a call of a tool is handled.

    Attributes:
        action: The decision.
        take: The take of the call.
        answer: The recorded answer; None where the tool answers.
        fault: The faulty answer that the call gets; with ``slow``, together with its answer.
    """

    action: Action
    take: str
    answer: Answer | None = None
    fault: ToolFault | None = None

    @property
    def is_live(self) -> bool:
        """Whether the tool itself is called."""
        return self.action != "replay"


@dataclass(slots=True, eq=False)
class ToolCalls:
    """The calls of tools on a tape.

    Args:
        mode: The mode of the tape.
        config: The configuration of the tape.
        report: Gets the counts, misses and differences.
        player: Has the recordings, and counts answers.
        recorder: Records live answers.
        comparison: Names the first change with ``--llm-record=changed``.
        costs: Keeps live calls within the budget.
    """

    mode: RecordMode
    config: TapeConfig
    report: TapeReport
    player: AnswerPlayer
    recorder: AnswerRecorder
    comparison: LiveComparison
    costs: CallCosts
    # Whether the calls of a server are replayed, by its address and the take; decided once
    _is_replayed: dict[tuple[str, str], bool] = field(default_factory=dict)
    # Takes in which the model was called live before a tool was called
    _changed_takes: set[str] = field(default_factory=set)
    # What distinguishes servers of the same name, in the order of their first use
    _servers: dict[str, list[str]] = field(default_factory=dict)
    # Answers that change nothing and equal the one before: recorded only once another one follows
    _repeated: dict[KeyAndTake, list[dict[str, Any]]] = field(default_factory=dict)
    _last: dict[KeyAndTake, dict[str, Any]] = field(default_factory=dict)
    _volatile: int = 0

    @property
    def is_off(self) -> bool:
        """Whether tools are neither recorded nor replayed."""
        return self.config.settings.tools == "off"

    @property
    def reuses_recordings(self) -> bool:
        """Whether recorded calls of tools may be replayed, or compared with live ones."""
        return self.mode in (*REPLAYING_MODES, "verify") or self.config.settings.tools in (
            "replay",
            "compare",
        )

    def has_server(self, url: str) -> bool:
        """Return whether any call of a server is recorded, by the server's address in recordings."""
        return any(
            interaction.request["url"] == url for interaction in self.player.recordings.by_key.values()
        )

    def name_server(self, label: str, identity: str) -> str:
        """Return the name of a server on this tape: its label, with a number from the second one of that label on.

        Args:
            label: Its name for readers, the same in every run.
            identity: Distinguishes two of them in this run, such as a port.
        """
        with self.report.lock:
            known = self._servers.setdefault(label, [])
            if identity not in known:
                known.append(identity)
            number = known.index(identity) + 1
        if number == 1:
            return label
        return f"{label}#{number}"

    def note_live_model_call(self, take: str) -> None:
        """Note that the model is called live: tools that are called only after that are called live too, in mode ``new``."""
        self._changed_takes.add(take)

    def claim(self, question: Question, take: str) -> ToolTurn:
        """Return how a call of a tool is handled.

        Raises:
            CassetteMiss: It has to be replayed, and no recording answers it; or a live answer could not be written.
            BudgetReached: The budget has no live call left.
        """
        with self.report.lock:
            action = self.choose_action(question, take)
            if action == "pass":
                return ToolTurn(action, take)
            self.player.given.begin_request(question.key, take)
            answer = None
            if action in ("replay", "compare"):
                answer = self.player.play(question, take, repeats_last=is_repeated(question))
                if answer is None and (
                    action == "replay" or question.method not in UNASKED_METHODS
                ):  # a live server that cannot run fails no test
                    raise self._refuse(question, take)
            if action != "replay":
                self._prepare_live_call(question, take, action)
            return ToolTurn(action, take, answer)

    def choose_action(self, question: Question, take: str) -> Action:
        """Return how a call is handled, by ``--llm-tools`` and ``--llm-record``."""
        if self.is_off:
            return "pass"
        tools = self.config.settings.tools
        if tools == "compare":
            return "compare"
        if tools == "replay" or self.mode == "none":
            return "replay"
        if self.mode == "live":
            return "pass"
        if self.mode == "verify":
            return "verify"
        fork = find_fork(self.player)
        if fork is not None:
            return self._choose_in_fork(fork, question, take)
        if self.mode == "new" and self._replays_server(question, take):
            return "replay"
        return "record"

    def _choose_in_fork(self, fork: ForkPlayer, question: Question, take: str) -> Action:
        """Return how a call is handled in a trial of ``--llm-record=fork``: a call that is not recorded ends the recorded run, too.

        A server that was replayed up to there does not know the earlier calls; a note states that.
        """
        place = (question.url, take)
        if fork.replays_tool(question, take):
            if not is_repeated(question):
                self._is_replayed[place] = True
            return "replay"
        if not is_repeated(question):
            fork.begin_live(question, take, is_call=False)
            if self._is_replayed.get(place) and question.url.startswith(f"{MCP}:"):
                self.report.note_once(
                    f"{question.url} was replayed up to the fork and is called live after it: it does not know its earlier calls"
                )
        return "record"

    def _replays_server(self, question: Question, take: str) -> bool:
        """Return whether the calls of a server are replayed in mode ``new``; a call that counts decides it for the others.

        They are, if it has recordings and the model was not called live before: if the prompt has changed, all of the
        conversation is new.
        """
        if self.config.fault_take and self._repeats_list(question, take):
            return True
        place = (question.url, take)
        decided = self._is_replayed.get(place)
        if decided is not None:
            return decided
        if take in self._changed_takes:
            replays = False
        elif is_repeated(question):  # before any call that counts, a server has the same tools in every run
            return (question.key, take) not in self._last and self._has_answer(question, take)
        else:
            # By the whole server, as a call that is new among recorded ones must not go to a server that knows none of
            # them. The recording of a renamed test is elsewhere, and is found by the call.
            replays = self._has_recordings(question.url, take) or self._has_answer(question, take)
            replays = replays or self.player.has_traced_tool(question, take)
        if not is_repeated(question):
            self._is_replayed[place] = replays
        return replays

    def _repeats_list(self, question: Question, take: str) -> bool:
        """Return whether the test has had a list from the recording, and no newer one.

        With ``--llm-faults``, answers recorded with the fault come first. A list of the live server there would come before the fault.
        """
        if not is_repeated(question) or (question.key, take) in self._last:
            return False
        return self.player.given.count(question.key, take) > 0 and self._has_answer(question, take)

    def _has_answer(self, question: Question, take: str) -> bool:
        """Return whether an answer to a call is recorded in a take."""
        return bool(self.player.recorded_answers(question.key, take))

    def _has_recordings(self, url: str, take: str, *, counted: bool = True) -> bool:
        """Return whether any call of a server, or any that counts, is recorded in a take or in the take of the tested fault."""
        takes = {take, self.config.fault_take}
        for interaction in self.player.recordings.by_key.values():
            request = interaction.request
            if request["url"] != url or takes.isdisjoint(interaction.answers):
                continue
            if not counted or request["method"] not in REPEATED_METHODS:
                return True
        return False

    def is_recorded(self, question: Question, take: str) -> bool:
        """Return whether a call would be replayed now, from a recording of its own."""
        replays = self.mode in REPLAYING_MODES or self.config.settings.tools == "replay"
        if self.is_off or not replays:
            return False
        fork = find_fork(self.player)
        with self.report.lock:
            if fork is not None and self.config.settings.tools != "replay":
                return fork.replays_tool(question, take)
            recorded = self.player.recorded_answers(question.key, take)
            if is_repeated(question):
                return bool(recorded)
            return self.player.given.count(question.key, take) < len(recorded)

    def has_ended(self, end: Question, take: str) -> bool:
        """Return whether a server had ended by now when it was recorded: no recorded call of it is left but its end.

        Args:
            end: The question whose answer is the end.
            take: The take.
        """
        with self.report.lock:
            if not self.is_recorded(end, take):
                return False
            fork = find_fork(self.player)
            if fork is not None:
                take = fork.source_take(take)
            for key, interaction in self.player.recordings.by_key.items():
                request = interaction.request
                if request["url"] != end.url or request["method"] in {*REPEATED_METHODS, END_METHOD}:
                    continue
                if self.player.given.count(key, take) < len(interaction.answers.get(take, ())):
                    return False
        return True

    def replays(self, question: Question, take: str) -> bool:
        """Return whether the calls of a server would be replayed if they began now: then it need not be started yet."""
        with self.report.lock:
            if self.is_off or self.config.settings.tools == "compare":
                return False
            if self.config.settings.tools == "replay" or self.mode == "none":
                return True
            if self.mode != "new":
                return False
            fork = find_fork(self.player)
            if fork is not None:
                source = fork.source_take(take)
                is_live = fork.progress.stage(take) == "live"
                return not is_live and self._has_recordings(question.url, source, counted=False)
            decided = self._is_replayed.get((question.url, take))
            if decided is not None:
                return decided
            return self._has_recordings(question.url, take, counted=False) and take not in self._changed_takes

    def _prepare_live_call(self, question: Question, take: str, action: Action) -> None:
        """Check that a call may be made, and note that it begins.

        Raises:
            CassetteMiss: Its answer could not be written.
            BudgetReached: The budget has no live call left.
        """
        if action == "record":
            self.recorder.prepare()
            self.comparison.note_change(question, take)
        if not is_repeated(question):
            self.costs.reserve(question)
            run_folder.note_live_call("+")

    def _refuse(self, question: Question, take: str) -> CassetteMiss:
        """Count a call that no recording answers, and return the miss to raise."""
        if self.mode != "new" or self.config.settings.tools in ("replay", "compare"):
            return self.player.refuse_request(question, take)
        command = self.config.command_again
        text = miss.describe_mixed_tools(question, display_path(self.player.path), command)
        return self.report.refuse_request(question, take, text, command)

    def finish(self, question: Question, turn: ToolTurn, live: Answer) -> Answer:
        """Record or compare the live answer to a call, and return the answer that the agent gets.

        Raises:
            CassetteError: The answer could not be written; the end of the tape raises it again.
        """
        if turn.action == "pass":
            return live
        with self.report.lock:
            if not is_repeated(question):
                run_folder.note_live_call("-")
                self.costs.settle(question, None)
            if turn.action == "record":
                self._record(question, turn.take, live)
                return live
            recorded = turn.answer
            if turn.action == "verify":
                recorded = self.player.play(question, turn.take, repeats_last=is_repeated(question))
            self._compare(question, recorded, live)
        if turn.answer is None:
            return live
        return turn.answer

    def abandon(self, question: Question, turn: ToolTurn) -> None:
        """End a live call that is neither recorded nor compared, as after a `KeyboardInterrupt`."""
        if turn.action == "pass" or is_repeated(question):
            return
        with self.report.lock:
            run_folder.note_live_call("-")
            self.costs.settle(question, None)

    def _record(self, question: Question, take: str, live: Answer) -> None:
        """Record a live answer. An answer that changes nothing and equals the last one waits until another one follows."""
        wire = self.config.to_wire(live, question)
        place = (question.key, take)
        if is_repeated(question):
            last = self._last.get(place)
            self._last[place] = wire
            recorded = self.player.recorded_answers(question.key, take)
            is_end = self.player.given.count(question.key, take) >= len(recorded)
            if last is not None and is_end and _is_same(last, wire):
                self._repeated.setdefault(place, []).append(wire)
                return
        for equal in self._repeated.pop(place, []):
            self.recorder.keep(question, equal, take)
        self.recorder.keep(question, wire, take)
        self.report.counts.recorded += 1

    def _compare(self, question: Question, recorded: Answer | None, live: Answer) -> None:
        """Report how a live answer differs from the recorded one."""
        if recorded is None and question.method not in UNASKED_METHODS:
            self.report.note_once(f"nothing recorded to compare with: {describe_tool_question(question)}")
            return
        self.report.counts.verified += 1
        found = compare_tool_answers(question, recorded, live, self.config)
        # The tools of a server may be listed at every turn
        drifts = [drift for drift in found.drifts if drift not in self.report.drifts]
        if drifts:
            self.report.counts.drifted += 1
        self.report.drifts[:] = iter_sorted([*self.report.drifts, *drifts])
        self._note_volatile(found.volatile)

    def _note_volatile(self, count: int) -> None:
        """Add to the number of values that differ in every run, which a single note has."""
        if not count:
            return
        before = _describe_volatile(self._volatile)
        self._volatile += count
        if before in self.report.notes:
            self.report.notes.remove(before)
        self.report.notes.append(_describe_volatile(self._volatile))


def _describe_volatile(count: int) -> str:
    """Return the note on values that differ in every run."""
    verb = "differs" if count == 1 else "differ"
    return f"tools: {format_count(count, 'value')} that {verb} in every run (times, ids, temporary paths, durations), no change"


def _is_same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two answers have the same content, whatever time they took."""
    return bool(first["body"] == second["body"] and first.get("outcome") == second.get("outcome"))
