"""Amazon Bedrock: converse, and the bodies of models that only Bedrock's ``invoke`` asks.

Converse counts what was read from the prompt cache and what was written to it beside ``inputTokens``;
here, as everywhere, the input is all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, Role, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace.fields import (
    Answered,
    Asked,
    Format,
    Wire,
    arguments,
    called,
    count,
    first,
    items,
    mapping,
    more,
    not_streamed,
    role,
    same_spelling,
    text,
    texts,
    tool,
    total,
    vectors,
)

METRICS = "amazon-bedrock-invocationMetrics"


def _asked(request: Wire) -> Asked:
    system = "\n".join(map(_block, items(request.get("system"))))
    messages = [Message("system", system)] if system else []
    for one in items(request.get("messages")):
        messages += _messages(role(one.get("role")), items(one.get("content")))
    tools = [*_tools(mapping(request.get("toolConfig")).get("tools"))]
    unread = ["a prompt kept by the server (promptVariables)"] if request.get("promptVariables") else []
    return Asked(messages, tools, "", unread)


def _messages(who: Role, blocks: Sequence[Wire]) -> Iterator[Message]:
    said = []
    for block in blocks:
        result = block.get("toolResult")
        if isinstance(result, dict):
            yield Message("tool", "\n".join(map(_block, items(result.get("content")))))
        else:
            said.append(_block(block))
    if said:
        yield Message(who, "\n".join(said))


def _block(block: Wire) -> str:
    if "text" in block:
        return text(block["text"])
    if "json" in block:
        return arguments(block["json"])
    use = block.get("toolUse")
    if isinstance(use, dict):
        return called(text(use.get("name")), arguments(use.get("input")))
    guarded = text(mapping(mapping(block.get("guardContent")).get("text")).get("text"))
    return guarded or f"[{next(iter(block), 'part')}]"


def _tools(value: object) -> Iterator[ToolDefinition]:
    for one in items(value):
        spec = mapping(one.get("toolSpec"))
        if spec:
            schema = mapping(spec.get("inputSchema")).get("json")
            yield tool(text(spec.get("name")), spec.get("description"), schema)
        elif isinstance(one.get("systemTool"), dict):
            yield tool(text(one["systemTool"].get("name")))


def _answered(reply: Wire) -> Answered:
    message = mapping(mapping(reply.get("output")).get("message"))
    blocks = items(message.get("content"))
    thought = [mapping(mapping(one.get("reasoningContent")).get("reasoningText")) for one in blocks]
    uses = [mapping(one.get("toolUse")) for one in blocks]
    used = mapping(reply.get("usage"))
    an_hour = [one.get("inputTokens") for one in items(used.get("cacheDetails")) if one.get("ttl") == "1h"]
    kept = total(*map(count, an_hour))
    return Answered(
        output="".join(map(_said, blocks)),
        thinking="\n".join(text(one.get("text")) for one in thought if one),
        tool_calls=[
            ToolCall(
                name=text(one.get("name")),
                arguments=arguments(one.get("input")),
                id=text(one.get("toolUseId")),
            )
            for one in uses
            if one
        ],
        finish_reason=text(reply.get("stopReason")),
        usage=usage(used) if used else _metrics(reply),
        known=bool(message),
        priced={"cache_write_1h_tokens": kept} if kept else {},
    )


def _said(block: Wire) -> str:
    cited = mapping(block.get("citationsContent")).get("content")
    return text(block.get("text")) or "".join(text(one.get("text")) for one in items(cited))


def usage(wire: Wire) -> Usage:
    """Read the token counts of a converse reply."""
    read, written = count(wire.get("cacheReadInputTokens")), count(wire.get("cacheWriteInputTokens"))
    return Usage(
        input_tokens=total(count(wire.get("inputTokens")), read, written),
        output_tokens=count(wire.get("outputTokens")),
        cached_tokens=read,
        cache_write_tokens=written,
    )


def _metrics(reply: Wire) -> Usage:
    """What Bedrock counts at the end of a stream, whichever model answered."""
    wire = mapping(reply.get(METRICS))
    read, written = count(wire.get("cacheReadInputTokenCount")), count(wire.get("cacheWriteInputTokenCount"))
    return Usage(
        input_tokens=total(count(wire.get("inputTokenCount")), read, written),
        output_tokens=count(wire.get("outputTokenCount")),
        cached_tokens=read,
        cache_write_tokens=written,
    )


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    blocks: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    ended = False
    for event in events:
        start, piece = mapping(event.get("contentBlockStart")), mapping(event.get("contentBlockDelta"))
        stop, metadata = mapping(event.get("messageStop")), mapping(event.get("metadata"))
        if start:
            use = mapping(mapping(start.get("start")).get("toolUse"))
            blocks[count(start.get("contentBlockIndex")) or 0] = (
                {"toolUse": {**use, "input": ""}} if use else {}
            )
        if piece:
            _add(
                blocks.setdefault(count(piece.get("contentBlockIndex")) or 0, {}), mapping(piece.get("delta"))
            )
        if stop:
            whole["stopReason"] = stop.get("stopReason")
        if metadata:
            whole["usage"] = metadata.get("usage")
        if METRICS in event:
            whole[METRICS] = event[METRICS]
        ended = ended or bool(metadata)
    if blocks or whole:
        made = [_closed(one) for _, one in sorted(blocks.items())]
        whole["output"] = {"message": {"role": "assistant", "content": made}}
    return whole, ended


def _add(block: dict[str, Any], delta: Wire) -> None:
    if "text" in delta:
        block["text"] = text(block.get("text")) + text(delta["text"])
    use = mapping(delta.get("toolUse"))
    if use:
        so_far = block.setdefault("toolUse", {"input": ""})
        so_far["input"] += text(use.get("input"))
    thought = text(mapping(delta.get("reasoningContent")).get("text"))
    if thought:
        block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]["text"] += (
            thought
        )


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    use = block.get("toolUse")
    return {**block, "toolUse": {**use, "input": same_spelling(use["input"])}} if use else block


def _prompt(request: Wire) -> Asked:
    system = text(request.get("system"))
    messages = [Message("system", system)] if system else []
    prompt = text(request.get("prompt")) or text(request.get("inputText"))
    return Asked([*messages, Message("user", prompt)] if prompt else messages)


_LISTS = ("results", "outputs", "generations", "completions")
_TEXTS = ("generation", "completion", "outputText", "text")
_REASONS = ("stop_reason", "completionReason", "finish_reason", "finishReason")


def _written(reply: Wire) -> Answered:
    """The texts of Titan, Llama, Mistral, Jurassic and older models, each in a shape of its own."""
    listed = next((items(reply[key]) for key in _LISTS if items(reply.get(key))), [])
    one = {**reply, **first(listed), **mapping(first(listed).get("data"))}
    found = next((key for key in _TEXTS if isinstance(one.get(key), str)), "")
    reason = next((one[key] for key in _REASONS if one.get(key)), "")
    asked = count(reply.get("prompt_token_count", reply.get("inputTextTokenCount")))
    answered = count(one.get("generation_token_count", one.get("tokenCount")))
    used = Usage(input_tokens=asked, output_tokens=answered)
    return Answered(
        output=text(one.get(found)),
        finish_reason=text(reason) or text(mapping(reason).get("reason")),
        usage=used if used != Usage() else _metrics(reply),
        known=bool(found),
        unread=more(len(listed), "answer"),
    )


def _pieces(events: Sequence[Wire]) -> tuple[Wire, bool]:
    whole: dict[str, Any] = {}
    read = [_written(event) for event in events]
    for event, one in zip(events, read, strict=True):
        if one.finish_reason:
            whole["stop_reason"] = one.finish_reason
        for key in (METRICS, "prompt_token_count", "inputTextTokenCount", "generation_token_count"):
            whole |= {key: event[key]} if event.get(key) is not None else {}
        output = count(event.get("totalOutputTextTokenCount"))
        whole |= {"tokenCount": output} if output is not None else {}
    if any(one.known for one in read):
        whole["generation"] = "".join(one.output for one in read)
    return whole, "stop_reason" in whole


def _text(request: Wire) -> Asked:
    params = mapping(request.get("singleEmbeddingParams"))
    given = texts(request.get("inputText")) or texts(mapping(params.get("text")).get("value"))
    given += ["[image]"] if request.get("inputImage") or params.get("image") else []
    return Asked([Message("user", one) for one in given])


def _embeddings(reply: Wire) -> Answered:
    found = reply.get("embeddings", [reply["embedding"]] if "embedding" in reply else None)
    return Answered(
        output=vectors(found),
        usage=Usage(input_tokens=count(reply.get("inputTextTokenCount"))),
        known=isinstance(found, list),
    )


CONVERSE = Format(_asked, _answered, _joined)
TEXT = Format(_prompt, _written, _pieces)
EMBEDDINGS = Format(_text, _embeddings, not_streamed)
