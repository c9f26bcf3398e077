"""Check the formats that the drafts of JSON Schema define, each as the RFC that the drafts refer to.

Formats of other scripts (idn-*, iri*) and "uri-template" are not checked. "regex" is Python's dialect. All checks take
linear time.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import TypeAlias

FormatCheck: TypeAlias = Callable[[str], bool]

MAX_HOST = 253
MAX_LABEL = 63
DAY_MINUTES = 24 * 60
LAST_MINUTE = DAY_MINUTES - 1

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
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")

_PLAIN = r"\-A-Za-z0-9._~!$&'()*+,;="  # unreserved characters and delimiters within a part
_REFERENCE = re.compile(
    r"(?:(?P<scheme>[^:/?#]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.DOTALL,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_IP_FUTURE = re.compile(rf"[Vv][0-9A-Fa-f]+\.[{_PLAIN}:]+")


def _has_ascii_format(text: str, name: str) -> bool:
    """Return whether a text has a format that `jsonschema` checks without further packages ("date", "ipv4", "ipv6")."""
    from jsonschema import FormatChecker

    # Digits of other scripts do not count.
    return text.isascii() and FormatChecker((name,)).conforms(text, name)


def is_time(text: str) -> bool:
    """Return whether a text is a ``full-time`` of RFC 3339, with an offset.

    A leap second (:60) is only allowed at the end of a day in UTC.

    >>> is_time("08:30:06Z"), is_time("08:30:06"), is_time("23:59:60Z"), is_time("12:59:60Z")
    (True, False, True, False)
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    if match["second"] != "60":
        return True
    minutes = int(match["hour"]) * 60 + int(match["minute"])
    if match["sign"]:
        offset = int(match["off_hour"]) * 60 + int(match["off_minute"])
        if match["sign"] == "+":
            minutes -= offset
        else:
            minutes += offset
    return minutes % DAY_MINUTES == LAST_MINUTE


def _is_date_time(text: str) -> bool:
    """Return whether a text is a ``date-time`` of RFC 3339, with a "T" or a space."""
    day = text[:10]
    separator = text[10:11]
    time = text[11:]
    return separator in ("T", "t", " ") and _has_ascii_format(day, "date") and is_time(time)


def is_hostname(text: str) -> bool:
    """Return whether a text is a host name of RFC 1123.

    >>> is_hostname("www.example.org"), is_hostname("-a.example.org"), is_hostname("")
    (True, False, False)
    """
    if len(text) > MAX_HOST:
        return False
    labels = text.split(".")
    for label in labels:
        if len(label) > MAX_LABEL or not _LABEL.fullmatch(label):
            return False
    idn_labels = [label for label in labels if label[:4].lower() == "xn--"]
    return all(map(_is_idn_label, idn_labels))


def _is_idn_label(label: str) -> bool:
    import idna

    with suppress(idna.IDNAError, UnicodeError):
        return bool(idna.ulabel(label))
    return False


def is_email(text: str) -> bool:
    """Return whether a text is a ``Mailbox`` of RFC 5321: an address without a display name.

    >>> is_email("a.b@example.org"), is_email("a..b@example.org"), is_email("A <a@example.org>")
    (True, False, False)
    """
    local, _, domain = text.rpartition("@")
    if not _LOCAL.fullmatch(local):
        return False
    return is_hostname(domain) or _is_address_literal(domain)


def _is_address_literal(domain: str) -> bool:
    """Return whether the domain of an e-mail address is an IP address in brackets."""
    if domain[:1] != "[" or domain[-1:] != "]":
        return False
    inner = domain[1:-1]
    if inner[:5].lower() == "ipv6:":
        return _has_ascii_format(inner[5:], "ipv6")
    return _has_ascii_format(inner, "ipv4")


# The characters that a part of a URI may have in addition to the plain ones
_URI_CHARACTERS = {"user": ":", "host": "", "path": ":@/", "query": ":@/?", "fragment": ":@/?"}
_URI_PARTS = {
    name: re.compile(rf"(?:[{_PLAIN}{more}]|%[0-9A-Fa-f]{{2}})*") for name, more in _URI_CHARACTERS.items()
}


def is_uri(text: str, *, absolute: bool = True) -> bool:
    """Return whether a text is a ``URI`` of RFC 3986.

    Args:
        text: The text to check.
        absolute: Whether a scheme is required; False: a ``URI-reference``.

    >>> is_uri("https://example.org/a?b#c"), is_uri("//example.org"), is_uri("https://example.org/a b")
    (True, False, False)
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return False
    scheme = match["scheme"]
    if scheme is None:
        if absolute:
            return False
    elif not _SCHEME.fullmatch(scheme):  # also text before a colon in the first segment of a path
        return False
    authority = match["authority"]
    if authority is not None and not _is_authority(authority):
        return False
    names = ("path", "query", "fragment")
    return all(_URI_PARTS[name].fullmatch(match[name] or "") for name in names)


def _is_authority(text: str) -> bool:
    """Return whether a text is the ``authority`` of a URI: ``user@host:port``, all but the host optional."""
    user, _, rest = text.rpartition("@")
    if not _URI_PARTS["user"].fullmatch(user):
        return False
    if rest.startswith("["):
        return _is_bracketed_host(rest)
    host, _, port = rest.partition(":")
    return bool(_URI_PARTS["host"].fullmatch(host)) and _is_port(port)


def _is_bracketed_host(text: str) -> bool:
    """Return whether a text is an IP address in brackets, with or without a port."""
    address, bracket, rest = text[1:].partition("]")
    if not bracket:
        return False
    if not _has_ascii_format(address, "ipv6") and not _IP_FUTURE.fullmatch(address):
        return False
    if not rest:
        return True
    return rest[0] == ":" and _is_port(rest[1:])


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]*", text) is not None


def _is_regex(text: str) -> bool:
    """Return whether Python's `re` compiles a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


@cache
def format_checks() -> dict[str, FormatCheck]:
    """Return the checks of formats by name; every other format is a comment.

    >>> sorted(format_checks())[:4]
    ['date', 'date-time', 'duration', 'email']
    """
    return {
        "date": partial(_has_ascii_format, name="date"),
        "ipv4": partial(_has_ascii_format, name="ipv4"),
        "ipv6": partial(_has_ascii_format, name="ipv6"),
        "time": is_time,
        "date-time": _is_date_time,
        "duration": partial(_matches, _DURATION),
        "email": is_email,
        "hostname": is_hostname,
        "uri": is_uri,
        "uri-reference": partial(is_uri, absolute=False),
        "uuid": partial(_matches, _UUID),
        "json-pointer": partial(_matches, _POINTER),
        "relative-json-pointer": partial(_matches, _RELATIVE_POINTER),
        "regex": _is_regex,
    }


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None
