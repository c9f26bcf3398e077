"""Prompts at a commit, in a package, and named by the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.git import commit, git
from support.messages import check_message

from pytest_llmops.errors import LLMOpsError, PromptError, UnknownName, UsageError
from pytest_llmops.prompts import Prompts

SCHEMA = '{"type": "object", "properties": {"a": {"type": "string"}}}'


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits: v1 alone; v2 in production, v1 changed; the prompt `gone` deleted."""
    tmp_path = tmp_path_factory.mktemp("template")
    folder = "app/prompts/answer"
    commit(
        tmp_path, "first",
        **{f"{folder}/v1.md": "---\noutput_schema: a.json\n---\nOld.\n", f"{folder}/a.json": SCHEMA, "app/prompts/gone/v1.md": "Hi"},
    )  # fmt: skip
    git(tmp_path, "tag", "first")
    changed = {f"{folder}/v1.md": "Edited.\n", f"{folder}/v2.md": "New.\n"}
    commit(tmp_path, "second", **changed, **{f"{folder}/aliases.toml": 'production = "v2"\n'})
    commit(tmp_path, "third", **{"app/prompts/gone/v1.md": None})
    (tmp_path / folder / "v2.md").write_text("Not committed.\n")
    return tmp_path


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def prompts(repository: Path) -> Prompts:
    return Prompts(repository / "app/prompts")


def texts(prompts: Prompts, *names: str) -> list[tuple[str, str]]:
    result = [prompts.get(*name.split()) for name in names]
    return [(prompt.version, prompt.render()[0].content) for prompt in result]


@pytest.mark.slow
def test_a_prompt_at_a_commit(prompts: Prompts) -> None:
    assert texts(prompts, "answer", "answer@main", "answer@first", "answer v1@HEAD~2", "answer @HEAD~1") == [
        ("v2", "Not committed."),
        ("v2@main", "New."),
        ("v1@first", "Old."),
        ("v1@HEAD~2", "Old."),
        ("v2@HEAD~1", "New."),
    ]
    assert prompts.get("answer@first").output_schema == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
    }
    assert prompts.versions("answer@first") == ("v1",)
    assert prompts.aliases("answer@first") == {}
    assert prompts.at("first").names() == ("answer", "gone")
    assert prompts.resolve("answer@main", "production") == "v2@main"
    assert prompts.get("answer@main").path.name == "v2.md"


def test_the_same_text_has_the_same_fingerprint_at_a_commit(prompts: Prompts, repository: Path) -> None:
    git(repository, "checkout", "-q", "--", ".")
    assert prompts.get("answer@main").fingerprint == prompts.get("answer").fingerprint


@pytest.mark.slow
def test_a_folder_that_the_working_tree_lacks_and_a_detached_head(prompts: Prompts, repository: Path) -> None:
    git(repository, "checkout", "-q", "-f", "--detach", "first")
    git(repository, "rm", "-q", "-r", "app")
    assert texts(prompts, "answer@HEAD", "gone@HEAD") == [("v1@HEAD", "Old."), ("v1@HEAD", "Hi")]


def test_a_hidden_folder_and_the_root_at_a_commit(tmp_path: Path) -> None:
    commit(tmp_path, "one", **{".llm/prompts/answer/v1.md": "Hidden", "answer/v1.md": "Root"})
    assert texts(Prompts(tmp_path / ".llm/prompts"), "answer@HEAD") == [("v1@HEAD", "Hidden")]
    assert texts(Prompts(tmp_path), "answer@HEAD") == [("v1@HEAD", "Root")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "ref",
    ["--output=x", "-n", "main:app", "mian", "HEAD~9", "a b", "", "main..first", "@{u}", "a\nb", "x" * 300],
)
def test_a_ref_that_names_no_commit(prompts: Prompts, repository: Path, ref: str) -> None:
    before = sorted(repository.rglob("*"))
    with pytest.raises(UsageError, check=check_message):
        prompts.get(f"answer@{ref}")
    assert sorted(repository.rglob("*")) == before


def test_two_commits_in_one_name(prompts: Prompts) -> None:
    with pytest.raises(UsageError, check=check_message):
        prompts.get("answer@main", "v1@first")


@pytest.mark.slow
def test_what_a_commit_lacks(prompts: Prompts) -> None:
    with pytest.raises(UnknownName, check=check_message) as caught:
        prompts.get("gone@main")
    assert caught.value.known == ("answer",)
    with pytest.raises(UnknownName, check=check_message):
        prompts.get("answer", "v2@first")
    with pytest.raises(UsageError, check=check_message):
        Prompts(prompts.folder.parent / "texts").get("answer@main")


