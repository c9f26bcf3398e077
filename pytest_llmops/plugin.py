"""Hooks of the pytest plugin, a few lines each. `harness` does the work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_llmops import hookspecs, recorder
from pytest_llmops._util.search_folders import test_folders
from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, UsageError, append_code

# isort: off
from pytest_llmops.fixtures import (
    HARNESS, HAS_INI_KEY, SETTINGS, case, embedder, is_set_up, judge, judge_canaries, llm, llm_calls, llm_cassette, llm_feedback, llm_proxy, llm_tools, prompt, prompts, pytest_addoption, pytest_make_parametrize_id, read_settings, register_other_runs, retriever, session_closer, uses_our_files,
)  # fmt: skip
# isort: on

from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.harness import markers
from pytest_llmops.harness.own_tests import has_baseline_file, is_recorded_elsewhere, may_measure, uses_plugin
from pytest_llmops.measurement import escape_output

if TYPE_CHECKING:
    from pytest_llmops.harness.controller import Controller
    from pytest_llmops.harness.item import Harness
    from pytest_llmops.harness.markers.marker import Arguments
    from pytest_llmops.harness.run_checks import CollectedTests

OURS_KEY = pytest.StashKey[bool]()
# Why tests cannot run, reported by the set-up of each. Mistakes in markers have the key (class or module, name of the test function);
# a problem of the whole run has the key None.
PROBLEMS_KEY = pytest.StashKey[dict[object, str]]()
ITEMS_KEY = pytest.StashKey[list[pytest.Item]]()
# For each marker whose values an option can replace (`Marker.narrowed_by`), its arguments in all collected tests
SEEN_KEY = pytest.StashKey[dict[str, list["Arguments"]]]()
LEFT_OUT_COUNT = "llmops_left_out"
WATCH_KEY = pytest.StashKey["OnDemandHarness"]()


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our hooks, so that pytest reports a misspelt hook at the start."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Run the suite again with more trials while --llm-trials=auto is undecided."""
    if config.getoption("llm_trials") in LOOKS and not hasattr(config, "workerinput"):
        from pytest_llmops.harness.baseline_gate import run_looks

        return (yield from run_looks(config))
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Refuse calls outside of tests from here on, if the project uses the plugin and replays. In a ledger, its file is read with another text."""
    from pytest_llmops._util.file_override import install_override

    early_config.add_cleanup(install_override())
    with session_closer(early_config).close_early():
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, register the markers, and in the controller listen to the reports."""
    settings, config.stash[HAS_INI_KEY] = read_settings(config)
    config.stash[SETTINGS] = settings
    config.stash[SEEN_KEY] = {}
    config.stash[PROBLEMS_KEY] = {}
    for line in markers.iter_help(in_full=config.getoption("markers", default=False)):
        config.addinivalue_line("markers", line)
    config.stash[WATCH_KEY] = OnDemandHarness(config)
    config.pluginmanager.register(config.stash[WATCH_KEY], "llmops_watch")
    session_closer(config).close_when_configured(settings, is_set_up=is_set_up(config))
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(ReportListener(config), "llmops_listener")
    register_other_runs(config, settings, OURS_KEY, _run_unlogged)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Use the project's own wire formats to read calls. Before collection, because the controller of xdist collects nothing."""
    _use_call_formats(session.config)
    if session.config.stash[SETTINGS].adopt:
        from pytest_llmops.harness.adoption import adopt_tools

        adopt_tools(session.config, session.config.stash[SETTINGS])


def _use_call_formats(config: pytest.Config) -> None:
    # Without any format of its own there is nothing to do, unless this run is within a test (pytester) and the outer run has formats.
    is_reading = "pytest_llmops.trace.routes" in sys.modules
    if not is_reading and not config.hook.pytest_llmops_call_formats.get_hookimpls():
        return
    from pytest_llmops.harness.call_formats import use_call_formats

    try:
        use_call_formats(config)
    except UsageError as error:
        _refuse_run(config, append_code(str(error), error.code))


