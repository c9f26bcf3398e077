"""Assert that contexts are relevant to a question, and that they support the claims of an answer."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions._arguments import (
    check_texts,
    describe_value,
    parse_contexts,
    parse_share_threshold,
)
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.assertions._judged import list_findings, refuse_mapping
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    judge_answer,
    resolve_judge,
    skipped_measurement,
    verdict_to_json,
)
from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.protocols import Embedder, Judge
from pytest_llmops.registry import component_name
from pytest_llmops.semantics.grounding.claims import MAX_CLAIMS, Statement, split_claims
from pytest_llmops.semantics.grounding.entailment import Claim, ground_by_entailment
from pytest_llmops.semantics.grounding.relevance import Relevance, measure_relevance
from pytest_llmops.semantics.nli import NliModel, nli_name, resolve_nli
from pytest_llmops.semantics.thresholds import resolve_embedder

__tracebackhide__ = True

VERSION = "1"
GROUNDING = "grounding.supported"
RELEVANCE = "retrieval.context_relevance"
ABSTAINS = "the answer states that it does not know, and claims nothing"
NO_CONTEXTS = "no contexts are given"
MAX_QUOTED_CHARS = 120
MAX_DETAIL_CLAIMS = 100  # maximum number of claims and sentences in the detail of a measurement
MAX_CONTEXT_CHARS = 500  # maximum length of a context there


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A measurement without its value."""

    name: str
    label: str
    threshold: float | None
    version: str = ""
    detail: dict[str, Json] = field(default_factory=dict)

    def emit_error(self, error: str) -> Measurement:
        """Emit the measurement as one that could not be taken."""
        measurement = Measurement(
            name=self.name, label=self.label, version=self.version, detail=self.detail, error=error
        )
        return recorder.emit(measurement)

    def emit_value(
        self, value: float | None, reason: str, evidence: Sequence[tuple[str, str]] = ()
    ) -> Measurement:
        """Emit the measurement with its value."""
        measurement = Measurement(
            name=self.name,
            value=value,
            threshold=self.threshold,
            label=self.label,
            reason=reason,
            version=self.version,
            detail=self.detail,
        )
        return recorder.emit(measurement, evidence=evidence)


def assert_grounded(
    answer: object,
    contexts: Sequence[Any],
    *,
    at_least: float | Literal["default"] | None = "default",
    judge: Judge | str | None = None,
    question: str = "",
    nli: NliModel | str | None = None,
    label: str = "",
) -> Measurement:
    """Assert that the contexts support the claims of an answer. A judge or an NLI model decides.

    With ``judge="grounding"`` a model compares each claim with the contexts. Its replies are recorded and replayed like
    the replies of any judge. With ``nli=`` a model of natural language inference decides, offline. One of the two is
    required. See ``docs/how-to/rag.md``.

    Args:
        answer: A text, or a response of OpenAI or Anthropic. Its sentences are the claims. Greetings, questions, offers
            of help, opinions, headings and sources are left out.
        contexts: The sources of the answer: hits, chunks, texts, documents of LangChain or nodes of LlamaIndex. An
            answer that claims something without contexts scores 0.
        at_least: The share of the claims that must be supported. Left out: the judge's ``pass_at``. Required with
            ``nli=``. None: record only.
        judge: An object, a built-in name ("grounding") or the path of a judge file. It must accept ``contexts``.
        question: The question, for the judge: "Yes." is a claim only together with it.
        nli: An NLI model. A claim is supported if a passage of the contexts entails it. ``"installed"`` is the model
            that ``llmops semantic install nli`` installed. An object must have ``predict(pairs)``, which returns
            probabilities of entailment, neutral and contradiction.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``grounding.supported``: the share of supported claims, 0 to 1 (1 minus the hallucination rate).
        An answer that states that it does not know, and claims nothing, scores 1 without a call of the judge.
        ``detail["judge"]`` has the judge's verdict. With ``nli=``, ``detail["claims"]`` has each claim with its best
        passage, and ``detail["without"]`` the text that the model did not read.

    Raises:
        MeasurementFailed: Too few claims are supported. The message shows the others.
        MeasurementErrored: The answer is None, or claims nothing without stating that it does not know. Or the NLI
            model gave no usable result, or the judge no score.
        UsageError: Judge and NLI model are both given or both missing, the threshold is missing or outside 0 to 1, the
            contexts have the wrong form, or the judge or NLI model does not exist.

    >>> class MyModel:
    ...     version = "1"
    ...
    ...     def predict(self, pairs):
    ...         return [(0.9, 0.08, 0.02) for premise, hypothesis in pairs]
    >>> assert_grounded("A refund takes 5 days.", ["Refunds take 5 days."], nli=MyModel(), at_least=1.0).value
    1.0
    """
    refuse_mapping("assert_grounded", answer)
    if judge is not None and nli is not None:
        raise UsageError("assert_grounded: expected judge or nli, got both: use one of them")
    if judge is not None:
        handle = resolve_judge(judge, "assert_grounded")
        threshold = _parse_judge_threshold(at_least, handle)
        texts = parse_contexts("assert_grounded", contexts)
        draft = _draft_grounding(label, threshold, read_answer(answer), texts)
        return _ground_by_judge(draft, handle, read_answer(answer), question=question, contexts=texts)
    if nli is None:
        raise UsageError(
            'assert_grounded: expected judge= or nli=, got neither: judge="grounding" calls a model for each claim, recorded '
            'and replayed like any judge; nli="installed" is the NLI model that `llmops semantic install nli` installed, and '
            "nli=MyModel() one of yours, an object with predict(pairs) (llmops docs nli)"
        )
    model = resolve_nli(nli, where="assert_grounded")
    if at_least == "default":
        raise UsageError(
            "assert_grounded: expected at_least= with nli=, from 0 to 1, or None to record only: an NLI model has no pass_at"
        )
    threshold = parse_share_threshold("assert_grounded", at_least)
    texts = parse_contexts("assert_grounded", contexts)
    draft = _draft_grounding(label, threshold, read_answer(answer), texts)
    return _ground_by_nli(draft, model, read_answer(answer), texts)


