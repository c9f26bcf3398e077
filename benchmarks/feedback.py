"""`python -m benchmarks.feedback`: events of users into the review queue, with planted secrets and repeated questions."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import line
from benchmarks.traces import MAX_MB, MAX_S, RUN

ROOT = Path(__file__).parents[1]
EVENTS, SECRETS = 100_000, 30
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
                "-c",
                RUN,
                "cases",
                "from-feedback",
                str(events),
                "--queue",
                str(queue),
            ]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, done.stderr
            took, peak = map(float, done.stderr.split()[-2:])
            text = queue.read_text(encoding="utf-8")
            what = f"{EVENTS:,} events, {text.count(chr(10)):,} entries"
            yield line("feedback", f"{what}, cpu", took, MAX_S, " s")
            yield line("feedback", f"{what}, peak memory", peak, MAX_MB, " MB")
            left = sum(secret in text for secret in secrets)
            yield line("feedback", f"{what}, of {len(secrets)} secrets left", left, 0)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
