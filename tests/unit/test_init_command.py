"""``llmops init``: what it writes, what it leaves alone, and that the result runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.messages import check_message
from support.server import StubServer

from pytest_llmops import cli

Init = Callable[..., tuple[int, str, str]]
WRITTEN = ["cases/first.yaml", "prompts/first/v1.md", "tests/test_llm_first.py"]


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Init:
    """Run the command in an empty folder; give its exit status, stdout and stderr."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")

    def call(*argv: str) -> tuple[int, str, str]:
        status = cli.main(["init", *argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def contents() -> dict[str, str]:
    return {path.as_posix(): path.read_text() for path in sorted(Path().rglob("*")) if path.is_file()}


def test_an_empty_folder_has_all_four_files_and_a_second_time_changes_nothing(init: Init) -> None:
    status, out, _ = init()
    assert status == 0
    check_message(out)
    first = contents()
    assert list(first) == [*WRITTEN[:2], "pytest.ini", WRITTEN[2]]
    assert "llm_model = YOUR_MODEL\n" in first["pytest.ini"]
    assert "pythonpath = .\n" in first["pytest.ini"]  # the test is to call the application
    status, out, _ = init("--json")
    assert (status, json.loads(out)["written"], json.loads(out)["left_alone"]) == (0, [], WRITTEN)
    assert json.loads(out)["add_by_hand"] == {}
    # Another model than the configuration has is not written over it.
    assert json.loads(init("--json", "--llm-model=m2")[1])["add_by_hand"] == {
        "file": "pytest.ini",
        "section": "pytest",
        "lines": ["llm_model = m2"],
    }
    assert contents() == first


@pytest.mark.slow
def test_the_result_is_green_with_any_server_and_replays_without_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_llmops.plugin")
    with StubServer() as server:
        assert cli.main(["init", "--llm-model=m1", f"--llm-base-url={server.url}/v1"]) == 0
        pytester.runpytest_subprocess("--llm-record=new", "-W", "error").assert_outcomes(passed=3)
        assert [seen.json["model"] for seen in server.seen] == ["m1"] * 3
    replayed = pytester.runpytest_subprocess("-v", "--strict-markers", "--strict-config")
    replayed.assert_outcomes(passed=3)
    replayed.stdout.fnmatch_lines(["cassettes 3 replayed, 0 recorded, 0 stale, 0 missed"])


INIS = {
    "pytest.ini": ("[pytest]\n", "pytest", "llm_model = m1"),
    "tox.ini": ("[pytest]\n", "pytest", "llm_model = m1"),
    "setup.cfg": ("[tool:pytest]\n", "tool:pytest", "llm_model = m1"),
    "pyproject.toml": ("[project]\nname = 'x'\n", "tool.pytest.ini_options", 'llm_model = "m1"'),
    "pytest.toml": ("[pytest]\n", "pytest", 'llm_model = "m1"'),
    "../pyproject.toml": ("[tool.pytest.ini_options]\n", "tool.pytest.ini_options", 'llm_model = "m1"'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", INIS)
def test_a_configuration_is_left_alone_and_the_lines_for_it_are_printed(init: Init, name: str) -> None:
    text, section, line = INIS[name]
    Path(name).write_text(text)
    result = json.loads(init("--llm-model=m1", "--json")[1])
    assert result["written"] == WRITTEN
    assert result["add_by_hand"] == {"file": name, "section": section, "lines": [line]}
    assert Path(name).read_text() == text
    check_message(init("--llm-model=m1")[1].rpartition("left alone  ")[2].partition("next")[0])
    assert "for YOUR_MODEL" not in " ".join(json.loads(init("--json")[1])["next"])


def test_what_a_project_has_stays_as_it_is(init: Init) -> None:
    mine = {
        "pytest.ini": "[pytest]\nllm_model = mine\nllm_prompts_dir = texts\n",
        "tests/texts/other/v1.md": "Hello",
        "tests/test_llm_first.py": "# mine",
        "cases/first.yaml": "- {id: a, input: b}",
        "prompts": "a file",
    }
    for name, text in mine.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    status, out, _ = init()
    assert status == 0
    check_message(out)
    # The test sees the nearest folder of prompts alone, so the prompt lies there.
    assert {name: text for name, text in contents().items() if name not in mine}.keys() == {
        "tests/texts/first/v1.md"
    }
    assert {name: contents()[name] for name in mine} == mine


def test_a_version_beside_the_users_own_would_leave_open_which_is_used(init: Init) -> None:
    Path("prompts/first").mkdir(parents=True)
    Path("prompts/first/v7.md").write_text("Hello")
    assert json.loads(init("--json")[1])["left_alone"] == ["prompts/first/v1.md"]
    assert not Path("prompts/first/v1.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "files"),
    [
        (["--llm-base-url=localhost:80"], {}),
        (["--llm-model=a\nb"], {}),
        ([], {"prompts": "a file"}),
        ([], {"pytest.ini": "[pytest\n"}),
        ([], {"pytest.ini": "[pytest]\nllm_case_fields = question\n"}),
    ],
    ids=["url", "models", "file for a folder", "broken ini", "wrong ini"],
)
def test_what_cannot_be_done_is_an_error(init: Init, argv: list[str], files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).write_text(text)
    status, out, err = init(*argv)
    assert (status, out) == (2, "")
    check_message(err)
    assert {name: contents()[name] for name in files} == files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "files"),
    [
        ("github", [".github/llmops-comment.sh", ".github/workflows/llm.yml"]),
        ("github-forks", [".github/llmops-comment.sh", ".github/workflows/llm-forks.yml"]),
        ("github-record", [".github/workflows/llm-record.yml"]),
        ("gitlab", [".gitlab-ci.yml"]),
        ("jenkins", ["Jenkinsfile"]),
    ],
)
def test_a_ci_recipe_is_all_that_is_written(init: Init, service: str, files: list[str]) -> None:
    status, out, _ = init(f"--ci={service}")
    assert status == 0
    check_message(out)
    assert list(contents()) == files
    assert "next        1. add the packages of your application to `pip install pytest-llmops`" in out
    assert json.loads(init(f"--ci={service}", "--json")[1])["left_alone"] == sorted(files, reverse=True)


def test_a_ci_recipe_installs_the_project_as_its_files_say(init: Init) -> None:
    Path("pyproject.toml").write_text("[project]\nname = 'app'\n")
    init("--ci=jenkins")
    assert ".venv/bin/pip install -e . pytest-llmops\n" in Path("Jenkinsfile").read_text()
    Path("requirements.txt").touch()
    init("--ci=gitlab")
    assert "- pip install -r requirements.txt pytest-llmops\n" in Path(".gitlab-ci.yml").read_text()
    Path("requirements-dev.txt").touch()
    init("--ci=github")
    workflow = Path(".github/workflows/llm.yml").read_text()
    assert "run: pip install -r requirements-dev.txt\n" in workflow
    status, _, err = init("--ci=github", "--llm-model=m")
    assert status == 2
    check_message(err)


def test_a_ci_recipe_leaves_a_file_of_the_user_alone(init: Init) -> None:
    Path("Jenkinsfile").write_text("pipeline {}\n")
    out = init("--ci=jenkins")[1]
    assert "left alone  Jenkinsfile" in out
    assert "compare the file that was left alone with the recipe: " in out
    assert contents() == {"Jenkinsfile": "pipeline {}\n"}
