"""``llmops merge``: recordings, notes and facts of shards become those of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cassettes import answer, entry, journalled, merged, request, texts
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cassettes.store import Interaction, read_recording_day
from pytest_llmops.cli.merge import _merge_runs, merge_recordings
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import Run, TestRecord

CASSETTE = "cassettes/a.json"


def make(key: str = "k", **takes: list[dict[str, Any]]) -> dict[str, Interaction]:
    """Return a cassette with one request; take ``t0`` is trial 0."""
    answers = {take.removeprefix("t"): given for take, given in takes.items()}
    return {key: Interaction(f"#{key}", key, request(1), answers)}


def dated(text: str, day: str = "", **more: Any) -> dict[str, Any]:
    return {**answer(text), **({"recorded": day} if day else {}), **more}


A, B, C = map(answer, "abc")


def merge(
    project: dict[str, Interaction], *shards: dict[str, Interaction], is_replaced: bool = False
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the answers by key and take; the shards are "s0", "s1" ..."""
    named = {f"s{number}": shard for number, shard in enumerate(shards)}
    result = merge_recordings(project, named, replace=is_replaced)
    return {interaction.key: interaction.answers for interaction in result}


def test_requests_and_takes_of_all_shards_come_together() -> None:
    project = make(t0=[A])
    other = make("other", t0=[C], t7=[B])
    shards = [make(t0=[A], t1=[B]), {**make(t2=[C]), **other}, {}]
    assert merge(project, *shards) == {
        "k": {"0": [A], "1": [B], "2": [C]},
        "other": {"0": [C], "7": [B]},
    }
    assert project == make(t0=[A])
    assert other == make("other", t0=[C], t7=[B])
    assert merge({}, {}) == {}
    assert merge(project) == {"k": {"0": [A]}}


@pytest.mark.parametrize(
    ("project", "shards", "result"),
    [
        ([A], [[A, B]], [A, B]),
        ([A, B], [[A]], [A, B]),
        ([A], [[A, B], [A, B, C]], [A, B, C]),
        ([A], [[A, B, C], [A, B]], [A, B, C]),
        ([A], [[A], [A, B]], [A, B]),
        ([A, B], [[]], [A, B]),
    ],
)
def test_the_longer_list_of_answers_is_taken(
    project: list[dict[str, Any]], shards: list[list[dict[str, Any]]], result: list[dict[str, Any]]
) -> None:
    assert merge(make(t0=project), *(make(t0=shard) for shard in shards)) == {"k": {"0": result}}
    assert merge(make(t0=project), *(make(t0=shard) for shard in shards), is_replaced=True) == {
        "k": {"0": result}
    }


def test_only_a_replacing_shard_changes_an_answer_of_the_project() -> None:
    with pytest.raises(UsageError, match=r"#k \(key k, take 0\).* s0 ") as error:
        merge(make(t0=[A]), make(t0=[B]))
    check_message(error.value)
    assert merge(make(t0=[A, C]), make(t0=[B]), is_replaced=True) == {"k": {"0": [B]}}
    # A shard that still has the answer of the project changes nothing.
    assert merge(make(t0=[A]), make(t0=[B]), make(t0=[A]), is_replaced=True) == {"k": {"0": [B]}}


@pytest.mark.parametrize("is_replaced", [False, True])
def test_two_shards_with_different_answers_are_refused(is_replaced: bool) -> None:
    with pytest.raises(UsageError, match=r"s1.*s0") as error:
        merge({}, make(t0=[B]), make(t0=[C]), is_replaced=is_replaced)
    check_message(error.value)
    with pytest.raises(UsageError, match=r"s2.*s1"):
        merge(make(t0=[A]), make(t0=[A]), make(t0=[A, B]), make(t0=[A, C]), is_replaced=is_replaced)


