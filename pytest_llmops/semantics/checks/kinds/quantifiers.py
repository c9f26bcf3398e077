"""Quantifiers, limits and modality: "all" is not "some", "at least" is not "at most", "must" is not "may"."""

import re
from collections.abc import Iterator

from pytest_llmops.semantics.checks.alignment import Change, Pair
from pytest_llmops.semantics.checks.kinds import Finding, build_finding
from pytest_llmops.semantics.checks.kinds.negation import differ_in_negation, may_be_negative
from pytest_llmops.semantics.checks.lexicon import stem_phrase
from pytest_llmops.semantics.checks.sentence import Sentence, Token
from pytest_llmops.semantics.word_lists import read_sections

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
MIN_SIMILARITY = 0.65
MAX_DISTANCE = 3


def find_quantifier_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield quantifiers and modal words in the place of others, and limits of a value that point the other way."""
    if pair.token_similarity >= MIN_SIMILARITY:
        for place, change in pair.unclaimed_changes(claimed):
            if texts := _unlike_quantifiers(pair, change):
                yield build_finding("quantifiers", "how many, or how bound", *texts, place)


def _unlike_quantifiers(pair: Pair, change: Change) -> tuple[str, str] | None:
    # Return the quantifiers of both sides of a change that contradict each other, as written.
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
        return (expected[0].text, counts[0].text) if expected else (counts[0].text, actual[0].text)
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
