"""Which test files ran whole decides whose stored messages are written anew, or compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import messages
from support.message_hooks import Progress, sees_message
from support.messages import check_message, parse

SUITE = """
import os
from pathlib import Path

import pytest
from support.messages import check_message

def test_first():
    assert check_message("the first")

@pytest.mark.parametrize("text", ["x::y"])
def test_id(text):
    assert check_message("an id")

@pytest.mark.skipif("True")
def test_left_out():
    raise AssertionError

def test_second():
    assert check_message("the second")
    if Path("crashes").exists():
        os._exit(1)
    assert not Path("fails").exists()

class TestMethods:
    def test_third(self):
        assert check_message("the third")
"""
STORED = {"an id": 1, "the first": 1, "the second": 1, "the third": 1}
CONFTEST = """
from pathlib import Path

from support import messages
from support.message_hooks import MessageHooks

messages.STORED = Path(__file__).parent / "golden" / "messages"

def pytest_configure(config):
    config.pluginmanager.register(MessageHooks())
"""


class Checkout:
    """A small checkout with one test file, whose messages are stored."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        self._monkeypatch = monkeypatch
        self.source = pytester.mkdir("tests") / "test_a.py"
        self.source.write_text(SUITE, encoding="utf-8")
        (self.source.parent / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        pytester.makeini(f"[pytest]\ntestpaths = tests\npythonpath = {messages.TESTS}")

    def run(self, *arguments: str, mode: str = "") -> pytest.RunResult:
        """Run it, with LLMOPS_GOLDEN as the mode."""
        with self._monkeypatch.context() as patch:
            patch.setenv("LLMOPS_GOLDEN", mode)
            patch.setattr(messages, "SEEN", messages.Seen())
            return self._pytester.runpytest_inprocess("-p", "no:llmops", "-p", "no:randomly", *arguments)

    def change(self, old: str, new: str) -> None:
        """Replace text in the test file."""
        text = self.source.read_text(encoding="utf-8")
        assert old in text
        self.source.write_text(text.replace(old, new), encoding="utf-8")

    def touch(self, name: str) -> Path:
        """Make the second test fail or crash while the file exists."""
        path = self._pytester.path / name
        path.touch()
        return path

    def stored(self) -> dict[str, int]:
        """Return the stored messages."""
        path = messages.STORED / "test_a.txt"
        return parse(path.read_text(encoding="utf-8")) if path.exists() else {}


@pytest.fixture
def checkout(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setattr(messages, "STORED", messages.STORED)  # the inner conftest sets its own
    checkout = Checkout(pytester, monkeypatch)
    checkout.run(mode="write").assert_outcomes(passed=4, skipped=1)
    assert checkout.stored() == STORED
    return checkout


@pytest.mark.slow
def test_a_message_that_a_whole_file_no_longer_sees_fails_the_run_and_is_removed_by_the_next_write(
    checkout: Checkout,
) -> None:
    assert checkout.run().ret == pytest.ExitCode.OK
    checkout.change('check_message("the second")', "True")
    result = checkout.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["tests/test_a.py: 1 -> 0: the second"])
    checkout.run(mode="write")
    assert checkout.stored() == {"an id": 1, "the first": 1, "the third": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["-k", "first"],
        ["--deselect", "tests/test_a.py::test_second"],
        ["tests/test_a.py::test_first"],
        ["tests/test_a.py::test_id[x::y]"],
        ["tests/../tests/test_a.py::TestMethods"],
        ["--collect-only"],
        ["--setup-plan"],
    ],
    ids=" ".join,
)
def test_a_run_of_some_tests_compares_nothing_and_loses_nothing(
    checkout: Checkout, arguments: list[str]
) -> None:
    assert checkout.run(*arguments).ret == pytest.ExitCode.OK
    assert checkout.run(*arguments, mode="write").ret == pytest.ExitCode.OK
    assert checkout.stored() == STORED


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--lf", "--sw"])
def test_a_run_of_earlier_failures_compares_nothing_and_loses_nothing(
    checkout: Checkout, option: str
) -> None:
    # --lf leaves functions out without a report; a class would stay.
    checkout.change(
        "class TestMethods:\n    def test_third(self):\n        assert", "def test_third():\n    assert"
    )
    fails = checkout.touch("fails")
    assert checkout.run(option).ret != pytest.ExitCode.OK
    fails.unlink()
    assert checkout.run(option, mode="write").ret == pytest.ExitCode.OK
    assert checkout.stored() == STORED


