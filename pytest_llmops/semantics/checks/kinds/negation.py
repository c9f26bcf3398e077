"""Negation: "not", "never", "without", "un-" on one side only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Found, alarm, span
from pytest_llmops.semantics.checks.alignment import FILLERS, LEADING, Change, Pair
from pytest_llmops.semantics.checks.lexicon.opposites import NO_PREFIX, between, negated
from pytest_llmops.semantics.checks.lexicon.stems import stem
from pytest_llmops.semantics.checks.lexicon.synonyms import synonyms
from pytest_llmops.semantics.checks.sentence import CLAUSES, SMALL, Sentence, Token, learn


def _keys(words: Iterable[str]) -> frozenset[str]:
    """Return what tokens of these words and phrases are compared by."""
    return frozenset(" ".join(map(stem, word.split())) for word in words)


_NEGATIVE_PHRASES = (
    "no longer",
    "no one",
    "at no time",
    "by no means",
    "in no way",
    "rather than",
    "instead of",
)
_STRONG_PHRASES = ("apart from", "aside from", "other than")
NEGATIVE = _keys(
    (
        *["not", "never", "no", "none", "neither", "nor", "without", "nobody", "nothing", "nowhere"],
        *_NEGATIVE_PHRASES,
    )
)
STRONG = _keys(
    (
        *["fail", "failure", "lack", "refuse", "decline", "deny", "forbid", "forbidden", "prohibit", "prohibited", "ban", "banned", "prevent", "avoid", "unable", "impossible", "exclude", "except", "unless", "stop", "cease", "miss", "missing", "absent", "absence", "reject", "rejected", "block", "disallow", "invalid", "incapable", "withhold", "omit", "skip", "neglect", "wrong", "false", "drop", "lose", "refrain", "avert", "thwart", "foil", "deprive", "devoid", "contrast", "mystery", "abandon", "disagree", "disapprove", "dissatisfied", "disconnect", "discontinue", "illegal", "irregular", "illiterate", "impractical", "irrelevant", "inactive", "incomplete", "incorrect", "inaccurate", "insufficient", "inadequate", "informal", "invisible", "infrequent", "hardly", "barely", "scarcely", "rarely", "seldom"],
        *_STRONG_PHRASES,
    )
)  # fmt: skip
"""Words with a negation of their own."""
IMPLIED = STRONG | _keys(
    [
        "instead",
        "only",
        "until",
        "but",
        "however",
        "although",
        "though",
        "few",
        "little",
        "less",
        "against",
        "beyond",
        "out",
        "free",
        "too",
        "rather",
        "else",
        "other",
        "otherwise",
        "yet",
        "nor",
    ]
)
"""Words that may carry a negation of their own: beside them nothing is said."""
HARMLESS = (
    ("not", "only"),
    ("no", "matter"),
    ("no", "doubt"),
    ("no", "problem"),
    ("not", "just"),
    ("why", "not"),
    ("not", "to", "mention"),
)
learn(HARMLESS)
learn(tuple(map(stem, phrase.split())) for phrase in (*_NEGATIVE_PHRASES, *_STRONG_PHRASES))
COMING = _keys(
    [
        "fail",
        "refuse",
        "decline",
        "deny",
        "forget",
        "neglect",
        "against",
        "hardly",
        "barely",
        "scarcely",
        "rarely",
        "seldom",
        "stop",
        "cease",
        "avoid",
        "lack",
    ]
)
"""Words that turn a sentence round by being added to it."""
LOOSE = 0.55
WINDOW = 4
MIN_COVERED = 0.4


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    """Yield negations that only one side has, and words that a prefix negates."""
    found = list(_in_place(pair, claimed)) if pair.alike >= LOOSE or pair.tiny else []
    found = found or list(_of_a_clause(pair))
    if not found and pair.covered >= MIN_COVERED:
        found = list(_of_a_word(pair))
    yield from found


def _in_place(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    lefts = [change.left for change in pair.changes]
    all_expected = [token.key for change in pair.changes for token in change.expected]
    all_actual = [token.key for change in pair.changes for token in change.actual]
    for place, (change, (expected, actual)) in enumerate(zip(pair.changes, lefts, strict=True)):
        if place in claimed:
            continue
        here, there = _negative(expected), _negative(actual)
        if bool(here) != bool(there):
            others = all_actual if here else all_expected
            beside = [one for one in (expected if here else actual) if one.key not in NEGATIVE]
            reworded = beside and [one for one in (actual if here else expected) if one.key not in NEGATIVE]
            if (
                not _turned_back(pair, here or there, here=bool(here))
                and not reworded
                and not _answered(pair)
                and not any(map(implied, others))
                and not _again(pair, here or there, here=bool(here))
            ):
                yield Found(
                    alarm(
                        "negation",
                        "a negation",
                        span(pair.expected, expected or change.expected),
                        span(pair.actual, actual or change.actual),
                    ),
                    place,
                )
            continue
        if _only_strong(expected, actual) or _only_strong(actual, expected):
            yield Found(
                alarm("negation", "a negation", span(pair.expected, expected), span(pair.actual, actual)),
                place,
            )
            continue
        for a in expected:
            b = next((b for b in actual if negated(a.key, b.key) or negated(b.key, a.key)), None)
            if b is not None:
                yield Found(alarm("negation", "a negation", a.text, b.text), place)


def _turned_back(pair: Pair, negatives: Sequence[Token], *, here: bool) -> bool:
    """Does an opposite in the clause of a negation take it back? "Not open" is "closed"; of something else it is not."""
    side = pair.expected if here else pair.actual
    expected, actual = (
        [
            token
            for change in pair.changes
            for token in tokens(change)
            if token.key not in NEGATIVE and token.key not in LEADING
        ]
        for tokens in (_expected, _actual)
    )
    two = between([token.key for token in expected], [token.key for token in actual])
    turned = {one[0 if here else 1] for one in two}
    mine = [token for token in (expected if here else actual) if token.key in turned]
    return any(_clause(side, one) == _clause(side, other) for one in negatives for other in mine)


def _expected(change: Change) -> Sequence[Token]:
    return change.expected


def _actual(change: Change) -> Sequence[Token]:
    return change.actual


def _clause(sentence: Sentence, token: Token) -> int:
    return sentence.clauses[sentence.tokens.index(token)]


def _answered(pair: Pair) -> bool:
    """Is one of two short answers a "no" by itself, as good as "never"?"""
    return pair.tiny and any(side.lead is False for side in (pair.expected, pair.actual))


def _of_a_clause(pair: Pair) -> Iterator[Found]:
    """A clause that both sentences have word by word, and only one of them negates."""
    if pair.alike < LOOSE:
        return
    wanted, said = _clauses(pair.expected), _clauses(pair.actual)
    for words, one in wanted.items():
        other = said.get(words)
        if other is None or min(len(wanted), len(said)) < 2:  # noqa: PLR2004
            continue
        negative = [any(token.key in NEGATIVE for token in side) for side in (one, other)]
        if negative[0] != negative[1]:
            yield Found(alarm("negation", "a negation", span(pair.expected, one), span(pair.actual, other)))


def _clauses(sentence: Sentence) -> dict[frozenset[str], list[Token]]:
    """The clauses of a sentence by what they speak of; those of one word, and those that come twice, are left out."""
    found: dict[frozenset[str], list[Token]] = {}
    twice = set()
    for number in range(sentence.clauses[-1] + 1 if sentence.clauses else 0):
        tokens = [token for token, at in zip(sentence.tokens, sentence.clauses, strict=True) if at == number]
        words = frozenset(token.key for token in tokens) - NEGATIVE - FILLERS - CLAUSES
        twice |= {words} & found.keys()
        if len(words) > 1:
            found[words] = tokens
    return {words: tokens for words, tokens in found.items() if words not in twice}


def _opposites(one: Sequence[str], other: Sequence[str]) -> bool:
    apart = NEGATIVE | LEADING
    return bool(between([key for key in one if key not in apart], [key for key in other if key not in apart]))


def _only_strong(tokens: Sequence[Token], others: Sequence[Token]) -> bool:
    """Has one sentence only a "fails to", or an "against", more than the other?"""
    return len(tokens) == 1 and not others and tokens[0].key in COMING


def implied(key: str) -> bool:
    """May a word carry a negation of its own, as "refuse" and "unknown" do?"""
    return key in IMPLIED or _prefixed(key)


def _prefixed(key: str) -> bool:
    return (key.startswith(("un", "non")) and key not in NO_PREFIX) or (
        key.endswith("less") and key not in {"less", "unless"}
    )


def one_negative(pair: Pair) -> bool:
    """Is only one of both negative? "You can within 14 days" and "you cannot after 14 days" are the same."""
    return len({bool(NEGATIVE & set(side.keys)) for side in (pair.expected, pair.actual)}) > 1


def reworded(change: Change) -> bool:
    """Does a side say it with a negative word? "Not allowed" is "forbidden", and may be "not possible"."""
    expected, actual = change.left
    return any(
        token.key in NEGATIVE or token.key in STRONG or _prefixed(token.key) for token in (*expected, *actual)
    )


def _again(pair: Pair, negatives: Sequence[Token], *, here: bool) -> bool:
    """Does the other sentence have the same negative word too, only in another place?"""
    keys = pair.actual.keys if here else pair.expected.keys
    mine = pair.expected.keys if here else pair.actual.keys
    return sum(key in NEGATIVE for key in keys) >= sum(key in NEGATIVE for key in mine) and bool(negatives)


def _negative(tokens: Sequence[Token]) -> list[Token]:
    return [one for one in tokens if one.key in NEGATIVE]


def _of_a_word(pair: Pair) -> Iterator[Found]:
    """A word that one sentence negates and the other states, in sentences without any other negative word."""
    if _opposites(pair.expected.keys, pair.actual.keys):
        return
    for mine, other, flipped in ((pair.expected, pair.actual, False), (pair.actual, pair.expected, True)):
        if any(key in NEGATIVE or implied(key) for key in other.keys):
            continue
        for head, words in _negated_words(mine):
            stated = next(
                (token for token in other.tokens if token.key == head.key or synonyms(token.key, head.key)),
                None,
            )
            if (
                stated is None
                or sum(key in NEGATIVE for key in mine.keys) != 1
                or any(map(implied, mine.keys))
            ):
                continue
            shown = (span(mine, words), stated.text)
            yield Found(alarm("negation", "a negation", *(shown[::-1] if flipped else shown)))
            return


def _negated_words(sentence: Sentence) -> Iterator[tuple[Token, Sequence[Token]]]:
    for place, token in enumerate(sentence.tokens):
        if token.key not in NEGATIVE or token.key in {"nor", "rather than", "instead of"}:
            continue
        after = sentence.tokens[place + 1 : place + 1 + WINDOW]
        head = next((one for one in after if one.key not in SMALL and not one.fact), None)
        if head is not None:
            yield head, (token, head)
