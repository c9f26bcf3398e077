"""--llm-record=changed over the real history of prompts: edits that it missed, tests that it asked for nothing, and calls that it saved.

A suite of twenty tests has a prompt each: nine of them live through their history in git, one edit a run.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from benchmarks.loopback import Server

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("LLMOPS_SHARED_DATA") or ROOT.parent / "shared" / "data")
HISTORY = DATA / "suites" / "prompt_history" / "fabric_patterns.jsonl.gz"
TESTS, TRIALS = 20, 3
HELPER = '''
from pathlib import Path

def messages(name):
    """Return the request of a prompt."""
    system = Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8")
    return [{"role": "system", "content": system}, {"role": "user", "content": "We met at noon."}]
'''
EDITED_HELPER = """
# Rewritten; the requests stay as they are.
from pathlib import Path

USER = "We met at noon."

def messages(name: str) -> list[dict[str, str]]:
    file = Path(__file__).parent / (name + ".md")
    return [dict(role="system", content=file.read_bytes().decode()), dict(role="user", content=USER)]
"""
TEST = f"""
import pytest
from openai import OpenAI
from pytest_llmops import assert_contains
from helper import messages

@pytest.mark.llm_cassette
@pytest.mark.parametrize("name", [f"p{{n}}" for n in range({TESTS})])
def test_prompt(name):
    answer = OpenAI().chat.completions.create(model="m", messages=messages(name))
    assert_contains(answer.choices[0].message.content, "answer")
"""


def run_pytest(folder: Path, server: Server, *args: str, fresh: bool = False) -> tuple[int, list[str]]:
    """Return how many calls the server got, and the tests that the summary names as changed.

    Args:
        folder: The project.
        server: The server of its models.
        args: Options of pytest.
        fresh: Run in a new process, which imports the project again.
    """
    environ = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": f"{server.url}/v1", "PYTHONPATH": str(ROOT)}
    report = folder / "run.json"
    options = [str(folder), "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", f"--llm-trials={TRIALS}", f"--llm-report={report}", *args]  # fmt: skip
    before, printed = server.answered, io.StringIO()
    if fresh:
        command = [sys.executable, "-m", "pytest", *options]
        done = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
        )
        status = done.returncode
        printed.write(done.stdout + done.stderr)
    else:
        os.environ.update(environ)
        with redirect_stdout(printed):
            status = int(pytest.main(options))
    if status:
        raise SystemExit(printed.getvalue())
    run = json.loads(report.read_text(encoding="utf-8"))
    facts = {record["nodeid"]: record["facts"].get("cassette", {}) for record in run["records"]}
    return server.answered - before, [nodeid for nodeid, cassette in facts.items() if cassette.get("changes")]


def measure(histories: list[list[str]]) -> Iterator[str]:
    """Run the suite after each edit."""
    edits = missed = needless = calls_made = most = 0
    with tempfile.TemporaryDirectory() as name, Server() as server:
        folder = Path(name)
        (folder / "helper.py").write_text(HELPER, encoding="utf-8")
        (folder / "test_prompts.py").write_text(TEST, encoding="utf-8")
        for slot in range(TESTS):  # of a history that is used twice, one slot stays as it is
            text = histories[slot % len(histories)][0]
            (folder / f"p{slot}.md").write_bytes(f"{text}{'#' * (slot // len(histories))}".encode())
        total, _ = run_pytest(folder, server, "--llm-record=new")
        for slot, versions in enumerate(histories):
            for number, version in enumerate(versions[1:], 1):
                (folder / f"p{slot}.md").write_bytes(version.encode())
                calls, changed = run_pytest(folder, server, "--llm-record=changed")
                due = [] if version in versions[:number] else [f"test_prompts.py::test_prompt[p{slot}]"]
                edits += len(due)
                missed += len(set(due) - set(changed))
                needless += len(set(changed) - set(due))
                calls_made, most = calls_made + calls, max(most, calls)
        (folder / "helper.py").write_text(EDITED_HELPER, encoding="utf-8")
        calls, changed = run_pytest(folder, server, "--llm-record=changed", "-n", "2", fresh=True)
    yield (
        f"changed   {edits} edits of {len(histories)} prompts in a suite of {TESTS} tests with {TRIALS} trials: {missed} missed, "
        f"{needless} other tests asked; calls saved {1 - calls_made / edits / total:.1%} (worst run {1 - most / total:.1%}, target 90 %)"
    )
    yield f"changed   an edit of a helper that changes no request: {len(changed)} tests changed, {calls} calls"


def lines() -> Iterator[str]:
    """Measure, or say why not."""
    if not HISTORY.exists():
        yield f"changed   skipped: third-party data not found at {HISTORY}; LLMOPS_SHARED_DATA says where it is"
        return
    histories: dict[str, list[str]] = {}
    for line in gzip.decompress(HISTORY.read_bytes()).decode().splitlines():
        row = json.loads(line)
        histories.setdefault(row["prompt"], []).append(row["text"])
    yield from measure(list(histories.values()))


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
