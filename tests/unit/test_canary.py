"""PROMOTE, HOLD or ROLLBACK by events: what decides, published error rates, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ab import simulate_canaries
from pytest_llmops.errors import UsageError
from pytest_llmops.production.canary import (
    CanaryDecision,
    CanaryEvent,
    CanaryRules,
    canary_decision,
    read_events,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, arm: str, /, **values: Any) -> CanaryEvent:
    given: dict[str, Any] = {"id": f"{arm} {number}", "arm": arm, "score": 1.0}
    return CanaryEvent(**{"time": START + timedelta(seconds=number), **given, **values})


def both(count: int, stable: dict[str, Any], canary: dict[str, Any]) -> list[CanaryEvent]:
    """Pairs of events at the same time."""
    sides = {"stable": stable, "canary": canary}
    return [event(number, arm, **values) for number in range(count) for arm, values in sides.items()]


def draw(
    seed: int, count: int, means: tuple[float, float], share: float = 0.5, **values: Any
) -> list[CanaryEvent]:
    """Events of random requests that each version gets right at its own rate."""
    generator = np.random.default_rng([seed, count])
    drawn = zip(generator.random(count) < share, generator.random(count), strict=True)
    return [
        event(number, ("stable", "canary")[int(is_canary)], score=float(at < means[int(is_canary)]), **values)
        for number, (is_canary, at) in enumerate(drawn)
    ]


def test_a_canary_that_is_as_good_is_promoted() -> None:
    decision = canary_decision(both(400, {}, {}))
    assert decision.action == "PROMOTE"
    assert decision.evidence["score"][1] >= 50


def test_too_few_events_are_no_decision_and_say_how_many_more() -> None:
    decision = canary_decision(both(20, {}, {}))
    assert decision.action == "HOLD"
    assert "more events" in decision.sentence


def test_a_loss_is_rolled_back_as_soon_as_it_is_sure() -> None:
    events = both(60, {}, {"score": 0.0})
    assert canary_decision(events).action == "ROLLBACK"
    first = next(n for n in range(1, 60) if canary_decision(events[: 2 * n]).action == "ROLLBACK")
    assert 5 <= first <= 20


def test_an_error_is_no_low_score() -> None:
    half = [event(n, "canary", score=None, error=n % 2 == 1) for n in range(400)]
    half = [canary_event if canary_event.error else event(n, "canary") for n, canary_event in enumerate(half)]
    decision = canary_decision([*(event(n, "stable") for n in range(400)), *half])
    assert decision.action == "ROLLBACK"
    assert decision.evidence["score"][0] < 2
    assert decision.sentence.startswith("errors 0.00 -> 0.50")


def test_what_is_not_scored_is_left_out_of_the_scores() -> None:
    events = both(400, {}, {"score": None})
    assert canary_decision(events).action == "HOLD"
    scored = [event(n + 1000, arm) for n in range(200) for arm in ("stable", "canary")]
    assert canary_decision([*events, *scored]).action == "PROMOTE"


def test_without_scores_nothing_is_promoted() -> None:
    decision = canary_decision(both(400, {"score": None}, {"score": None}))
    assert decision.action == "HOLD"
    assert decision.sentence.startswith("no event has a score")


@pytest.mark.parametrize("name", ["latency_s", "cost_usd"])
@pytest.mark.parametrize(("factor", "action"), [(1.0, "PROMOTE"), (1.2, "PROMOTE"), (1.3, "ROLLBACK")])
def test_latency_and_cost_are_guard_rails(name: str, factor: float, action: str) -> None:
    events = both(400, {name: 0.5}, {name: 0.5 * factor})
    assert canary_decision(events).action == action


@pytest.mark.parametrize(("costs", "action"), [((0.0, 0.0), "PROMOTE"), ((0.0, 0.1), "ROLLBACK")])
def test_what_costs_nothing_is_not_dearer(costs: tuple[float, float], action: str) -> None:
    events = both(400, {"cost_usd": costs[0]}, {"cost_usd": costs[1]})
    assert canary_decision(events).action == action


def test_rare_slow_answers_do_not_hide_behind_a_mean() -> None:
    slow = [event(n, "canary", latency_s=100.0 if n % 20 == 0 else 0.5) for n in range(400)]
    decision = canary_decision([*slow, *(event(n, "stable", latency_s=0.5) for n in range(400))])
    assert (
        decision.action == "PROMOTE"
    )  # ranks: the docs say that a tail needs a score or an error of its own
    assert decision.sentence.count("latency 0.50 s -> 0.50 s") == 1


@pytest.mark.slow
def test_the_published_error_rates_hold() -> None:
    same, worse = (
        [float(share) for share in simulate_canaries(count, 0.5, drop, builds).split("/")]
        for count, drop, builds in ((5000, 0.0, 50), (8000, -0.05, 60))
    )
    assert same[0] <= 2  # ROLLBACK, PROMOTE, HOLD in %
    assert same[1] >= 50
    assert worse[1] <= 2
    assert 100 - worse[0] <= 13


@pytest.mark.slow
def test_looking_at_every_event_does_not_raise_them() -> None:
    wrong = 0
    for seed in range(30):
        events = draw(seed, 600, (0.8, 0.8))
        wrong += any(
            canary_decision(events[:count]).action == "ROLLBACK" for count in range(20, len(events) + 1, 20)
        )
    assert wrong <= 1


def test_a_drift_that_hits_both_is_no_difference() -> None:
    # The stable version answers more of the early, easy requests: its mean is higher all the same.
    events = []
    for number in range(3000):
        arm = "canary" if number % (20 if number < 1500 else 2) == 0 else "stable"
        events.append(event(number, arm, score=0.9 if number < 1500 else 0.5))
    decision = canary_decision(events)
    assert decision.action == "PROMOTE"


def test_events_that_come_twice_or_out_of_order_are_mended_and_noted() -> None:
    events = both(200, {}, {})
    shuffled = [events[5], *events[:5], *events[6:], events[3]]
    decision = canary_decision(shuffled)
    assert decision.notes == ("1 event delivered twice", "2 events out of order")
    plain = canary_decision(events)
    assert (decision.evidence, decision.sentence, plain.notes) == (plain.evidence, plain.sentence, ())


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        make()
    return str(caught.value)


def test_no_events_and_a_single_version_are_refused() -> None:
    assert "0 and 0" in refused(lambda: canary_decision([]))
    assert "3 and 0" in refused(lambda: canary_decision([event(n, "stable") for n in range(3)]))
    same = CanaryRules(arms=("stable", "stable"))
    assert "stable" in refused(lambda: canary_decision([event(n, "stable") for n in range(3)], same))


def test_an_unknown_version_is_refused() -> None:
    assert "'canry'" in refused(lambda: canary_decision([*both(3, {}, {}), event(9, "canry")]))


def test_an_id_with_two_contents_is_refused() -> None:
    events = both(3, {}, {})
    other = CanaryEvent(id=events[0].id, time=START, arm="canary", score=0.0)
    assert "'stable 0'" in refused(lambda: canary_decision([*events, other]))


def test_clocks_that_do_not_agree_are_refused() -> None:
    late = [
        CanaryEvent(id=str(n), time=START + timedelta(hours=1, seconds=n), arm="canary", score=1.0)
        for n in range(10)
    ]
    message = refused(lambda: canary_decision([*(event(n, "stable") for n in range(10)), *late]))
    assert "10 of 10 events of canary" in message


def test_a_stable_version_that_answered_long_before_is_none() -> None:
    early = [
        CanaryEvent(id=f"early {n}", time=START - timedelta(days=1, seconds=n), arm="stable", score=0.0)
        for n in range(500)
    ]
    assert canary_decision([*early, *both(400, {}, {})]).action == "PROMOTE"


def test_shares_that_do_not_fit_are_refused() -> None:
    events = draw(1, 1000, (0.8, 0.8), share=0.5)
    assert canary_decision(events, CanaryRules(share=0.5)).action == "HOLD"
    assert "10.0%" in refused(lambda: canary_decision(events, CanaryRules(share=0.1)))


def draw_bursts(seed: int, *, named: bool, share: float = 0.1) -> list[CanaryEvent]:
    """Events of 200 users who keep their version, and ask one to some hundred times, in bursts of a few minutes."""
    generator = np.random.default_rng([seed, 200])
    counts = np.ceil(generator.lognormal(1.0, 1.2, 200)).astype(int).tolist()
    arms = (generator.random(200) < share).tolist()
    starts = (generator.random(200) * 86_400).tolist()
    events = []
    for user, (count, is_canary, start) in enumerate(zip(counts, arms, starts, strict=True)):
        for at in range(count):
            values: dict[str, Any] = {"id": f"{user} {at}", "user": f"user {user}" if named else ""}
            time = START + timedelta(seconds=start + 20 * at)
            events.append(CanaryEvent(time=time, arm=("stable", "canary")[is_canary], score=1.0, **values))
    return events


@pytest.mark.slow
def test_users_who_ask_in_bursts_are_not_taken_for_lost_requests() -> None:
    rules = CanaryRules(share=0.1)
    notes: list[str] = []
    for seed in range(12):
        assert canary_decision(draw_bursts(seed, named=True), rules).notes[1:] == ()
        notes += canary_decision(draw_bursts(seed, named=False), rules).notes[1:]
    # Counted as if they were independent, some of these requests would not fit.
    assert notes
    assert all("log the user of each event" in note for note in notes)


def test_users_of_another_share_are_refused() -> None:
    events = draw_bursts(1, named=True, share=0.3)
    message = refused(lambda: canary_decision(events, CanaryRules(share=0.1)))
    assert message.startswith("expected 10.0% of the users at canary, got ")
    assert " of 200 (" in message


def test_many_requests_of_one_user_are_one_opinion() -> None:
    stable = [event(number, "stable", user=f"s{number}") for number in range(200)]
    canary = [event(10 * number, "canary", user=f"c{number}") for number in range(19)]
    angry = [
        event(1000 + number, "canary", time=START + timedelta(seconds=number), score=0.0, user="c99")
        for number in range(150)
    ]
    events = [*stable, *canary, *angry]
    decision = canary_decision(events)
    assert decision.action == "HOLD"
    assert decision.sentence.startswith("score 1.00 -> 0.95: ")
    assert canary_decision([replace(request, user="") for request in events]).action == "ROLLBACK"


@pytest.mark.parametrize(
    "values",
    [
        {"score": math.nan}, {"score": 1.5}, {"score": -0.1}, {"score": math.inf}, {"score": "0.5"}, {"score": True},
        {"latency_s": -1.0}, {"latency_s": math.inf}, {"cost_usd": math.nan}, {"error": "yes"}, {"error": True},
        {"id": ""}, {"arm": ""}, {"time": datetime(2026, 1, 1)}, {"time": None},  # noqa: DTZ001 -- without a time zone
    ],
    ids=str,
)  # fmt: skip
def test_an_event_checks_its_values(values: dict[str, Any]) -> None:
    assert refused(lambda: event(1, "stable", **values))


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 0.0), ("alpha", math.nan), ("margin", 1.0), ("error_margin", -0.1), ("share", 0.0), ("share", 1.0),
     ("latency_ratio", 0.9), ("cost_ratio", math.inf)],
)  # fmt: skip
def test_rules_check_their_values(name: str, value: float) -> None:
    assert refused(lambda: CanaryRules(**{name: value})).startswith(f"{name}: ")  # type: ignore[arg-type]


CSV = """id,time,arm,score,error,latency_s,cost_usd,user,other
1,2026-01-01T00:00:00Z,stable,0.5,False,0.25,0.001,anna,x
2,2026-01-01T00:00:01,canary,,true,,,,
3,2026-01-01T00:00:02+01:00,canary,0,,1e-1,0,,
"""
JSONL = """{"id": 1, "time": "2026-01-01T00:00:00Z", "arm": "stable", "score": 0.5, "error": false, "latency_s": 0.25, "cost_usd": 0.001, "user": "anna"}
{"id": "2", "time": "2026-01-01T00:00:01Z", "arm": "canary", "error": true, "score": null}

