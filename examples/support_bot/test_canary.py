"""Promote, hold or roll back: both versions of the prompt answered a part of the requests each, and the log says how well."""

from __future__ import annotations

from pathlib import Path

from pytest_llmops.production.canary import CanaryEvent, CanaryRules, canary_decision, read_events

LOG = Path(__file__).parent / "canary" / "events.csv"
RULES = CanaryRules(arms=("v1", "v2"), share=0.5)


def test_the_log_is_too_short_to_promote_version_2() -> None:
    decision = canary_decision(read_events(LOG), RULES)

    # Right answers are rare with both, 19 % and 25 %: that needs some 800 requests, and there are 318.
    assert decision.action == "HOLD", decision.sentence
    assert "more events" in decision.sentence


def test_a_broken_version_2_would_be_rolled_back_within_the_log() -> None:
    # The decision is a pure function of the events: what it would do is tried without breaking anything.
    events = [
        CanaryEvent(id=event.id, time=event.time, arm=event.arm, error=True) if event.arm == "v2" else event
        for event in read_events(LOG)
    ]

    assert canary_decision(events[:60], RULES).action == "ROLLBACK"
