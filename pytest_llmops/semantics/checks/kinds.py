"""The checks of names, roles, quantifiers and values."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TypeAlias

from pytest_llmops.metrics.lexical import count_shared_ends
from pytest_llmops.semantics.checks.alignment import FILLERS, MAX_TOKENS, Change, Finding, Pair, build_finding
from pytest_llmops.semantics.checks.negation import differ_in_negation, may_be_negative
from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    Fact,
    are_comparable,
    are_same_value,
    lookup_unit,
)
from pytest_llmops.semantics.checks.sentence import Sentence, Token, english_stems, stem_phrase
from pytest_llmops.semantics.word_lists import english_words, read_sections

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
    """Return whether tokens are nothing but names, and none of them stands for a name of the other side."""
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
    """Return the letters and digits of a name: "Wi-Fi" is "WiFi", "Nestlé" is "Nestle"."""
    letters = unicodedata.normalize("NFKD", text.casefold().removesuffix("'s"))
    return _NO_LETTER.sub("", "".join(char for char in letters if not unicodedata.combining(char)))


def _stand_for_each_other(name: str, other: str) -> bool:
    """Return whether one name is another form of the other: a nation, a short form, another spelling."""
    if name == other or any({name, other} <= nation for nation in _NATIONS):
        return True
    if any(map(str.isdigit, name + other)):
        return False
    short, long = sorted((name, other), key=len)
    is_part = len(short) >= MIN_PREFIX_LETTERS and (long.startswith(short) or long.endswith(short))
    if is_part or not {name, _NATIONAL_ENDING.sub("", name)}.isdisjoint(
        {other, _NATIONAL_ENDING.sub("", other)}
    ):
        return True
    if len(short) < MIN_MISSPELT_LETTERS:
        return False
    from rapidfuzz.distance import OSA

    # Vowels are where names are misspelt ("Taleban", "Moslem"); else a letter is missing, or two have changed places.
    consonants, other_consonants = (_VOWEL.sub("", text) for text in (name, other))
    return consonants == other_consonants or OSA.distance(name, other) == 1


def _has_initials(sentence: Sentence, name: str) -> bool:
    """Return whether the letters of a name are initials of words in a row: "BoE" is the "Bank of England"."""
    initials = "".join(token.text[0].casefold() for token in sentence.tokens)
    return name[:MIN_ACRONYM_LETTERS] in initials or name in initials


# What differs, and the texts of the reference and of the answer
Difference: TypeAlias = tuple[str, str, str]

SYMMETRIC_WORDS = english_stems("symmetric_words")  # two things around such a word may change places
ARTICLES = frozenset({"the", "a", "an"})
COPULAS = ARTICLES | {"be", "become", "mean"}
MAX_SWAPPED_WORDS = 6  # words of a side of a swap
MAX_SYMMETRIC_WORDS = 3  # words between two things that "and" or "with" joins; more are a clause of their own
SAME_WORDS = "the same words in other places"


def find_role_swaps(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words that have changed places with each other."""
    difference = _swapped_phrases(pair, claimed)
    if difference:
        yield from (build_finding("roles", *difference, place) for place in range(len(pair.changes)))


def _swapped_phrases(pair: Pair, claimed: frozenset[int]) -> Difference | None:
    # With a passive the doer may stand at the end of the sentence.
    is_passive = pair.expected.keys.count("by") != pair.actual.keys.count("by")
    if is_passive or any(len(side.tokens) > MAX_TOKENS for side in pair.sides):
        return None
    expected, actual = ([token for token in side.tokens if token.key not in ARTICLES] for side in pair.sides)
    content = [sorted(key for key in side.keys if key not in FILLERS) for side in pair.sides]
    if content[0] != content[1]:
        return _exchanged_words(expected, actual)
    keys, other_keys = ([token.key for token in side] for side in (expected, actual))
    head, tail = count_shared_ends(keys, other_keys)
    middle = slice(head, len(keys) - tail)
    other_middle = slice(head, len(other_keys) - tail)
    if not _have_swapped_ends(keys[middle], other_keys[other_middle]) or not any(
        pair.unclaimed_changes(claimed)
    ):
        return None
    return SAME_WORDS, *pair.span_texts(expected[middle], actual[other_middle])


def _exchanged_words(expected: Sequence[Token], actual: Sequence[Token]) -> Difference | None:
    """Return two words of which each stands wherever the other stood."""
    differing = [(a, b) for a, b in zip(expected, actual, strict=False) if a.key != b.key]
    if len(expected) != len(actual) or not differing:
        return None
    a, b = differing[0]
    swaps = {(token.key, other.key) for token, other in differing}
    if swaps == {(a.key, b.key), (b.key, a.key)}:
        return ("words in each other's place", a.text, b.text)
    return None


