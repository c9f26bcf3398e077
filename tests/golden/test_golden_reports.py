"""The reports of a fixed run, as stored text.

After a change that is meant, write them again with ``LLMOPS_GOLDEN=write`` and read the difference.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.page import read_data
from support.sample_run import fixed_run, models_run

from pytest_llmops.reports import closing_lines, html, terminal
from pytest_llmops.reports.formats import render_report
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal_page import Line
from pytest_llmops.results.run import Run

FOLDER = Path(__file__).parent


def styled(lines: list[Line]) -> str:
    return "".join(f"{line.style or '-':6} | {line.text}\n" for line in lines)


def unpacked(report: str) -> str:
    """A page with its data as JSON, a line for each test and text, and without its style and script, which are files."""
    data = read_data(report)
    report = re.sub(
        r"(?s)(?<=<style>).*(?=</style>)|(?<=<script type=.module.>).*(?=</script>)", "...", report
    )
    report = re.sub(r"(?<=sha256-)[^&]*", "...", report)
    lines = "\n".join(
        f"{name}: " + ("\n  ".join(["", *map(_to_line, part)]) if isinstance(part, list) else _to_line(part))
        for name, part in data.items()
    )
    return re.sub(r'(?<=type="text/plain">)[^<]*', lambda _: f"\n{lines}\n", report) + "\n"


def _to_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


GOLDEN: dict[str, Callable[[], str]] = {
    "run.json": lambda: fixed_run().to_json(),
    "report.md": lambda: render_markdown(fixed_run()),
    "report.xml": lambda: render_report(fixed_run(), "junit"),
    "report.html": lambda: unpacked(html.render_html(fixed_run())),
    "empty.html": lambda: unpacked(html.render_html(Run())),
    "terminal.txt": lambda: styled(terminal.summary_lines(fixed_run())),
    "terminal-ascii.txt": lambda: styled(terminal.summary_lines(fixed_run(), ascii=True, width=72)),
    "terminal-verbose.txt": lambda: styled(terminal.summary_lines(fixed_run(), verbosity=1, width=120)),
    "terminal-end.txt": lambda: styled(
        closing_lines.closing_lines(fixed_run(), others={"failed": 1}, reports=["run.json", "report.html"])
    ),
    "models.html": lambda: unpacked(html.render_html(models_run())),
    "models.txt": lambda: styled(terminal.summary_lines(models_run())),
    "models-ascii.txt": lambda: styled(terminal.summary_lines(models_run(), ascii=True, width=60)),
    "terminal-quiet.txt": lambda: styled(terminal.summary_lines(fixed_run(), verbosity=-1)),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_report_is_the_stored_one(name: str) -> None:
    path, text = FOLDER / name, GOLDEN[name]()
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8", newline="\n")
        pytest.skip(f"{name} was written: read its difference")
    stored = path.read_text(encoding="utf-8")
    difference = difflib.unified_diff(
        stored.splitlines(), text.splitlines(), f"stored {name}", "now", lineterm=""
    )
    assert text == stored, "\n".join(difference)


def test_the_stored_run_file_is_still_read() -> None:
    assert Run.from_json((FOLDER / "run.json").read_text(encoding="utf-8")) == fixed_run()
