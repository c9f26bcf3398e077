"""A run and the same tests as shards that are merged end in the same verdicts, and each report and the exit status agree."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

from pytest_llmops.cli import main

ROBUST = """
import pytest
from pytest_llmops import assert_contains

@pytest.mark.cases("cases.jsonl")
@pytest.mark.llm_robust("paraphrase")
def test_answer(case):
    assert_contains("45 days" if "return" in case.input else "unknown", "45")
"""
GUARDED = """
import pytest
from pytest_llmops import assert_refusal

@pytest.mark.llm_guardrail(at_least_blocked=0.9, at_most_overblocked=0.4)
@pytest.mark.cases("attacks.jsonl")
def test_attack(case):
    assert_refusal("Sure: like this.", case=case)
"""
COMPARED = """
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

@pytest.mark.llm_compare("size")
@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("size", [1, 2])
def test_answer(size, number):
    assert_score(quality, str(size / 4), at_least=None)
"""
LIVE = """
import pytest
from pytest_llmops import assert_score

def quality(answer, expected=None):
    return int(answer) / 100

@pytest.mark.llm_sentinel
@pytest.mark.parametrize("n", range(8))
def test_sentinel(llm, n):
    assert_score(quality, llm.complete(f"SENTINEL {n}").text, at_least=None)

@pytest.mark.parametrize("n", range(8))
def test_other(llm, n):
    assert_score(quality, llm.complete(f"OTHER {n}").text, at_least=None)
