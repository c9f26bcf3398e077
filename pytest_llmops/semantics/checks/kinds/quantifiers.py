"""Quantifiers, limits and modality: "all" is not "some", "at least" is not "at most", "must" is not "may"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm, span_text
from pytest_llmops.semantics.checks.alignment import Change, Pair
from pytest_llmops.semantics.checks.kinds.negation import differ_in_negation, may_be_negative
from pytest_llmops.semantics.checks.lexicon.stems import stem_phrase, stem_word
from pytest_llmops.semantics.checks.quantities.facts import are_same_value
from pytest_llmops.semantics.checks.sentence import Sentence, Token
from pytest_llmops.semantics.word_lists import read_sections

QUANTIFIER_CLASSES = {
    stem_phrase(word): name for name, words in read_sections("quantifiers.txt").items() for word in words
}
COMPATIBLE_CLASSES = (
    {"min", "more"}, {"max", "less"}, {"most", "about"}, {"should", "may"}, {"exact", "only"}, {"all", "must"}, {"some", "may"}, {"all", "about"}, {"few", "none"},
)  # fmt: skip
SIGNIFICANT_CLASSES = frozenset({"some", "few", "none", "only", "min", "max", "more", "less"})
"""Classes that change what is said by coming or going: "orders ship free" says the same of all orders."""
FORBIDDING_MODALS = frozenset({"must", "may", "can"})
NECESSITY_WORDS = frozenset(
    {"have to", "need to", "need", "oblig", "mandatory", stem_word("required"), stem_word("necessary")}
)
MIN_MODAL_SIMILARITY, MODAL_WINDOW = 0.5, 2
PLACE_PREPOSITIONS = frozenset({"over", "under", "abov", "below"})
"""Limits only in front of a value."""
MIN_SIMILARITY = 0.65
MAX_DISTANCE = 3


def find_quantifiers(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield quantifiers and modal words in the place of others, and limits of one value that point the other way."""
    findings = list(_find_modal_changes(pair))
    for place, change in (
        enumerate(pair.changes) if pair.token_similarity >= MIN_SIMILARITY and not findings else ()
    ):
        if place not in claimed and (texts := _find_unlike_quantifiers(pair, change)):
            findings.append(Finding(build_alarm("quantifiers", "how many, or how bound", *texts), place))
    yield from findings or _find_opposite_limits(pair)


def _find_modal_changes(pair: Pair) -> Iterator[Finding]:
    """You must not, and you need not."""
    if pair.token_similarity < MIN_MODAL_SIMILARITY:
        return
    expected, actual = _modal_phrases(pair.expected), _modal_phrases(pair.actual)
    if len(expected) == len(actual) == 1 and expected.keys() != actual.keys():
        yield Finding(
            build_alarm("quantifiers", "how many, or how bound", *expected.values(), *actual.values())
        )


def _modal_phrases(sentence: Sentence) -> dict[str, str]:
    """What a sentence forbids ("must not") or leaves open ("need not", "do not have to"), as written."""
    phrases = {}
    for place, token in enumerate(sentence.tokens):
        after = sentence.tokens[place + 1 : place + 1 + MODAL_WINDOW]
        if token.key == "need not":
            phrases["open"] = token.text
        elif token.key in FORBIDDING_MODALS and after and after[0].key == "not":
            phrases["forbidden"] = span_text(sentence, (token, after[0]))
        elif token.key in {"not", "no"}:
            needed = next((candidate for candidate in after if candidate.key in NECESSITY_WORDS), None)
            if needed:
                phrases["open"] = span_text(sentence, (token, needed))
    return phrases


def both_forbid(pair: Pair) -> bool:
    """Do both forbid, one with "must not" and one with "may not"?"""
    return all("forbidden" in _modal_phrases(side) for side in (pair.expected, pair.actual))


def _find_unlike_quantifiers(pair: Pair, change: Change) -> tuple[str, str] | None:
    expected, actual = (
        [token for token in tokens if _is_quantifier(side, token)]
        for side, tokens in ((pair.expected, change.expected), (pair.actual, change.actual))
    )
    expected_classes, actual_classes = (
        {QUANTIFIER_CLASSES[token.key] for token in side} for side in (expected, actual)
    )
    count = _find_count(change)
    if (
        count is not None
        and (expected_classes ^ actual_classes) & {"all", "none", "most"}
        and not (expected_classes and actual_classes)
    ):
        return (expected[0].text, count.text) if expected else (count.text, actual[0].text)
    if expected_classes & actual_classes or any(
        (first in expected_classes and second in actual_classes)
        or (first in actual_classes and second in expected_classes)
        for first, second in map(sorted, COMPATIBLE_CLASSES)
    ):
        return None
    if _is_balanced_by_negation(pair, expected_classes | actual_classes) or any(
        may_be_negative(token.key)
        for token in (*change.expected, *change.actual)
        if token.key not in QUANTIFIER_CLASSES
    ):
        return None
    if expected and actual:
        return expected[0].text, actual[0].text
    return _find_added_quantifier(pair, change, expected, actual) if expected or actual else None


