"""Recordings with and without --llm-concurrency, to be compared."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pytest_llmops.wire.body import TIMINGS
from support.project import Project, Result

HEAD = """
import asyncio, logging, os, threading, time, unittest, uuid, warnings
from concurrent.futures import ThreadPoolExecutor
import httpx2, openai, pytest

pytestmark = pytest.mark.llm_cassette
seen = []

def ask(text, **more):
    with openai.OpenAI(max_retries=0) as client:
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="m", messages=messages, **more).choices[0].message.content
"""
SIMPLE = """
@pytest.mark.parametrize("i", range(6))
def test_simple(i):
    first = ask(f"question {i}")
    assert "echo" in ask(f"second {i} of {first}")
"""


@dataclass
class Recorded:
    result: Result
    cassettes: dict[str, Any]
    sent: Counter[bytes]


TODAY = datetime.now(UTC).date().isoformat()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: without_times(item) for key, item in value.items() if key not in TIMINGS}
        # A run may pass midnight: a recording of either day is one of today.
        if TODAY <= str(kept.get("recorded", "")) <= datetime.now(UTC).date().isoformat():
            kept["recorded"] = "today"
        return kept
    return [without_times(item) for item in value] if isinstance(value, list) else value


def record(project: Project, *args: str, workers: int = 0, keep_journals: bool = False) -> Recorded:
    """Record anew, on a server that has forgotten everything."""
    for folder in [*project.path.rglob("cassettes")]:
        shutil.rmtree(folder)
    project.server.seen.clear()
    project.server._bodies.clear()
    result = project.record("-rA", *args, workers=workers)
    results = {name: data for name, data in project.cassettes().items() if name.endswith(".json")}
    assert keep_journals or not list(project.path.rglob(".journal"))
    cassettes = {name: without_times(json.loads(data)) for name, data in results.items()}
    return Recorded(result, cassettes, Counter(seen.body for seen in project.server.seen))


def listing(text: str) -> list[str]:
    """The lines that do not depend on time or order."""
    lines = re.sub(r"\d+\.\d+s|0x[0-9a-f]+", "", text).splitlines()
    return sorted(
        line.strip(" =-_")
        for line in lines
        if not re.search("asked|sent ahead|sent one|latency|seconds", line)
    )
