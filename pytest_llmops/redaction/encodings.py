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
MIN_BASE64_RUN = 32
"""Characters of base64 that are looked into; what is shorter hides known secrets only, see `base64_forms`."""
MIN_BASE64_FORM = 10
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NEEDLESS_ESCAPE = re.compile(rb"\\u00[2-7][0-9A-Fa-f]|\\/")
_UNQUOTED = b"/:@!$'()*,;"
"""Characters that some clients leave as they are in a value."""
_PERCENT_ENCODED = re.compile(rb"(?:[A-Za-z0-9._~+/:@!$'()*,;-]|%[0-9A-Fa-f]{2}){8,}")
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{%d,}={0,2}" % MIN_BASE64_RUN)
_BASE64_MAP = bytes(
    120 if chr(code) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-" else 32
    for code in range(256)
)
_LONG_WORD = b"x" * MIN_BASE64_RUN
_URL_SAFE_MAP = bytes.maketrans(b"-_", b"+/")


def clean_encoded(data: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    """Return the data with what is spelled otherwise cleaned too.

    Args:
        data: Cleaned as it stands.
        clean: Masks secrets in a text.
        clean_binary: Masks secrets in what is no text, and keeps its length.
    """
    if b"\\" in data and (b"\\u00" in data or b"\\/" in data):
        data = _JSON_STRING.sub(lambda match: _clean_json_string(match[0], clean), data)
    if b"%" in data:
        data = _PERCENT_ENCODED.sub(lambda match: _clean_percent_encoded(match[0], clean), data)
    if has_long_word(data):
        data = _BASE64_RUN.sub(lambda match: _clean_base64(match[0], clean, clean_binary), data)
    return data


def has_long_word(data: bytes) -> bool:
    """Say whether as many characters as could be base64 stand in a row."""
    return _LONG_WORD in data.translate(_BASE64_MAP)


def _clean_json_string(literal: bytes, clean: Clean) -> bytes:
    if _NEEDLESS_ESCAPE.search(literal) is None:
        return literal
    try:
        text = json.loads(literal, strict=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return literal
    cleaned = clean(text)
    if cleaned == text:
        return literal
    respelled = json.dumps(cleaned.decode("utf-8", "surrogatepass"), ensure_ascii=literal.isascii())
    return respelled.encode("utf-8", "surrogatepass")


def _clean_percent_encoded(quoted: bytes, clean: Clean) -> bytes:
    if b"%" not in quoted:
        return quoted
    # In a query and a form a "+" is a blank, in a path it is itself.
    for blank in (b" ", b"+") if b"+" in quoted else (b"+",):
        text = unquote_to_bytes(quoted.replace(b"+", blank))
        cleaned = clean(text)
        if cleaned != text:
            safe = (
                "[]"
                + "".join(chr(code) for code in _UNQUOTED if code in quoted)
                + ("+" if blank == b"+" else "")
            )
            respelled = quote(cleaned, safe=safe)
            return (respelled.replace("%20", "+") if blank == b" " else respelled).encode()
    return quoted


def _clean_base64(run: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    content = _decode_base64(run)
    if content is not None and _is_utf8_text(content):
        return _encode_base64(clean(content), content, run)
    if content is not None:
        run = _encode_base64(clean_binary(content), content, run)
    # The "/" may be one of a path, and what stands between two of them the text.
    return b"/".join(_clean_base64_part(part, clean) for part in run.split(b"/")) if b"/" in run else run


def _clean_base64_part(part: bytes, clean: Clean) -> bytes:
    content = _decode_base64(part) if len(part) >= MIN_BASE64_RUN else None
    return (
        part
        if content is None or not _is_utf8_text(content)
        else _encode_base64(clean(content), content, part)
    )


def _decode_base64(run: bytes) -> bytes | None:
    plain = run.rstrip(b"=").translate(_URL_SAFE_MAP)
    try:
        return b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None


def _encode_base64(cleaned: bytes, original: bytes, run: bytes) -> bytes:
    """Return base64 as the run is written; the run itself where nothing was masked."""
    if cleaned == original:
        return run
    respelled = b64encode(cleaned)
    if b"-" in run or b"_" in run:
        respelled = respelled.replace(b"+", b"-").replace(b"/", b"_")
    return respelled if run.endswith(b"=") or len(run) % 4 == 0 else respelled.rstrip(b"=")


def _is_utf8_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def base64_forms(raw: bytes) -> set[bytes]:
    """Return what a secret looks like inside a longer text of base64, wherever it starts there."""
    forms = set()
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + raw)
        # Only whole characters: those at both ends hold bits of the neighbours.
        inner = encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        if len(inner) >= MIN_BASE64_FORM:
            forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
