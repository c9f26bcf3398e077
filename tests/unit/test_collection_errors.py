"""Why a module of tests could not be loaded, as the report of pytest has it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.harness.tracebacks import note_collection_error, read_collection_error

SECRET = "sk-proj-Zq8vT3nLx0PbW5yRk2Hd"


class CollectError(Exception):
    """pytest's own error."""


def raised(root: Path, source: str, file: str = "tests/test_a.py") -> BaseException:
    """The error that the code of a file raises."""
    try:
        exec(compile(source, str(root / file), "exec"), {"__name__": "tests.test_a"})
    except BaseException as error:  # noqa: BLE001 -- a module can raise anything
        return error
    raise AssertionError(source)


def report_of(error: BaseException | None, longrepr: object = "") -> Any:
    call = None
    if error is not None:
        call = SimpleNamespace(excinfo=SimpleNamespace(value=error))
    return SimpleNamespace(nodeid="tests/test_a.py::TestA", call=call, longrepr=longrepr, sections=[])


def note(root: Path, report: Any) -> dict[str, str]:
    note_collection_error(report, root)
    return read_collection_error(report)


def of_module(place: str, error: str) -> dict[str, str]:
    return {"module": "tests/test_a.py", "place": place, "error": error}


def test_the_error_has_its_type_its_first_line_and_the_deepest_place_in_the_project(tmp_path: Path) -> None:
    error = raised(tmp_path, "def fail():\n    raise ValueError(' no row\\nmore')\nfail()")
    assert note(tmp_path, report_of(error)) == of_module("tests/test_a.py:2", "ValueError: no row")
    assert note(tmp_path / "other", report_of(error)) == of_module("", "ValueError: no row")
    library = raised(tmp_path, "int('x')", "lib/site-packages/a.py")
    assert note(tmp_path, report_of(library))["place"] == ""
    bare = raised(tmp_path, "raise KeyboardInterrupt")
    assert note(tmp_path, report_of(bare)) == of_module("tests/test_a.py:1", "KeyboardInterrupt")


def test_a_syntax_error_has_the_place_of_its_file(tmp_path: Path) -> None:
    error = raised(tmp_path, "a = 1\nb = (", "tests/conftest.py")
    assert note(tmp_path, report_of(error)) == of_module(
        "tests/conftest.py:2", "SyntaxError: '(' was never closed"
    )
    odd = SyntaxError("odd", (str(tmp_path / "x.py"), None, None, None))
    assert note(tmp_path, report_of(odd))["place"] == "x.py:1"
    nowhere = SyntaxError("odd")
    assert note(tmp_path, report_of(nowhere)) == of_module("", "SyntaxError: odd")


def test_the_error_behind_that_of_pytest_is_told(tmp_path: Path) -> None:
    inner = raised(tmp_path, "import no_such_module")
    expected = of_module("tests/test_a.py:1", "ModuleNotFoundError: No module named 'no_such_module'")
    caused = CollectError("a traceback")
    caused.__cause__ = inner
    assert note(tmp_path, report_of(caused)) == expected
    followed = CollectError("a traceback")
    followed.__context__ = inner
    assert note(tmp_path, report_of(followed)) == expected
    others = ValueError("its own")
    others.__context__ = inner
    assert note(tmp_path, report_of(others)) == of_module("", "ValueError: its own")
    alone = CollectError("alone")
    assert note(tmp_path, report_of(alone)) == of_module("", "CollectError: alone")


@pytest.mark.parametrize("call", [None, SimpleNamespace(excinfo=None)], ids=["no call", "no error"])
def test_without_an_exception_the_last_line_of_the_text_is_taken(tmp_path: Path, call: Any) -> None:
    report = report_of(None, "t.py:1: in x\nE   first\nE   ImportError: no\nt.py:1")
    report.call = call
    assert note(tmp_path, report) == of_module("", "ImportError: no")
    other = report_of(None, "nothing")
    other.call = call
    assert note(tmp_path, other) == of_module("", "")


def test_a_report_of_another_process_is_read_from_its_text() -> None:
    assert read_collection_error(report_of(None, "E   ImportError: no")) == of_module("", "ImportError: no")


def test_secrets_of_the_environment_are_masked_and_a_long_error_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    report = report_of(ValueError(f"{'x' * 400} {SECRET}"), f"E   {SECRET}")
    error = note(tmp_path, report)["error"]
    assert error == f"ValueError: {'x' * 288}"
    assert SECRET not in str(report.longrepr)
    near = note(tmp_path, report_of(ValueError(f"{'x' * 270} {SECRET}")))["error"]
    assert SECRET[:8] not in near
