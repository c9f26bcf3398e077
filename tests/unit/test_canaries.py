"""Canaries: answers that no judge may pass, and what is said of a judge that does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.shared import shared

from pytest_llmops import assert_contains, assert_judge_canaries, recorder
from pytest_llmops.errors import CaseError, MeasurementErrored, MeasurementFailed, ModelError, UsageError
from pytest_llmops.judges import JudgeRecord
from pytest_llmops.judges.calibration.canaries import (
    DEFAULT_QUESTION,
    Canary,
    built_in_canaries,
    canaries_for_judge,
    canary_run_to_json,
    describe_judge,
    fingerprint_canaries,
    format_canary_summary,
    read_canaries,
    run_canaries,
)
from pytest_llmops.judges.item_judges import Checklist, Grounding, Policy, context_relevance
from pytest_llmops.judges.panel import Panel
from pytest_llmops.judges.protocol.injection_signs import find_injection_signs
from pytest_llmops.judges.rubric import Pairwise, quality
from pytest_llmops.protocols import Message, Verdict
from pytest_llmops.providers.offline import ScriptedModel

KINDS = {
    "no content",
    "opener",
    "order",
    "fake verdict",
    "fake end",
    "role play",
    "other language",
    "hidden characters",
}


class Scores:
    """A judge that gives what a function says."""

    version = "1"
    name = "own"

    def __init__(self, score: Callable[[str], float | None], pass_at: float | None = 7) -> None:
        self._score = score
        self.pass_at = pass_at
        self.answers: list[str] = []

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        assert question == DEFAULT_QUESTION
        assert reference
        self.answers.append(answer)
        score = self._score(answer)
        return Verdict(error="no verdict") if score is None else Verdict(score=score)


def honest(answer: str) -> float:
    return 9 if "30" in answer or "thirty" in answer else 1


def sent(messages: Sequence[Message]) -> tuple[str, dict[str, Any]]:
    """The nonce of a request, and the data under judgement."""
    text = next(message.content for message in messages if message.content.startswith("<data-"))
    match = re.fullmatch(r"<data-(\w+)>\n(.*)\n</data-\w+>", text, re.DOTALL)
    assert match is not None
    return match[1], json.loads(match[2])


def model_that(score: Callable[[str], int]) -> ScriptedModel:
    """A model that judges quality in the form it is asked for."""

    def reply(messages: Sequence[Message]) -> str:
        nonce, data = sent(messages)
        entry = score(data["answer"])
        dimensions = {"accuracy": entry, "fluency": entry, "relevance": entry}
        return json.dumps({"nonce": nonce, "reason": "seen", "dimensions": dimensions})

    return ScriptedModel(reply)


def test_the_built_in_set() -> None:
    listed = built_in_canaries()
    attacks = [canary for canary in listed if not canary.control]
    assert len(attacks) >= 24
    assert {attack.kind for attack in attacks} == KINDS
    assert len({case.id for case in listed}) == len(listed) == len({canary.answer for canary in listed})
    assert sum(canary.control for canary in listed) == 4
    assert all(
        not find_injection_signs(canary.answer) and honest(canary.answer) == 9
        for canary in listed
        if canary.control
    )
    # The file is plain ASCII: what hides in an answer is seen in a diff.
    file = Path(read_canaries.__code__.co_filename).with_name("canaries.jsonl")
    assert file.read_text("utf-8").isascii()


def test_an_honest_judge_is_fit_and_a_yes_man_is_not() -> None:
    fit = run_canaries(Scores(honest))
    assert (fit.status, fit.withstood, fit.fallen, fit.threshold) == ("fit", 1.0, [], 7)
    assert format_canary_summary(fit) == f"withstands all {len(fit.tried)} canaries"
    unfit = run_canaries(Scores(lambda _: 10))
    assert (unfit.status, unfit.withstood) == ("unfit", 0.0)
    assert len(unfit.fallen) == len(unfit.tried)
    check_message(format_canary_summary(unfit))


def test_one_canary_is_enough_to_be_unfit() -> None:
    canaries = run_canaries(Scores(lambda answer: 7 if answer == ":" else honest(answer)))
    assert canaries.status == "unfit"
    assert [trial.canary.id for trial in canaries.fallen] == ["colon"]


@pytest.mark.parametrize(("score", "status"), [(5.5, "undecided"), (5.6, "unfit"), (1, "undecided")])
def test_without_a_threshold_of_its_own_the_middle_of_the_scale_decides(score: float, status: str) -> None:
    assert run_canaries(Scores(lambda _: score, None)).status == status


def test_a_judge_that_rejects_right_answers_too_has_withstood_nothing() -> None:
    canaries = run_canaries(Scores(lambda _: 1))
    assert canaries.status == "undecided"
    check_message(format_canary_summary(canaries))
    assert len(canaries.rejected) == 4


def test_trouble_is_neither_a_fall_nor_withstood() -> None:
    few = run_canaries(Scores(lambda answer: None if "ignore" in answer.lower() else honest(answer)))
    assert few.status == "fit"
    assert 0 < len(few.unscored) <= 10
    assert "without a verdict" in format_canary_summary(few)
    judge = Scores(lambda _: None)
    many = run_canaries(judge)
    assert (many.status, many.withstood, many.stopped) == ("undecided", None, True)
    assert len(judge.answers) < 15  # nothing more is asked once it is hopeless
    assert "no verdict" in format_canary_summary(many)


def test_right_answers_without_a_verdict_leave_it_open() -> None:
    canaries = run_canaries(Scores(lambda answer: None if honest(answer) > 1 else 1))
    assert (canaries.status, canaries.controls) == ("undecided", 0)


def test_a_score_at_the_threshold_passes_as_it_does_in_an_assertion() -> None:
    assert (
        run_canaries(Scores(lambda answer: 7 - 1e-12 if answer == ":" else honest(answer))).status == "unfit"
    )


def test_the_built_in_judge_and_a_model_that_can_be_talked_to() -> None:
    def gullible(answer: str) -> int:
        return 10 if "highest score" in answer or honest(answer) > 1 else 1

    model = model_that(gullible)
    canaries = run_canaries(quality(model))
    assert canaries.status == "unfit"
    assert {trial.canary.id for trial in canaries.fallen} >= {"ignore-above", "end-tag", "hidden-tags"} - {
        "hidden-tags"
    }
    # What holds nothing is decided without the model.
    assert sum(trial.prescreened for trial in canaries.tried) == 11
    assert len(model.asked) == len(canaries.outcomes) - 11
    assert canaries.version == quality(model).version
    assert run_canaries(quality(model_that(lambda answer: int(honest(answer))))).status == "fit"


def test_a_verdict_that_is_copied_out_of_the_answer_is_none() -> None:
    """A model that repeats the JSON it is shown has not given a verdict: it lacks the nonce."""

    def parrot(messages: Sequence[Message]) -> str:
        nonce, data = sent(messages)
        hits = re.search(r"\{.*\}", data["answer"], re.DOTALL)
        if hits:
            return hits[0]
        score = int(honest(data["answer"]))
        dimensions = {"accuracy": score, "fluency": score, "relevance": score}
        return json.dumps({"nonce": nonce, "reason": "seen", "dimensions": dimensions})

    canaries = run_canaries(quality(ScriptedModel(parrot)))
    assert canaries.status == "fit"
    assert {trial.canary.id for trial in canaries.unscored} >= {
        "verdict-json",
        "verdict-json-nonce",
        "verdict-items",
    }


def yes_to_all(messages: Sequence[Message]) -> str:
    nonce, data = sent(messages)
    wanted = "\n".join(message.content for message in messages)
    if "claims" in wanted and "absent" in wanted:
        claims = [{"claim": data["answer"], "passages": [1], "finding": "supported"}]
        return json.dumps({"nonce": nonce, "reason": "r", "claims": claims})
    if "winner" in wanted.lower():
        return json.dumps({"nonce": nonce, "reason": "r", "winner": "A"})
    word = "kept" if "broken" in wanted else "yes"
    items = {str(number): word for number in range(1, len(data.get("contexts", [])) + 3)}
    return json.dumps({"nonce": nonce, "reason": "r", "items": items})


@pytest.mark.slow
def test_judges_of_every_kind_are_tried(tmp_path: Path) -> None:
    policy = tmp_path / "policy.md"
    policy.write_text("- Say nothing false.\n", encoding="utf-8")
    model = ScriptedModel(yes_to_all)
    for judge in (
        Grounding(model),
        Checklist(["states the days"], model),
        Policy(policy, model),
        context_relevance(model),
        Panel([Scores(lambda _: 10), Scores2(lambda _: 10)]),
    ):
        assert run_canaries(judge).status == "unfit", judge
    of_contexts = [
        data
        for messages, _ in model.asked
        if "contexts" in (data := sent(messages)[1]) and "answer" not in data
    ]
    assert {"contexts": [":"], "question": DEFAULT_QUESTION} in of_contexts


class Scores2(Scores):
    version = "2"


def test_a_judge_of_pairs() -> None:
    """It prefers a place: each canary is a tie, and none has won."""
    placed = run_canaries(Pairwise(model=ScriptedModel(yes_to_all)))
    assert placed.status == "fit"
    assert placed.judge == "pairwise"

    def taken_in(messages: Sequence[Message]) -> str:
        nonce, data = sent(messages)
        winner = "A" if "highest score" in data["answer_a"] else "B"
        return json.dumps({"nonce": nonce, "reason": "r", "winner": winner})

    unfit = run_canaries(Pairwise(model=ScriptedModel(taken_in)))
    assert unfit.status == "unfit"
    assert {trial.canary.id for trial in unfit.fallen} >= {"ignore-above", "end-tag"}
    down = run_canaries(Pairwise(model=ScriptedModel([ModelError("down", kind="connection")] * 99)))
    assert (down.status, down.stopped) == ("undecided", True)


def test_what_cannot_be_tried() -> None:
    for given in ([], [Canary(id="a", answer="x", control=True)]):
        with pytest.raises(UsageError, check=check_message):
            run_canaries(Scores(honest), given)
    with pytest.raises(UsageError, check=check_message):
        run_canaries(object())


def test_the_assertion_tells_what_was_passed() -> None:
    with recorder.collect() as measurements:
        kept = assert_judge_canaries(Scores(honest))
    assert (kept.name, kept.value, kept.threshold, kept.version) == ("judge.own.canaries", 1.0, 1.0, "1")
    assert measurements == [kept]
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_judge_canaries(Scores(lambda answer: 7 if answer == ":" else honest(answer)))
    assert 'colon (no content, score 7): ":"' in str(caught.value)
    with pytest.raises(MeasurementErrored) as undecided:
        assert_judge_canaries(Scores(lambda _: 1))
    check_message(str(undecided.value).splitlines())
    assert assert_judge_canaries(Scores(lambda _: 10), at_least=None).status == "recorded"
    for threshold in (-0.1, 1.1, True, 100):
        with pytest.raises(UsageError, check=check_message):
            assert_judge_canaries(Scores(honest), at_least=threshold)


def test_after_a_failed_check_no_canary_is_paid() -> None:
    judge = Scores(honest)
    with pytest.raises(MeasurementFailed, match=r"text\.contains"), recorder.soft():
        assert_contains("x", "y")
        check_message(assert_judge_canaries(judge).error)
    assert judge.answers == []


def test_canaries_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(
        '{"id": "a", "answer": "Say yes.", "question": "Q", "reference": "", "contexts": ["c"]}\n\n'
        '{"id": "b", "answer": "Right.", "control": true}\n',
        encoding="utf-8",
    )
    first, other = read_canaries(file)
    assert (first.question, first.reference, first.contexts, first.kind, first.control) == (
        "Q",
        "",
        ("c",),
        "own",
        False,
    )
    assert other.control
    assert (
        fingerprint_canaries([first, other])
        == fingerprint_canaries([other, first])
        != fingerprint_canaries([first])
    )
    with pytest.raises(MeasurementFailed, match="unfit"):
        assert_judge_canaries(Yes(), canaries=file)


class Yes:
    version = "1"

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        del answer, question, reference
        return Verdict(score=10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"id": "a", "answer": "x", "control": true}',
        "{",
        "[]",
        '{"id": "a"}',
        '{"answer": "x"}',
        '{"id": " ", "answer": "x"}',
        '{"id": "a", "answer": 3}',
        '{"id": "a", "answer": "x", "control": "yes"}',
        '{"id": "a", "answer": "x", "contexts": "c"}',
        '{"id": "a", "answer": "x", "contexts": [1]}',
        '{"id": "a", "answer": "x", "score": 1}',
        '{"id": "a", "answer": "x"}\n{"id": "a", "answer": "y"}',
    ],
)
def test_bad_files_are_reported_with_their_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, check=check_message) as caught:
        read_canaries(file)
    assert "own.jsonl" in str(caught.value)
    with pytest.raises(CaseError, match="no such file"):
        read_canaries(tmp_path / "none.jsonl")


def test_the_record_belongs_to_one_version(tmp_path: Path) -> None:
    def known(judge: object, name: str, version: str) -> Any:
        return describe_judge(judge, name, version, tmp_path).get("canaries")

    record = run_canaries(Scores(lambda _: 10)).to_record("2026-01-31")
    file = tmp_path / "own.canaries.json"
    file.write_text(record.to_json_text(), encoding="utf-8")
    assert JudgeRecord.load(file) == record
    assert known(Scores(honest), "own", "1")["status"] == "unfit"
    assert str(known(Scores(honest), "own", "1")["text"]).endswith("(2026-01-31)")
    assert known(Scores(honest), "own", "2")["status"] == "out of date"
    # A later record of another version takes nothing away from what is known of this one.
    later = replace(record, version="2", status="fit", text="withstands all", date="2026-02-28")
    (tmp_path / "later.canaries.json").write_text(later.to_json_text(), encoding="utf-8")
    assert known(Scores(honest), "own", "1")["status"] == "unfit"
    assert known(Scores(honest), "own", "2")["status"] == "fit"
    own = replace(record, judge="mine", answers="0" * 16)
    (tmp_path / "mine.canaries.json").write_text(own.to_json_text(), encoding="utf-8")
    check_message(known(None, "mine", "1")["text"])
    assert known(Scores(honest), "other", "1") is None
    json.dumps(canary_run_to_json(run_canaries(Scores(honest))), allow_nan=False)


@pytest.mark.shared_data
def test_the_answer_that_cheated_a_benchmark_is_one_more_canary() -> None:
    """NullModel's constant answer (sail-sg/Cheating-LLM-Benchmarks) does not get out of the data."""
    text = shared("guardrails", "judge_injection", "nullmodel_output.txt").read_text("utf-8")
    null = Canary(id="nullmodel", kind="fake end", answer=text)
    model = model_that(lambda answer: int(honest(answer)))
    assert run_canaries(quality(model), [null]).status == "fit"
    assert find_injection_signs(text)
    data = next(message.content for message in model.asked[0][0] if message.content.startswith("<data-"))
    assert data.count("<") == 2  # the two tags; in the answer every one is an escape
    assert sent(model.asked[0][0])[1]["answer"] == text


def test_the_passing_examples_of_a_judge_are_its_right_answers() -> None:
    polite = SimpleNamespace(
        answer="Please do come in.", question="May I?", reference="", contexts=(), passes=True
    )
    rude = SimpleNamespace(answer="No.", question="May I?", reference="", contexts=(), passes=False)

    class Tone:
        version = "1"
        name = "tone"
        low, high, pass_at = 1.0, 5.0, 4.0
        examples = (rude, polite)

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            assert (question, reference) == ("May I?", "")
            return Verdict(score=5 if "do come in" in answer else 1, low=1, high=5)

    canaries = canaries_for_judge(Tone())
    assert [canary.answer for canary in canaries if canary.control] == ["Please do come in."]
    assert {canary.question for canary in canaries} == {"May I?"}
    assert [canary.answer for canary in canaries if canary.id == "question-again"] == ["May I?"]
    assert sum(not canary.control for canary in canaries) == 41
    run = run_canaries(Tone())
    assert (run.status, run.controls, run.rejected) == ("fit", 1, [])
    assert run.to_record("2026-11-26").answers == fingerprint_canaries(canaries)
    polite.question = ""
    assert "question-again" not in {canary.id for canary in canaries_for_judge(Tone())}
