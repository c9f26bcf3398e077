"""Forms of a verdict that servers refuse, over real sockets: chat completions and Responses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.messages import check_message
from support.openai_sdk import APIS
from support.server import Reply, Seen, StubServer, chat_answer, error_reply, json_reply, responses_answer

from pytest_llmops import collect, recorder, soft
from pytest_llmops.errors import ModelError
from pytest_llmops.judges.protocol.response_format import REPLY_FORMATS, ReplyFormat
from pytest_llmops.judges.rubric import quality
from pytest_llmops.protocols import Completion, ToolCall
from pytest_llmops.providers.offline import ScriptedModel
from pytest_llmops.providers.openai import OpenAIModel
from pytest_llmops.settings import Settings

SCORES = {"accuracy": 4, "fluency": 9, "relevance": 8}


class Picky(StubServer):
    """A server that knows some of the forms, and counts what it was asked in."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[dict[str, Any]], str] = lambda _request: ""
        self.forms: list[str] = []

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        self.forms.append(form(seen.json))
        if why := self.refuses(seen.json):
            return error_reply(400, why)
        nonce = re.search(r"<data-([0-9a-f]{32})>", seen.body.decode())
        assert nonce is not None
        text = make_reply(self.forms[-1], nonce[1])
        if seen.path.endswith("/responses"):
            return json_reply(_responses(text, self.forms[-1]))
        if self.forms[-1] == "tool":
            function = {"name": "verdict", "arguments": text}
            call = {"id": "1", "type": "function", "function": function}
            return json_reply(chat_answer("", tool_calls=[call]))
        return json_reply(chat_answer(text))


def _responses(text: str, kind: str) -> dict[str, Any]:
    if kind != "tool":
        return responses_answer(text)
    call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "verdict", "arguments": text}
    return responses_answer("", output=[{**call, "status": "completed"}])


def form(request: dict[str, Any]) -> str:
    if "tools" in request:
        return "tool"
    form_asked = request.get("response_format") or request.get("text", {}).get("format")
    if form_asked is None:
        return "text"
    if form_asked["type"] == "json_object":
        return "json"
    return "bounded" if "maxLength" in json.dumps(form_asked) else "plain"


def make_reply(kind: str, nonce: str) -> str:
    if kind == "text":
        return f"Score: 7, Nonce: {nonce}, Reason: because"
    return json.dumps({"nonce": nonce, "reason": "because", "dimensions": SCORES})


@pytest.fixture
def server() -> Iterator[Picky]:
    with Picky() as picky:
        yield picky


