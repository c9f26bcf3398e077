"""Words that turn a whole sentence round: exceptions, "it is wrong that", and negations of other languages.

The checks look at edits of one sentence; what turns a sentence as a whole, or stands in no English text, is here.
"""

from __future__ import annotations

import re

from pytest_llmops.semantics.checks.language import language
from pytest_llmops.semantics.grounding.content_words import content, stretch

_DENIED = re.compile(
    r"\b(?:is|was|are|were|['’]s)\s+(?:simply\s+|just\s+)?(?:wrong|false|untrue|incorrect|inaccurate|an?\s+(?:myth|mistake|misconception|lie|rumou?r|error)|"
    r"not\s+(?:true|correct|the\s+case|right)|(?:n['’]t)\s+true)\s+(?:to\s+(?:say|think|believe|claim|assume)\s+)?that\b"
    r"|\b(?:isn['’]t|wasn['’]t)\s+(?:true|correct|the\s+case|right)\s+that\b|\b(?:denie[sd]|deny|denying)\s+that\b"
    r"|\bcontrary\s+to\b|\bthe\s+(?:myth|misconception|rumou?r)\s+that\b",
    re.IGNORECASE,
)
_NOWHERE = re.compile(
    r"\b(?:nowhere|under\s+no\s+circumstances?|in\s+no\s+case|on\s+no\s+account|by\s+no\s+means|at\s+no\s+time)\b",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"\b(?:except(?:\s+for|\s+in|\s+on)?|with\s+the\s+exception\s+of|excluding|apart\s+from|aside\s+from|other\s+than|save\s+for|but\s+not|"
    r"all\s+but|everything\s+but|everyone\s+but|anything\s+but)\b([^,;:.!?]*)",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|nothing|nobody|cannot|exclude[sd]?|excluding)\b|n['’]t\b",
    re.IGNORECASE,
)

_FOREIGN = {
    "German": r"\b(?:nicht|nichts|kein(?:e[nmrs]?)?|nie|niemals|niemand(?:e[mn])?|ohne|weder|nirgends|nirgendwo)\b",
    "French": r"\b(?:ne|pas|jamais|aucune?|sans|rien|ni|personne)\b|\bn['’]",
    "Spanish": r"\b(?:no|nunca|jamás|sin|ningún|ninguna|ninguno|nada|nadie|tampoco|ni)\b",
    "Italian": r"\b(?:non|mai|senza|nessun[oa]?|niente|nulla|né)\b",
    "Portuguese": r"\b(?:não|nunca|jamais|sem|nenhum|nenhuma|nada|ninguém|nem)\b",
    "Dutch": r"\b(?:niet|geen|nooit|zonder|niets|niemand|noch)\b",
    "Polish": r"\b(?:nie|nigdy|bez|żaden|żadna|żadne|nic|nikt|ani)\b",
    "Swedish": r"\b(?:inte|aldrig|ingen|inget|inga|utan|ej)\b",
    "Russian": r"\b(?:не|нет|ни|без|нельзя|никогда|никто|ничего|невозможно|недопустимо)\b",
    "Greek": r"\b(?:δεν|δε|μην|όχι|χωρίς|ποτέ|κανείς|κανένας|καμία)\b",
    "Arabic": r"\b(?:لا|ليس|ليست|لم|لن|غير|دون|بدون)\b",
    "Hebrew": r"\b(?:לא|אין|ללא|בלי|אינו|אינה|אינם)\b",
    "Hindi": r"(?:^|\s)(?:नहीं|मत|बिना|कभी नहीं)(?:\s|$|।)",
    # No blanks between words there; what only sounds like a negation is taken out first.
    "Chinese": r"(?!不仅|不但|不同|不过|不断|不久|不少|非常|没关系|无论|未来|無論|未來)[不没沒未无無非勿]",
    "Japanese": r"ない|なく|なかった|ません|ずに|不可|禁止",
    "Korean": r"않|없|못하|못한|아니|아닌|불가",
    "Thai": r"ไม่|ห้าม",
}
_NEGATED = {name: re.compile(words, re.IGNORECASE) for name, words in _FOREIGN.items()}
_CLAUSES = re.compile(r"[,;:，；：、،؛]\s*")


def turned(claim: str, sentence: str) -> str:
    """Return what turns the sentence of a context against a claim that has its words, or ``""``.

    >>> turned("The warranty covers water damage.", "The warranty covers everything except water damage.")
    'exceptions: the context says "except water damage", the answer does not'
    >>> turned("Der Urlaub ist nicht teilbar.", "Der Urlaub ist teilbar.")
    'negation: the answer says "nicht", the context does not'
    """
    for name, pattern in (("negation", _DENIED), ("negation", _NOWHERE)):
        there, here = pattern.search(sentence), pattern.search(claim)
        if there and not here and not _NEGATIVE.search(claim) and _speaks_of(claim, sentence, there):
            return f'{name}: the context says "{there[0].strip()}", the answer does not'
        if here and not there and not _NEGATIVE.search(sentence):
            return f'{name}: the answer says "{here[0].strip()}", the context does not'
    return _excepted(claim, sentence) or _foreign(claim, sentence)


def _speaks_of(claim: str, sentence: str, found: re.Match[str]) -> bool:
    """Does it stand in the part of the sentence that says what the claim does?"""
    wanted = content(claim).keys()
    parts = [part for part in re.split(r"[;:]|,\s+(?:but|and|while)\b", sentence) if part]
    best = max(parts, key=lambda part: len(content(part).keys() & wanted))
    return found[0] in best


def _excepted(claim: str, sentence: str) -> str:
    """Does what the claim is about stand in the exception alone?"""
    if _EXCEPT.search(claim) or _NEGATIVE.search(claim):
        return ""
    wanted = content(claim).keys()
    for found in _EXCEPT.finditer(sentence):
        rest = content(sentence[: found.start()] + " , " + sentence[found.end() :]).keys()
        if (content(found[1]).keys() - rest) & wanted:
            return f'exceptions: the context says "{found[0].strip()}", the answer does not'
    return ""


def _foreign(claim: str, sentence: str) -> str:
    name = next((one for one in (language(claim), language(sentence)) if one in _NEGATED), "")
    if not name:
        return ""
    pattern = _NEGATED[name]
    here, there = pattern.search(claim), pattern.search(_clause(claim, sentence))
    if here and not pattern.search(sentence):
        return f'negation: the answer says "{here[0].strip()}", the context does not'
    if there and not here:
        return f'negation: the context says "{there[0].strip()}", the answer does not'
    return ""


def _clause(claim: str, sentence: str) -> str:
    """The part of a sentence that says what the claim does."""
    wanted = content(claim).keys()
    part = stretch(sentence, claim)
    parts = [one for one in _CLAUSES.split(part) if one]
    # A clause of its own is enough only if it says as much as the whole.
    shared = [len(content(one).keys() & wanted) for one in parts]
    best = max(shared, default=0)
    alone = [one for one, count in zip(parts, shared, strict=True) if count == best]
    return alone[0] if alone and best >= len(content(part).keys() & wanted) else part
