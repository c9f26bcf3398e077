"""Is a judge the model under test? Under ``llm_self_judging = error`` its verdicts do not count."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pytest_llmops import recorder
from pytest_llmops._util.model_names import is_same_model
from pytest_llmops.measurement import shorten_text
from pytest_llmops.trace import read_call

FIRST_ERROR_STATUS = 400
"""The first HTTP status of an answer that is none."""


def why_self_judging(judge: str) -> str:
    """Return why a verdict of a judge's model cannot count, or nothing.

    Args:
        judge: The model's name, as it is asked for or as it answered.

    >>> why_self_judging("gpt-4.1-mini")
    ''
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    own = next((name for name in _tested_model_names() if is_same_model(judge, name)), None)
    if own is None:
        return ""
    return (
        f"the judge {shorten_text(judge, 60)} is the model under test ({shorten_text(own, 60)}), and a model prefers its own text "
        "(arXiv 2410.21819): name another with --llm-judge-model, or take back llm_self_judging = error"
    )


def why_self_judging_since(since: int, *, known_errors: Collection[str] = ()) -> str:
    """Return why a verdict cannot count by what was asked and answered for it, or nothing.

    Args:
        since: How many exchanges the test had before its judge was asked.
        known_errors: What was said of it already, and counts in the verdict no more.
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    exchanges = recorder.list_exchanges()[since:]
    reasons = (why_self_judging(name) for name in _model_names(exchanges, "judge"))
    return next((reason for reason in reasons if reason and reason not in known_errors), "")


def _tested_model_names() -> Iterator[str]:
    """The models that the application asked in this test so far, by the names they answered and were asked by."""
    return _model_names(recorder.list_exchanges(), "app")


def _model_names(exchanges: Iterable[recorder.Exchange], purpose: str) -> Iterator[str]:
    for exchange in exchanges:
        failed = exchange.status is not None and exchange.status >= FIRST_ERROR_STATUS
        if exchange.purpose == purpose and not failed:
            yield read_call(exchange).model
            if isinstance(exchange.request, dict):
                yield str(exchange.request.get("model") or "")
