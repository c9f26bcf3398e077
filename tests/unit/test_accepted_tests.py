"""What a baseline keeps of a test: its scores, requests and answers, and how acceptances change it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.baselines.baseline import (
    SCHEMA,
    Acceptance,
    Baseline,
    BaselineTest,
    flip_rate,
    read_trials,
    summarize_test,
)
from pytest_llmops.baselines.requests import (
    MAX_ANSWERS,
    MAX_REQUESTS,
    fingerprint_calls,
    fingerprint_outputs,
    list_requests,
    merge_calls,
    split_parameters,
)
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message, ToolCall, ToolDefinition
from pytest_llmops.results.amounts import AMOUNTS
from pytest_llmops.results.run import TestRecord

PASSED = BaselineTest(outcome="passed", scores={"a": (1.0,)}, metrics={"a": ("", "higher")})
WAVERS = replace(PASSED, scores={"a": (1.0, 0.0)})


def run_of(day: int, tests: dict[str, BaselineTest], **how: Any) -> Baseline:
    return Baseline(tests=tests, history=(Acceptance(on=f"day {day}", **how),))


# Acceptances.


def test_a_whole_run_replaces_the_baseline_but_for_what_is_kept() -> None:
    baseline = run_of(1, {"old": PASSED, "kept": PASSED, "both": PASSED})
    newer = run_of(2, {"both": WAVERS, "new": PASSED})
    accepted = baseline.accept(newer, keep=["kept", "none"])
    assert set(accepted.tests) == {"kept", "both", "new"}
    assert [entry.on for entry in accepted.history] == ["day 1", "day 2"]


@pytest.mark.parametrize("how", [{"partial": True}, {"added": True}])
def test_a_part_and_a_session_drop_no_test(how: dict[str, bool]) -> None:
    baseline = run_of(1, {"old": PASSED, "both": PASSED})
    accepted = baseline.accept(run_of(2, {"both": WAVERS}, **how))
    assert set(accepted.tests) == {"old", "both"}
    trials = {"partial": (1.0, 0.0), "added": (1.0, 1.0, 0.0)}
    assert accepted.tests["both"].scores["a"] == trials[next(iter(how))]


def test_a_test_is_flaky_since_the_first_acceptance_in_which_it_wavered() -> None:
    baseline = Baseline().accept(run_of(1, {"t": PASSED, "u": WAVERS}))
    assert [test.flaky_since for test in baseline.tests.values()] == ["", "day 1"]
    baseline = baseline.accept(run_of(2, {"t": WAVERS, "u": WAVERS}))
    assert [test.flaky_since for test in baseline.tests.values()] == ["day 2", "day 1"]
    baseline = baseline.accept(run_of(3, {"t": PASSED, "u": WAVERS}))
    assert [test.flaky_since for test in baseline.tests.values()] == ["", "day 1"]


def test_a_measurement_of_one_session_only_stays_as_it_is() -> None:
    first = replace(PASSED, recordings=("x",), amounts={"cost": (0.5,)})
    later = replace(
        PASSED, scores={"b": (0.0, 0.5)}, metrics={"b": ("2", "lower")}, recordings=("y", "z"), calls=("r a",)
    )
    joined = first.add_session(later, first="day 1", second="day 2")
    assert joined.scores == {"a": (1.0,), "b": (0.0, 0.5)}
    assert joined.metrics == {"a": ("", "higher"), "b": ("2", "lower")}
    assert joined.amounts == {"cost": (0.5,)}
    assert joined.recordings == ("x", "y", "z")
    assert joined.sessions == {"day 1": 1, "day 2": 2}
    again = joined.add_session(later, first="day 1", second="day 3")
    assert again.sessions == {"day 1": 1, "day 2": 2, "day 3": 2}
    assert again.scores["b"] == (0.0, 0.5, 0.0, 0.5)


def test_the_version_of_a_scored_session_stays() -> None:
    later = replace(PASSED, metrics={"a": ("2", "higher")})
    assert PASSED.add_session(later, first="1", second="2").metrics == {"a": ("", "higher")}
    unscored = replace(PASSED, scores={"a": (None,)})
    assert unscored.add_session(later, first="1", second="2").metrics == {"a": ("2", "higher")}


# Trials.


@pytest.mark.parametrize(
    ("trials", "rate"),
    [
        ((1.0, 0.0), 1.0),
        ((1.0, 1.0, 1.0), 0.0),
        ((1.0, 1.0, 0.0, 0.0), 4 / 6),
        ((1.0, None, 0.0), 1.0),
        ((1.0, 0.5, 0.0), None),
        ((1.0,), None),
        ((), None),
    ],
)
def test_pairs_of_trials_that_differ_are_counted(
    trials: tuple[float | None, ...], rate: float | None
) -> None:
    assert flip_rate(trials) == rate


@pytest.mark.parametrize(
    ("measurement", "trials"),
    [
        (Measurement(name="a", value=0.12345678), (0.123457,)),
        (Measurement(name="a", value=0.12345678, unit="USD"), (0.12345678,)),
        (Measurement(name="a", value=0.000000000012, unit="USD"), (0.0,)),
        (Measurement(name="a", error="none"), (None,)),
        (Measurement(name="a", value=0.5, samples=(0.5,), detail={"unscored_trials": 2}), (0.5, None, None)),
        (Measurement(name="a", error="none", detail={"unscored_trials": 2}), (None, None)),
        (Measurement(name="a", value=0.5, detail={"unscored_trials": "2"}), (0.5,)),
    ],
)
def test_trials_are_stored_with_so_many_digits(
    measurement: Measurement, trials: tuple[float | None, ...]
) -> None:
    assert read_trials(measurement) == trials


def test_amounts_of_an_agent_are_no_scores_and_other_units_are_left_out() -> None:
    cost = Measurement(name=min(AMOUNTS), value=0.25, unit="USD", better="lower")
    other = Measurement(name="llm.duration", value=3.0, unit="s")
    summary = summarize_test(TestRecord(nodeid="t", measurements=(other, cost, cost)))
    assert summary.amounts == {cost.name: (0.25,), f"{cost.name} #2": (0.25,)}
    assert (summary.scores, set(summary.metrics)) == ({}, set(summary.amounts))


@pytest.mark.parametrize(
    ("outcome", "rate"),
    [
        ("passed", (1.0,)),
        ("xfailed", (1.0,)),
        ("failed", (0.0,)),
        ("xpassed", (0.0,)),
        ("errored", (None,)),
    ],
)
def test_a_test_that_ran_once_has_a_share_of_passed_trials_where_it_is_compared(
    outcome: Any, rate: tuple[float | None, ...]
) -> None:
    record = TestRecord(nodeid="t", outcome=outcome)
    assert summarize_test(record).scores == {}
    summary = summarize_test(record, repeated=True)
    assert (summary.scores, summary.metrics) == ({"trials.passed": rate}, {"trials.passed": ("", "higher")})


def test_trials_without_a_score_come_last_in_the_share_of_passed_ones() -> None:
    record = TestRecord(nodeid="t", facts={"trials": {"n": 4, "passed": 1, "failed": 2, "unscored": 1}})
    assert summarize_test(record).scores == {"trials.passed": (1.0, 0.0, 0.0, None)}


def test_of_a_test_that_missed_a_request_the_number_of_trials_is_known() -> None:
    record = TestRecord(
        nodeid="t",
        raised=("CassetteMiss",),
        measurements=(Measurement(name="a", value=0.5, samples=(0.0, 1.0), version="1"),),
    )
    summary = summarize_test(record)
    assert (summary.scores, summary.metrics) == ({"a": (None, None)}, {"a": ("1", "higher")})


def test_what_a_test_depends_on_is_named_and_its_model_comes_from_its_calls() -> None:
    calls = (
        Call(model="n", messages=(), output=""),
        Call(model="m", messages=(), output=""),
        Call(model="", messages=(), output=""),
        Call(model="judge", purpose="judge", messages=(), output=""),
    )
    facts = {"prompt": {"name": "p", "version": "v1"}, "retriever": {}, "judge": {"fingerprint": "f"}}
    prints = summarize_test(TestRecord(nodeid="t", calls=calls, facts=facts)).fingerprints
    assert prints == {"prompt": "p v1", "judge": "f", "model": "m, n"}
    stated = {"model": {"name": "stated"}}
    assert summarize_test(TestRecord(nodeid="t", calls=calls, facts=stated)).fingerprints == {
        "model": "stated"
    }
    assert summarize_test(TestRecord(nodeid="t")).fingerprints == {}


def test_another_input_or_reference_is_another_case_and_another_id_is_not() -> None:
    cases = [
        {"id": "1", "input": "a", "reference": "b"},
        {"id": "2", "input": "a", "reference": "b"},
        {"id": "1", "input": "a", "reference": "c"},
        {"id": "1", "input": "c", "reference": "b"},
    ]
    prints = [
        summarize_test(TestRecord(nodeid="t", facts={"case": case})).fingerprints["case"] for case in cases
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


# The file.


def test_a_measurement_of_the_usual_version_is_listed_once() -> None:
    rare = replace(PASSED, metrics={"a": ("0", "higher")})
    document = json.loads(run_of(1, {"t": PASSED, "u": PASSED, "v": rare}).to_text())
    assert document["metrics"] == {"a": ["", "higher"]}
    assert [name for name, test in document["tests"].items() if "metrics" in test] == ["v"]
    even = json.loads(run_of(1, {"t": PASSED, "v": rare}).to_text())
    assert even["metrics"] == {"a": ["", "higher"]}
    assert even["tests"]["v"]["metrics"] == {"a": ["0", "higher"]}


def test_everything_that_a_test_has_comes_back_from_the_file() -> None:
    test = replace(
        WAVERS,
        scores={"a": (1.0, 0.5, None), "b": (0.0,)},
        metrics={"a": ("", "higher"), "b": ("1", "lower"), "cost": ("", "lower")},
        amounts={"cost": (0.25,)},
        fingerprints={"model": "m"},
        recordings=("x",),
        calls=("r a",),
        output="o",
        flaky_since="day 1",
        sessions={"day 1": 1},
    )
    baseline = Baseline(
        tests={"t": test, "u": BaselineTest(outcome="failed")},
        history=(
            Acceptance(on="day 1", reason="r", commit="c", tests=2, partial=True, forced=True, added=True),
        ),
        environment={"python": "3.11"},
    )
    again = Baseline.from_bytes(baseline.to_text().encode(), where="b")
    assert again == baseline
    assert Baseline.from_bytes(Baseline().to_text().encode(), where="b") == Baseline()


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"scores": []},
        {"scores": {"a": 1}},
        {"scores": {"a": []}},
        {"scores": {"a": [True]}},
        {"amounts": {"unknown": [1]}},
        {"metrics": {"a": ["1"]}},
        {"metrics": {"a": ["1", "up"]}},
        {"sessions": {"day 1": 0}},
        {"sessions": {"day 1": True}},
        {"sessions": {"day 1": 1.5}},
        {"fingerprints": []},
    ],
)
def test_a_damaged_test_of_a_file_is_named_with_its_place(entry: Any) -> None:
    document = {"schema": SCHEMA, "metrics": {"a": ["", "higher"]}, "tests": {"t": entry}}
    with pytest.raises(UsageError, check=check_message):
        Baseline.from_bytes(json.dumps(document).encode(), where="b.json")


# Requests and answers.


def ask(text: str, answer: str = "yes", **how: Any) -> Call:
    return Call(model="m", messages=(Message("user", text),), output=answer, **how)


def test_a_request_has_all_of_its_answers_and_calls_of_others_have_none() -> None:
    calls = [
        ask("q", "b"),
        ask("q", "a"),
        ask("q", "a"),
        ask("r"),
        ask("judged", purpose="judge"),
        ask("refused", status=429),
    ]
    requests = list_requests(calls)
    assert [sorted(request.answers) for request in requests] == [["a", "b"], ["yes"]]
    lines = fingerprint_calls(TestRecord(nodeid="t", calls=tuple(calls)))
    assert [len(line.partition(" ")[2].split(",")) for line in lines] == [2, 1]


def test_the_parts_of_a_request_have_their_places() -> None:
    call = Call(
        model="m",
        messages=(
            Message("system", "s"),
            Message("user", "u"),
            Message("system", "late"),
            Message("assistant", "a"),
            Message("user", ""),
        ),
        tools=(ToolDefinition(name="t", description="d", parameters={}),),
        parameters='{"n": 1}',
        output="o",
    )
    (request,) = list_requests([call])
    assert list(request.parts) == [
        "model",
        "messages[0]",
        "messages[1]",
        "messages[2] (system)",
        "messages[3] (assistant)",
        "tools",
        "parameters",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"messages": (Message("user", "other"),)},
        {"messages": (Message("assistant", "q"),)},
        {"parameters": "{}"},
        {"tools": (ToolDefinition(name="t", description="", parameters={}),)},
    ],
)
def test_a_change_of_any_part_is_another_request(change: dict[str, Any]) -> None:
    call = ask("q")
    assert len(list_requests([call, replace(call, **change)])) == 2
    assert len(list_requests([call, replace(call, output="other")])) == 1


def test_an_answer_with_a_call_of_a_tool_is_another_answer() -> None:
    tool = ToolCall(name="t", arguments="{}")
    calls = [ask("q"), ask("q", tool_calls=(tool,)), ask("q", tool_calls=(replace(tool, arguments="[]"),))]
    (request,) = list_requests(calls)
    assert len(request.answers) == 3


def test_of_many_requests_and_answers_the_same_ones_are_kept_in_whatever_order() -> None:
    calls = [ask(str(number)) for number in range(MAX_REQUESTS + 5)]
    kept = {request.fingerprint for request in list_requests(calls)}
    assert len(kept) == MAX_REQUESTS
    assert {request.fingerprint for request in list_requests(calls[::-1])} == kept
    answers = [ask("q", str(number)) for number in range(MAX_ANSWERS + 5)]
    lines = {
        fingerprint_calls(TestRecord(nodeid="t", calls=tuple(order))) for order in (answers, answers[::-1])
    }
    ((line,),) = lines
    assert len(line.partition(" ")[2].split(",")) == MAX_ANSWERS


def test_merged_calls_keep_the_limits_of_a_run() -> None:
    first = [f"r{number:02} a" for number in range(MAX_REQUESTS)]
    merged = merge_calls(first, ["r00 b", "s a", "a0 a"])
    assert len(merged) == MAX_REQUESTS
    assert merged[0] == "r00 a,b"
    assert merged[-1] == "a0 a"
    many = [f"r x{number:02}" for number in range(MAX_ANSWERS + 3)]
    assert merge_calls(many, []) == (
        f"r {','.join(entry.partition(' ')[2] for entry in many[:MAX_ANSWERS])}",
    )


def test_only_a_text_that_no_model_wrote_is_an_output_of_the_code() -> None:
    def make_record(actual: str | None, *calls: Call) -> TestRecord:
        detail = {} if actual is None else {"actual": actual}
        measurement = Measurement(name="a", value=1.0, detail=detail)
        return TestRecord(nodeid="t", measurements=(measurement,), calls=calls)

    assert fingerprint_outputs(make_record("yes", ask("q"))) == ""
    assert fingerprint_outputs(make_record(None, ask("q"))) == ""
    edited = fingerprint_outputs(make_record("YES", ask("q")))
    assert len(edited) == 10
    assert fingerprint_outputs(make_record("yes", ask("q", purpose="judge"))) not in ("", edited)


def test_parameters_that_are_no_json_are_one_value() -> None:
    assert split_parameters("") == {}
    assert split_parameters("not json") == {"parameters": "not json"}
    assert split_parameters('{"a": "ä", "b": null}') == {"a": '"ä"', "b": "null"}