def _have_swapped_ends(keys: Sequence[str], other_keys: Sequence[str]) -> bool:
    """Return whether the ends have changed places over a middle with content; else a clause has only moved."""
    size = len(keys)
    for first in range(1, min(MAX_SWAPPED_WORDS, size - 1) + 1):
        for last in range(1, min(MAX_SWAPPED_WORDS, size - first) + 1):
            middle = keys[first : size - last]
            if list(other_keys) == [*keys[size - last :], *middle, *keys[:first]]:
                is_symmetric = len(middle) <= MAX_SYMMETRIC_WORDS and not SYMMETRIC_WORDS.isdisjoint(middle)
                return not is_symmetric and not COPULAS.issuperset(middle)
    return False


QUANTIFIER_CLASSES = {
    stem_phrase(word): name for name, words in read_sections("quantifiers.txt").items() for word in words
}
COMPATIBLE_CLASSES = (
    ("min", "more"), ("max", "less"), ("most", "about"), ("should", "may"), ("exact", "only"), ("all", "must"),
    ("some", "may"), ("all", "about"), ("few", "none"),
)  # fmt: skip
# Classes that change the meaning by coming or going: "orders ship free" says the same of all orders
SIGNIFICANT_CLASSES = frozenset({"few", "none", "only"})
PLACE_PREPOSITIONS = frozenset({"over", "under", "abov", "below"})  # limits only in front of a value
_FORBIDDEN = re.compile(r"need not|(?:must|may|can) not\b")
MIN_QUANTIFIER_SIMILARITY = 0.65
MAX_DISTANCE = 3


def find_quantifier_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield quantifiers and modal words in the place of others, and limits of a value that point the other way."""
    if pair.token_similarity >= MIN_QUANTIFIER_SIMILARITY:
        for place, change in pair.unclaimed_changes(claimed):
            texts = _unlike_quantifiers(pair, change)
            if texts:
                yield build_finding("quantifiers", "how many, or how bound", *texts, place)


def _unlike_quantifiers(pair: Pair, change: Change) -> tuple[str, str] | None:
    """Return the quantifiers of both sides of a change that contradict each other, as written."""
    expected, actual = (
        [
            token
            for token in tokens
            if token.key in QUANTIFIER_CLASSES
            and (
                token.key not in PLACE_PREPOSITIONS
                or any(after.fact for after in side.tokens_after(side.tokens.index(token)))
            )
        ]
        for side, tokens in zip(pair.sides, change.sides, strict=True)
    )
    kinds, other_kinds = ({QUANTIFIER_CLASSES[token.key] for token in side} for side in (expected, actual))
    # A number for a quantifier: "two of" for "each of".
    counts = [token for token in change.tokens if token.fact and token.fact.raw is not None]
    is_counted = counts and sum(map(len, change.unmatched)) <= MAX_DISTANCE
    if is_counted and not (kinds and other_kinds) and (kinds | other_kinds) & {"all", "none", "most"}:
        if expected:
            return (expected[0].text, counts[0].text)
        return (counts[0].text, actual[0].text)
    are_compatible = not kinds.isdisjoint(other_kinds) or any(
        (first in kinds and second in other_kinds) or (second in kinds and first in other_kinds)
        for first, second in COMPATIBLE_CLASSES
    )
    # "Not above" is "below".
    is_balanced = {"less", "more"} <= kinds | other_kinds and differ_in_negation(pair)
    # Both forbid: "must not", "may not", "need not".
    is_balanced = is_balanced or (
        kinds | other_kinds <= {"must", "may"}
        and all(_FORBIDDEN.search(" ".join(side.keys)) for side in pair.sides)
    )
    others = (token.key for token in change.tokens if token.key not in QUANTIFIER_CLASSES)
    if are_compatible or is_balanced or any(map(may_be_negative, others)):
        return None
    if expected and actual:
        return expected[0].text, actual[0].text
    # They must be all of the change that counts.
    is_alone = all(token in (*expected, *actual) for side in change.unmatched for token in side)
    if expected and is_alone and _is_significant(pair.expected, change.at[0], expected[0], pair.actual):
        return expected[0].text, ""
    if actual and is_alone and _is_significant(pair.actual, change.at[1], actual[0], pair.expected):
        return "", actual[0].text
    return None


def _is_significant(sentence: Sentence, at: int, quantifier: Token, other: Sentence) -> bool:
    """Return whether a quantifier that only one sentence has changes its meaning.

    "Nearly" does in front of "all"; "only" in front of a value does not, and neither does a quantifier that the other
    sentence has in another place.
    """
    kind = QUANTIFIER_CLASSES[quantifier.key]
    if any(QUANTIFIER_CLASSES.get(key) == kind for key in other.keys):
        return False
    near = sentence.tokens[at : at + MAX_DISTANCE]
    if kind == "about":
        return any(QUANTIFIER_CLASSES.get(token.key) in {"all", "none"} for token in near)
    return kind in SIGNIFICANT_CLASSES and not (kind == "only" and any(token.fact for token in near))


MOMENTS = frozenset({"date", "weekday", "clock"})
DIFFERENCES = {"numbers": "another number", "units": "another unit", "dates": "another date or time"}
FREQUENCY_WORDS = frozenset(
    ["hourly", "daily", "night", "nightly", "weekly", "monthly", "quarterly", "yearly", "annually", "annual"]
)
MIN_UNIT_LETTERS, MAX_UNIT_TOKENS = 2, 3
MAX_FACTS = 40  # values of a sentence that are compared
MIN_VALUE_SIMILARITY = 0.6  # token similarity from which a value in the place of another value is an edit


def find_unit_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield values with the same numeral and another unit, and units by themselves in each other's place."""
    yield from find_unlike_values(pair, claimed, check="units")
    if pair.is_edit:
        for place, change in pair.unclaimed_changes(claimed):
            if change.expected and change.actual and len(change.tokens) <= MAX_UNIT_TOKENS:
                expected = change.expected[-1]
                actual = change.actual[-1]
                dims, other_dims = map(_unit_dims, (expected, actual))
                if dims & other_dims and not (expected.fact or actual.fact):
                    yield build_finding("units", DIFFERENCES["units"], expected.text, actual.text, place)