@pytest.fixture(autouse=True)
def of_a_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[recorder.Recorder]:
    """A recorder of its own: no cassette of the plugin that runs this test answers."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    mine = recorder.Recorder(settings=Settings())
    recorder.push_recorder(mine)
    yield mine
    recorder.pop_recorder(mine)


LADDER = ("bounded", "plain", "plain", "tool", "json", "text")


@pytest.mark.slow
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("known", ["bounded", "plain", "tool", "json", "text"])
def test_forms_are_tried_down_to_the_one_that_a_server_knows(server: Picky, api: Any, known: str) -> None:
    server.refuses = lambda request: "" if form(request) == known else "unsupported"
    judge = quality(OpenAIModel("m", f"{server.url}/v1", api))
    verdict = judge.judge("Thirty days.")
    assert (verdict.score, verdict.reason) == (7, "because")
    assert verdict.dimensions == (SCORES if known != "text" else {})
    forms = list(LADDER[: LADDER.index(known) + 1])
    assert server.forms == forms
    judge.judge("Forty days.")
    assert server.forms == [*forms, known]


@pytest.mark.slow
@pytest.mark.parametrize("api", APIS)
def test_a_tool_is_required_in_the_words_of_each_api(server: Picky, api: Any) -> None:
    server.refuses = lambda request: "" if form(request) == "tool" else "unsupported"
    quality(OpenAIModel("m", f"{server.url}/v1", api)).judge("Thirty days.")
    request = server.seen[-1].json
    assert request["tool_choice"] == "required"
    [tool] = request["tools"]
    function = tool["function"] if api == "chat" else tool
    assert (tool["type"], function["name"]) == ("function", "verdict")
    assert function["parameters"]["required"] == ["nonce", "reason", "dimensions"]


@pytest.mark.slow
def test_what_a_server_takes_is_remembered_for_server_and_model(server: Picky) -> None:
    server.refuses = lambda request: "unsupported" if form(request) in ("bounded", "plain") else ""
    url = f"{server.url}/v1"
    quality(OpenAIModel("one", url)).judge("Thirty days.")
    assert server.forms == ["bounded", "plain", "plain", "tool"]
    quality(OpenAIModel("one", url)).judge("Thirty days.")
    assert server.forms[4:] == ["tool"]
    quality(OpenAIModel("two", url)).judge("Thirty days.")
    assert server.forms[5:] == ["bounded", "plain", "plain", "tool"]


def test_it_is_remembered_where_the_environment_names_the_server(
    server: Picky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    server.refuses = lambda request: "unsupported" if form(request) == "bounded" else ""
    for _ in range(3):
        quality(OpenAIModel("m")).judge("Thirty days.")
    assert server.forms == ["bounded", *3 * ["plain"]]


def test_it_is_remembered_from_block_to_block_of_a_test(server: Picky) -> None:
    server.refuses = lambda request: "unsupported" if form(request) == "bounded" else ""
    judge = quality(OpenAIModel("m", f"{server.url}/v1"))
    judge.judge("Thirty days.")
    for _ in range(2):
        with soft(), collect():
            judge.judge("Forty days.")
    assert server.forms == ["bounded", *3 * ["plain"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("record", "again"), [("live", ["tool"]), ("new", ["bounded", "plain", "plain", "tool"])]
)
def test_the_next_test_asks_again_unless_nothing_is_recorded(
    server: Picky, record: Any, again: list[str]
) -> None:
    """A recording of the next test has to answer by itself, whatever ran before."""
    server.refuses = lambda request: "unsupported" if form(request) in ("bounded", "plain") else ""
    model = OpenAIModel(f"remembered-{record}", f"{server.url}/v1")
    for _ in range(2):
        mine = recorder.Recorder(settings=Settings(record=record))
        recorder.push_recorder(mine)
        quality(model).judge("Thirty days.")
        recorder.pop_recorder(mine)
    assert server.forms == ["bounded", "plain", "plain", "tool", *again]


def test_a_parameter_that_is_refused_by_name_is_left_out(server: Picky) -> None:
    def refuses(request: dict[str, Any]) -> str:
        return "Unsupported value: 'temperature' does not support 0" if "temperature" in request else ""

    server.refuses = refuses
    judge = quality(OpenAIModel("m", f"{server.url}/v1"))
    assert judge.judge("Thirty days.").score == 7
    assert server.forms == ["bounded", "bounded"]
    assert (server.seen[1].json["max_tokens"], "temperature" in server.seen[1].json) == (400, False)
    judge.judge("Forty days.")
    assert server.forms[2:] == ["bounded"]


def test_a_parameter_of_another_name_is_sent_by_it(server: Picky) -> None:
    def refuses(request: dict[str, Any]) -> str:
        return "Use 'max_completion_tokens' instead of 'max_tokens'" if "max_tokens" in request else ""

    server.refuses = refuses
    assert quality(OpenAIModel("m", f"{server.url}/v1")).judge("Thirty days.").score == 7
    assert server.seen[1].json["max_completion_tokens"] == 400
    assert server.seen[1].json["temperature"] == 0


def test_a_text_that_is_too_long_is_no_question_of_the_form(server: Picky) -> None:
    server.refuses = lambda _request: "This model's maximum context length is 10 tokens"
    with pytest.raises(ModelError, match="maximum context length"):
        quality(OpenAIModel("m", f"{server.url}/v1")).judge("Thirty days.")
    assert server.forms == ["bounded"]


def test_a_schema_that_is_refused_by_openais_words_is_a_question_of_the_form(server: Picky) -> None:
    words = "Invalid schema for response_format 'verdict': In context=(), 'maxLength' is not permitted."
    server.refuses = lambda request: words if form(request) == "bounded" else ""
    assert quality(OpenAIModel("m", f"{server.url}/v1")).judge("Thirty days.").score == 7
    assert server.forms == ["bounded", "plain"]


def test_refused_in_every_form_tells_the_first_refusal(server: Picky) -> None:
    server.refuses = lambda request: f"no {form(request)}"
    judge = quality(OpenAIModel("m", f"{server.url}/v1"))
    with pytest.raises(ModelError, match="no bounded"):
        judge.judge("Thirty days.")
    assert len(server.forms) == len(REPLY_FORMATS)
    server.refuses = lambda _request: ""
    judge.judge("Thirty days.")
    assert server.forms[-1] == "bounded"


def test_a_call_of_the_tool_beside_another_verdict_in_text_is_no_verdict() -> None:
    class Two:
        def complete(self, messages: Any, /, **_params: Any) -> Completion:
            nonce = re.search(r"<data-([0-9a-f]{32})>", messages[1].content)
            assert nonce is not None
            call = ToolCall(name="verdict", arguments=make_reply("tool", nonce[1]))
            return Completion(text="Score: 2, Reason: bad.", tool_calls=(call,))

    verdict = quality(Two()).judge("Thirty days.")
    assert verdict.score is None
    check_message(verdict.error)


def test_a_way_keeps_what_was_not_refused() -> None:
    params = {"temperature": 0, "max_tokens": 9}
    assert ReplyFormat("plain").select_params(params) == params
    assert ReplyFormat("plain", params=False).select_params(params) == {}
    assert ReplyFormat("text", dropped=frozenset({"max_tokens->", "max_completion_tokens"})).select_params(
        params
    ) == {"temperature": 0}


def test_a_model_of_ones_own_is_remembered_as_the_object_it_is() -> None:
    refusal = ModelError("no", kind="request", status=400)
    first, second = (ScriptedModel([refusal, *["x"] * 9], model="same") for _ in range(2))
    quality(first).judge("Thirty days.")
    assert "maxLength" not in json.dumps(first.asked[-1][1])
    quality(second).judge("Thirty days.")
    assert "maxLength" in json.dumps(second.asked[0][1])
