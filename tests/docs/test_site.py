"""The site as `make docs` builds it, checked without MkDocs: its navigation, its links, and the names of its pages."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.site import DOCS, LINK, PAGES, ROOT, find_dead_links, list_anchors, list_nav_pages, read_prose

from pytest_llmops._util.documentation import MESSAGES
from pytest_llmops.cli import main
from pytest_llmops.cli.docs import SECTION


def test_the_navigation_lists_each_page_once() -> None:
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert Counter(list_nav_pages()) == Counter(pages)


def test_each_page_has_a_name_of_its_own() -> None:
    """`llmops docs NAME` finds a page by the last part of its path.

    A page of figures may share it with its subject, and a page of the tutorial with the how-to that goes on from there.
    """
    pages = [path for path in DOCS.rglob("*.md") if path.parent.name not in ("measured", "tutorial")]
    names = Counter(path.stem for path in pages)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert find_dead_links(page) == []


def test_links_of_the_readme_work_on_the_package_index() -> None:
    links = [link for groups in LINK.findall(read_prose(ROOT / "README.md")) for link in groups if link]
    assert [link for link in links if not link.startswith(("https:", "#"))] == []


def test_a_dead_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.site.ROOT", tmp_path)
    monkeypatch.setattr("support.site.DOCS", tmp_path / "docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("# A `b`\n\n## C\n\n## C\n", encoding="utf-8")
    (tmp_path / "x.py").write_text("", encoding="utf-8")
    site = "https://pytest-llmops.github.io/pytest-llmops"
    links = ["a.md#a-b", "a.md#c_1", f"{site}/a/#c", "https://example.com/no"]
    dead = ["b.md", "a.md#c_2", f"{site}/b/", "../x.py", "#no", f"{site}/a/#no"]
    text = "".join(f"[x]({link})\n" for link in links + dead) + "```md\n[x](no.md)\n```\n"
    (tmp_path / "docs/page.md").write_text(text, encoding="utf-8")
    assert find_dead_links("docs/page.md") == dead


def test_a_printed_page_has_no_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Comments hold set-up for the tests of the snippets; those within a code block are of the page."""
    monkeypatch.setattr("pytest_llmops.cli.docs.find_docs_folder", lambda: tmp_path)
    hidden = '<!--\n```python title="a.py"\nhidden = 1\n```\n-->'
    text = f"# Page\n<!-- exit: 1 -->\nOne.\n\n{hidden}\n\n```html\n<!-- kept -->\n\n\n```\n"
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    assert main(["docs", "page"]) == 0
    assert capsys.readouterr().out == "# Page\n\nOne.\n\n```html\n<!-- kept -->\n\n\n```\n"


PACKAGE = ROOT / "pytest_llmops"
PAGE = re.compile(r"(?<![\w/])(docs/(?:tutorial|how-to|reference|explanation)/[\w/-]*\.md)(?:#([\w-]+))?")
SOURCES = [
    *(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".md", ".txt", ".html")),
    *(ROOT / page for page in PAGES),
    *(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")),
    *(ROOT / name for name in ("CONTRIBUTING.md", "Makefile", "noxfile.py", "pyproject.toml")),
]


def test_each_name_after_llmops_docs_is_a_page_or_a_code() -> None:
    names = {path.stem for path in DOCS.rglob("*.md")}
    names |= {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    names |= set(SECTION.findall((DOCS / MESSAGES).read_text(encoding="utf-8")))
    wrong = []
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tests"):
            continue
        for name in re.findall(r"llmops docs ([a-z][\w/-]*|LLM-[A-Z-]+)", path.read_text(encoding="utf-8")):
            if name not in names:
                wrong.append(f"{path.relative_to(ROOT)}: llmops docs {name}")
    assert wrong == []


def test_each_page_that_the_sources_name_exists() -> None:
    wrong = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for page, anchor in PAGE.findall(text):
            is_page = (ROOT / page).is_file()
            if not is_page or (anchor and anchor not in list_anchors(ROOT / page)):
                wrong.append(f"{path.relative_to(ROOT)}: {page}")
    assert wrong == []


def test_messages_name_a_page_by_the_command_that_shows_it() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if PAGE.search(text):
            wrong += [
                f"{path.relative_to(ROOT)}: {found}"
                for found in _list_texts(ast.parse(text))
                if PAGE.search(found)
            ]
    assert wrong == []


def _list_texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module, but for those that are a statement of their own: docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
