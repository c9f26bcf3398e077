"""The verdict on broken cases that ran again in another session, and what is kept of the run in which they broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pytest_llmops.baselines.baseline import Acceptance, Baseline, summarize_test
from pytest_llmops.baselines.conclusion import Reference, conclude
from pytest_llmops.baselines.confirmation import judge_again
from pytest_llmops.baselines.earlier_run import EarlierRun
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.again import _describe_gate
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.broken_case import BrokenCase
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

GOOD, BAD = (1.0,) * 3, (0.0,) * 3


def make_record(name: str, scores: Sequence[float], question: str = "asked") -> TestRecord:
    value = sum(scores) / len(scores)
    measured = Measurement(name="exact", value=value, samples=tuple(scores))
    call = Call(model="m", endpoint="chat", messages=(Message("user", f"{question} {name}"),), output="a")
    facts: Mapping[str, Json] = {"recordings": [f"{name} {scores} {place}" for place in range(len(scores))]}
    return TestRecord(
        nodeid=f"t.py::test_{name}", outcome="passed", measurements=(measured,), calls=(call,), facts=facts
    )


def make_suite(**scores: Sequence[float]) -> list[TestRecord]:
    """Twenty cases that pass, but for those with given scores."""
    names = [f"case_{number:02}" for number in range(20)]
    return [make_record(name, scores.get(name, GOOD)) for name in names]


def accept(records: Sequence[TestRecord]) -> Baseline:
    tests = {record.nodeid: summarize_test(record) for record in records}
    return Baseline(tests=tests, history=(Acceptance(on="2026-11-24T09:00:00+00:00", reason="first"),))


def run_suite(baseline: Baseline, records: Sequence[TestRecord]) -> EarlierRun:
    run = Run(records=tuple(records), meta={"created": "2026-11-30T10:00:00+00:00"})
    earlier = EarlierRun.from_run(conclude(run, Reference(name="b.json", baseline=baseline)))
    assert earlier is not None
    return earlier


def judge(baseline: Baseline, earlier: EarlierRun, **scores: Sequence[float]) -> Verdict:
    records = [make_record(name, trials) for name, trials in scores.items()]
    return judge_again(baseline, records, earlier, GateRules(), name="b.json")


def test_what_failed_again_in_part_says_which_and_how_many_did_not() -> None:
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD, case_05=BAD))
    both = judge(baseline, earlier, case_03=BAD, case_05=BAD)
    assert both.status == "RED"
    assert both.sentence == (
        "2 cases broke, and failed again in this session (test_case_03, test_case_05): passed 3 of 3, fail 6 of 6"
    )
    one = judge(baseline, earlier, case_03=(0.0,) * 10, case_05=(0.0, 1.0, 0.0))
    assert (one.status, [case.name for case in one.broken]) == ("RED", ["test_case_03"])
    assert one.sentence.endswith("passed 3 of 3, fails 13 of 13; 1 did not fail again")


def test_what_chance_can_still_do_is_amber() -> None:
    """One further trial of one of two cases proves little."""
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD, case_05=BAD))
    verdict = judge(baseline, earlier, case_03=(0.0,), case_05=(1.0,))
    assert verdict.status == "AMBER"
    assert verdict.sentence == ("1 of 2 broken cases failed again (test_case_03), which chance can still do")


@pytest.mark.parametrize("breakable", [(), ("x",), ("3+3",)])
def test_what_is_stored_of_the_cases_that_could_break_never_counts_as_fewer_than_broke(
    breakable: tuple[str, ...],
) -> None:
    """An empty list made chance impossible, so that one trial more proved everything."""
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD, case_05=BAD))
    first, second = earlier.cases
    damaged = replace(earlier, cases=(replace(first, breakable=()), replace(second, breakable=breakable)))
    verdict = judge(baseline, damaged, case_03=(0.0,), case_05=(1.0,))
    assert verdict.status == "AMBER"
    assert verdict.broken_chance == pytest.approx(1 - (34 / 35) ** 2)


@pytest.mark.parametrize("case", [BrokenCase(before=GOOD), BrokenCase(after=BAD)])
def test_a_broken_case_without_scores_is_an_error_of_its_file(case: BrokenCase) -> None:
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD))
    damaged = replace(earlier, cases=(replace(earlier.cases[0], before=case.before, after=case.after),))
    verdict = judge(baseline, damaged, case_03=BAD)
    assert verdict.status == "ERROR"
    assert verdict.sentence == (
        "Not compared: test_case_03 has no scores in the earlier run, so its stored run is damaged"
    )


def test_it_never_turns_red_into_green() -> None:
    baseline = accept(make_suite())
    scores = {f"case_{number:02}": (1.0, 0.0, 0.0) for number in range(12)}
    earlier = run_suite(baseline, make_suite(case_19=BAD, **scores))
    assert earlier.status == "RED"
    verdict = judge(baseline, earlier, case_19=GOOD)
    assert verdict.status == "NONE"
    assert verdict.next_step.startswith("The verdict of the earlier run stays (RED)")


def test_a_case_without_a_score_decides_nothing() -> None:
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD))
    assert judge(baseline, earlier).status == "NONE"  # nothing ran
    verdict = judge(baseline, earlier, case_04=GOOD)
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not decided: 1 broken case has no score now (test_case_03)"


def test_a_reference_of_an_earlier_run_gives_no_other_verdict() -> None:
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD))
    run = Run(records=(make_record("case_03", BAD),))
    again = conclude(run, Reference(name="b.json", baseline=baseline, again=earlier))
    assert [verdict.kind for verdict in again.verdicts] == ["baseline"]


def test_what_is_kept_survives_storage_and_damage_is_named() -> None:
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD))
    assert EarlierRun.from_wire(earlier.to_wire()) == earlier
    assert earlier.tests[0].nodeid == "t.py::test_case_03"
    assert len(earlier.tests[0].requests) == 1
    earlier.check("state")
    wire = earlier.to_wire()
    for damage, expected in (
        ({"trials_again": 0}, "trials_again: expected 1 to 1,000 trials, got 0"),
        ({"created": ""}, "created: expected a time"),
        ({"tests": []}, "expected broken cases with their tests, got none"),
        ({"cases": [{"nodeid": "t.py::a"}]}, "expected scores before and after and what could break"),
    ):
        with pytest.raises(UsageError, match=expected):
            EarlierRun.from_wire({**wire, **damage}).check("state")


def test_a_run_that_is_decided_keeps_nothing() -> None:
    baseline = accept(make_suite())
    broken = make_suite(case_03=BAD, case_05=BAD, case_07=BAD)
    run = conclude(Run(records=tuple(broken)), Reference(name="b.json", baseline=baseline))
    assert EarlierRun.from_run(run) is None


def test_a_run_that_no_other_session_can_prove_keeps_nothing() -> None:
    wavering = {f"case_{number:02}": BAD for number in range(10, 20)}
    baseline = accept(make_suite(**wavering))
    run = conclude(Run(records=tuple(make_suite(case_03=BAD))), Reference(name="b.json", baseline=baseline))
    assert EarlierRun.from_run(run) is None
    assert _describe_gate(run).endswith("with broken cases, but another session of them proves nothing")


def test_another_first_request_is_another_case_and_a_later_one_is_not() -> None:
    baseline = accept(make_suite())
    earlier = run_suite(baseline, make_suite(case_03=BAD))
    edited = make_record("case_03", BAD, question="now asked")
    verdict = judge_again(baseline, [edited], earlier, GateRules())
    assert verdict.status == "ERROR"
    assert verdict.sentence.startswith("Not compared: t.py::test_case_03 makes another request")
    same = make_record("case_03", (0.0,) * 4)
    later = Call(model="m", endpoint="chat", messages=(Message("user", "go on: a (4)"),), output="b")
    longer = TestRecord(
        nodeid=same.nodeid, outcome="passed", measurements=same.measurements, calls=(*same.calls, later)
    )
    assert judge_again(baseline, [longer], earlier, GateRules()).status == "RED"
