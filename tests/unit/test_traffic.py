"""Tokens, cost and latency of calls, and how cassettes answered requests, as sums and in words."""

from __future__ import annotations

from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.protocols import Call, Usage
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.traffic import (
    MAX_TOOL_CHANGES,
    CassetteTotals,
    Latency,
    Traffic,
    count_traffic,
    describe_changed_tools,
    format_budget,
    format_cost,
    format_tokens,
    iter_cassette_notes,
    iter_recording_notes,
    percentile,
    place_calls,
    summarize_cassettes,
    summarize_latency,
)


def call(cost: float | None = None, tokens: tuple[int | None, int | None] = (None, None), **how: Any) -> Call:
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    return Call(cost_usd=cost, usage=usage, **how)


# Sums.


def test_live_and_replayed_calls_are_added_up_apart() -> None:
    calls = [
        call(0.25, (10, 1)),
        call(None, (20, 2)),
        call(0.5, replayed=True),
        call(0.125, (None, 4), replayed=True),
    ]
    traffic = count_traffic(calls)
    assert traffic == Traffic(
        live=2,
        replayed=2,
        input_tokens=30,
        output_tokens=7,
        uncounted=1,
        spent_usd=0.25,
        saved_usd=0.625,
        unpriced=1,
    )
    assert (traffic.calls, traffic.known_usd) == (4, 0.875)


def test_nothing_known_is_not_nothing() -> None:
    assert count_traffic([]) == Traffic()
    assert count_traffic([call()]) == Traffic(live=1, uncounted=1, unpriced=1)
    assert Traffic(unpriced=1).known_usd is None
    assert count_traffic([call(), call(replayed=True)]).unpriced == 2
    assert count_traffic([call(0.0, (0, 0))]) == Traffic(
        live=1, input_tokens=0, output_tokens=0, spent_usd=0.0
    )


@pytest.mark.parametrize(
    ("traffic", "cost"),
    [
        (Traffic(), "unknown"),
        (Traffic(live=1, spent_usd=0.0), "$0.00 known"),
        (Traffic(live=2, unpriced=2), "unknown, 2 calls without a price"),
        (Traffic(live=2, spent_usd=0.25, unpriced=1), "$0.25 known, 1 call without a price"),
        (Traffic(live=1, spent_usd=0.004), "$0.004 known"),
        (Traffic(replayed=1, saved_usd=0.25), "$0.25 known (all of it saved by replay)"),
        (Traffic(live=1, replayed=1, saved_usd=0.25), "$0.25 known ($0.25 of it saved by replay)"),
    ],
)
def test_the_cost_is_what_is_known_of_it(traffic: Traffic, cost: str) -> None:
    assert format_cost(traffic) == cost


@pytest.mark.parametrize(
    ("traffic", "tokens"),
    [
        (Traffic(uncounted=2), "unknown"),
        (Traffic(input_tokens=1200, output_tokens=3), "1,200 in, 3 out"),
        (Traffic(input_tokens=5), "5 in, 0 out"),
        (Traffic(output_tokens=5), "0 in, 5 out"),
        (Traffic(input_tokens=0, output_tokens=0), "0 in, 0 out"),
        (Traffic(input_tokens=1, output_tokens=1, uncounted=2), "1 in, 1 out (2 calls without a count)"),
    ],
)
def test_tokens_are_what_is_known_of_them(traffic: Traffic, tokens: str) -> None:
    assert format_tokens(traffic) == tokens


# Latency.


def test_the_latency_is_that_of_calls_of_the_application() -> None:
    calls = [
        *(call(latency_s=float(second), replayed=second > 3) for second in range(1, 101)),
        call(latency_s=1000.0, purpose="judge"),
        call(latency_s=None),
    ]
    assert summarize_latency(calls) == Latency(n=100, live=3, p50=50.0, p95=95.0)
    assert summarize_latency([]) == Latency()


@pytest.mark.parametrize(
    ("p", "value"), [(0.1, 10), (10, 10), (10.1, 20), (50, 50), (55, 60), (95, 100), (100, 100)]
)
def test_a_percentile_is_the_smallest_number_that_is_not_below_its_share(p: float, value: int) -> None:
    assert percentile(range(100, 0, -10), p) == value
    assert percentile([], p) is None


