"""Amazon Bedrock: converse, and the bodies of models that only Bedrock's ``invoke`` offers (Llama, Mistral, embeddings).

The ``inputTokens`` of converse exclude tokens read from and written to the prompt cache; the input of a `Usage` includes them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mappings,
    as_texts,
    first_mapping,
    get_mapping,
    get_mappings,
    get_text,
    join_texts,
)
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.media_parts import read_media
from pytest_llmops.trace.wire_format import (
    CallFormat,
    Endpoint,
    JoinedReply,
    ParsedReply,
    ParsedRequest,
    WireFormat,
    bedrock_invoke,
    bedrock_path,
)

METRICS_KEY = "amazon-bedrock-invocationMetrics"
_CONVERSE_COUNT_KEYS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_METRICS_COUNT_KEYS = (
    "inputTokenCount",
    "outputTokenCount",
    "cacheReadInputTokenCount",
    "cacheWriteInputTokenCount",
)
_GENERATION_COUNT_KEYS = (METRICS_KEY, "prompt_token_count", "generation_token_count")


def _read_converse_request(request: JsonObject) -> ParsedRequest:
    """Read the system prompt, messages and tools of a request to converse."""
    system = _format_converse_blocks(get_mappings(request, "system"))
    messages = fields.system_message(system)
    for message in get_mappings(request, "messages"):
        role = fields.as_role(message.get("role"))
        blocks = get_mappings(message, "content")
        messages += fields.split_messages(
            role, blocks, _read_converse_result, _read_converse_call, _format_converse_block
        )
    tool_config = get_mapping(request, "toolConfig")
    tools = list(_read_tool_specs(tool_config.get("tools")))
    unread = []
    if request.get("promptVariables"):
        unread.append("a prompt kept by the server (promptVariables)")
    return ParsedRequest(messages, tools, unread)


def _read_converse_reply(reply: JsonObject) -> ParsedReply:
    """Read text, thinking and tool calls of a reply of converse, or of a Nova model by ``invoke``."""
    message = get_mapping(get_mapping(reply, "output"), "message")
    answer = ""
    thoughts = []
    calls = []
    for block in get_mappings(message, "content"):
        citations = get_mapping(block, "citationsContent")
        answer += get_text(block, "text") or join_texts(get_mappings(citations, "content"))
        reasoning = get_mapping(get_mapping(block, "reasoningContent"), "reasoningText")
        if reasoning:
            thoughts.append(reasoning)
        if get_mapping(block, "toolUse"):
            calls.append(_read_tool_use(block["toolUse"]))
    counts = get_mapping(reply, "usage")
    if counts:
        usage = fields.usage_with_cache(counts, *_CONVERSE_COUNT_KEYS)
    else:
        usage = _read_invocation_metrics(reply)
    return ParsedReply(
        output=answer,
        thinking=join_texts(thoughts, separator="\n"),
        tool_calls=calls,
        finish_reason=get_text(reply, "stopReason"),
        usage=usage,
        known=bool(message),
        priced=_read_one_hour_tokens(counts),
    )


def _read_one_hour_tokens(counts: JsonObject) -> dict[str, int]:
    """Return {"cache_write_1h_tokens": ...}, the tokens written to the one-hour cache, which has its own price; {} without any."""
    total = 0
    for detail in get_mappings(counts, "cacheDetails"):
        if detail.get("ttl") == "1h":
            total += fields.get_count(detail, "inputTokens") or 0
    if total:
        return {"cache_write_1h_tokens": total}
    return {}


def _join_converse_events(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the events of a stream of converse into a reply; the last one has the metadata."""
    blocks: dict[int, dict[str, Any]] = {}
    reply: dict[str, Any] = {}
    ended = False
    for event in events:
        start = get_mapping(event, "contentBlockStart")
        delta = get_mapping(event, "contentBlockDelta")
        stop = get_mapping(event, "messageStop")
        metadata = get_mapping(event, "metadata")
        if start:
            blocks[_block_number(start)] = _start_block(get_mapping(start, "start"))
        if delta:
            block = blocks.setdefault(_block_number(delta), {})
            _append_converse_delta(block, get_mapping(delta, "delta"))
        if stop:
            reply["stopReason"] = stop.get("stopReason")
        if metadata:
            reply["usage"] = metadata.get("usage")
            ended = True
        if METRICS_KEY in event:
            reply[METRICS_KEY] = event[METRICS_KEY]
    for block in blocks.values():
        if "toolUse" in block:
            tool_use = block["toolUse"]
            tool_use["input"] = fields.normalize_arguments(tool_use["input"])
    if blocks or reply:
        reply["output"] = {"message": {"role": "assistant", "content": fields.join_blocks(blocks)}}
    return reply, ended


def _block_number(event: JsonObject) -> int:
    return fields.get_count(event, "contentBlockIndex") or 0


def _start_block(start: JsonObject) -> dict[str, Any]:
    """Return the block that an event starts: a tool call with empty arguments, which later events append to, or an empty block."""
    tool_use = get_mapping(start, "toolUse")
    if tool_use:
        return {"toolUse": {**tool_use, "input": ""}}
    return {}


def _read_converse_result(block: JsonObject) -> Message | None:
    result = block.get("toolResult")
    if not isinstance(result, dict):
        return None
    text = _format_converse_blocks(get_mappings(result, "content"))
    is_error = result.get("status") == "error"
    return Message("tool", text, call_id=get_text(result, "toolUseId"), is_error=is_error)


