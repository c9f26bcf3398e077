"""The page of a ledger in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chromium import BROWSER, Tab
from support.ledgers import make_result
from support.report_page import seen, show

from pytest_llmops.ledger.reports import ledger_to_html

AXE = Path(__file__).parents[3] / ".venv/clients/node/node_modules/axe-core/axe.min.js"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]


def test_the_page_of_a_ledger(tab: Tab, tmp_path: Path) -> None:
    """Without a script: notes unfold by the keyboard, verdicts are hidden by a box, a phone needs no scrolling sideways."""
    page = ledger_to_html(make_result(statuses=("needed", "can go", "not measured", "undecided")))
    show(tab, tmp_path, page)
    assert len(seen(tab, ".rule .word")) == 6
    tab.run("document.querySelector('.note summary').focus()")
    tab.press("Enter")
    assert "Within 30 days." in seen(tab, ".note details[open]")[0]
    tab.run("document.querySelector('#show-needed').click()")
    assert tab.run("document.querySelector('#rule-1').checkVisibility()") is False
    assert tab.run("document.querySelector('#rule-2').checkVisibility()") is True
    tab.resize(400, 800, phone=True)
    assert tab.run("document.documentElement.scrollWidth") <= 400
    tab.run("document.querySelector('#show-needed').click()")
    if AXE.exists():
        for scheme in ("light", "dark"):
            tab.emulate(prefers_color_scheme=scheme)
            tab.call("Runtime.evaluate", expression=AXE.read_text(encoding="utf-8"))
            found = tab.run("axe.run().then((done) => done.violations.map((one) => one.id))")
            assert found == []
    assert (tab.console, tab.requests) == ([], [])
