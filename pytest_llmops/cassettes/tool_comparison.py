"""Compares the live answer of a tool with the recorded one: a line for each place in which they differ."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops._util.json_values import as_mapping, as_mappings, parse_json
from pytest_llmops.cassettes.drift import Drift
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tool_questions import (
    UNASKED_METHODS,
    describe_tool_question,
    name_tool_server,
    read_tool_answer,
)
from pytest_llmops.measurement import shorten_text
from pytest_llmops.schemas.value_differences import MISSING, ValueDifference, iter_value_differences

MAX_DIFFERENCES = 20  # of one answer that are reported; the others are counted
MAX_NAME = 80
MAX_QUOTED = 120
MAX_SEARCHED = 20_000  # longest text that is searched for dates and the like
DEFINITION = "definition"
# Members of the answers to lists that are compared by name: their order is not promised
LISTS = ("tools", "prompts", "resources", "resourceTemplates")
_INITIALIZE = ("initialize", "server/discover")

# Values that differ in every run; a date without a time may be data
_VOLATILE = (
    re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE),
    re.compile(r"(?:\d{4}-\d\d-\d\d[T ]|\b)\d{1,2}:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"),
    re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?:Z|[+-]\d\d:?\d\d)?"),
    re.compile(
        r"(?:\[this-(?:temp-folder|base-temp|tmp-path)\]|(?:/private)?/(?:tmp|var/folders)|[A-Za-z]:\\[^\s\"]{0,80}\\Temp)"
        r"[/\\][^\s\"']{1,200}"
    ),
    re.compile(
        r"\b\d{1,12}(?:\.\d{1,9})? ?(?:ns|µs|us|ms|s|sec|seconds?|milliseconds?|minutes?)\b", re.IGNORECASE
    ),
)
_DURATION_NAME = re.compile(
    r"(?:^|_)(?:duration|elapsed|latency|took|uptime)(?:_|$)|_(?:ms|ns|us|seconds)$", re.IGNORECASE
)


@dataclass(slots=True)
class ToolDifferences:
    """How a live answer differs from the recorded one.

    Attributes:
        drifts: The changes, one difference each.
        volatile: Places with values that differ in every run, such as the time.
    """

    drifts: list[Drift] = field(default_factory=list)
    volatile: int = 0


def compare_tool_answers(
    question: Question, recorded: Answer | None, live: Answer, config: TapeConfig
) -> ToolDifferences:
    """Return how a live answer differs from the recorded one.

    Args:
        question: The call.
        recorded: The recorded answer, with the folders of this run; None: the server started, or went on.
        live: The answer of the tool.
        config: Masks secrets.
    """
    found = ToolDifferences()
    comparison = _Comparison(question, config, found)
    old: dict[str, Any] = {}
    if recorded is not None:
        old = read_tool_answer(recorded)
    new = read_tool_answer(Answer(live.status, {}, config.redactor.clean(live.body)))
    before = comparison.describe_end(recorded)
    now = comparison.describe_end(live)
    if recorded is not None and _ended_alike(recorded, live):
        return found
    if recorded is None or before != now:
        what = "server" if question.method in UNASKED_METHODS else "result"
        comparison.add(what, "", f"{before}{_quote_error(old)}", f"{now}{_quote_error(new)}")
        return found
    try:
        comparison.compare(old, new)
    except RecursionError:
        comparison.add("result", "", "an answer", "an answer that is nested too deeply to be compared")
    return found


def _ended_alike(recorded: Answer, live: Answer) -> bool:
    """Return whether neither call got an answer, for the same kind of reason."""
    if recorded.outcome is None or live.outcome is None:
        return False
    return recorded.outcome.kind == live.outcome.kind


@dataclass(slots=True)
class _Comparison:
    """The comparison of one call.

    Args:
        question: The call.
        config: Masks secrets.
        found: Gets the differences.
    """

    question: Question
    config: TapeConfig
    found: ToolDifferences
    _left_out: int = 0

    def add(self, what: str, place: str, recorded: str, now: str) -> None:
        """Add a difference."""
        name = describe_tool_question(self.question)
        if what in (DEFINITION, "server"):
            name = name_tool_server(self.question.url)
        self.found.drifts.append(Drift(name, what, recorded, now, place=place or "$"))

    def describe_end(self, answer: Answer | None) -> str:
        """Return how a call ended, in words: with a result, an error of the tool, an error of the server, or none of them."""
        if answer is None:
            return "a server that runs"
        if answer.outcome is not None:
            return shorten_text(answer.outcome.text or answer.outcome.error, MAX_NAME)
        content = read_tool_answer(answer)
        if "error" in content:
            return "an error"
        result = content.get("result")
        if isinstance(result, dict) and result.get("isError") is True:
            return "a result with isError"
        return "a result"

    def compare(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Compare two answers that ended alike."""
        for what in ("error", "result"):
            before, after = old.get(what, MISSING), new.get(what, MISSING)
            if isinstance(before, dict) and isinstance(after, dict) and what == "result":
                before, after = self._compare_lists(before, after)
                if _repeats_content(before) and _repeats_content(after):
                    before, after = ({**each, "content": None} for each in (before, after))
            kind = what
            if self.question.method in _INITIALIZE:
                kind = "server"
            self._add_differences(kind, "", iter_value_differences(before, after))
        if self._left_out:
            self.add("result", "", f"{self._left_out:,} more differences", "not listed")

    def _compare_lists(self, before: dict[str, Any], after: dict[str, Any]) -> tuple[Any, Any]:
        """Compare the definitions of tools and the like, by name; return both answers without them."""
        for member in LISTS:
            if not (isinstance(before.get(member), list) and isinstance(after.get(member), list)):
                continue
            old, new = _by_name(before[member]), _by_name(after[member])
            what = DEFINITION if member == "tools" else member
            for name in sorted(old.keys() | new.keys()):
                shown = shorten_text(name, MAX_NAME)
                if name not in new:
                    self.add(what, shown, "offered", "removed")
                elif name not in old:
                    self.add(what, shown, "missing", "added")
                else:
                    self._add_differences(what, f"{shown} ", iter_value_differences(old[name], new[name]))
            before = {name: value for name, value in before.items() if name != member}
            after = {name: value for name, value in after.items() if name != member}
        return before, after

    def _add_differences(self, what: str, prefix: str, differences: Iterable[ValueDifference]) -> None:
        """Add differences of values; those that come in every run are only counted."""
        for difference in differences:
            if _is_volatile(difference):
                self.found.volatile += 1
            elif len(self.found.drifts) >= MAX_DIFFERENCES:
                self._left_out += 1
            else:
                before, now = difference.words
                self.add(what, f"{prefix}{difference.path}", before, now)


