"""Records the tests of the tools that the ini key ``llm_adopt`` names, and adopts their scores.

Knows pytest's configuration and items by their attributes only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

from pytest_llmops import recorder
from pytest_llmops.adopted import load_tools
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.scores import make_measurement, make_name
from pytest_llmops.adopted.tool import AdoptedTool, HookMoved, ToolScore
from pytest_llmops.errors import describe_exception
from pytest_llmops.harness.own_tests import FOREIGN_MARKER
from pytest_llmops.measurement import Measurement, format_count
from pytest_llmops.results.details import as_list
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.results.run import TestRecord

hookimpl = HookimplMarker("pytest")
PROBLEMS_FACT = "adopt"


def allow_service_hosts(settings: Settings) -> Settings:
    """Return the settings with the hosts of the adopted tools' own services among those that are neither recorded nor blocked."""
    hosts = list(settings.allow_hosts)
    for tool in load_tools(settings.adopt):
        hosts += tool.service_hosts(os.environ)
    return replace(settings, allow_hosts=tuple(dict.fromkeys(hosts)))


def adopt_tools(config: Any, settings: Settings) -> None:
    """Register the hooks for the tools that ``llm_adopt`` names.

    Args:
        config: pytest's.
        settings: The run's.
    """
    hooks = AdoptionHooks(settings)
    if settings.record == "none":
        hooks.stay_offline()
    config.pluginmanager.register(hooks, "llmops_adopt")


class ScoreKeeper:
    """Records the scores that tools report in a test. Errors are kept until its end: a tool, or the test, may try again."""

    def __init__(self) -> None:
        self._errors: list[tuple[Measurement, ToolScore]] = []
        self._lock = threading.Lock()

    def add(self, tool: AdoptedTool, score: ToolScore) -> None:
        """Record a score in the running test, or keep its error."""
        measurement = make_measurement(tool.name, score)
        with self._lock:
            if measurement.error or score.case or score.subject:
                self._forget_error(measurement, score.subject)
            if measurement.error:
                self._errors.append((measurement, score))
        if not measurement.error:
            recorder.record_measurements([measurement])

    def _forget_error(self, measurement: Measurement, subject: str) -> None:
        """Forget the error of an earlier attempt to score the same."""
        scored = (measurement.name, measurement.label, subject)
        self._errors = [
            (error, score)
            for error, score in self._errors
            if (error.name, error.label, score.subject) != scored
        ]

    def take_errors(self, *, passed: bool = False) -> list[Measurement]:
        """Return the errors that are kept, and forget them.

        Args:
            passed: The test passed, so that an error that was raised to it was one that it expects; such errors are left out.
        """
        with self._lock:
            errors = self._errors
            self._errors = []
        return [measurement for measurement, score in errors if not (passed and score.reached_test())]


class _Reporter:
    """Receives the scores of a tool; see `ReportScore`."""

    def __init__(self, tool: AdoptedTool, scores: ScoreKeeper, problems: list[str]) -> None:
        self._tool = tool
        self._scores = scores
        self._problems = problems

    def __call__(self, score: ToolScore) -> None:
        """Record a score in the running test."""
        self._scores.add(self._tool, score)

    def note_problem(self, problem: str) -> None:
        """Put a sentence about an unreadable score into the summary of the run, once."""
        sentence = f"{self._tool.distribution} {self._tool.find_version()}: {problem}"
        if sentence not in self._problems:
            self._problems.append(sentence)


