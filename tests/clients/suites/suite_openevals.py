"""A suite that judges with openevals, as a user of it writes one: it knows nothing of this plugin."""

import asyncio

import pytest
from openai import OpenAI
from openevals.exact import exact_match_async
from openevals.llm import create_llm_as_judge

PROMPT = "Is it right? {inputs} {outputs}"
correct = create_llm_as_judge(
    prompt=PROMPT, model="openai:gpt-4.1", feedback_key="correctness", continuous=True
)


@pytest.mark.parametrize("days", range(20))
def test_many(days):
    messages = [{"role": "user", "content": f"I bought it {days} days ago. Can I return it?"}]
    answer = OpenAI().chat.completions.create(model="app-1", messages=messages).choices[0].message.content
    result = correct(inputs=f"{days} days", outputs=answer)
    assert result["score"] > 0.3


def test_without_a_model():
    assert asyncio.run(exact_match_async(outputs="a", reference_outputs="a"))["score"]
