"""A plugin of pytest that leaves out the tests that a ledger does not ask again; a ledger loads it with ``-p``.

The option ``--deselect`` is not enough: it also leaves out tests whose name begins with the name of another.
"""

from typing import Any

from pytest_llmops._util.file_override import current_override


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
