"""OpenAI's chat completions, Responses, completions, embeddings and moderations, also of compatible servers."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mappings,
    as_text,
    first_mapping,
    get_mapping,
    get_mappings,
    get_text,
    join_texts,
)
from pytest_llmops.protocols import Media, Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.media_parts import list_media, make_media
from pytest_llmops.trace.wire_format import (
    CallFormat,
    Endpoint,
    JoinedReply,
    ParsedReply,
    ParsedRequest,
    WireFormat,
    bedrock_invoke,
    vertex_raw_predict,
)

MAX_USD = 10**6  # a larger number is not a price
# Keys of cached tokens on compatible servers; OpenAI has them in the details of the input tokens
_CACHED_TOKEN_KEYS = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cached_prompt_text_tokens",
)
# Details of tokens: of chat completions, Responses and Realtime
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_FINAL_EVENTS = ("response.completed", "response.incomplete", "response.failed")
# Keys of a request that refer to messages outside of it
_SERVER_STATE_KEYS = ("previous_response_id", "conversation", "prompt")
# Keys of the arguments of a call of a function or built-in tool; the first that is not empty counts
_ARGUMENT_KEYS = ("arguments", "input", "action", "queries", "code")


def _read_chat_reply(reply: JsonObject) -> ParsedReply:
    """Read the first choice of a reply of chat completions or completions, with the fields of compatible servers."""
    choices = get_mappings(reply, "choices")
    choice = first_mapping(choices)
    message = get_mapping(choice, "message")
    answer, thinking = _split_thinking(message.get("content"))
    thinking = get_text(message, "reasoning_content") or get_text(message, "reasoning") or thinking
    calls = list(fields.read_chat_tool_calls(message.get("tool_calls")))
    legacy_call = message.get("function_call")
    if legacy_call:
        calls += fields.read_chat_tool_calls([{"function": legacy_call}])
    counts = get_mapping(reply, "usage")
    if not counts:
        counts = get_mapping(get_mapping(reply, "x_groq"), "usage")
    return ParsedReply(
        output=answer or _find_other_output(choice, message),
        thinking=thinking,
        tool_calls=calls,
        finish_reason=get_text(choice, "finish_reason"),
        usage=read_openai_usage(counts),
        model=get_text(reply, "model"),
        known=bool(choices),
        priced=_read_audio_tokens(counts),
        cost_usd=_read_stated_cost(counts),
        unread=fields.describe_unread_answers(len(choices)),
        media=_read_answer_media(message),
    )


def _read_answer_media(message: JsonObject) -> list[Media]:
    """Return the sound of an answer, and its images as OpenRouter and Mistral give them."""
    sound = make_media("audio/", get_text(get_mapping(message, "audio"), "data"))
    media = [*list_media(message.get("content")), *fields.read_images(message)]
    if sound is not None:
        media.append(sound)
    return media


def _find_other_output(choice: JsonObject, message: JsonObject) -> str:
    """Return the output of a choice without content: a refusal, the text of a completion, a transcript or an error message."""
    audio = get_mapping(message, "audio")
    error = get_mapping(choice, "error")
    text = get_text(message, "refusal") or get_text(choice, "text")
    return text or get_text(audio, "transcript") or get_text(error, "message")


def _join_chunks(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the chunks of a stream into a reply. Only the first answer is joined; others are empty choices, to be counted."""
    reply: dict[str, Any] = {}
    answer = _StreamedAnswer()
    has_choices = False
    others: set[int] = set()
    for event in events:
        for key in ("model", "usage", "x_groq"):
            if key in event:
                reply[key] = event[key] or reply.get(key)
        for choice in get_mappings(event, "choices"):
            has_choices = True
            number = fields.get_count(choice, "index") or 0
            if number:
                others.add(number)
            else:
                answer.add_chunk(choice)
    reply["choices"] = []
    if has_choices:
        reply["choices"] = [answer.make_choice(), *({} for _ in others)]
    return reply, bool(answer.finish_reason)


