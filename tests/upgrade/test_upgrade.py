"""What an older version of the package has written is read: replayed green, compared green, and found again in each file.

``make_set.py`` writes the set of a version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_llmops
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.baselines.stored_answers import outputs_path, read_answers
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.traces.tape_file import read_tape
from pytest_llmops.cassettes.usage_record import RunUsage
from pytest_llmops.cli.common import read_run_file
from pytest_llmops.cli.prompt_aliases import read_moves
from pytest_llmops.judges.calibration.record import JudgeRecord
from pytest_llmops.production.review_queue import read_queue
from pytest_llmops.semantics.thresholds import Threshold

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SETS = sorted(path for path in FOLDER.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", path.name))
MAX_BYTES = 300_000  # of a set
DAY_OF_RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)", re.MULTILINE)


@pytest.fixture(params=SETS, ids=lambda path: path.name)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The project of a user who had this version until now."""
    folder = tmp_path / "shop"
    shutil.copytree(request.param, folder)
    (folder / "test_shop.py.txt").rename(folder / "test_shop.py")
    return folder


def run(project: Path, *command: str) -> str:
    """Run a module of Python in the project, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def list_cassettes(project: Path) -> list[Path]:
    return sorted(project.glob("cassettes/**/*.json"))


def test_each_released_version_has_a_set() -> None:
    """Versions with a day in the changelog; that of the code gets its set before its release."""
    released = set(DAY_OF_RELEASE.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    sets = {path.name for path in SETS}
    assert released - sets == set()
    assert pytest_llmops.__version__ in sets


def test_a_set_is_small() -> None:
    sizes = {
        path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in SETS
    }
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}


@pytest.mark.slow
def test_recordings_are_replayed_and_the_baseline_compares_green(project: Path) -> None:
    before = {path: path.read_bytes() for path in list_cassettes(project)}
    run(project, "pytest", "--llm-judge", "--llm-report=new.json")
    assert {path: path.read_bytes() for path in list_cassettes(project)} == before
    now = read_run_file(project / "new.json")
    assert [record.outcome for record in now.records] == ["passed"] * len(now.records)
    assert [verdict.status for verdict in now.verdicts] == ["GREEN"]
    run(project, "pytest_llmops", "report", "run.json", "new.json", "-o", "trend.html")
    run(project, "pytest_llmops", "merge", "run.json", "-o", "merged.json")
    assert len(read_run_file(project / "merged.json").records) == len(now.records)
    run(project, "pytest_llmops", "cassettes", "check")


def test_run_files_and_the_baseline_have_the_tests(project: Path) -> None:
    baseline = Baseline.from_bytes((project / "llmops-baseline.json").read_bytes(), where="baseline")
    names = set(baseline.tests)
    assert len(names) == 6
    assert baseline.history[-1].reason == "as it was released"
    answers = read_answers(outputs_path(project / "llmops-baseline.json"), baseline.history[-1].on)
    assert set(answers.outputs) == names
    assert answers.requests
    for name in ("run.json", "run.json.gz"):
        records = read_run_file(project / name).records
        assert {record.nodeid for record in records if record.measurements} == names
        assert sum(len(record.calls) for record in records) > len(names)


def test_recordings_journals_and_the_usage_record_have_the_answers(project: Path) -> None:
    cassettes = {
        path.relative_to(project).as_posix(): store.load_cassette(path) for path in list_cassettes(project)
    }
    assert all(cassettes.values())
    usage = RunUsage.from_wire(json.loads((project / "usage.json").read_bytes()))
    assert set(usage.files) <= set(cassettes)
    assert usage.complete
    killed = project / "cassettes" / "killed.json"
    journal = killed.parent / ".journal" / "killed.json.0-1-a.journal"
    journal.parent.mkdir()
    (project / "killed.journal.txt").rename(journal)
    assert set(store.load_with_journals(killed)) == {"key-1", "key-2"}


def test_judges_prompts_and_the_feedback_have_what_was_written(project: Path) -> None:
    assert JudgeRecord.load(project / "judges/fits.calibration.json").judge == "fits"
    moves = read_moves(project / "prompts/answer/aliases.log")
    assert [move["new"] for move in moves] == ["v2", "v1"]
    assert {entry.input for entry in read_queue(project / "cases/queue.jsonl")} >= {"Is the tent dry?"}
    (tape,) = project.glob("cases/traces/*.json")
    assert [call.answer.text for call in read_tape(tape).calls if call.answer] == ["", "We send a new one."]
    assert Threshold.load(project / "threshold.json").embedder == "hashing"
