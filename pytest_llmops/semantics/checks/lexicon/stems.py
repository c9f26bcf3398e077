"""Words without their inflection."""

from __future__ import annotations

from functools import lru_cache

_IRREGULAR = """
be am is are was were been being
have has had having
do does did done doing
go goes went gone going
will shall would
can could
may might
buy bought
pay paid
sell sold
send sent
get got gotten
give gave given
take took taken
make made
come came
leave left leaving
lose lost
win won winning
keep kept
tell told
say said
know knew known
see saw seen
find found
think thought
bring brought
begin began begun
write wrote written
drive drove driven
eat ate eaten
fall fell fallen
rise rose risen
grow grew grown
choose chose chosen
speak spoke spoken
break broke broken
hold held
meet met
run ran running
swim swam swum swimming
sit sat sitting
stand stood
teach taught
catch caught
build built
lend lent
spend spent
feel felt
lead led
read reading
lie lay lain lying laying lays laid
ride rode ridden riding
throw threw thrown
fly flew flown flying flies
hide hid hidden
draw drew drawn
show shown showed
wear wore worn
understand understood
stick stuck
hang hung
shoot shot
child children
man men
woman women
person persons people
foot feet
tooth teeth
mouse mice
good better best
bad worse worst
die died dying dies
use used using uses
we us our ours
i me my mine
you your yours
he him his
she her hers
they them their theirs
"""
IRREGULAR: dict[str, str] = {}
for _line in _IRREGULAR.strip().splitlines():
    _base = _line.split()[0]
    _regular = (_base + "s", _base.removesuffix("e") + "es", _base.removesuffix("e") + "ing")
    for _word in (*_regular, *_line.split()):
        IRREGULAR.setdefault(_word, _base)
UNINFLECTED_WORDS = frozenset(
    [
        "this",
        "his",
        "its",
        "us",
        "is",
        "was",
        "as",
        "yes",
        "less",
        "unless",
        "always",
        "perhaps",
        "during",
        "thing",
        "nothing",
        "something",
        "anything",
        "everything",
        "morning",
        "evening",
        "king",
        "ring",
        "spring",
        "string",
        "wing",
        "bring",
        "need",
        "feed",
        "seed",
        "speed",
        "indeed",
        "hundred",
        "red",
        "bed",
        "shed",
        "news",
        "across",
        "class",
        "access",
        "process",
        "address",
        "business",
        "pass",
        "miss",
        "press",
        "loss",
        "boss",
        "glass",
        "grass",
        "gas",
        "bus",
        "plus",
        "thus",
        "series",
        "species",
        "fee",
        "free",
        "tree",
        "see",
        "agree",
        "disagree",
        "only",
        "early",
        "daily",
        "family",
        "apply",
        "supply",
        "reply",
        "rely",
        "likely",
        "monthly",
        "weekly",
        "yearly",
        "july",
        "italy",
        "ability",
        "bring",
        "being",
        "ceiling",
        "wedding",
        "building",
        "string",
    ]
)
MIN_STEM = 3
_VOWELS = frozenset("aeiouy")
_SPELLINGS = (("colour", "color"), ("favour", "favor"), ("behaviour", "behavior"), ("labour", "labor"), ("honour", "honor"),
              ("centre", "center"), ("metre", "meter"), ("litre", "liter"), ("cheque", "check"), ("programme", "program"),
              ("licence", "license"), ("defence", "defense"), ("catalogue", "catalog"), ("grey", "gray"), ("e-mail", "email"),
              ("tyre", "tire"), ("judgement", "judgment"), ("ageing", "aging"), ("enrol", "enroll"), ("fulfil", "fulfill"))  # fmt: skip


@lru_cache(maxsize=65536)
def stem_word(word: str) -> str:
    """Return an English word in lower case without plural, tense and spelling variant.

    >>> [stem_word(one) for one in ("Refunds", "cancelled", "cancelling", "went", "organise", "parties")]
    ['refund', 'cancel', 'cancel', 'go', 'organiz', 'party']
    """
    word = word.lower().removesuffix("'s").rstrip("'")
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.startswith("un") and word[2:] in IRREGULAR:
        return "un" + IRREGULAR[word[2:]]
    for british, american in _SPELLINGS:
        if word.startswith(british):
            word = american + word[len(british) :]
    if "-" in word and word.replace("-", "").isalpha():
        head, _, last = word.rpartition("-")
        return f"{head}-{stem_word(last)}"
    if not word.isascii() or not word.isalpha() or len(word) <= MIN_STEM or word in UNINFLECTED_WORDS:
        return word
    return _americanize(_strip_inflection(word))


def _strip_inflection(word: str) -> str:
    if word.endswith("ies") and len(word) > len("ties"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word in UNINFLECTED_WORDS:
        return word
    for ending in ("ing", "ed"):
        head = word.removesuffix(ending)
        if head != word and len(head) >= MIN_STEM and _VOWELS & set(head):
            if ending == "ed" and head.endswith("i"):
                return head[:-1] + "y"
            doubled = len(head) > MIN_STEM and head[-1] == head[-2] and head[-1] not in "sfz"
            word = head[:-1] if doubled and not (head[-1] == "l" and len(head) <= len("small")) else head
            break
    if word.endswith("ly") and len(word) > len("early") + 1:
        word = word[:-2]
    return word.rstrip("e") if len(word) > MIN_STEM else word


def _americanize(word: str) -> str:
    for ending, plain in (("isation", "ization"), ("ys", "yz"), ("is", "iz")):
        if word.endswith(ending) and len(word) > len(ending) + MIN_STEM:
            return word.removesuffix(ending) + plain
    return word.removesuffix("l") if word.endswith("ll") and len(word) > len("small") else word
