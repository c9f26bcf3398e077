"""Verdicts with several fields: an object that holds one key, the reason and the nonce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmops.judges.protocol.parsing import (
    Unread,
    check_nonce,
    json_objects,
    reason_of,
    said_in,
)


def one_object(text: str, key: str, nonce: str = "") -> tuple[Mapping[str, Any] | None, str]:
    """Return the one verdict in JSON that holds a key, and the text around it.

    Args:
        text: A judge's reply.
        key: The key, in lower case.
        nonce: What the verdict must repeat; empty: nothing.

    Returns:
        The object, keys in lower case; None if no JSON holds the key.

    Raises:
        Unread: JSON that is broken, two different verdicts, a wrong nonce or no reason.

    >>> one_object('{"reason": "x", "items": {"1": "yes"}}', "items")[0]["items"]
    {'1': 'yes'}
    """
    objects, prose = json_objects(said_in(text))
    verdicts = [one for one in objects if key in one]
    if not verdicts:
        return None, prose
    first, *others = [{name: one for name, one in each.items() if name != "reason"} for each in verdicts]
    if any(one != first for one in others):
        raise Unread(f"{len(verdicts)} different verdicts in one reply")
    check_nonce(verdicts[0], nonce)
    reason_of(verdicts[0])
    return verdicts[0], prose
