"""Secrets that only their name gives away, by kind: none has the form of a key of a known service.

A kind is a place, a name and the way the value is spelled. The values are digests of the kind, so no two are equal and none was
ever a secret.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote

NAMES: dict[str, tuple[str, ...]] = {
    "environment": (
        "CLIENT_SECRET_VALUE", "TOKEN_OLD", "ACME_KEY_PROD", "DB_PASSWD", "PGPASSWORD", "MYSQL_PWD", "WEBHOOK_SIGNATURE",
        "SESSION_COOKIE", "APIKEY", "BASIC_AUTH", "DEVICE_CODE", "SERVICE_CREDENTIALS_JSON", "SSH_PASSPHRASE", "accessToken",
        "AZURE_CONNECTION_STRING", "REFRESH_TOKEN_BACKUP", "SIGNING_KEY_2", "GH_PAT",
    ),
    "request header": (
        "Authorization", "X-Api-Key", "Api-Token", "X-Acme-Secret", "Helicone-Auth", "Cf-Aig-Authorization", "X-Portkey-Virtual-Key",
        "Ocp-Apim-Subscription-Key", "X-Goog-Api-Key", "X-Hub-Signature", "X-Vault-Token", "Private-Token", "X-Device-Code",
        "X-Amz-Security-Token", "Proxy-Authorization", "Cookie", "X-Service-Password", "X-Client-Secret",
    ),
    "URL parameter": (
        "key", "api_key", "access_token", "sig", "signature", "code", "client_secret", "auth", "X-Amz-Credential", "subscription-key",
        "password", "id_token",
    ),
    "form field": ("refresh_token", "client_secret", "code", "code_verifier", "client_assertion", "password", "device_code", "apiKey"),
    "multipart field": ("token", "api-key", "signature", "userPassword", "auth_code", "secret"),
    "request JSON": (
        "api_key", "clientSecret", "password", "privateKey", "auth_token", "webhookSecret", "connection_string", "sessionToken",
    ),
    "answer JSON": (
        "access_token", "refresh_token", "id_token", "client_secret", "device_code", "secretAccessKey", "SessionToken", "token",
        "ephemeral_key", "signing_secret", "key", "otp",
    ),
    "answer header": (
        "Set-Cookie", "X-Auth-Token", "X-Csrf-Token", "X-Session-Key", "Authorization", "X-Amz-Signature", "X-Refresh-Token",
    ),
    "location": ("code", "access_token", "state_token", "id_token"),
    "stream, cut": ("refresh_token", "clientSecret", "password", "api_key"),
    "key file": ("PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "PuTTY", "cut PRIVATE KEY"),
    "spelled": ("plain", "URL", "JSON", "base64", "JSON in JSON", "Python", "env file", "YAML"),
}  # fmt: skip


def value_of(place: str, name: str) -> str:
    """A value of 20 letters and digits, with a sign that URLs and base64 spell otherwise."""
    digest = base64.b64encode(hashlib.sha256(f"{place}/{name}".encode()).digest()).decode()
    text = "".join(char for char in digest if char.isalnum())
    return f"{text[:10]}-7{text[10:20]}" if place == "spelled" else f"{text[:11]}7{text[11:22]}"


KINDS: dict[str, dict[str, str]] = {
    place: {name: value_of(place, name) for name in names} for place, names in NAMES.items()
}


def key_file(name: str, value: str) -> str:
    """The text of a private key, whose lines are the value."""
    if name == "PuTTY":
        return (
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 1\nAAAA\n"
            f"Private-Lines: 2\n{value}{value}\n{value}=\nPrivate-MAC: {'0123456789abcdef' * 4}\n"
        )
    end = "" if name.startswith("cut") else f"\n-----END {name}-----"
    return f"-----BEGIN {name.removeprefix('cut ')}-----\n{value}{value}\n{value}={end}"


SPELLED = {
    "plain": lambda value: f"api_key={value}",
    "URL": lambda value: quote(f"https://h.example/?client_secret={value}&x=1", safe=""),
    "JSON": lambda value: json.dumps({"password": value}),
    "base64": lambda value: base64.b64encode(f'{{"refresh_token": "{value}", "more": 1}}'.encode()).decode(),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"clientSecret": value})),
    "Python": lambda value: repr({"auth_token": value, "n": 1}),
    "env file": lambda value: f"export CLIENT_SECRET_VALUE='{value}'",
    "YAML": lambda value: f"secret_key: {value}\nname: x",
}
"""Texts that give a value to a name."""


def texts() -> dict[str, str]:
    """What an application is told and says: key files, and names with their values in several spellings."""
    return {
        **{name: key_file(name, value) for name, value in KINDS["key file"].items()},
        **{name: SPELLED[name](value) for name, value in KINDS["spelled"].items()},
    }


def find_leaks(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield where a value of any kind stands, in any spelling."""
    for place, values in KINDS.items():
        for name, value in values.items():
            spellings = {value, quote(value, safe=""), json.dumps(value)[1:-1]}
            # Of three encodings, which depend on what stands before; without the characters that neighbours share.
            inner = {
                base64.b64encode(b"\0" * n + value.encode()).decode()[4 * (n > 0) : -4] for n in range(3)
            }
            for file, data in files.items():
                for form in spellings | inner:
                    start = data.find(form.encode())
                    if start >= 0:
                        yield f"{place} {name}: {form} in {file}: {data[max(0, start - 60) : start + 60]!r}"
