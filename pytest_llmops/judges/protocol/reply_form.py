"""Describe the reply of a judge once: its schema, its words in the prompt, and what `read_reply` accepts.

A form has one field besides nonce and reason. It holds a score on a scale, a score for each of several dimensions, a
name out of several, a name for each of several items, or the claims of an answer.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text

MAX_ENUM = 20  # up to this many whole scores, a schema lists each of them
MAX_REASON = 300  # characters of a reason in the schema: a small model would continue until the token limit
MAX_CLAIMS = 40
MAX_NAMED = 5  # passages that a claim may name, for the same reason
NONCE_ERROR = "nonce: expected the code that the request says to repeat"
RESERVED_KEYS = frozenset({"score", "rating", "reason", "nonce", "dimensions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale of a verdict: lowest and highest score, and the dimensions with their weights.

    Attributes:
        weights: Weight of each dimension in the overall score; empty: a single score.
        whole: Whether only whole numbers are on the scale; None: they are if both ends are whole.

    Raises:
        UsageError: The ends are not a range, a weight is not above 0, or two names differ in case only.
    """

    low: float = 1.0
    high: float = 10.0
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    whole: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(
                f"scale: expected a lowest and a higher highest score, got {self.low} to {self.high}"
            )
        names = [name.strip().casefold() for name in self.weights]
        taken = {"", *RESERVED_KEYS}
        if len(set(names)) != len(names) or not taken.isdisjoint(names):
            reserved = ", ".join(sorted(RESERVED_KEYS))
            raise UsageError(
                f"scale: expected dimensions of different names other than {reserved}, got {list(self.weights)}"
            )
        bad = {name: weight for name, weight in self.weights.items() if not 0 < weight < math.inf}
        if bad:
            raise UsageError(f"scale: expected weights above 0, got {bad}")

    @property
    def is_whole(self) -> bool:
        """Whether 3.5 is off the scale.

        >>> Scale(low=1, high=5).is_whole, Scale(low=0.5, high=5).is_whole
        (True, False)
        """
        if self.whole is not None:
            return self.whole
        return float(self.low).is_integer() and float(self.high).is_integer()

    def mean(self, scores: Mapping[str, float]) -> float:
        """Return the weighted mean of the dimensions.

        >>> Scale(weights={"accuracy": 3, "fluency": 1}).mean({"accuracy": 4, "fluency": 8})
        5.0
        """
        # Exact, as the mean of 8, 9 and 4 must not fall below a threshold of 7 by rounding
        total = Fraction(0)
        total_weight = Fraction(0)
        for name, weight in self.weights.items():
            total += Fraction(scores[name]) * Fraction(weight)
            total_weight += Fraction(weight)
        mean = float(total / total_weight)
        lowest = min(scores.values())
        highest = max(scores.values())
        return min(max(mean, lowest), highest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """What a judge has to reply: the field with its verdict, and a reason.

    Args:
        scale: The verdict is a number on this scale, or a number for each of its dimensions.
        names: The verdict is one of these names. A mapping gives each its score; None: it does not count.
        spellings: Further spellings of a name; case is ignored.
        items: Each of these items is answered by one of the names.
        passages: The verdict is a list of claims, each with a name and the numbers of up to so many passages.
        source: The text that every claim has to be a part of; empty: any claim.
        field: The key of the verdict in JSON, and its label in text; empty: by the kind of the verdict.
        reason_required: Whether a verdict without a reason is unreadable.
        case_matters: Whether names are told apart by case (``m`` and ``M``).

    Raises:
        UsageError: There is neither a scale nor a choice of names, or two names share a spelling.

    >>> ReplyForm(names={"A>>B": 1, "A=B": 0.5, "B>>A": 0}).field
    'verdict'
    """

    scale: Scale | None = None
    names: Mapping[str, float | None] | Sequence[str] = ()
    spellings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    items: Sequence[str] = ()
    passages: int = 0
    source: str = ""
    field: str = ""
    reason_required: bool = True
    case_matters: bool = False
    # Spelling, folded -> name
    name_of: Mapping[str, str] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.scale is None) == (not self.names):
            raise UsageError("form of a reply: expected a scale or names, got both or neither")
        scores: Mapping[str, float | None]
        if isinstance(self.names, Mapping):
            scores = self.names
        else:
            scores = dict.fromkeys(self.names)
        name_of = self._list_spellings(scores)
        if name_of is None or len(scores) == 1:
            raise UsageError(
                f"form of a reply: expected at least two names, each with its own spellings, got {list(scores)}"
            )
        if self.passages:
            kind = "claims"
        elif self.items:
            kind = "items"
        elif scores:
            kind = "verdict"
        elif self.scale is not None and self.scale.weights:
            kind = "dimensions"
        else:
            kind = "score"
        object.__setattr__(self, "names", scores)
        object.__setattr__(self, "name_of", name_of)
        object.__setattr__(self, "field", (self.field or kind).casefold())

    def _list_spellings(self, names: Iterable[str]) -> dict[str, str] | None:
        """Return the name of each spelling, folded; None if one is blank or that of two names."""
        name_of: dict[str, str] = {}
        for name in names:
            for spelling in (name, *self.spellings.get(name, ())):
                if not spelling.strip() or name_of.setdefault(self.fold(spelling), name) != name:
                    return None
        return name_of

    @property
    def scores(self) -> Mapping[str, float | None]:
        """The names and their scores."""
        if isinstance(self.names, Mapping):
            return self.names
        return {}

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest score; 0 and 1 where names have none."""
        if self.scale is not None:
            return float(self.scale.low), float(self.scale.high)
        counted = [float(score) for score in self.scores.values() if score is not None]
        if not counted:
            return 0.0, 1.0
        return min(counted), max(counted)

    @property
    def is_whole(self) -> bool:
        """Whether the scores are whole numbers."""
        return self.scale is not None and self.scale.is_whole

    @property
    def keys(self) -> frozenset[str]:
        """The keys by which a JSON object is a verdict, folded."""
        if self.scale is None:
            return frozenset({self.field})
        return (RESERVED_KEYS - {"reason"}) | {self.field, *self.dimensions}

    @property
    def dimensions(self) -> dict[str, str]:
        """The dimensions by their key in JSON."""
        if self.scale:
            return {name.strip().casefold(): name for name in self.scale.weights}
        return {}

    def fold(self, text: str) -> str:
        """Return a spelling as it is compared: without case, unless it matters, and with single blanks."""
        joined = " ".join(text.split())
        if self.case_matters:
            return joined
        return joined.casefold()

    def find_name(self, value: object) -> str | None:
        """Return the name that a value spells, or None.

        >>> ReplyForm(names=("A", "B"), spellings={"A": ["Output (a)"]}).find_name(" output  (A)")
        'A'
        """
        if isinstance(value, str):
            return self.name_of.get(self.fold(value))
        return None

    def as_line(self) -> "ReplyForm":
        """Return the form of a reply in a line of text: dimensions become a single score."""
        if self.scale is None or not self.scale.weights:
            return self
        return replace(self, scale=replace(self.scale, weights={}), field="score")

    def instruct(self, kind: str, nonce: str) -> str:
        """Return the instruction of the prompt for a reply format.

        >>> ReplyForm(scale=Scale(low=1, high=5)).instruct("text", "1a2b")
        'Reply with one line and nothing else: Score: n, Nonce: 1a2b, Reason: one sentence. n is a whole number from 1 to 5.'
        """
        sample = self._sample_value()
        words = f"{self._sample_words()} The reason is one sentence."
        example = f'{{"nonce": "{nonce}", "reason": "...", "{self.field}": {sample}}}'
        if kind == "tool":
            return f"Reply with one call of the tool verdict: {example}. {words}"
        if kind != "text" or self.passages:
            return f"Reply with one JSON object and nothing else: {example}. {words}"
        return f"Reply with one line and nothing else: {self._sample_line(nonce)}"

    def _sample_value(self) -> str:
        """Return the placeholder of the verdict in an example of the JSON."""
        names = [f'"{name}"' for name in self.scores]
        value = " or ".join(names) or "n"
        if self.passages:
            return f'[{{"claim": "...", "passages": [n], "finding": {value}}}]'
        keys = self.items or self.dimensions.values()
        parts = [f'"{key}": {value}' for key in keys]
        if not parts:
            return value
        return f"{{{', '.join(parts)}}}"

    def _sample_words(self) -> str:
        """Explain the values of the example."""
        if self.scale is not None:
            return f"Each n is {self._describe_numbers()}."
        if self.passages:
            return (
                f"Each n is the number of a passage, from 1 to {self.passages}; an absent claim has none: []."
            )
        either = " or ".join(self.scores)
        if self.items:
            return f"Answer every number with {either}."
        if "tie" in self.scores:
            others = ", ".join(name for name in self.scores if name != "tie")
            return f"The {self.field} is {others}, or tie if neither is better."
        return f"The {self.field} is {either}."

    def _sample_line(self, nonce: str) -> str:
        """Return the line that a reply in text has to be, with an explanation of its values."""
        ending = f"Nonce: {nonce}, Reason: one sentence."
        if self.scale is not None:
            numbers = f"n is {self._describe_numbers()}"
            if self.scale.weights:
                dimensions = ", ".join(self.scale.weights)
                return f"Score: n, {ending} {numbers}, the mean of {dimensions}."
            return f"{self.field.capitalize()}: n, {ending} {numbers}."
        either = " or ".join(self.scores)
        if self.items:
            listed = ", ".join(f"{item} {either}" for item in self.items)
            return f"Items: {listed}; {ending} Answer every number with {either}."
        line = f"{self.field.capitalize()}: {either}, {ending}"
        if "tie" in self.scores:
            line += " Give tie if neither is better."
        return line

    def _describe_numbers(self) -> str:
        low, high = self.ends
        kind = "a number"
        if self.is_whole:
            kind = "a whole number"
        return f"{kind} from {low:g} to {high:g}"

    def schema(self, nonce: str, *, bounded: bool) -> dict[str, Json]:
        """Return the JSON schema of the reply; ``bounded``: with the limits that some strict schemas lack."""
        text: dict[str, Json] = {"type": "string"}
        if bounded:
            text["maxLength"] = MAX_REASON
        properties: dict[str, Json] = {
            "nonce": {"type": "string", "enum": [nonce]},
            "reason": text,
            self.field: self._value_schema(text, bounded=bounded),
        }
        return _strict_object_schema(properties)

    def _value_schema(self, text: Json, *, bounded: bool) -> Json:
        if self.scale is not None:
            score = _score_schema(self.scale, bounded=bounded)
            if self.scale.weights:
                return _strict_object_schema(dict.fromkeys(self.scale.weights, score))
            return score
        name: Json = {"type": "string", "enum": list[Json](self.scores)}
        if self.items:
            return _strict_object_schema(dict.fromkeys(self.items, name))
        if not self.passages:
            return name
        number: dict[str, Json] = {"type": "integer"}
        passages: dict[str, Json] = {"type": "array", "items": number}
        claim = _strict_object_schema({"claim": text, "passages": passages, "finding": name})
        claims: dict[str, Json] = {"type": "array", "items": claim}
        if bounded:
            number |= {"minimum": 1, "maximum": self.passages}
            passages["maxItems"] = min(self.passages, MAX_NAMED)
            claims["maxItems"] = MAX_CLAIMS
        return claims

    def is_echo(self, text: str) -> bool:
        """Return whether a text only repeats the words of the form.

        >>> ReplyForm(scale=Scale()).is_echo("One sentence. One sentence."), ReplyForm(scale=Scale()).is_echo("One fact.")
        (True, False)
        """
        words = _WORD.findall(text[:MAX_ECHO].casefold())
        if not words:
            return bool(text.strip())
        if set(words) <= _ECHO_WORDS and set(words) != {"one"}:
            return True
        if len(words) < MIN_ECHO_WORDS or len(text) > MAX_ECHO:
            return False
        given = f" {' '.join(words)} "
        return given in _join_words(self.instruct("json", ""), self.instruct("text", ""))


_WORD = re.compile(r"\w+")
_ECHO_WORDS = {"one", "sentence", "statement"}
MIN_ECHO_WORDS = 4  # fewer words of the form may well be a reason of its own
MAX_ECHO = 600  # characters: a longer text holds more than the words of a form


@lru_cache(maxsize=64)
def _join_words(*texts: str) -> str:
    words = _WORD.findall(" ".join(texts).casefold())
    return f" {' '.join(words)} "


def _score_schema(scale: Scale, *, bounded: bool) -> dict[str, Json]:
    kind = "number"
    low: float = scale.low
    high: float = scale.high
    if scale.is_whole:
        kind = "integer"
        low = int(low)
        high = int(high)
    if bounded:
        return {"type": kind, "minimum": low, "maximum": high}
    # A list of the scores: all providers' strict schemas support enums, but only some support limits
    if scale.is_whole and high - low < MAX_ENUM:
        scores = range(int(low), int(high) + 1)
        return {"type": kind, "enum": list[Json](scores)}
    return {"type": kind}


def _strict_object_schema(properties: Mapping[str, Json]) -> dict[str, Json]:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an answer states, and what the contexts say of it.

    Attributes:
        finding: ``supported``, ``contradicted`` or ``absent``.
        passages: Numbers of the passages that decide it, from 1; none of an absent claim.
    """

    text: str
    finding: str
    passages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The verdict in a reply.

    Attributes:
        score: The number, the mean of the dimensions, or the score of the name; None if there is none.
        name: The name, of a form with names.
        reason: The judge's reason; empty only if the form does not require it.
        dimensions: The score of each dimension.
        answers: The name that answers each item.
        claims: The claims, of a form with passages.
        error: Why there is no verdict; everything else but ``raw`` is empty then.
        raw: The replies of the model, as a judge got them.
    """

    score: float | None = None
    name: str = ""
    reason: str = ""
    dimensions: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    error: str = ""
    raw: str = ""


class UnreadableReply(Exception):
    """A reply without a verdict; the text says why."""


def named_reply(name: str, form: ReplyForm, reason: str = "") -> Reply:
    """Return the reply with a name and its score."""
    score = form.scores[name]
    if score is not None:
        score = float(score)
    return Reply(name=name, score=score, reason=reason)


def check_score(value: object, name: str, form: ReplyForm, *, whole: bool = True) -> float:
    """Return a score; raise `UnreadableReply` unless it is a number on the scale, and a whole one where it must be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = type(value).__name__
        if value is None:
            kind = "null"
        got = quote_shortened(str(value), 40)
        raise UnreadableReply(f"{name} is no number: got {got} ({kind})")
    low, high = form.ends
    if not low <= value <= high:  # also NaN
        got = _format_number(value)
        raise UnreadableReply(f"{name} {got} is out of range: expected {low:g} to {high:g}")
    if whole and form.is_whole and not float(value).is_integer():
        got = _format_number(value)
        raise UnreadableReply(
            f"{name} {got} is off the scale: expected a whole number from {low:g} to {high:g}"
        )
    return float(value)


def _format_number(value: object) -> str:
    if isinstance(value, float):
        return shorten_text(f"{value:g}", 20)
    return shorten_text(str(value), 20)


def check_answers(given: Mapping[str, object], form: ReplyForm) -> dict[str, str]:
    """Return the name that answers each item; raise `UnreadableReply` if an answer is missing or unknown."""
    answers = {}
    for item, value in given.items():
        if value is None:
            raise UnreadableReply(f"item {item} is missing")
        name = form.find_name(value)
        if name is None:
            got = quote_shortened(str(value), 40)
            raise UnreadableReply(f"item {item} is {got}: expected {' or '.join(form.scores)}")
        answers[item] = name
    return answers


def describe_nonce(got: object) -> str:
    """Return the error about a nonce that is missing or wrong."""
    code = "none"
    if got is not None:
        code = quote_shortened(str(got), 20)
    return f"{NONCE_ERROR}, got {code}: the verdict may be copied out of the answer"


def quote_shortened(text: str, limit: int) -> str:
    """Return untrusted text as a short line in quotes.

    >>> quote_shortened("so so", 10)
    '"so so"'
    """
    return f'"{shorten_text(text, limit)}"'
