"""docs/how-to/prompts.md: its commands run in the order of the page, and its code does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from support.git import commit
from support.server import StubServer, chat_answer, json_reply

from pytest_llmops.cli import main

PAGE = (Path(__file__).parents[2] / "docs/how-to/prompts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(r"^    (llmops .*)", PAGE, re.MULTILINE)]
ORDER = """---
variables: [text]
output_schema: {type: object, properties: {qty: {type: integer}}, required: [qty], additionalProperties: false}
---
{{ text }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = dict(BLOCKS[:2])
    names = {"prompts/answer/v1.md": files["markdown"], "prompts/answer/aliases.toml": files["toml"]}
    commit(tmp_path, "first", **names, **{"pytest.ini": "[pytest]\n", "prompts/order/v1.md": ORDER})
    new = files["markdown"].replace("Be friendly", "Repeat the policy")
    (tmp_path / "prompts/answer/v2.md").write_text(new, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) >= 10
    printed = {}
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, command
        printed[command] = capsys.readouterr().out
    example = re.search(r"^    answer: v1 -> v2\n(?:(?:    .*)?\n)+", PAGE, re.MULTILINE)
    assert example is not None
    text = example[0].replace("\n    ", "\n").strip()
    assert printed["llmops prompts diff answer production candidate"].startswith(text)
    assert (folder / "prompts/answer/aliases.toml").read_text() == 'production = "v1"\ncandidate = "v2"\n'


def test_the_code_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    (folder / "prompts/answer/aliases.toml").write_text('production = "v1"\ncandidate = "v2"\n')
    with StubServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        spaces: list[dict[str, Any]] = [{} for _ in PYTHON]
        for number, text in enumerate(PYTHON):
            if "from shop" in text:  # a test that pytest runs
                compile(text, "page", "exec")
            else:
                spaces[number] |= spaces[0] if "import" not in text else {}
                exec(text, spaces[number])
        assert spaces[0]["answer"]("Why?") == "echo of Why?"
        assert server.seen[0].json["temperature"] == 0
        spaces[2]["answer_for"]("user", "Why?")
        spaces[3]["test_production_is_what_it_was"]()
        server.queue.extend(json_reply(chat_answer(text)) for text in ("two", '{"qty": 2}'))
        assert spaces[4]["order"]("two of them") == {"qty": 2}
        assert server.seen[2].json["messages"][1]["content"] == "two"
