"""The order of the tests: files with a test that takes many seconds come first, so that no worker ends with one alone."""

from __future__ import annotations

from collections.abc import Iterable

DEAR_FILES = (
    "tests/docs/test_example_figures.py",
    "tests/unit/test_demo_command.py",
    "tests/plugin/test_looks.py",
    "tests/unit/test_canary.py",
    "tests/architecture/test_patterns.py",
    "tests/plugin/test_mcp_relay.py",
    "tests/plugin/test_named_secrets.py",
    "tests/safety/test_workers.py",
    "tests/unit/test_report_browser.py",
    "tests/plugin/test_workers_agree.py",
    "tests/safety/test_killed.py",
    "tests/unit/test_init_command.py",
    "tests/plugin/test_skills.py",
    "tests/docs/test_snippets.py",
)


def put_dear_first(nodeids: Iterable[str]) -> list[int]:
    """Return the places of tests in the order in which they run: those of dear files, then all others as they were."""
    files = [nodeid.partition("::")[0] for nodeid in nodeids]
    return sorted(range(len(files)), key=lambda place: files[place] not in DEAR_FILES)
