"""What a tape gets from its test and its run: the functions that are tools, the folders that requests name, and its options."""

from __future__ import annotations

import os
import tempfile
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.items import item_of
from support.messages import check_message
from support.tapes import make_tape as new_tape

from pytest_llmops.cases.files import Case
from pytest_llmops.cassettes import active_tape
from pytest_llmops.errors import CassetteError, CassetteMiss, UsageError
from pytest_llmops.harness import tapes
from pytest_llmops.harness.tapes import (
    API_KEY_VARIABLES,
    TapeLog,
    choose_tool_functions,
    is_marked_live,
    list_folders,
    list_unneeded_keys,
    make_tape,
    open_trace,
    record_tool_functions,
    use_test_tape,
)
from pytest_llmops.settings import Settings

# Functions that are tools.

PROJECT = ("shop.find_order", "shop.refund ignore=ctx")


@pytest.mark.parametrize(
    ("own", "functions"),
    [
        ((), list(PROJECT)),
        (("shop.track",), [*PROJECT, "shop.track"]),
        (("shop.find_order ignore=db",), ["shop.refund ignore=ctx", "shop.find_order ignore=db"]),
        (("shop.refund",), ["shop.find_order", "shop.refund"]),
    ],
)
def test_a_test_adds_to_the_tools_of_the_project_or_replaces_one(
    own: tuple[str, ...], functions: list[str]
) -> None:
    assert choose_tool_functions(own, Settings(tool_functions=PROJECT)) == functions


def test_no_function_is_a_tool_with_llm_tools_off() -> None:
    assert choose_tool_functions(("shop.track",), Settings(tool_functions=PROJECT, tools="off")) == []


def test_the_functions_of_a_test_are_looked_up_while_it_runs(tmp_path: Path) -> None:
    item = item_of(tmp_path, pytest.mark.llm_cassette(tools=["no_such_module.find"]).mark)
    with (
        pytest.raises(UsageError, match=r"test_a\.py::test_x.*no_such_module"),
        record_tool_functions(item, Settings()),
    ):
        pytest.fail("the block must not run")


def test_a_function_that_is_a_tool_is_recorded_while_its_test_runs(tmp_path: Path) -> None:
    original = textwrap.dedent.__code__
    item = item_of(tmp_path, pytest.mark.llm_cassette(tools=["textwrap.dedent"]).mark)
    for settings, is_recorded in ((Settings(), True), (Settings(tools="off"), False)):
        with record_tool_functions(item, settings):
            assert (textwrap.dedent.__code__ is not original) is is_recorded
        assert textwrap.dedent.__code__ is original
    with record_tool_functions(item_of(tmp_path), Settings()):
        assert textwrap.dedent.__code__ is original


# Keys of SDKs.


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        (Settings(), API_KEY_VARIABLES),
        (Settings(record="new"), ()),
        (Settings(record="new", changed=True), API_KEY_VARIABLES),
        (Settings(record="new", fork=True), API_KEY_VARIABLES),
        (Settings(record="all", base_url="http://[::1]:8080/v1"), API_KEY_VARIABLES[:1]),
        (Settings(record="all", base_url="no address"), ()),
    ],
)
def test_a_run_that_may_call_the_servers_of_vendors_needs_their_keys(
    settings: Settings, keys: tuple[str, ...]
) -> None:
    assert list_unneeded_keys(settings) == keys


# Folders.


def test_each_folder_of_a_test_has_its_placeholder_with_and_without_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "own").mkdir(parents=True)
    link.symlink_to(real)
    item = item_of(link)
    item.config._tmp_path_factory = SimpleNamespace(_basetemp=link / "base")
    item.funcargs = {"tmp_path": link / "own"}
    assert list_folders(item) == {
        tempfile.gettempdir(): "[this-temp-folder]",
        os.path.realpath(tempfile.gettempdir()): "[this-temp-folder]",
        str(link / "base"): "[this-base-temp]",
        str(real / "base"): "[this-base-temp]",
        str(link): "[this-project]",
        str(real): "[this-project]",
        str(link / "own"): "[this-tmp-path]",
        str(real / "own"): "[this-tmp-path]",
    }


