"""A plugin of pytest for the runs of a ledger, which loads it with ``-p``: it removes options of the project that would change them.

It also leaves out the tests that a ledger does not run again.

The option ``--deselect`` is not enough: it also leaves out tests whose name begins with the name of another.
"""

from pathlib import Path
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops._util.file_override import current_override

hookimpl = HookimplMarker("pytest")
# Options whose runs a ledger cannot compare; a project may have them in its addopts
OTHER_RUNS = ("llm_lint", "llm_faults", "llm_again", "llm_accept")
REPORT_FILES = ("xmlpath", "htmlpath")  # of pytest and of pytest-html


@hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    """Drop options in the project's ``addopts`` for other kinds of runs and for reports, which would replace the project's own reports."""
    override = current_override()
    if override is None:
        return
    for name in (*OTHER_RUNS, *REPORT_FILES):
        if getattr(config.option, name, None):
            setattr(config.option, name, None)
    run_file = str(Path(override.mark).with_name("run.json"))
    reports = getattr(config.option, "llm_report", None) or []
    config.option.llm_report = [report for report in reports if report.endswith(run_file)]


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep the tests that the ledger names; all if it names none."""
    override = current_override()
    if override is None or not override.tests:
        return
    names = set(override.tests)
    kept = []
    left_out = []
    for item in items:
        plain = item.nodeid.rpartition("@")[0]  # without the group of ``--dist loadgroup``
        if item.nodeid in names or plain in names:
            kept.append(item)
        else:
            left_out.append(item)
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)