def test_times_do_not_make_answers_different_and_the_latest_day_counts() -> None:
    first = dated("a", "2026-02-01", latency=1.0)
    again = dated("a", "2026-03-01", latency=2.0)
    assert merge(make(t0=[first]), make(t0=[again])) == {"k": {"0": [again]}}
    assert merge(make(t0=[again]), make(t0=[first])) == {"k": {"0": [again]}}
    assert merge(make(t0=[dated("a")]), make(t0=[first])) == {"k": {"0": [first]}}
    late = [first, dated("b", "2026-05-01")]
    early = [again, dated("b", "2026-04-01")]
    assert merge(make(t0=early), make(t0=late)) == {"k": {"0": late}}


def test_notes_and_facts_of_shards_come_together() -> None:
    errors: list[dict[str, Any]] = [{"module": "a.py", "why": "x"}, {"module": "b.py", "why": "y"}]
    meta: dict[str, Any] = {"commit": "c", "versions": {"v": "1"}, "created": "first"}
    first = Run(
        records=(TestRecord(nodeid="t2"),),
        notes=("doubt", "both", "plain"),
        meta={**meta, "doubts": 2, "other_tests": {"passed": 2, "odd": "x"}, "collection_errors": errors[:1]},
    )
    second = Run(
        records=(TestRecord(nodeid="t1"), TestRecord(nodeid="t3")),
        notes=("late doubt", "doubt", "both"),
        meta={
            **meta,
            "created": "second",
            "doubts": 1,
            "other_tests": {"passed": 3, "failed": 1},
            "collection_errors": [{"module": "a.py", "why": "again"}, errors[1]],
        },
    )
    run = _merge_runs({"one": first, "two": second})
    assert [record.nodeid for record in run.records] == ["t1", "t2", "t3"]
    assert run.notes == ("doubt", "both", "late doubt", "plain")
    assert run.meta == {
        **meta,
        "doubts": 3,
        "other_tests": {"passed": 5, "failed": 1},
        "collection_errors": errors,
    }


def test_shards_without_doubts_errors_and_other_tests_have_no_such_facts() -> None:
    shards = {name: Run(records=(), notes=("n",), meta={"doubts": "x"}) for name in "ab"}
    run = _merge_runs(shards)
    assert (run.notes, run.meta) == (("n",), {"doubts": "x"})


