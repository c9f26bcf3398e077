"""docs/how-to/ledger.md: the table that the page shows is of the prompt that it shows, and its options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_llmops.cli import main
from pytest_llmops.ledger.documents import open_document
from pytest_llmops.settings import OPTIONS

PAGE = (Path(__file__).parents[2] / "docs/how-to/ledger.md").read_text(encoding="utf-8")


def read_block(start: str) -> str:
    found = re.search(rf"^```\w+{start}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_table_is_of_the_prompt(tmp_path: Path) -> None:
    folder = tmp_path / "prompts/shop/answer"
    folder.mkdir(parents=True)
    (folder / "v1.md").write_text(read_block(r' title="prompts/shop/answer/v1\.md"'), encoding="utf-8")
    document = open_document("shop/answer", prompts=tmp_path / "prompts")
    rows = re.findall(r"^ +(\d+)  (needed|can go|not measured|undecided) .*  (\S.*)$", PAGE, re.MULTILINE)
    tried = [rule for rule in document.rules if not rule.kept]
    assert [int(number) for number, _, _ in rows] == [rule.number for rule in tried]
    for (_, _, text), rule in zip(rows, tried, strict=True):
        assert rule.text.startswith(text.removesuffix(" …"))


def test_the_options_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "ledger", "--help"]) == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) | {option.flag for option in OPTIONS}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) - known == {"--reason"}  # of `prompts alias`
