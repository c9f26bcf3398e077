"""A judge of whether an answer is grounded in its contexts, claim by claim: supported, contradicted or absent.

The score is the share of supported claims; the rest is the hallucination rate. A verdict on a claim must name the
passages that decide it, so that a human can check it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.parsing import (
    UnreadableReply,
    describe_missing_verdict,
    find_verdict_object,
    quote_shortened,
    read_json_reason,
)
from pytest_llmops.judges.protocol.prompting import (
    MAX_REASON,
    JudgePrompter,
    PromptedJudge,
    ReplySpec,
    check_passages,
    is_contentless,
    strict_object_schema,
    why_too_long,
)
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

ClaimFinding: TypeAlias = Literal["supported", "contradicted", "absent"]
CLAIM_FINDINGS: tuple[ClaimFinding, ...] = ("supported", "contradicted", "absent")
MAX_CLAIMS = 40
MAX_NAMED = 5  # passages that a claim may name: a small model would continue until the token limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an answer states, and what the contexts say of it.

    Attributes:
        finding: ``supported``, ``contradicted`` or ``absent``.
        passages: Numbers of the passages that decide it, from 1; none of an absent claim.
    """

    text: str
    finding: ClaimFinding
    passages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingVerdict(Verdict):
    """The share of supported claims, and the claims."""

    claims: tuple[Claim, ...] = ()

    @property
    def hallucination_rate(self) -> float | None:
        """Share of claims that are contradicted or absent; None without a score."""
        return None if self.score is None else 1 - self.score


