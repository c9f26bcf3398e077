"""The fenced blocks of a page of the documentation: ``` python title="test_shop.py" starts the file of that name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """A block: its language, the file that it is ("" if none), and its text."""

    language: str
    title: str
    text: str


def read_page(page: str) -> str:
    """Return the text of a page, such as ``how-to/mcp``."""
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def read_fences(page: str) -> list[Fence]:
    """Return the blocks of a page from top to bottom."""
    return [Fence(*groups) for groups in _FENCE.findall(read_page(page))]


def read_files(page: str) -> dict[str, str]:
    """Return the files of a page by their names; of several blocks for one file the first."""
    files: dict[str, str] = {}
    for fence in read_fences(page):
        if fence.title:
            files.setdefault(fence.title, fence.text)
    return files


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write files, which may be in folders below the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
