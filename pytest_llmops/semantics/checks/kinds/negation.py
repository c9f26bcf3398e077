"""Negation: "not", "never", "without", "un-" on one side only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm, span_text
from pytest_llmops.semantics.checks.alignment import ANSWER_KEYS, FILLERS, Change, Pair
from pytest_llmops.semantics.checks.lexicon.opposites import UNPREFIXED_WORDS, find_opposites, is_negated_form
from pytest_llmops.semantics.checks.lexicon.stems import stem_phrase
from pytest_llmops.semantics.checks.lexicon.synonyms import are_synonyms
from pytest_llmops.semantics.checks.sentence import CLAUSE_WORDS, FUNCTION_WORDS, Sentence, Token
from pytest_llmops.semantics.word_lists import english_words


def _stem_words(name: str) -> frozenset[str]:
    return frozenset(map(stem_phrase, english_words(name)))


NEGATIVE_WORDS = _stem_words("negative_words")
STRONG_NEGATIVES = _stem_words("strong_negatives")
"""Words with a negation of their own."""
IMPLIED_NEGATIVES = STRONG_NEGATIVES | _stem_words("implied_negatives")
"""Words that may carry a negation of their own: beside them no alarm is raised."""
ADDED_NEGATIVES = _stem_words("added_negatives")
"""Words that negate a sentence by being added to it."""
MIN_SIMILARITY = 0.55
NEGATION_WINDOW = 4
MIN_COVERAGE = 0.4


def find_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield negations that only one side has, and words that a prefix negates."""
    findings = (
        list(_find_changed_negations(pair, claimed))
        if pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer
        else []
    )
    findings = findings or list(_find_negated_clauses(pair))
    if not findings and pair.covered >= MIN_COVERAGE:
        findings = list(_find_negated_words(pair))
    yield from findings


def _find_changed_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    meaningful = [change.left for change in pair.changes]
    all_expected = [token.key for change in pair.changes for token in change.expected]
    all_actual = [token.key for change in pair.changes for token in change.actual]
    for place, (change, (expected, actual)) in enumerate(zip(pair.changes, meaningful, strict=True)):
        if place in claimed:
            continue
        expected_negatives, actual_negatives = _negative_tokens(expected), _negative_tokens(actual)
        if bool(expected_negatives) != bool(actual_negatives):
            other_keys = all_actual if expected_negatives else all_expected
            beside = [
                candidate
                for candidate in (expected if expected_negatives else actual)
                if candidate.key not in NEGATIVE_WORDS
            ]
            reworded = beside and [
                candidate
                for candidate in (actual if expected_negatives else expected)
                if candidate.key not in NEGATIVE_WORDS
            ]
            if (
                not _is_cancelled_by_opposite(
                    pair, expected_negatives or actual_negatives, in_reference=bool(expected_negatives)
                )
                and not reworded
                and not _has_short_no(pair)
                and not any(map(may_be_negative, other_keys))
                and not _repeats_negation(
                    pair, expected_negatives or actual_negatives, in_reference=bool(expected_negatives)
                )
            ):
                yield Finding(
                    build_alarm(
                        "negation",
                        "a negation",
                        span_text(pair.expected, expected or change.expected),
                        span_text(pair.actual, actual or change.actual),
                    ),
                    place,
                )
            continue
        if _is_added_negative(expected, actual) or _is_added_negative(actual, expected):
            yield Finding(
                build_alarm(
                    "negation",
                    "a negation",
                    span_text(pair.expected, expected),
                    span_text(pair.actual, actual),
                ),
                place,
            )
            continue
        for expected_token in expected:
            actual_token = next(
                (
                    actual_token
                    for actual_token in actual
                    if is_negated_form(expected_token.key, actual_token.key)
                    or is_negated_form(actual_token.key, expected_token.key)
                ),
                None,
            )
            if actual_token is not None:
                yield Finding(
                    build_alarm("negation", "a negation", expected_token.text, actual_token.text), place
                )


def _is_cancelled_by_opposite(pair: Pair, negatives: Sequence[Token], *, in_reference: bool) -> bool:
    """Does an opposite in the clause of a negation take it back? "Not open" is "closed"; of something else it is not."""
    side = pair.expected if in_reference else pair.actual
    expected, actual = (
        [
            token
            for change in pair.changes
            for token in tokens(change)
            if token.key not in NEGATIVE_WORDS and token.key not in ANSWER_KEYS
        ]
        for tokens in (_expected, _actual)
    )
    swaps = find_opposites([token.key for token in expected], [token.key for token in actual])
    turned = {swap[0 if in_reference else 1] for swap in swaps}
    mine = [token for token in (expected if in_reference else actual) if token.key in turned]
    return any(
        _clause_number(side, swap) == _clause_number(side, other) for swap in negatives for other in mine
    )


def _expected(change: Change) -> Sequence[Token]:
    return change.expected


def _actual(change: Change) -> Sequence[Token]:
    return change.actual


def _clause_number(sentence: Sentence, token: Token) -> int:
    return sentence.clauses[sentence.tokens.index(token)]


def _has_short_no(pair: Pair) -> bool:
    """Is one of two short answers a "no" by itself, as good as "never"?"""
    return pair.is_short_answer and any(side.leading_answer is False for side in (pair.expected, pair.actual))