def _read_converse_call(block: JsonObject) -> ToolCall | None:
    tool_use = block.get("toolUse")
    if not isinstance(tool_use, dict) or "text" in block or "json" in block:
        return None
    return _read_tool_use(tool_use)


def _read_tool_use(tool_use: JsonObject) -> ToolCall:
    return fields.read_tool_call(tool_use, id_key="toolUseId")


def _format_converse_blocks(blocks: Iterable[JsonObject]) -> str:
    return "\n".join(map(_format_converse_block, blocks))


def _format_converse_block(block: JsonObject) -> str:
    """Return the text of a block, or its JSON as text; of other blocks, the kind in brackets: "[image]"."""
    if "text" in block:
        return get_text(block, "text")
    if "json" in block:
        return fields.arguments_json(block["json"])
    guarded = get_mapping(get_mapping(block, "guardContent"), "text")
    media = read_media(block)
    if media is not None:
        return media.label
    kind = next(iter(block), "part")
    return get_text(guarded, "text") or f"[{kind}]"


def _read_tool_specs(tools: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(tools):
        tool = get_mapping(entry, "toolSpec")
        system_tool = entry.get("systemTool")
        if tool:
            schema = get_mapping(tool, "inputSchema").get("json")
            yield fields.tool_definition(get_text(tool, "name"), tool.get("description"), schema)
        elif isinstance(system_tool, dict):
            yield fields.tool_definition(get_text(system_tool, "name"))


def _append_converse_delta(block: dict[str, Any], delta: JsonObject) -> None:
    """Append a piece of text, of tool arguments or of reasoning to a block."""
    if "text" in delta:
        block["text"] = get_text(block, "text") + get_text(delta, "text")
    piece = get_mapping(delta, "toolUse")
    if piece:
        tool_use = block.setdefault("toolUse", {"input": ""})
        tool_use["input"] += get_text(piece, "input")
    thought = get_text(get_mapping(delta, "reasoningContent"), "text")
    if thought:
        reasoning = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})
        reasoning["reasoningText"]["text"] += thought


def _read_invocation_metrics(reply: JsonObject) -> Usage:
    """Read the token counts that Bedrock adds to the end of a stream of any model."""
    return fields.usage_with_cache(get_mapping(reply, METRICS_KEY), *_METRICS_COUNT_KEYS)


def _read_text_request(request: JsonObject) -> ParsedRequest:
    prompts = as_texts(request.get("prompt"))
    return ParsedRequest(fields.user_messages(prompts))


def _read_generation(reply: JsonObject) -> ParsedReply:
    """Read a reply of Llama (text under "generation") or Mistral (under "outputs", "text")."""
    outputs = get_mappings(reply, "outputs")
    merged = {**reply, **first_mapping(outputs)}
    text = merged.get("text", merged.get("generation"))
    usage = Usage(
        input_tokens=fields.get_count(reply, "prompt_token_count"),
        output_tokens=fields.get_count(reply, "generation_token_count"),
    )
    if usage == Usage():
        usage = _read_invocation_metrics(reply)
    return ParsedReply(
        output=text if isinstance(text, str) else "",
        finish_reason=get_text(merged, "stop_reason"),
        usage=usage,
        known=isinstance(text, str),
        unread=fields.describe_unread_answers(len(outputs)),
    )


def _join_generation(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the events of a stream of Llama or Mistral; the joined reply has the keys of Llama."""
    joined: dict[str, Any] = {}
    text = ""
    has_text = False
    finish_reason = ""
    for event in events:
        for key in _GENERATION_COUNT_KEYS:
            if event.get(key) is not None:
                joined[key] = event[key]
        piece = _read_generation(event)
        text += piece.output
        has_text = has_text or piece.known
        finish_reason = piece.finish_reason or finish_reason
    if finish_reason:
        joined["stop_reason"] = finish_reason
    if has_text:
        joined["generation"] = text
    return joined, bool(finish_reason)


def _read_embedding_request(request: JsonObject) -> ParsedRequest:
    params = get_mapping(request, "singleEmbeddingParams")
    nested = get_mapping(params, "text")
    contents = as_texts(request.get("inputText")) or as_texts(nested.get("value"))
    if request.get("inputImage") or params.get("image"):
        contents.append("[image]")
    return ParsedRequest(fields.user_messages(contents))


def _read_embedding_reply(reply: JsonObject) -> ParsedReply:
    usage = Usage(input_tokens=fields.get_count(reply, "inputTextTokenCount"))
    return fields.embedding_reply(reply, usage)


CONVERSE = CallFormat(_read_converse_request, _read_converse_reply, _join_converse_events)
TEXT = CallFormat(_read_text_request, _read_generation, _join_generation)
EMBEDDINGS = CallFormat(_read_embedding_request, _read_embedding_reply)
WIRE_FORMAT = WireFormat(
    [
        Endpoint("converse", bedrock_path("converse|converse-stream"), CONVERSE, is_priced_by_path=True),
        bedrock_invoke(
            "embeddings", EMBEDDINGS, models=["amazon.titan-embed", "amazon.nova-2-multimodal-embeddings"]
        ),
        bedrock_invoke("invoke", CONVERSE, models=["amazon.nova"]),
        bedrock_invoke("invoke", TEXT, without_keys=["messages"]),
    ],
    hosts={
        re.compile(
            r"\A(?:[a-z0-9-]+\.)*bedrock-(?:runtime|mantle)(?:-fips)?\.[a-z0-9-]+\."
            r"(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
        ): "bedrock",
    },
    on_other_hosts=True,
)
