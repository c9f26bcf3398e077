"""Assert that an answer is at least as good as another answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions._arguments import check_texts, parse_share_threshold
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.assertions._judged import (
    LEFT_OUT,
    JudgeInputs,
    judge_title,
    parse_judge_inputs,
    quote_answer,
    refuse_mapping,
)
from pytest_llmops.cases import Case
from pytest_llmops.cassettes.shared_answers import defer_sharing
from pytest_llmops.errors import LLMOpsError, UsageError, describe_exception
from pytest_llmops.judges.evaluate import resolve_pairwise_judge, skipped_measurement
from pytest_llmops.judges.protocol.injection_signs import find_injection_signs
from pytest_llmops.judges.rubric import Pairwise, Preference
from pytest_llmops.measurement import Json, Measurement, shorten_text
from pytest_llmops.protocols import Hits

__tracebackhide__ = True

# Fields of a `Preference` that the detail of the measurement has
STORED_FIELDS = ("winner", "straight", "swapped", "reason", "raw", "error", "prescreened")
WINNER_WORDS = {"first": "the answer", "second": "the other one", "tie": "neither"}


def assert_preferred(
    answer: object,
    over: object,
    *,
    judge: Pairwise | str | Path | None = None,
    case: Case | None = None,
    question: str = LEFT_OUT,
    reference: str = LEFT_OUT,
    contexts: Sequence[object] | Hits = LEFT_OUT,
    at_least: float | None = 0.5,
    label: str = "",
) -> Measurement:
    """Assert that a judge finds an answer at least as good as another answer, in both orders.

    If the judge prefers another answer when the order is swapped, the result is a tie. A single pair proves little.
    With many pairs, only record them, and look at their mean in the report.

    Args:
        answer: The answer under test: a text, or the response of an SDK.
        over: The answer to compare it with, such as an older version's or another model's.
        judge: A `Pairwise`, or the path of a judge file of that kind. None: the default criteria.
        case: A case. Its input, reference and ``contexts`` are used where the next three arguments are left out.
        question: The question.
        reference: A good answer, if known.
        contexts: The passages from which both answers were made.
        at_least: 1 requires a win, 0.5 (the default) a win or a tie. None: record only. With a judge of
            ``probability=True`` it is the lowest probability, which is never quite 1.
        label: Distinguishes two comparisons of one test.

    Returns:
        The measurement ``judge.<name>``: 1 for a win, 0.5 for a tie, 0 for a loss. With a judge of ``probability=True``
        it is the probability of a win. If the server gave no probability, it is 1, 0.5 or 0 with another version, and
        the two versions are never compared. ``detail["judge"]`` has the winner of each order and the probability.
        ``detail["review"]`` is present if they differ, ``detail["suspect"]`` if an answer seems to influence its judge.

    Raises:
        MeasurementFailed: The other answer is better, or the result is a tie where a win is required.
        MeasurementErrored: The judge could not be called, or gave no readable verdict in one of the orders.
        UsageError: An answer is not a text, or the threshold is not a score.

    Example::

        assert_preferred(new_answer, over=old_answer, question="May I return it?")
    """
    inputs = parse_judge_inputs("assert_preferred", case, question, reference, contexts)
    refuse_mapping("assert_preferred", answer)
    refuse_mapping("assert_preferred", over, "over")
    first_answer = read_answer(answer)
    second_answer = read_answer(over)
    check_texts("assert_preferred", answer=first_answer, over=second_answer)
    first = str(first_answer)
    second = str(second_answer)
    parse_share_threshold("assert_preferred", at_least)
    if judge is None:
        pairwise_judge = Pairwise()
    else:
        pairwise_judge = resolve_pairwise_judge(judge, "assert_preferred")
    skipped = skipped_measurement(f"judge.{pairwise_judge.name}", label)
    if skipped:
        return skipped
    preference = _compare_answers(
        pairwise_judge,
        (first, second),
        question=inputs.question,
        reference=inputs.reference,
        contexts=inputs.contexts,
    )
    used: dict[str, Json] = {"name": pairwise_judge.name, "model": pairwise_judge.model_name}
    version, is_by_winner = _read_scale(pairwise_judge, preference)
    recorder.record_facts({"judge": {**used, "version": version}})
    threshold = at_least
    if preference.error:
        threshold = None
    reason = ""
    if preference.reason:
        reason = f'judge: "{preference.reason}"'
    detail = _build_detail(preference, inputs, used, answer=first, over=second)
    measurement = Measurement(
        name=f"judge.{pairwise_judge.name}",
        value=preference.score,
        error=preference.error,
        threshold=threshold,
        label=label,
        reason=reason,
        version=version,
        detail=detail,
    )
    title = judge_title(pairwise_judge.name, label)
    verdict = _format_preference_verdict(title, preference, is_by_winner=is_by_winner)
    evidence = _list_evidence(preference, first, second)
    return recorder.emit(measurement, verdict=verdict, evidence=evidence)


def _read_scale(judge: Any, preference: Preference) -> tuple[str, bool]:
    """Return the version of a preference, and whether the judge requested probabilities and got none."""
    if not isinstance(judge, Pairwise):  # a judge of the user's own only has `compare`
        return judge.version, False
    return judge.version_of(preference), judge.is_by_winner(preference)


def _build_detail(
    preference: Preference, inputs: JudgeInputs, judge: Mapping[str, Json], *, answer: str, over: str
) -> dict[str, Json]:
    """Return the answers, the judge's inputs, its verdict, and flags for a review, for the detail."""
    stored = {key: getattr(preference, key) for key in STORED_FIELDS}
    if preference.probability is not None:
        stored["probability"] = preference.probability
    detail = inputs.to_detail(answer)
    detail["expected"] = over
    detail["judge"] = {**judge, **stored}
    detail |= _review_flags(preference, answer, over)
    return detail


