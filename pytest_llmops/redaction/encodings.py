r"""Masking of secrets behind JSON escapes (``\u002d``), percent-encoding (``%2D``) and base64.

Encoded parts are decoded, cleaned, and encoded again. A text without encoded parts is scanned a few times.
"""

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

Clean = Callable[[bytes], bytes]
# Minimum length of base64 that is decoded; shorter runs can only hide known secrets, see `base64_forms`
MIN_BASE64_RUN = 32
MIN_BASE64_FORM = 10
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NEEDLESS_ESCAPE = re.compile(rb"\\u00[2-7][0-9A-Fa-f]|\\/")
_UNQUOTED = b"/:@!$'()*,;"  # characters that some clients do not encode in a value
_PERCENT_ENCODED = re.compile(rb"(?:[A-Za-z0-9._~+/:@!$'()*,;-]|%[0-9A-Fa-f]{2}){8,}")
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{%d,}={0,2}" % MIN_BASE64_RUN)
_BASE64_MAP = bytes(
    120 if chr(code) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-" else 32
    for code in range(256)
)
_LONG_WORD = b"x" * MIN_BASE64_RUN
_URL_SAFE_MAP = bytes.maketrans(b"-_", b"+/")


def clean_encoded(data: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    """Return the data with their encoded parts cleaned.

    Args:
        data: The data.
        clean: Masks secrets in a text.
        clean_binary: Masks secrets in binary data without changing their length.
    """
    if b"\\" in data and (b"\\u00" in data or b"\\/" in data):
        data = _JSON_STRING.sub(lambda match: _clean_json_string(match[0], clean), data)
    if b"%" in data:
        data = _PERCENT_ENCODED.sub(lambda match: _clean_percent_encoded(match[0], clean), data)
    if has_long_word(data):
        data = _BASE64_RUN.sub(lambda match: _clean_base64(match[0], clean, clean_binary), data)
    return data


def has_long_word(data: bytes) -> bool:
    """Return whether the data contain a run of characters that is long enough to be base64."""
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
    return json.dumps(cleaned.decode("utf-8", "surrogatepass"), ensure_ascii=literal.isascii()).encode(
        "utf-8", "surrogatepass"
    )


def _clean_percent_encoded(quoted: bytes, clean: Clean) -> bytes:
    if b"%" not in quoted:
        return quoted
    # "+" is a blank in a query or a form, and itself in a path.
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
    content, is_text = _decode_base64(run)
    if is_text:
        return _encode_base64(clean(content), content, run)
    if content:
        run = _encode_base64(clean_binary(content), content, run)
    if b"/" not in run:
        return run
    # A "/" may separate the parts of a path, each of them base64.
    parts = run.split(b"/")
    for number, part in enumerate(parts):
        if len(part) >= MIN_BASE64_RUN:
            content, is_text = _decode_base64(part)
            if is_text:
                parts[number] = _encode_base64(clean(content), content, part)
    return b"/".join(parts)


def _decode_base64(run: bytes) -> tuple[bytes, bool]:
    # Return decoded base64, and whether it is a text; nothing if the run is not base64.
    plain = run.rstrip(b"=").translate(_URL_SAFE_MAP)
    content = b""
    try:
        content = b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
        content.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return content, False
    return content, bool(content) and b"\0" not in content


def _encode_base64(cleaned: bytes, original: bytes, run: bytes) -> bytes:
    # Return base64 in the alphabet and padding of the run, or the run itself if nothing was masked.
    if cleaned == original:
        return run
    respelled = b64encode(cleaned)
    if b"-" in run or b"_" in run:
        respelled = respelled.replace(b"+", b"-").replace(b"/", b"_")
    return respelled if run.endswith(b"=") or len(run) % 4 == 0 else respelled.rstrip(b"=")


def base64_forms(raw: bytes) -> set[bytes]:
    """Return the forms of a secret inside a longer base64 text, for every offset."""
    forms = set()
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + raw)
        # Only whole characters: the characters at both ends contain bits of the neighbours.
        inner = encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        if len(inner) >= MIN_BASE64_FORM:
            forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
