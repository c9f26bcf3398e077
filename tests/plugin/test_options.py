"""Every option: as a flag, as an ini key, in native TOML, and with a wrong value."""

from __future__ import annotations

import json

import pytest
from support.project import Project

from pytest_llmops.settings import OPTIONS

SHOW = """
import json
from pathlib import Path
from pytest_llmops import recorder
def test_show(llm_cassette):
    s = recorder.settings()
    Path("seen.json").write_text(json.dumps({name: getattr(s, name) for name in s.__dataclass_fields__}))
"""
PROMPT_TEST = """
import pytest
@pytest.mark.prompt("greet")
def test_prompt(prompt): pass
"""
VALUES: dict[str, tuple[str, object]] = {
    "model": ("m1", "m1"),
    "judge_model": ("j1", "j1"),
    "base_url": ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
    "api": ("responses", "responses"),
    "record": ("live", "live"),
    "prompt": ("greet=v1", ["greet=v1"]),
    "report": ("out.json", ["out.json"]),
    "embedder": ("hashing", "hashing"),
    "prompts_dir": ("texts", "texts"),
    "corpora_dir": ("books", "books"),
    "allow_hosts": ("localhost", ["localhost"]),
    "junit_properties": ("false", False),
    "record_errors": ("true", True),
    "max_calls": ("3", 3),
    "budget": ("2.50", 2.5),
    "judge_concurrency": ("3", 3),
    "judge_reuse": ("false", False),
    "ignore": ("messages[*].id", ["messages[*].id"]),
    "semantic_threshold": ("/bounds/semantic.json", "/bounds/semantic.json"),
    "vector_cache": ("/vectors", "/vectors"),
    "calibrations": ("/judges", "/judges"),
    "same_model": ("error", "error"),
}
WRONG = {
    "api": ("soap", "one of chat, responses"),
    "base_url": ("localhost:8080", "a URL that starts with http:// or https://"),
    "record": ("sometimes", "one of none, new, all, live, verify"),
    "max_calls": ("few", "a whole number, 0 or more"),
    "judge_concurrency": ("0", "a whole number, 1 or more"),
    "budget": ("-1", "an amount of US dollars, 0 or more"),
    "ignore": ("a b..", "a JSON path"),
    "prompt": ("greet", "NAME=VERSION"),
    "same_model": ("never", "one of warn, error, allow"),
    "report": ("report.pdf", ".html"),
}
FLAGS = [option for option in OPTIONS if option.flag and not option.switch]
INIS = [option for option in OPTIONS if option.ini]


@pytest.fixture
def shown(project: Project) -> Project:
    project.write(
        **{
            "test_show.py": SHOW,
            "test_prompt.py": PROMPT_TEST,
            "prompts/greet/v1.md": "hello",
            "texts/greet/v1.md": "hello",
        }
    )
    return project


def seen(project: Project) -> dict[str, object]:
    found: dict[str, object] = json.loads((project.path / "seen.json").read_text())
    return found


def expected(name: str, value: object, project: Project) -> object:
    # The harness asks for a run file on the command line, which is stronger than ini.
    report = str(project.path / "run-file.json")
    if name == "report":
        return [report, *(value if isinstance(value, list) else [])]
    return value


@pytest.mark.parametrize("option", FLAGS, ids=lambda option: option.name)
def test_as_a_flag(shown: Project, option: object, workers: int) -> None:
    name, flag = option.name, option.flag  # type: ignore[attr-defined]
    shown.run(f"{flag}={VALUES[name][0]}", workers=workers)
    assert seen(shown)[name] == expected(name, VALUES[name][1], shown)


@pytest.mark.parametrize("option", INIS, ids=lambda option: option.name)
def test_as_an_ini_key(shown: Project, option: object, workers: int) -> None:
    name, key = option.name, option.dest  # type: ignore[attr-defined]
    shown.write(**{"pytest.ini": f"[pytest]\n{key} = {VALUES[name][0]}\n"})
    shown.run(workers=workers)
    wanted = expected(name, [] if name == "report" else VALUES[name][1], shown)
    assert seen(shown)[name] == wanted


