"""Check the formats that the drafts of JSON Schema define, each as the RFC that the drafts refer to.

"regex" is Python's dialect. The package `idna` is needed for "idn-hostname", and for labels of "hostname" that begin
with ``xn--``. All checks take linear time.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from functools import cache, partial
from importlib.util import find_spec
from typing import TypeAlias

FormatCheck: TypeAlias = Callable[[str], bool]

MAX_HOST = 253
MAX_LABEL = 63
DAY_MINUTES = 24 * 60
LAST_MINUTE = DAY_MINUTES - 1

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d|60)(\.\d+)?"
    r"([Zz]|(?P<sign>[+-])(?P<off_hour>[01]\d|2[0-3]):(?P<off_minute>[0-5]\d))",
    re.ASCII,
)
_CLOCK = r"T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S)"
_DAYS = r"(\d+Y(\d+M(\d+D)?)?|\d+M(\d+D)?|\d+D)"
_DURATION = re.compile(rf"P({_DAYS}({_CLOCK})?|{_CLOCK}|\d+W)", re.ASCII)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_POINTER = re.compile(r"(/([^~/]|~[01])*)*", re.DOTALL)
_RELATIVE_POINTER = re.compile(rf"(0|[1-9][0-9]*)(#|{_POINTER.pattern})", re.DOTALL)

_ATOM = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LOCAL = re.compile(rf"[{_ATOM}]+(?:\.[{_ATOM}]+)*|{_QUOTED}")
_WIDE_ATOM = rf"[{_ATOM}\u0080-\U0010ffff]+"
_WIDE_QUOTED = r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"'
_WIDE_LOCAL = re.compile(rf"{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*|{_WIDE_QUOTED}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")

_PLAIN = r"\-A-Za-z0-9._~!$&'()*+,;="  # unreserved characters and delimiters within a part
_WIDE = r"\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\U00010000-\U000efffd"
_VAR = r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})"
_SPEC = rf"{_VAR}+(?:\.{_VAR}+)*(?:\*|:[1-9][0-9]{{0,3}})?"
_TEMPLATE = re.compile(
    rf"(?:[^\x00-\x20\x7f\"<>\\^`{{|}}%]|%[0-9A-Fa-f]{{2}}|\{{[+#./;?&=,!@|]?{_SPEC}(?:,{_SPEC})*\}})*"
)
_REFERENCE = re.compile(
    r"(?:(?P<scheme>[^:/?#]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.DOTALL,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_IP_FUTURE = re.compile(rf"[Vv][0-9A-Fa-f]+\.[{_PLAIN}:]+")


def is_date(text: str) -> bool:
    """Return whether a text is a ``full-date`` of RFC 3339; the year 0000 is refused, as Python has no such date."""
    if not _DATE.fullmatch(text):
        return False
    with suppress(ValueError):
        return bool(date.fromisoformat(text))
    return False


def is_time(text: str) -> bool:
    """Return whether a text is a ``full-time`` of RFC 3339, with an offset; a second 60 only at the end of a day in UTC.

    >>> is_time("08:30:06Z"), is_time("08:30:06"), is_time("23:59:60Z"), is_time("12:59:60Z")
    (True, False, True, False)
    """
    match = _TIME.fullmatch(text)
    if not match or match["second"] != "60":
        return match is not None
    minutes = int(match["hour"]) * 60 + int(match["minute"])
    if match["sign"]:
        offset = int(match["off_hour"]) * 60 + int(match["off_minute"])
        minutes += -offset if match["sign"] == "+" else offset
    return minutes % DAY_MINUTES == LAST_MINUTE


def is_date_time(text: str) -> bool:
    """Return whether a text is a ``date-time`` of RFC 3339, with a "T" or a space."""
    return text[10:11] in ("T", "t", " ") and is_date(text[:10]) and is_time(text[11:])


def is_hostname(text: str) -> bool:
    """Return whether a text is a host name of RFC 1123.

    >>> is_hostname("www.example.org"), is_hostname("-a.example.org"), is_hostname("")
    (True, False, False)
    """
    labels = text.split(".") if len(text) <= MAX_HOST else [""]
    if any(len(label) > MAX_LABEL or not _LABEL.fullmatch(label) for label in labels):
        return False
    coded = [label for label in labels if label[2:4] == "--" and label[:2].lower() == "xn"]
    return not coded or not _has_idna() or all(_is_label(label) for label in coded)


def is_idn_hostname(text: str) -> bool:
    """Return whether a text is a host name of RFC 5890, in any script; needs `idna`."""
    import idna

    labels = re.sub("[\u3002\uff0e\uff61]", ".", text).split(".")
    if len(text) > MAX_HOST or not all(map(_is_label, labels)):
        return False
    try:
        if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
            return all(idna.check_bidi(label, check_ltr=True) for label in labels)
        return len(idna.encode(".".join(labels))) <= MAX_HOST
    except (idna.IDNAError, UnicodeError):
        return False


def _is_label(label: str) -> bool:
    import idna

    if len(label) > MAX_LABEL:
        return False
    try:
        if label.isascii():
            return bool(_LABEL.fullmatch(label)) and bool(idna.ulabel(label))
        return bool(idna.alabel(label))
    except (idna.IDNAError, UnicodeError):
        return False


@cache
def _has_idna() -> bool:
    return find_spec("idna") is not None


def is_email(text: str) -> bool:
    """Return whether a text is a ``Mailbox`` of RFC 5321: an address without a display name.

    >>> is_email("a.b@example.org"), is_email("a..b@example.org"), is_email("A <a@example.org>")
    (True, False, False)
    """
    local, _, domain = text.rpartition("@")
    return bool(_LOCAL.fullmatch(local)) and (is_hostname(domain) or _is_address_literal(domain))


def is_idn_email(text: str) -> bool:
    """Return whether a text is a ``Mailbox`` of RFC 6531, in any script; a non-ASCII domain is checked only with `idna`."""
    local, _, domain = text.rpartition("@")
    if not _WIDE_LOCAL.fullmatch(local):
        return False
    if domain.isascii() or not _has_idna():
        return is_hostname(domain) or _is_address_literal(domain) or not domain.isascii()
    return is_idn_hostname(unicodedata.normalize("NFC", domain[: MAX_HOST + 1]))


def _is_address_literal(domain: str) -> bool:
    inner = domain[1:-1] if domain[:1] == "[" and domain[-1:] == "]" else ""
    return is_ipv6(inner[5:]) if inner[:5].lower() == "ipv6:" else is_ipv4(inner)


def is_ipv4(text: str) -> bool:
    """Return whether a text is a dotted quad without leading zeros."""
    with suppress(ValueError):
        return text.isascii() and bool(ipaddress.IPv4Address(text).packed)
    return False


def is_ipv6(text: str) -> bool:
    """Return whether a text is an address of RFC 4291, without a zone."""
    with suppress(ValueError):
        return text.isascii() and "%" not in text and bool(ipaddress.IPv6Address(text).packed)
    return False


def _compile_uri_part(more: str, wide: str) -> re.Pattern[str]:
    return re.compile(rf"(?:[{_PLAIN}{more}{wide}]|%[0-9A-Fa-f]{{2}})*")


_URI_PARTS = {
    wide: {
        "user": _compile_uri_part(":", extra),
        "host": _compile_uri_part("", extra),
        "path": _compile_uri_part(":@/", extra),
        "query": _compile_uri_part(":@/?", f"{extra}\ue000-\uf8ff\U000f0000-\U0010fffd" if wide else ""),
        "fragment": _compile_uri_part(":@/?", extra),
    }
    for wide, extra in ((False, ""), (True, _WIDE))
}


def is_uri(text: str, *, absolute: bool = True, wide: bool = False) -> bool:
    """Return whether a text is a ``URI`` of RFC 3986.

    Args:
        text: The text to check.
        absolute: Whether a scheme is required; False: a ``URI-reference``.
        wide: Whether letters of any script are allowed, as in an ``IRI`` of RFC 3987.

    >>> is_uri("https://example.org/a?b#c"), is_uri("//example.org"), is_uri("https://example.org/a b")
    (True, False, False)
    """
    match = _REFERENCE.fullmatch(text)
    if not match or (absolute and match["scheme"] is None):
        return False
    # A colon in the first segment of a path makes the text before it a scheme.
    if match["scheme"] is not None and not _SCHEME.fullmatch(match["scheme"]):
        return False
    parts = _URI_PARTS[wide]
    if match["authority"] is not None and not _is_authority(match["authority"], parts):
        return False
    return all(parts[name].fullmatch(match[name] or "") for name in ("path", "query", "fragment"))


def _is_authority(text: str, parts: Mapping[str, re.Pattern[str]]) -> bool:
    user, _, rest = text.rpartition("@")
    if not parts["user"].fullmatch(user):
        return False
    if rest.startswith("["):
        inner, closed, port = rest[1:].partition("]")
        host = bool(closed) and (is_ipv6(inner) or bool(_IP_FUTURE.fullmatch(inner)))
        return host and (not port or (port[0] == ":" and re.fullmatch("[0-9]*", port[1:]) is not None))
    host_text, _, port = rest.partition(":")
    return bool(parts["host"].fullmatch(host_text)) and re.fullmatch("[0-9]*", port) is not None


def is_regex(text: str) -> bool:
    """Return whether Python's `re` compiles a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def format_checks() -> dict[str, FormatCheck]:
    """Return the checks of the formats available in this environment, by name.

    >>> sorted(set(format_checks()) - {"idn-hostname"})[:4]
    ['date', 'date-time', 'duration', 'email']
    """
    formats: dict[str, FormatCheck] = {
        "date": is_date,
        "time": is_time,
        "date-time": is_date_time,
        "duration": lambda text: _DURATION.fullmatch(text) is not None,
        "email": is_email,
        "idn-email": is_idn_email,
        "hostname": is_hostname,
        "ipv4": is_ipv4,
        "ipv6": is_ipv6,
        "uri": is_uri,
        "uri-reference": partial(is_uri, absolute=False),
        "iri": partial(is_uri, wide=True),
        "iri-reference": partial(is_uri, absolute=False, wide=True),
        "uri-template": lambda text: _TEMPLATE.fullmatch(text) is not None,
        "uuid": lambda text: _UUID.fullmatch(text) is not None,
        "json-pointer": lambda text: _POINTER.fullmatch(text) is not None,
        "relative-json-pointer": lambda text: _RELATIVE_POINTER.fullmatch(text) is not None,
        "regex": is_regex,
    }
    return formats | ({"idn-hostname": is_idn_hostname} if _has_idna() else {})
