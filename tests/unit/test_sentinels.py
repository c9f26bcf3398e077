"""What moved the scores, as sentinels tell: the model or judge, the change, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.messages import check_message
from support.suites import make_record

from pytest_llmops.baselines.baseline import Baseline, summarize_test
from pytest_llmops.baselines.sentinels import has_sentinels, judge_sentinels
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

GOOD, BAD = (1.0,) * 8, (0.0,) * 8
CASES = 30


def mark(record: TestRecord, *, verified: int = 1, drifted: int = 0) -> TestRecord:
    """Return a test as a sentinel."""
    cassette = {"verified": verified, "drifted": drifted}
    facts = {**record.facts, "sentinel": True, "cassette": cassette}
    return TestRecord(nodeid=record.nodeid, measurements=record.measurements, facts=facts)


def suite(scores: Sequence[float] | None, kind: str) -> list[TestRecord]:
    if scores is None:
        return []
    return [make_record(f"{kind} {number}", {"text.contains": scores}) for number in range(CASES)]


def judge(before: Sequence[TestRecord], after: Sequence[TestRecord]) -> Verdict:
    baseline = Baseline(tests={record.nodeid: summarize_test(record) for record in before})
    verdict = judge_sentinels(baseline, after)
    assert verdict.kind == "sentinel"
    check_message([verdict.sentence, f"{verdict.next_step} {verdict.next_command}"])
    return verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sentinels", "others", "status"),
    [
        ((GOOD, GOOD), None, "same"),
        ((GOOD, GOOD), (GOOD, GOOD), "same"),
        ((GOOD, GOOD), (GOOD, BAD), "changed"),
        ((GOOD, GOOD), (BAD, GOOD), "changed"),
        ((GOOD, BAD), (GOOD, GOOD), "moved"),
        ((BAD, GOOD), (GOOD, BAD), "moved"),
        ((GOOD, BAD), None, "moved"),
    ],
)
def test_what_moved_the_scores(
    sentinels: tuple[Sequence[float], Sequence[float]],
    others: tuple[Sequence[float], Sequence[float]] | None,
    status: str,
) -> None:
    before, after = zip(sentinels, others or (None, None), strict=True)
    first = [*map(mark, suite(before[0], "s")), *suite(before[1], "o")]
    second = [*map(mark, suite(after[0], "s")), *suite(after[1], "o")]
    assert judge(first, second).status == status


def test_too_few_trials_leave_it_unknown() -> None:
    few = [mark(make_record("s", {"m": (1.0,)}))]
    changed = [mark(make_record("s", {"m": (0.0,)}))]
    assert judge(few, changed).status == "unknown"
    many = [*map(mark, suite(GOOD, "s"))]
    assert judge(
        [*many, make_record("o", {"m": (1.0,)})], [*many, make_record("o", {"m": (0.0,)})]
    ).status == ("unknown")


def test_a_sentinel_with_other_requests_is_named() -> None:
    records = [*map(mark, suite(GOOD, "s"))]
    edited = [*records[1:], mark(records[0], verified=0)]
    verdict = judge(records, edited)
    assert verdict.status == "unknown"
    assert verdict.sentence.endswith(records[0].nodeid)
    assert "s 1]" not in verdict.sentence


def test_tests_without_a_metric_count_their_passed_trials() -> None:
    def ran(passed: int) -> list[TestRecord]:
        facts = {"trials": {"n": 8, "passed": passed, "failed": 8 - passed}}
        return [mark(TestRecord(nodeid=f"t{number}", facts=facts)) for number in range(CASES)]

    assert judge(ran(8), ran(8)).status == "same"
    assert judge(ran(8), ran(0)).status == "moved"


def test_passed_trials_do_not_count_if_there_is_a_metric() -> None:
    def ran(passed: int) -> list[TestRecord]:
        facts = {"trials": {"n": 8, "passed": passed, "failed": 8 - passed}}
        return [mark(make_record(f"t{number}", {"m": GOOD}, facts=facts)) for number in range(CASES)]

    verdict = judge(ran(8), ran(0))
    assert verdict.status == "same"


@pytest.mark.parametrize("has_baseline", [False, True])
@pytest.mark.parametrize(("verified", "drifted", "numbers"), [(0, 0, []), (2, 0, ["4"]), (2, 1, ["2", "4"])])
def test_without_scores_the_recorded_answers_are_counted(
    has_baseline: bool, verified: int, drifted: int, numbers: list[str]
) -> None:
    records = [mark(TestRecord(nodeid=nodeid), verified=verified, drifted=drifted) for nodeid in ("t1", "t2")]
    noise = TestRecord(nodeid="other", facts={"cassette": {"verified": 7, "drifted": 7}})
    before = [make_record("x", {"m": GOOD})] if has_baseline else []
    verdict = judge(before, [*records, noise])
    assert verdict.status == "unknown"
    assert [word for word in verdict.sentence.split() if word.isdecimal()] == numbers
    assert verdict.next_command.startswith("pytest ")
    assert ("--llm-record=new" in verdict.next_command) is not bool(verified)


def test_one_sentinel_is_enough() -> None:
    plain = TestRecord(nodeid="t")
    assert has_sentinels([plain, mark(plain)]) is True
    assert has_sentinels([plain]) is False