"""


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_attacks(project: Project) -> None:
    project.write(**{"test_a.py": GUARDED})
    rows: list[dict[str, object]] = [
        {"id": f"{expect}-{n}", "input": f"{expect} {n}", "expect": expect, "family": str(n)}
        for n in range(20)
        for expect in ("refuse", "answer")
    ]
    write_lines(project.path / "attacks.jsonl", rows)


def split(project: Project, *args: str, keep: str) -> list[str]:
    """Run the suite as two shards, and return the names of their run files."""
    for number, expression in enumerate((keep, f"not {keep}")):
        project.bare(*args, "-k", expression, f"--llm-report=shard-{number}.json")
    return ["shard-0.json", "shard-1.json"]


def verdict_cases(path: Path) -> dict[str, bool]:
    """The verdicts among the test cases of a file of JUnit, and whether they failed."""
    cases = ET.parse(path).findall(".//testcase[@classname='llmops']")
    return {str(case.get("name")): case.find("failure") is not None for case in cases}


def test_shards_of_changed_inputs_end_as_the_whole_run_does(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    project.write(**{"test_a.py": ROBUST})
    rows: list[dict[str, object]] = [
        {"id": f"c{n}", "input": f"Can I return {n}?", "paraphrases": [f"May I return {n}?"]}
        for n in range(13)
    ]
    write_lines(project.path / "cases.jsonl", rows)
    assert project.run("--llm-accept=first").exit == 0
    whole = project.run()
    assert "LLM regression: AMBER" in whole.text
    # The unchanged inputs are in another shard than the changed ones.
    shards = split(project, keep="paraphrase")
    assert main(["merge", *shards, "-o", "whole.json"]) == 0
    assert "== LLM regression: AMBER ==" in capsys.readouterr().out
    merged = json.loads((project.path / "whole.json").read_text())
    alone = json.loads((project.path / "run-file.json").read_text())
    assert merged["verdicts"] == alone["verdicts"]
    assert [verdict["kind"] for verdict in merged["verdicts"]] == ["baseline", "robustness"]


def test_a_guardrail_that_fails_the_run_fails_in_every_report(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write_attacks(project)
    result = project.run("--junitxml=own.xml", "--llm-report=codequality:own.json")
    assert (result.exit, set(result.outcomes)) == (1, {"passed"})
    assert main(["report", "run-file.json", "-o", "report.xml", "-o", "codequality:report.json"]) == 0
    shards = split(project, keep="refuse")
    assert main(["merge", *shards, "-o", "merged.xml", "-o", "codequality:merged.json"]) == 1
    for name in ("own", "report", "merged"):
        assert ET.parse(project.path / f"{name}.xml").find("testsuite").get("failures") == "1"  # type: ignore[union-attr]
        (finding,) = json.loads((project.path / f"{name}.json").read_text())
        assert (finding["check_name"], finding["severity"]) == ("llm-fail", "major")
        assert (finding["location"]["path"], finding["location"]["lines"]["begin"]) == ("test_a.py", 5)
        assert "attacks blocked, 0 of 20 (0 %), required at least 90 %" in finding["description"]
        assert verdict_cases(project.path / f"{name}.xml") == {
            "guardrail[attacks test_a.py::test_attack]": True
        }
    (headline,) = [line for line in result.text.splitlines() if line.startswith("::error ")]
    assert headline.startswith(
        "::error file=test_a.py,line=5,title=RED%3A A limit is broken%3A attacks blocked"
    )


@pytest.mark.slow
def test_sentinels_have_a_verdict_in_a_merged_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(seen: Seen) -> Reply:
        return json_reply(chat_answer(str(80 + project.server.count % 3)))

    monkeypatch.setattr(project.server, "answer", answer)
    monkeypatch.chdir(project.path)
    project.write(**{"test_a.py": LIVE})
    assert project.record("--llm-trials=3", "--llm-accept=first").exit == 0
    live = ["--llm-record=verify", f"--llm-base-url={project.server.url}/v1", "--llm-trials=3"]
    shards = split(project, *live, keep="other")
    capsys.readouterr()
    assert main(["merge", *shards, "-o", "whole.json", "-o", "whole.xml"]) == 0
    assert "\n1 comparison, nothing to look at: whole.json\n" in capsys.readouterr().out
    verdicts = json.loads((project.path / "whole.json").read_text())["verdicts"]
    assert [verdict["kind"] for verdict in verdicts] == ["baseline", "sentinel"]
    assert verdicts[1]["sentence"].startswith("nothing moved: sentinels ")
    assert verdict_cases(project.path / "whole.xml") == {"gate": False, "sentinels": False}


def test_comparisons_are_test_cases_of_junit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    project.write(**{"test_a.py": COMPARED})
    assert project.run("--junitxml=own.xml").exit == 0
    main(["report", "run-file.json", "-o", "report.xml"])
    for name in ("own.xml", "report.xml"):
        assert verdict_cases(project.path / name) == {"comparison[size 2]": False}
        (case,) = ET.parse(project.path / name).findall(".//testcase[@classname='llmops']")
        properties = {item.get("name"): item.get("value") for item in case.iter("property")}
        assert properties["llm.verdict"] == "better"
        assert str(properties["llm.verdict.sentence"]).startswith(
            "size 2 against 1: score.quality better by 25.0 points (0.25 → 0.50)"
        )


def test_a_red_run_that_is_accepted_fails_nowhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(**{"test_a.py": COMPARED.replace('@pytest.mark.llm_compare("size")\n', "")})
    assert project.run("--llm-accept=first").exit == 0
    worse = COMPARED.replace('@pytest.mark.llm_compare("size")\n', "").replace("size / 4", "size / 8")
    project.write(**{"test_a.py": worse})
    refused = project.run("--llm-accept=meant", "--junitxml=refused.xml")
    assert (refused.exit, verdict_cases(project.path / "refused.xml")) == (1, {"gate": True})
    accepted = project.run("--llm-accept=anyway: meant", "--junitxml=accepted.xml")
    assert (accepted.exit, verdict_cases(project.path / "accepted.xml")) == (0, {"gate": False})
    assert "          Accepted: " in accepted.text
    assert accepted.line("baseline ").startswith("baseline  llmops-baseline.json: 40 tests accepted")
    assert "next  " not in accepted.text
    assert "baseline  --llm-accept: not accepted: " in refused.text


def test_merging_is_strict_where_the_shards_were(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    project.write(**{"test_a.py": ROBUST.replace('@pytest.mark.llm_robust("paraphrase")\n', "")})
    write_lines(project.path / "cases.jsonl", [{"id": f"c{n}", "input": f"return {n}"} for n in range(25)])
    assert project.run("--llm-accept=first").exit == 0
    for strict in ([], ["--llm-strict"]):
        shards = split(project, *strict, keep="c1")
        assert main(["merge", *shards, "-o", "whole.xml"]) == len(strict)
        assert verdict_cases(project.path / "whole.xml") == {"gate": bool(strict)}
    assert "Do not merge, the build fails (--llm-strict)" in capsys.readouterr().out
    assert main(["merge", *split(project, keep="c1"), "-o", "whole.xml", "--llm-strict"]) == 1
    assert verdict_cases(project.path / "whole.xml") == {"gate": True}
