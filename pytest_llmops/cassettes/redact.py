"""Secrets are replaced before anything is hashed, kept or written.

Three sources: credentials of the request itself, values of environment variables whose
name says that they are secret, and strings of a known shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

MASK = "[secret]"
PLACEHOLDER_KEY = "llmops-placeholder-key"
"""Set for SDKs that refuse to start without a key; no secret."""

MAX_TEXTS = 256
"""URLs and headers are few and asked for again: this many are remembered."""

MIN_SECRET = 8
"""Shorter values would mask ordinary words."""

SECRET_NAMES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
SECRET_HEADERS = (
    "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-auth-token", "cookie",
    "openai-organization", "openai-project",
)  # fmt: skip
SECRET_PARAMS = frozenset(
    {"key", "api_key", "apikey", "api-key", "token", "access_token", "sig", "signature", "password", "secret",
     "x-amz-security-token", "x-amz-signature", "x-amz-credential", "client_secret"}
)  # fmt: skip

_SHAPES = (
    rb"sk-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic, OpenRouter and others
    rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS key id
    rb"\bAIza[A-Za-z0-9_-]{35}",  # Google
    rb"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{40,}",
    rb"\bglpat-[A-Za-z0-9_-]{20,}",
    rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    rb"\bhf_[A-Za-z0-9]{30,}",
    rb"\b(?:gsk|xai|pplx|r8|nvapi)[_-][A-Za-z0-9_-]{24,}",
    rb"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    rb"\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{50,}",
    rb"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # JWT
    rb"(?<=[Bb]earer )[A-Za-z0-9._~+/-]{20,}=*",
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]|-(?!----))*-----END [A-Z ]*PRIVATE KEY-----",
)
_SHAPE = re.compile(b"|".join(_SHAPES))
# Most texts hold none of these marks: one cheap pass spares them the dozen patterns above.
_MARKS = tuple(
    b"sk- AKIA ASIA AIza github_pat_ glpat- xox hf_ gsk xai pplx r8_ r8- nvapi k_live_ k_test_ npm_ pypi- eyJ earer PRIVATE".split()
)
_GITHUB = re.compile(rb"gh[pousr]_")


def _suspicious(data: bytes) -> bool:
    for mark in _MARKS:
        if mark in data:
            return True
    return _GITHUB.search(data) is not None


TextRedactor = Callable[[str], str]


@dataclass(slots=True)
class Redactor:
    """Replaces secrets in bytes; knows more of them with every request it sees.

    >>> Redactor(known={"hunter2hunter2"}).clean(b"pw=hunter2hunter2")
    b'pw=[secret]'
    >>> Redactor().clean(b"key sk-abcdefghijklmnop1234")
    b'key [secret]'
    """

    known: set[str] = field(default_factory=set)
    extra: Sequence[TextRedactor] = ()
    """The user's own redactors, applied to the text before all else."""
    _forms: tuple[bytes, ...] = ()
    _built_of: int = -1
    _texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], extra: Sequence[TextRedactor] = ()) -> Redactor:
        """Know the values of all variables whose name ends in KEY, TOKEN, SECRET, PASSWORD ..."""
        redactor = cls(extra=tuple(extra))
        redactor.learn(value for name, value in environ.items() if SECRET_NAMES.search(name))
        return redactor

    def learn(self, secrets: Iterable[str]) -> None:
        """Treat these values as secret from now on; short ones are left alone."""
        self.known.update(s for s in secrets if len(s) >= MIN_SECRET and s not in (PLACEHOLDER_KEY, MASK))

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """Treat the credentials of a request as secret."""
        for name, value in headers.items():
            if value and name.lower() in SECRET_HEADERS:
                scheme, _, credential = value.partition(" ")
                self.learn([credential.strip() or scheme])

    def clean(self, data: bytes) -> bytes:
        """Return the data with every secret replaced by ``[secret]``."""
        if not data:
            return data
        if self.extra:
            text = data.decode("utf-8", "surrogateescape")
            for redact in self.extra:
                text = redact(text)
            data = text.encode("utf-8", "surrogateescape")
        for form in self._known_forms():
            if form in data:
                data = data.replace(form, MASK.encode())
        return _SHAPE.sub(MASK.encode(), data) if _suspicious(data) else data

    def text(self, text: str) -> str:
        """Return the text with every secret replaced."""
        found = self._texts.get(text) if self._built_of == len(self.known) else None
        if found is None:
            found = self._cleaned(text)
            if len(self._texts) < MAX_TEXTS:
                self._texts[text] = found
        return found

    def _cleaned(self, text: str) -> str:
        return self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def leaks(self, data: bytes) -> bool:
        """Say whether a secret is (still) in the data."""
        return any(form in data for form in self._known_forms()) or (
            _suspicious(data) and _SHAPE.search(data) is not None
        )

    def _known_forms(self) -> tuple[bytes, ...]:
        if self._built_of != len(self.known):
            self._built_of = len(self.known)
            self._texts.clear()
            spellings = {form for secret in self.known for form in _spellings(secret)}
            self._forms = tuple(sorted(spellings, key=len, reverse=True))
        return self._forms


def _spellings(secret: str) -> set[bytes]:
    """The secret as plain text and as it looks inside a JSON string."""
    return {
        secret.encode("utf-8", "surrogatepass"),
        json.dumps(secret)[1:-1].encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
    }
