"""`Redactor`: masks secrets in requests, answers and texts before they are hashed, recorded or printed.

Secrets are the credentials of requests and answers, the values of environment variables with the name of a secret, strings of a
known shape (see `patterns` and `public_rules`), and by the text around them (see `text_forms`). They are also found if they
are split over the events of a stream or encoded (see `streams`). Not covered: UTF-16, compression inside base64, encodings nested
deeper than `MAX_DEPTH`, encryption.

A "form" or "spelling" of a secret is the secret as plain text, or as it looks in JSON, Python, a URL or base64. A "span" is
(start, end, mask) of a secret in data.
"""

import base64
import binascii
import contextlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction import streams
from pytest_llmops.redaction.patterns import KEY_FILE_SHAPES, SECRET_SHAPES, URL_CREDENTIALS_MARK, find_shapes
from pytest_llmops.redaction.public_rules import find_public_secrets
from pytest_llmops.redaction.secret_names import (
    MASK,
    MIN_SECRET,
    PLACEHOLDER_KEY,
    find_assigned_values,
    find_params,
    has_letters_and_digits,
    is_secret_name,
    is_webhook_name,
    read_value,
)
from pytest_llmops.redaction.text_forms import find_text_secrets
from pytest_llmops.redaction.thought_signatures import Thoughts
from pytest_llmops.wire import stream_events
from pytest_llmops.wire.blobs import StoredBody
from pytest_llmops.wire.body import unfold_body

MAX_CACHED_TEXTS = 256  # how many cleaned texts are cached
MAX_CACHED_TEXT = 2000  # length of a text that is cached
MAX_ROUNDS = 3  # of masking
# Of the values that are recognized by the text around them, so many are looked for elsewhere: a table may have thousands, and each text is
# searched for each
MAX_LEARNED = 200
MAX_DEPTH = 3  # levels of nested encodings that are decoded: JSON in JSON in base64
ELLIPSIS = "..."
MIN_CUT_SECRET = 4  # so many characters of a secret next to an ellipsis, or more, are removed
# Minimum length of a word with letters and digits next to an ellipsis that may be a cut token
MIN_CUT_TOKEN = 16
# In a secret of several lines, each line without blanks of at least this length is a secret itself
MIN_SECRET_LINE = 20

# Headers with the ids of the account, which are treated as secrets
ACCOUNT_HEADERS = ("openai-organization", "openai-project")
_URL_CREDENTIALS = next(shape for shape in SECRET_SHAPES if shape.mark == URL_CREDENTIALS_MARK)
_AUTH_SCHEMES = frozenset(
    {"bearer", "basic", "token", "apikey", "key", "digest", "negotiate", "aws4-hmac-sha256"}
)

TextRedactor = Callable[[str], str]


