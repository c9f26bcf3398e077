"""Is a judge the model under test? Under ``llm_self_judging = error`` its verdicts do not count."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pytest_llmops import recorder
from pytest_llmops._util.model_names import same_model
from pytest_llmops.measurement import shorten
from pytest_llmops.trace import read

FAILED = 400
"""The first HTTP status of an answer that is none."""


def conflict(judge: str) -> str:
    """Return why a verdict of a judge's model cannot count, or nothing.

    Args:
        judge: The model's name, as it is asked for or as it answered.

    >>> conflict("gpt-4.1-mini")
    ''
    """
    if recorder.settings().self_judging != "error":
        return ""
    own = next((one for one in _under_test() if same_model(judge, one)), None)
    if own is None:
        return ""
    return (
        f"the judge {shorten(judge, 60)} is the model under test ({shorten(own, 60)}), and a model prefers its own text "
        "(arXiv 2410.21819): name another with --llm-judge-model, or take back llm_self_judging = error"
    )


def answered(since: int, *, told: Collection[str] = ()) -> str:
    """Return why a verdict cannot count by what was asked and answered for it, or nothing.

    Args:
        since: How many exchanges the test had before its judge was asked.
        told: What was said of it already, and counts in the verdict no more.
    """
    if recorder.settings().self_judging != "error":
        return ""
    asked = recorder.exchanges()[since:]
    found = (conflict(name) for name in _names(asked, "judge"))
    return next((one for one in found if one and one not in told), "")


def _under_test() -> Iterator[str]:
    """The models that the application asked in this test so far, by the names they answered and were asked by."""
    return _names(recorder.exchanges(), "app")


def _names(exchanges: Iterable[recorder.Exchange], purpose: str) -> Iterator[str]:
    for exchange in exchanges:
        failed = exchange.status is not None and exchange.status >= FAILED
        if exchange.purpose == purpose and not failed:
            yield read(exchange).model
            if isinstance(exchange.request, dict):
                yield str(exchange.request.get("model") or "")
