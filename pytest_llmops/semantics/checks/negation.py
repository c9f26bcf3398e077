"""Negation and antonyms: a "not", "nicht" or "pas" on one side only; "increases" for "decreases"."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

from pytest_llmops.semantics.checks.alignment import (
    ANSWER_KEYS,
    Alarm,
    Change,
    Finding,
    Pair,
    Text,
    build_finding,
)
from pytest_llmops.semantics.checks.sentence import (
    FUNCTION_WORDS,
    UNPREFIXED_WORDS,
    Sentence,
    Token,
    are_opposites,
    english_stems,
    find_opposites,
    stem_word,
)
from pytest_llmops.semantics.word_lists import read_sections

NEGATIVE_WORDS = english_stems("negative_words")
# Words that may carry a negation of their own: beside them no alarm is raised
IMPLIED_NEGATIVES = english_stems("implied_negatives")
MIN_SIMILARITY = 0.55
MIN_COVERAGE = 0.4
NEGATION_WINDOW = 4  # tokens behind a negative word, among which is the word that it negates


def find_negation_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield negations that only one sentence has."""
    findings: list[Finding] = []
    if pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer:
        findings = list(_find_changed_negations(pair, claimed))
    if not findings and pair.coverage >= MIN_COVERAGE:
        findings = list(_find_negated_words(pair))
    yield from findings


def may_be_negative(key: str) -> bool:
    """Return whether a word may carry a negation of its own, as "refuse" and "unknown" do."""
    return (
        key in IMPLIED_NEGATIVES
        or (key.startswith(("un", "non")) and key not in UNPREFIXED_WORDS)
        or (key.endswith("less") and key not in {"less", "unless"})
    )


def differ_in_negation(pair: Pair) -> bool:
    """Return whether only one sentence is negative: "you can within 14 days", "you cannot after 14 days"."""
    return NEGATIVE_WORDS.isdisjoint(pair.expected.keys) != NEGATIVE_WORDS.isdisjoint(pair.actual.keys)


def _find_changed_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    for place, change in pair.unclaimed_changes(claimed):
        expected, actual = change.unmatched
        is_one_sided = bool(_negative_tokens(expected)) != bool(_negative_tokens(actual))
        if is_one_sided and _is_unmatched_negation(pair, expected, actual):
            yield build_finding(
                "negation",
                "a negation",
                *pair.span_texts(expected or change.expected, actual or change.actual),
                place,
            )


def _is_unmatched_negation(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> bool:
    # Return whether nothing in the other sentence says the same as the negation of a change.
    in_reference = bool(_negative_tokens(expected))
    sentence, other = pair.sides if in_reference else pair.sides[::-1]
    keys = [[token.key for change in pair.changes for token in change.sides[side]] for side in (0, 1)]
    is_reworded = all(any(token.key not in NEGATIVE_WORDS for token in side) for side in (expected, actual))
    return not (
        is_reworded
        or (pair.is_short_answer and any(side.leading_answer is False for side in pair.sides))
        or any(map(may_be_negative, keys[in_reference]))
        or len(_negative_tokens(other.tokens)) >= len(_negative_tokens(sentence.tokens))
        # "Not open" is "closed".
        or find_opposites(*keys)
    )


def _negative_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.key in NEGATIVE_WORDS]


def _find_negated_words(pair: Pair) -> Iterator[Finding]:
    # Yield a word that one sentence negates and the other states, in sentences without any other negative word.
    expected, actual = (_negative_tokens(side.tokens) for side in pair.sides)
    if len(expected) + len(actual) != 1 or any(
        map(may_be_negative, (*pair.expected.keys, *pair.actual.keys))
    ):
        return
    if find_opposites(pair.expected.keys, pair.actual.keys):
        return
    sentence, other = pair.sides if expected else pair.sides[::-1]
    (negative,) = expected or actual
    if negative.key in {"nor", "rather than", "instead of"}:
        return
    after = sentence.tokens_after(sentence.tokens.index(negative), NEGATION_WINDOW)
    head = next((token for token in after if token.key not in FUNCTION_WORDS and not token.fact), None)
    stated = next((token for token in other.tokens if head and token.key == head.key), None)
    if head and stated:
        texts = (sentence.span_text((negative, head)), stated.text)
        yield build_finding("negation", "a negation", *(texts if expected else texts[::-1]))


