"""Two things whose roles differ, in sentences that may be worded differently: "Anna reports to Ben", "Ben reports to Anna"."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple, TypeAlias

from pytest_llmops.semantics.checks.alignment import FILLERS, Pair
from pytest_llmops.semantics.checks.negation import differ_in_negation
from pytest_llmops.semantics.checks.sentence import FUNCTION_WORDS, Sentence, Token, english_stems

# What differs, and the texts of the reference and of the answer
Difference: TypeAlias = tuple[str, str, str]

SYMMETRIC_WORDS = english_stems("symmetric_words")  # two things around such a word may change places
ARTICLES = frozenset({"the", "a", "an"})
COPULAS = ARTICLES | {"be", "become", "mean"}
WORDS_BESIDE_ROLES = english_stems("words_beside_roles")
DIRECTIONS = english_stems("directions")
NO_THINGS = english_stems("no_things")
MAX_RELATION_WORDS = 6  # words between two things: "conducts heat better than"
MAX_THING_WORDS = 4
MAX_PLACES = 8  # places of a word in the answer that are compared with a place in the reference
MAX_VALUES = 6  # values of a sentence whose words are compared
_PAUSE = re.compile(r"[,;:()]")


class _Relation(NamedTuple):
    """Two things with the words between them, as places among the tokens of a sentence.

    Attributes:
        start: The first word of the first thing.
        verb: The first word between the things.
        verb_end: The place behind the last word between them.
        end: The place behind the last word of the second thing.
    """

    start: int
    verb: int
    verb_end: int
    end: int


class _Words(NamedTuple):
    """The tokens of a sentence without those that do not matter for roles, and their keys."""

    sentence: Sentence
    tokens: tuple[Token, ...]
    keys: tuple[str, ...]

    def text_of(self, relation: _Relation) -> str:
        """Return the text of a relation, as written."""
        return self.sentence.span_text(self.tokens[relation.start : relation.end])


def _read_words(sentence: Sentence) -> _Words:
    tokens = tuple(token for token in sentence.tokens if token.key not in WORDS_BESIDE_ROLES)
    return _Words(sentence, tokens, tuple(token.key for token in tokens))


def find_swapped_relation(pair: Pair) -> Difference | None:
    """Return two things that have each other's role, or None.

    Either both sentences have the same words between them ("pays the"), or one sentence is active and the other
    passive, with both things in the same order ("Anna manages Ben", "Anna is managed by Ben").
    """
    if differ_in_negation(pair):
        return None
    expected = _read_words(pair.expected)
    actual = _read_words(pair.actual)
    for place, other_place in _shared_places(expected.keys, actual.keys):
        relations = _compare_order(expected, actual, place, other_place)
        if relations is None:
            relations = _compare_voice(expected, actual, place, other_place)
        if relations is None:
            continue
        relation, other_relation = relations
        texts = (expected.text_of(relation), actual.text_of(other_relation))
        if not any(map(_PAUSE.search, texts)):
            return ("each other's role", *texts)
    return None


def _shared_places(keys: Sequence[str], other_keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the places of each word that both sentences have; of a frequent word only some."""
    places: dict[str, list[int]] = defaultdict(list)
    for other_place, key in enumerate(other_keys):
        if len(places[key]) < MAX_PLACES:
            places[key].append(other_place)
    for place, key in enumerate(keys):
        for other_place in places.get(key, ()):
            yield place, other_place


def _compare_order(
    expected: _Words, actual: _Words, place: int, other_place: int
) -> tuple[_Relation, _Relation] | None:
    """Return two relations with the same words between two things that have swapped places; None if there are none.

    Args:
        expected: The words of the reference.
        actual: The words of the answer.
        place: Where the words between the things begin in the reference.
        other_place: Where they begin in the answer.
    """
    keys = expected.keys
    other_keys = actual.keys
    for size in range(1, MAX_RELATION_WORDS + 1):
        between = keys[place : place + size]
        if between != other_keys[other_place : other_place + size]:
            return None
        end = place + size
        other_end = other_place + size
        first_size = _shared_size(keys[:place], other_keys[other_end:])
        second_size = _shared_size(other_keys[:other_place], keys[end:])
        if not first_size or not second_size:
            continue
        relation = _Relation(place - first_size, place, end, end + second_size)
        other_relation = _Relation(other_place - second_size, other_place, other_end, other_end + first_size)
        if _are_contrary(expected, actual, relation, other_relation):
            return relation, other_relation
    return None


