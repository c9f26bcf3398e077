"""The events on a tape: how many answers each request got, and the notes for the test's report."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmops.cassettes.drift import Drift
from pytest_llmops.cassettes.request_key import Question, TapeCounts
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.measurement import format_count

NEW_LINE = "\n"
# The key of a request, and the take of its answers: the number of a trial, as a text
KeyAndTake = tuple[str, str]


@dataclass(slots=True, eq=False)
class TapeReport:
    """The events on a tape, for the report of its test.

    Attributes:
        misses: Requests without a recording, and forbidden connections.
        drifts: Live answers that differ from the recorded ones.
        header_notes: With ``--llm-record=changed``, allowed differences in the headers of a replayed request, such as the key.
        changes: With ``--llm-record=changed``, how the first new request differs from the recorded ones; at most one text.
        errors_elsewhere: Number of misses and refused calls whose exception was raised in another process.
        lock: Guards the tape with all its parts, in all threads.
    """

    counts: TapeCounts = field(default_factory=TapeCounts)
    misses: list[CassetteMiss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    header_notes: list[str] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    errors_elsewhere: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    # The message of the first call of a tool that was missed, by its take
    _tool_misses: dict[str, str] = field(default_factory=dict)
    # How often a call of a tool was missed for the same reason, by its take and all lines of its message but the first
    _same_misses: Counter[tuple[str, str]] = field(default_factory=Counter)

    def refuse(self, text: str, command: str = "") -> CassetteMiss:
        """Count a missing recording or a forbidden connection, and return the miss to raise.

        Args:
            text: The message.
            command: The command that records the missing answer; "": there is none.
        """
        with self.lock:
            self.counts.missed += 1
            # Not the one that is raised: its traceback would keep the frames of the test.
            self.misses.append(CassetteMiss(text, command=command))
        return CassetteMiss(text, command=command)

    def refuse_request(self, question: Question, take: str, text: str, command: str) -> CassetteMiss:
        """Count a request without a recording, and return the miss to raise.

        An agent that was refused a tool goes on with a request to the model that has the refusal, which is not recorded either. The
        tool is the cause, so the later misses of the take name it.

        Args:
            question: The request.
            take: Its take.
            text: The message.
            command: The command that records the missing answer.
        """
        with self.lock:
            cause = self._tool_misses.get(take)
            if cause is not None and not question.is_tool:
                text = f"{cause}\n  then      {text.partition(NEW_LINE)[0]}"
            elif question.is_tool:
                self._tool_misses.setdefault(take, text)
                text = self._shorten_repeated(text, take)
        return self.refuse(text, command)

    def _shorten_repeated(self, text: str, take: str) -> str:
        """Count the message of a missed call of a tool, and return it, without its reason if that was given before."""
        first, _, reason = text.partition(NEW_LINE)
        self._same_misses[take, reason] += 1
        if self._same_misses[take, reason] == 1:
            return text
        return f"{first}, for the same reason as the call before"

    def describe_first_miss(self) -> str:
        """Return the message of the first miss, and how many calls of tools were missed for the same reason."""
        text = str(self.misses[0])
        first_reason = text.partition(NEW_LINE)[2]
        count = sum(number for (_, reason), number in self._same_misses.items() if reason == first_reason)
        if count <= 1:
            return text
        return f"{text}\n  times     {format_count(count, 'call')} missed for this reason"

    def find_tool_miss(self, take: str) -> str:
        """Return the message of the first call of a tool that was missed in a take; "" without one."""
        return self._tool_misses.get(take, "")

    def forget_miss(self, error: CassetteMiss) -> None:
        """Count a miss no longer, or another one with the same text; do nothing without one."""
        with self.lock:
            for miss in self.misses:
                if str(miss) == str(error):
                    self.misses.remove(miss)
                    self.counts.missed -= 1
                    return

    def note_once(self, note: str) -> None:
        """Add a note, unless it is there already."""
        if note not in self.notes:
            self.notes.append(note)


@dataclass(slots=True, eq=False)
class AnswerTally:
    """Counts the answers that each request of a tape has got, by its key and take."""

    _counts: Counter[KeyAndTake] = field(default_factory=Counter)
    # For each request, whether the last time that it was sent it got an answer
    _got_answer: dict[KeyAndTake, bool] = field(default_factory=dict)

    def begin_request(self, key: str, take: str) -> None:
        """Note that a request was sent, and has no answer yet."""
        self._got_answer[key, take] = False

    def add_answer(self, key: str, take: str) -> None:
        """Note that a request got its answer."""
        self._counts[key, take] += 1
        self._got_answer[key, take] = True

    def take_back(self, key: str, take: str) -> None:
        """Forget the last answer to a request, which is sent again: the next answer comes in its place."""
        if self._counts[key, take]:
            self._counts[key, take] -= 1

    def count(self, key: str, take: str) -> int:
        """Return the number of answers to a request so far, which is also the zero-based place of its next answer."""
        return self._counts[key, take]

    @property
    def counts(self) -> Mapping[KeyAndTake, int]:
        """The number of answers by key and take, of requests that got any."""
        return self._counts

    @property
    def request_count(self) -> int:
        """The number of different requests; the same request in two takes counts twice."""
        return len(self._got_answer)

    def list_keys(self) -> list[str]:
        """Return the keys of all requests; a key is repeated for each of its takes."""
        return [key for key, _ in self._got_answer]

    def count_by_key(self) -> dict[str, dict[str, int]]:
        """Return the number of answers by key and then by take, sorted, also for requests without any answer."""
        by_key: dict[str, dict[str, int]] = {key: {} for key in sorted(self.list_keys())}
        for (key, take), number in sorted(self._counts.items()):
            if key in by_key:
                by_key[key][take] = number
        return by_key

    def answers_to_keep(self) -> dict[KeyAndTake, int]:
        """Return the number of answers to keep in a cassette that is recorded anew, by (key, take).

        It is the argument of `store.merge_journals`. An entry with "" in place of the take or the key means that the
        key, or the take, was requested.

        A request whose last call got no answer has no number: all of its recorded answers are kept.
        """
        to_keep: dict[KeyAndTake, int] = {}
        for key, take in self._got_answer:
            to_keep[key, ""] = 0
            to_keep["", take] = 0
        answered = {place: number for place, number in self._counts.items() if self._got_answer[place]}
        return to_keep | answered
