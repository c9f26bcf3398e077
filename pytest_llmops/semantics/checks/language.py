"""Detect the language of a text, or of a pair of texts, with py3langid."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pytest_llmops.semantics.checks.prose import read_prose
from pytest_llmops.semantics.word_lists.reader import english_words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# The languages that are recognized, by their code; a text in any other is in "another language"
LANGUAGES = {
    "en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese", "nl": "Dutch",
    "pl": "Polish", "ru": "Russian", "zh": "Chinese", "ja": "Japanese", "sv": "Swedish", "da": "Danish", "no": "Norwegian",
    "cs": "Czech", "tr": "Turkish", "fi": "Finnish", "hu": "Hungarian", "ro": "Romanian", "uk": "Ukrainian", "bg": "Bulgarian",
    "el": "Greek", "id": "Indonesian", "vi": "Vietnamese", "ko": "Korean", "ar": "Arabic", "he": "Hebrew", "hi": "Hindi",
    "th": "Thai",
}  # fmt: skip
OTHER_LANGUAGE = "another language"
# Scripts with the share of a text's letters that settles its language: a name in another script does not
_SCRIPTS = (
    ("Japanese", re.compile(r"[\u3040-\u30ff]"), 0.1),
    ("Korean", re.compile(r"[\uac00-\ud7af]"), 0.3),
    ("Chinese", re.compile(r"[\u4e00-\u9fff]"), 0.3),
    ("Greek", re.compile(r"[\u0370-\u03ff]"), 0.3),
    ("Arabic", re.compile(r"[\u0600-\u06ff]"), 0.3),
    ("Hebrew", re.compile(r"[\u0590-\u05ff]"), 0.3),
    ("Hindi", re.compile(r"[\u0900-\u097f]"), 0.3),
    ("Thai", re.compile(r"[\u0e00-\u0e7f]"), 0.3),
)
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
MIN_CYRILLIC_SHARE = 0.3
_CYRILLIC_CODES = ("ru", "uk", "bg")
_WORD = re.compile(r"(?<!\d)[^\W\d_]+|(?<=\d)[^\W\d_]{2,}")  # words; the "e" of "1e6" is not a word
# A text of fewer words in the Latin script gets no verdict: names and terms are the same in many languages
MIN_WORDS = 3
# Below it a text gets no verdict. Of the captions in
# `docs/explanation/measured/checks.md`, cut to three words, at most 1 % are wrong.
MIN_PROBABILITY = 0.7
# Below it a text in Cyrillic letters is Russian, the most frequent of these languages
MIN_OTHER_CYRILLIC = 0.9
MIN_KNOWN_SHARE = 0.05  # below this probability of all of `LANGUAGES` together a text is in another language
# Frequent English words of a text that is English without doubt; such a text does not load the model
MIN_ENGLISH_WORDS = 2
MIN_ENGLISH_SHARE = 0.25
_ENGLISH_WORDS = english_words("distinctive_words")


def detect_language(text: str) -> str:
    """Return the English name of the language of a text's prose, or ``""`` if there is too little of it to tell.

    Code, URLs, commands, identifiers, JSON and tables of numbers are in no language.

    >>> detect_language("Die Rückgabe ist nicht möglich"), detect_language("refund"), detect_language("Возврат в течение 30 дней")
    ('German', '', 'Russian')
    >>> detect_language("curl -O https://example.com/dados/relatorio.pdf"), detect_language('{"antwort": "Das ist nicht möglich"}')
    ('', '')
    """
    return _detect_prose(read_prose(text))


def _detect_prose(prose: str) -> str:
    words = _WORD.findall(prose)
    language = _detect_by_script(prose, letters=sum(map(len, words)))
    if language:
        return language
    if len({word.lower() for word in words}) < MIN_WORDS:
        return ""
    # Plain English, most of all texts, is recognized without loading the model.
    english = sum(word.lower() in _ENGLISH_WORDS for word in words)
    if english >= MIN_ENGLISH_WORDS and english >= MIN_ENGLISH_SHARE * len(words):
        return "English"
    ranking = load_identifier().rank(" ".join(words))
    known = [(code, probability) for code, probability in ranking if code in LANGUAGES]
    total = sum(probability for _, probability in known)
    if total < MIN_KNOWN_SHARE:
        return OTHER_LANGUAGE
    # The most probable comes first; there is one, as their total is above 0.
    code, probability = known[0]
    if probability >= MIN_PROBABILITY * total:
        return LANGUAGES[code]
    return ""


def _detect_by_script(text: str, letters: int) -> str:
    """Return the language of a text in a script other than Latin; "" for the Latin script, and without letters."""
    if not letters:
        return ""
    for name, script, share in _SCRIPTS:
        if len(script.findall(text)) >= share * letters:
            return name
    if len(_CYRILLIC.findall(text)) >= MIN_CYRILLIC_SHARE * letters:
        return _detect_cyrillic_language(text)
    return ""


def detect_pair_language(text: str, other: str, default: str = "English") -> tuple[str, str]:
    """Return the languages of two texts.

    A text that is too short to tell gets the language of the other. If both are, they get the language of both texts
    together, or else the default.

    >>> detect_pair_language("14 Tage", "Die Frist beträgt vierzehn Tage."), detect_pair_language("30 days", "two days")
    (('German', 'German'), ('English', 'English'))
    """
    language = detect_language(text)
    other_language = detect_language(other)
    if not language and not other_language:
        language = _detect_joined(f"{read_prose(text)}\n{read_prose(other)}") or default
    # A short Japanese text may have no kana.
    if {language, other_language} == {"Chinese", "Japanese"}:
        return ("Japanese", "Japanese")
    return (language or other_language, other_language or language)


def _detect_joined(prose: str) -> str:
    """Return the language of two short texts that are joined, or ``""`` if it depends on words that are repeated.

    A word that both texts have, as two commands do, counts no more for a language than a word of a single text.
    """
    language = _detect_prose(prose)
    if language != _detect_prose(" ".join(dict.fromkeys(_WORD.findall(prose)))):
        return ""
    return language


@cache
def load_identifier() -> LanguageIdentifier:
    """Return py3langid with its model, which is read once in a process, in half a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _detect_cyrillic_language(text: str) -> str:
    """Return "Ukrainian" or "Bulgarian" for a text that is surely in this language, else "Russian"."""
    ranking = load_identifier().rank(text)
    cyrillic = [(code, probability) for code, probability in ranking if code in _CYRILLIC_CODES]
    total = sum(probability for _, probability in cyrillic)
    # The model ranks all its languages, so the most probable of these is there.
    code, probability = cyrillic[0]
    if probability >= MIN_OTHER_CYRILLIC * total:
        return LANGUAGES[code]
    return "Russian"
