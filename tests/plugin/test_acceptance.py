"""--llm-accept: which file it writes, what stops it, and what it keeps."""

from __future__ import annotations

import json
import subprocess

import pytest
from support.messages import check_message
from support.project import Project, Result
from support.reports import gate_of

from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.baselines.changes import compare_tests
from pytest_llmops.baselines.metric_data import MetricData
from pytest_llmops.baselines.requests import list_answers
from pytest_llmops.cli import main

SUITE = """
from pathlib import Path
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

def nothing(actual, expected=None):
    return 0

@pytest.mark.parametrize("case", range({cases}))
def test_answer(case):
    Path("ran").touch()
    assert_score(quality, str(0.9 - case % 5 / 50), at_least=None)
    assert_score(nothing, "", at_least=None)
    assert case not in {failing}
"""
ACCEPT = "--llm-accept=why"
ANYWAY = ACCEPT.replace("=", "=anyway: ")
OWN = "llmops-baseline.json"


def write_suite(project: Project, cases: int, *failing: int) -> None:
    project.write(**{"test_a.py": SUITE.format(cases=cases, failing=failing)})


def read_baseline(project: Project, name: str = OWN) -> Baseline:
    return Baseline.from_bytes((project.path / name).read_bytes(), where=name)


def git(project: Project, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, *arguments], cwd=project.path, check=True, capture_output=True)


@pytest.mark.parametrize("workers", [2], indirect=True, ids=["n2"])
def test_the_file_that_is_compared_with_is_the_file_that_is_written(project: Project, workers: int) -> None:
    write_suite(project, 3)
    (project.path / "qa").mkdir()
    for name in ("qa/other", "other.json"):
        first = project.run(f"--llm-baseline={name}", ACCEPT, workers=workers * (name == "other.json"))
        assert first.line("accepted;").startswith(f"baseline  {name}: 3 tests accepted")
        assert first.run.notes[0].startswith("all 3 scores of score.nothing are 0: no later run can be worse")
        assert project.run("-o", "llm_baseline=ini.json", f"--llm-baseline={name}", ACCEPT).exit == 0
        assert len(read_baseline(project, name).history) == 2
    assert not (project.path / OWN).exists()
    assert not (project.path / "ini.json").exists()


def test_an_alias_of_another_version_than_the_accepted_one_is_named(project: Project) -> None:
    write_suite(project, 3)
    versions = {f"prompts/help/v{number}.md": "system:\nBe brief.\n" for number in (1, 2)}
    project.write(**versions, **{"prompts/help/aliases.toml": 'production = "v1"\n'})
    sentence = " ".join(project.run("--llm-prompt=help=v2", ACCEPT).text.split())
    assert "the alias production of prompt help still points to v1" in sentence
    assert "llmops prompts alias help production v2 --reason 'why'" in sentence


def test_dropped_tests_are_counted_and_nothing_is_left_to_do(project: Project) -> None:
    write_suite(project, 20)
    project.run(ACCEPT)
    write_suite(project, 18)
    fewer = project.run(ACCEPT)
    assert fewer.line("accepted").startswith(f"baseline  {OWN}: 18 tests accepted, 2 tests dropped; commit")
    assert (gate_of(fewer.run).next_step, gate_of(fewer.run).next_command) == ("", "")
    assert "next  " not in fewer.text


def test_a_baseline_that_cannot_be_written_stops_the_run_before_its_first_test(
    project: Project, workers: int
) -> None:
    git(project, "init", "-q", "-b", "main")
    write_suite(project, 3)
    assert project.run(ACCEPT).exit == 0
    git(project, "add", OWN)
    git(project, "commit", "-q", "-m", "baseline")
    (project.path / "ran").unlink()
    kept = (project.path / OWN).read_bytes()
    ini = ("-o", "llm_baseline=main")
    for given in (["--llm-baseline=main"], ["--llm-baseline=HEAD"], ini, ["--llm-baseline=mian"]):
        refused = project.bare(*given, ANYWAY, *(["-n2"] if workers else []))
        assert refused.exit == pytest.ExitCode.USAGE_ERROR
        check_message(refused.line("expected a file"))
    assert not (project.path / "ran").exists()
    assert (project.path / OWN).read_bytes() == kept
    assert not (project.path / "main").exists()


