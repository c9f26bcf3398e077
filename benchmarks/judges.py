"""Judges: how fast and how rightly replies are read, what a verdict costs beside its call, and two workers against one.

``python -m benchmarks.judges``; the replies are third-party data (``LLMOPS_SHARED_DATA`` says where); without it the
reader is left out. A server on this machine judges, once; everything measured is replayed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import line, wall_s
from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape, store, tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.judges.rubric import quality
from pytest_llmops.protocols import Completion, Json
from pytest_llmops.providers.openai import OpenAIModel
from pytest_llmops.settings import Settings

ROOT = Path(__file__).parents[1]
sys.path.insert(
    0, str(ROOT / "tests")
)  # as pytest has it: the server that judges and the replies are the tests' own
from support import judge_replies  # noqa: E402
from support.knowing_judge import MODEL, KnowingJudge  # noqa: E402

SHARED = Path(os.environ.get("LLMOPS_SHARED_DATA") or ROOT.parent / "shared" / "data")
READ_S = 2.0
"""For all replies of LLMBar."""
OVERHEAD_MS = 0.2
FASTER = 1.6
ROUNDS = 3
ANSWERS, TIMES = 50, 10
"""Verdicts whose cost is measured: so many answers, each so often."""
VERDICTS = 1_000
SHAPES = ((1_000, 1), (50, 20))
"""Tests, and verdicts in each."""


def lines() -> Iterator[str]:
    yield from reading()
    yield from overhead()
    yield from workers()


def reading() -> Iterator[str]:
    """Replies of real judges: how many are read as by their authors, and how fast."""
    published: list[judge_replies.Published] = []
    for load in (judge_replies.llmbar, judge_replies.mtbench, judge_replies.xstest):
        try:
            published.append(load(SHARED))
        except FileNotFoundError as error:
            yield f"{'judges':<10}left out: {error.filename} not found"
    if published:
        yield f"{'judges':<10}data set | replies | as the authors | unscored | against the authors"
    for replies in published:
        counts = sum(replies.counts().values(), Counter[str]())
        cells = [counts[what] for what in ("as the authors", "unscored", "against the authors")]
        yield f"{'':<10}{replies.name} | {len(replies.texts):,} | " + " | ".join(f"{n:,}" for n in cells)
    for replies in published:
        seconds = statistics.median(wall_s(replies.ours) for _ in range(ROUNDS))
        what = f"{replies.name}: {len(replies.texts):,} replies read, {len(replies.texts) / seconds:,.0f} a second"
        if replies.name == "LLMBar":
            what += f" ({judge_replies.LLMBAR_ROWS:,} comparisons, most in both orders)"
            yield line("judges", what, seconds, READ_S, " s")
        else:
            yield f"{'judges':<10}{what}"


@dataclass
class Keeping:
    """A model that keeps what it was asked, so that the same can be asked without the judge."""

    model: OpenAIModel
    requests: list[tuple[Any, dict[str, Json]]] = field(default_factory=list)

    def complete(self, messages: Any, /, **params: Json) -> Completion:
        self.requests.append((messages, params))
        return self.model.complete(messages, **params)


def overhead() -> Iterator[str]:
    """A verdict of the judge quality, less the same call without a judge: both replayed from one tape, in turns."""
    rows = answers(ANSWERS)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "verdicts.json"
        with KnowingJudge(row["answer"] for row in rows) as server:
            keeping = Keeping(OpenAIModel(MODEL, base_url=f"{server.url}/v1"))
            with_tape(path, "new", lambda: judged(keeping, rows))
        again(path, 2 * (TIMES + 1))
        model = OpenAIModel(MODEL, base_url="http://127.0.0.1:1/v1")
        pairs: list[tuple[float, float]] = []
        with_tape(path, "none", lambda: in_turns(model, rows, keeping.requests, pairs))
    bare, whole = (statistics.median(seconds) * 1e3 for seconds in zip(*pairs, strict=True))
    added = statistics.median(whole - bare for bare, whole in pairs) * 1e3
    text = f"{len(pairs)} replayed verdicts: the call alone {bare:.2f} ms, by the judge quality {whole:.2f} ms, the judge adds"
    yield line("judges", text, added, OVERHEAD_MS, " ms")


def in_turns(
    model: OpenAIModel,
    rows: Sequence[dict[str, str]],
    requests: Sequence[tuple[Any, dict[str, Json]]],
    pairs: list[tuple[float, float]],
) -> None:
    judge = quality(model)
    for number in range(TIMES + 1):
        for row, (messages, params) in zip(rows, requests, strict=True):
            taken = (
                wall_s(lambda: model.complete(messages, **params)),  # noqa: B023 -- called at once
                wall_s(lambda: judge_row(judge, row)),  # noqa: B023
            )
            if number:  # the first round warms up
                pairs.append(taken)


def judged(model: Any, rows: Sequence[dict[str, str]]) -> None:
    judge = quality(model)
    for row in rows:
        judge_row(judge, row)


def judge_row(judge: Any, row: dict[str, str]) -> None:
    verdict = judge.judge(row["answer"], question=row["input"], reference=row["reference"])
    assert verdict.score == 9


def with_tape(path: Path, mode: Any, work: Callable[[], None]) -> None:
    interception.install_patches()
    recorder.push_recorder(rec := recorder.Recorder(settings=Settings()))
    active_tape.push_tape(open_tape := tape.Tape(path, mode))
    try:
        work()
    finally:
        active_tape.remove_tape(open_tape)
        recorder.pop_recorder(rec)
        interception.remove_patches()
        open_tape.close()


def again(path: Path, times: int) -> None:
    """Let each recorded answer be given so often."""
    interactions = store.load_cassette(path)
    for interaction in interactions.values():
        interaction.answers["0"] *= times
    path.write_text(store.format_cassette(interactions.values(), "2026-01-01"), encoding="utf-8")


def answers(count: int) -> list[dict[str, str]]:
    return [
        {
            "id": f"a{n}",
            "input": f"How long may I keep tool {n}?",
            "reference": f"Tool {n} may be kept for {n + 3} days.",
            "answer": f"You may keep it for {n + 3} days.",
        }
        for n in range(count)
    ]


FIRST = "test_answers.py::test_answers[0]"
INI = """
[pytest]
llm_model = {model}
llm_base_url = http://127.0.0.1:1/v1
addopts = --llm-judge -q -p no:cacheprovider
"""
TESTS = """
import pytest
from pytest_llmops import assert_judge_score