@pytest.mark.parametrize(
    ("calls", "starts"),
    [
        ([(0.0, 2.0), (0.5, 1.0)], [0.0, 0.5]),
        ([(None, 2.0), (None, 1.0), (None, None), (None, 1.0)], [0.0, 2.0, 3.0, 3.0]),
        ([(None, 2.0), (0.0, 1.0), (0.5, 3.0), (None, 1.0)], [0.0, 2.0, 2.5, 5.5]),
        (
            [(None, 2.0), (1.0, 1.0), (0.5, 1.0)],
            [0.0, 2.5, 2.0],
        ),  # the last call began before the one before it
        ([(5.0, 1.0), (4.0, 1.0)], [5.0, 4.0]),
        ([(0.0, 5.0), (1.0, 1.0), (None, 1.0)], [0.0, 1.0, 5.0]),
        ([(0.0, 1.0), (None, 9.0), (2.0, 1.0)], [0.0, 1.0, 2.0]),
        ([], []),
    ],
)
def test_calls_have_their_places_in_time(
    calls: list[tuple[float | None, float | None]], starts: list[float]
) -> None:
    made = [call(started_s=started, latency_s=latency) for started, latency in calls]
    assert place_calls(made) == starts


# Cassettes.


def record(name: str, **cassette: Any) -> TestRecord:
    return TestRecord(nodeid=name, facts={"cassette": cassette} if cassette else {})


def test_how_requests_were_answered_is_added_up_over_the_tests() -> None:
    counts = {
        name: place
        for place, name in enumerate(
            ("replayed", "recorded", "reused", "missed", "stale", "verified", "drifted"), start=1
        )
    }
    run = Run(
        records=(
            record("a", path="x", **counts),
            record("b", path="x", **counts),
            record("c", path="y"),
            record("d"),
        ),
        meta={"cassettes": {"oldest": "2026-01-01", "orphans": ["o", "p"]}, "created": "2026-03-01T10:00:00"},
    )
    doubled = {name: 2 * count for name, count in counts.items()}
    assert summarize_cassettes(run) == CassetteTotals(files=2, oldest_days=59, orphans=2, **doubled)


@pytest.mark.parametrize(
    ("oldest", "created", "days"),
    [
        ("2026-01-02", "2026-01-01T00:00:00", 0),  # a clock that was wrong
        ("", "2026-01-01", None),
        ("2026-01-01", "", None),
        ("2026-01-01", "2026-01-02T01:00:00+02:00", 0),
    ],
)
def test_the_oldest_cassette_is_so_many_days_old(oldest: str, created: str, days: int | None) -> None:
    run = Run(meta={"cassettes": {"oldest": oldest}, "created": created})
    assert summarize_cassettes(run).oldest_days == days


@pytest.mark.parametrize(
    ("totals", "words", "style"),
    [
        (CassetteTotals(), "0 replayed, 0 recorded, 0 stale, 0 missed", ""),
        (CassetteTotals(replayed=1200, recorded=2), "1,200 replayed, 2 recorded, 0 stale, 0 missed", ""),
        (CassetteTotals(reused=3), "0 replayed, 0 recorded, 3 reused, 0 stale, 0 missed", ""),
        (CassetteTotals(stale=1, missed=2), "0 replayed, 0 recorded, 1 stale, 2 missed", "red"),
        (CassetteTotals(stale=1), "0 replayed, 0 recorded, 1 stale, 0 missed", "yellow"),
        (CassetteTotals(verified=2), "0 replayed, 0 recorded, 0 stale, 0 missed, 2 verified, 0 drifted", ""),
        (
            CassetteTotals(verified=2, drifted=1),
            "0 replayed, 0 recorded, 0 stale, 0 missed, 2 verified, 1 drifted",
            "yellow",
        ),
        (
            CassetteTotals(oldest_days=1, orphans=1),
            "0 replayed, 0 recorded, 0 stale, 0 missed, oldest 1 day, 1 orphan",
            "yellow",
        ),
        (CassetteTotals(oldest_days=0), "0 replayed, 0 recorded, 0 stale, 0 missed", ""),
    ],
)
def test_counts_are_words_with_a_colour(totals: CassetteTotals, words: str, style: str) -> None:
    assert (totals.count_words, totals.style) == (words, style)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, ""),
        ({"calls": 3, "usd": 0.5}, ""),
        ({"max_calls": 3, "budget_usd": 0.5}, ""),
        ({"calls": 1200, "max_calls": 5000}, "1,200 of 5,000 live calls"),
        ({"usd": 0.004, "budget_usd": 1.0}, "$0.004 of $1.00"),
        ({"calls": 0, "max_calls": 0, "usd": 0.0, "budget_usd": 0.0}, "0 of 0 live calls, $0.00 of $0.00"),
    ],
)
def test_the_used_budget_is_named_with_its_limit(budget: dict[str, float], words: str) -> None:
    assert format_budget(Run(meta={"budget": budget})) == words
    assert format_budget(Run()) == ""