@pytest.mark.parametrize("arguments", [None, {}, {"tmp_path": None}])
def test_a_test_that_has_ended_or_has_no_folder_names_the_others(tmp_path: Path, arguments: object) -> None:
    item = item_of(tmp_path)
    item.funcargs = arguments
    assert set(list_folders(item).values()) == {"[this-temp-folder]", "[this-project]"}


# The tape.


def made(folder: Path, settings: Settings, **how: Any) -> Any:
    """A tape of a test; at its end nothing has to be closed, as it has answered nothing."""
    return make_tape(item_of(folder), settings, folder / "a.json", shared=False, command="pytest", **how)


def test_a_replay_never_checks_a_server_and_a_recording_does(tmp_path: Path) -> None:
    assert made(tmp_path, Settings()).config.why_not_called is None
    assert made(tmp_path, Settings(record="new")).config.why_not_called is not None


def test_a_tape_knows_its_attempt_take_and_folders(tmp_path: Path) -> None:
    config = made(tmp_path, Settings(), attempt=2, take="2", fault_take="timeout").config
    assert (config.attempt, config.take, config.fault_take) == (2, "2", "timeout")
    assert config.list_folders()[str(tmp_path)] == "[this-project]"
    assert config.traced is None


def test_judges_answers_are_shared_between_tests(tmp_path: Path) -> None:
    assert made(tmp_path, Settings()).config.shared_answers is not None


def test_a_test_whose_case_names_no_trace_has_none(tmp_path: Path) -> None:
    assert open_trace(item_of(tmp_path)) is None


def test_a_trace_that_is_missing_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('{"id": "a", "input": "x", "trace": "gone.json"}\n')
    item = item_of(tmp_path, pytest.mark.cases("cases.jsonl").mark)
    item.callspec = SimpleNamespace(
        params={"case": Case(id="a", input="x", data={"input": "x", "trace": "gone.json"})}
    )
    with pytest.raises(CassetteError, match=r"gone\.json"):
        open_trace(item)


