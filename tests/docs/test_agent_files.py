"""The example of docs/how-to/agent-files.md, with a script in place of the agent."""

from __future__ import annotations

import os
import sys

import pytest
from support.fences import read_blocks, read_files, write_files

AGENT = """#!{python}
import pathlib, sys
assert sys.argv[1:] == ["--permission-mode", "acceptEdits", "-p", "fix the price in src/price.py"]
pathlib.Path("src/price.py").write_text("price = 2\\n")
test = pathlib.Path("{test}")
test.parent.mkdir(exist_ok=True)
test.write_text("def test_price():\\n    assert price == 2\\n")
for name in {deleted!r}:
    pathlib.Path(name).unlink()
"""


SHOP = {"src/price.py": "price = 1\n", "README.md": "A shop\n", ".gitignore": "*.pyc\n"}


@pytest.mark.skipif(os.name != "posix", reason="the agent is a script with a first line for the shell")
def test_the_example_of_the_page(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (failure,) = (block.text for block in read_blocks("how-to/agent-files") if block.language == "text")
    monkeypatch.setenv("PATH", f"{reader.path}/bin", prepend=os.pathsep)
    write_files(reader.path, read_files("how-to/agent-files"))
    write_files(reader.path / "fixtures" / "shop", SHOP)
    write_files(reader.path, {"bin/claude": agent_script(test="tests/test_price.py", deleted=[])})
    (reader.path / "bin/claude").chmod(0o755)
    reader.runpytest_inprocess("test_shop.py").assert_outcomes(passed=1)
    write_files(reader.path, {"bin/claude": agent_script(test="test_price.py", deleted=["README.md"])})
    result = reader.runpytest_inprocess("test_shop.py")
    result.assert_outcomes(failed=1)
    shown = "\n".join(line.removeprefix("E").strip() for line in result.outlines)
    assert [line for line in failure.splitlines() if line.strip() not in shown] == []


def agent_script(test: str, deleted: list[str]) -> str:
    return AGENT.format(python=sys.executable, test=test, deleted=deleted)
