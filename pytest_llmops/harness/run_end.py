"""What the end of a run decides from plain data: names and order of tests, why it is red or ended early, and its exit status."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pytest_llmops.measurement import Json
from pytest_llmops.results.assertion_lint import has_toothless
from pytest_llmops.results.run import Outcome, Run, decide_exit_status

MAX_OTHER_FAILURES = 10
TESTS_FAILED, NO_TESTS = 1, 5  # exit statuses of pytest
PYTEST_CATEGORIES: Mapping[str, Outcome] = {
    "failed": "failed", "error": "errored", "xpassed": "xpassed", "passed": "passed", "xfailed": "xfailed", "skipped": "skipped",
}  # fmt: skip


def strip_group(nodeid: str) -> str:
    """Return the node id of a test without the group that ``--dist loadgroup`` of xdist appends.

    >>> strip_group("test_a.py::test_b@gpu"), strip_group("test_a.py::test_b[x@y]")
    ('test_a.py::test_b', 'test_a.py::test_b[x@y]')
    """
    place = nodeid.rfind("@")
    if place > max(nodeid.rfind("]"), nodeid.rfind("::")):
        return nodeid[:place]
    return nodeid


def natural_sort_key(nodeid: str) -> list[tuple[int, str]]:
    """Return a sort key by which ``test_a[2]`` comes before ``test_a[10]``: numbers are compared as numbers, and come after texts."""
    key = []
    for part in re.split(r"(\d+)", nodeid):
        if part.isdecimal():
            key.append((int(part), ""))
        else:
            key.append((-1, part))
    return key


def why_run_failed(failed: int, status: int, stop: object) -> list[str]:
    """Return the failures of the run, as pytest counts them. Empty: none. A run without tests has not failed.

    Args:
        failed: How many tests failed.
        status: pytest's exit status.
        stop: Why pytest stopped (``session.shouldstop``); false: it did not.
    """
    reasons = []
    if failed:
        reasons.append(f"{failed} failed")
    elif status not in (0, NO_TESTS):
        reasons.append(f"exit status {status}")
    if stop:
        reasons.append(str(stop))
    return reasons


def why_ended_early(status: int, stop: object, fail: object) -> str:
    """Return why the run ended before its last test; "": it did not.

    Args:
        status: pytest's exit status.
        stop: Why pytest stopped (``session.shouldstop``); false: it did not.
        fail: Why pytest stopped with a failure (``session.shouldfail``); false: it did not.
    """
    ended = str(stop or fail or "")
    if not ended and status not in (0, TESTS_FAILED, NO_TESTS):  # Ctrl-C sets neither
        return f"the run ended early (exit status {status})"
    return ended


def decide_status(run: Run, status: int, *, fails_toothless: bool, is_refused: bool) -> int:
    """Return the exit status of a run: a status that pytest gave stays, else it is 1 if anything fails the run.

    Args:
        run: The run with its verdicts.
        status: pytest's exit status.
        fails_toothless: Whether an assertion that accepts every answer fails the run (``--llm-lint`` with ``--llm-strict``).
        is_refused: Whether the run was to be accepted into the baseline, and was not.
    """
    status = decide_exit_status(run, status)
    if fails_toothless and has_toothless(run.records):
        status = status or TESTS_FAILED
    if is_refused:
        status = status or TESTS_FAILED
    return status


def count_other_tests(
    stats: Mapping[str, Sequence[Any]], known: Collection[str], plain: Callable[[str], str]
) -> dict[str, Json]:
    """Return how many tests pytest counts that are not among our records, by outcome; outcomes without any are left out.

    Args:
        stats: The reports by category, as pytest's terminal reporter keeps them.
        known: The node ids of our records.
        plain: Returns the node id of a test without its group.
    """
    counts: dict[str, Json] = {}
    for category, outcome in PYTEST_CATEGORIES.items():
        nodeids = _list_tests(stats.get(category, ()), plain)
        number = sum(nodeid not in known for nodeid in nodeids)
        if number:
            counts[outcome] = number
    return counts


def name_other_failures(
    stats: Mapping[str, Sequence[Any]], known: Collection[str], plain: Callable[[str], str]
) -> list[Json]:
    """Return the first tests that failed and are not among our records, ten at most, by node id. Arguments as of `count_other_tests`."""
    failures = [report for category in ("failed", "error") for report in stats.get(category, ())]
    others = dict.fromkeys(nodeid for nodeid in _list_tests(failures, plain) if nodeid not in known)
    return list[Json](others)[:MAX_OTHER_FAILURES]


def _list_tests(reports: Iterable[Any], plain: Callable[[str], str]) -> list[str]:
    """Return the node ids of reports on tests: pytest counts modules that it cannot collect too."""
    return [plain(report.nodeid) for report in reports if report.when != "collect"]