# Notes.

TOOL = {"question": "search(a)", "place": "search $.n", "what": "answer", "recorded": "1", "now": "2"}
DEFINITION = {**TOOL, "what": "definition", "question": "server"}
ANSWER = {"what": "text", "recorded": "yes", "now": "no", "similarity": 0.123}


def test_a_note_of_several_tests_is_given_once_with_the_first() -> None:
    records = [
        record("t", notes=["old", "old"]),
        record("u", notes=["other", "old"]),
        record("v", notes=["old", "pair"]),
        record("w", notes=["pair"]),
        record("x"),
    ]
    assert list(iter_recording_notes(records)) == [
        "t and 2 more tests: old",
        "u: other",
        "v and 1 more test: pair",
    ]


def test_differences_of_answers_and_tools_are_notes() -> None:
    records = [
        record("t", drift=[TOOL, ANSWER], notes=["old"]),
        record("u", drift=[DEFINITION, {**ANSWER, "similarity": None}]),
    ]
    notes = list(iter_recording_notes(records))
    check_message(notes)
    assert [note.partition(":")[0] for note in notes] == [
        "tools have changed since the recording", "u", "t", "t", "t", "u",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [MAX_TOOL_CHANGES, MAX_TOOL_CHANGES + 1])
def test_only_so_many_changes_of_tools_are_listed(count: int) -> None:
    changed = record("t", drift=[{**TOOL, "place": f"search $.n{number:02}"} for number in range(count)])
    notes = list(iter_recording_notes([changed]))
    is_more = count > MAX_TOOL_CHANGES
    assert len(notes) == 1 + MAX_TOOL_CHANGES + is_more
    check_message([notes[0], notes[-1]])
    texts = describe_changed_tools(changed).split("; ")
    assert len(texts) == MAX_TOOL_CHANGES + is_more
    check_message(texts[-1])


def test_of_a_test_only_changes_of_its_tools_are_described() -> None:
    assert describe_changed_tools(record("t", drift=[ANSWER])) == ""
    assert describe_changed_tools(record("t")) == ""
    check_message(describe_changed_tools(record("t", drift=[ANSWER, TOOL, DEFINITION])))


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("kind", ["orphans", "moved"])
def test_files_that_are_in_the_wrong_place_are_named(kind: str, count: int) -> None:
    meta: dict[str, Any] = {"cassettes": {kind: [f"file{number}" for number in range(count)]}}
    (note,) = iter_cassette_notes([record("t")], meta)
    check_message(note)


def test_tests_whose_judge_was_not_called_are_counted() -> None:
    records = [
        TestRecord(nodeid="t", facts={"not called: tone": "x", "not called: style": "x"}),
        TestRecord(nodeid="u", facts={"called": "x"}),
        TestRecord(nodeid="v", facts={"not called: tone": "x"}),
    ]
    (note,) = iter_cassette_notes(records, {})
    assert note.startswith("2 tests")
    check_message(note)
    assert list(iter_cassette_notes(records[1:2], {})) == []
