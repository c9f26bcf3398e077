"""Verdicts with several fields: an object that holds one key, the reason and the nonce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmops.judges.protocol.parsing import (
    UnreadableReply,
    check_json_nonce,
    extract_json_objects,
    read_json_reason,
    reply_without_thinking,
)


def find_verdict_object(text: str, key: str, nonce: str = "") -> tuple[Mapping[str, Any] | None, str]:
    """Return the one verdict in JSON that holds a key, and the text around it.

    Args:
        text: A judge's reply.
        key: The key, in lower case.
        nonce: What the verdict must repeat; empty: nothing.

    Returns:
        The object, keys in lower case; None if no JSON holds the key.

    Raises:
        Unread: JSON that is broken, two different verdicts, a wrong nonce or no reason.

    >>> find_verdict_object('{"reason": "x", "items": {"1": "yes"}}', "items")[0]["items"]
    {'1': 'yes'}
    """
    objects, prose = extract_json_objects(reply_without_thinking(text))
    verdicts = [one for one in objects if key in one]
    if not verdicts:
        return None, prose
    first, *others = [{name: one for name, one in each.items() if name != "reason"} for each in verdicts]
    if any(one != first for one in others):
        raise UnreadableReply(f"{len(verdicts)} different verdicts in one reply")
    check_json_nonce(verdicts[0], nonce)
    read_json_reason(verdicts[0])
    return verdicts[0], prose
