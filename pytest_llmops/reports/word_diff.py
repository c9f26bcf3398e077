"""Differences between two texts, word by word."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

Edit: TypeAlias = tuple[Literal["same", "old", "new"], str]

MAX_WORDS = 400  # words of each text that are compared: the comparison is quadratic
_WORDS = re.compile(r"\s+|[^\W_]+|.", re.DOTALL)


def diff_words(old: str, new: str) -> list[Edit]:
    """Return the pieces of two texts: what is the same, only in the old text, or only in the new text.

    Of longer texts the first 400 words are compared.

    >>> diff_words("within 30 days", "within 60 days")
    [('same', 'within '), ('old', '30'), ('new', '60'), ('same', ' days')]
    """
    old_words, new_words = (_WORDS.findall(text[: MAX_WORDS * 40])[: 2 * MAX_WORDS] for text in (old, new))
    return list(_iter_edits(old_words, new_words))


def _iter_edits(old: list[str], new: list[str]) -> Iterator[Edit]:
    for tag, old_start, old_end, new_start, new_end in SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[old_start:old_end])
            continue
        if old_end > old_start:
            yield "old", "".join(old[old_start:old_end])
        if new_end > new_start:
            yield "new", "".join(new[new_start:new_end])
