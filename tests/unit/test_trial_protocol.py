"""The protocol of a test with trials: which trial runs next, and what pytest is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.reports import Config, make_report

from pytest_llmops.harness import trials as harness_trials
from pytest_llmops.harness.markers import llm_compare
from pytest_llmops.harness.trials import TrialHooks
from pytest_llmops.measurement import Measurement
from pytest_llmops.recorder import current_trial
from pytest_llmops.settings import Settings

SCORE = Measurement(name="m", value=1.0).to_wire()


class Log:
    """What happens, in order."""

    def __init__(self) -> None:
        self.trials: list[tuple[str, int | None]] = []
        self.logged: list[Any] = []
        self.events: list[str] = []


class Item:
    """A test of pytest."""

    def __init__(self, name: str, config: Any, log: Log, *, variant_of: str = "") -> None:
        self.name, self.config, self.variant_of = name, config, variant_of
        self.nodeid, self.location = f"t.py::{name}", ("t.py", 1, name)
        self.session = SimpleNamespace(items=[], _setupstate=SimpleNamespace(teardown_exact=self._tear_down))
        self.torn_down: list[object] = []
        self.error: Exception | None = None
        self.ihook = SimpleNamespace(
            pytest_runtest_logstart=lambda **_: log.events.append(f"start {name}"),
            pytest_runtest_logreport=self._log,
            pytest_runtest_logfinish=lambda **_: log.events.append(f"finish {name}"),
        )
        self._log_to = log

    def _log(self, report: Any) -> None:
        self._log_to.events.append(f"{report.when} {self.name}")
        self._log_to.logged.append(report)

    def _tear_down(self, nextitem: object) -> None:
        self.torn_down.append(nextitem)
        if self.error is not None:
            raise self.error

    def iter_markers(self, *_: object, **__: object) -> Any:
        return iter(())

    def get_closest_marker(self, _name: str) -> None:
        return None


def call_info(function: Callable[[], object], when: str) -> Any:
    """As pytest's ``CallInfo.from_call``."""
    try:
        function()
    except Exception as error:  # noqa: BLE001
        return SimpleNamespace(when=when, excinfo=error)
    return SimpleNamespace(when=when, excinfo=None)


@pytest.fixture
def log() -> Log:
    return Log()