def test_links_are_not_followed_at_a_commit(prompts: Prompts, repository: Path, tmp_path: Path) -> None:
    (repository / "app/prompts/answer/v3.md").symlink_to("/etc/passwd")
    commit(repository, "a link")
    with pytest.raises(UnknownName):
        prompts.get("answer", "v3@main")


@pytest.mark.slow
def test_names_that_lead_out_of_the_folder(prompts: Prompts) -> None:
    for name in ("../x@main", "/etc@main", "answer/../gone@first"):
        with pytest.raises(PromptError):
            prompts.get(name)
    with pytest.raises(UnknownName):
        prompts.get("answer", "../gone/v1@first")


@pytest.mark.slow
def test_a_shallow_clone_is_named(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), str(clone))
    shallow = Prompts(clone / "app/prompts")
    assert shallow.get("answer@main").version == "v2@main"
    with pytest.raises(UnknownName, match="unshallow") as caught:
        shallow.get("answer@HEAD~1")
    check_message(caught.value)


def test_no_checkout_and_no_git(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("plain") / "prompts"
    (folder / "answer").mkdir(parents=True)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent.parent))
    with pytest.raises(UsageError, match="not a git repository"):
        Prompts(folder).get("answer@main")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git is not installed"):
        Prompts(folder).get("answer@main")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a zip, with prompts."""
    path = tmp_path / "app.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shop/__init__.py", "")
        archive.writestr(
            "shop/prompts/support/answer/v1.md", "---\noutput_schema: s.json\nvariables: [q]\n---\n{{ q }}?\n"
        )
        archive.writestr("shop/prompts/support/answer/v2.md", "---\noutput_schema: ../s.json\n---\nHi\n")
        archive.writestr("shop/prompts/support/answer/aliases.toml", 'production = "v1"\n')
        archive.writestr("shop/prompts/support/answer/s.json", SCHEMA)
    return path


@pytest.mark.slow
def test_prompts_of_a_package_in_a_zip_without_pytest(package: Path) -> None:
    code = (
        "import sys; from importlib.resources import files; from pytest_llmops.prompts import Prompts\n"
        "prompts = Prompts(files('shop') / 'prompts')\n"
        "print(prompts.names(), prompts.get('support/answer').render(q='a')[0].content,"
        " prompts.choose('support/answer', key=1, split={'production': 1}).version,"
        " prompts.get('support/answer').output_schema['type'], 'pytest' in sys.modules)\n"
        "from pytest_llmops import repair\nprint('pytest' in sys.modules)"
    )
    path = os.pathsep.join([str(package), str(Path(__file__).parents[2])])
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")} | {
        "PYTHONPATH": path
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["('support/answer',) a? v1 object False", "False"]


def test_a_package_in_a_zip_has_no_commits_and_no_way_out(package: Path) -> None:
    prompts = Prompts(zipfile.Path(package, "shop/prompts/"))
    with pytest.raises(PromptError, check=check_message):
        prompts.get("support/answer@main")
    with pytest.raises(PromptError, match="next to the prompt"):
        prompts.get("support/answer", "v2")
    with pytest.raises(UnknownName):
        prompts.get("support/anser")


@pytest.mark.slow
def test_the_environment_names_the_version_that_an_application_leaves_open(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_PROMPT", "other=v9, answer=v1")
    assert prompts.get("answer").version == "v1"
    assert prompts.get("answer", "production").version == "v2"
    assert {prompts.choose("answer", key=key, split={"v2": 0.9}).version for key in range(20)} == {"v1"}
    assert prompts.get("answer@main").version == "v2@main"
    monkeypatch.setenv("LLMOPS_PROMPT", "answer=v1@first")
    assert texts(prompts, "answer") == [("v1@first", "Old.")]
    assert prompts.choose("answer", key=1).version == "v1@first"


@pytest.mark.slow
@pytest.mark.parametrize("given", ["answer", "answer=", "=v1", "answer=v9", "answer=v9@main"])
def test_an_environment_that_names_no_version(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("LLMOPS_PROMPT", given)
    with pytest.raises(LLMOpsError, match="LLMOPS_PROMPT", check=check_message):
        prompts.get("answer")


def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing_at_a_commit(repository: Path) -> None:
    path = repository / "app/prompts/answer/v3.md"
    plain = "---\nvariables: [q]\n---\nsystem:\nBe brief.\n\nuser:\n{{ q }}\n"
    path.write_bytes(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())
    git(repository, "-c", "core.autocrlf=false", "add", "-A")
    git(repository, "commit", "-q", "-m", "from Windows")
    path.write_text(plain)
    prompts = Prompts(repository / "app/prompts")
    at_commit, here = prompts.get("answer", "v3@HEAD"), prompts.get("answer", "v3")
    assert at_commit.fingerprint == here.fingerprint
    assert at_commit.render(q="x").messages == here.render(q="x").messages
