"""What pytest shows of a test is masked where it is made, and stays what pytest can send and print."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmops.redaction.pytest_reports import NOISY_LOGGERS, mask_report, mask_value, quiet_loggers
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK

SECRET = "hunter2-hunter2-hunter2"
LINES = "first-line-of-the-secret\nsecond-line-of-the-secret"
REDACT = Redactor(known={SECRET, LINES}).clean_excerpt

FAILING = f"""
import logging, sys, warnings
import pytest

SECRET = {SECRET!r}
LINES = {LINES!r}

def inner(secret=SECRET):
    raise ValueError(f"bad key {{secret}}")

def test_raised():
    local = {{"key": SECRET}}
    print("out", SECRET)
    print("err", SECRET, file=sys.stderr)
    logging.getLogger("x").warning("log %s", SECRET)
    try:
        inner()
    except ValueError as error:
        raise RuntimeError(f"while using {{SECRET}}") from error

def test_compared():
    assert {{"key": SECRET, "filler": "y" * 300}} == {{"key": "x", "filler": "z" * 300}}

def test_of_several_lines():
    raise ValueError(LINES)

def test_skipped():
    pytest.skip(f"needs {{SECRET}}")

def test_expected_to_fail(request):
    request.applymarker(pytest.mark.xfail(reason=f"knows {{SECRET}}"))
    assert False

def test_properties(record_property):
    record_property("key", SECRET)
    record_property("number", 5)
    record_property("db_password", 4711081547)
    record_property("client_secret", "correct horse battery")
    record_property("settings", {{"api_key": "h4xX0rY7kkQ9"}})

@pytest.fixture
def broken():
    raise KeyError(SECRET)

def test_broken(broken):
    pass

def test_printed():
    print("passed with", SECRET)
"""
PLUGIN = """
import pytest
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.pytest_reports import mask_report
import test_failing

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    mask_report(report, Redactor(known={test_failing.SECRET, test_failing.LINES}).clean_excerpt)
    return report
