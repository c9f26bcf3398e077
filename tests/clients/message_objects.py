"""Trajectories of objects that SDKs give, printed as JSON: ``python -m clients.message_objects``."""

from __future__ import annotations

import json
from typing import Any

from pytest_llmops.agents import read_trajectory

ARGUMENTS = {"order_id": "B-77"}
TEXT = json.dumps(ARGUMENTS)


def read_openai_chat() -> Any:
    from openai.types.chat import ChatCompletion, ChatCompletionMessage

    call = {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": TEXT}}
    choice = {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    completion = ChatCompletion.model_validate(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
    )
    done = ChatCompletionMessage(role="assistant", content="On its way.")
    result = {"role": "tool", "tool_call_id": "c1", "content": "sent"}
    return read_trajectory([{"role": "user", "content": "Where?"}, completion, result, done])


def read_openai_responses() -> Any:
    from openai.types.responses import Response

    thought = {"type": "reasoning", "id": "rs", "summary": []}
    call = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "get_order", "arguments": TEXT}
    search = {
        "type": "web_search_call",
        "id": "ws",
        "status": "completed",
        "action": {"type": "search", "query": "Rome"},
    }
    usage = {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    response = Response.model_validate(
        {
            "id": "r",
            "object": "response",
            "created_at": 1,
            "model": "m",
            "output": [thought, search, call],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }
    )
    whole = read_trajectory(response)
    assert whole.tokens == 10
    items: list[Any] = [{"role": "user", "content": "Where?"}, *response.output]
    items.append({"type": "function_call_output", "call_id": "c1", "output": "sent"})
    trajectory = read_trajectory(items)
    assert [str(call) for call in trajectory.tool_calls] == [str(call) for call in whole.tool_calls]
    return trajectory


def read_anthropic() -> Any:
    from anthropic.types import Message

    message = Message.model_validate(
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "Rome"}},
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "s1",
                    "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
                },
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "c1", "name": "get_order", "input": ARGUMENTS},
            ],
            "usage": {"input_tokens": 7, "output_tokens": 3},
        }
    )
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sent"}]}
    return read_trajectory([{"role": "user", "content": "Where?"}, message, result])


def read_gemini() -> Any:
    from google.genai import types

    response = types.GenerateContentResponse.model_validate(
        {
            "candidates": [
                {
                    "content": {
                        "role": "model",
                        "parts": [{"functionCall": {"name": "get_order", "args": ARGUMENTS}}],
                    }
                }
            ],
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
        }
    )
    assert read_trajectory(response).tokens == 10
    assert response.candidates is not None
    asked = types.Content(role="user", parts=[types.Part(text="Where?")])
    result = types.Content(
        role="user", parts=[types.Part.from_function_response(name="get_order", response={"result": "sent"})]
    )
    return read_trajectory([asked, response.candidates[0].content, result])


def read_langchain() -> Any:
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_to_dict

    call: Any = {"name": "get_order", "args": ARGUMENTS, "id": "c1"}
    invalid: Any = {"name": "refund", "args": "{", "id": "c2", "error": "not JSON"}
    usage: Any = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    messages: Any = [
        HumanMessage("Where?"),
        AIMessage("", tool_calls=[call], invalid_tool_calls=[invalid], usage_metadata=usage),
        ToolMessage("sent", tool_call_id="c1"),
        ToolMessage("bad arguments", tool_call_id="c2", status="error"),
    ]
    trajectory = read_trajectory(messages_to_dict(messages))
    assert trajectory.tool_calls == read_trajectory(messages).tool_calls
    return trajectory


def read_spans() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    part = {"type": "tool_call", "id": "c1", "name": "get_order", "arguments": ARGUMENTS}
    output = json.dumps([{"role": "assistant", "parts": [part], "finish_reason": "tool_call"}])
    given = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Where?"}]}])
    with tracer.start_as_current_span(
        "invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk"}
    ):
        attributes: Any = {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": given,
            "gen_ai.output.messages": output,
        }
        attributes |= {
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.response.finish_reasons": ["tool_call"],
        }
        with tracer.start_as_current_span("chat m", attributes=attributes):
            pass
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_order",
            "gen_ai.tool.call.id": "c1",
            "gen_ai.tool.call.result": "sent",
        }
        with tracer.start_as_current_span("execute_tool get_order", attributes=attributes):
            inner = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
            with tracer.start_as_current_span("invoke_agent", attributes=inner):
                answer = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "sent"}]}])
                with tracer.start_as_current_span(
                    "chat m", attributes={"gen_ai.operation.name": "chat", "gen_ai.output.messages": answer}
                ):
                    pass
    spans = exporter.get_finished_spans()
    trajectory = read_trajectory(spans)
    (call,) = trajectory.tool_calls
    assert call.latency_s is not None
    assert call.started is not None
    assert (call.started.agent, call.started.answer) == ("clerk", "sent")
    assert trajectory.agent == "desk"
    assert len(read_trajectory([json.loads(span.to_json()) for span in spans]).tool_calls) == 1
    return trajectory


READERS = {
    "openai": read_openai_chat,
    "responses": read_openai_responses,
    "anthropic": read_anthropic,
    "gemini": read_gemini,
    "langchain": read_langchain,
    "spans": read_spans,
}

if __name__ == "__main__":
    print(json.dumps({name: read().to_wire() for name, read in READERS.items()}))
