"""`Redactor`: masks secrets in requests, answers and texts before they are hashed, recorded or printed.

Secrets are the credentials of requests and answers, the values of environment variables with a telling name, and
strings of a known shape. They are also found across the events of a stream (`streams`) and in other encodings
(`encodings`). Not covered: UTF-16, compression inside base64, encodings nested deeper than `MAX_DEPTH`, encryption.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, unquote_plus

from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction import encodings, streams
from pytest_llmops.redaction.patterns import SECRET_SHAPES, URL_CREDENTIALS_MARK, find_shapes
from pytest_llmops.wire import stream_events
from pytest_llmops.wire.blobs import StoredBody
from pytest_llmops.wire.body import unfold_body

MASK = "[secret]"
PLACEHOLDER_KEY = "llmops-placeholder-key"
"""Set for SDKs that refuse to start without a key; not a secret."""

MAX_CACHED_TEXTS = 256
MAX_CACHED_TEXT = 2000
"""Number and length of texts that are cached after cleaning."""
MAX_DEPTH = 3
"""Levels of nested encodings that are decoded: JSON in JSON in base64."""
ELLIPSIS = "..."
MIN_CUT_SECRET = 4
"""Minimum number of a secret's characters beside an ellipsis that are removed."""
MIN_CUT_TOKEN = 16
"""Minimum length of a word with letters and digits beside an ellipsis that may be a cut token."""
MIN_SECRET_LINE = 20
"""Minimum length of a line without blanks in a secret of several lines to be a secret itself."""
MIN_SECRET = 8
"""Minimum length of a secret: shorter values would mask ordinary words."""

SECRET_NAMES = re.compile(
    r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|(?:^|_)(?:PASS|PAT|AUTH|DSN|CONNECTION_STRING))"
    r"(?:_ID|_BASE|_?[0-9]{1,3})?$",
    re.IGNORECASE,
)
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
_SECRET_PARAM = re.compile(
    rf"(?i)((?:^|[?&])(?:{'|'.join(sorted(map(re.escape, SECRET_PARAMS)))})=)[^&#\s]+".encode()
)
_URL_CREDENTIALS = next(shape for shape in SECRET_SHAPES if shape.mark == URL_CREDENTIALS_MARK)
_AUTH_SCHEMES = frozenset(
    {"bearer", "basic", "token", "apikey", "key", "digest", "negotiate", "aws4-hmac-sha256"}
)

TextRedactor = Callable[[str], str]


def mask_params(data: bytes) -> bytes:
    """Return a query or a form with the values of secret parameters masked.

    >>> mask_params(b"grant_type=x&client_secret=hunter2")
    b'grant_type=x&client_secret=[secret]'
    """
    return _SECRET_PARAM.sub(rb"\g<1>" + MASK.encode(), data)


