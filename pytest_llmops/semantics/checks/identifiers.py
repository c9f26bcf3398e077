"""The check of identifiers: another mail address, URL, path, option, code name or dotted name in the place of one."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_llmops.semantics.checks.alignment import Finding, build_finding

MAX_IDENTIFIERS = 100  # identifiers of a text that are compared
_PLACEHOLDER = "\ufffc"  # in the place of an earlier kind's match
_TRAILING_MARKS = ".,;:!?)]}>'\"*"

# Kinds in order of precedence: a later kind does not see the matches of an earlier one.
_PATTERNS = (
    ("mail address", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")),
    ("URL", re.compile(r"(?i)\b(?:https?|ftp|ssh|git)://[^\s<>\"'`]{1,500}|\bwww\.[^\s<>\"'`]{1,500}")),
    ("option", re.compile(r"(?<![\w-])--[A-Za-z][\w-]{0,60}")),
    ("path", re.compile(r"(?<![\w./~-])(?:~|\.{1,2})?(?:/[\w.@+-]{1,80}){2,20}/?|(?<![\w./~-])(?:~|\.{1,2})/[\w.@+-]{1,80}")),
    ("call", re.compile(r"(?<![\w.])[A-Za-z_]\w{0,60}(?:\.[A-Za-z_]\w{0,60}){0,6}\(\)")),
    ("name in backticks", re.compile(r"(?<!`)`([^`\n]{1,200})`(?!`)")),
    ("dotted name", re.compile(r"(?<![\w./@-])[A-Za-z_]\w{1,60}(?:\.[a-z_]\w{1,60}){1,6}(?![\w/@(-])")),
)  # fmt: skip


class Identifier(NamedTuple):
    """An identifier of a text.

    Attributes:
        kind: Its kind.
        text: As written, without marks around it.
        key: The form that is compared.
    """

    kind: str
    text: str
    key: str


def read_identifiers(text: str) -> list[Identifier]:
    """Return the first identifiers of a text, kind by kind; each place of the text is read once.

    >>> [(found.kind, found.text) for found in read_identifiers("Write to ann@example.com, or run `git reset --hard`.")]
    [('mail address', 'ann@example.com'), ('option', '--hard')]
    """
    identifiers: list[Identifier] = []
    rest = text
    for kind, pattern in _PATTERNS:
        pieces: list[str] = []
        end = 0
        for match in pattern.finditer(rest):
            written = match[match.lastindex or 0].strip().rstrip(_TRAILING_MARKS)
            if kind == "call":
                written = match[0]
            key = _normalize(kind, written)
            pieces.append(rest[end : match.start()])
            end = match.end()
            if key and len(identifiers) < MAX_IDENTIFIERS:
                identifiers.append(Identifier(kind, written, key))
        rest = _PLACEHOLDER.join((*pieces, rest[end:]))
    return identifiers


def _normalize(kind: str, text: str) -> str:
    """Return the form of an identifier that is compared: without the protocol and "www.", and without case where it never counts."""
    if kind == "mail address":
        return text.casefold()
    if kind == "URL":
        address = re.sub(r"(?i)^[a-z]+://", "", text)
        return re.sub(r"(?i)^www\.", "", address).rstrip("/").casefold()
    if kind == "call":
        return text.removesuffix("()")
    if kind == "name in backticks" and (_PLACEHOLDER in text or len(text.split()) > 1):
        return ""  # a command: its options and paths are compared, not its words
    return text.rstrip("/")


def find_other_identifiers(expected: str, actual: str) -> Iterator[Finding]:
    """Yield an identifier of the reference in whose place the answer has another one.

    Only if both texts have identifiers of a kind, and no identifier of that kind in one text occurs in the other.

    Args:
        expected: The reference.
        actual: The answer.
    """
    identifiers = read_identifiers(expected)
    others = read_identifiers(actual)
    for kind, _ in _PATTERNS:
        of_kind = [identifier for identifier in identifiers if identifier.kind == kind]
        others_of_kind = [identifier for identifier in others if identifier.kind == kind]
        if not of_kind or not others_of_kind:
            continue
        if _is_any_in(of_kind, actual) or _is_any_in(others_of_kind, expected):
            continue
        yield build_finding("identifiers", f"another {kind}", of_kind[0].text, others_of_kind[0].text)


def _is_any_in(identifiers: Sequence[Identifier], text: str) -> bool:
    """Return whether a text has any of these identifiers, in whatever form; case does not count here."""
    plain = text.casefold()
    return any(identifier.key.casefold() in plain for identifier in identifiers)
