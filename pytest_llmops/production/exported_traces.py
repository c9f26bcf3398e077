"""Read conversations with models from exported traces, by one table of the names that each convention has for a field.

OpenTelemetry GenAI (attributes, events and the older log records), OpenInference, Traceloop, Langfuse, Phoenix and
LangSmith: OTLP JSON, with keys in either spelling, or rows of a store; JSON lines, or one document of any size.

A document is parsed by `json.JSONDecoder.raw_decode` in a buffer that moves over the file: an object that does not fit is
opened, and its parts are parsed. ijson would be one more dependency, is no faster, and cannot go on behind a broken line.
Commas and colons of what is opened are skipped, not checked.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, as_texts, parse_json
from pytest_llmops._util.text_files import BadFile, canonical_json, check_json_value
from pytest_llmops.errors import UsageError
from pytest_llmops.production.review_queue import QueueEntry
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace import cost_usd, fields

# What each field is called, in the current convention first; a name goes on behind a JSON text
FIELDS = {
    field: tuple(tuple(name.split(".")) for name in names.split())
    for field, names in {
        "trace": "traceId trace_id context.trace_id",
        "span": "spanId span_id context.span_id id",
        "start": "startTimeUnixNano start_time_unix_nano start_time startTime",
        "end": "endTimeUnixNano end_time_unix_nano end_time endTime",
        "event": "eventName event_name event.name",
        "body": "body",
        "kind": "gen_ai.operation.name openinference.span.kind llm.request.type langfuse.observation.type span_kind type run_type",
        "provider": "gen_ai.provider.name gen_ai.system llm.provider llm.system",
        "model": "gen_ai.response.model llm.model_name gen_ai.request.model langfuse.observation.model.name provided_model_name "
        "providedModelName model outputs.model inputs.model",
        "system": "gen_ai.system_instructions",
        "input": "gen_ai.input.messages llm.input_messages gen_ai.prompt langfuse.observation.input.messages "
        "langfuse.observation.input input.value.messages input.value input.messages input inputs.messages",
        "output": "gen_ai.output.messages llm.output_messages gen_ai.completion langfuse.observation.output "
        "output.value.choices output.value output outputs.choices",
        "tools": "gen_ai.tool.definitions llm.tools llm.request.functions langfuse.observation.input.tools input.value.tools "
        "input.tools inputs.tools",
        "finish_reason": "llm.finish_reason gen_ai.completion.0.finish_reason langfuse.observation.metadata.finish_reason "
        "gen_ai.response.finish_reasons",
        "input_tokens": "gen_ai.usage.input_tokens gen_ai.usage.prompt_tokens llm.token_count.prompt "
        "langfuse.observation.usage_details.prompt_tokens langfuse.observation.usage_details.input usage_details.input "
        "usageDetails.input prompt_tokens",
        "output_tokens": "gen_ai.usage.output_tokens gen_ai.usage.completion_tokens llm.token_count.completion "
        "langfuse.observation.usage_details.completion_tokens langfuse.observation.usage_details.output usage_details.output "
        "usageDetails.output completion_tokens",
        "cached_tokens": "gen_ai.usage.cache_read.input_tokens gen_ai.usage.cache_read_input_tokens "
        "llm.token_count.prompt_details.cache_read langfuse.observation.usage_details.prompt_tokens_details.cached_tokens "
        "usage_details.input_cached_tokens usageDetails.input_cached_tokens outputs.usage.prompt_tokens_details.cached_tokens",
        "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens llm.token_count.prompt_details.cache_write",
        "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens gen_ai.usage.reasoning_tokens "
        "llm.token_count.completion_details.reasoning",
        "total_tokens": "usage_details.total usageDetails.total",
    }.items()
}  # fmt: skip
# Keys of the lists that lead to spans, log records and rows
LISTS = (
    *(
        "resourceSpans",
        "resource_spans",
        "scopeSpans",
        "scope_spans",
        "spans",
        "data",
        "observations",
        "runs",
    ),
    *("resourceLogs", "resource_logs", "scopeLogs", "scope_logs", "logRecords", "log_records"),
)
MODEL_CALLS = ("chat", "text_completion", "generate_content", "completion", "llm", "generation")
# Log records of one message each: where it belongs, and its role
MESSAGE_EVENTS = {
    **{f"gen_ai.{role}.message": ("input", role) for role in ("system", "user", "assistant", "tool")},
    "gen_ai.choice": ("output", "assistant"),
}
# Why a call is left out
NO_CONTENT = (
    "calls without messages or answer (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only records them; give the files of "
    "logs with those of traces)"
)
REPEATED, CUT, UNREADABLE = (
    *("calls with the id of another", "calls cut by a limit of attributes"),
    "calls with values that are not UTF-8, not finite or nested too deeply",
)
CHUNK = 1 << 20  # characters that are read at once
MAX_OBJECT = 1 << 23  # characters of an object
MAX_KEPT = 10_000  # characters of a message that is kept for the next call
MAX_OPEN = 20  # brackets that are open
Turn = NamedTuple(  # noqa: UP014
    "Turn", [("text", str), ("role", str), ("spelling", str)]
)  # a message as JSON, and how it is compared
_decode = json.JSONDecoder().raw_decode
_SEPARATORS = re.compile(r"[ \t\r\n,:]*")
_LIST = re.compile(rf'"(?:{"|".join(LISTS)})"[ \t\r\n]*:[ \t\r\n]*\[')
_MESSAGE_KEYS = frozenset(("role", "content", "parts", "contents", "tool_calls", "message"))
_JSON_STARTS = ('[{"', '{"role"', '{"messages"', '{"tools"', '{"type"', '{"model"')


def read_conversations(paths: Iterable[Path], counts: Counter[str]) -> Iterator[QueueEntry]:
    """Yield the conversations of exports as entries of a queue: each once, in the order of the files.

    A call whose messages begin with those of another call and its answer continues it, whatever their order and traces.

    Args:
        paths: Files of traces, and of the log records of their messages.
        counts: Counts by reason what is left out: calls, and broken lines.

    Raises:
        UsageError: A file cannot be read, or is a document that is broken or cut, with its place.
    """
    calls: dict[
        int, tuple[str, tuple[int, ...], list[JsonObject]]
    ] = {}  # as JSON: the garbage collector looks at objects
    # By the end of a call: its tools and messages as JSON; empty: another call continues it
    contents: dict[int, tuple[str, ...]] = {}
    for values in _join_records(paths, counts):
        try:
            turns = _read_turns_of(values)
            # The hash of a text is random in each process: nobody can make two conversations equal.
            ends = accumulate(turns, lambda end, turn: hash((end, turn.spelling)), initial=0)
            *before, end = (
                end for end, turn in zip(list(ends)[1:], turns, strict=True) if turn.role == "assistant"
            )
            call = calls.setdefault(
                end, (json.dumps(_read_call(values, json.loads(turns[-1].text))), tuple(before), [])
            )
            call[2].append(values["origin"])
            contents |= dict.fromkeys(before, ())
            texts = (_read_tools(json.dumps(values.get("tools"))), *(turn.text for turn in turns[:-1]))
            contents.setdefault(end, texts)
        except (BadFile, RecursionError) as error:
            counts[str(error) if str(error) in (CUT, NO_CONTENT) else UNREADABLE] += 1
    for end in filter(contents.get, contents):
        tools, *messages = json.loads(f"[{','.join(contents[end])}]")
        _, earlier, origins = calls[end]
        told = json.loads(f"[{','.join(calls[turn][0] for turn in (*earlier, end) if turn in calls)}]")
        asked = [message["content"] for message in messages if message["role"] == "user"]
        yield QueueEntry(
            input=asked[0] if len(asked) == 1 else messages,
            output=told[-1].get("output")
            or "\n".join(
                fields.format_tool_call(ToolCall(**each)) for each in told[-1].get("tool_calls", ())
            ),
            reason="trace",
            messages=messages if len(asked) == 1 else None,
            calls=told,
            origin=tuple(origins),
            data={"tools": tools} if tools else {},
        )


def _join_records(paths: Iterable[Path], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each call, from its span and its log records."""
    waiting: dict[tuple[str, str], dict[str, Any]] = {}  # empty: the call was yielded
    for path in paths:
        for number, record in enumerate(_read_records(path, counts)):
            plain = {
                **record,
                **as_mapping(record.get("attributes")),
                **_read_pairs(record.get("attributes")),
            }
            tree = _nest_keys({key.removeprefix("attributes."): value for key, value in plain.items()})
            values = {
                field: value for field, names in FIELDS.items() if (value := _find(tree, names)) is not None
            }
            field, role = MESSAGE_EVENTS.get(as_text(values.get("event")), ("", ""))
            if not field and as_text(values.get("kind")).casefold() not in MODEL_CALLS:
                continue
            key = str(values.get("trace", "")), str(values.get("span", f"{path.name}#{number}"))
            call = waiting.setdefault(key, {"origin": {"source": path.name, "trace": key[0], "id": key[1]}})
            if not call:
                counts.update([REPEATED] if "start" in values else [])
            elif field:
                if not isinstance(call.get(field), list):
                    call[field] = []
                call[field].append({"role": role, **as_mapping(_read_any_value(values.get("body")))})
            else:
                call |= {**values, **call}
            if call.keys() >= {"start", "input", "output"}:
                waiting[key] = {}
                yield call
    yield from filter(None, waiting.values())


