"""The real Gemini CLI and opencode, by the examples of the page: recorded here, replayed in a fresh clone elsewhere.

They are not in an environment of the project's (450 MB): the tests run with those that are on the PATH, for instance after
`npm install --prefix DIR @google/gemini-cli@0.61.0 opencode-ai@1.18.33` and with `DIR/node_modules/.bin` there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fences import read_files, write_files
from support.gemini_opencode_server import GeminiOpencodeServer
from support.git import git

from pytest_llmops.cassettes.clients import load_presets

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300
SKILL = "---\nname: orders\ndescription: How to look up an order.\n---\nRead order.txt.\n"
FILES = {
    "pytest.ini": "[pytest]\nllm_clients = gemini-cli opencode\n",
    "shop/order.txt": "order 42: shipped\n",
    "shop/GEMINI.md": "Answer in one sentence.\n",
    "shop/AGENTS.md": "Answer in one sentence.\n",
    "shop/.gemini/skills/orders/SKILL.md": SKILL,
    "shop/.opencode/skills/orders/SKILL.md": SKILL,
}
EXAMPLES = {
    "gemini": ("shop/.gemini/settings.json", "test_gemini.py"),
    "opencode": ("shop/opencode.json", "test_opencode.py"),
}
PRESETS = {"gemini": "gemini-cli", "opencode": "opencode"}
CALLS = {"gemini": 3, "opencode": 4}  # opencode also asks for a title

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Machine:
    """A folder with a project in it, and a home of its own."""

    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def run(self, *arguments: str, **variables: str) -> tuple[str, list[dict[str, object]]]:
        """Run pytest; return its output, and the calls of all tests."""
        home = self.folder / "home-of-agnes"
        home.mkdir(exist_ok=True)
        site = Path(pytest.__file__).parents[1]
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))),
            "NPM_CONFIG_REGISTRY": "http://127.0.0.1:1",  # opencode installs a package for its plugins, if it can
            **variables,
        }
        report = self.folder / "run.json"
        options = [
            "-p",
            "no:cacheprovider",
            f"--llm-report={report}",
            "--tb=short",
            "-rN",
            "--show-capture=no",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *arguments],
            cwd=self.project, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert report.exists(), done.stdout + done.stderr
        records = json.loads(report.read_text(encoding="utf-8"))["records"]
        return done.stdout, [call for record in records for call in record["calls"]]


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Machine]:
    """The client, and the machine of the one who records; the server is gone afterwards."""
    client: str = request.param
    if shutil.which(client) is None:
        pytest.skip(f"{client} is not on the PATH; the docstring of this file says how to install it")
    machine = Machine(tmp_path_factory.mktemp("first"))
    examples = read_files("how-to/from-claude-code-or-codex")
    write_files(machine.project, {**FILES, **{name: examples[name] for name in EXAMPLES[client]}})
    with GeminiOpencodeServer() as server:
        output, calls = machine.run(
            "--llm-record=new",
            GOOGLE_GEMINI_BASE_URL=server.url,
            OPENAI_BASE_URL=f"{server.url}/v1",
            GEMINI_API_KEY="key-of-agnes-for-gemini-1234",
            OPENAI_API_KEY="key-of-agnes-for-openai-1234",
        )
        assert "1 passed" in output, output
        assert len(calls) == server.count == CALLS[client], [seen.path for seen in server.seen]
    git(machine.project, "init", "-q")
    git(machine.project, "add", "-A")
    git(machine.project, "commit", "-q", "-m", "Recorded")
    return client, machine


def clone(machine: Machine, folder: Path) -> Machine:
    other = Machine(folder / "other")
    other.folder.mkdir()
    git(machine.project, "clone", "-q", str(machine.project), str(other.project))
    return other


def test_a_fresh_clone_replays_in_another_folder_and_nothing_says_who_recorded(
    recorded: tuple[str, Machine], tmp_path: Path
) -> None:
    client, machine = recorded
    (path,) = machine.project.rglob("cassettes/**/*.json")
    text = path.read_text(encoding="utf-8")
    for identity in (str(machine.folder), machine.folder.name, "agnes", "Today's date", "ses_"):
        assert identity not in text, identity
    assert "[this-folder]/order.txt" in text
    other = clone(machine, tmp_path)
    output, calls = other.run()
    assert "1 passed" in output, output
    assert [call["replayed"] for call in calls] == [True] * CALLS[client]
    assert f"see {other.project}/shop/order.txt" in json.dumps(calls)


@pytest.mark.parametrize(
    ("files", "old", "new"),
    [
        (["test_gemini.py", "test_opencode.py"], "Where is order 42?", "When comes order 42?"),
        (["shop/order.txt"], "order 42: shipped", "order 42: lost"),
        (["shop/GEMINI.md", "shop/AGENTS.md"], "in one sentence.", "in two sentences."),
        (
            ["shop/.gemini/skills/orders/SKILL.md", "shop/.opencode/skills/orders/SKILL.md"],
            "How to look up an order.",
            "How to find an order.",
        ),
    ],
    ids=["prompt", "result", "instructions", "skill"],
)
def test_a_change_is_a_miss_that_shows_just_this(
    recorded: tuple[str, Machine], files: list[str], old: str, new: str, tmp_path: Path
) -> None:
    other = clone(recorded[1], tmp_path)
    for path in (other.project / name for name in files):
        if path.exists():
            path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    output, _ = other.run()
    assert "no recording answers POST" in output, output
    shown = re.findall(r"^(?:E +)?    ([-+] .*)$", output, re.MULTILINE)
    for start in range(0, len(shown), 2):
        before, after = shown[start : start + 2]
        assert old.split(maxsplit=2)[-1] in before, output
        assert new.split(maxsplit=2)[-1] in after, output
    assert shown, output


def test_the_versions_are_those_that_were_run(recorded: tuple[str, Machine]) -> None:
    client = recorded[0]
    done = subprocess.run(
        [client, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    (preset,) = load_presets([PRESETS[client]])
    assert preset.tested[-1] in done.stdout
