"""Exports of traces: every convention gives the same conversation, and what is broken is never silent."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message
from support.shared import shared
from support.traces import ask

from pytest_llmops.cassettes.traces.answers import TraceAnswers
from pytest_llmops.errors import UsageError
from pytest_llmops.production import exported_traces, trace_tapes
from pytest_llmops.production.exported_traces import read_conversations
from pytest_llmops.production.review_queue import QueueEntry
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.trace.exported import messages as messages_module
from pytest_llmops.trace.exported import records as records_module

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather of a city", "parameters": SCHEMA},
}
ASKED: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is it warm in Łódź?"},
]
CALLING: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Łódź"}'}}
    ],
}
RESULT = {"role": "tool", "content": '{"celsius": 9}', "tool_call_id": "c1"}
ANSWER = {"role": "assistant", "content": "No, 9 °C."}
Json = dict[str, Any]
CALLS: list[tuple[list[Json], Json, tuple[int, int, int]]] = [
    (ASKED, CALLING, (50, 7, 0)),
    ([*ASKED, CALLING, RESULT], ANSWER, (70, 6, 40)),
]


def any_value(value: object) -> Json:
    """OTLP's AnyValue."""
    if isinstance(value, dict):
        return {
            "kvlistValue": {"values": [{"key": key, "value": any_value(item)} for key, item in value.items()]}
        }
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    return (
        {}
        if value is None
        else {"intValue": str(value)}
        if isinstance(value, int)
        else {"stringValue": value}
    )


def span(number: int, attributes: Mapping[str, object], **more: object) -> Json:
    start = 1_795_704_413_000_000_000 + number * 10**9
    return {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 250_000_000),
        "attributes": [{"key": key, "value": any_value(value)} for key, value in attributes.items()],
        **more,
    }


def parts(message: Json) -> Json:
    """A message of the current OpenTelemetry convention."""
    if message["role"] == "tool":
        given = [
            {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
        ]
    else:
        given = [{"type": "text", "content": message["content"]}]
    for call in message.get("tool_calls", ()):
        arguments = json.loads(call["function"]["arguments"])
        given.append({"type": "tool_call", "id": call["id"], "name": "weather", "arguments": arguments})
    return {"role": message["role"], "parts": given}


def flatten(value: object, prefix: str) -> dict[str, object]:
    """Dotted keys, as OpenInference and the older Traceloop have them."""
    if not isinstance(value, dict | list):
        return {prefix: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, item in pairs for name, leaf in flatten(item, f"{prefix}.{key}").items()}


def genai(messages: list[Json], answer: Json, tokens: tuple[int, ...]) -> dict[str, object]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.response.model": "gpt-4.1-mini",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": messages[0]["content"]}]),
        "gen_ai.input.messages": json.dumps([parts(message) for message in messages[1:]]),
        "gen_ai.output.messages": json.dumps([parts(answer)]),
        "gen_ai.tool.definitions": json.dumps([{"type": "function", **TOOL["function"]}]),
        **dict(zip(("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"), tokens, strict=False)),
        "gen_ai.usage.cache_read.input_tokens": tokens[2],
    }


def openinference(messages: list[Json], answer: Json, tokens: tuple[int, ...]) -> dict[str, object]:
    def wrap(message: Json) -> Json:
        calls = [{"tool_call": call} for call in message.get("tool_calls", ())]
        return {"message": {**message, **({"tool_calls": calls} if calls else {})}}

    counts = {"prompt": tokens[0], "completion": tokens[1], "prompt_details": {"cache_read": tokens[2]}}
    return {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4.1-mini",
        "input.value": "what the application got",
        **flatten([wrap(message) for message in messages], "llm.input_messages"),
        **flatten([wrap(answer)], "llm.output_messages"),
        **flatten([{"tool": {"json_schema": json.dumps(TOOL)}}], "llm.tools"),
        **flatten(counts, "llm.token_count"),
    }


