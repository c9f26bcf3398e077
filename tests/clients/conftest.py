from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from clients.beside import Runner
from support.matrix import PYTHON


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """What runs pytest in the environment with the fellow recorders."""
    if not PYTHON.exists():
        reason = f"the environment with the fellow recorders is not there: {PYTHON}"
        if os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    process = Runner()
    yield process
    process.close()
