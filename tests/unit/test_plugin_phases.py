"""What the hooks of the plugin do while a test and its fixtures run, and with its reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.items import fixture_of
from support.messages import check_message
from support.plugin_config import Hashed, config_of, end_hook, item_in
from support.reports import make_report, make_session

from pytest_llmops import plugin, recorder
from pytest_llmops.errors import BudgetReached, CassetteMiss, UsageError
from pytest_llmops.fixtures import HARNESS, HAS_INI_KEY, SETTINGS
from pytest_llmops.harness.item import Harness
from pytest_llmops.measurement import Measurement
from pytest_llmops.plugin import (
    LEFT_OUT_COUNT,
    WATCH_KEY,
    RecordingHooks,
    ReportListener,
)
from pytest_llmops.settings import Settings

OURS = pytest.mark.llm_cassette.mark
TRIALS = pytest.mark.llm_trials(3).mark
NODEID = "test_a.py::test_x"


# Reports.


class Controller:
    """What a controller is told."""

    terminal_hooks = object()

    def __init__(self, *, lost: bool = False) -> None:
        self.reports: list[Any] = []
        self.finished: list[Any] = []
        self.listed: list[Any] = []
        self.lost = lost
        self.collection_errors: list[Any] = []
        self.cassette_usage: Any = SimpleNamespace()
        self.add_report = self.reports.append
        self.list_failures = self.listed.append

    def finish_run(self, session: Any, _report_class: object) -> None:
        self.finished.append(session)

    def has_lost_suite(self, _session: Any) -> bool:
        return self.lost


Listen = Callable[..., tuple[ReportListener, list[Controller]]]


@pytest.fixture
def listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listen:
    """Makes the listener of a run, and lists the controllers that it makes."""

    def make(
        settings: Settings | None = None, *, lost: bool = False
    ) -> tuple[ReportListener, list[Controller]]:
        made: list[Controller] = []

        def make_controller(*_: object) -> Controller:
            made.append(Controller(lost=lost))
            return made[-1]

        monkeypatch.setattr("pytest_llmops.harness.controller.Controller", make_controller)
        return ReportListener(config_of(tmp_path, settings)), made

    return make


def test_a_run_without_anything_of_ours_makes_no_controller(listen: Listen) -> None:
    listener, made = listen()
    listener.pytest_runtest_logreport(make_report())
    listener.pytest_sessionfinish(make_session())
    listener.pytest_terminal_summary(object())  # type: ignore[arg-type]
    assert made == []


def test_the_first_report_of_ours_makes_the_controller_that_gets_all_later_ones(listen: Listen) -> None:
    listener, made = listen()
    reports = [make_report(), make_report(llmops={}), make_report()]
    for report in reports:
        listener.pytest_runtest_logreport(report)
    (controller,) = made
    assert controller.reports == reports[1:]
    assert list(listener._config.pluginmanager) == ["llmops_terminal"]  # type: ignore[call-overload]
    session = make_session()
    listener.pytest_sessionfinish(session)
    assert controller.finished == [session]
    terminal: Any = object()
    listener.pytest_terminal_summary(terminal)
    assert controller.listed == [terminal]


@pytest.mark.parametrize(
    "settings", [Settings(report=("a.html",)), Settings(accept="why"), Settings(adopt=("ragas",))]
)
def test_an_empty_run_is_finished_where_a_report_is_wanted(listen: Listen, settings: Settings) -> None:
    listener, made = listen(settings)
    listener.pytest_sessionfinish(make_session())
    assert [len(controller.finished) for controller in made] == [1]


@pytest.mark.parametrize(("has_ini", "count"), [(True, 1), (False, 0)])
def test_a_module_that_failed_is_reported_if_the_project_uses_the_plugin(
    listen: Listen, *, has_ini: bool, count: int
) -> None:
    listener, made = listen()
    listener._config.stash[HAS_INI_KEY] = has_ini
    failed: Any = SimpleNamespace(skipped=False, failed=True)
    listener.pytest_collectreport(SimpleNamespace(skipped=False, failed=False))  # type: ignore[arg-type]
    listener.pytest_collectreport(failed)
    listener.pytest_sessionfinish(make_session())
    assert [controller.collection_errors for controller in made] == [[failed]] * count


@pytest.mark.parametrize(
    ("has_file", "lost", "finished"), [(True, True, 1), (True, False, 0), (False, True, 0)]
)
def test_a_suite_that_is_gone_is_reported(
    listen: Listen, tmp_path: Path, *, has_file: bool, lost: bool, finished: int
) -> None:
    listener, made = listen(lost=lost)
    if has_file:
        (tmp_path / "llmops-baseline.json").write_text("{}")
    listener.pytest_sessionfinish(make_session())
    assert sum(len(controller.finished) for controller in made) == finished


def test_a_usage_error_removes_the_run_files_and_is_not_reported(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[object] = []
    monkeypatch.setattr(
        "pytest_llmops.harness.report_files.remove_run_files", lambda *given: removed.append(given)
    )
    settings = Settings(report=("run.json",))
    listener, made = listen(settings)
    listener.pytest_sessionfinish(make_session(status=pytest.ExitCode.USAGE_ERROR))
    assert made == []
    assert removed == [(listener._config, settings)]


def test_the_controller_knows_what_did_not_run(listen: Listen) -> None:
    listener, made = listen(Settings(report=("a.html",)))
    listener._config.stash[WATCH_KEY].left_out = 1
    for name in ("b", "a"):
        listener.pytest_runtest_logreport(make_report("skipped", nodeid=name))
    listener.pytest_collectreport(SimpleNamespace(skipped=True, failed=False))  # type: ignore[arg-type]
    for count, error in ((3, None), (2, "crashed"), (0, None)):
        node = SimpleNamespace(workeroutput={LEFT_OUT_COUNT: count})
        listener.pytest_testnodedown(node, error)
    listener.pytest_testnodedown(SimpleNamespace(), "crashed")  # before it could say anything
    listener.pytest_sessionfinish(make_session())
    (controller,) = made
    assert vars(controller.cassette_usage) == {
        "left_out": 3,
        "crashed": 2,
        "skipped": 1,
        "skipped_tests": {"a", "b"},
    }


def test_without_workers_the_tests_that_were_left_out_here_count(listen: Listen) -> None:
    listener, made = listen(Settings(report=("a.html",)))
    listener._config.stash[WATCH_KEY].left_out = 4
    listener.pytest_sessionfinish(make_session())
    assert made[0].cassette_usage.left_out == 4


def test_a_worker_that_cannot_set_up_its_tests_ends_the_run(listen: Listen) -> None:
    listener, _ = listen()
    node = SimpleNamespace(workeroutput={"llmops_setup": "no server\x1b[31m"})
    with pytest.raises(pytest.UsageError, check=check_message):
        listener.pytest_testnodedown(node, None)


@pytest.mark.parametrize(("settings", "is_prepared"), [(Settings(), False), (Settings(record="new"), True)])
def test_live_calls_are_prepared_only_where_some_may_be_made(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, settings: Settings, *, is_prepared: bool
) -> None:
    prepared: list[object] = []
    monkeypatch.setattr(
        "pytest_llmops.harness.terminal.prepare_live_calls", lambda *given: prepared.append(given)
    )
    listener, _ = listen(settings)
    assert prepared == [(listener._config, settings)] * is_prepared


def test_the_header_is_that_of_a_project_that_uses_the_plugin(listen: Listen) -> None:
    listener, _ = listen()
    assert listener.pytest_report_header(listener._config) is None
    listener._config.stash[HAS_INI_KEY] = True
    header = listener.pytest_report_header(listener._config)
    assert header is not None
    assert header.startswith("llm:")


def test_a_payload_is_sent_as_one_text_and_read_again() -> None:
    payload = {"measurements": [{"name": "good"}]}
    sent = end_hook(plugin.pytest_report_to_serializable(), {"llmops": payload, "nodeid": NODEID})
    assert json.loads(sent["llmops"]) == payload
    plugin.pytest_report_from_serializable(sent)
    assert sent == {"llmops": payload, "nodeid": NODEID}


@pytest.mark.parametrize("data", [None, {}, {"nodeid": NODEID}, {"llmops": {}}])
def test_a_report_without_a_payload_is_sent_as_it_is(data: dict[str, Any] | None) -> None:
    before = None if data is None else dict(data)
    assert end_hook(plugin.pytest_report_to_serializable(), data) == before
    plugin.pytest_report_from_serializable(data or {})
    assert data == before


# The phases of a test.


def phase(item: Any, outcome: str = "passed", error: BaseException | None = None) -> tuple[Any, Any]:
    """The report of a phase, and pytest's call, after our hook."""
    call: Any = SimpleNamespace(excinfo=None)
    if error is not None:
        with pytest.raises(type(error)) as caught:
            raise error
        call.excinfo = caught
    report = end_hook(plugin.pytest_runtest_makereport(item, call), make_report(outcome))
    return report, call


