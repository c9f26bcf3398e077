"""`llmops cases from-traces`: 100,000 spans of 4 kB, as JSON lines and as one document; seconds and peak memory of a process.

Each conversation has four calls, and each call repeats all messages so far, as agents do. Its topics are taken from a small
vocabulary, so that the queue has near duplicates to link.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import line

SPANS, CALLS = 100_000, 4
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
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
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


def make_spans(count: int) -> Iterator[str]:
    """Spans as JSON texts, of conversations of `CALLS` calls each."""
    rng = random.Random(1)
    for number in range(count):
        if number % CALLS == 0:
            system = "You answer customers of a shop. " * 12
            messages = [{"role": "system", "parts": [{"type": "text", "content": system}]}]
        question = f"{number}: {' '.join(rng.choices(WORDS, k=12))} – €5?"
        messages.append({"role": "user", "parts": [{"type": "text", "content": question}]})
        reply = f"On {number}: {' '.join(rng.choices(WORDS, k=30))}."
        answer = {"role": "assistant", "parts": [{"type": "text", "content": reply}], "finish_reason": "stop"}
        texts = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
            "gen_ai.input.messages": json.dumps(messages),
            "gen_ai.output.messages": json.dumps([answer]),
            "gen_ai.tool.definitions": json.dumps([TOOL]),
            "server.address": "api.openai.com",
            "gen_ai.response.id": "chatcmpl-" + "x" * 700,
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
        messages.append(answer)


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
            started = time.perf_counter()
            command = [sys.executable, "-c", RUN, "cases", "from-traces", str(path), "--queue", str(queue)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            took = time.perf_counter() - started
            assert done.returncode == 0, done.stderr
            what = f"{SPANS:,} spans, {path.stat().st_size / 1e6:,.0f} MB, {path.stem}"
            yield line("traces", f"{what}, wall", took, MAX_S, " s")
            yield line("traces", f"{what}, peak memory", float(done.stderr.split()[-1]), MAX_MB, " MB")
            queues.add(queue.read_bytes().replace(path.name.encode(), b""))
        yield line("traces", "different queues of the two forms", len(queues), 1)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
