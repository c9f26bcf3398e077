from __future__ import annotations

import json
from pathlib import Path
from typing import TypeAlias

import pytest
from support.exchanges import exchange

from pytest_llmops.cassettes.importers import ForeignInteraction, read_foreign
from pytest_llmops.errors import CassetteError
from pytest_llmops.protocols import Call
from pytest_llmops.trace import read_call

pytestmark = pytest.mark.shared_data

Counts: TypeAlias = tuple[int | None, int | None, int | None, int | None]
Row: TypeAlias = tuple[str, str, str, str, int, bool, str, Counts, int, str, str]

# File, provider, endpoint, model, status, streamed, finish reason, tokens (input, output, cached, reasoning), number of
# messages, tools offered, tools called.
# fmt: off
CALLS: list[Row] = [
    ("01", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, False, "stop", (12, 5, 0, 0), 1, "", ""),
    ("02", "openai", "chat", "gpt-4-0613", 200, True, "stop", (12, 5, 0, 0), 1, "", ""),
    ("03", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, False, "tool_calls", (75, 51, 0, 0), 2, "get_current_weather", "get_current_weather get_current_weather"),
    ("03", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, False, "stop", (99, 25, 0, 0), 5, "", ""),
    ("04", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, True, "tool_calls", (75, 51, 0, 0), 2, "get_current_weather", "get_current_weather get_current_weather"),
    ("05", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, False, "stop", (12, 24, 0, 0), 1, "", ""),
    ("06", "openai", "chat", "this-model-does-not-exist", 404, False, "", (None, None, None, None), 1, "", ""),
    ("07", "openai", "embeddings", "text-embedding-3-small", 200, False, "", (8, None, None, None), 1, "", ""),
    ("08", "openai", "embeddings", "text-embedding-3-small", 200, False, "", (9, None, None, None), 1, "", ""),
    ("09", "openai", "responses", "gpt-4o-mini-2024-07-18", 200, True, "completed", (22, 6, 0, 0), 2, "", ""),
    ("10", "openai", "responses", "gpt-5.4-2026-03-05", 200, False, "completed", (44, 288, 0, 9), 1, "", ""),
    ("11", "openai", "responses", "gpt-5.5-2026-04-23", 200, False, "completed", (11, 5, 0, 0), 1, "", ""),
    ("12", "openai", "responses", "gpt-5.5-2026-04-23", 200, False, "completed", (58, 23, 0, 0), 1, "multiply", "multiply"),
    ("12", "openai", "responses", "gpt-5.5-2026-04-23", 200, False, "completed", (94, 17, 0, 0), 3, "multiply", ""),
    ("13", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, True, "tool_calls", (54, 20, 0, 0), 1, "multiply", "multiply"),
    ("13", "openai", "chat", "gpt-4o-mini-2024-07-18", 200, True, "stop", (87, 26, 0, 0), 4, "multiply", ""),
    ("14", "openai", "completions", "davinci-002", 200, False, "length", (8, 16, None, None), 1, "", ""),
    ("14", "openai", "completions", "davinci:2023-07-21-v2", 200, False, "length", (8, 16, None, None), 1, "", ""),
    ("14", "openai", "completions", "davinci:2023-07-21-v2", 200, False, "length", (8, 16, None, None), 1, "", ""),
    ("15", "openai", "chat", "gpt-4o-2024-08-06", 200, False, "stop", (68, 43, 0, 0), 1, "", ""),
    ("15", "openai", "chat", "gpt-4o-2024-08-06", 200, False, "stop", (68, 36, 0, 0), 1, "", ""),
    ("15", "openai", "chat", "gpt-4o-2024-08-06", 200, False, "stop", (68, 39, 0, 0), 1, "", ""),
    ("16", "azure", "chat", "gpt-35-turbo", 200, False, "content_filter", (15, 19, None, None), 1, "", ""),
    ("16", "azure", "chat", "gpt-4.1-mini-2025-04-14", 200, False, "stop", (16, 24, 0, 0), 1, "", ""),
    ("16", "azure", "chat", "gpt-4.1-mini-2025-04-14", 200, False, "stop", (16, 19, 0, 0), 1, "", ""),
    ("16", "azure", "chat", "gpt-4.1-mini-2025-04-14", 200, False, "stop", (16, 21, 0, 0), 1, "", ""),
    ("17", "openai", "chat", "gpt-4-1106-vision-preview", 200, False, "length", (438, 16, None, None), 1, "", ""),
    ("17", "openai", "chat", "gpt-4-1106-vision-preview", 200, False, "length", (438, 16, None, None), 1, "", ""),
    ("17", "openai", "chat", "gpt-4o-mini", 400, False, "", (None, None, None, None), 1, "", ""),
    ("18", "cohere", "rerank", "rerank-english-v3.0", 200, False, "", (None, None, None, None), 7, "", ""),
    ("19", "cohere", "chat", "command-r", 200, True, "TOOL_CALL", (62, 28, None, None), 1, "get_weather get_time", "get_time get_weather"),
    ("20", "groq", "chat", "llama3-8b-8192", 200, False, "stop", (18, 43, None, None), 1, "", ""),
    ("20", "groq", "chat", "llama3-8b-8192", 200, False, "stop", (18, 76, None, None), 1, "", ""),
    ("20", "groq", "chat", "llama3-8b-8192", 200, False, "stop", (18, 67, None, None), 1, "", ""),
    ("20", "groq", "chat", "llama3-8b-8192", 200, False, "stop", (18, 43, None, None), 1, "", ""),
    ("20", "groq", "chat", "llama3-8b-8192", 200, False, "stop", (18, 26, None, None), 1, "", ""),
    ("20", "groq", "chat", "llama3-8b-8192", 200, False, "stop", (18, 52, None, None), 1, "", ""),
    ("21", "bedrock", "converse", "amazon.titan-text-express-v1", 200, True, "guardrail_intervened", (17, 16, None, None), 2, "", ""),
    ("22", "unknown", "/v2/guardrails/pii-detector/execute", "", 200, False, "", (None, None, None, None), 0, "", ""),
    ("23", "openai", "responses", "gpt-4o-mini-2024-07-18", 200, False, "completed", (25, 10, 0, 0), 2, "", ""),
    ("24", "openai", "chat", "gpt-5-2025-08-07", 200, False, "stop", (12, 1888, 0, 1600), 1, "", ""),
    ("25", "openrouter", "chat", "google/gemini-2.0-flash-exp:free", 429, False, "", (None, None, None, None), 2, "", ""),
    ("25", "openrouter", "chat", "google/gemini-2.0-flash-exp:free", 429, False, "", (None, None, None, None), 2, "", ""),
    ("25", "openrouter", "chat", "google/gemini-2.0-flash-exp:free", 429, False, "", (None, None, None, None), 2, "", ""),
    ("26", "openai", "embeddings", "text-embedding-3-small", 200, False, "", (2, None, None, None), 2, "", ""),
    ("27", "bedrock", "embeddings", "amazon.nova-2-multimodal-embeddings-v1:0", 200, False, "", (None, None, None, None), 1, "", ""),
    ("28", "deepseek", "responses", "deepseek-v4-flash", 200, False, "completed", (366, 63, 256, 18), 1, "get_temperature", "get_temperature"),
    ("28", "deepseek", "responses", "deepseek-v4-flash", 200, False, "completed", (444, 14, 384, 0), 4, "get_temperature", ""),
    ("29", "anthropic", "messages", "claude-sonnet-4-0", 401, False, "", (None, None, None, None), 1, "", ""),
    ("30", "openai", "chat", "gpt-5-mini", 400, False, "", (None, None, None, None), 1, "", ""),
    ("30", "openai", "chat", "gpt-5-mini-2025-08-07", 200, False, "stop", (15, 11, 0, 0), 1, "", ""),
    ("31", "xai", "chat", "grok-2-1212", 200, True, "tool_calls", (122, 1, 0, None), 1, "return_bool", "return_bool"),
    ("33", "google", "generateContent", "gemini-2.5-flash", 200, False, "STOP", (217, 267, None, 218), 2, "__mirascope_formatted_output_tool__", "__mirascope_formatted_output_tool__"),
    ("34", "anthropic", "messages", "claude-sonnet-4-5-20250929", 200, True, "tool_use", (880, 81, 0, None), 2, "__mirascope_formatted_output_tool__", "__mirascope_formatted_output_tool__"),
    ("35", "openai", "chat", "gpt-4o-2024-08-06", 200, True, "stop", (172, 29, 0, 0), 2, "__mirascope_formatted_output_tool__", "__mirascope_formatted_output_tool__"),
    ("36", "openai", "chat", "gpt-4o-2024-08-06", 200, False, "stop", (64, 13, 0, 0), 1, "", ""),
    ("37", "anthropic", "messages", "claude-sonnet-4-5-20250929", 200, False, "end_turn", (43, 321, 0, None), 1, "", ""),
    ("37", "anthropic", "messages", "claude-sonnet-4-5-20250929", 200, False, "end_turn", (354, 525, 0, None), 3, "", ""),
    ("38", "anthropic", "messages", "claude-sonnet-4-5-20250929", 200, False, "end_turn", (1114, 406, 1111, None), 2, "", ""),
    ("38", "anthropic", "messages", "claude-sonnet-4-5-20250929", 200, False, "end_turn", (1532, 33, 1111, None), 4, "", ""),
    ("39", "anthropic", "messages", "claude-haiku-4-5-20251001", 200, False, "tool_use", (423, 202, 0, None), 2, "retrieve_entity_info", "retrieve_entity_info retrieve_entity_info retrieve_entity_info retrieve_entity_info"),
    ("39", "anthropic", "messages", "claude-haiku-4-5-20251001", 200, False, "end_turn", (771, 77, 0, None), 7, "retrieve_entity_info", ""),
    ("40", "vertex", "generateContent", "gemini-2.5-flash", 200, False, "STOP", (7, 80, None, 73), 1, "", ""),
    ("41", "google", "generateContent", "gemini-2.0-flash-exp", 200, True, "STOP", (13, 8, None, None), 2, "", ""),
    ("42", "huggingface", "chat", "deepseek-ai/DeepSeek-R1", 200, False, "stop", (4, 197, 0, None), 1, "", ""),
    ("43", "mistral", "chat", "mistral-large-latest", 200, False, "stop", (4, 36, 0, None), 1, "", ""),
    ("44", "ollama", "chat", "gpt-oss:20b", 200, False, "stop", (134, 122, None, None), 1, "final_result", ""),
    ("44", "ollama", "chat", "gpt-oss:20b", 200, False, "tool_calls", (206, 194, None, None), 3, "final_result", "final_result"),
]
# fmt: on
UNREAD = {"05": "1 more answer", "22": "the endpoint /v2/guardrails/pii-detector/execute"}
NOT_HTTP = "45"
OTHER_LAYOUT = "32"  # requests and responses apart, which import does not read
PRICELESS = {"06", "17", "18", "22", "25", "27", "29", "30", "44", "14"}
"""Files with a call that has no price: errors, models of no table, no tokens."""


