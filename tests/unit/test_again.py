"""--llm-again: which cases run again, with how many trials and which takes, and what makes such a run impossible."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.cassettes import entry, merged
from support.items import item_of
from support.messages import check_message

from pytest_llmops._util.option_modes import LookTrials
from pytest_llmops.baselines.baseline import Acceptance, Baseline
from pytest_llmops.baselines.earlier_run import EarlierRun, EarlierTest
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.again import (
    CACHE_KEY,
    PLUGIN,
    WORKER_KEY,
    AgainHooks,
    check_again,
    find_again,
    iter_session_doubts,
    keep_broken_cases,
    plan_trials_again,
    register_hooks,
)
from pytest_llmops.harness.markers.llm_trials import TrialPlan
from pytest_llmops.results.broken_case import BrokenCase
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import Settings

NODEID = "test_a.py::test_x"
OWN = "cassettes/test_a/test_x.json"
CASE = BrokenCase(nodeid=NODEID, metric="exact", before=(1.0,) * 3, after=(0.0,) * 3, breakable=("3+3",))
EARLIER = EarlierRun(
    created="2026-11-30T10:00:00+00:00",
    status="AMBER",
    baseline="llmops-baseline.json, accepted 2026-11-24 (first)",
    trials_again=4,
    cases=(CASE,),
    tests=(EarlierTest(nodeid=NODEID),),
)
BASELINE = Baseline(history=(Acceptance(on="2026-11-24T09:00:00+00:00", reason="first"),))
AGAIN = Settings(again="last", record="new")
BROKE = Verdict(
    kind="baseline", decides=True, status="AMBER", baseline=EARLIER.baseline, broken=(CASE,), trials_again=4
)


class Cache(dict[str, Any]):
    """pytest's."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Plugins(dict[str, Any]):
    """Those of a run."""

    get_plugin = dict.get

    def register(self, plugin: object, name: str) -> None:
        self[name] = plugin


class PytestUsageError(Exception):
    """pytest's exception for a run that cannot be made."""


def config_of(folder: Path, **options: Any) -> Any:
    """The configuration of a run whose project has the baseline of the earlier run."""
    (folder / "llmops-baseline.json").write_text(BASELINE.to_text())
    return SimpleNamespace(
        cache=Cache(),
        rootpath=folder,
        invocation_params=SimpleNamespace(dir=folder),
        getoption=lambda name, default=None: options.get(name, default),
        getini=lambda _name: None,
        pluginmanager=Plugins(),
    )


# What does not go together.