@dataclass(slots=True, eq=False)
class Redactor:
    """Masks secrets in bytes, and learns new secrets from every request. Safe to use from threads.

    >>> Redactor(known={"hunter2hunter2"}).clean(b"pw=hunter2hunter2")
    b'pw=[secret]'
    >>> Redactor().clean(b"key sk-abcdefghijklmnop1234")
    b'key [secret]'
    """

    known: set[str] = field(default_factory=set, repr=False)
    extra: Sequence[TextRedactor] = ()
    """The user's redactors; they get texts without the known secrets."""
    _forms: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Every encoded form of every known secret with its replacement, the longest first."""
    _short: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """The forms that a text without long words can contain."""
    _texts: dict[str, str] = field(default_factory=dict, repr=False)
    """Cache of cleaned texts."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        secrets, self.known = self.known, set()
        self.learn(secrets)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], extra: Sequence[TextRedactor] = ()) -> Redactor:
        """Return a redactor for the values of all variables whose name ends in KEY, TOKEN, SECRET, PASSWORD ..."""
        redactor = cls(extra=tuple(extra))
        redactor.learn(value for name, value in environ.items() if SECRET_NAMES.search(name))
        return redactor

    def learn(self, secrets: Iterable[str]) -> None:
        """Treat these values, and their long lines, as secret from now on; short values are ignored."""
        parts: set[str] = set()
        for secret in map(str.strip, secrets):
            lines = map(str.strip, secret.replace("\\n", "\n").split("\n"))
            parts |= {secret, *(line for line in lines if len(line) >= MIN_SECRET_LINE and " " not in line)}
        new = {part for part in parts if len(part) >= MIN_SECRET} - {PLACEHOLDER_KEY, MASK} - self.known
        if not new:
            return
        with self._lock:
            # The collections are replaced, never changed: another thread may be iterating over them. `known` comes
            # last: a thread that finds its secret there continues at once.
            known = self.known | new
            forms = {form: mask for secret in known for form, mask in _secret_spellings(secret)}
            self._forms = tuple(sorted(forms.items(), key=lambda form: (-len(form[0]), form[0])))
            self._short = tuple(form for form in self._forms if not encodings.has_long_word(form[0]))
            self._texts = {}
            self.known = known

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """Treat the credentials of a request as secret."""
        for name, value in headers.items():
            lower = name.lower()
            if lower in SECRET_HEADERS:
                self.learn(_parse_credentials(value))
            elif lower == "cookie":
                self.learn(pair.partition("=")[2] for pair in value.split(";"))

    def learn_params(self, data: bytes) -> None:
        """Treat the values of secret parameters in a query or a form as secret everywhere."""
        self.learn(
            unquote_plus(match[0][len(match[1]) :].decode("utf-8", "surrogateescape"))
            for match in _SECRET_PARAM.finditer(data)
        )

    def learn_response_headers(self, headers: Mapping[str, str]) -> None:
        """Treat the account's data in an answer's headers as secret: cookies, the organisation."""
        for name, value in headers.items():
            lower = name.lower()
            if lower == "set-cookie":
                self.learn(
                    cookie for cookie in _COOKIE_VALUE.findall(value) if _has_letters_and_digits(cookie)
                )
            elif lower in SECRET_HEADERS and _has_letters_and_digits(value):
                self.learn([value])

    def clean(self, data: bytes) -> bytes:
        """Return the data with every secret replaced by ``[secret]``."""
        # First without the user's redactors, which may change a secret so that it is not found any more; then with
        # them, for secrets that appear only after them.
        if data and self.extra:
            data = self._clean(data, (), MAX_DEPTH)
        return self._clean(data, self.extra, MAX_DEPTH) if data else data

    def _clean(self, data: bytes, extra: Sequence[TextRedactor], depth: int) -> bytes:
        def find(text: str) -> list[streams.Replacement]:
            return self._find(text, extra)

        def inner(part: bytes) -> bytes:
            return self._clean(part, extra, depth - 1)

        framed = streams.mask_frames(data, find, inner) if depth else None
        if framed is not None:
            return framed
        # Secrets across events come first: a mask over the beginning would hide the rest.
        data = _apply_redactors(streams.mask_text(data, find), extra)
        if depth:
            if b"%" in data:  # before decoding: a decoded "@" would look like the end of the password
                data = _URL_CREDENTIALS.pattern.sub(_URL_CREDENTIALS.kept + MASK.encode(), data)
            data = encodings.clean_encoded(data, inner, self._mask_binary)
        # Without a secret there is no form, and the search for long words would be for nothing.
        for form, mask in self._forms if self._forms and encodings.has_long_word(data) else self._short:
            if form in data:
                data = data.replace(form, mask)
        for shape in find_shapes(data):
            data = shape.pattern.sub(shape.kept + MASK.encode(), data)
        return data

    def _mask_binary(self, data: bytes) -> bytes:
        """Mask binary data with masks of the same length: its readers count bytes."""
        for form, _ in self._forms:
            if form in data:
                data = data.replace(form, b"*" * len(form))
        for shape in find_shapes(data):
            if shape.mark != URL_CREDENTIALS_MARK:  # any long binary contains its five bytes of punctuation
                data = shape.pattern.sub(lambda match: b"*" * len(match[0]), data)
        return data

    def _find(self, text: str, extra: Sequence[TextRedactor]) -> list[streams.Replacement]:
        """Return the replacements of secrets in a text, in order and without overlaps."""
        data = text.encode("utf-8", "surrogatepass")
        patterns = [(re.compile(re.escape(form)), False) for form, _ in self._forms if form in data]
        patterns += [(shape.pattern, bool(shape.kept)) for shape in find_shapes(data)]
        spans = [
            (match.end(1) if kept else match.start(), match.end())
            for pattern, kept in patterns
            for match in pattern.finditer(data)
        ]
        if spans and not text.isascii():
            spans = [(_count_characters(data[:start]), _count_characters(data[:end])) for start, end in spans]
        replacements = [(start, end, MASK) for start, end in spans]
        rewritten = _apply_redactors(data, extra).decode("utf-8", "surrogatepass") if extra else text
        if rewritten != text:  # from the first to the last changed character
            start = stream_events.count_shared_start(text, rewritten)
            end = stream_events.count_shared_start(text[start:][::-1], rewritten[start:][::-1])
            replacements.append((start, len(text) - end, rewritten[start : len(rewritten) - end]))
        return _merge_overlaps(replacements)

    def clean_text(self, text: str) -> str:
        """Return the text with every secret masked; repeated texts, such as URLs, are cached."""
        texts = self._texts
        cleaned = texts.get(text)
        if cleaned is None:
            cleaned = self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
            if len(texts) < MAX_CACHED_TEXTS and len(text) <= MAX_CACHED_TEXT:
                texts[text] = cleaned
        return cleaned

    def clean_excerpt(self, text: str) -> str:
        """Return a text without secrets, and without parts of secrets that pytest cut short with ``...``."""
        cleaned = self.clean_text(text)
        if ELLIPSIS not in cleaned:
            return cleaned
        parts = cleaned.split(ELLIPSIS)
        for number in range(len(parts) - 1):
            for secret in self.known:
                parts[number] = _cut_secret_start(parts[number], secret)
                parts[number + 1] = _cut_secret_start(parts[number + 1][::-1], secret[::-1])[::-1]
            # A cut key or token does not have its shape any more.
            parts[number] = _LAST_LONG_WORD.sub(_drop_mixed_word, _CUT_KEY_START.sub("", parts[number]))
            parts[number + 1] = _FIRST_LONG_WORD.sub(
                _drop_mixed_word, _CUT_KEY_END.sub("", parts[number + 1])
            )
        return ELLIPSIS.join(parts)

    def leaks(self, data: bytes) -> bool:
        """Return whether the data contain a secret; of a cassette file, also whether its unfolded bodies do."""
        return self._leaks(data) or any(map(self._leaks, _decoded_bodies(data)))

    def _leaks(self, data: bytes) -> bool:
        return bool(data) and self._clean(data, (), MAX_DEPTH) != data


