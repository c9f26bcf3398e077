"""Shares a judge's answers between the tests of a run, so that the same question is paid only once."""

from dataclasses import dataclass
from typing import Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.answer_recorder import AnswerRecorder
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE, shared_answer_key
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tape_report import TapeReport
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.protocols import is_error_status


@dataclass(frozen=True, slots=True)
class AnswerSharing:
    """Gets the answers of other tests, and offers them the answers of this tape.

    Args:
        config: The configuration of the tape.
        report: Gets the counts.
        player: Reads answers.
        recorder: Also records here the answers that come from other tests.
    """

    config: TapeConfig
    report: TapeReport
    player: AnswerPlayer
    recorder: AnswerRecorder

    def take_answer(self, question: Question, take: str, n: int) -> Answer | None:
        """Return another test's answer to the same judge call, and record it on this tape too; None if there is none.

        Args:
            question: The request.
            take: The take of the request.
            n: Zero-based place among equal requests.

        Raises:
            CassetteMiss: The answer could not be written.
        """
        is_judge_call = active_tape.current_purpose() == JUDGE_PURPOSE
        if self.player.mode == "verify" or not is_judge_call:
            return None
        wire = self.find_answer(question, take, n)
        if wire is None:
            return None
        answer = self.player.read_answer(wire, question)
        try:
            self.recorder.keep(question, self.config.to_wire(answer, question), take)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None
        self.report.counts.reused += 1
        return answer

    def find_answer(self, question: Question, take: str, n: int) -> dict[str, Any] | None:
        """Return another test's answer to a request as it is recorded; None if there is none, or answers are not shared."""
        shared = self.config.shared_answers
        if shared is None:
            return None
        return shared.find_answer(shared_answer_key(question), take, n, owner=self.config.owner)

    def is_shareable(self, answer: Answer, purpose: str) -> bool:
        """Return whether other tests may get an answer: only a judge's, and no error."""
        if self.config.shared_answers is None:
            return False
        return purpose == JUDGE_PURPOSE and not is_error_status(answer.status)

    def offer_answer(self, question: Question, take: str, n: int, wire: dict[str, Any]) -> None:
        """Share an answer with other tests, as soon as a verdict was parsed from it."""
        shared = self.config.shared_answers
        if shared is None:
            return
        # When the call began counts from the first call of this test, not of the other one.
        timeless = {name: value for name, value in wire.items() if name != "started_s"}
        shared.queue_answer(shared_answer_key(question), take, n, timeless, owner=self.config.owner)
