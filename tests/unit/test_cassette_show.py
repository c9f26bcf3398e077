"""``llmops cassettes show``: a cassette for reading."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import answer, request
from support.messages import check_message

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.faults.takes import find_fault_take
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.cli.cassette_show import _format_interaction, format_cassette
from pytest_llmops.errors import UsageError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body


def tool_request(method: str, url: str, params: object) -> dict[str, Any]:
    return {"method": method, "url": url, "body": fold_body(json.dumps(params).encode())}


def tool_answer(content: object, **more: Any) -> dict[str, Any]:
    return {"status": 200, "headers": {}, "body": fold_body(json.dumps(content).encode()), **more}


def show(interaction: Interaction, limit: int = 200) -> Sequence[str]:
    lines = list(_format_interaction(interaction, limit))
    check_message(lines)
    return lines


def test_a_call_of_a_tool_has_its_name_arguments_and_answers() -> None:
    params = {"name": "refund", "arguments": {"order": 43, "why": "über"}}
    interaction = Interaction(
        "test_a.py::t#001",
        "0123456789abcdef" * 4,
        tool_request("tools/call", "mcp:orders", params),
        {
            "0": [tool_answer({"result": {"ok": "ü"}}, latency_s=1.25), tool_answer({"error": {"code": 3}})],
            "1": [tool_answer([], outcome={"error": "ReadTimeout", "text": "slow"}, status=0)],
        },
    )
    lines = show(interaction)
    assert lines[0].startswith("test_a.py::t#001  tools/call refund of MCP server orders  key 0123456789abc")
    assert "über" in lines[1]
    assert [line for line in lines if line.startswith("  take ")] == [
        "  take 0, answer 1 of 2",
        "  take 0, answer 2 of 2",
        "  take 1, answer 1 of 1",
    ]
    assert "1.25 s" in lines[4]


def test_a_list_of_tools_and_a_function_have_no_name_of_their_own() -> None:
    listed = Interaction("#1", "k", tool_request("tools/list", "mcp:orders", {}), {"0": [tool_answer({})]})
    lines = show(listed)
    assert lines[0] == "#1  tools/list of MCP server orders  key k"
    assert len(lines) == 2
    call = tool_request("call", "function:shop.refund", {"order": 1})
    lines = show(Interaction("#1", "k", call, {"0": [tool_answer({"result": "x" * 50})]}), limit=30)
    assert lines[0] == "#1  call of function shop.refund  key k"
    assert "x" * 31 not in lines[2]


def test_a_damaged_answer_of_a_tool_is_named_and_the_others_are_shown() -> None:
    damaged = {"status": 200, "headers": {}, "body": {"base64": "%"}}
    call = tool_request("tools/call", "mcp:orders", {"name": "n"})
    lines = show(Interaction("#1", "k", call, {"0": [damaged, tool_answer({"result": 1})]}))
    assert [line.split()[0] for line in lines] == ["#1", "asked", "take", "damaged", "take", "answers"]


def test_an_answer_on_purpose_has_the_name_of_its_fault() -> None:
    take = find_fault_take("empty", is_for_tool=False)
    lines = list(
        _format_interaction(
            Interaction("#1", "k", request(1), {take: [answer("a")], "0": [answer("b")]}), 200
        )
    )
    (fault,) = [line for line in lines if line.startswith(f"  take {take} (")]
    (plain,) = [line for line in lines if line.startswith("  take 0")]
    assert plain == "  take 0, answer 1 of 1"
    check_message(fault.replace(take, "N"))


def test_a_key_selects_interactions(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    items = [
        Interaction(f"#{n}", key, request(n), {"0": [answer("x" * 300)]}) for n, key in ((2, "ka"), (1, "kb"))
    ]
    store.rewrite_cassette(path, lambda: items, Redactor(), "2026-01-02")
    everything = list(format_cassette(path))
    assert [line.split()[0] for line in everything if line.startswith("#")] == ["#1", "#2"]
    assert not any("x" * 300 in line for line in everything)
    one = list(format_cassette(path, "ka"))
    assert [line.split()[0] for line in one if line.startswith("#")] == ["#2"]
    assert any("x" * 300 in line for line in one)
    with pytest.raises(UsageError, match=r"'kc'.* ka, kb") as error:
        list(format_cassette(path, "kc"))
    check_message(error.value)
    with pytest.raises(UsageError, match=r"a\.yaml") as error:
        list(format_cassette(tmp_path / "a.yaml"))
    check_message(error.value)
