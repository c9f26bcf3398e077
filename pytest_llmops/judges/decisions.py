"""Judges by rubric on a server that decides without a text: OpenAI's Decisions, and what others answer in this form.

The rubric becomes questions, one a dimension, with the levels of the scale or the names of the verdict to choose from.
The server returns the probability of each and how sure it is. There is **no reason**: nothing is written, so nobody can
be told why, and `Verdict.reason` says that. In exchange no verdict can be talked into a text, or copied out of the
answer: what is judged goes in as data in the same block as for other judges, and the tags' nonce need not come back.

A score is the mean of the levels by their probabilities, as a weighted rubric has it; a name is the one chosen. What
is refused, missing, off the scale or no distribution is unscored. Nothing is asked twice: a decision has no form
that could be broken, and the same question gets the same decision.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmops import recorder
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.judges.protocol.logprobs import expected_score
from pytest_llmops.judges.protocol.parsing import Unread, quoted
from pytest_llmops.judges.protocol.prompting import Asker, block, digest, passages_of
from pytest_llmops.judges.protocol.retry import patiently
from pytest_llmops.judges.rubric import Rubric, shown, without_asking
from pytest_llmops.judges.rubric_files import MAX_LEVELS, TEMPLATE, read_rubric
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Model

PROMPT = Path(__file__).with_name("decisions.md")
READER = "1"
"""Revision of how answers are read; part of a judge's version."""
TOLERANCE = 0.02
"""How far the probabilities of an answer may be from a sum of 1: servers round them."""
NO_ENDPOINT = frozenset({404, 405, 501})
TAKEN = ("prompt_cache_key", "prompt_cache_options", "safety_identifier")
"""Of a rubric's parameters, what the endpoint takes: others are for texts."""
SHOWN = 3
"""Likeliest levels that the report shows of a decision."""


def decisions_judge(path: str | Path, model: Model | None = None) -> DecisionsJudge:
    """Return the judge that has a rubric file decided.

    Args:
        path: The file, as `read_rubric` takes it; its name without the suffix and ``_decisions`` is the judge's name.
        model: Who is asked; None: the judge model of the run's settings.

    Raises:
        PromptError: The file cannot be used, see `read_rubric`.
    """
    return DecisionsJudge(read_rubric(path), model)