def _read_pairs(value: object) -> dict[str, Any]:
    pairs = as_mappings(value)
    return {as_text(pair["key"]): _read_any_value(pair.get("value")) for pair in pairs if "key" in pair}


def _read_any_value(value: object) -> Any:
    """Return the value of OTLP's AnyValue: {"stringValue": ...}, {"array_value": {"values": [...]}} ..."""
    inner = next((each for each in as_mapping(value).values() if each is not None), None)
    if not isinstance(inner, dict):
        return inner
    items = inner.get("values")
    return _read_pairs(items) or list(map(_read_any_value, as_mappings(items)))


def _nest_keys(flat: JsonObject) -> dict[str, Any]:
    # {"a.b": 1} becomes {"a": {"b": 1}}
    tree: dict[str, Any] = {}
    for key in sorted(flat):  # "a" comes before "a.b"
        *steps, last = key.split(".", 16)
        with suppress(AttributeError, TypeError):  # "a" is no object
            reduce(lambda node, step: node.setdefault(step, {}), steps, tree)[last] = flat[key]
    return tree


def _parse(value: Any) -> Any:
    if isinstance(value, str):
        return parse_json(value)
    return value


def _find(tree: JsonObject, names: Iterable[Sequence[str]]) -> Any:
    """A text on the way is JSON: what is behind the name is in it. Loops, as `reduce` takes twice the time."""
    for name in names:
        if name[0] in tree:
            node: Any = tree
        else:
            node = None
        for step in name if node else ():
            if node:
                node = (node if isinstance(node, dict) else as_mapping(_parse(node))).get(step)
            else:
                node = None
        if node not in (None, "", [], {}):
            return node
    return None


