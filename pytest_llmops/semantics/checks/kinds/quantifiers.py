"""Quantifiers, limits and modality: "all" is not "some", "at least" is not "at most", "must" is not "may"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
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
    ("min", "more"), ("max", "less"), ("most", "about"), ("should", "may"), ("exact", "only"), ("all", "must"),
    ("some", "may"), ("all", "about"), ("few", "none"),
)  # fmt: skip
SIGNIFICANT_CLASSES = frozenset({"some", "few", "none", "only", "min", "max", "more", "less"})
"""Classes that change the meaning by coming or going: "orders ship free" says the same of all orders."""
FORBIDDING_MODALS = frozenset({"must", "may", "can"})
NECESSITY_WORDS = frozenset(
    {"have to", "need to", "need", "oblig", "mandatory", stem_word("required"), stem_word("necessary")}
)
PLACE_PREPOSITIONS = frozenset({"over", "under", "abov", "below"})
"""Limits only in front of a value."""
MIN_SIMILARITY = 0.65
MIN_MODAL_SIMILARITY = 0.5
MODAL_WINDOW = 2
"""Tokens behind a modal verb or a "not", among which is the other of the two."""
MAX_DISTANCE = 3
MODALITY = "how many, or how bound"


def find_quantifier_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield quantifiers and modal words in the place of others, and limits of a value that point the other way."""
    findings = []
    if pair.token_similarity >= MIN_MODAL_SIMILARITY:
        # "You must not" against "you need not".
        expected, actual = map(_modal_phrases, pair.sides)
        if len(expected) == len(actual) == 1 and expected.keys() != actual.keys():
            (text,), (other_text,) = expected.values(), actual.values()
            findings = [build_finding("quantifiers", MODALITY, text, other_text)]
    if not findings and pair.token_similarity >= MIN_SIMILARITY:
        for place, change in pair.unclaimed_changes(claimed):
            if texts := _unlike_quantifiers(pair, change):
                findings.append(build_finding("quantifiers", MODALITY, *texts, place))
    yield from findings or _find_opposite_limits(pair)


def both_forbid(pair: Pair) -> bool:
    """Return whether both sentences forbid something, as with "must not" and with "may not"."""
    return all("forbidden" in _modal_phrases(side) for side in pair.sides)


def _modal_phrases(sentence: Sentence) -> dict[str, str]:
    """Return what a sentence forbids ("must not") or leaves open ("need not", "do not have to"), as written."""
    phrases = {}
    for place, token in enumerate(sentence.tokens):
        after = sentence.tokens_after(place, MODAL_WINDOW)
        if token.key == "need not":
            phrases["open"] = token.text
        elif token.key in FORBIDDING_MODALS and after and after[0].key == "not":
            phrases["forbidden"] = sentence.span_text((token, after[0]))
        elif token.key in {"not", "no"}:
            needed = next((other for other in after if other.key in NECESSITY_WORDS), None)
            if needed:
                phrases["open"] = sentence.span_text((token, needed))
    return phrases


def _unlike_quantifiers(pair: Pair, change: Change) -> tuple[str, str] | None:
    """Return the quantifiers of both sides of a change that contradict each other, as written."""
    expected, actual = (
        [
            token
            for token in tokens
            if token.key in QUANTIFIER_CLASSES
            and (token.key not in PLACE_PREPOSITIONS or side.is_before_fact(token))
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
    # "Not above" is "below", and "may not" is "must not".
    all_kinds = kinds | other_kinds
    is_balanced = (all_kinds <= {"must", "may"} and both_forbid(pair)) or (
        {"less", "more"} <= all_kinds and differ_in_negation(pair)
    )
    others = (token.key for token in change.tokens if token.key not in QUANTIFIER_CLASSES)
    if are_compatible or is_balanced or any(map(may_be_negative, others)):
        return None
    if expected and actual:
        return expected[0].text, actual[0].text
    if expected:
        is_added = _is_significant(pair.expected, change.at[0], expected, change, pair.actual)
        return (expected[0].text, "") if is_added else None
    if actual:
        is_added = _is_significant(pair.actual, change.at[1], actual, change, pair.expected)
        return ("", actual[0].text) if is_added else None
    return None


def _is_significant(
    sentence: Sentence, at: int, quantifiers: Sequence[Token], change: Change, other: Sentence
) -> bool:
    """Return whether quantifiers that only one sentence has change its meaning.

    They must be all of the change that counts. "Nearly" is significant in front of "all"; "only" in front of a value
    is not, and neither is a quantifier that the other sentence has in another place.
    """
    word, kind = quantifiers[0], QUANTIFIER_CLASSES[quantifiers[0].key]
    after = sentence.tokens_after(sentence.tokens.index(word, at))
    is_total = kind == "about" and any(QUANTIFIER_CLASSES.get(t.key) in {"all", "none"} for t in after)
    is_alone = all(token in quantifiers for side in change.unmatched for token in side)
    if not is_alone or not (kind in SIGNIFICANT_CLASSES or is_total):
        return False
    if any(QUANTIFIER_CLASSES.get(key) == kind for key in other.keys):
        return False
    if kind == "only":
        return not any(token.fact for token in sentence.tokens[at : at + MAX_DISTANCE])
    if kind in {"max", "less"}:
        return {"within", "in", "until", "by"}.isdisjoint(sentence.keys[max(0, at - 2) : at])
    # At the head of a clause it says how many of the subject.
    is_head = at <= 1 or sentence.keys[at - 1] in {"that", "because", "and", "but"}
    return is_head or word.key not in {"some", "several", "many"} or change.unmatched == ((), ())


def _find_opposite_limits(pair: Pair) -> Iterator[Finding]:
    """Yield "at least 5" against "at most 5"."""
    if any({"min", "max"}.isdisjoint(map(QUANTIFIER_CLASSES.get, side.keys)) for side in pair.sides):
        return
    for tokens in product(*(side.tokens for side in pair.sides)):
        expected, actual = (token.fact for token in tokens)
        if not expected or not actual or expected.weak or not are_same_value(expected, actual):
            continue
        limit, other_limit = map(_find_limit, pair.sides, tokens)
        if limit and other_limit and QUANTIFIER_CLASSES[limit.key] != QUANTIFIER_CLASSES[other_limit.key]:
            texts = (f"{limit.text} {expected.text}", f"{other_limit.text} {actual.text}")
            yield build_finding("quantifiers", "the limit of a value", *texts)
            return


def _find_limit(sentence: Sentence, token: Token) -> Token | None:
    place = sentence.tokens.index(token)
    near = (*sentence.tokens[max(0, place - 2) : place], *sentence.tokens_after(place))
    return next((other for other in near if QUANTIFIER_CLASSES.get(other.key) in {"min", "max"}), None)
