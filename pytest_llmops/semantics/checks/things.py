"""The same quantity of another thing: "64 GB of RAM", "64 GB of storage"."""

from collections.abc import Iterator
from typing import NamedTuple

from pytest_llmops.semantics.checks.alignment import FILLERS, Finding, Pair, build_finding
from pytest_llmops.semantics.checks.negation import may_be_negative
from pytest_llmops.semantics.checks.quantifiers import QUANTIFIER_CLASSES
from pytest_llmops.semantics.checks.quantities.facts import Fact, are_same_value
from pytest_llmops.semantics.checks.relations import ARTICLES, NO_THINGS
from pytest_llmops.semantics.checks.sentence import FUNCTION_WORDS, Sentence, Token, stem_word
from pytest_llmops.semantics.word_lists.reader import english_words

# The measured property of a thing. "Two weeks of notice" and "ten metres of road" have too many other words for the thing.
DIMENSIONS = frozenset({"data", "mass", "volume"})
NON_NOUNS = english_words("non_nouns")
GENERAL_NOUNS = english_words("general_nouns")
# Things of which one is never another name of a thing next to it. Two words that are not here may be synonyms, as petrol and fuel are.
CONTRASTS = (
    ("ram memory", "storage disk disc ssd hdd drive", "traffic bandwidth"),
    ("upload", "download"),
    ("flour", "sugar", "salt", "butter", "rice"),
    ("protein", "fat", "fibre fiber"),
    ("water", "milk", "oil"),
)
# "Main memory" and "hard disk" are the same things as memory and disk.
PLAIN_ADJECTIVES = frozenset({"main", "hard"})


def _read_contrasts() -> dict[str, tuple[int, frozenset[str]]]:
    """Return for the key of each thing the number of its contrast, and the keys of its other names and itself."""
    contrasts: dict[str, tuple[int, frozenset[str]]] = {}
    for number, groups in enumerate(CONTRASTS):
        for names in groups:
            keys = frozenset(map(stem_word, names.split()))
            contrasts.update(dict.fromkeys(keys, (number, keys)))
    return contrasts


_CONTRASTS_BY_KEY = _read_contrasts()


class _Amount(NamedTuple):
    """A quantity and the word for the thing it measures."""

    fact: Fact
    thing: Token

    @property
    def names(self) -> frozenset[str]:
        """The keys of the thing and of its other names."""
        return _CONTRASTS_BY_KEY[self.thing.key][1]

    def contrasts_with(self, other: "_Amount") -> bool:
        """Return whether the other amount is of a thing that is never another name of this one."""
        number, names = _CONTRASTS_BY_KEY[self.thing.key]
        other_number, other_names = _CONTRASTS_BY_KEY[other.thing.key]
        return number == other_number and names.isdisjoint(other_names)


def find_other_things(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield quantities whose thing is one of `CONTRASTS` to the other's, and occurs nowhere in the other text."""
    expected = list(_read_amounts(pair.expected))
    actual = list(_read_amounts(pair.actual))
    reference_words = {key for sentence in pair.reference.sentences for key in sentence.keys}
    answer_words = {key for sentence in pair.answer.sentences for key in sentence.keys}
    for amount in expected:
        others = [other for other in actual if are_same_value(amount.fact, other.fact)]
        if len(others) != 1 or not amount.contrasts_with(others[0]):
            continue
        if not amount.names.isdisjoint(answer_words) or not others[0].names.isdisjoint(reference_words):
            continue
        text = _quote_amount(pair.expected, amount)
        other_text = _quote_amount(pair.actual, others[0])
        place = _find_change(pair, amount.thing, others[0].thing)
        yield build_finding("things", "the same quantity of something else", text, other_text, place)


def _find_change(pair: Pair, thing: Token, other: Token) -> int | None:
    """Return the number of the change from one thing to another, so that no later check reports it too; None if none is."""
    for place, change in enumerate(pair.changes):
        if thing in change.expected and other in change.actual:
            return place
    return None


def _quote_amount(sentence: Sentence, amount: _Amount) -> str:
    return sentence.text[amount.fact.start : amount.thing.end]


def _read_amounts(sentence: Sentence) -> Iterator[_Amount]:
    """Yield the quantities of data, mass and volume with a thing of `CONTRASTS` behind them: "64 GB of RAM", "64 GB RAM"."""
    for place, token in enumerate(sentence.tokens):
        if token.fact is None or token.fact.weak or token.fact.dims.isdisjoint(DIMENSIONS):
            continue
        following = [after for after in sentence.tokens_after(place, 3) if after.key not in ARTICLES]
        if following and following[0].key == "of":
            following = following[1:]
        if following and following[0].key in PLAIN_ADJECTIVES:
            following = following[1:]
        if not following or following[0].key not in _CONTRASTS_BY_KEY:
            continue
        # "64 GB memory card", "200 g of rice flour": the word behind is the noun, and the first one adds nothing.
        end = following[0].end
        if len(following) > 1 and _is_noun(following[1]) and sentence.text[end : following[1].start] == " ":
            continue
        yield _Amount(token.fact, following[0])


def _is_noun(token: Token) -> bool:
    """Return whether a word behind a thing may be the noun that it belongs to: "card" in "memory card"."""
    word = token.text.lower()
    if token.fact or word in NON_NOUNS or word in GENERAL_NOUNS or may_be_negative(token.key):
        return False
    if token.key in FILLERS or token.key in FUNCTION_WORDS or token.key in NO_THINGS:
        return False
    return token.key not in QUANTIFIER_CLASSES
