"""`python -m benchmarks.feedback`: events of users into the review queue, with planted secrets and repeated questions."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EVENTS, SECRETS = 100_000, 30
MAX_SECONDS, MAX_BYTES = 60, 1_000_000_000
WORDS = [
    "order",
    "parcel",
    "refund",
    "tent",
    "stove",
    "delivery",
    "card",
    "invoice",
    "address",
    "club",
    "points",
    "repair",
    "lamp",
    "zip",
    "week",
    "euro",
]


def write_events(path: Path, *, distinct: int) -> list[str]:
    """Write events with secrets in questions, answers, comments and corrections, and return the secrets."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.planted import SECRETS as PLANTED

    draw = random.Random(1)
    secrets = dict(zip(draw.sample(range(EVENTS), SECRETS), list(PLANTED.values())[:SECRETS], strict=True))
    with path.open("w", encoding="utf-8") as file:
        for number in range(EVENTS):
            about = random.Random(number % distinct)
            row = {
                "event_id": f"e{number}",
                "question": f"How does the {' '.join(about.choices(WORDS, k=8))} work for {number % distinct}?",
                "answer": " ".join(about.choices(WORDS, k=25)) + ".",
                "thumb": draw.choice(("up", "down")),
                "comment": "not what I asked" if number % 7 == 0 else "",
                "tags": [draw.choice(WORDS)],
            }
            if number in secrets:
                key = draw.choice(("question", "answer", "comment", "corrected"))
                row[key] = f"{row.get(key, '')} {secrets[number]}"
            file.write(json.dumps(row) + "\n")
    return list(secrets.values())


def lines() -> Iterator[str]:
    """Yield the figures: of events that are all distinct, and of events on 5,000 questions."""
    for distinct in (EVENTS, 5_000):
        with tempfile.TemporaryDirectory() as name:
            events, queue = Path(name) / "events.jsonl", Path(name) / "queue.jsonl"
            secrets = write_events(events, distinct=distinct)
            command = [
                sys.executable,
                "-m",
                "pytest_llmops",
                "cases",
                "from-feedback",
                str(events),
                "--queue",
                str(queue),
            ]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = -os.times().elapsed
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            seconds += os.times().elapsed
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            text = queue.read_text(encoding="utf-8")
            left = sum(secret in text for secret in secrets)
            yield (
                f"{EVENTS:,} events, {text.count(chr(10)):,} entries: {EVENTS / busy:,.0f} events a second of processor time, "
                f"{seconds:.0f} s (limit {MAX_SECONDS}), peak {after.ru_maxrss * 1024 / 1e6:,.0f} MB (limit {MAX_BYTES / 1e6:,.0f}), "
                f"{left} of {len(secrets)} secrets left"
            )


if __name__ == "__main__":
    for line in lines():
        print(line)
