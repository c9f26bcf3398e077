"""A plugin of pytest that leaves out the tests that a ledger does not ask again; a ledger loads it with ``-p``.

The option ``--deselect`` does not do: it also leaves out tests whose name begins with that of another.
"""

from typing import Any

from pytest_llmops._util.file_override import current_override


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep the tests that the ledger names; all if it names none."""
    override = current_override()
    if override is None or not override.tests:
        return
    names = set(override.tests)
    left_out = [item for item in items if item.nodeid not in names]
    items[:] = [item for item in items if item.nodeid in names]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
