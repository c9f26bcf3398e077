"""The tables of faults and frameworks in docs/explanation/measured/agents.md, made of what the tests gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clients.agent_faults.project import FRAMEWORKS, MODEL_KINDS, TOOL_KINDS
from support.marked_part import MarkedPart

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "measured" / "agents.md"
PART = MarkedPart(
    PAGE,
    "<!-- faults and frameworks: written by tests/clients/test_fault_frameworks.py -->",
    "<!-- end of faults and frameworks -->",
)
NOTHING = "–"
VERSION = "version"
ROWS = (VERSION, *(f"model-{kind}" for kind in MODEL_KINDS), *(f"tool-{kind}" for kind in TOOL_KINDS))

Column = dict[str, str]
"""The cells of a framework, by `ROWS`."""


def make_column(outcomes: Mapping[str, Any]) -> Column:
    """Return the cells of a framework from the outcomes of its tests."""
    versions: Mapping[str, str] = outcomes.get("recorded", {}).get("versions", {})
    column = {row: str(outcomes.get(row, NOTHING)) for row in ROWS}
    column[VERSION] = next(iter(versions.values()), NOTHING)
    return column


def format_tables(columns: Mapping[str, Column]) -> str:
    """Return both tables; frameworks that no test has run have dashes."""
    models = [VERSION, *(row for row in ROWS if row.startswith("model-"))]
    tools = [row for row in ROWS if row.startswith("tool-")]
    return "\n\n".join(
        [
            "The first request to a model:",
            _format_table(models, columns),
            "The first call of a tool:",
            _format_table(tools, columns),
        ]
    )


def _format_table(rows: Sequence[str], columns: Mapping[str, Column]) -> str:
    lines = [["fault", *(framework.name for framework in FRAMEWORKS.values())]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        name = row if row == VERSION else f"`{row.partition('-')[2]}`"
        lines.append([name, *(columns.get(key, {}).get(row, NOTHING) for key in FRAMEWORKS)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def read_columns() -> dict[str, Column]:
    """Return the columns of the stored page, by framework."""
    columns: dict[str, Column] = {key: {} for key in FRAMEWORKS}
    table = "model"
    for line in PART.read().splitlines():
        if line.startswith("The first call of a tool"):
            table = "tool"
        cells = line.strip("| ").split(" | ")
        if not line.startswith("|") or cells[0] in ("fault", "---"):
            continue
        row = cells[0] if cells[0] == VERSION else f"{table}-{cells[0].strip('`')}"
        for key, cell in zip(FRAMEWORKS, cells[1:], strict=True):
            columns[key][row] = cell
    return columns


def make_page(columns: Mapping[str, Column]) -> str:
    return PART.fill(format_tables(columns))


def write_columns(columns: Mapping[str, Column]) -> None:
    """Put columns on the page, and keep the others."""
    PART.write(lambda: format_tables({**read_columns(), **columns}))