@dataclass(slots=True)
class DecisionsJudge:
    """A judge that has a rubric decided by a server with the endpoint ``/decisions``.

    Args:
        rubric: What to look at: a scale of whole numbers, or names. Its levels and dimensions become questions.
        model: Who is asked, an `OpenAIModel` or anything with its ``decide``; None: the judge model of the run's
            settings, as the running test sees it.

    Raises:
        UsageError: The scale has no levels that could be listed.
    """

    rubric: Rubric
    model: Model | None = None
    _asker: Asker | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Its calibration is not that of the judge who writes reasons to the same file.
        self.rubric = replace(self.rubric, source=None)
        low, high = self.rubric.scale.low, self.rubric.scale.high
        whole = float(low).is_integer() and float(high).is_integer() and high - low < MAX_LEVELS
        if not self.rubric.names and not whole:
            raise UsageError(
                f"judge {self.name}: expected names, or a scale of at most {MAX_LEVELS} whole numbers, got {low:g} to {high:g}"
            )

    @property
    def name(self) -> str:
        """The rubric's name and ``_decisions``: its measurements are not those of the judge with reasons."""
        return f"{self.rubric.name}_decisions"

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
        """The bound of an assertion that names none."""
        return self.rubric.pass_at

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        return self._asking().model_name

    @property
    def version(self) -> str:
        """Hash of all that makes a verdict: prompt, scale, questions, reader and model."""
        asking = self._asking()
        scale = [dict(self.rubric.scale.weights), dict(self.rubric.names)]
        questions = [one.to_wire("") for one in self._questions()]
        forms = [one.form for one in self._questions()]
        return digest([asking.fingerprint, scale, questions, forms, READER, asking.model_name], 12)

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        """Return the verdict on an answer, without a reason for it.

        Args:
            answer: What is judged.
            question: What was asked; empty: not told to the judge.
            reference: A right answer; empty: not told.
            contexts: Passages that the answer was made from; none: not told.

        Returns:
            A score on the rubric's scale, with the server's own confidence, of several dimensions the least; or
            unscored, with the error and the answers as they came. An answer without any content has the lowest score,
            ``prescreened``.

        Raises:
            ModelError: The server could not be asked, or has no such endpoint.
            PromptError: The rubric's prompt cannot be used.
            UsageError: The contexts are no list of texts, or the model has no decisions.
        """
        passages = passages_of(contexts, self.name)
        known = without_asking(self.rubric.scale, answer, question, reference, passages)
        if known is not None:
            return known
        asking, questions = self._asking(), self._questions()
        data, nonce_of = shown(answer, question, reference, passages)
        nonce = asking.nonce(data, nonce_of)
        text = block(data, nonce)
        wire = [one.to_wire(_instructions(asking, text, nonce, one.form)) for one in questions]
        answers = self._decided(text, wire)
        raw = json.dumps(answers)
        try:
            return self._verdict(_read(questions, answers), raw)
        except Unread as why:
            return Verdict(low=self.low, high=self.high, error=f"no decision: {why}", raw=raw)

    def _decided(self, text: str, questions: list[dict[str, Json]]) -> list[Json]:
        asked: Any = self._asking().asked()
        decide = getattr(asked, "decide", None)
        if not callable(decide):
            raise UsageError(
                f"judge {self.name}: expected a model with decide(), an OpenAIModel, got {type(asked).__name__}; "
                "ask it for a text: rubric:FILE instead of decisions:FILE"
            )
        params = {name: one for name, one in self.rubric.params.items() if name in TAKEN}
        try:
            with recorder.purpose("judge"):
                decided = patiently(lambda: decide(text, questions, model=self.rubric.model, **params))
                return list(decided.answers)
        except ModelError as error:
            if error.status not in NO_ENDPOINT:
                raise
            said = (
                f"{error}; a server without the endpoint /decisions answers so: ask it for a text, "
                "rubric:FILE instead of decisions:FILE"
            )
            raise ModelError(said, kind=error.kind, status=error.status) from None

    def _verdict(self, found: Mapping[str, _Found], raw: str) -> Verdict:
        weights = self.rubric.scale.weights
        scores = {name: one.score for name, one in found.items()}
        told = (f"{name}: {one.told}" if weights else one.told for name, one in found.items())
        return Verdict(
            score=self.rubric.scale.mean(scores) if weights else next(iter(scores.values())),
            low=self.low,
            high=self.high,
            reason=f"decided without a reason: {'; '.join(told)}",
            raw=raw,
            dimensions=scores if weights else {},
            confidence=min(one.confidence for one in found.values()),
        )

    def _questions(self) -> list[_Question]:
        own = self.rubric
        if own.names:
            return [_Choice("verdict", own.names, own.levels)]
        weights = own.scale.weights or {"score": 1.0}
        levels = [str(one) for one in range(int(self.low), int(self.high) + 1)]
        dimension = "the dimension {name}{about}, by itself"
        return [
            _Score(
                name,
                levels,
                own.levels,
                dimension.format(name=name, about=f" ({own.about[name]})" if own.about.get(name) else "")
                if own.scale.weights
                else "the answer",
            )
            for name in weights
        ]

    def _asking(self) -> Asker:
        if self._asker is None:
            own = self.rubric
            # That of rubric files asks for a sentence, which no decision has.
            file = PROMPT if own.file == TEMPLATE else own.file
            self._asker = Asker(self.name, file, self.model, own.values, {}, own.model)
        return self._asker


class _Found(NamedTuple):
    """What was decided on one question; ``told`` is for a person."""

    score: float
    confidence: float
    told: str


@dataclass(frozen=True, slots=True)
class _Score:
    """A question for a level of the scale."""

    name: str
    labels: Sequence[str]
    levels: Mapping[str, str]
    what: str

    @property
    def form(self) -> str:
        return f"Rate {self.what}: the level that fits best."

    def to_wire(self, instructions: str) -> dict[str, Json]:
        listed: list[Json] = [_described("label", one, self.levels) for one in self.labels]
        return {"type": "score", "name": self.name, "instructions": instructions, "levels": listed}

    def read(self, answer: Json) -> _Found:
        given = _answer(answer, "score", self.name)
        chances = _chances(given, "label", self.labels, self.name)
        values = [_number(one, "value", self.name) for one in _listed(given, self.name)]
        position = _number(given, "score", self.name)
        if not min(values) - TOLERANCE <= position <= max(values) + TOLERANCE:
            raise Unread(f"{self.name}: the score {position:g} is not on the scale")
        by_level = {float(label): chances[label] for label in self.labels}
        found = expected_score(by_level, float(self.labels[0]), float(self.labels[-1]))
        if found is None:
            raise Unread(f"{self.name}: less than half of the probability is on the scale")
        return _Found(found[0], _confidence(given, self.name), _told(chances))


