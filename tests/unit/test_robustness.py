"""Whether changed inputs keep the verdict of the unchanged one."""

from __future__ import annotations

from typing import cast

import pytest
from support.messages import check_message

from pytest_llmops.baselines.robustness import add_kept_verdicts, judge_robustness
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import Outcome, TestRecord
from pytest_llmops.results.verdict import Verdict


def base(case: str, outcome: str = "passed", output: str | None = None) -> TestRecord:
    return make_test(case, 0, outcome, output, {})


def changed(
    case: str, outcome: str = "passed", output: str | None = None, *, place: int = 1, **facts: Json
) -> TestRecord:
    return make_test(case, place, outcome, output, facts)


def make_test(case: str, place: int, outcome: str, output: str | None, facts: dict[str, Json]) -> TestRecord:
    name = f"{case}-{place}" if place else case
    robust: dict[str, Json] = {
        "case": [case],
        "place": place,
        "value": "typos",
        "changes": ["a -> b", "c"],
        **facts,
    }
    kept: dict[str, Json] = {"robust": robust, "case": {"id": name, "input": f"input {name}"}}
    calls = (Call(output=output),) if output is not None else ()
    return TestRecord(
        nodeid=f"t.py::test_a[{name}]", outcome=cast("Outcome", outcome), facts=kept, calls=calls
    )


def kept_values(*records: TestRecord) -> dict[str, float | None]:
    """Return what the measurement of each changed input says, by node id."""
    return {
        record.nodeid: measurement.value
        for record in add_kept_verdicts(records)
        for measurement in record.measurements
        if measurement.name == "robust.typos"
    }


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("passed", "passed", 1.0),
        ("failed", "failed", 1.0),
        ("passed", "failed", 0.0),
        ("failed", "passed", 0.0),
        ("errored", "passed", None),
        ("passed", "errored", None),
    ],
)
def test_an_input_keeps_the_verdict_if_the_outcomes_are_equal(
    before: str, after: str, value: float | None
) -> None:
    assert kept_values(base("x", before), changed("x", after)) == {"t.py::test_a[x-1]": value}


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("The answer.", "the  ANSWER.\n", 1.0),
        ("The answer.", "Another.", 0.0),
        (None, "Another.", None),
        ("The answer.", None, None),
    ],
)
def test_with_equal_answers_also_the_answers_count(
    before: str | None, after: str | None, value: float | None
) -> None:
    pair = base("x", output=before), changed("x", output=after, equal="answer")
    assert kept_values(*pair) == {"t.py::test_a[x-1]": value}
    assert kept_values(pair[0], changed("x", output=after)) == {"t.py::test_a[x-1]": 1.0}


def test_only_changed_inputs_with_an_unchanged_one_are_measured() -> None:
    records = (
        base("x"),
        changed("x", "skipped"),
        changed("y"),
        base("z", "skipped"),
        changed("z"),
        TestRecord(nodeid="plain"),
    )
    assert kept_values(*records) == {}
    assert add_kept_verdicts(records) == records


def test_a_changed_verdict_has_both_inputs_and_answers_as_evidence() -> None:
    first = add_kept_verdicts([base("x", output="Yes."), changed("x", "failed")])
    assert add_kept_verdicts(first) == first
    (measurement,) = first[1].measurements
    assert measurement.reason == "a -> b; c"
    assert measurement.detail == {
        "evidence": [
            ["unchanged input", "input x"],
            ["unchanged answer, passed", "Yes."],
            ["changed input", "input x-1"],
            ["changed answer, failed", "(not known)"],
        ]
    }
    assert first[0].measurements == ()


def judge(kept: int, lost: int, unscored: int = 0, equal: str = "") -> Verdict:
    records = []
    for number in range(kept + lost + unscored):
        outcome = "passed"
        if number >= kept:
            outcome = "failed"
        if number >= kept + lost:
            outcome = "errored"
        case = f"c{number}"
        records += [base(case, output="A"), changed(case, outcome, output="A", equal=equal)]
    (verdict,) = judge_robustness(add_kept_verdicts(records))
    assert (verdict.kind, verdict.baseline, verdict.subject) == ("robustness", "unchanged", "input typos")
    check_message([verdict.sentence, f"{verdict.next_step}.", *verdict.advice])
    return verdict


@pytest.mark.parametrize(
    ("kept", "lost", "status", "needed"),
    [
        (72, 0, "equivalent", 0),
        (71, 0, "undecided", 1),
        (40, 0, "undecided", 32),
        (19, 1, "undecided", 0),
        (48, 2, "undecided", 1775),
        (17, 3, "undecided", 20),
        (10, 10, "worse", 0),
        (0, 1, "undecided", 1),
        (0, 2, "worse", 0),
    ],
)
def test_the_share_of_kept_verdicts_decides(kept: int, lost: int, status: str, needed: int) -> None:
    verdict = judge(kept, lost)
    (share,) = verdict.shares
    assert verdict.status == status
    assert (share.count, share.total, share.share) == (kept, kept + lost, kept / (kept + lost))
    assert share.needed == needed
    assert share.look_at == tuple(f"c{number}-1" for number in range(kept, kept + lost))


def test_at_most_five_changed_verdicts_are_listed() -> None:
    assert len(judge(10, 5).advice) == 6
    assert len(judge(10, 6).advice) == 7
    assert judge(10, 7).advice[-1].split()[1] == "2"


def test_inputs_without_a_score_are_counted() -> None:
    verdict = judge(73, 0, 2, equal="verdict")
    assert (verdict.status, verdict.shares[0].total) == ("equivalent", 73)
    nothing = judge(0, 0, 2, equal="answer")
    assert nothing.status == "error"
    assert nothing.shares[0].share is None


def test_each_transformation_of_each_test_has_a_verdict() -> None:
    records = [base("x"), changed("x"), changed("x", place=2, value="case")]
    both = judge_robustness(add_kept_verdicts(records))
    assert [verdict.subject for verdict in both] == ["input typos", "input case"]
    other = [
        TestRecord(nodeid=record.nodeid.replace("test_a", "test_b"), facts=record.facts) for record in records
    ]
    four = judge_robustness([*add_kept_verdicts(records), *add_kept_verdicts(other)])
    assert [verdict.subject for verdict in four] == [
        "input typos of t.py::test_a",
        "input case of t.py::test_a",
        "input typos of t.py::test_b",
        "input case of t.py::test_b",
    ]