def hooks_of(log: Log, *, outcomes: str = "", repeated: bool = True, **settings: Any) -> TrialHooks:
    """Hooks whose trials end in turn as the letters say: (p)assed or (f)ailed."""

    def run_trial(item: Item) -> list[Any]:
        number = sum(name == item.name for name, _ in log.trials)
        log.trials.append((item.name, current_trial()))
        outcome = {"f": "failed"}.get(outcomes[number : number + 1], "passed")
        return [
            make_report("passed", "setup", nodeid=item.nodeid, llmops={}),
            make_report(outcome, "call", nodeid=item.nodeid, llmops={"measurements": [SCORE]}),
            make_report("passed", "teardown", nodeid=item.nodeid, llmops={}),
        ]

    return TrialHooks(
        Settings(**settings),
        lambda _item: repeated,
        run_trial,
        SimpleNamespace(from_call=call_info),
        SimpleNamespace(
            from_item_and_call=lambda _item, call: SimpleNamespace(longrepr=f"broken {call.excinfo}")
        ),
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


def test_a_test_without_trials_is_left_to_other_plugins(log: Log, config: Config) -> None:
    hooks = hooks_of(log, repeated=False)
    assert hooks.pytest_runtest_protocol(Item("a", config, log), None) is None
    assert (log.trials, log.events) == ([], [])


def test_each_trial_runs_with_its_number_and_one_report_for_each_phase_is_logged(
    log: Log, config: Config
) -> None:
    item, following = Item("a", config, log), object()
    assert hooks_of(log, trials=3).pytest_runtest_protocol(item, following) is True
    assert log.trials == [("a", 0), ("a", 1), ("a", 2)]
    assert log.events == ["start a", "setup a", "call a", "teardown a", "finish a"]
    assert item.torn_down == [following]
    assert log.logged[1].llmops["measurements"][0]["samples"] == [1.0, 1.0, 1.0]


def test_trials_stop_once_the_verdict_stands_unless_a_baseline_needs_them_all(
    log: Log, config: Config
) -> None:
    hooks_of(log, outcomes="pf", trials=5).pytest_runtest_protocol(Item("a", config, log), None)
    assert len(log.trials) == 2
    hooks_of(log, outcomes="ppppp", trials=5, accept="x").pytest_runtest_protocol(
        Item("b", config, log), None
    )
    assert len(log.trials) == 7


def test_the_next_test_has_trials_of_its_own(log: Log, config: Config) -> None:
    hooks = hooks_of(log, trials=2)
    for name in "ab":
        hooks.pytest_runtest_protocol(Item(name, config, log), None)
    assert log.trials == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_a_tear_down_of_a_wider_fixture_that_fails_is_reported(log: Log, config: Config) -> None:
    item = Item("a", config, log)
    item.error = RuntimeError("cannot close")
    hooks_of(log, trials=2).pytest_runtest_protocol(item, None)
    *_, teardown = log.logged
    assert (teardown.outcome, teardown.longrepr) == ("failed", "broken cannot close")
    assert [report.outcome for report in log.logged[:2]] == ["passed", "passed"]


# Tests that are compared run their trials in turns.


@pytest.fixture
def _compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests with the same name of a case are variants of each other."""
    monkeypatch.setattr(
        llm_compare.CompareMarker, "find", lambda _marker, item: getattr(item, "variant_of", "") or None
    )
    monkeypatch.setattr(llm_compare, "are_variants", lambda item, other: item.variant_of == other.variant_of)


@pytest.mark.usefixtures("_compared")
def test_the_trials_of_variants_run_in_turns_and_each_logs_its_own_reports(log: Log, config: Config) -> None:
    items = [
        Item(name, config, log, variant_of=case) for name, case in (("a1", "a"), ("a2", "a"), ("b1", "b"))
    ]
    hooks = hooks_of(log, trials=2)
    for place, item in enumerate(items):
        item.session.items = items
        following = items[place + 1] if place + 1 < len(items) else None
        hooks.pytest_runtest_protocol(item, following)
        if place == 0:
            assert log.trials == [("a1", 0), ("a2", 0), ("a1", 1), ("a2", 1)]
            assert not any("a2" in event for event in log.events)
    assert [name for name, _ in log.trials[4:]] == ["b1", "b1"]
    assert [event for event in log.events if "start" in event] == ["start a1", "start a2", "start b1"]
    assert len(log.logged) == 9


@pytest.mark.usefixtures("_compared")
@pytest.mark.parametrize("following", ["a2", "b1", None])
def test_a_worker_knows_the_next_test_only(log: Log, config: Any, following: str | None) -> None:
    config.workerinput = {}
    first = Item("a1", config, log, variant_of="a")
    other = Item(following, config, log, variant_of=following[0]) if following else None
    hooks_of(log, trials=1).pytest_runtest_protocol(first, other)
    expected = ["a1", "a2"] if following == "a2" else ["a1"]
    assert [name for name, _ in log.trials] == expected


# The properties of the JUnit file.


def test_the_last_report_has_the_properties_of_the_whole_test(log: Log, config: Config) -> None:
    hooks_of(log, trials=2, junit_properties=True).pytest_runtest_protocol(Item("a", config, log), None)
    properties = dict(log.logged[-1].user_properties)
    assert properties["llm.metric.m.score"] == "1"
    assert not any(
        name.startswith("llm.") for report in log.logged[:-1] for name, _ in report.user_properties
    )


@pytest.mark.parametrize("junit", [True, False])
def test_properties_of_the_user_stay_and_those_of_the_single_trial_are_replaced(*, junit: bool) -> None:
    report = make_report(llmops={"measurements": [SCORE]})
    report.user_properties = [("own", "1"), ("llm.old", "2")]
    harness_trials._report_properties([report], Settings(junit_properties=junit))
    names = [name for name, _ in report.user_properties]
    assert ("own" in names, "llm.old" in names) == (True, not junit)
