"""Negation: "not", "never", "without", "un-" on one side only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import ANSWER_KEYS, FILLERS, Change, Pair
from pytest_llmops.semantics.checks.lexicon.opposites import UNPREFIXED_WORDS, find_opposites, is_negated_form
from pytest_llmops.semantics.checks.lexicon.stems import stem_phrase
from pytest_llmops.semantics.checks.lexicon.synonyms import are_synonyms
from pytest_llmops.semantics.checks.sentence import CLAUSE_WORDS, FUNCTION_WORDS, Sentence, Token
from pytest_llmops.semantics.word_lists import english_words

NEGATIVE_WORDS = frozenset(map(stem_phrase, english_words("negative_words")))
UNCOMPARED_KEYS = NEGATIVE_WORDS | ANSWER_KEYS
"""Tokens that are no opposites of other words."""
STRONG_NEGATIVES = frozenset(map(stem_phrase, english_words("strong_negatives")))
"""Words with a negation of their own."""
IMPLIED_NEGATIVES = STRONG_NEGATIVES | frozenset(map(stem_phrase, english_words("implied_negatives")))
"""Words that may carry a negation of their own: beside them no alarm is raised."""
ADDED_NEGATIVES = frozenset(map(stem_phrase, english_words("added_negatives")))
"""Words that negate a sentence by being added to it, as "fails to" does."""
MIN_SIMILARITY = 0.55
MIN_COVERAGE = 0.4
NEGATION_WINDOW = 4
"""Tokens behind a negative word, among which is the word that it negates."""


def find_negation_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield negations that only one sentence has, and words that a prefix negates."""
    findings: list[Finding] = []
    if pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer:
        findings = list(_find_changed_negations(pair, claimed))
    if not findings and pair.token_similarity >= MIN_SIMILARITY:
        findings = list(_find_negated_clauses(pair))
    if not findings and pair.coverage >= MIN_COVERAGE:
        findings = list(_find_negated_words(pair))
    yield from findings


def may_be_negative(key: str) -> bool:
    """Return whether a word may carry a negation of its own, as "refuse" and "unknown" do."""
    return key in IMPLIED_NEGATIVES or _has_negative_affix(key)


def differ_in_negation(pair: Pair) -> bool:
    """Return whether only one sentence is negative: "you can within 14 days", "you cannot after 14 days"."""
    return NEGATIVE_WORDS.isdisjoint(pair.expected.keys) != NEGATIVE_WORDS.isdisjoint(pair.actual.keys)


def has_negative_wording(change: Change) -> bool:
    """Return whether a change has a negative word: "not allowed" is "forbidden", and may be "not possible"."""
    keys = [token.key for side in change.unmatched for token in side]
    return any(key in NEGATIVE_WORDS or key in STRONG_NEGATIVES or _has_negative_affix(key) for key in keys)


def _has_negative_affix(key: str) -> bool:
    return (key.startswith(("un", "non")) and key not in UNPREFIXED_WORDS) or (
        key.endswith("less") and key not in {"less", "unless"}
    )


def _find_changed_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    for place, change in pair.unclaimed_changes(claimed):
        expected, actual = change.unmatched
        if bool(_negative_tokens(expected)) != bool(_negative_tokens(actual)):
            if _is_unmatched_negation(pair, expected, actual):
                texts = pair.span_texts(expected or change.expected, actual or change.actual)
                yield build_finding("negation", "a negation", *texts, place)
            continue
        # Only a "fails to", or an "against", comes or goes.
        tokens = (*expected, *actual)
        if len(tokens) == 1 and tokens[0].key in ADDED_NEGATIVES:
            yield build_finding("negation", "a negation", *pair.span_texts(expected, actual), place)
            continue
        for token in expected:
            for other in actual:
                if is_negated_form(token.key, other.key) or is_negated_form(other.key, token.key):
                    yield build_finding("negation", "a negation", token.text, other.text, place)
                    break