def harness_in(config: Any, *, ours: bool = True, is_silent: bool = False) -> Harness:
    item = item_in(config, ours=ours)
    harness = item.stash[HARNESS] = Harness(item, config.stash[SETTINGS], pytest.skip, ours=ours)
    harness.is_silent = is_silent
    config.stash[WATCH_KEY] = SimpleNamespace(harness_of=lambda one: one.stash[HARNESS])
    return harness


def test_the_report_of_a_test_of_ours_carries_its_measurements(tmp_path: Path) -> None:
    harness = harness_in(config_of(tmp_path))
    harness.recorder.measurements.append(Measurement(name="good", value=1.0))
    report, _ = phase(harness.item)
    assert [entry["name"] for entry in report.llmops["measurements"]] == ["good"]
    assert harness.passed


def test_a_silent_run_and_a_test_without_anything_of_ours_carry_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    silent = harness_in(config, is_silent=True)
    assert not hasattr(phase(silent.item)[0], "llmops")
    assert not hasattr(phase(silent.item, "failed", UsageError("x"))[0], "llmops")
    foreign = harness_in(config, ours=False)
    assert not hasattr(phase(foreign.item)[0], "llmops")
    assert not hasattr(phase(foreign.item, "failed", KeyError("x"))[0], "llmops")
    assert not hasattr(phase(item_in(config, ours=False), "failed", KeyError("x"))[0], "llmops")


