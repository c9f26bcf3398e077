"""How many of 15 paid calls each recorder still has when its process is killed before the test has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import line
from benchmarks.loopback import Server
from pytest_llmops.cassettes import store

PAID, WANTED = 15, 20
ROOT = Path(__file__).parents[1]
TEST = f"""
import os, signal
import httpx2, pytest
{{imports}}

def ask():
    for n in range({WANTED}):
        body = {{{{"model": "m", "messages": [{{{{"role": "user", "content": f"question {{{{n}}}}"}}}}]}}}}
        httpx2.post(os.environ["SERVER"] + "/v1/chat/completions", json=body).raise_for_status()
        if n + 1 == {PAID}:
            os.kill(os.getpid(), signal.SIGKILL)

{{mark}}
def test_asks():
    {{body}}
"""


@dataclass(frozen=True)
class Way:
    """One recorder at work in a test."""

    name: str
    options: tuple[str, ...]
    mark: str
    body: str = "ask()"
    imports: str = ""


OURS = Way("ours", ("-p", "pytest_llmops.plugin", "--llm-record=new"), "@pytest.mark.llm_cassette")
PEERS = (
    Way("vcrpy", (), "", 'with vcr.use_cassette("cassettes/a.yaml"): ask()', "import vcr"),
    Way("pytest-recording", ("-p", "pytest_recording.plugin", "--record-mode=once"), "@pytest.mark.vcr"),
    Way("cassetter", ("-p", "cassetter.pytest_plugin", "--record-mode=once"), "@pytest.mark.vcr"),
)


def _kept(way: Way, folder: Path, count: Callable[[Path], int]) -> int:
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_a.py").write_text(TEST.format(imports=way.imports, mark=way.mark, body=way.body))
    with Server() as server:
        environ = {
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(ROOT),
            "SERVER": server.url,
        }
        command = [sys.executable, "-m", "pytest", "-q", *way.options]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert server.answered == PAID, (way.name, server.answered, done.stdout, done.stderr)
    return count(folder)


def _ours(folder: Path) -> int:
    interactions = store.load_with_journals(folder / "cassettes" / "test_a" / "test_asks.json")
    return sum(
        len(listed) for interaction in interactions.values() for listed in interaction.answers.values()
    )


def _theirs(folder: Path) -> int:
    import yaml

    kept = 0
    for path in folder.glob("cassettes/**/*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
            kept += len(document["interactions"])
    return kept


def lines(folder: Path, *, peers: bool) -> Iterator[str]:
    kept = _kept(OURS, folder / "killed-ours", _ours)
    text = f"kill -9 after {PAID} of {WANTED} paid calls: ours kept"
    yield line("crash", text, kept, PAID, at_least=True)
    for way in PEERS if peers else ():
        yield f"{'crash':<10}{way.name} kept {_kept(way, folder / f'killed-{way.name}', _theirs)} of {PAID}"