@pytest.mark.skipif(
    int(pytest.__version__.split(".", maxsplit=1)[0]) < 9, reason="[tool.pytest] came with pytest 9"
)
@pytest.mark.parametrize("table", ["tool.pytest", "tool.pytest.ini_options"])
@pytest.mark.parametrize("option", INIS, ids=lambda option: option.name)
def test_in_pyproject(shown: Project, option: object, table: str) -> None:
    name, key = option.name, option.dest  # type: ignore[attr-defined]
    (shown.path / "pytest.ini").unlink()
    shown.write(**{"pyproject.toml": f"[{table}]\n{key} = {json.dumps(VALUES[name][1])}\n"})
    shown.run()
    wanted = expected(name, [] if name == "report" else VALUES[name][1], shown)
    assert seen(shown)[name] == wanted


def test_command_line_is_stronger_than_ini_and_ini_than_environment(
    shown: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_MODEL", "from-environment")
    shown.write(**{"pytest.ini": "[pytest]\n"})
    shown.run()
    assert seen(shown)["model"] == "from-environment"
    shown.write(**{"pytest.ini": "[pytest]\nllm_model = from-ini\n"})
    shown.run()
    assert seen(shown)["model"] == "from-ini"
    shown.run("--llm-model=from-flag")
    assert seen(shown)["model"] == "from-flag"


def test_repeatable_flags_add_up(shown: Project) -> None:
    result = shown.run("--llm-report=a.html", "--llm-report=b.json")
    assert result.exit == 0
    assert (shown.path / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((shown.path / "b.json").read_text())["schema"] == "pytest-llmops/run/1"


@pytest.mark.parametrize("name", [option.name for option in FLAGS if option.name in WRONG])
def test_a_wrong_flag_says_place_option_expected_and_got(shown: Project, name: str, workers: int) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    value, wanted = WRONG[name]
    result = shown.run(f"{option.flag}={value}", workers=workers)
    assert result.exit == 4
    assert f"command line {option.flag}: expected" in result.text
    assert wanted in result.text
    assert f"got {value!r}" in result.text


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_ini_value_says_place_option_expected_and_got(shown: Project, name: str) -> None:
    value, wanted = WRONG[name]
    shown.write(**{"pytest.ini": f"[pytest]\nllm_{name} = {value}\n"})
    result = shown.run() if name != "report" else shown.bare()
    assert result.exit == 4
    assert f"ini llm_{name}: expected" in result.text
    assert wanted in result.text


def test_llm_judge_is_a_pure_flag(shown: Project, workers: int) -> None:
    result = shown.run("--llm-judge", "test_show.py", workers=workers)
    assert seen(shown)["judge"] is True
    assert list(result.records) == ["test_show"]


def test_help_shows_every_option_and_markers_every_marker(shown: Project) -> None:
    text = shown.run("--help").text
    for option in OPTIONS:
        assert (option.flag or option.dest) in text
    markers = shown.run("--markers").text
    for name in ("prompt(", "cases(", "retriever(", "judge(", "models(", "llm_cassette("):
        assert f"@pytest.mark.{name}" in markers


def test_strict_mode_takes_all_of_it(shown: Project) -> None:
    shown.write(**{"pytest.ini": "[pytest]\nstrict = true\nfilterwarnings = error\nllm_model = m\n"})
    assert shown.run("-W", "error").outcomes == {"passed": 2}


def test_an_unknown_option_is_refused(shown: Project) -> None:
    assert "unrecognized arguments: --llm-recrod" in shown.run("--llm-recrod=new").text


def test_an_unknown_embedder_names_those_that_exist(shown: Project, workers: int) -> None:
    shown.write(
        **{
            "test_e.py": "from pytest_llmops import assert_semantic\ndef test_e():\n    assert_semantic('a', 'a')\n"
        }
    )
    result = shown.run("--llm-embedder=tfdif", "test_e.py", workers=workers)
    message = result.records["test_e"].message
    assert result.records["test_e"].outcome == "errored"
    assert "unknown embedder 'tfdif'" in message
    assert "did you mean 'tfidf'?" in message
