"""What a metric of texts is given: an answer, and one reference or several."""

from __future__ import annotations

from collections.abc import Sequence


def text_of(actual: object) -> str:
    """Return an answer that is a text.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(actual, str):
        got = "None" if actual is None else f"an object of type {type(actual).__name__}"
        hint = "; pass its .text" if isinstance(getattr(actual, "text", None), str) else ""
        raise ValueError(f"expected an answer of text, got {got}{hint}")
    return actual


def references_of(expected: object) -> list[str]:
    """Return one reference or several as a list.

    Raises:
        ValueError: It is neither.
    """
    found = [expected] if isinstance(expected, str) else expected
    if not isinstance(found, Sequence) or isinstance(found, (bytes, bytearray)):
        kind = "None" if found is None else f"an object of type {type(found).__name__}"
        raise ValueError(f"expected a reference of text or a list of them, got {kind}")
    if not found:
        raise ValueError("expected at least one reference, got none")
    for number, one in enumerate(found, start=1):
        if not isinstance(one, str):
            raise ValueError(
                f"expected references of text, got an object of type {type(one).__name__} as number {number}"
            )
    return list(found)
