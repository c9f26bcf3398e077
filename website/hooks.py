"""What the site has besides its HTML: each page as Markdown next to it, ``llms.txt`` and ``llms-full.txt``.

MkDocs calls the functions whose names begin with ``on_``. Comments of a page hold set-up for the tests of its snippets;
readers do not get them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_llmops._util.documentation import remove_comments

FIRST_LINES = """\
# pytest-llmops

> A pytest plugin for regression tests of LLM applications. It records the calls of a model, replays them offline and
> reports whether a change made the answers worse.

Each page is Markdown. All pages in one file: {site}llms-full.txt
"""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the text of a page without its comments."""
    return remove_comments(markdown)


def on_post_build(config: Any) -> None:
    """Write the pages as Markdown, and the two files for language models."""
    docs = Path(config["docs_dir"])
    site = Path(config["site_dir"])
    url = str(config["site_url"])
    listed = [FIRST_LINES.format(site=url)]
    texts = []
    for section, pages in _list_sections(config["nav"]):
        listed.append(f"## {section}\n")
        for page in pages:
            text = remove_comments((docs / page).read_text(encoding="utf-8"))
            path = site / page
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            title = text.partition("\n")[0].removeprefix("# ")
            listed.append(f"- [{title}]({url}{page})")
            texts.append(f"<!-- {url}{page} -->\n\n{text}")
        listed.append("")
    (site / "llms.txt").write_text("\n".join(listed), encoding="utf-8")
    (site / "llms-full.txt").write_text("\n".join(texts), encoding="utf-8")


def _list_sections(nav: list[Any]) -> list[tuple[str, list[str]]]:
    """Return the sections of the site, each with its pages; a page outside of a section is in ``Start``."""
    sections: dict[str, list[str]] = {}
    for entry in nav:
        if isinstance(entry, str):
            sections.setdefault("Start", []).append(entry)
            continue
        for title, value in entry.items():
            name = "Start" if isinstance(value, str) else title
            sections.setdefault(name, []).extend(_list_pages(value))
    return list(sections.items())


def _list_pages(entry: Any) -> list[str]:
    """Return the pages below an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in _list_pages(value)]
