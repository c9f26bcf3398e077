"""Laws of the decision on a canary, and of the reader of its logs."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.errors import UsageError
from pytest_llmops.production.canary import CanaryEvent, canary_decision, read_events

START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "arm": st.sampled_from(["stable", "canary"]),
        "score": st.none() | st.integers(0, 4).map(lambda level: level / 4),
        "latency_s": st.none() | st.floats(0, 10),
        "cost_usd": st.none() | st.floats(0, 1),
    }
)
EVENTS = st.lists(VALUES, min_size=4, max_size=30).map(
    lambda rows: [
        CanaryEvent(id=str(n), time=START + timedelta(seconds=n), **row)
        for n, row in enumerate(
            [{"arm": "stable"}, {"arm": "canary"}, *rows, {"arm": "canary"}, {"arm": "stable"}]
        )
    ]
)


@pytest.mark.slow
@given(EVENTS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_the_decision(events: list[CanaryEvent], random: Any) -> None:
    decision = canary_decision(events)
    mixed = [*events, random.choice(events)]
    random.shuffle(mixed)
    other = canary_decision(mixed)
    assert (other.action, other.evidence) == (decision.action, decision.evidence)


@pytest.mark.slow
@given(EVENTS, EVENTS)
def test_evidence_never_falls_as_events_come_in(first: list[CanaryEvent], second: list[CanaryEvent]) -> None:
    later = [
        CanaryEvent(
            id=f"later {event.id}", time=event.time + timedelta(hours=1), arm=event.arm, score=event.score,
            latency_s=event.latency_s, cost_usd=event.cost_usd,
        )
        for event in second
    ]  # fmt: skip
    before, after = canary_decision(first), canary_decision([*first, *later])
    assert all(
        now >= then
        for name in before.evidence
        for then, now in zip(before.evidence[name], after.evidence[name], strict=True)
    )


@pytest.mark.slow
@given(EVENTS)
def test_a_canary_that_is_never_better_has_more_evidence_against_it(events: list[CanaryEvent]) -> None:
    worse = [
        CanaryEvent(
            id=event.id, time=event.time, arm=event.arm,
            score=0.0 if event.arm == "canary" and event.score is not None else event.score,
        )
        for event in events
    ]  # fmt: skip
    assert canary_decision(worse).evidence["score"][0] >= canary_decision(events).evidence["score"][0] - 1e-9


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2),
)
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["id", "time", "arm", "score", "error", "latency_s", "cost_usd", "x"]), JSON
    ),
    max_size=4,
)


@pytest.mark.slow
@given(ROWS)
def test_any_log_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = Path(tmp_path_factory.mktemp("logs")) / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with contextlib.suppress(UsageError):
        assert len(read_events(path)) == len(rows)
