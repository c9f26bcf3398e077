"""Did a model judge its own answers? Judges give higher scores to text that they find likely, as their own is.

Wataoka, Takahashi and Ri 2024, "Self-Preference Bias in LLM-as-a-Judge", arXiv 2410.21819.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmops.measurement import Json, shorten
from pytest_llmops.modelnames import same_model
from pytest_llmops.protocols import Call
from pytest_llmops.runs import TestRecord
from pytest_llmops.traffic import counted

FAILED = 400
"""The first HTTP status of an answer that is none."""


def self_judged(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield one sentence for each judge's model that was the model under test, by what answered in the same test.

    Nothing where the run's ``llm_same_model`` allows it.

    >>> list(self_judged((), {}))
    []
    """
    settings = meta.get("settings")
    if isinstance(settings, Mapping) and settings.get("same_model") == "allow":
        return
    tests: dict[str, int] = {}
    for record in records:
        for judge in dict.fromkeys(_answering(record.calls, "judge")):
            if any(same_model(judge, model) for model in _answering(record.calls, "app")):
                tests[judge] = tests.get(judge, 0) + 1
    for judge, number in tests.items():
        yield (
            f"the judge {shorten(judge, 60)} is the model under test in {counted(number, 'test')}: "
            "a model prefers its own text (arXiv 2410.21819), name another with --llm-judge-model"
        )


def _answering(calls: Sequence[Call], purpose: str) -> Iterator[str]:
    for call in calls:
        if call.purpose == purpose and (call.status is None or call.status < FAILED):
            yield call.model
