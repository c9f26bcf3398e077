"""The check of names: a name in the place of another name."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alignment import FILLERS, Finding, Pair, build_finding
from pytest_llmops.semantics.checks.sentence import Sentence, Token, english_stems
from pytest_llmops.semantics.word_lists.reader import english_words

MIN_SIMILARITY = 0.65  # token similarity from which a name in the place of another name counts
MIN_SHARED_WORDS = 0.8  # share of the other words that two sentences of another order must have in common
MAX_NAME_TOKENS = 3
MIN_ACRONYM_LETTERS = 2
MIN_PREFIX_LETTERS = 3
MIN_MISSPELT_LETTERS = 6
# Titles, institutions and roles, which many texts write with a capital and call by other names
COMMON_NOUNS = english_stems("capitalized_nouns")
_NATIONS = [frozenset(names.split()) for names in english_words("nations")]
_NATIONAL_ENDING = re.compile(r"(?:ian|ean|ese|ish|an|ia|ic|ist|i|n|a|y|o|e)$")
_NO_LETTER = re.compile(r"[\W_]+")
_VOWEL = re.compile(r"[aeiouyw]")


def find_name_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield the first name that the answer has instead of another name, in sentences that are otherwise alike."""
    if pair.token_similarity >= MIN_SIMILARITY or pair.is_edit:
        for place, change in pair.unclaimed_changes(claimed):
            expected = [token for token in change.expected if token.key not in FILLERS]
            actual = [token for token in change.actual if token.key not in FILLERS]
            if _are_other_names(pair, expected, actual):
                yield build_finding("entities", "another name", *pair.span_texts(expected, actual), place)
                return
    yield from _find_only_other_name(pair)


def _find_only_other_name(pair: Pair) -> Iterator[Finding]:
    """Yield a name instead of another one, if it is the only different word of two sentences in any word order."""
    words = set(pair.expected.keys) - FILLERS
    other_words = set(pair.actual.keys) - FILLERS
    only_expected = words - other_words
    only_actual = other_words - words
    expected = [token for token in pair.expected.tokens if token.key in only_expected]
    actual = [token for token in pair.actual.tokens if token.key in only_actual]
    if not len(expected) == len(actual) == 1:
        return
    shared = len(words & other_words)
    others = len(words | other_words) - len(expected) - len(actual)
    if shared >= MIN_SHARED_WORDS * others and _are_other_names(pair, expected, actual):
        yield build_finding("entities", "another name", expected[0].text, actual[0].text)


def _are_other_names(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> bool:
    """Return whether both are names, and of different things.

    They are not if one is another form of a name in the other sentence ("BoE" and "Bank of England").
    """
    if not _are_names(expected) or not _are_names(actual):
        return False
    whole = _plain_name("".join(token.text for token in expected))
    other_whole = _plain_name("".join(token.text for token in actual))
    if _stand_for_each_other(whole, other_whole):
        return False
    return not _stands_for_any(expected, pair.actual) and not _stands_for_any(actual, pair.expected)


def _are_names(tokens: Sequence[Token]) -> bool:
    """Return whether tokens are a name of at most three words, and not merely a title or institution ("President")."""
    if not 1 <= len(tokens) <= MAX_NAME_TOKENS:
        return False
    if not all(token.name for token in tokens):
        return False
    return not COMMON_NOUNS.issuperset(token.key for token in tokens)


def _stands_for_any(tokens: Sequence[Token], sentence: Sentence) -> bool:
    """Return whether a word of a name is another form of any name in a sentence, or may be initials of its words."""
    others = [_plain_name(token.text) for token in sentence.tokens if token.name]
    for token in tokens:
        if token.key in COMMON_NOUNS:
            continue
        name = _plain_name(token.text)
        capital_count = sum(map(str.isupper, token.text))
        if capital_count > 1 and _has_initials(sentence, name):
            return True
        if any(_stand_for_each_other(name, other) for other in others):
            return True
    return False


def _plain_name(text: str) -> str:
    """Return the letters and digits of a name: "Wi-Fi" is "WiFi", "Nestlé" is "Nestle"."""
    letters = unicodedata.normalize("NFKD", text.casefold().removesuffix("'s"))
    base_letters = "".join(char for char in letters if not unicodedata.combining(char))
    return _NO_LETTER.sub("", base_letters)


def _stand_for_each_other(name: str, other: str) -> bool:
    """Return whether one name is another form of the other: a nation, a short form, another spelling."""
    names = {name, other}
    if name == other or any(names <= nation for nation in _NATIONS):
        return True
    if any(map(str.isdigit, name + other)):
        return False
    short, long = sorted((name, other), key=len)
    is_part = long.startswith(short) or long.endswith(short)
    if is_part and len(short) >= MIN_PREFIX_LETTERS:
        return True
    forms = {name, _NATIONAL_ENDING.sub("", name)}
    other_forms = {other, _NATIONAL_ENDING.sub("", other)}
    if not forms.isdisjoint(other_forms):
        return True
    return len(short) >= MIN_MISSPELT_LETTERS and _are_spellings(name, other)


def _are_spellings(name: str, other: str) -> bool:
    """Return whether one name may be the other one misspelt.

    They may differ in any vowels ("Taleban", "Moslem"), or by one letter: missing, changed, or in the wrong order.
    """
    from rapidfuzz.distance import OSA

    if _VOWEL.sub("", name) == _VOWEL.sub("", other):
        return True
    return OSA.distance(name, other) == 1


def _has_initials(sentence: Sentence, name: str) -> bool:
    """Return whether words in a row begin with the first two letters of a name: "BoE" is the "Bank of England"."""
    initials = "".join(token.text[0].casefold() for token in sentence.tokens)
    return name[:MIN_ACRONYM_LETTERS] in initials
