"""Which language a text looks like, told by its script and its small words: cheap, and only as good as that."""

from __future__ import annotations

import re
from collections import Counter

_FUNCTION_WORDS = {
    "English": "the of and to is in that it for you are with on as this be at have from or not can by we your an will they was which a has had been were there "
    "what when who if all no any do does its i my me he she but up out about into over only than then so how why where after before more most "
    "their them these those his her us one should would could must may",
    "German": "der die das und ist nicht ein eine zu den mit sie ich auf für es dem im von werden wird sind oder bei nach kann wir auch einen",
    "French": "le la les des et est un une que dans pour pas vous nous sur du au avec ce qui sont ne plus par il elle être votre",
    "Spanish": "el la los las de y es un una que en para no con por se su del al lo como más está son tiene",
    "Italian": "il lo la gli di e è un una che in per non con si del della al sono da nel più come alla",
    "Portuguese": "o a os as de e é um uma que em para não com por se do da no na ao seu sua são mais você",
    "Dutch": "de het een en is van niet in op te zijn voor met dat die aan er om bij naar worden ook kunt",
    "Polish": "i w na nie się z do jest to że od za po dla jak są czy przez ma może",
    "Swedish": "och att det är en som på av för inte med den till har ett om kan du vi",
}
_ENGLISH = frozenset(_FUNCTION_WORDS["English"].split())
FOREIGN_FUNCTION_WORDS = {
    name: frozenset(words.split()) - (_ENGLISH if name != "English" else frozenset())
    for name, words in _FUNCTION_WORDS.items()
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
