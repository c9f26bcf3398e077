"""A certificate of this machine and of vendor.invalid, for servers on loopback with TLS; it signs itself."""

from __future__ import annotations

import ssl
from pathlib import Path

PEM = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZI1+52cCd0LbkZ4m
XQrSPJLaenGYA7eLpiv3tHzeB0ihRANCAAQr4bwsTnzCr+iwSNn3/QLpoPXtd/ym
aYmsOSmT6dOF3M5joSEX4UjzKJPEhhBQfSR0mlPVrD5eZ5FEmBTkcHzg
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfDCCASOgAwIBAgIBATAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARzdHViMCAX
DTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAPMQ0wCwYDVQQDDARzdHVi
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEK+G8LE58wq/osEjZ9/0C6aD17Xf8
pmmJrDkpk+nThdzOY6EhF+FI8yiTxIYQUH0kdJpT1aw+XmeRRJgU5HB84KNuMGww
KgYDVR0RBCMwIYIJbG9jYWxob3N0gg52ZW5kb3IuaW52YWxpZIcEfwAAATAOBgNV
HQ8BAf8EBAMCAoQwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUKnMK0X/snJWo
7xtMLjcnhN3HlL4wCgYIKoZIzj0EAwIDRwAwRAIgZ13B+LdTnpRIMF19uNV11xUu
4Z4+0foyiLvUnZ8sCRsCIDdSU6gvNLilmL6EaWaerJ2Fubk/NyKsyYwj2h0M5P1k
-----END CERTIFICATE-----
"""


def server_context(path: Path, *, ask_client: bool = False) -> ssl.SSLContext:
    """Write the certificate to a file, and return the context of a server, which may ask its clients for it too."""
    path.write_text(PEM, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(path)
    return context