def _unit_dims(token: Token) -> frozenset[str]:
    """Return what a unit without a number measures, as of "per week" and "weekly"; nothing for another word."""
    if token.text.lower() in FREQUENCY_WORDS:
        return frozenset({"time"})
    if len(token.text) > MIN_UNIT_LETTERS:
        known = lookup_unit(token.text)
    else:
        known = []
    return frozenset(unit.dim.split()[0] for unit in known)


def find_unlike_values(pair: Pair, claimed: frozenset[int], *, check: str) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield values that differ in what both state and belong to a check: "numbers", "units", "dates".

    "3 March" and "March 3rd, 2025" do not differ, nor do "thirty days", "30 days" and "720 h".
    """
    reported: set[tuple[str, str]] = set()
    for expected, actual, place in (*_find_replaced_values(pair), *_find_missing_values(pair)):
        dims = expected.dims | actual.dims
        is_unit = expected.raw is not None and expected.raw == actual.raw
        is_other_unit = is_unit and not all(dim.startswith("money") for dim in dims)
        if dims & MOMENTS:
            responsible = "dates"
        elif is_other_unit:
            responsible = "units"
        else:
            responsible = "numbers"
        texts = (expected.text, actual.text)
        if responsible == check and texts not in reported:
            reported.add(texts)
            yield build_finding(check, DIFFERENCES[check], *texts, place)


def _find_replaced_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """Yield values in the place of other values."""
    if pair.token_similarity < MIN_VALUE_SIMILARITY and not pair.is_edit:
        return
    for place, change in enumerate(pair.changes):
        if change.is_long:
            continue
        facts, other_facts = ([token.fact for token in side if token.fact] for side in change.sides)
        missing = _without_same_value(facts, other_facts)
        extra = _without_same_value(other_facts, facts)
        for expected, actual in zip_longest(missing, extra):
            if expected and actual and (pair.is_edit or _is_contradiction(expected, actual)):
                yield expected, actual, place


def _without_same_value(facts: Sequence[Fact], others: Sequence[Fact]) -> list[Fact]:
    return [fact for fact in facts if not any(are_same_value(fact, other) for other in others)]


def _is_contradiction(expected: Fact, actual: Fact) -> bool:
    """Return whether two unlike values contradict each other, as "30 seconds" and a bare "60" do."""
    if are_comparable(expected, actual):
        return not (expected.weak and actual.weak)
    return (
        not (expected.weak or actual.weak or (expected.dims | actual.dims) & MOMENTS)
        and (BARE_NUMBER in expected.dims) != (BARE_NUMBER in actual.dims)
        and None not in {expected.raw, actual.raw}
    )


def _find_missing_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """Yield values that the whole answer does not state, while its sentence states another value of the kind."""
    if not (pair.expected.facts and pair.actual.facts):
        return
    missing, extra = (
        [fact for fact in side.facts[:MAX_FACTS] if not fact.weak and not text.has_value(fact)]
        for side, text in ((pair.expected, pair.answer), (pair.actual, pair.reference))
    )
    for expected in missing:
        actual = next((fact for fact in extra if are_comparable(expected, fact)), None)
        if actual is not None:
            extra.remove(actual)
            yield expected, actual, None
