"""A recording is found by its key wherever its cassette lies: renaming a test, its file or a case loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.project import Project

from pytest_llmops.cli import main

ASK = """
import pytest
from openai import OpenAI

def ask(text):
    message = {"role": "user", "content": text}
    return OpenAI().chat.completions.create(model="stub-1", messages=[message]).choices[0].message.content
"""
ONE = f"""{ASK}
@pytest.mark.llm_cassette
def test_old():
    assert ask("hello") == "echo of hello"
"""


def renamed_run(project: Project, *args: str, workers: int = 0) -> None:
    """A replay of all tests: green, and the server is not asked."""
    before = project.server.count
    result = project.run(*args, workers=workers)
    assert set(result.outcomes) == {"passed"}, result.text
    assert project.server.count == before


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_a_renamed_test_replays_with_a_note(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": ONE})
    project.record()
    project.write(**{"test_a.py": ONE.replace("test_old", "test_new")})
    result = project.run("-v", workers=workers)
    assert result.outcomes == {"passed": 1}
    note = result.line("renamed tests replay")
    assert "cassettes/test_a/test_old.json" in note
    assert "llmops cassettes move" in note
    assert "orphan" not in result.text
    assert list(project.cassettes()) == ["cassettes/test_a/test_old.json"]


def test_a_renamed_file_folder_and_class_replay(project: Project) -> None:
    in_class = "\nclass TestShop:\n    @pytest.mark.llm_cassette\n    def test_it(self):\n        assert ask('shop')\n"
    project.write(**{"old/test_a.py": ONE, "test_b.py": ASK + in_class})
    project.record()
    assert list(project.cassettes()) == [
        "cassettes/test_b/TestShop/test_it.json",
        "old/cassettes/test_a/test_old.json",
    ]
    (project.path / "old/test_a.py").unlink()
    project.write(**{"new/test_c.py": ONE, "test_b.py": ASK + in_class.replace("TestShop", "TestStore")})
    renamed_run(project)


def test_a_cassette_named_as_before_with_its_class_in_the_file_name_replays(project: Project) -> None:
    project.write(
        **{
            "test_b.py": ASK
            + "\nclass TestShop:\n    @pytest.mark.llm_cassette\n    def test_it(self):\n        assert ask('shop')\n"
        }
    )
    project.record()
    folder = project.path / "cassettes/test_b"
    (folder / "TestShop/test_it.json").rename(folder / "testshop-1a2b3c4d.test_it.json")
    renamed_run(project)
    renamed_run(project, "test_b.py::TestShop::test_it")


PARAMETRIZED = (
    ASK
    + """
@pytest.mark.llm_cassette
@pytest.mark.parametrize("case", [CASES])
def test_x(case):
    assert ask("the same for all").startswith("echo of the same for all")
    assert ask(case[-1]) == f"echo of {case[-1]}"
"""
)


def with_cases(cases: str) -> str:
    return PARAMETRIZED.replace("CASES", cases)


def test_a_renamed_case_replays_alone_and_with_all(project: Project) -> None:
    project.write(**{"test_a.py": with_cases("'old-a'")})
    project.record()
    project.write(**{"test_a.py": with_cases("'new-a'")})
    renamed_run(project)
    renamed_run(project, "test_a.py::test_x[new-a]")


def test_equal_requests_of_several_cases_that_were_renamed_are_not_guessed(project: Project) -> None:
    project.write(**{"test_a.py": with_cases("'old-a', 'old-b'")})
    project.record()
    project.write(**{"test_a.py": with_cases("'new-a', 'new-b'")})
    result = project.run()
    assert result.outcomes == {"errors": 2}
    assert "cassettes/test_a/test_x/old-a.json, cassettes/test_a/test_x/old-b.json" in result.text
    for name in ("a", "b"):
        folder = project.path / "cassettes/test_a/test_x"
        assert main(["cassettes", "move", f"{folder}/old-{name}.json", f"{folder}/new-{name}.json"]) == 0
    renamed_run(project)


def test_a_renamed_function_keeps_its_cases_apart(project: Project) -> None:
    project.write(**{"test_a.py": with_cases("'old-a', 'old-b'")})
    project.record()
    project.write(**{"test_a.py": with_cases("'old-a', 'old-b'").replace("test_x", "test_y")})
    renamed_run(project)


@pytest.mark.parametrize("args", [(), ("test_b.py",), ("test_b.py::test_new",), ("-k", "test_new")])
def test_a_test_that_exists_never_lends_its_recordings(project: Project, args: tuple[str, ...]) -> None:
    project.write(**{"test_a.py": ONE})
    project.record()
    project.write(**{"test_b.py": ONE.replace("test_old", "test_new")})
    result = project.run(*args)
    assert result.outcomes.get("errors") == 1, result.text
    assert "no recording answers" in result.text
    (project.path / "test_b.py").unlink()
    project.write(**{"test_a.py": ONE + ONE.replace(ASK, "").replace("test_old", "test_new")})
    result = project.run("test_a.py::test_new")
    assert result.outcomes == {"errors": 1}


def test_a_named_cassette_is_not_searched(project: Project) -> None:
    project.write(**{"test_a.py": ONE.replace("llm_cassette", "llm_cassette('shared')")})
    project.record()
    project.write(**{"test_a.py": ONE.replace("test_old", "test_new")})
    assert project.run().outcomes == {"errors": 1}


def test_recording_copies_what_was_found_and_pays_for_the_rest_alone(project: Project) -> None:
    project.write(**{"test_a.py": ONE})
    project.record()
    old = project.cassettes()["cassettes/test_a/test_old.json"]
    project.write(**{"test_a.py": ONE.replace("test_old", "test_new") + "    assert ask('more')\n"})
    result = project.record("-v")
    assert result.outcomes == {"passed": 1}
    assert [seen.json["messages"][0]["content"] for seen in project.server.seen] == ["hello", "more"]
    new = json.loads(project.cassettes()["cassettes/test_a/test_new.json"])["interactions"]
    assert [interaction["by"] for interaction in new] == ["#001", "#002"]
    assert new[0]["answers"] == json.loads(old)["interactions"][0]["answers"]
    assert "no test uses cassettes/test_a/test_old.json" in result.text
    renamed_run(project)


def test_the_command_moves_what_the_last_run_found(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(**{"test_a.py": ONE})
    project.record()
    before = project.cassettes()["cassettes/test_a/test_old.json"]
    project.write(**{"test_a.py": ONE.replace("test_old", "test_new")})
    project.run()
    monkeypatch.chdir(project.path)
    assert main(["cassettes", "prune"]) == 0  # it is in use
    capsys.readouterr()
    assert main(["cassettes", "move"]) == 0
    assert "cassettes/test_a/test_new.json" in capsys.readouterr().out
    assert project.cassettes() == {"cassettes/test_a/test_new.json": before}
    result = project.run()
    assert result.outcomes == {"passed": 1}
    assert "renamed tests" not in result.text


@pytest.mark.parametrize("files", [["a.json"], ["a.json", "b.yaml"], ["a.json", "b.json", "c.json"]])
def test_the_command_refuses_other_arguments(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cassettes", "move", *files]) == 2
    assert "expected OLD and NEW" in capsys.readouterr().err


def test_a_cassette_without_recordings_is_not_moved(tmp_path: Path) -> None:
    assert main(["cassettes", "move", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) != 0
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_miss_reads_no_other_cassette(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"test_a.py": ONE})
    project.record()
    monkeypatch.setattr("pytest_llmops.cassettes.recordings.walk_folders", None)
    assert project.run().outcomes == {"passed": 1}
