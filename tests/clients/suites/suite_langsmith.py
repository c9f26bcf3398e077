"""A suite of LangSmith's, as a user of it writes one: it knows nothing of this plugin."""

import pytest
from langsmith import expect
from langsmith import testing as t
from langsmith.testing import log_feedback
from openai import OpenAI


def ask(model, text):
    messages = [{"role": "user", "content": text}]
    return OpenAI().chat.completions.create(model=model, messages=messages).choices[0].message.content


@pytest.mark.langsmith
@pytest.mark.parametrize("days", range(20))
def test_many(days):
    question = f"I bought it {days} days ago. Can I return it?"
    t.log_inputs({"question": question})
    answer = ask("app-1", question)
    t.log_outputs({"answer": answer})
    with t.trace_feedback():
        log_feedback(
            key="correctness",
            score=float(ask("gpt-4.1", f"Grade from 0 to 1: {answer} {days}")),
            comment="graded",
        )


@pytest.mark.langsmith(output_keys=["expected"])
@pytest.mark.parametrize("expected", ["30 days"])
def test_other_forms(expected):
    answer = ask("app-1", "For how many days can I return it?")
    t.log_reference_outputs({"expected": expected})
    t.log_feedback([{"key": "polite", "score": True}, {"key": "tone", "value": "warm"}], key=None)
    expect.edit_distance(prediction=answer, reference=answer).to_be_less_than(0.5)
    expect.score(0.8, key="similarity", comment="by hand").to_be_greater_than(0.7)
