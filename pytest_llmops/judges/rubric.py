"""Judges by rubric: a prompt file, a scale, and a model that is asked under suspicion.

What is judged is hostile text: it may hold instructions, fake verdicts, or the tags and control tokens
that a prompt is made of. Each layer against that is plain and can be tested without a model:

* The data is a user message of its own, one JSON object between two tags. In its strings every ``<`` and
  every character that does not print is an escape, so nothing within can close a tag, open a role or hide.
* The tags carry a nonce that the verdict must repeat: a verdict copied out of the answer has none, or
  another. It is a hash of rubric, question, reference and answer, so a recording answers the same
  request again, and whoever writes the answer would have to find a text that contains its own hash.
* The reply is JSON by a schema where the server can do that, and `reply.read_reply` accepts exactly one
  verdict on the scale. One retry; then the answer is *unscored*, which is no score.
* An answer without any content gets the lowest score without a model being asked: some judges wave
  through answers like ":" in most cases (Zhao et al. 2025, "One Token to Fool LLM-as-a-Judge"). It is
  scored, not unscored: the application answered nothing, and that is known for sure.

This makes accidents harmless and attacks harder; it does not make a judge that cannot be talked to.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pytest_llmops import recorder
from pytest_llmops.errors import ModelError, PromptError
from pytest_llmops.judges.reply import PARSER, Scale, read_reply
from pytest_llmops.measurement import Json, shorten
from pytest_llmops.protocols import Completion, Message, Model, RenderedPrompt, Verdict

if TYPE_CHECKING:
    from pytest_llmops.prompts import Prompt

TRIES = 2
MAX_REASON = 300
"""Characters of a reason in the schema: a small model would go on until the token limit."""
MAX_DATA = 100_000
"""Characters of question, reference and answer together. More is unscored, never silently cut."""
MAX_ECHO = 1_000
"""Characters of an unreadable reply that are shown to the model again."""
NOT_FOUND = 404
VARIABLES = ("data", "nonce", "form")
"""What a rubric's prompt is given; it must use ``data`` and ``form``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """What a judge looks at.

    Attributes:
        name: Of the judge and its measurements ("quality").
        file: Its prompt, in the format of all prompts. ``{{ data }}`` must be a user message of its own,
            and ``{{ form }}`` (the form of the reply) must stand somewhere; ``{{ nonce }}`` may.
        scale: Lowest and highest score, and the weights of the dimensions. Whole ends: whole scores.
        pass_at: The bound of an assertion that names none, on the scale; None: it has to name one.
    """

    name: str
    file: Path
    scale: Scale
    pass_at: float | None = None


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


def quality(model: Model | None = None) -> RubricJudge:
    """Return the built-in judge of accuracy, fluency and relevance against a reference.

    >>> quality().name, quality().pass_at
    ('quality', 7.0)
    """
    return RubricJudge(QUALITY, model)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a model is asked: by which schema, if any, and with or without the prompt's parameters."""

    schema: Literal["bounded", "plain", ""]
    params: bool = True


WAYS = (_Way("bounded"), _Way("plain"), _Way("plain", params=False), _Way(""))
"""From the narrowest form of a reply to the widest; a server that refuses one is asked the next.

Strict schemas of some providers know no ``maxLength``; some models take no ``temperature``; some servers
know no schema at all and are asked for a line of text.
"""


