from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops import recorder as softly
from pytest_llmops.assertions.semantic import _describe_passed, assert_semantic
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, ModelError, UnknownName, UsageError
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.offline import HashingEmbedder
from pytest_llmops.semantics.checks import CHECKS, VERSION
from pytest_llmops.semantics.thresholds import Threshold
from pytest_llmops.settings import Settings


@dataclass
class Fake:
    """Vectors by text; unknown texts raise."""

    vectors: dict[str, list[float]] = field(default_factory=dict)
    answer: Callable[[Sequence[str]], Any] | None = None
    version: str = "fake/1"
    calls: list[list[str]] = field(default_factory=list)

    def embed(self, texts: Sequence[str]) -> Any:
        self.calls.append(list(texts))
        if self.answer is not None:
            return self.answer(texts)
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)


def test_the_nearest_reference_counts_and_all_are_embedded_in_one_call() -> None:
    fake = Fake({"a": [1, 0], "far": [0, 1], "near": [0.8, 0.6]})
    measurement = assert_semantic("a", ["far", "near"], at_least=0.7, embedder=fake)
    assert (measurement.name, measurement.version, measurement.status) == ("semantic", "fake/1", "passed")
    assert measurement.value == pytest.approx(0.8)
    assert measurement.detail["scores"] == pytest.approx([0, 0.8])
    assert measurement.detail["expected"] == ["far", "near"]
    assert fake.calls == [["a", "far", "near"]]


def test_the_question_reaches_the_checks() -> None:
    reference = "You can return opened shoes for a refund."
    answer = "No, we never take opened shoes back for a refund."
    fake = Fake({answer: [1, 0], reference: [1, 0]})
    question = "Can I return opened shoes for a refund?"
    with pytest.raises(MeasurementFailed, match="the opposite answer to the question"):
        assert_semantic(answer, reference, question=question, at_least=0.5, embedder=fake)


@pytest.mark.slow
def test_what_few_assertions_need_is_imported_late() -> None:
    code = (
        "import sys, pytest_llmops.assertions.semantic\n"
        "late = ('providers.multilingual_e5', 'providers.model_files', 'judges.protocol.images', '_util.media_types', "
        "'metrics.bertscore')\n"
        "print([name for name in late if f'pytest_llmops.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_default_is_a_model_of_meaning() -> None:
    pytest.importorskip("tokenizers")
    reference = "Refunds are paid within 30 days."
    right = "You get your money back within thirty days."
    passed = assert_semantic(right, reference)
    assert (passed.threshold, passed.detail["embedder"]) == (0.55, "minilm")
    with pytest.raises(MeasurementFailed, match="embedder minilm"):
        assert_semantic("Our shop sells tea and coffee.", reference)
    with pytest.raises(MeasurementFailed, match="embedder tfidf"):
        assert_semantic(right, reference, embedder="tfidf")  # spelling alone


def test_without_the_model_it_is_an_error_that_shows_three_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path))
    with pytest.raises(UsageError, check=check_message):
        # A new one: that of the run of these tests has its model already.
        assert_semantic("a refund", "a refund", embedder=MiniLMEmbedder())


@pytest.mark.usefixtures("compare_spelling")
def test_the_default_threshold_is_the_embedders() -> None:
    assert assert_semantic("a refund", "a refund").threshold == 0.45
    assert assert_semantic("a refund", "a refund", embedder=HashingEmbedder()).threshold == 0.6
    assert assert_semantic("a refund", "a refund", embedder="hashing").version == HashingEmbedder().version


def test_the_default_embedder_is_that_of_the_settings() -> None:
    mine = recorder.Recorder(settings=Settings(embedder="hashing"))
    recorder.push_recorder(mine)
    try:
        assert_semantic("a refund", "a refund")
    finally:
        recorder.pop_recorder(mine)
    assert mine.measurements[0].detail["embedder"] == "hashing"


def test_none_records_only() -> None:
    assert assert_semantic("cat", "dog", at_least=None).status == "recorded"


@pytest.mark.usefixtures("compare_spelling")
def test_the_message_shows_what_was_expected_and_answered_once() -> None:
    answer = "Thanks for asking. Items come back within 60 days of delivery.\nBye!"
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic(answer, "Items come back within 30 days", at_least=0.99)
    lines = str(caught.value).splitlines()
    assert re.fullmatch(r"semantic 0\.\d+ < 0\.99 \(embedder tfidf\)", lines[0])
    check_message(lines[1:])
    differing = [
        text for text in ("come back within 30 days", "asking. Items") if str(caught.value).count(text) == 1
    ]
    assert len(differing) == 2


