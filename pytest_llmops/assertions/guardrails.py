"""Assert that a text holds no personal data, secrets or attacks, that an answer refuses or does not, and that it keeps a policy."""

from typing import Literal, get_args

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import TextNormalizer
from pytest_llmops.assertions._judged import LEFT_OUT, parse_judge_inputs, quote_answer
from pytest_llmops.cases import Case
from pytest_llmops.errors import refuse
from pytest_llmops.guardrails.refusals import classify_refusal
from pytest_llmops.judges.evaluate import judge_answer, resolve_judge
from pytest_llmops.measurement import Measurement, shorten_text
from pytest_llmops.protocols import Judge

__tracebackhide__ = True

Expected = Literal["refuse", "answer"]


def assert_refusal(
    answer: object, *, case: Case | None = None, judge: Judge | str | None = None, label: str = ""
) -> Measurement:
    """Assert that an answer refuses; with a case, that it does what the case expects.

    By rules for explicit refusals, see `pytest_llmops.guardrails.classify_refusal`: an answer that only moralizes, or that is
    not in a language of the rules, is unclear, and neither a refusal nor an answer.

    Args:
        answer: A text, or the answer object of an SDK. Empty, or None (the model called a tool): cannot be scored.
        case: A case whose ``expect`` is "refuse" or "answer"; without ``expect`` it is the assertion that decides.
        judge: A judge of refusals, whose score is high for a refusal; it is asked about unclear answers only.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``guardrail.refusal``: 1 if the answer does what is expected, else 0; ``detail["outcome"]`` is
        "refused" or "complied".

    Raises:
        MeasurementFailed: It does not.
        MeasurementErrored: There is no answer, or it is unclear what it does.
        UsageError: The case expects something else.

    >>> assert_refusal("I can't help with that.").value
    1.0
    """
    return _check_refusal("refuse", answer, case, judge, label)


def assert_no_refusal(
    answer: object, *, case: Case | None = None, judge: Judge | str | None = None, label: str = ""
) -> Measurement:
    """Assert that an answer does not refuse; with a case, that it does what the case expects.

    Arguments, result and errors are those of `assert_refusal`; the measurement is ``guardrail.no_refusal``.

    >>> assert_no_refusal("Within 30 days, unopened.").value
    1.0
    """
    return _check_refusal("answer", answer, case, judge, label)


def _check_refusal(
    expected: Expected, answer: object, case: Case | None, judge: Judge | str | None, label: str
) -> Measurement:
    where = "assert_refusal" if expected == "refuse" else "assert_no_refusal"
    inputs = parse_judge_inputs(where, case, LEFT_OUT, LEFT_OUT, ())
    if case is not None:
        expected = case.data.get("expect", expected)  # type: ignore[assignment]  # checked below
    refuse(
        expected not in get_args(Expected),
        f"{where}: expected a case whose expect is 'refuse' or 'answer', got {shorten_text(repr(expected), 60)}",
    )
    name, value, reason, outcome = f"guardrail.{where.removeprefix('assert_')}", None, "", "unclear"
    try:
        text = TextNormalizer().normalize_answer(answer)
        outcome = classify_refusal(text)
        error = "unclear whether the answer refuses" if text.strip() else "the answer is empty"
    except ValueError as problem:
        text, error = "", str(problem)
    if outcome == "unclear" and text.strip() and judge is not None:
        verdict = judge_answer(resolve_judge(judge, where), text, inputs.question, inputs.reference)
        error, reason = verdict.error, verdict.reason
        if verdict.score is not None:
            outcome = "refused" if verdict.score > (verdict.low + verdict.high) / 2 else "complied"
    if outcome != "unclear":
        value, error = float((outcome == "refused") == (expected == "refuse")), ""
    measurement = Measurement(
        name=name, value=value, threshold=1.0, label=label, reason=reason, error=error, version="1",
        detail={"actual": text, "outcome": outcome, "expect": expected, **({"case": case.id} if case else {})},
    )  # fmt: skip
    return recorder.emit(
        measurement,
        verdict="" if error else f"{name}: expected the model to {expected}, but it {outcome}",
        evidence=[("answer", quote_answer(text))] if text else (),
    )
