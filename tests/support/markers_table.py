"""The table of markers that docs/reference/reference.md shows."""

from __future__ import annotations

from pytest_llmops.harness.markers import load_markers
from pytest_llmops.harness.markers.marker import Argument, Marker


def format_markers_table() -> str:
    """Return the markers as the Markdown table of docs/reference/reference.md."""
    lines = ["| marker | what it does | arguments |", "|---|---|---|"]
    for marker in sorted(load_markers(), key=lambda marker: marker.name):
        cells = [f"`{marker.signature}`", escape(marker.help), escape(format_arguments(marker))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_arguments(marker: Marker) -> str:
    arguments: list[Argument] = list(marker.arguments)
    if marker.repeated is not None:
        arguments.insert(0, marker.repeated)
    return "; ".join(f"`{argument.name}`: {argument.help}" for argument in arguments)


def escape(text: str) -> str:
    return text.replace("|", "\\|")