def _quote_error(content: Mapping[str, Any]) -> str:
    """Return the text of an error, of a function with its class, to follow the words that a call ended with one; "" without one."""
    error = as_mapping(content.get("error"))
    parts = [str(error[name]) for name in ("type", "message") if error.get(name)]
    if not parts:
        return ""
    return f" ({shorten_text(': '.join(parts), MAX_QUOTED)})"


def _repeats_content(result: Mapping[str, Any]) -> bool:
    """Return whether ``content`` of a result repeats ``structuredContent`` as text, as the SDK's servers do."""
    structured = result.get("structuredContent")
    items = as_mappings(result.get("content"))
    texts = [item["text"] for item in items if isinstance(item.get("text"), str)]
    if not isinstance(structured, dict) or len(texts) < len(items):
        return False
    wanted: list[object] = [structured]
    if structured.keys() == {"result"}:
        wanted.append(structured["result"])
    values = [parse_json(text) for text in texts]
    said: list[object] = [values, texts]
    if len(texts) == 1:
        said += [values[0], texts[0]]
    return any(value in said for value in wanted)


def _by_name(entries: list[Any]) -> dict[str, Mapping[str, Any]]:
    """Return definitions by their names."""
    return {str(entry.get("name") or entry.get("uri")): entry for entry in as_mappings(entries)}


def _is_volatile(difference: ValueDifference) -> bool:
    """Return whether two values differ in every run: moments, ids, temporary paths and durations."""
    before, after = difference.before, difference.after
    if isinstance(before, str) and isinstance(after, str):
        return _hide_volatile(before) == _hide_volatile(after)
    numbers = [type(value) in (int, float) for value in (before, after)]
    last = difference.place[-1] if difference.place else ""
    return all(numbers) and isinstance(last, str) and bool(_DURATION_NAME.search(last[:MAX_NAME]))


def _hide_volatile(text: str) -> str:
    """Return a text with a sign in place of the parts that differ in every run."""
    if len(text) > MAX_SEARCHED:
        return text
    for pattern in _VOLATILE:
        text = pattern.sub("*", text)
    return text


def iter_sorted(drifts: Iterable[Drift]) -> Iterator[Drift]:
    """Yield differences of definitions first, as they explain the others."""
    listed = list(drifts)
    yield from (drift for drift in listed if drift.what == DEFINITION)
    yield from (drift for drift in listed if drift.what != DEFINITION)
