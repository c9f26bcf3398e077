"""The SDKs of the vendors read a rebuilt answer: text, calls, tokens and reason, whole and as a stream."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.matrix import PYTHON, TIMEOUT_S, environment, missing

REASONS = {
    "chat": "tool_calls",
    "responses": "completed",
    "claude": "tool_use",
    "gemini": "STOP",
    "converse": "tool_use",
}
NEW_TOKENS = ("claude", "converse")  # their input excludes what the cache had


def test_sdks_read_rebuilt_answers(tmp_path: Path) -> None:
    if missing():
        if os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
            pytest.fail(missing())
        pytest.skip(missing())
    done = subprocess.run(
        [str(PYTHON), "-m", "clients.traced_answers"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    result = json.loads(done.stdout)
    assert set(result["read"]) == set(REASONS)
    for name, ways in result["read"].items():
        assert len(ways) == (1 if name == "converse" else 2), name
        for text, calls, reason, tokens, cached in ways:
            assert text == result["answer"]["text"], name
            assert [call[0] for call in calls] == ["get_order", "get_weather"], name
            assert json.loads(calls[0][1]) == {"order_id": "B-77", "lines": [1, 2]}, name
            assert json.loads(calls[1][1]) == {}, name
            assert reason == REASONS[name]
            assert tokens == [16 if name in NEW_TOKENS else 20, 9], name
            assert cached == 4, name
