"""The trials of a test: when they end, which trial is shown, and the one report that is made of all of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.reports import Config, make_report

from pytest_llmops.harness import trials as harness_trials
from pytest_llmops.harness.markers.llm_compare import CompareMarker
from pytest_llmops.harness.markers.llm_trials import TrialPlan, TrialsMarker
from pytest_llmops.harness.tapes import REPEAT_PARAMETER
from pytest_llmops.harness.trials import TrialRun, decide_outcome, list_takes, make_run, merge_measurements
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.settings import Settings

ALL_OF_THREE = TrialPlan(trials=3)
TWO_OF_FOUR = TrialPlan(trials=4, pass_at_least=2)
RATE = TrialPlan(trials=12, at_least=0.8)


def measured(value: float | None, **more: Any) -> dict[str, Any]:
    if value is None:
        more["error"] = "no score"
    return Measurement(name="m", value=value, **more).to_wire()


def called(text: str, started: float | None = None, latency: float = 0.0) -> dict[str, Any]:
    return Call(model="m", output=text, started_s=started, latency_s=latency).to_wire()


def trial(outcome: str = "passed", *, teardown: dict[str, Any] | None = None, **payload: Any) -> list[Any]:
    """The reports of a trial; ``unscored`` is an outcome too."""
    more = payload.pop("more", {})
    if outcome == "unscored":
        payload = {"outcome": "errored", "kind": "MeasurementErrored", **payload}
        outcome = "failed"
    crash = SimpleNamespace(reprcrash=SimpleNamespace(message="no"))
    longrepr = crash if outcome == "failed" else None
    return [
        make_report("passed", "setup", llmops={}),
        make_report(outcome, "call", longrepr=longrepr, llmops=payload, **more),
        make_report("passed", "teardown", llmops=teardown or {}),
    ]


def run_of(plan: TrialPlan, *outcomes: str, may_stop: bool = True, **how: Any) -> TrialRun:
    made = TrialRun(plan, may_stop, **how)
    for outcome in outcomes:
        made.add(trial(outcome))
    return made


def trial_facts(run: TrialRun) -> dict[str, Any]:
    facts: dict[str, Any] = run.merge()[-1].llmops["facts"]["trials"]
    return facts


# The outcome of a test.


@pytest.mark.parametrize(
    ("plan", "passed", "failed", "unscored", "outcome"),
    [
        (ALL_OF_THREE, 3, 0, 0, ("passed", False)),
        (ALL_OF_THREE, 2, 1, 0, ("failed", False)),
        (ALL_OF_THREE, 2, 0, 1, ("unscored", False)),
        (ALL_OF_THREE, 1, 1, 1, ("failed", False)),
        (TWO_OF_FOUR, 2, 0, 2, ("passed", False)),
        (TWO_OF_FOUR, 1, 2, 1, ("unscored", False)),
        (TWO_OF_FOUR, 1, 3, 0, ("failed", False)),
        (RATE, 12, 0, 0, ("passed", False)),
        (RATE, 11, 1, 0, ("passed", True)),
        (RATE, 0, 12, 0, ("failed", False)),
        (RATE, 11, 0, 1, ("unscored", False)),
        (TrialPlan(trials=10, at_least=0.1), 0, 10, 0, ("failed", True)),
    ],
)
def test_the_outcome_of_a_test_comes_from_those_of_its_trials(
    plan: TrialPlan, passed: int, failed: int, unscored: int, outcome: tuple[str, bool]
) -> None:
    assert decide_outcome(plan, {"passed": passed, "failed": failed, "unscored": unscored}) == outcome


@pytest.mark.parametrize(
    ("reports", "outcome"),
    [
        (trial(), "passed"),
        (trial("failed"), "failed"),
        (trial("unscored"), "unscored"),
        (trial("skipped", more={"wasxfail": "known"}), "passed"),
        (trial("passed", more={"wasxfail": "known"}), "passed"),
        (trial("skipped"), "failed"),
        ([*trial()[:2], make_report("failed", "teardown")], "failed"),
        ([make_report("failed", "setup", llmops={"outcome": "errored"})], "failed"),
        ([make_report("passed", "setup"), make_report("passed", "call")], "passed"),
    ],
)
def test_how_a_trial_ended(reports: list[Any], outcome: str) -> None:
    assert TrialRun(ALL_OF_THREE, may_stop=True, reports=[reports]).outcomes == [outcome]


# When the trials end.


def test_trials_run_until_all_of_them_ran() -> None:
    assert [run_of(ALL_OF_THREE, *["passed"] * count).is_done for count in range(4)] == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("plan", "outcomes"),
    [
        (TrialPlan(trials=9, pass_at_least=1), ["passed"]),
        (TrialPlan(trials=9), ["passed", "failed"]),
        (TWO_OF_FOUR, ["failed", "failed", "failed"]),
    ],
)
def test_trials_end_once_no_further_one_can_change_the_verdict(plan: TrialPlan, outcomes: list[str]) -> None:
    assert run_of(plan, *outcomes).is_done
    assert not run_of(plan, *outcomes[:-1]).is_done
    assert not run_of(plan, *outcomes, may_stop=False).is_done


def test_a_trial_without_a_score_lets_all_the_others_run() -> None:
    assert not run_of(TWO_OF_FOUR, "unscored", "passed", "passed").is_done


@pytest.mark.parametrize(
    "last",
    [
        trial("skipped"),
        trial("failed", kind="CassetteMiss"),
        trial("failed", kind="ModelError"),
        [make_report("failed", "setup"), make_report("passed", "teardown")],
        [*trial()[:2], make_report("failed", "teardown")],
        [make_report("skipped", "setup", wasxfail="known"), make_report("passed", "teardown")],
        [make_report("passed", "setup"), make_report("passed", "teardown")],
    ],
)
def test_a_trial_that_would_end_the_same_way_again_is_the_last(last: list[Any]) -> None:
    run = run_of(ALL_OF_THREE, "passed", may_stop=False)
    run.add(last)
    assert run.is_done
    assert run.merge() == last


@pytest.mark.parametrize("kind", ["", "MeasurementErrored"])
def test_a_trial_that_may_end_another_way_is_followed_by_the_next(kind: str) -> None:
    run = run_of(TWO_OF_FOUR)
    run.add(trial("failed", kind=kind))
    run.add(trial("skipped", more={"wasxfail": "known"}))
    assert not run.is_done


def test_a_server_that_fails_once_ends_no_fork() -> None:
    run = TrialRun(ALL_OF_THREE, may_stop=False, is_fork=True)
    forked = {"facts": {"fork": {"stage": "forked"}}}
    run.add(trial("failed", kind="ModelError", **forked))
    assert not run.is_done
    run.add(trial("failed", kind="CassetteMiss", **forked))
    assert run.is_done


@pytest.mark.parametrize(("stage", "trials"), [("prefix", 1), ("new", 1), ("forked", 3)])
def test_a_fork_whose_first_trial_left_no_recorded_run_runs_once(stage: str, trials: int) -> None:
    run = TrialRun(ALL_OF_THREE, may_stop=False, is_fork=True)
    run.add(trial(facts={"fork": {"stage": stage}}))
    assert run.plan.trials == trials
    run.add(trial(facts={"fork": {"stage": "prefix"}}))
    assert run.plan.trials == trials


def test_a_forked_test_carries_the_result_of_its_trials() -> None:
    run = TrialRun(TrialPlan(trials=2), may_stop=False, is_fork=True)
    for outcome in ("passed", "failed"):
        run.add(trial(outcome, facts={"fork": {"stage": "forked"}}))
    fork = run.merge()[-1].llmops["facts"]["fork"]
    assert (fork["passed"], fork["failed"], fork["planned"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("takes", "first", "changes", "trials"),
    [
        (1, 0, [], 1),
        (2, 0, [], 2),
        (3, 0, [], 3),
        (5, 0, [], 9),
        (5, 3, [], 2),
        (2, 0, ["a request"], 9),
        (0, 0, [], 9),
    ],
)
def test_with_changed_a_test_without_a_new_request_ends_with_its_last_recorded_take(
    takes: int, first: int, changes: list[str], trials: int
) -> None:
    run = TrialRun(TrialPlan(trials=9), may_stop=False, first_take=first)
    closing = {"tapes": [{"takes": 1}, {}, {"takes": takes}], "facts": {"cassette": {"changes": changes}}}
    if not takes:
        closing = {"tapes": [{}], "facts": {}}
    while not run.is_done and len(run.reports) < 4:
        run.add(trial(teardown=closing))
    assert run.plan.trials == trials


# Which takes the trials replay.


def item_of(*, step: int | None = None, folder: Path = Path(), **options: Any) -> Any:
    """pytest's item, as far as its trials are read."""
    config = Config(folder, options=options)
    callspec = SimpleNamespace(id="", params={REPEAT_PARAMETER: step})
    return SimpleNamespace(
        config=config,
        nodeid="t.py::test_a",
        callspec=callspec,
        iter_markers=lambda *_, **__: iter(()),
        get_closest_marker=lambda _name: None,
    )


