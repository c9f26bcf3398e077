"""--llm-accept, --llm-baseline, the gate at the end of a run, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.messages import check_message
from support.page import read_data
from support.project import INI, Project
from support.reports import gate_of

from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.baselines.gate import describe_baseline

SUITE = """
import os
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

def score(case):
    return 0.9 - case % 5 / 50 - (float(os.environ["DROP"]) if case % 2 else 0)

@pytest.mark.parametrize("case", range(60))
def test_answer(case):
    assert_score(quality, str(score(case)), at_least=None)
"""
ACCEPT = ("--llm-accept", "first baseline")
RULED_OUT = "On average, a drop of 5 points or more is ruled out"


@pytest.fixture
def suite(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("DROP", "0")
    project.write(**{"test_a.py": SUITE})
    return project


def baseline_file(project: Project) -> Path:
    return project.path / "llmops-baseline.json"


def test_a_project_without_a_baseline_hears_nothing_of_it(suite: Project) -> None:
    result = suite.run()
    assert result.run.find_verdict("baseline") is None
    assert "llmops-baseline" not in result.text


def test_a_baseline_that_is_named_and_missing_is_an_error(suite: Project) -> None:
    named = ("-o", "llm_baseline=missing.json")
    result = suite.run(*named)
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    expected = "no such file; correct the name, or make it: pytest --llm-accept 'first baseline'"
    assert f"llm_baseline: missing.json: {expected}" in result.line("  baseline ")
    assert suite.run(*named, *ACCEPT).exit == 0  # this run makes it
    assert suite.run(*named).exit == 0


def test_a_single_run_is_compared_with_a_baseline_of_trials(suite: Project) -> None:
    suite.write(**{"test_a.py": SUITE.replace("test_answer(case)", "test_answer(case, llm_calls)")})
    suite.run("--llm-trials=3", *ACCEPT)
    assert "= LLM regression: GREEN =" in suite.run().text


def test_accepting_writes_the_baseline_and_says_what_to_commit(suite: Project) -> None:
    result = suite.run(*ACCEPT)
    assert result.exit == 0
    assert result.line("accepted;").startswith("baseline  llmops-baseline.json: 60 tests accepted; commit it")
    assert "a verdict takes" not in result.line("accepted;")
    few = suite.run("-o", "llm_baseline=few.json", "-k", "1", "--llm-accept=anyway: few")
    assert few.line("accepted;").endswith(
        "; changes are listed, but for a verdict 20 cases are needed, or 10 with 3 trials"
    )
    baseline = Baseline.from_bytes(baseline_file(suite).read_bytes(), where="b")
    assert len(baseline.tests) == 60
    assert baseline.history[-1].reason == "first baseline"
    assert baseline.environment["pytest-llmops"]


def test_a_drop_is_red_and_lists_what_got_worse(
    suite: Project, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.22")
    result = suite.run("--junitxml=out.xml", workers=workers)
    assert result.exit == 1
    assert result.outcomes == {"passed": 60}
    assert gate_of(result.run).status == "RED"
    assert "\nRED       The suite got worse by 11.0 points.\n" in result.text
    assert "\n          Do not merge, the build fails: 30 cases worse, 0 better; " in result.text
    assert "\nscore.quality    0.860   0.750   -0.110    -11.0   worse\n" in result.text
    worse = "worse     11  score.quality 0.88 → 0.66\n"
    assert f"{worse}  before  0.88\n  now     0.66" in result.text
    assert result.text.index(worse) < result.text.index("\nRED       ")  # the verdict comes last
    document = ET.parse(suite.path / "out.xml")
    (case,) = (case for case in document.iter("testcase") if case.get("name") == "gate")
    (failure,) = case.findall("failure")
    assert "The suite got worse by 11.0 points" in str(failure.get("message") or failure.text)
    assert document.getroot()[0].get("tests") == "61"


def test_a_quiet_red_run_shows_the_verdict_and_the_next_step(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.22")
    _, verdict, step, _ = suite.run("-q").text.splitlines()
    assert verdict == "RED       The suite got worse by 11.0 points."
    assert step.startswith("next      Read the 30 cases that got worse, and fix ")


def test_lf_after_red_runs_everything(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.22")
    assert suite.run("-p", "cacheprovider").exit == 1
    assert suite.run("-p", "cacheprovider", "--lf").outcomes == {"passed": 60}


def test_nothing_changed_is_green(suite: Project) -> None:
    suite.run(*ACCEPT)
    result = suite.run("-q")
    assert result.exit == 0
    assert "\nGREEN     " in result.text


def test_strict_fails_what_is_undecided(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.09")
    suite.write(
        **{"test_a.py": SUITE.replace("case % 2 else 0", "case in (3, 7, 11) else 0").replace("0.09", "1")}
    )
    monkeypatch.setenv("DROP", "0.45")
    lenient, strict = suite.run(), suite.run("--llm-strict")
    assert gate_of(lenient.run).status == "AMBER"
    assert [lenient.exit, strict.exit] == [0, 1]
    assert "          Do not merge, the build fails (--llm-strict): " in strict.text
    assert "\nAMBER     Not decided: " in strict.text
    assert "          Your call, the build passes: " in lenient.text
    assert "--llm-strict" not in lenient.text


def test_a_partial_run_has_no_verdict_and_keeps_pytests_status(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.8")
    result = suite.run("-k", "1 or 3")
    assert result.exit == 0
    assert "No verdict: " in result.line("PASS  ")
    assert "removed" not in result.text
    refused = suite.run("-k", "1", *ACCEPT)
    assert refused.exit == 1
    assert "not accepted: only a part of the suite ran (-k)" in refused.text


def test_a_red_run_is_accepted_only_by_force(suite: Project) -> None:
    suite.write(
        **{
            "test_b.py": "def test_b():\n    from pytest_llmops import assert_contains\n    assert_contains('a', 'b')\n"
        }
    )
    refused = suite.run(*ACCEPT)
    assert refused.exit == 1
    assert "--llm-accept: not accepted: 1 test did not pass" in refused.text
    assert not baseline_file(suite).exists()
    without = suite.bare("--llm-accept=anyway: ")
    assert without.exit == pytest.ExitCode.USAGE_ERROR
    check_message(without.line("--llm-accept: expected a reason"))
    forced = suite.run("--llm-accept", "anyway: first")
    assert "60 tests accepted, 1 new failed test left out" in forced.text
    assert forced.exit == 1  # the failed test
    assert Baseline.from_bytes(baseline_file(suite).read_bytes(), where="b").history[-1].forced


def test_accepting_again_moves_the_baseline_and_keeps_its_history(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.22")
    refused = suite.run("--llm-accept", "shorter answers on purpose")
    assert refused.exit == 1
    assert "not accepted: the suite got worse than its baseline (RED)" in refused.text
    moved = suite.run("--llm-accept", "anyway: shorter answers on purpose")
    assert moved.exit == 0
    assert "= LLM regression: RED =" in moved.text
    baseline = Baseline.from_bytes(baseline_file(suite).read_bytes(), where="b")
    assert [step.reason for step in baseline.history] == ["first baseline", "shorter answers on purpose"]
    assert suite.run().exit == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected a baseline, got broken JSON"),
        (b"{\n<<<<<<< HEAD\n", "expected a baseline, got merge-conflict markers"),
        (b'{"schema": "pytest-llmops/baseline/9"}', "expected a baseline of schema"),
    ],
)
def test_a_damaged_baseline_ends_the_run_before_its_first_test_and_stays(
    suite: Project, content: bytes, message: str
) -> None:
    baseline_file(suite).write_bytes(content)
    for args in ((), ACCEPT):
        result = suite.run(*args)
        assert result.exit == pytest.ExitCode.USAGE_ERROR
        assert message in result.line("  baseline ")
        assert "[LLM-SETUP]" in result.text
    assert baseline_file(suite).read_bytes() == content


def git(project: Project, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        cwd=project.path, check=True, capture_output=True,
    )  # fmt: skip


def test_a_baseline_of_another_branch(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    git(suite, "init", "-q", "-b", "main")
    suite.run(*ACCEPT)
    git(suite, "add", "llmops-baseline.json")
    git(suite, "commit", "-q", "-m", "baseline")
    monkeypatch.setenv("DROP", "0.22")
    suite.run("--llm-accept", "anyway: worse on a branch")
    assert suite.run().exit == 0
    result = suite.run("-v", "--llm-baseline=main")
    assert result.exit == 1
    assert "llmops-baseline.json of main" in result.text
    unknown = suite.run("-v", "--llm-baseline=--output=x")
    assert unknown.exit == pytest.ExitCode.USAGE_ERROR
    assert "expected a file, or a commit, branch or tag of git" in unknown.text
    assert not (suite.path / "x").exists()


def test_an_accepted_commit_is_named(suite: Project) -> None:
    git(suite, "init", "-q", "-b", "main")
    git(suite, "commit", "-q", "--allow-empty", "-m", "start")
    suite.run(*ACCEPT)
    commit = json.loads(baseline_file(suite).read_text())["history"][0]["commit"]
    assert len(commit) == 40
    assert f"after {commit[:7]} (first baseline)" in suite.run("-v").text


def test_secrets_of_answers_reach_no_baseline(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-proj-" + "a1B2c3D4" * 4
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    suite.write(
        **{
            "test_a.py": f"from pytest_llmops import assert_contains\n\ndef test_a():\n    assert_contains('key {secret}', 'key')\n"
        }
    )
    suite.run(*ACCEPT)
    import gzip

    for path in suite.path.glob("llmops-baseline*"):
        data = path.read_bytes()
        assert secret.encode() not in (gzip.decompress(data) if path.suffix == ".gz" else data)


def test_an_unwritable_place_is_an_error_that_keeps_the_verdict(suite: Project) -> None:
    suite.run(*ACCEPT)
    before = baseline_file(suite).read_bytes()
    (suite.path / "llmops-baseline-outputs.json.gz").unlink()
    (suite.path / "llmops-baseline-outputs.json.gz").mkdir()
    result = suite.run("--llm-accept", "again")
    assert result.exit == 1
    assert "cannot be written" in result.text
    assert "= LLM regression: GREEN =" in result.text
    assert baseline_file(suite).read_bytes() == before


def test_the_html_report_shows_what_changed(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.run(*ACCEPT)
    monkeypatch.setenv("DROP", "0.22")
    suite.run("--llm-report=out.html")
    page = (suite.path / "out.html").read_text(encoding="utf-8")
    data = read_data(page)
    assert data["headline"]["title"] == "RED: The suite got worse by 11.0 points."
    assert data["headline"]["tone"] == "red"
    (row,) = data["changes"]
    assert [row[key] for key in ("name", "before", "now", "word")] == [
        "score.quality",
        "0.860",
        "0.750",
        "worse",
    ]
    assert [case["kind"] for case in data["cases"][:31]] == [*["worse"] * 30, "unchanged"]
    assert "<del>88</del>" in page  # for a browser without scripts


BUDGET = """
import pytest
from pytest_llmops import assert_latency, assert_tokens

