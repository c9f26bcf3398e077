"""`llmops cases from-traces`: 100,000 spans of 4 kB, as JSON lines and as one document; seconds and peak memory of a process.

`python -m benchmarks.traces`. Each conversation is an agent's: a question, and ten calls that repeat all messages so far.
Times are of the processor: other work on the machine does not count.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import line

SPANS, CALLS = 100_000, 10
MAX_S, MAX_MB = 60, 1_000
WORDS = (
    "order",
    "refund",
    "parcel",
    "invoice",
    "address",
    "voucher",
    "delivery",
    "return",
    "size",
    "colour",
    "store",
)
RUN = """
import resource, sys
from pytest_llmops import cli
status = cli.main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, file=sys.stderr)
sys.exit(status)
"""
TOOL = {
    "type": "function",
    "name": "get_order",
    "description": "Look up an order of the shop by its number. " * 8,
    "parameters": {
        "type": "object",
        "properties": {"order_id": {"type": "string"}},
        "required": ["order_id"],
    },
}


def text_message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def make_spans(count: int) -> Iterator[str]:
    """Spans as JSON texts, of conversations of `CALLS` calls each."""
    rng = random.Random(1)
    messages: list[dict[str, Any]] = []
    for number in range(count):
        turn = number % CALLS
        if turn == 0:
            system = "You answer customers of a shop. " * 10
            question = f"{number}: {' '.join(rng.choices(WORDS, k=12))} – €5?"
            messages = [text_message("system", system), text_message("user", question)]
        call = {
            "type": "tool_call",
            "id": f"c{turn}",
            "name": "get_order",
            "arguments": {"order_id": f"A-{number}"},
        }
        reply = f"On {number}: {' '.join(rng.choices(WORDS, k=30))}."
        answer = text_message("assistant", reply)
        if turn < CALLS - 1:
            answer = {"role": "assistant", "parts": [call]}
        texts = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
            "gen_ai.input.messages": json.dumps(messages),
            "gen_ai.output.messages": json.dumps([answer]),
            "gen_ai.tool.definitions": json.dumps([TOOL]),
            "server.address": "api.openai.com",
            "gen_ai.response.id": f"chatcmpl-{number}",
        }
        attributes = [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()]
        for key, tokens in (("input", 100 + number % 997), ("output", 10 + number % 91)):
            attributes.append({"key": f"gen_ai.usage.{key}_tokens", "value": {"intValue": str(tokens)}})
        start = 1_795_704_413_360_013_086 + number * 1_000_000
        yield json.dumps(
            {
                "traceId": f"{number:032x}",
                "spanId": f"{number:016x}",
                "name": "chat gpt-4.1-mini",
                "startTimeUnixNano": str(start),
                "endTimeUnixNano": str(start + 900_000_000),
                "attributes": attributes,
            }
        )
        result = {"type": "tool_call_response", "id": f"c{turn}", "response": reply}
        messages += [answer, {"role": "tool", "parts": [result]}]


def write_exports(folder: Path) -> list[Path]:
    """The same spans as lines and as one document."""
    head, tail = '{"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [', "]}]}]}"
    lines, document = folder / "lines.jsonl", folder / "document.json"
    with lines.open("w") as by_line, document.open("w") as whole:
        whole.write(head)
        for number, span in enumerate(make_spans(SPANS)):
            by_line.write(f"{head}{span}{tail}\n")
            whole.write(f", {span}" if number else span)
        whole.write(tail)
    return [lines, document]


def lines() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        queues = set()
        for path in write_exports(Path(name)):
            queue = path.with_suffix(".queue")
            command = [sys.executable, "-c", RUN, "cases", "from-traces", str(path), "--queue", str(queue)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            took, peak = map(float, done.stderr.split()[-2:])
            what = f"{SPANS:,} spans, {path.stat().st_size / 1e6:,.0f} MB, {path.stem}"
            yield line("traces", f"{what}, cpu", took, MAX_S, " s")
            yield line("traces", f"{what}, peak memory", peak, MAX_MB, " MB")
            queues.add(queue.read_bytes().replace(path.name.encode(), b""))
        yield line("traces", "different queues of the two forms", len(queues), 1)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
