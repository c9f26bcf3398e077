"""The words of a text that carry its content, without their endings.

Quantities in another form: "48 hours" is what "two days" are.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from pytest_llmops.retrievers.bm25 import tokens
from pytest_llmops.semantics.checks import sentences
from pytest_llmops.semantics.checks.quantities.facts import Fact, same
from pytest_llmops.semantics.checks.sentence import Sentence

MAX_SENTENCE = 1_000
"""Characters of a sentence: checks compare in square time, and no claim is longer."""

_STOP_WORDS = """
a an the this that these those there here it its he him his she her hers they them their theirs we us our ours
you your yours i me my mine who whom whose which what when where why how is are was were be been being am do
does did done have has had having get gets got receive receives go goes back will would shall should can could
may might must ought need needs to of in on at by for from with without within about into onto over under up
down out off as than then so such too also and or but nor if because since until unless while though although
however therefore per via not no cannot nt s t re ve ll d m after before during between through any some most
more less much many own same just very well both either neither again once other another still even yet
already usually
"""
_STOP = frozenset(_STOP_WORDS.split())
"""English words that carry no content of their own; what "not" and "before" change is the checks' business."""
_WHOLE = frozenset({"all", "every", "each", "always", "never", "only", "none", "nobody", "nothing"})
"""Words that claim more than a sentence without them says."""
_UP_TO_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""
_NUMERALS = {word: str(number) for number, word in enumerate(_UP_TO_TWENTY.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
}
_IRREGULAR = {
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


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return a word without its English ending.

    Both sides lose theirs alike, so that words of other languages only lose a little. "four" is "4".

    >>> stem("shipping"), stem("ships"), stem("carry"), stem("carried"), stem("four")
    ('ship', 'ship', 'carry', 'carry', '4')
    """
    if word[0].isdigit():
        return word
    if word in _WHOLE:
        return word
    word = _NUMERALS.get(word, _IRREGULAR.get(word, word))
    whole = _ENDS_IN_EE.match(word)
    if whole:
        # A trainee is not who trains, and a lessee no lessor.
        return whole[1]
    if word in _NO_ADVERB:
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


_NO_ADVERB = frozenset({"apply", "comply", "family", "imply", "july", "multiply", "rely", "reply", "supply"})
"""Here "ly" is no ending: "applied" is "apply" too."""
_ENDS_IN_EE = re.compile(r"(\w+ee)(?:s|ing)?$")


def _words(text: str) -> list[str]:
    """The words of a text, a number with its points and commas in one piece."""
    found: list[str] = []
    plain = _NOT.sub("", unicodedata.normalize("NFKC", text))
    for place, piece in enumerate(_NUMBER.split(plain)):
        if place % 2:
            found.append(_THOUSANDS.sub("", piece))
        else:
            found += tokens(piece)
    return found


_NOT = re.compile(r"n['’]t\b", re.IGNORECASE)
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")


def content(text: str) -> dict[str, str]:
    """Return the stems of a text's content words, each with the word as it stands there; no words: nothing.

    >>> sorted(content("The refunds were paid within 1,000 days").items())
    [('1000', '1000'), ('day', 'days'), ('pay', 'paid'), ('refund', 'refunds')]
    """
    return {stem(word): word for word in reversed(_words(text)) if word not in _STOP}


def pieces(text: str) -> list[str]:
    """Return the sentences of a text, what is far too long for one (a table, a page without marks) in parts.

    >>> [len(one) for one in pieces("Fine. " + "x " * 1_200)]
    [5, 999, 999, 399]
    """
    found: list[str] = []
    for sentence in sentences(text):
        start = 0
        while len(sentence) - start > MAX_SENTENCE:
            blank = sentence.rfind(" ", start, start + MAX_SENTENCE + 1)
            end = blank if blank > start else start + MAX_SENTENCE
            found.append(sentence[start:end].strip())
            start = end
        found.append(sentence[start:].strip())
    return [one for one in found if one]


def stems(text: str) -> dict[str, str]:
    """Return the stems of all words of a text, each with the word as it stands there.

    >>> stems("What is it?")
    {'it': 'it', 'is': 'is', 'what': 'what'}
    """
    return {stem(word): word for word in reversed(_words(text))}


def stretch(sentence: str, claim: str) -> str:
    """Return the part of a sentence that speaks of what a claim does, with the small words in front of it.

    >>> stretch("If unused, no leave can be carried over until the end of March.", "Leave can be carried over.")
    'no leave can be carried over'
    """
    wanted, said = content(claim).keys(), stems(claim).keys()
    words = sentence.split()
    kinds = [content(word).keys() for word in words]
    hits = [place for place, kind in enumerate(kinds) if not kind.isdisjoint(wanted)]
    if not hits:
        return sentence
    start, end = hits[0], hits[-1]
    while start > 0 and not kinds[start - 1] and words[start - 1][-1] not in _BREAKS:
        start -= 1
    while end + 1 < len(words) and not stems(words[end + 1]).keys().isdisjoint(said):
        end += 1
    return " ".join(words[start : end + 1])


def counts_of(text: str) -> list[tuple[str, str]]:
    """Return each number of a text with the stem of the word behind it; one that is said to be about right is left out.

    >>> counts_of("About 500 guests came in 12 buses")
    [('12', 'bus')]
    """
    words = [stem(word) for word in _words(text)]
    return [
        (one, words[place + 1] if place + 1 < len(words) else "")
        for place, one in enumerate(words)
        if is_number(one) and _ROUGHLY.isdisjoint(words[max(0, place - 2) : place])
    ]


_ROUGHLY = frozenset(
    map(
        stem,
        ("about", "around", "roughly", "nearly", "almost", "approximately", "over", "than", "least", "most"),
    )
)
_BREAKS = ",;:.!?"


def is_number(one: str) -> bool:
    """Say whether a stem is a number.

    >>> is_number("1.5"), is_number("v2")
    (True, False)
    """
    return one[0].isdigit()


def hard(text: str) -> frozenset[str]:
    """Return the stems of what cannot be left out: numbers, names (capitals within the sentence), and words like "all"."""
    words = _words(text)
    fixed = {one for one in map(stem, words) if one[0].isdigit() or one in _WHOLE}
    if len(_GERMAN.intersection(words)) > 1:
        # There every noun has a capital.
        return frozenset(fixed)
    names = [name for name in _NAME.findall(text) if name[0].isupper()]
    return frozenset(fixed | {stem(word) for name in names for word in _words(name) if word not in _STOP})


def named(text: str) -> frozenset[str]:
    """Return the stems of all words with a capital, the first one too: what may be a name.

    >>> sorted(named("Bob Smith left Acme"))
    ['acm', 'bob', 'smith']
    """
    return frozenset(
        stem(word) for name in _CAPITAL.findall(text) for word in _words(name) if word not in _STOP
    )


_CAPITAL = re.compile(r"\b[^\W\d_a-z]\w*")
_NAME = re.compile(r"(?<=[^\s.!?:])\s+[\"'“‘(]?([^\W\d_]\w*)")
_GERMAN = frozenset(
    {"der", "die", "das", "und", "ist", "sind", "nicht", "ein", "eine", "mit", "für", "auf", "den", "dem"}
)


MAX_FACTS = 40
"""Quantities of a text that are compared."""


def equal(claim: str, text: str) -> frozenset[str]:
    """Return the stems of a claim's quantities that a text has in another form, as the checks compare them.

    >>> sorted(equal("It takes 48 hours.", "It takes two days."))
    ['48', 'hour']
    """
    there = _facts(text)
    return frozenset(
        stem
        for mine in _facts(claim)
        if any(_in_another_form(mine, other) for other in there)
        for stem in content(mine.text)
    )


def _in_another_form(mine: Fact, other: Fact) -> bool:
    # What has the same numeral is found by its words: a unit that was left out is none in another form.
    if mine.raw is None or other.raw is None or mine.raw == other.raw:
        return False
    return same(mine, other) and (mine.rough or not other.rough)


@lru_cache(maxsize=4_000)
def _facts(text: str) -> tuple[Fact, ...]:
    return Sentence(text).facts[:MAX_FACTS]
