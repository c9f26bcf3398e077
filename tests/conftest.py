"""What the tests share: an environment that says nothing, examples for laws, and the stored messages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from support import messages

OWN = (
    "LLMOPS_SHARED_DATA",
    "LLMOPS_REQUIRE_SHARED_DATA",
    "LLMOPS_REQUIRE_CLIENTS",
    "LLMOPS_GOLDEN",
    "LLMOPS_LOCAL_JUDGE",
)
"""Variables that are meant for the tests themselves."""
OF_THE_MACHINE = re.compile(
    r"(?i:(?:https?|all|no|ftp)_proxy)|(?:OPENAI|ANTHROPIC|LLMOPS)_.*|.*_API_KEY"
    r"|COLUMNS|LINES|FORCE_COLOR|NO_COLOR|PY_COLORS|CI|BUILD_NUMBER|PYTEST_ADDOPTS"
)
"""Variables of a company's machine or a CI service that change what a test sees."""

PROFILE = os.environ.get("LLMOPS_LAWS") or ("ci" if os.environ.get("CI") else "dev")
for _name, _examples in (("dev", 25), ("ci", 100), ("nightly", 1_000)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=_name != "nightly",
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile(PROFILE)

for _name in [name for name in os.environ if OF_THE_MACHINE.fullmatch(name) and name not in OWN]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _messages_of_the_test(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    messages.begin_test(request.node.nodeid, str(tmp_path_factory.getbasetemp()))
    yield
    messages.SEEN.test = ""


_of_workers: dict[str, str] = {}
_collected: set[str] = set()


def pytest_collection_finish(session: pytest.Session) -> None:
    _collected.update(item.nodeid for item in session.items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the messages of this session where they are to be written: xdist's workers hand theirs over."""
    if not messages.writing():
        return
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["llmops_messages"] = (messages.SEEN.messages, sorted(_collected))
    else:
        messages.store({**_of_workers, **messages.SEEN.messages}, _collected)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    seen, collected = getattr(node, "workeroutput", {}).get("llmops_messages", ({}, ()))
    _of_workers.update(seen)
    _collected.update(collected)
