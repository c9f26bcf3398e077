"""The README typed in as it stands, and every Python block of the documents compiled."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.example_runs import EXAMPLES
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Informed(StubServer):
    """A model that answers with its system message."""

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        return json_reply(chat_answer(seen.json["messages"][0]["content"]))


def test_the_readme_typed_in(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and commands as they stand: recorded with a key, replayed without, missed, accepted, compared."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block for language, block in BLOCK.findall(text) if language in ("python", "csv")]
    commands = re.findall(r"^ {4}pytest(?: +(.*?))?(?: +#.*)?$", text, re.MULTILINE)
    recording, accepting, again, reporting = map(shlex.split, commands)
    for name, block in zip(("shop.py", "cases.csv", "test_shop.py"), blocks, strict=True):
        (reader.path / name).write_text(block, encoding="utf-8")
    shop = reader.path / "shop.py"
    with Informed() as server:
        (reader.path / "pytest.ini").write_text(f"[pytest]\nllm_base_url = {server.url}/v1\n")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
        reader.runpytest_inprocess(*recording).assert_outcomes(passed=2)
        monkeypatch.delenv("OPENAI_API_KEY")
        reader.runpytest_inprocess(*accepting).assert_outcomes(passed=2)
        assert server.count == 2
        shop.write_text(blocks[0].replace("one sentence", "two sentences"), encoding="utf-8")
        missed = reader.runpytest_inprocess()
        missed.assert_outcomes(errors=2)
        documented = {
            line.strip() for line in text.partition("CassetteMiss: ")[2].partition("\n\n")[0].splitlines()[1:]
        }
        assert documented - {line.removeprefix("E").strip() for line in missed.outlines} == set()
        compared = reader.runpytest_inprocess(*again)
        compared.assert_outcomes(passed=2)
        compared.stdout.fnmatch_lines(
            ["edited *", "PASS      2 of 2 tests passed. Too few cases for a verdict: *"]
        )
        assert server.count == 4
    reader.runpytest_inprocess(*reporting).assert_outcomes(passed=2)
    assert (reader.path / "report.html").is_file()


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


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
