"""What cases as data cost: collecting them beside plain `parametrize`, and finding near-duplicates of real questions.

Run it alone with ``python -m benchmarks.cases``.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.figures import in_turns, line, wall_s
from pytest_llmops.cases.similar_texts import find_similar_pairs

CASES, ROUNDS = 10_000, 5
MARKED = """
import pytest

@pytest.mark.prompt("answer", versions=["v1", "v2"])
@pytest.mark.cases("cases.jsonl")
def test_a(prompt, case): pass
"""
PLAIN = """
import json, pytest

rows = [json.loads(line) for line in open("cases.jsonl", encoding="utf-8")]

@pytest.mark.parametrize("prompt", ["v1", "v2"])
@pytest.mark.parametrize("case", rows, ids=[row["id"] for row in rows])
def test_a(prompt, case): pass
"""
LARGE_ROWS = 100_000


def lines() -> Iterator[str]:
    """Each part as a function that yields its lines: more are added here."""
    for part in PARTS:
        with tempfile.TemporaryDirectory() as name:
            yield from part(Path(name))


def collecting(folder: Path) -> Iterator[str]:
    prompts = folder / "prompts" / "answer"
    prompts.mkdir(parents=True)
    for version in ("v1", "v2"):
        text = f"---\nvariables: [question]\n---\nuser:\n{{{{ question }}}} ({version})\n"
        (prompts / f"{version}.md").write_text(text, encoding="utf-8")
    rows = (
        {"id": f"case-{n}", "input": f"Question {n}?", "reference": "Yes.", "tags": ["a"], "fact": "x"}
        for n in range(CASES)
    )
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_marked.py").write_text(MARKED, encoding="utf-8")
    (folder / "test_plain.py").write_text(PLAIN, encoding="utf-8")

    def collect(*args: str) -> None:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *args]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, env=environment()
        )
        assert str(2 * CASES) in done.stdout, done.stdout[-300:]

    times, ratios = in_turns(
        lambda: collect("-p", "no:llmops", "test_plain.py"),
        lambda: collect("test_marked.py"),
        rounds=ROUNDS,
        clock=wall_s,
    )
    text = f"collecting {CASES:,} cases x 2 versions: plain parametrize {times[0]:.2f} s, marked {times[1]:.2f} s, ratio"
    yield line("cases", text, ratios[1], 1.5)


def duplicates(_: Path) -> Iterator[str]:
    shared = Path(os.environ.get("LLMOPS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    files = [shared / "suites" / "banking77" / f"{part}.csv.gz" for part in ("train", "test")]
    if not all(file.exists() for file in files):
        yield f"{'cases':<10}duplicates: skipped, third-party data not found at {shared}"
        return
    texts = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as opened:
            texts += [row["text"] for row in csv.DictReader(opened)]
    pairs = []
    seconds = wall_s(lambda: pairs.extend(find_similar_pairs(texts)))
    yield line(
        "cases",
        f"near-duplicates of {len(texts):,} questions of banking77, {len(pairs):,} pairs",
        seconds,
        20,
        " s",
    )


def streaming(folder: Path) -> Iterator[str]:
    file = folder / "large.jsonl"
    with file.open("w", encoding="utf-8") as opened:
        for n in range(LARGE_ROWS):
            opened.write(json.dumps({"id": f"case-{n}", "input": f"{n:x} " * 80, "reference": "Yes."}) + "\n")
    size = file.stat().st_size / 2**20
    for name, *more in (("sample", "-n", "100"), ("split",), ("convert", "--to", "openai-chat")):
        command = [sys.executable, "-m", "pytest_llmops", "cases", name, str(file), *more]
        command += ["-o", str(folder / "out.jsonl")]
        run = partial(subprocess.run, command, check=True, capture_output=True, env=environment())
        seconds = wall_s(run)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        text = f"memory of `cases {name}` of {size:,.0f} MiB ({seconds:.0f} s; children of this run at most)"
        yield line("cases", text, peak, 200, " MiB")


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
    }


PARTS: tuple[Callable[[Path], Iterator[str]], ...] = (streaming, collecting, duplicates)

if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
