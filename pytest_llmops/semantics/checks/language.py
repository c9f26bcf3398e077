"""Which language a text looks like, told by its script and its small words: cheap, and only as good as that."""

from __future__ import annotations

import re
from collections import Counter

from pytest_llmops.semantics.word_lists import read_sections

_ENGLISH = frozenset(read_sections("languages.txt")["English"])
FOREIGN_FUNCTION_WORDS = {
    name: frozenset(words) - (_ENGLISH if name != "English" else frozenset())
    for name, words in read_sections("languages.txt").items()
}
"""Small words of a language that are none in English, as "in" and "an" are."""
AMBIGUOUS_WORDS = frozenset(
    ["die", "am", "en", "el", "de", "la", "est", "sur", "par", "per", "con", "com", "del", "van", "den", "al"]
)
"""Also parts of names and terms: one of them alone makes no text foreign."""
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
"""Words; the "e" of "1e6" is none."""
MAX_CHARS = 5_000
"""Beginning of a text that decides."""
FOREIGN_SHARE = 0.3
"""Of the letters; a name in another script does not make a text foreign."""


def detect_language(text: str) -> str:
    """Return the English name of the language a text looks like, "English" where nothing speaks against it.

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
    hits = {name: sum(counts[word] for word in small) for name, small in FOREIGN_FUNCTION_WORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    is_evident = (
        hits[best] > 1
        or _has_accents(head)
        or not counts.keys() & FOREIGN_FUNCTION_WORDS[best] <= AMBIGUOUS_WORDS
    )
    if hits[best] > hits["English"] and is_evident:
        return best
    return "English" if hits["English"] or not _has_accents(head) else "another language"


def _has_accents(text: str) -> bool:
    return any("\u00df" <= char <= "\u024f" for char in text)
