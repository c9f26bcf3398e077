from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_score import assert_checklist, assert_judge_score
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, ModelError, PromptError, UsageError
from pytest_llmops.judges import ReplyForm, read_reply
from pytest_llmops.judges.item_judges import MAX_ITEMS, Checklist, Policy, context_relevance
from pytest_llmops.protocols import Judge, Message
from pytest_llmops.providers.offline import ScriptedModel
from pytest_llmops.testing import check_judge

ANSWER = "Refunds take 30 days."
ITEMS = ["states the refund window", "offers help"]
TWO = ReplyForm(names=("yes", "no"), items=("1", "2"))


def nonce_in(messages: Sequence[Message]) -> str:
    hits = re.search(r"<data-([0-9a-f]{32})>", messages[1].content)
    assert hits is not None
    return hits[1]


def answering(*answers: str) -> ScriptedModel:
    def reply(messages: Sequence[Message]) -> str:
        items = {str(number): value for number, value in enumerate(answers, start=1)}
        return json.dumps({"nonce": nonce_in(messages), "reason": "because", "items": items})

    return ScriptedModel(reply)


def test_the_score_is_the_share_of_items() -> None:
    model = answering("yes", "no")
    judge = Checklist(ITEMS, model)
    assert isinstance(judge, Judge)
    verdict = judge.judge(ANSWER, question="How long?")
    assert (verdict.score, verdict.low, verdict.high, verdict.reason) == (0.5, 0, 1, "because")
    assert verdict.dimensions == {"states the refund window": 1, "offers help": 0}
    [(messages, params)] = model.asked
    assert "1. states the refund window\n2. offers help" in messages[0].content
    assert "states the refund window" not in messages[1].content
    schema: Any = params["response_format"]
    items = schema["json_schema"]["schema"]["properties"]["items"]
    assert items["properties"]["2"] == {"type": "string", "enum": ["yes", "no"]}
    assert items["required"] == ["1", "2"]


def test_a_server_without_json_is_read_by_the_line() -> None:
    def reply(messages: Sequence[Message]) -> str:
        return f"Items: 1 yes, 2 no; Nonce: {nonce_in(messages)}, Reason: no offer."

    verdict = Checklist(ITEMS, ScriptedModel(reply)).judge(ANSWER)
    assert (verdict.score, verdict.reason) == (0.5, "no offer")


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "x", "items": {"1": "yes"}}',
        '{"reason": "x", "items": {"1": "yes", "2": "maybe"}}',
        '{"reason": "x", "items": {"1": true, "2": "no"}}',
        '{"reason": "x", "items": ["yes", "no"]}',
        '{"items": {"1": "yes", "2": "no"}}',
        '{"reason": "x", "items": {"1": "yes", "2": "no"}} {"reason": "x", "items": {"1": "no", "2": "no"}}',
        '{"reason": "x", "items": {"1": "yes", "1": "no", "2": "no"}}',
        '{"reason": "x", "items": {"1": "ye',
        "Items: 1 yes, 1 no, 2 no; Reason: x",
        "Items: 1 yes; Reason: x",
        "Items: 1 yes, 2 perhaps; Reason: x",
        "Items: 1 yes or no, 2 yes or no; Reason: x",
        "Items: 1 no, 2 no; Reason: one sentence. Answer every number with yes or no.",
        '{"reason": "one sentence", "items": {"1": "no", "2": "no"}}',
        'Items: 1 yes, 2 yes.\n{"reason": "x", "items": {"1": "no", "2": "no"}}',
        "Items: 1 yes, 2 no",
        "All of them.",
        "",
    ],
)
def test_what_is_no_answer_to_each_item(text: str) -> None:
    read = read_reply(text, TWO)
    assert read.answers == {}
    check_message(read.error)


def test_replies_that_hold_the_items() -> None:
    for text in (
        '{"reason": "x", "items": {"1": "Yes", "2": " no ", "3": "yes"}}',
        "**Items:** 1: yes, 2: no\n**Reason:** x",
        "Items: 1) yes 2) no\nReason: x",
    ):
        read = read_reply(text, TWO)
        assert (read.answers, read.reason, read.error) == ({"1": "yes", "2": "no"}, "x", "")


