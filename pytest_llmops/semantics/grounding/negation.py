"""Contradictions of a whole sentence: exceptions, "it is wrong that", and negations of other languages.

The checks compare edits of an English sentence; these apply to a sentence as a whole, or to other languages.
"""

from __future__ import annotations

import re

from pytest_llmops.semantics.checks.kinds.foreign_negation import find_negation
from pytest_llmops.semantics.checks.language import detect_pair_language
from pytest_llmops.semantics.grounding.content_words import content_stems, find_relevant_part

_DENIAL = re.compile(
    r"\b(?:is|was|are|were|['’]s)\s+(?:simply\s+|just\s+)?(?:wrong|false|untrue|incorrect|inaccurate|an?\s+(?:myth|mistake|misconception|lie|rumou?r|error)|"
    r"not\s+(?:true|correct|the\s+case|right)|(?:n['’]t)\s+true)\s+(?:to\s+(?:say|think|believe|claim|assume)\s+)?that\b"
    r"|\b(?:isn['’]t|wasn['’]t)\s+(?:true|correct|the\s+case|right)\s+that\b|\b(?:denie[sd]|deny|denying)\s+that\b"
    r"|\bcontrary\s+to\b|\bthe\s+(?:myth|misconception|rumou?r)\s+that\b",
    re.IGNORECASE,
)
_ABSOLUTE_NEGATION = re.compile(
    r"\b(?:nowhere|under\s+no\s+circumstances?|in\s+no\s+case|on\s+no\s+account|by\s+no\s+means|at\s+no\s+time)\b",
    re.IGNORECASE,
)
_EXCEPTION = re.compile(
    r"\b(?:except(?:\s+for|\s+in|\s+on)?|with\s+the\s+exception\s+of|excluding|apart\s+from|aside\s+from|other\s+than|save\s+for|but\s+not|"
    r"all\s+but|everything\s+but|everyone\s+but|anything\s+but)\b([^,;:.!?]*)",
    re.IGNORECASE,
)
_NEGATIVE_WORD = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|nothing|nobody|cannot|exclude[sd]?|excluding)\b|n['’]t\b",
    re.IGNORECASE,
)

_CLAUSE_BREAK = re.compile(r"[,;:，；：、،؛]\s*")


def describe_contradiction(claim: str, sentence: str, language: str = "English") -> str:
    """Return how the sentence of a context contradicts a claim that has its words, or ``""``.

    >>> describe_contradiction("The warranty covers water damage.", "The warranty covers everything except water damage.")
    'exceptions: the context says "except water damage", the answer does not'
    >>> describe_contradiction("Der Urlaub ist nicht teilbar.", "Der Urlaub ist teilbar.")
    'negation: the answer says "nicht", the context does not'
    """
    wanted = content_stems(claim).keys()
    for pattern in (_DENIAL, _ABSOLUTE_NEGATION):
        there, here = pattern.search(sentence), pattern.search(claim)
        if there and not here and not _NEGATIVE_WORD.search(claim):
            # The denial must be in the part of the sentence that says what the claim does.
            parts = [part for part in re.split(r"[;:]|,\s+(?:but|and|while)\b", sentence) if part]
            if there[0] in max(parts, key=lambda part: len(content_stems(part).keys() & wanted)):
                return _format_contradiction(there[0], "context", "answer")
        if here and not there and not _NEGATIVE_WORD.search(sentence):
            return _format_contradiction(here[0], "answer", "context")
    if not _EXCEPTION.search(claim) and not _NEGATIVE_WORD.search(claim):
        for exception in _EXCEPTION.finditer(sentence):
            rest = content_stems(sentence[: exception.start()] + " , " + sentence[exception.end() :]).keys()
            if (content_stems(exception[1]).keys() - rest) & wanted:
                return _format_contradiction(exception[0], "context", "answer", "exceptions")
    return _describe_foreign_negation(claim, sentence, language)


def _format_contradiction(words: str, says: str, other: str, what: str = "negation") -> str:
    return f'{what}: the {says} says "{words.strip()}", the {other} does not'


def _describe_foreign_negation(claim: str, sentence: str, default_language: str) -> str:
    language, other = detect_pair_language(claim, sentence, default_language)
    if language != other:
        return ""
    # The clause of the sentence that says as much of the claim as the whole, else the whole.
    wanted = content_stems(claim).keys()
    part = find_relevant_part(sentence, claim)
    clauses = [*filter(None, _CLAUSE_BREAK.split(part)), part]
    clause = max(clauses, key=lambda text: len(content_stems(text).keys() & wanted))
    here, there = (find_negation(text, language) for text in (claim, clause))
    if here and not find_negation(sentence, language):
        return _format_contradiction(here, "answer", "context")
    return _format_contradiction(there, "context", "answer") if there and not here else ""
