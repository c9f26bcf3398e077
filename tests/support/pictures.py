"""The pictures of the HTML report in the documentation: drawn from runs of `llmops demo`, and not older than the page.

``LLMOPS_GOLDEN=write pytest tests/unit/test_demo_command.py`` draws them. Pixels differ between machines, so that a picture
is compared by the text that its window shows.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import replace
from pathlib import Path

from pytest_llmops.cli.common import read_run_file
from pytest_llmops.reports.html import render_html
from pytest_llmops.results.run import Run
from support.chromium import Tab
from support.report_page import show

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SHOWN = Path(__file__).parents[1] / "golden" / "pictures"
WIDTH = 1080
HEIGHTS = (720, 875)  # the tab Over time begins lower
MOST_BYTES = 150_000
PICTURES = ("report-red", "report-history")
VISIBLE = """
(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const lines = [];
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    const text = walker.currentNode.textContent.replace(/\\s+/g, " ").trim();
    if (text && box.width && walker.currentNode.parentElement.checkVisibility() && box.bottom > 0 && box.top < window.innerHeight) lines.push(text);
  }
  return lines.join("\\n");
})()
"""


def check_pictures(tab: Tab, folder: Path) -> None:
    """Compare the pictures with the pages of three runs of the demo: ``v1.json``, ``run.json`` (v2) and ``v3.json``."""
    first = make_stable(read_run_file(folder / "v1.json"), "2026-11-02")
    red = make_stable(read_run_file(folder / "run.json"), "2026-11-03")
    mended = make_stable(read_run_file(folder / "v3.json"), "2026-11-04")
    pages = (render_html(red), ""), (render_html(mended, [first, red]), "#view=history")
    for name, height, (page, fragment) in zip(PICTURES, HEIGHTS, pages, strict=True):
        tab.resize(WIDTH, height)
        show(tab, folder, page, fragment)
        text = str(tab.run(VISIBLE))
        if os.environ.get("LLMOPS_GOLDEN") == "write":
            tab.screenshot(IMAGES / f"{name}.png")
            write_shown(name, text)
        changes = difflib.unified_diff(
            read_shown(name)[1].splitlines(), text.splitlines(), "picture", "now", n=0
        )
        changed = "\n".join(changes)
        assert not changed, f"docs/images/{name}.png is older than the report: LLMOPS_GOLDEN=write\n{changed}"


def make_stable(run: Run, day: str) -> Run:
    """Return a run without what differs from one machine or day to the next."""
    records = tuple(replace(record, duration_s=0.1) for record in run.records)
    meta = {**run.meta, "created": f"{day}T09:00:00+00:00", "command": "pytest --llm-report=report.html"}
    return replace(run, records=records, meta=meta)


def write_shown(name: str, text: str) -> None:
    """Store what a picture shows, below the hash of the picture."""
    digest = hashlib.sha256((IMAGES / f"{name}.png").read_bytes()).hexdigest()
    SHOWN.mkdir(exist_ok=True)
    (SHOWN / f"{name}.txt").write_text(f"{digest}\n{text}\n", encoding="utf-8")


def read_shown(name: str) -> tuple[str, str]:
    """Return the hash of a picture and the text that it shows, as they are stored."""
    digest, _, text = (SHOWN / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    return digest, text.removesuffix("\n")