@pytest.mark.parametrize(
    ("other", "subject"),
    [
        (Run(records=(), meta={"commit": "d", "versions": {}}), "two: .* commit .*one"),
        (Run(records=(), meta={"commit": "c", "versions": {"v": "2"}}), "two: .* versions .*one"),
        (
            Run(
                records=(TestRecord(nodeid="t1"), TestRecord(nodeid="t2")),
                meta={"commit": "c", "versions": {}},
            ),
            "t1 in one, two",
        ),
    ],
)
def test_runs_that_are_not_shards_of_one_run_are_refused(other: Run, subject: str) -> None:
    records = (TestRecord(nodeid="t1"), TestRecord(nodeid="t2"))
    one = Run(records=records, meta={"commit": "c", "versions": {}})
    with pytest.raises(UsageError, match=subject) as error:
        _merge_runs({"one": one, "two": other})
    check_message(error.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return folder


@pytest.mark.slow
def test_cassettes_and_journals_of_shards_are_merged_into_the_project(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged(project / CASSETTE, entry(1))
    one, two = project / "one", project / "two"
    merged(one / CASSETTE, entry(1), entry(2))
    journalled(two / CASSETTE, entry(3))
    merged(two / "cassettes/b.json", entry(4))
    day = read_recording_day(one / CASSETTE)
    assert cli.main(["merge", "one", "two"]) == 0
    check_message(capsys.readouterr().out)
    assert texts(project / CASSETTE) == {f"key-{n}": {"0": [f"answer {n}"]} for n in (1, 2, 3)}
    assert texts(project / "cassettes/b.json") == {"key-4": {"0": ["answer 4"]}}
    assert read_recording_day(project / CASSETTE) == day
    assert day != ""


def test_a_contradiction_leaves_all_files_as_they_are(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged(project / CASSETTE, entry(1))
    merged(project / "one" / CASSETTE, entry(1, "other"))
    merged(project / "one/cassettes/0.json", entry(2))
    before = (project / CASSETTE).read_bytes()
    assert cli.main(["merge", "one"]) == 2
    check_message(capsys.readouterr().err)
    assert (project / CASSETTE).read_bytes() == before
    assert not (project / "cassettes/0.json").exists()
    assert cli.main(["merge", "one", "--replace"]) == 0
    assert texts(project / CASSETTE) == {"key-1": {"0": ["other"]}}


def test_folders_without_cassettes_or_with_damaged_ones_are_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "one").mkdir()
    assert cli.main(["merge", "one"]) == 2
    check_message(capsys.readouterr().err)
    merged(project / "one" / CASSETTE, entry(1))
    merged(project / "one/cassettes/b.json", entry(2))
    damaged = project / "one/cassettes/b.json"
    damaged.write_text(damaged.read_text()[:-20])
    assert cli.main(["merge", "one"]) == 1
    check_message(capsys.readouterr().err)
    assert not (project / CASSETTE).exists()


def write_shard(path: Path, *records: TestRecord, **meta: Any) -> None:
    path.write_text(Run(records=records, meta=meta).to_json())


def read_run(path: Path) -> Run:
    return Run.from_json(path.read_text())


def test_run_files_need_a_file_for_the_merged_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shard(project / "1.json", TestRecord(nodeid="t"))
    (project / "one").mkdir()
    assert cli.main(["merge", "1.json"]) == 2
    check_message(capsys.readouterr().err)
    assert cli.main(["merge", "one", "-o", "out.json"]) == 2
    check_message(capsys.readouterr().err)
    assert cli.main(["merge", "1.json", "./1.json", "-o", "out.json"]) == 2
    check_message(capsys.readouterr().err)
    assert not (project / "out.json").exists()


@pytest.mark.parametrize("is_strict", [False, True])
def test_run_files_become_one_run(project: Path, capsys: pytest.CaptureFixture[str], is_strict: bool) -> None:
    failed = TestRecord(
        nodeid="t.py::t2",
        outcome="failed",
        message="E  boom",
        measurements=(Measurement(name="text.contains", value=0.0),),
    )
    write_shard(project / "1.json", failed, settings={"trials": 2})
    write_shard(project / "2.json", TestRecord(nodeid="t.py::t1"), settings={"trials": 2})
    words = ["--llm-strict"] if is_strict else []
    assert cli.main(["merge", "1.json", "2.json", "-o", "out.json", *words]) == 1
    run = read_run(project / "out.json")
    assert [record.nodeid for record in run.records] == ["t.py::t1", "t.py::t2"]
    assert run.meta["settings"] == ({"trials": 2, "strict": True} if is_strict else {"trials": 2})
    check_message(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("github", "is_written"), [("off", False), ("", True)])
def test_the_job_summary_gets_the_merged_run_unless_it_is_off(
    project: Path, monkeypatch: pytest.MonkeyPatch, github: str, is_written: bool
) -> None:
    (project / "pytest.ini").write_text(f"[pytest]\nllm_github = {github}\n" if github else "[pytest]\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project / "summary.md"))
    write_shard(project / "1.json", TestRecord(nodeid="t"))
    assert cli.main(["merge", "1.json", "-o", "out.json"]) == 0
    assert (project / "summary.md").exists() is is_written


def test_a_job_summary_that_cannot_be_written_is_no_error(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project))
    write_shard(project / "1.json", TestRecord(nodeid="t"))
    assert cli.main(["merge", "1.json", "-o", "out.json"]) == 0
    assert read_run(project / "out.json").records == (TestRecord(nodeid="t"),)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("report ")]
    check_message(line)
