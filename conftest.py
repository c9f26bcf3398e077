"""What all tests share: pytester, and the way to the third-party data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

VARIABLE = "LLMOPS_SHARED_DATA"
# Where the Makefile installs the embedding model.
os.environ.setdefault("LLMOPS_CACHE", str(Path(sys.prefix) / "cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the third-party data; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get(VARIABLE) or Path(__file__).parent.parent / "shared" / "data")
    if folder.is_dir():
        return folder
    reason = f"third-party data not found at {folder}; {VARIABLE} says where it is"
    if os.environ.get("LLMOPS_REQUIRE_SHARED_DATA"):
        pytest.fail(reason)
    pytest.skip(reason)
