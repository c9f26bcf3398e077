"""--llm-judge, the judge fixture and marker, and what odd judges do to a test."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.messages import check_message
from support.page import read_texts
from support.project import Project
from support.server import Reply, chat_answer, error_reply, json_reply

from pytest_llmops.judges import JudgeRecord

TESTS = """
import pytest
from pytest_llmops import assert_judge_score

@pytest.mark.judge("quality")
def test_marked(judge):
    assert_judge_score("The capital is Paris.", judge=judge, question="capital?", reference="Paris", at_least=7)

def test_fixture(judge):
    assert_judge_score("The capital is Paris.", judge=judge, at_least=7)

def test_by_name(llm_cassette):
    assert_judge_score("The capital is Paris.", judge="quality", at_least=7)

def test_without():
    pass
"""


class Verdicts:
    """Judge replies with the nonce that the request carries."""

    def __init__(self, project: Project, content: str) -> None:
        self._answer = project.server.answer
        self._content = content
        project.server.answer = self  # type: ignore[method-assign]

    def __call__(self, seen: object) -> Reply:
        reply = self._answer(seen)  # type: ignore[arg-type]
        sent = json.dumps(seen.json)  # type: ignore[attr-defined]
        nonce = sent.partition("<data-")[2][:32]
        if reply.status != 200 or not nonce:
            return reply
        return json_reply(chat_answer(self._content.replace("NONCE", nonce)))


def verdict(score: int) -> str:
    dimensions = {"accuracy": score, "fluency": score, "relevance": score}
    return json.dumps({"nonce": "NONCE", "reason": "because of the facts", "dimensions": dimensions})


def test_without_the_flag_tests_that_need_a_judge_are_skipped_and_say_so(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    result = project.run("-rs")
    assert result.outcomes == {"passed": 1, "skipped": 3}
    check_message(result.line("SKIPPED [1] test_a.py:5: "))
    assert {record.outcome for record in result.run.records} == {"skipped"}
    assert project.server.count == 0


def test_a_verdict_is_recorded_and_replayed_like_any_call(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(9))
    assert project.record("--llm-judge").outcomes == {"passed": 4}
    project.server.close()
    result = project.run("--llm-judge")
    assert result.outcomes == {"passed": 4}
    record = result.records["test_marked"]
    scores = {m.name: m for m in record.measurements}
    assert scores["judge.quality"].value == pytest.approx(8 / 9)
    assert scores["judge.quality"].threshold == pytest.approx(6 / 9)
    assert set(scores) == {f"judge.quality{tail}" for tail in ("", ".accuracy", ".fluency", ".relevance")}
    assert [call.purpose for call in record.calls] == ["judge"]
    assert record.facts["judge"]["model"]  # type: ignore[call-overload, index]


def test_forms_that_a_server_refuses_are_part_of_each_tests_recording(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(9))
    answer = project.server.answer

    def refusing(seen: object) -> Reply:
        reply = answer(seen)  # type: ignore[arg-type]
        return error_reply(400) if "json_schema" in json.dumps(seen.json) else reply  # type: ignore[attr-defined]

    project.server.answer = refusing  # type: ignore[method-assign]
    assert project.record("--llm-judge").outcomes == {"passed": 4}
    project.server.close()
    assert project.run("--llm-judge").outcomes == {"passed": 4}
    alone = project.run("--llm-judge", "-k", "by_name")
    assert alone.outcomes == {"passed": 1}
    assert [call.status for call in alone.records["test_by_name"].calls] == [400, 400, 400, 200]


def test_what_a_judge_was_answered_is_paid_once_in_a_run(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(9))
    result = project.record("--llm-judge", "-v")
    assert project.server.count == 2  # of three verdicts, two are the same question
    assert "1 reused" in result.text
    assert [call.replayed for call in result.records["test_by_name"].calls] == [True]
    project.server.close()
    assert project.run("--llm-judge", "-k", "by_name").outcomes == {"passed": 1}


PACED = """
import pytest
from pathlib import Path
from pytest_llmops import use_cassette

pytestmark = pytest.mark.llm_cassette(at_once=False)

def test_paced(llm_cassette):
    with use_cassette("block") as block:
        for tape in (llm_cassette, block):
            assert tape.config.pace.limit == 3
            assert tape.config.shared_answers is not None
            with Path("folders").open("a") as file:
                file.write(f"{tape.config.pace.folder()}\\n")

