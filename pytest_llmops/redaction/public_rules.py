r"""Secrets of public services, by the rules of gitleaks: tokens of some 150 services, and values behind the name of a service.

The table is ``public_rules.toml``; its licence (MIT) is at its top. ``own_rules.toml`` has the tokens that gitleaks does not know. Both
are read when a text first has a word that is long enough for a secret, and a pattern is compiled when one of its words is near such a
word.

Behind the name of a service, many rules accept any word of the right length ("Dropbox: troubleshooting"). Such a value counts only if
it looks random: otherwise two requests that differ in that word would be the same to a cassette.
"""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pytest_llmops.redaction.secret_names import looks_random

MIN_RUN = 14  # the shortest secret of the table
MIN_RUN_OF_LETTERS = 30  # a shorter run without a digit is a word
BEFORE = 100  # characters in front of a long run in which the name of its service may be
AFTER = 4  # characters behind it that a pattern looks at
MIN_DIGITS = 2  # of a value behind the name of a service; a word or an identifier has fewer
_RUN_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/=.~%|-"
_RUN_MAP = bytes(1 if code in _RUN_CHARACTERS else 0 for code in range(256))
_SHORTEST_RUN = b"\x01" * MIN_RUN
_RUN = re.compile(rb"[A-Za-z0-9_+/=.~%|-]{14,}+")
_DIGIT = re.compile(rb"[0-9]")
# The text between the name of a service and its secret; quotes may be escaped, as in JSON
_BETWEEN = rb"""[ \t\w.-]{0,20}[\s'"\\]{0,5}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=\\]{0,7}"""
# The name starts a word: "linear" in "nonlinear" does not. It may follow a capital's change ("myTwitter"), a JSON escape or `%20`.
_NAME_START = rb"(?:(?<![A-Za-z0-9])|(?-i:(?<=[a-z0-9])(?=[A-Z]))|(?<=\\[nrtbf])|(?<=%%[0-9A-Fa-f]{2}))"
# The name is looked for first, which is faster than its start.
_NAMED = (
    rb"(?=%(name)s)" + _NAME_START + rb"(?:%(name)s)" + _BETWEEN + rb"(?P<secret>%(secret)s)(?![\w-]|\.\w)"
)


@dataclass(frozen=True, slots=True)
class PublicRule:
    """A rule of the table.

    Attributes:
        id: Its name in gitleaks.
        words: A text that contains none of them in lower case is not searched.
        expression: The regular expression; the secret is the group ``secret``, else the first one, else the whole match.
        entropy: A secret with less entropy, in bits per character, is a placeholder.
        is_named: Whether the secret follows the name of a service; then it must look random.
    """

    id: str
    words: tuple[bytes, ...]
    expression: bytes
    entropy: float
    is_named: bool = False

    def find(self, data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the secrets within a part of the data."""
        for match in _compile(self.expression).finditer(data, start, end):
            group: str | int = 0
            if self.is_named:
                group = "secret"  # the name may have groups of its own, such as `sonar[_.-]?(login|token)`
            elif match.re.groups:
                group = 1
            secret = match[group]
            if not secret or measure_entropy(secret) < self.entropy:
                continue
            if self.is_named and not _looks_like_key(secret):
                continue
            yield match.span(group)


def _looks_like_key(value: bytes) -> bool:
    """Return whether a value is a random key, and not a word, an identifier or a number.

    >>> [_looks_like_key(value) for value in (b"troubleshooting", b"getUserProfileV2", b"123456789012345", b"k3v9x0q7m2z8w4a")]
    [False, False, False, True]
    """
    return len(_DIGIT.findall(value)) >= MIN_DIGITS and looks_random(value.decode("latin-1"))


@cache
def _compile(expression: bytes) -> re.Pattern[bytes]:
    return re.compile(expression)


@cache
def _read_table(name: str = "public_rules.toml") -> dict[str, Any]:
    file = Path(__file__).with_name(name)
    return tomllib.loads(file.read_text(encoding="utf-8"))


@cache
def read_published_keys() -> frozenset[bytes]:
    """Return keys that their services have published in documentation and tests: they open nothing."""
    return frozenset(key.encode() for key in _read_table()["published"])


@cache
def read_public_rules() -> tuple[PublicRule, ...]:
    """Return the rules of both tables, first those with the name of a service."""
    table = _read_table()
    rules = []
    for row in table["named"]:
        parts = {b"name": row["name"].encode(), b"secret": row["secret"].encode()}
        rules.append(_make_rule(row, b"(?i)" + _NAMED % parts, is_named=True))
    for row in table["tokens"] + _read_table("own_rules.toml")["tokens"]:
        rules.append(_make_rule(row, row["pattern"].encode()))
    return tuple(rules)


def _make_rule(row: Mapping[str, Any], expression: bytes, *, is_named: bool = False) -> PublicRule:
    words = tuple(word.encode() for word in row["words"])
    return PublicRule(row["id"], words, expression, row.get("entropy", 0), is_named)


def measure_entropy(text: str | bytes) -> float:
    """Return Shannon's entropy of a text, in bits per character; the text must not be empty.

    >>> measure_entropy("aabb")
    1.0
    """
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def has_long_run(data: bytes) -> bool:
    """Return whether data have a run of characters that is long enough for a secret: ordinary sentences have none."""
    return _SHORTEST_RUN in data.translate(_RUN_MAP)


def find_public_secrets(data: bytes) -> list[tuple[int, int]]:
    """Return (start, end) of the secrets that the rules find; they may overlap and have no order.

    >>> data = b"the mail key is pul-0123456789abcdef0123456789abcdef01234567"
    >>> find_public_secrets(data)
    [(16, 60)]
    """
    spans: list[tuple[int, int]] = []
    for start, end in _list_windows(data):
        has_word = (
            data[start:end].lower().__contains__
        )  # with `map`, no generator is made for each of the many rules
        for rule in read_public_rules():
            if any(map(has_word, rule.words)):
                spans += rule.find(data, start, end)
    return spans


def _list_windows(data: bytes) -> list[tuple[int, int]]:
    """Return the parts of the data around runs of characters that may be secrets, in order and without overlaps."""
    windows: list[tuple[int, int]] = []
    if not has_long_run(data):
        return windows
    for run in _RUN.finditer(data):
        start, end = run.span()
        if end - start < MIN_RUN_OF_LETTERS and not _DIGIT.search(data, start, end):
            continue
        first = max(0, start - BEFORE)
        if windows and first <= windows[-1][1]:
            first = windows.pop()[0]
        windows.append((first, end + AFTER))
    return windows