def _is_unmatched_negation(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> bool:
    """Return whether nothing in the other sentence says the same as the negation of a change."""
    in_reference = bool(_negative_tokens(expected))
    sentence, other = pair.sides if in_reference else pair.sides[::-1]
    changed = [
        token for change in pair.changes for token in (change.actual if in_reference else change.expected)
    ]
    is_reworded = all(any(token.key not in NEGATIVE_WORDS for token in side) for side in (expected, actual))
    has_short_no = pair.is_short_answer and any(side.leading_answer is False for side in pair.sides)
    return not (
        is_reworded
        or has_short_no
        or any(may_be_negative(token.key) for token in changed)
        or len(_negative_tokens(other.tokens)) >= len(_negative_tokens(sentence.tokens))
        or _is_cancelled_by_opposite(pair, expected if in_reference else actual, in_reference=in_reference)
    )


def _is_cancelled_by_opposite(pair: Pair, negated: Sequence[Token], *, in_reference: bool) -> bool:
    """Return whether an opposite in the clause of a negation takes it back: "not open" is "closed"."""
    expected, actual = (
        [token for change in pair.changes for token in change.sides[side] if token.key not in UNCOMPARED_KEYS]
        for side in (0, 1)
    )
    swaps = find_opposites([token.key for token in expected], [token.key for token in actual])
    sentence, tokens = (pair.expected, expected) if in_reference else (pair.actual, actual)
    turned = {swap[0] if in_reference else swap[1] for swap in swaps}
    clauses = {sentence.clause_of(token) for token in tokens if token.key in turned}
    return any(sentence.clause_of(token) in clauses for token in _negative_tokens(negated))


def _negative_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.key in NEGATIVE_WORDS]


def _find_negated_clauses(pair: Pair) -> Iterator[Finding]:
    """Yield clauses that both sentences have word by word, and only one of them negates."""
    expected_clauses, actual_clauses = map(_clauses_by_words, pair.sides)
    if len(expected_clauses) == 1 or len(actual_clauses) == 1:
        return
    for words, expected in expected_clauses.items():
        actual = actual_clauses.get(words, [])
        if actual and bool(_negative_tokens(expected)) != bool(_negative_tokens(actual)):
            yield build_finding("negation", "a negation", *pair.span_texts(expected, actual))


def _clauses_by_words(sentence: Sentence) -> dict[frozenset[str], list[Token]]:
    """Return the clauses of a sentence by their words, without clauses of a single word and repeated clauses."""
    clauses: dict[frozenset[str], list[Token]] = {}
    repeated = set()
    for number in range(sentence.clauses[-1] + 1 if sentence.clauses else 0):
        tokens = [token for token, at in zip(sentence.tokens, sentence.clauses, strict=True) if at == number]
        words = frozenset(token.key for token in tokens) - NEGATIVE_WORDS - FILLERS - CLAUSE_WORDS
        repeated |= {words} & clauses.keys()
        if len(words) > 1:
            clauses[words] = tokens
    return {words: tokens for words, tokens in clauses.items() if words not in repeated}


def _find_negated_words(pair: Pair) -> Iterator[Finding]:
    """Yield a word that one sentence negates and the other states, in sentences without any other negative word."""
    keys = [[key for key in side.keys if key not in UNCOMPARED_KEYS] for side in pair.sides]
    if find_opposites(*keys) or any(map(may_be_negative, (*pair.expected.keys, *pair.actual.keys))):
        return
    expected, actual = (_negative_tokens(side.tokens) for side in pair.sides)
    if len(expected) + len(actual) != 1:
        return
    sentence, other = pair.sides if expected else pair.sides[::-1]
    (negative,) = expected or actual
    if negative.key in {"nor", "rather than", "instead of"}:
        return
    after = sentence.tokens_after(sentence.tokens.index(negative), NEGATION_WINDOW)
    head = next((token for token in after if token.key not in FUNCTION_WORDS and not token.fact), None)
    stated = next((token for token in other.tokens if head and are_synonyms(token.key, head.key)), None)
    if head and stated:
        texts = (sentence.span_text((negative, head)), stated.text)
        yield build_finding("negation", "a negation", *(texts if expected else texts[::-1]))