@pytest.mark.parametrize(("step", "takes"), [(None, range(3)), (0, range(3)), (2, range(6, 9))])
def test_the_trials_of_a_repetition_replay_the_takes_after_those_of_the_one_before(
    step: int | None, takes: range
) -> None:
    assert list_takes(item_of(step=step), Settings(trials=3)) == takes


def test_with_again_the_trials_begin_after_all_recorded_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    again = SimpleNamespace(find_first_take=lambda _item: 1000)
    monkeypatch.setattr(harness_trials, "find_again", lambda _config: again)
    assert list_takes(item_of(), Settings(trials=3)) == range(1000, 1003)


@pytest.mark.parametrize(
    ("plan", "count"),
    [
        (TrialPlan(trials=9, pass_at_least=4), 4),
        (TrialPlan(trials=9), 9),
        (TrialPlan(trials=30, at_least=0.8), 28),
        (TrialPlan(trials=1), 1),
    ],
)
def test_where_trials_may_stop_only_those_that_are_needed_are_asked_ahead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: TrialPlan, count: int
) -> None:
    monkeypatch.setattr(harness_trials, "read_trial_plan", lambda _item, _settings: plan)
    item = item_of(folder=tmp_path)
    assert list_takes(item, Settings(), if_all_pass=True) == range(count)
    assert list_takes(item, Settings()) == range(plan.trials)
    (tmp_path / "llmops-baseline.json").touch()
    assert list_takes(item, Settings(), if_all_pass=True) == range(plan.trials)