def traceloop(messages: list[Json], answer: Json, tokens: tuple[int, ...]) -> dict[str, object]:
    def shorten(message: Json) -> Json:
        calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
        return {**message, **({"tool_calls": calls} if calls else {})}

    function = {**TOOL["function"], "parameters": json.dumps(SCHEMA)}
    return {
        "llm.request.type": "chat",
        "gen_ai.response.model": "gpt-4.1-mini",
        **flatten([shorten(message) for message in messages], "gen_ai.prompt"),
        **flatten([shorten(answer)], "gen_ai.completion"),
        **flatten([function], "llm.request.functions"),
        **dict(zip(("gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"), tokens, strict=False)),
        "gen_ai.usage.cache_read_input_tokens": tokens[2],
    }


def langfuse(messages: list[Json], answer: Json, tokens: tuple[int, ...]) -> dict[str, object]:
    details = {"cached_tokens": tokens[2]}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "prompt_tokens_details": details}
    output = (
        json.dumps(answer) if answer.get("tool_calls") else answer["content"]
    )  # a stream gives the bare text
    return {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-4.1-mini",
        "langfuse.observation.input": json.dumps({"tools": [TOOL], "messages": messages}),
        "langfuse.observation.output": output,
        "langfuse.observation.usage_details": json.dumps(usage),
    }


def otlp(*spans: Json) -> Json:
    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]
    }


def write(path: Path, *documents: object) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def read(*paths: Path) -> tuple[list[QueueEntry], Counter[str]]:
    counts: Counter[str] = Counter()
    return [conversation.entry for conversation in read_conversations(paths, counts)], counts


def spans_of(convention: Callable[..., Mapping[str, object]]) -> list[Json]:
    return [
        span(number, convention(messages, answer, tokens))
        for number, (messages, answer, tokens) in enumerate(CALLS)
    ]


def rows_of_langfuse() -> list[Json]:
    rows = []
    for number, (messages, answer, (sent, got, cached)) in enumerate(CALLS):
        usage = {"input": sent - cached, "input_cached_tokens": cached, "output": got, "total": sent + got}
        times = {
            "start_time": f"2026-11-02 08:14:5{number}.000000",
            "end_time": f"2026-11-02 08:14:5{number}.250000",
        }
        sent_texts = {
            "input": json.dumps({"tools": [TOOL], "messages": messages}),
            "output": json.dumps(answer),
        }
        row = {
            "id": f"{number}",
            "trace_id": "t",
            "type": "GENERATION",
            "provided_model_name": "gpt-4.1-mini",
        }
        rows.append({**row, **times, **sent_texts, "usage_details": usage})
    return rows


def spans_of_phoenix() -> list[Json]:
    spans = []
    for number, (messages, answer, tokens) in enumerate(CALLS):
        times = {
            "start_time": f"2026-11-02T08:14:5{number}+00:00",
            "end_time": f"2026-11-02T08:14:5{number}.250Z",
        }
        context = {"trace_id": "t", "span_id": f"s{number}"}
        attributes = openinference(messages, answer, tokens)
        spans.append(
            {"id": "U3Bhbjo0", "context": context, "span_kind": "LLM", "attributes": attributes, **times}
        )
    return spans


CONVENTIONS = {"genai": genai, "traceloop": traceloop}
FORMS: dict[str, Callable[[], list[object]]] = {
    "genai": lambda: [otlp(*spans_of(genai))],
    "genai by line, the later call first": lambda: [otlp(one_span) for one_span in spans_of(genai)[::-1]],
    "openinference": lambda: [otlp(*spans_of(openinference))],
    "traceloop": lambda: [otlp(*spans_of(traceloop))],
    "langfuse": lambda: [otlp(*spans_of(langfuse))],
    "langfuse rows": lambda: list(rows_of_langfuse()),
    "langfuse rows as a list": lambda: [rows_of_langfuse()],
    "phoenix": lambda: [{"data": spans_of_phoenix(), "next_cursor": None}],
    "all of them": lambda: [
        otlp(
            *(
                {**recorded_span, "spanId": f"{name}{at}"}
                for name in ("genai", "traceloop")
                for at, recorded_span in enumerate(spans_of(CONVENTIONS[name]))
            )
        )
    ],
}


