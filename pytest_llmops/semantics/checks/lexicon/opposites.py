"""Words that mean the opposite: a list of our own, and prefixes that negate."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmops.semantics.checks.lexicon.stems import stem

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

_FIRM: set[tuple[str, str]] = set()
_LOOSE: set[tuple[str, str]] = set()
PHRASES: set[tuple[str, ...]] = set()
for _line in _PAIRS.strip().splitlines():
    _left, _, _right = _line.removeprefix("! ").partition(" | ")
    for _one in _left.split():
        for _other in _right.split():
            _a, _b = ([stem(word) for word in side.split("_")] for side in (_one, _other))
            PHRASES |= {tuple(side) for side in (_a, _b) if len(side) > 1}
            _pair = (" ".join(_a), " ".join(_b))
            (_FIRM if _line.startswith("!") else _LOOSE).update({_pair, _pair[::-1]})

_OF: dict[str, set[str]] = {}
for _one, _other in _FIRM | _LOOSE:
    _OF.setdefault(_one, set()).add(_other)
_NONE: frozenset[str] = frozenset()
_STARTS = frozenset("uindm")
MAX_BARE = 100
"""Words among which prefixed ones are looked for."""

PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non-", "non", "mis", "de")
NO_PREFIX = frozenset(
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
MIN_ROOT = 4


def opposite(one: str, other: str) -> bool:
    """Is the one, in the place of the other, its opposite? Both as stems.

    >>> opposite("befor", "after"), opposite("availabl", "unavailabl"), opposite("open", "clos")
    (True, True, True)
    """
    one, other = _bare(one), _bare(other)
    return (one, other) in _FIRM or (one, other) in _LOOSE or negated(one, other) or negated(other, one)


def between(keys: Iterable[str], others: Iterable[str], *, firm: bool = False) -> list[tuple[str, str]]:
    """Return which keys have their opposite among others, with it; ``firm``: only what contradicts anywhere.

    >>> between(["price", "rise"], ["cost", "fall"])
    [('rise', 'fall')]
    """
    bare = {_bare(other): other for other in others}
    found = []
    for key in dict.fromkeys(keys):
        known = _OF.get(_bare(key), _NONE)
        partners = (
            [other for other in bare if other in known]
            if len(known) > len(bare)
            else [one for one in known if one in bare]
        )
        if firm:
            partners = [one for one in partners if (_bare(key), one) in _FIRM]
        else:
            partners += [one for one in _prefixed(_bare(key)) if one in bare]
            partners += (
                [one for one in bare if one[:1] in _STARTS and negated(one, _bare(key))]
                if len(bare) <= MAX_BARE
                else []
            )
        found += [(key, bare[one]) for one in sorted(set(partners))]
    return found


def _bare(key: str) -> str:
    return key.removeprefix("be ").removesuffix(" to")


def _prefixed(word: str) -> list[str]:
    return [
        word.removeprefix(prefix)
        for prefix in PREFIXES
        if word.startswith(prefix) and negated(word, word.removeprefix(prefix))
    ]


def negated(word: str, root: str) -> bool:
    """Is the word the root with a prefix that negates it, or "-less" for "-ful"?

    >>> negated("unsaf", "saf"), negated("indoor", "door"), negated("harmless", "harmful")
    (True, False, True)
    """
    if len(root) < MIN_ROOT - 1 or word in NO_PREFIX:
        return False
    if word.endswith("less") and (word[:-4] == root.removesuffix("ful") or word[:-4] == root):
        return True
    return any(word == prefix + root for prefix in PREFIXES)
