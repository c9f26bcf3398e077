"""Hosts that are this machine: calls to them need no key, have no price, and are matched without their port."""

import ipaddress
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
LOOPBACK = "loopback"  # replaces the host in the address of a recorded request to this machine


@lru_cache(maxsize=512)
def is_loopback(host: str) -> bool:
    """Return whether a host is this machine; a name that only starts like its address is not.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("127.evil.example")
    (True, True, False)
    """
    name = host.strip("[]").lower().rstrip(".")
    if name in ("localhost", LOOPBACK) or name.endswith(".localhost"):
        return True
    address = _parse_address(name)
    return address is not None and address.is_loopback


@lru_cache(maxsize=512)
def is_unspecified(host: str) -> bool:
    """Return whether a host is the address for all interfaces of this machine (``0.0.0.0``, ``::``)."""
    address = _parse_address(host.strip("[]"))
    return address is not None and address.is_unspecified


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address, an IPv4 address in IPv6 form (``::ffff:127.0.0.1``) as IPv4; None for a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def split_address(url: str) -> tuple[str, int | None]:
    """Return the host and port of a URL; without a port, the port of its scheme, and ("", None) for a text that is not a URL.

    >>> split_address("https://api.example.com/v1")
    ('api.example.com', 443)
    """
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)
    return "", None