@pytest.mark.slow
@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
def test_a_run_that_stops_at_a_failure_loses_nothing(checkout: Checkout, option: str) -> None:
    checkout.touch("fails")
    assert checkout.run(option, mode="write").ret != pytest.ExitCode.OK
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_message_of_a_test_that_fails_is_not_stored(checkout: Checkout) -> None:
    checkout.touch("fails")
    checkout.change("the second", "the second, wrong")
    checkout.run(mode="write").assert_outcomes(passed=3, failed=1, skipped=1)
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_message_with_a_fault_fails_its_test_and_is_not_stored(checkout: Checkout) -> None:
    checkout.change("the second", "took None s")
    checkout.run(mode="write").assert_outcomes(passed=3, failed=1, skipped=1)
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_module_that_is_skipped_keeps_its_messages(checkout: Checkout) -> None:
    checkout.change("def test_first", "pytest.skip('not here', allow_module_level=True)\n\ndef test_first")
    assert checkout.run().ret == pytest.ExitCode.NO_TESTS_COLLECTED
    checkout.run(mode="write").assert_outcomes(skipped=1)
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_module_that_cannot_be_read_keeps_its_messages(checkout: Checkout) -> None:
    checkout.change("def test_first", "raise ValueError\n\ndef test_first")
    checkout.run(mode="write").assert_outcomes(errors=1)
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_file_with_a_class_that_cannot_be_collected_keeps_its_messages(checkout: Checkout) -> None:
    checkout.change("    def test_third", "    @pytest.mark.parametrize('absent', [1])\n    def test_third")
    result = checkout.run("--continue-on-collection-errors", mode="write")
    result.assert_outcomes(passed=3, skipped=1, errors=1)
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_skipped_test_that_checks_a_message_keeps_it(checkout: Checkout) -> None:
    checkout.change("def test_second", "@pytest.mark.skipif('True')\ndef test_second")
    assert checkout.run().ret == pytest.ExitCode.OK
    checkout.run(mode="write").assert_outcomes(passed=3, skipped=2)
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_doctest_is_a_test_of_its_file(checkout: Checkout) -> None:
    checkout.change("import os\n", '"""\n>>> 1\n1\n"""\nimport os\n')
    checkout.run("--doctest-modules", mode="write").assert_outcomes(passed=5, skipped=1)
    assert checkout.run("--doctest-modules").ret == pytest.ExitCode.OK
    assert checkout.stored() == STORED


@pytest.mark.slow
def test_a_file_outside_the_tests_has_no_stored_messages(
    checkout: Checkout, pytester: pytest.Pytester
) -> None:
    example = pytester.mkdir("examples") / "test_b.py"
    example.write_text("def test_b(): pass", encoding="utf-8")
    checkout.run("tests", "examples", mode="write").assert_outcomes(passed=5, skipped=1)
    assert checkout.run("tests", "examples").ret == pytest.ExitCode.OK


@pytest.mark.slow
def test_a_worker_that_crashes_loses_no_message(checkout: Checkout) -> None:
    checkout.change("the first", "the first, reworded")
    checkout.touch("crashes")
    result = checkout.run("-n", "1", mode="write")
    result.assert_outcomes(passed=3, failed=1, skipped=1)
    assert checkout.stored() == {**STORED, "the first, reworded": 1}


@pytest.mark.slow
def test_workers_store_and_compare_as_one_process_does(checkout: Checkout) -> None:
    assert checkout.run("-n", "2").ret == pytest.ExitCode.OK
    assert checkout.run("-n", "2", "-k", "first").ret == pytest.ExitCode.OK
    checkout.change('check_message("the second")', "True")
    result = checkout.run("-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["tests/test_a.py: 1 -> 0: the second"])
    checkout.run("-n", "2", mode="write").assert_outcomes(passed=4, skipped=1)
    assert checkout.stored() == {"an id": 1, "the first": 1, "the third": 1}


def report(when: str, outcome: str, *, keyword: str = "") -> pytest.TestReport:
    result = pytest.TestReport("a::x", ("a", 1, "x"), {keyword: 1}, "passed", None, "call")
    result.__dict__.update(when=when, outcome=outcome)
    return result


@pytest.mark.parametrize(
    ("outcomes", "is_whole"),
    [
        ([("setup", "passed"), ("call", "passed"), ("teardown", "passed")], True),
        ([("setup", "skipped"), ("teardown", "passed")], True),
        ([("setup", "passed"), ("call", "skipped"), ("teardown", "passed")], True),
        ([("setup", "passed")], False),
        ([("setup", "failed"), ("teardown", "passed")], False),
        ([("setup", "passed"), ("call", "failed"), ("teardown", "passed")], False),
        ([("setup", "passed"), ("call", "passed"), ("teardown", "failed")], False),
        ([("setup", "passed"), ("call", "rerun"), ("setup", "passed")], False),
        ([("call", "rerun"), ("setup", "passed"), ("call", "passed"), ("teardown", "passed")], True),
    ],
)
def test_a_file_ran_whole_if_its_tests_passed_or_were_skipped(
    outcomes: list[tuple[str, str]], *, is_whole: bool
) -> None:
    progress = Progress(collected={"a::x"})
    for when, outcome in outcomes:
        progress.add_report(report(when, outcome))
    assert progress.list_whole() == ["a"] * is_whole


@pytest.mark.parametrize("when", ["setup", "call"])
def test_a_skipped_test_with_a_message_has_not_run(when: str) -> None:
    progress = Progress(collected={"a::x"})
    progress.add_report(report(when, "skipped", keyword="has_message"))
    assert progress.list_whole() == []


def helper() -> bool:
    return check_message("of a helper")


def direct() -> None:
    assert check_message("of the test")


def nested() -> None:
    def inner() -> bool:
        return check_message("of a function within")

    assert inner()


def through_a_helper() -> None:
    assert [helper() for _ in range(2)]


def through_none() -> None:
    assert report("call", "passed").passed


@pytest.mark.parametrize("function", [direct, nested, through_a_helper, helper])
def test_a_test_checks_a_message_itself_or_through_a_function_of_its_module(function: object) -> None:
    assert sees_message(function)


@pytest.mark.parametrize("function", [through_none, None, parse])
def test_other_tests_check_no_message(function: object) -> None:
    assert not sees_message(function)
