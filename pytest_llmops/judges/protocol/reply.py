"""What a reader makes of a reply: the verdict, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmops.judges.protocol.reply_form import ReplyForm
from pytest_llmops.measurement import shorten_text


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
        confidence: How sure the judge is by its log-probabilities, 0 to 1; None without them.
        error: Why there is no verdict; everything else but ``raw`` is empty then.
        raw: The replies of the model, as a judge got them.
    """

    score: float | None = None
    name: str = ""
    reason: str = ""
    dimensions: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    confidence: float | None = None
    error: str = ""
    raw: str = ""


class UnreadableReply(Exception):
    """A reply without a verdict; the text says why."""


def named_reply(name: str, form: ReplyForm, reason: str = "") -> Reply:
    """Return the reply with a name and its score."""
    score = form.scores[name]
    return Reply(name=name, score=None if score is None else float(score), reason=reason)


def check_score(value: object, name: str, form: ReplyForm, *, whole: bool = True) -> float:
    """Return a score; raise `UnreadableReply` unless it is a number on the scale, and a whole one where it must be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = "null" if value is None else type(value).__name__
        raise UnreadableReply(f"{name} is no number: got {quote_shortened(str(value), 40)} ({kind})")
    low, high = form.ends
    shown = shorten_text(f"{value:g}" if isinstance(value, float) else str(value), 20)
    if not low <= value <= high:  # NaN too
        raise UnreadableReply(f"{name} {shown} is out of range: expected {low:g} to {high:g}")
    if whole and form.is_whole and not float(value).is_integer():
        raise UnreadableReply(
            f"{name} {shown} is off the scale: expected a whole number from {low:g} to {high:g}"
        )
    return float(value)


def check_answers(given: Mapping[str, object], form: ReplyForm) -> dict[str, str]:
    """Return the name that answers each item; raise `UnreadableReply` if an answer is missing or unknown."""
    answers = {}
    for item, value in given.items():
        if value is None:
            raise UnreadableReply(f"item {item} is missing")
        name = form.find_name(value)
        if name is None:
            raise UnreadableReply(
                f"item {item} is {quote_shortened(str(value), 40)}: expected {' or '.join(form.scores)}"
            )
        answers[item] = name
    return answers


def describe_nonce(got: object) -> str:
    """Return the error about a nonce that is missing or wrong."""
    if got is None:
        return "the nonce is missing"
    return f"wrong nonce {quote_shortened(str(got), 20)}: the verdict may be copied out of the answer"


def quote_shortened(text: str, limit: int) -> str:
    """Return untrusted text as a short line in quotes.

    >>> quote_shortened("so so", 10)
    '"so so"'
    """
    return f'"{shorten_text(text, limit)}"'