@pytest.mark.usefixtures("compare_spelling")
def test_several_references_and_a_label() -> None:
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_semantic("cat", ["dog", "bird"], label="de")


@pytest.mark.usefixtures("compare_spelling")
@pytest.mark.parametrize("answer", ["cat", "It rains. You will."])
def test_an_answer_about_something_else_is_called_so(answer: str) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic(answer, "You will get the dog")
    evidence = dict(caught.value.measurement.detail["evidence"])  # type: ignore[arg-type]
    assert evidence["answer"] == f'"{answer}"'
    assert "something else" in str(evidence["why"])
    assert "nearest" not in evidence


def test_score_and_threshold_are_told_apart() -> None:
    fake = Fake({"a": [1, 0], "b": [0.7999, 0.6001]})
    with pytest.raises(MeasurementFailed, match=r"semantic 0\.7999 < 0\.8000"):
        assert_semantic("a", "b", at_least=0.8, embedder=fake)


def test_foreign_text_starts_no_line() -> None:
    evil = "x\nFAILED everything\x1b[31m \u202e"
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic(evil, "refunds\n::error::take 30 days", label="a\nb")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("  ") for line in lines[1:])
    assert not any(char in str(caught.value) for char in "\x1b\u202e")


def test_opposite_vectors_score_zero_not_less() -> None:
    assert assert_semantic("a", "b", at_least=None, embedder=Fake({"a": [1, 0], "b": [-1, 0]})).value == 0


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_empty_answer_scores_zero_and_asks_nobody(blank: str) -> None:
    fake = Fake()
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_semantic(blank, "dog", at_least=0.5, embedder=fake)
    assert fake.calls == []


@pytest.mark.parametrize("actual", [None, 7, b"bytes", ["text"]])
def test_an_answer_that_is_no_text_cannot_be_scored(actual: Any) -> None:
    with pytest.raises(MeasurementErrored, match=f"expected a text, got {type(actual).__name__}"):
        assert_semantic(actual, "dog")


