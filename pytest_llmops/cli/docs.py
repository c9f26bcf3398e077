"""``llmops docs``: where the documentation of the installed version is, one of its pages, and the section that explains a code."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from pytest_llmops._util.documentation import (
    MESSAGES,
    find_docs_folder,
    find_skill,
    list_pages,
    remove_comments,
)
from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.cli.common import add_command, print_json, print_lines
from pytest_llmops.errors import UnknownName, UsageError, find_closest_name

MAX_NEAR_PAGES = 3
LEAST_WORD = 4  # letters of a word that finds a page: not "the"
SECTION = re.compile(r"^## (LLM-[A-Z-]+)\n", re.MULTILINE)


def add_docs_group(groups: Any) -> None:
    """Declare ``docs``."""
    command = add_command(
        groups,
        "docs",
        _print_docs,
        "show where the documentation is, one of its pages, or the meaning of a code",
        "Without a name it lists the folder of the pages, the skill for coding agents, and each page with its title.",
    )
    command.add_argument(
        "name",
        nargs="?",
        metavar="CODE|PAGE",
        help="a code of a message (LLM-MISS), or a page (recording)",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _print_docs(args: argparse.Namespace) -> int:
    """Print the places, or the section of a code, and return the exit status."""
    folder = find_docs_folder()
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: expected the documentation of pytest-llmops, got no folder; install the package again"
        )
    paths = list_pages(folder)
    if args.name:
        name = _find_page(args.name, paths)
        if name is not None:
            return _print_text("page", name, read_page(paths[name]), as_json=args.json)
        text = find_section(folder, args.name, paths)
        return _print_text("code", args.name.upper(), text, as_json=args.json)
    pages = {name: _read_title(path) for name, path in paths.items()}
    skill = find_skill()
    if args.json:
        print_json({"folder": str(folder), "skill": str(skill), "pages": pages})
    else:
        print_lines(_format_places(folder, skill, pages))
    return 0


def _find_page(name: str, pages: Mapping[str, Path]) -> str | None:
    """Return the page with that name (``faults``, ``how-to/faults`` or ``docs/how-to/faults.md``), or None.

    Of two pages with that name it is the one in fewer folders: ``judges`` is the how-to, ``measured/judges`` the figures.
    """
    wanted = name.removesuffix(".md").removeprefix("docs/")
    matches = [page for page in pages if page == wanted or page.endswith(f"/{wanted}")]
    return min(matches, key=lambda page: page.count("/"), default=None)


def _find_near_pages(name: str, pages: Collection[str]) -> list[str]:
    """Return at most three pages whose name is similar, or has a word of the given name.

    >>> _find_near_pages("review", ["how-to/review-red-pull-request", "how-to/faults"])
    ['how-to/review-red-pull-request']
    """
    wanted = name.lower().removesuffix(".md").rpartition("/")[2]
    words = {word for word in re.split(r"\W+|_", wanted) if len(word) >= LEAST_WORD}
    ends = {page: page.rpartition("/")[2] for page in pages}
    found = [page for page, end in ends.items() if words & set(end.split("-"))]
    if not found:
        found = [page for page, end in ends.items() if find_closest_name(wanted, [end])]
    found.sort(key=lambda page: (-SequenceMatcher(None, wanted, ends[page]).ratio(), page.count("/")))
    return found[:MAX_NEAR_PAGES]


def _print_text(kind: str, name: str, text: str, *, as_json: bool) -> int:
    """Print a page or a section, and return the exit status."""
    if as_json:
        print_json({kind: name, "text": text})
    else:
        print_lines(text.rstrip("\n").split("\n"))
    return 0


def _format_places(folder: Path, skill: Path, pages: dict[str, str]) -> Iterator[str]:
    yield f"docs   {folder}"
    yield f"skill  {skill}"
    width = max(map(len, pages), default=0)
    for name, title in pages.items():
        yield f"  {name:<{width}}  {title}"


def _read_title(path: Path) -> str:
    """Return the first heading of a page."""
    return read_page(path).partition("\n")[0].removeprefix("# ")


def read_page(path: Path) -> str:
    """Return the text of a page, without its comments.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return remove_comments(read_text(path))
    except BadFile as error:
        raise UsageError(f"{path}: {error.what}; install the package again") from None


def find_section(folder: Path, code: str, pages: Collection[str] = ()) -> str:
    """Return the section of the page on messages that explains a code, with its heading.

    Args:
        folder: The folder of the documentation.
        code: The code, in upper or lower case.
        pages: The names of the pages, for the error: the nearest ones are suggested.

    Raises:
        UnknownName: The code does not exist.
        UsageError: The page cannot be read.
    """
    # What comes before the first heading; then each heading, followed by its text.
    _, *parts = SECTION.split(read_page(folder / MESSAGES))
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    name = code.strip("[]").upper()
    if name not in sections:
        near = []
        if not find_closest_name(name, sections):
            near = _find_near_pages(code, pages)
        step = f"similar pages: {', '.join(near)}" if near else ""
        raise UnknownName("code or page", code, sections, step=step)
    return f"{name}\n{sections[name].rstrip()}"
