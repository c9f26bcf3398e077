"""What the tests share: an environment that says nothing, examples for laws, and the stored messages."""

from __future__ import annotations

import gc
import importlib
import os
import random
import re
import sys
from collections.abc import Generator, Iterator

import hypothesis
import pytest
from support import loading
from support.message_hooks import MessageHooks
from support.order import put_dear_first
from support.read_once import read_once

from pytest_llmops.redaction.secret_names import is_secret_name

OWN = (
    "LLMOPS_SHARED_DATA",
    "LLMOPS_REQUIRE_SHARED_DATA",
    "LLMOPS_REQUIRE_CLIENTS",
    "LLMOPS_ADOPTED_PYTHON",
    "LLMOPS_GOLDEN",
    "LLMOPS_SCREENSHOTS",
    "LLMOPS_LOCAL_JUDGE",
    "LLMOPS_LAWS",
    "LLMOPS_ORDER",
    "LLMOPS_CACHE",
    "LLMOPS_CACHE_PYTHONS",
)
"""Variables that are meant for the tests themselves."""
OF_THE_MACHINE = re.compile(
    r"(?i:(?:https?|all|no|ftp)_proxy)|(?:SSL_CERT|REQUESTS_CA|CURL_CA)_.*|(?:OPENAI|ANTHROPIC|LLMOPS)_.*"
    r"|COLUMNS|LINES|FORCE_COLOR|NO_COLOR|PY_COLORS|CI|BUILD_NUMBER|TZ|LANG|LANGUAGE|LC_.*"
    r"|GITHUB_.*|PYTEST_(?:ADDOPTS|PLUGINS|THEME.*|DEBUG|DISABLE_PLUGIN_AUTOLOAD)"
    r"|AI_AGENT|CLAUDECODE|CODEX_.*|CURSOR_AGENT|GEMINI_CLI|OPENCODE|QWEN_CODE|COPILOT_CLI|AUGMENT_AGENT|CLINE_ACTIVE|GOOSE_TERMINAL"
    r"|PYTHON(?:WARNINGS|IOENCODING|UTF8|HASHSEED|DEVMODE)"
)
"""Variables of a company's machine or a CI service that change what a test or a process that it starts sees."""

PROFILE = os.environ.get("LLMOPS_LAWS") or ("ci" if os.environ.get("CI") else "dev")
ORDER = os.environ.get("LLMOPS_ORDER", "")
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

# A worker starts from what its controller left, LLMOPS_RUN included.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["LLMOPS_LAWS"] = PROFILE
    for _name in [name for name in os.environ if name not in OWN]:
        # The package masks the values of all variables that are named like a secret, also those of no vendor it knows.
        if OF_THE_MACHINE.fullmatch(_name) or is_secret_name(_name):
            del os.environ[_name]
    loading.write_bytecode()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(MessageHooks())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the bytecode of the tests, where the machine keeps none: to rewrite the asserts of all files takes half a minute.

    Only while tests are collected: a test may write two programs of equal length in one second, of which the bytecode does not tell.
    """
    keeps_none = sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = keeps_none
        gc.collect()
        gc.freeze()  # the tests themselves are no garbage: to look through all of them takes a quarter of a second each time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with dear files. LLMOPS_ORDER=reverse is another order, any other text is the seed of a random one."""
    if ORDER == "reverse":
        items.reverse()
    elif ORDER:
        random.Random(ORDER).shuffle(items)
    else:
        items[:] = [items[place] for place in put_dear_first(item.nodeid for item in items)]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long or packed value by its argument: what pytest and gzip make of it differs between their versions."""
    is_long = isinstance(val, str | bytes) and len(val) > 100
    is_packed = isinstance(val, bytes) and val.startswith(b"\x1f\x8b")
    return argname if is_long or is_packed else None


@pytest.fixture(scope="session", autouse=True)
def _no_checkout_above(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep git from looking for a checkout above the folders of the tests: annotations and baselines read it."""
    os.environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def loaded_once() -> None:
    """Load what may be loaded once in a process only: pytester forgets the modules of each run."""
    for name in loading.LOADED_ONCE:
        importlib.import_module(name)
    for name in loading.list_own_modules():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collections of garbage at the end of each run pass over these modules


@pytest.fixture(scope="session")
def installed_packages() -> Iterator[None]:
    """Read once what each run of pytest reads: what is installed, and the plugins."""
    with pytest.MonkeyPatch.context() as patch:
        read_once(patch)
        yield
