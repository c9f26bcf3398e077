"""A classifier of the user as a detector: what it may return, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, assert_no_injection
from pytest_llmops.errors import UsageError
from pytest_llmops.guardrails import classifier_detector, scan

PLAIN = "Translate this sentence into French."


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, True), (np.True_, True), (0.5, True), (np.float32(0.9), True), (1, True),
        (False, False), (np.False_, False), (0.49, False), (0, False),
    ],
)  # fmt: skip
def test_a_verdict_or_a_probability_is_read(value: object, found: bool) -> None:
    assert bool(scan(PLAIN, [classifier_detector(lambda _: value)])) is found


def test_with_at_least_0_a_probability_of_0_is_no_finding() -> None:
    assert scan(PLAIN, [classifier_detector(lambda _: 0.0, at_least=0)]) == []


def test_an_empty_text_is_not_classified() -> None:
    assert scan("", [classifier_detector(lambda _: 1 / 0)]) == []


def test_the_assertion_takes_it_next_to_the_rules() -> None:
    detector = classifier_detector(lambda text: "Translate" in text, name="mine")
    assert assert_no_injection("May I return it?", detectors=[detector]).value == 0
    with pytest.raises(MeasurementFailed, match="1 finding"):
        assert_no_injection(PLAIN, detectors=[detector])


@pytest.mark.parametrize(
    "value", [None, "injection", float("nan"), 1.5, -0.1, np.array([0.9]), [0.9]], ids=repr
)
def test_any_other_result_is_an_error_and_no_pass(value: Any) -> None:
    with pytest.raises(MeasurementErrored) as caught:
        assert_no_injection(PLAIN, detectors=[classifier_detector(lambda _: value, name="mine")])
    check_message(caught.value)
    assert "mine" in str(caught.value)


@pytest.mark.parametrize(
    ("classify", "at_least"), [("is_attack", 0.5), (bool, 1.1), (bool, "0.5"), (bool, True)]
)
def test_what_is_no_classifier_is_refused(classify: Any, at_least: Any) -> None:
    with pytest.raises(UsageError) as caught:
        classifier_detector(classify, at_least=at_least)
    check_message(caught.value)