def files(folder: Path) -> list[Path]:
    return sorted((folder / "cassettes" / "files").iterdir())


def call_of(interaction: ForeignInteraction) -> Call:
    request = json.loads(interaction.request_body)
    kind = interaction.headers.get("content-type", "")
    return read_call(
        exchange(interaction.url, request, interaction.body, status=interaction.status, kind=kind)
    )


def calls(folder: Path) -> list[tuple[str, Call]]:
    rows = [
        (path.name[:2], call_of(entry))
        for path in files(folder)
        if path.name[:2] not in (NOT_HTTP, OTHER_LAYOUT)
        for entry in read_foreign(path)
    ]
    assert len(rows) >= len(CALLS)
    return rows


@pytest.mark.slow
def test_every_call_is_read(shared_data: Path) -> None:
    rows = [
        (
            name,
            call.provider,
            call.endpoint,
            call.model,
            call.status,
            call.streamed,
            call.finish_reason,
            (
                call.usage.input_tokens,
                call.usage.output_tokens,
                call.usage.cached_tokens,
                call.usage.reasoning_tokens,
            ),
            len(call.messages),
            " ".join(tool.name for tool in call.tools),
            " ".join(tool_call.name for tool_call in call.tool_calls),
        )
        for name, call in calls(shared_data)
    ]
    assert rows == CALLS