def check_conversation(entry: QueueEntry) -> None:
    messages: Any = entry.messages
    assert entry.input == "Is it warm in Łódź?"
    assert entry.output == "No, 9 °C."
    assert [parse_arguments(message) for message in messages] == [
        parse_arguments(message) for message in [*ASKED, CALLING, RESULT]
    ]
    assert entry.data == {"tools": [TOOL]}
    calls: Any = entry.calls
    assert [call["usage"]["input_tokens"] for call in calls] == [50, 70]
    assert [call["usage"]["output_tokens"] for call in calls] == [7, 6]
    assert calls[1]["usage"]["cached_tokens"] == 40
    assert [call["latency_s"] for call in calls] == [0.25, 0.25]
    assert {call["model"] for call in calls} == {"gpt-4.1-mini"}
    assert calls[0]["tool_calls"][0]["name"] == "weather"


def parse_arguments(message: Json) -> Json:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "content": (message.get("content") or "").rstrip(), "tool_calls": calls}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_conversation(tmp_path: Path, form: str) -> None:
    (entry,), counts = read(write(tmp_path / "traces.jsonl", *FORMS[form]()))
    check_conversation(entry)
    assert not counts
    assert all(place["source"] == "traces.jsonl" and place["id"] and place["trace"] for place in entry.origin)
    assert len(entry.origin) == (2 if form == "all of them" else 1)


@pytest.mark.parametrize("logs_first", [True, False])
def test_messages_in_log_records_are_joined_with_their_spans(tmp_path: Path, logs_first: bool) -> None:
    events, spans = [], []
    for number, (messages, answer, tokens) in enumerate(CALLS):
        attributes = genai(messages, answer, tokens)
        del attributes["gen_ai.input.messages"], attributes["gen_ai.output.messages"]
        spans.append(span(number, attributes))
        where = {key: spans[-1][key] for key in ("traceId", "spanId")}
        for message in messages[1:]:
            body = {key: value for key, value in message.items() if key != "role"}
            event = {"event.name": f"gen_ai.{message['role']}.message"}
            events.append(
                {**where, "body": any_value(body), "attributes": any_value(event)["kvlistValue"]["values"]}
            )
        choice = {"index": 0, "finish_reason": "stop", "message": answer}
        events.append({**where, "body": any_value(choice), "eventName": "gen_ai.choice"})
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "a line"}}, *events]}]}]}
    files = [write(tmp_path / "traces.json", otlp(*spans)), write(tmp_path / "logs.json", logs)]
    (entry,), counts = read(*files[:: -1 if logs_first else 1])
    check_conversation(entry)
    assert not counts


def test_the_order_of_spans_does_not_matter(tmp_path: Path) -> None:
    spans = [
        *spans_of(genai),
        span(9, {"gen_ai.operation.name": "embeddings"}),
        span(10, {"http.method": "GET"}),
    ]
    lines = set()
    for seed in range(6):
        random.Random(seed).shuffle(spans)
        entries, counts = read(write(tmp_path / "traces.json", otlp(*spans)))
        lines.add("".join(entry.to_line() for entry in entries))
        assert not counts
    assert len(lines) == 1