"""


@pytest.mark.parametrize(
    ("style", "workers"),
    [
        ("long", 0),
        ("short", 0),
        ("line", 0),
        ("native", 0),
        ("auto", 0),
        pytest.param("auto", 2, marks=pytest.mark.slow),
    ],
)
def test_nothing_that_pytest_writes_holds_a_secret(
    pytester: pytest.Pytester, style: str, workers: int
) -> None:
    pytester.makepyfile(test_failing=FAILING, conftest=PLUGIN)
    done = pytester.runpytest_inprocess(
        f"--tb={style}", "-rA", "-l", "--junitxml=out.xml", "-p", "no:llmops", "--import-mode=prepend",
        "-o", "junit_logging=all",
        "-o", "junit_family=xunit1", "-n", str(workers),
    )  # fmt: skip
    done.assert_outcomes(passed=2, failed=3, errors=1, skipped=1, xfailed=1)
    text = "\n".join([*done.outlines, *done.errlines, (pytester.path / "out.xml").read_text()])
    assert MASK in text
    for secret_text in (
        SECRET,
        *LINES.split("\n"),
        SECRET[:12],
        "4711081547",
        "correct horse",
        "h4xX0rY7kkQ9",
    ):
        assert secret_text not in text


def report_of(**more: Any) -> pytest.TestReport:
    made = pytest.TestReport("a.py::test", ("a.py", 1, "test"), {}, "failed", None, "call")
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("longrepr", f"text {SECRET}", f"text {MASK}"),
        ("longrepr", ("a.py", 3, f"Skipped: {SECRET}"), ("a.py", 3, f"Skipped: {MASK}")),
        ("longrepr", None, None),
        ("sections", [("Captured log call", f"x {SECRET}")], [("Captured log call", f"x {MASK}")]),
        ("user_properties", [("a", SECRET), ("b", 5)], [("a", MASK), ("b", 5)]),
        (
            "user_properties",
            [("admin_secret", "by its name"), ("pwd", 12345678)],
            [("admin_secret", MASK), ("pwd", MASK)],
        ),
        (
            "user_properties",
            [("max_tokens", 12345678), ("code", 404)],
            [("max_tokens", 12345678), ("code", 404)],
        ),
        ("user_properties", [("a", {"x": SECRET}), "odd"], [("a", str({"x": MASK})), "odd"]),
        ("wasxfail", f"reason: {SECRET}", f"reason: {MASK}"),
        (
            "llmops",
            {"calls": [{"messages": [SECRET], "n": 1.5}]},
            {"calls": [{"messages": [MASK], "n": 1.5}]},
        ),
    ],
)
def test_each_part_of_a_report(name: str, value: Any, masked: Any) -> None:
    report = report_of(**{name: value})
    mask_report(report, REDACT)
    assert getattr(report, name) == masked


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("E   ValueError: \x1b[32mPASSED\x1b[0m", r"E   ValueError: \x1b[32mPASSED\x1b[0m"),
        ("\x1b[32mINFO    \x1b[0m app:a.py:1 \x1b[31mred", "\x1b[32mINFO    \x1b[0m app:a.py:1 \\x1b[31mred"),
        (
            "\x1b[91m- ab\x1b[39;49;00m\x1b[90m\x1b[39;49;00m",
            "\x1b[91m- ab\x1b[39;49;00m\x1b[90m\x1b[39;49;00m",
        ),
        ("+ \x1b[30;40mhidden\x1b[8m\x1b[39;49;00m", "+ \\x1b[30;40mhidden\\x1b[8m\x1b[39;49;00m"),
    ],
)
def test_only_colours_of_pytest_are_kept(text: str, printed: str) -> None:
    report = report_of(longrepr=text, sections=[("Captured stdout call", text)])
    mask_report(report, REDACT)
    assert (report.longrepr, report.sections[0][1]) == (printed, printed)


def test_without_secrets_all_stays_the_same_object() -> None:
    parts: dict[str, Any] = {
        "longrepr": "text",
        "sections": [("a", "b")],
        "user_properties": [("a", 1)],
        "llmops": {"a": [["b"], {"c": ("d",)}]},
    }
    report = report_of(**parts)
    mask_report(report, REDACT)
    assert all(getattr(report, name) is value for name, value in parts.items())


def test_lines_are_also_masked_as_one_text() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nE   AbCd/+AbCd/+AbCd/+==\nE   -----END PRIVATE KEY-----"
    report = report_of(llmops={"lines": ["a", *key.split("\n"), "b"]})
    mask_report(report, Redactor().clean_excerpt)
    assert report.__dict__["llmops"] == {"lines": ["a", MASK, "b"]}


@pytest.mark.slow
def test_an_error_of_collection_is_masked_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"raise ValueError({SECRET!r})")
    reports: list[pytest.CollectReport] = []

    class Listener:
        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            mask_report(report, REDACT)
            reports.append(report)

    done = pytester.runpytest_inprocess("-p", "no:llmops", plugins=[Listener()])
    assert SECRET not in str(done.outlines)
    assert any(MASK in report.longreprtext for report in reports)


def test_loggers_that_log_bodies_are_quiet_unless_a_user_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    for logger in loggers:
        monkeypatch.setattr(logger, "level", logging.NOTSET)
    quiet_loggers()
    assert [logger.level for logger in loggers] == [logging.WARNING] * len(loggers)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    quiet_loggers()
    assert [logger.level for logger in loggers] == [logging.DEBUG] * len(loggers)


def test_a_redactor_that_fails_is_not_swallowed() -> None:
    def failing(_: str) -> str:
        raise RuntimeError("the user's own")

    redact: Callable[[str], str] = failing
    with pytest.raises(RuntimeError, match="the user's own"):
        mask_report(report_of(longrepr="x"), redact)


def test_a_value_that_is_nested_deeply_is_masked() -> None:
    deep: Any = SECRET
    for _ in range(200):  # 400 lists and dictionaries, which a measurement accepts
        deep = {"a": [deep]}
    masked = mask_value(deep, REDACT)
    while not isinstance(masked, str):
        (masked,) = masked.values() if isinstance(masked, dict) else masked
    assert masked.count("[") + masked.count("{") > 200
    assert SECRET not in masked
    assert MASK in masked
