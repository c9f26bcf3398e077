"""Assert that contexts are relevant to a question, and that they support the claims of an answer."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions._arguments import (
    describe_value,
    parse_contexts,
    parse_share_threshold,
)
from pytest_llmops.assertions._judged import list_findings
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    check_texts,
    judge_answer,
    resolve_judge,
    skipped_measurement,
    verdict_to_json,
)
from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.protocols import Embedder, Judge
from pytest_llmops.registry import component_name
from pytest_llmops.semantics import checks
from pytest_llmops.semantics.grounding import (
    MAX_CLAIMS,
    Claim,
    Statement,
    ground_by_entailment,
    ground_claims,
    measure_relevance,
    split_claims,
)
from pytest_llmops.semantics.nli import NliModel, nli_name, resolve_nli
from pytest_llmops.semantics.thresholds import default_threshold, resolve_embedder

__tracebackhide__ = True

VERSION = "1"
HOW_OFTEN_RIGHT = (
    "an estimate by words fails 83 % of the answers that human annotators found fully supported (RAGTruth, threshold 1.0); "
    'judge="grounding" is better'
)
MAX_QUOTED_CHARS = 120
MAX_DETAIL_CLAIMS = 100  # maximum number of claims and sentences in the detail of a measurement
MAX_CONTEXT_CHARS = 500  # maximum length of a context there


def assert_grounded(
    answer: object,
    contexts: Sequence[Any],
    *,
    at_least: float | Literal["default"] | None = "default",
    judge: Judge | str | None = None,
    question: str = "",
    embedder: Embedder | str | None = None,
    nli: NliModel | None = None,
    label: str = "",
) -> Measurement:
    """Assert that the contexts support what an answer claims: a judge decides, or an estimate by words.

    With ``judge="grounding"`` a model compares each claim with the contexts. Without a judge it is an estimate, offline, by
    words, an embedder and checks: it finds numbers, names, negations and statements that are in no context. A claim in
    other words, or that follows only from several contexts together, counts as unsupported, and a wrong word among many
    right words may go unnoticed. `pytest_llmops.semantics.grounding` describes the method, ``docs/retrieval.md`` its
    accuracy.

    .. warning::
        **The estimate has no default threshold.** On RAGTruth, whose answers human annotators have labelled, 83 %
        of the answers without any unsupported claim do not reach 1.0: a failure there is rarely right. Use it with a
        threshold that you have measured on your own answers, or to compare runs (``at_least=None``).

    Args:
        answer: A text, or a response of OpenAI or Anthropic. Its sentences are the claims; greetings, questions, offers
            of help, opinions, headings and sources are left out.
        contexts: What the answer was made of: hits, chunks, texts, documents of LangChain or nodes of LlamaIndex. Where
            there are none nothing is supported, and an answer that claims something all the same scores 0.
        at_least: Share of the claims that has to be supported; left out: the judge's ``pass_at``; None: record
            only. Required without a judge.
        judge: An object, a built-in name ("grounding") or the path of a judge file; it takes ``contexts``.
        question: What was asked, for the judge: "Yes." is a claim only together with it.
        embedder: For the estimate: an object or a name; None: the embedder of the settings (``--llm-embedder``).
        nli: An NLI model that decides instead of words, embedder and checks: a claim is supported if a passage of the
            contexts entails it. An object with ``predict(pairs)`` that returns probabilities of
            entailment, neutral and contradiction.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``grounding.supported``, the share of supported claims: 1 minus the hallucination rate.
        An answer that says that it does not know, and claims nothing, scores 1; no judge is asked about it.
        ``detail["claims"]`` has each claim with its nearest context sentence and what is missing there,
        ``detail["without"]`` the checks that do not know the language, ``detail["judge"]`` a judge's verdict.

    Raises:
        MeasurementFailed: Too few claims are supported; shows the others, what comes nearest and what is missing.
        MeasurementErrored: There is no answer, it claims nothing (and does not say that it does not know either),
            the embedder or the NLI model gave no usable result, or the judge no score.
        UsageError: Neither a threshold nor a judge, a threshold outside 0 to 1, contexts of the wrong form, no such
            embedder, NLI model or judge, or two of them.

    >>> assert_grounded("A refund takes 5 days.", ["Refunds take 5 days to arrive."], at_least=0.8).value
    1.0
    """
    if judge is None:
        handle = None
    else:
        handle = resolve_judge(judge, "assert_grounded")
    threshold = _grounding_threshold(at_least, handle)
    texts = parse_contexts("assert_grounded", contexts)
    text = read_answer(answer)
    detail: dict[str, Json] = {
        "actual": text if isinstance(text, str) else None,
        "contexts": _truncate_contexts(texts),
    }
    measured = partial(Measurement, name="grounding.supported", label=label, detail=detail)
    if handle is not None:
        if nli is not None:
            raise UsageError("assert_grounded: expected judge or nli, got both: each decides alone")
        return _judge_grounding(measured, threshold, handle, text, question=question, contexts=texts)
    engine = _choose_engine(embedder, nli)
    measured = partial(measured, version=f"{VERSION}/{engine.version}")
    return _estimate_grounding(measured, threshold, engine, text, texts)


def _estimate_grounding(
    measured: partial[Measurement],
    threshold: float | None,
    engine: "_Engine",
    answer: object,
    contexts: Sequence[str],
) -> Measurement:
    if not isinstance(answer, str):
        return recorder.emit(measured(error=f"expected a text, got {type(answer).__name__}"))
    statement = split_claims(answer)
    detail = cast("dict[str, Json]", measured.keywords["detail"])
    detail["left out"] = [shorten_text(sentence) for sentence in statement.left_out[:MAX_DETAIL_CLAIMS]]
    problem = _why_no_claims(answer, statement)
    if problem:
        return recorder.emit(measured(error=problem))
    try:
        claims = engine.ground(statement.claims, contexts)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        return recorder.emit(measured(error=f"{engine.name}: {describe_exception(error)}"))
    skipped_checks = list(dict.fromkeys(text for claim in claims for text in claim.without))
    return recorder.emit(
        measured(
            value=sum(claim.supported for claim in claims) / len(claims) if claims else 1.0,
            threshold=threshold,
            reason=_format_claims_reason(claims, statement, contexts),
            detail={
                **detail,
                "claims": [_claim_detail(claim) for claim in claims[:MAX_DETAIL_CLAIMS]],
                "without": skipped_checks[:MAX_DETAIL_CLAIMS],
            },
        ),
        evidence=[*_unsupported_claim_evidence(claims), ("how sure", HOW_OFTEN_RIGHT)],
    )


def _grounding_threshold(at_least: object, handle: JudgeHandle | None) -> float | None:
    if at_least != "default":
        return parse_share_threshold("assert_grounded", at_least)
    if handle is None:
        raise UsageError(
            'assert_grounded: expected judge="grounding", a model that compares each claim with the contexts, or at_least=, a '
            "threshold that you measured on your own answers (None: record only). There is no default: "
            f"{HOW_OFTEN_RIGHT}"
        )
    handle.default = True
    pass_at = getattr(handle.judge, "pass_at", None)
    if pass_at is None:
        raise UsageError(
            f"assert_grounded: the judge {handle.name} has no pass_at: pass at_least= from 0 to 1, or at_least=None to record only"
        )
    low, high = (getattr(handle.judge, name, default) for name, default in (("low", 0.0), ("high", 1.0)))
    return parse_share_threshold("assert_grounded", (pass_at - low) / (high - low))


def _judge_grounding(
    measured: partial[Measurement],
    threshold: float | None,
    handle: JudgeHandle,
    answer: object,
    *,
    question: str,
    contexts: Sequence[str],
) -> Measurement:
    check_texts("assert_grounded", question=question)
    skipped = skipped_measurement("grounding.supported", measured.keywords["label"])
    if skipped:
        return skipped
    with suppress(Exception):  # of a user's judge, which may not be needed
        handle.read_version()
    measured = partial(measured, version=handle.version)
    if not isinstance(answer, str) or not answer.strip():
        return recorder.emit(
            measured(
                error="the answer is empty"
                if isinstance(answer, str)
                else f"expected a text, got {type(answer).__name__}"
            )
        )
    if split_claims(answer).abstains:
        return recorder.emit(
            measured(
                value=1.0,
                threshold=threshold,
                reason="the answer says that it does not know, and claims nothing",
            )
        )
    if not any(text.strip() for text in contexts):
        return recorder.emit(measured(value=0.0, threshold=threshold, reason="there are no contexts"))
    return _emit_judge_score(measured, threshold, handle, answer, question=question, contexts=contexts)


@dataclass(frozen=True, slots=True)
class _Engine:
    # What decides whether a claim is supported: words, embedder and checks, or an NLI model.
    name: str
    version: str
    ground: Callable[[Sequence[str], Sequence[str]], tuple[Claim, ...]]


def _choose_engine(embedder: Embedder | str | None, nli: NliModel | None) -> _Engine:
    if nli is not None:
        if embedder is not None:
            raise UsageError(
                "assert_grounded: expected embedder or nli, got both: nli decides without an embedder"
            )
        model = resolve_nli(nli, where="assert_grounded")
        version = f"nli/{shorten_text(str(getattr(model, 'version', '')), 40)}"
        return _Engine(nli_name(model), version, partial(ground_by_entailment, model=model))
    resolved = resolve_embedder(embedder, "assert_grounded")
    settings = recorder.current_settings()
    ground = partial(
        ground_claims,
        embedder=resolved,
        threshold=default_threshold(resolved, settings),
        language=settings.language,
    )
    return _Engine(
        f"embedder {shorten_text(component_name(resolved), 60)}",
        f"checks/{checks.VERSION}/{resolved.version}",
        ground,
    )


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
    if any(text.strip() for text in texts):
        reason += ""
    else:
        reason += ": there are no contexts"
    if statement.left_out:
        reason += f"; {format_count(len(statement.left_out), 'sentence')} left out"
    foreign = sum(bool(claim.without) for claim in claims)
    if foreign and claims[0].entailment is None:
        reason += f"; {foreign} in a language that not all checks know"
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
        if claim.entailment is not None and claim.contradiction is not None:
            nearest += f"; entails it {claim.entailment:.2f}, contradicts it {claim.contradiction:.2f}"
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
        "entailment": claim.entailment,
        "contradiction": claim.contradiction,
        "missing": [shorten_text(word, 60) for word in claim.missing[:MAX_DETAIL_CLAIMS]],
        "alarms": [shorten_text(alarm, MAX_CONTEXT_CHARS) for alarm in claim.alarms],
    }


def assert_context_relevance(
    question: str,
    contexts: Sequence[Any],
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
        contexts: Hits, chunks, texts, documents of LangChain or nodes of LlamaIndex. None at all score 0.
        at_least: 0 to 1, with a judge too (0: lowest of its scale, 1: highest); None: record only. There is no
            default: each embedder has scores of its own, so that a threshold is measured with the embedder in use.
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
    >>> measurement = assert_context_relevance("How long does a refund take?", contexts, at_least=None)
    >>> measurement.detail["by_context"]
    [0.6666666666666666, 0.0]
    """
    threshold = parse_share_threshold("assert_context_relevance", at_least)
    texts = parse_contexts("assert_context_relevance", contexts)
    given: object = question
    if not isinstance(given, str) or not given.strip():
        raise UsageError(f"assert_context_relevance: expected a question, got {describe_value(given)}")
    detail: dict[str, Json] = {"question": question, "contexts": _truncate_contexts(texts)}
    measured = partial(Measurement, name="retrieval.context_relevance", label=label, detail=detail)
    if judge is not None:
        return _judge_relevance(
            measured, threshold, resolve_judge(judge, "assert_context_relevance"), question, texts
        )
    resolved_embedder = resolve_embedder(embedder, "assert_context_relevance")
    version = f"{VERSION}/{resolved_embedder.version}"
    try:
        estimate = measure_relevance(question, texts, embedder=resolved_embedder)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        text = f"embedder {shorten_text(component_name(resolved_embedder), 60)}: {describe_exception(error)}"
        return recorder.emit(measured(error=text, version=version))
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
    )
    words = ", ".join(f'"{shorten_text(word, 40)}"' for word in estimate.missing)
    if estimate.nearest:
        nearest = f'"{shorten_text(estimate.nearest)}"'
    else:
        nearest = ""
    pairs = (("question", f'"{shorten_text(question)}"'), ("in no context", words), ("nearest", nearest))
    return recorder.emit(measurement, evidence=[(key, text) for key, text in pairs if text])