class ReportListener:
    """Passes the reports that carry data of ours to the session's `Controller`."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.controller: Controller | None = None
        self._left_out = self._crashed = self._skipped = 0
        self._collection_errors: list[pytest.CollectReport] = []
        self._skipped_tests = set[str]()
        if config.stash[SETTINGS].may_call_models:
            from pytest_llmops.harness.terminal import prepare_live_calls

            prepare_live_calls(config, config.stash[SETTINGS])

    def _get_controller(self) -> Controller:
        if self.controller is None:
            self.controller = self._make_controller()
            self._config.pluginmanager.register(self.controller.terminal_hooks, "llmops_terminal")
        return self.controller

    def _make_controller(self) -> Controller:
        from pytest_llmops.harness import controller

        return controller.Controller(self._config, self._config.stash[SETTINGS])

    def _hand_over(self, controller: Controller) -> Controller:
        """Pass the tests that did not run to a controller, and return it."""
        controller.collection_errors = self._collection_errors
        usage = controller.cassette_usage
        usage.left_out = max(self._left_out, self._config.stash[WATCH_KEY].left_out)
        usage.crashed, usage.skipped, usage.skipped_tests = self._crashed, self._skipped, self._skipped_tests
        return controller

    def pytest_report_header(self, config: pytest.Config) -> str | None:
        """Return a line with the mode, the models and the budget, if the project or the command line sets an option of ours."""
        if not is_set_up(config):
            return None
        from pytest_llmops.harness.terminal import describe_settings

        return describe_settings(config.stash[SETTINGS])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the measurements of a test, and the names of all skipped tests, ours or not."""
        if report.skipped:
            self._skipped_tests.add(report.nodeid)
        if self.controller is not None or hasattr(report, "llmops"):
            self._get_controller().add_report(report)

    @pytest.hookimpl(tryfirst=True)  # before pytest writes the JUnit file
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the requested reports, also of an empty run, but not of one that a usage error ended."""
        settings = self._config.stash[SETTINGS]
        if session.exitstatus == pytest.ExitCode.USAGE_ERROR:
            from pytest_llmops.harness.report_files import remove_run_files

            remove_run_files(self._config, settings)
            return
        is_wanted = bool(self.controller or settings.report or settings.accept or settings.adopt)
        is_wanted = is_wanted or bool(self._collection_errors and uses_our_files(self._config))
        if not is_wanted and has_baseline_file(self._config):  # its tests may all be gone
            is_wanted = self._hand_over(self._make_controller()).has_lost_suite(session)
        if not is_wanted:
            return
        self._hand_over(self._get_controller()).finish_run(session, pytest.TestReport)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count the modules that skipped themselves while they were collected, and keep why others failed."""
        self._skipped += report.skipped
        if report.failed:
            self._collection_errors.append(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Note how many tests a worker left out, and count the workers that crashed."""
        output = getattr(node, "workeroutput", {})
        if output.get("llmops_setup"):
            raise pytest.UsageError(escape_output(output["llmops_setup"]))
        # The largest number, not the sum: every worker collects all tests.
        self._left_out = max(self._left_out, output.get(LEFT_OUT_COUNT, 0))
        if error:
            self._crashed += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prepare pytest's list of failures, after which our section follows."""
        if self.controller is not None:
            self.controller.list_failures(terminalreporter)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Undo what this run registered globally: callbacks, and patches of HTTP clients if any test needed them."""
    watch = config.stash.get(WATCH_KEY, None)
    if watch is not None:
        del recorder.wake_callbacks[watch.start_harness_of_running_test]
        test_folders.remove(watch.search_folders)
    interception = sys.modules.get("pytest_llmops.cassettes.http.interception")
    # Callbacks that are left belong to an outer run: this was a run inside a test.
    if interception is not None and not recorder.wake_callbacks:
        interception.remove_patches()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test by models, prompt versions and cases."""
    is_parametrized = not set(markers.PARAMETRIZED_FIXTURES).isdisjoint(metafunc.fixturenames)
    if not is_parametrized and not markers.has_marker(metafunc.definition):
        return
    from pytest_llmops.harness.parametrize import parametrize_test

    stash = metafunc.config.stash
    result = parametrize_test(metafunc, stash[SETTINGS])
    _note_problem(metafunc, result.problem)
    for name, arguments in result.marked.items():
        if markers.load_marker(name).narrowed_by:
            stash[SEEN_KEY].setdefault(name, []).append(arguments)


def _note_problem(metafunc: pytest.Metafunc, problem: str) -> None:
    """Keep a problem with the markers of a test, so that its set-up reports it. An empty text is not kept."""
    if not problem:
        return
    if metafunc.config.option.collectonly:  # nothing runs that would report it
        raise pytest.Collector.CollectError(append_code(problem, UsageError.code))
    key = metafunc.definition.parent, metafunc.definition.name
    # The first counts: later ones may follow from it.
    metafunc.config.stash[PROBLEMS_KEY].setdefault(key, problem)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that are ours, and skip those that need a judge unless --llm-judge is given."""
    config.stash[ITEMS_KEY] = items
    _use_call_formats(config)  # again, as collection has loaded more conftest files
    ours = [item for item in items if uses_plugin(item) or _find_problem(item)]
    _check_options(config)
    for item in ours:
        item.stash[OURS_KEY] = True
        for marker in markers.load_markers():
            if reason := marker.why_skipped(item, config.stash[SETTINGS]):
                item.add_marker(pytest.mark.skip(reason=reason))
    _register_hooks_for(config, ours)
    if ours or "pytest_llmops.assertions.semantic" in sys.modules:
        from pytest_llmops.harness.setup_checks import register_hooks

        register_hooks(config, config.stash[SETTINGS], OURS_KEY, pytest.UsageError)


def _check_options(config: pytest.Config) -> None:
    """Check the options that replace values of markers, such as --llm-prompt, against the markers of the collected tests."""
    for name, marked in config.stash[SEEN_KEY].items():
        marker = markers.load_marker(name)
        if problem := marker.check_options(config.stash[SETTINGS], marked, config.rootpath):
            _refuse_run(config, problem)


def _refuse_run(config: pytest.Config, problem: str) -> None:
    """End the run with a usage error. In a worker of xdist, which would end with an internal error, each test fails with it instead."""
    config.stash[PROBLEMS_KEY].setdefault(None, problem)
    if not hasattr(config, "workerinput"):
        raise pytest.UsageError(escape_output(append_code(problem, UsageError.code)))


def _find_problem(item: pytest.Item) -> str:
    """Return why a test cannot run, or ``""``."""
    problems = item.config.stash[PROBLEMS_KEY]
    return problems.get((item.parent, getattr(item, "originalname", ""))) or problems.get(None, "")


def _is_repeated(item: pytest.Item) -> bool:
    """Return whether a test of ours runs several times: with faults, or as trials if nothing is wrong with its markers."""
    from pytest_llmops.harness.markers.llm_trials import has_trials

    settings = item.config.stash[SETTINGS]
    if settings.faults:
        return OURS_KEY in item.stash
    return OURS_KEY in item.stash and not _find_problem(item) and has_trials(item, settings)


def _register_hooks_for(config: pytest.Config, ours: list[pytest.Item]) -> None:
    """Register the hooks that are needed by the tests that are ours, and refuse calls of all others if the run only replays."""
    settings = config.stash[SETTINGS]
    if ours:
        from pytest_llmops.harness.tapes import recorded_fixtures

        fixtures: dict[object, Path] = {}
        for item in ours:
            fixtures.update(recorded_fixtures(item))
        _register_recording_hooks(config, fixtures)
        if not settings.faults and any(map(_is_repeated, ours)):
            from pytest_llmops.harness.trials import TrialHooks

            hooks = TrialHooks(settings, _is_repeated, _run_unlogged, pytest.CallInfo, pytest.TestReport)
            config.pluginmanager.register(hooks, "llmops_trials")
    if settings.record == "none" and (ours or config.stash[HAS_INI_KEY]):
        _refuse_unrecorded_calls(config)


def _register_recording_hooks(config: pytest.Config, fixtures: dict[object, Path]) -> None:
    """Register `RecordingHooks`, once. ``fixtures`` are the fixtures that outlive a test, with the path of their cassette."""
    if not config.pluginmanager.has_plugin("llmops_ours"):
        config.pluginmanager.register(RecordingHooks(config.stash[WATCH_KEY], fixtures), "llmops_ours")


def _refuse_unrecorded_calls(config: pytest.Config) -> None:
    """Refuse connections to models from tests that are not ours, from here to the end of the run."""
    from pytest_llmops.harness import unrecorded

    watch = config.stash[WATCH_KEY]

    def refuse(item: pytest.Item, host: str) -> BaseException | None:
        if OURS_KEY in item.stash or is_recorded_elsewhere(item):
            return None
        _register_recording_hooks(config, {})  # their tear-down fails the test if it catches the error
        return unrecorded.refuse_connection(watch.harness_of(item), host)

    session_closer(config).close().refuse_in_test = refuse


class OnDemandHarness:
    """Starts a harness for a test without our fixtures and markers, at its first measurement. Other tests cost nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._items: dict[str, pytest.Item] = {}
        self.harness: Harness | None = None
        self._children: list[tuple[pytest.Collector, Sequence[pytest.Item | pytest.Collector]]] = []
        self.left_out = 0
        self._module: Path | None = None
        recorder.wake_callbacks[self.start_harness_of_running_test] = len(recorder._stack)  # noqa: SLF001 -- our own
        test_folders.append(self.search_folders)

    def start_harness_of_running_test(self) -> Harness | None:
        """Return the harness of the running test, started if necessary; None between two tests."""
        item = self.running_item()
        if item is None:
            return None
        return self.harness_of(item)

    def running_item(self) -> pytest.Item | None:
        """Return the running test; None between two tests."""
        node_id = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        if node_id not in self._items:
            self._items = {item.nodeid: item for item in self._config.stash.get(ITEMS_KEY, [])}
        return self._items.get(node_id)

    def search_folders(self) -> Sequence[Path]:
        """Return the folders of the running test, or of the module that is collected, up to the rootdir."""
        from pytest_llmops._util.user_files import folders_above

        item = self.running_item()
        path = self._module
        if item is not None:
            path = item.path
        if path is None:
            return ()
        return folders_above(path.parent, self._config.rootpath)

    def harness_of(self, item: pytest.Item) -> Harness:
        """Return the harness of a test, started if necessary."""
        if HARNESS not in item.stash:
            self.harness = _start_harness(item)
        return cast("Harness", item.stash[HARNESS])

    @pytest.hookimpl(trylast=True)  # all other parameters are there
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Let markers order the tests of a function: `llm_compare` puts the tests that it compares side by side."""
        for marker in markers.markers_of(metafunc.definition):
            _note_problem(metafunc, marker.order_tests(metafunc.definition, metafunc._calls))  # noqa: SLF001 -- no public access

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Keep the tests of each collected module and class, also those that are not run (others than ``test_a.py::test_x``)."""
        # While a module is imported, it may name files that `search_folders` helps to find.
        self._module = collector.path
        session_closer(self._config).close_at_folder(collector.path)
        report = yield
        if isinstance(collector, pytest.Module | pytest.Class) and report.passed:
            self._children.append((collector, report.result))
        if report.failed:
            from pytest_llmops.harness.tracebacks import note_collection_error

            note_collection_error(report, self._config.rootpath)
        return report

    @cached_property
    def collected(self) -> CollectedTests:
        """The tests of all collected modules."""
        from pytest_llmops.harness.run_checks import CollectedTests

        return CollectedTests(self._config.rootpath, self._children)

    def pytest_itemcollected(self) -> None:
        """Count the collected tests. `pytest_deselected` does not do: some plugins remove tests without calling it."""
        self.left_out += 1

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the collected tests that will not run, for a worker's controller. Import the modules that the others need."""
        self.left_out -= len(session.items)
        getattr(self._config, "workeroutput", {})[LEFT_OUT_COUNT] = self.left_out
        ours = [item for item in session.items if OURS_KEY in item.stash]
        if (ours or may_measure(session.items)) and not self._config.option.collectonly:
            from pytest_llmops.harness.early_imports import import_for_tests

            import_for_tests(session, ours, self._config.stash[SETTINGS])

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self) -> None:
        """End the harness of a test that is not ours, after its last report."""
        if self.harness is not None:
            _end_harness(self.harness)
            self.harness = None


