"""Long texts of a run file, stored once: where one stands again, a reference stands instead.

A test's answer is in its call, in the detail of each of its measurements and in their evidence; its system
prompt is that of a hundred other tests. The document's ``texts`` hold such a text once, and ``{"$text": 3}``
means the fourth of them. A mapping of somebody's own that looks like a reference is written with one ``$``
more. A document without ``texts`` holds no references at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pytest_llmops.measurement import Json, shorten

REFERENCE = "$text"
MIN_CHARS = 80
"""Shorter texts are repeated: a person reads them where they stand."""
INLINE = frozenset({"nodeid"})
"""Keys whose texts always stand where they are: what people search for."""

_LIKE = re.compile(r"\$+text")
_ESCAPED = re.compile(r"\$\$+text")
_ON_LINES = re.compile(r'\{\n *"\$text": (\d+)\n *\}')

Place: TypeAlias = "tuple[Place, str | int] | None"


class BadReference(ValueError):
    """A reference that leads nowhere: where it stands, what was expected and what is there."""

    def __init__(self, place: Place, expected: str, got: str) -> None:
        self.place = where(place)
        super().__init__(f"{self.place}: expected {expected}, got {got}")


def share(value: Json) -> tuple[Json, list[str]]:
    """Return a value with references for its long texts that occur twice, and these texts.

    Without such texts the value is returned as it is, and no texts: then it holds no references, whatever
    it looks like.

    >>> share(["short", "short"])
    (['short', 'short'], [])
    >>> share(["x" * 80, {"again": "x" * 80}])[0]
    [{'$text': 0}, {'again': {'$text': 0}}]
    """
    counts: Counter[str] = Counter()
    _count(value, counts)
    texts = [text for text, times in counts.items() if times > 1]
    if not texts:
        return value, []
    return _shared(value, {text: number for number, text in enumerate(texts)}), texts


def _count(value: Json, counts: Counter[str]) -> None:
    if isinstance(value, str):
        if len(value) >= MIN_CHARS:
            counts[value] += 1
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key not in INLINE or not isinstance(one, str):
                _count(one, counts)
    elif isinstance(value, Sequence):
        for one in value:
            _count(one, counts)


def _shared(value: Json, numbers: Mapping[str, int]) -> Json:
    if isinstance(value, str):
        number = numbers.get(value)
        return value if number is None else {REFERENCE: number}
    if isinstance(value, Mapping):
        like = len(value) == 1 and _LIKE.fullmatch(next(iter(value)))
        return {
            f"${key}" if like else key: one
            if key in INLINE and isinstance(one, str)
            else _shared(one, numbers)
            for key, one in value.items()
        }
    if isinstance(value, Sequence):
        return [_shared(one, numbers) for one in value]
    return value


def restore(value: object, texts: Sequence[str], place: Place = None) -> object:
    """Return what `share` was given.

    Args:
        value: With references.
        texts: What they refer to.
        place: Where the value stands, for the error.

    Raises:
        BadReference: A reference is no number, or there is no text of that number.

    >>> restore([{"$text": 0}, {"$$text": 0}], ["hello"])
    ['hello', {'$text': 0}]
    """
    if isinstance(value, dict):
        only = next(iter(value)) if len(value) == 1 else ""
        if only == REFERENCE:
            return _text(value[only], texts, place)
        if _ESCAPED.fullmatch(only):
            return {only[1:]: restore(value[only], texts, (place, only))}
        return {key: restore(one, texts, (place, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [restore(one, texts, (place, number)) for number, one in enumerate(value)]
    return value


def _text(number: object, texts: Sequence[str], place: Place) -> str:
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadReference(place, "the number of a text", f"{{{REFERENCE!r}: {shorten(repr(number), 60)}}}")
    if not 0 <= number < len(texts):
        raise BadReference(place, f"the number of one of {len(texts):,} texts, from 0", f"{number}")
    return texts[number]


def where(place: Place) -> str:
    """Return a place in words: keys after dots, numbers in brackets.

    >>> where(((((None, "records"), 3), "calls"), 0))
    'records[3].calls[0]'
    """
    parts: list[str | int] = []
    while place is not None:
        place, part = place
        parts.append(part)
    words = (f"[{part}]" if isinstance(part, int) else f".{shorten(part, 60)}" for part in reversed(parts))
    return "".join(words).removeprefix(".")


def on_one_line(text: str) -> str:
    r"""Return indented JSON with each reference on one line: no text of JSON holds a line end, so none is touched.

    >>> on_one_line('[\n {\n  "$text": 3\n }\n]')
    '[\n {"$text": 3}\n]'
    """
    return _ON_LINES.sub(rf'{{"{REFERENCE}": \1}}', text)
