"""The judge by rubric (`Rubric`), and the built-in rubrics `quality` and `answer_relevance`.

An answer without content gets the lowest score and no model is called: some judges accept answers like ":" in most
cases (Zhao et al. 2025, "One Token to Fool LLM-as-a-Judge"). It is scored, not unscored: the application is known to
have answered nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.logprobs import LOGPROB_PARAMS
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    check_passages,
    is_contentless,
    is_only_opener,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import ReplyForm, Scale
from pytest_llmops.judges.rubric_files import RubricSpec, read_rubric
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

QUALITY = RubricSpec(
    name="quality",
    file=Path(__file__).with_name("quality.md"),
    scale=Scale(low=1.0, high=10.0, weights={"accuracy": 1.0, "fluency": 1.0, "relevance": 1.0}),
    pass_at=7.0,
)
"""Accuracy, fluency and relevance, 1 to 10 each; their plain mean is the score, and 7 passes.

Equal weights hide a wrong fact behind good language (1, 10 and 10 have a mean of 7): the dimensions are
measurements of their own, and other weights take a single line.
"""


def quality(model: Model | None = None, *, weights: Mapping[str, float] | None = None) -> Rubric:
    """Return the built-in judge of accuracy, fluency and relevance against a reference.

    Args:
        model: The judge model; None: that of the run's settings.
        weights: Weight of each of the three in the score, above 0; None: equal.

    Raises:
        UsageError: Weights of other names, or a weight that is not above 0.

    >>> quality().name, quality().pass_at
    ('quality', 7.0)
    """
    if weights is None:
        return Rubric(QUALITY, model)
    if set(weights) != set(QUALITY.scale.weights):
        expected = ", ".join(QUALITY.scale.weights)
        raise UsageError(f"judge quality: expected weights of {expected}, got {', '.join(weights) or 'none'}")
    ordered = {name: weights[name] for name in QUALITY.scale.weights}
    return Rubric(replace(QUALITY, scale=replace(QUALITY.scale, weights=ordered)), model)


def answer_relevance(model: Model | None = None) -> Rubric:
    """Return the built-in judge of whether an answer fits the question, 0 to 5; right or wrong does not count.

    >>> answer_relevance().name, answer_relevance().pass_at
    ('answer_relevance', 4.0)
    """
    return Rubric(Path(__file__).with_name("answer_relevance.md"), model)


@dataclass(slots=True, init=False)
class Rubric(PromptedJudge):
    """A judge that grades an answer by a rubric.

    Args:
        rubric: The path of a rubric file, whose name without the suffix becomes the judge's; or a `RubricSpec`.
        model: The judge model; None: that of the run's settings, as the running test sees it.

    Raises:
        PromptError: The file is not a valid rubric; with file and line.
    """

    spec: RubricSpec
    model: Model | None

    def __init__(self, rubric: str | Path | RubricSpec, model: Model | None = None) -> None:
        self.spec = rubric if isinstance(rubric, RubricSpec) else read_rubric(rubric)
        self.model = model

    @property
    def name(self) -> str:
        """The rubric's name."""
        return self.spec.name

    @property
    def low(self) -> float:
        """The lowest score."""
        return self.spec.scale.low

    @property
    def high(self) -> float:
        """The highest score."""
        return self.spec.scale.high

    @property
    def pass_at(self) -> float | None:
        """Default threshold of an assertion."""
        return self.spec.pass_at

    @property
    def source(self) -> Path | None:
        """The user's rubric file; its records lie beside it."""
        return self.spec.source

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, scale, reply formats, parser and model."""
        spec = self.spec
        scale = [dict(spec.scale.weights), dict(spec.names), spec.weighted]
        return self._hash_version(self._reply_form(), scale, params=dict(spec.params))

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        """Return the verdict on an answer.

        Args:
            answer: What is judged.
            question: What the application was asked; empty: left out of the prompt.
            reference: A right answer; empty: left out.
            contexts: Passages that the answer was made from; none: left out.

        Returns:
            A score on the rubric's scale; or unscored, with the error and the raw replies, if no reply
            could be read in two tries or the texts are too long. An answer without content has the
            lowest score, ``prescreened``.

        Raises:
            ModelError: The model could not be called: neither a score nor an unreadable reply.
            PromptError: The rubric's prompt cannot be used.
            UsageError: The contexts are not a list of texts.
        """
        passages = check_passages(contexts, self.name)
        scale = self.spec.scale
        if is_contentless(answer) or is_only_opener(answer, reference):
            return Verdict(
                score=scale.low,
                low=scale.low,
                high=scale.high,
                reason="contentless answer",
                dimensions=dict.fromkeys(scale.weights, scale.low),
                prescreened=True,
            )
        if error := why_too_long("question, reference and answer", answer, question, reference, *passages):
            return Verdict(low=scale.low, high=scale.high, error=error)
        data: dict[str, Json] = {
            "question": question,
            "reference": reference,
            "contexts": list[Json](passages),
            "answer": answer,
        }
        nonce_of = [question, reference, answer, *([passages] if passages else [])]
        reply = self.prompter.ask(data, self._reply_form(), nonce_of=nonce_of, weighted=self.spec.weighted)
        return Verdict(
            score=reply.score,
            low=scale.low,
            high=scale.high,
            reason=reply.reason,
            error=reply.error,
            raw=reply.raw,
            dimensions=reply.dimensions,
            confidence=reply.confidence,
        )

    def _create_prompter(self) -> JudgePrompter:
        spec = self.spec
        params = {**spec.params, **(LOGPROB_PARAMS if spec.weighted else {})}
        return JudgePrompter(spec.name, spec.file, self.model, spec.values, params, spec.model)

    def _reply_form(self) -> ReplyForm:
        return ReplyForm(names=self.spec.names) if self.spec.names else ReplyForm(scale=self.spec.scale)
