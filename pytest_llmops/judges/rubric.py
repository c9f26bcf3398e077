"""Judges by rubric: a prompt, a scale, and a model that is asked as `asking` has it.

An answer without any content gets the lowest score without a model being asked: some judges wave through
answers like ":" in most cases (Zhao et al. 2025, "One Token to Fool LLM-as-a-Judge"). It is scored, not
unscored: the application answered nothing, and that is known for sure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.labels import Choices
from pytest_llmops.judges.protocol.logprobs import LOGPROB_PARAMS, apply_expected_score
from pytest_llmops.judges.protocol.parsing import PARSER_REVISION, Scale, UnreadableReply, parse_score_reply
from pytest_llmops.judges.protocol.prompting import (
    MAX_DATA,
    JudgePrompter,
    ReplySpec,
    check_passages,
    format_retry_message,
    hash_parts,
    is_contentless,
    is_only_opener,
    strict_object_schema,
)
from pytest_llmops.judges.protocol.response_format import REPLY_FORMATS
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

MAX_ENUM = 20
"""Whole scores that a schema lists one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """What a judge looks at.

    Attributes:
        name: Of the judge and its measurements ("quality").
        file: Its prompt, in the format of all prompts. ``{{ data }}`` must be a user message of its own,
            and ``{{ form }}`` (the form of the reply) must stand somewhere; ``{{ nonce }}`` may.
        scale: Lowest and highest score, and the weights of the dimensions. Whole ends: whole scores.
        pass_at: The threshold of an assertion that names none, on the scale; None: it has to name one.
        values: Further variables of the prompt.
        names: Verdicts that are names ("pass"), and the score of each; empty: the verdict is a number.
        model: The model it was written for; empty: any.
        params: Parameters for the model, over those of the prompt.
        weighted: The score is the mean over the log-probabilities of the scores, as G-Eval has it; a server
            that gives none gives no score.
        source: The user's file it was read from: its calibration lies beside it. It does not count in comparisons.

    Raises:
        UsageError: Names of verdicts that are fewer than two or spelt alike.
    """

    name: str
    file: Path
    scale: Scale
    pass_at: float | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    params: Mapping[str, Json] = field(default_factory=dict)
    weighted: bool = False
    source: Path | None = field(default=None, compare=False)


QUALITY = Rubric(
    name="quality",
    file=Path(__file__).with_name("quality.md"),
    scale=Scale(low=1.0, high=10.0, weights={"accuracy": 1.0, "fluency": 1.0, "relevance": 1.0}),
    pass_at=7.0,
)
"""Accuracy, fluency and relevance, 1 to 10 each; their plain mean is the score, and 7 passes.

Equal weights hide a wrong fact behind good language (1, 10 and 10 have a mean of 7): the dimensions are
measurements of their own, and a rubric with other weights is one line.
"""


def quality(model: Model | None = None, *, weights: Mapping[str, float] | None = None) -> RubricJudge:
    """Return the built-in judge of accuracy, fluency and relevance against a reference.

    Args:
        model: Who is asked; None: the judge model of the run's settings.
        weights: Weight of each of the three in the score, above 0; None: equal.

    Raises:
        UsageError: Weights of other names, or one that is not above 0.

    >>> quality().name, quality().pass_at
    ('quality', 7.0)
    """
    if weights is None:
        return RubricJudge(QUALITY, model)
    if set(weights) != set(QUALITY.scale.weights):
        expected = ", ".join(QUALITY.scale.weights)
        raise UsageError(f"judge quality: expected weights of {expected}, got {', '.join(weights) or 'none'}")
    ordered = {name: weights[name] for name in QUALITY.scale.weights}
    return RubricJudge(replace(QUALITY, scale=replace(QUALITY.scale, weights=ordered)), model)


@dataclass(slots=True)
class RubricJudge:
    """A judge that asks a model by a rubric.

    The form a server refuses is not tried again in the same test. (It is in the next test: each test's
    recording has to answer by itself, whatever ran before it.)

    Args:
        rubric: What to look at.
        model: Who is asked; None: the judge model of the run's settings, as the running test sees it.
    """

    rubric: Rubric
    model: Model | None = None
    _asker: JudgePrompter | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The rubric's name."""
        return self.rubric.name

    @property
    def low(self) -> float:
        """The lowest score."""
        return self.rubric.scale.low

    @property
    def high(self) -> float:
        """The highest score."""
        return self.rubric.scale.high

    @property
    def pass_at(self) -> float | None:
        """The threshold of an assertion that names none."""
        return self.rubric.pass_at

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        return self._asking().model_name

    @property
    def version(self) -> str:
        """Hash of all that makes a verdict: prompt, scale, forms of the reply, parser and model."""
        asking, shape = self._asking(), self._shape()
        forms = [
            [shape.form(way, "") for way in REPLY_FORMATS],
            [shape.params(way, "") for way in REPLY_FORMATS],
        ]
        scale: list[object] = [dict(self.rubric.scale.weights), dict(self.rubric.names), self.rubric.weighted]
        params = dict(self.rubric.params)
        return hash_parts(
            [
                asking.fingerprint,
                scale,
                forms,
                format_retry_message(""),
                params,
                PARSER_REVISION,
                asking.model_name,
            ],
            12,
        )

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        """Return the verdict on an answer.

        Args:
            answer: What is judged.
            question: What was asked; empty: not told to the judge.
            reference: A right answer; empty: not told.
            contexts: Passages that the answer was made from; none: not told.

        Returns:
            A score on the rubric's scale; or unscored, with the error and the raw replies, if no reply
            could be read in two tries or the texts are too long. An answer without any content has the
            lowest score, ``prescreened``.

        Raises:
            ModelError: The model could not be asked at all: that is neither a score nor a failure to give one.
            PromptError: The rubric's prompt cannot be used.
            UsageError: The contexts are no list of texts.
        """
        passages = check_passages(contexts, self.name)
        known = prescreen_answer(self.rubric.scale, answer, question, reference, passages)
        if known is not None:
            return known
        data, nonce_of = build_judge_data(answer, question, reference, passages)
        reply = self._asking().ask(data, self._shape(), nonce_of=nonce_of)
        if reply.value is None:
            return Verdict(low=self.low, high=self.high, error=reply.error, raw=reply.raw)
        verdict = replace(reply.value, raw=reply.raw)
        return verdict if not self.rubric.weighted else apply_expected_score(verdict, reply.completion)

    def _asking(self) -> JudgePrompter:
        if self._asker is None:
            own = self.rubric
            params = {**own.params, **(LOGPROB_PARAMS if own.weighted else {})}
            self._asker = JudgePrompter(own.name, own.file, self.model, own.values, params, own.model)
        return self._asker

    def _shape(self) -> ReplySpec[Verdict]:
        return (
            name_reply_spec(self.rubric.names) if self.rubric.names else score_reply_spec(self.rubric.scale)
        )