class _StreamedAnswer:
    # The first answer of a stream, collected from its chunks. All texts of a delta are joined, each under its own key.
    def __init__(self) -> None:
        self.finish_reason = ""
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._calls: dict[int, dict[str, str]] = {}

    def add_chunk(self, choice: JsonObject) -> None:
        self.finish_reason = get_text(choice, "finish_reason") or self.finish_reason
        delta = get_mapping(choice, "delta")
        for key, piece in _iterate_pieces(choice, delta):
            self._texts[key].append(as_text(piece))
        if "function_call" in delta:
            fields.add_tool_call(self._calls, {"index": 0, "function": delta["function_call"]})
        for part in get_mappings(delta, "tool_calls"):
            fields.add_tool_call(self._calls, part)

    def make_choice(self) -> JsonObject:
        """Return the answer as a choice of a reply without a stream."""
        message: dict[str, Any] = {}
        for key, pieces in self._texts.items():
            message[key] = "".join(pieces)
        message["audio"] = {"transcript": message.get("transcript")}
        message["tool_calls"] = fields.list_tool_calls(self._calls.values())
        return {"message": message, "finish_reason": self.finish_reason}


def _iterate_pieces(choice: JsonObject, delta: JsonObject) -> Iterator[tuple[str, object]]:
    """Yield (key of the message, piece) for each value in a chunk; values that are not texts count as empty."""
    yield "content", choice.get("text")
    yield from delta.items()
    content = delta.get("content")
    if isinstance(content, list):
        answer, thinking = _split_thinking(content)
        yield "content", answer
        yield "reasoning_content", thinking
    yield "transcript", get_mapping(delta, "audio").get("transcript")


def _split_thinking(content: object) -> tuple[str, str]:
    """Return (answer, thinking) of a content, which is a text, or with Mistral a list with parts of the type "thinking"."""
    if not isinstance(content, list):
        return as_text(content), ""
    answer = ""
    thinking = ""
    for part in as_mappings(content):
        if part.get("type") == "thinking":
            thinking += fields.content_text(part.get("thinking"))
        else:
            answer += fields.content_text([part])
    return answer, thinking


def _read_moderation(reply: JsonObject) -> ParsedReply:
    results = get_mappings(reply, "results")
    output = "\n".join(map(_format_flags, results))
    return ParsedReply(output=output, model=get_text(reply, "model"), known=bool(results))


def _format_flags(result: JsonObject) -> str:
    if result.get("flagged") is not True:
        return "not flagged"
    categories = get_mapping(result, "categories")
    flagged = [name for name, is_flagged in categories.items() if is_flagged is True]
    return "flagged: " + ", ".join(flagged)


def _read_responses_request(request: JsonObject) -> ParsedRequest:
    """Read instructions, input and tools of a request to the Responses API."""
    messages: list[Message] = []
    instructions = request.get("instructions")
    if instructions:
        messages.append(Message("system", as_text(instructions)))
    messages += _read_input(request.get("input"))
    unread = [f"messages kept by the server ({key})" for key in _SERVER_STATE_KEYS if request.get(key)]
    tools = [_read_responses_tool(entry) for entry in get_mappings(request, "tools")]
    return ParsedRequest(messages, tools, unread)


def _read_responses_tool(entry: JsonObject) -> ToolDefinition:
    tool = get_mapping(entry, "function") or entry
    name = get_text(tool, "name") or get_text(tool, "server_label") or get_text(tool, "type")
    return fields.tool_definition(name, tool.get("description"), tool.get("parameters"))


def _read_responses_reply(reply: JsonObject) -> ParsedReply:
    """Read text, thinking and tool calls from the output items of a reply of the Responses API."""
    answer = ""
    thoughts: list[JsonObject] = []
    calls = []
    media = []
    for item in get_mappings(reply, "output"):
        kind = get_text(item, "type")
        if kind == "message":
            for part in get_mappings(item, "content"):
                answer += get_text(part, "text") or get_text(part, "refusal")
        elif kind == "reasoning":
            thoughts += get_mappings(item, "summary") or get_mappings(item, "content")
        elif kind.endswith("_call"):
            calls.append(_read_call(item))
            image = make_media("image/", get_text(item, "result"))
            if kind == "image_generation_call" and image is not None:
                media.append(image)
    incomplete = get_mapping(reply, "incomplete_details")
    counts = get_mapping(reply, "usage")
    return ParsedReply(
        output=answer,
        thinking=join_texts(thoughts, separator="\n"),
        tool_calls=calls,
        finish_reason=get_text(incomplete, "reason") or get_text(reply, "status"),
        usage=read_openai_usage(counts),
        model=get_text(reply, "model"),
        known=isinstance(reply.get("output"), list),
        priced=_read_audio_tokens(counts),
        media=media,
    )


