"""Assert that contexts are relevant to a question, and that they support the claims of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import component_name, describe_value, parse_share_threshold
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.protocols import Chunk, Hit, Verdict
from pytest_llmops.providers.embedding_cache import with_vector_cache
from pytest_llmops.semantics import checks
from pytest_llmops.semantics.grounding import (
    MAX_CLAIMS,
    Claim,
    Statement,
    ground_claims,
    measure_relevance,
    split_claims,
)
from pytest_llmops.semantics.thresholds import default_threshold

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder, Judge

VERSION = "1"
MAX_QUOTED_CHARS = 120
MAX_DETAIL_CLAIMS = 100
"""Maximum number of claims and sentences in the detail of a measurement."""
MAX_CONTEXT_CHARS = 500
"""Maximum length of a context there."""


def assert_grounded(
    answer: str | None,
    contexts: Sequence[str] | Sequence[Hit] | Sequence[Chunk],
    *,
    at_least: float | None = 1.0,
    embedder: Embedder | str | None = None,
    label: str = "",
) -> Measurement:
    """Assert that the contexts support what an answer claims: an estimate by words, an embedder and checks.

    Offline and without a judge: it finds numbers, names, negations and statements that are in no context. A claim that
    follows only from several contexts together counts as unsupported, and a wrong word among many right words may go
    unnoticed. `pytest_llmops.semantics.grounding` describes the method, ``docs/retrieval.md`` its accuracy.

    Args:
        answer: Its sentences are the claims; greetings, questions, offers of help and opinions are left out.
        contexts: What the answer was made of: hits, chunks or texts. Where there are none nothing is supported,
            and an answer that claims something all the same scores 0.
        at_least: Share of the claims that has to be supported; None: record only.
        embedder: An object or a name; None: the embedder of the settings (``--llm-embedder``).
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``grounding.supported``, the share of supported claims: 1 minus the hallucination rate.
        An answer that says that it does not know, and claims nothing, scores 1. ``detail["claims"]`` has each
        claim with its nearest context sentence and what is missing there, ``detail["not looked at"]`` the
        checks that do not know the language.

    Raises:
        MeasurementFailed: Too few claims are supported; shows the others, what comes nearest and what is missing.
        MeasurementErrored: There is no answer, it claims nothing (and does not say that it does not know either),
            or the embedder gave no usable vectors.
        UsageError: A threshold outside 0 to 1, contexts of the wrong form, or no such embedder.

    >>> assert_grounded("A refund takes 5 days.", ["Refunds take 5 days to arrive."]).value
    1.0
    """
    __tracebackhide__ = True
    threshold = parse_share_threshold("assert_grounded", at_least)
    texts = _context_texts("assert_grounded", contexts)
    resolved_embedder = _require_embedder("assert_grounded", embedder)
    measured = partial(
        Measurement,
        name="grounding.supported",
        label=label,
        version=f"{VERSION}/checks/{checks.VERSION}/{resolved_embedder.version}",
    )
    detail: dict[str, Json] = {
        "actual": answer if isinstance(answer, str) else None,
        "contexts": _truncate_contexts(texts),
    }
    if not isinstance(answer, str):
        return recorder.emit(measured(error=f"expected a text, got {type(answer).__name__}", detail=detail))
    statement = split_claims(answer)
    detail["left out"] = [shorten_text(sentence) for sentence in statement.left_out[:MAX_DETAIL_CLAIMS]]
    problem = _why_no_claims(answer, statement)
    if problem:
        return recorder.emit(measured(error=problem, detail=detail))
    close = default_threshold(resolved_embedder, recorder.current_settings())
    try:
        claims = ground_claims(
            statement.claims, texts, embedder=with_vector_cache(resolved_embedder), threshold=close
        )
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        return recorder.emit(measured(error=_format_embedder_error(resolved_embedder, error), detail=detail))
    skipped_checks = list(dict.fromkeys(text for claim in claims for text in claim.without))
    measurement = measured(
        value=sum(claim.supported for claim in claims) / len(claims) if claims else 1.0,
        threshold=threshold,
        reason=_format_claims_reason(claims, statement, texts),
        detail={
            **detail,
            "claims": [_claim_detail(claim) for claim in claims[:MAX_DETAIL_CLAIMS]],
            "not looked at": skipped_checks[:MAX_DETAIL_CLAIMS],
        },
    )
    return recorder.emit(measurement, evidence=_unsupported_claim_evidence(claims))


def _why_no_claims(answer: str, statement: Statement) -> str:
    """Return why the claims cannot be counted, or ""."""
    if not answer.strip():
        return "the answer is empty: it claims nothing"
    if len(statement.claims) > MAX_CLAIMS:
        return f"the answer has {len(statement.claims):,} sentences that claim something: expected at most {MAX_CLAIMS:,}"
    if not statement.claims and not statement.abstains:
        return f'the answer claims nothing: "{shorten_text(answer.strip(), MAX_QUOTED_CHARS)}"'
    return ""


def _format_claims_reason(claims: Sequence[Claim], statement: Statement, texts: Sequence[str]) -> str:
    if not claims:
        return "the answer says that it does not know, and claims nothing"
    supported = sum(claim.supported for claim in claims)
    reason = f"{supported} of {len(claims)} claims supported"
    if not any(text.strip() for text in texts):
        reason += ": there are no contexts"
    if statement.left_out:
        reason += f"; {format_count(len(statement.left_out), 'sentence')} left out"
    foreign = sum(bool(claim.without) for claim in claims)
    if foreign:
        reason += f"; {foreign} not looked at by the checks of words, which know English only"
    return reason


def _unsupported_claim_evidence(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for number, claim in enumerate(claims, start=1):
        if claim.supported:
            continue
        lines.append((f"claim {number}", f'"{shorten_text(claim.text, MAX_QUOTED_CHARS)}"'))
        if claim.context is None:
            lines.append(("nearest", "nothing: no context shares a word with it"))
            continue
        nearest = f'context {claim.context + 1}: "{shorten_text(claim.nearest, MAX_QUOTED_CHARS)}"'
        if claim.missing:
            nearest += f"; missing there: {', '.join(shorten_text(word, 30) for word in claim.missing)}"
        lines.append(("nearest", nearest))
        lines += [("check", alarm) for alarm in claim.alarms[:1]]
    return lines


def _claim_detail(claim: Claim) -> dict[str, Json]:
    return {
        "claim": shorten_text(claim.text, MAX_CONTEXT_CHARS),
        "supported": claim.supported,
        "context": None if claim.context is None else claim.context + 1,
        "nearest": shorten_text(claim.nearest, MAX_CONTEXT_CHARS),
        "covered": round(claim.covered, 4),
        "similarity": None if claim.similarity is None else round(claim.similarity, 4),
        "missing": [shorten_text(word, 60) for word in claim.missing[:MAX_DETAIL_CLAIMS]],
        "alarms": [shorten_text(alarm, MAX_CONTEXT_CHARS) for alarm in claim.alarms],
    }


def assert_context_relevance(
    question: str,
    contexts: Sequence[str] | Sequence[Hit] | Sequence[Chunk],
    *,
    at_least: float | None,
    judge: Judge | str | None = None,
    embedder: Embedder | str | None = None,
    label: str = "",
) -> Measurement:
    """Assert that contexts have to do with the question they were retrieved for.

    Offline it is an estimate: the mean of the share of the question's content words that stand in the contexts,
    and of the similarity between the question and the nearest context sentence. It distinguishes passages on
    the right subject from others, not an answer from a near miss. With a judge the judge alone decides.

    Args:
        question: What was asked.
        contexts: Hits, chunks or texts. None at all score 0.
        at_least: 0 to 1, with a judge too (0: lowest of its scale, 1: highest); None: record only. There
            is no default: the estimate depends on the embedder.
        judge: An object or a name; it is given the question, and the contexts as what it judges.
        embedder: For the estimate: an object or a name; None: the embedder of the settings (``--llm-embedder``).
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``retrieval.context_relevance``, 0 to 1; ``detail["by_context"]`` has the share of the
        question's words in each context.

    Raises:
        MeasurementFailed: The value is below the threshold; shows which words stand in no context.
        MeasurementErrored: The question has no word, the embedder gave no usable vectors, or the judge no score.
        UsageError: A threshold outside 0 to 1, arguments of the wrong form, no such embedder or judge.

    >>> contexts = ["A refund takes five days.", "We sell tea."]
    >>> assert_context_relevance("How long does a refund take?", contexts, at_least=0.3).status
    'passed'
    """
    __tracebackhide__ = True
    threshold = parse_share_threshold("assert_context_relevance", at_least)
    texts = _context_texts("assert_context_relevance", contexts)
    given: object = question
    if not isinstance(given, str) or not given.strip():
        raise UsageError(f"assert_context_relevance: expected a question, got {describe_value(given)}")
    detail: dict[str, Json] = {"question": question, "contexts": _truncate_contexts(texts)}
    measured = partial(Measurement, name="retrieval.context_relevance", label=label)
    if judge is not None:
        return _judge_relevance(measured, threshold, question, texts, judge)
    resolved_embedder = _require_embedder("assert_context_relevance", embedder)
    version = f"{VERSION}/{resolved_embedder.version}"
    try:
        estimate = measure_relevance(question, texts, embedder=with_vector_cache(resolved_embedder))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        return recorder.emit(
            measured(error=_format_embedder_error(resolved_embedder, error), version=version, detail=detail)
        )
    similarity = cast("float", estimate.similarity)
    detail |= {"covered": estimate.covered, "similarity": similarity, "by_context": list(estimate.by_context)}
    reason = "there are no contexts"
    if any(text.strip() for text in texts):
        covered = format_amount(estimate.covered, "1")
        reason = f"{covered} of the question's words, similarity {format_amount(similarity, '1')}"
    measurement = measured(
        value=estimate.value,
        threshold=threshold,
        reason=reason,
        version=version,
        detail=detail,
    )
    words = ", ".join(f'"{shorten_text(word, 40)}"' for word in estimate.missing)
    nearest = f'"{shorten_text(estimate.nearest)}"' if estimate.nearest else ""
    pairs = (("question", f'"{shorten_text(question)}"'), ("in no context", words), ("nearest", nearest))
    return recorder.emit(measurement, evidence=[(key, text) for key, text in pairs if text])


def _judge_relevance(
    measured: partial[Measurement],
    threshold: float | None,
    question: str,
    texts: Sequence[str],
    judge: Judge | str,
) -> Measurement:
    __tracebackhide__ = True
    detail: dict[str, Json] = {"question": question, "contexts": _truncate_contexts(texts)}
    resolved_judge = recorder.find_component("judge", judge) if isinstance(judge, str) else judge
    if not callable(getattr(resolved_judge, "judge", None)):
        raise UsageError(f"assert_context_relevance: expected a judge, got {describe_value(judge)}")
    if not any(text.strip() for text in texts):
        return recorder.emit(
            measured(value=0.0, threshold=threshold, reason="there are no contexts", detail=detail)
        )
    name = component_name(resolved_judge)
    try:
        version, model = str(resolved_judge.version), str(getattr(resolved_judge, "model_name", ""))  # type: ignore[attr-defined]
        with recorder.set_purpose("judge"):
            verdict = cast("Judge", resolved_judge).judge("\n\n".join(texts), question=question)
        value = _normalized_score(verdict)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: not scored, not scored low
        return recorder.emit(measured(error=f"judge {name}: {describe_exception(error)}", detail=detail))
    judge_detail: dict[str, Json] = {"name": name, "model": model}
    if isinstance(value, str):
        judge_detail |= {"error": value, "raw": str(getattr(verdict, "raw", ""))}
        failed = measured(
            error=f"judge {name}: {value}", version=version, detail={**detail, "judge": judge_detail}
        )
        return recorder.emit(failed)
    judge_detail |= {"score": verdict.score, "low": verdict.low, "high": verdict.high}
    judge_detail |= {"reason": verdict.reason, "raw": verdict.raw}
    measurement = measured(
        value=value,
        threshold=threshold,
        reason=f'judge: "{verdict.reason}"' if verdict.reason else "",
        version=version,
        detail={**detail, "judge": judge_detail},
    )
    return recorder.emit(measurement, evidence=[("question", f'"{shorten_text(question)}"')])


def _normalized_score(verdict: object) -> float | str:
    """Return the score of a verdict from 0 to 1, or why it is invalid."""
    if not isinstance(verdict, Verdict):
        return f"expected a Verdict, got {describe_value(verdict)}"
    if verdict.error or verdict.score is None:
        return verdict.error or "a verdict without a score"
    value = verdict.normalized if verdict.low < verdict.high else None
    if value is None or not math.isfinite(value) or not 0 <= value <= 1:
        return f"a score that is not on its scale: {verdict.score!r} of {verdict.low!r} to {verdict.high!r}"
    return value


def _context_texts(where: str, contexts: object) -> list[str]:
    __tracebackhide__ = True
    if isinstance(contexts, (str, bytes)) or not isinstance(contexts, Sequence):
        raise UsageError(
            f"{where}: expected a list of contexts (texts, chunks or hits), got {describe_value(contexts)}"
        )
    texts = [context.text if isinstance(context, (Hit, Chunk)) else context for context in contexts]
    for number, context in enumerate(texts, start=1):
        if not isinstance(context, str):
            raise UsageError(
                f"{where}: expected contexts that are texts, got {describe_value(context)} as number {number}"
            )
    return texts


def _require_embedder(where: str, given: Embedder | str | None) -> Embedder:
    __tracebackhide__ = True
    wanted = recorder.current_settings().embedder if given is None else given
    resolved = recorder.find_component("embedder", wanted) if isinstance(wanted, str) else wanted
    if not callable(getattr(resolved, "embed", None)) or not hasattr(resolved, "version"):
        raise UsageError(
            f"{where}: expected an embedder, an object with embed(texts) and a version, got {describe_value(resolved)}"
        )
    return cast("Embedder", resolved)


def _format_embedder_error(embedder: Embedder, error: Exception) -> str:
    return f"embedder {shorten_text(component_name(embedder), 60)}: {describe_exception(error)}"


def _truncate_contexts(texts: Sequence[str]) -> list[Json]:
    return [shorten_text(text, MAX_CONTEXT_CHARS) for text in texts[:MAX_DETAIL_CLAIMS]]
