"""docs/how-to/from-promptfoo.md: its example is imported, and its table is made from the code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_llmops.cli.command_line import main
from pytest_llmops.imports.promptfoo.assertion_table import AssertionRow, read_table

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-promptfoo.md"
START = "<!-- types: written by tests/docs/test_from_promptfoo.py -->\n"
END = "<!-- /types -->"
# Parts of a line that depend on the options of an assertion
OPTIONAL = re.compile(r"(?:, )?\{(?:options|extra|others)\}")
NAMED = re.compile(r"\{(\w+)\}")


def find_file(text: str, name: str) -> tuple[int, int]:
    """Return start and end of the block that is a file of the page."""
    begin = text.index("\n", text.index(f'title="{name}"')) + 1
    return begin, text.index("```", begin)


def replace_file(text: str, name: str, content: str) -> str:
    begin, end = find_file(text, name)
    return text[:begin] + content + text[end:]


def format_call(row: AssertionRow) -> str:
    call = OPTIONAL.sub("", row.call)
    for name, shown in (("{value}", "..."), ("{limit}", "at_most=..."), ("{{", "{"), ("}}", "}")):
        call = call.replace(name, shown)
    call = NAMED.sub(r"\1", call)
    return f"`{call}`"


def format_table() -> str:
    carried = ["| promptfoo | here | may decide otherwise |", "|---|---|---|"]
    reasons: dict[str, list[str]] = {}
    for name, row in read_table().items():
        if row.call:
            carried.append(f"| `{name}` | {format_call(row)} | {row.differs} |")
        else:
            reasons.setdefault(row.why, []).append(f"`{name}`")
    named = ["| named, as a skipped test | |", "|---|---|"]
    named += [f"| {', '.join(names)} | {why} |" for why, names in reasons.items()]
    return "\n".join([*carried, "", *named, ""])


def test_the_example_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The written files are those of the page; test_snippets.py compares the output of the command, and runs the tests."""
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "prompts").mkdir()
    for name in ("promptfooconfig.yaml", "prompts/answer.txt"):
        begin, end = find_file(text, name)
        (tmp_path / name).write_text(text[begin:end], encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert main(["import", "promptfoo", "promptfooconfig.yaml", "--to", "tests"]) == 0
    expected = text
    for name in ("tests/test_support_bot.py", "tests/cases/support_bot/icontains.jsonl"):
        expected = replace_file(expected, name, (tmp_path / name).read_text(encoding="utf-8"))
    check_page(text, expected)


def test_the_table_has_every_type() -> None:
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(START) + len(START), text.index(END)
    check_page(text, text[:begin] + format_table() + text[end:])


def check_page(text: str, expected: str) -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        PAGE.write_text(expected, encoding="utf-8")
    else:
        assert text == expected
