"""Names and codes in each other's place: Anna is not Ben, and A320 is not A330."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alignment import FILLERS, Pair
from pytest_llmops.semantics.checks.kinds import Finding, build_finding
from pytest_llmops.semantics.checks.lexicon import english_stems
from pytest_llmops.semantics.checks.sentence import Sentence, Token
from pytest_llmops.semantics.word_lists import english_words

MIN_SIMILARITY = 0.65  # token similarity from which a name in the place of another name counts
MIN_SHARED_WORDS = 0.8  # share of the other words that two sentences of another order must have in common
MAX_NAME_TOKENS = 3
MIN_ACRONYM_LETTERS, MIN_PREFIX_LETTERS, MIN_MISSPELT_LETTERS = 2, 3, 6
# Titles, institutions and roles, which many texts write with a capital and call by other names
COMMON_NOUNS = english_stems("capitalized_nouns")
_NATIONS = [frozenset(names.split()) for names in english_words("nations")]
_NATIONAL_ENDING = re.compile(r"(?:ian|ean|ese|ish|an|ia|ic|ist|i|n|a|y|o|e)$")
_NO_LETTER, _VOWEL = re.compile(r"[\W_]+"), re.compile(r"[aeiouyw]")


def find_name_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield names in the place of other names, where both sentences are otherwise alike."""
    if pair.token_similarity >= MIN_SIMILARITY or pair.is_edit:
        for place, change in pair.unclaimed_changes(claimed):
            expected, actual = (
                [token for token in side if token.key not in FILLERS] for side in change.sides
            )
            if _are_other_names(pair, expected, actual):
                yield build_finding("entities", "another name", *pair.span_texts(expected, actual), place)
                return
    words, other_words = (set(side.keys) - FILLERS for side in pair.sides)
    expected = [token for token in pair.expected.tokens if token.key in words - other_words]
    actual = [token for token in pair.actual.tokens if token.key in other_words - words]
    is_like = len(words & other_words) >= MIN_SHARED_WORDS * (
        len(words | other_words) - len(expected) - len(actual)
    )
    if len(expected) == len(actual) == 1 and is_like and _are_other_names(pair, expected, actual):
        yield build_finding("entities", "another name", expected[0].text, actual[0].text)


def _are_other_names(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> bool:
    # Return whether tokens are nothing but names, and none of them stands for a name of the other side.
    for side in (expected, actual):
        are_names = all(token.name for token in side) and 1 <= len(side) <= MAX_NAME_TOKENS
        if not are_names or COMMON_NOUNS.issuperset(token.key for token in side):
            return False
    whole, other_whole = (_plain_name("".join(token.text for token in side)) for side in (expected, actual))
    if _stand_for_each_other(whole, other_whole):
        return False
    for side, other in ((expected, pair.actual), (actual, pair.expected)):
        others = [_plain_name(token.text) for token in other.tokens if token.name]
        for token in side:
            name = _plain_name(token.text)
            is_acronym = sum(map(str.isupper, token.text)) > 1 and _has_initials(other, name)
            if token.key not in COMMON_NOUNS and (
                is_acronym or any(_stand_for_each_other(name, text) for text in others)
            ):
                return False
    return True


def _plain_name(text: str) -> str:
    # Return the letters and digits of a name: "Wi-Fi" is "WiFi", "Nestlé" is "Nestle".
    letters = unicodedata.normalize("NFKD", text.casefold().removesuffix("'s"))
    return _NO_LETTER.sub("", "".join(char for char in letters if not unicodedata.combining(char)))


def _stand_for_each_other(name: str, other: str) -> bool:
    # Return whether one name is another form of the other: a nation, a short form, another spelling.
    if name == other or any({name, other} <= nation for nation in _NATIONS):
        return True
    if any(map(str.isdigit, name + other)):
        return False
    short, long = sorted((name, other), key=len)
    if len(short) >= MIN_PREFIX_LETTERS and (long.startswith(short) or long.endswith(short)):
        return True
    if not {name, _NATIONAL_ENDING.sub("", name)}.isdisjoint({other, _NATIONAL_ENDING.sub("", other)}):
        return True
    if len(short) < MIN_MISSPELT_LETTERS:
        return False
    from rapidfuzz.distance import OSA

    # Vowels are where names are misspelt ("Taleban", "Moslem"); else a letter is missing, or two have changed places.
    consonants, other_consonants = (_VOWEL.sub("", text) for text in (name, other))
    return consonants == other_consonants or OSA.distance(name, other) == 1


def _has_initials(sentence: Sentence, name: str) -> bool:
    # Return whether the letters of a name are initials of words in a row: "BoE" is the "Bank of England".
    initials = "".join(token.text[0].casefold() for token in sentence.tokens)
    return name[:MIN_ACRONYM_LETTERS] in initials or name in initials
