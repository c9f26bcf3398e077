"""A judge of whether an answer is grounded in its contexts, claim by claim: supported, contradicted or absent.

The score is the share of supported claims; the rest is the hallucination rate. A verdict on a claim must name the
passages that decide it, so that a human can check it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops.errors import refuse
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    check_passages,
    is_contentless,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import Claim, ReplyForm
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

CLAIM_FINDINGS = ("supported", "contradicted", "absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingVerdict(Verdict):
    """The share of supported claims, and the claims."""

    claims: tuple[Claim, ...] = ()


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
        return self._hash_version(ReplyForm(names=CLAIM_FINDINGS, passages=1))

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
            0 to 1; or unscored, with the error and the raw replies: no reply could be read in two tries, a claim
            is not a sentence or part of the answer, the texts are too long, or the answer claims nothing, as
            "I don't know" does. An answer without content has the score 0, ``prescreened``.

        Raises:
            ModelError: The model could not be called.
            UsageError: There are no contexts, or they are not all texts.
        """
        _ = reference
        passages = check_passages(contexts, self.name)
        refuse(
            not passages, f"judge {self.name}: expected contexts=, a list of one passage or more, got none"
        )
        if is_contentless(answer):
            return GroundingVerdict(
                score=0.0, low=0.0, high=1.0, reason="contentless answer", prescreened=True
            )
        if error := why_too_long("question, contexts and answer", answer, question, *passages):
            return GroundingVerdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question, "contexts": list[Json](passages), "answer": answer}
        reply = self.prompter.ask(
            data, ReplyForm(names=CLAIM_FINDINGS, passages=len(passages), source=answer)
        )
        claims, error = reply.claims, reply.error
        if error or not claims:
            error = error or "the answer makes no claim to be supported"
            return GroundingVerdict(low=0.0, high=1.0, error=error, raw=reply.raw)
        score = sum(claim.finding == "supported" for claim in claims) / len(claims)
        return GroundingVerdict(
            score=score, low=0.0, high=1.0, reason=reply.reason, raw=reply.raw, claims=claims
        )

    def _create_prompter(self) -> JudgePrompter:
        return JudgePrompter(self.name, Path(__file__).with_name("grounding.md"), self.model)
