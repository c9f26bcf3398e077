"""Answers the requests of a test from a trace tape: model calls in the wire format of the request, and calls of tools."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import as_mapping, parse_json
from pytest_llmops._util.text_files import canonical_json, read_json
from pytest_llmops.cassettes.body_lines import WRAP_WIDTH, diff_lines
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tool_questions import (
    CALL_METHOD,
    FUNCTION,
    FUNCTION_METHOD,
    describe_tool_question,
    make_tool_answer,
    tool_arguments,
    tool_name,
)
from pytest_llmops.cassettes.traces.spelling import (
    Spelling,
    fits,
    keep_compared,
    spell_request,
    spell_traced_call,
    write_chat_request,
)
from pytest_llmops.cassettes.traces.tape_file import TracedCall, TracedTool, TraceTape, read_tape
from pytest_llmops.measurement import Json, format_count, shorten_text, to_builtins
from pytest_llmops.recorder import Exchange
from pytest_llmops.redaction.json_texts import build_redactor, clean_json_text
from pytest_llmops.trace import read_call
from pytest_llmops.trace.answers import TracedAnswer, UnsupportedFormat, encode_answer

MAX_DIFF = 14  # lines of the difference to the nearest call
MAX_LISTED = 5
TOOL_METHODS = (CALL_METHOD, FUNCTION_METHOD)
_RESPONSE_ID = re.compile(rb"\bresp_[0-9a-f]+\b")  # of OpenAI's Responses
OTHER_ENDPOINTS = ("embeddings", "rerank", "moderations")


@dataclass(slots=True, eq=False)
class _Place:
    """The answers that a take of a test has got so far.

    Attributes:
        calls: The indexes of the model calls whose answers were given.
        tools: The indexes of the tool calls whose results were given.
    """

    calls: set[int] = field(default_factory=set)
    tools: set[int] = field(default_factory=set)


class TraceAnswers:
    """The answers of a trace tape, for one test.

    Each take gets them from the start: the n-th of several equal requests gets the n-th answer.

    Args:
        path: The file of the tape.

    Raises:
        CassetteError: It is missing, or not a trace tape.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tape: TraceTape = read_tape(path)
        self._places: dict[str, _Place] = {}
        self._requests: dict[str, Spelling] = {}  # by the key of a question
        self._response_ids: set[bytes] = set()  # of the answers that were given
        self._problems: dict[str, str] = {}  # why a question that is in the trace gets no answer, by its key

    @cached_property
    def _spelled(self) -> Sequence[Spelling]:
        return [spell_traced_call(call) for call in self.tape.calls]

    @cached_property
    def _has_parameters(self) -> bool:
        return any(call.parameters for call in self._spelled)

    @cached_property
    def _clean(self) -> Callable[[Json], Any]:
        """Masks secrets and personal data in JSON, as they are in the tape."""
        redactor = build_redactor()
        return lambda value: read_json(clean_json_text(canonical_json(value), redactor))

    def find(self, question: Question, take: str) -> Answer | None:
        """Return the next answer of the trace to a request or a call of a tool; None if it holds none."""
        if question.is_tool:
            return self._find_tool(question, take)
        index = self._find_call(question, take)
        if index is None:
            return None
        call = self.tape.calls[index]
        if call.answer is None:
            return None
        answer = self._encode(question, call, call.answer)
        if answer is not None:
            self._place_of(take).calls.add(index)
        return answer

    def _place_of(self, take: str) -> _Place:
        return self._places.setdefault(take, _Place())

    def _find_call(self, question: Question, take: str) -> int | None:
        """Return the index of the next call that a request repeats; None without one, or if its answer cannot be given."""
        asked = self._read_request(question)
        if not asked.messages:
            return None
        fitting = [
            index
            for index, held in enumerate(self._spelled)
            if fits(held, asked, has_parameters=self._has_parameters)
        ]
        if not fitting:
            return None
        answered = [index for index in fitting if self.tape.calls[index].answer is not None]
        given = self._place_of(take).calls
        for index in answered:
            if index not in given:
                return index
        if answered:
            times = format_count(len(answered), "time")
            self._problems[question.key] = (
                f"the trace has this request {times}, and the test sends it once more"
            )
        else:
            why = "; ".join(self.tape.calls[fitting[0]].missing) or "the call failed"
            self._problems[question.key] = (
                f"call {fitting[0] + 1} of the trace is this request, without an answer ({why})"
            )
        return None

    def _read_request(self, question: Question) -> Spelling:
        """Return a request as it is compared; without messages if it is not a request to a chat model."""
        known = self._requests.get(question.key)
        if known is not None:
            return known
        exchange = Exchange(
            method=question.method,
            url=question.url,
            request=_sent_body(question),
            status=None,
            content_type="",
            body=b"",
            latency_s=None,
            ttft_s=None,
            replayed=True,
            purpose="app",
        )
        call = read_call(exchange)
        spelled = Spelling()
        if call.messages and call.endpoint not in OTHER_ENDPOINTS:
            spelled = spell_request(self._clean(write_chat_request(call)))
        self._requests[question.key] = spelled
        return spelled

    def _encode(self, question: Question, call: TracedCall, answer: TracedAnswer) -> Answer | None:
        """Return an answer in the wire format of a request; None if it cannot be written in it."""
        try:
            encoded = encode_answer(question.url, as_mapping(_sent_body(question)), answer)
        except UnsupportedFormat as error:
            self._problems[question.key] = f"the trace has the answer, but {error}"
            return None
        self._response_ids.update(_RESPONSE_ID.findall(encoded.body))
        return Answer(encoded.status, encoded.headers, encoded.body, latency_s=call.latency_s)

    def is_rebuilt(self, response_id: object) -> bool:
        """Return whether an answer with this id was rebuilt from the trace, so that no server knows it."""
        return isinstance(response_id, str) and response_id.encode() in self._response_ids

    # Calls of tools

    def has_tool(self, question: Question, take: str) -> bool:
        """Return whether the trace has a result for a call of a tool that was not given yet."""
        return self._find_tool_index(question, take) is not None

    def _find_tool(self, question: Question, take: str) -> Answer | None:
        index = self._find_tool_index(question, take)
        if index is None:
            return None
        self._place_of(take).tools.add(index)
        result = self.tape.tools[index].result
        if question.method == FUNCTION_METHOD:
            return make_tool_answer({"result": _read_result(result)})
        content: dict[str, Any] = {"content": [{"type": "text", "text": result}], "isError": False}
        value = parse_json(result)
        if isinstance(value, dict):  # clients want it of a tool that has a schema for its result
            content["structuredContent"] = value
        return make_tool_answer({"result": content})

    def _find_tool_index(self, question: Question, take: str) -> int | None:
        """Return the index of the next call of a tool with these arguments; None without one."""
        if question.method not in TOOL_METHODS:
            return None
        given = self._place_of(take).tools
        arguments = self._clean(to_builtins(tool_arguments(question.json)))
        for index in self._list_tools(question):
            held = parse_json(self.tape.tools[index].arguments or "{}")
            if index not in given and _has_arguments(arguments, held):
                return index
        return None

    def _list_tools(self, question: Question) -> list[int]:
        """Return the indexes of the calls of the same tool."""
        name = tool_name(question.method, question.url, question.json)
        if question.url.startswith(f"{FUNCTION}:"):
            name = name.rpartition(".")[2]
        return [index for index, tool in enumerate(self.tape.tools) if _is_name(tool.name, name)]

    # For the report and the message of a miss

    def describe_use(self) -> str:
        """Return how many answers the test got from the trace."""
        calls = sum(len(place.calls) for place in self._places.values())
        tools = sum(len(place.tools) for place in self._places.values())
        text = f"replayed from a trace: {format_count(calls, 'answer')}"
        if tools:
            text += f" and {format_count(tools, 'result')} of tools"
        return f"{text}, rebuilt from {shorten_text(display_path(self.path), 200)}"

    def describe_miss(self, question: Question) -> list[str]:
        """Return lines for the message of a request that neither a recording nor the trace answers."""
        held = format_count(len(self.tape.calls), "call")
        lines = [f"  trace     {shorten_text(display_path(self.path), 200)}: {held} of models"]
        problem = self._problems.get(question.key, "")
        if problem:
            lines.append(f"  reason    {shorten_text(problem, 300)}")
        elif question.is_tool:
            lines.append(self._describe_tools(question))
        else:
            lines += self._describe_nearest(question)
        if self.tape.missing:
            lines.append(f"  lacks     {shorten_text('; '.join(self.tape.missing), 300)}")
        return lines

    def _describe_nearest(self, question: Question) -> list[str]:
        """Return the call of the trace with the most lines in common, and the lines that differ."""
        nearest = self._find_nearest(question)
        if nearest is None:
            return ["  reason    it is not a request to a chat model, or the trace has none"]
        index, known = nearest
        lines = [f"  nearest   call {index + 1} of the trace"]
        changed = diff_lines(_wrap(self._spelled[index]), _wrap(known))
        for sign, text in changed[:MAX_DIFF]:
            lines.append(f"    {sign} {shorten_text(text, WRAP_WIDTH + 40)}")
        if len(changed) > MAX_DIFF:
            lines.append(f"    and {len(changed) - MAX_DIFF} more lines differ")
        return lines

    def _find_nearest(self, question: Question) -> tuple[int, Spelling] | None:
        """Return the index of the call with the most lines in common, and the request as far as it is compared with that; None: it is not a chat."""
        asked = self._read_request(question)
        if not asked.messages or not self._spelled:
            return None
        wanted = Counter(asked.list_lines())

        def count_common(index: int) -> tuple[int, int]:
            lines = self._spelled[index].list_lines()
            return (wanted & Counter(lines)).total(), -abs(len(lines) - wanted.total())

        index = max(range(len(self._spelled)), key=count_common)
        return index, keep_compared(asked, self._spelled[index], has_parameters=self._has_parameters)

    def describe_change(self, question: Question) -> str:
        """Return in which parts a request differs from the nearest call of the trace, as in ``call 2 of the trace: system, temperature``."""
        nearest = self._find_nearest(question)
        if nearest is None:
            return describe_tool_question(question) if question.is_tool else "not in the trace"
        index, known = nearest
        before = self._spelled[index].list_lines()
        now = known.list_lines()
        changed = set(before) ^ set(now)
        parts = dict.fromkeys(line.partition(":")[0] for line in (*now, *before) if line in changed)
        names = [shorten_text(part, 60) for part in parts]
        return f"call {index + 1} of the trace: {', '.join(names[:MAX_LISTED]) or 'sent once more'}"

    def _describe_tools(self, question: Question) -> str:
        """Return with which arguments the trace has calls of the same tool."""
        if question.method not in TOOL_METHODS:
            return "  reason    a trace has calls of tools, not the handshake with their server: record it once (--llm-record=new), which calls no model"
        calls = [_format_tool(self.tape.tools[index]) for index in self._list_tools(question)]
        if not calls:
            return "  reason    the trace has no result of this tool"
        listed = ", ".join(calls[:MAX_LISTED])
        if len(calls) > MAX_LISTED:
            listed += f" and {len(calls) - MAX_LISTED} more"
        return f"  nearest   in the trace: {listed}"