def _start_harness(item: pytest.Item) -> Harness:
    from pytest_llmops.harness.item import Harness

    stash = item.config.stash
    harness = Harness(item, stash[SETTINGS], pytest.skip, ours=OURS_KEY in item.stash)
    harness.collected = stash[WATCH_KEY].collected
    item.stash[HARNESS] = harness
    harness.start()
    return harness


def _end_harness(harness: Harness) -> None:
    harness.stop()
    del harness.item.stash[HARNESS]  # pytest keeps all items until the end of the run


class RecordingHooks:
    """Hooks that are registered only if a test of the run is ours."""

    def __init__(self, watch: OnDemandHarness, fixtures: dict[object, Path]) -> None:
        self._watch = watch
        self._fixtures = fixtures

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give every test that is ours a recorder."""
        if OURS_KEY not in item.stash or _is_repeated(item):
            return (yield)
        harness = _start_harness(item)
        try:
            return (yield)
        finally:
            _end_harness(harness)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open the cassette of a test that is ours, before any of its fixtures runs."""
        if OURS_KEY not in item.stash:
            return
        problem = _find_problem(item)
        if problem:
            raise UsageError(problem)
        harness = item.stash[HARNESS]
        if item.get_closest_marker("skip") is None:
            harness.open_cassette()
        else:
            harness.add_unrun()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Check a test that passed, as its markers say."""
        result = yield
        if OURS_KEY in item.stash:
            for marker in markers.markers_of(item):
                marker.check_after_call(marker.find_or_default(item))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: Any
    ) -> Generator[None, object, object]:
        """Give a fixture that outlives a test its own cassette. If a recording is missing, the next test that uses it gets the error too."""
        path = self._fixtures.get(fixturedef) or self._requested_fixture_path(fixturedef)
        harness = None
        if path is not None:
            harness = self._watch.start_harness_of_running_test()
        try:
            if path is None or harness is None:
                return (yield)
            tape = harness.tape_of_fixture(fixturedef, path, self._watch.start_harness_of_running_test)
            with tape.use_during_setup():
                value = yield
            fixturedef.addfinalizer(tape.begin_teardown)
        except (CassetteMiss, BudgetReached) as error:
            # pytest caches the error of a set-up only if it is an `Exception`, and fails internally otherwise.
            fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, error.__traceback__))
            raise
        else:
            return value

    def _requested_fixture_path(self, fixturedef: pytest.FixtureDef[Any]) -> Path | None:
        """Return the cassette path of a fixture that a test of ours requests by `getfixturevalue`, and keep it.

        Its arguments do not name such a fixture, so it was not known when the tests were collected. None: it needs no cassette.
        """
        from pytest_llmops.harness import tapes

        item = self._watch.running_item()
        if fixturedef.scope not in tapes.BROAD_SCOPES or item is None or OURS_KEY not in item.stash:
            return None
        path = tapes.fixture_cassette_path(fixturedef)
        if path is not None:
            self._fixtures[fixturedef] = path
        return path

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Close the cassette after the fixtures are torn down: they may call models too."""
        try:
            return (yield)
        finally:
            if HARNESS in item.stash:
                item.stash[HARNESS].close_cassette()


