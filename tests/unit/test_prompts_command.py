"""llmops prompts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.git import commit, git
from support.messages import check_message

from pytest_llmops.cli import main
from pytest_llmops.prompts import Prompts

V1 = """---
description: Answers a customer.
variables: [question]
params: {temperature: 0, stop: ["x"]}
---
system:
You are friendly.
Answer within 30 days.

user:
{{ question }}
"""
V2 = V1.replace("within 30 days", "in 60 days").replace("temperature: 0", "temperature: 0.5, seed: 1")
ALIASES = '# What the application uses\nproduction = "v1"  # since May\ncandidate = "v2"\n'
KEY = "sk-" + "proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without git, with the working folder below its root."""
    files = {
        "pytest.ini": "[pytest]\nllm_prompts_dir = texts\n",
        "texts/support/answer/v1.md": V1,
        "texts/support/answer/v2.md": V2,
        "texts/support/answer/aliases.toml": ALIASES,
        "texts/plain/v1.md": "Hello.",
        "tests/test_a.py": '@mark.prompt(\n    name="support/answer@main", versions="all")\nx = {}.get("support/answers")',
        "tests/app.py": "prompts.get('support/answer')\nprompts.choose('plain', key=1)\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "tests")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def answer(folder: Path) -> Path:
    return folder / "texts/support/answer"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    status = main(["prompts", *argv])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(run(capsys, *argv, "--json")[1])


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "list")
    assert status == 0
    check_message(text.splitlines())
    assert run_json(capsys, "list")["support/answer"] == {
        "versions": ["v1", "v2"],
        "aliases": {"production": "v1", "candidate": "v2"},
    }
    assert run_json(capsys, "list", "--prompts", str(folder / "texts/support")).keys() == {"answer"}


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "show", "support/answer")
    assert status == 0
    check_message(text.splitlines())
    described = run_json(capsys, "show", "support/answer", "candidate")
    assert (described["version"], described["params.seed"], described["variables"]) == ("v2", 1, ["question"])
    assert described["uses"] == ["app.py:1", "test_a.py:1"]
    assert run_json(capsys, "show", "plain")["uses"] == ["app.py:2"]


