"""The form of a judge's reply. The instruction in the prompt, the JSON schema (`reply_schema`) and the checks of a reply come from it.

A reply has a nonce, a reason (before the verdict, after it, or none) and one further field with the verdict. There are
five kinds of verdicts:

* ``score``: a number on a scale,
* ``dimensions``: a number for each of several dimensions,
* ``verdict``: a name out of several, such as pass or fail,
* ``items``: such a name for each of several items,
* ``claims``: the claims of an answer, with such a name for each.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal, TypeAlias, TypeVar, get_args

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text

MAX_REASON = 300  # characters of a reason in the schema: a small model would continue until the token limit
MAX_CLAIMS = 40
NONCE_ERROR = "nonce: expected the code that the request says to repeat"
RESERVED_KEYS = frozenset({"score", "rating", "reason", "nonce", "dimensions"})

# Where a reply gives its reason. With the reason first, a small model fails nearly every answer
ReasonPlace: TypeAlias = Literal["before", "after", "none"]
REASON_PLACES: tuple[str, ...] = get_args(ReasonPlace)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale of a verdict: lowest and highest score, and the dimensions with their weights.

    Attributes:
        weights: Weight of each dimension in the overall score. Empty: a single score.
        whole: Whether only whole numbers are on the scale. None: yes, if both ends are whole numbers.

    Raises:
        UsageError: The ends are not a range, a weight is not above 0, two names of dimensions differ only in case, or
            one is blank or a key of the reply itself, such as ``reason``.
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
        """Whether the scale has whole numbers only, so that 3.5 is off it.

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
    """The reply that a judge has to give: the field with its verdict, and a reason.

    Give either ``scale`` or ``names``. With ``names`` alone the verdict is one of them. With ``items`` it is one for
    each item. With ``passages`` it is a list of claims with one for each.

    Args:
        scale: The verdict is a number on this scale, or a number for each of its dimensions.
        names: The verdict is one of these names. As a mapping: name -> score, with None for a name that does not count.
        spellings: Name -> further spellings of it.
        items: The judge has to answer each of these items with one of the names.
        passages: The number of passages, if the verdict is a list of claims. A claim names the passages that decide it.
        source: The text from which all claims must be quoted. Empty: claims are not compared with a text.
        copied_from: The answers that the judge was shown. A reason that only copies one is not a reason.
        criteria: The texts of the criteria, likewise. A copy of fewer than 8 words is a reason ("It is polite."),
            unless it is a question.
        field: The key of the verdict in JSON, and its label in text. Empty: the default of the kind of verdict.
        reason: Where the reason is requested: ``before`` or ``after`` the verdict, or ``none``. Without one, the
            rest of a reply besides its verdict is not read.
        reason_required: Whether a verdict without a reason is unreadable. Never if ``reason`` is ``none``.
        case_matters: Whether names may differ only in case (``m`` and ``M``). Otherwise case is ignored.
        has_nonce: Whether the reply repeats a code of the request. A form of one word does without: such a reply
            has no room for a verdict that is quoted from the data, and a small model is slow to write the code.

    Raises:
        UsageError: There are both scale and names, or neither, a single name, or two names share a spelling. Or
            ``reason`` has another value.

    >>> ReplyForm(names={"A>>B": 1, "A=B": 0.5, "B>>A": 0}).field
    'verdict'
    """

    scale: Scale | None = None
    names: Mapping[str, float | None] | Sequence[str] = ()
    spellings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    items: Sequence[str] = ()
    passages: int = 0
    source: str = ""
    copied_from: Sequence[str] = ()
    criteria: Sequence[str] = ()
    field: str = ""
    reason: ReasonPlace = "before"
    reason_required: bool = True
    case_matters: bool = False
    has_nonce: bool = True
    # Spelling, as `fold` returns it -> name
    name_of: Mapping[str, str] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.scale is None) == (not self.names):
            raise UsageError("form of a reply: expected a scale or names, got both or neither")
        check_reason_place(self.reason, "form of a reply")
        if self.reason == "none":
            object.__setattr__(self, "reason_required", False)
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
        """Return folded spelling -> name for all spellings; None if one is blank or belongs to two names."""
        name_of: dict[str, str] = {}
        for name in names:
            for spelling in (name, *self.spellings.get(name, ())):
                if not spelling.strip() or name_of.setdefault(self.fold(spelling), name) != name:
                    return None
        return name_of

    @property
    def scores(self) -> Mapping[str, float | None]:
        """Name -> score. Empty if the verdict is a number."""
        if isinstance(self.names, Mapping):
            return self.names
        return {}

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest score. 0 and 1 if the names have no scores."""
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
        """The keys, in lower case, of which a JSON object needs at least one to be read as a verdict."""
        if self.scale is None:
            return frozenset({self.field})
        return (RESERVED_KEYS - {"reason"}) | {self.field, *self.dimensions}

    @property
    def dimensions(self) -> dict[str, str]:
        """Key in JSON (in lower case) -> name of the dimension. Empty without dimensions."""
        if self.scale:
            return {name.strip().casefold(): name for name in self.scale.weights}
        return {}

    def fold(self, text: str) -> str:
        """Return a spelling in the form in which spellings are compared: single blanks, lower case unless case matters."""
        joined = " ".join(text.split())
        if self.case_matters:
            return joined
        return joined.casefold()

    def find_name(self, value: object) -> str | None:
        """Return the name for one of its spellings. None for any other value.

        >>> ReplyForm(names=("A", "B"), spellings={"A": ["Output (a)"]}).find_name(" output  (A)")
        'A'
        """
        if isinstance(value, str):
            return self.name_of.get(self.fold(value))
        return None

    def as_line(self) -> "ReplyForm":
        """Return the form for a reply in a line of text, which has room for one score only instead of dimensions."""
        if self.scale is None or not self.scale.weights:
            return self
        return replace(self, scale=replace(self.scale, weights={}), field="score")

    def instruct(self, kind: str, nonce: str) -> str:
        """Return the instruction in the prompt for the model's reply.

        Args:
            kind: The kind of reply format, see `ReplyFormat`. Claims are requested as JSON even in ``text``.
            nonce: The code that the reply has to repeat.

        >>> ReplyForm(scale=Scale(low=1, high=5)).instruct("text", "1a2b")
        'Reply with one line and nothing else: Score: n, Nonce: 1a2b, Reason: one sentence. n is a whole number from 1 to 5.'
        """
        sample = self._sample_value()
        words = self._sample_words()
        if self.reason != "none":
            words += " The reason is one sentence."
        keys = self.order_keys(f'"nonce": "{nonce}"', '"reason": "..."', f'"{self.field}": {sample}')
        example = f"{{{', '.join(keys)}}}"
        if kind == "tool":
            return f"Reply with one call of the tool verdict: {example}. {words}"
        if kind != "text" or self.passages:
            return f"Reply with one JSON object and nothing else: {example}. {words}"
        return f"Reply with one line and nothing else: {self._sample_line(nonce)}"

    def order_keys(self, nonce: T, reason: T, verdict: T) -> list[T]:
        """Return the parts of a reply in the order in which they are requested.

        Without a reason in front the verdict comes first: after a nonce, which is noise, a small model gives the same
        verdict to every answer.
        """
        codes = [nonce]
        if not self.has_nonce:
            codes = []
        if self.reason == "before":
            return [*codes, reason, verdict]
        if self.reason == "after":
            return [verdict, *codes, reason]
        return [verdict, *codes]

    def _sample_value(self) -> str:
        """Return the value of the verdict's field in the example of the instruction: ``n``, ``"yes" or "no"`` ..."""
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
        """Return the sentence that explains the placeholders of `_sample_value`."""
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
        """Return the example for a reply in a line of text, with an explanation of its placeholders."""
        endings = []
        if self.has_nonce:
            endings.append(f"Nonce: {nonce}")
        if self.reason != "none":
            endings.append("Reason: one sentence")
        ending = ", ".join(endings)
        comma = ", "
        if not endings:
            comma = ""
        if self.scale is not None:
            numbers = f"n is {self._describe_numbers()}"
            if self.scale.weights:
                dimensions = ", ".join(self.scale.weights)
                return f"Score: n{comma}{ending}. {numbers}, the mean of {dimensions}."
            return f"{self.field.capitalize()}: n{comma}{ending}. {numbers}."
        either = " or ".join(self.scores)
        if self.items:
            listed = ", ".join(f"{item} {either}" for item in self.items)
            return f"Items: {listed}; {ending}. Answer every number with {either}."
        line = f"{self.field.capitalize()}: {either}{comma}{ending}."
        if "tie" in self.scores:
            line += " Give tie if neither is better."
        return line

    def _describe_numbers(self) -> str:
        """Return which numbers are allowed: ``a whole number from 1 to 5``."""
        low, high = self.ends
        kind = "a number"
        if self.is_whole:
            kind = "a whole number"
        return f"{kind} from {low:g} to {high:g}"

    def is_echo(self, text: str) -> bool:
        """Return whether a text only repeats the instruction: its placeholder, or four or more of its words in a row.

        >>> ReplyForm(scale=Scale()).is_echo("One sentence. One sentence."), ReplyForm(scale=Scale()).is_echo("One fact.")
        (True, False)
        """
        words = _WORD.findall(text[:MAX_ECHO].casefold())
        if not words:
            return bool(text.strip())
        is_placeholder = set(words) <= _ECHO_WORDS and set(words) != {"one"}
        if is_placeholder:
            return True
        if len(words) < MIN_ECHO_WORDS or len(text) > MAX_ECHO:
            return False
        # Blanks at both ends, so that only whole words are found
        phrase = f" {' '.join(words)} "
        return phrase in _join_words(self.instruct("json", ""), self.instruct("text", ""))


