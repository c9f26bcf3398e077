"""What an installed but unused plugin costs a pytest run: at the start, and for each test."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUNDS = 11
TESTS = 2000
HEAVY = (
    "openai",
    "sklearn",
    "numpy",
    "vcr",
    "jsonschema",
    "rapidfuzz",
    "jinja2",
    "pydantic",
    "yaml",
    "bm25s",
    "httpx2",
)
PLUGINS = {False: "no_plugin", True: "pytest_llmops.plugin"}
"""What `-p` loads, without the plugin an empty module: to find any takes pytest some milliseconds, which it needs
for the plugins that it loads by itself, too."""


def cpu_s(folder: Path, *args: str) -> float:
    """User plus system time of one pytest process, without the other plugins of this environment."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def paired(folder: Path, file: str) -> tuple[float, float]:
    """Least of the runs without and with the plugin, taken in turns: what a busy machine adds is never less than 0."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS + 1):
        for with_plugin in random.sample((False, True), 2):
            seconds = cpu_s(folder, file, "-p", PLUGINS[with_plugin])
            if number:  # the first round only warms up
                taken[with_plugin].append(seconds)
    return min(taken[False]), min(taken[True])


def lines() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "no_plugin.py").write_text("")
        (folder / "test_one.py").write_text("def test_one():\n    assert True\n")
        (folder / "test_many.py").write_text(
            "".join(f"def test_{n}():\n    assert True\n" for n in range(TESTS))
        )
        bare_one, with_one = paired(folder, "test_one.py")
        yield f"startup   bare pytest, one test: {bare_one * 1e3:.0f} ms CPU; plugin installed, unused: {with_one * 1e3:.0f} ms; adds {(with_one - bare_one) * 1e3:+.0f} ms (limit 20), ratio {with_one / bare_one:.2f}"
        bare_many, with_many = paired(folder, "test_many.py")
        bare, ours = (bare_many - bare_one) / (TESTS - 1), (with_many - with_one) / (TESTS - 1)
        yield f"per test  bare {bare * 1e6:.0f} us; with the plugin {ours * 1e6:.0f} us; adds {(ours - bare) * 1e6:+.0f} us for an unrelated test (limit 15), ratio {ours / bare:.2f}"
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, pytest_llmops.plugin; print([m for m in {HEAVY} if m in sys.modules])",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    yield f"import    heavy modules loaded by the plugin: {loaded} (limit [])"
