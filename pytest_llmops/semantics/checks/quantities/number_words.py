"""Write the number words of a text as digits, by the rules of the Unicode CLDR for its language."""

import re
from functools import cache
from typing import NamedTuple

from pytest_llmops.semantics.checks.language import LANGUAGES, MIN_WORDS

CODES = {name: code for code, name in LANGUAGES.items()}
CJK_LANGUAGES = frozenset({"Chinese", "Japanese"})  # their numerals have a reader of their own
# A number has up to twenty forms there, so that fewer numbers are listed and 350 is read as 300 and 50
INFLECTED_LANGUAGES = frozenset({"Polish", "Russian", "Finnish"})
SHORT_TEXT_LANGUAGES = ("German", "Spanish", "French", "Italian", "Portuguese", "Dutch", "Polish", "Russian")
# Number words of these languages that are words of English, or other words of another of them
OTHER_MEANINGS = frozenset({"once", "due", "elf", "doze", "sei"})
SCALES = (*range(100, 1_000, 100), *range(1_000, 10_000, 1_000), *range(10_000, 100_000, 1_000))
HUNDRED, THOUSAND = 100, 1_000
MAX_WORDS = 6  # words of a number
_WORD = re.compile(r"[^\W\d_]+")
_BETWEEN = re.compile(r"[\s-]+(?:and\s+)?")
_AFTER_NO = re.compile(r"\b[Nn]o \Z")


class NumberWords(NamedTuple):
    """The numbers of a language by their words, and the words that begin a number."""

    numbers: dict[str, int]
    first_words: frozenset[str]


def has_number_words(language: str) -> bool:
    """Return whether the number words of a language are known.

    >>> has_number_words("German"), has_number_words("Thai")
    (True, False)
    """
    return language in CJK_LANGUAGES or bool(read_number_words(language).numbers)


@cache
def read_number_words(language: str, largest: int = THOUSAND) -> NumberWords:
    """Return the number words of a language from two on; "one" is an article in most languages.

    >>> read_number_words("Italian").numbers["ventuno"]
    21
    """
    # In Korean, Thai and Hindi numbers are joined to other words.
    if language not in CODES or language in CJK_LANGUAGES | {"Korean", "Thai", "Hindi"}:
        return NumberWords({}, frozenset())
    from unicode_rbnf import RbnfEngine

    engine = RbnfEngine.for_language(CODES[language])
    singles = range(2, min(largest, HUNDRED) if language in INFLECTED_LANGUAGES else largest)
    numbers: dict[str, int] = {}
    for number in (*singles, *(SCALES if largest == THOUSAND else ())):
        for words in engine.format_number(number).text_by_ruleset.values():
            numbers.setdefault(_normalize(words), number)
    return NumberWords(numbers, frozenset(words.split()[0] for words in numbers))


@cache
def _short_text_words() -> NumberWords:
    numbers: dict[str, int] = {}
    for language in SHORT_TEXT_LANGUAGES:
        numbers |= read_number_words(language, 20).numbers
    numbers = {word: number for word, number in numbers.items() if word not in OTHER_MEANINGS}
    return NumberWords(numbers, frozenset(numbers))


def replace_number_words(text: str, language: str = "English") -> str:
    """Return a text with digits for its number words.

    In a text too short to tell its language the small numbers of `SHORT_TEXT_LANGUAGES` are known, too.

    >>> replace_number_words("It takes thirty-five days"), replace_number_words("zweihundertfünf Euro", "German")
    ('It takes 35 days', '205 Euro')
    >>> replace_number_words("Quatre-vingt-dix-sept jours", "French"), replace_number_words("drei Tage")
    ('97 jours', '3 Tage')
    """
    words = list(_WORD.finditer(text))
    known = read_number_words(language)
    if len(words) < MIN_WORDS and known.first_words.isdisjoint(_normalize(word[0]) for word in words):
        known = _short_text_words()
    pieces: list[str] = []
    place, start, last = 0, 0, 0
    while place < len(words):
        first = words[place].start()
        size, number = _find_number(text, words[place : place + MAX_WORDS], known)
        if number:
            between = text[start:first]
            if last % HUNDRED == 0 and number < _room_for(last) and _BETWEEN.fullmatch(between):
                pieces[-1] = str(last + number)
            else:
                pieces += (between, str(number))
            start, last = words[place + size - 1].end(), number
        place += size
    return "".join((*pieces, text[start:]))


def _room_for(number: int) -> int:
    # Return below what another number may be added, as 5 to 200; 0: none.
    return 0 if number == 0 else THOUSAND if number % THOUSAND == 0 else HUNDRED


def _find_number(text: str, words: list[re.Match[str]], known: NumberWords) -> tuple[int, int]:
    # Return how many of some words make a number, and the number, or ``(1, 0)``.
    start = words[0].start()
    # "No two" is not number 2.
    if _normalize(words[0][0]) in known.first_words and not _AFTER_NO.search(text, max(0, start - 4), start):
        for size in range(len(words), 0, -1):
            end = words[size - 1].end()
            number = known.numbers.get(_normalize(text[start:end]))
            if number:
                return size, number
    return 1, 0


def _normalize(words: str) -> str:
    return _BETWEEN.sub(" ", words.casefold()).replace("ё", "е")
