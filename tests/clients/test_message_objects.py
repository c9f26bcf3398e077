"""The objects of real SDKs are sources of trajectories, alone and in lists of messages."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON, TIMEOUT_S, environment, missing

# What the other calls of a source give: the tools of servers, and a call whose arguments are not JSON
OTHER_CALLS = {
    "responses": [("web_search", None)],
    "anthropic": [("web_search", '{"error_code": "unavailable", "type": "web_search_tool_result_error"}')],
    "langchain": [("refund", "bad arguments")],
}


def test_objects_of_sdks(tmp_path: Path) -> None:
    if missing():
        if os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
            pytest.fail(missing())
        pytest.skip(missing())
    done = subprocess.run(
        [str(PYTHON), "-m", "clients.message_objects"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    trajectories: dict[str, Any] = json.loads(done.stdout)
    assert set(trajectories) == {"openai", "responses", "anthropic", "gemini", "langchain", "spans"}
    for name, trajectory in trajectories.items():
        assert "problems" not in trajectory, name
        assert trajectory["steps"][0] == {"role": "user", "text": "Where?"}, name
        calls = {call["name"]: call for step in trajectory["steps"] for call in step.get("calls", ())}
        order = calls.pop("get_order")
        assert json.loads(order["arguments"]) == {"order_id": "B-77"}, name
        assert "sent" in order["result"], name
        others = [(call["name"], call.get("result")) for call in calls.values()]
        assert others == OTHER_CALLS.get(name, []), name
