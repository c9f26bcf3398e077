"""An answer taken apart: what it claims, and what is talk around it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_llmops.grounding import talk
from pytest_llmops.grounding.words import content, hard, pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An answer, taken apart.

    Attributes:
        claims: Its sentences that claim something.
        left_out: Its other sentences, and the parts of sentences that claim nothing.
        abstains: It says that it does not know, and claims nothing.
    """

    claims: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    abstains: bool = False


def taken_apart(answer: str) -> Statement:
    """Return the sentences of an answer that claim something, and the others.

    Of a sentence that says that something is not known the rest may still claim something. Marks of sources
    (``[1]``) belong to no sentence.

    >>> taken_apart("Hello! Refunds take 5 days [1]. Anything else?").claims
    ('Refunds take 5 days.',)
    >>> taken_apart("I don't know the details; the fee is 9 euros.").claims
    ('the fee is 9 euros.',)
    >>> taken_apart("I'm sorry, I don't know.").abstains
    True
    """
    parts = _Parts()
    for sentence in pieces(talk.uncited(answer)):
        text = talk.BLANKS.sub(" ", talk.BULLET.sub("", sentence)).strip()
        while text:
            text = _step(text, parts)
    return Statement(
        claims=tuple(parts.claims),
        left_out=tuple(parts.left_out),
        abstains=parts.unknown and not parts.claims,
    )


@dataclass(slots=True)
class _Parts:
    claims: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unknown: bool = False


def _step(text: str, parts: _Parts) -> str:
    """Sort a sentence, or its first part; return what is left of it."""
    if text.endswith(("?", "？", "؟")):
        parts.left_out.append(text)
        return ""
    found = talk.UNKNOWN.search(text)
    if found is None:
        return _plain(text, parts)
    parts.unknown = True
    before = text[: found.start()]
    if _claims_before(before):
        _plain(talk.JOINED.sub("", before).strip(" ,"), parts)
        before = ""
    rest = _after(text[found.end() :])
    end = len(text) - len(rest)
    parts.left_out.append((before + text[found.start() : end]).strip(" ,;:—"))
    return rest


def _claims_before(text: str) -> bool:
    """Is what leads to "I don't know" a claim of its own? "Based on the documents," is none."""
    plain = talk.LEAD.sub("", text)
    if len(content(plain)) < 2 or (talk.TALK.match(plain) and not hard(plain)):  # noqa: PLR2004 -- a subject and what is said of it
        return False
    return bool(hard(plain)) or (
        bool(talk.JOINED.search(plain) or talk.VERB.search(plain)) and not talk.FRAME.match(plain)
    )


def _after(text: str) -> str:
    """What follows "I don't know" and is no part of what is not known any more."""
    for turn in talk.TURN.finditer(text):
        rest = text[turn.end() :]
        if talk.UNKNOWN.search(rest):
            return rest
        weak = talk.WEAK_TURN.fullmatch(turn[0]) is not None
        if content(rest) and not (weak and _goes_on(rest)):
            return rest
    return ""


def _goes_on(text: str) -> bool:
    """Does a list only go on here? "The fee, the deadline, or when it ends"."""
    if hard(text):
        return False
    if talk.QUESTION_WORD.match(text):
        return True
    return not talk.VERB.search(text) and len(content(text)) <= talk.LISTED_UP_TO


def _plain(text: str, parts: _Parts) -> str:
    claim = talk.LEAD.sub("", text)
    if talk.GREETING.match(claim) or not content(claim):
        parts.left_out.append(text)
        return ""
    polite = talk.POLITE.match(claim)
    rest = claim[polite.end() :] if polite else ""
    if polite and content(rest) and not _goes_on(rest):
        parts.left_out.append(polite[0].strip(" ,;:—"))
        return rest
    # A number or a name is never mere talk.
    if talk.TALK.match(claim) and not hard(claim):
        parts.left_out.append(text)
    else:
        parts.claims.append(claim)
    return ""
