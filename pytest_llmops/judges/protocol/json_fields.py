"""Find the JSON object of a verdict with several fields: it has a given key, the reason and the nonce."""

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
    """Return the verdict in JSON that has a key, and the text around it.

    Args:
        text: A judge's reply.
        key: The key, in lower case.
        nonce: What the verdict must repeat; empty: no nonce is required.

    Returns:
        The object, keys in lower case; None if no object has the key.

    Raises:
        UnreadableReply: Broken JSON, two different verdicts, a wrong nonce or no reason.

    >>> find_verdict_object('{"reason": "x", "items": {"1": "yes"}}', "items")[0]["items"]
    {'1': 'yes'}
    """
    objects, prose = extract_json_objects(reply_without_thinking(text))
    verdicts = [fields for fields in objects if key in fields]
    if not verdicts:
        return None, prose
    first, *others = [{**verdict, "reason": ""} for verdict in verdicts]
    if any(other != first for other in others):
        raise UnreadableReply(f"{len(verdicts)} different verdicts in one reply")
    check_json_nonce(verdicts[0], nonce)
    read_json_reason(verdicts[0])
    return verdicts[0], prose