def _open(item: object, *wrappers: str) -> Any:
    """Return an object with nested keys, without what is wrapped around it."""
    given: Any = as_mapping(item)
    if "." in "".join(given):
        tree = _nest_keys(given)
    else:
        tree = given
    return reduce(lambda node, key: as_mapping(_parse(node.get(key))) or node, wrappers, tree)


def _list_items(value: Any) -> list[Any]:
    """Return the items of a list, which may be JSON text, or an object with numbers as keys."""
    parsed = _parse(value)
    if parsed is None and str(value).startswith(_JSON_STARTS):
        raise BadFile(CUT)
    if isinstance(parsed, dict) and all(map(str.isdecimal, parsed)):
        return [parsed[key] for key in sorted(parsed, key=lambda key: (len(key), key))]
    if isinstance(parsed, list):
        return parsed
    if value is None:
        return []
    return [parsed or value]


def _read_turns_of(values: JsonObject) -> list[Turn]:
    """Return the messages of a call and its answer in the format of OpenAI's chat completions."""
    fields_of_roles = {"system": "system", "user": "input", "assistant": "output"}
    system, messages, answers = (
        _read_messages(values.get(key), role) for role, key in fields_of_roles.items()
    )
    if not messages or not answers:
        raise BadFile(NO_CONTENT)
    return [*system, *messages, answers[0]._replace(role="assistant")]