class AdoptionHooks:
    """Hooks of a run that adopts tools."""

    def __init__(self, settings: Settings) -> None:
        self._tools = load_tools(settings.adopt)
        self._replays = settings.record == "none"
        self._scores = ScoreKeeper()
        self._open = ExitStack()
        self._problems: list[str] = []
        self._started: list[tuple[AdoptedTool, _Reporter]] = []

    def stay_offline(self) -> None:
        """Keep the tools from needing their own services until the end of the run."""
        for tool in self._tools:
            if tool.find_version():
                self._enter(tool, tool.stay_offline())

    @hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Mark the tests of the tools as recorded, and start to read the scores of each tool that has one."""
        imports = ProjectImports()
        for tool in self._tools:
            its_tests = [item for item in items if tool.is_its_test(item, imports)]
            for item in its_tests:
                if (
                    item.get_closest_marker("llm_cassette") is None
                    and item.get_closest_marker(FOREIGN_MARKER) is None
                ):
                    item.add_marker("llm_cassette")
            if its_tests and tool.find_version():
                self._start(tool)

    def _start(self, tool: AdoptedTool) -> None:
        """Start to read the scores of a tool; if that is not possible, keep the reason for the summary."""
        if self._replays:
            self._problems += tool.iter_advice(os.environ)
        report = _Reporter(tool, self._scores, self._problems)
        if self._enter(tool, tool.read_scores(report)):
            self._started.append((tool, report))

    def _enter(self, tool: AdoptedTool, context: AbstractContextManager[None]) -> bool:
        """Open a context of a tool until the end of the run; if that is not possible, keep the reason for the summary."""
        try:
            self._open.enter_context(context)
        except HookMoved as error:
            self._problems.append(str(error))
            return False
        except Exception as error:  # noqa: BLE001 -- a package may raise anything while it is imported
            self._problems.append(
                f"llm_adopt: {tool.distribution} {tool.find_version()} cannot be imported ({describe_exception(error)}): "
                "none of its scores are read"
            )
            return False
        return True

    @hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Forget the errors that an earlier test left."""
        self._scores.take_errors()

    @hookimpl(wrapper=True, trylast=True)  # within the hooks of the tools' own plugins
    def pytest_runtest_call(self, item: Any) -> Generator[None, object, object]:
        """Fail a test that passed although a tool could not score something in it."""
        result = yield
        for tool, report in self._started:
            try:
                tool.finish_test(item, report)
            except Exception as error:  # noqa: BLE001 -- an attribute that another version of the tool does not have
                report.note_problem(
                    f"some scores could not be computed after a test ({describe_exception(error)})"
                )
        errors = self._scores.take_errors(passed=True)
        if errors:
            recorder.emit_together([recorder.Emission(measurement=measurement) for measurement in errors])
        return result

    @hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: Any) -> None:
        """Record the missing scores of a tool in a failed test, and put the problems of tools among the facts of the test."""
        if self._problems and item.get_closest_marker("llm_cassette") is not None:
            recorder.record_facts({PROBLEMS_FACT: list(self._problems)})
        errors = self._scores.take_errors()
        if errors:
            recorder.record_measurements(errors)

    def pytest_unconfigure(self) -> None:
        """Stop reading scores."""
        self._open.close()


def iter_adoption_notes(settings: Settings, records: Iterable[TestRecord]) -> Iterator[str]:
    """Yield a note for each problem with a tool that ``llm_adopt`` names, and for scores that cannot be compared.

    Args:
        settings: The run's.
        records: The tests of the run.
    """
    if not settings.adopt:
        return
    tools = load_tools(settings.adopt)
    for tool in tools:
        problem = tool.describe_problem()
        if problem:
            yield problem
    prefixes = tuple(f"{make_name(tool.name)}." for tool in tools)
    problems: dict[str, None] = {}
    outside: dict[str, int] = {}
    for record in records:
        for sentence in as_list(record.facts.get(PROBLEMS_FACT)):
            problems[str(sentence)] = None
        for measurement in record.measurements:
            if measurement.unit == "count" and measurement.name.startswith(prefixes):
                outside[measurement.name] = outside.get(measurement.name, 0) + 1
    yield from problems
    for name, number in outside.items():
        yield (
            f"{name}: {format_count(number, 'score')} outside of 0 to 1, shown but not compared with the baseline; "
            "map its scale to 0 to 1 to compare them"
        )
