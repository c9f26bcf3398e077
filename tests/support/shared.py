"""The third-party data that may lie beside the checkout; none of it is part of the project."""

from __future__ import annotations

import gzip
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest


def shared(*parts: str) -> Path:
    """The path of a data file; the test is skipped where it is not there."""
    root = os.environ.get("LLMOPS_SHARED_DATA")
    folder = Path(root) if root else Path(__file__).parents[3] / "shared" / "data"
    path = folder.joinpath(*parts)
    if not path.exists():
        reason = f"third-party data not found at {path}; LLMOPS_SHARED_DATA says where it is"
        if os.environ.get("LLMOPS_REQUIRE_SHARED_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@cache
def rows(*parts: str) -> list[dict[str, Any]]:
    """The objects of a data file: JSON lines or one JSON list, packed or not."""
    raw = shared(*parts).read_bytes()
    text = (gzip.decompress(raw) if parts[-1].endswith(".gz") else raw).decode()
    is_list = text.lstrip().startswith("[")
    rows = json.loads(text) if is_list else [json.loads(line) for line in text.splitlines() if line.strip()]
    assert rows, f"{Path(*parts)} is empty"
    return list(rows)