@dataclass(slots=True)
class RubricJudge:
    """A judge that asks a model by a rubric.

    The form a server refuses is not tried again by the same judge in the same test. (It is in the next
    test: each test's recording has to answer by itself, whatever ran before it.)

    Args:
        rubric: What to look at.
        model: Who is asked; None: the judge model of the run's settings, looked up at first use.
    """

    rubric: Rubric
    model: Model | None = None
    _prompt: Prompt | None = field(default=None, repr=False)
    _way: int = field(default=0, repr=False)
    _test: object = field(default=None, repr=False)

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
        """The bound of an assertion that names none."""
        return self.rubric.pass_at

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        model = self._asked()
        return str(getattr(model, "model", "") or type(model).__name__)

    @property
    def version(self) -> str:
        """Hash of all that makes a verdict: prompt, scale, forms of the reply, parser and model."""
        scale = self.rubric.scale
        forms = [[_form(way, scale, "") for way in WAYS], [_format(way, scale, "") for way in WAYS]]
        parts = [self._read().fingerprint, dict(scale.weights), forms, _again(""), PARSER, self.model_name]
        return _digest(parts, 12)

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        """Return the verdict on an answer.

        Returns:
            A score on the rubric's scale; or unscored, with the error and the raw replies, if no reply
            could be read in two tries or the texts are too long. An answer without any content has the
            lowest score, ``prescreened``.

        Raises:
            ModelError: The model could not be asked at all: that is neither a score nor a failure to give one.
            PromptError: The rubric's prompt cannot be used.
        """
        if _contentless(answer):
            return self._lowest("contentless answer")
        length = len(answer) + len(question) + len(reference)
        if length > MAX_DATA:
            error = (
                f"question, reference and answer have {length:,} characters: expected at most {MAX_DATA:,}"
            )
            return Verdict(low=self.low, high=self.high, error=error)
        nonce = _digest([self._read().fingerprint, question, reference, answer], 8)
        data = {"question": question, "reference": reference, "answer": answer}
        return self._tried(_block({key: text for key, text in data.items() if text}, nonce), nonce)

    def _lowest(self, reason: str) -> Verdict:
        return Verdict(
            score=self.low,
            low=self.low,
            high=self.high,
            reason=reason,
            dimensions=dict.fromkeys(self.rubric.scale.weights, self.low),
            prescreened=True,
        )

    def _tried(self, data: str, nonce: str) -> Verdict:
        replies: list[str] = []
        told: tuple[Message, ...] = ()
        verdict = Verdict(low=self.low, high=self.high)
        for _ in range(TRIES):
            try:
                completion, way = self._ask(data, nonce, told)
            except ModelError as error:
                if not replies:
                    raise
                return replace(verdict, error=f"{verdict.error}; asking again failed: {error}")
            replies.append(completion.text or completion.refusal)
            verdict = replace(_read(completion, way, self.rubric.scale, nonce), raw=_raw(replies))
            if verdict.score is not None:
                return verdict
            told += (
                Message("assistant", shorten(replies[-1], MAX_ECHO) or "(nothing)"),
                Message("user", f"{_again(verdict.error)} {_form(way, self.rubric.scale, nonce)}"),
            )
        return replace(verdict, error=f"no verdict after {TRIES} tries: {verdict.error}")

    def _ask(self, data: str, nonce: str, told: tuple[Message, ...]) -> tuple[Completion, _Way]:
        """Ask in the first way that the server does not refuse."""
        test = recorder.current()
        if self._test is not test:
            self._test, self._way = test, 0
        start = self._way
        while True:
            way = WAYS[self._way]
            try:
                return self._complete(way, data, nonce, told), way
            except ModelError as error:
                refused = error.kind == "request" and error.status != NOT_FOUND
                if not refused or way is WAYS[-1]:
                    # Refused in every form: the form was not the reason.
                    self._way = start
                    raise
                self._way += 1

    def _complete(self, way: _Way, data: str, nonce: str, told: tuple[Message, ...]) -> Completion:
        scale = self.rubric.scale
        prompt = self._rendered(data, nonce, _form(way, scale, nonce))
        params = dict(prompt.params) if way.params else {}
        asked = replace(prompt, messages=(*prompt.messages, *told), params=params)
        with recorder.purpose("judge"):
            return self._asked().complete(asked, **_format(way, scale, nonce))

    def _asked(self) -> Model:
        if self.model is None:
            self.model = cast("Model", recorder.lookup("model", "judge"))
        return self.model

    def _read(self) -> Prompt:
        from pytest_llmops.prompts import read_prompt

        if self._prompt is None:
            file = self.rubric.file
            self._prompt = read_prompt(file, name=f"judges/{self.rubric.name}", version=file.stem)
        return self._prompt

    def _rendered(self, data: str, nonce: str, form: str) -> RenderedPrompt:
        prompt = self._read()
        values = {"data": data, "nonce": nonce, "form": form}
        given = {name: values[name] for name in VARIABLES if name in prompt.variables}
        rendered = prompt.render(**given)
        alone = [one for one in rendered.messages if one.role == "user" and one.content.strip() == data]
        if len(alone) != 1 or "form" not in given:
            raise PromptError(
                f"rubric {self.rubric.name}: expected {{{{ data }}}} as a user message of its own, and {{{{ form }}}} "
                f"in another, got the variables {', '.join(given) or '(none)'} @ {self.rubric.file}"
            )
        return rendered