def _join_responses(events: Sequence[JsonObject]) -> JoinedReply:
    """Return the whole response that the final event of a stream holds; of a stream that was cut, the known part."""
    final_events = [event for event in events if event.get("type") in _FINAL_EVENTS]
    has_ended = bool(final_events)
    if has_ended:
        last = get_mapping(final_events[-1], "response")
    else:
        last = _find_last_response(events)
    if get_mappings(last, "output"):
        return last, has_ended
    output = _join_output_items(events)
    if last or output:
        return {**last, "output": output}, has_ended
    return {}, has_ended


def _find_last_response(events: Sequence[JsonObject]) -> JsonObject:
    """Return the latest state of the response that an event holds; {} if none does."""
    for event in reversed(events):
        response = get_mapping(event, "response")
        if response:
            return response
    return {}


def _read_input(value: object) -> Iterator[Message]:
    if isinstance(value, str):
        yield Message("user", value)
    for item in as_mappings(value):
        yield _read_input_item(item)


def _read_input_item(item: JsonObject) -> Message:
    """Read an item of the input: a message, a tool call or its result; other items as parts of a message are read."""
    kind = get_text(item, "type")
    if kind.endswith("_call_output"):
        result = fields.content_message("tool", item.get("output"))
        return replace(result, call_id=get_text(item, "call_id"))
    if "content" in item and kind in ("", "message"):
        role = fields.as_role(item.get("role"))
        return fields.content_message(role, item["content"])
    if kind.endswith("_call"):
        call = _read_call(item)
        return Message("assistant", fields.format_tool_call(call), tool_calls=(call,))
    return Message("assistant", fields.format_part(item))


def _read_call(item: JsonObject) -> ToolCall:
    """Read a call of a function, or of a built-in tool: a "web_search_call" has the name "web_search"."""
    arguments = ""
    for key in _ARGUMENT_KEYS:
        if item.get(key):
            arguments = fields.arguments_json(item[key])
            break
    tool = get_text(item, "type").removesuffix("_call")
    name = get_text(item, "name") or tool
    call_id = get_text(item, "call_id") or get_text(item, "id")
    return ToolCall(name=name, arguments=arguments, id=call_id)


