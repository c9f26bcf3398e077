"""What tests know of the installed openai SDK: any version from the oldest supported one on (nox -s openai_versions)."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from pytest_llmops.providers import openai_sdk

needs_responses = pytest.mark.skipif(
    openai_sdk.find_version(openai) < openai_sdk.RESPONSES_VERSION,
    reason="this version of the openai SDK has no Responses API",
)
APIS: list[Any] = ["chat", pytest.param("responses", marks=needs_responses)]