def _read(completion: Completion, way: _Way, scale: Scale, nonce: str) -> Verdict:
    if not completion.text and completion.refusal:
        refused = f"the judge refused: {shorten(completion.refusal, 80)}"
        return Verdict(low=scale.low, high=scale.high, error=refused)
    verdict = read_reply(completion.text, scale if way.schema else replace(scale, weights={}), nonce=nonce)
    if verdict.error and completion.finish_reason == "length":
        return replace(verdict, error=f"{verdict.error} (cut off at the token limit)")
    return verdict


def _raw(replies: list[str]) -> str:
    if len(replies) == 1:
        return replies[0]
    return "\n\n".join(f"try {number}: {reply}" for number, reply in enumerate(replies, start=1))


def _digest(parts: Sequence[object], digits: int) -> str:
    # As JSON: texts cannot run into each other, and a lone surrogate has a form.
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).hexdigest()[:digits]


def _contentless(answer: str) -> bool:
    """No letter, digit or symbol: "42" and "+" are answers, ":" and "..." are none."""
    return all(unicodedata.category(char)[0] in "CMPZ" or char in "`^" for char in answer)


_UNSAFE = re.compile(r"<|\[(?=/?INST\])|[^\x20-\x7e]")


def _block(data: Mapping[str, str], nonce: str) -> str:
    """The data as JSON between its tags; it reads back as it was, and no character in it does anything."""
    text = json.dumps(data, ensure_ascii=False)
    return f"<data-{nonce}>\n{_UNSAFE.sub(_escaped, text)}\n</data-{nonce}>"


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char in "<[":
        return f"\\u{ord(char):04x}"
    return char if char.isprintable() else json.dumps(char)[1:-1]


def _form(way: _Way, scale: Scale, nonce: str) -> str:
    ends = f"from {scale.low:g} to {scale.high:g}"
    number = "a whole number" if _whole(scale) else "a number"
    if not way.schema:
        of = f", the mean of {', '.join(scale.weights)}" if scale.weights else ""
        return (
            f"Reply with one line and nothing else: Score: n, Nonce: {nonce}, Reason: one sentence. "
            f"n is {number} {ends}{of}."
        )
    numbers = dict.fromkeys(scale.weights, "n") or "n"
    key = "dimensions" if scale.weights else "score"
    shape = json.dumps({"nonce": nonce, "reason": "one sentence", key: numbers}).replace('"n"', "n")
    return f"Reply with one JSON object and nothing else: {shape}. Each n is {number} {ends}."


def _again(error: str) -> str:
    return f"That was no verdict: {error}. Judge the same data again."


def _whole(scale: Scale) -> bool:
    return float(scale.low).is_integer() and float(scale.high).is_integer()


def _format(way: _Way, scale: Scale, nonce: str) -> dict[str, Json]:
    """The parameter that holds a server to the schema, or none."""
    if not way.schema:
        return {}
    number = _number(scale, bounded=way.schema == "bounded")
    reason: dict[str, Json] = {"type": "string"}
    if way.schema == "bounded":
        reason["maxLength"] = MAX_REASON
    score = _strict(dict.fromkeys(scale.weights, number)) if scale.weights else number
    key = "dimensions" if scale.weights else "score"
    schema = _strict({"nonce": {"type": "string", "enum": [nonce]}, "reason": reason, key: score})
    inner: Json = {"name": "verdict", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


def _number(scale: Scale, *, bounded: bool) -> dict[str, Json]:
    kind = "integer" if _whole(scale) else "number"
    if not bounded:
        return {"type": kind}
    low, high = (int(scale.low), int(scale.high)) if _whole(scale) else (scale.low, scale.high)
    return {"type": kind, "minimum": low, "maximum": high}


def _strict(properties: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