test_again = test_paced
"""


def test_all_workers_keep_one_pace_and_share_one_shelf(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": PACED})
    assert project.record("--llm-concurrency=3", workers=workers).outcomes == {"passed": 2}
    folders = (project.path / "folders").read_text().split()
    assert len(folders) == 4
    (folder,) = set(folders)
    assert not Path(folder).exists()  # it ends with the run


def test_a_refusal_for_the_moment_is_no_verdict_and_is_requested_again(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(9))
    project.server.queue.append(error_reply(429, retry_after="0"))
    assert project.record("--llm-judge", "--llm-concurrency=1", workers=2).outcomes == {"passed": 4}
    assert project.run("--llm-judge").outcomes == {"passed": 4}


EVERY_KIND = """
from pytest_llmops import assert_judge_score
from pytest_llmops.assertions.judge_score import assert_checklist
from pytest_llmops.assertions.preference import assert_preferred
from pytest_llmops.providers.openai import OpenAIModel
from pytest_llmops.judges.item_judges import Grounding
from pytest_llmops.judges.panel import Panel
from pytest_llmops.judges.rubric import quality

def test_every_kind(judge, request):
    address = request.config.getoption("--llm-base-url")
    panel = Panel([quality(OpenAIModel(name, address)) for name in ("one", "two", "three")])
    assert_judge_score("The capital is Paris.", judge=panel, at_least=9, review_below=0.9)
    assert_judge_score("The capital is Paris.", judge=Grounding(), contexts=["Paris is the capital."])
    assert_checklist("The capital is Paris.", ["names a city"])
    assert_preferred("The capital is Paris.", over="Who knows?")
"""


def test_every_kind_of_judge_is_recorded_and_replayed(project: Project) -> None:
    project.write(**{"test_a.py": EVERY_KIND})
    claim = {"claim": "The capital is Paris.", "passages": [1], "finding": "supported"}
    every = {**json.loads(verdict(9)), "winner": "tie", "items": {"1": "yes"}, "claims": [claim]}
    Verdicts(project, json.dumps(every))
    assert project.record("--llm-judge").outcomes == {"passed": 1}
    # Three of the panel, the claims, the list, and two orders.
    assert project.server.count == 7
    project.server.close()
    result = project.run("--llm-judge", f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 1}
    record = result.records["test_every_kind"]
    values = {m.name: m.value for m in record.measurements if m.name.count(".") == 1}
    assert values == {
        "judge.panel": pytest.approx(8 / 9),
        "judge.grounding": 1,
        "judge.checklist": 1,
        "judge.pairwise": 0.5,
    }
    assert [call.purpose for call in record.calls] == ["judge"] * 7


def test_a_low_score_is_a_failure_with_the_judges_reason(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(3))
    result = project.record("--llm-judge", "-k", "marked")
    record = result.records["test_marked"]
    assert record.outcome == "failed"
    assert "3" in record.message.splitlines()[0]
    assert "7" in record.message.splitlines()[0]
    assert "because of the facts" in record.message


UNSCORED = {
    "garbage": "qwertz",
    "empty": "",
    "out of range": verdict(11),
    "two verdicts": verdict(3) + "\n" + verdict(9),
    "refusal": "I'm sorry, but I can't help with grading.",
    "wrong nonce": verdict(9).replace("NONCE", "00000000"),
}


@pytest.mark.parametrize("name", UNSCORED)
def test_a_reply_without_one_verdict_is_unscored_after_one_retry(project: Project, name: str) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, UNSCORED[name])
    result = project.record("--llm-judge", "-k", "marked")
    record = result.records["test_marked"]
    assert record.outcome == "errored"
    check_message(record.message, long="it quotes the reply, and the form that a verdict has")
    # Prose is a form ignored: the schema, a call, any JSON and a line are asked for, and the line again.
    assert project.server.count == (5 if name == "garbage" else 2)
    assert [m.value for m in record.measurements if m.name == "judge.quality"] == [None]


SERVER_TROUBLE = {
    "401": (error_reply(401), "401"),
    "429": (error_reply(429, retry_after_ms="1"), "429"),
    "500": (error_reply(500, retry_after_ms="1"), "500"),
}


@pytest.mark.parametrize("name", SERVER_TROUBLE)
@pytest.mark.parametrize("test", ["marked", "application"])
def test_trouble_with_the_server_is_an_error_not_a_low_score(project: Project, name: str, test: str) -> None:
    reply, wanted = SERVER_TROUBLE[name]
    project.write(**{"test_a.py": TESTS + "\ndef test_application(llm):\n    llm.complete('x')\n"})
    project.server.queue.extend([reply] * 20)
    result = project.record("--llm-judge", "-k", test)
    (record,) = result.run.records
    assert record.outcome == "errored"
    assert wanted in record.message
    assert project.cassettes() == {}


def test_a_judge_of_the_projects_own(project: Project) -> None:
    project.write(
        **{
            "conftest.py": """