def _judge_relevance(
    measured: partial[Measurement],
    threshold: float | None,
    handle: JudgeHandle,
    question: str,
    contexts: Sequence[str],
) -> Measurement:
    skipped = skipped_measurement("retrieval.context_relevance", measured.keywords["label"])
    if skipped:
        return skipped
    if not any(text.strip() for text in contexts):
        return recorder.emit(measured(value=0.0, threshold=threshold, reason="there are no contexts"))
    if getattr(handle.judge, "looks_at", "answer") == "contexts":
        own_contexts = contexts
    else:
        own_contexts = ()
    return _emit_judge_score(
        measured, threshold, handle, "\n\n".join(contexts), question=question, contexts=own_contexts
    )


def _emit_judge_score(
    measured: partial[Measurement],
    threshold: float | None,
    handle: JudgeHandle,
    answer: str,
    *,
    question: str,
    contexts: Sequence[str],
) -> Measurement:
    """Emit the score of a judge, 0 to 1; ``contexts`` are those that the judge itself looks at."""
    verdict = judge_answer(handle, answer, question, "", contexts)
    known = cast("dict[str, Json]", measured.keywords["detail"])
    measured = partial(
        measured, version=handle.version, detail={**known, "judge": verdict_to_json(handle, verdict)}
    )
    if verdict.error:
        return recorder.emit(measured(error=f"judge {handle.name}: {verdict.error}"))
    measurement = measured(
        value=verdict.normalized,
        threshold=threshold,
        reason=f'judge: "{verdict.reason}"' if verdict.reason else "",
    )
    if question:
        evidence = [("question", f'"{shorten_text(question)}"')]
    else:
        evidence = []
    evidence += list_findings(handle.judge, verdict)
    return recorder.emit(measurement, evidence=evidence)


def _truncate_contexts(texts: Sequence[str]) -> list[Json]:
    return [shorten_text(text, MAX_CONTEXT_CHARS) for text in texts[:MAX_DETAIL_CLAIMS]]
