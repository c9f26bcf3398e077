from __future__ import annotations

import json
from pathlib import Path

import pytest

POLICIES = Path(__file__).with_name("policies.json")


@pytest.fixture(scope="session")
def policies() -> dict[str, str]:
    """The shop's policy by topic; a case names its topic by its first tag."""
    found: dict[str, str] = json.loads(POLICIES.read_text(encoding="utf-8"))
    return found
