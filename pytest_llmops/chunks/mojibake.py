"""Text that was decoded with the wrong table: ``fÃ¼r``, ``donâ€™t``, ``РџСЂРё``, ``锟斤拷``."""

from __future__ import annotations

import re
from collections.abc import Iterator

FIRST_LEAD = 0xC0
"""In UTF-8, bytes from 0x80 up to this continue a character."""
UNDEFINED_IN_CP1251 = 0x98


def _decoded(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


_BYTE = {
    **{chr(byte): byte for byte in range(0x80, 0xA0)},
    **{_decoded(byte): byte for byte in range(0x80, 0x100)},
}
"""Characters of cp1252 (and of Latin-1, which some decoders take) to the byte they were made of."""
_TAIL = "".join(re.escape(char) for char, byte in _BYTE.items() if byte < FIRST_LEAD)
_PAIR = f"[\\u00c2-\\u00df][{_TAIL}]"
_WESTERN = re.compile(f"(?:{_PAIR}|[\\u00e0-\\u00ef][{_TAIL}]{{2}}|[\\u00f0-\\u00f4][{_TAIL}]{{3}})+")
# The same for Cyrillic: in cp1251 a letter's first byte is a Р or С (a В or Г for marks). Three in a row, as
# "Сё" may be a word.
_CYRILLIC_TAIL = "".join(
    re.escape(bytes([byte]).decode("cp1251"))
    for byte in range(0x80, FIRST_LEAD)
    if byte != UNDEFINED_IN_CP1251
)
_CYRILLIC = re.compile(f"(?:[РС][{_CYRILLIC_TAIL}]){{3,}}")
# U+FFFD, itself written as UTF-8 and read as GBK; fill bytes of Visual C++ read as GBK.
_GBK = re.compile("锟斤拷|烫烫烫|屯屯屯")
_CLOSING = "»›”“’‘–—…·°§¶«‹"
"""Marks that may follow a capital or an accented letter in an honest text: ``CAFÉ»``, ``café”…``."""


def mojibake(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each ``(start, end, what it was)`` of text that was decoded with the wrong table; linear.

    UTF-8 read as cp1252 or Latin-1 (also twice), as cp1251, and what is typical of GBK. A single accented
    letter before a closing quote or a dash is left alone, as it may be meant.

    >>> [found for _, _, found in mojibake("DonÃ¢â‚¬â„¢t! fÃ¼r")]
    ['â€™', 'ü']
    """
    yield from sorted((*_western(text), *_cyrillic(text), *_chinese(text)))


def _western(text: str) -> Iterator[tuple[int, int, str]]:
    for found in _WESTERN.finditer(text):
        try:
            was = bytes(_BYTE[char] for char in found[0]).decode("utf-8")
        except UnicodeDecodeError:
            continue
        if len(was) == 1 and _may_be_meant(text, found.start(), found[0], was):
            continue
        yield found.start(), found.end(), was


def _may_be_meant(text: str, start: int, found: str, was: str) -> bool:
    """Whether one letter and marks behind it could be just that."""
    before = text[start - 1 : start] if start else ""
    if len(found) == len("Ã¼"):
        if found[0] in "ÂÃ":
            return before.isupper() and found[1] in _CLOSING
        # One Greek, Cyrillic, Hebrew ... letter alone is no word.
        return found[1] in _CLOSING or not (was.isalpha() and "\u00c0" <= was <= "\u017f")
    return all(char in _CLOSING for char in found[1:])


def _cyrillic(text: str) -> Iterator[tuple[int, int, str]]:
    for found in _CYRILLIC.finditer(text):
        yield found.start(), found.end(), found[0].encode("cp1251").decode("utf-8")


def _chinese(text: str) -> Iterator[tuple[int, int, str]]:
    return ((found.start(), found.end(), "") for found in _GBK.finditer(text))
