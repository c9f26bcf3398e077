"""The real Claude Agent SDK, Claude Code and Codex, by the examples of the page: recorded here, replayed in a fresh clone elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.agent_server import AgentServer
from support.fences import read_files, write_files
from support.git import git

from pytest_llmops._util.option_modes import CLIENTS
from pytest_llmops.cassettes.clients import load_presets

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "from-claude-code-or-codex.md"
ENVIRONMENT = ROOT / ".venv" / "agents"
PYTHON = ENVIRONMENT / "bin" / "python"
TIMEOUT_S = 300
SKILL = "---\nname: orders\ndescription: How to look up an order.\n---\nRead order.txt in the project.\n"
FILES = {
    "shop/order.txt": "order 42: shipped\n",
    "shop/CLAUDE.md": "Answer in one sentence.\n",
    "shop/AGENTS.md": "Answer in one sentence.\n",
    "shop/.claude/skills/orders/SKILL.md": SKILL,
    "shop/.agents/skills/orders/SKILL.md": SKILL,
}
TESTS = ["test_shop.py", "test_claude_code.py", "test_codex.py"]
# Examples of the page that `test_gemini_opencode.py` runs
OTHER_FILES = {"shop/.gemini/settings.json", "test_gemini.py", "shop/opencode.json", "test_opencode.py"}
PACKAGES = {
    "claude-agent": "Claude Code and the Claude Agent SDK",
    "codex": "Codex (`codex exec`)",
    "gemini-cli": "Gemini CLI (`gemini -p`)",
    "opencode": "opencode (`opencode run`)",
}

pytestmark = pytest.mark.slow


def find_program(pattern: str) -> Path | None:
    return next((path for path in sorted(ENVIRONMENT.glob(pattern)) if path.is_file()), None)


def find_programs() -> dict[str, Path]:
    """The command lines by their names; skips the test without them."""
    programs = {
        "claude": find_program("lib/python*/site-packages/claude_agent_sdk/_bundled/claude"),
        "codex": find_program("node/node_modules/@openai/codex-*/vendor/*/bin/codex"),
    }
    missing = [name for name, path in programs.items() if path is None]
    if missing or not PYTHON.exists():
        reason = f"the environment of the coding agents is not there: {ENVIRONMENT} (make agents sets it up): {missing}"
        if os.environ.get("LLMOPS_REQUIRE_AGENTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return {name: path for name, path in programs.items() if path is not None}


def write_page(folder: Path) -> None:
    """Write the examples of the page, and what the agent works on."""
    examples = read_files("how-to/from-claude-code-or-codex")
    assert set(examples) == {"pytest.ini", "shop_agent.py", *TESTS, *OTHER_FILES}
    write_files(
        folder, {name: text for name, text in {**FILES, **examples}.items() if name not in OTHER_FILES}
    )


@dataclass(frozen=True)
class Machine:
    """A folder with a project in it, a home and a user of its own.

    The plugin is that of the checkout; the SDK comes from the environment of the agents, whose Python runs pytest.
    """

    folder: Path
    user: str

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def home(self) -> Path:
        return self.folder / f"home-of-{self.user}"

    def run(self, *arguments: str, **variables: str) -> tuple[str, list[dict[str, Any]]]:
        """Run pytest; return its output, and the calls of all tests."""
        programs = self.folder / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)
        for name, path in find_programs().items():
            (programs / name).unlink(missing_ok=True)
            (programs / name).symlink_to(path)
        site = Path(pytest.__file__).parents[1]
        environ = {
            "PATH": os.pathsep.join((str(programs), os.environ["PATH"])),
            "HOME": str(self.home),
            "USER": self.user,
            "LOGNAME": self.user,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))),
            **variables,
        }
        report = self.folder / "run.json"
        done = subprocess.run(
            [str(PYTHON), "-m", "pytest", "-p", "no:cacheprovider", f"--llm-report={report}", *arguments],
            cwd=self.project, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert report.exists(), done.stdout + done.stderr
        records = json.loads(report.read_text(encoding="utf-8"))["records"]
        return done.stdout, [call for record in records for call in record["calls"]]

    def read_ids(self) -> list[str]:
        """The ids that the clients have given to this machine."""
        settings = json.loads((self.home / ".claude.json").read_text(encoding="utf-8"))
        ids = [
            settings["userID"],
            (self.home / ".codex" / "installation_id").read_text(encoding="utf-8").strip(),
        ]
        assert all(len(text) > 20 for text in ids)
        return ids


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine of the one who records; the server is gone afterwards."""
    find_programs()
    machine = Machine(tmp_path_factory.mktemp("first"), "agnes")
    write_page(machine.project)
    with AgentServer() as server:
        output, calls = machine.run(
            "--llm-record=new",
            ANTHROPIC_BASE_URL=server.url,
            OPENAI_BASE_URL=f"{server.url}/v1",
            ANTHROPIC_API_KEY="key-of-agnes-for-claude-1234",
            CODEX_API_KEY="key-of-agnes-for-codex-1234",
        )
        assert "3 passed" in output, output
        assert len(calls) == server.count == 9, [seen.path for seen in server.seen]
    git(machine.project, "init", "-q")
    git(machine.project, "add", "-A")
    git(machine.project, "commit", "-q", "-m", "Recorded")
    return machine