@dataclass(slots=True, eq=False)
class Redactor:
    """Masks secrets in bytes and texts, and learns new secrets from requests and answers. It may be shared by threads.

    >>> Redactor(known={"hunter2hunter2"}).clean(b"pw=hunter2hunter2")
    b'pw=[secret]'
    >>> Redactor().clean(b"key sk-abcdefghijklmnop1234")
    b'key [secret]'
    """

    known: set[str] = field(default_factory=set, repr=False)
    extra: Sequence[TextRedactor] = ()  # the user's redactors; they get texts without the known secrets
    # (form, replacement) for every form of every known secret, the longest form first
    _forms: tuple[tuple[bytes, str], ...] = field(default=(), repr=False)
    # Forms of `_forms` without a long word: only they can be in a text without long words, which is searched faster
    _short: tuple[tuple[bytes, str], ...] = field(default=(), repr=False)
    _texts: dict[str, str] = field(default_factory=dict, repr=False)  # cache of cleaned texts
    _thoughts: Thoughts = field(default_factory=Thoughts, repr=False)  # what looks like a secret, but stays
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        secrets = self.known
        self.known = set()
        self.learn(secrets)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], extra: Sequence[TextRedactor] = ()) -> "Redactor":
        """Return a redactor that masks the values of all variables with the name of a secret or a webhook, except the folder ``PWD``."""
        redactor = cls(extra=tuple(extra))
        names = [name for name in environ if is_secret_name(name) or is_webhook_name(name)]
        redactor.learn(environ[name] for name in names if name not in ("PWD", "OLDPWD"))
        return redactor

    def learn(self, secrets: Iterable[str]) -> None:
        """Treat these values, and the long lines in them, as secrets from now on; values under `MIN_SECRET` are ignored."""
        parts: set[str] = set()
        for secret in map(str.strip, secrets):
            parts.add(secret)
            for line in map(str.strip, _LINE_END.split(secret)):
                if len(line) >= MIN_SECRET_LINE and " " not in line:
                    parts.add(line)
        long_parts = {part for part in parts if len(part) >= MIN_SECRET}
        new = long_parts - {PLACEHOLDER_KEY, MASK} - self.known
        if not new:
            return
        with self._lock:
            # The collections are replaced, not changed, as another thread may be iterating over them. `known` is set last: a
            # thread that finds its secret there returns at once, and relies on `_forms`.
            known = self.known | new
            forms = dict(self._forms)
            for secret in new:
                forms.update(_secret_spellings(secret))
            self._forms = tuple(sorted(forms.items(), key=_order_by_length))
            self._short = tuple(form for form in self._forms if not streams.has_long_word(form[0]))
            self._texts = {}
            self.known = known

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """Learn the credentials in the headers of a request: cookies, keys, tokens, ids of the account."""
        for name, value in headers.items():
            lower = name.lower()
            if lower == "cookie":
                pairs = value.split(";")
                self.learn(pair.partition("=")[2] for pair in pairs)
            elif lower in ACCOUNT_HEADERS or is_secret_name(lower):
                self.learn(_parse_credentials(value))

    def learn_params(self, data: bytes) -> None:
        """Learn the values of parameters with the name of a secret, in a query or a form."""
        values = [match["value"].decode("utf-8", "surrogateescape") for match in find_params(data)]
        self.learn(map(unquote_plus, values))

    def learn_response_headers(self, headers: Mapping[str, str]) -> None:
        """Learn the secrets in the headers of an answer: cookies, tokens, ids of the account.

        Values without letters and digits are ignored, as they may be ordinary words.
        """
        for name, value in headers.items():
            lower = name.lower()
            if lower == "set-cookie":
                self.learn(filter(has_letters_and_digits, _COOKIE_VALUE.findall(value)))
            elif lower == "location":
                self.learn_params(_encode(value))
            elif (lower in ACCOUNT_HEADERS or is_secret_name(lower)) and has_letters_and_digits(value):
                self.learn(_parse_credentials(value))

    def clean(self, data: bytes) -> bytes:
        """Return the data with every secret replaced by ``[secret]``."""
        # First without the user's redactors, as these may change a secret so that it is no longer recognized; then with them, as
        # they may uncover secrets.
        if data and self.extra:
            data = self.clean_secrets(data)
        if data:
            return self._clean(data, self.extra, MAX_DEPTH)
        return data

    def clean_secrets(self, data: bytes) -> bytes:
        """Return the data with secrets masked as `clean` does, but without applying the user's redactors."""
        return self._clean(data, (), MAX_DEPTH)

    def is_known_clean(self, data: bytes) -> bool:
        """Return whether the data contain none of the known secrets; always False with redactors of the user, which may change anything."""
        if self.extra:
            return False
        return not any(form in data for form, _ in self._forms)

    def _clean(self, data: bytes, extra: Sequence[TextRedactor], depth: int) -> bytes:
        """Return data with secrets masked, decoding at most ``depth`` levels of encodings; ``extra`` are the user's redactors."""

        def find(text: str) -> list[streams.Replacement]:
            return self._find(text, extra)

        def inner(part: bytes) -> bytes:
            return self._clean(part, extra, depth - 1)

        if depth:
            framed = streams.mask_frames(data, find, inner, self._thoughts)
            if framed is not None:
                return framed
        self._thoughts.learn(data)
        # Secrets that are split over events come first: if only their beginning were masked, the rest would not be recognized.
        data = _apply_redactors(streams.mask_text(data, find, self._thoughts), extra)
        if depth:
            if b"%" in data:  # before decoding: a decoded "@" would look like the end of the password
                data = _URL_CREDENTIALS.pattern.sub(_URL_CREDENTIALS.kept + MASK.encode(), data)
            data = streams.clean_encoded(data, inner, self._mask_binary)
        # A mask is short: a secret that was too far from the text that announces it may be near enough now.
        for _ in range(MAX_ROUNDS):
            spans = self._find_spans(data)
            if not spans:
                break
            data = _replace_spans(data, spans)
        return data

    def _find_spans(self, data: bytes, *, is_text: bool = True) -> list[streams.Replacement]:
        """Return the spans of secrets in data, in order and merged where they overlap.

        It also learns the values that are assigned to the name of a secret, and keys in files.
        """
        assigned = [
            span for span in find_assigned_values(data) if not self._thoughts.has_thought_value(data, *span)
        ]
        secrets = [read_value(data[start:end]) for start, end in assigned]
        if is_text:
            learned = []
            for start, end, is_learned in find_text_secrets(data):
                if self._thoughts.has_thought_value(data, start, end):
                    continue
                assigned.append((start, end))
                if is_learned:
                    learned.append(read_value(data[start:end]))
            secrets += learned[:MAX_LEARNED]
        shapes = find_shapes(data)
        if not is_text:
            # The shape of a URL with a password needs so little punctuation that it is in any long binary.
            shapes = [shape for shape in shapes if shape.mark != URL_CREDENTIALS_MARK]
        for shape in shapes:
            if shape in KEY_FILE_SHAPES:
                keys = [match[0] for match in shape.pattern.finditer(data)]
                secrets += [key.decode("utf-8", "surrogateescape") for key in keys]
        self.learn(secrets)
        spans = [(start, end, MASK) for start, end in assigned]
        spans += self._find_known(data)
        by_look = []
        for shape in shapes:
            for match in shape.pattern.finditer(data):
                start = match.end(1) if shape.kept else match.start()
                by_look.append((start, match.end()))
        if is_text:
            by_look += find_public_secrets(data)
        for start, end in by_look:
            if not self._thoughts.is_part_of_thought(data, start, end):
                spans.append((start, end, MASK))
        if spans:
            return _merge_overlaps(spans)
        return spans

    def _find_known(self, data: bytes) -> list[streams.Replacement]:
        """Return the spans of known secrets in all their forms; they may overlap."""
        forms = self._short
        if self._forms and streams.has_long_word(data):
            forms = self._forms
        spans = []
        for form, mask in forms:
            if form in data:
                for match in re.finditer(re.escape(form), data):
                    spans.append((match.start(), match.end(), mask))
        return spans

    def _mask_binary(self, data: bytes) -> bytes:
        """Replace secrets in binary data by stars; the length stays the same, as binary formats contain offsets."""
        for start, end, _ in self._find_spans(data, is_text=False):
            stars = b"*" * (end - start)
            data = data[:start] + stars + data[end:]
        return data

    def _find(self, text: str, extra: Sequence[TextRedactor]) -> list[streams.Replacement]:
        """Return the replacements of secrets in a text, in order and without overlaps; ``extra`` are the user's redactors.

        Changes by decoding and by the user's redactors are one replacement, from the first to the last changed character.
        """
        data = _encode(text)
        replacements = []
        for start, end, _ in self._find_spans(data):
            if not text.isascii():  # convert offsets of bytes to characters
                start = len(_decode(data[:start]))  # noqa: PLW2901
                end = len(_decode(data[:end]))  # noqa: PLW2901
            replacements.append((start, end, MASK))
        decoded = streams.clean_encoded(data, lambda part: self._clean(part, (), 1), self._mask_binary)
        rewritten = _decode(_apply_redactors(decoded, extra))
        if rewritten != text:
            replacements.append(_describe_change(text, rewritten))
        return _merge_overlaps(replacements)

    def clean_text(self, text: str) -> str:
        """Return the text with every secret masked; repeated texts, such as URLs, are cached."""
        texts = self._texts
        cleaned = texts.get(text)
        if cleaned is None:
            cleaned = _decode(self.clean(_encode(text)))
            if len(text) <= MAX_CACHED_TEXT:
                if len(texts) >= MAX_CACHED_TEXTS:
                    texts = {}
                self._texts = texts
                texts[text] = cleaned
        return cleaned

    def clean_excerpt(self, text: str) -> str:
        """Return a text without secrets, and without parts of secrets next to the ``...`` by which pytest shortens texts."""
        cleaned = self.clean_text(text)
        if ELLIPSIS not in cleaned:
            return cleaned
        parts = cleaned.split(ELLIPSIS)
        candidates = []  # the secrets of which a part may be in the text
        for secret in self.known:
            start = secret[:MIN_CUT_SECRET]
            end = secret[-MIN_CUT_SECRET:]
            if start in cleaned or end in cleaned:
                candidates.append(secret)
        for number in range(len(parts) - 1):
            before = parts[number]
            after = parts[number + 1]
            for secret in candidates:
                before = _cut_secret_start(before, secret)
                after = _cut_secret_end(after, secret)
            # A key or token that was cut no longer has its shape: remove whatever looks like a part of one.
            parts[number] = _drop_last_token(_cut_key_start(before))
            parts[number + 1] = _LONG_WORD.sub(_drop_mixed_word, _CUT_KEY_END.sub("", after))
        return ELLIPSIS.join(parts)

    def cut_tail(self, data: bytes) -> bytes:
        """Return an answer that broke off, without anything at its end that may be the beginning of a secret.

        Such a beginning does not have the shape of the secret, so `clean` does not find it. In a stream, the ends of the joined texts
        of its events are cut, too.
        """

        def find(text: str) -> list[streams.Replacement]:
            return [(len(self._cut_text(text)), len(text), MASK)]

        data = streams.mask_frames(data, find, bytes) or streams.mask_text(data, find)
        text = data.decode("utf-8", "surrogateescape")
        return self._cut_text(text).encode("utf-8", "surrogateescape")

    def _cut_text(self, text: str) -> str:
        """Return a text without the beginning of a secret at its end: of a known one, a private key, a token, or a shape."""
        text = _cut_key_start(text)
        for secret in self.known:
            text = _cut_secret_start(text, secret)
        text = _drop_last_token(text)
        end = len(text)
        for shape in find_shapes(text.encode("utf-8", "replace")):
            mark = shape.mark.decode()
            start = text.rfind(mark)
            if _CUT_TOKEN.fullmatch(text, start + len(mark)):
                end = min(end, start)
        return text[:end]

    def leaks(self, data: bytes) -> bool:
        """Return whether the data contain a secret; for a cassette file, the bodies that it stores encoded are searched, too.

        Keys of requests are ignored: they are hashes, but look random.
        """
        without_keys = _REQUEST_KEY.sub(b"", data)
        # The file comes last: the decoded bodies show which of the pieces of text in it are thoughts.
        parts = itertools.chain(_decoded_bodies(data), [without_keys])
        return any(self.clean_secrets(part) != part for part in parts if part)


