"""Compares live answers with recorded ones, and new requests with recorded ones; no file is written."""

from dataclasses import dataclass, replace

from pytest_llmops._util.json_values import as_mapping, as_mappings
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.drift import compare_answers
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tape_report import TapeReport


def _list_call_ids(body: object) -> list[str]:
    """Return the paths of the ids of tool calls in a model request, of which vendors make new ones in every live run."""
    request = as_mapping(body)
    if any("call_id" in item for item in as_mappings(request.get("input"))):
        return ["input[*].call_id", "input[*].id"]
    chat = as_mappings(request.get("messages"))
    if any("tool_call_id" in message for message in chat):
        return ["messages[*].tool_call_id", "messages[*].tool_calls[*].id"]
    if any("tool_use_id" in part for message in chat for part in as_mappings(message.get("content"))):
        return ["messages[*].content[*].tool_use_id", "messages[*].content[*].id"]
    return []


@dataclass(frozen=True, slots=True)
class LiveComparison:
    """Finds changes since the recording.

    Args:
        config: The configuration of the tape.
        report: Gets the drifts, changes and notes.
        player: Has the recordings, and counts answers.
    """

    config: TapeConfig
    report: TapeReport
    player: AnswerPlayer

    def compare_answer(self, question: Question, answer: Answer, take: str) -> None:
        """Compare a live answer with the one recorded in its place, in mode ``verify``, and report a difference."""
        if answer.is_transient:
            self.report.notes.append(f"an answer with status {answer.status} was not compared")
            return
        with self.report.lock:
            recorded = self._next_recorded_answer(question, take)
            outcome = answer.outcome
            if outcome is None and recorded is not None:
                outcome = recorded.outcome
            if recorded is None or outcome is not None:
                self._note_not_compared(question, outcome)
                return
            now = replace(answer, body=self.config.redactor.clean(answer.body))
            difference = compare_answers(question, recorded, now)
            self.report.counts.verified += 1
            if difference is not None:
                self.report.counts.drifted += 1
                self.report.drifts.append(difference)

    def _next_recorded_answer(self, question: Question, take: str) -> Answer | None:
        """Return the next recorded answer to a request, and count it as given; None if there is none."""
        recorded = self.player.recorded_answers(question.key, take)
        place = self.player.given.count(question.key, take)
        self.player.given.add_answer(question.key, take)
        if place >= len(recorded):
            return None
        return self.player.read_answer(recorded[place], question)

    def _note_not_compared(self, question: Question, outcome: Outcome | None) -> None:
        """Note why a request was not compared: the outcome of one of the answers, or else no recorded answer."""
        if outcome is not None:
            note = f"an answer with outcome {outcome.error!r} was not compared"
        else:
            note = f"nothing recorded to compare with: {question.method} {question.url}"
            paths = [path for path in _list_call_ids(question.json) if path not in self.config.rules.ignore]
            if paths:
                note += f" (ids of tool calls differ in every live run: name {' and '.join(paths)} in llm_match_ignore)"
        self.report.notes.append(note)

    def note_change(self, question: Question, take: str) -> None:
        """With ``--llm-record=changed``, report how the first new request of a tape differs from the recorded requests."""
        if not self.config.settings.changed or self.player.mode != "new" or self.report.changes:
            return
        owner = self.config.redactor.clean_text(self.config.owner)
        trace = self.player.find_trace()
        if trace is not None and not self.player.recordings.by_key:
            change = trace.describe_change(question)
        else:
            change = self.player.recordings.describe_change(
                question, self.player.given.counts, take, owner=owner
            )
        self.report.changes.append(change)
