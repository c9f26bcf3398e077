"""llmops baseline and llmops merge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.page import read_data
from support.reports import gate_of, make_gate

from pytest_llmops.baselines.baseline import Acceptance, Baseline, summarize_test
from pytest_llmops.baselines.gate import describe_baseline
from pytest_llmops.cli import main
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange


def record(case: int, *scores: float, nodeid: str = "test_a.py::test_a") -> TestRecord:
    measurement = Measurement(name="judge.tone", value=sum(scores) / len(scores), samples=scores)
    return TestRecord(nodeid=f"{nodeid}[{case}]", measurements=(measurement,))


def accept(records: list[TestRecord], *reasons: str) -> Baseline:
    history = tuple(
        Acceptance(on=f"2026-11-0{day}T10:00:00+00:00", reason=reason, commit="4f2c1" * 8, tests=len(records))
        for day, reason in enumerate(reasons, start=1)
    )
    return Baseline(tests={item.nodeid: summarize_test(item) for item in records}, history=history)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    noisy = [record(case, 0.5, 1.0, 0.75) for case in range(10)]
    steady = [record(case, 1.0, 1.0, 1.0) for case in range(10, 20)]
    baseline = accept([*noisy, *steady], "first", "shorter answers")
    (tmp_path / "llmops-baseline.json").write_text(baseline.to_text())
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    status = main(argv)
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_show_and_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "baseline", "show")[1].splitlines() == [
        "llmops-baseline.json, accepted 2026-11-02 after 4f2c14f (shorter answers)",
        "20 tests, accepted 2 times",
        "  judge.tone  mean 0.88, 20 cases with 3 trials",
    ]
    assert run(capsys, "baseline", "log")[1].splitlines() == [
        "2026-11-02 10:00  4f2c14f  20 tests  shorter answers",
        "2026-11-01 10:00  4f2c14f  20 tests  first",
    ]
    assert json.loads(run(capsys, "baseline", "log", "--json")[1])[0]["reason"] == "shorter answers"
    assert json.loads(run(capsys, "baseline", "show", "--json")[1])["metrics"][0]["cases"] == 20


def test_sessions_and_marks_of_acceptances_are_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = "2026-11-01T10:00:00+00:00", "2026-11-02T11:30:00+00:00"
    baseline = accept([record(case, 0.5, 1.0, 0.75) for case in range(3)])
    tests = {nodeid: replace(test, sessions={first: 2, second: 1}) for nodeid, test in baseline.tests.items()}
    history = (
        Acceptance(on=first, reason="first", commit="4f2c1" * 8, tests=3),
        Acceptance(on=second, reason="more", tests=1, added=True, partial=True, forced=True),
        Acceptance(tests=2, partial=True, reason="part"),
    )
    (folder / "llmops-baseline.json").write_text(Baseline(tests=tests, history=history).to_text())
    sessions = [
        "  2026-11-01 10:00  3 tests with 2 trials  first",
        "  2026-11-02 11:30  3 tests with 1 trial  more",
    ]
    shown = run(capsys, "baseline", "show")[1].splitlines()
    assert shown[3:] == ["2 sessions", *sessions]
    power = run(capsys, "baseline", "power")[1].splitlines()
    assert power[-3:] == ["2 sessions:", *sessions]
    assert run(capsys, "baseline", "log")[1].splitlines() == [
        "-  -        2 tests (partial)  part",
        "2026-11-02 11:30  -        1 test (added as a session, partial, forced)  more",
        "2026-11-01 10:00  4f2c14f  3 tests  first",
    ]


def test_power_is_computed_from_the_baseline_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "baseline", "power")
    assert status == 0
    # Ten cases with a variance of 0.0625, ten with none, two degrees of freedom each: 17.7 points.
    assert "noise     17.7 points between trials of a case" in text
    # 2.486 times sqrt(0.03125 (1/3 + 1/k) / 20).
    assert (
        "8 of 10 runs a drop of 11.3 points with 1 trial, 8.0 points with 3 trials, 7.2 points with 5 trials"
        in text
    )
    assert "steady    10 cases" in text
    assert "noisy     test_a.py::test_a[0]  20.4 points" in text
    document = json.loads(run(capsys, "baseline", "power", "--json")[1])
    assert document[0]["detectable"]["3"] == pytest.approx(0.0803, abs=1e-4)


def test_power_of_single_trials_says_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "llmops-baseline.json").write_text(accept([record(1, 0.5)], "first").to_text())
    assert "accept a run with --llm-trials=3 or more" in run(capsys, "baseline", "power")[1]


def test_flaky_cases_have_a_flip_rate_and_an_age(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def accepted(day: int, *records: TestRecord, partial: bool = False) -> Baseline:
        latest = Acceptance(on=f"2026-11-0{day}T10:00:00+00:00", reason="x", partial=partial)
        return Baseline(tests={item.nodeid: summarize_test(item) for item in records}, history=(latest,))

    steady, flaky, graded = record(0, 1.0, 1.0, 1.0), record(1, 1.0, 0.0, 1.0), record(2, 0.5, 1.0, 0.5)
    baseline = Baseline().accept(accepted(1, steady, flaky, graded))
    baseline = baseline.accept(accepted(2, record(0, 1.0, 1.0, 0.0, 0.0), record(1, 1.0, 0.0), graded))
    baseline = baseline.accept(accepted(3, graded, partial=True))
    (folder / "llmops-baseline.json").write_text(baseline.to_text())
    text = run(capsys, "baseline", "power")[1]
    assert "flaky     test_a.py::test_a[1]  100% of its pairs of trials differ, since 2026-11-01\n" in text
    assert "flaky     test_a.py::test_a[0]  67% of its pairs of trials differ, since 2026-11-02\n" in text
    (metric,) = json.loads(run(capsys, "baseline", "power", "--json")[1])
    assert [flaky_test["test"] for flaky_test in metric["flaky"]] == [
        "test_a.py::test_a[1]",
        "test_a.py::test_a[0]",
    ]
    settled = baseline.accept(accepted(4, steady, record(1, 0.0, 0.0), graded))
    assert {test.flaky_since for test in settled.tests.values()} == {""}


def test_diff_lists_the_scores_that_differ(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "old.json").write_text(accept([record(0, 1.0), record(99, 1.0)], "old").to_text())
    status, text = run(capsys, "baseline", "diff", "old.json")
    assert status == 0
    assert "  test_a.py::test_a[0]  judge.tone  1.00 -> 0.75\n" in text
    assert "  test_a.py::test_a[99]  judge.tone  1.00 -> -\n" in text
    assert json.loads(run(capsys, "baseline", "diff", "old.json", "--json")[1])["changes"][0]["old"] == 1.0


@pytest.mark.parametrize(
    ("words", "argument"),
    [("diff nosuch", "OLD"), ("diff llmops-baseline.json nosuch", "NEW"), ("show nosuch", "FILE|GITREF")],
)
def test_a_baseline_that_is_not_there_is_reported_with_its_argument(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, argument: str
) -> None:
    status, text = run(capsys, "baseline", *words.split())
    start = f"llmops: {argument}: expected a file, or a commit, branch or tag of git with llmops-baseline.json, got 'nosuch'"
    assert (status, text.startswith(start)) == (2, True), text


def test_without_a_baseline_the_first_step_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "llmops-baseline.json").unlink()
    status, text = run(capsys, "baseline", "show")
    assert (status, text) == (
        2,
        "llmops: no baseline yet; make the first: pytest --llm-accept 'first baseline' [LLM-USAGE]\n",
    )
    assert "expected a file, or a commit, branch or tag" in run(capsys, "baseline", "show", "nosuch")[1]


def write_shards(folder: Path, *shards: list[TestRecord], commit: str = "a") -> list[str]:
    names = []
    for number, records in enumerate(shards):
        meta: dict[str, Json] = {"commit": commit, "versions": {"python": "3.11"}}
        name = f"run-{commit}-{number}.json"
        (folder / name).write_text(Run(records=tuple(records), meta=meta).to_json())
        names.append(name)
    return names


@pytest.mark.slow
def test_shards_are_merged_and_judged_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [[record(case, 0.25, 0.25, 0.5) for case in range(start, 20, 2)] for start in (0, 1)]
    status, text = run(capsys, "merge", *write_shards(folder, *shards), "-o", "run.json")
    assert status == 1
    assert "RED       The suite got worse by 5" in text
    merged = Run.from_json((folder / "run.json").read_text())
    assert len(merged.records) == 20
    assert gate_of(merged).status == "RED"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    assert run(capsys, "merge", *write_shards(folder, *shards), "-o", "run.html")[0] == 1
    assert (folder / "summary.md").read_text().startswith("\n## 🔴 RED: the suite got worse by ")
    headline = read_data((folder / "run.html").read_text(encoding="utf-8"))["headline"]
    assert (headline["word"], headline["sentence"][:22]) == ("RED", "The suite got worse by")


def test_outputs_that_a_shard_found_reach_the_merged_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Baseline.from_bytes((folder / "llmops-baseline.json").read_bytes(), where="b")
    names = write_shards(folder, *([record(case, 0.25) for case in range(start, 20, 2)] for start in (0, 1)))
    lines = (describe_baseline(stored, "llmops-baseline.json"), "another baseline")
    for case, (name, baseline) in enumerate(zip(names, lines, strict=True)):
        change = CaseChange(
            nodeid=f"test_a.py::test_a[{case}]", kind="regressed", before_output=f"was {case}"
        )
        shard = Run.from_json((folder / name).read_text())
        verdict = make_gate(baseline=baseline, changes=(change,))
        (folder / name).write_text(replace(shard, verdicts=(verdict,)).to_json())
    run(capsys, "merge", *names, "-o", "run.json")
    merged = gate_of(Run.from_json((folder / "run.json").read_text()))
    assert [change.before_output for change in merged.changes if change.before_output] == ["was 0"]


def test_one_shard_alone_lacks_tests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = write_shards(folder, [record(case, 1.0) for case in range(10)])
    status, text = run(capsys, "merge", name, "-o", "run.json")
    assert status == 1
    assert "10 of 20 tests of the baseline did not run" in text


def test_shards_that_do_not_belong_together_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = [record(1, 1.0)], [record(2, 1.0)]
    twice = write_shards(folder, first, first)
    status, text = run(capsys, "merge", *twice, "-o", "run.json")
    assert status == 2
    assert "1 test ran in several shards (test_a.py::test_a[1] in run-a-0.json, run-a-1.json)" in text
    names = [write_shards(folder, first, commit="a")[0], write_shards(folder, other, commit="b")[0]]
    status, text = run(capsys, "merge", *names, "-o", "run.json")
    assert status == 2
    assert "run-b-0.json: expected the same commit as run-a-0.json (a), got b" in text
    assert not (folder / "run.json").exists()
    status, text = run(capsys, "merge", names[0], f"./{names[0]}", "-o", "run.json")
    assert (status, "run-a-0.json twice" in text) == (2, True)
    assert run(capsys, "merge", names[0], "-o", names[0])[0] == 2
