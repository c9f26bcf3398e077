"""Warn about a judge that is the same model as the one under test.

A model gives higher scores to text that it finds likely, as its own is (Wataoka, Takahashi and Ri 2024,
"Self-Preference Bias in LLM-as-a-Judge", arXiv 2410.21819).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pytest_llmops.measurement import Measurement, format_count, shorten_text
from pytest_llmops.model_names import find_same_model
from pytest_llmops.protocols import Call, is_error_status


def iter_self_judging_notes(tests: Iterable[tuple[Sequence[Call], Sequence[Measurement]]]) -> Iterator[str]:
    """Yield a warning for each model that judged its own answers, with the number of tests.

    Args:
        tests: The calls and measurements of each test.

    >>> list(iter_self_judging_notes([]))
    []
    """
    counts: Counter[tuple[str, str]] = Counter()
    for calls, measurements in tests:
        tested = _list_answering_models(calls, "app")
        for judge in dict.fromkeys(_list_answering_models(calls, "judge")):
            if find_same_model(judge, tested):
                counts[judge, _advise(measurements)] += 1
    for (judge, advice), count in counts.items():
        name = shorten_text(judge, 60)
        count_of_tests = format_count(count, "test")
        yield (
            f"the judge {name} is the model under test in {count_of_tests}: "
            f"a model prefers its own text (arXiv 2410.21819), {advice}"
        )


def _advise(measurements: Iterable[Measurement]) -> str:
    """Return how to choose another judge: our option does not reach the judges of an adopted tool."""
    tools = {}
    for measurement in measurements:
        if measurement.name.startswith("judge."):
            return "name another with --llm-judge-model"
        if "tool" in measurement.detail:
            tools[shorten_text(str(measurement.detail["tool"]), 60)] = True
    if tools:
        return f"give the metrics of {' and '.join(tools)} another model"
    return "name another with --llm-judge-model"


def _list_answering_models(calls: Iterable[Call], purpose: str) -> list[str]:
    """Return the model of each call of a purpose (``app``, ``judge``) that was answered without an error, with repetitions."""
    models = []
    for call in calls:
        if call.purpose == purpose and not is_error_status(call.status):
            models.append(call.model)
    return models
