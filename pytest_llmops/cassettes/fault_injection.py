"""The faults on a tape: looks up the plan at each call of the application, and makes the faulty answer."""

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.conversation import WEBSOCKET
from pytest_llmops.cassettes.faults import model_answers, tool_answers
from pytest_llmops.cassettes.faults.plan import MODEL, FaultEvent, FaultPlan
from pytest_llmops.cassettes.faults.tool_answers import ToolFault
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tape_report import TapeReport
from pytest_llmops.errors import RetriedForEver


class FaultInjection:
    """Gives the calls of a tape the faults of the test's plan. Calls of judges and embedders never get one.

    Args:
        config: The configuration of the tape, with the plan.
        report: Counts a fault that cannot be made as a miss.
        player: Notes that a call was made, so that its recording does not count as unused.
    """

    def __init__(self, config: TapeConfig, report: TapeReport, player: AnswerPlayer) -> None:
        self._plan = config.faults
        self._report = report
        self._player = player

    @property
    def is_for_tools(self) -> bool:
        """Whether tools have faults."""
        return self._plan is not None and self._plan.has_tool_faults

    def take_model_fault(self, question: Question, *, after_fault: bool) -> Answer | None:
        """Return the faulty answer for a call of a model; None: it gets its own answer.

        Args:
            question: The call.
            after_fault: Whether it has waited for an answer that is late on purpose.

        Raises:
            CassetteMiss: The fault cannot be made in the format of the call.
            RetriedForEver: The application does not give up.
        """
        if self._plan is None or active_tape.current_purpose() != "app":
            return None
        if after_fault:
            self._plan.note_late(question.key)
            return None
        if question.method == WEBSOCKET:
            self._plan.has_socket = True
            return None
        if not model_answers.is_model_call(question):
            return None
        what = model_answers.describe_model_call(question)
        event = self._plan.begin_call(
            what,
            question.key,
            exchanges=_count_exchanges(),
            offers_tools=model_answers.offers_tools(question),
        )
        if event.fault is None:
            return None
        recorder.find_test_recorder().model_faults += 1
        self._end_endless_tries(event)
        previous = self._plan.last_answer(MODEL)
        answer = model_answers.make_model_answer(event.fault, question, previous)
        if answer is None:
            raise self._report.refuse(
                f"the fault {event.fault.kind!r} cannot be made for {question.method} {question.url}: the format of its"
                " answers is none of Chat Completions, Responses, Anthropic's Messages and Gemini's generateContent;"
                " use a kind without an answer: timeout, rate_limit, server_error, connection_reset, cut, malformed_json,"
                " slow, never_returns"
            )
        return answer

    def take_tool_fault(self, question: Question, take: str) -> ToolFault | None:
        """Return the faulty answer for a call of a tool; None: it gets its own answer.

        Raises:
            CassetteMiss: The fault cannot be given to a function of the project.
            RetriedForEver: The application does not give up.
        """
        if self._plan is None or active_tape.current_purpose() != "app":
            return None
        if not tool_answers.is_tool_call(question):
            return None
        names = tool_answers.list_tool_names(question)
        what = f"tool {names[-1]}"
        event = self._plan.begin_call(what, question.key, tool_names=names, exchanges=_count_exchanges())
        if event.fault is None:
            return None
        self._end_endless_tries(event)
        with self._report.lock:
            self._player.given.begin_request(question.key, take)
        previous = self._plan.last_answer(names[0])
        if not tool_answers.is_function(question):
            schema = self._plan.output_schemas.get(names[-1])
            return tool_answers.make_tool_fault(event.fault, previous, schema)
        given = tool_answers.make_function_fault(event.fault, previous)
        if given is None:
            raise self._report.refuse(
                f"the fault {event.fault.kind!r} is for models and tools of MCP servers, and {names[-1]} is a function of the"
                " project: use 'timeout', or let the function itself wait"
            )
        return given

    def _end_endless_tries(self, event: FaultEvent) -> None:
        """End a test that would never end: with ``times="every"``, an application may try again for ever.

        Raises:
            RetriedForEver: It has tried too often.
        """
        if self._plan is not None and event.is_endless:
            event.hung = True
            raise RetriedForEver(self._plan.describe_hung())

    def note_model_answer(self, question: Question, answer: Answer, purpose: str = "") -> None:
        """Note the answer to a call of a model, recorded or live.

        Args:
            question: The call.
            answer: The answer.
            purpose: The purpose of the call; by default the purpose of the running code.
        """
        if self._plan is None or (purpose or active_tape.current_purpose()) != "app":
            return
        if model_answers.is_model_call(question):
            self._plan.note_answer(question.key, MODEL, answer)

    def note_failure(self, question: Question) -> None:
        """Note that a live call of a model got no answer."""
        if self._plan is not None:
            self._plan.note_failure(question.key)

    def note_tool_answer(self, question: Question, answer: Answer | None) -> None:
        """Note the answer to a call of a tool; None: it has not come yet."""
        if self._plan is None or answer is None:
            return
        self._plan.output_schemas.update(tool_answers.read_output_schemas(question, answer))
        if tool_answers.is_tool_call(question):
            self._plan.note_answer(question.key, tool_answers.list_tool_names(question)[0], answer)

    def note_late(self, key: str) -> None:
        """Note that the answer to a question comes now, late on purpose."""
        if self._plan is not None:
            self._plan.note_late(key)

    def note_hung(self, key: str) -> None:
        """Note that a client has waited up to the limit of a fault."""
        if self._plan is not None:
            self._plan.note_hung(key)


def _count_exchanges() -> int:
    """Return how many exchanges the running test has so far."""
    return len(recorder.find_test_recorder().exchanges)


def find_fault_plan() -> FaultPlan | None:
    """Return the plan of the running test; None: it has no faults, or no test runs."""
    tape = active_tape.base_tape()
    if tape is None:
        return None
    return tape.config.faults
