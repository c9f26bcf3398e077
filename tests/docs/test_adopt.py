"""The table of docs/how-to/adopt.md is made of the modules of the tools."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from pytest_llmops.adopted import TOOLS, load_tool

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "adopt.md"
TABLE = re.compile(r"^\| `llm_adopt` .*?(?=\n\n)", re.MULTILINE | re.DOTALL)


def format_table() -> str:
    lines = ["| `llm_adopt` | package | tested versions | scores that are read |", "|---|---|---|---|"]
    for name in TOOLS:
        tool = load_tool(name)
        first_line = str(sys.modules[type(tool).__module__].__doc__).splitlines()[0]
        read = first_line.partition(": ")[2].replace("``", "`").removesuffix(".")
        versions = " to ".join(dict.fromkeys(tool.tested))
        lines.append(f"| `{name}` | {tool.distribution} | {versions} | {read} |")
    return "\n".join(lines)


def test_the_table_names_every_tool_with_its_versions() -> None:
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        text = TABLE.sub(lambda _: format_table(), text)
        PAGE.write_text(text, encoding="utf-8")
    assert TABLE.findall(text) == [format_table()]
