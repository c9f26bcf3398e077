"""Which tests use this plugin ("ours"), and which of them another recording plugin records.

Knows pytest's items by their attributes only.
"""

import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.harness.markers import MARKERS, load_marker
from pytest_llmops.settings import Settings

PLUGIN_FIXTURES = frozenset(
    {"prompt", "prompts", "case", "retriever", "judge", "judge_canaries", "llm", "embedder", "llm_calls", "llm_cassette", "llm_proxy", "llm_tools"}
)  # fmt: skip

PACKAGE = "pytest_llmops"
# Modules that a project imports if it uses this package, and the plugin does not import before the first test
PROJECT_PACKAGES = frozenset(
    f"{PACKAGE}.{name}" for name in ("assertions", "cassettes", "guardrails", "judges", "metrics", "providers", "retrievers")
)  # fmt: skip

# The folder of cassettes next to tests, and how a cassette begins: as `cassettes.naming` and `cassettes.store` have it, which are not
# imported only to look for a file
CASSETTES = "cassettes"
CASSETTE_START = b'{\n "format": '
MAX_CASSETTES = 100  # files of a folder that are looked at

FOREIGN_MARKER = "vcr"  # marker of other recording plugins (pytest-recording, pytest-vcr, cassetter)
# Fixtures that those plugins add to every test: without any, no such plugin is installed
FOREIGN_FIXTURES = frozenset({"vcr", "_vcr_marker", "cassette"})


def uses_plugin(item: Any) -> bool:
    """Return whether a test uses a fixture or marker of this plugin, and so gets a cassette."""
    if not PLUGIN_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return True
    names = {mark.name for mark in item.iter_markers()}
    return any(load_marker(name).records for name in names.intersection(MARKERS))


def may_measure(items: Iterable[Any]) -> bool:
    """Return whether tests may use this package: something of it was imported while they were collected, or their code names it."""
    if not PROJECT_PACKAGES.isdisjoint(sys.modules):
        return True
    codes = (getattr(getattr(item, "function", None), "__code__", None) for item in items)
    return any(is_ours(name) for code in codes for name in getattr(code, "co_names", ()))


def is_ours(name: str) -> bool:
    """Return whether a name names this package, or a module in it.

    >>> is_ours("pytest_llmops.judges"), is_ours("pytest_llmops_extra")
    (True, False)
    """
    return name.partition(".")[0] == PACKAGE


def is_recorded_elsewhere(item: Any) -> bool:
    """Return whether another recording plugin records a test, so that we do not touch its traffic.

    Raises:
        UsageError: The test is marked for both plugins.
    """
    is_marked = item.get_closest_marker(FOREIGN_MARKER) is not None
    if not is_marked or FOREIGN_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return False
    if item.get_closest_marker("llm_cassette") is not None:
        raise UsageError(
            f"{item.nodeid}: marked `{FOREIGN_MARKER}` and `llm_cassette`: only one of two recorders can record it, remove one mark"
        )
    return True


def has_cassettes(folder: Path) -> bool:
    """Return whether a folder of tests has a cassette of this plugin: fellow plugins use a folder of that name too."""
    cassettes = folder / CASSETTES
    if not cassettes.is_dir():
        return False
    return any(_is_cassette(path) for path in islice(cassettes.glob("**/*.json"), MAX_CASSETTES))


def _is_cassette(path: Path) -> bool:
    """Return whether a file begins as a cassette of this plugin does."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(CASSETTE_START)) == CASSETTE_START
    return False


def has_baseline_file(config: Any) -> bool:
    """Return whether the project has a baseline, and tests are to run: not only to be listed, and not for a ledger."""
    from pytest_llmops._util.file_override import current_override

    if current_override() is not None:
        return False
    baseline = config.getini("llm_baseline") or Settings().baseline
    return not config.option.collectonly and (config.rootpath / baseline).is_file()