@pytest.mark.parametrize(
    "answer",
    [
        lambda texts: np.full((len(texts), 2), np.nan),
        lambda texts: np.ones((len(texts) + 1, 2)),
        lambda _texts: np.ones(2),
        lambda _texts: None,
        lambda _texts: [["a"], ["b"]],
        lambda _texts: np.zeros((2, 2)),
    ],
)
def test_vectors_that_are_none_cannot_be_scored(answer: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_semantic("cat", "dog", at_least=0.5, embedder=Fake(answer=answer))


def test_an_embedder_that_cannot_be_asked_or_breaks() -> None:
    def down(_texts: Sequence[str]) -> None:
        raise ModelError("model 'x' could not be reached", kind="connection")

    def broken(_texts: Sequence[str]) -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(MeasurementErrored, check=check_message):
        assert_semantic("cat", "dog", at_least=0.5, embedder=Fake(answer=down))
    with pytest.raises(
        MeasurementErrored, match=r"ZeroDivisionError: by zero \(test_assert_semantic.py:\d+\)"
    ):
        assert_semantic("cat", "dog", at_least=0.5, embedder=Fake(answer=broken))


def test_an_embedders_own_usage_error_stays_one() -> None:
    def unusable(_texts: Sequence[str]) -> None:
        raise UsageError("no API key")

    with pytest.raises(UsageError, match="no API key"):
        assert_semantic("cat", "dog", at_least=0.5, embedder=Fake(answer=unusable))


@pytest.mark.usefixtures("compare_spelling")
def test_a_reference_without_words_cannot_be_compared() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_semantic("?!", "?!")


@pytest.mark.parametrize(
    "expected",
    [
        [],
        "",
        ["dog", "  "],
        ["dog", None],
        None,
        b"dog",
        {"dog"},
    ],
)
def test_references_that_are_none_are_the_users_mistake(expected: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("cat", expected)


@pytest.mark.parametrize("threshold", [75, -0.1, float("nan"), True, "high", "0.5"])
def test_a_threshold_outside_0_to_1_is_refused(threshold: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("cat", "dog", at_least=threshold)


def test_an_embedder_without_a_default_needs_a_threshold() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("cat", "dog", embedder=Fake())


def test_no_such_embedder() -> None:
    with pytest.raises(UnknownName, check=check_message):
        assert_semantic("cat", "dog", embedder="tfdif")
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("cat", "dog", embedder=7)  # type: ignore[arg-type]


def test_a_failure_asks_the_embedder_once_only() -> None:
    fake = Fake({"One. Two.": [1, 0], "Three": [0, 1]})
    with pytest.raises(MeasurementFailed):
        assert_semantic("One. Two.", "Three", at_least=0.5, embedder=fake)
    assert len(fake.calls) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("compare_spelling")  # a model takes minutes
def test_a_megabyte_is_scored_and_explained() -> None:
    answer = "Nothing to see here. " * 50_000 + "Refunds take 30 days."
    with softly.collect() as measurements:
        assert_semantic(answer, "Refunds take 31 days", at_least=0.99)
    evidence = dict(measurements[0].detail["evidence"])  # type: ignore[arg-type]
    check_message(evidence["nearest"])
    assert measurements[0].detail["actual"] == answer


@pytest.mark.usefixtures("compare_spelling")
def test_lone_surrogates() -> None:
    assert assert_semantic("refund \ud800", "refund").value == pytest.approx(1)


@pytest.mark.usefixtures("compare_spelling")
def test_detail_is_plain() -> None:
    with softly.collect() as measurements:
        assert_semantic("cat", ("dog",))
    detail: dict[str, Json] = dict(measurements[0].detail)
    assert detail["expected"] == ["dog"]
    assert detail["embedder"] == "tfidf"


ALIKE = Fake(answer=lambda texts: np.ones((len(texts), 2)))
"""All texts are the same to it, as they nearly are to any embedder that meets a small edit."""


def measured(*args: Any, **kwargs: Any) -> dict[str, Any]:
    with softly.collect() as measurements:
        assert_semantic(*args, **kwargs)
    return {measurement.name: measurement for measurement in measurements}


def test_a_check_that_fires_fails_whatever_the_cosine_says() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic(
            "Refunds take 60 days.", "Refunds take 30 days.", at_least=0.5, embedder=ALIKE, label="a"
        )
    lines = str(caught.value).splitlines()
    assert lines[:5] == [
        'semantic.checks [a]: another number: the reference says "30 days", the answer "60 days" (check numbers)',
        '  expected      "Refunds take 30 days."',
        '  answer        "Refunds take 60 days."',
        "  score         semantic 1.00 >= 0.50 (embedder Fake)",
        '  if the same   checks=["-numbers"] switches it off',
    ]
    assert [measurement.name for measurement in caught.value.measurements] == ["semantic.checks"]


def test_the_word_of_a_judge_stands_beside_an_alarm() -> None:
    verdict = Measurement(
        name="judge.equivalence", value=1.0, threshold=0.5, detail={"judge": {"reason": "Both say so"}}
    )
    assert _describe_passed(verdict) == [
        ("score", 'judge.equivalence 1.00 >= 0.50 (the judge says "Both say so")')
    ]
    recorded = Measurement(name="semantic", value=0.25)
    assert _describe_passed(recorded) == [("score", "semantic 0.25")]
    assert _describe_passed(Measurement(name="semantic", error="no vectors")) == []


def test_score_and_checks_fail_in_one_text() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic("Refunds take 60 days.", "Refunds take 30 days.", at_least=0.999)
    text = str(caught.value)
    assert text.startswith("semantic 0.")
    assert text.count("\n  semantic.checks: another number: ") == 1
    assert [measurement.name for measurement in caught.value.measurements] == ["semantic", "semantic.checks"]
    assert text.count("rerun") <= 1


def test_all_alarms_are_reported() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic(
            "It is open on Sunday. Refunds take 60 days. It is signed by Anna.",
            "It is open on Monday. Refunds take 30 days. It is signed by Ben.",
            at_least=0.5,
            embedder=ALIKE,
        )
    text = str(caught.value)
    assert "(check dates)" in text
    assert '  numbers       another number: the reference says "30 days"' in text
    assert '  entities      another name: the reference says "Ben", the answer "Anna"' in text
    assert 'checks=["-dates", "-numbers", "-entities"] switches them off' in text


def test_what_the_checks_saw_is_recorded() -> None:
    measurements = measured(
        "Refunds take 60 days.", "Refunds take 30 days.", at_least=0.5, embedder=ALIKE, checks=["numbers"]
    )
    assert measurements["semantic"].status == "passed"
    checks = measurements["semantic.checks"]
    assert (checks.value, checks.threshold, checks.status, checks.version) == (
        0,
        1,
        "failed",
        f"checks/{VERSION}",
    )
    assert checks.detail["checks"] == ["numbers"]
    assert set(checks.detail["off"]) == set(CHECKS) - {"numbers"}
    assert checks.detail["alarms"] == [
        {
            "check": "numbers",
            "message": 'another number: the reference says "30 days", the answer "60 days"',
            "expected": "30 days",
            "actual": "60 days",
        }
    ]
    quiet = measured("Refunds take 30 days.", "Refunds take thirty days.", at_least=0.5, embedder=ALIKE)
    assert (quiet["semantic.checks"].value, quiet["semantic.checks"].status) == (1, "passed")


def test_checks_are_recorded_only_where_the_score_is() -> None:
    measurements = measured("Refunds take 60 days.", "Refunds take 30 days.", at_least=None)
    assert [measurement.status for measurement in measurements.values()] == ["recorded", "recorded"]
    assert measurements["semantic.checks"].value == 0


@pytest.mark.parametrize("off", [(), ["-numbers"], ["negation", "roles"]])
def test_checks_can_be_switched_off(off: Any) -> None:
    result = measured(
        "Refunds take 60 days.", "Refunds take 30 days.", at_least=0.5, embedder=ALIKE, checks=off
    )
    assert all(measurement.status == "passed" for measurement in result.values())
    assert ("semantic.checks" in result) == bool(off)


def test_checks_that_do_not_know_the_language_are_reported() -> None:
    measurement = measured("Das ist nie erlaubt.", "Das ist erlaubt.", at_least=0.1)["semantic.checks"]
    assert measurement.status == "passed"
    (sentence,) = cast("list[str]", measurement.detail["without"])
    assert sentence.endswith("in this language (looks like German)")
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_semantic("Das dauert 60 Tage und ist frei.", "Das dauert 30 Tage und ist frei.", at_least=0.1)


def test_a_short_text_takes_the_configured_language() -> None:
    german = recorder.Recorder(settings=Settings(language="German"))
    recorder.push_recorder(german)
    try:
        with recorder.collect() as collected:
            assert_semantic("Kein Rabatt", "Rabatt", at_least=0.1, embedder=ALIKE)
    finally:
        recorder.pop_recorder(german)
    assert [result.status for result in collected] == ["passed", "passed"]
    assert "looks like German" in str(collected[1].detail["without"])


def test_the_nearest_reference_without_an_alarm_counts() -> None:
    fake = Fake({"60 days": [1, 0], "30 days": [1, 0], "two months": [0.8, 0.6], "far": [0, 1]})
    measurement = assert_semantic("60 days", ["30 days", "two months", "far"], at_least=0.7, embedder=fake)
    assert measurement.value == pytest.approx(0.8)
    assert measurement.detail["scores"] == pytest.approx([1, 0.8, 0])
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_semantic("60 days", ["30 days", "two months", "far"], at_least=0.9, embedder=fake)


def test_an_embedder_that_breaks_hides_no_alarm() -> None:
    def broken(_texts: Sequence[str]) -> None:
        raise ZeroDivisionError

    result = measured("60 days", "30 days", at_least=0.5, embedder=Fake(answer=broken))
    assert [measurement.status for measurement in result.values()] == ["errored", "failed"]
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_semantic("60 days", "30 days", at_least=0.5, embedder=Fake(answer=broken))


def test_no_answer_has_nothing_to_check() -> None:
    assert [*measured("", "30 days")] == ["semantic"]
    assert [*measured(None, "30 days")] == ["semantic"]


@pytest.mark.usefixtures("compare_spelling")
def test_a_threshold_that_was_measured_holds_for_its_embedder_only() -> None:
    hashing = HashingEmbedder()
    mine = Threshold(value=0.71, embedder="hashing", version=hashing.version)
    assert assert_semantic("a refund", "a refund", at_least=mine, embedder="hashing").threshold == 0.71
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("a refund", "a refund", at_least=mine)


def test_the_file_of_the_settings_is_the_default_of_its_embedder(tmp_path: Path) -> None:
    file = tmp_path / "threshold.json"
    file.write_text(
        Threshold(value=0.33, embedder="hashing", version=HashingEmbedder().version).text(), "utf-8"
    )
    mine = recorder.Recorder(settings=Settings(semantic_threshold=str(file)))
    recorder.push_recorder(mine)
    try:
        assert assert_semantic("a refund", "a refund", embedder="hashing").threshold == 0.33
        assert assert_semantic("a refund", "a refund", embedder="tfidf").threshold == 0.45
    finally:
        recorder.pop_recorder(mine)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ("numbers", r"a list of names, like \[\"numbers\"\]"),
        (7, "a list of names"),
        ([7], "a list of names"),
        (["numbers", "-roles"], "all with a minus"),
    ],
)
def test_checks_that_are_none_are_the_users_mistake(checks: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        assert_semantic("cat", "dog", checks=checks)


def test_no_such_check() -> None:
    with pytest.raises(UnknownName, check=check_message):
        assert_semantic("cat", "dog", checks=["-negatoin"])


@pytest.mark.slow
@pytest.mark.parametrize("text", ["?! 30", "退款 refund возврат 30 dní", "\x00\x1b[31m 30", "30 \ud800"])
def test_odd_texts_are_compared(text: str) -> None:
    result = measured(text, [text, text + " "], at_least=0.5)
    assert [measurement.status for measurement in result.values()] == ["passed", "passed"]


def test_alarms_about_foreign_text_start_no_line() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic("In 30 days\x1b[31m \u202e", "In 60 days\n::error::", at_least=0.5, embedder=ALIKE)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("  ") for line in lines[1:])
    assert not any(char in str(caught.value) for char in "\x1b\u202e")


def test_numbers_of_numpy_are_thresholds_and_an_array_is_none() -> None:
    import numpy as np

    for threshold in (np.float32(0.5), np.float64(0.5), np.int64(0)):
        assert assert_semantic("a refund", "a refund", at_least=cast("Any", threshold)).threshold == threshold
    for wrong in (np.array([0.5, 0.5]), np.float32("nan"), "high", np.float32(1.5)):
        with pytest.raises(UsageError, check=check_message):
            assert_semantic("a refund", "a refund", at_least=cast("Any", wrong))


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Yes, we ship to Canada.", "No, we do not ship to Canada."),
        ("I agree.", "I disagree."),
        ("Never.", "Always."),
    ],
)
def test_short_and_turned_answers_fail(answer: str, reference: str) -> None:
    assert measured(answer, reference, at_least=0.0, embedder=ALIKE)["semantic.checks"].status == "failed"


