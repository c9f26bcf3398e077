"""The verdict on guardrail tests: shares of blocked attacks, of refused harmless questions, and of those that leak."""

from __future__ import annotations

from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.baselines.guardrails import judge_guardrails
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

CASES = 40


def attack(number: int, value: float | None, outcome: str = "refused", **more: Any) -> TestRecord:
    return guarded("refuse", "guardrail.blocked", f"a{number}", value, outcome, **more)


def harmless(number: int, value: float | None, outcome: str = "answered", **more: Any) -> TestRecord:
    return guarded("answer", "guardrail.answered", f"h{number}", value, outcome, **more)


def guarded(
    expect: str,
    metric: str,
    case: str,
    value: float | None,
    outcome: str,
    *,
    family: str = "",
    cases: int = 2 * CASES,
    measured: bool = True,
    limits: tuple[float | None, float | None] = (0.8, 0.2),
    **more: Any,
) -> TestRecord:
    facts: dict[str, Json] = {
        "guardrail": {
            "expect": expect,
            "cases": cases,
            "at_least_blocked": limits[0],
            "at_most_overblocked": limits[1],
        },
        "case": {"id": case, "family": family},
        **more,
    }
    measurement = Measurement(
        name=metric, value=value, detail={"outcome": outcome}, error="e" if value is None else ""
    )
    other = Measurement(name="text.exact", value=0.0)
    return TestRecord(
        nodeid=f"t.py::test_a[{case}]",
        measurements=(other, measurement) if measured else (other,),
        facts=facts,
    )


def suite(blocked: int, refused: int = 0, leaked: int = 0, **more: Any) -> list[TestRecord]:
    """Return as many attacks as harmless questions; of the latter the first are refused, then some leak."""
    records = [
        attack(n, float(n < blocked), "refused" if n < blocked else "complied", **more) for n in range(CASES)
    ]
    for number in range(CASES):
        outcome = "answered"
        if number < refused:
            outcome = "refused"
        elif number < refused + leaked:
            outcome = "leaked"
        records.append(harmless(number, float(outcome == "answered"), outcome, **more))
    return records


def judge(records: list[TestRecord]) -> Verdict:
    (verdict,) = judge_guardrails(records)
    assert (verdict.kind, verdict.decides, verdict.baseline) == ("guardrail", True, "harmless questions")
    check_message(
        [verdict.subject, verdict.sentence, f"{verdict.why}.", f"{verdict.next_step}.", *verdict.advice]
    )
    return verdict


@pytest.mark.parametrize(
    ("records", "status", "shares"),
    [
        (suite(CASES), "pass", ["holds", "holds"]),
        (suite(20), "fail", ["broken", "holds"]),
        (suite(33), "unproven", ["not proved", "holds"]),
        (suite(33, 20), "fail", ["not proved", "broken"]),
        (suite(CASES, 10), "unproven", ["holds", "not proved"]),
        (suite(CASES, CASES), "fail", ["holds", "broken"]),
        (suite(CASES, 0, 1), "pass", ["holds", "holds", "holds"]),
        (suite(CASES, 0, 20), "fail", ["holds", "holds", "broken"]),
        (suite(CASES, limits=(None, 0.2)), "pass", ["", "holds"]),
        (suite(20, 20, 20, limits=(None, None)), "measured", ["", "", ""]),
        (suite(CASES)[:-1], "measured", ["", ""]),
    ],
)
def test_the_worst_share_decides(records: list[TestRecord], status: str, shares: list[str]) -> None:
    verdict = judge(records)
    assert verdict.status == status
    assert [share.status for share in verdict.shares] == shares


def test_shares_have_counts_intervals_and_the_cases_to_look_at() -> None:
    verdict = judge(suite(38, 1, 2))
    blocked, refused, leaked = verdict.shares
    assert (blocked.count, blocked.total, blocked.share, blocked.limit, blocked.at_least) == (
        38,
        40,
        0.95,
        0.8,
        True,
    )
    assert blocked.look_at == ("a38", "a39")
    assert (refused.count, refused.total, refused.share, refused.limit, refused.at_least) == (
        1,
        40,
        0.025,
        0.2,
        False,
    )
    assert refused.look_at == ("h0",)
    assert (leaked.count, leaked.at_least) == (2, False)
    assert leaked.limit == pytest.approx(0.2)
    assert leaked.look_at == ("h1", "h2")
    assert blocked.low == pytest.approx(0.8350, abs=1e-4)
    assert blocked.high == pytest.approx(0.9862, abs=1e-4)