@pytest.mark.llm_budget({limits})
def test_a(llm):
    llm.complete("one")
    llm.complete("two")
    assert_tokens(at_most_tokens=1000)
    assert_latency(p95_at_most_s=60)
"""


@pytest.mark.parametrize(
    ("limits", "outcome", "message"),
    [
        ("calls=2", "passed", ""),
        ("calls=1", "failed", "calls.count 2 > 1"),
        ("tokens=1", "failed", "calls.tokens"),
        ("usd=1", "errors", "2 of 2 calls without a known price"),
        ("", "errors", "for usd, calls or tokens"),
    ],
)
def test_a_budget_of_a_test_holds_live_and_replayed(
    project: Project, limits: str, outcome: str, message: str
) -> None:
    project.write(**{"test_a.py": BUDGET.format(limits=limits)})
    assert message in project.record().text
    replayed = project.run()
    assert replayed.outcomes == {outcome: 1}
    assert message in replayed.text


ANSWERED = """
from pytest_llmops import assert_fuzzy

def test_a(llm):
    answer = llm.complete("say {word}").text
    assert_fuzzy(answer, "echo of say hello", at_least=None)
"""


def test_old_outputs_come_from_the_cassettes_of_the_baselines_commit(project: Project) -> None:
    git(project, "init", "-q", "-b", "main")
    git(project, "commit", "-q", "--allow-empty", "-m", "start")
    project.write(**{"test_a.py": ANSWERED.format(word="hello")})
    project.record()
    project.run(*ACCEPT)
    (project.path / "llmops-baseline-outputs.json.gz").unlink()
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "the recording and its baseline in one commit")
    assert "Nothing changed: the answer is the recording of the baseline" in project.run().text
    project.write(**{"test_a.py": ANSWERED.format(word="hallo")})
    assert project.record(mode="all").outcomes == {"passed": 1}
    changed = project.run()
    assert "worse     test_a  text.fuzzy 1.00 → 0.94" in changed.text
    assert "  before  echo of say hello\n  now     echo of say hallo\n" in changed.text


def test_old_outputs_are_of_the_same_trial_wherever_they_come_from(project: Project) -> None:
    git(project, "init", "-q", "-b", "main")
    project.write(**{"test_a.py": ANSWERED.format(word="hello")})
    project.record("--llm-trials=3", *ACCEPT)
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "three takes")
    project.write(**{"test_a.py": ANSWERED.format(word="hallo")})
    project.record(mode="all")
    outputs = []
    for _ in ("the outputs beside the baseline", "git"):
        result = project.run()
        outputs.append(gate_of(result.run).changes[0].before_output)
        (project.path / "llmops-baseline-outputs.json.gz").unlink(missing_ok=True)
    assert outputs == ["echo of say hello (2)"] * 2  # the first of the worst trials


def test_old_outputs_of_a_shared_cassette_are_those_of_the_test(project: Project) -> None:
    git(project, "init", "-q", "-b", "main")
    text = """
