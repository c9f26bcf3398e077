"""``llmops docs``: the places, a page, and the section of a code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cli import docs
from pytest_llmops.cli.docs import find_section, read_page
from pytest_llmops.errors import UnknownName, UsageError

PAGES = {
    "reference/messages.md": "# Codes\n\n## LLM-MISS\n\nNothing is recorded.\n\n## LLM-SAME\n\nThe same.\n\n",
    "how-to/judges.md": "# Use judges\n\n<!-- exit: 1 -->\n\nText.\n",
    "how-to/measured/judges.md": "# Figures\n",
    "how-to/review-red-pull-request.md": "# Review\n",
    "how-to/a/b/pull-request.md": "# Pull\n",
    "how-to/the-end.md": "# End\n",
    "pull-text.md": "# Text\n",
    "how-to/pull-page.md": "# Page\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PAGES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(docs, "find_docs_folder", lambda: tmp_path)
    monkeypatch.setattr(docs, "find_skill", lambda: Path("skill.md"))
    return tmp_path


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["docs", *words]) == 0
    return capsys.readouterr().out


def test_without_a_name_all_places_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles = {
        "how-to/a/b/pull-request": "Pull",
        "how-to/judges": "Use judges",
        "how-to/measured/judges": "Figures",
        "how-to/pull-page": "Page",
        "how-to/review-red-pull-request": "Review",
        "how-to/the-end": "End",
        "pull-text": "Text",
        "reference/messages": "Codes",
    }
    lines = [f"docs   {folder}", "skill  skill.md"]
    lines += [f"  {name:<30}  {title}" for name, title in titles.items()]
    assert show(capsys).splitlines() == lines
    places = json.loads(show(capsys, "--json"))
    assert places == {"folder": str(folder), "skill": "skill.md", "pages": titles}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("judges", "how-to/judges"),
        ("measured/judges", "how-to/measured/judges"),
        ("docs/how-to/judges.md", "how-to/judges"),
        ("pull-text", "pull-text"),
    ],
)
def test_a_page_has_several_names(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, page: str
) -> None:
    text = read_page(folder / f"{page}.md")
    assert show(capsys, name) == text
    assert json.loads(show(capsys, name, "--json")) == {"page": page, "text": text}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llm-miss", "[LLM-MISS]", "LLM-MISS"])
def test_a_code_has_a_section(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert show(capsys, name) == "LLM-MISS\n\nNothing is recorded.\n"
    text = "LLM-MISS\n\nNothing is recorded."
    assert json.loads(show(capsys, name, "--json")) == {"code": name.upper(), "text": text}
    assert find_section(folder, "LLM-SAME") == "LLM-SAME\n\nThe same."


@pytest.mark.parametrize(
    ("name", "near"),
    [
        # A page with a word of the name; the most similar one is first, then the one in fewer folders.
        (
            "docs/x/Pull_Request.md",
            ["how-to/a/b/pull-request", "how-to/review-red-pull-request", "pull-text"],
        ),
        ("pull", ["pull-text", "how-to/pull-page", "how-to/a/b/pull-request"]),
        ("revew-red-pul-request", ["how-to/review-red-pull-request", "how-to/a/b/pull-request"]),
        ("jugdes", ["how-to/judges", "how-to/measured/judges"]),
        ("red", []),
        ("page", ["how-to/pull-page"]),
        ("nothing like it", []),
    ],
)
def test_an_unknown_name_gets_similar_pages(folder: Path, name: str, near: list[str]) -> None:
    pages = [path.removesuffix(".md") for path in PAGES]
    with pytest.raises(UnknownName, check=check_message) as error:
        find_section(folder, name, pages)
    assert error.value.known == ("LLM-MISS", "LLM-SAME")
    assert error.value.name == name
    _, _, listed = error.value.step.partition(": ")
    assert listed.split(", ") == (near or [""])


def test_a_similar_code_goes_before_similar_pages(folder: Path) -> None:
    with pytest.raises(UnknownName, check=check_message) as error:
        find_section(folder, "llm-mis", ["how-to/mis"])
    assert error.value.step == ""


def test_missing_documentation_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"none\.md") as error:
        read_page(folder / "none.md")
    check_message(error.value)
    monkeypatch.setattr(docs, "find_docs_folder", lambda: folder / "nosuch")
    assert cli.main(["docs"]) == 2
    error_text = capsys.readouterr().err
    assert str(folder / "nosuch") in error_text
    check_message(error_text)
