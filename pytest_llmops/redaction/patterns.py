r"""Patterns of secrets: keys and tokens of known services.

The "shape" of a secret is its pattern together with its "mark", the literal bytes that it begins with or follows (``sk-``). A pattern
is only searched for if its mark is in the text, and marks are grouped by a byte that they share, so that a text without marks is
scanned fast. A mark counts at the start of a word, also after a JSON escape (``\n``) or a percent-encoded character (``%20``). If
ordinary words could look the same (``sk-learn-compatible-estimator``), the rest must contain a digit. The patterns are in
`secret_shapes.json`; the shapes of private keys in files are here.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SecretShape:
    """The pattern of a kind of secret."""

    mark: bytes  # every match contains it
    pattern: re.Pattern[bytes]
    kept: bytes = (
        b""  # replacement template for the text that stays before the mask; empty: the whole match is masked
    )


# A lookbehind that follows a name (the mark) and checks that the name starts a word: after a character that is not a letter or digit,
# a JSON escape or a percent-encoded character
_WORD_START = (
    rb"(?:(?<![A-Za-z0-9]%(name)s)"
    rb"|(?<=\\[nrtbf]%(name)s)"
    rb"|(?<=\\u[0-9A-Fa-f]{4}%(name)s)"
    rb"|(?<=%%[0-9A-Fa-f]{2}%(name)s))"
)


def _shape_starting_with(mark: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret that begins with a mark at the start of a word.

    The lookbehind comes after the mark, not before it, as a search is fast for a pattern with a literal start.
    """
    name = re.escape(mark)
    behind = _WORD_START % {b"name": name}
    return SecretShape(mark, re.compile(name + behind + rest))


def _shape_following(mark: bytes, more: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret that follows a mark and more literal text; both stay, only the secret is masked."""
    kept = b"(" + re.escape(mark + more) + b")"
    return SecretShape(mark, re.compile(kept + rest), rb"\g<1>")


# What may be between the lines of a key: line ends (also escaped), header lines, and the E that pytest puts before lines of an error
_KEY_LINES = rb"(?:\\{1,4}[rn]|\s(?:E(?=\s))?|(?:Proc-Type|DEK-Info|Version|Comment):[^\r\n\\\"]{0,200}+)"
URL_CREDENTIALS_MARK = b"://"  # mark of the shape for user and password in a URL

# Private keys as they are in files; the end may be missing, if the text was cut off
_PRIVATE_KEY = re.compile(
    rb"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
    rb"(?=" + _KEY_LINES + rb"*+[A-Za-z0-9+/]{16})(?:" + _KEY_LINES + rb"|[A-Za-z0-9+/=])*+"
    rb"(?:-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5})?"
)
_PUTTY_KEY = re.compile(
    rb"(Private-Lines: )[0-9]{1,3}(?:\\{1,4}[rn]|[\r\n ]|(?!Private-MAC)[A-Za-z0-9+/=])*+(?:Private-MAC: ?[0-9a-f]{16,128})?"
)
KEY_FILE_SHAPES = (
    SecretShape(b"PRIVATE KEY", _PRIVATE_KEY),
    SecretShape(b"Private-Lines: ", _PUTTY_KEY, rb"\g<1>"),
)


def _read_shapes() -> tuple[SecretShape, ...]:
    """Read the shapes of `secret_shapes.json`.

    ``starting`` has, by subject, mark -> pattern of the rest, for secrets that begin with the mark. ``following`` has a row for each text
    that comes before a secret and stays: its ``marks``, ``more`` literal text after them, and the pattern of the ``secret``.
    """
    file = Path(__file__).with_name("secret_shapes.json")
    tables = json.loads(file.read_text(encoding="utf-8"))
    shapes = []
    for rests in tables["starting"].values():
        for mark, rest in rests.items():
            shapes.append(_shape_starting_with(mark.encode(), rest.encode()))
    for row in tables["following"]:
        more = row.get("more", "").encode()
        secret = row["secret"].encode()
        for mark in row["marks"]:
            shapes.append(_shape_following(mark.encode(), more, secret))
    return tuple(shapes)


SECRET_SHAPES = _read_shapes() + KEY_FILE_SHAPES


@dataclass(frozen=True, slots=True)
class ShapeGroup:
    """Shapes whose marks share a byte, so that they can be searched for together."""

    shared: bytes  # the byte that all marks begin or end with
    trigger: re.Pattern[bytes]  # matches if any of the marks is there
    shapes: tuple[SecretShape, ...]


SHARED_MARK_ENDS = (b"_", b"-", b".")
SHARED_MARK_STARTS = (b"A", b"B", b"E", b"S", b"P", b"b", b"e", b"d", b"x", b":")


def _group_shapes() -> tuple[ShapeGroup, ...]:
    """Put each shape into the first group whose byte its mark ends (else begins) with; every mark has such a byte."""
    remaining = list(SECRET_SHAPES)
    groups = []
    for byte in SHARED_MARK_ENDS:
        shapes = [shape for shape in remaining if shape.mark.endswith(byte)]
        marks = [b"(?<=" + re.escape(shape.mark) + b")" for shape in shapes]
        groups.append(_make_group(byte, marks, shapes))
        remaining = [shape for shape in remaining if shape not in shapes]
    for byte in SHARED_MARK_STARTS:
        shapes = [shape for shape in remaining if shape.mark.startswith(byte)]
        marks = [re.escape(shape.mark[1:]) for shape in shapes]
        groups.append(_make_group(byte, marks, shapes))
        remaining = [shape for shape in remaining if shape not in shapes]
    return tuple(groups)


def _make_group(byte: bytes, marks: list[bytes], shapes: list[SecretShape]) -> ShapeGroup:
    """Make a group; ``marks`` are patterns that, after the shared byte, check for the rest of each mark."""
    alternatives = b"|".join(marks)
    trigger = re.compile(re.escape(byte) + b"(?:" + alternatives + b")")
    return ShapeGroup(byte, trigger, tuple(shapes))


SHAPE_GROUPS = _group_shapes()


def find_shapes(data: bytes) -> list[SecretShape]:
    """Return the shapes whose mark is in the data; whether their patterns match is still open."""
    shapes: list[SecretShape] = []
    for group in SHAPE_GROUPS:
        if group.shared in data and group.trigger.search(data):
            shapes += [shape for shape in group.shapes if shape.mark in data]
    return shapes