def test_what_to_do_stands_behind_both_failures() -> None:
    mine = recorder.Recorder(settings=Settings())
    mine.describe_origin = lambda: [("rerun", "pytest tests/test_refunds.py")]
    recorder.push_recorder(mine)
    try:
        with pytest.raises(MeasurementFailed) as caught:
            assert_semantic("Refunds take 60 days.", "Refunds take 30 days.", at_least=0.999)
    finally:
        recorder.pop_recorder(mine)
    lines = str(caught.value).splitlines()
    assert [number for number, line in enumerate(lines) if "rerun" in line] == [len(lines) - 1]
    assert any("semantic.checks: another number" in line for line in lines[1:])


def test_a_threshold_that_names_the_embedder_as_the_settings_do(tmp_path: Path) -> None:
    file = tmp_path / "threshold.json"
    file.write_text(Threshold(value=0.33, embedder="mine", version="mine/1").text(), "utf-8")

    def find_component(_kind: str, _name: str) -> object:
        return ALIKE

    mine = recorder.Recorder(settings=Settings(semantic_threshold=str(file)))
    mine.find_component = find_component
    recorder.push_recorder(mine)
    try:
        with pytest.raises(UsageError, check=check_message):
            assert_semantic("a refund", "a refund", embedder="mine")
    finally:
        recorder.pop_recorder(mine)


