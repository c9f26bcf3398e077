"""When calls outside of tests begin to be refused: before the conftest files, when all options are known, or at a folder with cassettes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.errors import UsageError
from pytest_llmops.harness import closed_session
from pytest_llmops.harness.own_tests import CASSETTE_START
from pytest_llmops.harness.session_closer import SessionCloser
from pytest_llmops.settings import OPTIONS, Settings


class PytestUsageError(Exception):
    """pytest's exception for wrong options."""


class Guard:
    """A guard that patches nothing."""

    made: list[Guard]

    def __init__(self, config: Any, settings: Settings, *errors: type[Exception]) -> None:
        self.config, self.settings, self.errors = config, settings, errors
        self.log: list[str] = []
        self.made.append(self)

    def start(self) -> None:
        self.log.append("start")

    def open_connections(self) -> None:
        self.log.append("open")

    def end_run_if_refused(self) -> AbstractContextManager[None]:
        self.log.append("early")
        return nullcontext()


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> list[Guard]:
    """The guards that are put in place."""
    made: list[Guard] = []
    monkeypatch.setattr(Guard, "made", made, raising=False)
    monkeypatch.setattr(closed_session, "ClosedSession", Guard)
    return made


def cassette_in(folder: Path) -> None:
    (folder / "cassettes").mkdir(parents=True)
    (folder / "cassettes" / "a.json").write_bytes(CASSETTE_START)


def closer_of(
    root: Path,
    *,
    line: dict[str, object] | None = None,
    ini: dict[str, object] | None = None,
    testpaths: tuple[str, ...] = (),
    read_ini: Callable[[str], Any] | None = None,
) -> SessionCloser:
    config = SimpleNamespace(
        rootpath=root,
        invocation_params=SimpleNamespace(dir=root),
        known_args_namespace=SimpleNamespace(**(line or {})),
        getini={"testpaths": testpaths}.get,
    )
    return SessionCloser(config, read_ini or (ini or {}).get, PytestUsageError, KeyError)


def is_closed_early(closer: SessionCloser, guards: list[Guard]) -> bool:
    with closer.close_early():
        return bool(guards)


RECORD = next(option for option in OPTIONS if option.name == "record")
MODEL = next(option for option in OPTIONS if option.name == "model")
OUTSIDE = next(option for option in OPTIONS if option.name == "calls_outside_tests")


# Before the conftest files.


def test_a_project_that_shows_nothing_of_ours_is_left_alone(tmp_path: Path, guards: list[Guard]) -> None:
    assert not is_closed_early(closer_of(tmp_path), guards)


@pytest.mark.parametrize("place", ["line", "ini"])
def test_an_option_of_ours_closes_the_session_before_the_conftest_files(
    tmp_path: Path, guards: list[Guard], place: str
) -> None:
    how: Any = {place: {MODEL.dest: "m"}}
    assert is_closed_early(closer_of(tmp_path, **how), guards)
    (guard,) = guards
    assert guard.log == ["start", "early"]
    assert guard.settings.model == "m"
    assert guard.errors == (PytestUsageError, KeyError)


@pytest.mark.parametrize(
    "ini", [{RECORD.dest: "new"}, {OUTSIDE.dest: "allow"}, {RECORD.dest: "no such mode"}]
)
def test_a_run_that_may_call_or_has_a_wrong_option_is_not_closed_early(
    tmp_path: Path, guards: list[Guard], ini: dict[str, object]
) -> None:
    assert not is_closed_early(closer_of(tmp_path, ini=ini), guards)


@pytest.mark.parametrize("error", [PytestUsageError, UsageError])
def test_an_ini_that_cannot_be_read_is_reported_later(
    tmp_path: Path, guards: list[Guard], error: type[Exception]
) -> None:
    def read_ini(name: str) -> object:
        raise error(name)

    assert not is_closed_early(closer_of(tmp_path, read_ini=read_ini), guards)


