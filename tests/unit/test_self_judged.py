from __future__ import annotations

from dataclasses import replace

import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops import recorder as softly
from pytest_llmops.judges.evaluate import judge_answer, resolve_judge, why_self_judging
from pytest_llmops.judges.panel import Panel
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Verdict
from pytest_llmops.recorder import Exchange, Recorder
from pytest_llmops.results.run import TestRecord, iter_run_self_judging_notes
from pytest_llmops.settings import SelfJudging, Settings


def record(*calls: tuple[str, str], status: int | None = 200) -> TestRecord:
    made = (Call(model=model, purpose=purpose, status=status) for purpose, model in calls)
    return TestRecord(nodeid="t", calls=tuple(made))


OWN = record(("app", "gpt-4o"), ("judge", "gpt-4o-2024-08-06"), ("judge", "gpt-4o-2024-08-06"))


def test_one_sentence_for_each_judge_with_its_tests() -> None:
    other = record(("app", "small"), ("app", "a"), ("judge", "small"))
    result = list(iter_run_self_judging_notes((OWN, other, OWN), {"settings": {"self_judging": "warn"}}))
    check_message(result)
    assert all(len(first) < 200 for first in result)


def test_the_judge_of_an_adopted_tool_is_chosen_in_the_tool() -> None:
    score = Measurement(name="deepeval.fact", value=1, detail={"tool": "deepeval"})
    (adopted,) = iter_run_self_judging_notes((replace(OWN, measurements=(score,)),), {})
    assert adopted.endswith("give the metrics of deepeval another model")
    both = replace(OWN, measurements=(score, Measurement(name="judge.quality", value=1)))
    (own,) = iter_run_self_judging_notes((both,), {})
    assert own.endswith("name another with --llm-judge-model")


@pytest.mark.parametrize(
    "fine",
    [
        record(("app", "gpt-4o"), ("judge", "gpt-4o-mini")),
        record(("judge", "gpt-4o")),
        record(("app", "gpt-4o"), ("embedder", "gpt-4o")),
        record(("app", "gpt-4o"), ("judge", "gpt-4o"), status=429),
        record(("app", ""), ("judge", "")),
    ],
)
def test_nothing_of_other_models_of_judges_alone_and_of_calls_that_failed(fine: TestRecord) -> None:
    assert list(iter_run_self_judging_notes((fine,), {})) == []


@pytest.mark.parametrize(
    ("meta", "count"),
    [({}, 1), ({"settings": "odd"}, 1), ({"settings": {"self_judging": "error"}}, 1), ({"settings": {"self_judging": "allow"}}, 0)],
)  # fmt: skip
def test_a_run_may_allow_it(meta: dict[str, Json], count: int) -> None:
    assert len(list(iter_run_self_judging_notes((OWN,), meta))) == count


def exchange(request: object, answered: str, purpose: str = "app", status: int | None = 200) -> Exchange:
    return Exchange(
        method="POST", url="https://api.openai.com/v1/chat/completions", request=request, status=status,
        content_type="application/json", body=f'{{"model": "{answered}", "choices": []}}'.encode(),
        latency_s=None, ttft_s=None, replayed=False, purpose=purpose,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "name", "exchanges", "refused"),
    [
        ("error", "gpt-4o", [exchange({"model": "my-deployment"}, "gpt-4o-2024-08-06")], True),
        ("error", "my-deployment", [exchange({"model": "my-deployment"}, "gpt-4o-2024-08-06")], True),
        ("error", "gpt-4o", [exchange("no object", "gpt-4o")], True),
        ("error", "gpt-4o", [exchange({"model": "gpt-4o"}, "gpt-4o", "judge")], False),
        ("error", "gpt-4o", [exchange({"model": "small"}, "small")], False),
        (
            "error",
            "gpt-4o",
            [exchange({"model": "gpt-4o"}, "", status=404), exchange({"model": "small"}, "small")],
            False,
        ),
        ("error", "gpt-4o", [exchange({"model": "gpt-4o"}, "gpt-4o", status=None)], True),
        ("error", "gpt-4o", [], False),
        ("warn", "gpt-4o", [exchange({"model": "gpt-4o"}, "gpt-4o")], False),
        ("allow", "gpt-4o", [exchange({"model": "gpt-4o"}, "gpt-4o")], False),
    ],
)
def test_a_conflict_is_with_what_the_application_asked_in_this_test(
    mode: SelfJudging, name: str, exchanges: list[Exchange], refused: bool
) -> None:
    running = Recorder(settings=Settings(self_judging=mode), exchanges=exchanges)
    recorder.push_recorder(running)
    try:
        with softly.soft():
            result = why_self_judging(name)
    finally:
        recorder.pop_recorder(running)
    assert bool(result) is refused
    if refused:
        check_message(result)