import pytest
from pytest_llmops import assert_fuzzy

@pytest.mark.llm_cassette("both")
@pytest.mark.parametrize("name", ["ann", "bob"])
def test_a(llm, name):
    assert_fuzzy(llm.complete(f"{word} {{name}}").text, f"echo of say {{name}}", at_least=None)
"""
    project.write(**{"test_a.py": text.replace("{word}", "say").replace("{{name}}", "{name}")})
    project.record()
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "recorded")
    project.run(*ACCEPT)
    (project.path / "llmops-baseline-outputs.json.gz").unlink()
    project.write(**{"test_a.py": text.replace("{word}", "cry").replace("{{name}}", "{name}")})
    project.record()
    changed = project.run()
    assert "  before  echo of say ann" in changed.text
    assert "  before  echo of say bob" in changed.text


def test_without_git_and_outputs_the_list_says_why_there_is_no_text(project: Project) -> None:
    project.write(**{"test_a.py": ANSWERED.format(word="hello")})
    project.record()
    project.run(*ACCEPT)
    (project.path / "llmops-baseline-outputs.json.gz").unlink()
    project.write(**{"test_a.py": ANSWERED.format(word="hallo")})
    project.record(mode="all")
    assert "(not stored here)" in project.run().text


def test_a_shallow_clone_shows_no_text_of_another_commit(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "init", "-q", "-b", "main")
    for word in ("hello", "hallo"):
        project.write(**{"test_a.py": ANSWERED.format(word=word)})
        project.record(mode="all")
        if word == "hello":
            project.run(*ACCEPT)
        git(project, "add", "test_a.py", "pytest.ini", "cassettes", "llmops-baseline.json")
        git(project, "commit", "-q", "-m", word)
    clone = tmp_path_factory.mktemp("shallow") / "clone"
    git(project, "clone", "-q", "--depth=1", f"file://{project.path}", str(clone))
    monkeypatch.chdir(clone)
    changed = project.run()
    assert "worse     test_a  text.fuzzy 1.00 → 0.94" in changed.text
    assert "(not stored here)" in changed.text
    (edit,) = gate_of(changed.run).edits
    assert (edit.words, edit.lines) == ("the text of the request, in 1 of 1 requests", ())


def test_without_git_a_file_is_compared_and_a_branch_is_an_error(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert suite.run(*ACCEPT).exit == 0
    assert suite.run().exit == 0
    assert "no such file, and git is not installed" in suite.run("--llm-baseline=main").text


def test_two_acceptances_at_once_are_both_in_the_history(suite: Project) -> None:
    args = [sys.executable, "-m", "pytest", "-q", "--llm-accept=one of two"]
    runs = [subprocess.Popen(args, cwd=suite.path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    baseline = Baseline.from_bytes(baseline_file(suite).read_bytes(), where="b")
    assert [step.reason for step in baseline.history] == ["one of two"] * 2


def test_a_metric_that_is_no_number_is_unscored_and_no_drop(suite: Project) -> None:
    suite.run(*ACCEPT)
    suite.write(**{"test_a.py": SUITE.replace("float(actual)", "float('nan')")})
    result = suite.run("--llm-accept=worse")
    assert result.outcomes == {"errors": 60}
    assert result.line("ERROR  ").startswith("ERROR     ")
    assert "not accepted: 60 tests did not pass" in result.text


INTERRUPTED = """
import pytest
from pytest_llmops import assert_contains

