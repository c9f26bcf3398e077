"""English words without their inflection, by the Snowball stemmer; words that mean the opposite."""

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from itertools import product

from pytest_llmops.semantics.word_lists import english_words, read_lines

IRREGULAR_FORMS: dict[str, str] = {}  # form -> base form, for irregular words and their regular forms
for _line in read_lines("irregular_forms.txt"):
    _base = _line.split()[0]
    _regular = (_base + "s", _base.removesuffix("e") + "es", _base.removesuffix("e") + "ing")
    for _word in (*_regular, *_line.split()):
        IRREGULAR_FORMS.setdefault(_word, _base)
UNINFLECTED_WORDS = frozenset({"evening", "its"})
_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non|mis(?!s))(?=[a-z]{3})")
_SPELLINGS = (("colour", "color"), ("favour", "favor"), ("behaviour", "behavior"), ("labour", "labor"), ("honour", "honor"),
              ("centre", "center"), ("metre", "meter"), ("litre", "liter"), ("cheque", "check"), ("programme", "program"),
              ("licence", "license"), ("defence", "defense"), ("catalogue", "catalog"), ("grey", "gray"), ("e-mail", "email"),
              ("tyre", "tire"), ("judgement", "judgment"), ("ageing", "aging"), ("enrol", "enroll"), ("fulfil", "fulfill"))  # fmt: skip


@lru_cache(maxsize=65536)
def stem_word(word: str) -> str:
    """Return an English word in lower case without plural, tense and spelling variant.

    >>> [stem_word(word) for word in ("Refunds", "cancelled", "cancelling", "went", "organise", "parties")]
    ['refund', 'cancel', 'cancel', 'go', 'organiz', 'parti']
    """
    word = word.lower().removesuffix("'s").rstrip("'")
    word = IRREGULAR_FORMS.get(word, word)
    for british, american in _SPELLINGS:
        if word.startswith(british):
            word = american + word[len(british) :]
    if "-" in word and word.replace("-", "").isalpha():
        head, _, last = word.rpartition("-")
        return f"{head}-{stem_word(last)}"
    if not word.isascii() or not word.isalpha() or word in UNINFLECTED_WORDS:
        return word
    prefix = _PREFIX.match(word)
    if prefix:
        # The stemmer takes more from a long word: "inedible" must remain "in" and "edible".
        rest = word[prefix.end() :]
        return prefix[0] + _stemmer()(IRREGULAR_FORMS.get(rest, rest))
    stem = _stemmer()(word)
    return stem[:-1] + "z" if stem.endswith(("is", "ys")) and len(stem) > len("basis") else stem


@cache
def _stemmer() -> Callable[[str], str]:
    from snowballstemmer import stemmer

    return stemmer("english").stemWord  # type: ignore[no-any-return]


def stem_phrase(phrase: str) -> str:
    """Return the stems of a phrase, whose words are joined by blanks or ``_``.

    >>> stem_phrase("rules out")
    'rule out'
    """
    return " ".join(map(stem_word, phrase.replace("_", " ").split()))


def english_stems(name: str) -> frozenset[str]:
    """Return the stems of an English word list.

    >>> "as well" in english_stems("fillers")
    True
    """
    return frozenset(map(stem_phrase, english_words(name)))


PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non-", "non", "mis", "de")
UNPREFIXED_WORDS = english_stems("unprefixed_words")
MIN_ROOT_LETTERS = 3
_NO_OPPOSITES: frozenset[str] = frozenset()


@cache
def opposite_table() -> dict[str, set[str]]:
    """Return the opposites of each word or phrase, by stems."""
    table: dict[str, set[str]] = {}
    for line in read_lines("opposites.txt"):
        left, right = (map(stem_phrase, side.split()) for side in line.split(" | "))
        for word, opposite in product(left, right):
            table.setdefault(word, set()).add(opposite)
            table.setdefault(opposite, set()).add(word)
    return table


def are_opposites(word: str, other_word: str) -> bool:
    """Return whether a word is the opposite of another in whose place it stands; both are stems.

    >>> are_opposites("befor", "after"), are_opposites("availabl", "unavailabl"), are_opposites("open", "close")
    (True, True, True)
    """
    word, other_word = _strip_auxiliaries(word), _strip_auxiliaries(other_word)
    return (
        other_word in opposite_table().get(word, _NO_OPPOSITES)
        or is_negated_form(word, other_word)
        or is_negated_form(other_word, word)
    )


def find_opposites(keys: Iterable[str], other_keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of a key and another key that are opposites.

    >>> find_opposites(["price", "rise"], ["cost", "fall"])
    [('rise', 'fall')]
    """
    others = {_strip_auxiliaries(other): other for other in other_keys}
    opposites = []
    for key in dict.fromkeys(keys):
        bare = _strip_auxiliaries(key)
        # A lookup for each prefix: two long sentences have too many pairs of words.
        forms = {prefix + bare for prefix in PREFIXES} | {bare.removeprefix(prefix) for prefix in PREFIXES}
        partners = (opposite_table().get(bare, _NO_OPPOSITES) | forms) & others.keys()
        opposites += [(key, others[partner]) for partner in sorted(partners) if are_opposites(bare, partner)]
    return opposites


def _strip_auxiliaries(key: str) -> str:
    return key.removeprefix("be ").removesuffix(" to")


def is_negated_form(word: str, root: str) -> bool:
    """Return whether a word is a root with a prefix that negates it, or with "-less" for "-ful".

    >>> is_negated_form("unsaf", "saf"), is_negated_form("indoor", "door"), is_negated_form("harmless", "harmful")
    (True, False, True)
    """
    if len(root) < MIN_ROOT_LETTERS or word in UNPREFIXED_WORDS:
        return False
    if word.endswith("less") and word.removesuffix("less") in {root, root.removesuffix("ful")}:
        return True
    return any(word == prefix + root for prefix in PREFIXES)