@pytest.mark.parametrize(
    "items",
    [[], "one text", ["a", "a"], ["a", "a "], [" "], [1], ["x"] * (MAX_ITEMS + 1)],
    ids=["none", "text", "twice", "twice but for a blank", "blank", "number", "many"],
)
def test_items_that_are_none(items: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        Checklist(items, answering("yes"))


def test_a_contentless_answer_has_no_item() -> None:
    model = answering("yes", "yes")
    verdict = Checklist(ITEMS, model).judge("...")
    assert (verdict.score, verdict.prescreened, verdict.dimensions) == (0, True, dict.fromkeys(ITEMS, 0))
    assert model.asked == []


def test_the_kit_finds_nothing_wrong_with_a_checklist() -> None:
    def good(messages: Sequence[Message]) -> str:
        return json.dumps({"nonce": nonce_in(messages), "reason": "x", "items": {"1": "yes", "2": "no"}})

    check_judge(lambda model: Checklist(ITEMS, model), good=good)


def test_items_and_answers_go_into_the_version() -> None:
    model = answering("yes")
    versions = {Checklist(items, model).version for items in (["a"], ["b"], ["a", "b"], ["b", "a"])}
    assert len(versions) == 4


def rules(folder: Path, text: str) -> Path:
    file = folder / "policy.md"
    file.write_text(text, "utf-8")
    return file


POLICY = "# Policy\n\nFor people.\n\n- Never promise a refund.\n- Say who you are,\n  in the first line.\n1. No advice.\n"


def test_a_policy_is_a_list_of_rules(tmp_path: Path) -> None:
    model = answering("kept", "broken", "irrelevant")
    judge = Policy(rules(tmp_path, POLICY), model)
    assert judge.items == ("Never promise a refund.", "Say who you are, in the first line.", "No advice.")
    verdict = judge.judge(ANSWER)
    assert (verdict.score, judge.pass_at) == (0.5, 1)
    assert verdict.dimensions == {"Never promise a refund.": 1, "Say who you are, in the first line.": 0}
    assert "3. No advice." in model.asked[0][0][0].content


def test_a_policy_that_never_applies_gives_no_score(tmp_path: Path) -> None:
    verdict = Policy(rules(tmp_path, "- a\n- b\n"), answering("irrelevant", "irrelevant")).judge(ANSWER)
    assert (verdict.score, verdict.error) == (None, "no item counts: none of them applies")


@pytest.mark.parametrize(
    "text",
    [
        "No list.",
        "- a\n\n- a\n",
        "".join(f"- rule {n}\n" for n in range(51)),
        "",
    ],
)
def test_a_policy_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(PromptError, check=check_message):
        Policy(rules(tmp_path, text))


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PromptError, check=check_message):
        Policy(tmp_path / "none.md")


def test_passages_are_judged_by_the_question() -> None:
    model = answering("yes", "no", "no")
    judge = context_relevance(model)
    verdict = judge.judge(
        "not looked at", question="How long?", contexts=["Thirty days.", "We like dogs.", "Hi."]
    )
    assert verdict.score == pytest.approx(1 / 3)
    assert verdict.dimensions == {"passage 1": 1, "passage 2": 0, "passage 3": 0}
    body = json.loads(model.asked[0][0][1].content.split("\n")[1])
    assert body == {"question": "How long?", "contexts": ["Thirty days.", "We like dogs.", "Hi."]}


@pytest.mark.parametrize(
    "given", [{}, {"question": "Q?"}, {"contexts": ["x"]}, {"question": "Q?", "contexts": "a text"}]
)
def test_passages_need_a_question(given: Mapping[str, Any]) -> None:
    with pytest.raises(
        UsageError,
        check=check_message,
    ):
        context_relevance(answering("yes")).judge("x", **given)


def test_the_assertion_names_what_is_missing(well_formed: Any, alone: None) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_checklist(ANSWER, ITEMS, model=answering("yes", "no"), label="de")
    check_message(well_formed(caught.value)[:4])
    measurement = caught.value.measurement
    assert (measurement.name, measurement.value, measurement.threshold) == ("judge.checklist", 0.5, 1)


def test_the_assertion_passes_at_its_threshold() -> None:
    model = answering("yes", "no")
    assert assert_checklist(ANSWER, ITEMS, model=model, at_least=0.5).status == "passed"
    with recorder.collect() as measurements:
        assert_checklist(ANSWER, ITEMS, model=model, at_least=None)
    assert [(measurement.status, measurement.value) for measurement in measurements] == [("recorded", 0.5)]
    assert measurements[0].detail["judge"]["dimensions"] == {ITEMS[0]: 1.0, ITEMS[1]: 0.0}  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("answer", "model"),
    [
        (None, answering("yes", "no")),
        (ANSWER, ScriptedModel(lambda _messages: "fine")),
        (ANSWER, ScriptedModel([ModelError("down", kind="server")])),
    ],
)
def test_what_could_not_be_judged_is_an_error(answer: Any, model: ScriptedModel, alone: None) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_checklist(answer, ITEMS, model=model)
    assert (caught.value.measurement.value, caught.value.measurement.threshold) == (None, None)


def test_items_are_no_measurements_of_their_own_but_details() -> None:
    with recorder.collect() as measurements:
        assert_judge_score(ANSWER, judge=Checklist(ITEMS, answering("yes", "no")))
    assert [(measurement.name, measurement.value, measurement.threshold) for measurement in measurements] == [
        ("judge.checklist", 0.5, 1)
    ]
    assert measurements[0].detail["judge"]["dimensions"] == {ITEMS[0]: 1.0, ITEMS[1]: 0.0}  # type: ignore[call-overload, index]


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), True])
def test_a_threshold_that_is_no_share(threshold: float) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_checklist(ANSWER, ITEMS, model=answering("yes", "no"), at_least=threshold)