@pytest.mark.slow
def test_all_of_it_or_it_is_named(shared_data: Path) -> None:
    assert {name: call.unread for name, call in calls(shared_data) if call.unread} == UNREAD


@pytest.mark.slow
def test_every_answer_has_a_content(shared_data: Path) -> None:
    empty = {name for name, call in calls(shared_data) if not call.output and not call.tool_calls}
    # A filtered answer has none, nor what is no model's.
    assert empty == {"16", "22"}


@pytest.mark.slow
def test_arguments_of_tools_are_whole(shared_data: Path) -> None:
    for _, call in calls(shared_data):
        for tool_call in call.tool_calls:
            assert isinstance(json.loads(tool_call.arguments), dict)
        for tool in call.tools:
            assert isinstance(tool.parameters, dict)


@pytest.mark.slow
def test_prices(shared_data: Path) -> None:
    assert {name for name, call in calls(shared_data) if call.cost_usd is None} == PRICELESS


@pytest.mark.slow
def test_every_call_passes_the_wire_between_processes(shared_data: Path) -> None:
    for _, call in calls(shared_data):
        wire = call.to_wire()
        assert Call.from_wire(json.loads(json.dumps(wire))) == call


def test_no_file_is_left_out(shared_data: Path) -> None:
    assert {path.name[:2] for path in files(shared_data)} == {row[0] for row in CALLS} | {
        NOT_HTTP,
        OTHER_LAYOUT,
    }


def test_what_is_no_http_is_named(shared_data: Path) -> None:
    (path,) = (file for file in files(shared_data) if file.name.startswith(NOT_HTTP))
    with pytest.raises(CassetteError, match="request_sample"):
        read_foreign(path)
