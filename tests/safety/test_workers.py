"""Workers and runs that share one cassette lose nothing, also if one of them crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from support.cassettes import files
from support.project import Project

TESTS = 12
SHARED = f"""
import os
import httpx2
import pytest
pytestmark = pytest.mark.llm_cassette("shared")

def ask(text):
    return httpx2.post(os.environ["SERVER"] + "/ask", json={{"q": text}}, trust_env=False, verify=False).json()["n"]

@pytest.mark.parametrize("number", range({TESTS}))
def test_ask(number):
    assert ask(f"own {{number}}")
    assert ask("of all")
"""


def count_requests(project: Project) -> Counter[str]:
    return Counter(seen.json["q"] for seen in project.server.seen)


def recorded(project: Project) -> dict[str, list[int]]:
    """The numbers of the answers in the shared cassette, by their questions."""
    assert set(files(project.path / "cassettes")) - {".journal"} == {"shared.json"}
    document = json.loads((project.path / "cassettes" / "shared.json").read_bytes())
    return {
        row["request"]["body"]["json"]["q"]: [answer["body"]["json"]["n"] for answer in row["answers"]["0"]]
        for row in document["interactions"]
    }


OWN = {f"own {number}" for number in range(TESTS)}


def test_workers_that_share_a_cassette_lose_nothing(project: Project) -> None:
    project.write(**{"test_a.py": SHARED})
    assert project.record(workers=4).outcomes == {"passed": TESTS}
    paid = count_requests(project)
    assert {question: paid[question] for question in OWN} == dict.fromkeys(OWN, 1)
    assert paid["of all"] <= 2 * 4  # who has not seen the others' answer yet asks for its own
    assert set(recorded(project)) == OWN | {"of all"}
    assert all(len(answers) == 1 for answers in recorded(project).values())

    assert project.record(mode="all", workers=2).outcomes == {"passed": TESTS}
    assert count_requests(project) - paid == Counter({**dict.fromkeys(OWN, 1), "of all": TESTS})
    again = recorded(project)
    assert {question: again[question] for question in OWN} == {own: [2] for own in OWN}
    assert again["of all"][0] > 1

    before = (project.path / "cassettes" / "shared.json").read_bytes()
    project.server.close()
    for count in (0, 2):
        assert project.run(workers=count).outcomes == {"passed": TESTS}
    assert (project.path / "cassettes" / "shared.json").read_bytes() == before


def start(project: Project, temporary: Path) -> subprocess.Popen[str]:
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", f"--llm-base-url={project.server.url}/v1", "--llm-record=new"]
    return subprocess.Popen(
        [*command, f"--basetemp={temporary / 'base'}"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def test_two_runs_at_once_lose_nothing(project: Project, tmp_path: Path) -> None:
    """Also where each has a temporary folder of its own, as in two containers with one checkout."""
    project.write(**{"test_a.py": SHARED})
    with start(project, tmp_path / "one") as first, start(project, tmp_path / "two") as second:
        for run in (first, second):
            text, _ = run.communicate()
            assert run.returncode == 0, text
    numbers = recorded(project)
    assert set(numbers) == OWN | {"of all"}
    assert all(len(answers) == 1 for answers in numbers.values())
    assert max(count_requests(project)[own] for own in OWN) <= 2


CRASHING = f"""{SHARED}
    if number == 7 and not os.path.exists("crashed"):
        open("crashed", "w").close()
        os._exit(3)
"""


def test_a_worker_that_crashes_loses_nothing_that_was_paid(project: Project) -> None:
    project.write(**{"test_a.py": CRASHING})
    crashed = project.record(workers=2)
    assert crashed.outcomes["passed"] == TESTS - 1
    assert crashed.exit != 0
    paid = count_requests(project)
    assert set(paid) >= OWN
    assert project.record().outcomes == {"passed": TESTS}
    assert count_requests(project) == paid  # nothing that the dead worker had paid for was asked again
    assert set(recorded(project)) == OWN | {"of all"}
