"""Fields of a span, a log record or a row, in all conventions; `FIELD_NAMES` lists the names of each field.

OpenTelemetry GenAI (attributes, events and the older log records), OpenInference, Traceloop, Langfuse, Phoenix and
LangSmith: OTLP JSON, with keys in either spelling, or rows of a store.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeAlias

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text
from pytest_llmops.protocols import Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.exported.messages import is_message, nest_keys, parse_text

Paths: TypeAlias = tuple[tuple[str, ...], ...]
# The names of each field, the current convention first. A dot may lead into a JSON text: the key input.value may hold {"tools": ...}
FIELD_NAMES = {
    "trace": "traceId trace_id context.trace_id",
    "span": "spanId span_id context.span_id id",
    "start": "startTimeUnixNano start_time_unix_nano start_time startTime",
    "end": "endTimeUnixNano end_time_unix_nano end_time endTime",
    "event": "eventName event_name event.name",
    "body": "body",
    "kind": """
        gen_ai.operation.name
        openinference.span.kind
        llm.request.type
        langfuse.observation.type
        span_kind
        type
        run_type
    """,
    "provider": "gen_ai.provider.name gen_ai.system llm.provider llm.system",
    "model": """
        gen_ai.response.model
        llm.model_name
        gen_ai.request.model
        langfuse.observation.model.name
        provided_model_name
        providedModelName
        model
        outputs.model
        inputs.model
    """,
    "system": """
        gen_ai.system_instructions
        langfuse.observation.input.system
        input.value.system
        input.system
    """,
    "input": """
        gen_ai.input.messages
        llm.input_messages
        gen_ai.prompt
        langfuse.observation.input.messages
        langfuse.observation.input.input
        langfuse.observation.input
        input.value.messages
        input.value
        input.messages
        input
        inputs.messages
    """,
    "output": """
        gen_ai.output.messages
        llm.output_messages
        gen_ai.completion
        langfuse.observation.output
        output.value.choices
        output.value.output
        output.value
        output
        outputs.choices
    """,
    "message": "outputs",
    "tools": """
        gen_ai.tool.definitions
        llm.tools
        llm.request.functions
        langfuse.observation.input.tools
        input.value.tools
        input.tools
        inputs.tools
    """,
    "choices": """
        gen_ai.request.choice.count
        llm.invocation_parameters.n
        langfuse.observation.model.parameters.n
        model_parameters.n
        modelParameters.n
        inputs.n
    """,
    "finish_reason": """
        llm.finish_reason
        gen_ai.completion.0.finish_reason
        langfuse.observation.metadata.finish_reason
        gen_ai.response.finish_reasons
    """,
    "input_tokens": """
        gen_ai.usage.input_tokens
        gen_ai.usage.prompt_tokens
        llm.token_count.prompt
        langfuse.observation.usage_details.prompt_tokens
        langfuse.observation.usage_details.input_tokens
        langfuse.observation.usage_details.input
        usage_details.input
        usageDetails.input
        prompt_tokens
    """,
    "output_tokens": """
        gen_ai.usage.output_tokens
        gen_ai.usage.completion_tokens
        llm.token_count.completion
        langfuse.observation.usage_details.completion_tokens
        langfuse.observation.usage_details.output_tokens
        langfuse.observation.usage_details.output
        usage_details.output
        usageDetails.output
        completion_tokens
    """,
    "cached_tokens": """
        gen_ai.usage.cache_read.input_tokens
        gen_ai.usage.cache_read_input_tokens
        llm.token_count.prompt_details.cache_read
        langfuse.observation.usage_details.prompt_tokens_details.cached_tokens
        langfuse.observation.usage_details.input_tokens_details.cached_tokens
        usage_details.input_cached_tokens
        usageDetails.input_cached_tokens
        outputs.usage.prompt_tokens_details.cached_tokens
    """,
    "cache_write_tokens": """
        gen_ai.usage.cache_creation.input_tokens
        llm.token_count.prompt_details.cache_write
    """,
    "reasoning_tokens": """
        gen_ai.usage.reasoning.output_tokens
        gen_ai.usage.reasoning_tokens
        llm.token_count.completion_details.reasoning
    """,
    "total_tokens": "usage_details.total usageDetails.total",
}


def split_names(names: str) -> Paths:
    """Return the steps of each name: its parts between dots."""
    paths = [tuple(name.split(".")) for name in names.split()]
    return tuple(paths)


FIELDS = {field: split_names(names) for field, names in FIELD_NAMES.items()}
MODEL_CALLS = ("chat", "text_completion", "generate_content", "completion", "llm", "generation")
# Log records of one message each: where it belongs, and its role
MESSAGE_EVENTS = {
    "gen_ai.system.message": ("input", "system"),
    "gen_ai.user.message": ("input", "user"),
    "gen_ai.assistant.message": ("input", "assistant"),
    "gen_ai.tool.message": ("input", "tool"),
    "gen_ai.choice": ("output", "assistant"),
}
NO_CONTENT_HINT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only records them"


def read_fields(record: JsonObject, field_names: Mapping[str, Paths] = FIELDS) -> dict[str, Any]:
    """Return the values of a span, log record or row, by our field names."""
    attributes = record.get("attributes")
    plain = {**record, **as_mapping(attributes), **read_pairs(attributes)}
    unprefixed = {}
    for key, value in plain.items():
        unprefixed[str(key).removeprefix("attributes.")] = value
    tree = nest_keys(unprefixed)
    values = {}
    for field, names in field_names.items():
        value = _find_first_value(tree, names)
        if value is not None:
            values[field] = value
    answer = values.pop("message", None)
    if is_message(answer):
        values.setdefault("output", answer)
    return values


def read_pairs(value: object) -> dict[str, Any]:
    """Return the values of OTLP's KeyValue list by key."""
    pairs = as_mappings(value)
    values = {}
    for pair in pairs:
        if "key" in pair:
            name = as_text(pair["key"])
            values[name] = read_any_value(pair.get("value"))
    return values