@dataclass(slots=True)
class Grounding(PromptedJudge):
    """A judge of an answer against the contexts it was made from.

    Args:
        model: The judge model; None: that of the run's settings, as the running test sees it.
        pass_at: Default threshold of an assertion; left out: every claim is supported.
        name: Of the judge and its measurements.
        source: The user's judge file.
    """

    model: Model | None = None
    pass_at: float | None = 1.0
    name: str = "grounding"
    low: float = field(default=0.0, init=False)
    high: float = field(default=1.0, init=False)
    source: Path | None = field(default=None, kw_only=True)

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, reply formats, parser and model."""
        return self._hash_version(_claims_reply_spec(1))

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> GroundingVerdict:
        """Return the share of an answer's claims that its contexts support.

        Args:
            answer: What is judged.
            question: What the application was asked: "Yes." is a claim only together with it.
            reference: Ignored: a right answer may still be made up.
            contexts: The passages, at least one.

        Returns:
            0 to 1; or unscored, with the error and the raw replies: no reply could be read in two tries, the
            texts are too long, or the answer claims nothing, as "I don't know" does. An answer without
            content has the score 0, ``prescreened``.

        Raises:
            ModelError: The model could not be called.
            UsageError: There are no contexts, or they are not all texts.
        """
        _ = reference
        passages = check_passages(contexts, self.name)
        if not passages:
            raise UsageError(
                f"judge {self.name}: expected contexts=, a list of one passage or more, got none"
            )
        if is_contentless(answer):
            return GroundingVerdict(
                score=0.0, low=0.0, high=1.0, reason="contentless answer", prescreened=True
            )
        if error := why_too_long("question, contexts and answer", answer, question, *passages):
            return GroundingVerdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question, "contexts": list[Json](passages), "answer": answer}
        reply = self.prompter.ask(data, _claims_reply_spec(len(passages)))
        if reply.value is None:
            return GroundingVerdict(low=0.0, high=1.0, error=reply.error, raw=reply.raw)
        claims, reason = reply.value
        if not claims:
            return GroundingVerdict(
                low=0.0, high=1.0, error="the answer makes no claim to be supported", raw=reply.raw
            )
        score = sum(claim.finding == "supported" for claim in claims) / len(claims)
        return GroundingVerdict(score=score, low=0.0, high=1.0, reason=reason, raw=reply.raw, claims=claims)

    def _create_prompter(self) -> JudgePrompter:
        return JudgePrompter(self.name, Path(__file__).with_name("grounding.md"), self.model)


def _claims_reply_spec(passages: int) -> ReplySpec[tuple[tuple[Claim, ...], str]]:
    narrow: dict[str, Json] = {"type": "integer", "minimum": 1, "maximum": passages}
    sample = (
        '[{"claim": "one statement", "passages": [n], "finding": "supported" or "contradicted" or "absent"}]'
    )
    words = f"Each n is the number of a passage, from 1 to {passages}; an absent claim has none: []."
    return ReplySpec(
        bounded={"claims": _claims_schema(narrow, MAX_CLAIMS, min(passages, MAX_NAMED), MAX_REASON)},
        plain={"claims": _claims_schema({"type": "integer"})},
        sample={"claims": sample},
        words=words,
        line=(
            "Reply with one JSON object and nothing else: "
            f'{{"nonce": "{{nonce}}", "reason": "one sentence", "claims": {sample}}}. {words}'
        ),
        read=lambda text, nonce, _structured: parse_claims_reply(text, passages, nonce),
    )


def _claims_schema(number: Json, claims: int = 0, named: int = 0, chars: int = 0) -> Json:
    """Return the schema of the claims; a limit of 0 is left out."""
    text: dict[str, Json] = {"type": "string", "maxLength": chars} if chars else {"type": "string"}
    listed: dict[str, Json] = {"type": "array", "items": number}
    claim = strict_object_schema(
        {
            "claim": text,
            "passages": {**listed, "maxItems": named} if named else listed,
            "finding": {"type": "string", "enum": list(CLAIM_FINDINGS)},
        }
    )
    several: dict[str, Json] = {"type": "array", "items": claim}
    return {**several, "maxItems": claims} if claims else several


def parse_claims_reply(text: str, passages: int, nonce: str = "") -> tuple[tuple[Claim, ...], str]:
    """Return the claims in a judge's reply, and the reason.

    Args:
        text: JSON with ``claims``.
        passages: The number of passages.
        nonce: What the verdict must repeat; empty: no nonce is required.

    Raises:
        UnreadableReply: No claims, a malformed claim, or a finding that names no existing passage.

    >>> text = '{"reason": "x", "claims": [{"claim": "It takes 30 days.", "passages": [1], "finding": "supported"}]}'
    >>> parse_claims_reply(text, 2)[0][0].finding
    'supported'
    """
    verdict, prose = find_verdict_object(text, "claims", nonce)
    if verdict is None:
        raise UnreadableReply(describe_missing_verdict(prose, "JSON with reason and claims"))
    claims = verdict["claims"]
    if not isinstance(claims, list) or len(claims) > MAX_CLAIMS:
        got = f"{len(claims)} claims" if isinstance(claims, list) else type(claims).__name__
        raise UnreadableReply(f"expected a list of at most {MAX_CLAIMS} claims, got {got}")
    return tuple(
        _parse_claim(claim, number, passages) for number, claim in enumerate(claims, start=1)
    ), read_json_reason(verdict)


def _parse_claim(given: object, number: int, passages: int) -> Claim:
    fields = given if isinstance(given, Mapping) else {}
    text, finding, listed = fields.get("claim"), fields.get("finding"), fields.get("passages")
    if not isinstance(text, str) or not text.strip():
        raise UnreadableReply(f"claim {number} has no text")
    known = next(
        (each for each in CLAIM_FINDINGS if isinstance(finding, str) and finding.strip().casefold() == each),
        None,
    )
    if known is None:
        raise UnreadableReply(
            f"claim {number} is {quote_shortened(str(finding), 40)}: expected {', '.join(CLAIM_FINDINGS)}"
        )
    if known == "absent":
        return Claim(text=text.strip(), finding=known)
    numbers = listed if isinstance(listed, list) else []
    kept = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= passages]
    if not kept or len(kept) < len(numbers):
        raise UnreadableReply(
            f"claim {number} is {known} by no passage that there is: expected numbers from 1 to {passages}"
        )
    return Claim(text=text.strip(), finding=known, passages=tuple(dict.fromkeys(kept)))
