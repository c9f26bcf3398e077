"""Writes ``tests/upgrade/VERSION``: the files of a user's project as this version of the package writes them.

    .venv/bin/python tests/upgrade/make_set.py

Run it before a release, and commit the folder. `test_upgrade.py` reads the sets of all versions with the code of today. A set is never
written again: it is what users have.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent)]

from support.cassettes import entry, journalled  # noqa: E402 -- the path is set above
from support.knowing_judge import KnowingJudge  # noqa: E402
from support.server import Reply, Seen, StubServer  # noqa: E402

import pytest_llmops  # noqa: E402

USAGE = ".pytest_cache/v/llmops/usage"


class Shop(KnowingJudge):
    """The model and the judge of the project."""

    def answer(self, seen: Seen) -> Reply:
        if "response_format" in seen.json:
            return super().answer(seen)
        return StubServer.answer(self, seen)


def run(project: Path, url: str, *command: str) -> None:
    """Run a module of Python in the project.

    Raises:
        RuntimeError: It failed.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "LLMOPS", "CI"))
    }
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env={**environment, "SHOP_URL": f"{url}/v1", "PYTHONPATH": str(FOLDER.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{' '.join(command)}: {done.returncode}")
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\n{done.stderr}")


def write_files(project: Path) -> None:
    """Let the package write all files that it writes for a user."""
    with Shop(["At nine.", "In Leipzig."]) as server:
        live = f"--llm-base-url={server.url}/v1"
        llmops = "pytest_llmops"
        run(project, server.url, "pytest", "--llm-record=new", "--llm-judge", live)
        run(
            project,
            server.url,
            "pytest",
            "--llm-judge",
            "--llm-accept",
            "as it was released",
            "--llm-report=run.json",
        )
        run(project, server.url, "pytest", "--llm-judge", "--llm-report=run.json.gz")
        judge = (
            "judges/fits.md",
            "labels/fits.jsonl",
            "--record",
            "new",
            "--base-url",
            f"{server.url}/v1",
            "--model",
            "stub-1",
        )
        limits = (
            "--at-least-kappa",
            "0",
            "--at-least-kappa-lower",
            "-1",
            "--at-least-labels",
            "2",
            "--at-least-tnr",
            "0",
        )
        run(
            project,
            server.url,
            llmops,
            "judge",
            "calibrate",
            *judge,
            *limits,
            "--out",
            "judges/fits.calibration.json",
        )
        run(project, server.url, llmops, "cases", "from-feedback", "events.jsonl")
        run(project, server.url, llmops, "cases", "from-traces", "traces.jsonl", "--cassette")
        run(
            project,
            server.url,
            llmops,
            "semantic",
            "calibrate",
            "pairs.jsonl",
            "--embedder",
            "hashing",
            "--out",
            "threshold.json",
        )
        run(
            project,
            server.url,
            llmops,
            "prompts",
            "alias",
            "answer",
            "production",
            "v2",
            "--reason",
            "shorter",
        )
        run(project, server.url, llmops, "prompts", "alias", "answer", "production", "v1", "--reason", "back")
    journal = journalled(project / "cassettes" / "killed.json", entry(1), entry(2))
    journal.rename(project / "killed.journal.txt")
    shutil.copy(project / USAGE, project / "usage.json")


def hide_path(project: Path) -> None:
    """Replace the path of the project on this machine in what was written."""
    path, user_path = str(project).encode(), b"/home/user/shop"
    for file in project.rglob("*.json"):
        file.write_bytes(file.read_bytes().replace(path, user_path))
    run_file = project / "run.json.gz"
    content = gzip.decompress(run_file.read_bytes()).replace(path, user_path)
    run_file.write_bytes(gzip.compress(content, mtime=0))


def make_set(target: Path) -> None:
    """Write a set into a folder that does not exist yet."""
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary, "shop")
        shutil.copytree(FOLDER / "project", project)
        (project / "test_shop.py.txt").rename(project / "test_shop.py")
        write_files(project)
        (project / "test_shop.py").rename(project / "test_shop.py.txt")
        hide_path(project)
        ignored = shutil.ignore_patterns("__pycache__", ".*", "*.gitignore")
        shutil.copytree(project, target, ignore=ignored)


if __name__ == "__main__":
    make_set(FOLDER / pytest_llmops.__version__)