def test_what_several_calls_continue_is_a_step_of_each(tmp_path: Path) -> None:
    def ask(*turns: Json) -> Mapping[str, object]:
        return genai(list(turns[:-1]), turns[-1], (1, 1, 0))

    start = (
        {"role": "system", "content": "s"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello "},
    )
    ends = [
        ({"role": "user", "content": text}, {"role": "assistant", "content": text.upper()}) for text in "ab"
    ]
    spans = [span(0, ask(*start)), *(span(at, ask(*start, *end)) for at, end in enumerate(ends, 1))]
    entries, _ = read(write(tmp_path / "traces.json", otlp(*spans)))
    assert [(entry.output, len(entry.calls)) for entry in entries] == [("A", 2), ("B", 2)]  # type: ignore[arg-type]
    messages: Any = entries[0].input
    assert [message["content"] for message in messages] == ["s", "Hi", "Hello ", "a"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    first, second = spans_of(genai)
    cut = genai(*CALLS[0][:2], (1, 1, 0))
    cut["gen_ai.output.messages"] = str(cut["gen_ai.output.messages"])[:-1]  # behind its last message
    empty = {"gen_ai.operation.name": "chat"}
    deep: object = "x"
    for _ in range(150):
        deep = [deep]
    strange = {**genai(*CALLS[0][:2], (1, 1, 0)), "gen_ai.tool.definitions": [{"parameters": deep}]}
    path = write(
        tmp_path / "traces.jsonl", otlp(first, second, second, span(5, cut), span(6, empty), span(7, strange))
    )
    raw = json.dumps(otlp(span(8, genai(*CALLS[0][:2], (1, 1, 0))))).replace("Be brief.", "@")
    path.write_bytes(path.read_bytes() + raw.encode().replace(b"@", b"\xe9") + b"\n" + raw.encode()[:500])
    (entry,), counts = read(path)
    check_conversation(entry)
    lines = [reason for reason in counts if reason.startswith("line 3 of traces.jsonl")]
    assert len(lines) == 1
    assert counts == {
        exported_traces.REPEATED: 1,
        messages_module.CUT: 1,
        exported_traces.NO_CONTENT: 1,
        exported_traces.UNREADABLE: 2,
        lines[0]: 1,
    }
    check_message(lines[0])


def test_missing_fields_are_no_error(tmp_path: Path) -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.prompt": "Hi", "gen_ai.completion": "[1] Hello"}
    bare = span(0, attributes)
    del bare["traceId"], bare["spanId"], bare["endTimeUnixNano"]
    (entry,), counts = read(write(tmp_path / "traces.json", otlp(bare)))
    assert (entry.input, entry.output, counts) == ("Hi", "[1] Hello", {})
    calls: Any = entry.calls
    (call,) = calls
    assert "latency_s" not in call
    assert "usage" not in call


def test_images_and_reasoning(tmp_path: Path) -> None:
    image = {"type": "uri", "uri": "https://example.com/a.png"}
    question = [{"role": "user", "parts": [{"type": "text", "content": "What is this?"}, image]}]
    answer = [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "A cat"}],
        }
    ]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": question,
        "gen_ai.output.messages": answer,
    }
    (entry,), _ = read(write(tmp_path / "traces.json", otlp(span(0, attributes))))
    assert (entry.input, entry.output) == (["What is this?", image], "A cat")


# Anthropic's blocks, as instrumentations write them
CLAUDE_TOOL = {"name": "weather", "description": "Weather of a city", "input_schema": SCHEMA}
CLAUDE_CALLING: list[Json] = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "text", "text": "I will look."},
    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Łódź"}},
]
CLAUDE_RESULT: list[Json] = [
    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": '{"celsius": 9}'}]}
]
CLAUDE_ANSWER: list[Json] = [{"type": "text", "text": "No, 9 °C."}]
CLAUDE_MESSAGES: list[Json] = [
    {"role": "user", "content": "Is it warm in Łódź?"},
    {"role": "assistant", "content": CLAUDE_CALLING},
    {"role": "user", "content": CLAUDE_RESULT},
]