@pytest.mark.slow
def test_uses_are_those_that_git_does_not_ignore(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(folder, "all", **{".gitignore": "app.py\n", "tests/broken.py": "def (:\n.prompt('plain')"})
    (folder / "tests/new.py").write_bytes(b"\xff\n.get('plain@v1')")
    assert run_json(capsys, "show", "plain")["uses"] == ["broken.py:2", "new.py:2"]
    (folder / "tests/new.py").write_bytes(b"(a.get('plain'), a.get('plain', 'v1'))")
    assert run_json(capsys, "show", "plain")["uses"] == ["broken.py:2", "new.py:1"]


def test_render(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "render", "support/answer", "--var", "question=a=b?")
    assert (status, text) == (0, "system:\nYou are friendly.\nAnswer within 30 days.\n\nuser:\na=b?\n")
    (folder / "vars.json").write_text('{"question": 7}')
    rendered = run_json(capsys, "render", "support/answer", "v2", "--vars", str(folder / "vars.json"))
    assert rendered["messages"][1] == {"role": "user", "content": "7"}
    assert rendered["params"]["seed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["render", "support/answer"],
        ["render", "support/answer", "--var", "question"],
        ["render", "support/answer", "--vars", "no.json"],
        ["render", "support/answer", "--vars", "test_a.py"],
        ["show", "support/anser"],
        ["show", "support/answer", "v22"],
        ["show", "../secret"],
        ["show", "support/answer@--output=x"],
        ["log", "nothing"],
        ["alias", "support/answer", "production", "v9", "--reason", "typo"],
        ["alias", "support/answer", "production", "v1@main", "--reason", "a commit"],
        ["alias", "support/answer", "v1", "v2", "--reason", "a version's name"],
        ["alias", "support/answer", "a b", "v2", "--reason", "no bare key"],
        ["alias", "support/answer", "production", "v2", "--reason", " "],
        ["rollback", "support/answer", "--reason", "no history"],
        ["rollback", "support/answer", "produktion", "--reason", "typo"],
        ["list", "--prompts", "nowhere"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(
    folder: Path, answer: Path, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    status, text = run(capsys, *argv)
    assert status == 2
    check_message(text.splitlines())
    assert (answer / "aliases.toml").read_text() == ALIASES
    assert not (answer / "aliases.log").exists()


def test_diff(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "diff", "support/answer", "v1", "candidate")
    assert status == 0
    check_message(text.splitlines())
    document = run_json(capsys, "diff", "support/answer", "v2")
    assert (document["old"], document["new"]) == ("v2", "v1")
    assert document["changes"] == {"params.temperature": [0.5, 0], "params.seed": [1, None]}
    assert ["old", "60"] in document["edits"]
    assert "(the same)" in run(capsys, "diff", "support/answer", "v1")[1]


@pytest.mark.slow
def test_a_long_prompt_is_compared_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"Rule {n}: answer briefly." for n in range(3000)]
    (folder / "texts/plain/v1.md").write_text("\n".join(lines))
    (folder / "texts/plain/v2.md").write_text("\n".join([*lines[:-1], "Rule 2999: answer at length."]))
    (folder / "texts/plain/v3.md").write_text("word " * 20_000)
    edits = run_json(capsys, "diff", "plain", "v1", "v2")["edits"]
    assert [text for kind, text in edits if kind != "same"] == ["briefly", "at length"]
    kinds = [kind for kind, _ in run_json(capsys, "diff", "plain", "v2", "v3")["edits"]]
    assert kinds == ["same", "old", "new"]


@pytest.mark.slow
def test_a_version_against_a_commit(folder: Path, answer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(folder, "first")
    (answer / "v1.md").write_text(V1.replace("friendly", "brief"))
    document = run_json(capsys, "diff", "support/answer", "@main")
    assert (document["old"], document["new"]) == ("v1@main", "v1")
    assert [edit for edit in document["edits"] if edit[0] != "same"] == [
        ["old", "friendly"],
        ["new", "brief"],
    ]


def test_an_alias_moves_and_comes_back(
    folder: Path, answer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = Prompts(folder / "texts")
    status, text = run(
        capsys, "alias", "support/answer", "production", "candidate", "--reason", f"better: {KEY}"
    )
    assert (status, text) == (0, "support/answer: production v1 -> v2\n")
    assert (answer / "aliases.toml").read_text() == ALIASES.replace('"v1"', '"v2"')
    assert prompts.get("support/answer").version == "v2"
    assert KEY not in (answer / "aliases.log").read_text()
    assert (
        run(capsys, "rollback", "support/answer", "--reason", "worse")[1]
        == "support/answer: production v2 -> v1\n"
    )
    assert (answer / "aliases.toml").read_text() == ALIASES
    moves = [json.loads(line) for line in (answer / "aliases.log").read_text().splitlines()]
    assert [(move["alias"], move["old"], move["new"]) for move in moves] == [
        ("production", "v1", "v2"),
        ("production", "v2", "v1"),
    ]
    assert moves[1]["reason"] == "worse"
    assert prompts.versions("support/answer") == ("v1", "v2")


def test_a_rollback_finds_the_version_before_an_edit_by_hand(
    answer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "alias", "support/answer", "production", "v2", "--reason", "new")
    (answer / "v3.md").write_text("Hi")
    (answer / "aliases.toml").write_text('production = "v3"')
    assert run_json(capsys, "rollback", "support/answer", "--reason", "back")["new"] == "v2"
    (answer / "v3.md").unlink()
    status, text = run(capsys, "rollback", "support/answer", "--reason", "v3 is gone")
    assert status == 2
    check_message(text.splitlines())


FORMS = {
    "new file": (None, 'beta = "v2"\n'),
    "no line end": ('production = "v1"', 'production = "v1"\nbeta = "v2"\n'),
    "quoted": ("'beta' = 'v1' # x\n", "'beta' = \"v2\" # x\n"),
    "windows": ('\ufeffa = "v1"\r\nbeta = "v1"\r\n', 'a = "v1"\r\nbeta = "v2"\r\n'),
    "in a comment": ('# beta = "v1"\nbeta = "v1"\n', '# beta = "v1"\nbeta = "v2"\n'),
}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), FORMS.values(), ids=FORMS)
def test_the_rest_of_the_file_stays(
    answer: Path, capsys: pytest.CaptureFixture[str], before: str | None, after: str
) -> None:
    path = answer / "aliases.toml"
    path.unlink()
    if before is not None:
        path.write_bytes(before.encode())
    assert run(capsys, "alias", "support/answer", "beta", "v2", "--reason", "x")[0] == 0
    assert path.read_bytes().decode() == after


def test_a_form_that_cannot_be_edited_is_left(answer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = answer / "aliases.toml"
    path.write_text('production = """v1"""\n')
    status, text = run(capsys, "alias", "support/answer", "production", "v2", "--reason", "x")
    assert (status, path.read_text()) == (2, 'production = """v1"""\n')
    check_message(text.splitlines())


def test_a_damaged_log_and_one_that_leads_out(
    answer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = answer / "aliases.log"
    log.write_text('{"alias": "production", "old": "v2", "new": "v1"}\n<<<<<<< HEAD\n')
    status, text = run(capsys, "rollback", "support/answer", "--reason", "x")
    assert status == 2
    check_message(text.splitlines())
    log.unlink()
    log.symlink_to(tmp_path / "elsewhere")
    assert run(capsys, "alias", "support/answer", "production", "v2", "--reason", "x")[0] == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_log(folder: Path, answer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "log", "support/answer")[1]
    assert "no history from git" in text
    commit(folder, "The first version")
    run(capsys, "alias", "support/answer", "production", "v2", "--reason", "\x1b[2Jbetter")
    commit(folder, "Promoted")
    document = run_json(capsys, "log", "support/answer")
    assert [commit["subject"] for commit in document["commits"]] == ["Promoted", "The first version"]
    assert [move["new"] for move in document["moves"]] == ["v2"]
    assert document["note"] == ""
    text = run(capsys, "log", "support/answer")[1]
    assert "production v1 -> v2" in text
    assert "\x1b" not in text
    clone = folder / "clone"
    git(folder, "clone", "-q", "--depth=1", folder.as_uri(), str(clone))
    document = run_json(capsys, "log", "support/answer", "--prompts", str(clone / "texts"))
    assert "unshallow" in document["note"]
    assert len(document["commits"]) == 1


@pytest.mark.slow
def test_check(folder: Path, answer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check") == (0, "2 prompts, 0 problems\n")
    problems = {
        "unused": "---\nvariables: [a]\n---\nHi",
        "undeclared": "{{ question }}",
        "roles": "user:\na\nuser:\nb\nsystem:\nc\n",
        "secret": f"Use {KEY}.",
        "long": "word " * 7000,
        "copy": V1,
        "broken": "---\nmodl: x\n---\nHi",
    }
    for version, text in problems.items():
        (answer / f"{version}.md").write_text(text)
    (folder / "texts/plain/v2.md").write_text("Bye.")
    status, text = run(capsys, "check")
    assert status == 1
    check_message(text.splitlines())
    assert KEY not in text
    rows = run_json(capsys, "check", "--max-chars", "99999")["problems"]
    assert sorted(Path(row["file"]).stem for row in rows) == sorted(
        [*({*problems} - {"long", "copy"}), "v1", "aliases"]
    )
    assert next(row for row in rows if row["file"].endswith("undeclared.md"))["line"] == 1


def test_a_broken_file_of_aliases_is_one_problem(answer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (answer / "aliases.toml").write_text('production = "v9"')
    (row,) = run_json(capsys, "check")["problems"]
    assert row["file"].endswith("aliases.toml")


WRITER = """
import sys
from pytest_llmops.cli.prompt_aliases import move_alias
from pytest_llmops.prompts import Prompts

prompts = Prompts(sys.argv[1])
for n in range(10):
    for version in ("v2", "v1"):
        move_alias(prompts, "support/answer", f"{sys.argv[2]}-{n}", version, "both write at once")
"""


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(folder: Path, answer: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder / "texts"), name])
        for name in ("left", "right")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    aliases = Prompts(folder / "texts").aliases("support/answer")
    assert len(aliases) == 22
    assert {version for alias, version in aliases.items() if "-" in alias} == {"v1"}
    assert len((answer / "aliases.log").read_text().splitlines()) == 40
