"""The markers of the plugin: a file for each, which defines its arguments and its effect on a test.

A file is imported when a test has its marker: a run without tests of ours imports none of them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llmops.harness.markers.marker import Marker

# Each marker, after which its file is named, and the fixture that it parametrizes. Parameters of a test come in this order,
# and so do the errors of its markers
MARKERS = {
    "llm_models": "llm",
    "prompt": "prompt",
    "llm_tools": "llm_tools",
    "cases": "case",
    "llm_guardrail": "",
    "llm_robust": "",
    "retriever": "",
    "judge": "",
    "llm_cassette": "",
    "llm_fault": "",
    "llm_trials": "",
    "llm_budget": "",
    "llm_compare": "",
    "llm_sentinel": "",
}
PARAMETRIZED_FIXTURES = tuple(fixture for fixture in MARKERS.values() if fixture)


@cache
def load_marker(name: str) -> Marker:
    """Return a marker by its name."""
    return cast("Marker", import_module(f"{__name__}.{name}").MARKER)


@cache
def load_markers() -> tuple[Marker, ...]:
    """Return all markers, in their order."""
    return tuple(load_marker(name) for name in MARKERS)


def markers_of(node: Any) -> list[Marker]:
    """Return the markers that a test has, itself or by its class or module, in their order."""
    names = {mark.name for mark in node.iter_markers()}
    return [load_marker(name) for name in MARKERS if name in names]


def has_marker(node: Any) -> bool:
    """Return whether a test has a marker of ours whose name begins with ``llm_``.

    A project may have markers of its own called ``prompt``, ``cases`` or ``judge``, so these prove nothing.
    """
    names = (mark.name for mark in node.iter_markers())
    return any(name in MARKERS and name.startswith("llm_") for name in names)


def iter_help(*, in_full: bool) -> Iterator[str]:
    """Yield a line for each marker, as ``pytest --markers`` shows it.

    Args:
        in_full: Whether somebody will read the lines. If not, they hold little more than the name, and no marker is imported.
    """
    for name in MARKERS:
        if in_full:
            marker = load_marker(name)
            yield f"{marker.signature}: {marker.help}"
        else:
            yield f"{name}: a marker of pytest-llmops"
