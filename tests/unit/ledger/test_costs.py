"""What a rule costs: the tokens that requests have more with it."""

from __future__ import annotations

import pytest
from support.ledgers import make_document

from pytest_llmops.ledger.costs import count_tokens
from pytest_llmops.ledger.model import TokenCost
from pytest_llmops.ledger.plan import describe_plan, make_plan
from pytest_llmops.protocols import Call, Message, ToolDefinition, Usage
from pytest_llmops.results.run import Run, TestRecord


def call(system: str, tokens: int | None, user: str = "May I return it?", **more: object) -> Call:
    messages = (Message("system", system), Message("user", user))
    usage = Usage(input_tokens=tokens, output_tokens=5)
    return Call(model="gpt-4o-mini", provider="openai", messages=messages, usage=usage, **more)  # type: ignore[arg-type]


def run(*calls: Call, nodeid: str = "t") -> Run:
    return Run(records=(TestRecord(nodeid=nodeid, calls=calls),))


BEFORE = call("Be brief. Be kind.", 20)
AFTER = call("Be kind.", 16)


def test_the_mean_of_the_calls_that_have_the_rule() -> None:
    base = run(BEFORE, call("Be brief. Be kind. Sign.", 30), call("Other.", 9))
    without = run(AFTER, call("Be kind. Sign.", 24), call("Other.", 9))
    assert count_tokens(base, without) == TokenCost(tokens=5.0)


def test_a_run_with_more_trials() -> None:
    def repeat(call: Call, trials: int) -> Run:
        return Run(records=(TestRecord(nodeid="t", calls=(call,) * trials, facts={"trials": {"n": trials}}),))

    assert count_tokens(repeat(BEFORE, 3), repeat(AFTER, 10)) == TokenCost(tokens=4.0)


def test_what_says_nothing_about_the_rule_does_not_count() -> None:
    judged = call("Judge it. Be brief.", 90, purpose="judge")
    chained = call("Be brief.", 50, user="Summarize: a long answer")
    base = run(BEFORE, judged, chained)
    without = run(AFTER, call("Judge it.", 1, purpose="judge"), call("", 9, user="Summarize: another"))
    assert count_tokens(base, without) == TokenCost(tokens=4.0)
    assert count_tokens(run(BEFORE), run(AFTER, AFTER)) == TokenCost()  # other numbers of calls
    assert count_tokens(run(BEFORE), run(call("Be kind.", 25))) == TokenCost()  # never less than nothing
    assert count_tokens(run(BEFORE), run(call("Be kind.", None))) == TokenCost()
    assert count_tokens(run(BEFORE), run(BEFORE)) == TokenCost()
    assert count_tokens(run(BEFORE), run(AFTER, nodeid="u")) == TokenCost()


def test_the_price_is_that_of_the_model_if_its_calls_have_one() -> None:
    pytest.importorskip("genai_prices")
    priced = run(call("Be brief. Be kind.", 20, cost_usd=0.1))
    cost = count_tokens(priced, run(call("Be kind.", 16, cost_usd=0.1)))
    assert cost.tokens == 4.0
    assert cost.usd == pytest.approx(4 * 0.15e-6)
    local = run(call("Be brief. Be kind.", 20))
    assert count_tokens(local, run(AFTER)).usd is None


def test_a_description_of_a_tool_is_part_of_the_request() -> None:
    tools = [
        (ToolDefinition(name="find", description=text),)
        for text in ("Finds orders. Never guess.", "Finds orders.")
    ]
    base = run(call("Hi", 40, tools=tools[0]))
    assert count_tokens(base, run(call("Hi", 37, tools=tools[1]))).tokens == 3.0
    assert count_tokens(base, run(call("Hi", 37, tools=()))).tokens == 3.0


def test_the_plan_states_the_calls_and_what_they_may_cost() -> None:
    base = run(
        *[call("Be brief.", 20, cost_usd=0.01)] * 3, call("Judge it.", 90, purpose="judge", cost_usd=0.02)
    )
    plan = make_plan(make_document(), [1, 2, 3], base, trials=3, is_recorded=True, is_batched=False)
    assert (plan.tests, plan.app_calls, plan.judge_calls, plan.tokens) == (1, 3, 1, 170)
    assert (plan.runs, plan.most_calls) == (4, 16)
    assert plan.most_usd == pytest.approx(0.2)
    joint = make_plan(
        make_document(), [1, 2, 3], base, trials=3, joint_trials=9, is_recorded=True, is_batched=False
    )
    assert (joint.runs, joint.most_calls) == (6, 24)
    assert "9 times each test" in describe_plan(joint)[-1]
    batched = make_plan(make_document(), [1, 2, 3], base, trials=3, is_recorded=True, is_batched=True)
    assert batched.most_usd == pytest.approx(0.1)
    assert describe_plan(plan) == [
        "support/answer v2: 3 rules to leave out, one at a time; 1 more rule kept",
        "  with the whole file: 1 test with 3 trials each, all recorded",
        "  without a rule: at most 3 calls of the application and 1 of judges, 170 tokens, less the answers that are recorded already",
        "  in all at most 16 calls ($0.20, or half of it with -- --llm-record=batch), the last run with all rules that can go left out together",
    ]


def test_a_plan_without_recordings_or_prices_says_so() -> None:
    missing = TestRecord(nodeid="t", outcome="errored", raised=("CassetteMiss",))
    plan = make_plan(
        make_document(), [1], Run(records=(missing,)), trials=3, is_recorded=False, is_batched=False
    )
    assert (plan.runs, plan.app_calls, plan.most_calls, plan.most_usd) == (2, 3, 6, None)
    assert "about 6 calls" in describe_plan(plan)[-1]
    local = make_plan(make_document(), [1], run(BEFORE), trials=1, is_recorded=True, is_batched=False)
    assert "gpt-4o-mini" in describe_plan(local)[-1]
