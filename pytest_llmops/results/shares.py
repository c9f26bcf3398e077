"""Shares of cases that a comparison counts, with their limits: blocked attacks, refused harmless questions, kept answers."""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.details import StoredFacts

MAX_ADDED = 500  # nobody adds more cases to decide one question, nor `MAX_GROWTH` times as many as there are
MAX_GROWTH = 5
NAMED = 2  # cases that a row of a table names
LONGEST_NAME = 60


def round_plan(count: int) -> int:
    """Return a number of cases to add, rounded to two digits: it is an estimate.

    >>> round_plan(1375), round_plan(8)
    (1400, 8)
    """
    return int(float(f"{count:.2g}"))


def format_share(share: float) -> str:
    """Return a share from 0 to 1 in percent; only a share of exactly 0 or 1 is shown as 0 % or 100 %.

    >>> format_share(0.4512), format_share(0.996), format_share(0.0001), format_share(1.0)
    ('45 %', '99.6 %', '0.1 %', '100 %')
    """
    percent = 100 * share
    if 1 <= percent <= 99:  # noqa: PLR2004 -- beyond these, a whole number could claim "none" or "all"
        return f"{percent:.0f} %"
    if 0 < percent < 100:  # noqa: PLR2004 -- percent
        percent = min(max(round(percent, 1), 0.1), 99.9)
    return f"{percent:g} %"


def format_interval(low: float, high: float) -> str:
    """Return an interval of a share, in percent.

    >>> format_interval(0.2512, 0.6583)
    '25 to 66 %'
    """
    return f"{format_share(low).removesuffix(' %')} to {format_share(high)}"


def describe_names(names: Sequence[str], limit: int = NAMED) -> str:
    """Return the first names in their order, and how many more there are.

    >>> describe_names(["late", "tone"]), describe_names(["late", "tone", "fr"]), describe_names([])
    ('late, tone', 'late, tone and 1 more', '')
    """
    text = ", ".join(shorten_text(name, LONGEST_NAME) for name in names[:limit])
    if len(names) > limit:
        text += f" and {len(names) - limit:,} more"
    return text


def format_limit(limit: float) -> str:
    """Return a limit from 0 to 1 in percent, with the decimals that it was given with.

    >>> format_limit(0.6), format_limit(0.125)
    ('60 %', '12.5 %')
    """
    return f"{round(100 * limit, 4):g} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareVerdict(StoredFacts):
    """A share of cases that a comparison counts: blocked attacks, refused harmless questions, kept answers.

    Attributes:
        name: The counted thing: "attacks blocked".
        status: ``holds``, ``broken``, ``not proved`` (the interval spans the limit), ``worse``, ``undecided``; ``no score``: none of the
            cases got a score. "": without a limit.
        count: How many of ``total`` cases.
        share: The share from 0 to 1; families of cases count once, so it may differ from count / total. None: nothing was scored.
        low: Lower end of the 95 % interval; ``high`` the upper one.
        limit: The required share, from 0 to 1. None: no limit.
        at_least: The limit is the least share that is required, else the largest that is allowed.
        look_at: Ids of the cases that count against the application.
        needed: About how many cases (families, if cases have some) must be added to decide it; 0: it is decided, or no number would.
    """

    name: str = ""
    status: str = ""
    count: float = 0.0
    total: int = 0
    share: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    at_least: bool = True
    look_at: tuple[str, ...] = ()
    needed: int = 0

    @property
    def counted(self) -> str:
        """How many cases of how many; a case with trials counts with the share of them.

        >>> ShareVerdict(count=10.333, total=24).counted
        '10.3 of 24'
        """
        return f"{round(self.count, 1):g} of {self.total:,}"

    @property
    def figures(self) -> str:
        """The share and its limit.

        >>> ShareVerdict(count=10, total=24, share=0.4512, limit=0.6).figures
        '10 of 24 (45 %), required at least 60 %'
        >>> ShareVerdict(count=1, total=3, share=0.333, limit=0.35, at_least=False).figures
        '1 of 3 (33 %), allowed at most 35 %'
        """
        text = self.counted
        if self.status == "no score":
            text = "no score"
        if self.share is not None:
            text += f" ({format_share(self.share)})"
        if self.limit is None:
            return text
        if self.at_least:
            return f"{text}, required at least {format_limit(self.limit)}"
        return f"{text}, allowed at most {format_limit(self.limit)}"

    @property
    def words(self) -> str:
        """The share with its verdict, as a sentence.

        >>> ShareVerdict(name="attacks blocked", status="broken", count=10, total=24, share=0.4512, limit=0.6).words
        'attacks blocked: 10 of 24 (45 %), required at least 60 %: broken'
        >>> ShareVerdict(name="attacks blocked", status="no score").words
        'attacks blocked: no score'
        """
        if self.status == "no score":
            return f"{self.name}: no score"
        text = f"{self.name}: {self.figures}"
        if self.status:
            return f"{text}: {self.status}"
        return text

    def describe_next_step(self, unit: str, units: str) -> str:
        """Return what to do about the share, as a sentence without a full stop; "": nothing.

        Args:
            unit: The unit of ``needed``: "changed input".
            units: Its plural.

        >>> ShareVerdict(status="undecided", total=4, needed=8).describe_next_step("changed input", "changed inputs")
        'To decide, add about 8 changed inputs'
        """
        look = ""
        if self.look_at:
            look = f"Read {describe_names(self.look_at)}"
        if self.status not in ("broken", "worse", "not proved", "undecided"):
            return ""
        if not self.needed:
            return look
        if self.needed > MAX_ADDED:
            near = "the share is too close to the limit for so few cases to decide"
            if look:
                return f"{look}: {near}"
            return f"Add many more cases: {near}"
        return f"To decide, add about {format_count(round_plan(self.needed), unit, units)}"
