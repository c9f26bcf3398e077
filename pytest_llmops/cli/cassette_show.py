"""A cassette for a person's eyes: who was asked what, and what came back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import CassetteError, UsageError, format_name_list
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.cassettes.store import Interaction
    from pytest_llmops.protocols import Call, Usage

SHORT_LIMIT, LONG_LIMIT = 200, 20_000
"""Characters of a message."""


def format_cassette(path: Path, key: str = "") -> Iterator[str]:
    """Return the lines that show a cassette.

    Args:
        path: The file.
        key: Show only the interactions whose key starts so, at length.

    Raises:
        CassetteError: It cannot be read.
        UsageError: It is none of ours, or no interaction has such a key.
    """
    from pytest_llmops.cassettes import store

    if path.suffix != ".json":
        raise UsageError(
            f"{path}: expected a cassette of ours (.json); llmops cassettes import reads those of other recorders"
        )
    interactions = sorted(store.load_cassette(path).values(), key=lambda interaction: interaction.by)
    day = store.read_recording_day(path)
    chosen = [interaction for interaction in interactions if interaction.key.startswith(key)]
    if not chosen and key:
        known = format_name_list(shorten_text(interaction.key, 40) for interaction in interactions)
        raise UsageError(f"{path}: no interaction has a key that starts with {key!r}; known are {known}")
    yield f"{shorten_text(str(path), 500)}: {format_count(len(interactions), 'interaction')}, recorded {shorten_text(day, 20) or 'on an unknown day'}"
    for interaction in chosen:
        yield ""
        yield from _format_interaction(interaction, LONG_LIMIT if key else SHORT_LIMIT)


def _format_interaction(interaction: Interaction, limit: int) -> Iterator[str]:
    request = interaction.request
    yield f"{shorten_text(interaction.by, 200)}  {shorten_text(request['method'], 20)} {shorten_text(request['url'], 300)}  key {shorten_text(interaction.key, 40)}"
    request_printed = False
    for take, answers in interaction.answers.items():
        for number, answer in enumerate(answers, 1):
            try:
                call = _parse_call(request, answer)
            except CassetteError as error:
                yield _format_field("damaged", shorten_text(str(error), 300))
                continue
            if not request_printed:
                request_printed = True
                yield from _format_request(call, request, limit)
            many = len(answers) > 1 or len(interaction.answers) > 1
            if many:
                yield f"  take {shorten_text(take, 20)}, answer {number} of {len(answers)}"
            yield from _format_answer(call, answer, limit)


def _parse_call(request: dict[str, Any], answer: dict[str, Any]) -> Call:
    from pytest_llmops.recorder import Exchange
    from pytest_llmops.trace import read_call
    from pytest_llmops.wire.body import unfold_body

    return read_call(
        Exchange(
            method=request["method"],
            url=request["url"],
            request=_parse_json(unfold_body(request["body"])),
            status=answer["status"],
            content_type=answer.get("headers", {}).get("content-type", ""),
            body=unfold_body(answer["body"]),
            latency_s=answer.get("latency_s"),
            ttft_s=answer.get("ttft_s"),
            replayed=True,
            purpose="app",
        )
    )


def _format_request(call: Call, request: dict[str, Any], limit: int) -> Iterator[str]:
    from pytest_llmops.wire.body import unfold_body

    yield _format_field(
        "model",
        f"{shorten_text(call.model or '(none)', 100)} ({shorten_text(call.provider, 40)}, {shorten_text(call.endpoint, 100)})",
    )
    if call.messages:
        earlier = len(call.messages) - 1
        last = call.messages[-1]
        note = f"  (+{format_count(earlier, 'earlier message')})" if earlier else ""
        yield _format_field(
            "asked", f"{shorten_text(last.role, 40)}: {shorten_text(last.content, limit)}{note}"
        )
        return
    body = unfold_body(request["body"]).decode("utf-8", "backslashreplace")
    if body:
        yield _format_field("asked", shorten_text(body, limit))


def _format_answer(call: Call, answer: dict[str, Any], limit: int) -> Iterator[str]:
    from pytest_llmops.wire.body import unfold_body

    if call.output:
        yield _format_field("says", shorten_text(call.output, limit))
    for tool in call.tool_calls:
        yield _format_field("calls", f"{shorten_text(tool.name, 100)} {shorten_text(tool.arguments, limit)}")
    if not call.output and not call.tool_calls:
        body = unfold_body(answer["body"])
        text = body.decode("utf-8", "backslashreplace")
        yield _format_field("answers", f"{shorten_text(text, limit)}" if text else "nothing")
    yield _format_field("status", _format_status(call))
    tokens = _format_tokens(call.usage)
    if tokens:
        yield _format_field("tokens", tokens)


def _format_status(call: Call) -> str:
    parts = [str(call.status)]
    if call.finish_reason:
        parts.append(f"finished: {shorten_text(call.finish_reason, 60)}")
    if call.streamed:
        parts.append("streamed")
    if call.latency_s is not None:
        first = f" (first token after {call.ttft_s:g} s)" if call.ttft_s is not None else ""
        parts.append(f"{call.latency_s:g} s{first}")
    if call.cost_usd is not None:
        parts.append(f"{call.cost_usd:.6f} USD")
    return ", ".join(parts)


def _format_tokens(usage: Usage) -> str:
    named = (
        (usage.input_tokens, "in"),
        (usage.output_tokens, "out"),
        (usage.cached_tokens, "cached"),
        (usage.reasoning_tokens, "reasoning"),
    )
    return ", ".join(f"{n:,} {name}" for n, name in named if n is not None)


def _format_field(label: str, text: str) -> str:
    return f"  {label:<8}{text}"


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
