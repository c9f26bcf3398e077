"""An answer taken apart: what it claims, and what is talk around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_llmops.grounding.words import content, pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An answer, taken apart.

    Attributes:
        claims: Its sentences that claim something.
        left_out: Its other sentences.
        abstains: It says that it does not know, and claims nothing.
    """

    claims: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    abstains: bool = False


def taken_apart(answer: str) -> Statement:
    """Return the sentences of an answer that claim something, and the others.

    >>> taken_apart("Hello! Refunds take 5 days. Anything else?").claims
    ('Refunds take 5 days.',)
    >>> taken_apart("I'm sorry, I don't know.").abstains
    True
    """
    claims: list[str] = []
    left_out: list[str] = []
    abstains = False
    for sentence in pieces(answer):
        text = _BULLET.sub("", sentence).strip()
        if _UNKNOWN.search(text):
            abstains = True
            # "I don't know the price, but it takes 5 days" does claim something.
            known, _, text = text.partition(", but ")
            left_out.append(known)
        if not text:
            continue
        claim = _LEAD.sub("", text)
        if text.endswith(("?", "？", "؟")) or _TALK.match(claim) or not content(claim):
            left_out.append(text)
        else:
            claims.append(claim)
    return Statement(claims=tuple(claims), left_out=tuple(left_out), abstains=abstains and not claims)


_BULLET = re.compile(r"^(?:[-*•·–>]\s+|\d{1,3}[.)]\s+|#{1,6}\s+)")
_UNKNOWN = re.compile(
    r"\b(?:I|we)\s+(?:do\s+not|don['’]t|cannot|can['’]t|could\s*n['’]t|could\s+not|am\s+unable\s+to|'m\s+unable\s+to"
    r"|are\s+unable\s+to)\s+(?:know|find|tell|say|answer|see|determine|have\s+(?:any\s+|that\s+|enough\s+)?information)\b"
    r"|\b(?:I['’]m|I\s+am|we\s+are|we['’]re)\s+(?:not\s+sure|unsure|unable\s+to\s+(?:answer|find|say|tell))\b"
    r"|\b(?:the\s+)?(?:contexts?|documents?|text|passages?|sources?|information)\s+(?:provided\s+|given\s+)?(?:do(?:es)?\s+not|do(?:es)?n['’]t)"
    r"\s+(?:say|mention|contain|include|specify|state|provide)\b"
    r"|\bno\s+information\s+(?:is|was|about|on)\b",
    re.IGNORECASE,
)
"""A sentence that says that the answer is not known: it claims nothing of the world."""
_TALK = re.compile(
    r"^(?:hi|hello|hey|dear\s+\w+|good\s+(?:morning|afternoon|evening))\b(?:\s+\w+){0,3}\s*[,!.]*$"
    r"|^(?:thanks|thank\s+you)\b(?!\s+to\b)|^you['’]re\s+welcome|^(?:best|kind|warm)\s+regards|^my\s+apologies"
    r"|^(?:i['’]?m|i\s+am|we['’]re|we\s+are)\s+(?:very\s+|so\s+)?(?:sorry|happy\s+to|glad\s+to)\b|^happy\s+to\b"
    r"|^please\s+(?:let|feel\s+free|contact|reach\s+out|do\s+not\s+hesitate|don['’]t\s+hesitate)\b|^let\s+me\s+know\b"
    r"|^feel\s+free\b|^(?:i\s+hope|hope)\s+(?:this|that|it)\b|^i\s+(?:can|could)\s+(?:also\s+)?help\b|^i['’]d\s+be\s+happy\b"
    r"|^here\s*(?:is|are|['’]s)\s+[^.:]*:$"
    r"|^if\s+you\s+(?:have|need)\s+(?:any\s+)?(?:more\s+|other\s+|further\s+)?(?:questions?|help|assistance|information)\b"
    r"|^i\s+(?:think|believe|guess|suppose|assume)\b|^in\s+my\s+opinion\b|^as\s+an\s+ai\b",
    re.IGNORECASE,
)
"""Talk around an answer: greetings, thanks, offers of help, and opinions that are said to be some."""
_LEAD = re.compile(
    r"^(?:(?:based\s+on|according\s+to)\s+(?:the|your|our)\s+(?:\w+\s+){0,2}(?:contexts?|documents?|documentation|"
    r"information|text|passages?|sources?|policy|handbook|manual)(?:\s+(?:provided|above|given))?\s*,\s*"
    r"|(?:yes|no|sure|certainly|absolutely|of\s+course|great|great\s+question|okay|ok|well)\s*[,!.]\s*"
    r"|(?:(?:i['’]?m|i\s+am|we['’]re|we\s+are)\s+)?sorry\s*,?\s+but\s+)",
    re.IGNORECASE,
)
"""What may lead a claim and is none of its content."""
