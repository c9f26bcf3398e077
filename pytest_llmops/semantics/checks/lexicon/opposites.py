"""Words that mean the opposite: a list of our own, and prefixes that negate."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmops.semantics.checks.lexicon.stems import stem_word

# Left of the bar against right of it. "!" marks what contradicts in any sentence; the others may change places in a
# true paraphrase ("A sells to B", "B buys from A") and count only where one stands in the place of the other.
_PAIRS = """
! increase rise grow climb raise expand gain go_up | decrease fall drop decline lower reduce shrink cut lose go_down
! increase growth rise gain | decrease reduction drop decline loss cut
! allow permit let authorize enable | forbid prohibit ban bar prevent block disallow
! allowed permitted legal lawful | forbidden prohibited banned illegal unlawful
! maximum max most | minimum min least
! include contain cover with | exclude omit lack without leave_out
! inclusive included | exclusive excluded
! accept approve agree grant | reject refuse decline deny turn_down
! succeed success successful pass | fail failure failed
work | fail break
! mandatory compulsory obligatory required necessary | optional voluntary unnecessary
! true correct right accurate | false wrong incorrect inaccurate
! safe harmless | dangerous unsafe harmful hazardous
! enable activate activated enabled turn_on switch_on | disable deactivate deactivated disabled turn_off switch_off
! internal inside indoors indoor inner | external outside outdoors outdoor outer
! support back | oppose
! guilty | innocent
! positive | negative
profit | loss
! temporary | permanent
! public | private confidential secret
win won victory | lose lost defeat
! strengthen | weaken
! improve better improvement | worsen worse deteriorate
free | paid chargeable
! cheap cheaper | expensive dearer
! reversible | permanent irreversible final
! encrypted | plain unencrypted
start begin continue keep resume | stop cease end quit
! always | never seldom rarely sometimes
! often frequently usually | rarely seldom never hardly
! all everyone everybody everything | none nobody nothing
full | empty
! present | absent missing
! alive living | dead
hire employ recruit | fire dismiss lay_off
! healthy | ill sick
fresh | stale frozen
! voluntary | forced compulsory
! asset | liability
! ascending | descending
! upgrade | downgrade
upload | download
deposit | withdraw withdrawal
debit | credit
import | export
income revenue | expense expenditure
! surplus | deficit
buy purchase | sell
! northern north | southern south
! eastern east | western west
left | right
! vertical | horizontal
parallel series | serial
! synchronous | asynchronous
! acid | alkaline
solid | liquid gas
day | night
morning | evening afternoon night
! summer | winter
spring | autumn fall
before prior_to ahead_of until | after following once since
earlier sooner | later
first | last
above over | below under beneath
more greater higher | less fewer lower
larger bigger | smaller
over exceed | under
high | low
long | short
large big great | small little tiny
fast quick rapid | slow
early | late
old | new young
young | elderly
hot warm | cold cool
heavy | light
hard | soft easy
difficult | easy
strong | weak
wide broad | narrow
thick | thin
deep | shallow
near close | far distant
open opened | close closed shut sealed
enter arrive | leave exit depart
come | go
lend loan | borrow
give send offer | receive take get
teach | learn
ask | answer
push | pull
up | down
in into inside | out outside out_of
on onto | off
to toward towards | from away
for | against
with | without
add | remove subtract
attach | detach remove
save keep | delete discard lose
show display reveal | hide conceal
lock | unlock
connect | disconnect
build | destroy demolish
love like | hate dislike
best | worst
good well | bad poor badly
happy | sad unhappy
rich | poor
clean | dirty
dry | wet
light bright | dark
sharp | blunt
full-time | part-time
male | female
man | woman
boy | girl
he | she
father | mother
husband | wife
brother | sister
son | daughter
king | queen
child | adult
parent | child
teacher | student pupil
doctor nurse | patient
buyer customer | seller vendor supplier
landlord owner | tenant
lender creditor | borrower debtor
employer | employee worker
host | guest
sender | recipient receiver
plaintiff claimant | defendant
winner | loser
singular | plural
input | output
front | back rear
top upper | bottom lower
beginning start | end
past | future
former | latter
same identical equal | different unequal
similar alike | different
together | separately apart
alone | together
single | married double multiple
simple | complex complicated
partial partly partially | complete fully entirely
some several few | all every each most
many much | few little
have own contain include | lack miss
most majority | few minority
majority | minority
any | no
either | neither
both | neither either one
also | only
at_least | at_most up_to no_more_than
minimum | maximum
must have_to | may can need_not
now still yet | formerly
still | no_longer
soon | never
almost nearly | exactly
exactly | about approximately roughly
automatically automatic | manually manual
online | offline in_person
directly | indirectly
confirm | rule_out
confirm admit | deny dispute
except | including only
within | after outside
you | we i
yes, | no,
if when once | unless
known certain clear | unknown uncertain unclear
legitimate | illegitimate
except excluding | including
"""

_CONTRADICTIONS: set[tuple[str, str]] = set()
_POSITIONAL: set[tuple[str, str]] = set()
PHRASES: set[tuple[str, ...]] = set()
for _line in _PAIRS.strip().splitlines():
    _left, _, _right = _line.removeprefix("! ").partition(" | ")
    for _word in _left.split():
        for _opposite in _right.split():
            _word_stems, _opposite_stems = (
                [stem_word(word) for word in side.split("_")] for side in (_word, _opposite)
            )
            PHRASES |= {tuple(side) for side in (_word_stems, _opposite_stems) if len(side) > 1}
            _pair = (" ".join(_word_stems), " ".join(_opposite_stems))
            (_CONTRADICTIONS if _line.startswith("!") else _POSITIONAL).update({_pair, _pair[::-1]})

_OPPOSITES: dict[str, set[str]] = {}
for _word, _opposite in _CONTRADICTIONS | _POSITIONAL:
    _OPPOSITES.setdefault(_word, set()).add(_opposite)
_NO_OPPOSITES: frozenset[str] = frozenset()
_PREFIX_LETTERS = frozenset("uindm")
MAX_PREFIX_CANDIDATES = 100
"""Words among which prefixed ones are looked for."""

PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non-", "non", "mis", "de")
UNPREFIXED_WORDS = frozenset(
    [
        "under",
        "until",
        "unit",
        "union",
        "unite",
        "unless",
        "uniform",
        "india",
        "indoor",
        "input",
        "inform",
        "income",
        "increase",
        "insure",
        "invite",
        "invest",
        "inside",
        "install",
        "important",
        "image",
        "impose",
        "import",
        "irish",
        "island",
        "distance",
        "district",
        "display",
        "discuss",
        "discount",
        "distribute",
        "dispute",
        "mission",
        "mister",
        "miss",
        "depend",
        "describe",
        "design",
        "deliver",
        "demand",
        "detail",
        "desk",
        "inch",
        "include",
        "indeed",
        "instead",
        "intend",
        "interest",
        "into",
        "union",
        "unique",
        "university",
        "invoice",
        "imply",
        "impact",
        "improve",
        "immediate",
        "individual",
        "industry",
        "infant",
        "inner",
        "inquire",
        "insert",
        "inspect",
        "instance",
        "instant",
        "instruct",
        "instrument",
        "interview",
    ]
)
MIN_ROOT_LETTERS = 4


def are_opposites(word: str, other_word: str) -> bool:
    """Is the one, in the place of the other, its opposite? Both as stems.

    >>> are_opposites("befor", "after"), are_opposites("availabl", "unavailabl"), are_opposites("open", "clos")
    (True, True, True)
    """
    word, other_word = _strip_auxiliaries(word), _strip_auxiliaries(other_word)
    return (
        (word, other_word) in _CONTRADICTIONS
        or (word, other_word) in _POSITIONAL
        or is_negated_form(word, other_word)
        or is_negated_form(other_word, word)
    )


def find_opposites(
    keys: Iterable[str], other_keys: Iterable[str], *, firm: bool = False
) -> list[tuple[str, str]]:
    """Return which keys have their opposite among others, with it; ``firm``: only what contradicts anywhere.

    >>> find_opposites(["price", "rise"], ["cost", "fall"])
    [('rise', 'fall')]
    """
    bare = {_strip_auxiliaries(other): other for other in other_keys}
    opposites = []
    for key in dict.fromkeys(keys):
        known = _OPPOSITES.get(_strip_auxiliaries(key), _NO_OPPOSITES)
        partners = (
            [other for other in bare if other in known]
            if len(known) > len(bare)
            else [candidate for candidate in known if candidate in bare]
        )
        if firm:
            partners = [
                candidate for candidate in partners if (_strip_auxiliaries(key), candidate) in _CONTRADICTIONS
            ]
        else:
            partners += [
                candidate
                for candidate in _strip_negative_prefixes(_strip_auxiliaries(key))
                if candidate in bare
            ]
            partners += (
                [
                    candidate
                    for candidate in bare
                    if candidate[:1] in _PREFIX_LETTERS
                    and is_negated_form(candidate, _strip_auxiliaries(key))
                ]
                if len(bare) <= MAX_PREFIX_CANDIDATES
                else []
            )
        opposites += [(key, bare[candidate]) for candidate in sorted(set(partners))]
    return opposites


def _strip_auxiliaries(key: str) -> str:
    return key.removeprefix("be ").removesuffix(" to")


def _strip_negative_prefixes(word: str) -> list[str]:
    return [
        word.removeprefix(prefix)
        for prefix in PREFIXES
        if word.startswith(prefix) and is_negated_form(word, word.removeprefix(prefix))
    ]


def is_negated_form(word: str, root: str) -> bool:
    """Is the word the root with a prefix that negates it, or "-less" for "-ful"?

    >>> is_negated_form("unsaf", "saf"), is_negated_form("indoor", "door"), is_negated_form("harmless", "harmful")
    (True, False, True)
    """
    if len(root) < MIN_ROOT_LETTERS - 1 or word in UNPREFIXED_WORDS:
        return False
    if word.endswith("less") and (word[:-4] == root.removesuffix("ful") or word[:-4] == root):
        return True
    return any(word == prefix + root for prefix in PREFIXES)