from pytest_llmops.protocols import Verdict
class Polite:
    version = "1"
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=10 if "please" in answer else 1, reason="says please or not")
def pytest_llmops_judges(config):
    return {"polite": Polite}
""",
            "test_a.py": """
import pytest
from pytest_llmops import assert_judge_score
@pytest.mark.judge("polite")
def test_a(judge):
    assert_judge_score("please come in", judge=judge, at_least=5)
""",
        }
    )
    assert project.run("--llm-judge").outcomes == {"passed": 1}


def test_judge_model_is_another_model(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(9))
    project.record("--llm-judge", "--llm-judge-model=judge-1", "-k", "marked")
    assert [seen.json["model"] for seen in project.server.seen] == ["judge-1"]


def test_a_missing_model_is_reported(project: Project) -> None:
    project.write(**{"pytest.ini": "[pytest]\n", "test_a.py": "def test_a(llm):\n    llm.complete('x')\n"})
    result = project.run()
    message = result.records["test_a"].message
    assert "--llm-model=NAME" in message
    check_message(message)


CALIBRATED = """
from pytest_llmops.protocols import Verdict
class Polite:
    version, name, pass_at, low, high = "polite/1", "polite", 5, 1, 10
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=9, reason="says please", dimensions={"tone": 9.0})
def pytest_llmops_judges(config):
    return {"polite": Polite}
"""


def test_reports_say_whether_a_judge_is_calibrated(project: Project) -> None:
    test = 'from pytest_llmops import assert_judge_score\ndef test_a(judge):\n    assert_judge_score("x", judge=judge)\n'
    marked = test.replace("def test_a", 'import pytest\n@pytest.mark.judge("polite")\ndef test_a')
    made = JudgeRecord(
        kind="calibration", judge="polite", version="polite/1", date="2026-05-02", answers="f00", status="calibrated",
        text="calibrated: kappa 0.80, with 95 % confidence at least 0.70, on 100 labels",
    )  # fmt: skip
    project.write(**{"conftest.py": CALIBRATED, "test_a.py": marked})
    html = project.path / "report.html"
    project.write(**{"calibrations/polite.calibration.json": made.to_json_text()})
    known = project.run("-v", "--llm-judge", f"--llm-report={html}")
    check_message(known.line("polite: "))
    assert "not calibrated" not in read_texts(html.read_text(encoding="utf-8"))
    assert "on 100 labels (2026-05-02)" in read_texts(html.read_text(encoding="utf-8"))
    project.write(
        **{"calibrations/polite.calibration.json": replace(made, version="polite/0").to_json_text()}
    )
    old = project.run("-v", "--llm-judge", f"--llm-report={html}")
    check_message(old.line("polite: "))
    assert "out of date" in read_texts(html.read_text(encoding="utf-8"))


def test_judges_take_part_in_the_calls_of_many_tests_and_share_their_answers(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Verdicts(project, verdict(9))
    assert project.record("--llm-judge").outcomes == {"passed": 4}
    alone = [seen.body for seen in project.server.seen]
    shutil.rmtree(project.path / "cassettes")
    project.server.seen.clear()
    result = project.record("--llm-judge", "--llm-concurrency=6")
    assert result.outcomes == {"passed": 4}
    assert "2 calls" in result.line("sent ahead: ")
    assert sorted(seen.body for seen in project.server.seen) == sorted(alone)
    assert project.run("--llm-judge").outcomes == {"passed": 4}
