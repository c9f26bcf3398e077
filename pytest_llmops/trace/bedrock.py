"""Amazon Bedrock: converse, and the bodies of models that only Bedrock's ``invoke`` offers (Llama, Mistral, embeddings).

Converse counts tokens read from and written to the prompt cache beside ``inputTokens``; the input of a `Usage`
includes them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_text,
    as_texts,
    first_mapping,
    join_texts,
)
from pytest_llmops.protocols import ToolDefinition, Usage
from pytest_llmops.trace import fields

METRICS_KEY = "amazon-bedrock-invocationMetrics"
_CONVERSE_COUNT_KEYS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_METRICS_COUNT_KEYS = (
    "inputTokenCount",
    "outputTokenCount",
    "cacheReadInputTokenCount",
    "cacheWriteInputTokenCount",
)


def _read_converse_request(request: JsonObject) -> fields.ParsedRequest:
    messages = fields.system_message(
        "\n".join(map(_format_converse_block, as_mappings(request.get("system"))))
    )
    for message in as_mappings(request.get("messages")):
        messages += fields.split_messages(
            fields.as_role(message.get("role")),
            as_mappings(message.get("content")),
            _format_converse_result,
            _format_converse_block,
        )
    tools = [*_read_tool_specs(as_mapping(request.get("toolConfig")).get("tools"))]
    if request.get("promptVariables"):
        unread = ["a prompt kept by the server (promptVariables)"]
    else:
        unread = []
    return fields.ParsedRequest(messages, tools, unread)


def _read_converse_reply(reply: JsonObject) -> fields.ParsedReply:
    message = as_mapping(as_mapping(reply.get("output")).get("message"))
    blocks = as_mappings(message.get("content"))
    reasoning = [
        as_mapping(as_mapping(block.get("reasoningContent")).get("reasoningText")) for block in blocks
    ]
    tool_uses = [as_mapping(block.get("toolUse")) for block in blocks]
    counts = as_mapping(reply.get("usage"))
    cached = [item for item in as_mappings(counts.get("cacheDetails")) if item.get("ttl") == "1h"]
    one_hour_tokens = fields.sum_known_counts(
        *(fields.as_token_count(item.get("inputTokens")) for item in cached)
    )
    return fields.ParsedReply(
        output="".join(
            as_text(block.get("text"))
            or join_texts(as_mappings(as_mapping(block.get("citationsContent")).get("content")))
            for block in blocks
        ),
        thinking=join_texts(filter(None, reasoning), separator="\n"),
        tool_calls=[fields.read_tool_call(use, id_key="toolUseId") for use in tool_uses if use],
        finish_reason=as_text(reply.get("stopReason")),
        usage=fields.usage_with_cache(counts, *_CONVERSE_COUNT_KEYS)
        if counts
        else _read_invocation_metrics(reply),
        known=bool(message),
        priced={"cache_write_1h_tokens": one_hour_tokens} if one_hour_tokens else {},
    )


def _join_converse_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    blocks: dict[int, dict[str, Any]] = {}
    reply: dict[str, Any] = {}
    ended = False
    for event in events:
        start = as_mapping(event.get("contentBlockStart"))
        delta = as_mapping(event.get("contentBlockDelta"))
        stop = as_mapping(event.get("messageStop"))
        metadata = as_mapping(event.get("metadata"))
        if start:
            use = as_mapping(as_mapping(start.get("start")).get("toolUse"))
            number = fields.as_token_count(start.get("contentBlockIndex")) or 0
            blocks[number] = {"toolUse": {**use, "input": ""}} if use else {}
        if delta:
            block = blocks.setdefault(fields.as_token_count(delta.get("contentBlockIndex")) or 0, {})
            _append_converse_delta(block, as_mapping(delta.get("delta")))
        if stop:
            reply["stopReason"] = stop.get("stopReason")
        if metadata:
            reply["usage"] = metadata.get("usage")
        if METRICS_KEY in event:
            reply[METRICS_KEY] = event[METRICS_KEY]
        ended = ended or bool(metadata)
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = fields.normalize_arguments(block["toolUse"]["input"])
    if blocks or reply:
        reply["output"] = {"message": {"role": "assistant", "content": fields.join_blocks(blocks)}}
    return reply, ended


def _format_converse_result(block: JsonObject) -> str | None:
    result = block.get("toolResult")
    blocks = as_mappings(as_mapping(result).get("content"))
    if isinstance(result, dict):
        return "\n".join(map(_format_converse_block, blocks))
    return None


def _format_converse_block(block: JsonObject) -> str:
    if "text" in block:
        return as_text(block["text"])
    if "json" in block:
        return fields.arguments_json(block["json"])
    tool_use = block.get("toolUse")
    if isinstance(tool_use, dict):
        return fields.format_tool_call(fields.read_tool_call(tool_use))
    return (
        as_text(as_mapping(as_mapping(block.get("guardContent")).get("text")).get("text"))
        or f"[{next(iter(block), 'part')}]"
    )


def _read_tool_specs(tools: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(tools):
        tool = as_mapping(entry.get("toolSpec"))
        if tool:
            yield fields.tool_definition(
                as_text(tool.get("name")),
                tool.get("description"),
                as_mapping(tool.get("inputSchema")).get("json"),
            )
        elif isinstance(entry.get("systemTool"), dict):
            yield fields.tool_definition(as_text(entry["systemTool"].get("name")))


def _append_converse_delta(block: dict[str, Any], delta: JsonObject) -> None:
    if "text" in delta:
        block["text"] = as_text(block.get("text")) + as_text(delta["text"])
    tool_use = as_mapping(delta.get("toolUse"))
    if tool_use:
        block.setdefault("toolUse", {"input": ""})["input"] += as_text(tool_use.get("input"))
    thought = as_text(as_mapping(delta.get("reasoningContent")).get("text"))
    if thought:
        reasoning = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})
        reasoning["reasoningText"]["text"] += thought


def _read_invocation_metrics(reply: JsonObject) -> Usage:
    """Read the token counts that Bedrock adds to the end of a stream of any model."""
    return fields.usage_with_cache(as_mapping(reply.get(METRICS_KEY)), *_METRICS_COUNT_KEYS)


def _read_generation(reply: JsonObject) -> fields.ParsedReply:
    """Read the text of Llama or Mistral, which differ in their keys."""
    outputs = as_mappings(reply.get("outputs"))
    merged = {**reply, **first_mapping(outputs)}
    text = merged.get("text", merged.get("generation"))
    usage = Usage(
        input_tokens=fields.as_token_count(reply.get("prompt_token_count")),
        output_tokens=fields.as_token_count(reply.get("generation_token_count")),
    )
    return fields.ParsedReply(
        output=as_text(text),
        finish_reason=as_text(merged.get("stop_reason")),
        usage=usage if usage != Usage() else _read_invocation_metrics(reply),
        known=isinstance(text, str),
        unread=fields.describe_unread_answers(len(outputs)),
    )


def _join_generation(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    replies = [_read_generation(event) for event in events]
    keys = (METRICS_KEY, "prompt_token_count", "generation_token_count")
    joined = {key: event[key] for event in events for key in keys if event.get(key) is not None}
    reasons = [reply.finish_reason for reply in replies if reply.finish_reason]
    if reasons:
        joined |= {"stop_reason": reasons[-1]}
    else:
        joined |= {}
    if any(reply.known for reply in replies):
        joined["generation"] = "".join(reply.output for reply in replies)
    return joined, bool(reasons)


def _read_embedding_request(request: JsonObject) -> fields.ParsedRequest:
    params = as_mapping(request.get("singleEmbeddingParams"))
    contents = as_texts(request.get("inputText")) or as_texts(as_mapping(params.get("text")).get("value"))
    if request.get("inputImage") or params.get("image"):
        contents += ["[image]"]
    return fields.ParsedRequest(fields.user_messages(contents))


CONVERSE = fields.CallFormat(_read_converse_request, _read_converse_reply, _join_converse_events)
TEXT = fields.CallFormat(
    lambda request: fields.ParsedRequest(fields.user_messages(as_texts(request.get("prompt")))),
    _read_generation,
    _join_generation,
)
EMBEDDINGS = fields.CallFormat(
    _read_embedding_request,
    lambda reply: fields.embedding_reply(
        reply, Usage(input_tokens=fields.as_token_count(reply.get("inputTextTokenCount")))
    ),
)