def _find_negated_clauses(pair: Pair) -> Iterator[Finding]:
    """A clause that both sentences have word by word, and only one of them negates."""
    if pair.token_similarity < MIN_SIMILARITY:
        return
    expected_clauses, actual_clauses = _clauses_by_words(pair.expected), _clauses_by_words(pair.actual)
    for words, expected in expected_clauses.items():
        actual = actual_clauses.get(words)
        if actual is None or min(len(expected_clauses), len(actual_clauses)) < 2:  # noqa: PLR2004
            continue
        negative = [any(token.key in NEGATIVE_WORDS for token in side) for side in (expected, actual)]
        if negative[0] != negative[1]:
            yield Finding(
                build_alarm(
                    "negation",
                    "a negation",
                    span_text(pair.expected, expected),
                    span_text(pair.actual, actual),
                )
            )


def _clauses_by_words(sentence: Sentence) -> dict[frozenset[str], list[Token]]:
    """The clauses of a sentence by what they speak of; those of one word, and those that come twice, are left out."""
    clauses: dict[frozenset[str], list[Token]] = {}
    repeated = set()
    for number in range(sentence.clauses[-1] + 1 if sentence.clauses else 0):
        tokens = [token for token, at in zip(sentence.tokens, sentence.clauses, strict=True) if at == number]
        words = frozenset(token.key for token in tokens) - NEGATIVE_WORDS - FILLERS - CLAUSE_WORDS
        repeated |= {words} & clauses.keys()
        if len(words) > 1:
            clauses[words] = tokens
    return {words: tokens for words, tokens in clauses.items() if words not in repeated}


def _have_opposites(keys: Sequence[str], other_keys: Sequence[str]) -> bool:
    excluded = NEGATIVE_WORDS | ANSWER_KEYS
    return bool(
        find_opposites(
            [key for key in keys if key not in excluded], [key for key in other_keys if key not in excluded]
        )
    )


def _is_added_negative(tokens: Sequence[Token], other_tokens: Sequence[Token]) -> bool:
    """Has one sentence only a "fails to", or an "against", more than the other?"""
    return len(tokens) == 1 and not other_tokens and tokens[0].key in ADDED_NEGATIVES


def may_be_negative(key: str) -> bool:
    """May a word carry a negation of its own, as "refuse" and "unknown" do?"""
    return key in IMPLIED_NEGATIVES or _has_negative_affix(key)


def _has_negative_affix(key: str) -> bool:
    return (key.startswith(("un", "non")) and key not in UNPREFIXED_WORDS) or (
        key.endswith("less") and key not in {"less", "unless"}
    )


def differ_in_negation(pair: Pair) -> bool:
    """Is only one of both negative? "You can within 14 days" and "you cannot after 14 days" are the same."""
    return len({bool(NEGATIVE_WORDS & set(side.keys)) for side in (pair.expected, pair.actual)}) > 1


def has_negative_wording(change: Change) -> bool:
    """Does a side say it with a negative word? "Not allowed" is "forbidden", and may be "not possible"."""
    expected, actual = change.left
    return any(
        token.key in NEGATIVE_WORDS or token.key in STRONG_NEGATIVES or _has_negative_affix(token.key)
        for token in (*expected, *actual)
    )


def _repeats_negation(pair: Pair, negatives: Sequence[Token], *, in_reference: bool) -> bool:
    """Does the other sentence have the same negative word too, only in another place?"""
    keys = pair.actual.keys if in_reference else pair.expected.keys
    mine = pair.expected.keys if in_reference else pair.actual.keys
    return sum(key in NEGATIVE_WORDS for key in keys) >= sum(key in NEGATIVE_WORDS for key in mine) and bool(
        negatives
    )


def _negative_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.key in NEGATIVE_WORDS]


def _find_negated_words(pair: Pair) -> Iterator[Finding]:
    """A word that one sentence negates and the other states, in sentences without any other negative word."""
    if _have_opposites(pair.expected.keys, pair.actual.keys):
        return
    for mine, other, flipped in ((pair.expected, pair.actual, False), (pair.actual, pair.expected, True)):
        if any(key in NEGATIVE_WORDS or may_be_negative(key) for key in other.keys):
            continue
        for head, words in _negated_heads(mine):
            stated = next(
                (
                    token
                    for token in other.tokens
                    if token.key == head.key or are_synonyms(token.key, head.key)
                ),
                None,
            )
            if (
                stated is None
                or sum(key in NEGATIVE_WORDS for key in mine.keys) != 1
                or any(map(may_be_negative, mine.keys))
            ):
                continue
            texts = (span_text(mine, words), stated.text)
            yield Finding(build_alarm("negation", "a negation", *(texts[::-1] if flipped else texts)))
            return


def _negated_heads(sentence: Sentence) -> Iterator[tuple[Token, Sequence[Token]]]:
    for place, token in enumerate(sentence.tokens):
        if token.key not in NEGATIVE_WORDS or token.key in {"nor", "rather than", "instead of"}:
            continue
        after = sentence.tokens[place + 1 : place + 1 + NEGATION_WINDOW]
        head = next(
            (candidate for candidate in after if candidate.key not in FUNCTION_WORDS and not candidate.fact),
            None,
        )
        if head is not None:
            yield head, (token, head)
