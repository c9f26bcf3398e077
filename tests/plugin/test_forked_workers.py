"""The workers of these tests are forks of one process: each is as a new process would be."""

from __future__ import annotations

import os

import pytest
from support.forks import CAN_FORK
from support.project import Project

SEEN = """
import os, pathlib, pytest, random
@pytest.mark.parametrize("number", range(2))
def test_seen(number, worker_id):
    values = (os.getpid(), os.getppid(), random.random(), os.getcwd(), os.environ["ASKED"])
    pathlib.Path(f"{worker_id}.txt").write_text("\\n".join(map(str, values)))
"""
ENDS = """
import os
def test_ends():
    os._exit(3)
def test_passes():
    pass
"""


@pytest.mark.skipif(not CAN_FORK, reason="this system has no pidfd_open")
def test_workers_have_one_parent_and_the_folder_and_variables_of_their_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"test_seen.py": SEEN})
    monkeypatch.setenv("ASKED", "yes")
    assert project.run("--dist=each", workers=2).outcomes == {"passed": 4}

    workers = [(project.path / f"gw{number}.txt").read_text().splitlines() for number in (0, 1)]
    (one, parent, drawn, *rest), (other, other_parent, other_drawn, *other_rest) = workers
    assert one != other
    assert parent == other_parent != str(os.getpid())
    assert drawn != other_drawn
    assert rest == other_rest == [str(project.path), "yes"]


def test_a_worker_that_ends_is_noticed(project: Project) -> None:
    project.write(**{"test_ends.py": ENDS})
    result = project.run(workers=2)
    assert result.outcomes == {"failed": 1, "passed": 1}
    assert "crashed while running 'test_ends.py::test_ends'" in result.text