_LINE_END = re.compile(r"\\{1,16}[rn]|[\r\n]+")  # a line end, or its form in nested JSON
_REQUEST_KEY = re.compile(rb'"key": ?"[0-9a-f]{20}"')  # the key of a request in a cassette or a journal
# A word at the start of a text that may be a token; in a reversed text, at its end
_LONG_WORD = re.compile(rf"\A[A-Za-z0-9._~+/=-]{{{MIN_CUT_TOKEN},}}")
_CUT_TOKEN = re.compile(r"""[^\s"'\\<>]*""")
_CUT_KEY_END = re.compile(r"\A(?:(?!-----BEGIN).){0,9000}?PRIVATE KEY(?: BLOCK)?-----", re.DOTALL)


def _drop_mixed_word(match: re.Match[str]) -> str:
    """Replace a word with letters and digits by nothing."""
    if has_letters_and_digits(match[0]):
        return ""
    return match[0]


def _drop_last_token(text: str) -> str:
    """Remove a long word with letters and digits from the end of a text."""
    return _LONG_WORD.sub(_drop_mixed_word, text[::-1])[::-1]


def _cut_key_start(text: str) -> str:
    """Remove a private key without its end from the end of a text."""
    start = text.find("-----BEGIN ", text.rfind("-----END") + 1)
    if start >= 0 and "PRIVATE KEY" in text[start : start + 80]:
        return text[:start]
    return text