def _draft_grounding(label: str, threshold: float | None, answer: object, contexts: Sequence[str]) -> _Draft:
    """Return the draft of ``grounding.supported``; the answer may be no text, which is an error later."""
    detail: dict[str, Json] = {"actual": None, "contexts": _truncate_contexts(contexts)}
    if isinstance(answer, str):
        detail["actual"] = answer
    return _Draft(name=GROUNDING, label=label, threshold=threshold, detail=detail)


def _parse_judge_threshold(at_least: object, handle: JudgeHandle) -> float | None:
    """Return the threshold from 0 to 1, or None; "default" is the judge's ``pass_at``, converted from its own scale.

    With "default" it also sets ``handle.default``.
    """
    if at_least != "default":
        return parse_share_threshold("assert_grounded", at_least)
    handle.default = True
    pass_at = getattr(handle.judge, "pass_at", None)
    if pass_at is None:
        raise UsageError(
            f"assert_grounded: the judge {handle.name} has no pass_at: pass at_least= from 0 to 1, or at_least=None to record only"
        )
    low = getattr(handle.judge, "low", 0.0)
    high = getattr(handle.judge, "high", 1.0)
    return parse_share_threshold("assert_grounded", (pass_at - low) / (high - low))


def _ground_by_judge(
    draft: _Draft,
    handle: JudgeHandle,
    answer: object,
    *,
    question: str,
    contexts: Sequence[str],
) -> Measurement:
    """Emit the share of supported claims by a judge; it is not called if there is nothing to judge."""
    check_texts("assert_grounded", question=question)
    skipped = skipped_measurement(draft.name, draft.label)
    if skipped:
        return skipped
    with suppress(Exception):  # of a user's judge, which may not be needed
        handle.read_version()
    draft = replace(draft, version=handle.version)
    if not isinstance(answer, str):
        return draft.emit_error(f"expected a text, got {type(answer).__name__}")
    if not answer.strip():
        return draft.emit_error("the answer is empty")
    if split_claims(answer).abstains:
        return draft.emit_value(1.0, ABSTAINS)
    if not _has_text(contexts):
        return draft.emit_value(0.0, NO_CONTEXTS)
    return _emit_judge_score(draft, handle, answer, question=question, contexts=contexts)