class CtrlC(KeyboardInterrupt):  # pytester raises a plain KeyboardInterrupt again
    pass

@pytest.mark.parametrize("case", range(24))
def test_answer(case):
    if case == 3:
        {stop}
    assert_contains("yes", "yes")
"""


@pytest.mark.parametrize("stop", ["raise CtrlC", "pytest.exit('enough')"])
def test_an_interrupted_run_moves_no_baseline_and_has_no_verdict(project: Project, stop: str) -> None:
    project.write(**{"test_a.py": INTERRUPTED.format(stop=stop)})
    refused = project.run(*ACCEPT)
    assert "not accepted: only a part of the suite ran" in refused.text
    assert not baseline_file(project).exists()
    project.write(**{"test_a.py": INTERRUPTED.format(stop="pass")})
    project.run(*ACCEPT)
    kept = baseline_file(project).read_bytes()
    project.write(**{"test_a.py": INTERRUPTED.format(stop=stop)})
    project.run(*ACCEPT)
    assert baseline_file(project).read_bytes() == kept


def test_a_module_that_cannot_be_collected_makes_the_run_partial(suite: Project) -> None:
    suite.write(**{"test_b.py": SUITE})
    suite.run(*ACCEPT)
    kept = baseline_file(suite).read_bytes()
    suite.write(**{"test_b.py": "import pytest; pytest.skip('no', allow_module_level=True)"})
    assert "1 modules were skipped" in suite.run(*ACCEPT).text
    suite.write(**{"test_b.py": "import nothing_of_that_name"})
    result = suite.run(*ACCEPT, "--continue-on-collection-errors")
    assert "1 modules could not be collected" in result.text
    assert "removed" not in result.text
    assert baseline_file(suite).read_bytes() == kept


def test_accepting_a_run_without_tests_is_an_error(suite: Project) -> None:
    result = suite.bare("-k", "nothing", *ACCEPT)
    assert "--llm-accept: not accepted: no test measured anything" in result.text
    assert not baseline_file(suite).exists()


@pytest.mark.parametrize("dist", ["loadgroup", "worksteal"])
def test_every_way_of_distribution_compares_the_same_tests(suite: Project, dist: str) -> None:
    grouped = '@pytest.mark.xdist_group("g")\n@pytest.mark.parametrize("case"'
    suite.write(**{"test_a.py": SUITE.replace('@pytest.mark.parametrize("case"', grouped)})
    suite.run(*ACCEPT)
    result = suite.run(f"--dist={dist}", workers=2)
    assert (gate_of(result.run).status, gate_of(result.run).changes) == ("GREEN", ())


WIRED = """
import openai
import pytest
from pytest_llmops import assert_contains