def _is_balanced_by_negation(pair: Pair, classes: set[str]) -> bool:
    """Does a "not" make them the same? "Not above" is "below", and "may not" is "must not"."""
    return (classes <= {"must", "may"} and both_forbid(pair)) or (
        {"less", "more"} <= classes and differ_in_negation(pair)
    )


def _is_quantifier(sentence: Sentence, token: Token) -> bool:
    if token.key not in PLACE_PREPOSITIONS:
        return token.key in QUANTIFIER_CLASSES
    following = sentence.tokens[sentence.tokens.index(token) + 1 :][:1]
    return bool(following and following[0].fact)


def _find_count(change: Change) -> Token | None:
    """A number in a change of few words: "two of" for "each of"."""
    few = len(change.left[0]) + len(change.left[1]) <= MAX_DISTANCE
    tokens = (*change.expected, *change.actual)
    return next((token for token in tokens if few and token.fact and token.fact.raw is not None), None)


def _find_added_quantifier(
    pair: Pair, change: Change, expected: Sequence[Token], actual: Sequence[Token]
) -> tuple[str, str] | None:
    one_side = expected or actual
    if change.left != _only_these_tokens(change, one_side) or not _is_significant_addition(
        pair, change, one_side[0]
    ):
        return None
    if _is_redundant_quantifier(pair, change, one_side[0], pair.actual if expected else pair.expected):
        return None
    return (one_side[0].text, "") if expected else ("", one_side[0].text)


def _is_significant_addition(pair: Pair, change: Change, token: Token) -> bool:
    """Does the word change what is said by coming or going? "Nearly" does in front of "all"."""
    kind = QUANTIFIER_CLASSES[token.key]
    sentence, at = (pair.expected, change.at[0]) if token in change.expected else (pair.actual, change.at[1])
    following = sentence.tokens[sentence.tokens.index(token, at) + 1 :][:1]
    return kind in SIGNIFICANT_CLASSES or (
        kind == "about"
        and any(QUANTIFIER_CLASSES.get(neighbour.key) in {"all", "none"} for neighbour in following)
    )


def _only_these_tokens(
    change: Change, tokens: Sequence[Token]
) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """What the change would be if these were all of it that counts."""
    wanted = set(tokens)
    return tuple(token for token in change.left[0] if token in wanted), tuple(
        token for token in change.left[1] if token in wanted
    )


def _is_redundant_quantifier(pair: Pair, change: Change, token: Token, other: Sentence) -> bool:
    """Does the word say nothing new there: "only" in front of a value, or one that the other sentence has elsewhere?"""
    kind = QUANTIFIER_CLASSES[token.key]
    if any(QUANTIFIER_CLASSES.get(key) == kind for key in other.keys):
        return True
    sentence, at = (pair.expected, change.at[0]) if token in change.expected else (pair.actual, change.at[1])
    following = sentence.tokens[at : at + MAX_DISTANCE]
    if kind == "only":
        return any(neighbour.fact for neighbour in following)
    if kind in {"max", "less"}:
        return any(key in {"within", "in", "until", "by"} for key in sentence.keys[max(0, at - 2) : at])
    return (
        kind == "some"
        and token.key in {"some", "several", "many"}
        and change.left != ((), ())
        and not _is_sentence_start(sentence, at)
    )


def _is_sentence_start(sentence: Sentence, at: int) -> bool:
    """Is the word at the head of its sentence, where it says how many of the subject?"""
    return at <= 1 or sentence.tokens[at - 1].key in {"that", "because", "and", "but"}


def _find_opposite_limits(pair: Pair) -> Iterator[Finding]:
    if not all(
        any(QUANTIFIER_CLASSES.get(key) in {"min", "max"} for key in side.keys)
        for side in (pair.expected, pair.actual)
    ):
        return
    for expected in pair.expected.tokens:
        for actual in pair.actual.tokens:
            if (
                expected.fact
                and actual.fact
                and not expected.fact.weak
                and are_same_value(expected.fact, actual.fact)
            ):
                expected_limit, actual_limit = (
                    _find_limit_word(pair.expected, expected),
                    _find_limit_word(pair.actual, actual),
                )
                if (
                    expected_limit
                    and actual_limit
                    and {QUANTIFIER_CLASSES[expected_limit.key], QUANTIFIER_CLASSES[actual_limit.key]}
                    == {"min", "max"}
                ):
                    yield Finding(
                        build_alarm(
                            "quantifiers",
                            "the limit of a value",
                            f"{expected_limit.text} {expected.text}",
                            f"{actual_limit.text} {actual.text}",
                        )
                    )
                    return


def _find_limit_word(sentence: Sentence, token: Token) -> Token | None:
    at = sentence.tokens.index(token)
    near = (*sentence.tokens[max(0, at - 2) : at], *sentence.tokens[at + 1 : at + 2])
    return next(
        (neighbour for neighbour in near if QUANTIFIER_CLASSES.get(neighbour.key) in {"min", "max"}), None
    )
