"""Parts of messages and spans that are rare or damaged, and replies that come again in a later request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.agents import call_differences, dialogs
from pytest_llmops.agents.expected_calls import call
from pytest_llmops.agents.sources import agent_spans, messages
from pytest_llmops.agents.tool_definitions import describe_unknown_tool
from pytest_llmops.agents.trajectory import ToolUse
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import ToolCall


class Model:
    """A model of pydantic, or something like it."""

    def __init__(self, dumped: Any = None) -> None:
        self.dumped = dumped

    def model_dump(self, *, mode: str, exclude_none: bool) -> Any:
        assert (mode, exclude_none) == ("json", True)
        if isinstance(self.dumped, Exception):
            raise self.dumped
        return self.dumped


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


def test_objects_of_an_sdk_are_read_as_mappings() -> None:
    assert messages._make_plain(Model({"a": 1})) == {"a": 1}
    assert messages._make_plain(Model(ValueError("no"))) == "Model"
    assert messages._make_plain(Model) is Model
    assert messages._make_plain("a") == "a"
    loop: dict[str, Any] = {"type": "odd"}
    loop["self"] = loop
    assert messages._format_part(loop) == "[odd]"
    del loop["type"]
    assert messages._format_part(loop) == "[part]"
    assert messages._format_part({"refusal": "no"}) == "no"


def test_an_entry_without_a_role_is_described() -> None:
    assert messages._describe({"a": 1}, "") == "{'a': 1}"
    assert messages._describe(None, "") == "None"
    assert messages._describe({"a": 1}, "odd" * 20) == f"the role {('odd' * 20)[:40]!r}"
    assert messages._describe({"a": Unprintable()}, "") == "a mapping that cannot be shown"
    assert messages._describe(Model(), "").endswith("Model")


def test_a_call_among_the_parts_of_its_message_counts_once() -> None:
    def read(own: dict[str, Any], part: dict[str, Any]) -> list[tuple[str, str]]:
        calls = messages.read_calls({"tool_calls": [own]}, [part])
        return [(call.name, call.id) for call in calls]

    own = {"id": "c1", "name": "add", "args": {"a": 1}}
    part = {"type": "tool_use", "name": "add", "input": {"a": 1}}
    assert read(own, part) == [("add", "c1")]
    assert read(own, {**part, "input": {"a": 2}}) == [("add", "c1"), ("add", "")]
    assert read(own, {**part, "name": "find"}) == [("add", "c1"), ("find", "")]
    assert read(own, {**part, "id": "c1"}) == [("add", "c1")]
    assert read(own, {**part, "id": "c2"}) == [("add", "c1"), ("add", "c2")]


def test_spans_of_the_sdk_and_of_an_export_become_records() -> None:
    given = SimpleNamespace(
        name="chat",
        get_span_context=lambda: None,
        context=SimpleNamespace(trace_id=1, span_id=2),
        attributes={"a": (1, 2), "b": "c"},
    )
    records = agent_spans._list_records([given, {"name": "d", "at": 1.5, "kind": {1}}], [])
    assert records is not None
    first, second = records
    assert (first["name"], first["trace_id"], first["span_id"]) == ("chat", "1", "2")
    assert {"a": [1, 2], "b": "c"} in first.values()
    assert second == {"name": "d", "at": 1.5, "kind": "{1}"}
    assert agent_spans._list_records(given, []) == [first]
    assert agent_spans._list_records([given, 5], []) is None
    with pytest.raises(UsageError, check=check_message) as caught:
        agent_spans._list_records([{}, {"a": Unprintable()}], [])
    assert "span 2" in str(caught.value)


def test_a_span_of_vercel_keeps_the_messages_that_it_has() -> None:
    values: dict[str, Any] = {}
    agent_spans._add_vercel_messages(values, {})
    assert values == {}
    agent_spans._add_vercel_messages(values, {"vercel_input": "a", "vercel_calls": [1]})
    answer = {"role": "assistant", "content": "", "tool_calls": [1]}
    assert values == {"input": "a", "output": [answer]}
    agent_spans._add_vercel_messages(values, {"vercel_input": "b", "vercel_text": "c"})
    assert values == {"input": "a", "output": [answer]}


def test_a_reply_is_known_again_by_its_calls_or_its_words() -> None:
    one = ToolCall(id="c1", name="add", arguments='{"a": 1}')
    other = ToolCall(id="c2", name="add", arguments='{"a": 2}')
    key = dialogs._make_reply_key("Let me see.", [one])
    assert key == dialogs._make_reply_key("", [one]) == (dialogs.make_call_key(one),)
    assert key != dialogs._make_reply_key("Let me see.", [other])
    assert dialogs._make_reply_key("a  b\nc ", ()) == "a b c"
    assert dialogs._make_reply_key(" \n", ()) is None


def test_an_unknown_tool_is_named_with_a_similar_one_or_the_first_twelve() -> None:
    known = [f"name_{number:02}" for number in range(14)]
    check_message(describe_unknown_tool("nam_03", known))
    assert describe_unknown_tool("zzz", known[:12]) == f"known are {', '.join(known[:12])}"
    assert describe_unknown_tool("zzz", known) == f"known are {', '.join(known[:12])} and 2 more"


def test_a_hint_on_other_arguments_is_found_behind_calls_that_have_none() -> None:
    partial = call("add", ..., a=1)
    comparison: Any = SimpleNamespace(
        expected=[partial, call("add", a=1), call("add", a=1), call("add", a=1)],
        made=[
            ToolUse(name="add", arguments={"a": 1, "b": 2}),
            ToolUse(name="add", arguments={"a": 2, "b": 2}),
            ToolUse(name="add", arguments={"a": 1}),
        ],
    )

    def find(*pairs: tuple[int | None, int | None]) -> str:
        near: Any = [SimpleNamespace(expected=expected, made=made) for expected, made in pairs]
        return call_differences._find_argument_hint(comparison, near)

    hint = find((None, 0), (1, None), (0, 1), (1, 1), (1, 0))
    assert repr(partial) in hint
    check_message(hint)
    assert find((None, 0), (1, None), (0, 0), (1, 1), (1, 2)) == ""
