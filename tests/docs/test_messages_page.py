"""docs/reference/messages.md explains each code once, with what to do and what not to do; `llmops docs` finds it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import cli, errors
from pytest_llmops._util import documentation
from pytest_llmops.results.verdict import LEVEL_CODES, STATUS_CODES, STATUS_LEVELS, Verdict

PAGE = Path(__file__).parents[2] / "docs/reference/messages.md"
PARTS = ("**What happened.** ", "**What to do.** ", "**What not to do.** ")


def list_codes() -> set[str]:
    """Return the codes of all exceptions and verdicts."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes: set[Any] = {getattr(kind, "code", "") for kind in classes}
    return (codes | set(STATUS_CODES.values()) | set(LEVEL_CODES.values())) - {""}


def read_sections() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings))
    _, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_each_code_has_a_section_and_each_section_a_code() -> None:
    assert set(read_sections()) == list_codes()


@pytest.mark.parametrize("code", sorted(list_codes()))
def test_a_section_says_what_happened_what_to_do_and_what_not(code: str) -> None:
    starts = re.findall(r"^\*\*.*?\*\* ", read_sections()[code], re.MULTILINE)
    assert starts == list(PARTS)


@pytest.mark.parametrize("status", STATUS_LEVELS)
def test_a_verdict_has_a_code_unless_it_needs_no_action(status: str) -> None:
    verdict = Verdict(kind="baseline", status=status, sentence="x")
    assert bool(verdict.code) == (verdict.level not in ("good", ""))
    assert verdict.headline.endswith(f" [{verdict.code}]") == bool(verdict.code)
    assert verdict.text.partition("\n")[0].endswith("]") == bool(verdict.code)


def test_the_command_prints_places_and_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["docs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"docs   {PAGE.parents[1]}"
    assert lines[1] == f"skill  {documentation.find_skill()}"
    assert ["reference/messages", "Troubleshooting"] in map(str.split, lines)
    assert cli.main(["docs", "--json"]) == 0
    places = json.loads(capsys.readouterr().out)
    assert Path(places["skill"]).is_file()
    assert set(places["pages"]) == set(documentation.list_pages(PAGE.parents[1]))
    for given in ("LLM-MISS", "llm-miss", "[LLM-MISS]"):
        assert cli.main(["docs", given]) == 0
        text = capsys.readouterr().out
        assert text.startswith("LLM-MISS\n\n**What happened.** ")
        assert "## " not in text
    assert cli.main(["docs", "LLM-MISS", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"code": "LLM-MISS", "text": text.rstrip("\n")}
    for given in ("messages", "reference/messages.md", "docs/reference/messages.md"):
        assert cli.main(["docs", given]) == 0
        assert capsys.readouterr().out.startswith("# Troubleshooting\n")


def test_a_page_of_figures_does_not_hide_the_page_of_the_same_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for given, title in (("guardrails", "# Check "), ("measured/guardrails", "# Measured: guardrails\n")):
        assert cli.main(["docs", given]) == 0
        assert capsys.readouterr().out.startswith(title)


def test_an_unknown_code_and_a_broken_installation_are_errors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cli.main(["docs", "LLM-MIS"]) == 2
    check_message(capsys.readouterr().err)
    assert cli.main(["docs", "review"]) == 2
    assert "; similar pages: how-to/review-red-pull-request [LLM-NAME]" in capsys.readouterr().err
    monkeypatch.setattr(documentation, "PACKAGE", tmp_path / "pytest_llmops")
    assert cli.main(["docs"]) == 2
    check_message(capsys.readouterr().err)
    (tmp_path / "pytest_llmops/docs").mkdir(parents=True)
    assert documentation.find_docs_folder() == tmp_path / "pytest_llmops/docs"
    assert cli.main(["docs", "LLM-MISS"]) == 2
    check_message(capsys.readouterr().err)