def test_a_tape_in_use_is_that_of_all_threads_until_the_end(tmp_path: Path) -> None:
    tape, before = new_tape(tmp_path / "a.json"), active_tape.base_tape()
    with pytest.raises(KeyError), use_test_tape(tape, Settings(base_url="http://127.0.0.1:1/v1")):
        assert active_tape.base_tape() is tape
        assert os.environ["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
        raise KeyError
    assert active_tape.base_tape() is before


@pytest.mark.parametrize(
    ("mark", "option", "is_live"),
    [
        (pytest.mark.llm_cassette(record="live"), None, True),
        (pytest.mark.llm_cassette(record="live"), "new", False),
        (pytest.mark.llm_cassette, None, False),
    ],
)
def test_the_command_line_comes_before_the_marker(
    tmp_path: Path, mark: pytest.MarkDecorator, option: str | None, *, is_live: bool
) -> None:
    item = item_of(tmp_path, mark.mark)
    item.config.getoption = {"llm_record": option}.get
    assert is_marked_live(item) is is_live


# How requests differ from all that is recorded.


def log_with(folder: Path, *changes: str, own: bool, name: str = "changes") -> TapeLog:
    log, tape = TapeLog(folder), new_tape(folder / "a.json")
    tape.report.changes += changes
    log.add_changes(tape, name=name, own=own)
    assert tape.report.changes == []  # the tear-down adds only its own
    log.add_changes(tape, name=name, own=own)
    return log


def test_the_changes_of_the_test_need_no_path_and_others_name_theirs(tmp_path: Path) -> None:
    assert log_with(tmp_path, "another question", own=True).facts == {
        "path": "a.json",
        "changes": ["another question"],
    }
    assert log_with(tmp_path, "another question", own=False, name="fixture_changes").facts == {
        "path": "a.json",
        "fixture_changes": ["another question in a.json"],
    }
    assert log_with(tmp_path, own=True).facts == {}


def test_the_changes_of_blocks_come_with_their_test_and_keep_its_path(tmp_path: Path) -> None:
    log, outer = TapeLog(tmp_path), new_tape(tmp_path / "own.json")
    inner = outer.open_block_tape(tmp_path / "block.json")
    outer.report.changes.append("first")
    inner.report.changes.append("second")
    log.add_changes(outer, own=True)
    assert log.facts == {"path": "own.json", "changes": ["first", "second in block.json"]}


def test_the_changes_of_a_tape_are_in_the_record_of_its_test(tmp_path: Path) -> None:
    log, tape = TapeLog(tmp_path), new_tape(tmp_path / "a.json")
    tape.report.changes.append("another question")
    tape.report.header_notes += ["another key", "another key"]
    log.add_tape(tape, passed=True)
    assert log.facts["changes"] == ["another question"]
    tape.report.notes.append("a note")
    log.add_tape(tape, passed=True)
    assert log.facts["header_notes"] == ["another key"]


# Fixtures and their test.


class Running:
    """The harness of the running test, as far as a fixture knows it."""

    def __init__(self, folder: Path) -> None:
        self.log = TapeLog(folder)
        self.caught_in_setup: object = None
        self.caught_in_teardown: object = None


@pytest.fixture
def asked() -> list[object]:
    """How often a fixture asked for the running test."""
    return []


def fixture_tape(folder: Path, running: Running | None, asked: list[object]) -> tapes.FixtureTape:
    def find() -> Running | None:
        asked.append(running)
        return running

    return tapes.FixtureTape(new_tape(folder / "f.json"), Settings(), find)


def test_a_set_up_without_a_miss_does_not_start_the_running_test(tmp_path: Path, asked: list[object]) -> None:
    with fixture_tape(tmp_path, Running(tmp_path), asked).use_during_setup():
        pass
    assert asked == []


def test_what_a_set_up_changed_is_told_to_the_running_test(tmp_path: Path, asked: list[object]) -> None:
    running = Running(tmp_path)
    tape = fixture_tape(tmp_path, running, asked)
    with tape.use_during_setup():
        tape.tape.report.changes.append("another question")
    assert running.log.facts["fixture_changes"] == ["another question in f.json"]
    assert running.caught_in_setup is None


def test_the_first_miss_of_a_set_up_is_told_to_the_running_test(tmp_path: Path, asked: list[object]) -> None:
    running = Running(tmp_path)
    for text in ("first", "second"):
        tape = fixture_tape(tmp_path, running, asked)
        with pytest.raises(CassetteMiss, match=text, check=check_message), tape.use_during_setup():
            tape.tape.report.refuse(text)
    assert str(running.caught_in_setup) == "first"


def test_a_miss_of_a_set_up_fails_no_tear_down(tmp_path: Path, asked: list[object]) -> None:
    running = Running(tmp_path)
    tape = fixture_tape(tmp_path, running, asked)
    with pytest.raises(CassetteMiss, match="first"), tape.use_during_setup():
        tape.tape.report.refuse("first")
    tape.end_teardown()
    assert running.caught_in_teardown is None


def test_a_miss_of_a_tear_down_is_told_to_the_test_that_ends_and_raised_if_none_runs(
    tmp_path: Path, asked: list[object]
) -> None:
    running = Running(tmp_path)
    for text in ("first", "second"):
        tape = fixture_tape(tmp_path, running, asked)
        tape.begin_teardown()
        tape.tape.report.refuse(text)
        tape.end_teardown()
    assert str(running.caught_in_teardown) == "first"
    tape = fixture_tape(tmp_path, None, asked)
    tape.begin_teardown()
    tape.tape.report.refuse("third")
    with pytest.raises(CassetteMiss, match="third", check=check_message):
        tape.end_teardown()
    assert active_tape.base_tape() is not tape.tape


def test_what_a_tear_down_changed_is_told_apart_from_the_changes_of_tests(
    tmp_path: Path, asked: list[object]
) -> None:
    running = Running(tmp_path)
    tape = fixture_tape(tmp_path, running, asked)
    tape.begin_teardown()
    tape.tape.report.changes.append("another question")
    tape.end_teardown()
    assert running.log.facts["fixture_changes"] == ["another question in f.json"]
    assert "changes" not in running.log.facts
