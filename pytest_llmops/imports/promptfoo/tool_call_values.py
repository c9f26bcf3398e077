"""The values of promptfoo's assertions about tool calls."""

from collections.abc import Callable, Mapping, Sequence

from pytest_llmops.imports.literals import quote
from pytest_llmops.imports.promptfoo.line_values import LineValue, read_threshold
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.imports.suite import SuiteAssertion
from pytest_llmops.measurement import Json


def _list_names(value: Json) -> list[str]:
    """Return names of tools; a text may list several, with commas."""
    if isinstance(value, str):
        names = [part.strip() for part in value.split(",")]
    elif isinstance(value, Sequence):
        names = [item.strip() if isinstance(item, str) else _read_tool_name(item) for item in value]
    else:
        names = [_read_tool_name(value)]
    names = [name for name in names if name]
    if not names:
        raise NoEquivalent("it names no tool")
    return names


def _read_tool_name(value: Json) -> str:
    """Return the name of a tool in a mapping that has nothing else but how often it may be called at least."""
    if not isinstance(value, Mapping):
        raise NoEquivalent("it names no tool")
    name = value.get("name") or value.get("pattern")
    others = set(value) - {"name", "pattern", "min"}
    if not isinstance(name, str) or others or value.get("min", 1) != 1:
        raise NoEquivalent(
            "how often a tool may be called: expect the calls with assert_tool_calls (`llmops docs agents`)"
        )
    return name


def _read_tool_set(assertion: SuiteAssertion) -> LineValue:
    if read_threshold(assertion, 1) < 1:
        raise NoEquivalent(
            "a threshold below 1: tools.recall and tools.precision are recorded by assert_tool_calls, and compared by the gate"
        )
    return LineValue(value=list(dict.fromkeys(_list_names(assertion.value))))


def _read_used_tools(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if isinstance(value, str):
        value = [value]
    return LineValue(value=list(dict.fromkeys(_list_names(value))))


def _read_tool_sequence(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    extra = ', extra="allow"'
    if isinstance(value, Mapping):
        if value.get("mode") == "exact":
            extra = ""
        value = value.get("steps")
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise NoEquivalent("promptfoo refuses the value: a list of tools is needed")
    return LineValue(value=_list_names(value), parts={"extra": extra})


def _read_tool_arguments(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if not isinstance(value, Mapping):
        raise NoEquivalent("promptfoo refuses the value: a mapping is needed")
    name = value.get("name") or value.get("pattern")
    arguments = value.get("args", value.get("arguments"))
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise NoEquivalent("promptfoo refuses the value: the name of a tool and its arguments are needed")
    if set(value) - {"name", "pattern", "args", "arguments", "mode"}:
        raise NoEquivalent(
            "arguments with defaults, or that are ignored: expect the call with call(...) (`llmops docs agents`)"
        )
    others = "..., "
    if value.get("mode") == "exact":
        others = ""
    return LineValue(value=dict(arguments), parts={"tool": quote(name), "others": others})


def _read_goal(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if isinstance(value, Mapping):
        value = value.get("goal")
    if not isinstance(value, str) or not value.strip():
        raise NoEquivalent("promptfoo refuses the value: a goal is needed")
    return LineValue(value=value)


CONVERTERS: Mapping[str, Callable[[SuiteAssertion], LineValue]] = {
    "goal": _read_goal,
    "tool_arguments": _read_tool_arguments,
    "tool_sequence": _read_tool_sequence,
    "tool_set": _read_tool_set,
    "used_tools": _read_used_tools,
}
