"""An HTML report in a browser: how tests open it, read it and press its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_llmops.reports.html import render_html
from pytest_llmops.results.run import Run
from support.chromium import Tab


def show(tab: Tab, folder: Path, run: Run | str, fragment: str = "", history: Sequence[Run] = ()) -> str:
    """Open the page of a run, and return its text."""
    text = run if isinstance(run, str) else render_html(run, history)
    page = folder / "page.html"
    page.write_text(text, encoding="utf-8", newline="\n")
    tab.open(page.as_uri() + fragment)
    return text


def seen(tab: Tab, selector: str) -> list[str]:
    """The texts of elements, each on one line."""
    script = f"[...document.querySelectorAll({selector!r})].map((one) => one.innerText.replace(/\\s+/g, ' ').trim())"
    done: list[str] = tab.run(script)
    return done


def press_button(tab: Tab, title: str) -> None:
    """Press the first button of the current case, else of the page, with this text."""
    buttons = "(document.querySelector('.current') || document).querySelectorAll('button')"
    tab.run(f"[...{buttons}].find((one) => one.textContent === {title!r}).click()")
    tab.settle()
