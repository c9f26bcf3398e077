"""Any other word: where nearly all words are the same in the same order, the one that is not is the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Found, alarm, span
from pytest_llmops.semantics.checks.alignment import PRONOUNS, Change, Pair
from pytest_llmops.semantics.checks.kinds.negation import one_negative, reworded
from pytest_llmops.semantics.checks.kinds.quantifiers import CLASSES, forbid_alike
from pytest_llmops.semantics.checks.sentence import Token

MAX_CHANGES = 2
"""Places with other words, up to which it is an edit; a paraphrase has more."""
MAX_BESIDE = 1
"""Words that come or go in other places; a paraphrase has more."""
MAX_WORDS = 3
"""Words of one side of a place, that are still an edit."""
PARTICLES = frozenset(
    ["in", "on", "off", "out", "up", "down", "back", "away", "over", "along", "around", "through"]
)
OFTEN = frozenset(
    ["daily", "weekly", "monthly", "yearly", "annually", "hourly", "nightly", "quarterly", "dai"]
)
LOOSE = frozenset(
    [
        "in",
        "on",
        "at",
        "by",
        "for",
        "with",
        "to",
        "of",
        "from",
        "into",
        "onto",
        "upon",
        "over",
        "under",
        "near",
        "about",
        "as",
        "than",
        "like",
        "through",
        "across",
        "along",
        "around",
        "up",
        "down",
        "off",
        "out",
        "and",
        "or",
        "but",
        "more",
        "most",
        "much",
        "many",
        "such",
        "own",
        "usually",
        "normally",
        "generally",
        "typically",
        "often",
        "always",
        "about",
        "around",
        "approximately",
        "roughly",
        "up",
        "to",
    ]
)
"""Words that may stand for each other more often than not."""


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    """Yield words in the place of unlike words, in sentences that are the same but for them."""
    if not pair.minimal:
        return
    open_, beside = [], 0
    balanced = {place for place, _, _ in pair.flips} if one_negative(pair) else set()
    for place, change in enumerate(pair.changes):
        expected, actual = _unlike(pair, change)
        if (
            place in claimed
            or place in balanced
            or reworded(change)
            or not (_says(expected) and _says(actual))
        ):
            beside += len(expected) + len(actual)
        else:
            open_.append((place, expected, actual))
    if len(open_) > MAX_CHANGES or beside > MAX_BESIDE:
        return
    for place, expected, actual in open_:
        one, other = _apart(expected, actual), _apart(actual, expected)
        if (
            one
            and other
            and max(len(one), len(other)) <= MAX_WORDS
            and abs(len(one) - len(other)) < MAX_WORDS - 1
            and not all(map(_manner, (*expected, *actual)))
        ):
            yield Found(
                alarm(
                    "words",
                    "another word in the same place",
                    span(pair.expected, expected),
                    span(pair.actual, actual),
                ),
                place,
            )


def _unlike(pair: Pair, change: Change) -> tuple[list[Token], list[Token]]:
    """What is left without limits of one kind, "up to" and "at most"."""
    classes = [{CLASSES.get(token.key) for token in side} - {None} for side in change.left]
    both = classes[0] & classes[1]
    if classes[0] | classes[1] == {"must", "may"} and forbid_alike(pair):
        both = {"must", "may"}
    one, other = ([token for token in side if CLASSES.get(token.key) not in both] for side in change.left)
    return one, other


def _says(tokens: Sequence[Token]) -> bool:
    return any(token.key not in LOOSE and token.key not in PRONOUNS and not token.fact for token in tokens)


def _apart(tokens: Sequence[Token], others: Sequence[Token]) -> list[str]:
    """The words of some tokens that others do not have; "rule out" is one word."""
    said = {word for token in others for word in token.key.split()}
    return [
        word for token in tokens for word in token.key.split() if word not in said and word not in PARTICLES
    ]


def _manner(token: Token) -> bool:
    """Does it say how, as "informally" and "casually" do? That seldom makes another fact, and synonyms are many."""
    return token.text.endswith("ly") and token.key not in OFTEN
