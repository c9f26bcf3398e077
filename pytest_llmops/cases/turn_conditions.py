"""Conditions on the last turn of a conversation: the answer of the agent, and the tools that it called."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pytest_llmops._util.timed_search import matches_in_time
from pytest_llmops.agents.conversations import Turn
from pytest_llmops.cases.turns import Condition
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics.lexical import normalize_text

TOOLS_NOT_KNOWN = (
    "the tools that the agent called are not known: let the agent function return the framework's result or the list of messages, "
    "or call the model where calls are recorded"
)


def check_condition(condition: Condition, turn: Turn, place: str) -> bool:
    """Return whether all parts of a condition hold for a turn.

    Raises:
        UsageError: It is about tools, and the agent's calls are not known; or a pattern is too slow.
    """
    if (condition.called or condition.not_called) and not turn.knows_tools:
        raise UsageError(f"converse: {place}: {TOOLS_NOT_KNOWN}")
    reply = _normalize(turn.reply)
    names = [tool_call.name for tool_call in turn.tool_calls]
    return (
        all(_normalize(text) in reply for text in condition.contains)
        and not any(_normalize(text) in reply for text in condition.not_contains)
        and all(search_reply(pattern, turn.reply, place) for pattern in condition.matches)
        and not any(search_reply(pattern, turn.reply, place) for pattern in condition.not_matches)
        and all(_is_called(tool, names) for tool in condition.called)
        and not any(_is_called(tool, names) for tool in condition.not_called)
    )


def _normalize(text: str) -> str:
    return normalize_text(text, case="fold", whitespace="collapse")


def _is_called(tool: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, tool) for name in names)


def search_reply(pattern: str, reply: str, place: str) -> bool:
    """Return whether a pattern matches somewhere in a reply.

    Raises:
        UsageError: The search needs longer than a second.
    """
    try:
        return matches_in_time(re.compile(pattern), reply)
    except TimeoutError as error:
        raise UsageError(f"converse: {place}: {error}") from None
