"""The pages of the documentation: their headings' anchors, their links, and the navigation of the site."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pytest_llmops._util.documentation import remove_comments

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = "https://pytest-llmops.github.io/pytest-llmops/"
FILES = "https://github.com/pytest-llmops/pytest-llmops/blob/main/"
RAW = "https://raw.githubusercontent.com/pytest-llmops/pytest-llmops/main/"
FENCE = re.compile(r"^ *(`{3,}).*?^ *\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|<(?:a href|img src)=\"([^\"]+)\"")
PAGES = [
    *(
        name
        for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
        if (ROOT / name).is_file()
    ),
    *(path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "examples").rglob("README.md"))),
]


def list_nav_pages() -> list[str]:
    """Return the pages that the navigation of the site lists, in its order."""
    # BaseLoader reads every value as text, tags of MkDocs included.
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return list(_walk(settings["nav"]))


def _walk(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
        return
    for value in entry.values() if isinstance(entry, dict) else entry:
        yield from _walk(value)


def read_prose(path: Path) -> str:
    """Return the text of a page without comments and code blocks."""
    return FENCE.sub("", remove_comments(path.read_text(encoding="utf-8")))


def list_anchors(path: Path) -> set[str]:
    """Return the anchors of a page: those of its headings as MkDocs makes them, and those that it sets itself."""
    prose = read_prose(path)
    anchors = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose))
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", prose, re.MULTILINE):
        own = re.search(r"\{ *#([\w-]+) *\}$", heading)
        slug = own[1] if own else make_slug(heading)
        count = 1
        anchor = slug
        while anchor in anchors:
            anchor = f"{slug}_{count}"
            count += 1
        anchors.add(anchor)
    return anchors


def make_slug(heading: str) -> str:
    """Return the anchor of a heading, as Python-Markdown makes it.

    >>> make_slug("The `--llm-record` modes & [links](x.md)")
    'the-llm-record-modes-links'
    """
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^\w\s-]", "", text).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


def find_dead_links(page: str) -> list[str]:
    """Return the links of a page to pages, files and anchors of this repository that do not exist."""
    path = ROOT / page
    dead = []
    for groups in LINK.findall(read_prose(path)):
        link = groups[0] or groups[1]
        file, _, anchor = link.partition("#")
        target = _find_target(path, file)
        if target is None:
            continue
        is_dead = not target.exists() or (page.startswith("docs/") and _leaves_docs(file, target))
        if not is_dead and anchor and target.suffix == ".md":
            is_dead = anchor not in list_anchors(target)
        if is_dead:
            dead.append(link)
    return dead


def _find_target(path: Path, file: str) -> Path | None:
    """Return the file of a link; None: it is outside of this repository."""
    if not file:
        return path
    if file.startswith(SITE):
        name = file.removeprefix(SITE).rstrip("/")
        if Path(name).suffix:
            return DOCS / name
        return DOCS / f"{name or 'index'}.md"
    for start in (FILES, RAW):
        if file.startswith(start):
            return ROOT / file.removeprefix(start)
    if re.match(r"[a-z]+:", file):
        return None
    return path.parent / file


def _leaves_docs(file: str, target: Path) -> bool:
    """Return whether a relative link of a page leads out of the site, where it is dead."""
    return not file.startswith("https:") and not target.resolve().is_relative_to(DOCS)
