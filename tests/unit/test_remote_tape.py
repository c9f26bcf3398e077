"""The tape of a test as its processes see it: every attribute that they use is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from pytest_llmops.cassettes import active_tape, mcp, outcome, websocket
from pytest_llmops.cassettes.http import child_processes
from pytest_llmops.cassettes.http.child_processes import TAPE_VALUES, TestProcess
from pytest_llmops.cassettes.http.late_calls import NoTape
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig

CLIENT_MODULES = [
    Path(outcome.__file__),
    *Path(websocket.__file__).parent.glob("*.py"),
    *Path(mcp.__file__).parent.glob("*.py"),
    *(
        path
        for path in Path(child_processes.__file__).parent.glob("*.py")
        if path.stem not in ("child_processes", "late_calls", "remote_tape", "reverse_proxy")
    ),
]


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    tape = Tape(tmp_path / "a.json", config=TapeConfig(command="pytest test_a.py --llm-record=new"))
    active_tape.push_tape(tape)
    yield tape
    active_tape.remove_tape(tape)


@pytest.fixture
def process(tape: Tape) -> Iterator[TestProcess]:
    server = child_processes.TapeServer()
    server.start()
    yield TestProcess(server.make_ticket(tape))
    server.close()


def used_attributes(path: Path) -> set[str]:
    """The attributes of a tape that a module uses."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    return {
        node.attr
        for node in nodes
        if ast.unparse(node.value) in ("tape", "self.tape", "self._tape", "live.tape", "call.tape")
    }


@pytest.mark.slow
def test_processes_use_methods_of_a_tape_and_values_that_are_listed(process: TestProcess) -> None:
    used = set().union(*map(used_attributes, CLIENT_MODULES))
    assert {"claim", "record", "path", "mode"} <= used
    own = vars(process.find_tape(None)).keys()
    assert {name for name in used - own - TAPE_VALUES if not callable(getattr(Tape, name))} == set()


@pytest.mark.parametrize("name", sorted(TAPE_VALUES))
def test_a_value_of_the_tape_is_read_in_the_process_of_the_test(
    process: TestProcess, tape: Tape, name: str
) -> None:
    assert getattr(process.find_tape(None), name) == getattr(tape, name)


def test_an_address_of_an_allowed_host_is_kept_from_its_look_up_to_its_connection(
    process: TestProcess,
) -> None:
    assert not process.find_tape(None).passes("203.0.113.7")
    process.find_tape(None).resolved.add("203.0.113.7")
    assert process.find_tape(None).passes("203.0.113.7")


def test_an_address_that_was_looked_up_between_two_tests_is_not_allowed_to_the_next(
    process: TestProcess,
) -> None:
    NoTape(process).resolved.add("203.0.113.7")
    assert not process.find_tape(None).passes("203.0.113.7")


def test_a_miss_that_is_made_in_a_process_counts_as_one_that_the_test_has_not_shown(
    process: TestProcess, tape: Tape
) -> None:
    error = Outcome("CancelledError", "").make_exception(httpx2, process.find_tape(None))
    assert str(tape.path) in str(error)
    assert list(map(str, tape.report.misses)) == [str(error)]
    assert tape.report.errors_elsewhere == 1
