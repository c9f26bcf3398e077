"""A run file of a real run holds all that another judge needs: neither application nor server is asked again."""

from __future__ import annotations

import json

import pytest
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

from pytest_llmops import cli
from pytest_llmops.results.run import Run

TESTS = """
import pytest
from pytest_llmops import assert_judge_score

@pytest.mark.judge("quality")
@pytest.mark.parametrize("city", ["Paris", "Rome"])
def test_judged(llm, judge, city):
    answer = llm.complete(f"What is the capital? {city}").text
    assert_judge_score(answer, judge=judge, question="capital?", reference="Paris", contexts=["Paris is the capital."])
"""
RUBRIC = """---
kind: rubric
scale: 1-5
levels: {1: Wrong., 2-3: Half right., 4-5: Right.}
---
Does the answer name the capital?
"""


class Judging:
    """The application's answers as the stub gives them, and a judge that does not care for Rome."""

    def __init__(self, project: Project) -> None:
        self._answer = project.server.answer
        project.server.answer = self  # type: ignore[method-assign]

    def __call__(self, seen: Seen) -> Reply:
        reply = self._answer(seen)
        contents = [row["content"] for row in seen.json["messages"]]
        sent = next((text for text in contents if text.startswith("<data-")), "")
        if not sent:
            return reply
        nonce = sent.partition("<data-")[2].partition(">")[0]
        score = 1 if "Rome" in sent else 5
        graded: dict[str, object] = {"score": score}
        if "accuracy" in json.dumps(seen.json):
            graded = {"dimensions": dict.fromkeys(("accuracy", "fluency", "relevance"), 2 * score)}
        return json_reply(
            chat_answer(json.dumps({"nonce": nonce, "reason": "because of the city", **graded}))
        )


def test_a_real_run_is_judged_again_when_the_server_is_gone(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(**{"test_a.py": TESTS, "right.md": RUBRIC})
    Judging(project)
    first = project.record("--llm-judge")
    assert first.outcomes == {"passed": 1, "failed": 1}
    file = project.path / "run-file.json"
    monkeypatch.chdir(project.path)
    for name in ("LLMOPS_JUDGE_MODEL", "LLMOPS_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    capsys.readouterr()
    request_count = project.server.count
    how = [
        "judge",
        "rescore",
        str(file),
        "--rubric",
        "right.md",
        "--at-least",
        "4",
        "--base-url",
        f"{project.server.url}/v1",
    ]
    recorded = cli.main([*how, "--record", "new", "--out", "again.json"]), capsys.readouterr().out
    assert project.server.count == request_count + 2
    project.server.close()
    written = (project.path / "again.json").read_bytes()
    replayed = cli.main([*how, "--out", "again.json"]), capsys.readouterr().out
    assert replayed == recorded
    assert (project.path / "again.json").read_bytes() == written
    assert recorded[0] == 0
    assert "judge     quality, version " in recorded[1]
    assert "model     the same" in recorded[1]
    again = Run.from_json(written.decode())
    before = {record.nodeid: record for record in first.run.records}
    for record in again.records:
        old = before[record.nodeid]
        (top,) = (measurement for measurement in record.measurements if measurement.name == "judge.right")
        (was,) = (measurement for measurement in old.measurements if measurement.name == "judge.quality")
        assert {key: top.detail[key] for key in ("actual", "question", "expected", "contexts")} == {
            key: was.detail[key] for key in ("actual", "question", "expected", "contexts")
        }
        assert record.outcome == old.outcome
        assert [call.purpose for call in record.calls] == ["app"]
        assert not any(measurement.name.startswith("judge.quality") for measurement in record.measurements)
    assert cli.main(["judge", "rescore", "again.json", "--at-least", "1"]) == 0
    assert "fail -> pass" in capsys.readouterr().out


BROKEN = """
import pytest
from pytest_llmops import assert_judge_score, soft
from pytest_llmops.protocols import Verdict

class Len:
    name, version, low, high = "len", "1", 1, 10
    def judge(self, answer, *, question="", reference=""):
        return Verdict(error="server down") if answer == "down" else Verdict(score=len(answer), low=1, high=10)

@pytest.fixture
def db():
    yield
    raise RuntimeError("table not empty")

def test_fixture(db):
    assert_judge_score("down", judge=Len(), at_least=9)

def test_block():
    with soft():
        assert_judge_score("x", judge=Len(), at_least=9)
        int("no number")

def test_caught():
    with pytest.raises(AssertionError):
        assert_judge_score("x", judge=Len(), at_least=9)
    assert not "a real bug"

def test_judged():
    with soft():
        assert_judge_score("x", judge=Len(), at_least=9)
        assert_judge_score("xy", judge=Len(), at_least=9)

@pytest.mark.xfail
def test_known():
    assert_judge_score("x", judge=Len(), at_least=9)

@pytest.mark.skip
def test_skipped():
    pass
"""
LENIENT = """
from pytest_llmops.protocols import Verdict

class Lenient:
    name, version, low, high = "lenient", "1", 1, 10
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=10, low=1, high=10)
"""


def test_what_broke_besides_a_judgement_stays_broken(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"test_a.py": BROKEN, "lenient_judge.py": LENIENT})
    first = project.record("--llm-judge")
    assert {name: value.raised for name, value in first.records.items()} == {
        "test_fixture": ("MeasurementErrored", "RuntimeError"),
        "test_block": ("ValueError",),
        "test_caught": ("AssertionError",),
        "test_judged": ("MeasurementFailed",),
        "test_known": ("MeasurementFailed",),
    }
    monkeypatch.chdir(project.path)
    how = ["judge", "rescore", "run-file.json", "--judge", "lenient_judge:Lenient", "--at-least", "5"]
    assert cli.main([*how, "--out", "again.json"]) == 0
    again = Run.from_json((project.path / "again.json").read_text(encoding="utf-8"))
    assert {record.nodeid.partition("::")[2]: record.outcome for record in again.records} == {
        "test_fixture": "errored",
        "test_block": "failed",
        "test_caught": "failed",
        "test_judged": "passed",
        "test_known": "xpassed",
    }
    messages = {record.nodeid.partition("::")[2]: record.message for record in again.records}
    assert messages["test_fixture"] == "RuntimeError: table not empty"
    assert messages["test_caught"].startswith("AssertionError")
