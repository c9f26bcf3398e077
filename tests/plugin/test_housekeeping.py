"""What a run leaves about its cassettes: the usage record, stale answers, orphans, age; and pruning by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
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


JUDGE = "--llm-judge"


@pytest.fixture
def suite(project: Project) -> Project:
    project.write(**{"test_a.py": THREE})
    assert project.record(JUDGE).exit == 0
    return project


def usage(project: Project) -> dict[str, Any]:
    path = project.path / ".pytest_cache" / "v" / "llmops" / "usage"
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_the_record_names_every_cassette_and_what_was_requested(suite: Project) -> None:
    suite.run(JUDGE)
    row = usage(suite)
    assert (row["complete"], row["green"], row["scopes"]) == (True, True, [""])
    files = row["files"]
    assert sorted(files) == sorted([*OWN, "cassettes/both.json", "cassettes/test_a/test_judged.json"])
    assert all(file["ran"] for file in files.values())
    assert [len(files[name]["asked"]) for name in OWN] == [1, 1, 1]
    assert len(files["cassettes/both.json"]["asked"]) == 2
    assert all(list(takes.values()) == [1] for takes in files[OWN[0]]["asked"].values())


@pytest.mark.parametrize(
    ("args", "why"),
    [(["-k", "own"], "-k"), (["test_a.py::test_first"], "only test_a.py::test_first"), (["--lf"], "--lf")],
)
def test_a_partial_run_says_so_and_nothing_is_pruned(
    suite: Project, capsys: pytest.CaptureFixture[str], args: list[str], why: str
) -> None:
    suite.write(**{"test_a.py": LESS})
    result = suite.run(JUDGE, *args)
    assert "1 orphan" not in result.text
    assert (usage(suite)["complete"], usage(suite)["partial_because"][0]) == (False, why)
    before = suite.cassettes()
    assert main(["cassettes", "prune"]) != 0
    assert "partial" in capsys.readouterr().err
    assert suite.cassettes() == before


DROPPING = "def pytest_collection_modifyitems(config, items):\n    gone = items[:1]\n    del items[:1]\n    config.hook.pytest_deselected(items=gone)\n"


def test_a_plugin_that_leaves_tests_out_makes_a_run_partial(suite: Project, workers: int) -> None:
    suite.write(**{"conftest.py": DROPPING})
    suite.run(JUDGE, workers=workers)
    (first,) = usage(suite)["partial_because"]
    suite.write(**{"conftest.py": "def pytest_collection_modifyitems(items):\n    del items[2:]\n"})
    suite.run(JUDGE, workers=workers)
    (second,) = usage(suite)["partial_because"]
    assert [first[:2], second[:2]] == ["1 ", "4 "]
    check_message([first, second])


def test_a_red_run_prunes_nothing(suite: Project, capsys: pytest.CaptureFixture[str]) -> None:
    suite.write(**{"test_a.py": LESS + "def test_red():\n    assert False\n"})
    result = suite.run(JUDGE)
    assert "1 orphan" not in result.text
    assert usage(suite)["red_because"] == ["1 failed"]
    before = suite.cassettes()
    assert main(["cassettes", "prune"]) != 0
    assert "failed" in capsys.readouterr().err
    assert suite.cassettes() == before


def test_a_complete_green_run_tells_orphans_and_prune_removes_what_is_not_used(suite: Project) -> None:
    suite.write(**{"test_a.py": LESS})
    result: Result = suite.run(JUDGE, "-v")
    assert result.exit == 0
    assert result.run.meta["cassettes"]["orphans"] == [OWN[2]]  # type: ignore[call-overload, index]
    (note,) = result.run.notes
    assert OWN[2] in note
    assert "1 orphan" in result.line("cassettes ")
    check_message(note)
    assert main(["cassettes", "prune"]) == 0
    left = suite.cassettes()
    assert sorted(left) == sorted([*OWN[:2], "cassettes/both.json", "cassettes/test_a/test_judged.json"])
    assert len(json.loads(left["cassettes/both.json"])["interactions"]) == 1
    again = suite.run(JUDGE, "-v")
    assert again.exit == 0
    assert again.run.meta["cassettes"]["orphans"] == []  # type: ignore[call-overload, index]
    assert "orphan" not in again.line("cassettes ")


SKIPPING = """
import pytest
@pytest.mark.skipif("True", reason="not here")
@pytest.mark.llm_cassette
def test_skipped(): pass
"""
MODULE = "import pytest\npytest.skip('not here', allow_module_level=True)\n"


@pytest.mark.parametrize(
    ("how", "workers"),
    [
        (([], ""), 0),
        (([JUDGE], SKIPPING), 0),
        (([JUDGE], MODULE), 0),
        (([JUDGE], MODULE), 2),
    ],
    ids=["judge", "skipif", "module", "module, n2"],
)
def test_after_a_skipped_test_nothing_is_pruned(
    suite: Project, capsys: pytest.CaptureFixture[str], workers: int, how: tuple[list[str], str]
) -> None:
    args, extra = how
    suite.write(**{"test_b.py": extra, "test_a.py": LESS})
    suite.run(*args, workers=workers)
    (why,) = usage(suite)["partial_because"]
    assert why.startswith("1 ")
    check_message(why)
    before = suite.cassettes()
    assert main(["cassettes", "prune"]) == 1
    assert why in capsys.readouterr().err
    assert suite.cassettes() == before


def test_what_a_shared_cassette_holds_for_other_folders_is_kept(project: Project) -> None:
    fixture = "import pytest\n@pytest.fixture(scope='session')\ndef say():\n    ask('built')\n    yield ask\n"
    test = "import pytest\n@pytest.mark.llm_cassette\ndef test_x(say):\n    say('x')\n"
    more = test.replace("test_x(say)", "test_y(say, request)").replace("say('x')", "pass")
    late = "import pytest\n@pytest.fixture(scope='session')\ndef wide(say): return say\n"
    project.write(
        **{"conftest.py": ASK + fixture, "a/test_a.py": test, "b/test_b.py": more, "b/conftest.py": late}
    )
    project.record()
    project.run("a")
    assert usage(project)["scopes"] == ["a"]
    before = project.cassettes()
    path = project.path / "cassettes" / "conftest" / "fixture.say.json"
    assert path.is_file()
    assert main(["cassettes", "prune"]) == 0
    assert project.cassettes() == before


def test_without_the_cache_there_is_no_record_and_no_pruning(
    suite: Project, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    (suite.path / ".pytest_cache" / "v" / "llmops" / "usage").unlink()
    suite.run(JUDGE, "-p", "no:cacheprovider")
    assert not (suite.path / ".pytest_cache" / "v" / "llmops" / "usage").exists()
    assert main(["cassettes", "prune"]) != 0
    check_message(capsys.readouterr().err)


def test_a_run_without_anything_of_ours_leaves_no_record(project: Project) -> None:
    project.write(**{"test_a.py": "def test_plain(): pass\n"})
    project.bare()
    assert not (project.path / ".pytest_cache" / "v" / "llmops").exists()


def test_the_age_of_the_oldest_recording_is_reported(suite: Project) -> None:
    path = suite.path / OWN[0]
    text = path.read_text()
    day = json.loads(text)["recorded"]
    path.write_text(text.replace(f'"recorded": "{day}"', '"recorded": "2020-01-01"'))
    result = suite.run(JUDGE, "-v")
    assert ", oldest " in result.text
    assert result.run.meta["cassettes"] == {"oldest": "2020-01-01", "orphans": []}


BLOCKS = f"""{ASK}
from pytest_llmops import use_cassette
SKIP = False
def test_first():
    with use_cassette("handbook"):
        assert ask("first")
        assert SKIP or ask("second")
