"""The hooks that store what the package says to a user, or compare how many tests saw each message (`support.messages`)."""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from support import messages
from support.messages import TESTS, file_of

ANOTHER_NUMBER = (
    "\ntests/golden/messages: another number of tests saw these messages; LLMOPS_GOLDEN=write stores it"
)


@dataclass
class Progress:
    """Which tests ran, and what they saw. xdist's workers collect, and the controller gets the results test by test."""

    collected: set[str] = field(default_factory=set)
    """The tests of the files that were read, also those that an option left out."""
    finished: set[str] = field(default_factory=set)
    """The tests that passed, or were skipped without a message to see."""
    failed: set[str] = field(default_factory=set)
    narrowed: set[str] = field(default_factory=set)
    """Files of which pytest collected some tests only."""
    tests: dict[str, set[str]] = field(default_factory=dict)
    """The tests by the message they saw."""

    def add_report(self, report: pytest.TestReport) -> None:
        """Note how a test ended, and after its last phase what it saw: the messages of a failed one do not count."""
        is_over = report.when == "call" or (report.when == "setup" and report.skipped)
        saw_all = report.passed or (report.skipped and "has_message" not in report.keywords)
        if report.failed:
            self.failed.add(report.nodeid)
        elif is_over and saw_all:
            self.finished.add(report.nodeid)
        if report.nodeid in self.failed:
            return
        for text in report.__dict__.get("messages", []):
            self.tests.setdefault(text, set()).add(report.nodeid)

    def list_whole(self) -> list[str]:
        """Return the files all of whose tests ran to their end.

        >>> collected = {"a::x", "a::y", "b::x", "c::x", "d::x"}
        >>> Progress(collected, finished={*collected} - {"a::x"}, failed={"d::x"}, narrowed={"c"}).list_whole()
        ['b']
        """
        unfinished = {file_of(test) for test in (self.collected - self.finished) | self.failed}
        return sorted({file_of(test) for test in self.collected} - unfinished - self.narrowed)


class MessageHooks:
    """The hooks of one session."""

    def __init__(self) -> None:
        self.progress = Progress()

    @pytest.fixture(autouse=True)
    def _messages_of_the_test(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[None]:
        messages.begin_test(request.node.nodeid, str(tmp_path_factory.getbasetemp()))
        yield
        messages.SEEN.test = ""

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note the tests, and which check messages: where such a test is skipped, its file has not run whole."""
        if not item.nodeid.startswith(f"{TESTS.name}/"):
            return
        self.progress.collected.add(item.nodeid)
        if any(map(sees_message, _functions_of(item))):
            item.keywords["has_message"] = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file of which a class cannot be collected."""
        if report.failed:
            self.progress.narrowed.add(file_of(report.nodeid))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the files of which an argument names single tests."""
        if session.config.getoption("lf", default=False):  # leaves tests out of the files that it reads
            self.progress.narrowed.update(map(file_of, self.progress.collected))
        for argument in session.config.args:
            if "::" in argument:
                file = os.path.normpath(session.config.invocation_params.dir / file_of(argument))
                self.progress.narrowed.add(
                    os.path.relpath(file, session.config.rootpath).replace(os.sep, "/")
                )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send what a test saw with its last report: a worker may crash later."""
        report = yield
        if call.when == "teardown":
            report.__dict__["messages"] = sorted(messages.SEEN.texts)
            messages.SEEN.texts.clear()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.progress.add_report(report)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Store the messages of this session, or compare how many tests saw each."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["llmops_collected"] = sorted(self.progress.collected)
            output["llmops_narrowed"] = sorted(self.progress.narrowed)
        elif messages.writing():
            messages.store(self.progress.tests, self.progress.list_whole())
        elif not messages.other_packages():
            changed = messages.differences(self.progress.tests, self.progress.list_whole())
            for line in [ANOTHER_NUMBER, *changed] if changed else []:
                print(line)
            if changed and exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Read what a worker of xdist collected: the controller collects nothing itself."""
        output = getattr(node, "workeroutput", {})
        self.progress.collected.update(output.get("llmops_collected", []))
        self.progress.narrowed.update(output.get("llmops_narrowed", []))


def _functions_of(item: pytest.Item) -> list[object]:
    """Return the function of a test, and the functions of its fixtures."""
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return [
        getattr(item, "function", None),
        *(definition.func for definitions in fixtures.values() for definition in definitions),
    ]


@functools.cache
def sees_message(function: object) -> bool:
    """Return whether a test or fixture checks a message, itself or through functions of its module."""
    waiting, known = [function], set[object]()
    while waiting:
        now = waiting.pop()
        now = getattr(getattr(now, "hypothesis", None), "inner_test", now)
        if not inspect.isfunction(now) or now in known:
            continue
        known.add(now)
        names = _names_of(now.__code__)
        if "check_message" in names:
            return True
        called = (now.__globals__.get(name) for name in names)
        waiting += [value for value in called if getattr(value, "__module__", None) == now.__module__]
    return False


def _names_of(code: types.CodeType) -> set[str]:
    names = {*code.co_names, *code.co_freevars}
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= _names_of(part)
    return names
