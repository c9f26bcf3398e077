"""Replay a recorded run up to its first changed request, in every trial, and make all calls after that live (``--llm-record=fork``).

The run that is forked is take 0. Trial k replays its answers and keeps them as take k too, so that later runs replay the trial as it
was. A live answer after a fork gets a mark in the cassette: another fork begins before it, and only the trial that recorded it
replays it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import as_mapping
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.active_tape import current_purpose
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.answer_recorder import AnswerRecorder
from pytest_llmops.cassettes.drift import is_model_request
from pytest_llmops.cassettes.fork_progress import BASE_TAKE, ForkProgress, is_marked
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tape_report import TapeReport
from pytest_llmops.cassettes.tool_questions import is_repeated
from pytest_llmops.errors import CassetteMiss

APP_PURPOSE = "app"


@dataclass(slots=True, eq=False)
class ForkPlayer(AnswerPlayer):
    """Finds the answers of a trial that forks a recorded run.

    Attributes:
        progress: Where each trial has left the recorded run.
        recorder: Keeps the answers of the recorded run as answers of the trial; set once there is a recorder.
    """

    progress: ForkProgress = field(default_factory=ForkProgress)
    recorder: AnswerRecorder | None = None
    _kept_as: str = ""  # the take as which a replayed answer is kept too

    def play(self, question: Question, take: str, *, repeats_last: bool = False) -> Answer | None:
        """Return the next answer of the recorded run, or of the trial if it was recorded before; None: the call has to be made live.

        Args:
            question: The request.
            take: The take of the trial.
            repeats_last: Whether the last answer is given again once all are used up.

        Raises:
            CassetteMiss: The recording is damaged, or is too old and may not be recorded again in this run; or see `begin_live`.
        """
        if self.progress.stage(take) == "new":
            return self._play_take(question, take, repeats_last=repeats_last)
        if question.is_tool:
            return self._play_tool(question, take, repeats_last=repeats_last)
        if current_purpose() != APP_PURPOSE:
            return self._play_measurement(question, take)
        is_call = is_model_request(question)
        if is_call:
            self.progress.count_call(take)
        source = self.find_source(question, take)
        if source and source == take and self._is_next_marked(question.key, take):
            self._enter_recorded_fork(take, is_call=is_call)
        answer = None
        if source:
            answer = self._play_from(question, source, take)
        if answer is None:
            self.begin_live(question, take, is_call=is_call)
        return answer

    def find_source(self, question: Question, take: str, *, repeats_last: bool = False) -> str:
        """Return the take that has the next answer to a request of the application; "": the call has to be made live.

        For a request without any recording it is the take of the recorded run, as the answer may be found elsewhere: at another
        server, or in a test that was renamed.
        """
        stage = self.progress.stage(take)
        if stage == "live":
            return ""
        if stage == "new" or self._is_next_marked(question.key, take, repeats_last=repeats_last):
            return take
        if stage == "forked" or self._is_next_marked(question.key, BASE_TAKE, repeats_last=repeats_last):
            return ""
        return BASE_TAKE

    def replays_tool(self, question: Question, take: str) -> bool:
        """Return whether the next answer to a call of a tool is recorded, in the recorded run or in the fork."""
        repeats_last = is_repeated(question)
        source = self.find_source(question, take, repeats_last=repeats_last)
        if not source:
            return False
        recorded = self.recorded_answers(question.key, source)
        if repeats_last:
            return bool(recorded)
        if self.given.count(question.key, source) < len(recorded):
            return True
        return source == BASE_TAKE and not recorded and self.has_traced_tool(question, source)

    def source_take(self, take: str) -> str:
        """Return the take whose recordings a trial replays now."""
        if self.progress.stage(take) == "prefix":
            return BASE_TAKE
        return take

    def begin_live(self, question: Question, take: str, *, is_call: bool) -> None:
        """Make all calls live from here on; without any recording, the test is simply recorded.

        Args:
            question: The request that is not recorded.
            take: The take of the trial.
            is_call: Whether it is a call of a model by the application.

        Raises:
            CassetteMiss: It continues an answer that was rebuilt from a trace, which the server does not know.
        """
        if self.progress.stage(take) in ("live", "new"):
            return
        has_run = self.recordings.by_key or self.config.traced is not None
        if not has_run and not self.progress.has_replayed(take):
            self.progress.begin_fork(take, "new", is_call=is_call)
            return
        change = self._describe_change(question, take)
        self.progress.begin_fork(take, "live", is_call=is_call, change=change)
        self._check_previous(question)

    def _check_previous(self, question: Question) -> None:
        """Refuse to send the id of an answer that was rebuilt from a trace."""
        traced = self.config.traced
        if traced is None or not traced.is_rebuilt(as_mapping(question.json).get("previous_response_id")):
            return
        raise CassetteMiss(
            f"cannot fork at {question.method} {question.url}: its previous_response_id is of an answer that was rebuilt from a trace,"
            " which the server does not know; let the application send the messages before it, or record the run in a cassette"
        )

    def _describe_change(self, question: Question, take: str) -> str:
        """Return how a request differs from the recorded ones, in a few words.

        "": another trial has forked with the same request, or the run comes from a trace.
        """
        if not self.recordings.by_key or self._is_next_marked(question.key, BASE_TAKE):
            return ""
        owner = self.config.redactor.clean_text(self.config.owner)
        return self.recordings.describe_change(question, self.given.counts, take, owner=owner)

    def _enter_recorded_fork(self, take: str, *, is_call: bool) -> None:
        """Note that a trial goes on with answers that an earlier fork has recorded."""
        if self.progress.stage(take) == "prefix":
            self.progress.begin_fork(take, "forked", is_call=is_call)

    def _is_next_marked(self, key: str, take: str, *, repeats_last: bool = False) -> bool:
        """Return whether the next recorded answer to a request came after a fork."""
        recorded = self.recorded_answers(key, take)
        place = self.given.count(key, take)
        if repeats_last and recorded:
            place = min(place, len(recorded) - 1)
        return place < len(recorded) and is_marked(recorded[place])

    def _play_tool(self, question: Question, take: str, *, repeats_last: bool) -> Answer | None:
        """Return the next answer of a tool; with ``--llm-tools=replay`` also after the fork, where the tool is not called."""
        source = self.find_source(question, take, repeats_last=repeats_last)
        if source and source == take and self._is_next_marked(question.key, take, repeats_last=repeats_last):
            self._enter_recorded_fork(take, is_call=False)
        if not source and self.config.settings.tools == "replay":
            source = BASE_TAKE
            if self.count_recorded(question.key, take) > self.given.count(question.key, take):
                source = take
        if not source:
            return None
        return self._play_from(question, source, take, repeats_last=repeats_last)

    def _play_measurement(self, question: Question, take: str) -> Answer | None:
        """Return the next answer to a judge or an embedder of the test: None: it is not recorded. It does not fork the run."""
        source = take
        is_recorded = self.given.count(question.key, take) < self.count_recorded(question.key, take)
        if self.progress.stage(take) == "prefix" and not is_recorded:
            source = BASE_TAKE
        return self._play_from(question, source, take)

    def _play_from(
        self, question: Question, source: str, take: str, *, repeats_last: bool = False
    ) -> Answer | None:
        """Return the next answer of a take, which is kept as one of the trial too."""
        self._kept_as = take
        try:
            return self._play_take(question, source, repeats_last=repeats_last)
        finally:
            self._kept_as = ""

    def _play_take(self, question: Question, take: str, *, repeats_last: bool) -> Answer | None:
        # A dataclass with slots is made anew, so that `super()` without arguments does not know it.
        return AnswerPlayer.play(self, question, take, repeats_last=repeats_last)

    def _replay(self, wire: Mapping[str, Any], question: Question, key: str, take: str) -> Answer:
        """Return a recorded answer of a take, and keep it as one of the trial too."""
        place = self.given.count(key, take)
        is_repeated_answer = place >= self.count_recorded(key, take)
        answer = AnswerPlayer._replay(self, wire, question, key, take)  # noqa: SLF001 -- its own class
        kept_as = self._kept_as or take
        self.progress.note_replayed(kept_as)
        if kept_as != take:
            if self.recorder is not None and not is_repeated_answer:
                self.recorder.copy_answer(key, wire, kept_as)
            self.given.add_answer(key, kept_as)
        return answer


def make_player(
    path: Path, mode: RecordMode, config: TapeConfig, report: TapeReport, *, shared: bool
) -> AnswerPlayer:
    """Return the player of a tape: with ``--llm-record=fork`` one whose trials leave the recorded run at their first new request."""
    if config.fork is None or mode != "new":
        return AnswerPlayer(path, mode, config, report, shared)
    return ForkPlayer(path, mode, config, report, shared, progress=config.fork)


def find_fork(player: AnswerPlayer) -> ForkPlayer | None:
    """Return the player if its trials fork a recorded run; None: they do not."""
    if isinstance(player, ForkPlayer):
        return player
    return None


def connect_recorder(player: AnswerPlayer, recorder: AnswerRecorder) -> None:
    """Let the player of a fork keep the replayed answers."""
    if isinstance(player, ForkPlayer):
        player.recorder = recorder