@dataclass(frozen=True, slots=True)
class _Choice:
    """A question for one of some names."""

    name: str
    names: Mapping[str, float]
    levels: Mapping[str, str]

    @property
    def form(self) -> str:
        return "Choose the verdict that fits best."

    def to_wire(self, instructions: str) -> dict[str, Json]:
        listed: list[Json] = [_described("value", one, self.levels) for one in self.names]
        return {"type": "choice", "name": self.name, "instructions": instructions, "choices": listed}

    def read(self, answer: Json) -> _Found:
        given = _answer(answer, "choice", self.name)
        chances = _chances(given, "value", list(self.names), self.name)
        choice = given.get("choice")
        if not isinstance(choice, str) or choice not in self.names:
            raise Unread(f"{self.name}: {quoted(str(choice), 40)} is none of {', '.join(self.names)}")
        return _Found(float(self.names[choice]), _confidence(given, self.name), _told(chances))


_Question = _Score | _Choice


def _read(questions: Sequence[_Question], answers: Sequence[Json]) -> dict[str, _Found]:
    """What was decided on each question; answers come in the order of the questions."""
    if len(answers) != len(questions):
        raise Unread(f"expected {len(questions)} answers, got {len(answers)}")
    return {one.name: one.read(given) for one, given in zip(questions, answers, strict=True)}


def _described(key: str, label: str, levels: Mapping[str, str]) -> dict[str, Json]:
    return {key: label, **({"description": levels[label]} if levels.get(label) else {})}


def _instructions(asking: Asker, text: str, nonce: str, form: str) -> str:
    """All of the prompt but the data, which is the input."""
    messages = asking.rendered(text, nonce, form).messages
    return "\n\n".join(one.content for one in messages if one.content.strip() != text)


def _answer(given: Json, kind: str, name: str) -> Mapping[str, Json]:
    if not isinstance(given, Mapping):
        raise Unread(f"{name}: expected an answer, got {quoted(str(given), 40)}")
    if given.get("type") == "refusal":
        raise Unread(f"{name}: the judge refused")
    if given.get("type") != kind or given.get("name") != name:
        got = f"{given.get('type')} of {given.get('name')}"
        raise Unread(f"{name}: expected a {kind} of {name}, got {quoted(got, 60)}")
    return given


def _listed(given: Mapping[str, Json], name: str) -> list[Mapping[str, Json]]:
    value = given.get("probabilities")
    listed = [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
    if not listed or not isinstance(value, list) or len(listed) != len(value):
        raise Unread(f"{name}: expected a list of probabilities")
    return listed


def _chances(given: Mapping[str, Json], key: str, expected: Sequence[str], name: str) -> dict[str, float]:
    """The probability of each level or name; all of them, each once, and together 1."""
    listed = _listed(given, name)
    keys = [one.get(key) for one in listed]
    # A truth value or a number is none of ours, whatever its text.
    if not all(isinstance(one, str) for one in keys) or sorted(map(str, keys)) != sorted(expected):
        got = quoted(", ".join(map(str, keys)), 60)
        raise Unread(f"{name}: expected the probabilities of {', '.join(expected)}, got those of {got}")
    chances = {str(one[key]): _share(one, "probability", name) for one in listed}
    total = math.fsum(chances.values())
    if abs(total - 1) > TOLERANCE:
        raise Unread(f"{name}: expected probabilities that sum to 1, got {total:.3g}")
    return chances


def _confidence(given: Mapping[str, Json], name: str) -> float:
    return _share(given, "confidence", name)


def _share(given: Mapping[str, Json], key: str, name: str) -> float:
    number = _number(given, key, name)
    if not 0 <= number <= 1:
        raise Unread(f"{name}: expected a {key} from 0 to 1, got {number:g}")
    return number


def _number(given: Mapping[str, Json], key: str, name: str) -> float:
    value = given.get(key)
    with contextlib.suppress(OverflowError):  # a whole number that is no float
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    raise Unread(f"{name}: expected a number as {key}, got {quoted(str(value), 40)}")


def _told(chances: Mapping[str, float]) -> str:
    likely = sorted(chances.items(), key=lambda one: -one[1])[:SHOWN]
    return ", ".join(f"{label} {chance:.0%}" for label, chance in likely if chance)
