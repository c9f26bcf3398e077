"""Pages of the documentation as `llmops docs` prints them, and where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmops._util import documentation


def test_comments_are_removed_but_not_in_code() -> None:
    page = [
        "", "", "# Title", "", "", "<!-- one -->", "Text  ", "<!-- several", "lines", "hidden --> still hidden", "more",
        "```python", "<!-- code -->", "", "", "`````", "x", "```", "<!-- end -->", "", "````text", "```", "<!-- a", "````", "-->",
        "  <!-- indented -->", "", "last <!-- in a line -->", "", "",
    ]  # fmt: skip
    assert documentation.remove_comments("\n".join(page)).split("\n") == [
        "# Title", "", "Text  ", "", "more",
        "```python", "<!-- code -->", "", "", "`````", "x", "```", "", "````text", "```", "<!-- a", "````", "-->",
        "", "last <!-- in a line -->", "",
    ]  # fmt: skip
    assert documentation.remove_comments("<!-- all -->") == "\n"


def test_pages_are_listed_by_name_in_order(tmp_path: Path) -> None:
    (tmp_path / "how-to").mkdir()
    for name in ("index.md", "how-to/faults.md", "how-to/a.md", "logo.svg"):
        (tmp_path / name).touch()
    assert list(documentation.list_pages(tmp_path).items()) == [
        ("how-to/a", tmp_path / "how-to/a.md"),
        ("how-to/faults", tmp_path / "how-to/faults.md"),
        ("index", tmp_path / "index.md"),
    ]


def test_the_pages_of_the_installed_package_come_before_those_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pytest_llmops"
    monkeypatch.setattr(documentation, "PACKAGE", package)
    assert documentation.find_docs_folder() == tmp_path / "docs"
    (package / "docs").mkdir(parents=True)
    assert documentation.find_docs_folder() == package / "docs"
    assert documentation.find_skill() == package / ".agents/skills/pytest-llmops/SKILL.md"
