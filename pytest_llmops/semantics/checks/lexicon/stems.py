"""English words without their inflection."""

from __future__ import annotations

from functools import lru_cache

from pytest_llmops.semantics.word_lists import english_words, read_lines

IRREGULAR_FORMS: dict[str, str] = {}
"""Form -> base form, for irregular words and their regular forms."""
for _line in read_lines("irregular_forms.txt"):
    _base = _line.split()[0]
    _regular = (_base + "s", _base.removesuffix("e") + "es", _base.removesuffix("e") + "ing")
    for _word in (*_regular, *_line.split()):
        IRREGULAR_FORMS.setdefault(_word, _base)
UNINFLECTED_WORDS = english_words("uninflected_words")
MIN_STEM = 3
_VOWELS = frozenset("aeiouy")
_SPELLINGS = (("colour", "color"), ("favour", "favor"), ("behaviour", "behavior"), ("labour", "labor"), ("honour", "honor"),
              ("centre", "center"), ("metre", "meter"), ("litre", "liter"), ("cheque", "check"), ("programme", "program"),
              ("licence", "license"), ("defence", "defense"), ("catalogue", "catalog"), ("grey", "gray"), ("e-mail", "email"),
              ("tyre", "tire"), ("judgement", "judgment"), ("ageing", "aging"), ("enrol", "enroll"), ("fulfil", "fulfill"))  # fmt: skip


@lru_cache(maxsize=65536)
def stem_word(word: str) -> str:
    """Return an English word in lower case without plural, tense and spelling variant.

    >>> [stem_word(word) for word in ("Refunds", "cancelled", "cancelling", "went", "organise", "parties")]
    ['refund', 'cancel', 'cancel', 'go', 'organiz', 'party']
    """
    word = word.lower().removesuffix("'s").rstrip("'")
    if word in IRREGULAR_FORMS:
        return IRREGULAR_FORMS[word]
    if word.startswith("un") and word[2:] in IRREGULAR_FORMS:
        return "un" + IRREGULAR_FORMS[word[2:]]
    for british, american in _SPELLINGS:
        if word.startswith(british):
            word = american + word[len(british) :]
    if "-" in word and word.replace("-", "").isalpha():
        head, _, last = word.rpartition("-")
        return f"{head}-{stem_word(last)}"
    if not word.isascii() or not word.isalpha() or len(word) <= MIN_STEM or word in UNINFLECTED_WORDS:
        return word
    word = _strip_inflection(word)
    for ending, american in (("isation", "ization"), ("ys", "yz"), ("is", "iz")):
        if word.endswith(ending) and len(word) > len(ending) + MIN_STEM:
            return word.removesuffix(ending) + american
    return word.removesuffix("l") if word.endswith("ll") and len(word) > len("small") else word


def _strip_inflection(word: str) -> str:
    """Return a word without the ending of a plural, a past tense, a participle or an adverb."""
    if word.endswith("ies") and len(word) > len("ties"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word in UNINFLECTED_WORDS:
        return word
    for ending in ("ing", "ed"):
        head = word.removesuffix(ending)
        if head != word and len(head) >= MIN_STEM and _VOWELS & set(head):
            if ending == "ed" and head.endswith("i"):
                return head[:-1] + "y"
            doubled = len(head) > MIN_STEM and head[-1] == head[-2] and head[-1] not in "sfz"
            word = head[:-1] if doubled and not (head[-1] == "l" and len(head) <= len("small")) else head
            break
    if word.endswith("ly") and len(word) > len("early") + 1:
        word = word[:-2]
    return word.rstrip("e") if len(word) > MIN_STEM else word


def stem_phrase(phrase: str) -> str:
    """Return the stems of a phrase, whose words are joined by blanks or ``_``.

    >>> stem_phrase("rules out")
    'rul out'
    """
    return " ".join(map(stem_word, phrase.replace("_", " ").split()))