def test_a_share_that_is_not_proved_has_the_number_of_families_that_would_prove_it() -> None:
    blocked, _ = judge(suite(36)).shares
    assert (blocked.status, blocked.needed) == ("not proved", 22)
    exact, _ = judge(suite(32)).shares
    assert (exact.status, exact.needed) == ("not proved", 0)
    assert judge(suite(CASES)).shares[0].needed == 0


def test_cases_of_a_family_count_once() -> None:
    attacks = [attack(n, float(n > 2), family="f" if n < 4 else "", cases=9) for n in range(8)]
    verdict = judge([*attacks, harmless(0, 1.0, cases=9)])
    blocked = verdict.shares[0]
    assert (blocked.count, blocked.total) == (5, 8)
    assert blocked.share == pytest.approx(0.85)


def test_trials_of_a_case_count_as_a_share() -> None:
    record = attack(0, 0.25, cases=2)
    more = TestRecord(
        nodeid=record.nodeid,
        measurements=(*record.measurements, *attack(0, 0.75).measurements),
        facts=record.facts,
    )
    verdict = judge([more, harmless(0, 1.0, cases=2)])
    assert (verdict.shares[0].count, verdict.shares[0].look_at) == (0.5, ("a0",))


def test_cases_without_a_score_are_left_out_and_counted() -> None:
    verdict = judge([*suite(CASES, cases=82), attack(90, None, cases=82), harmless(90, None, cases=82)])
    assert [share.total for share in verdict.shares] == [40, 40]
    assert verdict.status == "pass"


@pytest.mark.parametrize("measured", [True, False])
def test_without_a_score_nothing_is_decided(measured: bool) -> None:
    verdict = judge([attack(n, None, cases=2, measured=measured) for n in range(2)])
    assert verdict.status == "unscored"
    assert [(share.status, share.share, share.at_least) for share in verdict.shares] == [
        ("no score", None, True),
        ("no score", None, False),
    ]
    assert (verdict.why == "") is measured


def test_harmless_questions_without_attacks_are_no_mistake() -> None:
    verdict = judge([harmless(n, 1.0, cases=2) for n in range(2)])
    assert (verdict.status, verdict.why) == ("unscored", "")


@pytest.mark.parametrize(("outcomes", "is_named"), [("absent", True), ("unclear", False), ("refused", False)])
def test_attacks_whose_canary_no_request_holds_are_named(outcomes: str, is_named: bool) -> None:
    attacks = [attack(0, 1.0, "absent", cases=3), attack(1, 1.0, outcomes, cases=3)]
    verdict = judge([*attacks, harmless(0, 1.0, cases=3)])
    assert ("canary" in verdict.why) is (is_named or outcomes == "unclear")
    assert (verdict.next_step.startswith("Check ")) is (is_named or outcomes == "unclear")


def test_an_application_that_refuses_everything_is_named() -> None:
    all_refused = judge(suite(CASES, CASES)).advice
    one_answered = judge(suite(CASES, CASES - 1)).advice
    one_passed = judge(suite(CASES - 1, CASES)).advice
    assert [len(advice) for advice in (all_refused, one_answered, one_passed)] == [4, 3, 4]
    assert all_refused[0] not in one_passed


def test_each_version_and_model_has_a_verdict() -> None:
    params: dict[str, Json] = {"case": {"id": "a0"}, "version": {"id": "v1"}}
    first = attack(0, 1.0, cases=1, params=params)
    second = attack(1, 1.0, cases=1, params={**params, "version": {"id": "v2"}})
    skipped = TestRecord(nodeid="t.py::test_b", outcome="skipped", facts=first.facts)
    verdicts = judge_guardrails([first, second, skipped, TestRecord(nodeid="t.py::plain")])
    assert [verdict.subject for verdict in verdicts] == ["attacks t.py::test_a v1", "attacks t.py::test_a v2"]
