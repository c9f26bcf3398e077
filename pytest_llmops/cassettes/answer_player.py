"""Replays a cassette: the n-th of several equal requests gets the n-th answer recorded for it in the same take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape, judge_calls, miss
from pytest_llmops.cassettes.clients.identities import NO_IDENTITIES
from pytest_llmops.cassettes.clients.requests import find_folders
from pytest_llmops.cassettes.ledger_folder import load_recordings
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.nearest_request import NamedRequest
from pytest_llmops.cassettes.recordings import Recordings
from pytest_llmops.cassettes.request_headers import (
    list_changed_behaviour,
    list_other_headers,
    list_other_secrets,
    name_headers,
)
from pytest_llmops.cassettes.request_key import (
    Answer,
    Question,
    answer_from_wire,
    build_question,
    restore_answer,
)
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE
from pytest_llmops.cassettes.tape_config import REPLAYING_MODES, TapeConfig
from pytest_llmops.cassettes.tape_report import AnswerTally, TapeReport
from pytest_llmops.cassettes.tool_questions import REPEATED_METHODS, is_tool_request
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.measurement import shorten_text
from pytest_llmops.wire.content_encoding import decode_request_body

if TYPE_CHECKING:
    from pytest_llmops.cassettes.traces.answers import TraceAnswers

REPEATED_NOTE = "run again, and replayed from an earlier run's recording, so it is the same sample; --llm-record=new records more"
# How often a question gets its last recorded answer again after a fault with --llm-faults: an application may ask for ever
MAX_REPEATS = 20
RERUN_NOTE = "run again: a judge call that got no verdict in this run is not repeated"


@dataclass(slots=True, eq=False)
class AnswerPlayer:
    """Finds the recording of a request, and its next answer.

    Args:
        path: The cassette.
        mode: The mode of the tape.
        config: The configuration of the tape.
        report: Gets the counts, misses and notes.
        shared: Whether other tests use the cassette too.

    Attributes:
        given: Counts the answers that each request has got, including live ones.
        recordings: The recordings of the cassette; none in mode ``live``, unless tools are replayed.

    Raises:
        CassetteError: The cassette is damaged; it is left as it is.
    """

    path: Path
    mode: RecordMode
    config: TapeConfig
    report: TapeReport
    shared: bool
    given: AnswerTally = field(default_factory=AnswerTally)
    recordings: Recordings = field(init=False)

    def __post_init__(self) -> None:
        self.recordings = Recordings(self.path, self.config.rules, self.config.elsewhere)
        # In mode live, calls of tools may be replayed nevertheless
        if self.mode != "live" or self.config.settings.tools == "replay":
            self.recordings.by_key = load_recordings(self.path)

    @property
    def others_ask(self) -> bool:
        """Whether other tests, or other runs of the test, ask for answers of the same cassette."""
        return self.shared or self.config.attempt is not None

    def make_question(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return a request in the form that is matched, with its body decoded.

        If it was recorded under other match rules, or compressed, it has the key of that recording. In its body,
        placeholders replace the folders of the test, unless it was recorded with the folders themselves.
        """
        content, problem = decode_request_body(
            body, headers.get("content-encoding", ""), headers.get("content-type", "")
        )
        build = partial(
            build_question,
            method,
            url,
            headers,
            redactor=self.config.redactor,
            rules=self.config.rules,
            keep_headers=self.mode != "none",
            unreadable=problem,
        )
        folders = find_folders(content, self.config.list_folders())
        question = self._match(partial(build, folders=folders), body, content)
        if not folders or self.mode in ("all", "live"):  # these play no recording
            return question
        with self.report.lock:
            if self.recordings.knows(question):
                return question
        as_sent = self._match(partial(build, folders=NO_IDENTITIES), body, content)
        with self.report.lock:
            if self.recordings.knows(as_sent):
                return as_sent
        return question

    def _match(self, build: Callable[..., Question], body: bytes, content: bytes) -> Question:
        """Return a request with the key under which it is recorded, or else with its own key.

        Args:
            build: Returns the request with a body.
            body: The body as it was sent.
            content: The decoded body.
        """
        redactor = self.config.redactor
        by_key = self.recordings.by_key
        # Masking needs half of the time. If the key of the unmasked request is recorded, it has nothing to mask, as
        # only masked requests are recorded. With match rules this is not certain for the parts that they ignore.
        if self.mode == "none" and not self.config.rules and redactor.is_known_clean(content):
            question = build(content, masked=True)
            if question.key in by_key and question.json is not None:
                return question
        question = build(content)
        if question.is_unknown_form:
            self.report.note_once(question.client_note)
        if question.key in by_key:
            return question
        with self.report.lock:
            key = self.recordings.find_key(question)
        if key == question.key and content is not body:
            key = build(body).key
            if not self.recordings.accept_key(key):
                return question
        if key == question.key:
            return question
        return replace(question, key=key)

    def recorded_answers(self, key: str, take: str) -> list[dict[str, Any]]:
        """Return the recorded answers of a take to a request; an empty list if there are none.

        The recording may be adopted from the cassette of a test that was renamed.

        A repeated run of a test whose own take is not recorded, and which must not call live, gets the answers of the
        last take before it. The same holds for a judge's request that got no verdict in its first run.

        With ``--llm-faults``, answers recorded with the fault come before answers recorded without it.
        """
        interaction = self.recordings.by_key.get(key)
        if interaction is None and self.config.elsewhere is not None:
            place = self.config.name_place(self.given.request_count, shared=self.shared)
            interaction = self.recordings.adopt_recording(key, place)
        if interaction is None:
            return []
        answers = interaction.answers
        if self.config.fault_take in answers:
            return answers[self.config.fault_take]
        note = ""
        if take not in answers:
            note = self._why_takes_repeat(key, take)
        if note:
            earlier = [number for number in map(int, answers) if number < int(take)]
            if earlier:
                self.report.note_once(note)
                return answers[str(max(earlier))]
        return answers.get(take, [])

    def count_recorded(self, key: str, take: str) -> int:
        """Return how many answers to a request are recorded in a take."""
        interaction = self.recordings.by_key.get(key)
        if interaction is None:
            return 0
        return len(interaction.answers.get(take, ()))

    def _why_takes_repeat(self, key: str, take: str) -> str:
        """Return a note if a take without recording is replayed from an earlier one, only in a repeated run of a test; else ""."""
        if not self.config.attempt or take != self.config.take:  # the first run, or the take of another trial
            return ""
        if self.mode == "none":
            return REPEATED_NOTE
        if self.config.settings.changed and not self.report.changes:
            return REPEATED_NOTE
        if self.mode == "new" and judge_calls.was_asked_in_vain(key, self.config.owner):
            return RERUN_NOTE
        return ""

    def play(self, question: Question, take: str, *, repeats_last: bool = False) -> Answer | None:
        """Return the next recorded answer to a request, or None if there is none.

        Args:
            question: The request.
            take: The take of the request.
            repeats_last: Whether the last answer is given again once all are used up.

        Raises:
            CassetteMiss: The recording is damaged, or is too old and may not be recorded again in this run.
        """
        recorded = self.recorded_answers(question.key, take)
        place = self.given.count(question.key, take)
        if self.config.fault_take and place < len(recorded) + MAX_REPEATS:
            repeats_last = True
        if repeats_last and recorded:
            place = min(place, len(recorded) - 1)
        if place < len(recorded) and self._is_current(recorded[place], question):
            if not self.recordings.shows_request(question):
                by = self.recordings.by_key[question.key].by
                raise self._refuse_damaged(
                    f"the request {by} is not the one of its key {question.key}"
                    " (was it edited, or llm_match_ignore changed?)"
                )
            return self._replay(recorded[place], question, question.key, take)
        if recorded:  # all answers are used up, or the next one is not current
            return None
        if not question.is_tool:
            from_other_server = self._play_other_server(question, take)
            if from_other_server is not None:
                return from_other_server
        return self._play_traced(question, take)

    def _play_traced(self, question: Question, take: str) -> Answer | None:
        """Return the next answer to a request in the trace of the test's case; None without one."""
        traced = self.find_trace()
        if traced is None:
            return None
        before = traced.describe_use()
        answer = traced.find(question, take)
        if answer is None:
            return None
        if before in self.report.notes:
            self.report.notes.remove(before)
        self.report.notes.append(traced.describe_use())
        self.given.add_answer(question.key, take)
        self.report.counts.replayed += 1
        return answer

    def find_trace(self) -> "TraceAnswers | None":
        """Return the answers of the trace of the test's case; None without a trace, and for judges, which do not belong to the run."""
        if active_tape.current_purpose() == JUDGE_PURPOSE:
            return None
        return self.config.traced

    def has_traced_tool(self, question: Question, take: str) -> bool:
        """Return whether the trace of the test's case has the next result of a call of a tool."""
        traced = self.find_trace()
        return traced is not None and traced.has_tool(question, take)

    def _play_other_server(self, question: Question, take: str) -> Answer | None:
        """Return the next recorded answer to the same request at another server; None if that is not a single one."""
        key = self.recordings.find_other_server(question, set(self.given.list_keys()))
        if not key:
            return None
        answers = self.recorded_answers(key, take)
        place = self.given.count(key, take)
        if place >= len(answers) or not self._is_current(answers[place], question):
            return None
        recorded_at = _describe_server(str(self.recordings.by_key[key].request["url"]))
        self.report.note_once(
            f"recorded from {recorded_at}, but the application now calls {_describe_server(question.url)}: the old answer was "
            "replayed. If you meant to change the server, record again with --llm-record=all"
        )
        return self._replay(answers[place], question, key, take)

    def _is_current(self, wire: Mapping[str, Any], question: Question) -> bool:
        """Return whether a recorded answer may be reused: it is not too old, and the request had the same headers.

        Only ``--llm-record=changed`` compares headers. A difference in headers that choose behaviour is a change,
        which the report names. Other headers that differ are only noted.

        Raises:
            CassetteMiss: It is too old, and may be neither replayed nor recorded again in this run.
        """
        if self._is_expired(wire, question):
            return False
        if not self.config.settings.changed or question.is_tool:
            return True
        recorded = wire.get("request_headers")
        if list_changed_behaviour(recorded, question.headers):
            return False
        self._note_headers(recorded, question)
        return True

    def _note_headers(self, recorded: Mapping[str, str] | None, question: Question) -> None:
        """Note how the headers of a request differ from the headers that were recorded with its answer."""
        if recorded is None:
            self.report.header_notes.append("recorded without its headers, which count as unchanged")
        others = list_other_headers(recorded, question.headers)
        if others:
            self.report.note_once(
                f"{name_headers(others)} differs from the recording; --llm-record=changed does not compare it"
            )
        secrets = list_other_secrets(recorded, question.headers)
        if secrets:
            self.report.header_notes.append(
                f"{name_headers(secrets)} has another secret than in the recording"
            )

    def _is_expired(self, wire: Mapping[str, Any], question: Question) -> bool:
        """Return whether an answer is too old and is now recorded again; a warning may be noted instead.

        Raises:
            CassetteMiss: It is too old, and may be neither replayed nor recorded again in this run.
        """
        age = describe_age(wire, self.config.settings.max_age)
        if not age:
            return False
        expired = self.config.settings.expired
        if expired == "refresh" and self.mode == "new":
            return True
        if expired == "warn":
            self.report.note_once(f"an answer was {age}")
            return False
        if expired == "refresh":
            command = self.config.command
        else:
            command = self.config.command_again
        text = miss.describe_old_recording(question, age, display_path(self.path), command)
        raise self.report.refuse(text, command)

    def _replay(self, wire: Mapping[str, Any], question: Question, key: str, take: str) -> Answer:
        """Return a recorded answer, and count it as given and replayed."""
        answer = self.read_answer(wire, question)
        self.given.add_answer(key, take)
        self.report.counts.replayed += 1
        return answer

    def read_answer(self, wire: Mapping[str, Any], question: Question) -> Answer:
        """Parse a recorded answer, with the folder and the ids of the request that it answers.

        Raises:
            CassetteMiss: It is damaged.
        """
        try:
            return restore_answer(answer_from_wire(wire), question.identities)
        except CassetteError as error:
            raise self._refuse_damaged(str(error)) from None

    def _refuse_damaged(self, why: str) -> CassetteMiss:
        """Count a damaged recording as a miss, and return the miss to raise.

        A miss fails the test even if the application catches it.
        """
        cassette = display_path(self.path)
        return self.report.refuse(
            f"cassette {cassette} is damaged: {why}; take the file from git, or record it again: {self.config.command_again}"
        )

    def refuse_request(self, question: Question, take: str) -> CassetteMiss:
        """Count a request that no recording answers, and return the miss to raise."""
        requests = list(self.recordings.list_requests())
        recorded_urls = (request["url"] for _, request in requests if not is_tool_request(request))
        command = miss.add_base_url(self.config.command, question.url, recorded_urls)
        if question.is_tool and self.mode != "none":  # the model's answer to it is new, too
            command = self.config.command_again
        text = self._describe_miss(question, take, requests, command)
        return self.report.refuse_request(question, take, text, command)

    def _describe_miss(
        self, question: Question, take: str, requests: Sequence[NamedRequest], command: str
    ) -> str:
        """Return the message for a request that no recording answers.

        Args:
            question: The request.
            take: The take of the request.
            requests: All recorded requests.
            command: The command that records the request.
        """
        place = display_path(self.path)
        recorded = self.recorded_answers(question.key, take)
        if recorded:
            number = self.given.count(question.key, take) + 1
            return miss.describe_exhausted_request(
                question, number, len(recorded), place=place, command=command
            )
        other_takes = self.recordings.by_key.get(question.key)
        if other_takes is not None:
            own_take = self.config.fault_take or take
            return miss.describe_other_take(
                question, own_take, other_takes.answers, place=place, command=command
            )
        moved = [display_path(path) for path in self.recordings.list_moved_places(question.key)]
        traced: list[str] = []
        trace = self.find_trace()
        if trace is not None:
            traced = trace.describe_miss(question)
        return miss.describe_missing_request(
            question,
            requests,
            place=place,
            command=command,
            rules=self.config.rules,
            elsewhere=moved,
            traced=traced,
        )

    def keep_tool_answers(self) -> None:
        """Let the recorded calls of tools count as requested: with ``--llm-tools=off``, a run does not show whether they are in use."""
        for key, interaction in self.recordings.by_key.items():
            if is_tool_request(interaction.request):
                self.given.begin_request(key, self.config.take)

    def count_stale(self) -> None:
        """Count the recorded requests that a passed test did not make, unless other tests may make them."""
        if self.mode not in REPLAYING_MODES or self.others_ask or self.config.fault_take:
            return
        take = self.config.take
        recorded = set()
        for key, entry in self.recordings.by_key.items():
            # A test may use the lists that an earlier test requested on the same connection
            is_list = entry.request["method"] in REPEATED_METHODS
            if take in entry.answers and not is_list:
                recorded.add(key)
        self.report.counts.stale = len(recorded.difference(self.given.list_keys()))


def describe_age(wire: Mapping[str, Any], max_age: int | None) -> str:
    """Return why an answer is too old ("recorded on ..."); "" if it is not. An answer of an unknown day is too old.

    Args:
        wire: The answer, with the day of its recording.
        max_age: The number of days for which an answer is good; None: for ever.
    """
    if max_age is None:
        return ""
    day = str(wire.get("recorded") or "")
    first_good_day = datetime.now(UTC).date() - timedelta(days=max_age)
    if day >= first_good_day.isoformat():
        return ""
    return f"recorded on {day or 'an unknown day'}, over llm_max_age = {max_age}d"


def _describe_server(url: str) -> str:
    """Return the host of a URL, for a note.

    >>> _describe_server("https://api.openai.com/v1/responses"), _describe_server("http://loopback/v1/responses")
    ('api.openai.com', 'a server on this machine')
    """
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return "a server on this machine"
    return shorten_text(host, 200)