{"id": "3", "time": "2025-12-31T23:00:02Z", "arm": "canary", "score": 0, "latency_s": 0.1, "cost_usd": 0, "other": [1]}
"""


def test_logs_in_csv_and_jsonl_are_the_same_events(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(CSV)
    (tmp_path / "log.jsonl").write_text(JSONL)
    events = read_events(tmp_path / "log.csv")
    assert events == read_events(tmp_path / "log.jsonl")
    (tmp_path / "log.yaml").write_text(
        '- {id: a, time: "2026-01-01T00:00:00Z", arm: stable, score: 0.50, cost_usd: .001}\n'
    )
    assert [event.score for event in read_events(tmp_path / "log.yaml")] == [0.5]
    assert [event.score for event in events] == [0.5, None, 0.0]
    assert [event.error for event in events] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.csv", CSV + "4,yesterday,stable,1,,,,,\n", 5),
        ("a.csv", CSV + "4,2026-01-01T00:00:09Z,stable,high,,,,,\n", 5),
        ("a.csv", CSV + "4,2026-01-01T00:00:09Z,stable,nan,,,,,\n", 5),
        ("a.csv", CSV + "4,2026-01-01T00:00:09Z,stable,1,maybe,,,,\n", 5),
        ("a.csv", CSV + ",2026-01-01T00:00:09Z,stable,1,,,,,\n", 5),
        ("a.csv", CSV + "4,2026\n", 5),
        ("a.jsonl", JSONL + '{"id": "4", "time": 5, "arm": "stable"}\n', 5),
        ("a.jsonl", JSONL + '{"id": "4", "time": "2026-01-01", "arm": "stable", "score": NaN}\n', 5),
        ("a.jsonl", JSONL + '{"id": "4", "time": "2026-01-01", "arm": "stable", "score": [1]}\n', 5),
        ("a.jsonl", JSONL + '{"id": "4", "time": "2026-01-01", "arm": "stable", "latency_s": true}\n', 5),
        ("a.jsonl", JSONL + "[1]\n", 5),
        ("a.jsonl", JSONL + "{\n", 5),
    ],
)
def test_a_log_that_is_wrong_is_reported_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, line: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    assert refused(lambda: read_events(name)).startswith(f"{name}:{line}: ")


def test_a_log_that_is_missing_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(lambda: read_events("no.csv")).startswith("no.csv: ")
    Path("log.txt").write_text(CSV)
    assert refused(lambda: read_events("log.txt")).startswith("log.txt: ")
    Path("empty.jsonl").write_text("\n")
    assert read_events("empty.jsonl") == ()


@pytest.mark.slow
def test_the_decision_needs_no_pytest() -> None:
    import subprocess
    import sys

    code = "import sys; from pytest_llmops.production.canary import canary_decision; print('pytest' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_decision_is_plain_data() -> None:
    decision: CanaryDecision = canary_decision(both(30, {}, {}))
    assert set(decision.evidence) == {"score", "errors", "latency", "cost"}
    assert all(math.isfinite(value) for pair in decision.evidence.values() for value in pair)
