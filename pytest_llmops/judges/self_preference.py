"""Refuse verdicts of a judge that is the model under test, under ``llm_self_judging = error``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pytest_llmops import recorder
from pytest_llmops._util.self_judging import find_same_model, format_self_judging_error, is_error_status
from pytest_llmops.trace import read_call


def why_self_judging(judge: str) -> str:
    """Return why a verdict of a judge model does not count, or ``""``.

    Args:
        judge: The model's name, as requested or as the server returned it.

    >>> why_self_judging("gpt-4.1-mini")
    ''
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    tested = find_same_model(judge, _model_names(recorder.list_exchanges(), "app"))
    return format_self_judging_error(judge, tested) if tested else ""


def why_self_judging_since(since: int, *, known_errors: Collection[str] = ()) -> str:
    """Return why a verdict does not count, given the models that its calls named, or ``""``.

    Args:
        since: The number of the test's exchanges before its judge was called.
        known_errors: Errors that the verdict already reports.
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    reasons = map(why_self_judging, _model_names(recorder.list_exchanges()[since:], "judge"))
    return next((reason for reason in reasons if reason and reason not in known_errors), "")


def _model_names(exchanges: Iterable[recorder.Exchange], purpose: str) -> Iterator[str]:
    for exchange in exchanges:
        if exchange.purpose == purpose and not is_error_status(exchange.status):
            yield read_call(exchange).model
            if isinstance(exchange.request, dict):
                yield str(exchange.request.get("model") or "")
