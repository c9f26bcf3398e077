"""What the hooks of the plugin decide: which tests are ours, when a run is refused, and what is registered and reported."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.items import fixture_of
from support.messages import check_message
from support.plugin_config import Hashed, config_of, end_hook, item_in

from pytest_llmops import plugin, recorder
from pytest_llmops._util.search_folders import test_folders
from pytest_llmops.cassettes.http import interception
from pytest_llmops.errors import CassetteMiss, UsageError
from pytest_llmops.fixtures import CLOSER, HARNESS, HAS_INI_KEY, SETTINGS
from pytest_llmops.harness import trials
from pytest_llmops.harness.item import Harness
from pytest_llmops.harness.markers import MARKERS
from pytest_llmops.harness.markers.marker import Arguments
from pytest_llmops.harness.run_checks import CollectedTests
from pytest_llmops.plugin import (
    ITEMS_KEY,
    LEFT_OUT_COUNT,
    OURS_KEY,
    PROBLEMS_KEY,
    SEEN_KEY,
    WATCH_KEY,
    OnDemandHarness,
    RecordingHooks,
)
from pytest_llmops.settings import Settings

OURS = pytest.mark.llm_cassette.mark
TRIALS = pytest.mark.llm_trials(3).mark
NODEID = "test_a.py::test_x"


@pytest.fixture(autouse=True)
def formats(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs whose hook of wire formats was called."""
    used: list[Any] = []
    monkeypatch.setattr("pytest_llmops.harness.call_formats.use_call_formats", used.append)
    return used


# The harness of a test that turns out to measure something.


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[OnDemandHarness]:
    """Of a run with one test that is not ours; all is undone at the end, as by the end of the run."""
    config = config_of(tmp_path)
    watch = config.stash[WATCH_KEY] = OnDemandHarness(config)
    config.stash[ITEMS_KEY] = [item_in(config, ours=False)]
    before = len(test_folders), len(recorder.wake_callbacks), recorder._stack[:]
    yield watch
    watch.pytest_runtest_logfinish()
    plugin.pytest_unconfigure(config)
    assert (len(test_folders) + 1, len(recorder.wake_callbacks) + 1, recorder._stack) == before


def run_test(monkeypatch: pytest.MonkeyPatch, nodeid: str = NODEID, phase: str = "call") -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", f"{nodeid} ({phase})")