@pytest.mark.parametrize(
    ("where", "start"),
    [
        ("", {}),
        ("tests", {"line": {"file_or_dir": ["tests"]}}),
        ("tests", {"line": {"file_or_dir": ["tests/test_a.py::test_b"]}}),
        ("tests", {"testpaths": ("te*",)}),
        ("tests/sub", {"testpaths": ("tests/**",)}),
    ],
)
def test_cassettes_where_pytest_starts_close_the_session(
    tmp_path: Path, guards: list[Guard], where: str, start: Any
) -> None:
    cassette_in(tmp_path / where)
    assert is_closed_early(closer_of(tmp_path, **start), guards)


@pytest.mark.parametrize(
    ("where", "start"),
    [
        ("tests", {}),
        ("tests", {"line": {"file_or_dir": ["other"]}, "testpaths": ("tests",)}),
        ("tests/sub", {"line": {"file_or_dir": ["tests"]}}),
    ],
)
def test_cassettes_elsewhere_do_not(tmp_path: Path, guards: list[Guard], where: str, start: Any) -> None:
    cassette_in(tmp_path / where)
    assert not is_closed_early(closer_of(tmp_path, **start), guards)


# When all options are known.


def test_a_project_with_an_option_is_closed_when_pytest_is_configured(
    tmp_path: Path, guards: list[Guard]
) -> None:
    settings = Settings(model="m")
    closer_of(tmp_path).close_when_configured(settings, is_set_up=True)
    (guard,) = guards
    assert (guard.log, guard.settings) == (["start"], settings)


@pytest.mark.parametrize(
    ("settings", "is_set_up"),
    [({}, False), ({"record": "new"}, True), ({"calls_outside_tests": "allow"}, True)],
)
def test_a_project_without_options_or_a_run_that_may_call_stays_open(
    tmp_path: Path, guards: list[Guard], settings: Any, *, is_set_up: bool
) -> None:
    closer_of(tmp_path).close_when_configured(Settings(**settings), is_set_up=is_set_up)
    assert guards == []


@pytest.mark.parametrize(("record", "log"), [("none", []), ("new", ["open"])])
def test_a_conftest_that_chose_another_mode_opens_the_session_again(
    tmp_path: Path, guards: list[Guard], record: Any, log: list[str]
) -> None:
    closer = closer_of(tmp_path)
    guard: Any = closer.close()
    guard.log.clear()
    settings = Settings(record=record)
    closer.close_when_configured(settings, is_set_up=False)
    assert (guard.log, guard.settings) == (log, settings)
    assert closer.close() is guard
    assert len(guards) == 1


# At a folder with cassettes.


@pytest.mark.parametrize("name", ["", "test_a.py"])
def test_the_session_is_closed_at_the_first_folder_with_cassettes(
    tmp_path: Path, guards: list[Guard], name: str
) -> None:
    closer = closer_of(tmp_path)
    closer.close_at_folder(tmp_path / "other")
    assert guards == []
    cassette_in(tmp_path / "sub")
    closer.close_at_folder(tmp_path / "sub" / name)
    closer.close_at_folder(tmp_path / "sub" / name)
    assert [guard.log for guard in guards] == [["start"]]


def test_a_folder_is_looked_at_once(tmp_path: Path, guards: list[Guard]) -> None:
    closer = closer_of(tmp_path)
    closer.close_at_folder(tmp_path / "test_a.py")
    cassette_in(tmp_path)
    closer.close_at_folder(tmp_path / "test_b.py")
    assert guards == []


@pytest.mark.parametrize("settings", [{"record": "new"}, {"calls_outside_tests": "allow"}])
def test_a_folder_of_a_run_that_may_call_closes_nothing(
    tmp_path: Path, guards: list[Guard], settings: Any
) -> None:
    cassette_in(tmp_path)
    closer = closer_of(tmp_path)
    closer.close_when_configured(Settings(**settings), is_set_up=True)
    closer.close_at_folder(tmp_path)
    assert guards == []
