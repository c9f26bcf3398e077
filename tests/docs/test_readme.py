"""The README fits on two screens; Python blocks, links and make targets of the documents are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.example_runs import EXAMPLES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_python_blocks_of_contributing_compile() -> None:
    """Those of all other pages are run: test_snippets.py."""
    for language, block in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        if language == "python":
            compile(block, "CONTRIBUTING.md", "exec")


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        # As a command: in backquotes, or at the start of an indented line.
        for target in re.findall(r"(?:`|^ {4,})make ([a-z0-9-]+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"


@pytest.mark.parametrize(
    "name", [*DOCUMENTS, "Makefile", *(f"examples/{name}/README.md" for name in EXAMPLES)]
)
def test_no_document_names_a_model_that_will_be_shut_down(name: str) -> None:
    """Models come and go each year: the documents say `YOUR_MODEL`, or a name that no provider has."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert (
        re.findall(r"\b(?:gpt-\d[\w.-]*|o[1-9](?:-mini|-pro)?\b|claude-\d[\w.-]*|gemini-\d[\w.-]*)", text)
        == []
    )
