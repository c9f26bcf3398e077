"""The hostile report in a real browser: nothing runs that is not the page's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.sample_run import HOSTILE, HOSTILE_OUTPUT, everywhere, fixed_run

from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.html_views import case_id
from pytest_llmops.results.run import Run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom",
)  # fmt: skip

TEXTS = tuple(dict.fromkeys((*HOSTILE, *HOSTILE_OUTPUT)))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]


class Opened:
    """What a browser made of a page: its document, and what it had to say on the console."""

    def __init__(self, folder: Path, text: str, fragment: str = "") -> None:
        page = folder / "page.html"
        page.write_text(text, encoding="utf-8", newline="\n")
        command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", page.as_uri() + fragment]
        done = subprocess.run(command, capture_output=True, timeout=300, check=True)
        self.document = done.stdout.decode("utf-8", "replace")
        log = done.stderr.decode("utf-8", "replace")
        self.console = [line for line in log.splitlines() if "CONSOLE" in line]

    @property
    def title(self) -> str:
        found = re.search("<title>(.*?)</title>", self.document)
        return found[1] if found else ""


def hostile() -> str:
    runs = [everywhere(text) for text in TEXTS]
    records = tuple(record for run in runs for record in run.records)
    return render_html(Run(records=records, meta=runs[1].meta, notes=TEXTS))


def test_the_check_itself_notices_a_payload(tmp_path: Path) -> None:
    page = f"<!doctype html><title>mine</title>{HOSTILE[0]}<script>console.error('seen')</script>"
    opened = Opened(tmp_path, page)
    assert opened.title == "owned"
    assert opened.console


def test_a_hostile_report_runs_nothing_and_asks_for_nothing(tmp_path: Path) -> None:
    opened = Opened(tmp_path, hostile())
    count = len(TEXTS)
    title = f"FAIL: {count} failed, {count} errored, 0 passed, {count} skipped"
    assert opened.title == f"{title} | LLM regression report"
    assert count >= 120
    assert opened.console == []
    assert not re.search(r"<img|<h1>out|<a [^>]*javascript:|<[a-z]+ [^>]*\bon[a-z]+=", opened.document)


def test_the_pages_own_script_runs(tmp_path: Path) -> None:
    page = render_html(fixed_run())
    assert '<div class="tools" hidden>' in page
    opened = Opened(tmp_path, page)
    assert '<div class="tools">' in opened.document
    assert re.search(r'id="shown"[^>]*>11 tests<', opened.document)
    assert opened.console == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_deep_link_opens_its_test(tmp_path: Path, script: bool) -> None:
    page = render_html(fixed_run())
    wanted = case_id("tests/test_extract.py::test_order")
    page = page if script else re.sub("(?s)<script>.*</script>", "", page)
    opened = Opened(tmp_path, page, f"#{wanted}")
    (found,) = re.findall(
        r'<details class="case [^>]*open[^>]*>(?:(?!<details).)*?id="(case-\w+)"', opened.document, re.DOTALL
    )
    assert found == wanted
