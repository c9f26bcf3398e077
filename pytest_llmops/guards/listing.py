"""Word lists as one reads them."""

from __future__ import annotations


def listed(text: str) -> list[str]:
    """Return the words of a list that is written as running text.

    >>> listed("in out")
    ['in', 'out']
    """
    return text.split()
