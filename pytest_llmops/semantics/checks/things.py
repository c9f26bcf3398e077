"""The same quantity of another thing: "64 GB of RAM", "64 GB of storage"."""

from collections.abc import Iterator
from typing import NamedTuple

from pytest_llmops.semantics.checks.alignment import FILLERS, Finding, Pair, build_finding
from pytest_llmops.semantics.checks.negation import may_be_negative
from pytest_llmops.semantics.checks.quantifiers import QUANTIFIER_CLASSES
from pytest_llmops.semantics.checks.quantities.facts import Fact, are_same_value
from pytest_llmops.semantics.checks.relations import ARTICLES, NO_THINGS
from pytest_llmops.semantics.checks.sentence import FUNCTION_WORDS, Sentence, Token
from pytest_llmops.semantics.word_lists.reader import english_words

# What is measured of a thing. "Two weeks of notice" and "ten metres of road" have too many other words for the thing.
DIMENSIONS = frozenset({"data", "mass", "volume"})
NON_NOUNS = english_words("non_nouns")
GENERAL_NOUNS = english_words("general_nouns")


class _Amount(NamedTuple):
    """A quantity and the word for what it is a quantity of."""

    fact: Fact
    thing: Token


def find_other_things(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield quantities whose thing is another one, and occurs nowhere in the other text."""
    expected = list(_read_amounts(pair.expected))
    actual = list(_read_amounts(pair.actual))
    reference_words = {key for sentence in pair.reference.sentences for key in sentence.keys}
    answer_words = {key for sentence in pair.answer.sentences for key in sentence.keys}
    for amount in expected:
        if amount.thing.key in answer_words:
            continue
        others = [other for other in actual if are_same_value(amount.fact, other.fact)]
        if len(others) != 1 or others[0].thing.key in reference_words:
            continue
        text = _quote_amount(pair.expected, amount)
        other_text = _quote_amount(pair.actual, others[0])
        yield build_finding("things", "the same quantity of something else", text, other_text)


def _quote_amount(sentence: Sentence, amount: _Amount) -> str:
    return sentence.text[amount.fact.start : amount.thing.end]


def _read_amounts(sentence: Sentence) -> Iterator[_Amount]:
    """Yield the quantities of data, mass and volume with the noun behind them: "64 GB of RAM", "64 GB RAM"."""
    for place, token in enumerate(sentence.tokens):
        if token.fact is None or token.fact.weak or token.fact.dims.isdisjoint(DIMENSIONS):
            continue
        following = [after for after in sentence.tokens_after(place, 3) if after.key not in ARTICLES]
        if following and following[0].key == "of":
            following = following[1:]
        if not following or not _is_noun(following[0]):
            continue
        # "200 g of fresh basil": the word behind may be the noun, and the first one tells nothing.
        end = following[0].end
        if len(following) > 1 and _is_noun(following[1]) and sentence.text[end : following[1].start] == " ":
            continue
        yield _Amount(token.fact, following[0])


def _is_noun(token: Token) -> bool:
    """Return whether a word behind a quantity may be what it is a quantity of."""
    word = token.text.lower()
    if token.fact or word in NON_NOUNS or word in GENERAL_NOUNS or may_be_negative(token.key):
        return False
    if token.key in FILLERS or token.key in FUNCTION_WORDS or token.key in NO_THINGS:
        return False
    return token.key not in QUANTIFIER_CLASSES