def claude_openinference(messages: list[Json], answer: list[Json]) -> dict[str, object]:
    """Attributes of OpenInference: each tool call is in the message and among its contents; the system prompt is in two places."""

    def call_of(block: Json) -> Json:
        function = {"name": block["name"], "arguments": json.dumps(block["input"])}
        return {"tool_call": {"id": block["id"], "function": function}}

    def wrap(message: Json) -> Json:
        if isinstance(message["content"], str):
            return {"message": message}
        if message["content"][0]["type"] == "tool_result":
            block = message["content"][0]
            text = json.dumps(block["content"])
            return {"message": {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}}
        blocks = [block for block in message["content"] if block["type"] != "thinking"]
        calls = [call_of(block) for block in blocks if block["type"] == "tool_use"]
        contents = []
        for block in blocks:
            if block["type"] == "tool_use":
                contents.append({"message_content": {"type": "tool_use"}, **call_of(block)})
            else:
                contents.append({"message_content": block})
        return {"message": {"role": message["role"], "contents": contents, "tool_calls": calls}}

    system = {"role": "system", "content": "Be brief."}
    return {
        "openinference.span.kind": "LLM",
        "input.value": json.dumps({"system": "Be brief.", "messages": messages, "tools": [CLAUDE_TOOL]}),
        **flatten([wrap(message) for message in [system, *messages]], "llm.input_messages"),
        **flatten([wrap({"role": "assistant", "content": answer})], "llm.output_messages"),
        **flatten([{"tool": {"json_schema": json.dumps(CLAUDE_TOOL)}}], "llm.tools"),
    }


def claude_traceloop(messages: list[Json], answer: list[Json]) -> dict[str, object]:
    """Attributes of older versions of Traceloop: the blocks of a message are a JSON text."""
    texts = [{"role": "system", "content": "Be brief."}]
    for message in messages:
        content = message["content"]
        texts.append({**message, "content": content if isinstance(content, str) else json.dumps(content)})
    return {
        "llm.request.type": "chat",
        **flatten(texts, "gen_ai.prompt"),
        **flatten([{"role": "assistant", "content": json.dumps(answer)}], "gen_ai.completion"),
        **flatten([{**CLAUDE_TOOL, "input_schema": json.dumps(SCHEMA)}], "llm.request.functions"),
    }


def claude_rows(output: Callable[[list[Json]], object], name: str) -> list[object]:
    """Rows of a store, with the request as it is and the answer in one of several forms."""
    rows: list[object] = []
    for number, count in enumerate((1, 3)):
        request = {"system": "Be brief.", "messages": CLAUDE_MESSAGES[:count], "tools": [CLAUDE_TOOL]}
        answer = output((CLAUDE_CALLING, CLAUDE_ANSWER)[number])
        times = {"start_time": f"2026-11-02 08:14:5{number}", "end_time": f"2026-11-02 08:14:5{number}"}
        kinds: Json = {"input": json.dumps(request), "output": json.dumps(answer), "type": "GENERATION"}
        if name == "langsmith":
            system = {"role": "system", "content": "Be brief."}
            inputs = {**request, "messages": [system, *CLAUDE_MESSAGES[:count]]}
            kinds = {"inputs": inputs, "outputs": answer, "run_type": "llm"}
        rows.append({"id": f"{number}", "trace_id": "t", **times, **kinds})
    return rows


def claude_message(answer: list[Json]) -> Json:
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": answer}


CLAUDE_FORMS: dict[str, Callable[[], list[object]]] = {
    "openinference": lambda: [
        otlp(span(0, claude_openinference(CLAUDE_MESSAGES[:1], CLAUDE_CALLING))),
        otlp(span(1, claude_openinference(CLAUDE_MESSAGES, CLAUDE_ANSWER))),
    ],
    "traceloop": lambda: [
        otlp(span(0, claude_traceloop(CLAUDE_MESSAGES[:1], CLAUDE_CALLING))),
        otlp(span(1, claude_traceloop(CLAUDE_MESSAGES, CLAUDE_ANSWER))),
    ],
    "a row with the answer": lambda: claude_rows(claude_message, "langfuse"),
    "a row with the blocks of the answer": lambda: claude_rows(lambda answer: answer, "langfuse"),
    "langsmith": lambda: claude_rows(claude_message, "langsmith"),
}


