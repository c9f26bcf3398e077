"""Guess the language of a text by its script and its frequent words."""

from __future__ import annotations

import re
from collections import Counter

from pytest_llmops.semantics.word_lists import read_sections

_LANGUAGES = {name: frozenset(words) for name, words in read_sections("languages.txt").items()}
FREQUENT_WORDS = {
    name: words if name == "English" else words - _LANGUAGES["English"] for name, words in _LANGUAGES.items()
}
"""Frequent words of each language that are no English words, as "in" and "an" are."""
AMBIGUOUS_WORDS = frozenset(
    ["die", "am", "en", "el", "de", "la", "est", "sur", "par", "per", "con", "com", "del", "van", "den", "al"]
)
"""Also parts of names and terms: such a word alone makes no text foreign."""
_SCRIPTS = (
    ("Japanese", re.compile(r"[\u3040-\u30ff]")),
    ("Korean", re.compile(r"[\uac00-\ud7af]")),
    ("Chinese", re.compile(r"[\u4e00-\u9fff]")),
    ("Russian", re.compile(r"[\u0400-\u04ff]")),
    ("Greek", re.compile(r"[\u0370-\u03ff]")),
    ("Arabic", re.compile(r"[\u0600-\u06ff]")),
    ("Hebrew", re.compile(r"[\u0590-\u05ff]")),
    ("Hindi", re.compile(r"[\u0900-\u097f]")),
    ("Thai", re.compile(r"[\u0e00-\u0e7f]")),
)
_LETTERS = re.compile(r"(?<!\d)[^\W\d_]+|(?<=\d)[^\W\d_]{2,}")
"""Words; the "e" of "1e6" is no word."""
MAX_CHARS = 5_000
"""Characters at the beginning of a text that are counted."""
FOREIGN_SHARE = 0.3
"""Share of the letters; a name in another script does not make a text foreign."""


def detect_language(text: str) -> str:
    """Return the English name of the language that a text looks like, "English" in doubt.

    >>> detect_language("Die Rückgabe ist nicht möglich"), detect_language("refund"), detect_language("Возврат в течение 30 дней")
    ('German', 'English', 'Russian')
    """
    head = text[:MAX_CHARS]
    words = [word.lower() for word in _LETTERS.findall(head)]
    letters = sum(map(len, words))
    for name, script in _SCRIPTS:
        if letters and len(script.findall(head)) >= FOREIGN_SHARE * letters:
            return name
    counts = Counter(words)
    hits = {name: sum(counts[word] for word in frequent) for name, frequent in FREQUENT_WORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    has_accents = any("\u00df" <= char <= "\u024f" for char in head)
    is_ambiguous = AMBIGUOUS_WORDS.issuperset(counts.keys() & FREQUENT_WORDS[best])
    if hits[best] > hits["English"] and (hits[best] > 1 or has_accents or not is_ambiguous):
        return best
    return "English" if hits["English"] or not has_accents else "another language"