PARTICLES = english_stems("particles")
MIN_ANTONYM_SIMILARITY = 0.6


def find_antonyms(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words in the place of their opposite, unless a negation cancels it out."""
    is_near = pair.token_similarity >= MIN_ANTONYM_SIMILARITY or pair.is_short_answer
    if not is_near or differ_in_negation(pair):
        return
    for place, change in pair.unclaimed_changes(claimed):
        if tokens := _find_opposite_tokens(change):
            yield build_finding("antonyms", "the opposite", tokens[0].text, tokens[1].text, place)


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a "yes" against a "no" at the head of two texts; what follows is compared separately."""
    if not reference.sentences or not answer.sentences:
        return
    expected, actual = reference.sentences[0], answer.sentences[0]
    if {expected.leading_answer, actual.leading_answer} == {True, False}:
        yield build_finding("antonyms", "the opposite", expected.tokens[0].text, actual.tokens[0].text)


def _find_opposite_tokens(change: Change) -> tuple[Token, Token] | None:
    if any(token.key in NEGATIVE_WORDS or token.key in ANSWER_KEYS for token in change.tokens):
        return None
    # Fillers count here: "in" for "out", "to" for "from".
    single_words = len(change.expected) == len(change.actual) == 1
    for tokens in product(*change.sides):
        # "first" is a fact, and the opposite of "last".
        expected, actual = (stem_word(token.text) if token.fact else token.key for token in tokens)
        if are_opposites(expected, actual) and (single_words or not {expected, actual} & PARTICLES):
            return tokens
    return None


# Languages whose sentences are compared; the shares found are in ``docs/meaning.md``
LANGUAGES = frozenset(
    [
        "German",
        "Spanish",
        "French",
        "Italian",
        "Portuguese",
        "Dutch",
        "Polish",
        "Russian",
        "Chinese",
        "Japanese",
    ]
)
WITHOUT_BLANKS = frozenset(["Chinese", "Japanese", "Korean", "Thai"])
# Languages in which words are equal if their first letters are
INFLECTED, STEM_LETTERS = frozenset(["Polish", "Russian"]), 5
# Share of equal words, apart from negations, from which two sentences are one sentence and its negation
MIN_FOREIGN_SIMILARITY = 0.6
MIN_PREFIXED_LETTERS = 5  # letters of a word that a prefix may negate
MAX_ANSWER_SENTENCES = 500  # sentences of the answer among which the most similar is searched
_WORD = re.compile(r"[^\s.,;:!?…()\[\]\"«»„“”'’‘\-–—/।،؛]+")
_CHARACTER = re.compile(r"[\w\ue000]")
MARK = "\ue000"  # private-use character in the place of a negation
_HIRAGANA = re.compile(r"[\u3040-\u309f\u30fc]")


def find_negation(text: str, language: str) -> str:
    """Return the first negation of a text in a language, or ``""``.

    >>> find_negation("Der Urlaub ist nicht teilbar.", "German"), find_negation("Nicht nur heute.", "German")
    ('nicht', '')
    """
    pattern = _pattern(language)
    return next((match[0] for match in pattern.finditer(text) if match["negation"]), "") if pattern else ""


def find_alarms(sentences: Sequence[Sentence], answer: Text, language: str) -> Iterator[Alarm]:
    """Yield an alarm for each sentence of a reference that the most similar sentence of an answer negates."""
    if language not in LANGUAGES:
        return
    candidates = [
        (sentence.raw, _split_units(sentence.raw, language))
        for sentence in answer.sentences[:MAX_ANSWER_SENTENCES]
    ]
    for sentence in sentences if candidates else ():
        units = _split_units(sentence.raw, language)
        nearest, nearest_units = max(candidates, key=lambda candidate: _similarity(units, candidate[1]))
        if _is_flip(units, nearest_units, language):
            quotes = find_negation(sentence.raw, language), find_negation(nearest, language)
        else:
            quotes = _find_prefixed_word(units, nearest_units, language) or ("", "")
        if any(quotes):
            yield build_finding("negation", "a negation", *quotes).alarm


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(read_sections("negations.txt").get(name, ()))


@cache
def _pattern(language: str) -> re.Pattern[str] | None:
    # Return a pattern whose group ``negation`` is a negation; harmless phrases match without it.
    if not _words(language):
        return None
    negations, harmless = (
        "|".join(
            re.escape(word).replace(r"\ ", r"[\s'’]+") for word in sorted(_words(name), key=len, reverse=True)
        )
        for name in (language, f"{language} harmless")
    )
    # Python counts the vowel signs of Hindi as no letters, so blanks and marks end a word.
    bounds = ("", "") if language in WITHOUT_BLANKS else (r"(?<![^\W_])", r"(?![^\W_]|[\u0900-\u097f])")
    choices = f"(?:{harmless})|(?P<negation>{negations})" if harmless else f"(?P<negation>{negations})"
    return re.compile(f"{bounds[0]}(?:{choices}){bounds[1]}", re.IGNORECASE)


def _split_units(text: str, language: str) -> list[str]:
    # Return the words of a text, or its characters where no blanks stand between words, and `MARK` for a negation.
    pattern = _pattern(language)
    if pattern is not None:
        text = pattern.sub(lambda match: f" {MARK} " if match["negation"] else match[0], text)
    if language == "Japanese":
        text = _HIRAGANA.sub("", text)
    return (_CHARACTER if language in WITHOUT_BLANKS else _WORD).findall(text.lower())


def _similarity(units: Sequence[str], others: Sequence[str]) -> float:
    from rapidfuzz.distance import LCSseq

    return LCSseq.normalized_similarity(units, others)


def _is_flip(expected: Sequence[str], actual: Sequence[str], language: str) -> bool:
    # Return whether one of two sentences is the other one and a negation.
    from rapidfuzz.distance import LCSseq

    if (MARK in expected) == (MARK in actual):
        return False
    if language in INFLECTED:
        # A negated object changes its case: "zwroty", "zwrotów".
        expected, actual = ([unit[:STEM_LETTERS] for unit in side] for side in (expected, actual))
    optional = _words(f"{language} optional") | {MARK}
    changed = 0
    for block in LCSseq.opcodes(expected, actual):
        if block.tag != "equal":
            pieces = expected[block.src_start : block.src_end], actual[block.dest_start : block.dest_end]
            rest = [[unit for unit in piece if unit not in optional] for piece in pieces]
            if any(MARK in piece for piece in pieces) and any(rest):
                return False  # "not open" for "closed" is another wording, and ", but not on Sundays" an addition.
            changed += len(rest[0]) + len(rest[1])
    total = sum(unit not in optional for unit in (*expected, *actual))
    return bool(total) and 1 - changed / total >= MIN_FOREIGN_SIMILARITY


def _find_prefixed_word(
    expected: Sequence[str], actual: Sequence[str], language: str
) -> tuple[str, str] | None:
    # Return a word with a negative prefix, and the word without it on the other side of equal sentences.
    if len(expected) != len(actual):
        return None
    changed = [pair for pair in zip(expected, actual, strict=True) if pair[0] != pair[1]]
    if len(changed) != 1:
        return None
    short, long = sorted(changed[0], key=len)
    is_prefixed = any(long == prefix + short for prefix in _words(f"{language} prefixes"))
    return changed[0] if is_prefixed and len(short) >= MIN_PREFIXED_LETTERS else None
