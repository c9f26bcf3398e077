"""When the calls of a test began: measured live, kept in the cassette, and the same when they are replayed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from support.project import Project
from support.server import WAIT_S, chat_answer, json_reply

from pytest_llmops.protocols import Call
from pytest_llmops.results.traffic import place_calls

ASKING = """
import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

MODEL = "stub-1"

def ask(text):
    client = openai.OpenAI(api_key="k", max_retries=0)
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])

async def ask_async(text):
    async with openai.AsyncOpenAI(api_key="k", max_retries=0) as client:
        return await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
"""
AT_ONCE = {
    "threads": """
def test_a(llm_calls):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, ["one", "two"]))
""",
    "asyncio": """
def test_a(llm_calls):
    async def ask_both():
        await asyncio.gather(ask_async("one"), ask_async("two"))
    asyncio.run(ask_both())
""",
}
IN_TURN = """
def test_a(llm_calls):
    ask("one")
    ask("two")
"""


def spans_of(calls: tuple[Call, ...]) -> dict[str, tuple[float, float]]:
    """Begin and end of each call in a trace, by its question."""
    spans = {}
    for call, start in zip(calls, place_calls(calls), strict=True):
        spans[call.messages[0].content] = start, start + (call.latency_s or 0.0)
    return spans


def starts_of(calls: tuple[Call, ...]) -> dict[str, float | None]:
    return {call.messages[0].content: call.started_s for call in calls}


def stored_answers(project: Project) -> list[dict[str, Any]]:
    (cassette,) = project.cassettes().values()
    interactions = json.loads(cassette)["interactions"]
    return [answer for one in interactions for answers in one["answers"].values() for answer in answers]


@pytest.mark.parametrize("way", AT_ONCE)
def test_calls_at_once_overlap_live_and_replayed(project: Project, workers: int, way: str) -> None:
    both_are_here = threading.Barrier(2, timeout=WAIT_S)
    for text in ("a", "b"):
        project.server.queue.append(replace(json_reply(chat_answer(text)), before=both_are_here.wait))
    project.write(**{"test_a.py": ASKING + AT_ONCE[way]})
    live = project.record(workers=workers)
    assert live.outcomes == {"passed": 1}
    calls = live.records["test_a"].calls
    first, second = sorted(spans_of(calls).values())
    assert first[0] == 0.0
    assert second[0] < first[1]
    replayed = project.run(workers=workers).records["test_a"].calls
    assert starts_of(replayed) == starts_of(calls)
    assert spans_of(replayed) == spans_of(calls)


def test_calls_in_turn_do_not_overlap_and_an_old_cassette_has_no_starts(project: Project) -> None:
    project.write(**{"test_a.py": ASKING + IN_TURN})
    calls = project.record().records["test_a"].calls
    one, two = spans_of(calls).values()
    assert calls[0].started_s == 0.0
    # The start is stored in milliseconds.
    assert two[0] >= one[1] - 0.001
    assert [answer["started_s"] for answer in stored_answers(project)] == [call.started_s for call in calls]
    (path,) = (project.path / name for name in project.cassettes())
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    old = "".join(line for line in lines if '"started_s"' not in line)
    path.write_text(old, encoding="utf-8")
    replayed = project.run()
    assert replayed.outcomes == {"passed": 1}
    assert [call.started_s for call in replayed.records["test_a"].calls] == [None, None]
    assert path.read_text(encoding="utf-8") == old


def test_a_call_beside_replayed_ones_has_no_start(project: Project) -> None:
    project.write(**{"test_a.py": ASKING + IN_TURN})
    before = project.record().records["test_a"].calls
    project.write(**{"test_a.py": ASKING + IN_TURN + '    ask("three")\n'})
    calls = project.record().records["test_a"].calls
    assert [call.started_s for call in calls] == [*(call.started_s for call in before), None]
    assert place_calls(calls)[2] == pytest.approx(max(end for _, end in spans_of(before).values()))


def test_trials_follow_one_another(project: Project) -> None:
    project.write(**{"test_a.py": ASKING + IN_TURN.replace("def", "@pytest.mark.llm_trials(2)\ndef")})
    calls = project.record().records["test_a"].calls
    assert len(calls) == 4
    starts = place_calls(calls)
    assert starts == sorted(starts)
    ends = [start + (call.latency_s or 0.0) for start, call in zip(starts, calls, strict=True)]
    assert starts[2] == pytest.approx(max(ends[:2]), abs=0.001)
    assert [call.started_s for call in project.run().records["test_a"].calls] == [
        call.started_s for call in calls
    ]


def test_tests_that_share_a_cassette_have_no_starts(project: Project) -> None:
    project.write(**{"test_a.py": ASKING + IN_TURN.replace("def", "@pytest.mark.llm_cassette('both')\ndef")})
    calls = project.record().records["test_a"].calls
    assert [call.started_s for call in calls] == [None, None]
    assert not any("started_s" in answer for answer in stored_answers(project))
