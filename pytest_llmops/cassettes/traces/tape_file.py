"""The file of a trace tape: the model calls of a run in production, and the results of its tools, in no vendor's format.

A message or a tool definition that several calls share is in the file once; the calls have its index.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mappings, as_texts
from pytest_llmops._util.text_files import BadFile, as_mapping, canonical_json, read_json, read_text
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers import TracedAnswer

VERSION = "pytest-llmops/trace/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedCall:
    """A call of a model.

    Attributes:
        span: The id of its span.
        messages: In the format of OpenAI's chat completions.
        tools: The tools that were offered, in the same format; empty: the trace has none.
        request_model: The model in the request; empty: the trace only has the one that answered.
        model: The model that answered.
        parameters: Temperature and so on, by their names in the trace.
        answer: None: the trace does not hold it.
        missing: The parts of it that the trace does not hold.
    """

    span: str = ""
    provider: str = ""
    messages: Sequence[JsonObject] = ()
    tools: Sequence[JsonObject] = ()
    request_model: str = ""
    model: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    answer: TracedAnswer | None = None
    latency_s: float | None = None
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedTool:
    """A call of a tool, with its result as the model got it."""

    name: str
    arguments: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTape:
    """The calls of a run.

    Attributes:
        sources: The names of the exported files.
        calls: The calls of models, in the order in which they began.
        tools: The calls of tools whose result the trace holds.
        missing: The parts that the trace does not hold, in words.
    """

    sources: Sequence[str] = ()
    calls: Sequence[TracedCall] = ()
    tools: Sequence[TracedTool] = ()
    missing: Sequence[str] = ()


class _Shared:
    """Values of a file that are written once; each has an index."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._places_by_object: dict[int, int] = {}  # by the identity of a value that was added before
        self.values: list[JsonObject] = []

    def add(self, values: Sequence[JsonObject]) -> list[Json]:
        """Return the indexes of values; new ones are added."""
        indexes: list[Json] = []
        for value in values:
            place = self._places_by_object.get(id(value))
            if place is None:
                place = self._places.setdefault(canonical_json(dict(value)), len(self.values))
                self._places_by_object[id(value)] = place
            if place == len(self.values):
                self.values.append(value)
            indexes.append(place)
        return indexes


def format_tape(tape: TraceTape) -> dict[str, Any]:
    """Return a tape as the JSON of its file; unknown values are left out."""
    messages = _Shared()
    definitions = _Shared()
    calls = []
    for call in tape.calls:
        written = {
            "span": call.span,
            "provider": call.provider,
            "messages": messages.add(call.messages),
            "tools": definitions.add(call.tools),
            "request_model": call.request_model,
            "model": call.model,
            "parameters": dict(call.parameters),
            "answer": _format_answer(call.answer),
            "latency_s": call.latency_s,
            "missing": list(call.missing),
        }
        calls.append(_drop_empty(written))
    document = {
        "sources": list(tape.sources),
        "messages": messages.values,
        "definitions": definitions.values,
        "calls": calls,
        "tools": [asdict(tool) for tool in tape.tools],
        "missing": list(tape.missing),
    }
    return {"version": VERSION, **_drop_empty(document)}


def _format_answer(answer: TracedAnswer | None) -> dict[str, Any] | None:
    """Return an answer as JSON; an empty text stays, as it shows that there was an answer."""
    if answer is None:
        return None
    counts = {name: count for name, count in asdict(answer.usage).items() if count is not None}
    more = {
        "tool_calls": [asdict(call) for call in answer.tool_calls],
        "finish_reason": answer.finish_reason,
        "usage": counts,
    }
    return {"text": answer.text, **_drop_empty(more)}


def _drop_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def read_tape(path: Path) -> TraceTape:
    """Read the file of a trace tape.

    Raises:
        CassetteError: It is missing, or not a trace tape.
    """
    try:
        document = as_mapping(read_json(read_text(path)))
        version = document.get("version")
        if version != VERSION:
            got = shorten_text(json.dumps(version), 60)
            raise BadFile(f'expected "version": "{VERSION}", got {got}')  # noqa: TRY301 -- gets the path
        return _parse_tape(document)
    except BadFile as error:
        what = error.what
        place = f"{path}:{error.line}" if error.line else str(path)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"damaged ({type(error).__name__}: {shorten_text(str(error), 100)})"
        place = str(path)
    step = "take the file from git, or write it again with llmops cases from-traces --cassette"
    raise CassetteError(f"trace tape {place}: {what}; {step}")


def _parse_tape(document: Mapping[str, Any]) -> TraceTape:
    """Return the tape of a file.

    Raises:
        LookupError, TypeError, ValueError or AttributeError: A value is of the wrong type, or an index is too high.
    """
    messages = as_mappings(document.get("messages"))
    definitions = as_mappings(document.get("definitions"))
    calls = []
    for written in document.get("calls", ()):
        calls.append(_parse_call(written, messages, definitions))
    return TraceTape(
        sources=as_texts(document.get("sources", [])),
        calls=calls,
        tools=[TracedTool(**_check_texts(tool)) for tool in document.get("tools", ())],
        missing=as_texts(document.get("missing", [])),
    )


def _parse_call(
    written: JsonObject, messages: Sequence[JsonObject], definitions: Sequence[JsonObject]
) -> TracedCall:
    """Return a call of a file; see `_parse_tape` for the errors."""
    model = str(written.get("model", ""))
    answer = None
    if "answer" in written:
        given = written["answer"]
        texts = _check_texts({"text": given["text"], "finish_reason": given.get("finish_reason", "")})
        answer = TracedAnswer(
            **texts,
            tool_calls=tuple(ToolCall(**_check_texts(call)) for call in given.get("tool_calls", ())),
            usage=Usage(**given.get("usage", {})),
            model=model or str(written.get("request_model", "")),
        )
    return TracedCall(
        span=str(written.get("span", "")),
        provider=str(written.get("provider", "")),
        messages=_pick_values(messages, written.get("messages", ())),
        tools=_pick_values(definitions, written.get("tools", ())),
        request_model=str(written.get("request_model", "")),
        model=model,
        parameters=dict(written.get("parameters", {})),
        answer=answer,
        latency_s=written.get("latency_s"),
        missing=as_texts(written.get("missing", [])),
    )


def _pick_values(values: Sequence[JsonObject], indexes: Sequence[int]) -> list[JsonObject]:
    """Return the values of a file with these indexes, of which none is negative."""
    if any(isinstance(index, bool) or index < 0 for index in indexes):
        raise ValueError(f"expected indexes from 0 to {len(values) - 1}, got {list(indexes)}")
    return [values[index] for index in indexes]


def _check_texts(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object of a file whose values are all texts."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name}: expected a text, got {json.dumps(value)}")
    return values
