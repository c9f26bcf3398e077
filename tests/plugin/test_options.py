"""The options as pytest hands them over: flags, ini keys, both tables of TOML, and what is refused.

How a value is read, and what is wrong with one, is tested option by option in ``tests/unit/test_settings.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from support.messages import check_message
from support.option_values import EXAMPLES
from support.project import Project

from pytest_llmops._util.option_declarations import Option
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.settings import OPTIONS

SHOW = """
import json
from pathlib import Path
from pytest_llmops import recorder
def test_show(llm_cassette):
    s = recorder.current_settings()
    Path("seen.json").write_text(json.dumps({name: getattr(s, name) for name in s.__dataclass_fields__}))
"""
PROMPT_TEST = """
import pytest
@pytest.mark.prompt("greet")
def test_prompt(prompt): pass
"""
# They do not go with other options, and have tests of their own.
WITH_OWN_TESTS = ("faults", "again", "lint")
FLAGS = [option for option in OPTIONS if option.flag and option.name not in WITH_OWN_TESTS]
INIS = [option for option in OPTIONS if option.ini]
VARIABLES = [option for option in OPTIONS if option.env]
NATIVE_TOML = pytest.mark.skipif(
    int(pytest.__version__.split(".", maxsplit=1)[0]) < 9, reason="[tool.pytest] came with pytest 9"
)


@pytest.fixture
def suite(project: Project) -> Project:
    project.write(
        **{
            "test_show.py": SHOW,
            "test_prompt.py": PROMPT_TEST,
            "prompts/greet/v1.md": "hello",
            "texts/greet/v1.md": "hello",
            "others/greet/v1.md": "hello",
            # A run that names a baseline needs it.
            EXAMPLES["baseline"].text: Baseline().to_text(),
            EXAMPLES["baseline"].other: Baseline().to_text(),
        }
    )
    return project


def read_seen(project: Project) -> dict[str, object]:
    settings: dict[str, object] = json.loads((project.path / "seen.json").read_text())
    return settings


def run_bare(project: Project, *args: str, workers: int = 0) -> dict[str, object]:
    """Return the settings of a run that is given no more than the arguments."""
    project.bare(*args, *(["-n", str(workers)] if workers else []))
    return read_seen(project)


def get_values(options: Iterable[Option]) -> dict[str, object]:
    return {option.name: EXAMPLES[option.name].value for option in options}


def pick_settings(settings: dict[str, object], options: Iterable[Option]) -> dict[str, object]:
    return {option.name: settings[option.name] for option in options}


def make_flags() -> list[str]:
    return [
        option.flag if option.switch else f"{option.flag}={EXAMPLES[option.name].text}" for option in FLAGS
    ]


def make_ini(*, other: bool) -> str:
    examples = [(option.dest, EXAMPLES[option.name]) for option in INIS]
    return "\n".join(
        ["[pytest]", *(f"{key} = {example.other if other else example.text}" for key, example in examples)]
    )


def test_every_option_has_values_here() -> None:
    assert list(EXAMPLES) == [option.name for option in OPTIONS]
    for option in OPTIONS:
        assert EXAMPLES[option.name].value != option.default, option.name


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_flags_are_stronger_than_ini_keys(suite: Project, workers: int) -> None:
    suite.write(**{"pytest.ini": make_ini(other=True)})
    assert pick_settings(run_bare(suite, *make_flags(), workers=workers), FLAGS) == get_values(FLAGS)


def test_ini_keys_are_stronger_than_the_environment(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in VARIABLES:
        monkeypatch.setenv(option.env[0], EXAMPLES[option.name].other)
    suite.write(**{"pytest.ini": make_ini(other=False)})
    assert pick_settings(run_bare(suite), INIS) == get_values(INIS)


def test_the_environment_is_stronger_than_defaults(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in VARIABLES:
        monkeypatch.setenv(option.env[0], EXAMPLES[option.name].text)
    suite.write(**{"pytest.ini": "[pytest]\n"})
    assert pick_settings(run_bare(suite), VARIABLES) == get_values(VARIABLES)


@NATIVE_TOML
@pytest.mark.parametrize("table", ["tool.pytest", "tool.pytest.ini_options"])
def test_in_pyproject(suite: Project, table: str) -> None:
    (suite.path / "pytest.ini").unlink()
    lines = [f"{option.dest} = {json.dumps(EXAMPLES[option.name].value)}" for option in INIS]
    suite.write(**{"pyproject.toml": "\n".join([f"[{table}]", *lines])})
    assert pick_settings(run_bare(suite), INIS) == get_values(INIS)


def test_repeatable_flags_add_up(suite: Project) -> None:
    result = suite.run("--llm-report=a.html", "--llm-report=b.json")
    assert result.exit == 0
    assert (suite.path / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((suite.path / "b.json").read_text())["schema"] == "pytest-llmops/run/2"


def test_a_wrong_flag_ends_the_run_with_its_place(suite: Project, workers: int) -> None:
    result = suite.run("--llm-record=sometimes", workers=workers)
    assert result.exit == 4
    message = result.line("--llm-record: ")
    assert "'sometimes'" in message
    check_message(message)


WRONG_INI = {
    "string": ("record", "sometimes"),
    "linelist": ("allow_hosts", "http://a"),
    "int": ("max_calls", "few"),
    "float": ("budget", "much"),
    "bool": ("junit_properties", "perhaps"),
}
"""By type of the ini key, for pytest reads some of them before us: an option, and its wrong value."""


def test_every_type_of_ini_key_has_a_wrong_value_here() -> None:
    assert set(WRONG_INI) == {option.ini for option in INIS}


@pytest.mark.parametrize("kind", WRONG_INI)
def test_a_wrong_ini_value_ends_the_run_with_its_place(suite: Project, kind: str) -> None:
    name, value = WRONG_INI[kind]
    suite.write(**{"pytest.ini": f"[pytest]\nllm_{name} = {value}\n"})
    result = suite.run()
    assert result.exit == 4
    message = result.line(f"llm_{name}: ")
    assert repr(value) in message
    check_message(message)


def test_llm_judge_is_a_pure_flag(suite: Project) -> None:
    result = suite.run("--llm-judge", "test_show.py")
    assert read_seen(suite)["judge"] is True
    assert list(result.records) == ["test_show"]


def test_help_shows_every_option_and_markers_every_marker(suite: Project) -> None:
    text = suite.run("--help").text
    for option in OPTIONS:
        assert (option.flag or option.dest) in text
    markers = suite.run("--markers").text
    for name in ("prompt(", "cases(", "retriever(", "judge(", "llm_models(", "llm_cassette("):
        assert f"@pytest.mark.{name}" in markers


def test_no_line_of_the_help_wraps(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = suite.run("--help").text.splitlines()
    for option in OPTIONS:
        if option.flag:
            (line,) = (line for line in lines if re.match(rf"  {option.flag}\b(?!-)", line))
            assert line.endswith(f" {option.help}")
        if option.ini:
            start = next(n for n, line in enumerate(lines) if line.startswith(f"  {option.dest} ("))
            spec = f"{option.dest} ({option.ini}):"
            text = lines[start]
            if text.strip() == spec:  # a long name has a line of its own
                text += lines[start + 1]
            assert text.split() == f"{spec} {option.ini_help or option.help}".split()
    titles = [line for line in lines if line.startswith("LLM tests: ")]
    assert titles == [
        f"LLM tests: {group}:" for group in dict.fromkeys(option.group for option in OPTIONS if option.flag)
    ]


def test_tests_after_llm_again_are_not_taken_for_a_run_file(suite: Project) -> None:
    result = suite.bare("--llm-again", "test_show.py")
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    check_message(result.line("--llm-again=last"))


def test_strict_mode_takes_all_of_it(suite: Project) -> None:
    suite.write(**{"pytest.ini": "[pytest]\nstrict = true\nfilterwarnings = error\nllm_model = m\n"})
    assert suite.run("-W", "error").outcomes == {"passed": 2}


def test_an_unknown_option_is_refused(suite: Project) -> None:
    assert "unrecognized arguments: --llm-recrod" in suite.run("--llm-recrod=new").text


def test_an_unknown_embedder_names_those_that_exist(suite: Project) -> None:
    suite.write(
        **{
            "test_e.py": "from pytest_llmops import assert_semantic\ndef test_e():\n    assert_semantic('a', 'a')\n"
        }
    )
    result = suite.run("-o", "llm_embedder=tfdif", "test_e.py")
    message = result.records["test_e"].message
    assert result.records["test_e"].outcome == "errored"
    assert "'tfdif'" in message
    assert "'tfidf'?" in message
    assert "ini llm_embedder" in message
    check_message(message)


def test_a_judge_with_the_name_of_the_embedder_is_not_laid_on_its_option(suite: Project) -> None:
    suite.write(
        **{
            "test_j.py": "import pytest\n@pytest.mark.judge('tfidf')\ndef test_j(judge): judge.assert_score('a')\n"
        }
    )
    message = suite.run("--llm-judge", "-o", "llm_embedder=tfidf", "test_j.py").records["test_j"].message
    assert "unknown judge 'tfidf'" in message
    assert "llm_embedder" not in message
