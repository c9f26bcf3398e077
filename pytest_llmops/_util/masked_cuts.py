"""Mask secrets in a text before it is cut: the rest of a secret after a cut is not recognized later."""

from collections.abc import Callable

LONGEST_SECRET = 5_000  # characters, of a private key


def mask_start(text: str, limit: int, mask: Callable[[str], str]) -> str:
    """Return a text that will be cut to its first ``limit`` characters, with secrets masked as far as they reach into these.

    A text that is short enough is returned as it is. Of one of 5 MB only the beginning is searched.

    Args:
        text: The text.
        limit: How many characters of it are kept.
        mask: Returns a text without its secrets.

    >>> mask_start("key: hunter2hunter2", 8, lambda text: text.replace("hunter2hunter2", "[secret]"))
    'key: [secret]'
    """
    if len(text) <= limit:
        return text
    end = limit + 2 * LONGEST_SECRET
    start = mask(text[:end])
    if len(text) > end and len(start) < limit + LONGEST_SECRET:
        # So much was masked that its end, where a secret may be cut, would be among the characters that are kept.
        return mask(text)
    return start + text[end:]
