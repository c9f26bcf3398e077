"""A suite of deepeval's, as a user of it writes one: it knows nothing of this plugin."""

import pytest
from deepeval import assert_test
from deepeval.metrics import AnswerRelevancyMetric, BaseMetric, GEval
from deepeval.test_case import LLMTestCase, SingleTurnParams
from openai import OpenAI

PARAMS = [SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT]


def answer(question):
    messages = [{"role": "user", "content": question}]
    return OpenAI().chat.completions.create(model="app-1", messages=messages).choices[0].message.content


class Length(BaseMetric):
    """A metric of the project's own, of which less is better; in the older form, whose method takes nothing but the test case."""

    threshold = 0.5

    def measure(self, test_case):
        self.score = len(test_case.actual_output) / 100
        self.reason = None
        self.success = self.is_successful()
        return self.score

    async def a_measure(self, test_case):
        return self.measure(test_case)

    def is_successful(self):
        return self.score <= self.threshold

    @property
    def __name__(self):
        return "Length"


@pytest.mark.parametrize("days", range(20))
def test_many(days):
    question = f"I bought it {days} days ago. Can I return it?"
    case = LLMTestCase(input=question, actual_output=answer(question))
    correct = GEval(
        name="Correctness", criteria="Is it right?", evaluation_params=PARAMS, threshold=0.3, model="gpt-4.1"
    )
    assert_test(case, [correct])


def test_directions():
    case = LLMTestCase(name="tent", input="Can I return it?", actual_output=answer("Can I return it?"))
    assert_test(case, [AnswerRelevancyMetric(threshold=0.5, model="gpt-4.1"), Length()])
    assert_test(case, [Length()], run_async=False)


def test_measured_by_hand():
    metric = AnswerRelevancyMetric(model="gpt-4.1")
    metric.measure(LLMTestCase(input="Can I return it?", actual_output=answer("Can I return it?")))
    assert metric.is_successful()