@pytest.mark.parametrize("form", CLAUDE_FORMS)
def test_anthropic_blocks_keep_the_name_and_arguments_of_tools(tmp_path: Path, form: str) -> None:
    (entry,), counts = read(write(tmp_path / "traces.jsonl", *CLAUDE_FORMS[form]()))
    assert not counts
    messages: Any = entry.messages
    called = {**CALLING, "content": "I will look."}
    assert [parse_arguments(message) for message in messages] == [
        parse_arguments(message) for message in [*ASKED, called, RESULT]
    ]
    assert (entry.input, entry.output) == ("Is it warm in Łódź?", "No, 9 °C.")
    assert entry.data == {"tools": [TOOL]}
    calls: Any = entry.calls
    assert [(call["name"], json.loads(call["arguments"])) for call in calls[0]["tool_calls"]] == [
        ("weather", {"city": "Łódź"})
    ]


def responses_items() -> tuple[list[Json], list[Json]]:
    """The two outputs of a conversation with OpenAI's Responses, as items: text and a call, then the answer."""
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "weather",
        "arguments": '{"city": "Łódź"}',
    }
    items = []
    for text in ("I look.", "No, 9 °C."):
        part: Json = {"type": "output_text", "text": text, "annotations": []}
        items.append({"type": "message", "role": "assistant", "id": "m", "content": [part]})
    first, second = items
    return [first, call], [second]


def langfuse_responses() -> list[Json]:
    (first, call), last = responses_items()
    reasoning: Json = {"type": "reasoning", "id": "rs_1", "summary": []}
    result = {"type": "function_call_output", "call_id": "c1", "output": "9"}
    asked: list[Json] = [*ASKED]
    later = [*asked, reasoning, first, call, result]
    usage = json.dumps(
        {"input_tokens": 50, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 40}}
    )
    rows = []
    for number, (sent, output) in enumerate(((asked, [first, call]), (later, last[0]))):
        attributes = {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-4.1-mini",
            "langfuse.observation.input": json.dumps(
                {"input": sent, "tools": [{"type": "function", **TOOL["function"]}]}
            ),
            "langfuse.observation.output": json.dumps(output),
            "langfuse.observation.usage_details": usage,
        }
        rows.append(span(number, attributes))
    return rows


def openinference_responses(**more: str) -> list[Json]:
    """Each item is a message of its own, in the answer and in the next question."""
    text = {"message": {"role": "assistant", "content": "I look."}}
    function = {"name": "weather", "arguments": '{"city": "Łódź"}'}
    call = {
        "message": {"role": "assistant", "tool_calls": [{"tool_call": {"id": "c1", "function": function}}]}
    }
    result = {"message": {"role": "tool", "content": "9", "tool_call_id": "c1"}}
    asked = [{"message": message} for message in ASKED]
    last = {"message": {"role": "assistant", "content": "No, 9 °C."}}
    rows = []
    for number, (sent, output) in enumerate(((asked, [text, call]), ([*asked, text, call, result], [last]))):
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4.1-mini",
            **flatten(sent, "llm.input_messages"),
            **flatten(output, "llm.output_messages"),
            **more,
        }
        rows.append(span(number, attributes))
    return rows


@pytest.mark.parametrize("spans", [langfuse_responses, openinference_responses])
def test_the_items_of_a_response_are_one_answer(tmp_path: Path, spans: Callable[[], list[Json]]) -> None:
    (entry,), counts = read(write(tmp_path / "traces.jsonl", otlp(*spans())))
    assert not counts
    assert (entry.input, entry.output) == ("Is it warm in Łódź?", "No, 9 °C.")
    messages: Any = entry.messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2]["content"] == "I look."
    assert messages[2]["tool_calls"][0]["function"]["name"] == "weather"
    calls: Any = entry.calls
    assert calls[0]["output"] == "I look."
    assert calls[0]["tool_calls"] == [{"name": "weather", "arguments": '{"city": "Łódź"}', "id": "c1"}]
    if spans is langfuse_responses:
        assert calls[0]["usage"] == {"input_tokens": 50, "output_tokens": 7, "cached_tokens": 40}


