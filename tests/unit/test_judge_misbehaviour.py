"""A judge's server that misbehaves: the verdict is read rightly, or the answer is unscored with a reason; never a low score."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from support.messages import check_message
from support.misbehaving_judge import GOOD, READ, UNREAD, Answer, JudgeRequest, MisbehavingJudge
from support.server import Reply, StubServer
from support.tapes import taped

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.errors import MeasurementErrored, ModelError
from pytest_llmops.judges import Rubric
from pytest_llmops.protocols import Judge
from pytest_llmops.providers.openai import OpenAIEmbedder, OpenAIModel
from pytest_llmops.settings import Settings

LIMIT_S = 0.3


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin that runs these tests has no part in them, and a busy machine may take its time."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    mine = recorder.Recorder(settings=Settings())
    recorder.push_recorder(mine)
    yield
    recorder.pop_recorder(mine)


@pytest.fixture
def limited(unlimited: None) -> Iterator[recorder.Recorder]:
    """For a server that does not answer in time."""
    mine = recorder.Recorder(settings=Settings(timeout=LIMIT_S))
    recorder.push_recorder(mine)
    yield mine
    recorder.pop_recorder(mine)


def client_of(server: StubServer, retries: int = 0) -> Any:
    return openai.OpenAI(api_key="sk-none", base_url=f"{server.url}/v1", max_retries=retries)


@pytest.fixture
def rubric(tmp_path: Path) -> Path:
    file = tmp_path / "complete.md"
    file.write_text(
        "---\nscale: 1-5\nlevels: {1-4: something is missing, 5: all is there}\n---\nIs all there?\n", "utf-8"
    )
    return file


def judged(rubric: Path, script: Answer) -> tuple[float | None, str, list[str]]:
    with MisbehavingJudge(script) as server:
        judge = Rubric(rubric, OpenAIModel("m", client=client_of(server)))
        try:
            measurement = assert_judge_score("Thirty days.", judge=judge, at_least=None)
        except MeasurementErrored as error:
            return None, str(error), server.forms
        verdict = measurement.detail["judge"]
        assert isinstance(verdict, dict)
        score = verdict["score"]
        assert isinstance(score, float)
        return score, "", server.forms


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_a_right_verdict_is_read_in_whatever_way_it_comes(rubric: Path, name: str) -> None:
    score, error, _ = judged(rubric, READ[name])
    assert (score, error) == (GOOD, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", UNREAD)
def test_anything_else_is_unscored_and_never_a_low_score(
    rubric: Path, name: str, request: pytest.FixtureRequest
) -> None:
    if name == "stalls":
        request.getfixturevalue("limited")
    score, error, _ = judged(rubric, UNREAD[name])
    assert score is None
    check_message(error.splitlines()[0])


def test_a_server_that_ignores_a_schema_is_called_in_the_next_form_and_then_at_once(rubric: Path) -> None:
    with MisbehavingJudge(READ["knows no JSON"]) as server:
        judge = Rubric(rubric, OpenAIModel("m", base_url=f"{server.url}/v1"))
        for answer in ("Thirty days.", "Forty days."):
            assert judge.judge(answer).score == GOOD
        assert server.forms == ["json_schema", "tool", "json_object", "text", "text"]


def test_a_server_that_is_read_in_no_form_is_asked_by_the_schema_again(rubric: Path) -> None:
    with MisbehavingJudge(UNREAD["ignores every form"]) as server:
        judge = Rubric(rubric, OpenAIModel("m", base_url=f"{server.url}/v1"))
        assert judge.judge("Thirty days.").score is None
        assert server.forms == ["json_schema", "tool", "json_object", "text", "text"]
        judge.judge("Forty days.")
        assert server.forms[5] == "json_schema"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["refuses", "refuses in prose", "is cut off", "says nothing", "ends at the token limit"]
)
def test_a_refusal_and_a_broken_reply_are_no_question_of_the_form(rubric: Path, name: str) -> None:
    assert judged(rubric, UNREAD[name])[2] == ["json_schema", "json_schema"]


@pytest.mark.slow
def test_what_a_server_ignores_is_in_the_recording(rubric: Path, tmp_path: Path) -> None:
    path = tmp_path / "judged.json"
    answers = ("Thirty days.", "Forty days.")
    with MisbehavingJudge(READ["knows no JSON"]) as server, taped(path, "new"):
        judge = Rubric(rubric, OpenAIModel("m", base_url=f"{server.url}/v1"))
        live = [judge.judge(answer) for answer in answers]
    again = recorder.Recorder(settings=Settings())
    recorder.push_recorder(again)
    with taped(path):
        judge = Rubric(rubric, OpenAIModel("m", base_url="http://127.0.0.1:1/v1"))
        assert [judge.judge(answer) for answer in answers] == live
    recorder.pop_recorder(again)


def test_an_empty_list_of_choices_is_reported_in_a_sentence(rubric: Path) -> None:
    _, error, _ = judged(rubric, UNREAD["sends no choice"])
    first = error.splitlines()[0]
    assert "holds no choice" in first
    assert "ChatCompletion" not in first


@pytest.mark.slow
@pytest.mark.usefixtures("limited")
def test_retries_do_not_multiply_the_time_limit(rubric: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai.OpenAI, "_sleep_for_retry", lambda *_args, **_more: None)
    stop = threading.Event()

    def stall(_asked: JudgeRequest) -> Reply:
        return Reply(b"{}", before=lambda: stop.wait(10))

    with MisbehavingJudge(stall) as server:
        judge = Rubric(rubric, OpenAIModel("m", client=client_of(server, retries=5)))
        with pytest.raises(
            ModelError, match=r"took too long to answer; .*llm_timeout.*--concurrency 1"
        ) as caught:
            judge.judge("Thirty days.")
        stop.set()
        assert caught.value.kind == "timeout"
        assert server.count == 1


@pytest.mark.slow
def test_an_answer_that_trickles_is_given_up_at_the_limit(
    rubric: Path, tmp_path: Path, limited: recorder.Recorder
) -> None:
    stop = threading.Event()

    def trickle(_asked: JudgeRequest) -> Reply:
        return Reply(chunks=[b" "] * 200, before_chunk=lambda _number: stop.wait(LIMIT_S / 6))

    with MisbehavingJudge(trickle) as server, taped(tmp_path / "slow.json", "new"):
        judge = Rubric(rubric, OpenAIModel("m", client=client_of(server)))
        recorder.push_recorder(limited)
        with pytest.raises(ModelError) as caught:
            judge.judge("Thirty days.")
        recorder.pop_recorder(limited)
        stop.set()
    assert caught.value.kind == "timeout"


@pytest.mark.slow
@pytest.mark.usefixtures("limited")
def test_an_embedder_has_the_limit_and_the_application_has_none() -> None:
    stop = threading.Event()
    with StubServer() as server:
        server.queue.append(Reply(b"{}", before=lambda: stop.wait(10)))
        with pytest.raises(ModelError) as caught:
            OpenAIEmbedder(client=client_of(server)).embed(["a text"])
        stop.set()
        assert caught.value.kind == "timeout"
        server.queue.append(Reply(b"{}", before=lambda: threading.Event().wait(2 * LIMIT_S)))
        with pytest.raises(ModelError) as caught:  # it came, and is no answer
            OpenAIModel("m", client=client_of(server)).complete("Hi")
        assert caught.value.kind == "reply"


def test_a_server_of_45_misbehaviours_is_a_judge(rubric: Path) -> None:
    assert len(UNREAD) == 45
    assert isinstance(Rubric(rubric), Judge)