@lru_cache(maxsize=256)  # as are the tools
def _read_tools(text: str) -> str:
    tools = [
        {
            "type": "function",
            "function": {
                key: _parse(tool[key]) if key == "parameters" else tool[key] for key in tool if key != "type"
            },
        }
        for tool in (_open(item, "tool", "json_schema", "function") for item in _list_items(json.loads(text)))
    ]
    return json.dumps(check_json_value(tools))


def _read_messages(value: Any, role: str) -> list[Turn]:
    if isinstance(value, str):
        spelled = _slice_items(value)
    else:
        spelled = []
    items = [item for item, _ in spelled] or _list_items(value)
    is_text = isinstance(value, str) and not all(
        isinstance(item, dict) and _MESSAGE_KEYS & item.keys() for item in items
    )
    if spelled and not is_text:
        texts = [text for _, text in spelled]
    else:
        texts = map(json.dumps, [value] if is_text else items)
    return [
        turn
        for text in texts
        for turn in (_read_turns if len(text) < MAX_KEPT else _read_turns.__wrapped__)(
            text, "" if text.startswith(('{"role": "assistant"', '{"role":"assistant"')) else role
        )
    ]


def _slice_items(text: str) -> list[tuple[Any, str]]:
    """Return the items of a list, each with its JSON, the key of a cache: to write it anew would take longer than to read it."""
    items = list[tuple[Any, str]]()
    end = _SEPARATORS.match(text, 1).end()  # type: ignore[union-attr]  # may be empty
    with suppress(ValueError, RecursionError, IndexError):
        while text[0] == "[" and text[end] != "]":
            start, (item, end) = end, _decode(text, end)
            items.append((item, text[start:end]))
            end = _SEPARATORS.match(text, end).end()  # type: ignore[union-attr]
    if text[end:].strip() == "]":
        return items
    return []


@lru_cache(maxsize=4096)  # each call of a conversation repeats its messages
def _read_turns(text: str, role: str) -> list[Turn]:
    messages: Any = check_json_value(_read_message(json.loads(text), role))
    return list(map(_make_turn, messages))


def _make_turn(message: JsonObject) -> Turn:
    """A call and the next one may spell arguments and white space differently."""
    calls = fields.read_chat_tool_calls(message.get("tool_calls"))
    arguments: list[Any] = [[call.name, parse_json(call.arguments) or call.arguments] for call in calls]
    content = as_text(message["content"]).strip() or message["content"]
    return Turn(json.dumps(message), message["role"], canonical_json([message["role"], content, *arguments]))


def _read_message(item: object, role: str) -> list[dict[str, Any]]:
    """Return a message, and before it those of the answers of tools that are parts of it."""
    message = _open(item, "message")
    if _MESSAGE_KEYS & message.keys():
        content = message.get("content")
    else:
        content = fields.arguments_json(item)
    parts = (
        message.get("parts") or message.get("contents") or (content if isinstance(content, list) else None)
    )
    opened = [
        (part.get("type"), part) for part in (_open(part, "message_content") for part in _list_items(parts))
    ]
    texts = [
        as_text(part.get("content", part.get("text"))) if kind == "text" else part
        for kind, part in opened
        if kind not in ("tool_call", "tool_call_response", "reasoning")
    ]
    if parts:
        is_mixed = any(isinstance(text, dict) for text in texts)
        if is_mixed:
            content = texts
        else:
            content = "\n".join(filter(None, map(as_text, texts)))
    tool_calls = [
        {
            "id": as_text(call.get("id")),
            "type": "function",
            "function": {"name": as_text(tool.get("name")), "arguments": arguments},
        }
        for call in (
            *(_open(call, "tool_call") for call in _list_items(message.get("tool_calls"))),
            *(part for kind, part in opened if kind == "tool_call"),
        )
        for tool in [_open(call, "function")]
        for arguments in [fields.arguments_json(tool.get("arguments"))]
    ]
    results = [
        {
            "role": "tool",
            "content": fields.arguments_json(part.get("response")),
            "tool_call_id": as_text(part.get("id")),
        }
        for kind, part in opened
        if kind == "tool_call_response"
    ]
    role = as_text(message.get("role")) or role
    own = {
        "role": role,
        "content": content or "",
        **({"tool_call_id": message.get("tool_call_id") or message.get("id")} if role == "tool" else {}),
        **({"tool_calls": tool_calls} if tool_calls else {}),
    }
    if content or tool_calls or not parts:
        return [*results, own]
    return results


