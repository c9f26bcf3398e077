"""A suite in several working copies, or as jobs of a matrix: recordings and run files come together with `llmops merge`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.project import Project
from support.reports import gate_of

from pytest_llmops.cassettes.journal import Journal, JournalEntry
from pytest_llmops.cassettes.store import Interaction, load_cassette
from pytest_llmops.cli import main
from pytest_llmops.cli.merge import merge_recordings
from pytest_llmops.results.run import Run

SHARED = """
import pytest
from pytest_llmops import assert_fuzzy

@pytest.mark.llm_cassette("shop")
@pytest.mark.parametrize("case", range({first}, {last}))
def test_answer(llm, case):
    assert_fuzzy(llm.complete(f"{word} {{case}}").text, f"echo of say {{case}}", at_least=None)
"""


def write_suite(project: Project, word: str = "say") -> None:
    project.write(
        **{
            "test_a.py": SHARED.format(first=0, last=8, word=word),
            "test_b.py": SHARED.format(first=8, last=12, word=word),
        }
    )


def git(project: Project, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=project.path, check=True, capture_output=True)


def merge(*arguments: str | Path) -> int:
    return main(["merge", *map(str, arguments)])


def cassette(folder: Path) -> dict[str, list[str]]:
    """The takes of a shared cassette by key."""
    result = load_cassette(folder / "cassettes/shop.json")
    return {key: sorted(value.answers) for key, value in result.items()}


def test_jobs_of_a_matrix_record_apart_and_are_judged_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_suite(project)
    assert project.record("--llm-trials=3", "--llm-accept=first").exit == 0
    write_suite(project, word="shout it and say")
    shards = [project.path / f"shard-{number}" for number in (1, 2)]
    for shard, file in zip(shards, ("test_a.py", "test_b.py"), strict=True):
        shutil.copytree(project.path, shard, ignore=shutil.ignore_patterns("shard-*"))
        monkeypatch.chdir(shard)
        live = ["--llm-record=new", f"--llm-base-url={project.server.url}/v1", "--llm-trials=3"]
        assert project.bare(file, f"--llm-report={shard}/run.json", *live).exit == 0
    monkeypatch.chdir(project.path)
    runs = [shard / "run.json" for shard in shards]
    summary = project.path / "summary.md"
    summary.write_text("from another step\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert merge(*runs, *shards, "-o", "run.json", "-o", "run.md") == 1
    assert "== LLM regression: RED ==" in capsys.readouterr().out
    whole = f"from another step\n\n{(project.path / 'run.md').read_text(encoding='utf-8')}"
    assert whole.splitlines()[2].startswith("## 🔴 RED: the suite got worse by ")
    assert summary.read_text(encoding="utf-8") == whole
    ini = project.path / "pytest.ini"
    with_github = ini.read_text(encoding="utf-8")
    ini.write_text(f"{with_github}\nllm_github = off\n", encoding="utf-8")
    merge(*runs, "-o", "run.json")
    assert summary.read_text(encoding="utf-8") == whole
    ini.write_text(with_github, encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path))
    capsys.readouterr()
    assert merge(*runs, "-o", "run.json") == 1
    assert f"report    {project.path}: cannot be written: " in capsys.readouterr().out
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    merged = Run.from_json((project.path / "run.json").read_text(encoding="utf-8"))
    assert len(merged.records) == 12
    everything = {**cassette(shards[0]), **cassette(shards[1])}
    assert cassette(project.path) == everything
    assert len(everything) == 24
    replayed = project.run("--ignore-glob=shard-*", "--llm-trials=3")
    assert replayed.outcomes == {"passed": 12}
    before = (project.path / "cassettes/shop.json").read_bytes()
    assert merge(*shards) == 0  # a second time adds nothing
    assert (project.path / "cassettes/shop.json").read_bytes() == before


def test_the_merged_run_has_the_outputs_of_the_baseline_from_git_or_from_the_shards(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(project)
    project.record("--llm-accept=first")
    (project.path / "llmops-baseline-outputs.json.gz").unlink()
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "the recordings and their baseline")
    write_suite(project, word="shout")
    project.record()
    for number, file in enumerate(("test_a.py", "test_b.py")):
        project.bare(file, f"--llm-report=run-{number}.json")
    monkeypatch.chdir(project.path)

    def old_outputs() -> list[str]:
        merge("run-0.json", "run-1.json", "-o", "run.json")
        verdict = gate_of(Run.from_json((project.path / "run.json").read_text(encoding="utf-8")))
        return sorted(str(change.before_output) for change in verdict.of_kind("regressed"))

    expected = sorted(f"echo of say {case}" for case in range(12))
    (project.path / ".git").rename(project.path / "no-git")
    assert old_outputs() == expected  # the shards had the history
    (project.path / "no-git").rename(project.path / ".git")
    for number in range(2):
        run_file = project.path / f"run-{number}.json"
        document = json.loads(run_file.read_text(encoding="utf-8"))
        run_file.write_text(json.dumps({**document, "verdicts": []}), encoding="utf-8")
    assert old_outputs() == expected


def test_workers_in_working_copies_of_their_own(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(project)
    copies = [tmp_path_factory.mktemp("copies") / f"copy-{number}" for number in (1, 2)]
    for copy in copies:
        shutil.copytree(project.path, copy)
    workers = [f"--tx=popen//chdir={copy}" for copy in copies]
    assert project.record("--dist=load", *workers).outcomes == {"passed": 12}
    assert not (project.path / "cassettes").exists()
    monkeypatch.chdir(project.path)
    assert merge(*copies) == 0
    assert cassette(project.path) == {**cassette(copies[0]), **cassette(copies[1])}
    assert project.run().outcomes == {"passed": 12}


def test_two_answers_to_a_request_are_refused_and_nothing_is_written(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_suite(project)
    project.record()
    shards = [project.path / f"shard-{number}" for number in (1, 2)]
    for number, shard in enumerate(shards):
        shutil.copytree(project.path / "cassettes", shard / "cassettes")
        document = json.loads((shard / "cassettes/shop.json").read_text())
        document["interactions"][0]["answers"]["0"][0]["status"] = 201 + number
        (shard / "cassettes/shop.json").write_text(json.dumps(document))
    shutil.copy(project.path / "cassettes/shop.json", shards[0] / "cassettes/another.json")
    monkeypatch.chdir(project.path)
    before = project.cassettes()
    assert merge(*shards) == 2
    assert (
        f"expected one answer, got another of {shards[0]} than of the project; --replace"
        in capsys.readouterr().err
    )
    assert merge("--replace", *shards) == 2
    output = capsys.readouterr().err
    assert "shop.json: test_a.py::test_answer[0]#001 (key " in output
    assert (
        f"got another of {shards[1]} than of {shards[0]}: record what several shards ask in one job" in output
    )
    assert project.cassettes() == before
    assert merge("--replace", shards[0]) == 0
    assert cassette(project.path) == cassette(shards[0])
    assert (project.path / "cassettes/another.json").exists()
    (shards[0] / "cassettes/another.json").write_text('{"format": 1, "inter')
    assert merge(shards[0]) == 1
    assert "another.json: expected JSON" in capsys.readouterr().err
    assert merge(project.path / "shard-1/none") == 2


def test_the_same_answer_has_the_latest_day_of_its_recording() -> None:
    def recorded(day: str) -> dict[str, Interaction]:
        answer = {"status": 200, "body": {"text": "b"}, "recorded": day}
        request = {"method": "POST", "url": "http://127.0.0.1:1/v1", "body": {"text": "a"}}
        return {"k": Interaction("t#001", "k", request, {"0": [answer]})}

    days = "2026-01-02", "2026-03-04", "2026-02-03"
    project, *shards = map(recorded, days)
    merged = merge_recordings(project, dict(zip(("a", "b"), shards, strict=True)))
    assert [interaction.answers["0"][0]["recorded"] for interaction in merged] == [days[1]]
    assert project == recorded(days[0])


def test_answers_of_a_killed_job_are_merged_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(project)
    shard = project.path / "shard-1"
    journal = Journal(shard / "cassettes/shop.json")
    journal.append(
        JournalEntry(
            by="test_a.py::test_answer[0]#001",
            key="k",
            take="0",
            n=0,
            request={"method": "POST", "url": "http://127.0.0.1:1/v1", "body": {"text": "a"}},
            answer={"status": 200, "body": {"text": "b"}},
        )
    )
    journal.close()
    monkeypatch.chdir(project.path)
    assert merge(shard) == 0
    assert cassette(project.path) == {"k": ["0"]}
    assert journal.paths[0].exists()  # nothing of the shard is touched