ask = {"model": "m", "messages": [{"role": "user", "content": "say hi"}]}

@pytest.mark.llm_cassette
def test_stream():
    parts = openai.OpenAI().chat.completions.create(stream=True, **ask)
    assert_contains("".join(part.choices[0].delta.content or "" for part in parts if part.choices), "hi")

@pytest.mark.llm_cassette
def test_vectors():
    assert openai.OpenAI().embeddings.create(model="e", input=["a", "b"]).data
    assert_contains("yes", "yes")

def test_secret(llm):
    assert_contains(llm.complete("say " + "sk-" + "abcdefghijklmnopqrstuvwxyz0123456789ABCD").text, "say")
"""


def test_recordings_have_the_same_digest_live_and_replayed(project: Project) -> None:
    project.write(**{"test_a.py": WIRED})
    live = project.record(*ACCEPT)
    assert live.outcomes == {"passed": 3}
    replayed = project.run()
    assert (gate_of(replayed.run).unchanged, len(replayed.records)) == (3, 3)


def test_a_plain_test_that_fails_stops_an_acceptance(suite: Project) -> None:
    suite.write(**{"test_b.py": "def test_plain():\n    assert False\n"})
    refused = suite.run(*ACCEPT)
    assert "not accepted: 1 test did not pass" in refused.text
    assert not baseline_file(suite).exists()


def test_a_new_folder_is_made_and_a_hostile_reason_harms_nobody(suite: Project) -> None:
    suite.write(**{"pytest.ini": f"{INI}llm_baseline = qa/deep/b.json\n"})
    secret = "sk-" + "abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    suite.run("--llm-accept", f"\x1b[31mred\nsecond {secret}")
    data = (suite.path / "qa/deep/b.json").read_bytes()
    assert secret.encode() not in data
    baseline = Baseline.from_bytes(data, where="b")
    assert "\x1b" not in describe_baseline(baseline, "b")
    result = suite.run("-v")
    assert "accepted" in result.line("baseline ")
    assert "\x1b" not in result.text


def test_a_suite_that_is_gone_is_an_error(suite: Project) -> None:
    suite.run(*ACCEPT)
    (suite.path / "test_a.py").unlink()
    suite.write(
        **{"test_b.py": "def test_sum(): assert 1 + 1 == 2\n", "tests/test_c.py": "def test_c(): pass\n"}
    )
    result = suite.bare()
    assert result.exit == 1
    assert "Not compared: 60 of 60 tests of the baseline did not run" in result.text
    for part in (["test_b.py"], ["-k", "sum"], ["tests"]):
        assert "LLM regression" not in suite.bare(*part).text
