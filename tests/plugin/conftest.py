from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from support.forks import CAN_FORK, ForkServer, start_workers_by_forks
from support.loading import LOADED_ONCE, list_own_modules
from support.project import Project
from support.server import StubServer

from pytest_llmops.harness import terminal
from pytest_llmops.harness.ahead import phase
from pytest_llmops.harness.ahead.child import KIND_VARIABLE

RULES = "pytest_llmops.redaction.public_rules:read_public_rules"
MODEL_VARIABLES = ("OPENAI_BASE_URL", "LLMOPS_MODEL", "LLMOPS_JUDGE_MODEL", "CI", "PYTEST_ADDOPTS")


@pytest.fixture(scope="session", autouse=True)
def _in_this_process(loaded_once: None, installed_packages: None) -> None:
    """Each test here runs pytest within this process."""


@pytest.fixture(scope="session", autouse=True)
def _forked_workers(loaded_once: None) -> Iterator[None]:
    """Fork the workers of xdist from one process: tests/safety and the examples start them as users do."""
    if not CAN_FORK:
        yield
        return
    server = ForkServer([*LOADED_ONCE, "xdist.remote", *list_own_modules(), RULES])
    with pytest.MonkeyPatch.context() as patch:
        start_workers_by_forks(server, patch)
        yield
    server.close()


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in [name for name in os.environ if name in MODEL_VARIABLES or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")  # a message is one line of the summary
    # A run that takes ten seconds on a busy machine prints what another does not.
    monkeypatch.setattr(terminal, "EVERY_S", 86_400.0)
    monkeypatch.setattr(phase, "REPORT_INTERVAL_S", 86_400.0)
    # The stub server has threads in this process, with which a user's run would start a fresh pytest: that takes longer.
    monkeypatch.setenv(KIND_VARIABLE, "fork")
    with StubServer() as server:
        yield Project(pytester, server)


@pytest.fixture(params=[0, 2], ids=["n0", "n2"])
def workers(request: pytest.FixtureRequest) -> Any:
    """Without and with xdist: what a user sees is the same."""
    return request.param
