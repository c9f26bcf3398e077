"""Promote, hold or roll back: each version of the prompt answered a part of the requests, and the log has the scores."""

from __future__ import annotations

from pathlib import Path

from pytest_llmops.production.canary import CanaryEvent, CanaryRules, canary_decision, read_events

LOG = Path(__file__).parent / "canary" / "v2.csv"
RULES = CanaryRules(arms=("v1", "v2"), share=0.5)


def test_version_2_is_not_promoted() -> None:
    decision = canary_decision(read_events(LOG), RULES)

    assert decision.action != "PROMOTE", decision.sentence


def test_a_broken_version_2_would_be_rolled_back_within_the_log() -> None:
    # The decision is a pure function of the events: what it would do is tried without breaking anything.
    events = [
        CanaryEvent(id=event.id, time=event.time, arm=event.arm, error=True) if event.arm == "v2" else event
        for event in read_events(LOG)
    ]

    assert canary_decision(events[:60], RULES).action == "ROLLBACK"