def _sent_body(question: Question) -> object:
    """Return the body of a request with its folders, which a trace has too."""
    return question.json if question.sent_json is None else question.sent_json


def _wrap(spelling: Spelling) -> list[str]:
    """Return the lines of a request. A message of several lines gives several."""
    return [line for text in spelling.list_lines() for line in text.split("\n")]


def _is_name(held: str, name: str) -> bool:
    """Return whether the tool of a trace has this name, perhaps behind the name of its server, as in ``mcp__orders__refund``."""
    before = held.removesuffix(name)
    return held == name or (before != held and not before[-1:].isalnum())


def _has_arguments(given: object, held: object) -> bool:
    """Return whether a call has the arguments that the model gave; it may have more, which are defaults."""
    if not isinstance(given, dict) or not isinstance(held, dict):
        return given == held
    return all(name in given and given[name] == value for name, value in held.items())


def _read_result(text: str) -> Json:
    """Return the result of a function: the JSON value that the model got, else the text."""
    with suppress(ValueError):
        value = read_json(text)
        if not _has_marks(value):
            return value
    return text


def _has_marks(value: Json) -> bool:
    """Return whether a value has a key that a recording of a function would read as the mark of a type."""
    if isinstance(value, dict):
        return any(name.startswith("$") or _has_marks(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_has_marks, value))


def _format_tool(tool: TracedTool) -> str:
    return shorten_text(f"{tool.name}({tool.arguments})", 120)
