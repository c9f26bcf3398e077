"""A cassette for a person's eyes: who was asked what, and what came back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import CassetteError, UsageError, listing
from pytest_llmops.measurement import counted, shorten

if TYPE_CHECKING:
    from pytest_llmops.cassettes.store import Interaction
    from pytest_llmops.protocols import Call, Usage

SHORT, LONG = 200, 20_000
"""Characters of a message."""


def show(path: Path, key: str = "") -> Iterator[str]:
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
    interactions = sorted(store.load(path).values(), key=lambda one: one.by)
    day = store.recorded_on(path)
    chosen = [one for one in interactions if one.key.startswith(key)]
    if not chosen and key:
        known = listing(shorten(one.key, 40) for one in interactions)
        raise UsageError(f"{path}: no interaction has a key that starts with {key!r}; known are {known}")
    yield f"{shorten(str(path), 500)}: {counted(len(interactions), 'interaction')}, recorded {shorten(day, 20) or 'on an unknown day'}"
    for one in chosen:
        yield ""
        yield from _interaction(one, LONG if key else SHORT)


def _interaction(one: Interaction, limit: int) -> Iterator[str]:
    request = one.request
    yield f"{shorten(one.by, 200)}  {shorten(request['method'], 20)} {shorten(request['url'], 300)}  key {shorten(one.key, 40)}"
    asked = False
    for take, listed in one.answers.items():
        for number, answer in enumerate(listed, 1):
            try:
                call = _call(request, answer)
            except CassetteError as error:
                yield _labelled("damaged", shorten(str(error), 300))
                continue
            if not asked:
                asked = True
                yield from _asked(call, request, limit)
            many = len(listed) > 1 or len(one.answers) > 1
            if many:
                yield f"  take {shorten(take, 20)}, answer {number} of {len(listed)}"
            yield from _answered(call, answer, limit)


def _call(request: dict[str, Any], answer: dict[str, Any]) -> Call:
    from pytest_llmops.recorder import Exchange
    from pytest_llmops.trace import read
    from pytest_llmops.wire.body import unfold

    return read(
        Exchange(
            method=request["method"],
            url=request["url"],
            request=_parsed(unfold(request["body"])),
            status=answer["status"],
            content_type=answer.get("headers", {}).get("content-type", ""),
            body=unfold(answer["body"]),
            latency_s=answer.get("latency_s"),
            ttft_s=answer.get("ttft_s"),
            replayed=True,
            purpose="app",
        )
    )


def _asked(call: Call, request: dict[str, Any], limit: int) -> Iterator[str]:
    from pytest_llmops.wire.body import unfold

    yield _labelled(
        "model",
        f"{shorten(call.model or '(none)', 100)} ({shorten(call.provider, 40)}, {shorten(call.endpoint, 100)})",
    )
    if call.messages:
        earlier = len(call.messages) - 1
        last = call.messages[-1]
        note = f"  (+{counted(earlier, 'earlier message')})" if earlier else ""
        yield _labelled("asked", f"{shorten(last.role, 40)}: {shorten(last.content, limit)}{note}")
        return
    body = unfold(request["body"]).decode("utf-8", "backslashreplace")
    if body:
        yield _labelled("asked", shorten(body, limit))


def _answered(call: Call, answer: dict[str, Any], limit: int) -> Iterator[str]:
    from pytest_llmops.wire.body import unfold

    if call.output:
        yield _labelled("says", shorten(call.output, limit))
    for tool in call.tool_calls:
        yield _labelled("calls", f"{shorten(tool.name, 100)} {shorten(tool.arguments, limit)}")
    if not call.output and not call.tool_calls:
        body = unfold(answer["body"])
        text = body.decode("utf-8", "backslashreplace")
        yield _labelled("answers", f"{shorten(text, limit)}" if text else "nothing")
    yield _labelled("status", _status(call))
    tokens = _tokens(call.usage)
    if tokens:
        yield _labelled("tokens", tokens)


def _status(call: Call) -> str:
    parts = [str(call.status)]
    if call.finish_reason:
        parts.append(f"finished: {shorten(call.finish_reason, 60)}")
    if call.streamed:
        parts.append("streamed")
    if call.latency_s is not None:
        first = f" (first token after {call.ttft_s:g} s)" if call.ttft_s is not None else ""
        parts.append(f"{call.latency_s:g} s{first}")
    if call.cost_usd is not None:
        parts.append(f"{call.cost_usd:.6f} USD")
    return ", ".join(parts)


def _tokens(usage: Usage) -> str:
    named = (
        (usage.input_tokens, "in"),
        (usage.output_tokens, "out"),
        (usage.cached_tokens, "cached"),
        (usage.reasoning_tokens, "reasoning"),
    )
    return ", ".join(f"{n:,} {name}" for n, name in named if n is not None)


def _labelled(label: str, text: str) -> str:
    return f"  {label:<8}{text}"


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
