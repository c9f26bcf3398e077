"""docs/how-to/ledger.md: its files and its first command typed in, its options, and that its table is of its prompt."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.server import StubServer

from pytest_llmops.cli import main
from pytest_llmops.ledger import runs
from pytest_llmops.ledger.documents import open_document
from pytest_llmops.settings import OPTIONS

PAGE = (Path(__file__).parents[2] / "docs/how-to/ledger.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FILES = {
    "markdown": "prompts/shop/answer/v1.md",
    "toml": "prompts/shop/answer/aliases.toml",
    "json": "cases.jsonl",
    "python": "test_shop.py",
}
PLAN, TABLE = [text for language, text in BLOCKS if language == "text"]
COMMANDS = [line.partition(" #")[0].strip() for line in re.findall(r"^    (\w.*)", PAGE, re.MULTILINE)]


@pytest.fixture
def folder(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page; a ledger runs pytest within this process."""

    def run(command: Sequence[str], _: Path, environment: Mapping[str, str], output: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            for name in environment.keys() - os.environ.keys():
                patch.setenv(name, environment[name])
            done = reader.runpytest_inprocess(*command[3:])
        output.write_text("\n".join([*done.outlines, *done.errlines]), encoding="utf-8")
        return int(done.ret)

    monkeypatch.setattr(runs, "run_process", run)
    for language, text in BLOCKS:
        if language in FILES:
            path = reader.path / FILES[language]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return reader.path


def test_the_plan_of_the_page(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (command,) = [command for command in COMMANDS if "--dry-run" in command]
    with StubServer() as server:
        (folder / "pytest.ini").write_text(f"[pytest]\nllm_base_url = {server.url}/v1\nllm_model = m\n")
        assert main(shlex.split(command)[1:]) == 0
        assert server.count == 0
    assert PLAN.strip() in capfd.readouterr().err


def test_the_table_is_of_the_prompt(folder: Path) -> None:
    document = open_document("shop/answer", prompts=folder / "prompts")
    rows = re.findall(r"^ +(\d+)  (needed|can go|not measured|undecided) .*  (\S.*)$", TABLE, re.MULTILINE)
    tried = [rule for rule in document.rules if not rule.kept]
    assert [int(number) for number, _, _ in rows] == [rule.number for rule in tried]
    for (_, _, text), rule in zip(rows, tried, strict=True):
        assert rule.text.startswith(text.removesuffix(" …"))
    (needed, total) = re.findall(r"(\d+) of (\d+) rules? (?:are|is) needed", TABLE)[0]
    assert int(total) == len(tried)
    assert int(needed) == [verdict for _, verdict, _ in rows].count("needed")


def test_the_options_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "ledger", "--help"]) == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) | {option.flag for option in OPTIONS}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) - known == {"--reason"}  # of `prompts alias`


def test_the_commands_after_the_ledger(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    copying, *others = COMMANDS[COMMANDS.index("llmops prompts diff shop/answer v1 v2") - 1 :]
    _, old, new = copying.split()
    shutil.copy(old, new)
    for command in others:
        program, *arguments = shlex.split(command)
        if program == "llmops":
            assert main(arguments) == 0, command
    assert 'production = "v2"' in (folder / FILES["toml"]).read_text()
