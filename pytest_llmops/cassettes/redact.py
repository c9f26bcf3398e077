"""Secrets are replaced before anything is hashed, kept or written.

Three sources: credentials of the request itself, values of environment variables whose
name says that they are secret, and strings of a known shape.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from pytest_llmops.cassettes.shapes import present

MASK = "[secret]"
PLACEHOLDER_KEY = "llmops-placeholder-key"
"""Set for SDKs that refuse to start without a key; no secret."""

MAX_TEXTS = 256
"""Short ones that are kept cleaned."""
MIN_SECRET = 8
"""Shorter values would mask ordinary words."""

SECRET_NAMES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-auth-token", "x-auth-key",
     "x-access-token", "x-csrf-token", "x-amz-security-token", "x-functions-key", "ocp-apim-subscription-key",
     "openai-organization", "openai-project"}
)  # fmt: skip
SECRET_PARAMS = frozenset(
    {"key", "api_key", "apikey", "api-key", "token", "access_token", "refresh_token", "id_token", "sig", "signature",
     "password", "secret", "client_secret", "client_assertion", "x-amz-security-token", "x-amz-signature",
     "x-amz-credential", "x-goog-signature"}
)  # fmt: skip
_PARAM = re.compile(
    rf"(?i)((?:^|[?&])(?:{'|'.join(sorted(map(re.escape, SECRET_PARAMS)))})=)[^&#\s]+".encode()
)
_SCHEMES = frozenset({"bearer", "basic", "token", "apikey", "key", "digest", "negotiate", "aws4-hmac-sha256"})

TextRedactor = Callable[[str], str]


def mask_params(data: bytes) -> bytes:
    """Return a query or a form without the values of parameters whose name says that they are secret.

    >>> mask_params(b"grant_type=x&client_secret=hunter2")
    b'grant_type=x&client_secret=[secret]'
    """
    return _PARAM.sub(rb"\g<1>" + MASK.encode(), data)


@dataclass(slots=True, eq=False)
class Redactor:
    """Replaces secrets in bytes; knows more of them with every request it sees. Safe to use from threads.

    >>> Redactor(known={"hunter2hunter2"}).clean(b"pw=hunter2hunter2")
    b'pw=[secret]'
    >>> Redactor().clean(b"key sk-abcdefghijklmnop1234")
    b'key [secret]'
    """

    known: set[str] = field(default_factory=set)
    extra: Sequence[TextRedactor] = ()
    """The user's own redactors, applied to the text before all else."""
    _forms: tuple[bytes, ...] = ()
    """Every spelling of every known secret, the longest first."""
    _texts: dict[str, str] = field(default_factory=dict, repr=False)
    """Texts that were cleaned with these."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        secrets, self.known = self.known, set()
        self.learn(secrets)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], extra: Sequence[TextRedactor] = ()) -> Redactor:
        """Know the values of all variables whose name ends in KEY, TOKEN, SECRET, PASSWORD ..."""
        redactor = cls(extra=tuple(extra))
        redactor.learn(value for name, value in environ.items() if SECRET_NAMES.search(name))
        return redactor

    def learn(self, secrets: Iterable[str]) -> None:
        """Treat these values as secret from now on; short ones are left alone."""
        stripped = {one.strip() for one in secrets}
        new = {
            one for one in stripped if len(one) >= MIN_SECRET and one not in (PLACEHOLDER_KEY, MASK)
        } - self.known
        if not new:
            return
        with self._lock:
            # Both are replaced, never changed: another thread may be walking through them.
            self.known = self.known | new
            forms = {form for secret in self.known for form in _spellings(secret)}
            self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
            self._texts = {}

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """Treat the credentials of a request as secret."""
        for name, value in headers.items():
            lower = name.lower()
            if lower in SECRET_HEADERS:
                self.learn(_credentials(value))
            elif lower == "cookie":
                self.learn(pair.partition("=")[2] for pair in value.split(";"))

    def clean(self, data: bytes) -> bytes:
        """Return the data with every secret replaced by ``[secret]``."""
        if not data:
            return data
        if self.extra:
            text = data.decode("utf-8", "surrogateescape")
            for redact in self.extra:
                text = redact(text)
            data = text.encode("utf-8", "surrogateescape")
        mask = MASK.encode()
        for form in self._forms:
            if form in data:
                data = data.replace(form, mask)
        for shape in present(data):
            data = shape.pattern.sub(shape.kept + mask, data)
        return data

    def text(self, text: str) -> str:
        """Return the text with every secret replaced; the same few addresses come again and again."""
        texts = self._texts
        made = texts.get(text)
        if made is None:
            made = self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
            if len(texts) < MAX_TEXTS:
                texts[text] = made
        return made

    def leaks(self, data: bytes) -> bool:
        """Say whether a secret is (still) in the data."""
        return any(form in data for form in self._forms) or any(
            shape.pattern.search(data) is not None for shape in present(data)
        )


def _credentials(value: str) -> set[str]:
    """What of a header's value is secret: without its scheme, and of a user and password both."""
    scheme, _, credential = value.strip().partition(" ")
    if not credential or scheme.lower() not in _SCHEMES:
        return {value}
    found = {credential}
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credential, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            return found
        found |= {pair, pair.partition(":")[2]}
    return found


def _spellings(secret: str) -> set[bytes]:
    """The secret as plain text, and as it looks inside a JSON string or a URL."""
    raw = secret.encode("utf-8", "surrogatepass")
    return {
        raw,
        json.dumps(secret)[1:-1].encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
        quote(raw, safe="").encode(),
        quote_plus(raw).encode(),
    }
