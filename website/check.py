"""Check the built site: ``python website/check.py site`` that nothing of it comes from another host.

With ``--links`` it also requests each external link of the pages, which needs a network; `make docs-links` does this.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# What a browser loads by itself, by tag: a foreign one would not work offline, and would show the host who reads.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
LOADED_LINKS = (
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
)
FOREIGN = re.compile(r"^(?:https?:)?//")
TIMEOUT_S = 20.0


class _Reader(HTMLParser):
    """Collect what a page loads, and the external links of its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in LOADED and LOADED[tag] in given:
            self.loaded.append(given[LOADED[tag]])
        elif tag == "link" and set(given.get("rel", "").split()) & set(LOADED_LINKS):
            self.loaded.append(given.get("href", ""))
        elif tag == "a" and FOREIGN.match(given.get("href", "")):
            self.links.append(given["href"])


def find_foreign(site: Path) -> Iterator[str]:
    """Yield what pages and style sheets load from another host."""
    for path in sorted(site.rglob("*.html")):
        for url in _read(path).loaded:
            if FOREIGN.match(url):
                yield f"{path.relative_to(site)}: loads {url}"
    for path in sorted(site.rglob("*.css")):
        for url in re.findall(
            r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", path.read_text(encoding="utf-8")
        ):
            yield f"{path.relative_to(site)}: loads {url}"


def find_dead_links(site: Path) -> Iterator[str]:
    """Yield the external links that do not answer, each with a page that has it."""
    pages: dict[str, Path] = {}
    for path in sorted(site.rglob("*.html")):
        for link in _read(path).links:
            pages.setdefault(link.partition("#")[0], path)
    for link, path in sorted(pages.items()):
        why = _request(link)
        if why:
            yield f"{path.relative_to(site)}: {link}: {why}"


def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def _request(link: str) -> str:
    """Return why a link is dead; "": it answers."""
    request = urllib.request.Request(link, headers={"user-agent": "pytest-llmops-docs"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except (urllib.error.URLError, OSError) as error:
        return str(error)


def main(arguments: list[str]) -> int:
    """Print what is wrong, and return the exit status."""
    folder = Path(arguments[0])
    if not (folder / "index.html").is_file():
        print(f"{folder}: expected a built site, got no index.html; run: make docs")
        return 2
    problems = list(find_foreign(folder))
    if "--links" in arguments:
        problems += find_dead_links(folder)
    print("\n".join(problems) or "nothing is loaded from another host")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
