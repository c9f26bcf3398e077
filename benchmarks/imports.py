"""Import of a promptfoo suite of 1,000 tests with five assertions each, as a whole process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import line, wall_s

TESTS = 1_000
LIMIT_S = 5.0
CONFIG = """description: An assistant of a shop
prompts:
  - "Answer in one sentence. {{question}}"
providers:
  - openai:gpt-4o-mini
defaultTest:
  assert:
    - type: not-icontains
      value: as an AI
    - type: latency
      threshold: 8000
tests: file://tests.yaml
"""


def lines() -> Iterator[str]:
    """Yield the seconds of the command, and their share of the limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder)
        command = [sys.executable, "-m", "pytest_llmops", "import", "promptfoo", str(folder)]
        command += ["--to", str(folder / "tests")]
        seconds = wall_s(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
        cases = sum(len(file.read_text().splitlines()) for file in folder.glob("tests/cases/*/*.jsonl"))
        if cases != TESTS:
            raise AssertionError(f"{cases} cases of {TESTS} tests")
    yield line("import", f"{TESTS:,} tests of promptfoo, 5,000 assertions", seconds, LIMIT_S, " s")


def write_suite(folder: Path) -> None:
    """Write a configuration, and its tests in YAML: three assertions of their own each."""
    tests = []
    for number in range(TESTS):
        assertions = [
            {"type": "icontains", "value": f"fact {number}"},
            {"type": "regex", "value": rf"\b{number}\s+days\b"},
            {"type": "llm-rubric", "value": f"Says that item {number} can be returned"},
        ]
        tests.append(
            {
                "description": f"question {number}",
                "vars": {"question": f"May I return item {number}?"},
                "assert": assertions,
            }
        )
    (folder / "promptfooconfig.yaml").write_text(CONFIG)
    blocks = [f"- {json.dumps(test, indent=2)}\n" for test in tests]
    (folder / "tests.yaml").write_text("".join(blocks))


if __name__ == "__main__":
    print(*lines(), sep="\n")
