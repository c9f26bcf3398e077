"""Amazon Bedrock: converse, and the bodies of models that only Bedrock's ``invoke`` asks.

Converse counts what was read from the prompt cache and what was written to it beside ``inputTokens``;
here, as everywhere, the input is all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, Role, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace.fields import (
    CallFormat,
    JsonObject,
    ParsedReply,
    ParsedRequest,
    arguments_json,
    as_mapping,
    as_mappings,
    as_role,
    as_text,
    as_texts,
    as_token_count,
    describe_unread_answers,
    describe_vectors,
    first_mapping,
    format_tool_call,
    normalize_arguments,
    not_streamed,
    sum_known_counts,
    tool_definition,
)

METRICS_KEY = "amazon-bedrock-invocationMetrics"


def _read_converse_request(request: JsonObject) -> ParsedRequest:
    system = "\n".join(map(_format_converse_block, as_mappings(request.get("system"))))
    messages = [Message("system", system)] if system else []
    for message in as_mappings(request.get("messages")):
        messages += _read_converse_messages(as_role(message.get("role")), as_mappings(message.get("content")))
    tools = [*_read_converse_tools(as_mapping(request.get("toolConfig")).get("tools"))]
    unread = ["a prompt kept by the server (promptVariables)"] if request.get("promptVariables") else []
    return ParsedRequest(messages, tools, "", unread)


def _read_converse_messages(sender: Role, blocks: Sequence[JsonObject]) -> Iterator[Message]:
    lines = []
    for block in blocks:
        result = block.get("toolResult")
        if isinstance(result, dict):
            yield Message("tool", "\n".join(map(_format_converse_block, as_mappings(result.get("content")))))
        else:
            lines.append(_format_converse_block(block))
    if lines:
        yield Message(sender, "\n".join(lines))


def _format_converse_block(block: JsonObject) -> str:
    if "text" in block:
        return as_text(block["text"])
    if "json" in block:
        return arguments_json(block["json"])
    use = block.get("toolUse")
    if isinstance(use, dict):
        return format_tool_call(as_text(use.get("name")), arguments_json(use.get("input")))
    guarded = as_text(as_mapping(as_mapping(block.get("guardContent")).get("text")).get("text"))
    return guarded or f"[{next(iter(block), 'part')}]"


def _read_converse_tools(value: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(value):
        spec = as_mapping(entry.get("toolSpec"))
        if spec:
            schema = as_mapping(spec.get("inputSchema")).get("json")
            yield tool_definition(as_text(spec.get("name")), spec.get("description"), schema)
        elif isinstance(entry.get("systemTool"), dict):
            yield tool_definition(as_text(entry["systemTool"].get("name")))


def _read_converse_reply(reply: JsonObject) -> ParsedReply:
    message = as_mapping(as_mapping(reply.get("output")).get("message"))
    blocks = as_mappings(message.get("content"))
    thought = [as_mapping(as_mapping(item.get("reasoningContent")).get("reasoningText")) for item in blocks]
    uses = [as_mapping(item.get("toolUse")) for item in blocks]
    counts = as_mapping(reply.get("usage"))
    one_hour_counts = [
        item.get("inputTokens") for item in as_mappings(counts.get("cacheDetails")) if item.get("ttl") == "1h"
    ]
    one_hour_tokens = sum_known_counts(*map(as_token_count, one_hour_counts))
    return ParsedReply(
        output="".join(map(_block_text, blocks)),
        thinking="\n".join(as_text(item.get("text")) for item in thought if item),
        tool_calls=[
            ToolCall(
                name=as_text(item.get("name")),
                arguments=arguments_json(item.get("input")),
                id=as_text(item.get("toolUseId")),
            )
            for item in uses
            if item
        ],
        finish_reason=as_text(reply.get("stopReason")),
        usage=read_converse_usage(counts) if counts else _read_invocation_metrics(reply),
        known=bool(message),
        priced={"cache_write_1h_tokens": one_hour_tokens} if one_hour_tokens else {},
    )


def _block_text(block: JsonObject) -> str:
    cited = as_mapping(block.get("citationsContent")).get("content")
    return as_text(block.get("text")) or "".join(as_text(part.get("text")) for part in as_mappings(cited))


def read_converse_usage(wire: JsonObject) -> Usage:
    """Read the token counts of a converse reply."""
    cache_read, cache_written = (
        as_token_count(wire.get("cacheReadInputTokens")),
        as_token_count(wire.get("cacheWriteInputTokens")),
    )
    return Usage(
        input_tokens=sum_known_counts(as_token_count(wire.get("inputTokens")), cache_read, cache_written),
        output_tokens=as_token_count(wire.get("outputTokens")),
        cached_tokens=cache_read,
        cache_write_tokens=cache_written,
    )


def _read_invocation_metrics(reply: JsonObject) -> Usage:
    """What Bedrock counts at the end of a stream, whichever model answered."""
    wire = as_mapping(reply.get(METRICS_KEY))
    cache_read, cache_written = (
        as_token_count(wire.get("cacheReadInputTokenCount")),
        as_token_count(wire.get("cacheWriteInputTokenCount")),
    )
    return Usage(
        input_tokens=sum_known_counts(as_token_count(wire.get("inputTokenCount")), cache_read, cache_written),
        output_tokens=as_token_count(wire.get("outputTokenCount")),
        cached_tokens=cache_read,
        cache_write_tokens=cache_written,
    )


def _join_converse_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    blocks: dict[int, dict[str, Any]] = {}
    reply: dict[str, Any] = {}
    ended = False
    for event in events:
        start, piece = as_mapping(event.get("contentBlockStart")), as_mapping(event.get("contentBlockDelta"))
        stop, metadata = as_mapping(event.get("messageStop")), as_mapping(event.get("metadata"))
        if start:
            use = as_mapping(as_mapping(start.get("start")).get("toolUse"))
            blocks[as_token_count(start.get("contentBlockIndex")) or 0] = (
                {"toolUse": {**use, "input": ""}} if use else {}
            )
        if piece:
            _append_converse_delta(
                blocks.setdefault(as_token_count(piece.get("contentBlockIndex")) or 0, {}),
                as_mapping(piece.get("delta")),
            )
        if stop:
            reply["stopReason"] = stop.get("stopReason")
        if metadata:
            reply["usage"] = metadata.get("usage")
        if METRICS_KEY in event:
            reply[METRICS_KEY] = event[METRICS_KEY]
        ended = ended or bool(metadata)
    if blocks or reply:
        contents = [_parse_tool_input(block) for _, block in sorted(blocks.items())]
        reply["output"] = {"message": {"role": "assistant", "content": contents}}
    return reply, ended


def _append_converse_delta(block: dict[str, Any], delta: JsonObject) -> None:
    if "text" in delta:
        block["text"] = as_text(block.get("text")) + as_text(delta["text"])
    use = as_mapping(delta.get("toolUse"))
    if use:
        so_far = block.setdefault("toolUse", {"input": ""})
        so_far["input"] += as_text(use.get("input"))
    thought = as_text(as_mapping(delta.get("reasoningContent")).get("text"))
    if thought:
        block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]["text"] += (
            thought
        )


def _parse_tool_input(block: dict[str, Any]) -> dict[str, Any]:
    use = block.get("toolUse")
    return {**block, "toolUse": {**use, "input": normalize_arguments(use["input"])}} if use else block


def _read_invoke_prompt(request: JsonObject) -> ParsedRequest:
    system = as_text(request.get("system"))
    messages = [Message("system", system)] if system else []
    prompt = as_text(request.get("prompt")) or as_text(request.get("inputText"))
    return ParsedRequest([*messages, Message("user", prompt)] if prompt else messages)


_RESULT_LIST_KEYS = ("results", "outputs", "generations", "completions")
_OUTPUT_TEXT_KEYS = ("generation", "completion", "outputText", "text")
_STOP_REASON_KEYS = ("stop_reason", "completionReason", "finish_reason", "finishReason")


def _read_invoke_text(reply: JsonObject) -> ParsedReply:
    """The texts of Titan, Llama, Mistral, Jurassic and older models, each in a shape of its own."""
    results = next((as_mappings(reply[key]) for key in _RESULT_LIST_KEYS if as_mappings(reply.get(key))), [])
    fields = {**reply, **first_mapping(results), **as_mapping(first_mapping(results).get("data"))}
    text_key = next((key for key in _OUTPUT_TEXT_KEYS if isinstance(fields.get(key), str)), "")
    reason = next((fields[key] for key in _STOP_REASON_KEYS if fields.get(key)), "")
    input_tokens = as_token_count(reply.get("prompt_token_count", reply.get("inputTextTokenCount")))
    output_tokens = as_token_count(fields.get("generation_token_count", fields.get("tokenCount")))
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return ParsedReply(
        output=as_text(fields.get(text_key)),
        finish_reason=as_text(reason) or as_text(as_mapping(reason).get("reason")),
        usage=usage if usage != Usage() else _read_invocation_metrics(reply),
        known=bool(text_key),
        unread=describe_unread_answers(len(results), "answer"),
    )


def _join_invoke_chunks(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    joined: dict[str, Any] = {}
    replies = [_read_invoke_text(event) for event in events]
    for event, reply in zip(events, replies, strict=True):
        if reply.finish_reason:
            joined["stop_reason"] = reply.finish_reason
        for key in (METRICS_KEY, "prompt_token_count", "inputTextTokenCount", "generation_token_count"):
            joined |= {key: event[key]} if event.get(key) is not None else {}
        output = as_token_count(event.get("totalOutputTextTokenCount"))
        joined |= {"tokenCount": output} if output is not None else {}
    if any(reply.known for reply in replies):
        joined["generation"] = "".join(reply.output for reply in replies)
    return joined, "stop_reason" in joined


def _read_titan_embed_request(request: JsonObject) -> ParsedRequest:
    params = as_mapping(request.get("singleEmbeddingParams"))
    contents = as_texts(request.get("inputText")) or as_texts(as_mapping(params.get("text")).get("value"))
    contents += ["[image]"] if request.get("inputImage") or params.get("image") else []
    return ParsedRequest([Message("user", content) for content in contents])


def _read_titan_embeddings(reply: JsonObject) -> ParsedReply:
    embeddings = reply.get("embeddings", [reply["embedding"]] if "embedding" in reply else None)
    return ParsedReply(
        output=describe_vectors(embeddings),
        usage=Usage(input_tokens=as_token_count(reply.get("inputTextTokenCount"))),
        known=isinstance(embeddings, list),
    )


CONVERSE = CallFormat(_read_converse_request, _read_converse_reply, _join_converse_events)
TEXT = CallFormat(_read_invoke_prompt, _read_invoke_text, _join_invoke_chunks)
EMBEDDINGS = CallFormat(_read_titan_embed_request, _read_titan_embeddings, not_streamed)
