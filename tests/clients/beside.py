"""Projects that use a fellow recorder or mock beside ours, and how pytest is run over them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.projects import (
    BOTH_BY_HAND,
    BOTH_HTTPX_MOCK,
    BOTH_RESPX,
    BOTH_VCR,
    BY_HAND,
    HTTPX_MOCK,
    INI,
    MARKED_VCR,
    OF_OURS,
    RESPX,
)
from support.matrix import PYTHON, ROOT

OURS = "pytest_llmops.plugin"
ALWAYS = ("xdist.plugin", "pytest_asyncio.plugin")
MOMENT = re.compile(
    r'\d{4}-\d\d-\d\d(?:[T ][\d:.+Z]*)?|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|127\.0\.0\.1:\d+|"(?:latency_s|ttft_s|gap_s)": [\d.e-]+'
)
"""What of a cassette differs from one recording to the next."""
START = re.compile(r'\s+"started_s": [\d.e-]+,')  # calls that were made ahead of their tests have none


@dataclass(frozen=True)
class Neighbour:
    """A plugin beside ours."""

    name: str
    plugin: str
    theirs: str
    """Tests that use it alone."""
    both: str
    """Tests that use it and ours."""
    recording: tuple[str, ...] = ()
    replaying: tuple[str, ...] = ()
    """Their options."""
    recorded_of_both: tuple[str, ...] = ()
    """Recordings of the tests that use both."""


_REPLAY = ("--record-mode=none", "--block-network")
NEIGHBOURS = (
    Neighbour(
        "pytest-recording", "pytest_recording.plugin", MARKED_VCR, BOTH_VCR, ("--record-mode=once",), _REPLAY,
        ("cassettes/test_both/test_marked.yaml",),
    ),
    Neighbour(
        "pytest-vcr", "pytest_vcr", MARKED_VCR, BOTH_VCR, ("--vcr-record=once",), ("--vcr-record=none",),
        ("cassettes/test_marked.yaml",),
    ),
    Neighbour(
        "cassetter", "cassetter.pytest_plugin", MARKED_VCR, BOTH_VCR, ("--record-mode=once",), ("--record-mode=none",),
        ("cassettes/test_both/test_marked.yaml",),
    ),
    Neighbour(
        "respx", "respx.plugin", RESPX, BOTH_RESPX,
        recorded_of_both=(
            "cassettes/test_both/test_async_mocked.json",
            "cassettes/test_both/test_some_are_mocked/httpcore.json",
            "cassettes/test_both/test_some_are_mocked/httpx.json",
        ),
    ),
    Neighbour(
        "pytest-httpx", "pytest_httpx", HTTPX_MOCK, BOTH_HTTPX_MOCK,
        recorded_of_both=("cassettes/test_both/test_some_are_mocked.json",),
    ),
    Neighbour(
        "by hand", "", BY_HAND, BOTH_BY_HAND, recorded_of_both=("cassettes/test_both/test_mocked_and_recorded.json",)
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """What a run of pytest gave."""

    exit: int
    outcomes: dict[str, str]
    """Of each test, ``passed`` or what its report says."""
    changed: list[str]
    """Attributes of the network that are not what they were before the run."""
    text: str


class Runner:
    """The process that pytest is forked from: it has loaded the clients, which takes longer than the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(PYTHON), str(Path(__file__).with_name("probe.py"))],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, **job: object) -> int:
        """Run a job of probe.py; the result is its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), **more}


@dataclass(frozen=True)
class Shelf:
    """A project in a folder, and the address that its tests know."""

    folder: Path
    url: str
    runner: Runner

    def write(self, **files: str) -> None:
        for name, text in {"pytest.ini": INI, **files}.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def write_project(self, neighbour: Neighbour) -> None:
        theirs = {"test_theirs.py": neighbour.theirs, "test_both.py": neighbour.both}
        self.write(**theirs, **{"test_ours.py": OF_OURS})

    def run(self, *args: str, plugins: tuple[str, ...] = ()) -> Ran:
        loaded = [part for plugin in (*ALWAYS, *filter(None, plugins)) for part in ("-p", plugin)]
        changed, report, output = (
            self.folder / name for name in ("changed.json", "report.xml", "output.txt")
        )
        code = self.runner.run(
            folder=str(self.folder),
            args=[*loaded, f"--junitxml={report}", *args],
            environment=_environment(HOME=str(self.folder), STUB=self.url, LLMOPS_MODEL="stub-1"),
            changed=str(changed),
            output=str(output),
        )
        text = f"{' '.join(args)}\n{output.read_text(encoding='utf-8', errors='replace')}"
        if not changed.exists() or not report.exists():
            raise AssertionError(text)
        ran = Ran(code, _outcomes(report), json.loads(changed.read_text()), text)
        for path in (changed, report, output):
            path.unlink()
        return ran

    def cassettes(self) -> dict[str, Any]:
        """What lies in the folders of the recordings, without the moments at which it was recorded."""
        files = sorted(self.folder.glob("cassettes/**/*.*"))
        return {
            path.relative_to(self.folder).as_posix(): _steady(path.read_text(encoding="utf-8"))
            for path in files
        }


NAMES = """
import importlib, json, sys
import pytest
from _pytest.fixtures import FixtureFunctionDefinition

class Config:
    def __init__(self):
        self.lines, self.stash = [], pytest.Stash()
        self.pluginmanager = self
    def addinivalue_line(self, name, line):
        self.lines.append(line)
    def __getattr__(self, name):
        return lambda *args, **how: None

def named(plugin):
    module = importlib.import_module(plugin)
    parser, config = pytest.Parser(_ispytest=True), Config()
    module.pytest_addoption(parser) if hasattr(module, "pytest_addoption") else None
    options = {name for group in [parser._anonymous, *parser._groups] for option in group.options for name in option.names()}
    for hook in ("pytest_configure", "pytest_load_initial_conftests"):
        try:
            getattr(module, hook)(*[config, None, None][: getattr(module, hook).__code__.co_argcount])
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
    markers = {line.partition(":")[0].partition("(")[0].strip() for line in config.lines}
    values = vars(module).items()
    fixtures = {value._get_wrapped_function().__name__ for _, value in values if isinstance(value, FixtureFunctionDefinition)}
    return {"fixtures": fixtures, "options": options, "ini": set(parser._inidict), "markers": markers}

registered = {plugin: named(plugin) for plugin in sys.argv[1:]}
print(json.dumps({plugin: {kind: sorted(listed) for kind, listed in all.items()} for plugin, all in registered.items()}))
"""


def names(*plugins: str) -> dict[str, dict[str, list[str]]]:
    """The fixtures, options, ini keys and markers of plugins, each as it declares them."""
    done = subprocess.run(
        [str(PYTHON), "-c", NAMES, *plugins],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    data: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return data


def _steady(text: str) -> str:
    """A cassette without dates, durations and the port of the server."""
    return MOMENT.sub("*", START.sub("", text))


def _outcomes(report: Path) -> dict[str, str]:
    outcomes = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        outcome = next(
            (child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed"
        )
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return outcomes