@pytest.mark.parametrize("name", ["gen_ai.tool.definitions", "llm.tools.0.tool.json_schema"])
def test_cut_tools_are_left_out_not_their_conversation(tmp_path: Path, name: str) -> None:
    convention = genai if name.startswith("gen_ai") else openinference
    spans = []
    for number, (messages, answer, tokens) in enumerate(CALLS):
        attributes = {**convention(messages, answer, tokens), name: '{"type": "function", "func'}
        spans.append(span(number, attributes))
    (entry,), counts = read(write(tmp_path / "traces.jsonl", otlp(*spans)))
    assert entry.output == "No, 9 °C."
    assert entry.data == {}
    assert counts == {exported_traces.CUT_TOOLS: 2}


def test_of_several_answers_that_were_asked_for_the_first_is_taken(tmp_path: Path) -> None:
    first, _ = openinference_responses(**{"llm.invocation_parameters": '{"n": 2}'})
    (entry,), _ = read(write(tmp_path / "traces.jsonl", otlp(first)))
    assert entry.output == "I look."
    calls: Any = entry.calls
    assert "tool_calls" not in calls[0]


def test_parts_of_unknown_kinds_are_kept_as_json(tmp_path: Path) -> None:
    found = {"type": "web_search_tool_result", "content": [{"title": "Łódź"}]}
    question = [{"role": "user", "content": ["Look.", {"type": "memory", "key": "city"}]}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(question),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": [found, *CLAUDE_ANSWER]}]),
    }
    (entry,), _ = read(write(tmp_path / "traces.json", otlp(span(0, attributes))))
    assert entry.input == ["Look.", {"type": "memory", "key": "city"}]
    first_line, second_line = str(entry.output).split("\n")
    assert (json.loads(first_line), second_line) == (found, "No, 9 °C.")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_document_over_many_lines(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "CHUNK", 64)
    monkeypatch.setattr(records_module, "MAX_OBJECT", 4096)
    path = tmp_path / "traces.json"
    spans = [*(span(at, {"http.method": "GET"}) for at in range(100, 160)), *spans_of(genai)]
    text = json.dumps(otlp(*spans), indent=1).replace("\n", end)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    (entry,), counts = read(path)
    check_conversation(entry)
    assert not counts