def _read_call(values: JsonObject, answer: JsonObject) -> dict[str, Any]:
    """Return what `Call.to_wire` writes of a call; its messages are those of the entry."""
    counts = {name: fields.as_token_count(_parse(values.get(name))) for name in Usage.__dataclass_fields__}
    total = fields.sum_known_counts(
        *(counts[name] for name in ("input_tokens", "output_tokens", "cached_tokens"))
    )
    if counts["cached_tokens"] and _parse(values.get("total_tokens")) == total:  # counted beside the input
        counts["input_tokens"] = fields.sum_known_counts(counts["input_tokens"], counts["cached_tokens"])
    model, provider = (as_text(values.get(key)) for key in ("model", "provider"))
    start, end = (_read_seconds(values.get(key)) for key in ("start", "end"))
    call = {
        "provider": provider,
        "endpoint": "chat",
        "model": model,
        "output": fields.content_text(answer["content"]),
        "tool_calls": list(map(asdict, fields.read_chat_tool_calls(answer.get("tool_calls")))),
        "finish_reason": "".join(as_texts(values.get("finish_reason"))[:1]).strip('"'),
        "usage": {name: tokens for name, tokens in counts.items() if tokens is not None},
        "cost_usd": cost_usd(model, Usage(**counts), provider=provider),
        "latency_s": round(end - start, 6) if start and end and end >= start else None,
    }
    return {name: value for name, value in call.items() if value not in (None, "", [], {})}


def _read_seconds(value: object) -> float | None:
    text = str(value)
    with suppress(ValueError, OverflowError):
        if text.isdecimal():
            return int(text) / 1e9
        return datetime.fromisoformat(text).timestamp()
    return None


def _read_records(path: Path, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the spans, log records and rows of a file: JSON lines, or a document if its first line is no JSON value."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(2 * MAX_OBJECT), ""), start=1):
                try:
                    yield from list(_scan_records(lambda _: "", line))
                except BadFile as error:
                    if number == 1:
                        yield from _scan_records(file.read, line)
                    else:
                        counts[f"line {number:,} of {path.name}: {error.what}"] += 1
    except (BadFile, OSError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', error)}; nothing was written") from None


def _scan_records(read: Callable[[int], str], text: str) -> Iterator[dict[str, Any]]:
    is_open = ""
    position = 0
    offset = 0  # the brackets that are open
    while True:
        position = _SEPARATORS.match(text, position).end()  # type: ignore[union-attr]  # may be empty
        try:
            value, end = _decode(text, position)
            what = ""
            records = _list_records(value)
        except (ValueError, RecursionError) as error:
            end = getattr(error, "pos", position)
            what = getattr(error, "msg", "nested too deeply, or a number too long")
        # What the end of the text cuts fails there, within a word or a number; only a text fails at its beginning.
        is_cut = end > len(text) - 16 or what.startswith("Unterminated")
        if is_cut and len(text) - position < MAX_OBJECT and (more := read(max(CHUNK, len(text) - position))):
            text, position, offset = text[position:] + more, 0, offset + position
            continue
        mark = text[position : position + 1]
        if not what:
            yield from records
        elif mark or is_open:
            is_end = is_open[-1:] + mark in ("[]", "{}")
            is_list = mark == "[" or (mark == "{" and _LIST.search(text, position))
            place = f"at character {offset + end + 1:,}: {what.removesuffix(' starting at')}"
            is_right = is_end or (is_list and is_cut and len(is_open) < MAX_OPEN)
            if not is_right:
                raise BadFile(f"broken or cut JSON {place}")
            end = position + 1
            if is_end:
                is_open = is_open[:-1]
            else:
                is_open = is_open + mark
        else:
            return
        position = end


def _list_records(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list):
        lists = [value]
    else:
        lists = [as_mapping(value).get(key) for key in LISTS]
    inner = [item for items in lists if isinstance(items, list) for item in items]
    if isinstance(value, dict) and not inner:
        return [value]
    return [each for item in inner for each in _list_records(item)]
