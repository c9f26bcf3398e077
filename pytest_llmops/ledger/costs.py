"""The cost of a rule: the additional input tokens of requests with it, and their price."""

from collections.abc import Iterator
from itertools import zip_longest

from pytest_llmops.ledger.model import TokenCost
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.results.details import TrialFacts
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.trace.costs import cost_usd

PRICED_CALLS = 1_000  # prices of few tokens are read from a larger number, as they are rounded


def count_tokens(base: Run, run: Run) -> TokenCost:
    """Return how many input tokens a rule costs in each call that has it.

    Calls are paired by test, trial and place. A pair counts if the request without the rule is the other one with parts cut out of
    it: requests that also differ by an earlier answer say nothing about the rule.

    Args:
        base: The run with the rule.
        run: The run without it.

    >>> count_tokens(Run(), Run())
    TokenCost(tokens=None, usd=None)
    """
    differences = []
    priced: Call | None = None
    for before, after in _iter_pairs(base, run):
        tokens_before, tokens_after = before.usage.input_tokens, after.usage.input_tokens
        if tokens_before is None or tokens_after is None or tokens_after > tokens_before:
            continue
        if not _is_shortened(before, after):
            continue
        differences.append(tokens_before - tokens_after)
        if before.cost_usd is not None and before.model:
            priced = before
    if not differences:
        return TokenCost()
    tokens = sum(differences) / len(differences)
    usd = None
    if priced is not None:
        usage = Usage(input_tokens=round(tokens * PRICED_CALLS), output_tokens=0)
        price = cost_usd(priced.model, usage, provider=priced.provider)
        if price is not None:
            usd = price / PRICED_CALLS
    return TokenCost(tokens=tokens, usd=usd)


def _iter_pairs(base: Run, run: Run) -> Iterator[tuple[Call, Call]]:
    """Yield the calls of the application that are in the same place of the same test.

    Tests with other numbers of calls in a trial have none. If a run has more trials, only the first ones are paired.
    """
    records_after = {record.nodeid: record for record in run.records}
    for record in base.records:
        other = records_after.get(record.nodeid, TestRecord(nodeid=record.nodeid))
        before, after = _list_app_calls(record.calls), _list_app_calls(other.calls)
        if len(before) * _count_trials(other) == len(after) * _count_trials(record):
            yield from zip(before, after, strict=False)


def _count_trials(record: TestRecord) -> int:
    return TrialFacts.from_wire(record.fact("trials")).n or 1


def _list_app_calls(calls: tuple[Call, ...]) -> list[Call]:
    return [call for call in calls if call.purpose == "app"]


def _is_shortened(before: Call, after: Call) -> bool:
    """Return whether a request is another one with parts cut out of it; not if both are equal."""
    texts_before = _list_texts(before)
    texts_after = _list_texts(after)
    if texts_before == texts_after:
        return False
    pairs = zip_longest(texts_before, texts_after, fillvalue="")
    return all(first == second or _is_cut_out(first, second) for first, second in pairs)


def _list_texts(call: Call) -> list[str]:
    """Return the texts of a request that a prompt may be in: messages, and descriptions of tools."""
    texts = [f"{message.role}: {message.content}" for message in call.messages]
    return [*texts, *(repr(tool) for tool in call.tools)]


def _is_cut_out(text: str, shorter: str) -> bool:
    """Return whether a text is the rest of another one after parts were cut out of it.

    >>> _is_cut_out("Be brief. Be kind.", "Be kind."), _is_cut_out("Be kind.", "Be mean.")
    (True, False)
    """
    place = 0
    for character in shorter:
        place = text.find(character, place) + 1
        if not place:
            return False
    return True