_WORD = re.compile(r"\w+")
_ECHO_WORDS = {"one", "sentence", "statement"}
MIN_ECHO_WORDS = 4  # fewer words of the form may well be a reason of its own
MAX_ECHO = 600  # characters: a longer text holds more than the words of a form


@lru_cache(maxsize=64)
def _join_words(*texts: str) -> str:
    """Return the words of the texts in lower case, with a single blank before and after each."""
    words = _WORD.findall(" ".join(texts).casefold())
    return f" {' '.join(words)} "


def check_reason_place(given: object, what: str) -> None:
    """Raise `UsageError` unless a value is a place of the reason; ``what`` begins the error.

    >>> check_reason_place("none", "judge tone")
    """
    if given not in REASON_PLACES:
        got = shorten_text(repr(given), 40)
        raise UsageError(f"{what}: reason: expected before, after or none, got {got}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement of an answer, and the finding from the contexts.

    Attributes:
        finding: ``supported``, ``contradicted`` or ``absent``.
        passages: The numbers, from 1, of the passages that support or contradict it; empty if it is absent.
    """

    text: str
    finding: str
    passages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The verdict in a reply.

    Attributes:
        score: The number, the weighted mean of the dimensions, or the score of the name. None if there is none.
        name: The name, if the form has names, and neither items nor passages.
        reason: The judge's reason. Empty only if the form does not require one, and always if it requires none.
        dimensions: The score of each dimension.
        answers: Item -> name, in the order of the form's items.
        claims: The claims, if the form has passages.
        probabilities: The probability of each name, if the server gave log-probabilities.
        error: Why the verdict is missing. Everything else but ``raw`` is empty then.
        raw: The unchanged replies of the model. Several after a retry.
        is_unreadable: Whether the error is that no reply could be read. False if the model gave no reply.
    """

    score: float | None = None
    name: str = ""
    reason: str = ""
    dimensions: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    raw: str = ""
    is_unreadable: bool = False


class UnreadableReply(Exception):
    """Raised for a reply that has no verdict; its text is the error that is reported."""


def named_reply(name: str, form: ReplyForm, reason: str = "") -> Reply:
    """Return a reply with one of the form's names, and the score of that name."""
    score = form.scores[name]
    if score is not None:
        score = float(score)
    return Reply(name=name, score=score, reason=reason)


def check_score(value: object, name: str, form: ReplyForm, *, whole: bool = True) -> float:
    """Return a score as a float.

    Args:
        value: The score that the model gave.
        name: The name of the scored thing, for errors.
        form: The form, with the scale.
        whole: Whether a whole number is required if the scale has only whole numbers; not for a mean.

    Raises:
        UnreadableReply: It is not a number, is off the scale, or is not whole.
    """
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
    """Return item -> name; raise `UnreadableReply` if an item has no answer (None) or an unknown one."""
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
    """Return the error about a nonce that is missing (None) or wrong."""
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