@pytest.mark.parametrize(
    "settings",
    [
        replace(AGAIN, accept="why"),
        replace(AGAIN, changed=True),
        replace(AGAIN, trials=LookTrials(3)),
        replace(AGAIN, record="all"),
        replace(AGAIN, record="verify"),
        replace(AGAIN, faults=("timeout",)),
    ],
    ids=["accept", "changed", "auto", "all", "verify", "faults"],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(UsageError, check=check_message):
        check_again(config_of(tmp_path), settings)


@pytest.mark.parametrize(("option", "flag"), [("lf", "--lf"), ("stepwise", "--stepwise")])
def test_another_selection_by_the_last_run_is_refused(tmp_path: Path, option: str, flag: str) -> None:
    with pytest.raises(UsageError, match=f"no {flag}:"):
        check_again(config_of(tmp_path, **{option: True}), AGAIN)
    check_again(config_of(tmp_path, **{option: False}), AGAIN)


@pytest.mark.parametrize("record", ["new", "none", "live"])
def test_new_answers_their_replay_and_live_calls_are_allowed(tmp_path: Path, record: Any) -> None:
    check_again(config_of(tmp_path), replace(AGAIN, record=record))


def test_a_project_needs_a_baseline_or_names_one(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (tmp_path / "llmops-baseline.json").unlink()
    with pytest.raises(UsageError, check=check_message):
        check_again(config, AGAIN)
    check_again(config, replace(AGAIN, baseline="main"))


def test_a_worker_leaves_the_check_to_its_controller(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.workerinput = {}
    check_again(config, replace(AGAIN, accept="why"))


# The earlier run.


def register(config: Any, settings: Settings = AGAIN) -> AgainHooks:
    register_hooks(config, settings, pytest.mark, PytestUsageError)
    hooks = find_again(config)
    assert hooks is not None
    return hooks


def refused(config: Any, settings: Settings = AGAIN) -> str:
    config.pluginmanager.clear()
    with pytest.raises(PytestUsageError, check=check_message) as caught:
        register_hooks(config, settings, pytest.mark, PytestUsageError)
    assert find_again(config) is None
    return str(caught.value)


def test_the_last_run_here_is_repeated(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.cache[CACHE_KEY] = EARLIER.to_wire()
    assert register(config).earlier == EARLIER
    assert list(config.pluginmanager) == [PLUGIN]


def test_an_ordinary_run_repeats_none(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert find_again(config) is None
    config.pluginmanager.register(object(), PLUGIN)
    assert find_again(config) is None


def test_without_an_earlier_run_the_next_step_is_the_whole_suite(tmp_path: Path) -> None:
    assert "run the whole suite first: pytest" in refused(config_of(tmp_path))


def test_without_pytests_cache_the_next_step_is_a_run_file(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.cache = None
    assert "--llm-again=run.json" in refused(config)
    del config.cache
    assert "--llm-again=run.json" in refused(config)


def test_a_stored_run_that_is_damaged_names_the_entry(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.cache[CACHE_KEY] = {**EARLIER.to_wire(), "created": "soon"}
    assert CACHE_KEY in refused(config)


def test_a_run_without_a_broken_case_is_not_repeated(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    run = Run(verdicts=(Verdict(kind="baseline", status="RED", sentence="quality -6.1 points"),))
    keep_broken_cases(config, run, is_partial=False)
    assert "was RED without a broken case" in refused(config)


@pytest.mark.parametrize("changed", ["another day", "another reason"])
def test_another_baseline_than_then_is_refused_and_a_worker_does_not_look(
    tmp_path: Path, changed: str
) -> None:
    config = config_of(tmp_path)
    config.cache[CACHE_KEY] = EARLIER.to_wire()
    other = {"another day": Acceptance(on="2026-11-25", reason="first")}.get(
        changed, Acceptance(on="2026-11-24")
    )
    (tmp_path / "llmops-baseline.json").write_text(Baseline(history=(other,)).to_text())
    assert "2026-11-24 (first)" in refused(config)
    config.workerinput = {}
    assert register(config).earlier == EARLIER


def test_the_baseline_of_the_ini_is_the_project_s(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (tmp_path / "llmops-baseline.json").rename(tmp_path / "own.json")
    config.getini = {"llm_baseline": "own.json"}.get
    earlier = replace(EARLIER, baseline=EARLIER.baseline.replace("llmops-baseline", "own"))
    config.cache[CACHE_KEY] = earlier.to_wire()
    assert register(config, replace(AGAIN, baseline="own.json")).earlier == earlier
    (tmp_path / "own.json").unlink()
    assert "own.json" in refused(config, replace(AGAIN, baseline="own.json"))


def test_a_baseline_that_is_gone_is_no_other_one(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.cache[CACHE_KEY] = EARLIER.to_wire()
    (tmp_path / "llmops-baseline.json").unlink()
    assert register(config).earlier == EARLIER


def run_with(*verdicts: Verdict) -> Run:
    record = TestRecord(nodeid=NODEID, outcome="passed")
    return Run(records=(record,), verdicts=verdicts, meta={"created": EARLIER.created})


def test_a_run_file_is_read_from_the_folder_of_the_command(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (tmp_path / "run.json").write_text(run_with(BROKE).to_json())
    assert register(config, replace(AGAIN, again="run.json")).earlier == EARLIER


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ((), "one without a baseline"),
        ((replace(BROKE, broken=(), status="GREEN"),), "GREEN without a broken case"),
        ((replace(BROKE, trials_again=0, status="RED"),), "RED, which is decided without another session"),
        ((replace(BROKE, trials_again=0),), "AMBER with broken cases, but another session"),
    ],
)
def test_a_run_file_without_a_case_to_repeat_says_why(
    tmp_path: Path, verdicts: tuple[Verdict, ...], words: str
) -> None:
    (tmp_path / "run.json").write_text(run_with(*verdicts).to_json())
    assert words in refused(config_of(tmp_path), replace(AGAIN, again="run.json"))


def test_a_run_file_with_a_damaged_time_is_refused(tmp_path: Path) -> None:
    run = replace(run_with(BROKE), meta={"created": "soon"})
    (tmp_path / "run.json").write_text(run.to_json())
    assert "created" in refused(config_of(tmp_path), replace(AGAIN, again="run.json"))


# What a run keeps for the next session.


def kept(folder: Path, *verdicts: Verdict, is_partial: bool = False) -> object:
    config = config_of(folder)
    keep_broken_cases(config, run_with(*verdicts), is_partial=is_partial)
    return config.cache.get(CACHE_KEY)


@pytest.mark.parametrize("is_partial", [False, True])
def test_broken_cases_are_kept_also_of_a_part_of_the_suite(tmp_path: Path, *, is_partial: bool) -> None:
    assert kept(tmp_path, BROKE, is_partial=is_partial) == EARLIER.to_wire()


def test_the_verdict_of_a_whole_run_without_broken_cases_replaces_them(tmp_path: Path) -> None:
    green = replace(BROKE, broken=(), status="GREEN")
    assert kept(tmp_path, green) == "GREEN without a broken case"
    assert kept(tmp_path, green, is_partial=True) is None
    assert kept(tmp_path, replace(green, status="ERROR")) is None
    assert kept(tmp_path) is None


def test_without_pytests_cache_nothing_is_kept() -> None:
    keep_broken_cases(SimpleNamespace(cache=None), run_with(BROKE), is_partial=False)
    keep_broken_cases(SimpleNamespace(), run_with(BROKE), is_partial=False)


# Trials.


@pytest.mark.parametrize(
    ("plan", "trials_again", "trials", "rule"),
    [
        (TrialPlan(), 4, 4, {"pass_at_least": 4}),
        (TrialPlan(trials=3), 4, 4, {"pass_at_least": 4}),
        (TrialPlan(trials=3, pass_at_least=2), 4, 4, {"pass_at_least": 3}),
        (TrialPlan(trials=6, pass_at_least=2), 4, 6, {"pass_at_least": 2}),
        (TrialPlan(trials=12, at_least=0.8, confidence=0.9), 20, 20, {"at_least": 0.8, "confidence": 0.9}),
        (TrialPlan(trials=5, at_least=0.8), 4, 11, {"at_least": 0.8, "confidence": 0.95}),
        (TrialPlan(trials=15, at_least=0.8), 4, 15, {"at_least": 0.8, "confidence": 0.95}),
    ],
)
def test_another_session_has_enough_trials_and_as_many_may_fail(
    plan: TrialPlan, trials_again: int, trials: int, rule: dict[str, float]
) -> None:
    assert plan_trials_again(plan, trials_again) == (trials, rule)


# The tests of the broken cases.


class Session(SimpleNamespace):
    """pytest's, with what was deselected."""

    def __init__(self, *, failed: int = 0) -> None:
        super().__init__(testsfailed=failed, shouldfail=False)


def again_item(folder: Path, name: str = "test_x", *marks: pytest.Mark) -> Any:
    item = item_of(folder, *marks)
    item.name, item.nodeid = name, f"test_a.py::{name}"
    item.added = []
    item.add_marker = lambda mark, *, append: item.added.append((mark.mark, append))
    return item


def collect(
    folder: Path,
    *items: Any,
    settings: Settings = AGAIN,
    earlier: EarlierRun = EARLIER,
    failed: int = 0,
    worker: bool = False,
) -> tuple[AgainHooks, list[str], list[str], Any]:
    """Run the hook over the collected tests; return the selected and the deselected ones, and the session."""
    hooks = AgainHooks(settings, earlier, pytest.mark, PytestUsageError)
    deselected: list[str] = []
    config = config_of(folder)
    config.hook = SimpleNamespace(
        pytest_deselected=lambda items: deselected.extend(item.nodeid for item in items)
    )
    session = Session(failed=failed)
    if worker:
        config.workeroutput = session.output = {}
    collected = list(items)
    hooks.pytest_collection_modifyitems(session, config, collected)
    return hooks, [item.nodeid for item in collected], deselected, session


def test_only_the_tests_of_broken_cases_run(tmp_path: Path) -> None:
    items = [again_item(tmp_path, name) for name in ("test_before", "test_x", "test_after")]
    _, selected, deselected, _ = collect(tmp_path, *items)
    assert selected == [NODEID]
    assert deselected == ["test_a.py::test_before", "test_a.py::test_after"]


def test_nothing_is_deselected_if_all_tests_broke(tmp_path: Path) -> None:
    item = again_item(tmp_path)
    _, selected, deselected, _ = collect(tmp_path, item)
    assert (selected, deselected) == ([NODEID], [])
    ((mark, append),) = item.added
    assert (mark.name, mark.args, mark.kwargs, append) == ("llm_trials", (4,), {"pass_at_least": 4}, False)


@pytest.mark.parametrize(
    ("highest", "record", "first"),
    [
        (None, "new", 0),
        (None, "live", 0),
        (2, "new", 1000),
        (999, "new", 1000),
        (1003, "new", 2000),
        (1003, "none", 1000),
        (2999, "none", 2000),
    ],
)
def test_a_session_begins_after_all_recorded_takes_and_a_replay_plays_the_last(
    tmp_path: Path, highest: int | None, record: Any, first: int
) -> None:
    if highest is not None:
        merged(tmp_path / OWN, entry(1, take=str(highest)))
    settings = replace(AGAIN, record=record)
    hooks, _, _, _ = collect(tmp_path, again_item(tmp_path), settings=settings)
    assert hooks.find_first_take(again_item(tmp_path)) == first


def test_the_takes_of_all_cassettes_of_the_test_count(tmp_path: Path) -> None:
    merged(tmp_path / OWN, entry(1, take="2"))
    merged(tmp_path / "cassettes/shared.json", entry(1, take="3004"))
    earlier = replace(EARLIER, tests=(EarlierTest(nodeid=NODEID, cassettes=("cassettes/shared.json",)),))
    hooks, _, _, _ = collect(tmp_path, again_item(tmp_path), earlier=earlier)
    assert hooks.find_first_take(again_item(tmp_path)) == 4000


def test_a_test_that_could_not_be_prepared_begins_with_the_first_session(tmp_path: Path) -> None:
    (tmp_path / OWN).parent.mkdir(parents=True)
    (tmp_path / OWN).write_text("{")
    hooks, selected, _, _ = collect(tmp_path, again_item(tmp_path))
    assert selected == [NODEID]  # its set-up reports the error
    assert hooks.find_first_take(again_item(tmp_path)) == 1000


def test_a_test_that_is_gone_ends_the_run_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PytestUsageError, match=r"test_a\.py::test_x", check=check_message):
        collect(tmp_path, again_item(tmp_path, "test_other"))


def test_a_module_that_cannot_be_loaded_is_reported_by_pytest(tmp_path: Path) -> None:
    _, selected, deselected, _ = collect(tmp_path, again_item(tmp_path, "test_other"), failed=1)
    assert (selected, deselected) == ([], ["test_a.py::test_other"])


def test_a_worker_hands_the_error_to_its_controller(tmp_path: Path) -> None:
    _, selected, _, session = collect(tmp_path, again_item(tmp_path, "test_other"), worker=True)
    assert selected == []
    check_message(session.output[WORKER_KEY])
    assert session.shouldfail


def test_a_replay_needs_recorded_answers_of_another_session(tmp_path: Path) -> None:
    merged(tmp_path / OWN, entry(1, take="2"))
    with pytest.raises(PytestUsageError, match=r"test_a\.py::test_x", check=check_message):
        collect(tmp_path, again_item(tmp_path), settings=replace(AGAIN, record="none"))


def test_a_missing_test_is_named_before_missing_answers(tmp_path: Path) -> None:
    merged(tmp_path / OWN, entry(1, take="2"))
    tests = (*EARLIER.tests, EarlierTest(nodeid="test_a.py::test_gone"))
    earlier = replace(EARLIER, tests=tests)
    with pytest.raises(PytestUsageError, match=r"none named test_a\.py::test_gone"):
        collect(tmp_path, again_item(tmp_path), earlier=earlier, settings=replace(AGAIN, record="none"))


def test_the_header_names_the_cases_and_when_they_broke() -> None:
    hooks = AgainHooks(AGAIN, EARLIER, pytest.mark, PytestUsageError)
    assert hooks.pytest_report_header() == (
        "llm: again 1 case that broke on 2026-11-30 at 10:00, 4 new trials each (test_x)"
    )


# Sessions that are too close.


@pytest.mark.parametrize(("minutes", "doubts"), [(3, 1), (31, 0)])
def test_a_session_soon_after_the_earlier_run_is_doubted(tmp_path: Path, minutes: int, doubts: int) -> None:
    config = config_of(tmp_path)
    created = datetime.now(UTC) - timedelta(minutes=minutes)
    earlier = replace(EARLIER, created=created.isoformat())
    assert list(iter_session_doubts(config, AGAIN)) == []
    config.pluginmanager.register(AgainHooks(AGAIN, earlier, pytest.mark, PytestUsageError), PLUGIN)
    assert len(list(iter_session_doubts(config, AGAIN))) == doubts
    assert list(iter_session_doubts(config, replace(AGAIN, record="none"))) == []
