"""Check the arguments of a text metric: an answer, and a reference or several."""

from __future__ import annotations

from collections.abc import Sequence


def require_text(actual: object) -> str:
    """Return an answer if it is a text.

    Raises:
        ValueError: It is not a text.
    """
    if not isinstance(actual, str):
        got = "None" if actual is None else f"an object of type {type(actual).__name__}"
        hint = "; pass its .text" if isinstance(getattr(actual, "text", None), str) else ""
        raise ValueError(f"expected an answer of text, got {got}{hint}")
    return actual


def list_references(expected: object) -> list[str]:
    """Return a reference or several as a list.

    Raises:
        ValueError: There is no reference, or a reference is not a text.
    """
    references = [expected] if isinstance(expected, str) else expected
    if not isinstance(references, Sequence) or isinstance(references, (bytes, bytearray)):
        kind = "None" if references is None else f"an object of type {type(references).__name__}"
        raise ValueError(f"expected a reference of text or a list of them, got {kind}")
    if not references:
        raise ValueError("expected at least one reference, got none")
    for number, reference in enumerate(references, start=1):
        if not isinstance(reference, str):
            raise ValueError(
                f"expected references of text, got an object of type {type(reference).__name__} as number {number}"
            )
    return list(references)
