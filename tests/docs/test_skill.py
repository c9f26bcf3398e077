"""The skill for coding agents: its form, its commands typed in, and the names that it gives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

import pytest_llmops
from pytest_llmops._util.documentation import find_docs_folder, find_skill
from pytest_llmops.cli.agents_file import LINES
from pytest_llmops.harness.markers import load_markers
from pytest_llmops.settings import OPTIONS

ROOT = Path(__file__).parents[2]
TEXT = find_skill().read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Informed(StubServer):
    """A model that answers with its system message."""

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        return json_reply(chat_answer(seen.json["messages"][0]["content"]))


def test_the_skill_has_the_form_of_agent_skills_and_is_short() -> None:
    _, front_matter, _ = TEXT.split("---\n", 2)
    head = yaml.safe_load(front_matter)
    assert head.keys() == {"name", "description"}
    assert head["name"] == find_skill().parent.name == "pytest-llmops"
    assert 0 < len(head["description"]) <= 1024
    assert len(TEXT.splitlines()) < 120


def test_the_skill_typed_in(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded, replayed and accepted with the application of the README; then its prompt is changed."""
    files = {"csv": "cases.csv", "python": "test_shop.py"}
    for language, block in BLOCK.findall(TEXT):
        if language in files:
            (reader.path / files.pop(language)).write_text(block, encoding="utf-8")
    assert not files
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (application,) = re.findall(r'^```python title="shop.py"\n(.*?)^```', readme, re.MULTILINE | re.DOTALL)
    shop = reader.path / "shop.py"
    shop.write_text(application, encoding="utf-8")
    commands = re.findall(r"^ {4}pytest(?: +(?!#)(.*?))?(?: +#.*)?$", TEXT, re.MULTILINE)
    recording, replaying, accepting = map(shlex.split, commands)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    with Informed() as server:
        (reader.path / "pytest.ini").write_text(f"[pytest]\nllm_base_url = {server.url}/v1\n")
        reader.runpytest_inprocess(*recording).assert_outcomes(passed=2)
    monkeypatch.delenv("OPENAI_API_KEY")
    reader.runpytest_inprocess(*replaying).assert_outcomes(passed=2)
    reader.runpytest_inprocess(*accepting).assert_outcomes(passed=2)
    shop.write_text(application.replace("one sentence", "one word"), encoding="utf-8")
    missed = reader.runpytest_inprocess("--llm-report=run.json")
    missed.assert_outcomes(errors=2)
    missed.stdout.fnmatch_lines(
        [
            "*[[]LLM-MISS]",
            "ERROR     2 of 2 tests have no recording.",
            "report    run.json",
            "next      Record the missing answers:",
            "*pytest *--llm-record=new",
        ]
    )


def test_the_names_that_it_gives_exist() -> None:
    flags = {option.flag for option in OPTIONS}
    wrong = set()
    for row in re.findall(r"^\| (?!not |---)(.*) \|$", TEXT, re.MULTILINE):
        wrong |= set(re.findall(r"--[a-z-]+", row.split(" | ")[0]))
    assert set(re.findall(r"--llm-[a-z-]+", TEXT)) - wrong <= flags
    assert not wrong & flags
    right = " ".join(row.split(" | ")[-1] for row in TEXT.splitlines() if row.startswith("| "))
    assert set(re.findall(r"assert_\w+", right)) <= set(pytest_llmops.__all__)
    markers = {marker.name for marker in load_markers()}
    assert set(re.findall(r"pytest\.mark\.(\w+)", right)) <= markers
    pages = set(re.findall(r"[a-z/-]+\.md\b", TEXT))
    assert {page for page in pages if not (find_docs_folder() / page).is_file()} == set()


def test_the_lines_for_an_agents_file_name_what_exists() -> None:
    assert len(LINES) == 6
    assert set(re.findall(r"--llm-[a-z-]+", " ".join(LINES))) <= {option.flag for option in OPTIONS}
