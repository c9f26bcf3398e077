"""Fellow recorders and mocks, loaded beside ours: each does what it does alone, in any order, in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients.beside import NEIGHBOURS, OURS, Neighbour, Ran, Runner, Shelf, names
from support.messages import check_message
from support.server import StubServer

THEIRS, OF_OURS, BOTH = FILES = ("test_theirs.py", "test_ours.py", "test_both.py")


def shelf(folder: Path, server: StubServer, runner: Runner, neighbour: Neighbour) -> Shelf:
    folder.mkdir()
    made = Shelf(folder, server.url, runner)
    made.write_project(neighbour)
    return made


def all_passed(ran: Ran) -> dict[str, str]:
    assert ran.exit == 0, ran.text
    assert set(ran.outcomes.values()) == {"passed"}, ran.text
    assert ran.changed == [], ran.text
    return ran.outcomes


@pytest.fixture(scope="session")
def ours_alone(
    runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], dict[str, str]]:
    """What our tests give and record without a neighbour."""
    with StubServer() as server:
        alone = shelf(tmp_path_factory.mktemp("alone") / "ours", server, runner, NEIGHBOURS[0])
        ran = alone.run("--llm-record=new", f"--llm-base-url={server.url}/v1", OF_OURS, plugins=(OURS,))
    return all_passed(ran), alone.cassettes()


@pytest.mark.parametrize("neighbour", NEIGHBOURS, ids=lambda neighbour: neighbour.name)
def test_each_does_beside_the_other_what_it_does_alone(
    neighbour: Neighbour, runner: Runner, tmp_path: Path, ours_alone: tuple[dict[str, str], dict[str, str]]
) -> None:
    them, (ours, ours_recorded) = neighbour.plugin, ours_alone
    with StubServer() as stub_server, StubServer() as two:
        without_us = shelf(tmp_path / "theirs", stub_server, runner, neighbour)
        together = shelf(tmp_path / "together", two, runner, neighbour)
        theirs = all_passed(without_us.run(*neighbour.recording, THEIRS, plugins=(them,)))
        live = ("--llm-record=new", f"--llm-base-url={two.url}/v1")
        made = all_passed(together.run(*neighbour.recording, *live, *FILES, plugins=(them, OURS)))
        assert theirs.items() | ours.items() <= made.items()

    # Each wrote what it writes alone, and a test of both kinds has one recording, not two.
    recorded, alone = together.cassettes(), without_us.cassettes() | ours_recorded
    assert {name: recorded.get(name) for name in alone} == alone
    assert sorted(recorded.keys() - alone.keys()) == list(neighbour.recorded_of_both)

    # The servers are gone: what answers now is a recording or a mock.
    away = ("--llm-record=none", f"--llm-base-url={two.url}/v1")
    backwards = together.run(*neighbour.replaying, *away, *reversed(FILES), plugins=(OURS, them))
    assert all_passed(backwards) == made
    assert all_passed(together.run(*neighbour.replaying, *away, "-n1", *FILES, plugins=(them, OURS))) == made
    assert all_passed(without_us.run(*neighbour.replaying, THEIRS, plugins=(them, OURS))) == theirs
    assert together.cassettes() == recorded


MARKED_FOR_BOTH = """
import pytest

@pytest.mark.vcr
def test_calls(llm_calls):
    assert list(llm_calls) == []

@pytest.mark.vcr
def test_cassette(llm_cassette):
    assert llm_cassette.counts.missed == 0

@pytest.mark.vcr
@pytest.mark.llm_cassette
def test_marks():
    pass
"""


def test_what_only_one_of_two_recorders_can_give_is_an_error(runner: Runner, tmp_path: Path) -> None:
    made = Shelf(tmp_path, "", runner)
    made.write(**{"test_a.py": MARKED_FOR_BOTH})
    ran = made.run("test_a.py", plugins=("pytest_recording.plugin", OURS))
    assert set(ran.outcomes.values()) == {"error"}
    errors = [line for line in ran.text.splitlines() if line.startswith("UsageError: ")]
    assert all(
        any(name in line for line in errors) for name in ("`llm_calls`", "`llm_cassette`", "test_marks")
    )
    check_message(errors)
    assert ran.changed == []


def test_their_mark_without_their_plugin_is_nobodys(runner: Runner, tmp_path: Path) -> None:
    made = Shelf(tmp_path, "", runner)
    made.write(**{"test_a.py": MARKED_FOR_BOTH})
    ran = made.run("-o", "markers=vcr", "test_a.py", plugins=(OURS,))
    assert len(all_passed(ran)) == 3


@pytest.mark.usefixtures("runner")  # for its reason to skip
def test_no_two_plugins_use_one_name() -> None:
    registered = names(OURS, *(neighbour.plugin for neighbour in NEIGHBOURS if neighbour.plugin))
    ours = registered.pop(OURS)
    assert {"llm", "llm_cassette"} <= set(ours["fixtures"])
    assert "--llm-record" in ours["options"]
    for theirs in registered.values():
        assert theirs["fixtures"]
        for kind, listed in theirs.items():
            assert not set(listed) & set(ours[kind])