def clone(recorded: Machine, folder: Path) -> Machine:
    machine = Machine(folder / "other", "bo")
    machine.project.parent.mkdir(parents=True)
    git(recorded.project, "clone", "-q", str(recorded.project), str(machine.project))
    return machine


@pytest.mark.slow
def test_a_fresh_clone_replays_on_another_machine_and_nothing_says_who_recorded(
    recorded: Machine, tmp_path: Path
) -> None:
    cassettes = {
        path.parent.name: path.read_text(encoding="utf-8")
        for path in recorded.project.rglob("cassettes/**/*.json")
    }
    assert len(cassettes) == 3
    day = re.compile(r"\d{4}-\d\d-\d\dT|current_date|Today's date is")
    for name, text in cassettes.items():
        for identity in (str(recorded.folder), recorded.folder.name, "agnes", *recorded.read_ids()):
            assert identity not in text, (name, identity)
        assert not day.search(text), name
        assert "[this-folder]" in text, name
    other = clone(recorded, tmp_path)
    settings = {name: other.folder / name for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME")}
    for folder in settings.values():
        folder.mkdir()
    output, calls = other.run(**{name: str(folder) for name, folder in settings.items()})
    assert "3 passed" in output, output
    assert len(calls) == 9
    assert all(call["replayed"] for call in calls)
    # The recorded text has the folder of the replay, in which the tools have run.
    assert sum(f"see {other.project}/shop/order.txt" in (call.get("output") or "") for call in calls) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "old", "new"),
    [
        (["test_shop.py", "test_codex.py"], "Where is order 42?", "When comes order 42?"),
        (["shop/order.txt"], "order 42: shipped", "order 42: lost"),
        (
            ["shop/.claude/skills/orders/SKILL.md", "shop/.agents/skills/orders/SKILL.md"],
            "Read order.txt in the project.",
            "Read order.txt at once.",
        ),
    ],
    ids=["prompt", "result", "skill"],
)
def test_a_change_is_a_miss_that_shows_just_this(
    recorded: Machine, files: list[str], old: str, new: str, tmp_path: Path
) -> None:
    other = clone(recorded, tmp_path)
    for name in files:
        path = other.project / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    output, _ = other.run("test_shop.py", "test_codex.py", "--tb=short", "-rN", "--show-capture=no")
    shown = re.findall(r"^(?:E +)?    ([-+] .*)$", output, re.MULTILINE)
    assert sum("no recording answers POST" in line for line in output.splitlines()) >= 2, output
    for start in range(0, len(shown), 2):
        before, after = shown[start : start + 2]
        assert (before[0], after[0]) == ("-", "+"), output
        assert before.endswith(old), output
        assert after.endswith(new), output
    assert len(shown) >= 4, output


def format_table() -> str:
    """The table of clients at the end of the page."""
    rows = []
    for preset in load_presets(CLIENTS):
        rows.append(f"| `{preset.name}` | {PACKAGES[preset.name]} | {', '.join(preset.tested)} |")
    return "\n".join(rows) + "\n"


def test_the_page_names_the_versions() -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, mark, _ = text.partition("| in `llm_clients` | client | tried with |\n|---|---|---|\n")
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        PAGE.write_text(head + mark + format_table(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == head + mark + format_table()


def test_the_versions_are_those_that_were_run() -> None:
    programs = find_programs()
    tested = {preset.name: preset.tested[-1] for preset in load_presets(CLIENTS)}
    for name, program in (("claude-agent", "claude"), ("codex", "codex")):
        command = [str(programs[program]), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        assert tested[name] in done.stdout