def _list_evidence(preference: Preference, answer: str, over: str) -> list[tuple[str, str]]:
    """Return both answers; without a verdict the judge's reply, if there is any."""
    if preference.winner is not None:
        return [("answer", quote_answer(answer)), ("other", quote_answer(over))]
    if preference.raw:
        return [("reply", quote_text(preference.raw, MAX_EVIDENCE_CHARS))]
    return []


def _compare_answers(judge: Pairwise, pair: tuple[str, str], **judge_inputs: Any) -> Preference:
    """Return the judge's preference; a failed call becomes its error. Replies are only shared if there is a verdict."""
    try:
        with recorder.set_purpose("judge"), defer_sharing() as share:
            preference = judge.compare(*pair, **judge_inputs)
            if preference.winner is not None:
                share()
    except UsageError:
        raise
    except LLMOpsError as error:
        return Preference(error=describe_exception(error))
    return preference


def _review_flags(preference: Preference, answer: str, over: str) -> dict[str, Json]:
    """Return why a person should review the pair; empty if no review is needed."""
    flags: dict[str, Json] = {}
    if preference.consistent is False:
        flags["review"] = {"orders": [preference.straight, preference.swapped]}
    signs_of_both = [*find_injection_signs(answer), *find_injection_signs(over)]
    signs = list(dict.fromkeys(signs_of_both))
    if signs:
        flags["suspect"] = signs
    return flags


def _format_preference_verdict(title: str, preference: Preference, *, is_by_winner: bool) -> str:
    """Return the verdict as a sentence.

    Args:
        title: The judge, and the label of the comparison.
        preference: Its result.
        is_by_winner: Whether probabilities were requested, and the server gave none.
    """
    if preference.winner is None:
        return f"{title} could not compare: {shorten_text(preference.error)}"
    verdict = f"{title} prefers {WINNER_WORDS[preference.winner]}"
    if preference.consistent is False:
        verdict += ": it prefers a place, not an answer"
    if is_by_winner:
        verdict += " (scored by the winner: the server gave no log-probabilities)"
    elif preference.probability is not None:
        verdict += f" (probability of the answer: {preference.probability:.2f})"
    return verdict
