"""A suite of pydantic-evals, as a user of it writes one: it knows nothing of this plugin."""

from openai import OpenAI
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Evaluator, IsInstance, LLMJudge

JUDGE = LLMJudge(
    rubric="It is right", model="openai-chat:gpt-4.1", score={"include_reason": True}, assertion=False
)


class Length(Evaluator):
    def evaluate(self, ctx):
        return {"short": len(ctx.output) < 100, "tone": "warm"}


def answer(question):
    messages = [{"role": "user", "content": question}]
    return OpenAI().chat.completions.create(model="app-1", messages=messages).choices[0].message.content


def test_many():
    cases = [
        Case(name=f"{days} days", inputs=f"I bought it {days} days ago. Can I return it?")
        for days in range(20)
    ]
    report = Dataset(
        name="returns", cases=cases, evaluators=[JUDGE, Length(), IsInstance("str")]
    ).evaluate_sync(answer, progress=False)
    assert report.averages().assertions == 1