def _ground_by_nli(draft: _Draft, model: NliModel, answer: object, contexts: Sequence[str]) -> Measurement:
    """Emit the share of claims that a passage entails by an NLI model."""
    model_version = shorten_text(str(getattr(model, "version", "")), 40)
    draft = replace(draft, version=f"{VERSION}/nli/{model_version}")
    if not isinstance(answer, str):
        return draft.emit_error(f"expected a text, got {type(answer).__name__}")
    statement = split_claims(answer)
    left_out = [shorten_text(sentence) for sentence in statement.left_out[:MAX_DETAIL_CLAIMS]]
    draft = replace(draft, detail={**draft.detail, "left out": left_out})
    problem = _why_no_claims(answer, statement)
    if problem:
        return draft.emit_error(problem)
    try:
        claims = ground_by_entailment(statement.claims, contexts, model)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's model raises: not scored, not scored low
        problem = describe_exception(error)
        return draft.emit_error(f"{nli_name(model)}: {problem}")
    unread = chain.from_iterable(claim.without for claim in claims)
    not_read = list(dict.fromkeys(unread))
    detail = dict(draft.detail)
    detail["claims"] = [_claim_detail(claim) for claim in claims[:MAX_DETAIL_CLAIMS]]
    detail["without"] = not_read[:MAX_DETAIL_CLAIMS]
    draft = replace(draft, detail=detail)
    if not claims:  # `_why_no_claims` has refused all other answers without a claim
        return draft.emit_value(1.0, ABSTAINS)
    supported = sum(claim.supported for claim in claims)
    reason = f"{supported} of {len(claims)} claims supported"
    if not _has_text(contexts):
        reason += f": {NO_CONTEXTS}"
    if statement.left_out:
        left_out_count = format_count(len(statement.left_out), "sentence")
        reason += f"; {left_out_count} left out"
    evidence = _unsupported_claim_evidence(claims)
    return draft.emit_value(supported / len(claims), reason, evidence)


def _why_no_claims(answer: str, statement: Statement) -> str:
    """Return why an answer has no claims to count, or too many; "" if they can be counted, or it abstains."""
    if not answer.strip():
        return "the answer is empty: it claims nothing"
    count = len(statement.claims)
    if count > MAX_CLAIMS:
        return f"the answer has {count:,} sentences that claim something: expected at most {MAX_CLAIMS:,}"
    if not statement.claims and not statement.abstains:
        return f"the answer claims nothing: {quote_text(answer.strip(), MAX_QUOTED_CHARS)}"
    return ""


