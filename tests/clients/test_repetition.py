"""Plugins that run a test several times: each run plays a take of its own, and a replay never ends in misses."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients.beside import OURS, Runner, Shelf
from support.server import StubServer

SECOND_PASSES = """
import pytest

MARKS
def test_a(llm):
    assert llm.complete("hello").text == "echo of hello (2)"
"""
ALL_PASS = """
import pytest

@pytest.mark.parametrize("word", ["a-1", "1-3"])
def test_a(llm, word):
    assert llm.complete(word).text.startswith(f"echo of {word}")
"""


# Once by a flag and once by a marker: within a plugin both lead to the same repetition.
@pytest.mark.parametrize(
    ("plugin", "marks", "flags"),
    [
        ("pytest_rerunfailures", "", ("--reruns=2",)),
        ("flaky.flaky_pytest_plugin", "@pytest.mark.flaky(max_runs=3)", ()),
    ],
)
def test_a_test_that_is_run_again_asks_again_and_replays_what_it_got(
    runner: Runner, tmp_path: Path, plugin: str, marks: str, flags: tuple[str, ...]
) -> None:
    with StubServer() as server:
        project = Shelf(tmp_path, server.url, runner)
        project.write(**{"test_a.py": SECOND_PASSES.replace("MARKS", marks)})
        flags = (*flags, f"--llm-base-url={server.url}/v1")
        ran = project.run("--llm-record=new", *flags, "test_a.py", plugins=(plugin, OURS))
        assert ran.exit == 0, ran.text
        assert server.count == 2
        for workers in ((), ("-n1",)):
            ran = project.run(*flags, *workers, "test_a.py", plugins=(plugin, OURS))
            assert ran.exit == 0, ran.text
        assert server.count == 2


def test_a_repeated_test_has_a_take_for_each_run(runner: Runner, tmp_path: Path) -> None:
    with StubServer() as server:
        project = Shelf(tmp_path, server.url, runner)
        project.write(**{"test_a.py": ALL_PASS})
        address = f"--llm-base-url={server.url}/v1"
        ran = project.run(
            "--llm-record=new", "--count=3", address, "test_a.py", plugins=("pytest_repeat", OURS)
        )
        assert ran.exit == 0, ran.text
        assert server.count == 6
        assert sorted(project.cassettes()) == [
            "cassettes/test_a/test_a/1-3.json",
            "cassettes/test_a/test_a/a-1.json",
        ]
        for count in (1, 2, 3, 5):
            ran = project.run(
                f"--count={count}", "-n2", "-v", address, "test_a.py", plugins=("pytest_repeat", OURS)
            )
            assert ran.exit == 0, ran.text
            assert ran.text.count("run again") == (count > 3)
        assert server.count == 6