def prescreen_answer(
    scale: Scale, answer: str, question: str, reference: str, passages: Sequence[str]
) -> Verdict | None:
    """Return the verdict on an answer that no model is asked about: without content, or too long; None: ask."""
    if is_contentless(answer) or is_only_opener(answer, reference):
        return Verdict(
            score=scale.low,
            low=scale.low,
            high=scale.high,
            reason="contentless answer",
            dimensions=dict.fromkeys(scale.weights, scale.low),
            prescreened=True,
        )
    length = sum(map(len, (answer, question, reference, *passages)))
    if length > MAX_DATA:
        error = f"question, reference and answer have {length:,} characters: expected at most {MAX_DATA:,}"
        return Verdict(low=scale.low, high=scale.high, error=error)
    return None


def build_judge_data(
    answer: str, question: str, reference: str, passages: list[str]
) -> tuple[dict[str, Json], list[object]]:
    """Return the data that a judge sees, without what is not known, and what its nonce is a hash of."""
    parts: dict[str, Json] = {"question": question, "reference": reference}
    listed: dict[str, Json] = parts | {"contexts": list[Json](passages), "answer": answer}
    nonce_of: list[object] = [question, reference, answer, *([passages] if passages else [])]
    return {key: value for key, value in listed.items() if value}, nonce_of


def score_reply_spec(scale: Scale) -> ReplySpec[Verdict]:
    """Return the form of a reply that is a score, or one a dimension."""
    ends = f"from {scale.low:g} to {scale.high:g}"
    number = "a whole number" if _is_whole_scale(scale) else "a number"
    of = f", the mean of {', '.join(scale.weights)}" if scale.weights else ""
    line = (
        "Reply with one line and nothing else: Score: n, Nonce: {nonce}, Reason: one sentence. "
        f"n is {number} {ends}{of}."
    )
    key = "dimensions" if scale.weights else "score"
    sample_scores = ", ".join(f'"{name}": n' for name in scale.weights)

    def fields(one: Json) -> dict[str, Json]:
        return {key: strict_object_schema(dict.fromkeys(scale.weights, one)) if scale.weights else one}

    def read(text: str, nonce: str, structured: bool) -> Verdict:  # noqa: FBT001 -- the port of `ReplySpec`
        verdict = parse_score_reply(text, scale if structured else replace(scale, weights={}), nonce=nonce)
        if verdict.error:
            raise UnreadableReply(verdict.error)
        return verdict

    return ReplySpec(
        bounded=fields(_range_schema(scale)),
        plain=fields(_enum_schema(scale)),
        sample={key: f"{{{sample_scores}}}" if scale.weights else "n"},
        words=f"Each n is {number} {ends}.",
        line=line,
        read=read,
    )


def name_reply_spec(names: Mapping[str, float]) -> ReplySpec[Verdict]:
    """Return the form of a reply that is one of some names, each with its score."""
    choices = Choices(dict.fromkeys(names, ()))
    low, high = min(names.values()), max(names.values())
    field_: dict[str, Json] = {"verdict": {"type": "string", "enum": list(names)}}
    either = " or ".join(names)

    def read(text: str, nonce: str, _structured: bool) -> Verdict:  # noqa: FBT001 -- the port of `ReplySpec`
        name, reason = choices.read(text, nonce)
        return Verdict(score=float(names[name]), low=float(low), high=float(high), reason=reason)

    return ReplySpec(
        bounded=field_,
        plain=field_,
        sample={"verdict": " or ".join(f'"{name}"' for name in names)},
        words=f"The verdict is {either}.",
        line=f"Reply with one line and nothing else: Verdict: {either}, Nonce: {{nonce}}, Reason: one sentence.",
        read=read,
    )


def _is_whole_scale(scale: Scale) -> bool:
    return float(scale.low).is_integer() and float(scale.high).is_integer()


def _range_schema(scale: Scale) -> dict[str, Json]:
    low, high = (int(scale.low), int(scale.high)) if _is_whole_scale(scale) else (scale.low, scale.high)
    return {"type": "integer" if _is_whole_scale(scale) else "number", "minimum": low, "maximum": high}


def _enum_schema(scale: Scale) -> dict[str, Json]:
    """The scores as a list: strict schemas of all providers know it, limits only some."""
    if not _is_whole_scale(scale) or scale.high - scale.low >= MAX_ENUM:
        return {"type": "integer" if _is_whole_scale(scale) else "number"}
    return {"type": "integer", "enum": list(range(int(scale.low), int(scale.high) + 1))}
