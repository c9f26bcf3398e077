"""The sessions of a baseline: what counts as the same version, and how trials of two sessions are joined."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmops.baselines.baseline import Acceptance, Baseline, BaselineTest
from pytest_llmops.baselines.sessions import explain_other_version, find_chosen_tests, list_sessions
from pytest_llmops.baselines.stored_answers import find_shown_trial
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import TestRecord

TEST = BaselineTest(
    outcome="passed",
    scores={"judge.tone": (0.5, 1.0, 0.75), "trials.passed": (1.0, 1.0, 1.0)},
    metrics={"judge.tone": ("3", "higher"), "trials.passed": ("", "higher")},
    fingerprints={"prompt": "answer v1", "model": "m"},
    recordings=("a", "b", "c"),
    calls=("first x", "second y"),
)


def accept(baseline: Baseline, day: int, test: BaselineTest, *, added: bool = False) -> Baseline:
    latest = Acceptance(on=f"2026-11-0{day}T10:00:00+00:00", reason=f"day {day}", added=added)
    return baseline.accept(Baseline(tests={"t": test}, history=(latest,)))


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (replace(TEST, recordings=("d",), calls=("first x", "second z")), ""),
        (replace(TEST, calls=("first z", "other y")), ""),  # the second request holds another answer
        (replace(TEST, scores={"judge.tone": (None,)}, metrics={"judge.tone": ("", "higher")}), ""),
        (replace(TEST, calls=("other x",)), "another request"),
        (replace(TEST, calls=()), "another request"),
        (replace(TEST, fingerprints={"prompt": "answer v1", "model": "n"}), "another model"),
        (replace(TEST, fingerprints={**TEST.fingerprints, "judge": "j"}), "another judge"),
        (replace(TEST, metrics={"judge.tone": ("4", "higher")}), "another version of judge.tone"),
        (replace(TEST, scores={}), "judge.tone is not measured"),
        (replace(TEST, scores={**TEST.scores, "new": (1.0,)}), "new is measured only now"),
    ],
)
def test_only_answers_may_differ_between_sessions(later: BaselineTest, why: str) -> None:
    assert explain_other_version(TEST, later) == why


def test_sessions_keep_their_time_and_an_unscored_one_takes_the_version_of_the_next() -> None:
    unscored = replace(TEST, scores={"judge.tone": (None, None)}, metrics={"judge.tone": ("", "higher")})
    baseline = accept(Baseline(), 1, replace(unscored, recordings=("y", "z")))
    for day in (2, 3):
        baseline = accept(baseline, day, TEST, added=True)
    joined = baseline.tests["t"]
    assert joined.scores["judge.tone"] == (None, None, *TEST.scores["judge.tone"] * 2)
    assert joined.metrics["judge.tone"] == ("3", "higher")
    assert joined.calls == TEST.calls
    assert [(session.reason, session.trials) for session in list_sessions(baseline)] == [
        ("day 1", 2),
        ("day 2", 3),
        ("day 3", 3),
    ]
    assert Baseline.from_bytes(baseline.to_text().encode(), where="b") == baseline


def test_the_output_that_is_shown_is_of_the_last_session_as_its_cassette_is() -> None:
    baseline = accept(Baseline(), 1, replace(TEST, scores={"judge.tone": (0.1, 1.0, 1.0)}))
    joined = accept(baseline, 2, replace(TEST, scores={"judge.tone": (1.0, 0.9, 0.7)}), added=True).tests["t"]
    record = TestRecord(
        nodeid="t", measurements=(Measurement(name="judge.tone", value=0.5, detail={"actual": "x"}),)
    )
    assert find_shown_trial(record, joined) == "2"
    assert find_shown_trial(TestRecord(nodeid="t"), joined) == "2"


def test_only_other_answers_to_the_same_requests_are_a_choice() -> None:
    baseline = accept(Baseline(), 1, TEST)
    chosen = replace(TEST, recordings=("a", "b", "d"))
    assert find_chosen_tests(baseline, {"t": chosen}) == ["t"]
    more = replace(TEST, recordings=("a", "b", "c", "d"))
    edited = replace(chosen, fingerprints={"prompt": "answer v2"})
    for test in (TEST, more, edited):
        assert find_chosen_tests(baseline, {"t": test}) == []
    assert find_chosen_tests(baseline, {"new": chosen}) == []
