"""Quantifiers, limits and modality: "all" is not "some", "at least" is not "at most", "must" is not "may"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Found, alarm, span
from pytest_llmops.semantics.checks.alignment import Change, Pair
from pytest_llmops.semantics.checks.kinds.negation import implied, one_negative
from pytest_llmops.semantics.checks.lexicon.stems import stem
from pytest_llmops.semantics.checks.quantities.facts import same
from pytest_llmops.semantics.checks.sentence import Sentence, Token, learn

_CLASSES = {
    "all": "all every each everyone everybody everything always entire whole any both",
    "most": "most mostly majority usually normally generally typically often mainly all_but",
    "some": "some several sometimes occasionally certain partly someone many a_few a_couple_of every_second every_other every_third",
    "few": "few rarely seldom hardly",
    "none": "none nobody no_one never neither",
    "only": "only solely exclusively",
    "min": "at_least minimum no_less_than no_fewer_than not_less_than or_more or_over or_older or_above or_later at_minimum no_earlier_than minimum_of",
    "max": "at_most maximum no_more_than not_more_than up_to or_less or_fewer or_under or_younger or_below or_sooner at_maximum no_later_than capped_at limited_to maximum_of",
    "more": "more_than over longer_than greater_than above exceeding",
    "less": "less_than fewer_than under below shorter_than",
    "exact": "exactly precisely",
    "about": "about approximately roughly around nearly almost",
    "must": "must have_to need_to required mandatory shall obliged",
    "may": "may can could might need_not optional allowed permitted able free_to",
    "should": "should recommended ought_to",
}
CLASSES = {
    " ".join(map(stem, word.split("_"))): name for name, words in _CLASSES.items() for word in words.split()
}
learn(
    tuple(map(stem, word.split("_"))) for words in _CLASSES.values() for word in words.split() if "_" in word
)
CLASSES[stem("required")] = "must"
COMPATIBLE = (
    {"min", "more"}, {"max", "less"}, {"most", "about"}, {"should", "may"}, {"exact", "only"}, {"all", "must"}, {"some", "may"}, {"all", "about"}, {"few", "none"},
)  # fmt: skip
ADDED = frozenset({"some", "few", "none", "only", "min", "max", "more", "less"})
"""Classes that change what is said by coming or going: "orders ship free" says the same of all orders."""
FORBIDDING = frozenset({"must", "may", "can"})
NEEDED = frozenset({"have to", "need to", "need", "oblig", "mandatory", stem("required"), stem("necessary")})
BOUND, NEAR = 0.5, 2
PLACES = frozenset({"over", "under", "abov", "below"})
"""Limits only in front of a value."""
LOOSE = 0.65
REACH = 3


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    """Yield quantifiers and modal words in the place of others, and limits of one value that point the other way."""
    found = list(_forbidden(pair))
    for place, change in enumerate(pair.changes) if pair.alike >= LOOSE and not found else ():
        if place not in claimed and (two := _differ(pair, change)):
            found.append(Found(alarm("quantifiers", "how many, or how bound", *two), place))
    yield from found or _limits(pair)


def _forbidden(pair: Pair) -> Iterator[Found]:
    """You must not, and you need not."""
    if pair.alike < BOUND:
        return
    one, other = _bound(pair.expected), _bound(pair.actual)
    if len(one) == len(other) == 1 and one.keys() != other.keys():
        yield Found(alarm("quantifiers", "how many, or how bound", *one.values(), *other.values()))


def _bound(sentence: Sentence) -> dict[str, str]:
    """What a sentence forbids ("must not") or leaves open ("need not", "do not have to"), as written."""
    found = {}
    for at, token in enumerate(sentence.tokens):
        after = sentence.tokens[at + 1 : at + 1 + NEAR]
        if token.key == "need not":
            found["open"] = token.text
        elif token.key in FORBIDDING and after and after[0].key == "not":
            found["forbidden"] = span(sentence, (token, after[0]))
        elif token.key in {"not", "no"}:
            needed = next((one for one in after if one.key in NEEDED), None)
            if needed:
                found["open"] = span(sentence, (token, needed))
    return found


def forbid_alike(pair: Pair) -> bool:
    """Do both forbid, one with "must not" and one with "may not"?"""
    return all("forbidden" in _bound(side) for side in (pair.expected, pair.actual))


def _differ(pair: Pair, change: Change) -> tuple[str, str] | None:
    expected, actual = (
        [token for token in tokens if _counts(side, token)]
        for side, tokens in ((pair.expected, change.expected), (pair.actual, change.actual))
    )
    a, b = ({CLASSES[token.key] for token in side} for side in (expected, actual))
    count = _count(change)
    if count is not None and (a ^ b) & {"all", "none", "most"} and not (a and b):
        return (expected[0].text, count.text) if expected else (count.text, actual[0].text)
    if a & b or any(
        (one in a and two in b) or (one in b and two in a) for one, two in map(sorted, COMPATIBLE)
    ):
        return None
    if _turned_over(pair, a | b) or any(
        implied(token.key) for token in (*change.expected, *change.actual) if token.key not in CLASSES
    ):
        return None
    if expected and actual:
        return expected[0].text, actual[0].text
    return _come_or_gone(pair, change, expected, actual) if expected or actual else None


def _turned_over(pair: Pair, classes: set[str]) -> bool:
    """Does a "not" make them the same? "Not above" is "below", and "may not" is "must not"."""
    return (classes <= {"must", "may"} and forbid_alike(pair)) or (
        {"less", "more"} <= classes and one_negative(pair)
    )


def _counts(sentence: Sentence, token: Token) -> bool:
    if token.key not in PLACES:
        return token.key in CLASSES
    following = sentence.tokens[sentence.tokens.index(token) + 1 :][:1]
    return bool(following and following[0].fact)


def _count(change: Change) -> Token | None:
    """A number in a change of few words: "two of" for "each of"."""
    few = len(change.left[0]) + len(change.left[1]) <= REACH
    tokens = (*change.expected, *change.actual)
    return next((token for token in tokens if few and token.fact and token.fact.raw is not None), None)


def _come_or_gone(
    pair: Pair, change: Change, expected: Sequence[Token], actual: Sequence[Token]
) -> tuple[str, str] | None:
    one_side = expected or actual
    if change.left != _alone(change, one_side) or not _added(pair, change, one_side[0]):
        return None
    if _harmless(pair, change, one_side[0], pair.actual if expected else pair.expected):
        return None
    return (one_side[0].text, "") if expected else ("", one_side[0].text)


def _added(pair: Pair, change: Change, token: Token) -> bool:
    """Does the word change what is said by coming or going? "Nearly" does in front of "all"."""
    kind = CLASSES[token.key]
    mine, at = (pair.expected, change.at[0]) if token in change.expected else (pair.actual, change.at[1])
    following = mine.tokens[mine.tokens.index(token, at) + 1 :][:1]
    return kind in ADDED or (
        kind == "about" and any(CLASSES.get(one.key) in {"all", "none"} for one in following)
    )


def _alone(change: Change, tokens: Sequence[Token]) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """What the change would be if these were all of it that counts."""
    kept = set(tokens)
    return tuple(t for t in change.left[0] if t in kept), tuple(t for t in change.left[1] if t in kept)


def _harmless(pair: Pair, change: Change, token: Token, other: Sentence) -> bool:
    """Does the word say nothing new there: "only" in front of a value, or one that the other sentence has elsewhere?"""
    kind = CLASSES[token.key]
    if any(CLASSES.get(key) == kind for key in other.keys):
        return True
    mine, at = (pair.expected, change.at[0]) if token in change.expected else (pair.actual, change.at[1])
    following = mine.tokens[at : at + REACH]
    if kind == "only":
        return any(one.fact for one in following)
    if kind in {"max", "less"}:
        return any(key in {"within", "in", "until", "by"} for key in mine.keys[max(0, at - 2) : at])
    return (
        kind == "some"
        and token.key in {"some", "several", "many"}
        and change.left != ((), ())
        and not _begins(mine, at)
    )


def _begins(sentence: Sentence, at: int) -> bool:
    """Is the word at the head of its sentence, where it says how many of the subject?"""
    return at <= 1 or sentence.tokens[at - 1].key in {"that", "because", "and", "but"}


def _limits(pair: Pair) -> Iterator[Found]:
    if not all(
        any(CLASSES.get(key) in {"min", "max"} for key in side.keys) for side in (pair.expected, pair.actual)
    ):
        return
    for one in pair.expected.tokens:
        for other in pair.actual.tokens:
            if one.fact and other.fact and not one.fact.weak and same(one.fact, other.fact):
                a, b = _limit(pair.expected, one), _limit(pair.actual, other)
                if a and b and {CLASSES[a.key], CLASSES[b.key]} == {"min", "max"}:
                    yield Found(
                        alarm(
                            "quantifiers",
                            "the limit of a value",
                            f"{a.text} {one.text}",
                            f"{b.text} {other.text}",
                        )
                    )
                    return


def _limit(sentence: Sentence, token: Token) -> Token | None:
    at = sentence.tokens.index(token)
    near = (*sentence.tokens[max(0, at - 2) : at], *sentence.tokens[at + 1 : at + 2])
    return next((one for one in near if CLASSES.get(one.key) in {"min", "max"}), None)
