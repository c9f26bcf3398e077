"""--llm-again: the cases that broke run again in another session, with new answers, and are RED if they fail again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.project import Project, Result
from support.reports import gate_of
from support.reruns import REPEAT

from pytest_llmops.cli.command_line import main

# Ten cases, of which only the last calls a model; the stub numbers its answers to equal requests: "echo of it (2)".
SUITE = """
import pytest
from pytest_llmops import assert_score

WORD = "{word}"

def exact(answer, expected=None):
    number = int(answer.rpartition("(")[2].rstrip(")")) if "(" in answer else 1
    return 0.0 if "tell" in answer and number <= {bad} else 1.0

@pytest.mark.parametrize("case", range(10))
{marker}
def test_answer(llm, case):
    answer = "fixed"
    if case == 9:
        answer = llm.complete(WORD + " the day.").text
    assert_score(exact, answer, at_least=None)
"""
BEFORE = SUITE.format(word="say", bad=99, marker="")
BROKEN = SUITE.format(word="tell", bad=99, marker="")  # fails whenever it is asked
FLAKY = SUITE.format(word="tell", bad=3, marker="")  # fails in the first three trials alone
EDITED = SUITE.format(word="now tell", bad=99, marker="")
CACHED = "test_a.py::test_answer[9]"
STATE = ".pytest_cache/v/llmops/again"


def accept_suite(project: Project, before: str = BEFORE) -> None:
    project.write(**{"test_a.py": before})
    result = project.record("--llm-trials=3", "--llm-accept=first")
    assert result.exit == 0, result.text


def break_case(project: Project, suite: str = BROKEN, *, before: str = BEFORE, workers: int = 0) -> Result:
    """Accept a baseline, and run a suite in which one case breaks."""
    accept_suite(project, before)
    project.write(**{"test_a.py": suite})
    result = project.record("--llm-trials=3", workers=workers)
    gate = gate_of(result.run)
    assert [case.nodeid for case in gate.broken] == [CACHED], result.text
    assert gate.trials_again == 4
    return result


def make_older(project: Project, text: str = "2026-01-05T10:00:00+00:00") -> None:
    """Let the stored run be one of another day."""
    path = project.path / STATE
    stored = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stored, "created": text}), encoding="utf-8")


def takes(project: Project) -> list[int]:
    """The numbers of the takes of the request that the case makes since it is broken."""
    (cassette,) = [json.loads(data) for name, data in project.cassettes().items() if name.endswith("9.json")]
    (entry,) = [entry for entry in cassette["interactions"] if "tell the day" in json.dumps(entry["request"])]
    return sorted(map(int, entry["answers"]))


@pytest.mark.parametrize("workers", [2], indirect=True, ids=["n2"])
def test_a_case_that_fails_again_is_red(project: Project, workers: int) -> None:
    earlier = break_case(project, workers=workers)
    assert earlier.exit == 0
    assert gate_of(earlier.run).status == "AMBER"
    assert earlier.line("--llm-again").endswith("--llm-again")
    assert "--llm-trials" not in earlier.line("--llm-again")
    calls = project.server.count
    result = project.record("--llm-again", workers=workers)
    assert result.outcomes == {"passed": 1}
    assert result.exit == 1
    gate = gate_of(result.run)
    assert gate.status == "RED"
    assert (
        gate.sentence
        == "1 case broke, and failed again in this session (test_answer[9]): passed 3 of 3, fails 7 of 7"
    )
    assert gate.baseline == gate_of(earlier.run).baseline
    assert project.server.count == calls + 4
    assert takes(project) == [0, 1, 2, 1000, 1001, 1002, 1003]
    assert "broke     9  score.exact 3 of 3 → 0 of 4" in result.text
    assert "no test failed, but 1 case broke" in result.text
    assert "note      the earlier run was less than a minute ago: run it again in an hour" in result.text


def test_each_session_asks_anew_and_can_be_replayed(project: Project) -> None:
    earlier = break_case(project)
    project.record("--llm-again")
    calls = project.server.count
    make_older(project)
    other_day = project.record("--llm-again")
    assert "9 deselected" in other_day.text
    assert project.server.count == calls + 4
    assert takes(project) == [*range(3), *range(1000, 1004), *range(2000, 2004)]
    assert "the earlier run was" not in other_day.text
    assert "llm: again 1 case that broke on 2026-01-05 at 10:00, 4 new trials each (test_answer[9])" in (
        other_day.text
    )
    replay = project.run("--llm-again", "--llm-record=none")
    assert (gate_of(replay.run).status, replay.exit) == ("RED", 1)
    assert replay.run.records[0].calls[0].output.endswith("(8)")  # of the last session
    whole = project.run("--llm-trials=3")
    assert gate_of(whole.run).broken == gate_of(earlier.run).broken
    assert project.server.count == calls + 4


def test_a_case_that_passes_again_is_not_confirmed_and_takes_nothing_back(project: Project) -> None:
    break_case(project, FLAKY)
    report = project.path / "again.md"
    result = project.record("--llm-again", f"--llm-report={report}", "--junitxml=again.xml")
    gate = gate_of(result.run)
    assert (gate.status, result.exit) == ("NONE", 0)
    assert gate.sentence == "Not confirmed: test_answer[9] passed 4 of 4 this time"
    assert "1 of 1 test passed. Not confirmed: test_answer[9] passed 4 of 4 this time." in result.text
    assert "The verdict of the earlier run stays (AMBER); read the answers of both runs." in result.text
    assert "Not confirmed" in report.read_text(encoding="utf-8")
    assert "Not confirmed: test_answer[9]" in (project.path / "again.xml").read_text(encoding="utf-8")
    # The state stays: the next session asks once more.
    assert gate_of(project.record("--llm-again").run).status == "NONE"
    assert takes(project)[-1] == 2003


def test_a_failing_test_is_fail_and_says_what_was_not_confirmed(project: Project) -> None:
    strict = FLAKY.replace("number <= 3", "number in (1, 2, 3, 5)").replace("at_least=None", "at_least=1")
    accept_suite(project)
    project.write(**{"test_a.py": strict})
    assert project.record("--llm-trials=3").exit == 1
    result = project.record("--llm-again")
    assert (result.outcomes, result.exit) == ({"failed": 1}, 1)
    assert "Not confirmed: test_answer[9] passed 3 of 4 this time." in result.text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--llm-accept=now"], "no --llm-accept"),
        (["--lf"], "no --lf"),
        (["-p", "no:cacheprovider"], "name the run file of the earlier run: --llm-again=run.json"),
        (["--llm-again=missing.json"], "--llm-again: missing.json: no such file"),
    ],
)
def test_what_makes_no_sense_together_is_refused(project: Project, options: list[str], expected: str) -> None:
    project.write(**{"test_a.py": "def test_a(): pass", "llmops-baseline.json": "{}"})
    result = project.run("--llm-again", *options)
    assert result.exit == 4
    assert expected in result.text
    assert "[LLM-USAGE]" in result.text


def test_a_baseline_with_other_scores_of_the_case_is_an_error(project: Project) -> None:
    break_case(project)
    path = project.path / "llmops-baseline.json"
    text = path.read_text(encoding="utf-8")
    changed = re.sub(
        r'(test_answer\[9\]".*?"score.exact": )\[1, 1, 1\]', r"\1[1, 0, 1]", text, flags=re.DOTALL
    )
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    gate = gate_of(project.record("--llm-again").run)
    assert gate.status == "ERROR"
    assert "test_answer[9] has other scores in the baseline than the earlier run" in gate.sentence


def test_a_prompt_that_was_edited_since_is_an_error(project: Project) -> None:
    break_case(project)
    project.write(**{"test_a.py": EDITED})
    result = project.record("--llm-again")
    gate = gate_of(result.run)
    assert (gate.status, result.exit) == ("ERROR", 1)
    assert "makes another request than in the earlier run" in gate.sentence
    assert gate.next_command == "pytest"


@pytest.mark.parametrize("workers", [2], indirect=True, ids=["n2"])
def test_a_test_that_is_gone_is_a_usage_error(project: Project, workers: int) -> None:
    break_case(project)
    project.write(**{"test_a.py": BROKEN.replace("test_answer", "test_reply")})
    calls = project.server.count
    result = project.record("--llm-again", workers=workers)
    assert (result.exit, project.server.count) == (4, calls)
    assert "expected the tests that broke, got none named test_a.py::test_answer[9]" in result.text


def test_files_may_be_named_that_have_the_broken_cases(project: Project) -> None:
    break_case(project)
    project.write(**{"test_b.py": "def test_b(): pass"})
    assert project.record("test_b.py", "--llm-again").exit == 4
    assert gate_of(project.record("--llm-again=last", "test_a.py").run).status == "RED"


def test_the_state_lives_until_the_whole_suite_has_no_broken_case(project: Project) -> None:
    break_case(project)
    project.run("-k", "1 or 2", "--llm-trials=3")
    stored = json.loads((project.path / STATE).read_text(encoding="utf-8"))
    assert [case["nodeid"] for case in stored["cases"]] == [CACHED]
    assert "tell" not in json.dumps(stored)  # no text of a request or an answer
    project.write(**{"test_a.py": BEFORE})
    project.run("--llm-trials=3")
    refused = project.record("--llm-again")
    assert refused.exit == 4
    assert "nothing to repeat, as the last run here was AMBER without a broken case. If you" in refused.text


def test_the_run_file_of_another_machine_does_too(project: Project, tmp_path: Path) -> None:
    break_case(project)
    file = tmp_path / "ci.json.gz"
    project.run("--llm-trials=3", f"--llm-report={file}", "-p", "no:cacheprovider")
    (project.path / STATE).unlink()
    result = project.record(f"--llm-again={file}", "-p", "no:cacheprovider")
    assert gate_of(result.run).status == "RED"


def test_repetitions_of_a_test_have_takes_of_their_own(project: Project) -> None:
    project.write(**{"conftest.py": REPEAT})
    project.write(**{"test_a.py": BEFORE})
    project.record("--llm-trials=3", "--llm-accept=first", "--times=2")
    project.write(**{"test_a.py": BROKEN})
    assert len(gate_of(project.record("--llm-trials=3", "--times=2").run).broken) == 2
    result = project.record("--llm-again", "--times=2")
    assert gate_of(result.run).status == "RED"
    assert takes(project) == [*range(6), *range(1000, 1006)]


def test_cassettes_with_further_answers_are_neither_stale_nor_pruned(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second request of a conversation holds the first answer, so that only a take of --llm-again makes it."""
    twice = 'llm.complete("go on: " + llm.complete(WORD + " the day.").text).text'
    suite = BROKEN.replace('llm.complete(WORD + " the day.").text', twice)
    break_case(project, suite, before=BEFORE.replace('llm.complete(WORD + " the day.").text', twice))
    assert gate_of(project.record("--llm-again").run).status == "RED"
    project.run("--llm-trials=3")
    monkeypatch.chdir(project.path)
    capsys.readouterr()
    assert main(["cassettes", "prune", "--dry-run"]) == 0
    assert "go on" not in capsys.readouterr().out
    kept = project.cassettes()
    main(["cassettes", "prune"])
    rest = project.cassettes()
    assert (
        sum(b"1003" in data for data in kept.values()) == sum(b"1003" in data for data in rest.values()) == 1
    )
    replay = project.run("--llm-again", "--llm-record=none")
    assert gate_of(replay.run).status == "RED", replay.text