def read_any_value(value: object) -> Any:
    """Return the value of OTLP's AnyValue: {"stringValue": ...}, {"array_value": {"values": [...]}} ..."""
    values = as_mapping(value).values()
    inner = next((item for item in values if item is not None), None)
    if not isinstance(inner, dict):
        return inner
    items = inner.get("values")
    pairs = read_pairs(items)
    return pairs or [read_any_value(item) for item in as_mappings(items)]


def _find_first_value(tree: JsonObject, names: Iterable[Sequence[str]]) -> Any:
    """Return the first value that is not empty, or None. A name is a list of steps into objects, or texts that hold them as JSON."""
    for name in names:
        if name[0] not in tree:
            continue
        node: Any = tree
        for step in name:
            if not node:
                node = None
                break
            if not isinstance(node, dict):
                node = as_mapping(parse_text(node))
            node = node.get(step)
        if node not in (None, "", [], {}):
            return node
    return None


def read_usage(values: JsonObject) -> Usage:
    """Return the tokens of a call."""
    counts = {}
    for name in Usage.__dataclass_fields__:
        count = parse_text(values.get(name))
        counts[name] = fields.as_token_count(count)
    cached_tokens = counts["cached_tokens"]
    total = fields.sum_known_counts(counts["input_tokens"], counts["output_tokens"], cached_tokens)
    if cached_tokens and parse_text(values.get("total_tokens")) == total:
        # The total shows that input_tokens does not include the cached tokens; ours does.
        counts["input_tokens"] = fields.sum_known_counts(counts["input_tokens"], cached_tokens)
    return Usage(**counts)


def read_duration(values: JsonObject) -> float | None:
    """Return the seconds from start to end; None if a time is not known."""
    start = read_seconds(values.get("start"))
    end = read_seconds(values.get("end"))
    if not start or not end or end < start:
        return None
    return round(end - start, 6)


def read_seconds(value: object) -> float | None:
    """Return seconds since 1970 for a time in nanoseconds or ISO 8601; None for anything else."""
    if not isinstance(value, (str, int, datetime)):
        return None
    text = str(value)
    with suppress(ValueError, OverflowError):
        if text.isdecimal():
            return int(text) / 1e9
        return datetime.fromisoformat(text).timestamp()
    return None