def _cut_secret_start(text: str, secret: str) -> str:
    """Remove the beginning of a secret from the end of a text, if it has at least `MIN_CUT_SECRET` characters."""
    longest = min(len(text), len(secret) - 1)
    for size in range(longest, MIN_CUT_SECRET - 1, -1):
        if text.endswith(secret[:size]):
            return text[: len(text) - size]
    return text


def _cut_secret_end(text: str, secret: str) -> str:
    """Remove the end of a secret from the start of a text: `_cut_secret_start` on the reversed strings."""
    backwards = _cut_secret_start(text[::-1], secret[::-1])
    return backwards[::-1]


def _apply_redactors(data: bytes, extra: Sequence[TextRedactor]) -> bytes:
    """Apply the user's redactors, which get and return texts."""
    if not extra:
        return data
    text = data.decode("utf-8", "surrogateescape")
    for redact in extra:
        text = redact(text)
    return text.encode("utf-8", "surrogateescape")


def _order_by_length(form: tuple[bytes, str]) -> tuple[int, bytes]:
    """Return a sort key for (form, replacement): the longest form first, then by its bytes."""
    return -len(form[0]), form[0]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _describe_change(text: str, rewritten: str) -> streams.Replacement:
    """Return the one replacement that turns a text into another one, from the first to the last changed character."""
    start = stream_events.count_shared_start(text, rewritten)
    old = text[start:]
    new = rewritten[start:]
    shared_end = stream_events.count_shared_start(old[::-1], new[::-1])
    inserted = rewritten[start : len(rewritten) - shared_end]
    return start, len(text) - shared_end, inserted


