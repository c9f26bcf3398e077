"""Modules that cannot be loaded: the run is an ERROR that names them and the line to fix, not a run without tests."""

from __future__ import annotations

import pytest
from support.page import unpack_report
from support.project import INI, Project

SHOP = "from policy import DAYS\nfrom pytest_llmops import assert_contains\n\ndef test_{name}():\n    assert_contains(DAYS, '45')\n"
FILES = {
    "policy.py": "DAYS = '45 days'\n",
    "test_shop.py": SHOP.format(name="shop"),
    "test_rental.py": SHOP.format(name="rental"),
    "test_other.py": "from pytest_llmops import assert_contains\n\ndef test_other():\n    assert_contains('a', 'a')\n",
}


@pytest.fixture
def broken(project: Project) -> Project:
    """A project with a baseline, in which a module of the application has a syntax error."""
    ini = INI.replace("--strict-markers", "--strict-markers -p no:cacheprovider\npythonpath = .\n#")
    project.write(**FILES, **{"pytest.ini": ini})
    assert project.run("--llm-accept=first").exit == 0
    project.write(**{"policy.py": "import os\n\nDAYS = (1\n"})
    return project


def read_section(text: str) -> list[str]:
    return text.partition("LLM regression: ERROR")[2].splitlines()[1:]


def test_modules_that_fail_at_one_place_have_one_cause(broken: Project, workers: int) -> None:
    result = broken.run(workers=workers)
    assert result.exit == (1 if workers else 2)  # xdist runs the other tests
    lines = read_section(result.text)
    assert (
        lines[0]
        == "cause     both modules fail at the same place: policy.py:3: SyntaxError: '(' was never closed"
    )
    assert lines[1] == "not run   test_rental.py (1 test in the baseline), test_shop.py (1)"
    ran = "only 1 test ran" if workers else "no test ran"
    assert f"ERROR     2 test modules could not be loaded: {ran}." in lines
    assert "next      Fix policy.py:3, then run again:" in lines
    errors = result.run.meta["collection_errors"]
    assert isinstance(errors, list)
    assert errors[0] == {
        "module": "test_rental.py",
        "place": "policy.py:3",
        "error": "SyntaxError: '(' was never closed",
        "tests": 1,
    }


def test_the_other_tests_may_run_all_the_same(broken: Project) -> None:
    result = broken.run("--continue-on-collection-errors")
    assert "ERROR     2 test modules could not be loaded: only 1 test ran." in read_section(result.text)


@pytest.mark.parametrize(
    ("code", "place", "error"),
    [
        ("raise ValueError('no')", "policy.py:1", "ValueError: no"),
        ("import no_such_module", "policy.py:1", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import json\njson.loads('{')", "policy.py:2", "JSONDecodeError: "),
        ("DAY = 1", "test_shop.py:1", "ImportError: cannot import name 'DAYS' from 'policy'"),
    ],
)
def test_the_place_is_the_deepest_line_of_the_project(
    broken: Project, code: str, place: str, error: str
) -> None:
    broken.write(**{"policy.py": f"{code}\n"})
    assert broken.bare("test_shop.py").text.count(f"cause     {place}: {error}") == 1


def test_without_a_baseline_the_options_of_the_project_are_enough(broken: Project) -> None:
    (broken.path / "llmops-baseline.json").unlink()
    text = broken.bare("-q").text
    assert "ERROR     2 test modules could not be loaded: no test ran." in text
    assert "not run   test_rental.py, test_shop.py" in broken.bare().text


def test_who_does_not_use_the_plugin_sees_nothing_of_it(project: Project) -> None:
    ini = "".join(line for line in INI.splitlines(keepends=True) if not line.startswith("llm_"))
    project.write(**{"pytest.ini": ini, "test_a.py": "import no_such_module\n"})
    result = project.bare()
    assert result.exit == 2
    assert "LLM regression" not in result.text


def test_no_report_shows_a_key_that_an_error_names(
    broken: Project, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    key = "Zx9" + "0a1b2c3d4e" * 2 + "Qq"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(broken.path / "summary.md"))
    text = "import os\nkey = os.environ['OPENAI_API_KEY']\nraise ValueError(f'bad key {key} ' + 'x' * 240 + f' {key}')\n"
    broken.write(**{"policy.py": text})
    reports = ("--llm-report=r.md", "--llm-report=r.html", "--junitxml=r.xml")
    result = broken.run(*reports, "-o", "llm_github=auto", workers=workers)
    written = [result.text]
    for name in ("run-file.json", "r.md", "r.html", "r.xml", "summary.md"):
        written.append(unpack_report(name, (broken.path / name).read_bytes()).decode())
    assert [text.count("bad key [secret]") > 0 for text in written] == [True] * 6
    assert [text.count(key[:12]) for text in written] == [0] * 6
    assert "::error" in result.text
