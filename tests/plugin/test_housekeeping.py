"""What a run leaves about its cassettes: the usage record, stale answers, orphans, age; and pruning by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.project import Project, Result

from pytest_llmops.cli import main

ASK = """
import httpx2, os, pytest
def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    answer = httpx2.post(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=body).json()
    return answer["choices"][0]["message"]["content"]
"""
THREE = f"""{ASK}
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(3))
def test_own(n):
    assert ask(f"question {{n}}")
@pytest.mark.llm_cassette("both")
def test_first():
    assert ask("first")
@pytest.mark.llm_cassette("both")
def test_second():
    assert ask("second")
@pytest.mark.judge
def test_judged(judge):
    assert ask("judged")
"""
LESS = THREE.replace("range(3)", "range(2)").replace('    assert ask("second")\n', "    pass\n")
OWN = [f"cassettes/test_a/test_own/{n}.json" for n in range(3)]


@pytest.fixture
def suite(project: Project) -> Project:
    project.write(**{"test_a.py": THREE})
    assert project.record("--llm-judge").exit == 0
    return project


def usage(project: Project) -> dict[str, Any]:
    path = project.path / ".pytest_cache" / "v" / "llmops" / "usage"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_record_names_every_cassette_and_what_was_asked(suite: Project, workers: int) -> None:
    suite.run(workers=workers)
    found = usage(suite)
    assert (found["complete"], found["green"], found["scopes"]) == (True, True, [""])
    files = found["files"]
    assert sorted(files) == sorted([*OWN, "cassettes/both.json", "cassettes/test_a/test_judged.json"])
    assert {name: one["ran"] for name, one in files.items() if not one["ran"]} == {
        "cassettes/test_a/test_judged.json": False
    }
    assert [len(files[name]["asked"]) for name in OWN] == [1, 1, 1]
    assert len(files["cassettes/both.json"]["asked"]) == 2
    assert all(list(takes.values()) == [1] for takes in files[OWN[0]]["asked"].values())


def test_the_record_is_the_same_over_workers(suite: Project) -> None:
    records = []
    for workers in (0, 2):
        suite.run(workers=workers)
        records.append({**usage(suite), "created": ""})
    assert records[0] == records[1]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["-k", "own"], "-k"),
        (["-m", "llm_cassette"], "-m"),
        (["test_a.py"], "only test_a.py"),
        (["test_a.py::test_first"], "only test_a.py::test_first"),
        (["--deselect", "test_a.py::test_first"], "--deselect"),
        (["--lf"], "--lf"),
        (["--ignore", "nothing"], "--ignore"),
    ],
)
def test_a_partial_run_says_so_and_nothing_is_pruned(
    suite: Project, capsys: pytest.CaptureFixture[str], args: list[str], why: str
) -> None:
    suite.write(**{"test_a.py": LESS})
    result = suite.run(*args)
    assert "orphan" not in result.text
    assert (usage(suite)["complete"], usage(suite)["partial_because"][0]) == (False, why)
    before = suite.cassettes()
    assert main(["cassettes", "prune"]) != 0
    assert "partial" in capsys.readouterr().err
    assert suite.cassettes() == before


DROPPING = "def pytest_collection_modifyitems(config, items):\n    gone = items[:1]\n    del items[:1]\n    config.hook.pytest_deselected(items=gone)\n"


def test_a_plugin_that_leaves_tests_out_makes_a_run_partial(suite: Project, workers: int) -> None:
    suite.write(**{"conftest.py": DROPPING})
    suite.run(workers=workers)
    assert usage(suite)["partial_because"] == ["1 tests were deselected"]


def test_a_red_run_prunes_nothing(suite: Project, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    suite.write(**{"test_a.py": LESS + "def test_red():\n    assert False\n"})
    result = suite.run(workers=workers)
    assert "orphan" not in result.text
    assert usage(suite)["red_because"] == ["1 failed"]
    before = suite.cassettes()
    assert main(["cassettes", "prune"]) != 0
    assert "failed" in capsys.readouterr().err
    assert suite.cassettes() == before


def test_a_complete_green_run_tells_orphans_and_prune_removes_what_is_not_used(
    suite: Project, workers: int
) -> None:
    suite.write(**{"test_a.py": LESS})
    result: Result = suite.run(workers=workers)
    assert result.exit == 0
    assert "1 orphan" in result.text
    assert result.run.notes == (f"no test uses {OWN[2]}: see llmops cassettes check",)
    assert main(["cassettes", "prune"]) == 0
    left = suite.cassettes()
    assert sorted(left) == sorted([*OWN[:2], "cassettes/both.json", "cassettes/test_a/test_judged.json"])
    assert len(json.loads(left["cassettes/both.json"])["interactions"]) == 1
    again = suite.run(workers=workers)
    assert again.exit == 0
    assert "1 orphan" not in again.text  # the name of the folder holds the word


def test_a_skipped_test_keeps_its_cassette(suite: Project) -> None:
    assert "orphan" not in suite.run().text
    assert main(["cassettes", "prune"]) == 0
    assert "cassettes/test_a/test_judged.json" in suite.cassettes()


def test_without_the_cache_there_is_no_record_and_no_pruning(
    suite: Project, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    (suite.path / ".pytest_cache" / "v" / "llmops" / "usage").unlink()
    suite.run("-p", "no:cacheprovider")
    assert not (suite.path / ".pytest_cache" / "v" / "llmops" / "usage").exists()
    assert main(["cassettes", "prune"]) != 0
    assert "no record of a run" in capsys.readouterr().err


def test_a_run_without_anything_of_ours_leaves_no_record(project: Project) -> None:
    project.write(**{"test_a.py": "def test_plain(): pass\n"})
    project.bare()
    assert not (project.path / ".pytest_cache" / "v" / "llmops").exists()


def test_the_age_of_the_oldest_recording_is_told(suite: Project) -> None:
    path = suite.path / OWN[0]
    text = path.read_text()
    day = json.loads(text)["recorded"]
    path.write_text(text.replace(f'"recorded": "{day}"', '"recorded": "2020-01-01"'))
    result = suite.run("--llm-judge")
    assert ", oldest " in result.text
    assert result.run.meta["cassettes"] == {"oldest": "2020-01-01", "orphans": []}