def _join_output_items(events: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the output items of a stream in their order; of an item that was cut, a message with the text so far."""
    complete: dict[int, JsonObject] = {}
    texts: dict[int, str] = {}
    for event in events:
        number = fields.get_count(event, "output_index") or 0
        kind = event.get("type")
        if kind == "response.output_item.done":
            complete[number] = get_mapping(event, "item")
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            texts[number] = texts.get(number, "") + get_text(event, "delta")
    items: dict[int, JsonObject] = {}
    for number, text in texts.items():
        items[number] = {"type": "message", "content": [{"text": text}]}
    items |= complete
    return fields.join_blocks(items)


def read_openai_usage(counts: JsonObject) -> Usage:
    """Read the token counts of a reply of chat completions or Responses, also with the keys of compatible servers."""
    input_details = _find_details(counts, _INPUT_DETAILS)
    output_details = _find_details(counts, _OUTPUT_DETAILS)
    input_tokens = fields.get_count(counts, "prompt_tokens", "input_tokens")
    output_tokens = fields.get_count(counts, "completion_tokens", "output_tokens")
    reasoning = fields.as_token_count(output_details.get("reasoning_tokens", counts.get("reasoning_tokens")))
    all_tokens = fields.sum_known_counts(input_tokens, output_tokens, reasoning)
    if reasoning and fields.get_count(counts, "total_tokens") == all_tokens:
        # xAI does not include reasoning in the output tokens, which its total shows; ours do.
        output_tokens = fields.sum_known_counts(output_tokens, reasoning)
    cached = fields.get_count(input_details, "cached_tokens")
    if cached is None:
        cached = fields.get_count(counts, *_CACHED_TOKEN_KEYS)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=fields.get_count(input_details, "cache_write_tokens"),
        reasoning_tokens=reasoning,
    )


def _read_audio_tokens(counts: JsonObject) -> dict[str, int]:
    """Return the token counts of audio, which has its own price, under the names of the price table; counts of 0 are left out."""
    heard = _find_details(counts, _INPUT_DETAILS)
    spoken = _find_details(counts, _OUTPUT_DETAILS)
    tokens = {
        "input_audio_tokens": fields.get_count(heard, "audio_tokens"),
        "cache_audio_read_tokens": fields.get_count(
            get_mapping(heard, "cached_tokens_details"), "audio_tokens"
        ),
        "output_audio_tokens": fields.get_count(spoken, "audio_tokens"),
    }
    return {name: count for name, count in tokens.items() if count}


def _find_details(counts: JsonObject, names: Sequence[str]) -> JsonObject:
    """Return the first details of tokens that are not empty."""
    for name in names:
        details = get_mapping(counts, name)
        if details:
            return details
    return {}


def _read_stated_cost(counts: JsonObject) -> float | None:
    """Return the cost in US dollars that a reply of OpenRouter states, or None."""
    cost = counts.get("cost")
    if not isinstance(cost, (int, float)) or isinstance(cost, bool):
        return None
    if not 0 <= cost <= MAX_USD:
        return None
    return float(cost)


def _read_embeddings(reply: JsonObject) -> ParsedReply:
    usage = read_openai_usage(get_mapping(reply, "usage"))
    return fields.embedding_reply(reply, usage)


CHAT = CallFormat(fields.read_chat_request, _read_chat_reply, _join_chunks)
COMPLETIONS = CallFormat(fields.read_input, _read_chat_reply, _join_chunks)
EMBEDDINGS = CallFormat(fields.read_input, _read_embeddings)
MODERATIONS = CallFormat(fields.read_input, _read_moderation)
RESPONSES = CallFormat(_read_responses_request, _read_responses_reply, _join_responses)
WIRE_FORMAT = WireFormat(
    [
        Endpoint("chat", "/chat/completions", CHAT, is_unmistakable=True),
        Endpoint("completions", "/completions", COMPLETIONS),
        Endpoint("responses", "/responses", RESPONSES),
        Endpoint("realtime", "/realtime", RESPONSES),
        Endpoint("embeddings", "/embeddings", EMBEDDINGS),
        Endpoint("moderations", "/moderations", MODERATIONS),
        vertex_raw_predict("chat", CHAT, "mistralai"),
        bedrock_invoke("invoke", CHAT, with_keys=["messages"], without_keys=["anthropic_version"]),
    ],
    # All servers that speak this format
    hosts={
        "ai.cloudflare.com": "cloudflare",
        "api.cloudflare.com": "cloudflare",
        "api-inference.huggingface.co": "huggingface",
        "bigmodel.cn": "zhipuai",
        "cerebras.ai": "cerebras",
        "cognitiveservices.azure.com": "azure",
        "deepinfra.com": "deepinfra",
        "deepseek.com": "deepseek",
        "endpoints.huggingface.cloud": "huggingface",
        "fireworks.ai": "fireworks",
        "githubcopilot.com": "github-copilot",
        "groq.com": "groq",
        "inference.ai.azure.com": "azure",
        "integrate.api.nvidia.com": "nvidia",
        "jina.ai": "jina",
        "minimax.io": "minimax",
        "mistral.ai": "mistral",
        "models.ai.azure.com": "azure",
        "models.github.ai": "github",
        "moonshot.ai": "moonshotai",
        "moonshot.cn": "moonshotai",
        "novita.ai": "novita",
        "openai.azure.com": "azure",
        "openai.com": "openai",
        "openrouter.ai": "openrouter",
        "perplexity.ai": "perplexity",
        "router.huggingface.co": "huggingface",
        "sambanova.ai": "sambanova",
        "services.ai.azure.com": "azure",
        "together.ai": "together",
        "together.xyz": "together",
        "voyageai.com": "voyageai",
        "x.ai": "xai",
        "z.ai": "zai",
    },
    on_other_hosts=True,
    # Azure names the deployment of a model.
    model_path=re.compile(r"/openai/deployments/(?P<model>[^/]+)/"),
    cost_providers=["openrouter"],
)