def test_an_error_of_ours_is_reported_of_any_test(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    foreign = harness_in(config, ours=False)
    report, _ = phase(foreign.item, "failed", UsageError("a wrong name"))
    assert (report.llmops["outcome"], report.llmops["kind"]) == ("errored", "UsageError")
    late = item_in(config, ours=False)
    config.stash[WATCH_KEY] = SimpleNamespace(harness_of=lambda _item: foreign)  # it starts one
    assert phase(late, "failed", UsageError("a wrong name"))[0].llmops["kind"] == "UsageError"


def test_a_skip_after_a_result_without_a_score_becomes_an_error(tmp_path: Path) -> None:
    harness = harness_in(config_of(tmp_path))
    harness.recorder.measurements.append(Measurement(name="m", error="the judge gave no score"))
    skipped = pytest.skip.Exception("no model")
    report, call = phase(harness.item, "skipped", skipped)
    assert call.excinfo.value.__cause__ is skipped
    assert report.llmops["kind"] == "MeasurementErrored"


def test_a_test_of_ours_has_a_recorder_while_it_runs(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.stash[WATCH_KEY] = SimpleNamespace(collected=None)
    hooks = RecordingHooks(Any, {})  # type: ignore[arg-type]
    depth = len(recorder._stack)
    for marks, ours, more in (((), True, 1), ((), False, 0), ((TRIALS,), True, 0)):
        item = item_in(config, *marks, ours=ours)
        hook = hooks.pytest_runtest_protocol(item)
        next(hook)
        assert len(recorder._stack) == depth + more
        assert (HARNESS in item.stash) is bool(more)
        with pytest.raises(StopIteration) as caught:
            hook.send("ran")
        assert caught.value.value == "ran"
        assert (len(recorder._stack), HARNESS in item.stash) == (depth, False)


def test_a_recorder_ends_with_a_test_that_is_interrupted(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.stash[WATCH_KEY] = SimpleNamespace(collected=None)
    depth = len(recorder._stack)
    hook = RecordingHooks(Any, {}).pytest_runtest_protocol(item_in(config))  # type: ignore[arg-type]
    next(hook)
    with pytest.raises(KeyboardInterrupt):
        hook.throw(KeyboardInterrupt())
    assert len(recorder._stack) == depth


class Told:
    """A harness that is told what the hooks want of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.open_cassette = lambda: self.calls.append("open")
        self.add_unrun = lambda: self.calls.append("unrun")
        self.close_cassette = lambda: self.calls.append("close")


@pytest.mark.parametrize(
    ("marks", "ours", "calls"),
    [((OURS,), True, ["open"]), ((OURS, pytest.mark.skip.mark), True, ["unrun"]), ((), False, [])],
)
def test_the_set_up_opens_the_cassette_of_a_test_that_runs(
    tmp_path: Path, marks: tuple[pytest.Mark, ...], calls: list[str], *, ours: bool
) -> None:
    item = item_in(config_of(tmp_path), *marks, ours=ours)
    harness = item.stash[HARNESS] = Told()
    RecordingHooks(Any, {}).pytest_runtest_setup(item)  # type: ignore[arg-type]
    assert harness.calls == calls


def test_the_tear_down_closes_the_cassette_even_if_a_fixture_fails(tmp_path: Path) -> None:
    hooks = RecordingHooks(Any, {})  # type: ignore[arg-type]
    item = item_in(config_of(tmp_path))
    assert end_hook(hooks.pytest_runtest_teardown(item), "done") == "done"
    harness = item.stash[HARNESS] = Told()
    hook = hooks.pytest_runtest_teardown(item)
    next(hook)
    with pytest.raises(KeyError):
        hook.throw(KeyError("x"))
    assert harness.calls == ["close"]


def test_a_marker_checks_a_test_of_ours_that_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    marker: Any = SimpleNamespace(find_or_default=lambda item: item, check_after_call=checked.append)
    monkeypatch.setattr("pytest_llmops.harness.markers.markers_of", lambda _item: [marker])
    hooks = RecordingHooks(Any, {})  # type: ignore[arg-type]
    ours, other = item_in(config_of(tmp_path)), item_in(config_of(tmp_path), ours=False)
    for item in (ours, other):
        assert end_hook(hooks.pytest_runtest_call(item), "ran") == "ran"
    assert checked == [ours]
    hook = hooks.pytest_runtest_call(ours)
    next(hook)
    with pytest.raises(AssertionError):
        hook.throw(AssertionError("low"))
    assert checked == [ours]


# Fixtures that outlive a test.


class Fixture(Hashed):
    """A fixture that is set up, as pytest keeps it."""

    def __init__(self, fixture: Any) -> None:
        super().__init__(fixture)
        self.finalizers: list[object] = []
        self.addfinalizer = self.finalizers.append
        self.cache_key = lambda request: request
        self.cached_result: Any = None


class Tape:
    """The cassette of a fixture; the set-up fails at its end with an error, if one is given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.uses = 0

    @contextmanager
    def use_during_setup(self) -> Iterator[None]:
        self.uses += 1
        yield
        if self.error is not None:
            raise self.error

    def begin_teardown(self) -> None: ...


def set_up(hooks: RecordingHooks, fixture: Fixture) -> object:
    return end_hook(hooks.pytest_fixture_setup(fixture, "request"), "value")  # type: ignore[arg-type]


def watched(config: Any, tape: Tape, *, item: Any = None) -> Any:
    """What watches the running test."""
    harness = SimpleNamespace(tape_of_fixture=lambda *_: tape)
    return SimpleNamespace(
        start_harness_of_running_test=lambda: None if item is None else harness, running_item=lambda: item
    )


def test_a_known_fixture_is_set_up_and_torn_down_with_its_cassette(tmp_path: Path) -> None:
    config, tape = config_of(tmp_path), Tape()
    fixture = Fixture(fixture_of(tmp_path, "wide"))
    hooks = RecordingHooks(watched(config, tape, item=item_in(config)), {fixture: tmp_path / "a.json"})
    assert set_up(hooks, fixture) == "value"
    assert (tape.uses, fixture.finalizers) == (1, [tape.begin_teardown])


def test_between_two_tests_a_fixture_is_set_up_without_a_cassette(tmp_path: Path) -> None:
    config, tape = config_of(tmp_path), Tape()
    fixture = Fixture(fixture_of(tmp_path, "wide"))
    hooks = RecordingHooks(watched(config, tape), {fixture: tmp_path / "a.json"})
    assert set_up(hooks, fixture) == "value"
    assert (tape.uses, fixture.finalizers) == (0, [])


@pytest.mark.parametrize(
    ("scope", "ours", "uses"), [("module", True, 1), ("function", True, 0), ("session", False, 0)]
)
def test_a_fixture_that_a_test_of_ours_requests_later_gets_a_cassette(
    tmp_path: Path, scope: str, uses: int, *, ours: bool
) -> None:
    config, tape = config_of(tmp_path), Tape()
    fixture = Fixture(fixture_of(tmp_path, "late", scope))
    hooks = RecordingHooks(watched(config, tape, item=item_in(config, ours=ours)), {})
    assert set_up(hooks, fixture) == "value"
    assert tape.uses == uses
    assert list(hooks._fixtures.values()) == [tmp_path / "cassettes/conftest/fixture.late.json"] * uses


def test_a_fixture_of_an_installed_plugin_gets_no_cassette(tmp_path: Path) -> None:
    config, tape = config_of(tmp_path), Tape()
    fixture = Fixture(fixture_of(tmp_path / "site-packages", "late", "session"))
    hooks = RecordingHooks(watched(config, tape, item=item_in(config)), {})
    assert set_up(hooks, fixture) == "value"
    assert (tape.uses, hooks._fixtures) == (0, {})


@pytest.mark.parametrize("error", [CassetteMiss("no recording"), BudgetReached("one call too many")])
def test_the_miss_of_a_set_up_is_kept_for_the_next_test(tmp_path: Path, error: BaseException) -> None:
    config = config_of(tmp_path)
    fixture = Fixture(fixture_of(tmp_path, "wide"))
    watch = watched(config, Tape(error), item=item_in(config))
    hook = RecordingHooks(watch, {fixture: tmp_path / "a.json"}).pytest_fixture_setup(fixture, "request")  # type: ignore[arg-type]
    next(hook)
    with pytest.raises(type(error)):
        hook.send("value")
    assert fixture.cached_result[:2] == (None, "request")
    assert fixture.cached_result[2][0] is error
    assert fixture.finalizers == []


def test_another_error_of_a_set_up_is_left_to_pytest(tmp_path: Path) -> None:
    fixture = Fixture(fixture_of(tmp_path, "narrow", "function"))
    config = config_of(tmp_path)
    hook = RecordingHooks(watched(config, Tape()), {}).pytest_fixture_setup(fixture, "request")  # type: ignore[arg-type]
    next(hook)
    with pytest.raises(KeyError):
        hook.throw(KeyError("x"))
    assert fixture.cached_result is None


# A run of a test that nobody sees.


@pytest.mark.parametrize("following", [None, "the next test"])
def test_a_test_runs_once_without_being_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, following: object
) -> None:
    config = config_of(tmp_path)
    config.stash[WATCH_KEY] = SimpleNamespace(collected="the collected tests")
    item = item_in(config)
    seen: list[Any] = []

    def run(item: Any, *, log: bool, nextitem: object) -> str:
        harness = item.stash[HARNESS]
        seen.append((log, nextitem, harness.is_silent, harness.variant, harness.ours, harness.collected))
        return "reports"

    monkeypatch.setattr("_pytest.runner.runtestprotocol", run)
    depth = len(recorder._stack)
    assert plugin._run_unlogged(item, following, is_silent=True) == "reports"
    assert seen == [(False, following or item.parent, True, None, True, "the collected tests")]
    assert (len(recorder._stack), HARNESS in item.stash) == (depth, False)
