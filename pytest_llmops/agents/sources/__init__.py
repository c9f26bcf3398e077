"""Read a `Trajectory` from an application's data: recorded calls, message lists, spans, or the results of agent frameworks.

Each module reads one source. Results of frameworks are recognized by the package of their class; no framework is imported.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_llmops.agents.sources.fields import get_field
from pytest_llmops.agents.trajectory import Trajectory
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import find_test_recorder
from pytest_llmops.trace import CallLog

# Top package of a class -> module here with a function `read(source) -> Trajectory | None`; None: not a source of this module
_READERS = {
    "agents": "openai_agents",
    "claude_agent_sdk": "claude_agent",
    "crewai": "crewai",
    "google": "google_adk",
    "langchain": "langchain",
    "langchain_core": "langchain",
    "langgraph": "langchain",
    "openai": "messages",
    "anthropic": "messages",
    "opentelemetry": "otel_spans",
    "pydantic_ai": "pydantic_ai",
    "strands": "strands",
}
# A mapping with one of these is a span, or an export of spans
_SPAN_KEYS = frozenset(
    (
        "resourceSpans",
        "resource_spans",
        "scopeSpans",
        "scope_spans",
        "spans",
        "resourceLogs",
        "resource_logs",
        "observations",
        "runs",
        "spanId",
        "span_id",
        "context.span_id",
    )
)
EXPECTED = (
    "the fixture llm_calls, messages or a reply of OpenAI, Anthropic, Gemini or LangChain, OpenTelemetry spans, or the result of "
    "openai-agents, LangGraph, Pydantic-AI, google-adk, claude-agent-sdk, CrewAI or Strands"
)


def read_trajectory(source: object) -> Trajectory:
    """Return the steps of an agent, read from any source.

    Args:
        source: One of: a `Trajectory`, which is returned as it is, ``llm_calls`` or a list of `Call`, the reply of ``llm.complete``, a list of messages as
            OpenAI (chat completions and Responses), Anthropic and LangChain have them, or an object or mapping with such a list as
            ``messages``, one reply of a model, finished OpenTelemetry spans with the GenAI attributes, an OTLP/JSON export of such, or
            the `Path` of one, or the result of an agent framework.

    Returns:
        The trajectory. Without steps if the source has no message. Of ``llm_calls`` it has the steps of the agent in this test: answers
        and tool calls that the first request of a dialog has are left out. Of messages and results it has all that they hold, also
        the steps of earlier runs.

    Raises:
        UsageError: The source is none of these, or a message has no role.

    >>> read_trajectory([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]).answer
    'Hello'
    """
    own = _get_own_trajectory(source)
    if own is not None:
        return own
    if isinstance(source, Call):
        source = [source]
    if isinstance(source, CallLog):
        source = list(source)
        recorded = _read_with("wire", source)
        is_asked = any(call.purpose == "app" for call in source)
        if not is_asked and find_test_recorder().model_faults:  # a fault is not a call, and uses no tokens
            return replace(recorded, is_silent=True, total_tokens=0, total_cost_usd=0.0)
        return recorded
    if isinstance(source, (list, tuple)) and not source:
        return Trajectory()
    first = _find_first(source)
    if isinstance(first, Call):
        _check_calls(source)
        return _read_with("wire", source)
    reader = _find_reader(first)
    if isinstance(source, (list, tuple)) and any(_has_converse_blocks(entry) for entry in source):
        reader = "strands"
    trajectory = _try_reader(reader, source)
    if trajectory is None:
        trajectory = _try_reader("messages", source)
    if trajectory is None:
        raise UsageError(f"expected {EXPECTED}, got {_describe(source)}")
    return trajectory


def import_readers() -> None:
    """Import the modules that read a source: within a test, which may have replaced the clock or the file system, it would be too late."""
    for name in ("wire", *dict.fromkeys(_READERS.values())):
        import_module(f"{__name__}.{name}")


def _get_own_trajectory(source: object) -> Trajectory | None:
    """Return a source that is a trajectory, or the one of a `ScriptedConversation` or a `Turn` of it; None for all others."""
    if isinstance(source, Trajectory):
        return source
    own = get_field(source, "trajectory")
    if isinstance(own, Trajectory):
        return own
    return None


def _find_first(source: object) -> object:
    """Return the part that shows of which package a source is: the first entry of a list, or of a mapping's messages; else the source."""
    entries = source
    if isinstance(source, Mapping):
        entries = source.get("messages")
    if isinstance(entries, (list, tuple)) and entries:
        return entries[0]
    return source


def find_trajectory(source: object) -> Trajectory | None:
    """Return the trajectory of a `Trajectory`, of spans or of a framework's result; None for texts, messages and calls."""
    own = _get_own_trajectory(source)
    if own is not None:
        return own
    first = _find_first(source)
    if _find_reader(first) in ("", "messages", "langchain"):
        return None
    return read_trajectory(source)


def _check_calls(source: object) -> None:
    """Raise a `UsageError` if not all of a list are calls."""
    if not isinstance(source, (list, tuple)):
        return
    for number, call in enumerate(source, start=1):
        if not isinstance(call, Call):
            raise UsageError(
                f"item {number} of the calls: expected a Call like the first item, got a {type(call).__qualname__}"
            )


def _find_reader(first: object) -> str:
    """Return the module that reads a source whose first entry this is; "" if its package has none."""
    if isinstance(first, Path) or _is_exported(first):
        return "otel_spans"
    package = type(first).__module__.partition(".")[0]
    return _READERS.get(package, "")


def _has_converse_blocks(entry: object) -> bool:
    """Return whether a message has calls or results as Bedrock's Converse has them, whose blocks have no type."""
    if not isinstance(entry, Mapping):
        return False
    blocks = entry.get("content")
    if not isinstance(blocks, (list, tuple)):
        return False
    return any(
        isinstance(block, Mapping) and ("toolUse" in block or "toolResult" in block) for block in blocks
    )


def _is_exported(entry: object) -> bool:
    """Return whether an entry is a span, or an export of spans."""
    if not isinstance(entry, Mapping):
        return False
    context = entry.get("context")  # of a span that the SDK wrote as JSON
    has_context = isinstance(context, Mapping) and "span_id" in context
    return has_context or not _SPAN_KEYS.isdisjoint(entry)


def _try_reader(name: str, source: object) -> Trajectory | None:
    if not name:
        return None
    reader: Any = import_module(f"{__name__}.{name}")
    trajectory: Trajectory | None = reader.read(source)
    return trajectory


def _read_with(name: str, source: object) -> Trajectory:
    trajectory = _try_reader(name, source)
    if trajectory is None:
        return Trajectory()
    return trajectory


def _describe(source: object) -> str:
    if source is None:
        return "None; does the function that runs the agent return its result?"
    if isinstance(source, (list, tuple)):
        return f"a {type(source).__name__} whose first item is of the type {_name_type(source[0])}"
    return f"an object of the type {_name_type(source)}"


def _name_type(value: object) -> str:
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