def _replace_spans(data: bytes, spans: list[streams.Replacement]) -> bytes:
    """Return data with the mask of each span in its place; the spans are sorted and do not overlap."""
    if not spans:
        return data
    parts = []
    past = 0
    for start, end, mask in spans:
        parts += [data[past:start], mask.encode()]
        past = end
    parts.append(data[past:])
    return b"".join(parts)


def _merge_overlaps(replacements: list[streams.Replacement]) -> list[streams.Replacement]:
    """Return replacements sorted and without overlaps; overlapping ones become one, with the mask of the longest."""
    merged: list[streams.Replacement] = []
    for start, end, mask in sorted(replacements):
        if merged and start < merged[-1][1]:
            first, last, longest_mask = merged[-1]
            if end - start > last - first:
                longest_mask = mask
            merged[-1] = (first, max(last, end), longest_mask)
        else:
            merged.append((start, end, mask))
    return merged


# Keys of bodies that a cassette stores encoded, so that their bytes are not in the file
_ENCODED_BODY_FORMS = frozenset({"events", "frames", "parts", "escapes"})


def _decoded_bodies(data: bytes) -> Iterator[bytes]:
    """Yield the decoded bodies of a cassette file that are stored encoded; nothing for any other file."""
    if not data.startswith(b"{") or b'"interactions"' not in data[:200]:
        return
    try:
        document = json.loads(data)
        bodies = list(_iterate_stored_bodies(document["interactions"]))
        blobs = document.get("blobs", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    for body in bodies:
        if not _ENCODED_BODY_FORMS.isdisjoint(body):
            with contextlib.suppress(CassetteError):
                yield unfold_body(StoredBody(body, blobs))


def _iterate_stored_bodies(interactions: Any) -> Iterator[Any]:
    """Yield the stored bodies of requests and answers; the answers of an interaction are lists by their take."""
    for interaction in interactions:
        yield interaction["request"]["body"]
        for answers in interaction["answers"].values():
            for answer in answers:
                yield answer["body"]


def _parse_credentials(value: str) -> set[str]:
    """Return the secrets in the value of a header: of "Bearer KEY" the key; of "Basic ..." also the decoded pair and its password."""
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
_WITHOUT_JOINTS = str.maketrans("", "", "-_.")
# The characters that different clients leave unencoded in a URL
_URL_SAFE_CHARACTERS = ("", "/", "+=?", "/?:@+", "!$'()*,/:;=?@+~")


def _secret_spellings(secret: str) -> Iterator[tuple[bytes, str]]:
    """Yield (form, replacement) for a secret as plain text and in JSON, Python, URLs and base64."""
    raw = _encode(secret)
    for form in streams.base64_forms(raw):
        # The replacement has the same length and is base64, too, so that the text around it can still be decoded.
        yield form, ("xX" * len(form))[: len(form)]
    yield raw, MASK
    if secret.isascii() and secret.translate(_WITHOUT_JOINTS).isalnum():
        return  # nothing to escape: the other forms are the plain text
    texts = itertools.chain(_json_spellings(secret), _python_spellings(secret, raw), _url_spellings(raw))
    for text in texts:
        yield _encode(text), MASK


def _json_spellings(secret: str) -> Iterator[str]:
    """Yield a secret as it is in a JSON string, and in JSON inside of a JSON string."""
    for inside in (secret, json.dumps(secret)[1:-1]):
        for is_ascii in (True, False):
            literal = json.dumps(inside, ensure_ascii=is_ascii)
            yield literal[1:-1]


def _python_spellings(secret: str, raw: bytes) -> Iterator[str]:
    """Yield a secret as it is in a literal of Python: a string, an ASCII string, bytes."""
    for literal in (repr(secret), ascii(secret), repr(raw)[1:]):
        yield literal[1:-1]


def _url_spellings(raw: bytes) -> Iterator[str]:
    """Yield a secret as different clients encode it in a URL, with "%2F" and with "%2f"."""
    spellings = [quote(raw, safe=safe) for safe in _URL_SAFE_CHARACTERS]
    spellings.append(quote_plus(raw))
    for spelling in spellings:
        yield spelling
        yield re.sub("%..", lambda match: match[0].lower(), spelling)
