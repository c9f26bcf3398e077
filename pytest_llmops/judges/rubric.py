"""The judge that grades by a rubric (`Rubric`), the built-in rubrics, and the judge of two answers (`Pairwise`).

An answer without content gets the lowest score and no model is called: some judges accept answers like ":" in most
cases (Zhao et al. 2025, "One Token to Fool LLM-as-a-Judge"). Its verdict is a score and not an error, since it is
certain that the application answered nothing. Such a verdict is called ``prescreened``.

Judges of two answers have a position bias: GPT-4 kept its verdict in 65 % of the pairs when their order was swapped
(Zheng et al. 2023, MT-Bench). So `Pairwise` judges each pair in both orders; if the two verdicts name different
answers, the pair is a tie, as in FastChat. With ``probability=True`` the score of a pair is finer than win, tie and loss: the
mean probability of the first answer over both orders, from the model's log-probabilities (as in AlpacaEval 2).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.conversation import parse_conversation
from pytest_llmops.judges.protocol.images import GivenImage, read_images
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    check_passages,
    is_contentless,
    is_only_opener,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import ReasonPlace, ReplyForm, Scale, check_reason_place
from pytest_llmops.judges.protocol.verdict_probabilities import PROBABILITY_PARAMS
from pytest_llmops.judges.reason_places import copy_with_reason
from pytest_llmops.judges.rubric_files import RubricSpec, build_rubric, place_reason, read_rubric
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

# Accuracy, fluency and relevance, 1 to 10 each; their plain mean is the score, and 7 passes.
# Equal weights hide a wrong fact behind good language (1, 10 and 10 have a mean of 7): the dimensions are
# measurements of their own, and other weights take a single line.
QUALITY = RubricSpec(
    name="quality",
    file=Path(__file__).with_name("quality.md"),
    scale=Scale(low=1.0, high=10.0, weights={"accuracy": 1.0, "fluency": 1.0, "relevance": 1.0}),
    pass_at=7.0,
)


def quality(
    model: Model | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    reason: ReasonPlace = "before",
) -> "Rubric":
    """Return the built-in judge of accuracy, fluency and relevance against a reference.

    Args:
        model: The judge model. None: the model of the run's settings.
        weights: The weights of accuracy, fluency and relevance in the score, all above 0. None: equal weights.
        reason: Where it gives its reason: ``before`` or ``after`` the scores, or ``none``.

    Raises:
        UsageError: The weights have other names, or one is not above 0. Or ``reason`` has another value.

    >>> quality().name, quality().pass_at
    ('quality', 7.0)
    """
    judge = Rubric(QUALITY, model).with_reason(reason)
    if weights is None:
        return judge
    own = QUALITY.scale.weights
    if set(weights) != set(own):
        got = ", ".join(weights) or "none"
        raise UsageError(f"judge quality: expected weights of {', '.join(own)}, got {got}")
    scale = replace(QUALITY.scale, weights={name: weights[name] for name in own})
    return Rubric(replace(judge.spec, scale=scale), model)


def answer_relevance(model: Model | None = None, *, reason: ReasonPlace = "before") -> "Rubric":
    """Return the built-in judge of whether an answer addresses the question, 0 to 5. Whether it is right does not count.

    Args:
        model: The judge model. None: the model of the run's settings.
        reason: Where it gives its reason: ``before`` or ``after`` the score, or ``none``.

    Raises:
        UsageError: ``reason`` has another value.

    >>> answer_relevance().name, answer_relevance().pass_at
    ('answer_relevance', 4.0)
    """
    return Rubric(Path(__file__).with_name("answer_relevance.md"), model).with_reason(reason)


def goal(model: Model | None = None, *, reason: ReasonPlace = "before") -> "Rubric":
    """Return the built-in judge of whether the user of a conversation reached their goal, 1 to 5.

    Args:
        model: The judge model. None: the model of the run's settings.
        reason: Where it gives its reason: ``before`` or ``after`` the score, or ``none``.

    Raises:
        UsageError: ``reason`` has another value.

    >>> goal().name, goal().pass_at, goal().judged
    ('goal', 4.0, 'conversation')
    """
    return Rubric(Path(__file__).with_name("goal.md"), model).with_reason(reason)


@dataclass(slots=True, init=False, repr=False)
class Rubric(PromptedJudge):
    """A judge that grades an answer, or a conversation, by a rubric.

    Args:
        rubric: The path of a rubric file (its name without the suffix becomes the judge's name), or a `RubricSpec`.
            None: the rubric is given by the other arguments, which mean the same as the keys of a rubric file.
        model: The judge model. None: the model of the run's settings, as the running test sees it.
        criteria: What counts, in plain words.
        levels: Level -> its description, for every level. None: pass or fail by the criteria.
        scale: ``"1-5"`` or ``"pass/fail"``. None: the scale that the levels span.
        pass_at: Default threshold of an assertion, on the scale. Or dimension -> threshold, for every dimension.
        dimensions: Name -> weight, description, or both (``{"weight": 0.5, "about": "..."}``).
        examples: Graded answers, ``{"answer": "...", "score": 4}``. On a scale of names ``label`` instead of ``score``.
            ``reason``, ``question``, ``reference`` and ``contexts`` may be added. The judge sees the examples, and
            canaries use those that pass as right answers.
        judges: ``turn`` (the default): each answer by itself. ``conversation``: all messages at once.
        reason: Where the judge gives its reason: ``before`` its verdict (the default), ``after`` it, or ``none``. A small
            model judges better without. Its verdicts then have the reason "".
        params: Parameters for the model. They override the prompt's.
        name: The judge's name, for a rubric without a file.

    Raises:
        PromptError: The file is not a valid rubric. With file and line.
        UsageError: The arguments are not a valid rubric. With the name of the argument. Or there is both a file and
            other arguments, or neither.

    >>> tone = Rubric(criteria="Is it friendly?", levels={1: "Rude.", 2: "Cold.", 3: "Friendly."}, pass_at=3)
    >>> tone.low, tone.high, tone.pass_at
    (1.0, 3.0, 3.0)
    """

    spec: RubricSpec
    model: Model | None

    def __init__(
        self,
        rubric: str | Path | RubricSpec | None = None,
        model: Model | None = None,
        *,
        criteria: str = "",
        levels: Mapping[Any, str] | None = None,
        scale: str | None = None,
        pass_at: float | str | Mapping[str, float] | None = None,
        dimensions: Mapping[str, object] | None = None,
        examples: Sequence[Mapping[str, object]] | None = None,
        judges: str | None = None,
        reason: str | None = None,
        params: Mapping[str, Json] | None = None,
        name: str = "rubric",
    ) -> None:
        given = {
            "judges": judges,
            "reason": reason,
            "scale": scale,
            "levels": levels,
            "pass_at": pass_at,
            "dimensions": dimensions,
            "examples": examples,
            "params": params,
        }
        self.model = model
        if rubric is None:
            self.spec = build_rubric(criteria, name, given)
            return
        named = [key for key, value in given.items() if value is not None]
        if criteria:
            named.insert(0, "criteria")
        if named:
            raise UsageError(f"rubric {rubric}: expected a file or arguments, got both: {', '.join(named)}")
        if isinstance(rubric, RubricSpec):
            self.spec = rubric
        else:
            self.spec = read_rubric(rubric)

    name = property(attrgetter("spec.name"), doc="The rubric's name.")
    low = property(attrgetter("spec.scale.low"), doc="The lowest score.")
    high = property(attrgetter("spec.scale.high"), doc="The highest score.")
    pass_at = property(
        attrgetter("spec.pass_at"),
        doc="Default threshold of an assertion. None: the assertion must name one.",
    )
    dimension_thresholds = property(
        attrgetter("spec.dimension_thresholds"),
        doc="Default threshold of each dimension. Empty: only the score has one.",
    )
    examples = property(
        attrgetter("spec.examples"),
        doc="The graded answers of the rubric. The passing ones are the good answers among canaries.",
    )
    judged = property(
        attrgetter("spec.judges"),
        doc="The judged unit: ``turn``: each answer by itself; ``conversation``: all messages at once.",
    )
    source = property(attrgetter("spec.source"), doc="The user's rubric file. Its records are next to it.")
    reason = property(
        attrgetter("spec.reason"),
        doc="Where the judge gives its reason: ``before`` or ``after`` its verdict, or ``none``.",
    )

    def with_reason(self, reason: ReasonPlace) -> "Rubric":
        """Return the same judge with its reason ``before`` or ``after`` the verdict, or with ``none``.

        Raises:
            UsageError: ``reason`` has another value.
        """
        check_reason_place(reason, f"judge {self.name}")
        return Rubric(place_reason(self.spec, reason), self.model)

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, scale, reply formats, parser and model."""
        spec = self.spec
        scale: list[object] = [dict(spec.scale.weights), dict(spec.names), False]
        scale += [example.to_data() for example in spec.examples]
        return self._hash_version(self._reply_form(), scale, params=dict(spec.params))

    def judge(
        self,
        answer: str,
        *,
        question: str = "",
        reference: str = "",
        contexts: Sequence[str] = (),
        images: Sequence[GivenImage] = (),
    ) -> Verdict:
        """Return the verdict on an answer.

        Args:
            answer: The answer to judge. For a rubric of conversations: a conversation as a `Conversation` or JSON text;
                any other text is taken as the answer to the question.
            question: The question of the user. Empty: left out of the prompt.
            reference: A right answer. Empty: left out.
            contexts: Passages that the answer was made from. Empty: left out.
            images: Images that belong to the question or the answer: paths, bytes, or addresses with ``https:`` or ``data:``.

        Returns:
            A score on the rubric's scale. Or an unscored verdict with the error and the raw replies: no reply could
            be read in two tries, the texts are too long, or the conversation cannot be judged. An answer without
            content has the lowest score and is ``prescreened``. Of a conversation the last message counts.

        Raises:
            ModelError: The model could not be called.
            PromptError: The rubric's prompt cannot be used.
            UsageError: The contexts are not a list of texts, an image cannot be read, or the model accepts no images.
        """
        passages = check_passages(contexts, self.name)
        media = read_images(images, f"judge {self.name}")
        scale = self.spec.scale
        unscored = Verdict(low=scale.low, high=scale.high)
        data: dict[str, Json] = {
            "question": question,
            "reference": reference,
            "contexts": list[Json](passages),
        }
        last_message = answer
        if self.judged == "conversation":
            try:
                conversation, is_whole = parse_conversation(answer, question)
            except ValueError as why:
                return replace(unscored, error=str(why))
            last_message = conversation.messages[-1].content
            data["conversation"] = conversation.to_data()
            if not is_whole:  # then the question is already its first message
                data["question"] = ""
        else:
            data["answer"] = answer
        if is_contentless(last_message) or is_only_opener(last_message, reference):
            return replace(
                unscored,
                score=scale.low,
                reason="contentless answer",
                dimensions=dict.fromkeys(scale.weights, scale.low),
                prescreened=True,
            )
        texts = [answer, question, reference, *passages]
        # The order and the left out empty parts decide the nonce, and with it the requests in recordings
        nonce_of: list[object] = [question, reference, answer]
        if passages:
            nonce_of.append(passages)
        examples = [example.to_data() for example in self.examples]
        if examples:
            texts.append(json.dumps(examples))
            nonce_of += examples
        error = why_too_long("question, reference and answer", *texts)
        if error:
            return replace(unscored, error=error)
        data = {"examples": list[Json](examples), **data}
        reply = self.prompter.ask(data, self._reply_form(), nonce_of=nonce_of, images=media)
        return replace(
            unscored,
            score=reply.score,
            reason=reply.reason,
            error=reply.error,
            raw=reply.raw,
            dimensions=reply.dimensions,
        )

    def _create_prompter(self) -> JudgePrompter:
        spec = self.spec
        return JudgePrompter(spec.name, spec.file, self.model, spec.values, spec.params, spec.model)

    def _reply_form(self) -> ReplyForm:
        spec = self.spec
        if spec.names:
            names = dict(spec.names)
            if spec.reason != "before":  # the best first: the other order makes small models severe
                names = dict(sorted(names.items(), key=itemgetter(1), reverse=True))
            return ReplyForm(names=names, reason=spec.reason)
        return ReplyForm(scale=spec.scale, reason=spec.reason)


Winner: TypeAlias = Literal["first", "second", "tie"]
SCORE_OF_WINNER: dict[Winner, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
WINNER_BY_NAME: dict[str, Winner] = {"A": "first", "B": "second", "tie": "tie"}
WINNER_FORM = ReplyForm(
    names={"A": 1.0, "B": 0.0, "tie": 0.5},
    spellings={"A": ("answer A", "answer_a"), "B": ("answer B", "answer_b")},
    field="winner",
)
SWAPPED_WINNER: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}
DEFAULT_CRITERIA = (
    "the one that answers the question better: right facts first, then complete, then without padding"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A judge's verdict on two answers.

    Attributes:
        winner: ``first``, ``second`` or ``tie``; None exactly when there is an error.
        straight: The winner when the first answer was shown first.
        swapped: The winner when the second answer was shown first. ``first`` is the caller's first answer here too.
        reason: The judge's reason, from the reply in the caller's order.
        error: Why no winner is known.
        raw: Both raw replies.
        prescreened: Decided without a model, because an answer has no content or both are the same.
        probability: Probability from 0 to 1 that the first answer is better, with half of the probability of a tie; the mean of
            both orders. None if the judge does not use probabilities, or the server gave no log-probabilities in some order.
    """

    winner: Winner | None = None
    straight: Winner | None = None
    swapped: Winner | None = None
    reason: str = ""
    error: str = ""
    raw: str = ""
    prescreened: bool = False
    probability: float | None = None

    @property
    def score(self) -> float | None:
        """The probability, if known; else 1 for the first answer, 0.5 for a tie, 0 for the second; None without a winner."""
        if self.winner is None:
            return None
        if self.probability is not None:
            return self.probability
        return SCORE_OF_WINNER[self.winner]

    @property
    def consistent(self) -> bool | None:
        """Whether both orders gave the same winner; None without a winner, or where no model was called."""
        if self.winner is None or self.prescreened:
            return None
        return self.straight == self.swapped


@dataclass(slots=True, repr=False)
class Pairwise(PromptedJudge):
    """A judge of two answers.

    Args:
        criteria: What makes an answer better, in plain words.
        model: The judge model. None: the model of the run's settings, as the running test sees it.
        name: The name of the judge and its measurements.
        source: The user's judge file.
        reason: Where the judge gives its reason: ``before`` or ``after`` its verdict, or ``none``.
        probability: Whether the score of a pair is the probability of the first answer instead of 1, 0.5 or 0. It needs a server
            that gives log-probabilities. Without them the winner decides the score. Best with ``reason="none"``: after
            a written reason the verdict is nearly certain.

    """

    criteria: str = DEFAULT_CRITERIA
    model: Model | None = None
    name: str = "pairwise"
    source: Path | None = field(default=None, kw_only=True)
    reason: ReasonPlace = field(default="before", kw_only=True)
    probability: bool = field(default=False, kw_only=True)

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, criteria, reply formats, parser, model and kind of score."""
        if self.probability:
            return self._hash_version(self._reply_form(), "probability", params=PROBABILITY_PARAMS)
        return self._hash_version(self._reply_form())

    def with_reason(self, reason: ReasonPlace) -> "Pairwise":
        """Return the same judge with its reason ``before`` or ``after`` its verdict, or with ``none``.

        Raises:
            UsageError: ``reason`` has another value.
        """
        return copy_with_reason(self, reason)

    def version_of(self, preference: Preference) -> str:
        """Return the version of a preference of this judge: scores of different versions are never compared.

        It is the judge's own, unless probabilities were requested and not given. Then the score is the same as of a
        judge without ``probability``, and so is the version.
        """
        if self.is_by_winner(preference):
            return self._hash_version(self._reply_form())
        return self.version

    def is_by_winner(self, preference: Preference) -> bool:
        """Return whether the score of a preference follows from its winner, although this judge requests probabilities."""
        if preference.winner is None:
            return False
        return self.probability and preference.probability is None

    def compare(
        self,
        first: str,
        second: str,
        *,
        question: str = "",
        reference: str = "",
        contexts: Sequence[str] = (),
    ) -> Preference:
        """Return which answer is better. A `Preference` with an error if the reply in one of the orders is unreadable.

        An answer without content loses, and equal answers are a tie. In both cases no model is called.

        Raises:
            ModelError: The model could not be called.
            UsageError: The contexts are not a list of texts.
        """
        passages = check_passages(contexts, self.name)
        known = self._compare_contents(first, second)
        if known is not None:
            return known
        error = why_too_long("the texts", first, second, question, reference, *passages)
        if error:
            return Preference(error=error)
        data: dict[str, Json] = {
            "question": question,
            "reference": reference,
            "contexts": list[Json](passages),
        }
        form = self._reply_form()
        straight = self.prompter.ask({**data, "answer_a": first, "answer_b": second}, form)
        swapped = self.prompter.ask({**data, "answer_a": second, "answer_b": first}, form)
        raw = f"in order: {straight.raw}\n\nswapped: {swapped.raw}"
        if straight.error:
            return Preference(error=f"in order: {straight.error}", raw=raw)
        if swapped.error:
            return Preference(error=f"swapped: {swapped.error}", raw=raw)
        straight_winner = WINNER_BY_NAME[straight.name]
        swapped_winner = SWAPPED_WINNER[WINNER_BY_NAME[swapped.name]]
        winner: Winner = "tie"
        if straight_winner == swapped_winner:
            winner = straight_winner
        return Preference(
            winner=winner,
            straight=straight_winner,
            swapped=swapped_winner,
            reason=straight.reason,
            raw=raw,
            probability=self._mean_probability(straight.probabilities, swapped.probabilities),
        )

    def _compare_contents(self, first: str, second: str) -> Preference | None:
        """Return the preference between answers that are the same, or of which one has no content; None for any others."""
        is_first_empty = is_contentless(first)
        is_second_empty = is_contentless(second)
        winner: Winner
        reason = "the other answer is contentless"
        if first.split() == second.split() or (is_first_empty and is_second_empty):
            winner = "tie"
            reason = "the answers are the same"
        elif is_first_empty:
            winner = "second"
        elif is_second_empty:
            winner = "first"
        else:
            return None
        probability = None
        if self.probability:
            probability = SCORE_OF_WINNER[winner]
        return Preference(winner=winner, reason=reason, prescreened=True, probability=probability)

    def _mean_probability(self, straight: Mapping[str, float], swapped: Mapping[str, float]) -> float | None:
        """Return the probability that the first answer is better, the mean of both orders; None if an order has none.

        Args:
            straight: Name -> probability, where A is the first answer.
            swapped: Name -> probability, where B is the first answer.
        """
        if not self.probability or not straight or not swapped:
            return None
        in_order = straight["A"] + straight["tie"] / 2
        in_swapped_order = swapped["B"] + swapped["tie"] / 2
        return (in_order + in_swapped_order) / 2

    def _create_prompter(self) -> JudgePrompter:
        if not self.criteria.strip():
            raise UsageError(f"judge {self.name}: expected criteria in plain words, got nothing")
        file = Path(__file__).with_name("pairwise.md")
        params: dict[str, Json] = {}
        if self.probability:
            params = PROBABILITY_PARAMS
        return JudgePrompter(self.name, file, self.model, {"criteria": self.criteria.strip()}, params)

    def _reply_form(self) -> ReplyForm:
        return replace(WINNER_FORM, reason=self.reason)
