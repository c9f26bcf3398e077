r"""Patterns of secrets: keys and tokens of known services.

A pattern is searched for only if its mark is in the text, and marks are searched for by a byte that they share, so that
a text without marks is scanned fast. A mark counts at the start of a word, also after a JSON escape (``\n``) or a
percent-encoded character (``%20``); the rest must contain a digit if words could look the same
(``sk-learn-compatible-estimator``). The patterns are in `secret_shapes.json`, those of keys in files here.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SecretShape:
    """The pattern of a kind of secret."""

    mark: bytes
    pattern: re.Pattern[bytes]
    kept: bytes = b""  # template of the text that stays in front of the mask


# What is in front of the name at the start of a word, seen from its end
_WORD_START = (
    rb"(?:(?<![A-Za-z0-9]%(name)s)"
    rb"|(?<=\\[nrtbf]%(name)s)"
    rb"|(?<=\\u[0-9A-Fa-f]{4}%(name)s)"
    rb"|(?<=%%[0-9A-Fa-f]{2}%(name)s))"
)


def _shape_starting_with(mark: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret that begins with a mark at the start of a word.

    The mark comes before the lookbehind: a search is fast for a pattern with a literal start.
    """
    name = re.escape(mark)
    behind = _WORD_START % {b"name": name}
    return SecretShape(mark, re.compile(name + behind + rest))


def _shape_following(mark: bytes, more: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret that comes after a mark and more text, both of which stay."""
    kept = b"(" + re.escape(mark + more) + b")"
    return SecretShape(mark, re.compile(kept + rest), rb"\g<1>")


# Line ends and headers of a key in a file; pytest begins the lines of an error with an E
_KEY_LINES = rb"(?:\\{1,4}[rn]|\s(?:E(?=\s))?|(?:Proc-Type|DEK-Info|Version|Comment):[^\r\n\\\"]{0,200}+)"
URL_CREDENTIALS_MARK = b"://"  # mark of user and password in a URL

# Keys in files, also cut off: the end need not be there
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

    ``starting`` has, by subject, the marks that secrets begin with, each with what comes after it. ``following`` has texts that stay
    in front of a secret: the marks, the rest of the text, if any, and the secret.
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
    """Shapes whose marks are searched for in a single pass."""

    shared: bytes  # the byte that all marks begin or end with
    trigger: re.Pattern[bytes]
    shapes: tuple[SecretShape, ...]


SHARED_MARK_ENDS = (b"_", b"-", b".")
SHARED_MARK_STARTS = (b"A", b"B", b"b", b"e", b"d", b"x", b"h", b":", b"P")


def _group_shapes() -> tuple[ShapeGroup, ...]:
    """Put each shape into the first group whose byte its mark ends or begins with."""
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
    """Make a group; the patterns of its marks match from the shared byte on."""
    alternatives = b"|".join(marks)
    trigger = re.compile(re.escape(byte) + b"(?:" + alternatives + b")")
    return ShapeGroup(byte, trigger, tuple(shapes))


SHAPE_GROUPS = _group_shapes()


def find_shapes(data: bytes) -> list[SecretShape]:
    """Return the shapes whose mark is in the data; their patterns may still not match."""
    shapes: list[SecretShape] = []
    for group in SHAPE_GROUPS:
        if group.shared in data and group.trigger.search(data):
            shapes += [shape for shape in group.shapes if shape.mark in data]
    return shapes
