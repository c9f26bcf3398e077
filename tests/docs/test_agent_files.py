"""The example of docs/agent-files.md, with a script in place of the agent."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from support.project import Project
from support.server import StubServer

PAGE = Path(__file__).parents[2] / "docs" / "agent-files.md"
BLOCKS = re.findall(
    r"^```(python|text)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
AGENT = """#!{python}
import pathlib, sys
assert sys.argv[1:] == ["-p", "fix the price in src/price.py"]
pathlib.Path("src/price.py").write_text("price = 2\\n")
test = pathlib.Path("{test}")
test.parent.mkdir(exist_ok=True)
test.write_text("def test_price():\\n    assert price == 2\\n")
for name in {deleted!r}:
    pathlib.Path(name).unlink()
"""


@pytest.mark.skipif(os.name != "posix", reason="the agent is a script with a first line for the shell")
def test_the_example_of_the_page(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (example, *_), (failure, *_) = (
        [text for language, text in BLOCKS if language == wanted] for wanted in ("python", "text")
    )
    with StubServer() as server:
        project = Project(pytester, server)
        shop = {"src/price.py": "price = 1\n", "README.md": "A shop\n", ".gitignore": "*.pyc\n"}
        project.write(
            **{"test_shop.py": example, **{f"fixtures/shop/{name}": text for name, text in shop.items()}}
        )
        monkeypatch.setenv("PATH", f"{project.path}/bin", prepend=os.pathsep)
        for test, deleted, outcome in (
            ("tests/test_price.py", [], "passed"),
            ("test_price.py", ["README.md"], "failed"),
        ):
            project.write(**{"bin/claude": AGENT.format(python=sys.executable, test=test, deleted=deleted)})
            (project.path / "bin/claude").chmod(0o755)
            result = project.run()
            assert result.outcomes == {outcome: 1}
    lines = [line.removeprefix("E").strip() for line in result.text.splitlines()]
    assert [line for line in failure.splitlines() if line.strip() not in "\n".join(lines)] == []