class Own:
    """A judge of a user's, which asks by whatever SDK: only its calls tell which model it was."""

    version = "1"

    def __init__(self, *calls: Exchange) -> None:
        self.calls = calls

    def judge(self, answer: str, **_: str) -> Verdict:
        for call in self.calls:
            recorder.record_exchange(call)
        return Verdict(score=9, reason=answer, raw="Score: 9")


class Refused(Own):
    """One that looks at what answered itself, as the built-in judges do."""

    version = "2"

    def judge(self, answer: str, **_: str) -> Verdict:
        super().judge(answer)
        return Verdict(error=why_self_judging("gpt-4o-2024-08-06"))


class Third(Own):
    version = "3"


@pytest.mark.parametrize(
    ("judges", "score"),
    [
        ((Refused, Third, Own), 9),
        ((Refused, Third), None),
    ],
)
def test_a_panel_goes_on_without_the_vote_of_the_model_under_test(
    judges: tuple[type[Own], ...], score: float | None
) -> None:
    running = Recorder(
        settings=Settings(self_judging="error"), exchanges=[exchange({"model": "gpt-4o"}, "gpt-4o")]
    )
    other = exchange({"model": "x"}, "x", "judge")
    panel = Panel([first(ASKED_BY_ALIAS if first is Refused else other) for first in judges])
    recorder.push_recorder(running)
    try:
        answer = judge_answer(resolve_judge(panel, "t"), "Paris", "", "")
    finally:
        recorder.pop_recorder(running)
    assert answer.score == score
    check_message(answer.reason + answer.error)


ASKED_BY_ALIAS = exchange({"model": "my-judge"}, "gpt-4o-2024-08-06", "judge")


@pytest.mark.parametrize(
    ("mode", "calls", "refused"),
    [
        ("error", [ASKED_BY_ALIAS], True),
        ("error", [exchange({"model": "gpt-4o"}, "", "judge")], True),
        ("error", [exchange({"model": "gpt-4o"}, "gpt-4o", "judge", 429), exchange({"model": "x"}, "x", "judge")], False),
        ("error", [exchange({"model": "x"}, "x", "judge")], False),
        ("error", [exchange({"model": "gpt-4o"}, "gpt-4o", "embedder")], False),
        ("warn", [ASKED_BY_ALIAS], False),
    ],
)  # fmt: skip
def test_a_verdict_of_any_judge_does_not_count_if_the_model_under_test_gave_it(
    mode: SelfJudging, calls: list[Exchange], refused: bool
) -> None:
    before = [exchange({"model": "gpt-4o"}, "gpt-4o"), exchange({"model": "gpt-4o"}, "gpt-4o", "judge")]
    running = Recorder(settings=Settings(self_judging=mode), exchanges=before)
    recorder.push_recorder(running)
    try:
        answer = judge_answer(resolve_judge(Own(*calls), "t"), "Paris", "", "")
    finally:
        recorder.pop_recorder(running)
    assert (answer.score, bool(answer.error)) == ((None, True) if refused else (9, False))
    if refused:
        check_message(answer.error)
        assert answer.raw == "Score: 9"
