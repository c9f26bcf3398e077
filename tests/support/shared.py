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
        pytest.skip("the third-party data is not beside the checkout")
    return path


@cache
def rows(*parts: str) -> list[dict[str, Any]]:
    """The objects of a data file: JSON lines or one JSON list, packed or not."""
    raw = shared(*parts).read_bytes()
    text = (gzip.decompress(raw) if parts[-1].endswith(".gz") else raw).decode()
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines() if line.strip()]
