"""Is a judge the model under test? Under ``llm_same_model = error`` its verdicts do not count."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops import recorder
from pytest_llmops.measurement import shorten
from pytest_llmops.modelnames import same_model
from pytest_llmops.trace import read


def conflict(judge: str) -> str:
    """Return why a verdict of a judge's model cannot count, or nothing.

    Args:
        judge: The model's name, as it is asked for or as it answered.

    >>> conflict("gpt-4.1-mini")
    ''
    """
    if recorder.settings().same_model != "error":
        return ""
    own = next((one for one in _under_test() if same_model(judge, one)), None)
    if own is None:
        return ""
    return (
        f"the judge {shorten(judge, 60)} is the model under test ({shorten(own, 60)}), and a model prefers its own text "
        "(arXiv 2410.21819): name another with --llm-judge-model, or take back llm_same_model = error"
    )


def _under_test() -> Iterator[str]:
    """The models that the application asked in this test so far, by the names they answered and were asked by."""
    for exchange in recorder.exchanges():
        if exchange.purpose == "app":
            yield read(exchange).model
            if isinstance(exchange.request, dict):
                yield str(exchange.request.get("model") or "")