_FIRST_LONG_WORD = re.compile(rf"\A[A-Za-z0-9._~+/=-]{{{MIN_CUT_TOKEN},}}")
_LAST_LONG_WORD = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_CUT_TOKEN},}}\Z")
_CUT_KEY_START = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?!.*-----END).*\Z", re.DOTALL)
_CUT_KEY_END = re.compile(r"\A(?:(?!-----BEGIN).){0,9000}?PRIVATE KEY(?: BLOCK)?-----", re.DOTALL)


def _drop_mixed_word(match: re.Match[str]) -> str:
    return "" if _has_letters_and_digits(match[0]) else match[0]


def _cut_secret_start(text: str, secret: str) -> str:
    """Remove the beginning of a secret at the end of a text."""
    longest = min(len(text), len(secret) - 1)
    size = next((n for n in range(longest, MIN_CUT_SECRET - 1, -1) if text.endswith(secret[:n])), 0)
    return text[: len(text) - size]


def _apply_redactors(data: bytes, extra: Sequence[TextRedactor]) -> bytes:
    if not extra:
        return data
    text = data.decode("utf-8", "surrogateescape")
    for redact in extra:
        text = redact(text)
    return text.encode("utf-8", "surrogateescape")


def _count_characters(data: bytes) -> int:
    return len(data.decode("utf-8", "surrogatepass"))


def _merge_overlaps(replacements: list[streams.Replacement]) -> list[streams.Replacement]:
    merged: list[streams.Replacement] = []
    for start, end, mask in sorted(replacements):
        if merged and start < merged[-1][1]:
            first, last, kept = merged[-1]
            merged[-1] = (first, max(last, end), kept)
        else:
            merged.append((start, end, mask))
    return merged


_ENCODED_BODY_FORMS = frozenset({"events", "frames", "parts", "escapes"})
"""Forms of bodies whose bytes are not in the file as they are."""


def _decoded_bodies(data: bytes) -> Iterator[bytes]:
    if not data.startswith(b"{") or b'"interactions"' not in data[:200]:
        return
    try:
        document = json.loads(data)
        interactions = document["interactions"]
        blobs = document.get("blobs", {})
        bodies = [
            message["body"]
            for interaction in interactions
            for message in (
                interaction["request"],
                *(a for take in interaction["answers"].values() for a in take),
            )
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    for body in bodies:
        if not _ENCODED_BODY_FORMS.isdisjoint(body):
            with contextlib.suppress(CassetteError):
                yield unfold_body(StoredBody(body, blobs))


def _parse_credentials(value: str) -> set[str]:
    """Return the secrets in a header's value: without the scheme, and the password alone."""
    scheme, _, credential = value.strip().partition(" ")
    if not credential or scheme.lower() not in _AUTH_SCHEMES:
        return {value}
    secrets = {credential}
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credential, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            return secrets
        secrets |= {pair, pair.partition(":")[2]}
    return secrets


_COOKIE_VALUE = re.compile(r"(?:\A|,\s*)[^=;,\s]+=\"?([^;,\"]+)")
_URL_SAFE_CHARACTERS = ("", "/", "+=?", "/?:@+", "!$'()*,/:;=?@+~")
"""Characters that clients do not encode in a URL, for different clients."""


def _has_letters_and_digits(value: str) -> bool:
    """Return whether a value cannot be a word of a language, such as a name."""
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _secret_spellings(secret: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the secret as plain text and its form in JSON, Python, URLs and base64, each with its replacement."""
    raw = secret.encode("utf-8", "surrogatepass")
    # The length of base64 stays the same: the text around it must stay decodable.
    yield from ((form, (b"xX" * len(form))[: len(form)]) for form in encodings.base64_forms(raw))
    mask = MASK.encode()
    yield raw, mask
    if secret.isascii() and secret.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return
    for inside in (secret, json.dumps(secret)[1:-1]):
        yield json.dumps(inside)[1:-1].encode(), mask
        yield json.dumps(inside, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"), mask
    for text in (repr(secret), ascii(secret), repr(raw)[1:]):
        yield text[1:-1].encode("utf-8", "surrogatepass"), mask
    for quoted in (*(quote(raw, safe=safe) for safe in _URL_SAFE_CHARACTERS), quote_plus(raw)):
        yield quoted.encode(), mask
        yield re.sub("%..", lambda match: match[0].lower(), quoted).encode(), mask
