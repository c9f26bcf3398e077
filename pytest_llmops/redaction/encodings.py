r"""Secrets that are spelled otherwise: ``\u002d`` in JSON, ``%2D`` in a URL, base64 in anything.

What could hide one is taken out of its spelling, cleaned, and spelled again. Texts without such spellings pay for a
look at each of their bytes.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

Clean = Callable[[bytes], bytes]
LONG_RUN = 32
"""Characters of base64 that are looked into; what is shorter hides known secrets only, see `base64_forms`."""
MIN_FORM = 10
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NEEDLESS = re.compile(rb"\\u00[2-7][0-9A-Fa-f]|\\/")
_LEFT = b"/:@!$'()*,;"
"""Characters that some clients leave as they are in a value."""
_QUOTED = re.compile(rb"(?:[A-Za-z0-9._~+/:@!$'()*,;-]|%[0-9A-Fa-f]{2}){8,}")
_RUN = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{%d,}={0,2}" % LONG_RUN)
_ENCODED = bytes(
    120 if chr(code) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-" else 32
    for code in range(256)
)
_LONG = b"x" * LONG_RUN
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def undone(data: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    """Return the data with what is spelled otherwise cleaned too.

    Args:
        data: Cleaned as it stands.
        clean: Masks secrets in a text.
        clean_binary: Masks secrets in what is no text, and keeps its length.
    """
    if b"\\" in data and (b"\\u00" in data or b"\\/" in data):
        data = _STRING.sub(lambda found: _in_json(found[0], clean), data)
    if b"%" in data:
        data = _QUOTED.sub(lambda found: _in_url(found[0], clean), data)
    if has_long_word(data):
        data = _RUN.sub(lambda found: _in_base64(found[0], clean, clean_binary), data)
    return data


def has_long_word(data: bytes) -> bool:
    """Say whether as many characters as could be base64 stand in a row."""
    return _LONG in data.translate(_ENCODED)


def _in_json(literal: bytes, clean: Clean) -> bytes:
    if _NEEDLESS.search(literal) is None:
        return literal
    try:
        text = json.loads(literal, strict=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return literal
    made = clean(text)
    if made == text:
        return literal
    respelled = json.dumps(made.decode("utf-8", "surrogatepass"), ensure_ascii=literal.isascii())
    return respelled.encode("utf-8", "surrogatepass")


def _in_url(quoted: bytes, clean: Clean) -> bytes:
    if b"%" not in quoted:
        return quoted
    # In a query and a form a "+" is a blank, in a path it is itself.
    for blank in (b" ", b"+") if b"+" in quoted else (b"+",):
        text = unquote_to_bytes(quoted.replace(b"+", blank))
        made = clean(text)
        if made != text:
            left = "[]" + "".join(chr(one) for one in _LEFT if one in quoted) + ("+" if blank == b"+" else "")
            respelled = quote(made, safe=left)
            return (respelled.replace("%20", "+") if blank == b" " else respelled).encode()
    return quoted


def _in_base64(run: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    content = _decoded(run)
    if content is not None and _is_text(content):
        return _encoded(clean(content), content, run)
    if content is not None:
        run = _encoded(clean_binary(content), content, run)
    # The "/" may be one of a path, and what stands between two of them the text.
    return b"/".join(_in_part(part, clean) for part in run.split(b"/")) if b"/" in run else run


def _in_part(part: bytes, clean: Clean) -> bytes:
    content = _decoded(part) if len(part) >= LONG_RUN else None
    return part if content is None or not _is_text(content) else _encoded(clean(content), content, part)


def _decoded(run: bytes) -> bytes | None:
    plain = run.rstrip(b"=").translate(_URL_SAFE)
    try:
        return b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None


def _encoded(made: bytes, content: bytes, run: bytes) -> bytes:
    """Return base64 as the run is written; the run itself where nothing was masked."""
    if made == content:
        return run
    respelled = b64encode(made)
    if b"-" in run or b"_" in run:
        respelled = respelled.replace(b"+", b"-").replace(b"/", b"_")
    return respelled if run.endswith(b"=") or len(run) % 4 == 0 else respelled.rstrip(b"=")


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def base64_forms(raw: bytes) -> set[bytes]:
    """Return what a secret looks like inside a longer text of base64, wherever it starts there."""
    found = set()
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + raw)
        # Only whole characters: those at both ends hold bits of the neighbours.
        inner = encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        if len(inner) >= MIN_FORM:
            found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found
