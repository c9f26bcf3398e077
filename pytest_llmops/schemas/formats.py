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


def _is_plain(text: str, name: str) -> bool:
    from jsonschema import FormatChecker

    # Digits of other scripts are none.
    return text.isascii() and FormatChecker((name,)).conforms(text, name)


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
        if match["sign"] == "+":
            minutes += -offset
        else:
            minutes += offset
    return minutes % DAY_MINUTES == LAST_MINUTE


def _is_date_time(text: str) -> bool:
    """Return whether a text is a ``date-time`` of RFC 3339, with a "T" or a space."""
    return text[10:11] in ("T", "t", " ") and _is_plain(text[:10], "date") and is_time(text[11:])


def is_hostname(text: str) -> bool:
    """Return whether a text is a host name of RFC 1123.

    >>> is_hostname("www.example.org"), is_hostname("-a.example.org"), is_hostname("")
    (True, False, False)
    """
    if len(text) <= MAX_HOST:
        labels = text.split(".")
    else:
        labels = [""]
    if any(len(label) > MAX_LABEL or not _LABEL.fullmatch(label) for label in labels):
        return False
    return all(map(_is_idn_label, (label for label in labels if label[:4].lower() == "xn--")))


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
    return bool(_LOCAL.fullmatch(local)) and (is_hostname(domain) or _is_address_literal(domain))


def _is_address_literal(domain: str) -> bool:
    if domain[:1] == "[" and domain[-1:] == "]":
        inner = domain[1:-1]
    else:
        inner = ""
    if inner[:5].lower() == "ipv6:":
        return _is_plain(inner[5:], "ipv6")
    return _is_plain(inner, "ipv4")


_URI_PARTS = {
    name: re.compile(rf"(?:[{_PLAIN}{more}]|%[0-9A-Fa-f]{{2}})*")
    for name, more in {"user": ":", "host": "", "path": ":@/", "query": ":@/?", "fragment": ":@/?"}.items()
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
    if (
        not match
        or (absolute and match["scheme"] is None)
        # A colon in the first segment of a path makes the text before it a scheme.
        or (match["scheme"] is not None and not _SCHEME.fullmatch(match["scheme"]))
        or (match["authority"] is not None and not _is_authority(match["authority"]))
    ):
        return False
    return all(_URI_PARTS[name].fullmatch(match[name] or "") for name in ("path", "query", "fragment"))


def _is_authority(text: str) -> bool:
    user, _, rest = text.rpartition("@")
    if not _URI_PARTS["user"].fullmatch(user):
        return False
    if rest.startswith("["):
        inner, closed, port = rest[1:].partition("]")
        host = bool(closed) and (_is_plain(inner, "ipv6") or bool(_IP_FUTURE.fullmatch(inner)))
        return host and (not port or (port[0] == ":" and re.fullmatch("[0-9]*", port[1:]) is not None))
    host_text, _, port = rest.partition(":")
    return bool(_URI_PARTS["host"].fullmatch(host_text)) and re.fullmatch("[0-9]*", port) is not None


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
        **{name: partial(_is_plain, name=name) for name in ("date", "ipv4", "ipv6")},
        "time": is_time,
        "date-time": _is_date_time,
        "duration": lambda text: _DURATION.fullmatch(text) is not None,
        "email": is_email,
        "hostname": is_hostname,
        "uri": is_uri,
        "uri-reference": partial(is_uri, absolute=False),
        "uuid": lambda text: _UUID.fullmatch(text) is not None,
        "json-pointer": lambda text: _POINTER.fullmatch(text) is not None,
        "relative-json-pointer": lambda text: _RELATIVE_POINTER.fullmatch(text) is not None,
        "regex": _is_regex,
    }