def _shared_size(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the number of words with which ``left`` ends and ``right`` begins; 0 if there are none of a thing."""
    for size in range(min(MAX_THING_WORDS, len(left), len(right)), 0, -1):
        if left[-size:] == right[:size] and _is_thing(right[:size]):
            return size
    return 0


def _is_thing(keys: Sequence[str]) -> bool:
    """Return whether words can be a thing: none is an adverb, and the last is neither a filler nor a function word."""
    if not NO_THINGS.isdisjoint(keys):
        return False
    return keys[-1] not in FILLERS and keys[-1] not in FUNCTION_WORDS


def _are_contrary(expected: _Words, actual: _Words, relation: _Relation, other_relation: _Relation) -> bool:
    """Return whether two relations with swapped things contradict each other.

    They do not if the words between are symmetric ("and", "meets"), or if a text states both relations.
    """
    keys = expected.keys
    other_keys = actual.keys
    between = keys[relation.verb : relation.verb_end]
    if not SYMMETRIC_WORDS.isdisjoint(between) or COPULAS.issuperset(between):
        return False
    if all(key in FILLERS or key in FUNCTION_WORDS for key in between):
        if DIRECTIONS.isdisjoint(between):
            return False
        # "Add the salt to the water", "from Oslo to Rome": the same word must lead to both things.
        before = keys[max(0, relation.start - 1) : relation.start]
        if not before or before != other_keys[max(0, other_relation.start - 1) : other_relation.start]:
            return False
    elif any(token.fact for token in expected.tokens[relation.start : relation.end]):
        return False  # a value has no role of its own
    stated = keys[relation.start : relation.end]
    other_stated = other_keys[other_relation.start : other_relation.end]
    return not _contains(other_keys, stated) and not _contains(keys, other_stated)


def _contains(keys: Sequence[str], part: Sequence[str]) -> bool:
    size = len(part)
    return any(keys[place : place + size] == part for place in range(len(keys) - size + 1))


def _compare_voice(
    expected: _Words, actual: _Words, place: int, other_place: int
) -> tuple[_Relation, _Relation] | None:
    """Return an active and a passive relation of the same things in the same order; None if there are none.

    Args:
        expected: The words of the reference.
        actual: The words of the answer.
        place: The verb in the reference.
        other_place: The verb in the answer.
    """
    key = expected.keys[place]
    if key in FILLERS or key in FUNCTION_WORDS:
        return None
    verb = _read_voice(expected.keys, place)
    other_verb = _read_voice(actual.keys, other_place)
    if (verb == (place, place + 1)) == (other_verb == (other_place, other_place + 1)):
        return None  # both are active, or both are passive
    first_size = _common_end(expected.keys[: verb[0]], actual.keys[: other_verb[0]])
    second_size = _common_start(expected.keys[verb[1] :], actual.keys[other_verb[1] :])
    if not first_size or not second_size:
        return None
    return (
        _Relation(verb[0] - first_size, *verb, verb[1] + second_size),
        _Relation(other_verb[0] - first_size, *other_verb, other_verb[1] + second_size),
    )


def _read_voice(keys: Sequence[str], place: int) -> tuple[int, int]:
    """Return where a verb begins and ends: with its "be" and "by" if it is passive."""
    if place > 0 and keys[place - 1] == "be" and keys[place + 1 : place + 2] == ("by",):
        return place - 1, place + 2
    return place, place + 1


def _common_end(keys: Sequence[str], other_keys: Sequence[str]) -> int:
    """Return how many words of a thing both end with, at most `MAX_THING_WORDS`."""
    size = 0
    while (
        size < min(MAX_THING_WORDS, len(keys), len(other_keys)) and keys[-size - 1] == other_keys[-size - 1]
    ):
        size += 1
    if size and _is_thing(keys[-size:]):
        return size
    return 0


def _common_start(keys: Sequence[str], other_keys: Sequence[str]) -> int:
    """Return how many words of a thing both begin with, at most `MAX_THING_WORDS`."""
    size = 0
    while size < min(MAX_THING_WORDS, len(keys), len(other_keys)) and keys[size] == other_keys[size]:
        size += 1
    while size and not _is_thing(keys[:size]):
        size -= 1
    return size


def find_crossed_values(pair: Pair) -> Difference | None:
    """Return a value with the words that belong to it in the reference and in the answer, if two values are exchanged.

    "20 % for members, 10 % for students" and "10 % for members, 20 % for students" are. All words before a value, or
    all behind it, belong to it; where words come on both sides of the values, it is not clear, and nothing is returned.
    """
    expected = [token for token in pair.expected.tokens if token.fact]
    actual = [token for token in pair.actual.tokens if token.fact]
    values = [token.key for token in expected]
    if not 1 < len(values) <= MAX_VALUES or len(set(values)) < len(values):
        return None
    if sorted(values) != sorted(token.key for token in actual):
        return None
    words = _unique_words(pair.expected) & _unique_words(pair.actual)
    owners = _assign_words(pair.expected, words)
    other_owners = _assign_words(pair.actual, words)
    if owners is None or other_owners is None:
        return None
    for value, other_value in combinations(values, 2):
        is_kept = owners[value] & other_owners[value] or owners[other_value] & other_owners[other_value]
        is_crossed = owners[value] & other_owners[other_value] and owners[other_value] & other_owners[value]
        if is_crossed and not is_kept:
            return _describe_crossed(pair, value, owners[value], other_owners[value])
    return None


def _describe_crossed(pair: Pair, value: str, words: set[str], other_words: set[str]) -> Difference:
    """Return the difference of a value that belongs to other words in the answer than in the reference."""
    texts = []
    for sentence, owned in zip(pair.sides, (words, other_words), strict=True):
        tokens = [token for token in sentence.tokens if token.key == value or token.key in owned]
        texts.append(" ".join(token.text for token in tokens))
    return ("a value in another's place", texts[0], texts[1])


def _unique_words(sentence: Sentence) -> frozenset[str]:
    """Return the content words that occur only once in a sentence, by their keys."""
    counts = Counter(token.key for token in sentence.tokens if not token.fact)
    return frozenset(
        key
        for key, count in counts.items()
        if count == 1 and key not in FILLERS and key not in FUNCTION_WORDS
    )


def _assign_words(sentence: Sentence, words: frozenset[str]) -> dict[str, set[str]] | None:
    """Return the words that belong to each value of a sentence; None if they come before the values and behind."""
    parts: list[set[str]] = [set()]
    values = []
    for token in sentence.tokens:
        if token.fact:
            values.append(token.key)
            parts.append(set())
        elif token.key in words:
            parts[-1].add(token.key)
    if bool(parts[0]) == bool(parts[-1]):
        return None
    if parts[0]:
        return dict(zip(values, parts[:-1], strict=True))
    return dict(zip(values, parts[1:], strict=True))