def test_a_run_that_cannot_be_compared_is_accepted_only_by_force(project: Project) -> None:
    write_suite(project, 24)
    project.run(ACCEPT)
    write_suite(project, 20)
    refused = project.run(ACCEPT)
    assert (gate_of(refused.run).status, refused.exit) == ("ERROR", 1)
    check_message(refused.line("not accepted"))
    assert len(read_baseline(project).tests) == 24
    assert project.run(ANYWAY).exit == 0
    assert len(read_baseline(project).tests) == 20


def test_a_damaged_baseline_is_not_overwritten_by_force_either(project: Project) -> None:
    write_suite(project, 3)
    project.run(ACCEPT)
    path = project.path / OWN
    path.write_bytes(b"{")
    assert project.run(ANYWAY).exit == pytest.ExitCode.USAGE_ERROR
    assert path.read_bytes() == b"{"
    path.unlink()
    project.run(ACCEPT)
    damage = f"\ndef test_b():\n    Path({OWN!r}).write_text('damaged by a test')\n"
    project.write(**{"test_a.py": SUITE.format(cases=3, failing=()) + damage})
    refused = project.run(ANYWAY)
    assert refused.exit == 1
    check_message(refused.line("not accepted"))
    assert path.read_text() == "damaged by a test"


def test_a_test_that_failed_keeps_its_old_scores(project: Project) -> None:
    write_suite(project, 4)
    project.run(ACCEPT)
    changed = SUITE.format(cases=6, failing=(1, 5)).replace("0.9", "0.8")
    project.write(**{"test_a.py": changed})
    accepted = project.run(ANYWAY)
    assert "4 tests accepted, 1 failed test keeps its old scores, 1 new failed test left out;" in (
        accepted.line("accepted,")
    )
    tests = read_baseline(project).tests
    scores = [tests[f"test_a.py::test_answer[{case}]"].scores["score.quality"] for case in range(5)]
    assert scores == [(0.8,), (0.88,), (0.76,), (0.74,), (0.72,)]
    assert len(tests) == 5


def test_new_tests_are_named_as_not_judged(project: Project) -> None:
    write_suite(project, 24)
    project.run(ACCEPT)
    write_suite(project, 44)
    assert "20 new tests are not judged yet" in project.run().text
    assert "20 new tests are not judged yet" in project.run(ACCEPT).text


SESSIONS = """
import pytest
from pytest_llmops import assert_score

def quality(answer, expected=None):
    take = int(answer.rpartition("(")[2].rstrip(")")) if "(" in answer else 1
    case = int(answer.split()[4])
    return 0.8 + (case + 2 * take) % 5 / 100 - {worse}

@pytest.mark.parametrize("case", range({cases}))
def test_{name}(llm, case):
    assert_score(quality, llm.complete(f"{word} {{case}} now").text, at_least=None)
"""
SESSION = ACCEPT.replace("=", "=session: ")


def write_sessions(
    project: Project, *, cases: int = 10, word: str = "say it", worse: str = "0", name: str = "answer"
) -> None:
    project.write(**{"test_a.py": SESSIONS.format(cases=cases, word=word, worse=worse, name=name)})


def find_sessions(project: Project, result: Result) -> set[tuple[int, ...]]:
    """Return how many trials of how many sessions the cases of a run are compared with."""
    comparison = compare_tests(read_baseline(project), result.run.records)
    return {pair.sessions for pair in MetricData("score.quality", comparison).trials.values()}


@pytest.mark.parametrize("workers", [2], indirect=True, ids=["n2"])
def test_a_second_session_is_added_replayed_and_compared_with(project: Project, workers: int) -> None:
    write_sessions(project)
    assert project.record("--llm-trials=3", ACCEPT).exit == 0
    added = project.record("--llm-trials=3", SESSION, mode="all", workers=workers)
    assert added.exit == 0
    assert added.line("accepted as").startswith(f"baseline  {OWN}: 10 tests accepted as session 2; commit")
    baseline = read_baseline(project)
    test = baseline.tests["test_a.py::test_answer[0]"]
    assert list(test.sessions.values()) == [3, 3]
    assert list(test.sessions) == [acceptance.on for acceptance in baseline.history]
    assert (len(test.recordings), len(set(test.recordings))) == (6, 6)
    (call,) = test.calls
    assert len(list_answers([call])) == 6
    replayed = project.run("--llm-trials=3")
    assert (gate_of(replayed.run).status, gate_of(replayed.run).unchanged) == ("GREEN", 10)
    write_sessions(project, word="say that", worse="0.2")
    recorded = project.record("--llm-trials=3")
    again = project.run("--llm-trials=3")
    assert find_sessions(project, recorded) == find_sessions(project, again) == {(3, 3)}
    assert gate_of(again.run) == gate_of(recorded.run)
    assert (gate_of(again.run).status, again.exit) == ("RED", 1)


