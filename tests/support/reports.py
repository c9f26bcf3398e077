"""Reports of pytest, its configuration and its terminal, as far as the plugin reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import Verdict

NODEID = "test_a.py::test_b"


def make_report(
    outcome: str = "passed", when: str = "call", *, nodeid: str = NODEID, longrepr: Any = None, **more: Any
) -> Any:
    """A report of pytest; ``llmops`` among the other arguments is our payload."""
    kinds: Any = {"outcome": outcome, "when": when}
    return pytest.TestReport(
        nodeid, ("test_a.py", 1, "test_b"), {}, longrepr=longrepr, duration=0.5, **kinds, **more
    )


@dataclass
class Config:
    """pytest's configuration; keeps the runs that the hook was called with, and what was put into the cache."""

    rootpath: Path
    args: list[str] = field(default_factory=list)
    command: tuple[object, ...] = ()
    verbosity: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    ini: dict[str, Any] = field(default_factory=dict)
    finished: list[Run] = field(default_factory=list)
    cached: dict[str, Any] = field(default_factory=dict)
    inipath: Path | None = None

    def __post_init__(self) -> None:
        self.args = self.args or [str(self.rootpath)]
        self.invocation_params = SimpleNamespace(dir=self.rootpath, args=self.command)
        self.option = SimpleNamespace(**self.options)
        self.pluginmanager = SimpleNamespace(get_plugin=lambda _name: None, get_plugins=list)
        self.hook = SimpleNamespace(
            pytest_llmops_run_finished=self._finish, pytest_llmops_reports=lambda **_: []
        )
        self.cache: Any = SimpleNamespace(set=self.cached.__setitem__)

    def _finish(self, *, config: object, run: Run) -> None:
        assert config is self
        self.finished.append(run)

    def getoption(self, name: str, default: Any = None) -> Any:
        return self.options.get(name, default)

    def getini(self, name: str) -> Any:
        if isinstance(self.ini.get(name), Exception):
            raise self.ini[name]
        return self.ini.get(name)

    def get_verbosity(self) -> int:
        return self.verbosity


class Terminal:
    """pytest's terminal reporter; keeps the lines, and how they were to be coloured."""

    def __init__(self, encoding: str | None = "utf-8", width: int = 80, *, isatty: bool = True) -> None:
        self.isatty = isatty
        self._begun = ""
        self._tw = SimpleNamespace(fullwidth=width, _file=SimpleNamespace(encoding=encoding))
        self.lines: list[str] = []
        self.styles: list[dict[str, bool]] = []

    def write_sep(self, sep: str, title: str, **style: bool) -> None:
        self.write_line(f"{sep} {title} {sep}", **style)

    def write(self, text: str, **style: bool) -> None:
        self._begun += text
        self.styles.append(style)

    def write_line(self, text: str, **style: bool) -> None:
        self.lines.append(self._begun + text)
        self._begun = ""
        self.styles.append(style)


def make_session(*, failed: int = 0, status: int = 0, stop: str | bool = False) -> Any:
    """pytest's session at its end."""
    return SimpleNamespace(testsfailed=failed, exitstatus=status, shouldstop=stop)


def gate_of(run: Run) -> Verdict:
    """The verdict on the change since the baseline; there has to be one."""
    verdict = run.find_verdict("baseline")
    assert verdict is not None
    return verdict


def make_gate(**fields: Any) -> Verdict:
    """A verdict on the change since the baseline."""
    return Verdict(kind="baseline", decides=True, **fields)