@pytest.mark.parametrize("checks", [False, True])
def test_a_switch_is_not_a_list_of_checks(checks: Any) -> None:
    with pytest.raises(UsageError, check=check_message) as caught:
        assert_semantic("30 days", "30 days", checks=checks)
    assert ("checks=()" in str(caught.value)) is (checks is False)


@pytest.mark.usefixtures("alone")  # else the run of these tests reports it
def test_a_language_that_the_embedder_does_not_know_is_reported() -> None:
    pytest.importorskip("tokenizers")
    german = "Die Rückgabe ist innerhalb von dreißig Tagen möglich."
    passed = assert_semantic(german, f"{german} ", checks=())
    (sentence,) = cast("list[str]", passed.detail["without"])
    check_message(sentence)
    english = assert_semantic("Refunds take thirty days.", "Refunds take 30 days.", checks=())
    assert "without" not in english.detail
    assert "without" not in assert_semantic(german, f"{german} ", embedder="hashing", checks=()).detail


@pytest.mark.usefixtures("alone")  # else the run of these tests reports it
def test_a_failure_names_the_language_that_the_embedder_does_not_know() -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(MeasurementFailed, match=r"(?m)^  language +the embedder minilm does not know German"):
        assert_semantic(
            "Das Wetter ist heute wieder sehr schön.", "Die Rückgabe kostet den Kunden leider Geld."
        )
