"""The files of a page of the documentation: ``` python title="test_shop.py" starts the file of that name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support import snippets

ROOT = Path(__file__).parents[2]


def read_text(page: str) -> str:
    """Return the text of a page, such as ``how-to/mcp``."""
    return _find_page(page).read_text(encoding="utf-8")


def read_blocks(page: str) -> list[snippets.Block]:
    """Return the blocks of a page from top to bottom."""
    rows = snippets.read_page(_find_page(page), page)
    return [row for row in rows if isinstance(row, snippets.Block)]


def read_files(page: str) -> dict[str, str]:
    """Return the files of a page by their names; of several blocks for one file the first."""
    files: dict[str, str] = {}
    for block in read_blocks(page):
        if block.title:
            files.setdefault(block.title, block.text)
    return files


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files, which may be in folders below the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _find_page(page: str) -> Path:
    return ROOT / "docs" / f"{page}.md"
