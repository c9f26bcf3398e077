"""Amazon Bedrock: converse, and the bodies of models that only Bedrock's ``invoke`` offers.

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
from pytest_llmops.trace.fields import CallFormat, ParsedReply, ParsedRequest

METRICS_KEY = "amazon-bedrock-invocationMetrics"
_CONVERSE_COUNT_KEYS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_METRICS_COUNT_KEYS = (
    "inputTokenCount",
    "outputTokenCount",
    "cacheReadInputTokenCount",
    "cacheWriteInputTokenCount",
)


class _ConverseFormat(CallFormat):
    def read_request(self, request: JsonObject) -> ParsedRequest:
        messages = fields.system_message(
            "\n".join(map(_format_converse_block, as_mappings(request.get("system"))))
        )
        for message in as_mappings(request.get("messages")):
            blocks = as_mappings(message.get("content"))
            messages += fields.split_messages(
                fields.as_role(message.get("role")), blocks, _format_converse_result, _format_converse_block
            )
        tools = [*_read_tool_specs(as_mapping(request.get("toolConfig")).get("tools"))]
        unread = ["a prompt kept by the server (promptVariables)"] if request.get("promptVariables") else []
        return ParsedRequest(messages, tools, unread)

    def read_reply(self, reply: JsonObject) -> ParsedReply:
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
        return ParsedReply(
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

    def join_events(self, events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
        blocks: dict[int, dict[str, Any]] = {}
        reply: dict[str, Any] = {}
        ended = False
        for event in events:
            start, delta = (
                as_mapping(event.get("contentBlockStart")),
                as_mapping(event.get("contentBlockDelta")),
            )
            stop, metadata = as_mapping(event.get("messageStop")), as_mapping(event.get("metadata"))
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
    return "\n".join(map(_format_converse_block, blocks)) if isinstance(result, dict) else None


def _format_converse_block(block: JsonObject) -> str:
    if "text" in block:
        return as_text(block["text"])
    if "json" in block:
        return fields.arguments_json(block["json"])
    tool_use = block.get("toolUse")
    if isinstance(tool_use, dict):
        return fields.format_tool_call(fields.read_tool_call(tool_use))
    guarded = as_text(as_mapping(as_mapping(block.get("guardContent")).get("text")).get("text"))
    return guarded or f"[{next(iter(block), 'part')}]"


def _read_tool_specs(tools: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(tools):
        tool = as_mapping(entry.get("toolSpec"))
        if tool:
            schema = as_mapping(tool.get("inputSchema")).get("json")
            yield fields.tool_definition(as_text(tool.get("name")), tool.get("description"), schema)
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
    # Read the token counts that Bedrock adds to the end of a stream of any model.
    return fields.usage_with_cache(as_mapping(reply.get(METRICS_KEY)), *_METRICS_COUNT_KEYS)


_RESULT_LIST_KEYS = ("results", "outputs", "generations", "completions")
_OUTPUT_TEXT_KEYS = ("generation", "completion", "outputText", "text")
_STOP_REASON_KEYS = ("stop_reason", "completionReason", "finish_reason", "finishReason")


class _InvokeTextFormat(CallFormat):
    """Texts of Titan, Llama, Mistral, Jurassic and older models, which differ in their keys."""

    def read_request(self, request: JsonObject) -> ParsedRequest:
        messages = fields.system_message(as_text(request.get("system")))
        prompt = as_text(request.get("prompt")) or as_text(request.get("inputText"))
        return ParsedRequest([*messages, *fields.user_messages([prompt] if prompt else [])])

    def read_reply(self, reply: JsonObject) -> ParsedReply:
        results = next(
            (as_mappings(reply[key]) for key in _RESULT_LIST_KEYS if as_mappings(reply.get(key))), []
        )
        first = first_mapping(results)
        merged = {**reply, **first, **as_mapping(first.get("data"))}
        text_key = next((key for key in _OUTPUT_TEXT_KEYS if isinstance(merged.get(key), str)), "")
        reason = next((merged[key] for key in _STOP_REASON_KEYS if merged.get(key)), "")
        usage = Usage(
            input_tokens=fields.as_token_count(
                reply.get("prompt_token_count", reply.get("inputTextTokenCount"))
            ),
            output_tokens=fields.as_token_count(
                merged.get("generation_token_count", merged.get("tokenCount"))
            ),
        )
        return ParsedReply(
            output=as_text(merged.get(text_key)),
            finish_reason=as_text(reason) or as_text(as_mapping(reason).get("reason")),
            usage=usage if usage != Usage() else _read_invocation_metrics(reply),
            known=bool(text_key),
            unread=fields.describe_unread_answers(len(results)),
        )

    def join_events(self, events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
        joined: dict[str, Any] = {}
        replies = [self.read_reply(event) for event in events]
        for event, reply in zip(events, replies, strict=True):
            if reply.finish_reason:
                joined["stop_reason"] = reply.finish_reason
            for key in (METRICS_KEY, "prompt_token_count", "inputTextTokenCount", "generation_token_count"):
                if event.get(key) is not None:
                    joined[key] = event[key]
            output_tokens = fields.as_token_count(event.get("totalOutputTextTokenCount"))
            if output_tokens is not None:
                joined["tokenCount"] = output_tokens
        if any(reply.known for reply in replies):
            joined["generation"] = "".join(reply.output for reply in replies)
        return joined, "stop_reason" in joined


class _InvokeEmbeddingFormat(CallFormat):
    """Embeddings of Amazon's Titan and Nova."""

    def read_request(self, request: JsonObject) -> ParsedRequest:
        params = as_mapping(request.get("singleEmbeddingParams"))
        contents = as_texts(request.get("inputText")) or as_texts(as_mapping(params.get("text")).get("value"))
        contents += ["[image]"] if request.get("inputImage") or params.get("image") else []
        return ParsedRequest(fields.user_messages(contents))

    def read_reply(self, reply: JsonObject) -> ParsedReply:
        usage = Usage(input_tokens=fields.as_token_count(reply.get("inputTextTokenCount")))
        return fields.embedding_reply(reply, usage)


CONVERSE = _ConverseFormat()
TEXT = _InvokeTextFormat()
EMBEDDINGS = _InvokeEmbeddingFormat()