@pytest.mark.parametrize(
    ("settings", "may_stop"),
    [
        ({}, True),
        ({"accept": "first"}, False),
        ({"fork": True}, False),
        ({"baseline": "main"}, False),
    ],
)
def test_trials_that_are_a_sample_do_not_stop(tmp_path: Path, settings: Any, *, may_stop: bool) -> None:
    assert make_run(item_of(folder=tmp_path), Settings(**settings)).may_stop is may_stop


def test_trials_that_are_compared_or_of_a_ledger_do_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = item_of(folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(harness_trials, "current_override", lambda: "a file")
        assert make_run(item, Settings()).may_stop is False
    with monkeypatch.context() as patch:
        patch.setattr(CompareMarker, "find", lambda _marker, _item: "arguments")
        assert make_run(item, Settings()).may_stop is False
    assert make_run(item, Settings()).may_stop is True


def test_a_run_of_trials_knows_the_options_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = item_of(folder=tmp_path)
    made = make_run(item, Settings(trials=3))
    assert (made.plan, made.first_take, made.is_fork) == (TrialPlan(trials=3), None, False)
    assert (made.strict, made.has_reruns) == (False, False)
    made = make_run(item, Settings(strict=True, changed=True, fork=True))
    assert (made.strict, made.first_take, made.is_fork) == (True, 0, True)
    assert make_run(item_of(reruns=2), Settings()).has_reruns is True
    item.get_closest_marker = {"flaky": "a mark"}.get
    assert make_run(item, Settings()).has_reruns is True
    monkeypatch.setattr(TrialsMarker, "find", lambda _marker, _item: "arguments")
    monkeypatch.setattr(harness_trials, "read_trial_plan", lambda _item, _settings: ALL_OF_THREE)
    assert make_run(item, Settings(changed=True)).first_take is None


# One report of all trials.


def test_a_failure_says_how_many_trials_passed_and_shows_the_first_failed_one() -> None:
    run = run_of(TrialPlan(trials=4, pass_at_least=3), "passed", "failed", "passed", "failed", may_stop=False)
    second = run.reports[1]
    assert run.merge() == list(second)
    call = second[1]
    check_message(call.longrepr.reprcrash.message)
    ((title, section),) = call.sections
    assert title == "LLM trials"
    check_message(section)


def test_a_failure_without_a_crash_has_the_counts_in_its_section() -> None:
    run = run_of(ALL_OF_THREE, "passed", "failed")
    run.reports[1][1].longrepr = "[XPASS(strict)] known"
    call = run.merge()[1]
    assert call.longrepr == "[XPASS(strict)] known"
    assert [title for title, _ in call.sections] == ["LLM trials"]


def test_of_a_test_without_a_score_a_trial_without_a_score_is_shown() -> None:
    run = run_of(ALL_OF_THREE, "passed", "unscored", "passed")
    merged = run.merge()
    assert merged == list(run.reports[1])
    check_message(merged[1].longrepr.reprcrash.message)


def test_of_a_test_that_passes_the_first_passed_trial_is_shown_as_it_is() -> None:
    run = run_of(TWO_OF_FOUR, "failed", "passed", "unscored", "passed")
    merged = run.merge()
    assert merged == list(run.reports[1])
    assert merged[1].sections == []


def test_an_undecided_rate_passes_with_a_sentence_that_says_how_many_more_trials_decide() -> None:
    run = run_of(RATE, *["passed"] * 11, "failed")
    facts = trial_facts(run)
    check_message(facts["undecided"])
    assert run.reports[0][1].outcome == "passed"
    assert facts["rule"] == RATE.rule
    counts = {name: facts[name] for name in ("passed", "failed", "unscored", "n", "has_reruns")}
    assert counts == {"passed": 11, "failed": 1, "unscored": 0, "n": 12, "has_reruns": False}


def test_an_undecided_rate_at_its_limit_is_settled_by_no_number_of_trials() -> None:
    facts = trial_facts(run_of(TrialPlan(trials=20, at_least=0.8), *["passed"] * 16, *["failed"] * 4))
    check_message(facts["undecided"])


def test_an_undecided_rate_without_any_passed_trial_fails_and_says_both() -> None:
    run = run_of(TrialPlan(trials=10, at_least=0.1), *["failed"] * 10)
    _, call, teardown = run.merge()
    assert call.outcome == "failed"
    check_message([call.longrepr.reprcrash.message, teardown.llmops["facts"]["trials"]["undecided"]])


def test_an_undecided_rate_fails_if_strict() -> None:
    run = run_of(RATE, *["passed"] * 11, "failed", strict=True)
    _, call, _ = run.merge()
    assert call.outcome == "failed"
    check_message(call.longrepr)


@pytest.mark.parametrize("outcomes", [["passed"] * 12, ["failed"] * 12])
def test_a_decided_rate_has_no_doubt_and_strict_changes_nothing(outcomes: list[str]) -> None:
    run = run_of(RATE, *outcomes, strict=True)
    longrepr = run.reports[0][1].longrepr
    assert trial_facts(run)["undecided"] == ""
    assert (run.reports[0][1].outcome, run.reports[0][1].longrepr) == (outcomes[0], longrepr)


def test_reruns_that_cannot_happen_are_in_the_facts() -> None:
    assert (
        trial_facts(run_of(ALL_OF_THREE, "passed", "passed", "passed", has_reruns=True))["has_reruns"] is True
    )


def test_the_report_has_the_scores_calls_and_seconds_of_all_trials_phase_by_phase() -> None:
    run = TrialRun(TrialPlan(trials=2), may_stop=False)
    for value, text in ((1.0, "a"), (0.5, "b")):
        run.add(trial(measurements=[measured(value)], calls=[called(text)], facts={"case": {"id": text}}))
    setup, call, teardown = run.merge()
    assert [report.duration for report in (setup, call, teardown)] == [1.0, 1.0, 1.0]
    (score,) = call.llmops["measurements"]
    assert (score["value"], score["samples"]) == (0.75, [1.0, 0.5])
    assert [entry["output"] for entry in call.llmops["calls"]] == ["a", "b"]
    assert call.llmops["facts"] == {"case": {"id": "a"}}
    assert (setup.llmops["calls"], setup.llmops["measurements"]) == ([], [])
    assert teardown.llmops["facts"]["trials"]["calls"] == [0, 1]


def test_the_last_report_has_the_recordings_and_facts_of_all_trials() -> None:
    run = TrialRun(TrialPlan(trials=2), may_stop=False)
    for number in range(2):
        facts = {
            "recordings": [f"r{number}"],
            "lint": [{"place": f"t.py:{number}"}],
            "cassette": {"path": f"p{number}", "recorded": 2, "notes": ["same", f"n{number}"]},
            "kept": number,
        }
        run.add(trial(teardown={"tapes": [{"path": number}], "facts": facts}))
    closing = run.merge()[-1].llmops
    assert closing["tapes"] == [{"path": 0}, {"path": 1}]
    facts = closing["facts"]
    assert (facts["recordings"], facts["kept"]) == (["r0", "r1"], 0)
    assert facts["lint"] == [{"place": "t.py:0"}, {"place": "t.py:1"}]
    assert facts["cassette"] == {"path": "p1", "recorded": 4, "notes": ["same", "n0", "n1"]}


def test_a_test_whose_trials_have_no_facts_of_a_kind_gets_none_of_it() -> None:
    facts = run_of(TrialPlan(trials=2), "passed", "passed").merge()[-1].llmops["facts"]
    assert list(facts) == ["trials"]


def test_the_tools_that_the_trials_called_are_counted() -> None:
    run = TrialRun(TrialPlan(trials=2), may_stop=False)
    trajectory = {"steps": [{"kind": "tool_call", "name": "search", "arguments": {"q": "a"}}]}
    for _ in range(2):
        run.add(trial(measurements=[measured(1.0, detail={"trajectory": trajectory})]))
    facts = run.merge()[-1].llmops["facts"]
    assert len(facts["call_sequences"]) == 1


def test_a_test_that_ends_early_keeps_the_calls_and_tapes_of_its_earlier_trials() -> None:
    run = TrialRun(ALL_OF_THREE, may_stop=False)
    for text, outcome in (("a", "passed"), ("b", "skipped")):
        closing = {"calls": [called(text)], "tapes": [{"path": text}]}
        run.add(trial(outcome, teardown=closing))
    *_, teardown = run.merge()
    assert [entry["output"] for entry in teardown.llmops["calls"]] == ["a", "b"]
    assert teardown.llmops["tapes"] == [{"path": "a"}, {"path": "b"}]


def test_a_report_without_data_of_ours_gets_none_if_its_test_ends_early() -> None:
    run = TrialRun(ALL_OF_THREE, may_stop=False)
    run.add([make_report("skipped", "setup"), make_report("passed", "teardown")])
    assert not any(hasattr(report, "llmops") for report in run.merge())


def test_calls_of_a_trial_begin_after_those_of_the_trials_before() -> None:
    run = TrialRun(ALL_OF_THREE, may_stop=False)
    run.add(trial(calls=[called("a", 0.0, 2.0), called("b", 1.0, 3.0)]))
    run.add(trial(calls=[called("c", 0.25, 1.0)]))
    run.add(trial(calls=[called("d", 0.0, 1.0)]))
    calls = run.merge()[1].llmops["calls"]
    assert [entry.get("started_s", 0.0) for entry in calls] == [0.0, 1.0, 4.25, 5.25]


# The measurements of all trials.


def merged(*trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return merge_measurements(trials)


def test_a_score_is_the_mean_with_the_texts_of_the_worst_trial() -> None:
    scores = [
        [measured(value, detail={"reason": text})] for value, text in ((0.8, "a"), (0.2, "b"), (0.2, "c"))
    ]
    (score,) = merged(*scores)
    assert (score["value"], score["samples"]) == (pytest.approx(0.4), [0.8, 0.2, 0.2])
    assert score["detail"]["reason"] == "b"
    lower = [
        [measured(value, better="lower", detail={"reason": text})] for value, text in ((0.2, "a"), (0.8, "b"))
    ]
    assert merged(*lower)[0]["detail"]["reason"] == "b"


def test_trials_that_did_not_measure_are_counted_as_unscored() -> None:
    (score,) = merged([measured(1.0)], [], [measured(None)])
    assert (score["value"], score["samples"], score["detail"]["unscored_trials"]) == (1.0, [1.0], 2)
    (none,) = merged([measured(None, detail={"reason": "a"})], [measured(None, detail={"reason": "b"})])
    assert (none.get("value"), none["detail"]) == (None, {"reason": "a", "unscored_trials": 2})
    assert "unscored_trials" not in merged([measured(1.0)], [measured(0.0)])[0].get("detail", {})


def test_the_same_measurement_twice_in_a_trial_is_two_series() -> None:
    scores = merged([measured(1.0), measured(0.0)], [measured(0.5), measured(0.25)])
    assert [score["samples"] for score in scores] == [[1.0, 0.5], [0.0, 0.25]]


def test_measurements_of_another_label_or_version_are_not_merged() -> None:
    scores = merged([measured(1.0, label="a"), measured(1.0, version="1")], [measured(0.0, label="b")])
    assert [(score.get("label"), score.get("version")) for score in scores] == [
        ("a", None),
        (None, "1"),
        ("b", None),
    ]


def test_a_judge_that_gave_no_score_has_the_version_of_the_other_trials() -> None:
    (score,) = merged([measured(None)], [measured(1.0, version="2")])
    assert score["detail"]["unscored_trials"] == 1
    scores = merged([measured(0.5)], [measured(1.0, version="2")])
    assert [entry["value"] for entry in scores] == [0.5, 1.0]
    known = merged([measured(None, version="1")], [measured(1.0, version="2")])
    assert [entry.get("value") for entry in known] == [None, 1.0]