def test_the_running_test_is_the_one_that_pytest_names(
    watch: OnDemandHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = watch._config.stash[ITEMS_KEY]
    run_test(monkeypatch)
    assert watch.running_item() is item
    run_test(monkeypatch, "test_a.py::test_x (odd)")
    assert watch.running_item() is None
    later = item_in(watch._config, ours=False)
    later.nodeid = "test_a.py::test_later"
    watch._config.stash[ITEMS_KEY].append(later)  # another plugin has made it meanwhile
    run_test(monkeypatch, later.nodeid)
    assert watch.running_item() is later
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert watch.running_item() is None
    assert watch.start_harness_of_running_test() is None


def test_the_first_measurement_starts_a_harness_that_ends_with_the_test(
    watch: OnDemandHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = watch._config.stash[ITEMS_KEY]
    run_test(monkeypatch)
    harness = watch.start_harness_of_running_test()
    assert isinstance(harness, Harness)
    assert (harness.ours, item.stash[HARNESS], watch.harness) == (False, harness, harness)
    assert watch.start_harness_of_running_test() is harness
    assert recorder._stack[-1] is harness.recorder
    watch.pytest_runtest_logfinish()
    assert HARNESS not in item.stash
    assert watch.harness is None
    assert recorder._stack[-1:] != [harness.recorder]
    watch.pytest_runtest_logfinish()


def test_the_harness_of_a_test_of_ours_is_not_ended_here(
    watch: OnDemandHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = item_in(watch._config)
    item.stash[HARNESS] = started = object()
    assert watch.harness_of(item) is started
    watch.pytest_runtest_logfinish()
    assert item.stash[HARNESS] is started


def test_files_are_searched_from_the_test_or_from_the_module_that_is_collected(
    watch: OnDemandHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    assert watch.search_folders() == ()
    collect(watch, SimpleNamespace(path=tmp_path / "deep" / "test_b.py"))
    assert list(watch.search_folders()) == [tmp_path / "deep", tmp_path]
    run_test(monkeypatch)
    assert list(watch.search_folders()) == [tmp_path]


def collect(watch: OnDemandHarness, collector: Any, *, passed: bool = True) -> Any:
    """Collect a folder, module or class."""
    report = SimpleNamespace(passed=passed, failed=not passed, result=["a test"], longrepr="no")
    assert end_hook(watch.pytest_make_collect_report(collector), report) is report
    return report


def module(path: Path) -> Any:
    collector = object.__new__(pytest.Module)
    collector.path = path
    return collector


@pytest.mark.parametrize(
    ("kind", "passed", "kept"), [(pytest.Module, True, 1), (pytest.Class, True, 1), (pytest.Dir, True, 0)]
)
def test_the_tests_of_modules_and_classes_are_kept_also_if_they_do_not_run(
    watch: OnDemandHarness, tmp_path: Path, kind: type[Any], *, passed: bool, kept: int
) -> None:
    collector: Any = object.__new__(kind)
    collector.path = tmp_path / "test_b.py"
    collect(watch, collector, passed=passed)
    assert len(watch._children) == kept
    closer: Any = watch._config.stash[CLOSER]
    assert closer.folders == [tmp_path / "test_b.py"]


def test_a_module_that_could_not_be_loaded_has_no_tests(
    watch: OnDemandHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[object] = []
    monkeypatch.setattr(
        "pytest_llmops.harness.tracebacks.note_collection_error", lambda *given: noted.append(given[1])
    )
    collect(watch, module(tmp_path / "test_b.py"), passed=False)
    assert (watch._children, noted) == ([], [tmp_path])
    collect(watch, module(tmp_path / "test_c.py"))
    assert noted == [tmp_path]


def test_the_collected_tests_are_those_of_this_run(watch: OnDemandHarness) -> None:
    assert isinstance(watch.collected, CollectedTests)
    assert watch.collected is watch.collected


def test_the_tests_that_were_collected_and_do_not_run_are_counted(
    watch: OnDemandHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[Any] = []
    monkeypatch.setattr(
        "pytest_llmops.harness.early_imports.import_for_tests", lambda *given: imported.append(given)
    )
    for _ in range(3):
        watch.pytest_itemcollected()
    config: Any = watch._config
    config.workeroutput = {}
    ours, other = item_in(config), item_in(config, ours=False)
    session: Any = SimpleNamespace(items=[ours, other])
    watch.pytest_collection_finish(session)
    assert (watch.left_out, config.workeroutput) == (1, {LEFT_OUT_COUNT: 1})
    assert imported == [(session, [ours], config.stash[SETTINGS])]
    config.option.collectonly = True
    watch.pytest_collection_finish(session)
    assert len(imported) == 1


def test_the_end_of_an_outer_run_removes_the_patches_and_of_an_inner_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[bool] = []
    monkeypatch.setattr(interception, "remove_patches", lambda: removed.append(True))
    config = config_of(tmp_path)
    config.stash[WATCH_KEY] = OnDemandHarness(config)
    plugin.pytest_unconfigure(config)  # of a run in this test
    assert removed == []
    monkeypatch.setattr(recorder, "wake_callbacks", {})
    config.stash[WATCH_KEY] = OnDemandHarness(config)
    plugin.pytest_unconfigure(config)
    assert removed == [True]


def test_a_run_that_was_never_configured_has_nothing_to_undo() -> None:
    before = dict(recorder.wake_callbacks)
    plugin.pytest_unconfigure(SimpleNamespace(stash={}))  # type: ignore[arg-type]
    assert recorder.wake_callbacks == before


@pytest.mark.parametrize(
    ("worker", "registered"),
    [(False, ["llmops_watch", "llmops_listener"]), (True, ["llmops_watch"])],
)
def test_a_run_is_watched_and_its_controller_listens_to_reports(
    tmp_path: Path, registered: list[str], *, worker: bool
) -> None:
    config = config_of(tmp_path, llm_judge=True)
    closer = config.stash[CLOSER]
    config.stash = {CLOSER: closer}
    lines: list[str] = []
    config.addinivalue_line = lambda _name, line: lines.append(line.partition(":")[0])
    if worker:
        config.workerinput = {}
    plugin.pytest_configure(config)
    try:
        assert list(config.pluginmanager) == registered
        assert config.pluginmanager["llmops_watch"] is config.stash[WATCH_KEY]
        assert (config.stash[SEEN_KEY], config.stash[PROBLEMS_KEY]) == ({}, {})
        assert config.stash[SETTINGS].judge
        assert closer.configured == (config.stash[SETTINGS], True)
        assert lines == list(MARKERS)
    finally:
        plugin.pytest_unconfigure(config)


# Which tests are ours, and what is registered for them.


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls that would check the set-up of a run."""
    calls: list[Any] = []
    monkeypatch.setattr(
        "pytest_llmops.harness.setup_checks.register_hooks", lambda *given: calls.append(given)
    )
    return calls


def test_tests_with_a_fixture_or_marker_of_ours_or_a_problem_are_ours(
    tmp_path: Path, nothing_registered: list[Any]
) -> None:
    config = config_of(tmp_path, Settings(record="new"))
    marked, fixture, wrong, other = items = [
        item_in(config, OURS, ours=False),
        item_in(config, ours=False, names=("llm",)),
        item_in(config, ours=False),
        item_in(config, ours=False),
    ]
    config.stash[PROBLEMS_KEY][wrong.parent, "test_x"] = "a wrong marker"
    plugin.pytest_collection_modifyitems(config, items)
    assert config.stash[ITEMS_KEY] is items
    assert [OURS_KEY in item.stash for item in items] == [True, True, True, False]
    assert other.added == []
    assert list(config.pluginmanager) == ["llmops_ours"]
    assert len(nothing_registered) == 1
    assert marked.added == fixture.added == []


def test_a_test_that_needs_a_judge_is_skipped_without_llm_judge(
    tmp_path: Path, nothing_registered: list[Any]
) -> None:
    for settings, count in ((Settings(), 1), (Settings(judge=True), 0)):
        item = item_in(config_of(tmp_path, settings), ours=False, names=("judge",))
        plugin.pytest_collection_modifyitems(item.config, [item])
        reasons = [mark.kwargs["reason"] for mark in item.added]
        assert len(reasons) == count
        assert all("--llm-judge" in reason for reason in reasons)


def test_nothing_is_registered_for_a_run_without_our_tests(
    tmp_path: Path, nothing_registered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pytest_llmops.assertions.semantic", raising=False)
    config = config_of(tmp_path)
    plugin.pytest_collection_modifyitems(config, [item_in(config, ours=False)])
    assert (config.pluginmanager, nothing_registered, config.stash[CLOSER].guard) == ({}, [], None)


def test_fixtures_that_outlive_a_test_are_known_with_their_cassettes(
    tmp_path: Path, nothing_registered: list[Any]
) -> None:
    wide, narrow = fixture_of(tmp_path, "wide"), fixture_of(tmp_path, "narrow", "function")
    config = config_of(tmp_path)
    item = item_in(config, OURS, ours=False, fixtures=(wide, narrow))
    item._fixtureinfo.name2fixturedefs = {
        name: (Hashed(fixture),) for name, fixture in (("wide", wide), ("narrow", narrow))
    }
    plugin.pytest_collection_modifyitems(config, [item])
    hooks = config.pluginmanager["llmops_ours"]
    assert list(hooks._fixtures.values()) == [tmp_path / "cassettes/conftest/fixture.wide.json"]


@pytest.mark.parametrize(
    ("marks", "settings", "is_registered"),
    [
        ((OURS,), Settings(), False),
        ((OURS,), Settings(trials=2), True),
        ((OURS, TRIALS), Settings(), True),
        ((OURS, TRIALS), Settings(faults=("timeout",)), False),
    ],
)
def test_trials_are_repeated_where_a_test_has_some(
    tmp_path: Path,
    nothing_registered: list[Any],
    marks: tuple[pytest.Mark, ...],
    settings: Settings,
    *,
    is_registered: bool,
) -> None:
    config = config_of(tmp_path, settings)
    plugin.pytest_collection_modifyitems(config, [item_in(config, *marks, ours=False)])
    assert config.pluginmanager.has_plugin("llmops_trials") is is_registered
    hooks = config.pluginmanager.get("llmops_trials")
    assert isinstance(hooks, trials.TrialHooks | None)


@pytest.mark.parametrize(
    ("marks", "settings", "ours", "problem", "is_repeated"),
    [
        ((TRIALS,), Settings(), True, "", True),
        ((TRIALS,), Settings(), True, "a wrong marker", False),
        ((TRIALS,), Settings(), False, "", False),
        ((), Settings(), True, "", False),
        ((), Settings(faults=("timeout",)), True, "a wrong marker", True),
        ((TRIALS,), Settings(faults=("timeout",)), False, "", False),
    ],
)
def test_which_tests_run_several_times(
    tmp_path: Path,
    marks: tuple[pytest.Mark, ...],
    settings: Settings,
    problem: str,
    *,
    ours: bool,
    is_repeated: bool,
) -> None:
    item = item_in(config_of(tmp_path, settings), *marks, ours=ours)
    if problem:
        item.config.stash[PROBLEMS_KEY][None] = problem
    assert plugin._is_repeated(item) is is_repeated


# Calls of tests that nothing records.


@pytest.mark.parametrize(
    ("settings", "has_ini", "ours", "is_refused"),
    [
        (Settings(), True, False, True),
        (Settings(), False, True, True),
        (Settings(), False, False, False),
        (Settings(record="new"), True, True, False),
    ],
)
def test_a_replay_of_a_project_that_uses_the_plugin_refuses_other_calls(
    tmp_path: Path,
    nothing_registered: list[Any],
    settings: Settings,
    *,
    has_ini: bool,
    ours: bool,
    is_refused: bool,
) -> None:
    config = config_of(tmp_path, settings)
    config.stash[HAS_INI_KEY] = has_ini
    plugin.pytest_collection_modifyitems(config, [item_in(config, *[OURS] * ours, ours=False)])
    assert (config.stash[CLOSER].guard is not None) is is_refused


def test_the_connection_of_a_test_is_refused_unless_it_is_recorded(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.stash[HAS_INI_KEY] = True
    harness = SimpleNamespace(item=item_in(config), refused=[], rerun_command=lambda: "pytest")
    config.stash[WATCH_KEY] = SimpleNamespace(harness_of=lambda _item: harness)
    plugin._register_hooks_for(config, [])
    assert "llmops_ours" not in config.pluginmanager
    refuse = config.stash[CLOSER].guard.refuse_in_test
    theirs: Any = SimpleNamespace(name="vcr", args=(), kwargs={})
    assert refuse(item_in(config), "api.openai.com") is None
    assert refuse(item_in(config, theirs, ours=False, names=("vcr",)), "api.openai.com") is None
    for _ in range(2):
        error = refuse(item_in(config, ours=False), "api.openai.com")
        assert isinstance(error, CassetteMiss)
    check_message(error)
    assert len(harness.refused) == 2
    assert list(config.pluginmanager) == ["llmops_ours"]


# Runs that are refused.


def run_with_a_wrong_prompt(folder: Path) -> Any:
    """The configuration of a run whose --llm-prompt names a prompt that no marker has."""
    config = config_of(folder, Settings(prompt=("help=v9",)))
    config.stash[SEEN_KEY]["prompt"] = [Arguments("test_a.py::test_x", "prompt", ("other",))]
    return config


def test_a_wrong_option_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match="help", check=check_message):
        plugin._check_options(run_with_a_wrong_prompt(tmp_path))


def test_a_wrong_option_fails_each_test_of_a_worker(tmp_path: Path) -> None:
    config = run_with_a_wrong_prompt(tmp_path)
    config.workerinput = {}
    plugin._check_options(config)
    with pytest.raises(UsageError, match="help"):
        RecordingHooks(Any, {}).pytest_runtest_setup(item_in(config))  # type: ignore[arg-type]


def test_options_that_fit_their_markers_refuse_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.stash[SEEN_KEY]["prompt"] = [Arguments("test_a.py::test_x", "prompt", ("other",))]
    plugin._check_options(config)
    assert config.stash[PROBLEMS_KEY] == {}


def test_the_first_problem_of_a_run_counts(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.workerinput = {}
    plugin._refuse_run(config, "first")
    plugin._refuse_run(config, "second")
    assert config.stash[PROBLEMS_KEY] == {None: "first"}
    assert plugin._find_problem(item_in(config)) == "first"


def metafunc_of(config: Any, *marks: pytest.Mark, fixtures: tuple[str, ...] = ()) -> Any:
    definition = item_in(config, *marks, ours=False)
    definition.own_markers = list(marks)
    return SimpleNamespace(
        definition=definition,
        config=config,
        fixturenames=fixtures,
        parametrize=lambda *_, **__: None,
        _calls=[],
    )


def test_a_wrong_marker_is_kept_for_the_set_up_of_its_tests(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    metafunc = metafunc_of(config, pytest.mark.llm_trials(0).mark)
    plugin.pytest_generate_tests(metafunc)
    item = metafunc.definition
    check_message(plugin._find_problem(item))
    item.originalname = "test_other"
    assert plugin._find_problem(item) == ""
    plugin._note_problem(metafunc, "a later one")
    item.originalname = item.name
    assert "llm_trials" in plugin._find_problem(item)


def test_a_wrong_marker_is_an_error_of_the_collection_where_no_test_runs(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.option.collectonly = True
    with pytest.raises(pytest.Collector.CollectError, check=check_message):
        plugin.pytest_generate_tests(metafunc_of(config, pytest.mark.llm_trials(0).mark))
    plugin.pytest_generate_tests(metafunc_of(config, TRIALS))


def test_markers_order_the_tests_of_a_function_and_their_problems_are_kept(
    watch: OnDemandHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered: list[object] = []

    class Marker:
        def __init__(self, problem: str) -> None:
            self.problem = problem

        def order_tests(self, *given: object) -> str:
            ordered.append(given)
            return self.problem

    metafunc = metafunc_of(watch._config)
    found = {id(metafunc.definition): [Marker(""), Marker("a problem"), Marker("a later one")]}
    monkeypatch.setattr("pytest_llmops.harness.markers.markers_of", lambda node: found[id(node)])
    watch.pytest_generate_tests(metafunc)
    assert ordered == [(metafunc.definition, metafunc._calls)] * 3
    assert plugin._find_problem(metafunc.definition) == "a problem"


def test_the_arguments_that_an_option_may_replace_are_kept_of_each_test(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (tmp_path / "prompts" / "help").mkdir(parents=True)
    (tmp_path / "prompts" / "help" / "v1.md").write_text("system:\nBe brief.\n")
    mark = pytest.mark.prompt("help").mark
    for _ in range(2):
        plugin.pytest_generate_tests(metafunc_of(config, mark, TRIALS, fixtures=("prompt",)))
    assert {name: len(kept) for name, kept in config.stash[SEEN_KEY].items()} == {"prompt": 2}
    assert config.stash[PROBLEMS_KEY] == {}


def test_a_test_without_our_markers_and_fixtures_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def parametrize(metafunc: Any, _settings: Settings) -> Any:
        seen.append(metafunc.fixturenames)
        return SimpleNamespace(problem="", marked={})

    monkeypatch.setattr("pytest_llmops.harness.parametrize.parametrize_test", parametrize)
    config = config_of(tmp_path)
    prompt = pytest.mark.prompt("own").mark  # a project may have a marker of that name
    for marks, fixtures in (((), ()), ((prompt,), ("other",)), ((), ("llm", "x")), ((TRIALS,), ())):
        plugin.pytest_generate_tests(metafunc_of(config, *marks, fixtures=fixtures))
    assert seen == [("llm", "x"), ()]


# Runs of several looks.


@pytest.mark.parametrize(
    ("trials", "worker", "looks"), [("auto", False, 1), ("auto", True, 0), ("3", False, 0), (None, False, 0)]
)
def test_only_the_controller_of_a_run_with_auto_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: str | None, *, worker: bool, looks: int
) -> None:
    asked: list[object] = []

    def run_looks(config: object) -> Generator[None, Any, Any]:
        asked.append(config)
        return (yield) + 10

    monkeypatch.setattr("pytest_llmops.harness.baseline_gate.run_looks", run_looks)
    config = config_of(tmp_path, llm_trials=trials)
    if worker:
        config.workerinput = {}
    assert end_hook(plugin.pytest_cmdline_main(config), 1) == 1 + 10 * looks
    assert asked == [config] * looks


# Wire formats of the project.


@pytest.mark.parametrize(
    ("is_reading", "implementations", "count"), [(False, [], 0), (True, [], 1), (False, ["a hook"], 1)]
)
def test_wire_formats_are_used_where_a_hook_or_an_outer_run_may_have_some(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    formats: list[Any],
    implementations: list[object],
    count: int,
    *,
    is_reading: bool,
) -> None:
    monkeypatch.delitem(sys.modules, "pytest_llmops.trace.routes", raising=False)
    if is_reading:
        monkeypatch.setitem(sys.modules, "pytest_llmops.trace.routes", sys)
    config = config_of(tmp_path)
    config.hook.pytest_llmops_call_formats.get_hookimpls = lambda: implementations
    plugin.pytest_sessionstart(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert formats == [config] * count


def test_a_wrong_wire_format_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_config: object) -> None:
        raise UsageError("the hook raised KeyError")

    monkeypatch.setattr("pytest_llmops.harness.call_formats.use_call_formats", fail)
    config = config_of(tmp_path)
    config.hook.pytest_llmops_call_formats.get_hookimpls = lambda: ["a hook"]
    with pytest.raises(pytest.UsageError, check=check_message):
        plugin.pytest_sessionstart(SimpleNamespace(config=config))  # type: ignore[arg-type]


def test_other_tools_are_adopted_where_the_settings_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted: list[object] = []
    monkeypatch.setattr("pytest_llmops.harness.adoption.adopt_tools", lambda *given: adopted.append(given))
    settings = Settings(adopt=("ragas",))
    for config in (config_of(tmp_path), config_of(tmp_path, settings)):
        plugin.pytest_sessionstart(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert adopted == [(config, settings)]