@pytest.mark.parametrize("part", range({tests}))
@pytest.mark.judge("quality")
def test_answers(part, judge, rows):
    for row in rows[part::{tests}]:
        assert_judge_score(row["answer"], judge=judge, question=row["input"], reference=row["reference"], label=row["id"])
"""
CONFTEST = """
import json
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def rows():
    return [json.loads(line) for line in (Path(__file__).parent / "rows.jsonl").read_text().splitlines()]
"""


def workers() -> Iterator[str]:
    """The same replayed verdicts in one process and in two workers, as whole pytest runs in turns, without other plugins.

    A run of one test is taken beside them: what is left without it is what more verdicts gain.
    """
    for tests, verdicts in SHAPES:
        with tempfile.TemporaryDirectory() as name:
            folder = project(Path(name), tests)
            taken = [
                [run(folder, "-n", count, *what) for what in ((), (FIRST,)) for count in ("0", "2")]
                for _ in range(ROUNDS)
            ]
        alone, shared, first_alone, first_shared = (
            statistics.median(seconds) for seconds in zip(*taken, strict=True)
        )
        text = f"{VERDICTS:,} replayed verdicts, {tests:,} tests of {verdicts}: -n 0 {alone:.2f} s, -n 2 {shared:.2f} s, ratio"
        yield line("judges", text, statistics.median(row[0] / row[1] for row in taken), FASTER, at_least=True)
        yield (
            f"{'':<10}of which with one test alone: -n 0 {first_alone:.2f} s, -n 2 {first_shared:.2f} s; "
            f"ratio of the rest {(alone - first_alone) / (shared - first_shared):.2f}"
        )


def project(folder: Path, tests: int) -> Path:
    rows = answers(VERDICTS)
    (folder / "pytest.ini").write_text(INI.format(model=MODEL), encoding="utf-8")
    (folder / "test_answers.py").write_text(TESTS.format(tests=tests), encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with KnowingJudge(row["answer"] for row in rows) as server:
        run(folder, "-n", "0", "--llm-record=new", f"--llm-base-url={server.url}/v1")
        assert server.count == VERDICTS
    return folder


def run(folder: Path, *args: str) -> float:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLMOPS_", "PYTEST_"))
    }
    # Without bytecode every process, and so every worker, would compile 1,200 modules first.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "pytest_llmops.plugin", *args]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"benchmarks.judges: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    return seconds


def main() -> None:
    for text in lines():
        print(text, flush=True)


if __name__ == "__main__":
    main()