def test_second():
    if SKIP:
        pytest.skip("today")
    with use_cassette("handbook"):
        assert ask("first")
        assert ask("second")
"""


def test_what_a_skipped_test_may_use_of_a_block_that_two_tests_share_is_kept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(**{"test_a.py": BLOCKS})
    assert project.record().exit == 0
    before = project.cassettes()
    project.write(**{"test_a.py": BLOCKS.replace("SKIP = False", "SKIP = True")})
    assert project.run().outcomes == {"passed": 1, "skipped": 1}
    assert main(["cassettes", "prune", "--root", str(project.path)]) == 0
    assert "skipped test" in capsys.readouterr().err
    assert project.cassettes() == before
    text = BLOCKS.replace("SKIP = False", "SKIP = True").replace(
        '    with use_cassette("handbook"):', "    if not SKIP:"
    )
    project.write(**{"test_a.py": text})
    assert project.run().outcomes == {"passed": 1, "skipped": 1}
    assert main(["cassettes", "prune", "--root", str(project.path)]) == 0
    assert project.cassettes() == before
    project.write(**{"test_a.py": "def test_a(llm_calls): pass\n"})
    assert project.run().outcomes == {"passed": 1}
    assert main(["cassettes", "prune", "--root", str(project.path)]) == 0
    assert project.cassettes() == {}


IN_A_CHILD = """
import os, subprocess, sys
import pytest
from pytest_llmops import use_cassette
import httpx2

def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return httpx2.post(f"{os.environ['SERVER']}/chat/completions", json=body).status_code

def test_child(llm_calls):
    script = f'''
import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_a import ask, use_cassette
with use_cassette("of-the-child", record={os.environ["MODE"]!r}):
    assert ask("child") == 200
with use_cassette("of-both", record={os.environ["MODE"]!r}):
    assert ask("child") == 200
'''
    subprocess.run([sys.executable, "-c", script], check=True, cwd=os.path.dirname(__file__))
    with use_cassette("of-both"):
        assert ask("parent") == 200
"""


def test_what_a_child_process_used_in_a_block_of_its_own_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVER", f"{project.server.url}/v1")
    monkeypatch.setenv("MODE", "new")
    project.write(**{"test_a.py": IN_A_CHILD})
    assert project.record().outcomes == {"passed": 1}
    before = project.cassettes()
    assert sorted(before) == ["cassettes/of-both.json", "cassettes/of-the-child.json"]
    monkeypatch.setenv("MODE", "none")
    result = project.run()
    assert result.outcomes == {"passed": 1}
    assert "no test uses" not in result.text
    assert main(["cassettes", "prune", "--root", str(project.path)]) == 0
    assert capsys.readouterr().err.count("kept: ") == 2
    assert project.cassettes() == before
