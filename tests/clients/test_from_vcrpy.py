"""docs/how-to/from-vcrpy.md, followed step by step in a project that pytest-recording has recorded."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from clients.beside import OURS, Ran, Runner, Shelf
from clients.projects import INI
from support.matrix import ROOT
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.cli import main

PAGE = (ROOT / "docs" / "how-to" / "from-vcrpy.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ ((?:llmops|pytest)\b.*)$", PAGE, re.MULTILINE)
BLOCKS = dict(zip(("ini", "conftest", "block", "score"), re.findall(r"^```(?:ini|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL), strict=True))  # fmt: skip
IMPORT, IMPORT_ELSEWHERE, REPLAY, ACCEPT, RECORD = COMMANDS
SHOP = """
import os
from openai import OpenAI

def ask(question, **more):
    client = OpenAI(base_url=os.environ["STUB"] + "/v1", api_key="key-of-the-shop")
    messages = [{"role": "system", "content": "PROMPT"}, {"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-4.1-mini", messages=messages, **more)

def answer(question):
    return ask(question).choices[0].message.content

def words(question):
    parts = [part.choices[0].delta.content or "" for part in ask(question, stream=True) if part.choices]
    return "".join(parts).split()
"""
PROMPT = "You work in a shoe shop."
TESTS = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[1]))
import pytest
import vcr
from shop import answer, words

@pytest.mark.vcr
@pytest.mark.parametrize(
    ("question", "fact"), [("When can I return shoes?", "return"), ("Do you ship?", "ship")], ids=["returns", "shipping"]
)
def test_answer(question, fact):
    assert fact in answer(question)

class TestStream:
    @pytest.mark.vcr
    def test_words(self):
        assert "three" in words("Count to three")

@pytest.mark.vcr
@pytest.mark.default_cassette("own-name.yaml")
def test_named():
    assert answer("Hello")

def test_block():
    with vcr.use_cassette("tests/fixtures/block.yaml", filter_headers=["authorization"]):
        assert answer("In a block")

def test_without_a_call():
    pass
"""
CONFIG = """
import pytest

@pytest.fixture(scope="module")
def vcr_config():
    return {"filter_headers": ["authorization"]}
"""


class Polite(StubServer):
    """A model that repeats the question, and the prompt's last word."""

    def answer(self, seen: Seen) -> Reply:
        if seen.json.get("stream"):
            return super().answer(seen)
        super().answer(seen)
        prompt, question = (message["content"] for message in seen.json["messages"])
        return json_reply(chat_answer(f"{question} {prompt.split()[-1]}"))


def run_command(command: str) -> int:
    return main(shlex.split(command)[1:])


def run_pytest(shelf: Shelf, command: str) -> Ran:
    ran = shelf.run(*shlex.split(command)[1:], plugins=(OURS,))
    assert ran.exit == 0, ran.text
    return ran


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "fixtures").mkdir(parents=True)
    (tmp_path / "shop.py").write_text(SHOP.replace("PROMPT", PROMPT), encoding="utf-8")
    return tmp_path


def test_the_page_is_followed_step_by_step(
    shop: Path, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = INI.replace("-p no:cacheprovider", "") + BLOCKS["ini"].partition("[pytest]\n")[2]
    with Polite() as server:
        shelf = Shelf(shop, server.url, runner)
        shelf.write(**{"pytest.ini": theirs, "tests/test_shop.py": TESTS, "tests/conftest.py": CONFIG})
        recorded = shelf.run("--record-mode=once", plugins=("pytest_recording.plugin",))
        assert recorded.exit == 0, recorded.text
    old_files = sorted(shop.rglob("*.yaml"))
    assert len(old_files) == 5

    assert run_command(IMPORT) == 0
    sample = [line.strip() for line in PAGE.splitlines() if "yaml: 1 interaction ->" in line]
    assert set(sample) <= set(capsys.readouterr().out.splitlines())
    assert run_command(IMPORT_ELSEWHERE) == 0
    for path in old_files:
        path.unlink()
    opened, _, _ = BLOCKS["block"].partition("\n    ...")
    importing, _, opening = opened.partition("\n\n")
    tests = re.sub(r"with vcr\.use_cassette\(.*\):", opening, TESTS.replace("import vcr", importing))
    shelf.write(
        **{"pytest.ini": theirs, "tests/test_shop.py": tests, "tests/conftest.py": BLOCKS["conftest"]}
    )
    replayed = run_pytest(shelf, f"{REPLAY} -v")
    assert len(replayed.outcomes) == 6
    assert "renamed tests replay" in replayed.text
    assert run_command("llmops cassettes move") == 0
    moved = capsys.readouterr().out.splitlines()[-2]
    folder = "tests/cassettes/test_shop"
    assert moved == f"{folder}/own-name.json: 1 interaction -> {folder}/test_named.json"
    importing, _, scored = BLOCKS["score"].partition("\n\n\n")
    _, _, assertion = scored.partition("\n")
    tests = tests.replace("import pytest\n", f"import pytest\n{importing}\n", 1)
    tests = tests.replace("    assert fact in answer(question)\n", assertion)
    shelf.write(**{"pytest.ini": theirs, "tests/test_shop.py": tests})
    accepted = run_pytest(shelf, ACCEPT)
    assert "2 tests accepted" in accepted.text
    assert "3 tests recorded no score" in accepted.text
    assert run_command("llmops cassettes check") == 0
    assert "key-of-the-shop" not in "".join(path.read_text() for path in shop.rglob("cassettes/**/*.json"))

    (shop / "shop.py").write_text(SHOP.replace("PROMPT", "You sell boots."), encoding="utf-8")
    assert shelf.run(plugins=(OURS,)).exit == 1
    with Polite() as server:
        changed = run_pytest(Shelf(shop, server.url, runner), f"{RECORD} -v")
        assert server.count == 5
    assert "accepted" in changed.text
    assert "(first baseline)" in changed.text