@pytest.mark.parametrize("is_indented", [True, False])
def test_a_document_that_is_cut_anywhere_is_an_error(
    tmp_path: Path, is_indented: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "CHUNK", 64)
    monkeypatch.setattr(records_module, "MAX_OBJECT", 2048)
    path = tmp_path / "traces.json"
    text = json.dumps(otlp(*spans_of(traceloop)), indent=1 if is_indented else None)
    for end in range(1, len(text), 293):
        path.write_text(text[:end])
        with pytest.raises(UsageError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert " at character " in str(caught.value)
    check_message(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"data": ' * 50_000,
        b'{"resourceSpans": [' * 3_000,
        b'{"data": [1, 2}',
        b'{"data": [{"a": 1}]]',
        b'{"data": [{"a": tru}]}',
        '{"data": []}'.encode("utf-16"),
        b"\x1f\x8b\x08\x00gzip",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_hostile_files_are_errors(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "traces.json"
    path.write_bytes(text)
    with pytest.raises(UsageError, match="broken or cut JSON"):
        read(path)
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "missing.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "spans",
                        "attributes",
                        "key",
                        "value",
                        "stringValue",
                        "kvlistValue",
                        "values",
                        "body",
                        "role",
                        "parts",
                        "0",
                    ),
                    *(
                        "content",
                        "message",
                        "tool_calls",
                        "type",
                        "event.name",
                        "gen_ai.input.messages",
                        "gen_ai.prompt",
                    ),
                    *("gen_ai.prompt.0.role", "gen_ai.output.messages", "llm.tools"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                sorted({name[0] for names in trace_tapes.TAPE_FIELDS.values() for name in names})
            ),
            json_values,
        ),
        max_size=3,
    ),
    json_values,
)
def test_no_value_of_any_field_is_a_crash(rows: list[Json], value: object) -> None:
    path = Path(__file__).with_name("never-written")
    records = [
        {"type": "GENERATION", "input": "x", "output": "y", **row, "attributes": value} for row in rows
    ]
    counts: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exported_traces, "read_records", lambda *_: iter(json.loads(json.dumps(records))))
        conversations = list(read_conversations([path], counts))
        for conversation in conversations:
            conversation.entry.to_line()
        for tape in trace_tapes.read_tapes([path], conversations):
            if tape is None:
                continue
            with tempfile.TemporaryDirectory() as folder:
                written = Path(folder) / "tape.json"
                trace_tapes.write_tape(written, tape, Redactor())
                answers = TraceAnswers(written)
            calls = answers.tape.calls
            assert [len(call.messages) for call in calls] == [len(call.messages) for call in tape.calls]
            question = ask({"role": "user", "content": "x"})
            answers.find(question, "0")
            assert answers.describe_miss(question)


SAMPLES = (
    *(
        "genai_openai_span",
        "genai_openai_span_stream",
        "genai_openai_event",
        "openai_v2_latest",
        "openai_v2_legacy",
    ),
    *("openinference", "openinference_stream", "traceloop", "traceloop_stream", "traceloop_legacy"),
    *("langfuse", "langfuse_stream"),
)
EXPORTS = (
    "langfuse/observations_v2.jsonl",
    "phoenix/spans.json",
    "phoenix/spans_otlpv1.json",
    "phoenix/spans_dataframe.jsonl",
    "langsmith/runs.jsonl",
    "file_exporter.jsonl",
    "file_exporter_cut.jsonl",
)


@pytest.mark.parametrize("sample", [*SAMPLES, *EXPORTS])
def test_recorded_instrumentations_give_the_conversation_of_the_wire(sample: str) -> None:
    folder = shared("imports", "traces")
    wire = json.loads((folder / "wire.json").read_text())
    path = folder / sample
    files = (
        [path]
        if path.is_file()
        else [path / name for name in ("traces.json", "logs.json") if (path / name).exists()]
    )
    (entry,), counts = read(*files)
    assert len(counts) == (sample == "file_exporter_cut.jsonl")
    messages: Any = entry.messages
    request, response = wire[1]["request"]["body"], wire[1]["response"]["body"]
    assert [parse_arguments(message) for message in messages] == [
        parse_arguments(message) for message in request["messages"]
    ]
    assert entry.output.rstrip() == response["choices"][0]["message"]["content"]
    if not sample.startswith("openai_v2"):  # which does not record the tools
        assert entry.data["tools"] == request["tools"]
    calls: Any = entry.calls
    for call, exchange in zip(calls, wire, strict=True):
        usage = exchange["response"]["body"]["usage"]
        assert (call["usage"]["input_tokens"], call["usage"]["output_tokens"]) == (
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
        if call["usage"].get("cached_tokens") is not None:
            assert call["usage"]["cached_tokens"] == usage["prompt_tokens_details"]["cached_tokens"]
        assert call["model"].startswith("gpt-4.1-mini")


def test_spans_without_content_are_counted_not_imported() -> None:
    entries, counts = read(shared("imports", "traces") / "genai_openai_nocontent" / "traces.json")
    assert not entries
    assert counts == {exported_traces.NO_CONTENT: 2}
