"""The pytest plugin: hooks of a few lines each; everything real happens below."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_llmops import hookspecs
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.fixtures import (
    HARNESS,
    SETTINGS,
    case,
    embedder,
    judge,
    llm,
    llm_calls,
    llm_cassette,
    prompt,
    prompts,
    retriever,
)
from pytest_llmops.harness import NEEDS_JUDGE, Harness, is_ours, needs_judge
from pytest_llmops.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from pytest_llmops.session import Controller

OURS = pytest.StashKey[bool]()
MISSPELT = pytest.StashKey[str]()
PROMPTS_SEEN = pytest.StashKey[dict[str, None]]()
GROUP = "LLM regression testing (pytest-llmops)"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add each option of `Settings` as a flag and an ini key."""
    group = parser.getgroup("llmops", GROUP)
    for option in OPTIONS:
        if option.flag:
            how = {"action": "store_true"} if option.switch else {"metavar": option.metavar}
            how |= {"action": "append"} if option.repeat else {}
            group.addoption(option.flag, dest=option.dest, default=None, help=option.help, **how)
        if option.ini:
            parser.addini(option.dest, option.help, type=option.ini, default=None)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our hooks, so that a misspelt one is told at the start."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, register the markers, and in the controller listen to the reports."""
    from pytest_llmops.harness import HELP

    with _usage_errors():
        config.stash[SETTINGS] = read_settings(config)
    config.stash[PROMPTS_SEEN] = {}
    for line in HELP:
        config.addinivalue_line("markers", line)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Listener(config), "llmops_listener")


class Listener:
    """In the controller: hands the reports that carry something of ours to the session's `Controller`."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._controller: Controller | None = None

    def _wake(self) -> Controller:
        from pytest_llmops.session import Controller

        if self._controller is None:
            self._controller = Controller(self._config, self._config.stash[SETTINGS])
            self._config.pluginmanager.register(Statuses(), "llmops_statuses")
        return self._controller

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what a test measured."""
        if self._controller is not None or hasattr(report, "llmops"):
            self._wake().add(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the reports that were asked for, also of an empty run."""
        if self._controller is not None or self._config.stash[SETTINGS].report:
            self._wake().finish(session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary of a run that measured something."""
        if self._controller is not None:
            self._controller.summarise(terminalreporter)


def pytest_unconfigure() -> None:
    """Take the patches away, if any test needed them."""
    import sys

    intercept = sys.modules.get("pytest_llmops.cassettes.intercept")
    if intercept is not None:
        intercept.leave()


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings: command line over ini over environment over defaults."""
    import os

    command_line = {option.name: config.getoption(option.dest, None) for option in OPTIONS if option.flag}
    ini = {option.name: config.getini(option.dest) for option in OPTIONS if option.ini}
    return Settings.read(("command line", command_line), ("ini", ini), environ=os.environ)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each prompt version and case."""
    if "prompt" not in metafunc.fixturenames and "case" not in metafunc.fixturenames:
        return
    from pytest_llmops import marks

    node, settings = metafunc.definition, metafunc.config.stash[SETTINGS]
    with _collect_errors():
        for name, values, ids in marks.parameters(node, settings, metafunc.fixturenames):
            metafunc.parametrize(name, values, ids=ids, indirect=True)
        marked = marks.prompt_marker(node)
        if marked:
            metafunc.config.stash[PROMPTS_SEEN][marked[0]] = None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a judge, unless judges were asked for."""
    settings = config.stash[SETTINGS]
    if settings.prompt:
        from pytest_llmops import marks

        seen = config.stash[PROMPTS_SEEN]
        config.stash[MISSPELT] = marks.unknown_override(settings, seen)
        if config.stash[MISSPELT] and not hasattr(config, "workerinput"):
            raise pytest.UsageError(config.stash[MISSPELT])
    for item in filter(is_ours, items):
        item.stash[OURS] = True
        if not settings.judge and needs_judge(item):
            item.add_marker(pytest.mark.skip(reason=NEEDS_JUDGE))
    if any(OURS in item.stash for item in items) and not config.pluginmanager.has_plugin("llmops_cassettes"):
        config.pluginmanager.register(Cassettes(), "llmops_cassettes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give every test a recorder; it costs a few microseconds and reports only what was measured."""
    harness = Harness(item, item.config.stash[SETTINGS], _skip, ours=OURS in item.stash)
    item.stash[HARNESS] = harness
    harness.start()
    try:
        return (yield)
    finally:
        harness.stop()
        del item.stash[HARNESS]  # kept for all tests of a run it would only feed the garbage collector


class Cassettes:
    """Hooks for runs in which a test is ours; other runs do not even call them."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open the cassette of a test that is ours, before any of its fixtures runs."""
        harness = item.stash[HARNESS]
        # A worker that refuses to collect ends xdist with an internal error: there each test says it.
        if harness.ours and item.config.stash.get(MISSPELT, ""):
            raise UsageError(item.config.stash[MISSPELT])
        if harness.ours and not _is_skipped(item):
            harness.open()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Close the cassette after the fixtures are torn down: they may call models too."""
        try:
            return (yield)
        finally:
            item.stash[HARNESS].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what was measured on the report, and take our frames off its traceback."""
    harness = item.stash[HARNESS]
    error = call.excinfo.value if call.excinfo is not None else None
    if error is not None and not isinstance(error, pytest.skip.Exception):
        from pytest_llmops import session

        session.hide_frames(call, pytest.fail.Exception)
    report = yield
    harness.passed = harness.passed or (report.when == "call" and report.passed)
    if harness.used() or isinstance(error, LLMOpsError):
        from pytest_llmops import session

        session.attach(harness, report, error)
    return report


class Statuses:
    """Registered at the first report that carries something of ours: other runs do not even call it."""

    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> Any:
        """Show what could not be judged as an error of its own name, not as a failure."""
        payload = getattr(report, "llmops", None)
        if not payload or payload.get("outcome") != "errored" or report.when != "call" or not report.failed:
            return None
        word = {"MeasurementErrored": "UNSCORED", "CassetteMiss": "MISSED"}.get(payload["kind"], "ERROR")
        return "error", word[0], (word, {"red": True})


def _is_skipped(item: pytest.Item) -> bool:
    return any(mark.name == "skip" for mark in item.iter_markers())


def _skip(reason: str) -> NoReturn:
    __tracebackhide__ = True
    pytest.skip(reason)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Only this edge turns our usage errors into pytest's."""
    try:
        yield
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


@contextmanager
def _collect_errors() -> Iterator[None]:
    try:
        yield
    except LLMOpsError as error:
        raise pytest.Collector.CollectError(str(error)) from None


__all__ = [
    "case",
    "embedder",
    "judge",
    "llm",
    "llm_calls",
    "llm_cassette",
    "prompt",
    "prompts",
    "retriever",
]
