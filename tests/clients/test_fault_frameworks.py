"""What the SDKs of models and agents do by themselves after each kind of fault: the tables of docs/how-to/faults.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from clients.agent_faults import page
from clients.agent_faults.project import FRAMEWORKS, run_framework
from clients.mcp_agents import project

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_a_framework_does_after_each_fault(name: str, tmp_path: Path) -> None:
    reason = project.explain_missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    framework = FRAMEWORKS[name]
    outcomes, text = run_framework(framework, tmp_path)
    assert "recorded" in outcomes, text[-6000:]
    column = page.make_column(outcomes)
    rows = [row for row in page.ROWS if row != page.VERSION and framework.has_kind(*row.split("-"))]
    missing = {row for row in rows if column[row] in (page.NOTHING, "not hit")}
    assert not missing, text[-6000:]
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write_columns({name: column})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    assert column == page.read_columns()[name], text[-6000:]


def test_the_page_is_written_as_the_tests_write_it() -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write_columns({})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    columns = page.read_columns()
    assert all(list(column) == list(page.ROWS) for column in columns.values())
    assert page.PAGE.read_text(encoding="utf-8") == page.make_page(columns)
