"""The sessions of a baseline: what counts as the same version, and how trials of two sessions are joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.messages import check_message

from pytest_llmops.baselines.baseline import Acceptance, Baseline, BaselineTest, summarize_test
from pytest_llmops.baselines.sessions import (
    BaselineSession,
    explain_other_version,
    find_chosen_tests,
    list_sessions,
    summarize_session,
)
from pytest_llmops.baselines.stored_answers import find_shown_trial
from pytest_llmops.errors import AcceptRefused
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message
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


# A run that is added as a session.


def make_record(
    name: str, *recordings: str, replayed: bool = True, score: float = 1.0, model: str = "m"
) -> TestRecord:
    """Return a test that called a model once in each trial."""
    calls = tuple(
        Call(model=model, messages=(Message("user", name),), output=text, replayed=replayed)
        for text in recordings
    )
    samples = (score,) * len(recordings)
    return TestRecord(
        nodeid=name,
        measurements=(Measurement(name="judge.tone", value=score, samples=samples, version="3"),),
        facts={"recordings": list(recordings), "trials": {"n": len(recordings), "passed": len(recordings)}},
        calls=calls,
    )


def make_baseline(*records: TestRecord, repeated: bool = True) -> Baseline:
    tests = {record.nodeid: summarize_test(record) for record in records}
    if not repeated:
        tests = {
            name: replace(test, scores={"judge.tone": test.scores["judge.tone"]})
            for name, test in tests.items()
        }
    return Baseline(tests=tests, history=(Acceptance(on="2026-11-01", reason="first"),))


BASELINE = make_baseline(make_record("t", "a", "b"), make_record("u", "c", "d"))


def test_live_trials_are_a_session_and_new_tests_are_left_out() -> None:
    run = [make_record(name, "x", "y", replayed=False) for name in ("t", "u", "new")]
    added = summarize_session(BASELINE, run)
    assert list(added) == ["t", "u"]
    assert [test.recordings for test in added.values()] == [("x", "y")] * 2
    assert added["t"].scores == {"judge.tone": (1.0, 1.0), "trials.passed": (1.0, 1.0)}


def test_the_share_of_passed_trials_is_added_only_where_the_baseline_has_it() -> None:
    baseline = make_baseline(make_record("t", "a", "b"), repeated=False)
    added = summarize_session(baseline, [make_record("t", "x", "y", replayed=False)])
    assert added["t"].scores == {"judge.tone": (1.0, 1.0)}
    assert list(added["t"].metrics) == ["judge.tone"]
    assert added["t"].recordings == ("x", "y")


def test_a_session_that_was_replayed_from_elsewhere_is_added() -> None:
    run = [make_record("t", "x", "y"), make_record("u", "v", "w")]
    assert list(summarize_session(BASELINE, run)) == ["t", "u"]


def test_a_test_without_requests_is_no_replay() -> None:
    baseline = make_baseline(make_record("t", "a", "b"), make_record("silent"))
    assert list(summarize_session(baseline, [make_record("t", "x", "y"), make_record("silent")])) == [
        "t",
        "silent",
    ]


def test_a_model_may_give_some_answers_again() -> None:
    """A live run of the same answers is no replay, nor is a replay in which one test has others."""
    live = [make_record("t", "a", "b", replayed=False), make_record("u", "c", "d", replayed=False)]
    assert list(summarize_session(BASELINE, live)) == ["t", "u"]
    mixed = [make_record("t", "a", "b"), make_record("u", "x", "y")]
    assert list(summarize_session(BASELINE, mixed)) == ["t", "u"]


@pytest.mark.parametrize(
    "run",
    [
        [],
        [make_record("new", "x", replayed=False)],
        [make_record("t", "x", "y", replayed=False, model="n")],
        [make_record("t", "x", replayed=False), make_record("u", "y", replayed=False, model="n")],
        [make_record("t", "a", "b"), make_record("u", "c", "d")],
        [make_record("t", "a", "b", "z"), make_record("u", "c", "d")],
        [make_record("t", "b"), make_record("u", "d", "c")],
        [make_record("t", "a", "b"), make_record("u", "x", "y", replayed=False)],
    ],
    ids=[
        "nothing", "a new test", "another model", "one of two tests", "all replayed", "begins with a session", "fewer trials",
        "one replayed, one live",
    ],
)  # fmt: skip
def test_a_run_that_is_no_other_sample_is_not_added(run: list[TestRecord]) -> None:
    with pytest.raises(AcceptRefused, check=check_message):
        summarize_session(BASELINE, run)


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_the_first_tests_of_another_version_are_named(count: int) -> None:
    names = [f"t{number}" for number in range(count)]
    baseline = make_baseline(*(make_record(name, "a") for name in names))
    run = [make_record(name, "x", replayed=False, model="n") for name in names]
    with pytest.raises(AcceptRefused, check=check_message):
        summarize_session(baseline, run)


def test_a_replay_of_a_later_session_is_found_too() -> None:
    first = make_record("t", "a", "b")
    joined = accept(
        accept(Baseline(), 1, summarize_test(first)), 2, summarize_test(make_record("t", "c")), added=True
    )
    with pytest.raises(AcceptRefused):
        summarize_session(joined, [make_record("t", "c", "x")])
    assert summarize_session(joined, [make_record("t", "b", "x")])
    with pytest.raises(AcceptRefused):
        summarize_session(joined, [make_record("t", "b")])


def test_trials_without_a_session_belong_to_the_last_acceptance_that_replaced_some() -> None:
    history = tuple(
        Acceptance(on=f"2026-11-0{day}", reason=f"day {day}", added=added)
        for day, added in ((1, False), (2, False), (3, True))
    )
    added = replace(TEST, sessions={"2026-11-01": 2, "2026-11-03": 1})
    baseline = Baseline(
        tests={"t": TEST, "u": replace(TEST, recordings=("a",), scores={}), "v": added}, history=history
    )
    assert list_sessions(baseline) == [
        BaselineSession(on="2026-11-01", reason="day 1", tests=1, trials=2),
        BaselineSession(on="2026-11-02", reason="day 2", tests=2, trials=1),
        BaselineSession(on="2026-11-03", reason="day 3", tests=1, trials=1),
    ]
    assert list_sessions(Baseline(tests={"t": TEST})) == [BaselineSession(on="", tests=1, trials=3)]


# The trial whose output is shown.


@pytest.mark.parametrize(
    ("scores", "better", "trial"),
    [
        ((1.0, 0.5, 0.5), "higher", "1"),
        ((1.0, 0.5, 2.0), "lower", "2"),
        ((1.0, None), "higher", ""),
        ((0.5,), "higher", "0"),
    ],
)
def test_the_shown_trial_is_the_first_of_the_worst(
    scores: tuple[float | None, ...], better: str, trial: str
) -> None:
    before = BaselineTest(outcome="passed", scores={"a": scores}, metrics={"a": ("", better)})
    record = TestRecord(nodeid="t", measurements=(Measurement(name="a", value=0.5, detail={"actual": "x"}),))
    assert find_shown_trial(record, before) == trial


def test_without_a_stored_output_the_last_trial_is_shown_and_without_its_scores_none_is_known() -> None:
    record = TestRecord(nodeid="t", measurements=(Measurement(name="a", value=0.5),))
    assert find_shown_trial(record, TEST) == "2"
    assert find_shown_trial(record, replace(TEST, recordings=())) == "0"
    assert find_shown_trial(record, replace(TEST, sessions={"one": 2, "two": 1})) == "0"
    shown = replace(record, measurements=(Measurement(name="a", value=0.5, detail={"actual": "x"}),))
    assert find_shown_trial(shown, TEST) == ""