def _run_unlogged(
    item: pytest.Item, nextitem: Any = None, *, is_silent: Any = False, variant: Any = None
) -> Any:
    """Run set-up, call and tear-down of a test once, with a recorder of its own, and return their reports without logging them.

    Args:
        item: pytest's item.
        nextitem: The test that comes next, whose fixtures stay set up; None: all fixtures stay that outlive the test.
        is_silent: Whether nobody sees the reports.
        variant: The `FaultVariant` that it runs with; None: without.
    """
    from _pytest.runner import runtestprotocol

    harness = _start_harness(item)
    harness.is_silent, harness.variant = is_silent, variant
    try:
        return runtestprotocol(item, log=False, nextitem=nextitem or item.parent)  # type: ignore[arg-type]
    finally:
        _end_harness(harness)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the measurements to the report, and remove our frames from its traceback."""
    error = call.excinfo.value if call.excinfo is not None else None
    if not _has_report(item, error):
        return (yield)
    harness = item.config.stash[WATCH_KEY].harness_of(item)
    from pytest_llmops.harness.records import attach_payload
    from pytest_llmops.harness.tracebacks import hide_frames

    if harness.is_skip(error, pytest.skip.Exception):
        error = harness.replace_skip(call)
    elif error is not None:
        error = harness.replace_by_cause(call)
        hide_frames(call, pytest.fail.Exception)
    report = yield
    harness.end_phase(report, error)
    if harness.has_results() or isinstance(error, LLMOpsError):
        attach_payload(harness, report, error)
    return report


def _has_report(item: pytest.Item, error: BaseException | None) -> bool:
    """Return whether we add something to the report of a phase: a harness runs that is not silent, or an error of ours was raised."""
    running: Harness | None = item.stash.get(HARNESS, None)
    if running is None:
        return isinstance(error, LLMOpsError)
    return not running.is_silent


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """Send the measurements to another process as a single text, because execnet packs each nested value in Python."""
    data = yield
    if data and data.get("llmops"):
        data["llmops"] = json.dumps(data["llmops"])
    return data


@pytest.hookimpl(tryfirst=True)
def pytest_report_from_serializable(data: dict[str, Any]) -> None:
    """Read the text that the hook above has sent."""
    if isinstance(data.get("llmops"), str):
        data["llmops"] = json.loads(data["llmops"])


__all__ = [  # fixtures and hooks, for pytest to find
    "case", "embedder", "judge", "judge_canaries", "llm", "llm_calls", "llm_cassette", "llm_feedback", "llm_proxy", "llm_tools", "prompt", "prompts", "pytest_addoption", "pytest_make_parametrize_id", "retriever",
]  # fmt: skip