def test_what_is_no_session_of_the_same_version_is_refused(project: Project) -> None:
    write_sessions(project, cases=3)
    none_yet = project.bare(SESSION)
    assert none_yet.exit == pytest.ExitCode.USAGE_ERROR
    project.record("--llm-trials=3", ACCEPT)
    kept = (project.path / OWN).read_bytes()
    replayed = project.run("--llm-trials=3", SESSION)
    mixed = project.record("--llm-trials=6", SESSION)
    both_replayed = project.run("--llm-trials=6", SESSION)
    write_sessions(project, cases=3, word="say that")
    other = project.record("--llm-trials=3", SESSION.replace("session:", "session: anyway:"))
    check_message(none_yet.line("expected a baseline"))
    for result in (replayed, mixed, both_replayed, other):
        check_message(result.line("not added"))
    assert [result.exit for result in (replayed, mixed, both_replayed, other)] == [1] * 4
    assert (project.path / OWN).read_bytes() == kept


def test_accepting_again_without_a_change_is_noticed(project: Project) -> None:
    write_sessions(project, cases=3)
    project.record("--llm-trials=3", ACCEPT)
    again = project.record("--llm-trials=3", ACCEPT, mode="all")
    assert again.exit == 0
    assert "3 tests were accepted again without a change" in again.text
    check_message(again.run.notes[0])


RENAMED = """
import pytest
from pytest_llmops import assert_score

def quality(answer, expected=None):
    return 0.8

@pytest.mark.parametrize("case", [*range(19), {last}])
def test_answer(llm, case):
    assert_score(quality, llm.complete(f"{word} {{case}}").text, at_least=None)
"""


def test_a_renamed_case_is_recognised_and_one_with_another_request_is_named(project: Project) -> None:
    old = 'pytest.param(19, id="old")'
    new = 'pytest.param(19, id="new")'
    other = 'pytest.param(20, id="other")'
    project.write(**{"test_a.py": RENAMED.format(last=old, word="say")})
    project.record(ACCEPT)
    project.write(**{"test_a.py": RENAMED.format(last=new, word="say")})
    renamed = gate_of(project.run().run)
    assert (renamed.status, renamed.compared, renamed.changes) == ("GREEN", 20, ())
    assert "20 tests accepted; commit it" in project.run(ACCEPT).line("accepted;")
    project.write(**{"test_a.py": RENAMED.format(last=other, word="tell")})
    lost = gate_of(project.record().run)
    assert lost.sentence.startswith("Too few cases for a verdict")
    check_message([lost.why, lost.next_step, lost.next_command])


def test_commands_name_the_sessions(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    write_sessions(project, cases=2)
    project.record("--llm-trials=3", "--llm-accept=first day")
    capsys.readouterr()
    assert main(["baseline", "power"]) == 0
    assert "1 session: trials of one run may hang together" in capsys.readouterr().out
    project.record("--llm-trials=2", "--llm-accept=session: second day", mode="all")
    capsys.readouterr()
    shown = {}
    for command in ("show", "log", "power"):
        assert main(["baseline", command]) == 0
        shown[command] = capsys.readouterr().out
    for command in ("show", "power"):
        assert "2 sessions" in shown[command]
        assert "  2 tests with 3 trials  first day\n" in shown[command]
        assert "  2 tests with 2 trials  second day\n" in shown[command]
    assert "2 tests (added as a session)  second day\n" in shown["log"]
    assert main(["baseline", "show", "--json"]) == 0
    sessions = json.loads(capsys.readouterr().out)["sessions"]
    assert [session["trials"] for session in sessions] == [3, 2]
