"""Stems of the content words of a text, its numbers and names, and quantities in another form."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from pytest_llmops.retrievers.bm25 import tokenize
from pytest_llmops.semantics.checks import split_sentences
from pytest_llmops.semantics.checks.quantities.facts import Fact
from pytest_llmops.semantics.checks.sentence import Sentence
from pytest_llmops.semantics.word_lists import english_words

MAX_SENTENCE_CHARS = 1_000
"""No claim is longer, and checks take square time."""

_STOP_WORDS = english_words("stop_words")
_TOTALITY_WORDS = frozenset({"all", "every", "each", "always", "never", "only", "none", "nobody", "nothing"})
"""Words that claim more than a sentence without them says."""
_IRREGULAR = {
    "zero": "0", "one": "1",
    "paid": "pay", "bought": "buy", "sent": "send", "sold": "sell", "taken": "take", "took": "take", "given": "give",
    "gave": "give", "made": "make", "went": "go", "gone": "go", "held": "hold", "kept": "keep", "left": "leave",
    "lost": "lose", "won": "win", "began": "begin", "begun": "begin", "ran": "run", "came": "come", "found": "find",
    "said": "say", "told": "tell", "wrote": "write", "written": "write", "chosen": "choose", "chose": "choose",
    "built": "build", "rebuilt": "rebuild", "broke": "break", "broken": "break", "children": "child", "men": "man",
    "women": "woman", "people": "person", "feet": "foot", "mice": "mouse", "brought": "bring", "met": "meet",
    "agreed": "agree", "disagreed": "disagree", "guaranteed": "guarantee", "freed": "free", "decreed": "decree",
    "led": "lead", "grew": "grow", "grown": "grow", "drawn": "draw", "drew": "draw", "shown": "show", "known": "know",
}  # fmt: skip
# Not the digits at the end of a name ("O2", "Internet2"): these belong to it.
_NUMBER = re.compile(r"(?<![A-Za-z\u00c0-\u024f\u0370-\u04ff\d])(\d+(?:[.,:]\d+)*)")
_ENDINGS = (
    "ingly",
    "edly",
    "ings",
    "ing",
    "ies",
    "ied",
    "ers",
    "er",
    "ors",
    "or",
    "est",
    "ed",
    "es",
    "ly",
    "s",
)
_MIN_STEM = 3
_NO_ADVERBS = frozenset({"apply", "comply", "family", "imply", "july", "multiply", "rely", "reply", "supply"})
"""Here "ly" is no ending: "applied" is "apply" too."""
_ENDS_IN_EE = re.compile(r"(\w+ee)(?:s|ing)?$")
_CONTRACTED_NOT = re.compile(r"n['’]t\b", re.IGNORECASE)
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_CLAUSE_MARKS = ",;:.!?"
_CAPITALIZED_WORD = re.compile(r"\b[^\W\d_a-z]\w*")
_NAME_WITHIN_SENTENCE = re.compile(r"(?<=[^\s.!?:])\s+[\"'“‘(]?([^\W\d_]\w*)")
_GERMAN_WORDS = frozenset(
    {"der", "die", "das", "und", "ist", "sind", "nicht", "ein", "eine", "mit", "für", "auf", "den", "dem"}
)
MAX_FACTS = 40
"""Quantities of a text that are compared."""


@lru_cache(maxsize=50_000)
def content_stem(word: str) -> str:
    """Return a word without its English ending.

    Both texts lose their endings in the same way, so that words of other languages only lose a little. "four" is "4".

    >>> content_stem("shipping"), content_stem("ships"), content_stem("carry"), content_stem("carried"), content_stem("four")
    ('ship', 'ship', 'carry', 'carry', '4')
    """
    if word[0].isdigit() or word in _TOTALITY_WORDS:
        return word
    word = _IRREGULAR.get(word, word)
    whole = _ENDS_IN_EE.match(word)
    if whole:
        # A trainee is not who trains, and a lessee no lessor.
        return whole[1]
    if word in _NO_ADVERBS:
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            word = word[: -len(ending)] + ("y" if ending in {"ies", "ied"} else "")
            break
    bare = word.rstrip("e")
    word = bare if len(bare) >= _MIN_STEM else word
    # "carrier" is "carry", but "party" is not "part".
    word = word[:-1] + "y" if word[-1] == "i" and len(word) >= _MIN_STEM else word
    doubled = len(word) > _MIN_STEM and word[-1] == word[-2] and word[-1] not in "aeiou"
    return word[:-1] if doubled else word


def _split_words(text: str) -> list[str]:
    """Return the words of a text; a number is a single word with its points and commas."""
    words: list[str] = []
    plain = _CONTRACTED_NOT.sub("", unicodedata.normalize("NFKC", text))
    for place, piece in enumerate(_NUMBER.split(plain)):
        if place % 2:
            words.append(_THOUSANDS.sub("", piece))
        else:
            words += tokenize(piece)
    return words


def content_stems(text: str) -> dict[str, str]:
    """Return the stems of the content words of a text, each with its word as written.

    >>> sorted(content_stems("The refunds were paid within 1,000 days").items())
    [('1000', '1000'), ('day', 'days'), ('pay', 'paid'), ('refund', 'refunds')]
    """
    return {content_stem(word): word for word in reversed(_split_words(text)) if word not in _STOP_WORDS}


def split_bounded_sentences(text: str) -> list[str]:
    """Return the sentences of a text; what is too long for a sentence (a table, a page without marks) in parts.

    >>> [len(passage) for passage in split_bounded_sentences("Fine. " + "x " * 1_200)]
    [5, 999, 999, 399]
    """
    passages: list[str] = []
    for sentence in split_sentences(text):
        start = 0
        while len(sentence) - start > MAX_SENTENCE_CHARS:
            blank = sentence.rfind(" ", start, start + MAX_SENTENCE_CHARS + 1)
            end = blank if blank > start else start + MAX_SENTENCE_CHARS
            passages.append(sentence[start:end].strip())
            start = end
        passages.append(sentence[start:].strip())
    return [passage for passage in passages if passage]


def all_stems(text: str) -> dict[str, str]:
    """Return the stems of all words of a text, each with its word as written.

    >>> all_stems("What is it?")
    {'it': 'it', 'is': 'is', 'what': 'what'}
    """
    return {content_stem(word): word for word in reversed(_split_words(text))}


def find_relevant_part(sentence: str, claim: str) -> str:
    """Return the part of a sentence that speaks of the same as a claim, with the stop words in front of it.

    >>> find_relevant_part("If unused, no leave can be carried over until the end of March.", "Leave can be carried over.")
    'no leave can be carried over'
    """
    claim_content, claim_stems = content_stems(claim).keys(), all_stems(claim).keys()
    words = sentence.split()
    kinds = [content_stems(word).keys() for word in words]
    hits = [place for place, kind in enumerate(kinds) if not kind.isdisjoint(claim_content)]
    if not hits:
        return sentence
    start, end = hits[0], hits[-1]
    while start > 0 and not kinds[start - 1] and words[start - 1][-1] not in _CLAUSE_MARKS:
        start -= 1
    while end + 1 < len(words) and not all_stems(words[end + 1]).keys().isdisjoint(claim_stems):
        end += 1
    return " ".join(words[start : end + 1])


def numbers_with_nouns(text: str) -> list[tuple[str, str]]:
    """Return each exact number of a text with the stem of the word behind it.

    >>> numbers_with_nouns("About 500 guests came in 12 buses")
    [('12', 'bus')]
    """
    stems = [content_stem(word) for word in _split_words(text)]
    return [
        (stem, stems[place + 1] if place + 1 < len(stems) else "")
        for place, stem in enumerate(stems)
        if is_number(stem) and _ROUGH_STEMS.isdisjoint(stems[max(0, place - 2) : place])
    ]


_ROUGH_STEMS = frozenset(
    map(
        content_stem,
        ("about", "around", "roughly", "nearly", "almost", "approximately", "over", "than", "least", "most"),
    )
)


def is_number(stem: str) -> bool:
    """Return whether a stem is a number.

    >>> is_number("1.5"), is_number("v2")
    (True, False)
    """
    return stem[0].isdigit()


def required_stems(text: str) -> frozenset[str]:
    """Return the stems that a supported claim needs: numbers, names (capitals within the sentence), words like "all"."""
    words = _split_words(text)
    required = frozenset(
        stem for stem in map(content_stem, words) if is_number(stem) or stem in _TOTALITY_WORDS
    )
    if len(_GERMAN_WORDS.intersection(words)) > 1:
        # In German every noun has a capital.
        return required
    names = [name for name in _NAME_WITHIN_SENTENCE.findall(text) if name[0].isupper()]
    return required.union(*map(content_stems, names))


def capitalized_stems(text: str) -> frozenset[str]:
    """Return the stems of all words with a capital, which may be names; the first word is among them.

    >>> sorted(capitalized_stems("Bob Smith left Acme"))
    ['acm', 'bob', 'smith']
    """
    return frozenset().union(*map(content_stems, _CAPITALIZED_WORD.findall(text)))


def quantities_in_other_form(claim: str, text: str) -> frozenset[str]:
    """Return the stems of a claim's quantities that a text has in another form, as the checks compare them.

    >>> sorted(quantities_in_other_form("It takes 48 hours.", "It takes two days."))
    ['48', 'hour']
    """
    others = _read_facts(text)
    same = [fact for fact in _read_facts(claim) if any(fact.is_other_form_of(other) for other in others)]
    return frozenset().union(*(content_stems(fact.text) for fact in same))


@lru_cache(maxsize=4_000)
def _read_facts(text: str) -> tuple[Fact, ...]:
    return Sentence(text).facts[:MAX_FACTS]
