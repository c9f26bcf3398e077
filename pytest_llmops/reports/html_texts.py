"""Foreign text for a page: made visible, cut where it is too long, and stored once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_CHARS = 65_536
"""Of one text on a page; the run file has all of it."""
MIN_SHARED = 160
"""Shorter texts are repeated: a reference would be as long."""

# Controls, what turns the direction of writing, what cannot be seen, and what no file can hold.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape_invisible(text: str) -> str:
    r"""Return a text in which nothing hides: invisible and steering characters are shown as escapes.

    Line feeds, tabs and the joiners that some scripts and emoji need stay as they are.

    >>> escape_invisible("a\x00b\u202ec")
    'a\\x00b\\u202ec'
    """
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


@dataclass(slots=True)
class Text:
    """A text on the page.

    Attributes:
        body: What is shown.
        cut: Characters left out at its end.
        shared: Another place refers to it, so it needs its ``id``.
    """

    id: str
    body: str
    cut: int = 0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text is shown: in full the first time, then as a reference."""

    text: Text
    first: bool


@dataclass(slots=True)
class Texts:
    """The texts of a page, in the order they are shown."""

    known: dict[str, Text] = field(default_factory=dict)

    def put(self, text: str) -> Place:
        """Add a text at the next place of the page."""
        if len(text) < MIN_SHARED:
            return Place(visible_text(text), first=True)
        seen = self.known.get(text)
        if seen is not None:
            seen.shared = True
            return Place(seen, first=False)
        new = self.known[text] = visible_text(text, f"t{len(self.known) + 1}")
        return Place(new, first=True)


def visible_text(text: str, id: str = "") -> Text:  # noqa: A002 -- becomes the attribute of that name
    """Return a text made visible and cut; without an ``id`` nothing can refer to it."""
    return Text(id, escape_invisible(text[:MAX_CHARS]), max(len(text) - MAX_CHARS, 0))
