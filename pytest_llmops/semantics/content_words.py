"""The stems of the content words of a text, and the stems of its numbers and names among them."""

import re
import unicodedata

from pytest_llmops.retrievers.bm25 import tokenize
from pytest_llmops.semantics.checks.sentence import stem_word
from pytest_llmops.semantics.word_lists.reader import english_words

STOP_WORDS = english_words("stop_words")
# Words that make a claim stronger ("all", "never"): a source without them does not support it
_TOTALITY_WORDS = english_words("totality_words")
_SMALL_NUMBERS = {"zero": "0", "one": "1"}
# Not the digits at the end of a name ("O2", "Internet2"): these belong to it.
_NUMBER = re.compile(r"(?<![A-Za-z\u00c0-\u024f\u0370-\u04ff\d])(\d+(?:[.,:]\d+)*)")
_CONTRACTED_NOT = re.compile(r"n['’]t\b", re.IGNORECASE)
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_NAME_WITHIN_SENTENCE = re.compile(r"(?<=[^\s.!?:])\s+[\"'“‘(]?([^\W\d_]\w*)")
_GERMAN_WORDS = frozenset(
    {"der", "die", "das", "und", "ist", "sind", "nicht", "ein", "eine", "mit", "für", "auf", "den", "dem"}
)


def content_stem(word: str) -> str:
    """Return a word in lower case without its English ending; words of other languages lose little.

    >>> content_stem("shipping"), content_stem("ships"), content_stem("carry"), content_stem("carried"), content_stem("one")
    ('ship', 'ship', 'carri', 'carri', '1')
    """
    if word[0].isdigit() or word in _TOTALITY_WORDS:
        return word
    return _SMALL_NUMBERS.get(word) or stem_word(word)


def _split_words(text: str) -> list[str]:
    """Return the words of a text; a number with its points and commas is a single word."""
    words: list[str] = []
    plain = _CONTRACTED_NOT.sub("", unicodedata.normalize("NFKC", text))
    for place, piece in enumerate(_NUMBER.split(plain)):
        if place % 2:  # `re.split` with one group: every second piece is a number
            words.append(_THOUSANDS.sub("", piece))
        else:
            words += tokenize(piece)
    return words


def content_stems(text: str, stop_words: frozenset[str] = STOP_WORDS) -> dict[str, str]:
    """Return the content words of a text by their stem, without the stop words.

    >>> sorted(content_stems("The refunds were paid within 1,000 days").items())
    [('1000', '1000'), ('day', 'days'), ('pay', 'paid'), ('refund', 'refunds')]
    """
    # Of words with the same stem the first is kept.
    words = reversed(_split_words(text))
    return {content_stem(word): word for word in words if word not in stop_words}


def is_number(stem: str) -> bool:
    """Return whether a stem is a number.

    >>> is_number("1.5"), is_number("v2")
    (True, False)
    """
    return stem[0].isdigit()


def required_stems(text: str) -> frozenset[str]:
    """Return the stems of a claim that its source must have: numbers, names, and words like "all".

    Names are words with a capital inside the sentence; German texts have none, as all German nouns have a capital.
    """
    words = _split_words(text)
    stems = list(map(content_stem, words))
    numbers = {stem for stem in stems if is_number(stem)}
    required = _TOTALITY_WORDS.intersection(stems) | numbers
    if len(_GERMAN_WORDS.intersection(words)) > 1:
        return required
    words_within = _NAME_WITHIN_SENTENCE.findall(text)
    names = [word for word in words_within if word[0].isupper()]
    return required.union(*map(content_stems, names))
