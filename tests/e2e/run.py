"""Real input nobody here wrote, through a real model: recorded live, replayed with the model stopped, compared.

    make e2e

Needs the third-party data and the tool that serves a local model: LLMOPS_SHARED_DATA and LLMOPS_LOCAL_LLM say where
they are, else they are looked for in ../shared beside the checkout.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmops.protocols import Call
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import summarize_run

SHARED = Path(__file__).parents[3] / "shared"
DATA = Path(os.environ.get("LLMOPS_SHARED_DATA") or SHARED / "data")
TOOL = Path(os.environ.get("LLMOPS_LOCAL_LLM") or SHARED / "tools" / "local-llm")
NAME = "pytest-llmops-e2e"
CASES = 50
JUDGED = 10

BANKING_PROMPT = """---
variables: [question]
params: {temperature: 0, max_completion_tokens: 24}
---
system:
You are a bank's assistant. Name the topic of the customer's message in a few words.

user:
{{ question }}
"""
PARAGRAPH_PROMPT = """---
variables: [question, context]
params: {temperature: 0, max_completion_tokens: 24}
---
system:
Answer the question from the text, in a few words.

user:
{{ context }}

Question: {{ question }}
"""
TESTS = """
import pytest
from pytest_llmops import assert_contains, assert_judge_score, assert_retrieval, assert_semantic

@pytest.mark.prompt("banking")
@pytest.mark.cases("cases/banking.jsonl")
def test_banking(prompt, case, llm):
    answer = llm.complete(prompt.render(question=case.input)).text
    assert answer.strip()
    assert_semantic(answer, case.reference, at_least=None)

@pytest.mark.prompt("paragraph")
@pytest.mark.cases("cases/xquad.jsonl")
@pytest.mark.retriever("xquad", k=5)
def test_paragraph(prompt, case, llm, retriever):
    assert_retrieval(retriever.search(case.input), [case["paragraph"]], metric="recall@5", at_least=None)
    answer = llm.complete(prompt.render(question=case.input, context=case["text"])).text
    assert_contains(answer, case.reference, ignore_case=True, at_least=None)
    assert_semantic(answer, case.reference, at_least=None)

@pytest.mark.cases("cases/judged.jsonl")
@pytest.mark.judge("quality")
def test_judged(case, judge):
    # In form only: the local model judges at chance level.
    assert_judge_score(case["answer"], judge=judge, question=case.input, reference=case.reference, at_least=None)
"""


def banking() -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / "suites/banking77/test.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(random.Random(77).sample(rows, CASES)):
        topic = row["category"].replace("_", " ")
        yield {"id": f"b{number:02d}", "input": row["text"], "reference": topic, "tags": [row["category"]]}


def xquad() -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / "retrieval/xquad/xquad.en.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    questions = [
        (f"a{a}p{p}", paragraph["context"], question)
        for a, article in enumerate(articles)
        for p, paragraph in enumerate(article["paragraphs"])
        for question in paragraph["qas"]
    ]
    for place, text, question in random.Random(7).sample(questions, CASES):
        answer = question["answers"][0]["text"]
        yield {
            "id": question["id"],
            "input": question["question"],
            "reference": answer,
            "paragraph": place,
            "text": text,
        }


def write(folder: Path) -> None:
    """The project: prompts, cases and corpus made of the data, and three tests."""
    quiz = list(xquad())
    judged = [{**case, "id": f"j{n}", "answer": case["reference"]} for n, case in enumerate(quiz[:JUDGED])]
    corpus = {case["paragraph"]: {"id": case["paragraph"], "text": case["text"]} for case in quiz}
    tables = {
        "cases/banking.jsonl": list(banking()),
        "cases/xquad.jsonl": quiz,
        "cases/judged.jsonl": judged,
        "corpora/xquad.jsonl": list(corpus.values()),
    }
    texts = {name: "".join(json.dumps(row) + "\n" for row in rows) for name, rows in tables.items()}
    texts |= {"prompts/banking/v1.md": BANKING_PROMPT, "prompts/paragraph/v1.md": PARAGRAPH_PROMPT}
    texts |= {"test_e2e.py": TESTS, "pytest.ini": "[pytest]\nfilterwarnings = error\n"}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@contextmanager
def model() -> Iterator[dict[str, str]]:
    """The real model, on a port of its own."""
    started = subprocess.run(
        [sys.executable, str(TOOL), "start", "--name", NAME], check=True, capture_output=True, text=True
    )
    try:
        yield json.loads(started.stdout.splitlines()[-1])
    finally:
        subprocess.run([sys.executable, str(TOOL), "stop", "--name", NAME], check=True, capture_output=True)


def run(folder: Path, mode: str, url: str, name: str) -> tuple[Run, float]:
    """Run the project once; returns its run file and the seconds it took."""
    report = folder / f"{mode}.json"
    args = [f"--llm-record={mode}", f"--llm-base-url={url}", f"--llm-model={name}", f"--llm-report={report}"]
    environ = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--llm-judge", "-q", *args], cwd=folder, env=environ, check=False
    )
    took = time.perf_counter() - started
    if done.returncode not in (0, 1):
        sys.exit(f"pytest ended with {done.returncode}")
    return Run.from_json(report.read_text(encoding="utf-8"), where=str(report)), took


def comparable(record: TestRecord) -> TestRecord:
    """A record without what must differ: how long the test ran, and whether a call was live."""
    facts = {name: value for name, value in record.facts.items() if name != "cassette"}
    calls = tuple(replace(call, replayed=False) for call in record.calls)
    message = record.message.replace("(live)", "(replayed)").replace(" --llm-record=new", "")
    return replace(record, duration_s=0.0, facts=facts, calls=calls, message=message)


def differences(live: Run, replayed: Run) -> list[str]:
    """What is not the same, a line each."""
    ours, theirs = ({record.nodeid: record for record in run.records} for run in (live, replayed))
    lines = [f"only in one run: {name}" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        first, second = comparable(ours[name]).to_wire(), comparable(theirs[name]).to_wire()
        lines += [f"{name}: {key} differs" for key in first if first[key] != second[key]]
    return lines


def live_calls(run_: Run) -> list[Call]:
    return [call for record in run_.records for call in record.calls if not call.replayed]


def main() -> int:
    missing = [str(path) for path in (DATA, TOOL) if not path.exists()]
    if missing:
        print(
            f"e2e needs {' and '.join(missing)}; LLMOPS_SHARED_DATA and LLMOPS_LOCAL_LLM say where they are"
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="llmops-e2e-") as name:
        folder = Path(name)
        write(folder)
        with model() as served:
            live, live_s = run(folder, "new", served["base_url"], served["model"])
        replayed, replay_s = run(folder, "none", served["base_url"], served["model"])
        changes = differences(live, replayed)
        size = sum(path.stat().st_size for path in folder.rglob("cassettes/**/*.json"))
    print(
        f"\nlive      {len(live.records)} tests, {len(live_calls(live))} live calls, {live_s:.1f} s: {summarize_run(live).outcome_words}"
    )
    print(
        f"replay    {len(replayed.records)} tests, {len(live_calls(replayed))} live calls, {replay_s:.1f} s, model stopped"
    )
    print(f"cassettes {size / 1024:.0f} KB")
    for line in changes[:20]:
        print(f"DIFFERS   {line}")
    print(f"compared  {len(live.records)} records, {len(changes)} differences")
    return 1 if changes or live_calls(replayed) or len(live_calls(live)) < 2 * CASES else 0


if __name__ == "__main__":
    sys.exit(main())