def _unsupported_claim_evidence(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    """Return each unsupported claim, followed by its nearest passage if there is one."""
    lines: list[tuple[str, str]] = []
    for number, claim in enumerate(claims, start=1):
        if claim.supported:
            continue
        quoted_claim = quote_text(claim.text, MAX_QUOTED_CHARS)
        lines.append((f"claim {number}", quoted_claim))
        if claim.context is None:
            continue
        quoted_passage = quote_text(claim.nearest, MAX_QUOTED_CHARS)
        passage = f"context {claim.context + 1}: {quoted_passage}"
        probabilities = f"entails it {claim.entailment:.2f}, contradicts it {claim.contradiction:.2f}"
        lines.append(("nearest", f"{passage}; {probabilities}"))
    return lines


def _claim_detail(claim: Claim) -> dict[str, Json]:
    """Return a claim for the detail of the measurement; its context is counted from 1 there."""
    context_number = None
    if claim.context is not None:
        context_number = claim.context + 1
    text = shorten_text(claim.text, MAX_CONTEXT_CHARS)
    nearest = shorten_text(claim.nearest, MAX_CONTEXT_CHARS)
    return {
        "claim": text,
        "supported": claim.supported,
        "context": context_number,
        "nearest": nearest,
        "entailment": claim.entailment,
        "contradiction": claim.contradiction,
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
    """Assert that contexts are relevant to the question for which they were retrieved.

    Without a judge it is an estimate: the mean of two values, the share of the question's content words that are in the
    contexts, and the similarity between the question and the most similar sentence of the contexts. It distinguishes
    passages on the right subject from others. It does not distinguish the answer from a near miss. With a judge, only
    the judge decides.

    Args:
        question: The question.
        contexts: Hits, chunks, texts, documents of LangChain or nodes of LlamaIndex. An empty list scores 0.
        at_least: The threshold, 0 to 1. With a judge, 0 is the lowest and 1 the highest value of its scale. It has no
            default, because each embedder has its own range of scores. None: record only.
        judge: An object or a name. It gets the question, and the contexts as the answer to judge.
        embedder: For the estimate, an object or a name. None: the embedder of the settings.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``retrieval.context_relevance``, 0 to 1. ``detail["by_context"]`` has the share of the
        question's words in each context.

    Raises:
        MeasurementFailed: The value is below the threshold. The message shows the words that are in none of the
            contexts.
        MeasurementErrored: The question has no words, the embedder gave no usable vectors, or the judge gave no score.
        UsageError: The threshold is outside 0 to 1, an argument has the wrong form, or the embedder or judge does not
            exist.

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
    draft = _Draft(name=RELEVANCE, label=label, threshold=threshold, detail=detail)
    if judge is not None:
        handle = resolve_judge(judge, "assert_context_relevance")
        return _judge_relevance(draft, handle, question, texts)
    return _estimate_relevance(draft, resolve_embedder(embedder, "assert_context_relevance"), question, texts)


def _estimate_relevance(
    draft: _Draft, embedder: Embedder, question: str, contexts: Sequence[str]
) -> Measurement:
    """Emit the relevance by the words of the question and an embedder."""
    draft = replace(draft, version=f"{VERSION}/{embedder.version}")
    try:
        estimate = measure_relevance(question, contexts, embedder=embedder)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        name = shorten_text(component_name(embedder), 60)
        return draft.emit_error(f"embedder {name}: {describe_exception(error)}")
    detail = dict(draft.detail)
    detail["covered"] = estimate.covered
    detail["similarity"] = estimate.similarity
    detail["by_context"] = list(estimate.by_context)
    draft = replace(draft, detail=detail)
    reason = NO_CONTEXTS
    if _has_text(contexts):
        covered = format_amount(estimate.covered, "1")
        similarity = format_amount(estimate.similarity, "1")
        reason = f"{covered} of the question's words, similarity {similarity}"
    return draft.emit_value(estimate.value, reason, _relevance_evidence(question, estimate))


def _relevance_evidence(question: str, estimate: Relevance) -> list[tuple[str, str]]:
    evidence = [("question", quote_text(question, MAX_EVIDENCE_CHARS))]
    if estimate.missing:
        words = ", ".join(quote_text(word, 40) for word in estimate.missing)
        evidence.append(("in no context", words))
    if estimate.nearest:
        evidence.append(("nearest", quote_text(estimate.nearest, MAX_EVIDENCE_CHARS)))
    return evidence


def _judge_relevance(
    draft: _Draft, handle: JudgeHandle, question: str, contexts: Sequence[str]
) -> Measurement:
    """Emit the relevance by a judge, who gets the contexts as the answer to judge.

    A judge that looks at contexts by itself gets them as its contexts too.
    """
    skipped = skipped_measurement(draft.name, draft.label)
    if skipped:
        return skipped
    if not _has_text(contexts):
        return draft.emit_value(0.0, NO_CONTEXTS)
    if getattr(handle.judge, "looks_at", "answer") == "contexts":
        own_contexts = contexts
    else:
        own_contexts = ()
    return _emit_judge_score(draft, handle, "\n\n".join(contexts), question=question, contexts=own_contexts)


def _emit_judge_score(
    draft: _Draft, handle: JudgeHandle, answer: str, *, question: str, contexts: Sequence[str]
) -> Measurement:
    """Ask a judge and emit its score, 0 to 1; ``contexts`` are only for a judge that looks at contexts by itself."""
    verdict = judge_answer(handle, answer, question, "", contexts)
    detail: dict[str, Json] = {**draft.detail, "judge": verdict_to_json(handle, verdict)}
    draft = replace(draft, version=handle.version, detail=detail)
    if verdict.error:
        return draft.emit_error(f"judge {handle.name}: {verdict.error}")
    reason = ""
    if verdict.reason:
        reason = f'judge: "{verdict.reason}"'
    evidence = []
    if question:
        evidence.append(("question", quote_text(question, MAX_EVIDENCE_CHARS)))
    evidence += list_findings(handle.judge, verdict)
    return draft.emit_value(verdict.normalized, reason, evidence)


def _has_text(contexts: Sequence[str]) -> bool:
    return any(text.strip() for text in contexts)


def _truncate_contexts(texts: Sequence[str]) -> list[Json]:
    return [shorten_text(text, MAX_CONTEXT_CHARS) for text in texts[:MAX_DETAIL_CLAIMS]]
